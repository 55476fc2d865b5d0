//! What can go wrong with a remote. Addresses in messages never carry credentials or query strings.

use std::{error::Error, io, path::PathBuf, time::Duration};

use super::{documents::DocumentError, hub::HubError};
use crate::base::{ByteRange, Digest};

/// A remote that could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The Hub refused.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Publishing to a remote that cannot be written.
    #[error("`{url}` can only be read")]
    ReadOnly {
        /// The remote.
        url: String,
    },
    /// A document or blob that is not there.
    #[error("`{url}` does not exist")]
    NotFound {
        /// The file.
        url: String,
    },
    /// A folder or server without a catalogue.
    #[error("`{url}` is not a registry: it has no `mlreg.json`")]
    NotARegistry {
        /// The remote.
        url: String,
    },
    /// Publishing into a folder that holds something else.
    #[error("`{url}` is not a registry and not empty: it has `{entry}`")]
    ForeignFolder {
        /// The folder.
        url: String,
        /// One of its entries.
        entry: String,
    },
    /// A file operation that failed.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried, e.g. `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the file system says.
        #[source]
        source: io::Error,
    },
    /// The HTTP client could not be set up.
    #[error("cannot set up the HTTP client")]
    Client {
        /// What the client says.
        #[source]
        source: reqwest::Error,
    },
    /// No answer: names, connections, TLS, or a connection lost before the answer's body.
    #[error("cannot reach `{url}`")]
    Unreachable {
        /// The file.
        url: String,
        /// What the client says.
        #[source]
        source: reqwest::Error,
    },
    /// A server that was silent for too long, while connecting or later, or took nothing of what is sent.
    #[error("`{url}` stalled: nothing moved for {} s", limit.as_secs_f32())]
    Stalled {
        /// The file.
        url: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// A body that ended early.
    #[error("the answer of `{url}` broke off after {received} bytes{}", of_bytes(*expected))]
    Truncated {
        /// The file.
        url: String,
        /// How many bytes were announced, where that is known.
        expected: Option<u64>,
        /// How many bytes came.
        received: u64,
        /// What the client says; absent where the server closed in order.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// A status other than success.
    #[error("`{url}` answered {status}{}", explained(*status))]
    Status {
        /// The file.
        url: String,
        /// The status code.
        status: u16,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// A redirect that is not followed.
    #[error("`{url}` redirects too often: more than {limit} times")]
    TooManyRedirects {
        /// The file.
        url: String,
        /// How many are followed.
        limit: usize,
    },
    /// A redirect from https to http, or to something else than these.
    #[error("`{url}` redirects to `{target}`, which is not followed")]
    UnsafeRedirect {
        /// The file.
        url: String,
        /// Where the redirect leads.
        target: String,
    },
    /// A compressed answer although none was asked for.
    #[error("`{url}` answered with the content encoding `{encoding}` although only `identity` was asked for")]
    Encoded {
        /// The file.
        url: String,
        /// The encoding.
        encoding: String,
    },
    /// A page for people: a login form, an error page, a single-page app.
    #[error("`{url}` answered with an HTML page")]
    HtmlPage {
        /// The file.
        url: String,
    },
    /// A partial answer that is not the part that was asked for.
    #[error("`{url}` was asked for `{asked}` and answered with {}", answered(found))]
    WrongRange {
        /// The file.
        url: String,
        /// The range that was asked for.
        asked: ByteRange,
        /// The `Content-Range` and length of the answer, where it has them.
        found: Option<String>,
    },
    /// A file whose length is not the one in the release manifest.
    #[error("`{url}` should have {expected} bytes{}", has_bytes(*found))]
    WrongSize {
        /// The file.
        url: String,
        /// The length in the manifest.
        expected: u64,
        /// The length at the remote, where it is known.
        found: Option<u64>,
    },
    /// The file at the remote is another one than when reading began.
    #[error("`{url}` changed while it was read")]
    Changed {
        /// The file.
        url: String,
    },
    /// A document that is longer than any of its kind should be.
    #[error("`{url}` is longer than {limit} bytes")]
    TooLarge {
        /// The file.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// A document that cannot be read.
    #[error("`{url}` is damaged")]
    Damaged {
        /// The file.
        url: String,
        /// What is wrong with it.
        #[source]
        source: DocumentError,
    },
    /// A document of a later schema.
    #[error("`{url}` was written by a newer mlreg")]
    Newer {
        /// The file.
        url: String,
        /// Which schema it has.
        #[source]
        source: DocumentError,
    },
    /// Bytes that do not match their digest.
    #[error("`{url}` has the digest sha256:{found}, expected sha256:{expected}")]
    WrongDigest {
        /// The file.
        url: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// The receiver of the bytes failed.
    #[error("cannot take the bytes of `{url}`")]
    Sink {
        /// The file.
        url: String,
        /// What the receiver says.
        #[source]
        source: io::Error,
    },
    /// A blob that the release does not name.
    #[error("`{release}` has no blob sha256:{blob}")]
    UnknownBlob {
        /// Package and version.
        release: String,
        /// The blob.
        blob: Digest,
    },
    /// A range that reaches beyond its blob.
    #[error("`{range}` lies outside the blob sha256:{blob}, which has {size} bytes")]
    OutsideBlob {
        /// The blob.
        blob: Digest,
        /// The range.
        range: ByteRange,
        /// The blob's length.
        size: u64,
    },
    /// A file to publish that is not the blob it stands for.
    #[error("`{}` has the digest sha256:{found}, expected sha256:{expected}", path.display())]
    WrongContent {
        /// The file.
        path: PathBuf,
        /// The blob that it stands for.
        expected: Digest,
        /// Its digest.
        found: Digest,
    },
    /// A manifest whose length or BLAKE3 of a blob is not that of the bytes with its sha256.
    #[error("the release manifest has a wrong length or BLAKE3 for the blob sha256:{blob}")]
    WrongManifest {
        /// The blob.
        blob: Digest,
    },
    /// Bytes to publish that are not a release manifest.
    #[error("the release manifest is not valid")]
    InvalidRelease {
        /// What is wrong with it.
        #[source]
        source: DocumentError,
    },
    /// A release whose blobs are not all there.
    #[error("{count} blobs of `{release}` are missing, e.g. sha256:{first}")]
    MissingBlobs {
        /// Package and version.
        release: String,
        /// One of them.
        first: Digest,
        /// How many.
        count: usize,
    },
    /// A document that was changed since it was read.
    #[error("`{url}` was changed since it was read")]
    DocumentChanged {
        /// The document.
        url: String,
    },
    /// A document of a kind that never changes.
    #[error("`{url}` cannot be replaced: documents of the kind `{kind}` never change")]
    ImmutableDocument {
        /// The document.
        url: String,
        /// The word of its kind.
        kind: &'static str,
    },
    /// A version that exists with other content.
    #[error("`{release}` exists with other content: sha256:{existing}, not sha256:{offered}")]
    VersionExists {
        /// Package and version.
        release: String,
        /// The digest of the release that is there.
        existing: Digest,
        /// The digest of the release that was to be published.
        offered: Digest,
    },
}

/// Whether another attempt may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The answer would be the same.
    Never,
    /// The bytes were damaged on their way or are damaged at the remote; one more attempt decides which.
    Once,
    /// The cause is temporary.
    Later,
}

impl RemoteError {
    /// Whether the same request may succeed if it is repeated.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unreachable { source, .. } if is_tls(source) => Retry::Never,
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::Truncated { .. } | Self::Changed { .. } => {
                Retry::Later
            }
            Self::Status { status: 408 | 425 | 429 | 500 | 502 | 503 | 504, .. } => Retry::Later,
            Self::Damaged { .. } | Self::WrongDigest { .. } => Retry::Once,
            Self::Hub(error) => error.retry(),
            _ => Retry::Never,
        }
    }

    /// The wait before the next request that the remote asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Hub(error) => return error.hint(),
            Self::ReadOnly { .. } => "publish to the folder that the server serves",
            Self::NotARegistry { .. } => "the address of a registry is the folder that has `mlreg.json` in it",
            Self::ForeignFolder { .. } => "choose an empty folder, a new one, or a registry",
            Self::Status { status: 401 | 403, .. } => "the server wants credentials, or the file is not public",
            Self::Unreachable { source, .. } if is_tls(source) => return None,
            Self::Unreachable { .. } => {
                "check the address and the network: `HTTPS_PROXY` or `HTTP_PROXY` names a proxy, another `--from` a \
                 mirror, and \
                 `mlreg fetch --offline` uses what the store has"
            }
            Self::Status { status: 429, .. } => "use fewer `--jobs`, or try again later",
            Self::Encoded { .. } => "turn compression off for the registry's files at the server",
            Self::UnsafeRedirect { .. } => "redirects lead from http to http or https, and from https to https alone",
            Self::HtmlPage { .. } => {
                "check the address; a login page or a single-page app may stand in front of the files"
            }
            Self::Newer { .. } => "update mlreg",
            Self::VersionExists { .. } => "versions never change: raise the version of the package",
            Self::WrongSize { .. } | Self::WrongDigest { .. } => {
                "the file at the remote is damaged: publish the release again, or use a mirror"
            }
            Self::DocumentChanged { .. } => "read the document again, and repeat the change",
            Self::Changed { .. } => "discard what was read of this range and read it again",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Sorts a document's fault into [`Damaged`](Self::Damaged) and [`Newer`](Self::Newer).
    pub(super) fn document(url: impl Into<String>, source: DocumentError) -> Self {
        let url = url.into();
        if source.is_newer() { Self::Newer { url, source } } else { Self::Damaged { url, source } }
    }
}

/// Whether an error is the HTTP client's, whose layers repeat the address and say little before the innermost.
pub fn is_of_the_client(error: &(dyn Error + 'static)) -> bool {
    error.is::<reqwest::Error>()
}

/// Whether TLS refused the server, as with an unknown issuer or a wrong name. An `io::Error` hides what it wraps from
/// `source`.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>() || inside.is_some_and(|inner| is_tls(inner)) || error.source().is_some_and(is_tls)
}

fn of_bytes(expected: Option<u64>) -> String {
    expected.map(|count| format!(" of {count}")).unwrap_or_default()
}

fn has_bytes(found: Option<u64>) -> String {
    found.map_or_else(|| " and its length at the remote is not known".to_owned(), |count| format!(" and has {count}"))
}

fn answered(found: &Option<String>) -> String {
    found.as_ref().map_or_else(|| "a part that it does not name".to_owned(), |found| format!("`{found}`"))
}

fn explained(status: u16) -> &'static str {
    match status {
        401 => ": credentials are needed",
        403 => ": access is denied",
        407 => ": the proxy needs credentials",
        429 => ": too many requests",
        451 => ": not available for legal reasons",
        500..=599 => ": the server has a problem",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16) -> RemoteError {
        RemoteError::Status { url: "https://host/x".to_owned(), status, retry_after: None }
    }

    #[test]
    fn only_passing_statuses_are_tried_again() {
        for code in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(status(code).retry(), Retry::Later, "{code}");
        }
        for code in [400, 401, 403, 404, 409, 410, 451, 501, 505, 304] {
            assert_eq!(status(code).retry(), Retry::Never, "{code}");
        }
    }

    #[test]
    fn refusals_of_tls_are_found_at_any_depth() {
        let refusal = rustls::Error::General("no".to_owned());
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, refusal));
        assert!(is_tls(&wrapped));
        assert!(is_tls(&RemoteError::Sink { url: String::new(), source: wrapped }));
        assert!(!is_tls(&io::Error::other("reset")));
    }

    #[test]
    fn messages_read_as_sentences() {
        assert_eq!(status(403).to_string(), "`https://host/x` answered 403: access is denied");
        let short = RemoteError::WrongSize { url: "u".to_owned(), expected: 7, found: Some(3) };
        assert_eq!(short.to_string(), "`u` should have 7 bytes and has 3");
        let broken = RemoteError::Truncated { url: "u".to_owned(), expected: Some(7), received: 3, source: None };
        assert_eq!(broken.to_string(), "the answer of `u` broke off after 3 bytes of 7");
    }
}
