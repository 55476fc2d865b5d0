//! What a person means by an argument that may be a bundle or a package.
//!
//! A path has a separator, begins with `.`, or ends as bundles do; everything else is a package of the store. Where
//! there is no such package, a folder of that name is meant if a fetch has placed it.

use std::{
    convert::Infallible,
    ffi::OsStr,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{BundleError, BundleSubject};
use crate::{
    fetch::is_placed,
    manifest::nearest,
    workflow::{Context, Error, PackageRequest, RequestError},
};

/// How folders and files of models end.
const EXTENSIONS: [&str; 5] = ["mlpackage", "mlmodelc", "mlmodel", "onnx", "aimodel"];
const COMPILED: &str = "mlmodelc";

/// A text as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundleArgument {
    /// A path.
    Path(PathBuf),
    /// The name of a package, perhaps with versions.
    Name(PackageRequest),
    /// No name of a package; a folder may be called so all the same.
    Other(String, RequestError),
}

/// Whether a text is a path by its form.
fn is_path(text: &str) -> bool {
    let extension = Path::new(text).extension().and_then(OsStr::to_str);
    text.contains(std::path::is_separator)
        || text.starts_with('.')
        || extension.is_some_and(|it| EXTENSIONS.contains(&it))
}

impl FromStr for BundleArgument {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        if is_path(text) {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        Ok(match text.parse() {
            Ok(request) => Self::Name(request),
            Err(error) => Self::Other(text.to_owned(), error),
        })
    }
}

/// What an argument means.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The subject.
    pub subject: BundleSubject,
    /// What the reader may not expect.
    pub note: Option<String>,
}

/// Finds what is meant, by the store and the working directory.
///
/// # Errors
/// When nothing is.
pub fn resolve(context: &Context, argument: &BundleArgument) -> Result<Resolved, Error> {
    let folder = |path: &Path| context.directory().join(path);
    let plain = |subject| Ok(Resolved { subject, note: None });
    match argument {
        BundleArgument::Path(path) if is_placed(&folder(path)) => plain(BundleSubject::Placed(path.clone())),
        BundleArgument::Path(path) if path.extension() == Some(OsStr::new(COMPILED)) => {
            Err(BundleError::Compiled { path: path.clone() }.into())
        }
        BundleArgument::Path(path) => plain(BundleSubject::Folder(path.clone())),
        BundleArgument::Other(text, error) => {
            let path = PathBuf::from(text);
            match is_placed(&folder(&path)) {
                true => plain(BundleSubject::Placed(path)),
                false => {
                    let folder = folder(&path).is_dir();
                    Err(BundleError::NoName { text: text.clone(), source: error.clone(), folder }.into())
                }
            }
        }
        BundleArgument::Name(request) => {
            let path = PathBuf::from(request.package.as_str());
            let there = folder(&path);
            let store = context.store();
            if !store.releases(&request.package)?.is_empty() {
                let name = &request.package;
                let note = there
                    .is_dir()
                    .then(|| format!("`{name}` is the package of the store; the folder of that name is `./{name}`"));
                return Ok(Resolved { subject: BundleSubject::Package(request.clone()), note });
            }
            if request.to_string() == request.package.as_str() && is_placed(&there) {
                return plain(BundleSubject::Placed(path));
            }
            let packages = store.packages()?;
            let nearest = nearest(request.package.as_str(), packages.iter().map(|name| name.as_str()), 3);
            let nearest = nearest.into_iter().map(str::to_owned).collect();
            Err(BundleError::NoPackage { package: request.package.clone(), nearest, folder: there.is_dir() }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_names_by_their_form() {
        for path in [
            "./minilm",
            "Models/minilm",
            "decoder.mlpackage",
            "x.mlmodelc",
            "m.onnx",
            ".",
            "..",
            ".hidden",
            "a.aimodel",
        ] {
            assert!(matches!(path.parse(), Ok(BundleArgument::Path(_))), "{path}");
        }
        for name in ["minilm", "minilm@1.0.0", "flux-1-tae@>=1, <2"] {
            assert!(matches!(name.parse(), Ok(BundleArgument::Name(_))), "{name}");
        }
        assert!(matches!("My Folder".parse(), Ok(BundleArgument::Other(..))));
    }
}
