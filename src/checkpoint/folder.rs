//! A checkpoint: a folder as the Hub has it, or a single file.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    CheckpointError, Weights,
    index::{Index, Merged},
    pickle::Pickle,
    safetensors::SafeTensors,
};

/// Names that the Hub's libraries give to weights in one file, first choice first.
const USUAL: [&str; 4] = ["model.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.bin"];
const PICKLES: [&str; 4] = [".bin", ".pth", ".pt", ".ckpt"];

/// A checkpoint, opened but not read.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    /// Names of the weight files, sorted.
    files: Vec<String>,
    /// Name of the index, where there is one.
    index: Option<String>,
    config: Option<serde_json::Value>,
}

impl Checkpoint {
    /// Opens a folder, or a single weight file, whose folder may hold a `config.json`.
    ///
    /// # Errors
    /// When nothing is there, or the config is no JSON.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::Io { path: path.to_owned(), source };
        if fs::metadata(path).map_err(io)?.is_dir() {
            return Self::open_folder(path);
        }
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let config = read_config(&folder)?;
        if name.ends_with(".index.json") {
            return Ok(Self { folder, files: Vec::new(), index: Some(name), config });
        }
        Ok(Self { folder, files: vec![name], index: None, config })
    }

    fn open_folder(path: &Path) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::Io { path: path.to_owned(), source };
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(path).map_err(io)? {
            names.extend(entry.map_err(io)?.file_name().into_string());
        }
        names.sort();
        let index = names.iter().find(|name| name.ends_with(".safetensors.index.json")).cloned();
        let is_weight = |name: &String| name.ends_with(".safetensors") || PICKLES.iter().any(|end| name.ends_with(end));
        let files: Vec<String> = names.into_iter().filter(is_weight).collect();
        if files.is_empty() {
            return Err(CheckpointError::NoWeights { path: path.to_owned() });
        }
        Ok(Self { folder: path.to_owned(), files, index, config: read_config(path)? })
    }

    /// `config.json`, where there is one.
    pub fn config(&self) -> Option<&serde_json::Value> {
        self.config.as_ref()
    }

    /// The names of every file that may hold weights.
    pub fn weight_files(&self) -> &[String] {
        &self.files
    }

    /// The path of one of them.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// The weight files by the Hub's rules: the shards of an index, else a file of a usual name, else the only one; safetensors before
    /// pickles.
    ///
    /// # Errors
    /// When several could be meant; the message lists them.
    pub fn default_files(&self) -> Result<Vec<String>, CheckpointError> {
        if let Some(index) = &self.index {
            return Ok(Index::read(&self.path(index))?.shards().into_iter().map(str::to_owned).collect());
        }
        if let Some(usual) = USUAL.iter().find(|usual| self.files.iter().any(|file| file == *usual)) {
            return Ok(vec![(*usual).to_owned()]);
        }
        let safetensors: Vec<String> = self.files.iter().filter(|file| file.ends_with(".safetensors")).cloned().collect();
        let candidates = if safetensors.is_empty() { self.files.clone() } else { safetensors };
        if candidates.len() == 1 { Ok(candidates) } else { Err(CheckpointError::Ambiguous { path: self.folder.clone(), candidates }) }
    }

    /// The tensors of the given files.
    ///
    /// # Errors
    /// When a file is missing, damaged or a pointer, two files hold the same tensor, or an index names what is not there.
    pub fn weights(&self, files: &[String]) -> Result<Arc<dyn Weights>, CheckpointError> {
        let mut opened: Vec<(PathBuf, Arc<dyn Weights>)> = Vec::new();
        for file in files {
            let path = self.path(file);
            let weights: Arc<dyn Weights> = if PICKLES.iter().any(|end| file.ends_with(end)) {
                Arc::new(Pickle::open(&path)?)
            } else {
                Arc::new(SafeTensors::open(&path)?)
            };
            opened.push((path, weights));
        }
        if let Some(index) = &self.index {
            let index = Index::read(&self.path(index))?;
            if index.shards().iter().eq(files) {
                index.check(&opened)?;
            }
        }
        if opened.len() == 1 {
            return Ok(opened.remove(0).1);
        }
        Ok(Arc::new(Merged::new(opened)?))
    }
}

fn read_config(folder: &Path) -> Result<Option<serde_json::Value>, CheckpointError> {
    let path = folder.join("config.json");
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|source| CheckpointError::Json { path, source }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CheckpointError::Io { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safetensors(names: &[&str]) -> Vec<u8> {
        let entries: Vec<String> = names
            .iter()
            .enumerate()
            .map(|(i, name)| format!(r#""{name}":{{"dtype":"U8","shape":[1],"data_offsets":[{i},{}]}}"#, i + 1))
            .collect();
        let header = format!("{{{}}}", entries.join(","));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend((0..names.len()).map(|i| i as u8 + 7));
        bytes
    }

    fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    #[test]
    fn shards_are_one_set_of_tensors() {
        let index = br#"{"weight_map":{"a":"x-1.safetensors","b":"x-2.safetensors"}}"#.to_vec();
        let folder = folder(&[
            ("model.safetensors.index.json", index),
            ("x-1.safetensors", safetensors(&["a"])),
            ("x-2.safetensors", safetensors(&["b"])),
            ("other.safetensors", safetensors(&["a"])),
        ]);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let files = checkpoint.default_files().unwrap();
        assert_eq!(files, ["x-1.safetensors", "x-2.safetensors"]);
        let weights = checkpoint.weights(&files).unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(weights.data("b").unwrap().as_ref(), [7]);
    }

    #[test]
    fn an_index_must_fit_its_shards() {
        let make = |map: &str| {
            folder(&[
                ("m.safetensors.index.json", format!(r#"{{"weight_map":{map}}}"#).into_bytes()),
                ("x.safetensors", safetensors(&["a"])),
            ])
        };
        let error = |map: &str| {
            let folder = make(map);
            let checkpoint = Checkpoint::open(folder.path()).unwrap();
            checkpoint.default_files().and_then(|files| checkpoint.weights(&files)).unwrap_err().to_string()
        };
        assert!(error(r#"{"b":"x.safetensors"}"#).contains("`b` is said to be in `x.safetensors`, which does not hold it"));
        assert!(error(r#"{"b":"../x.safetensors"}"#).contains("no plain file name"));
        assert!(error(r#"{"b":1}"#).contains("expected a `weight_map`"));
        assert!(error(r#"{"b":"y.safetensors"}"#).contains("cannot read"));
    }

    #[test]
    fn what_could_be_meant_is_listed() {
        let folder = folder(&[("a.safetensors", safetensors(&["a"])), ("b.safetensors", safetensors(&["a"])), ("c.bin", Vec::new())]);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let error = checkpoint.default_files().unwrap_err();
        assert!(error.to_string().ends_with("holds several weight files: a.safetensors, b.safetensors"), "{error}");
        let both = checkpoint.weights(&["a.safetensors".to_owned(), "b.safetensors".to_owned()]).unwrap_err();
        assert!(both.to_string().contains("tensor `a` is in"), "{both}");
    }

    #[test]
    fn pointers_and_pickles_that_are_none_say_so() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n".to_vec();
        let folder = folder(&[("a.safetensors", pointer), ("b.bin", b"no zip".to_vec())]);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let error = |file: &str| checkpoint.weights(&[file.to_owned()]).unwrap_err();
        assert!(error("a.safetensors").to_string().contains("Git LFS pointer"));
        assert!(error("b.bin").to_string().contains("without running code"));
    }
}
