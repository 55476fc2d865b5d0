//! `codegen`: writes source code that loads and runs a package's bundles, from its release in the store.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{Context, Error, PackageRequest, bundles, releases};
use crate::{
    base::{AtomicFile, PackageName, remove_left_behind},
    codegen::{self, CodegenError, SwiftOptions},
    contract::notes::EndTokens,
    manifest::release::{BundleKind, Release},
};

/// What to write.
#[derive(Debug, Clone)]
pub struct CodegenOptions {
    /// The package; the highest version of the store that will do.
    pub request: PackageRequest,
    /// Where the files go, from the working directory.
    pub out: PathBuf,
    /// Name of the enum that has everything; none: made of the package's.
    pub name: Option<String>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CodegenReport {
    /// Package and version.
    pub release: String,
    /// The files, and whether each changed.
    pub files: BTreeMap<PathBuf, bool>,
    /// Files of an earlier version of the package that are not needed any more, and were removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<PathBuf>,
    /// What the user may want to know.
    pub warnings: Vec<String>,
}

/// Why no code was written.
#[derive(Debug, thiserror::Error)]
pub enum CodegenWriteError {
    /// There is no code for the package.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    /// A file is there that was not generated for this package.
    #[error("`{}` was not generated for `{package}`: {}", path.display(), found.as_ref().map_or_else(|| "mlreg did not write it".to_owned(), |found| format!("it is the code of `{found}`")))]
    Taken {
        /// The file.
        path: PathBuf,
        /// The package that has no code yet.
        package: PackageName,
        /// The package that the file is for; none: it is not mlreg's.
        found: Option<String>,
    },
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
            Self::Codegen(CodegenError::TypeName { .. }) => {
                Some("choose letters, digits and `_`, a letter first, and no name of Swift's own".to_owned())
            }
            Self::Taken { .. } => Some("give the enum another name with `--name`, or write to another folder with `--out`".to_owned()),
            _ => None,
        }
    }
}

/// Writes Swift for a release. Files that would not change stay untouched; those that the package does not need any more are removed.
///
/// # Errors
/// When there is no such release, nothing in it that Core ML can load, or a file cannot be written; `Taken`, and then nothing was written.
pub fn swift(context: &Context, options: &CodegenOptions) -> Result<CodegenReport, Error> {
    let release = releases::find(context, &options.request)?.release;
    let (ends, warnings) = end_tokens(context, &release);
    let sources = codegen::swift(&release, &SwiftOptions { name: options.name.clone(), ends }).map_err(CodegenWriteError::from)?;
    let folder = context.directory().join(&options.out);
    let name = options.name.clone().unwrap_or_else(|| codegen::type_name(&release.package));
    for name in sources.iter().map(|source| source.name.clone()).chain(codegen::file_names(&name)) {
        let path = folder.join(name);
        refuse_link(&path).map_err(|source| CodegenWriteError::Write { path, source })?;
    }
    let mut old = own_files(&folder, &name, &release.package)?;
    let mut files = BTreeMap::new();
    for source in sources {
        let path = folder.join(&source.name);
        let changed = write(&path, &source.text, 0o644).map_err(|source| CodegenWriteError::Write { path: path.clone(), source })?;
        old.retain(|old| *old != path);
        files.insert(path, changed);
    }
    for path in &old {
        fs::remove_file(path).map_err(|source| CodegenWriteError::Write { path: path.clone(), source })?;
    }
    Ok(CodegenReport { release: format!("{}@{}", release.package, release.version), files, removed: old, warnings })
}

/// Files of the enum that were generated for the package before.
fn own_files(folder: &Path, name: &str, package: &PackageName) -> Result<Vec<PathBuf>, CodegenWriteError> {
    let mut own = Vec::new();
    for path in codegen::file_names(name).map(|file| folder.join(file)) {
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(CodegenWriteError::Write { path, source }),
        };
        let text = String::from_utf8_lossy(&bytes);
        match codegen::generated_for(&text) {
            Some(found) if found == package.as_str() => own.push(path),
            found => return Err(CodegenWriteError::Taken { found: found.map(str::to_owned), path, package: package.clone() }),
        }
    }
    Ok(own)
}

/// The tokens that end a text, from the first bundle of the language model that the store has whole.
fn end_tokens(context: &Context, release: &Release) -> (Vec<u32>, Vec<String>) {
    let ids = codegen::language_bundles(release);
    if ids.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let variants = release.variants.iter().filter(|variant| variant.kind == BundleKind::MlPackage && ids.contains(&variant.id.as_str()));
    let opened = variants.filter_map(|variant| bundles::Found::Variant(Box::new(variant.clone())).open(context).ok());
    let note = opened.into_iter().find_map(|bundle| bundle.notes().get::<EndTokens>());
    let ends = note.map(|tokens| tokens.ids()).unwrap_or_default();
    let unknown = "no bundle in the store names the tokens that end a text: generation stops at its limit alone";
    let warnings = if ends.is_empty() { vec![unknown.to_owned()] } else { Vec::new() };
    (ends, warnings)
}

/// Refuses a link in the place of a generated file, because what it leads to is not mlreg's.
pub(super) fn refuse_link(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        true => Err(io::Error::other("it is a symbolic link, which generated files are not written through")),
        false => Ok(()),
    }
}

/// Writes a generated file, unless it is as it should be; says whether it changed.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> io::Result<bool> {
    refuse_link(path)?;
    remove_left_behind(path.parent().unwrap_or(Path::new(".")));
    let same = fs::read(path).is_ok_and(|bytes| bytes == text.as_bytes());
    if !same {
        let mut file = AtomicFile::create(path)?.with_mode(mode);
        file.file().write_all(text.as_bytes())?;
        file.commit()?;
    }
    Ok(!same)
}
