//! Why texts cannot be scored.

/// Why texts cannot be scored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ScoreError {
    /// Nothing to score.
    #[error("there are no lines to score")]
    Empty,
    /// Two sides with different numbers of lines.
    #[error("expected {expected} lines of {what}, one for each output, found {found}")]
    Lines {
        /// The side that does not fit.
        what: &'static str,
        expected: usize,
        found: usize,
    },
    /// Files of references with different numbers of lines.
    #[error("reference file {file} has {found} lines, the first has {expected}")]
    ReferenceFile {
        /// Which file, from 1.
        file: usize,
        expected: usize,
        found: usize,
    },
    /// A line without a reference.
    #[error("line {line} has no reference")]
    NoReference {
        /// Which line, from 1.
        line: usize,
    },
    /// A smoothing value that no score can be made of.
    #[error("smoothing by {found}: expected a finite number that is not negative")]
    SmoothingValue { found: f64 },
    /// chrF of no n-grams at all.
    #[error("chrF of character order 0 and word order 0 measures nothing")]
    NoOrder,
    /// A name that is none of the known ones.
    #[error("unknown {what} `{found}`: expected one of {expected}")]
    Name { what: &'static str, found: String, expected: String },
}

impl ScoreError {
    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Lines { .. } | Self::ReferenceFile { .. } => {
                Some("line N of every file belongs to line N of the others; empty lines count".into())
            }
            Self::NoReference { .. } => Some("an empty text is a reference too; leave lines without any out on both sides".into()),
            _ => None,
        }
    }
}
