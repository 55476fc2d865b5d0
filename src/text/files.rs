//! The files of one tokenizer by name: plain files of a package, files of a placed folder, or what lies beside a file
//! that the user names.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value as Json;

use super::TextError;

/// The folder with chat templates that have names.
const TEMPLATES: &str = "additional_chat_templates";

/// Where a file lies, and the path that messages show.
#[derive(Debug, Clone)]
struct Located {
    path: PathBuf,
    shown: PathBuf,
}

/// Files that belong to one tokenizer, by their path relative to the tokenizer's folder. Nothing is read before it is
/// asked for.
#[derive(Debug, Clone, Default)]
pub struct TokenizerFiles {
    files: BTreeMap<String, Located>,
    named: Option<String>,
}

impl TokenizerFiles {
    /// Files by name, and where their bytes lie. Messages show the names.
    pub fn new(files: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        let located = |(name, path): (String, PathBuf)| (name.clone(), Located { path, shown: PathBuf::from(name) });
        Self { files: files.into_iter().map(located).collect(), named: None }
    }

    /// The files of a folder, or a file and what lies beside it. A file that is named is the tokenizer, whatever else
    /// there is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn beside(path: &Path) -> Result<Self, TextError> {
        let error = |source| TextError::Io { path: path.to_owned(), source };
        let metadata = fs::metadata(path).map_err(error)?;
        let (folder, named) = match (metadata.is_dir(), path.file_name()) {
            (true, _) | (false, None) => (path, None),
            (false, Some(name)) => (path.parent().unwrap_or(Path::new("")), Some(name.to_string_lossy().into_owned())),
        };
        let mut files = BTreeMap::new();
        // A file that can be read may lie in a folder that cannot be listed.
        for (below, prefix) in [(folder.to_owned(), String::new()), (folder.join(TEMPLATES), format!("{TEMPLATES}/"))] {
            let below = if below.as_os_str().is_empty() { PathBuf::from(".") } else { below };
            for entry in fs::read_dir(below).into_iter().flatten().filter_map(Result::ok) {
                let Ok(name) = entry.file_name().into_string() else { continue };
                let name = format!("{prefix}{name}");
                let path = folder.join(&name);
                files.insert(name, Located { shown: path.clone(), path });
            }
        }
        if let Some(name) = &named {
            files.insert(name.clone(), Located { path: path.to_owned(), shown: path.to_owned() });
        }
        Ok(Self { files, named })
    }

    /// The name of the file that the user named.
    pub(super) fn named(&self) -> Option<&str> {
        self.named.as_deref()
    }

    /// Every name.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Names of the templates in the folder for them, with the file of each.
    pub(super) fn templates(&self) -> impl Iterator<Item = (&str, &str)> {
        let name =
            |file: &'_ str| file.strip_prefix(TEMPLATES)?.strip_prefix('/')?.strip_suffix(".jinja").map(str::len);
        self.names().filter_map(move |file| name(file).map(|length| (&file[TEMPLATES.len() + 1..][..length], file)))
    }

    /// The path that messages show.
    pub(super) fn shown(&self, name: &str) -> PathBuf {
        self.files.get(name).map_or_else(|| PathBuf::from(name), |file| file.shown.clone())
    }

    /// The bytes of a file; `None` where there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, TextError> {
        let Some(file) = self.files.get(name) else { return Ok(None) };
        match fs::read(&file.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(source) if source.kind() == io::ErrorKind::NotFound && self.named.as_deref() != Some(name) => Ok(None),
            Err(source) => Err(TextError::Io { path: file.shown.clone(), source }),
        }
    }

    /// The text of a file.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, TextError> {
        let text = |bytes| String::from_utf8(bytes).map_err(|source| self.form(name, source));
        self.read(name)?.map(text).transpose()
    }

    /// The document of a file.
    pub(super) fn json(&self, name: &str) -> Result<Option<Json>, TextError> {
        let json = |bytes: Vec<u8>| serde_json::from_slice(&bytes).map_err(|source| self.form(name, source));
        self.read(name)?.map(json).transpose()
    }

    /// An error about what a file contains.
    pub(super) fn form(&self, name: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TextError {
        TextError::Form { path: self.shown(name), source: source.into() }
    }
}
