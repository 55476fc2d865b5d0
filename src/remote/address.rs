//! Addresses of remotes. Each scheme parses its own; this room only looks the scheme up.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Access, Opened, RemoteOptions, SCHEMES, folder};
use crate::base::{UrlError, redacted};

/// A parsed address of one scheme. `Display` shows it without credentials and query string.
pub trait Address: fmt::Display + Send + Sync {
    /// The complete address, credentials included: two addresses are equal where these are. Never shown.
    fn identity(&self) -> OsString;

    /// Opens the remote without layers. Nothing is read or written.
    ///
    /// # Errors
    /// Where its client cannot be set up.
    fn open(&self, options: &RemoteOptions, access: Access) -> Opened;

    /// The same remote at a revision. `None` where the remote has no history, or the address names a revision already.
    fn at(&self, _revision: &str) -> Option<RemoteUrl> {
        None
    }

    /// The folder that the remote is, for remotes on this machine.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// Whether the options permit requests to this remote.
    fn is_reachable(&self, _options: &RemoteOptions) -> bool {
        true
    }
}

/// The address of a remote. Credentials and query strings never show when it is displayed.
#[derive(Clone)]
pub struct RemoteUrl(Arc<dyn Address>);

impl RemoteUrl {
    /// Wraps the address of a scheme.
    pub fn new(address: impl Address + 'static) -> Self {
        Self(Arc::new(address))
    }

    /// The registry in a folder.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self::new(folder::FolderAddress(path.into()))
    }

    /// Parses an address. Text without a scheme is a folder relative to `directory`.
    ///
    /// # Errors
    /// For unknown schemes and malformed addresses.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, UrlError> {
        let Some((name, _)) = text.split_once("://") else {
            return Ok(Self::folder(directory.join(text)));
        };
        match SCHEMES.iter().find(|scheme| scheme.names.contains(&name)) {
            Some(scheme) => (scheme.parse)(text),
            None => Err(UrlError::Scheme { url: redacted(text), scheme: name.to_owned(), expected: forms(|_| true) }),
        }
    }

    /// Opens the remote without layers.
    pub(super) fn open(&self, options: &RemoteOptions, access: Access) -> Opened {
        self.0.open(options, access)
    }

    /// The same remote at a revision, if it keeps a history and the address names no revision; else the address as it
    /// is.
    #[must_use]
    pub fn at(&self, revision: &str) -> Self {
        self.0.at(revision).unwrap_or_else(|| self.clone())
    }

    /// The folder, where the remote is one on this machine.
    pub fn as_folder(&self) -> Option<&Path> {
        self.0.folder()
    }

    /// Whether the options permit requests to this remote.
    pub fn is_reachable(&self, options: &RemoteOptions) -> bool {
        self.0.is_reachable(options)
    }
}

/// The forms of the addresses of all schemes, for help: `a folder, file://, http(s):// or hf://ORG/REPO[@REVISION]`.
pub fn readable_forms() -> String {
    forms(|_| true)
}

/// The forms of the addresses that can be published to.
pub fn writable_forms() -> String {
    forms(|scheme| scheme.writable)
}

fn forms(is_listed: impl Fn(&super::Scheme) -> bool) -> String {
    let forms: Vec<&str> =
        SCHEMES.iter().copied().filter(|scheme| is_listed(scheme)).flat_map(|scheme| scheme.forms).copied().collect();
    match forms.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

impl PartialEq for RemoteUrl {
    fn eq(&self, other: &Self) -> bool {
        self.0.identity() == other.0.identity()
    }
}

impl Eq for RemoteUrl {}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RemoteUrl, UrlError> {
        RemoteUrl::parse(text, Path::new("/project"))
    }

    #[test]
    fn folders_and_servers() {
        assert_eq!(parse("registry").unwrap(), RemoteUrl::folder("/project/registry"));
        assert_eq!(parse("file:///a/b").unwrap(), RemoteUrl::folder("/a/b"));
        assert_eq!(parse("http://host/registry").unwrap().to_string(), "http://host/registry/");
        assert_eq!(parse("registry").unwrap().as_folder(), Some(Path::new("/project/registry")));
        assert_eq!(parse("hf://acme/tae").unwrap().as_folder(), None);
    }

    #[test]
    fn a_revision_is_for_places_with_a_history() {
        let at = |text: &str| parse(text).unwrap().at("abc").to_string();
        assert_eq!(
            [at("hf://acme/tae"), at("hf://acme/tae@main"), at("http://host/r")],
            ["hf://acme/tae@abc", "hf://acme/tae@main", "http://host/r/"]
        );
    }

    #[test]
    fn a_repository_is_whole() {
        assert_eq!(parse("hf://acme/tae@main").unwrap().to_string(), "hf://acme/tae@main");
        assert!(parse("hf://acme/tae/path").unwrap_err().to_string().contains("whole repository"));
    }

    #[test]
    fn credentials_never_show() {
        let url = parse("https://me:secret@host/x?token=secret").unwrap();
        assert_eq!(format!("{url} {url:?}"), "https://host/x/ https://host/x/");
        assert_ne!(url, parse("https://me:other@host/x?token=secret").unwrap());
        let error = parse("ftp://me:secret@host/x").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        assert!(error.ends_with("expected a folder, file://, http(s):// or hf://ORG/REPO[@REVISION]"), "{error}");
    }

    #[test]
    fn forms_are_those_of_the_schemes() {
        assert_eq!(writable_forms(), "a folder, file:// or hf://ORG/REPO[@REVISION]");
    }
}
