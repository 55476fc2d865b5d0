//! Paths inside bundles and releases: relative, `/`-separated, and never able to leave the folder they are joined to.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::limits::{DEEPEST_PATH, LONGEST_PATH};

/// A text that is no safe relative path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a safe relative path: {why}")]
pub struct PathError {
    text: String,
    why: &'static str,
}

/// A relative path of plain components separated by `/`: no `.`, `..`, empty, absolute or drive component, and no name
/// that some file system does not hold (see [`name_problem`](super::name_problem)).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct RelativePath(String);

impl RelativePath {
    /// The path as text, with `/` between components.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its components, first to last.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The path without its last component, if it has more than one.
    pub fn parent(&self) -> Option<RelativePath> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// This path below `base`, with the platform's separators.
    pub fn below(&self, base: &Path) -> PathBuf {
        self.components().fold(base.to_owned(), |path, part| path.join(part))
    }

    /// `self/child`.
    pub fn join(&self, child: &RelativePath) -> RelativePath {
        Self(format!("{}/{}", self.0, child.0))
    }
}

fn check(text: &str) -> Result<(), PathError> {
    let fail = |why| Err(PathError { text: text.chars().take(200).collect(), why });
    if text.is_empty() || text.len() > LONGEST_PATH {
        return fail("expected 1 to 1024 bytes");
    }
    if text.split('/').any(str::is_empty) {
        return fail("it is absolute or has an empty component");
    }
    if text.split('/').count() > DEEPEST_PATH {
        return fail("it has more than 64 components");
    }
    text.split('/').find_map(super::names::name_problem).map_or(Ok(()), fail)
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RelativePath {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        check(text).map(|()| Self(text.to_owned()))
    }
}

impl TryFrom<String> for RelativePath {
    type Error = PathError;
    fn try_from(text: String) -> Result<Self, PathError> {
        check(&text).map(|()| Self(text))
    }
}

impl From<RelativePath> for String {
    fn from(path: RelativePath) -> String {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Add;

    use super::*;

    #[test]
    fn only_plain_components() {
        for good in ["a", "Data/com.apple.CoreML/weights/weight.bin", "..a", "console.txt", &"a/".repeat(63).add("a")] {
            assert!(good.parse::<RelativePath>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a//b",
            "a/",
            "../a",
            "a/./b",
            "a\\b",
            "C:x",
            "a\0",
            "nul",
            "COM1.txt",
            "a/b./c",
            "a /b",
            &"a".repeat(256),
            &"a/".repeat(64).add("a"),
            &["a"; 10].map(|a| a.repeat(120)).join("/"),
        ] {
            assert!(bad.parse::<RelativePath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn joins_and_splits() {
        let path: RelativePath = "a/b.mlpackage/c".parse().unwrap();
        assert_eq!(path.file_name(), "c");
        assert_eq!(path.parent().unwrap().as_str(), "a/b.mlpackage");
        assert_eq!(path.below(Path::new("/x")), Path::new("/x/a/b.mlpackage/c"));
    }
}
