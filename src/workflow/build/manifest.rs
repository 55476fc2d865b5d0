//! Reads package manifests. For a checkpoint or bundle in place of a manifest, the error shows a manifest that builds
//! it.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use super::{BuildError, front};
use crate::{base::PackageName, checkpoint::Checkpoint};

/// Maximum length of a manifest in bytes.
const LIMIT: u64 = 1 << 20;

const WEIGHTS: &[&str] = &["safetensors", "bin", "pth", "pt", "ckpt", "gguf"];
const BUNDLES: &[&str] = &["mlpackage", "mlmodelc", "mlmodel", "aimodel", "onnx"];

/// Reads the manifest `file`; messages use `path`, as the user typed it.
pub(super) fn read(file: &Path, path: &Path) -> Result<String, BuildError> {
    let none = |what: &str| Err(not_a_manifest(file, path, what.to_owned()));
    let (text, extension) =
        (path.to_string_lossy(), path.extension().unwrap_or_default().to_string_lossy().to_lowercase());
    if text.contains("://") {
        return none(if text.starts_with("hf://") { "an address of the Hub" } else { "an address" });
    }
    let metadata = fs::metadata(file).map_err(BuildError::read(path))?;
    if BUNDLES.contains(&extension.as_str()) {
        return none("a bundle");
    }
    if metadata.is_dir() {
        return none(if Checkpoint::open(file).is_ok() { "a checkpoint's folder" } else { "a folder" });
    }
    if WEIGHTS.contains(&extension.as_str()) {
        return none("a file of weights");
    }
    let mut bytes = Vec::new();
    File::open(file).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes)).map_err(BuildError::read(path))?;
    match String::from_utf8(bytes) {
        Ok(text) if text.len() as u64 <= LIMIT => Ok(text),
        Ok(_) => none("longer than 1 MiB"),
        Err(_) => none("no text in UTF-8"),
    }
}

fn not_a_manifest(file: &Path, path: &Path, what: String) -> BuildError {
    let text = path.to_string_lossy();
    let example = match what.as_str() {
        "a bundle" => Some(imported(&text)),
        "an address of the Hub" | "a checkpoint's folder" | "a file of weights" => Some(converted(file, &text)),
        _ => None,
    };
    BuildError::NotAManifest { path: path.to_owned(), what, example }
}

/// A manifest that imports a bundle.
fn imported(path: &str) -> String {
    let import = toml(path.trim_end_matches('/'));
    format!("{}\n[[component]]\nname = \"model\"\nimport = {import}\n", header(path))
}

/// A manifest that converts a checkpoint, with the keys of its architecture where config.json names one.
fn converted(file: &Path, path: &str) -> String {
    let (name, keys) = front::example(file);
    let tokenizer = file.join("tokenizer.json").is_file();
    let files = format!(
        "\n[[component]]\nname = \"tokenizer\"\nfiles = [{}]\n",
        toml(&format!("{}/tokenizer.json", path.trim_end_matches('/')))
    );
    let files = if tokenizer { files.as_str() } else { "" };
    format!("{}\n[[component]]\nname = \"{name}\"\ncheckpoint = {}\n{keys}\n{files}", header(path), toml(path))
}

fn header(path: &str) -> String {
    let last = path.trim_end_matches('/').rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = Path::new(last).file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let name: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let name = name
        .trim_start_matches(['-', '_', '.'])
        .parse::<PackageName>()
        .map_or("model".to_owned(), |name| name.to_string());
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\n")
}

fn toml(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{ComponentKind, PackageManifest};

    fn refused(path: &Path) -> (String, Option<String>) {
        match read(path, path).unwrap_err() {
            BuildError::NotAManifest { what, example, .. } => (what, example),
            other => panic!("{other}"),
        }
    }

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
    }

    #[test]
    fn what_is_no_manifest_is_named_and_has_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("Net.mlpackage")).unwrap();
        std::fs::write(path("a \"b\".safetensors"), b"x").unwrap();
        for (subject, expected, key) in [
            (fixture("taef1"), "a checkpoint's folder", "size"),
            (fixture("bert/minilm"), "a checkpoint's folder", "sequence"),
            ("hf://acme/Some_Model".into(), "an address of the Hub", "sequence"),
            (path("a \"b\".safetensors"), "a file of weights", "sequence"),
            (path("Net.mlpackage"), "a bundle", "import"),
        ] {
            let (what, example) = refused(&subject);
            assert_eq!(what, expected);
            let example = example.unwrap();
            let manifest =
                PackageManifest::parse(&example, "x.toml").unwrap_or_else(|error| panic!("{error}\n{example}"));
            let source = match &manifest.components[0].kind {
                ComponentKind::Checkpoint(conversion) => conversion.checkpoint.clone(),
                ComponentKind::Import(_) => String::new(),
                ComponentKind::Files(_) => panic!("files"),
            };
            assert!(source.is_empty() || Path::new(&source) == subject, "{source}");
            assert!(example.contains(&format!("\n{key} = ")), "{example}");
        }
    }

    #[test]
    fn junk_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        assert_eq!(refused(&path("a.toml", &[0xff; 10])), ("no text in UTF-8".to_owned(), None));
        assert_eq!(refused(&path("b.toml", &vec![b'#'; LIMIT as usize + 1])).0, "longer than 1 MiB");
        let huge = path("c", b"");
        File::options().write(true).open(&huge).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(refused(&huge).0, "longer than 1 MiB");
        assert_eq!(refused(folder.path()).0, "a folder");
        assert_eq!(read(&path("d.toml", b"[package]"), Path::new("d.toml")).unwrap(), "[package]");
    }
}
