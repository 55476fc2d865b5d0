//! What can be wrong with a package manifest. Every error says file, line and column; what is wrong there is a
//! [`Problem`].

use super::{axes::Axis, glob::GlobError};
use crate::base::Target;

/// A mistake in a package manifest, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {problem}")]
pub struct ManifestError {
    /// The file as the caller named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: Box<Problem>,
}

impl ManifestError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        self.problem.hint()
    }
}

/// What is wrong at a place of a package manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum Problem {
    /// Not TOML.
    #[error("not valid TOML: {message}")]
    Syntax { message: String },
    /// A key that nobody reads.
    #[error("unknown key `{key}` in {table}")]
    UnknownKey { table: String, key: String, nearest: Option<String>, known: Vec<&'static str> },
    /// A key that has to be there.
    #[error("{table} has no `{key}`")]
    MissingKey { table: String, key: &'static str },
    /// A value of the wrong type, or one that is not allowed.
    #[error("`{key}` is {found}, expected {expected}")]
    Value { key: String, found: String, expected: String, nearest: Option<String> },
    /// An empty list.
    #[error("`{key}` is an empty list: expected at least one value")]
    Empty { key: String },
    /// The same value twice.
    #[error("`{key}` has {value} twice")]
    Duplicate { key: String, value: String },
    /// A table where a list of tables stands, or the other way round.
    #[error("`{found}` is {}, expected `{expected}`", if found.starts_with("[[") { "a list of tables" } else { "a single table" })]
    Brackets { found: String, expected: String },
    /// No component at all.
    #[error("the manifest has no `[[component]]`")]
    NoComponents,
    /// Two components of one name.
    #[error("two components are called `{name}`")]
    DuplicateComponent { name: String },
    /// Not exactly one source.
    #[error(
        "component `{component}` has {}: expected exactly one of `checkpoint`, `import` and `files`",
        found_sources(found)
    )]
    Sources { component: String, found: Vec<&'static str> },
    /// A key that has no meaning for this kind of component.
    #[error("`{key}` has no meaning for component `{component}`, which is made from `{source_key}`")]
    Unfit { component: String, key: String, source_key: &'static str },
    /// A key that has no meaning for the architecture of the component.
    #[error("component `{component}`: `{key}` has no meaning for part `{part}` of `{architecture}`")]
    Unhonoured {
        component: String,
        key: &'static str,
        architecture: &'static str,
        part: String,
        known: Vec<&'static str>,
    },
    /// A key that means nothing without another.
    #[error("component `{component}`: `{key}` needs `{needs}` beside it")]
    Needs { component: String, key: String, needs: &'static str },
    /// Keys of two families of models.
    #[error("component `{component}` has `{first}`, an axis of image models, and `{second}`, an axis of text models")]
    TwoShapes { component: String, first: &'static str, second: &'static str },
    /// A combination that Core ML cannot express.
    #[error("component `{component}`: {} cannot be built: {reason}", assignments(conflict).join(" with "))]
    Impossible { component: String, conflict: Vec<(Axis, String)>, reason: String, first_target: Option<Target> },
    /// An exclusion that has no effect.
    #[error("component `{component}`: `exclude` has {entry}, which matches no combination")]
    ExcludesNothing { component: String, entry: String },
    /// Exclusions that leave nothing.
    #[error("component `{component}`: `exclude` leaves no combination")]
    NothingLeft { component: String },
    /// More variants than anybody wants.
    #[error("component `{component}` has {found} combinations: expected at most {limit}")]
    TooMany { component: String, found: u128, limit: usize },
    /// Two variants with one id.
    #[error("{first} and {second} both get the id `{id}`")]
    SameId { id: String, first: String, second: String },
    /// An id that is no file name.
    #[error("component `{component}`: the variant id `{id}` cannot be a file name")]
    Id { component: String, id: String },
    /// A glob that cannot be read.
    #[error("`{key}`: {glob}")]
    Glob { key: String, glob: GlobError },
    /// A glob of `[delivery]` or `[tags]` that matches no variant.
    #[error("`{key}` in `[{table}]`: `{glob}` matches no variant")]
    MatchesNothing { table: &'static str, key: String, glob: String, nearest: Vec<String> },
    /// An import pattern that is malformed.
    #[error("`import` is `{pattern}`: {why}")]
    Pattern { pattern: String, why: String },
    /// An import that finds nothing.
    #[error("component `{component}`: nothing matches `{pattern}`")]
    ImportsNothing { component: String, pattern: String },
    /// An imported bundle that cannot become what the manifest asks for.
    #[error(
        "component `{component}`: `{path}` cannot become a `{format}`: only a .mlpackage can become anything else, a .mlmodelc"
    )]
    ImportFormat { component: String, path: String, format: &'static str },
    /// An imported bundle that needs a later OS than the manifest says.
    #[error("component `{component}`: `{path}` needs {needs}, but the manifest says {stated}")]
    ImportTarget { component: String, path: String, stated: Target, needs: Target },
}

impl Problem {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { nearest: Some(nearest), .. } | Self::Value { nearest: Some(nearest), .. } => {
                Some(format!("did you mean `{nearest}`?"))
            }
            Self::UnknownKey { known, .. } => Some(format!("expected one of {}", backticked(known).join(", "))),
            Self::Unhonoured { known, .. } => Some(format!("leave it out; {} have a meaning there", backticked(known).join(", "))),
            Self::Impossible { conflict, first_target, .. } => Some(way_out(conflict, *first_target)),
            Self::MatchesNothing { nearest, .. } if !nearest.is_empty() => {
                Some(format!("did you mean {}?", backticked(nearest).join(" or ")))
            }
            Self::Needs { key, needs: "cache", .. } if key == "context" => Some(
                "add cache = \"state\" or cache = \"inputs\", or leave it out: without a cache every call sees `sequence` tokens"
                    .to_owned(),
            ),
            Self::Brackets { expected, .. } if expected.starts_with("[[") => {
                Some(format!("a package has any number of components: write `{expected}` above each of them"))
            }
            Self::Brackets { expected, .. } => Some(format!("there is one such table: write `{expected}`")),
            Self::SameId { .. } => Some("rename a component, or a file of the import".to_owned()),
            _ => None,
        }
    }
}

fn backticked<T: std::fmt::Display>(words: &[T]) -> Vec<String> {
    words.iter().map(|word| format!("`{word}`")).collect()
}

fn found_sources(found: &[&'static str]) -> String {
    if found.is_empty() { "no source".to_owned() } else { backticked(found).join(" and ") }
}

fn assignments(conflict: &[(Axis, String)]) -> Vec<String> {
    conflict.iter().map(|(axis, value)| format!("`{} = {}`", axis.name(), literal(*axis, value))).collect()
}

fn way_out(conflict: &[(Axis, String)], first_target: Option<Target>) -> String {
    let exclude = format!(
        "`exclude = [{}]` leaves it out",
        entry(conflict.iter().map(|(axis, value)| (*axis, std::slice::from_ref(value))))
    );
    match first_target {
        Some(target) => format!("{exclude}; `target = \"{target}\"` has it"),
        None => exclude,
    }
}

/// An entry of `exclude` as it would stand in a manifest.
pub(super) fn entry<'a>(axes: impl Iterator<Item = (Axis, &'a [String])>) -> String {
    let value = |axis: Axis, values: &[String]| match values {
        [value] if !value.contains('x') || axis != Axis::Size => literal(axis, value),
        values => format!("[{}]", values.iter().map(|value| literal(axis, value)).collect::<Vec<_>>().join(", ")),
    };
    format!(
        "{{ {} }}",
        axes.map(|(axis, values)| format!("{} = {}", axis.name(), value(axis, values))).collect::<Vec<_>>().join(", ")
    )
}

/// A value of an axis as it would stand in a manifest: a number, a pair of numbers, or a string.
pub(super) fn literal(axis: Axis, value: &str) -> String {
    match (axis, value.split_once('x')) {
        (Axis::Size, Some((width, height))) => format!("[{width}, {height}]"),
        (axis, _) if axis.is_size() => value.to_owned(),
        _ => format!("\"{value}\""),
    }
}
