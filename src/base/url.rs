//! Where releases lie: a folder or a static HTTP server.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Text that is not the address of a remote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// A scheme that this build does not know.
    #[error("`{url}` has the scheme `{scheme}`, which this mlreg does not support: expected a folder, file://, http:// or https://")]
    Scheme {
        /// The address without credentials.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// Not a URL.
    #[error("`{url}` is not a valid address: {why}")]
    Invalid {
        /// The text.
        url: String,
        /// What the parser says.
        why: String,
    },
}

/// The address of a remote. Credentials and query strings never show when it is displayed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum RemoteUrl {
    /// A folder on this machine.
    Folder(PathBuf),
    /// A static HTTP(S) server, read only; the path ends with `/`.
    Http(url::Url),
}

impl RemoteUrl {
    /// Reads an address; a text without a scheme is a folder relative to `directory`.
    ///
    /// # Errors
    /// For schemes that are not supported and for malformed URLs.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, UrlError> {
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(Self::Folder(directory.join(text)));
        };
        let invalid = |why: String| UrlError::Invalid { url: redact(text), why };
        match scheme {
            "file" => {
                let url = url::Url::parse(text).map_err(|e| invalid(e.to_string()))?;
                url.to_file_path().map(Self::Folder).map_err(|()| invalid("expected an absolute path after file://".to_owned()))
            }
            "http" | "https" => {
                let mut url = url::Url::parse(text).map_err(|e| invalid(e.to_string()))?;
                url.set_fragment(None);
                if !url.path().ends_with('/') {
                    let path = format!("{}/", url.path());
                    url.set_path(&path);
                }
                Ok(Self::Http(url))
            }
            _ => Err(UrlError::Scheme { url: redact(text), scheme: scheme.to_owned() }),
        }
    }
}

fn redact(text: &str) -> String {
    match url::Url::parse(text) {
        Ok(mut url) => {
            // Neither call fails for URLs that have a host, and those without one carry no credentials.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.to_string()
        }
        Err(_) => text.split(['?', '@']).next().unwrap_or("").to_owned(),
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Http(url) => f.write_str(&redact(url.as_str())),
        }
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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
        assert_eq!(parse("registry").unwrap(), RemoteUrl::Folder("/project/registry".into()));
        assert_eq!(parse("file:///a/b").unwrap(), RemoteUrl::Folder("/a/b".into()));
        assert_eq!(parse("http://host/registry").unwrap().to_string(), "http://host/registry/");
    }

    #[test]
    fn credentials_never_show() {
        let url = parse("https://me:secret@host/x?token=secret").unwrap();
        assert_eq!(format!("{url} {url:?}"), "https://host/x/ https://host/x/");
        let error = parse("ftp://me:secret@host/x").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
