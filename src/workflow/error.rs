//! What can go wrong in a verb, sorted by who can do something about it. Rules: a verb's own mistakes are a variant or
//! an enum of their own; errors of the rooms below pass through unchanged, with their sources and hints.

use std::{collections::BTreeSet, io, path::PathBuf};

use super::{
    app::AppError,
    build::BuildError,
    bundles::BundleError,
    codegen::CodegenWriteError,
    eval::EvaluationError,
    inspect::InspectError,
    link::LinkError,
    pin::PinError,
    rm::RmError,
    run::{RunError, text::TextRunError},
    show::ShowError,
    verify::VerifyError,
};
use crate::{
    base::PackageName, codegen::CodegenError, fetch::FetchError, manifest::ManifestError, publish::PublishError,
    remote::RemoteError, store::StoreError,
};

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An app's manifest and lock.
    #[error(transparent)]
    App(#[from] AppError),
    /// Building.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Showing a release.
    #[error(transparent)]
    Show(#[from] ShowError),
    /// Writing source code.
    #[error(transparent)]
    Codegen(#[from] CodegenWriteError),
    /// Looking into a bundle or checkpoint.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// Fetching and placing.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Publishing.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Linking.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Pinning.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// Deleting a release.
    #[error(transparent)]
    Rm(#[from] RmError),
    /// Running.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Running a package on text.
    #[error(transparent)]
    TextRun(#[from] TextRunError),
    /// Finding a bundle to run.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Comparing numbers.
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
    /// Verifying.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A remote.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// None of a package's sources could be used.
    #[error("none of the {} sources of `{package}` could be used:{}", failures.len(), told(failures))]
    Sources {
        /// The package.
        package: PackageName,
        /// Every source, in order, and why not.
        failures: Vec<(String, Error)>,
    },
    /// A mistake that stands at a place of a file that a person wrote.
    #[error("{source}")]
    At {
        /// Where.
        place: Place,
        /// What is wrong there.
        source: Box<Error>,
    },
    /// No threads for the network.
    #[error("cannot start the runtime for network requests")]
    Runtime {
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Who can do something about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The user: arguments, manifests, files, this machine.
    Input,
    /// Bytes are not what their digest says.
    Verification,
    /// The network, or whoever keeps the remote.
    Remote,
    /// The authors of mlreg.
    Internal,
}

/// A place in a text file that a person wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

fn told(failures: &[(String, Error)]) -> String {
    let whole = |error: &Error| {
        let chain = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
        chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    };
    failures.iter().map(|(source, error)| format!("\n`{source}`: {}", whole(error))).collect()
}

impl Error {
    /// Who can do something about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::App(AppError::Package { source, .. }) => source.kind(),
            Self::App(AppError::Rewritten { .. }) => ErrorKind::Verification,
            Self::App(_) => ErrorKind::Input,
            Self::Build(error) => error.kind(),
            Self::Show(error) => error.kind(),
            Self::Codegen(CodegenWriteError::Codegen(CodegenError::Template { .. })) => ErrorKind::Internal,
            Self::Codegen(_) => ErrorKind::Input,
            Self::Inspect(error) => error.kind(),
            Self::Fetch(error) => ErrorKind::of_fetch(error),
            Self::Publish(error) => ErrorKind::of_publish(error),
            Self::Link(LinkError::Damaged { .. } | LinkError::WrongSize { .. }) => ErrorKind::Verification,
            Self::Evaluation(EvaluationError::Page { .. }) => ErrorKind::Internal,
            Self::Link(_)
            | Self::Pin(_)
            | Self::Rm(_)
            | Self::Run(_)
            | Self::TextRun(_)
            | Self::Bundle(_)
            | Self::Evaluation(_)
            | Self::Verify(_) => ErrorKind::Input,
            Self::Store(error) => ErrorKind::of_store(error),
            Self::Remote(error) => ErrorKind::of_remote(error),
            Self::Sources { failures, .. } => {
                failures.iter().map(|(_, error)| error.kind()).max().unwrap_or(ErrorKind::Remote)
            }
            Self::At { source, .. } => source.kind(),
            Self::Runtime { .. } => ErrorKind::Input,
        }
    }

    /// Next steps, where there are some.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::App(error) => return error.hints(),
            Self::Build(error) => error.hint(),
            Self::Show(error) => error.hint(),
            Self::Codegen(error) => error.hint(),
            Self::Inspect(error) => error.hint(),
            Self::Fetch(error) => error.hint(),
            Self::Publish(error) => error.hint(),
            Self::Link(error) => error.hint(),
            Self::Pin(error) => error.hint(),
            Self::Rm(error) => error.hint(),
            Self::Run(error) => error.hint(),
            Self::TextRun(error) => error.hint(),
            Self::Bundle(error) => error.hint(),
            Self::Evaluation(error) => error.hint(),
            Self::Verify(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Remote(error) => error.hint(),
            Self::Sources { failures, .. } => {
                return failures
                    .iter()
                    .flat_map(|(_, error)| error.hints())
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect();
            }
            Self::At { source, .. } => return source.hints(),
            Self::Runtime { .. } => None,
        };
        hint.into_iter().collect()
    }

    /// Where the mistake stands, if it stands in a file that a person wrote.
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::At { place, .. } => Some(place.clone()),
            Self::App(AppError::Package { file, line, column, .. }) => {
                Some(Place { path: file.clone(), line: *line, column: *column })
            }
            Self::App(AppError::Manifest(ManifestError { file, line, column, .. }))
            | Self::Build(BuildError::Manifest(ManifestError { file, line, column, .. })) => {
                Some(Place { path: file.into(), line: *line, column: *column })
            }
            _ => None,
        }
    }
}

impl ErrorKind {
    /// The kind of a store's error.
    pub fn of_store(error: &StoreError) -> Self {
        use StoreError as E;
        match error {
            E::MissingBlob { .. }
            | E::DamagedBlob { .. }
            | E::DamagedRecord { .. }
            | E::InvalidRelease { .. }
            | E::Segments { .. }
            | E::StaleLocation { .. }
            | E::WrongBytes { .. }
            | E::WrongDescription { .. } => Self::Verification,
            E::Encode { .. } | E::Incomplete { .. } | E::OutOfBounds { .. } => Self::Internal,
            _ => Self::Input,
        }
    }

    /// The kind of an error of fetching.
    pub fn of_fetch(error: &FetchError) -> Self {
        use FetchError as E;
        match error {
            E::Store(error) => Self::of_store(error),
            E::Remote(error) => Self::of_remote(error),
            E::DamagedSegment { .. }
            | E::DamagedBlob { .. }
            | E::Release { .. }
            | E::WrongRelease { .. }
            | E::UnlistedBlob { .. }
            | E::TooMuch { .. }
            | E::Segments { .. } => Self::Verification,
            E::KeepsChanging { .. } => Self::Remote,
            E::Interrupted { .. } => Self::Internal,
            _ => Self::Input,
        }
    }

    /// The kind of an error of publishing.
    pub fn of_publish(error: &PublishError) -> Self {
        match error {
            PublishError::Store(error) => Self::of_store(error),
            PublishError::Remote(error) => Self::of_remote(error),
            PublishError::Damaged { .. } | PublishError::Previous { .. } | PublishError::Release { .. } => {
                Self::Verification
            }
            _ => Self::Input,
        }
    }

    /// The kind of a remote's error.
    pub fn of_remote(error: &RemoteError) -> Self {
        use RemoteError as E;
        match error {
            E::ReadOnly { .. }
            | E::NotARegistry { .. }
            | E::ForeignFolder { .. }
            | E::InvalidRelease { .. }
            | E::VersionExists { .. }
            | E::Sink { .. } => Self::Input,
            E::Hub(error) if error.is_input() => Self::Input,
            E::Hub(error) if error.is_damage() => Self::Verification,
            E::WrongContent { .. } | E::WrongDigest { .. } | E::WrongManifest { .. } | E::WrongSize { .. } => {
                Self::Verification
            }
            E::OutsideBlob { .. } | E::UnknownBlob { .. } => Self::Internal,
            _ => Self::Remote,
        }
    }
}
