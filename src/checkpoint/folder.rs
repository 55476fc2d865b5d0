//! A checkpoint: a folder as the Hub has it, or a single file.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    CheckpointError, Weights,
    index::{Index, Merged},
    json,
    mapped::MappedFile,
    pickle, safetensors,
};
use crate::base::RelativePath;

/// Names that the Hub's libraries give to weights.
const USUAL: [&str; 4] =
    ["model.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.bin"];
const SAFETENSORS: &[&str] = &[".safetensors"];
const PICKLES: &[&str] = &[".bin", ".pth", ".pt", ".ckpt"];
const INDEX: &str = ".index.json";
const CONFIG: &str = "config.json";

/// A checkpoint, opened but not read.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    /// Names of the weight files, sorted.
    files: Vec<String>,
    /// Names of the indexes, sorted.
    indexes: Vec<String>,
    /// Names of all other files, sorted.
    others: Vec<String>,
    config: Option<serde_json::Value>,
}

impl Checkpoint {
    /// Opens a folder; or a single weight file or index, whose folder may hold a `config.json`.
    ///
    /// # Errors
    /// When nothing is there, or the config is no JSON.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::Io { path: path.to_owned(), source };
        let single = !fs::metadata(path).map_err(io)?.is_dir();
        let folder = if single { path.parent().unwrap_or(Path::new("")) } else { path };
        let config = folder.join(CONFIG);
        let config = if config.exists() { Some(json::read(&config)?) } else { None };
        let names = if single { vec![file_name(path)?] } else { file_names(path)? };
        let (indexes, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| is_index(name));
        let (files, others) = names.into_iter().partition(|name| single || is_weights(name));
        let checkpoint = Self { folder: folder.to_owned(), files, indexes, others, config };
        if checkpoint.files.is_empty() && checkpoint.indexes.is_empty() {
            return Err(CheckpointError::NoWeights { path: path.to_owned() });
        }
        Ok(checkpoint)
    }

    /// `config.json`, where there is one.
    pub fn config(&self) -> Option<&serde_json::Value> {
        self.config.as_ref()
    }

    /// A JSON document of the folder; `None` where there is none. Paths that lead out of the folder lead nowhere.
    ///
    /// # Errors
    /// When the file cannot be read or is no JSON.
    pub fn document(&self, path: &str) -> Result<Option<serde_json::Value>, CheckpointError> {
        if self.has_file(path) { json::read(&self.path(path)).map(Some) } else { Ok(None) }
    }

    /// The names of every file that may hold weights, sorted.
    pub fn weight_files(&self) -> &[String] {
        &self.files
    }

    /// The names of all other files of the folder, sorted: tokenizers, licences.
    pub fn other_files(&self) -> &[String] {
        &self.others
    }

    /// The path of one of them.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// The weight files by the Hub's rules: the shards of an index, else a file of a usual name, else the only one;
    /// safetensors before pickles.
    ///
    /// # Errors
    /// When several could be meant (the message lists them), or a shard is missing.
    pub fn default_files(&self) -> Result<Vec<String>, CheckpointError> {
        for kind in [SAFETENSORS, PICKLES] {
            let indexes: Vec<&String> =
                self.indexes.iter().filter(|name| ends_with(name.trim_end_matches(INDEX), kind)).collect();
            if let Some(index) = self.choose(&indexes)? {
                let index = Index::read(&self.path(index))?;
                return Ok(index.shards()?.into_iter().map(str::to_owned).collect());
            }
            let files: Vec<&String> = self.files.iter().filter(|name| ends_with(name, kind)).collect();
            if let Some(file) = self.choose(&files)? {
                return Ok(vec![file.to_owned()]);
            }
        }
        // A single file, whatever it is called.
        Ok(self.files.clone())
    }

    /// The one of a usual name, or the only one; `None` where there are none.
    fn choose<'a>(&self, names: &[&'a String]) -> Result<Option<&'a str>, CheckpointError> {
        let usual = USUAL.iter().find_map(|usual| names.iter().find(|name| name.trim_end_matches(INDEX) == *usual));
        match (usual, names) {
            (Some(name), _) | (None, [name]) => Ok(Some(name)),
            (None, []) => Ok(None),
            (None, _) => {
                let candidates = names.iter().map(|name| (*name).clone()).collect();
                Err(CheckpointError::Ambiguous { path: self.folder.clone(), candidates })
            }
        }
    }

    /// The tensors of the given files. Those of a file in a folder below are called `<folder>/<name>`.
    ///
    /// # Errors
    /// When a file is missing, damaged or a pointer, two files hold the same tensor, or an index says of one of them
    /// what is not so.
    pub fn weights(&self, files: &[String]) -> Result<Arc<dyn Weights>, CheckpointError> {
        let mut opened: Vec<(PathBuf, Arc<dyn Weights>)> = Vec::new();
        for file in files {
            let path = self.path(file);
            let weights = Arc::new(open_file(&path, file)?);
            opened.push((path, weights));
        }
        for index in self.indexes_of(files)? {
            index.check(&opened)?;
        }
        if opened.len() == 1 {
            return Ok(opened.remove(0).1);
        }
        Ok(Arc::new(Merged::new(opened)?))
    }

    /// The paths of all files that count when the tensors of `files` are used: the config, the indexes of the files,
    /// the files.
    ///
    /// # Errors
    /// When an index cannot be read.
    pub fn used_files(&self, files: &[String]) -> Result<Vec<PathBuf>, CheckpointError> {
        let config = self.config.iter().map(|_| self.path(CONFIG));
        let indexes = self.indexes_of(files)?;
        let indexes = indexes.iter().map(|index| index.path().to_owned());
        Ok(config.chain(indexes).chain(files.iter().map(|file| self.path(file))).collect())
    }

    /// Whether the path names a file below the folder.
    pub fn has_file(&self, path: &str) -> bool {
        path.parse::<RelativePath>().is_ok() && self.path(path).is_file()
    }

    /// The indexes whose shards are exactly those of `files` that lie beside them.
    fn indexes_of(&self, files: &[String]) -> Result<Vec<Index>, CheckpointError> {
        let mut sorted: Vec<&str> = files.iter().map(String::as_str).filter(|file| !file.contains('/')).collect();
        sorted.sort_unstable();
        let mut indexes = Vec::new();
        for name in &self.indexes {
            let index = Index::read(&self.path(name))?;
            if index.names().into_iter().eq(sorted.iter().copied()) {
                indexes.push(index);
            }
        }
        Ok(indexes)
    }
}

fn open_file(path: &Path, name: &str) -> Result<MappedFile, CheckpointError> {
    MappedFile::open(path, |bytes| {
        let tensors = if ends_with(name, PICKLES) {
            pickle::read(bytes).map_err(|problem| CheckpointError::Pickle { path: path.to_owned(), problem })
        } else {
            safetensors::read_header(bytes)
                .map_err(|problem| CheckpointError::Header { path: path.to_owned(), problem })
        };
        Ok(match name.rsplit_once('/') {
            Some((folder, _)) => {
                tensors?.into_iter().map(|(name, tensor)| (format!("{folder}/{name}"), tensor)).collect()
            }
            None => tensors?,
        })
    })
}

fn ends_with(name: &str, endings: &[&str]) -> bool {
    endings.iter().any(|ending| name.ends_with(ending))
}

fn is_weights(name: &str) -> bool {
    ends_with(name, SAFETENSORS) || ends_with(name, PICKLES)
}

fn is_index(name: &str) -> bool {
    name.strip_suffix(INDEX).is_some_and(is_weights)
}

fn file_name(path: &Path) -> Result<String, CheckpointError> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| CheckpointError::Name { path: path.to_owned() })
}

/// Names of the files in a folder, sorted; folders in it are left out, and names that are no text.
fn file_names(folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let io = |source| CheckpointError::Io { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if !entry.path().is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
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

    /// An error with all that lies behind it.
    fn chain(error: CheckpointError) -> String {
        let mut text = error.to_string();
        let mut error: &dyn std::error::Error = &error;
        while let Some(source) = error.source() {
            text = format!("{text}: {source}");
            error = source;
        }
        text
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
            chain(checkpoint.default_files().and_then(|files| checkpoint.weights(&files)).unwrap_err())
        };
        assert!(
            error(r#"{"b":"x.safetensors"}"#).contains("`b` is said to be in `x.safetensors`, which does not hold it")
        );
        assert!(error(r#"{"b":"../x.safetensors"}"#).contains("no plain file name"));
        assert!(error(r#"{"b":1}"#).contains("expected a string"));
        assert!(
            error(r#"{"b":"y.safetensors"}"#).ends_with("does not fit its shards: shard `y.safetensors` is not there")
        );
        let twice = error(r#"{"b":"x.safetensors","b":"y.safetensors"}"#);
        assert!(twice.ends_with("tensor `b` is said to be in `x.safetensors` and in `y.safetensors`"), "{twice}");
    }

    #[test]
    fn an_index_without_its_shards_says_so() {
        let index = br#"{"weight_map":{"a":"x-1.safetensors"}}"#.to_vec();
        let folder = folder(&[("model.safetensors.index.json", index)]);
        for path in [folder.path().to_owned(), folder.path().join("model.safetensors.index.json")] {
            let error = Checkpoint::open(&path).unwrap().default_files().unwrap_err();
            assert!(error.hint().unwrap().contains("all of its shards"));
            assert!(chain(error).contains("shard `x-1.safetensors` is not there"));
        }
    }

    #[test]
    fn the_usual_names_come_first_and_safetensors_before_pickles() {
        let index = br#"{"weight_map":{"a":"x-1.safetensors"}}"#;
        let mut present = vec![
            ("model.safetensors.index.json", &index[..]),
            ("x-1.safetensors", b""),
            ("model.safetensors", b""),
            ("diffusion_pytorch_model.safetensors", b""),
            ("model.fp16.safetensors", b""),
            ("pytorch_model.bin", b""),
            ("training_args.bin", b""),
            ("tokenizer.json", b"{}"),
        ];
        let chosen = |present: &[(&str, &[u8])]| {
            let files: Vec<_> = present.iter().map(|(name, bytes)| (*name, bytes.to_vec())).collect();
            let folder = folder(&files);
            Checkpoint::open(folder.path()).unwrap().default_files().unwrap()
        };
        let order = [
            "x-1.safetensors",
            "model.safetensors",
            "diffusion_pytorch_model.safetensors",
            "model.fp16.safetensors",
            "pytorch_model.bin",
        ];
        for expected in order {
            assert_eq!(chosen(&present), [expected]);
            present.retain(|(name, _)| *name != expected && *name != "model.safetensors.index.json");
        }
        assert_eq!(chosen(&present), ["training_args.bin"]);
    }

    #[test]
    fn files_that_were_used_are_named() {
        let folder = folder(&[
            ("config.json", br#"{"model_type":"t"}"#.to_vec()),
            ("model.safetensors.index.json", br#"{"weight_map":{"a":"x.safetensors"}}"#.to_vec()),
            ("tokenizer.json", b"{}".to_vec()),
            ("x.safetensors", safetensors(&["a"])),
            ("y.safetensors", safetensors(&["a"])),
        ]);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let used = |files: &[&str]| {
            let files: Vec<String> = files.iter().map(|&file| file.to_owned()).collect();
            let paths = checkpoint.used_files(&files).unwrap();
            paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(used(&["x.safetensors"]), ["config.json", "model.safetensors.index.json", "x.safetensors"]);
        assert_eq!(used(&["y.safetensors"]), ["config.json", "y.safetensors"]);
        assert_eq!(checkpoint.other_files(), ["config.json", "tokenizer.json"]);
        assert_eq!(checkpoint.config().unwrap()["model_type"], "t");
    }

    #[test]
    fn tensors_of_folders_below_are_named_after_them() {
        let folder = folder(&[
            ("model.safetensors.index.json", br#"{"weight_map":{"linear.weight":"x.safetensors"}}"#.to_vec()),
            ("x.safetensors", safetensors(&["linear.weight"])),
        ]);
        for name in ["2_Dense", "3_Dense"] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("model.safetensors"), safetensors(&["linear.weight"])).unwrap();
        }
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        assert!(checkpoint.has_file("2_Dense/model.safetensors") && !checkpoint.has_file("2_Dense/../x.safetensors"));
        let files = ["x.safetensors", "2_Dense/model.safetensors", "3_Dense/model.safetensors"].map(str::to_owned);
        let weights = checkpoint.weights(&files).unwrap();
        assert_eq!(
            weights.names().collect::<Vec<_>>(),
            ["2_Dense/linear.weight", "3_Dense/linear.weight", "linear.weight"]
        );
        let used = checkpoint.used_files(&files).unwrap();
        let used: Vec<_> =
            used.iter().map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(used, [&["model.safetensors.index.json"], &files.each_ref().map(String::as_str)[..]].concat());
    }

    #[test]
    fn a_single_file_has_the_config_beside_it() {
        let folder = folder(&[
            ("config.json", b"{}".to_vec()),
            ("a.safetensors", safetensors(&["a"])),
            ("b.safetensors", safetensors(&["b"])),
            ("weights", safetensors(&["c"])),
        ]);
        for (file, tensor) in [("b.safetensors", "b"), ("weights", "c")] {
            let checkpoint = Checkpoint::open(&folder.path().join(file)).unwrap();
            assert!(checkpoint.config().is_some());
            let files = checkpoint.default_files().unwrap();
            assert_eq!(files, [file]);
            assert_eq!(checkpoint.weights(&files).unwrap().names().collect::<Vec<_>>(), [tensor]);
        }
    }

    #[test]
    fn what_could_be_meant_is_listed() {
        let folder = folder(&[
            ("a.safetensors", safetensors(&["a"])),
            ("b.safetensors", safetensors(&["a"])),
            ("c.bin", Vec::new()),
        ]);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let error = checkpoint.default_files().unwrap_err();
        assert!(error.to_string().ends_with("holds several weight files: a.safetensors, b.safetensors"), "{error}");
        assert!(error.hint().unwrap().starts_with("name one of them: checkpoint = \""));
        let both = checkpoint.weights(&["a.safetensors".to_owned(), "b.safetensors".to_owned()]).unwrap_err();
        assert!(both.to_string().contains("tensor `a` is in"), "{both}");
    }

    #[test]
    fn pointers_and_pickles_that_are_none_say_so() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n".to_vec();
        let folder = folder(&[
            ("a.safetensors", pointer.clone()),
            ("b.bin", b"no zip".to_vec()),
            ("c.bin", pointer),
            ("d.safetensors", Vec::new()),
        ]);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let error = |file: &str| chain(checkpoint.weights(&[file.to_owned()]).unwrap_err());
        assert!(error("a.safetensors").contains("Git LFS pointer"));
        assert!(error("b.bin").ends_with("read without running code: it is no zip archive"));
        assert!(error("c.bin").contains("Git LFS pointer"));
        assert!(error("d.safetensors").contains("0 bytes cannot hold a header"));
    }

    #[test]
    fn no_weights_at_all() {
        let folder = folder(&[("config.json", b"{}".to_vec())]);
        assert!(Checkpoint::open(folder.path()).unwrap_err().to_string().contains("holds no weights"));
        assert!(Checkpoint::open(&folder.path().join("nowhere")).unwrap_err().to_string().contains("cannot read"));
    }
}
