//! How a person names a package: `flux-1-tae`, `flux-1-tae@1.2`, `flux-1-tae@=1.2.0-rc.1`.

use std::{fmt, str::FromStr};

use semver::{Version, VersionReq};

use crate::base::{NameError, PackageName};

/// A package, and which of its versions will do. Requirements are cargo's.
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
        versions.into_iter().filter(|version| self.requirement.matches(version)).max()
    }
}

impl FromStr for PackageRequest {
    type Err = RequestError;
    fn from_str(text: &str) -> Result<Self, RequestError> {
        let Some((name, requirement)) = text.split_once('@') else {
            return Ok(Self { package: text.parse()?, requirement: VersionReq::STAR });
        };
        let error = |e: semver::Error| RequestError::Requirement { requirement: requirement.to_owned(), why: e.to_string() };
        Ok(Self { package: name.parse()?, requirement: requirement.parse().map_err(error)? })
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

    fn highest(request: &str, versions: &[&str]) -> Option<String> {
        let versions: Vec<Version> = versions.iter().map(|v| v.parse().unwrap()).collect();
        request.parse::<PackageRequest>().unwrap().highest(&versions).map(Version::to_string)
    }

    #[test]
    fn the_highest_version_that_will_do() {
        let versions = ["1.2.0", "1.10.0", "2.0.0", "3.0.0-rc.1"];
        assert_eq!(highest("tae", &versions).unwrap(), "2.0.0");
        assert_eq!(highest("tae@1", &versions).unwrap(), "1.10.0");
        assert_eq!(highest("tae@=1.2.0", &versions).unwrap(), "1.2.0");
        assert_eq!(highest("tae@3.0.0-rc.1", &versions).unwrap(), "3.0.0-rc.1");
        assert_eq!(highest("tae@3", &versions), None);
    }

    #[test]
    fn what_is_not_a_request_says_why() {
        assert!(matches!("Tae".parse::<PackageRequest>(), Err(RequestError::Name(_))));
        let error = "tae@one".parse::<PackageRequest>().unwrap_err().to_string();
        assert!(error.starts_with("`one` is not a version requirement: "), "{error}");
        assert_eq!("tae@1.2".parse::<PackageRequest>().unwrap().to_string(), "tae@^1.2");
    }
}
