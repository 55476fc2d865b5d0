//! Names that people give: packages and tags.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::names::name_problem;

/// A name that breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a valid {kind}: expected 1 to 64 characters of a-z, 0-9, `-`, `_` or `.`, starting with a letter \
     or digit{rule}"
)]
pub struct NameError {
    kind: &'static str,
    text: String,
    rule: &'static str,
}

/// `is_file`: whether folders are called so, which some systems do not take.
fn check(kind: &'static str, is_file: bool, text: &str) -> Result<(), NameError> {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let valid = (1..=64).contains(&text.len())
        && text.chars().all(ok)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !text.contains("..")
        && !text.ends_with('.')
        && !(is_file && name_problem(text).is_some());
    let rule = if is_file { ", and no reserved device name" } else { "" };
    if valid { Ok(()) } else { Err(NameError { kind, text: text.chars().take(100).collect(), rule }) }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $is_file:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check($kind, $is_file, text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                check($kind, $is_file, &text).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

name_type!(
    /// The name of a package, e.g. `flux-1-tae`: safe as a folder name on every file system and in every URL.
    PackageName,
    "package name",
    true
);
name_type!(
    /// A name that an app asks for, as in On-Demand Resources, e.g. `preview`.
    Tag,
    "tag",
    false
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_path_components() {
        for good in ["flux-1-tae", "a", "exaone-4.0-1.2b", "x_1"] {
            assert!(good.parse::<PackageName>().is_ok(), "{good}");
        }
        for bad in ["", "A", "-x", ".x", "a/b", "a..b", "a.", "..", "é", "con", "nul.1", "com1", &"a".repeat(65)] {
            assert!(bad.parse::<PackageName>().is_err(), "{bad}");
        }
        assert!("aux".parse::<Tag>().is_ok(), "tags are no files");
    }
}
