//! Packages from disk, opened: programs decoded, weight files mapped and read when an operation needs them.
//!
//! Only `.mlpackage` folders, of a program or a pipeline of programs: a compiled `.mlmodelc` holds its program as text.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use memmap2::Mmap;

use super::{BlobError, BlobRecord, CoreMlError, ModelMetadata, PackageManifest, WeightRecords, blob};
use crate::{
    base::{RelativePath, limits, map_file, read_at_most},
    contract::Interface,
    mil::Program,
    recipe::{ConstantSource, Recipe, SourceError},
};

/// The files of a package, by their paths in it.
pub type Files = BTreeMap<RelativePath, PathBuf>;

const MANIFEST: &str = "Manifest.json";
/// How deep folders of weight files may lie in each other.
const MOST_FOLDERS: usize = 8;
/// No message of protobuf is longer.
const LONGEST_SPECIFICATION: u64 = 2 << 30;

/// Why a package cannot be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum PackageError {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("cannot use `{path}`")]
    Content {
        path: PathBuf,
        #[source]
        source: Box<CoreMlError>,
    },
    /// The manifest names no specification.
    #[error("`{path}` names no specification")]
    NoSpecification { path: PathBuf },
}

/// A package that can be run.
#[derive(Debug)]
pub struct Package {
    model: Model,
    weights: MappedWeights,
}

impl Package {
    /// Opens the package in `folder`. Weight files are mapped, not read; their records are compared with the program.
    ///
    /// # Errors
    /// When files are missing or damaged, or contradict each other.
    pub fn open(folder: &Path) -> Result<Self, PackageError> {
        let mut files = Files::new();
        let root = fs::canonicalize(folder).map_err(|source| PackageError::Io { path: folder.to_owned(), source })?;
        walk(folder, None, &mut vec![root], &mut files)?;
        Self::of_files(folder, &files)
    }

    /// Opens a package whose files lie anywhere; `files` has them by their paths in the bundle, `name` is the bundle's
    /// in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn of_files(name: &Path, files: &Files) -> Result<Self, PackageError> {
        let io = |path: &Path, source| PackageError::Io { path: path.to_owned(), source };
        let content = |path: &Path, source| PackageError::Content { path: path.to_owned(), source: Box::new(source) };
        let read = |path: &RelativePath, limit: u64| match files.get(path) {
            Some(file) => read_at_most(file, limit).map_err(|source| io(&path.below(name), source)),
            None => Err(io(&path.below(name), io::ErrorKind::NotFound.into())),
        };
        let manifest: RelativePath = MANIFEST.parse().expect("a plain name");
        let manifest_path = manifest.below(name);
        let manifest = PackageManifest::parse(&read(&manifest, limits::SMALL_DOCUMENT_BYTES)?)
            .map_err(|source| content(&manifest_path, source))?;
        let model =
            manifest.specification().ok_or_else(|| PackageError::NoSpecification { path: manifest_path.clone() })?;
        let bytes = read(&model, LONGEST_SPECIFICATION)?;
        let weights = MappedWeights::beside(&model, files)?;
        let model = Model::read(Bytes::from(bytes), &weights).map_err(|source| content(&model.below(name), source))?;
        Ok(Self { model, weights })
    }

    /// What it holds: a program, or a pipeline of programs.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The program; of a pipeline, that of its first part.
    pub fn program(&self) -> &Program {
        let mut model = &self.model;
        loop {
            match &model.body {
                ModelBody::Program(program) => return program,
                ModelBody::Pipeline(parts) => model = &parts[0].model,
            }
        }
    }

    /// What a function (without a name: the one that runs by default) takes and gives; `None` where there is no such
    /// function. Images have the shapes of the program's tensors.
    pub fn interface(&self, function: Option<&str>) -> Option<&Interface> {
        let interface = &self.model.interface;
        match function {
            Some(name) if !interface.functions.is_empty() => interface.functions.get(name),
            Some(name) if self.model.function(Some(name)).is_none() => None,
            _ => Some(interface),
        }
    }

    /// What the package says besides its program or pipeline.
    pub fn metadata(&self) -> &ModelMetadata {
        &self.model.metadata
    }

    /// Where its constants come from.
    pub fn weights(&self) -> &MappedWeights {
        &self.weights
    }
}

/// The weight files of a package, by the names that its program gives them.
#[derive(Debug, Default)]
pub struct MappedWeights {
    files: BTreeMap<String, Mmap>,
}

impl MappedWeights {
    /// Maps every file below the folder of the specification but itself, as `@model_path/<path>`.
    fn beside(model: &RelativePath, files: &Files) -> Result<Self, PackageError> {
        let folder = model.parent().map_or(String::new(), |parent| format!("{parent}/"));
        let mut weights = Self::default();
        for (path, file) in files.iter().filter(|(path, _)| *path != model) {
            let Some(rest) = path.as_str().strip_prefix(folder.as_str()) else { continue };
            let map = map_file(file).map_err(|source| PackageError::Io { path: file.clone(), source })?;
            weights.files.insert(format!("@model_path/{rest}"), map);
        }
        Ok(weights)
    }

    fn find(&self, file: &str, offset: u64) -> Result<(&Mmap, BlobRecord), BlobError> {
        let map = self.files.get(file).ok_or_else(|| BlobError::NoFile { file: file.to_owned() })?;
        Ok((map, blob::record_at(io::Cursor::new(&map[..]), offset)?))
    }
}

impl WeightRecords for MappedWeights {
    fn record(&self, file: &str, offset: u64) -> Result<Option<BlobRecord>, BlobError> {
        self.find(file, offset).map(|(_, record)| Some(record))
    }
}

/// Finds the files below `folder`, whose real path is the last of `open`; those before it are the folders that it lies
/// in. What has a name that no package can have is passed over, and so are links to folders outside and to one of
/// `open`, which would be walked for ever.
fn walk(
    folder: &Path,
    base: Option<&RelativePath>,
    open: &mut Vec<PathBuf>,
    files: &mut Files,
) -> Result<(), PackageError> {
    let io = |source| PackageError::Io { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<RelativePath>().ok());
        let Some(name) = name else { continue };
        let name = base.map_or(name.clone(), |base| base.join(&name));
        if path.is_dir() && open.len() <= MOST_FOLDERS {
            let to = fs::canonicalize(&path).map_err(io)?;
            if to.starts_with(&open[0]) && !open.contains(&to) {
                open.push(to);
                walk(&path, Some(&name), open, files)?;
                open.pop();
            }
        } else if path.is_file() {
            files.insert(name, path);
        }
        // Links to folders may multiply what is there.
        if files.len() > limits::RELEASE_FILES {
            let source = io::Error::other(format!("it has more than {} files", limits::RELEASE_FILES));
            return Err(PackageError::Io { path: open[0].clone(), source });
        }
    }
    Ok(())
}

/// A constant that no weight file holds.
#[derive(Debug, thiserror::Error)]
#[error("the constant is made from a checkpoint, which a package does not have")]
struct NotInPackage;

impl ConstantSource for MappedWeights {
    fn bytes(&self, recipe: &Recipe) -> Result<Cow<'_, [u8]>, SourceError> {
        let (file, offset) = recipe.as_blob().ok_or(NotInPackage)?;
        let (map, record) = self.find(file, offset)?;
        // The record was checked against the length of the file.
        Ok(Cow::Borrowed(&map[record.data.offset() as usize..record.data.end() as usize]))
    }
}

mod images;
mod model;

pub(crate) use model::PIPELINE_FUNCTION;
pub use model::{Model, ModelBody, Part};

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
