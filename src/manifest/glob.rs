//! Globs over variant ids and names: `*` any text, `?` one character, `[abc]`, `{a,b}`. Case counts, as ids are lower
//! case.

use std::{fmt, str::FromStr};

use globset::{GlobBuilder, GlobMatcher};

/// Text that is no glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a glob: {why}")]
pub struct GlobError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

/// A glob over variant ids, e.g. `decoder-768-*`.
#[derive(Debug, Clone)]
pub struct VariantGlob {
    text: String,
    matcher: GlobMatcher,
}

impl VariantGlob {
    /// Whether it matches the whole of `id`.
    pub fn is_match(&self, id: &str) -> bool {
        self.matcher.is_match(id)
    }

    /// The glob as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for VariantGlob {
    type Err = GlobError;
    fn from_str(text: &str) -> Result<Self, GlobError> {
        let error = |why: String| GlobError { text: text.chars().take(200).collect(), why };
        if text.is_empty() || text.len() > 1024 {
            return Err(error("expected 1 to 1024 bytes".to_owned()));
        }
        let glob = GlobBuilder::new(text).build().map_err(|e| error(e.kind().to_string()))?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher() })
    }
}

impl fmt::Display for VariantGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for VariantGlob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for VariantGlob {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_ids() {
        let matches = |glob: &str, id: &str| glob.parse::<VariantGlob>().unwrap().is_match(id);
        assert!(matches("decoder-768-*", "decoder-768-float16-ios18"));
        assert!(matches("decoder-{768,1024}-*", "decoder-1024-float16-ios18"));
        assert!(matches("lm-s64*", "lm-s64+s1-float16-ios18"));
        assert!(!matches("decoder-768", "decoder-768-float16-ios18"));
        assert!(!matches("Decoder-*", "decoder-768-float16-ios18"));
    }

    #[test]
    fn what_is_no_glob_says_why() {
        let error = "decoder-[".parse::<VariantGlob>().unwrap_err();
        assert_eq!(error.to_string(), "`decoder-[` is not a glob: unclosed character class; missing ']'");
        assert!("".parse::<VariantGlob>().is_err());
    }
}
