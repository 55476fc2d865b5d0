//! `codegen`: writes source code that loads and runs a package's bundles, from its release in the store.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{Context, Error, PackageRequest, bundles, publish};
use crate::{
    base::AtomicFile,
    codegen::{self, CodegenError},
    manifest::release::{BundleKind, Release},
};

const END_TOKENS: &str = "dev.mlreg.end-token";

/// What to write.
#[derive(Debug, Clone)]
pub struct CodegenOptions {
    /// The package; the highest version of the store that will do.
    pub request: PackageRequest,
    /// Where the files go, from the working directory.
    pub out: PathBuf,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CodegenReport {
    /// Package and version.
    pub release: String,
    /// The files, and whether each changed.
    pub files: BTreeMap<PathBuf, bool>,
    /// What the user may want to know.
    pub warnings: Vec<String>,
}

/// Why no code was written.
#[derive(Debug, thiserror::Error)]
pub enum CodegenWriteError {
    /// There is no code for the package.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    /// The file system.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl CodegenWriteError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Codegen(CodegenError::NoModels { package }) => Some(format!("see what it has: mlreg show {package}")),
            _ => None,
        }
    }
}

/// Writes Swift for a release; what is as it should be stays untouched.
///
/// # Errors
/// When there is no such release, nothing in it that Core ML can load, or a file cannot be written.
pub fn swift(context: &Context, options: &CodegenOptions) -> Result<CodegenReport, Error> {
    let release = publish::find_usable(context, &options.request)?;
    let (ends, warnings) = end_tokens(context, &release);
    let sources = codegen::swift(&release, &ends).map_err(CodegenWriteError::from)?;
    let mut files = BTreeMap::new();
    for source in sources {
        let path = context.directory().join(&options.out).join(&source.name);
        let changed = write(&path, &source.text).map_err(|source| CodegenWriteError::Write { path: path.clone(), source })?;
        files.insert(path, changed);
    }
    Ok(CodegenReport { release: format!("{}@{}", release.package, release.version), files, warnings })
}

/// The tokens that end a text, from the first bundle of the language model that the store has whole.
fn end_tokens(context: &Context, release: &Release) -> (Vec<u32>, Vec<String>) {
    let ids = codegen::language_bundles(release);
    if ids.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let variants = release.variants.iter().filter(|variant| variant.kind == BundleKind::MlPackage && ids.contains(&variant.id.as_str()));
    let opened = variants.filter_map(|variant| bundles::Found::Variant(Box::new(variant.clone())).open(context).ok());
    let note = opened.into_iter().find_map(|bundle| bundle.package.metadata().user_defined.get(END_TOKENS).cloned());
    let ends: Vec<u32> = note.iter().flat_map(|note| note.split(',')).filter_map(|id| id.trim().parse().ok()).collect();
    let unknown = "no bundle in the store names the tokens that end a text: generation stops at its limit alone";
    let warnings = if ends.is_empty() { vec![unknown.to_owned()] } else { Vec::new() };
    (ends, warnings)
}

/// Says whether the file changed.
fn write(path: &Path, text: &str) -> io::Result<bool> {
    let same = fs::read(path).is_ok_and(|bytes| bytes == text.as_bytes());
    if !same {
        AtomicFile::write(path, text.as_bytes())?;
    }
    Ok(!same)
}
