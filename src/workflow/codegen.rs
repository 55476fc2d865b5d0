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

/// Which code to write, and where.
#[derive(Debug, Clone)]
pub struct CodegenOptions {
    /// The package. The highest matching version in the store is taken.
    pub request: PackageRequest,
    /// Folder for the files, relative to the working directory.
    pub out: PathBuf,
    /// Name of the enum; `None` derives it from the package's name.
    pub name: Option<String>,
}

/// Files that were written or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CodegenReport {
    /// Package and version.
    pub release: String,
    /// Every generated file, and whether its content changed.
    pub files: BTreeMap<PathBuf, bool>,
    /// Files of an earlier version that were removed because this one does not need them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<PathBuf>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// Reasons why no code was written.
#[allow(missing_docs, reason = "the messages name the fields")]
#[derive(Debug, thiserror::Error)]
pub enum CodegenWriteError {
    /// No code can be generated for the package.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    /// A file in the folder was not generated for this package.
    #[error("`{}` was not generated for `{package}`: {}", path.display(), found.as_ref().map_or_else(|| "mlreg did not write it".to_owned(), |found| format!("it is the code of `{found}`")))]
    Taken {
        path: PathBuf,
        package: PackageName,
        /// The package that the file is for; none: it is not mlreg's.
        found: Option<String>,
    },
    /// The file system refused a write.
    #[error("cannot write `{}`", path.display())]
    Write {
        path: PathBuf,
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
            Self::Taken { .. } => {
                Some("give the enum another name with `--name`, or write to another folder with `--out`".to_owned())
            }
            _ => None,
        }
    }
}

/// Writes Swift for a release. Files whose content stays the same are not touched; generated files that the release
/// does not need are removed.
///
/// # Errors
/// When the store has no such release, when Core ML can load none of its bundles, or when a file cannot be written.
/// After `Taken` no file was written.
pub fn swift(context: &Context, options: &CodegenOptions) -> Result<CodegenReport, Error> {
    let release = releases::find(context, &options.request)?.release;
    let (ends, warnings) = end_tokens(context, &release);
    let sources = codegen::swift(&release, &SwiftOptions { name: options.name.clone(), ends })
        .map_err(CodegenWriteError::from)?;
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
        let changed = write(&path, &source.text, 0o644)
            .map_err(|source| CodegenWriteError::Write { path: path.clone(), source })?;
        old.retain(|old| *old != path);
        files.insert(path, changed);
    }
    for path in &old {
        fs::remove_file(path).map_err(|source| CodegenWriteError::Write { path: path.clone(), source })?;
    }
    Ok(CodegenReport { release: format!("{}@{}", release.package, release.version), files, removed: old, warnings })
}

/// Files of the enum that an earlier run generated for the package.
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
            found => {
                return Err(CodegenWriteError::Taken {
                    found: found.map(str::to_owned),
                    path,
                    package: package.clone(),
                });
            }
        }
    }
    Ok(own)
}

/// The tokens that end a text, from the first bundle of a language model whose files are all in the store.
fn end_tokens(context: &Context, release: &Release) -> (Vec<u32>, Vec<String>) {
    let ids = codegen::language_bundles(release);
    if ids.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let variants = release
        .variants
        .iter()
        .filter(|variant| variant.kind == BundleKind::MlPackage && ids.contains(&variant.id.as_str()));
    let opened = variants.filter_map(|variant| bundles::Found::Variant(Box::new(variant.clone())).open(context).ok());
    let note = opened.into_iter().find_map(|bundle| bundle.notes().get::<EndTokens>());
    let ends = note.map(|tokens| tokens.ids()).unwrap_or_default();
    let unknown = "no bundle in the store names the tokens that end a text: generation stops at its limit alone";
    let warnings = if ends.is_empty() { vec![unknown.to_owned()] } else { Vec::new() };
    (ends, warnings)
}

/// Refuses to write through a symbolic link, because its target does not belong to mlreg.
pub(super) fn refuse_link(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        true => Err(io::Error::other("it is a symbolic link, which generated files are not written through")),
        false => Ok(()),
    }
}

/// Writes a generated file if its content differs; returns whether it did.
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
