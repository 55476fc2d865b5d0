//! Options for the Hub: its address, the token, and what may be used.

use std::{fmt, path::PathBuf};

use reqwest::header::HeaderValue;

/// The branch of addresses without a revision.
pub(super) const MAIN: &str = "main";
/// The address of the Hub.
pub const HUB_ENDPOINT: &str = "https://huggingface.co";

/// A token of the Hub. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct HubToken(HeaderValue);

impl HubToken {
    /// Parses a token without the white space around it. `None` if it is empty or not valid in a header.
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

/// Options for requests to the Hub.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Its address.
    pub endpoint: String,
    /// The token, where there is one.
    pub token: Option<HubToken>,
    /// Whether the token is sent with requests that only read.
    pub token_for_reading: bool,
    /// Whether no request is sent to the Hub.
    pub offline: bool,
    /// Whether large files may be uploaded by Xet, if the Hub offers it and the feature `xet` is built in.
    pub xet: bool,
    /// The folder of the Hub client's cache, which is only read.
    pub cache: Option<PathBuf>,
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
        }
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
