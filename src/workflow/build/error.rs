//! Errors of builds. Every message names the affected component, variant or file.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::place;
use crate::{
    arch::ArchError,
    base::{Digest, PathClash, PathError, UrlError},
    checkpoint::CheckpointError,
    emit::{FormatError, coreml::CoreMlError},
    manifest::{GlobError, ManifestError, Precision, ReleaseError},
    mil::VerifyError,
    passes::PassError,
    recipe::ConvertError,
    workflow::ErrorKind,
};

/// An error of a build.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum BuildError {
    /// A file or folder that cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file or folder that is not a package manifest.
    #[error("`{}` is {what}, expected a package manifest (TOML)", path.display())]
    NotAManifest { path: PathBuf, what: String, example: Option<String> },
    /// A malformed address of the Hub.
    #[error(transparent)]
    Address { source: UrlError },
    /// A file of the Hub whose digest was wrong at every attempt.
    #[error("digest mismatch for `{file}`: expected sha256:{expected}, received sha256:{received} ({size} bytes)")]
    Damaged { file: String, expected: Digest, received: Digest, size: u64 },
    /// A path that does not exist in a commit of the Hub.
    #[error("`hf://{repository}@{commit}` has no `{path}`{}", if *is_offline { " in the cache of the Hub's client" } else { "" })]
    NoHubFile { path: String, repository: String, commit: String, is_offline: bool, nearest: Vec<String> },
    /// A folder of a repository without weight files.
    #[error("`{place}` has no weights: no `.safetensors`, `.bin`, `.pth`, `.pt` or `.ckpt` file")]
    NoHubWeights { place: String, folders: Vec<String> },
    /// Two plain files with one name.
    #[error(
        "component `{component}`: `{first}` and `{second}` both have the name `{name}`, at least where case and \
         accents' encoding do not count"
    )]
    SameName { component: String, name: String, first: String, second: String },
    /// An error of the package manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A malformed glob over variants.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// A glob that matches no variant.
    #[error("`{glob}` matches no variant of `{package}`")]
    NoVariant { glob: String, package: String, nearest: Vec<String> },
    /// A setting that manifests may have and this version does not build.
    #[error("component `{component}`: `{what}` is not built by this version of mlreg")]
    Unsupported { component: String, what: String },
    /// A component without the shape key of its architecture.
    #[error("component `{component}`: `{architecture}` needs `{key}`")]
    Shape { component: String, architecture: &'static str, key: &'static str },
    /// An error of the checkpoint's files.
    #[error("component `{component}`: cannot read its checkpoint")]
    Checkpoint {
        component: String,
        #[source]
        source: CheckpointError,
    },
    /// An error of the architecture that reads the checkpoint.
    #[error("component `{component}`: cannot convert `{}`", checkpoint.display())]
    Architecture {
        component: String,
        checkpoint: PathBuf,
        #[source]
        source: ArchError,
    },
    /// An error while a constant is computed.
    #[error("component `{component}`: cannot convert a weight")]
    Convert {
        component: String,
        #[source]
        source: ConvertError,
    },
    /// A constant that the bundle format cannot store.
    #[error("component `{component}`: cannot lay out its weight file")]
    Weights {
        component: String,
        #[source]
        source: FormatError,
    },
    /// Components with `shared = true` that have no tensor in common.
    #[error("`shared = true`: {} {} no tensor in common at {precision}", .components.join(", "), if .components.len() == 1 { "alone has" } else { "have" })]
    NothingShared { components: Vec<String>, precision: Precision },
    /// A form that the model cannot take.
    #[error("variant `{id}` cannot be built")]
    Program {
        id: String,
        #[source]
        source: ArchError,
    },
    /// A pass that cannot be applied to the program.
    #[error("variant `{id}` cannot be built")]
    Pass {
        id: String,
        #[source]
        source: PassError,
    },
    /// A program that its bundle format cannot express.
    #[error("variant `{id}` cannot be written as {bundle}")]
    Emit {
        id: String,
        bundle: &'static str,
        #[source]
        source: FormatError,
    },
    /// A program that only Apple's compiler can compile, on a machine without it.
    #[error("variant `{id}` cannot be compiled to a .mlmodelc here")]
    Compile {
        id: String,
        component: String,
        #[source]
        source: CoreMlError,
    },
    /// A failure of Apple's compiler.
    #[error("variant `{id}`: Apple's compiler failed: {said}")]
    AppleCompiler { id: String, said: String },
    /// A program that does not verify, which is a bug of mlreg.
    #[error("the program of variant `{id}` is not sound")]
    Unsound {
        id: String,
        #[source]
        source: Box<VerifyError>,
    },
    /// A Git LFS pointer in place of a file of a bundle.
    #[error("`{}` is a Git LFS pointer: its real bytes were never downloaded", path.display())]
    LfsPointer { path: PathBuf },
    /// A symbolic link that leads out of a bundle.
    #[error("`{}` is a link to `{}`, outside its bundle", path.display(), to.display())]
    Link { path: PathBuf, to: PathBuf },
    /// A symbolic link to a folder that contains it.
    #[error("`{}` is a link to `{}`, which it lies in", path.display(), to.display())]
    LinkCircle { path: PathBuf, to: PathBuf },
    /// A symbolic link that leads out of the folder that `import` searches.
    #[error("`{}` is a link to `{}`, outside of the folder that `import` searches", path.display(), to.display())]
    FoundLink { path: PathBuf, to: PathBuf },
    /// Names that are equal on some file system.
    #[error("`{}` cannot be released: {clash}", path.display())]
    Clash { path: PathBuf, clash: PathClash },
    /// A bundle with too many files.
    #[error("`{}` has more than {limit} files", path.display())]
    TooManyFiles { path: PathBuf, limit: usize },
    /// A document that exceeds its limit.
    #[error("`{}` has {found} bytes: expected at most {limit}", path.display())]
    TooLong { path: PathBuf, found: u64, limit: u64 },
    /// A socket, device or other special file.
    #[error("`{}` is neither a file nor a folder", path.display())]
    Special { path: PathBuf },
    /// A file name that some file system cannot hold.
    #[error("`{}` cannot be part of a bundle", path.display())]
    Path {
        path: PathBuf,
        #[source]
        source: PathError,
    },
    /// A file name that is not Unicode.
    #[error("`{}` cannot be part of a bundle: its name is no Unicode text", path.display())]
    Name { path: PathBuf },
    /// An empty bundle.
    #[error("the bundle `{}` holds no files", path.display())]
    Empty { path: PathBuf },
    /// A package without a specification to compile.
    #[error("`{}` is no Core ML package: it has no `Manifest.json` that names a specification", path.display())]
    NoSpecification { path: PathBuf },
    /// A model whose description cannot be read.
    #[error("cannot read the model `{}`", path.display())]
    Model {
        path: PathBuf,
        #[source]
        source: CoreMlError,
    },
    /// A release that breaks the rules of release manifests.
    #[error("`{package}` cannot be released")]
    Release {
        package: String,
        #[source]
        source: Box<ReleaseError>,
    },
}

impl BuildError {
    /// The kind of the error, which decides the exit code.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unsound { .. } => ErrorKind::Internal,
            Self::Damaged { .. } => ErrorKind::Verification,
            _ => ErrorKind::Input,
        }
    }

    /// The next step for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Manifest(error) => error.hint(),
            Self::Read { path, source } if source.kind() == io::ErrorKind::NotFound => missing(path),
            Self::NotAManifest { example: Some(example), .. } => {
                Some(format!("a manifest says what to make of it; write one, say `model.toml`, and build \
                     that:\n\n{example}"))
            }
            Self::NotAManifest { .. } => Some("`mlreg build --help` and README.md show what a manifest looks like".to_owned()),
            Self::Checkpoint { source: CheckpointError::Io { path, source }, .. } if source.kind() == io::ErrorKind::NotFound => {
                missing(path)
            }
            Self::NoVariant { nearest, .. } | Self::NoHubFile { nearest, .. } if !nearest.is_empty() => {
                let names: Vec<String> = nearest.iter().map(|name| format!("`{name}`")).collect();
                Some(format!("did you mean {}?", names.join(" or ")))
            }
            Self::NoHubWeights { folders, .. } if !folders.is_empty() => {
                let names: Vec<String> = folders.iter().map(|name| format!("`{name}`")).collect();
                Some(format!("the repository has weights in {}: add the folder to the address", names.join(", ")))
            }
            Self::NoHubFile { is_offline: true, .. } => {
                Some("unset `HF_HUB_OFFLINE`, or download the file with `hf download` before".to_owned())
            }
            Self::Damaged { .. } => {
                Some("the wrong bytes were discarded; build again, if need be without the proxy or mirror in between".to_owned())
            }
            Self::Unsupported { .. } => Some("leave it out, or import a bundle that was made elsewhere with `import`".to_owned()),
            Self::Shape { key: "size", .. } => {
                Some("add the size of pictures in pixels, e.g. size = 1024 or size = [[768, 1024]]".to_owned())
            }
            Self::Shape { key: "sequence", .. } => Some("add the number of tokens of one call, e.g. sequence = [128, \
                 512]".to_owned()),
            Self::NothingShared { .. } => {
                Some("`shared` is for components of one checkpoint that hold the same tensors, such as an encoder and a decoder".to_owned())
            }
            Self::Checkpoint { source, .. } => source.hint(),
            Self::Architecture { source, .. } | Self::Program { source, .. } => source.hint(),
            Self::Convert { source, .. } => source.hint(),
            Self::Emit { source, .. } => source.hint(),
            Self::Model { source, .. } => source.hint(),
            Self::Compile { component, .. } => Some(format!(
                "build it on a Mac with Xcode, whose compiler is used there; or leave \"mlmodelc\" out of the formats \
                 of `{component}`: Xcode compiles a .mlpackage that is part of an app's target"
            )),
            Self::LfsPointer { .. } => Some("fetch the real bytes with `git lfs pull`".to_owned()),
            Self::Link { .. } => Some("copy the file into the bundle".to_owned()),
            Self::LinkCircle { .. } => Some("remove the link".to_owned()),
            Self::FoundLink { .. } => Some("copy the bundle there, or name it in `import` without wildcards".to_owned()),
            Self::Clash { .. } => Some("rename one of the two".to_owned()),
            Self::Release { source, .. } => source.hint(),
            _ => None,
        }
    }

    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }
}

/// A suggestion for a path that does not exist.
fn missing(path: &Path) -> Option<String> {
    place::near(path).map(|near| format!("did you mean `{}`?", near.display()))
}
