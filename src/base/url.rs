//! Addresses: repositories of the Hugging Face Hub, which remotes and checkpoints have in common, and errors of all
//! addresses.

use std::fmt;

/// Text that is not the address of a remote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// A scheme that this build does not know.
    #[error("`{url}` has the scheme `{scheme}`, which this mlreg does not support: expected {expected}")]
    Scheme {
        /// The address without credentials.
        url: String,
        /// Its scheme.
        scheme: String,
        /// The forms that are supported.
        expected: String,
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

/// A model repository of the Hub, or a place in it: `hf://ORG/REPO[@REVISION][/PATH]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HubUrl {
    repository: String,
    revision: Option<String>,
    path: Option<String>,
}

impl HubUrl {
    /// Reads an address with or without a path in the repository. A `/` in a revision is written `%2F`, except in
    /// `refs/pr/1` and its like.
    ///
    /// # Errors
    /// For names that the Hub does not allow.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let invalid = |why: &str| UrlError::Invalid { url: text.chars().take(300).collect(), why: why.to_owned() };
        let rest = text.strip_prefix("hf://").ok_or_else(|| invalid("expected hf://ORG/REPO"))?;
        let (organization, rest) = rest.split_once('/').ok_or_else(|| invalid("expected hf://ORG/REPO"))?;
        let end = rest.find(['/', '@']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        if !is_hub_name(organization) || !is_hub_name(name) {
            return Err(invalid("expected hf://ORG/REPO with names of letters, digits, `-`, `_` and `.`"));
        }
        let (revision, path) = match rest.strip_prefix('@') {
            Some(rest) => {
                let (revision, path) = split_revision(rest);
                let revision = decoded(revision).filter(|text| is_revision(text));
                (Some(revision.ok_or_else(|| invalid("expected a branch, tag or commit after `@`"))?), path)
            }
            None => (None, rest.trim_start_matches('/')),
        };
        let path = path.trim_end_matches('/');
        if path.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(invalid("`.` and `..` are not allowed in a path"));
        }
        let path = (!path.is_empty()).then(|| path.to_owned());
        Ok(Self { repository: format!("{organization}/{name}"), revision, path })
    }

    /// The repository's id: `ORG/REPO`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The branch, tag or commit, where the address names one.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// The same repository at a revision.
    #[must_use]
    pub fn at(&self, revision: &str) -> Self {
        Self { revision: Some(revision.to_owned()), ..self.clone() }
    }

    /// The path in the repository, where the address names one, without slashes around it.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }
}

/// The revision before the path, and the path.
fn split_revision(text: &str) -> (&str, &str) {
    let parts = if ["refs/pr/", "refs/convert/"].iter().any(|prefix| text.starts_with(prefix)) { 3 } else { 1 };
    match text.match_indices('/').nth(parts - 1) {
        Some((at, _)) => (&text[..at], &text[at + 1..]),
        None => (text, ""),
    }
}

/// Percent-decoded; `None` for what is no text then.
fn decoded(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

fn is_revision(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 250
        && !text.chars().any(|c| c.is_control() || c.is_whitespace())
        && !text.contains("..")
}

/// What the Hub takes as a name.
fn is_hub_name(text: &str) -> bool {
    (1..=96).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && !text.contains("--")
        && !text.contains("..")
        && !text.starts_with(['-', '.'])
        && !text.ends_with(['-', '.'])
}

impl fmt::Display for HubUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf://{}", self.repository)?;
        if let Some(revision) = &self.revision {
            let is_special = revision.starts_with("refs/pr/") || revision.starts_with("refs/convert/");
            let shown = if is_special { revision.clone() } else { revision.replace('%', "%25").replace('/', "%2F") };
            write!(f, "@{shown}")?;
        }
        self.path.iter().try_for_each(|path| write!(f, "/{path}"))
    }
}

/// The address without credentials and query string, for messages.
pub(crate) fn redacted(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_of_the_hub() {
        let parts = |text: &str| {
            let url = HubUrl::parse(text).unwrap();
            assert_eq!(HubUrl::parse(&url.to_string()).unwrap(), url, "{text}");
            (url.repository().to_owned(), url.revision().map(str::to_owned), url.path().map(str::to_owned))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parts("hf://acme/tae"), ("acme/tae".to_owned(), None, None));
        assert_eq!(parts("hf://acme/tae@v1.0/vae/"), ("acme/tae".to_owned(), some("v1.0"), some("vae")));
        assert_eq!(parts("hf://acme/tae/a/b.safetensors"), ("acme/tae".to_owned(), None, some("a/b.safetensors")));
        assert_eq!(parts("hf://acme/tae@refs/pr/1/a"), ("acme/tae".to_owned(), some("refs/pr/1"), some("a")));
        assert_eq!(parts("hf://acme/tae@feature%2Fx/a"), ("acme/tae".to_owned(), some("feature/x"), some("a")));
        for bad in [
            "hf://tae",
            "hf:///tae",
            "hf://acme/",
            "hf://a--b/c",
            "hf://acme/tae@",
            "hf://acme/tae/../x",
            "hf://me:x@host/y",
        ] {
            assert!(HubUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
