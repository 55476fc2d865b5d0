//! Packages from disk, ready to be run: the program decoded, weight files mapped and read when an operation needs them.
//!
//! Only `.mlpackage` folders: a compiled `.mlmodelc` holds its program as text.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use memmap2::Mmap;

use super::{ConstantSource, Interpreter, Operators, SourceError};
use crate::{
    base::map_file,
    emit::coreml::{BlobError, BlobRecord, CoreMlError, ModelMetadata, PackageManifest, WeightRecords, blob, decode},
    mil::{Program, Recipe, RecipeKind},
};

/// How deep folders of weight files may lie in each other.
const MOST_FOLDERS: usize = 8;

/// Why a package cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("cannot use `{path}`")]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<CoreMlError>,
    },
    /// The manifest names no specification.
    #[error("`{path}` names no specification")]
    NoSpecification {
        /// The manifest.
        path: PathBuf,
    },
}

/// A package that can be run.
#[derive(Debug)]
pub struct Package {
    program: Program,
    metadata: ModelMetadata,
    weights: MappedWeights,
}

impl Package {
    /// Opens the package in `folder`. Weight files are mapped, not read; their records are compared with the program.
    ///
    /// # Errors
    /// When files are missing or damaged, or contradict each other.
    pub fn open(folder: &Path) -> Result<Self, PackageError> {
        let manifest_path = folder.join("Manifest.json");
        let io = |path: &Path, source| PackageError::Io { path: path.to_owned(), source };
        let content = |path: &Path, source| PackageError::Content { path: path.to_owned(), source: Box::new(source) };
        let manifest = fs::read(&manifest_path).map_err(|source| io(&manifest_path, source))?;
        let manifest = PackageManifest::parse(&manifest).map_err(|source| content(&manifest_path, source))?;
        let model = manifest.specification().ok_or_else(|| PackageError::NoSpecification { path: manifest_path.clone() })?;
        let path = model.below(folder);
        let bytes = fs::read(&path).map_err(|source| io(&path, source))?;
        let weights = MappedWeights::below(path.parent().unwrap_or(folder), &path)?;
        let (program, metadata) = decode(bytes.into(), &weights).map_err(|source| content(&path, source))?;
        Ok(Self { program, metadata, weights })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// What the package says besides its program.
    pub fn metadata(&self) -> &ModelMetadata {
        &self.metadata
    }

    /// Where its constants come from.
    pub fn weights(&self) -> &MappedWeights {
        &self.weights
    }

    /// An interpreter of its program.
    pub fn interpreter(&self, operators: Operators) -> Interpreter<'_> {
        Interpreter::new(&self.program, operators, &self.weights)
    }
}

/// The weight files of a package, by the names that its program gives them.
#[derive(Debug, Default)]
pub struct MappedWeights {
    files: BTreeMap<String, Mmap>,
}

impl MappedWeights {
    /// Maps every file below `folder` but the specification itself, as `@model_path/<path>`.
    fn below(folder: &Path, specification: &Path) -> Result<Self, PackageError> {
        let mut weights = Self::default();
        weights.add(folder, "@model_path", specification, MOST_FOLDERS)?;
        Ok(weights)
    }

    fn add(&mut self, folder: &Path, name: &str, except: &Path, depth: usize) -> Result<(), PackageError> {
        let io = |path: &Path, source| PackageError::Io { path: path.to_owned(), source };
        for entry in fs::read_dir(folder).map_err(|source| io(folder, source))? {
            let path = entry.map_err(|source| io(folder, source))?.path();
            let Some(file) = path.file_name().and_then(|file| file.to_str()) else { continue };
            let name = format!("{name}/{file}");
            if path.is_dir() && depth > 0 {
                self.add(&path, &name, except, depth - 1)?;
            } else if path.is_file() && path != except {
                self.files.insert(name, map_file(&path).map_err(|source| io(&path, source))?);
            }
        }
        Ok(())
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

/// A constant that no weight file holds.
#[derive(Debug, thiserror::Error)]
#[error("the constant is made from a checkpoint, which a package does not have")]
struct NotInPackage;

impl ConstantSource for MappedWeights {
    fn bytes(&self, recipe: &Recipe) -> Result<Cow<'_, [u8]>, SourceError> {
        let RecipeKind::Blob { file, offset } = recipe.kind() else { return Err(NotInPackage.into()) };
        let (map, record) = self.find(file, *offset)?;
        // The record was checked against the length of the file.
        Ok(Cow::Borrowed(&map[record.data.offset() as usize..record.data.end() as usize]))
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
