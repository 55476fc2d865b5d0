//! What a caller says about the Hub: where it is, who is asking, and what is to be published.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use reqwest::header::HeaderValue;

use crate::base::{Digest, RelativePath};

/// The Hub's own address.
pub const HUB_ENDPOINT: &str = "https://huggingface.co";

/// A token of the Hub. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct HubToken(HeaderValue);

impl HubToken {
    /// Takes a token; white space around it does not count. `None` where nothing is left, or no header could carry it.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut value = HeaderValue::try_from(format!("Bearer {text}")).ok().filter(|_| !text.is_empty())?;
        value.set_sensitive(true);
        Some(Self(value))
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for HubToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubToken(..)")
    }
}

/// How the Hub is talked to.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Its address.
    pub endpoint: String,
    /// The token, where there is one.
    pub token: Option<HubToken>,
    /// Whether the token is sent where reading alone is asked for, too.
    pub token_for_reading: bool,
    /// Whether it may not be asked at all.
    pub offline: bool,
    /// Whether large files may go up by Xet, where the Hub has it and this is no build without it.
    pub xet: bool,
    /// The folder of the Hub client's cache, which is looked into and never written.
    pub cache: Option<PathBuf>,
    /// What is to be published; none: the repository is only read.
    pub publication: Option<Arc<Publication>>,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            endpoint: HUB_ENDPOINT.to_owned(),
            token: None,
            token_for_reading: true,
            offline: false,
            xet: true,
            cache: None,
            publication: None,
        }
    }
}

/// Where the blobs of a release lie on this machine.
pub trait BlobFiles: fmt::Debug + Send + Sync {
    /// The file with a blob's bytes.
    fn path(&self, blob: &Digest) -> PathBuf;
}

/// Writes the page that people see.
pub trait Card: fmt::Debug + Send + Sync {
    /// The whole text, given the one that is there; what its authors wrote stays.
    fn render(&self, existing: Option<&str>) -> String;
}

/// How a release looks in a repository that people browse.
#[derive(Debug)]
pub struct Publication {
    /// Whether a repository that has to be made is public.
    pub public: bool,
    /// The message of the last commit; a usual one where there is none.
    pub message: Option<String>,
    /// Which blob lies where.
    pub places: BTreeMap<RelativePath, Digest>,
    /// Small files beside them.
    pub documents: BTreeMap<RelativePath, Vec<u8>>,
    /// The model card.
    pub card: Arc<dyn Card>,
    /// The bytes.
    pub blobs: Arc<dyn BlobFiles>,
}

/// A folder whose files are named by their sha256, for tests and tools.
impl BlobFiles for PathBuf {
    fn path(&self, blob: &Digest) -> PathBuf {
        Path::new(self).join(blob.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_never_show() {
        let token = HubToken::new(" hf_secret\n").unwrap();
        let options = HubOptions { token: Some(token.clone()), ..HubOptions::default() };
        assert!(!format!("{options:?} {:?}", token.header()).contains("secret"));
        assert_eq!(token.header().to_str().unwrap(), "Bearer hf_secret");
        assert!(HubToken::new("  ").is_none() && HubToken::new("a\nb").is_none());
    }
}
