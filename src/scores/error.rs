//! Errors of scoring.

/// Why texts cannot be scored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ScoreError {
    /// Nothing to score.
    #[error("there are no lines to score")]
    Empty,
    /// Hypotheses and references or sources have different numbers of lines.
    #[error("expected {expected} lines of {what}, one for each output, found {found}")]
    Lines {
        /// The texts with the other number of lines.
        what: &'static str,
        expected: usize,
        found: usize,
    },
    /// Reference files have different numbers of lines.
    #[error("reference file {file} has {found} lines, the first has {expected}")]
    ReferenceFile {
        /// Number of the file, from 1.
        file: usize,
        expected: usize,
        found: usize,
    },
    /// A line without a reference.
    #[error("line {line} has no reference")]
    NoReference {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A smoothing value that is negative or not finite.
    #[error("smoothing by {found}: expected a finite number that is not negative")]
    SmoothingValue { found: f64 },
    /// Both n-gram orders of chrF are 0.
    #[error("chrF of character order 0 and word order 0 measures nothing")]
    NoOrder,
    /// An unknown name of a method or tokenizer.
    #[error("unknown {what} `{found}`: expected one of {expected}")]
    Name { what: &'static str, found: String, expected: String },
}

impl ScoreError {
    /// The next step for the user, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Lines { .. } | Self::ReferenceFile { .. } => {
                Some("line N of every file belongs to line N of the others; empty lines count".into())
            }
            Self::NoReference { .. } => {
                Some("an empty text is a reference too; leave lines without any out on both sides".into())
            }
            _ => None,
        }
    }
}
