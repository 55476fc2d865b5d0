//! How a person names a package: `flux-1-tae`, `flux-1-tae@1`, `flux-1-tae@1.2.3`, `flux-1-tae@>=1, <2`.
//!
//! Requirements are cargo's, with one exception that `cargo install` and `uv` make, too: a complete version after the `@` means exactly
//! that version, not what is compatible with it.

use std::{fmt, str::FromStr};

use semver::{Comparator, Op, Version, VersionReq};

use crate::base::{NameError, PackageName};

/// A package, and which of its versions will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageRequest {
    /// The package.
    pub package: PackageName,
    /// Which versions will do; `*` where nothing was said. Pre-releases match only where the requirement names one.
    pub requirement: VersionReq,
}

/// Text that names no package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The part before `@`.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The part after `@`.
    #[error("`{requirement}` is not a version requirement: {why}")]
    Requirement {
        /// The text.
        requirement: String,
        /// What is wrong with it.
        why: String,
    },
}

impl PackageRequest {
    /// The highest of `versions` that will do.
    pub fn highest<'a>(&self, versions: impl IntoIterator<Item = &'a Version>) -> Option<&'a Version> {
        choose_version(versions, &self.requirement)
    }
}

/// The highest of `versions` that matches, as cargo chooses: a pre-release only where the requirement names one of the same version.
pub fn choose_version<'a>(versions: impl IntoIterator<Item = &'a Version>, requirement: &VersionReq) -> Option<&'a Version> {
    versions.into_iter().filter(|version| requirement.matches(version)).max()
}

impl FromStr for PackageRequest {
    type Err = RequestError;
    fn from_str(text: &str) -> Result<Self, RequestError> {
        let Some((name, requirement)) = text.split_once('@') else {
            return Ok(Self { package: text.parse()?, requirement: VersionReq::STAR });
        };
        let package = name.parse()?;
        if let Ok(Version { major, minor, patch, pre, .. }) = requirement.parse() {
            let exactly = Comparator { op: Op::Exact, major, minor: Some(minor), patch: Some(patch), pre };
            return Ok(Self { package, requirement: VersionReq { comparators: vec![exactly] } });
        }
        let error = |e: semver::Error| RequestError::Requirement { requirement: requirement.to_owned(), why: e.to_string() };
        Ok(Self { package, requirement: requirement.parse().map_err(error)? })
    }
}

impl fmt::Display for PackageRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, requirement } = self;
        if *requirement == VersionReq::STAR { write!(f, "{package}") } else { write!(f, "{package}@{requirement}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn highest(request: &str) -> Option<String> {
        let versions = ["1.2.0", "1.2.3", "1.10.0", "2.0.0", "3.0.0-rc.1", "3.0.0-rc.2"].map(|version| version.parse().unwrap());
        request.parse::<PackageRequest>().unwrap().highest(&versions).map(Version::to_string)
    }

    #[test]
    fn the_highest_version_that_will_do() {
        for (request, expected) in [
            ("tae", Some("2.0.0")),
            ("tae@*", Some("2.0.0")),
            ("tae@1", Some("1.10.0")),
            ("tae@1.2", Some("1.10.0")),
            ("tae@~1.2", Some("1.2.3")),
            ("tae@1.2.0", Some("1.2.0")),
            ("tae@^1.2.0", Some("1.10.0")),
            ("tae@=1.2.3", Some("1.2.3")),
            ("tae@>=1, <2", Some("1.10.0")),
            ("tae@3", None),
            ("tae@3.0.0-rc.1", Some("3.0.0-rc.1")),
            ("tae@>=3.0.0-rc.1", Some("3.0.0-rc.2")),
            ("tae@1.2.4", None),
        ] {
            assert_eq!(highest(request).as_deref(), expected, "{request}");
        }
    }

    #[test]
    fn what_is_not_a_request_says_why() {
        assert!(matches!("Tae".parse::<PackageRequest>(), Err(RequestError::Name(_))));
        let error = "tae@one".parse::<PackageRequest>().unwrap_err().to_string();
        assert!(error.starts_with("`one` is not a version requirement: "), "{error}");
    }

    #[test]
    fn requests_print_what_they_mean() {
        for (text, printed) in [("tae", "tae"), ("tae@1.2", "tae@^1.2"), ("tae@1.2.3", "tae@=1.2.3")] {
            assert_eq!(text.parse::<PackageRequest>().unwrap().to_string(), printed);
        }
    }
}
