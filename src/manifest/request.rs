//! Package arguments: `flux-1-tae`, `flux-1-tae@1`, `flux-1-tae@1.2.3`, `flux-1-tae@>=1, <2`.
//!
//! Requirements are cargo's, with two exceptions. A complete version after the `@` means exactly that version, not
//! compatible ones, as in `cargo install` and `uv`. Build metadata (`1.0.0+a.b`) selects exactly that build, although
//! semver ignores metadata: two builds of one version are different releases.

use std::{fmt, str::FromStr};

use semver::{BuildMetadata, Comparator, Op, Version, VersionReq};

use crate::base::{NameError, PackageName};

/// A package and a requirement on its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageRequest {
    /// The package.
    pub package: PackageName,
    /// Matching versions; `*` by default. Pre-releases match only if the requirement names one.
    pub requirement: Requirement,
}

/// A version requirement as cargo reads it, or one build of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    versions: VersionReq,
    /// The required build metadata; empty: any.
    build: BuildMetadata,
}

/// A text that is no package argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The part before `@`.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The part after `@`.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
}

/// A text that is no version requirement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{requirement}` is not a version requirement: {why}")]
pub struct RequirementError {
    /// The text.
    pub requirement: String,
    /// What is wrong with it.
    pub why: String,
}

impl PackageRequest {
    /// Exactly one version of a package.
    pub fn exactly(package: PackageName, version: &Version) -> Self {
        Self { package, requirement: Requirement::exactly(version) }
    }

    /// The highest matching version.
    pub fn highest<'a>(&self, versions: impl IntoIterator<Item = &'a Version>) -> Option<&'a Version> {
        self.requirement.highest(versions)
    }
}

impl Requirement {
    /// Matches every version that is no pre-release.
    pub const ANY: Self = Self { versions: VersionReq::STAR, build: BuildMetadata::EMPTY };

    /// Matches exactly one version, and exactly its build if it has build metadata.
    pub fn exactly(version: &Version) -> Self {
        let Version { major, minor, patch, pre, build } = version.clone();
        let exactly = Comparator { op: Op::Exact, major, minor: Some(minor), patch: Some(patch), pre };
        Self { versions: VersionReq { comparators: vec![exactly] }, build }
    }

    /// Whether a version matches.
    pub fn matches(&self, version: &Version) -> bool {
        self.versions.matches(version) && (self.build.is_empty() || self.build == version.build)
    }

    /// The highest matching version, as cargo chooses: a pre-release only if the requirement names one of the same
    /// version. Among the builds of an exact version, the one without build metadata wins.
    pub fn highest<'a>(&self, versions: impl IntoIterator<Item = &'a Version>) -> Option<&'a Version> {
        let is_plain = |version: &Version| self.is_exact() && version.build.is_empty();
        versions
            .into_iter()
            .filter(|version| self.matches(version))
            .max_by(|a, b| (is_plain(a), a).cmp(&(is_plain(b), b)))
    }

    /// Whether it names one complete version.
    pub fn is_exact(&self) -> bool {
        matches!(&self.versions.comparators[..], [Comparator { op: Op::Exact, patch: Some(_), .. }])
    }

    /// Reads a requirement. `default` is the operator of a complete version that has none.
    fn parse(text: &str, default: Op) -> Result<Self, RequirementError> {
        let error = |why: String| RequirementError { requirement: text.to_owned(), why };
        let bare = text.trim();
        let bare = bare.strip_prefix('=').map_or(bare, str::trim);
        let is_named = !text.trim().starts_with(['^', '~', '>', '<']);
        match Version::parse(bare) {
            Ok(version) if is_named && (!version.build.is_empty() || default == Op::Exact || text.trim() != bare) => {
                Ok(Self::exactly(&version))
            }
            _ if text.contains('+') => Err(error(
                "build metadata names one build of one version, e.g. `=1.0.0+build.1`, and cannot stand in a range"
                    .to_owned(),
            )),
            _ => Ok(Self {
                versions: text.parse().map_err(|e: semver::Error| error(e.to_string()))?,
                build: BuildMetadata::EMPTY,
            }),
        }
    }
}

/// As in app manifests, where a version without an operator matches compatible ones.
impl FromStr for Requirement {
    type Err = RequirementError;
    fn from_str(text: &str) -> Result<Self, RequirementError> {
        Self::parse(text, Op::Caret)
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.versions)?;
        if self.build.is_empty() { Ok(()) } else { write!(f, "+{}", self.build) }
    }
}

impl FromStr for PackageRequest {
    type Err = RequestError;
    fn from_str(text: &str) -> Result<Self, RequestError> {
        let Some((name, requirement)) = text.split_once('@') else {
            return Ok(Self { package: text.parse()?, requirement: Requirement::ANY });
        };
        Ok(Self { package: name.parse()?, requirement: Requirement::parse(requirement, Op::Exact)? })
    }
}

impl fmt::Display for PackageRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, requirement } = self;
        if *requirement == Requirement::ANY { write!(f, "{package}") } else { write!(f, "{package}@{requirement}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn highest_of(request: &str, versions: &[&str]) -> Option<String> {
        let versions: Vec<Version> = versions.iter().map(|version| version.parse().unwrap()).collect();
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
            ("tae@= 1.2.3", Some("1.2.3")),
            ("tae@>=1, <2", Some("1.10.0")),
            ("tae@3", None),
            ("tae@3.0.0-rc.1", Some("3.0.0-rc.1")),
            ("tae@>=3.0.0-rc.1", Some("3.0.0-rc.2")),
            ("tae@1.2.4", None),
        ] {
            let versions = ["1.2.0", "1.2.3", "1.10.0", "2.0.0", "3.0.0-rc.1", "3.0.0-rc.2"];
            assert_eq!(highest_of(request, &versions).as_deref(), expected, "{request}");
        }
    }

    #[test]
    fn build_metadata_that_is_named_means_that_build() {
        for (request, expected) in [
            ("tae@1.0.0+a.b", Some("1.0.0+a.b")),
            ("tae@=1.0.0+a.b", Some("1.0.0+a.b")),
            ("tae@1.0.0+build", Some("1.0.0+build")),
            ("tae@1.0.0+other", None),
            ("tae@1.0.0+a", None),
            ("tae@1.1.0-rc.1+x", Some("1.1.0-rc.1+x")),
            ("tae@1.0.0", Some("1.0.0+build")),
            ("tae@2.0.0", Some("2.0.0")),
            ("tae@2.0.0+z", Some("2.0.0+z")),
            ("tae@2", Some("2.0.0+z")),
            ("tae@1", Some("1.0.0+build")),
        ] {
            let versions = ["1.0.0+a.b", "1.0.0+build", "1.1.0-rc.1+w", "1.1.0-rc.1+x", "2.0.0", "2.0.0+z"];
            assert_eq!(highest_of(request, &versions).as_deref(), expected, "{request}");
        }
        let app: Requirement = "1.0.0+a.b".parse().unwrap();
        assert!(
            app.matches(&"1.0.0+a.b".parse().unwrap())
                && !app.matches(&"1.0.0".parse().unwrap())
                && !app.matches(&"1.1.0+a.b".parse().unwrap())
        );
        let app: Requirement = "1.0.0".parse().unwrap();
        assert!(app.matches(&"1.1.0+a.b".parse().unwrap()));
        for range in ["tae@^1.0.0+a", "tae@>=1.0.0+a", "tae@~1.0.0+a", "tae@=1.0.0+a, <2", "tae@1+a"] {
            let error = range.parse::<PackageRequest>().unwrap_err().to_string();
            assert!(error.contains("build metadata names one build of one version"), "{range}: {error}");
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
        for (text, printed) in [
            ("tae", "tae"),
            ("tae@1.2", "tae@^1.2"),
            ("tae@1.2.3", "tae@=1.2.3"),
            ("tae@1.2.3+b.1", "tae@=1.2.3+b.1"),
            ("tae@>=1, <2", "tae@>=1, <2"),
        ] {
            let request: PackageRequest = text.parse().unwrap();
            assert_eq!(request.to_string(), printed);
            assert_eq!(printed.parse::<PackageRequest>().unwrap(), request, "{printed}");
        }
    }
}
