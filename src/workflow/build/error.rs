//! What can go wrong in a build. Every message names the component, variant or file that it is about.

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
    recipe::ConvertError,
    workflow::ErrorKind,
};

/// Why a package cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file or folder that cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Something else in place of a package manifest.
    #[error("`{}` is {what}, expected a package manifest (TOML)", path.display())]
    NotAManifest {
        /// What was given.
        path: PathBuf,
        /// What it is.
        what: String,
        /// A manifest that says what to make of it.
        example: Option<String>,
    },
    /// An address that is none.
    #[error(transparent)]
    Address {
        /// What is wrong with it.
        source: UrlError,
    },
    /// A file of the Hub that came wrong again and again.
    #[error("digest mismatch for `{file}`: expected sha256:{expected}, received sha256:{received} ({size} bytes)")]
    Damaged {
        /// Its address.
        file: String,
        /// What the Hub says.
        expected: Digest,
        /// What came.
        received: Digest,
        /// Its length.
        size: u64,
    },
    /// A path that a commit does not have.
    #[error("`hf://{repository}@{commit}` has no `{path}`{}", if *is_offline { " in the cache of the Hub's client" } else { "" })]
    NoHubFile {
        /// What was asked for.
        path: String,
        /// The repository.
        repository: String,
        /// The commit.
        commit: String,
        /// Whether only the cache of the Hub's client was looked into.
        is_offline: bool,
        /// Paths that may be meant.
        nearest: Vec<String>,
    },
    /// A folder of a repository that is no checkpoint.
    #[error("`{place}` has no weights: no `.safetensors`, `.bin`, `.pth`, `.pt` or `.ckpt` file")]
    NoHubWeights {
        /// Its address.
        place: String,
        /// Folders of the repository that have weights.
        folders: Vec<String>,
    },
    /// Two plain files that would get one name.
    #[error(
        "component `{component}`: `{first}` and `{second}` both have the name `{name}`, at least where case and accents' encoding do not count"
    )]
    SameName {
        /// The component.
        component: String,
        /// The name.
        name: String,
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The package manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A glob over variants.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// A glob that means nothing.
    #[error("`{glob}` matches no variant of `{package}`")]
    NoVariant {
        /// The glob.
        glob: String,
        /// The package.
        package: String,
        /// Ids that it may be meant to match.
        nearest: Vec<String>,
    },
    /// Something that manifests may ask for and that is not built.
    #[error("component `{component}`: `{what}` is not built by this version of mlreg")]
    Unsupported {
        /// The component.
        component: String,
        /// The key and value.
        what: String,
    },
    /// A component without the shape that its architecture needs.
    #[error("component `{component}`: `{architecture}` needs `{key}`")]
    Shape {
        /// The component.
        component: String,
        /// Its architecture.
        architecture: &'static str,
        /// What is not there.
        key: &'static str,
    },
    /// The checkpoint.
    #[error("component `{component}`: cannot read its checkpoint")]
    Checkpoint {
        /// The component.
        component: String,
        /// Why.
        #[source]
        source: CheckpointError,
    },
    /// The architecture.
    #[error("component `{component}`: cannot convert `{}`", checkpoint.display())]
    Architecture {
        /// The component.
        component: String,
        /// Its checkpoint.
        checkpoint: PathBuf,
        /// Why.
        #[source]
        source: ArchError,
    },
    /// A constant.
    #[error("component `{component}`: cannot convert a weight")]
    Convert {
        /// The component.
        component: String,
        /// Why.
        #[source]
        source: ConvertError,
    },
    /// The weight file.
    #[error("component `{component}`: cannot lay out its weight file")]
    Weights {
        /// The component.
        component: String,
        /// Why.
        #[source]
        source: FormatError,
    },
    /// Components that are to share tensors and have none in common.
    #[error("`shared = true`: {} {} no tensor in common at {precision}", .components.join(", "), if .components.len() == 1 { "alone has" } else { "have" })]
    NothingShared {
        /// The components of one checkpoint that ask for it.
        components: Vec<String>,
        /// The precision at which they have none.
        precision: Precision,
    },
    /// The program of a variant.
    #[error("variant `{id}` cannot be built")]
    Program {
        /// The variant.
        id: String,
        /// Why.
        #[source]
        source: ArchError,
    },
    /// A program that its bundle format cannot express.
    #[error("variant `{id}` cannot be written as {bundle}")]
    Emit {
        /// The variant.
        id: String,
        /// The format, with its article.
        bundle: &'static str,
        /// Why.
        #[source]
        source: FormatError,
    },
    /// A program that only Apple's compiler takes, on a machine without it.
    #[error("variant `{id}` cannot be compiled to a .mlmodelc here")]
    Compile {
        /// The variant.
        id: String,
        /// Its component.
        component: String,
        /// What cannot be compiled, and where it stands.
        #[source]
        source: CoreMlError,
    },
    /// Apple's compiler failed.
    #[error("variant `{id}`: Apple's compiler failed: {said}")]
    AppleCompiler {
        /// The variant.
        id: String,
        /// What it said.
        said: String,
    },
    /// A package that does not say what it should.
    #[error("the program of variant `{id}` is not sound")]
    Unsound {
        /// The variant.
        id: String,
        /// What is wrong.
        #[source]
        source: Box<VerifyError>,
    },
    /// A bundle whose bytes were never downloaded.
    #[error("`{}` is a Git LFS pointer: its real bytes were never downloaded", path.display())]
    LfsPointer {
        /// The file.
        path: PathBuf,
    },
    /// A link out of a bundle.
    #[error("`{}` is a link to `{}`, outside its bundle", path.display(), to.display())]
    Link {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
    /// A link to a folder that it lies in.
    #[error("`{}` is a link to `{}`, which it lies in", path.display(), to.display())]
    LinkCircle {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
    /// A link that a pattern matches, out of the folder that is searched.
    #[error("`{}` is a link to `{}`, outside of the folder that `import` searches", path.display(), to.display())]
    FoundLink {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
    /// Names that are one on some file system.
    #[error("`{}` cannot be released: {clash}", path.display())]
    Clash {
        /// The bundle, or the manifest's folder.
        path: PathBuf,
        /// The two names.
        clash: PathClash,
    },
    /// More files than any bundle has.
    #[error("`{}` has more than {limit} files", path.display())]
    TooManyFiles {
        /// The bundle.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// A document that is longer than any of its kind.
    #[error("`{}` has {found} bytes: expected at most {limit}", path.display())]
    TooLong {
        /// The document.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Neither file nor folder.
    #[error("`{}` is neither a file nor a folder", path.display())]
    Special {
        /// What it is called.
        path: PathBuf,
    },
    /// A name that not every file system can hold.
    #[error("`{}` cannot be part of a bundle", path.display())]
    Path {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: PathError,
    },
    /// A name that is no Unicode text.
    #[error("`{}` cannot be part of a bundle: its name is no Unicode text", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// A bundle without files.
    #[error("the bundle `{}` holds no files", path.display())]
    Empty {
        /// The bundle.
        path: PathBuf,
    },
    /// A package without the program that is to be compiled.
    #[error("`{}` is no Core ML package: it has no `Manifest.json` that names a specification", path.display())]
    NoSpecification {
        /// The bundle.
        path: PathBuf,
    },
    /// A model that cannot be described.
    #[error("cannot read the model `{}`", path.display())]
    Model {
        /// The bundle.
        path: PathBuf,
        /// Why.
        #[source]
        source: CoreMlError,
    },
    /// What would be released contradicts the rules of release manifests.
    #[error("`{package}` cannot be released")]
    Release {
        /// The package.
        package: String,
        /// Why.
        #[source]
        source: Box<ReleaseError>,
    },
}

impl BuildError {
    /// Who can do something about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unsound { .. } => ErrorKind::Internal,
            Self::Damaged { .. } => ErrorKind::Verification,
            _ => ErrorKind::Input,
        }
    }

    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Manifest(error) => error.hint(),
            Self::Read { path, source } if source.kind() == io::ErrorKind::NotFound => missing(path),
            Self::NotAManifest { example: Some(example), .. } => {
                Some(format!("a manifest says what to make of it; write one, say `model.toml`, and build that:\n\n{example}"))
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
            Self::Shape { key: "sequence", .. } => Some("add the number of tokens of one call, e.g. sequence = [128, 512]".to_owned()),
            Self::NothingShared { .. } => {
                Some("`shared` is for components of one checkpoint that hold the same tensors, such as an encoder and a decoder".to_owned())
            }
            Self::Checkpoint { source, .. } => source.hint(),
            Self::Architecture { source, .. } | Self::Program { source, .. } => source.hint(),
            Self::Convert { source, .. } => source.hint(),
            Self::Emit { source, .. } => source.hint(),
            Self::Model { source, .. } => source.hint(),
            Self::Compile { component, .. } => Some(format!(
                "build it on a Mac with Xcode, whose compiler is used there; or leave \"mlmodelc\" out of the formats of `{component}`: Xcode compiles a .mlpackage that is part of an app's target"
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

/// What may be meant by a path that is not there.
fn missing(path: &Path) -> Option<String> {
    place::near(path).map(|near| format!("did you mean `{}`?", near.display()))
}
