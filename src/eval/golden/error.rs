//! Why a golden file says nothing of a program.

use crate::mil::DataType;

/// Why a golden file cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum GoldenError {
    /// A mapping of another form.
    #[error("`{text}` maps no names: expected `theirs=ours`")]
    Mapping { text: String },
    /// A name that is mapped twice.
    #[error("`{name}` is mapped twice")]
    MappedTwice { name: String },
    /// A mapping of a name that no case has.
    #[error("`{name}` is mapped, but no case has it: found {}", list(.names))]
    Unused {
        name: String,
        /// The names that cases have.
        names: Vec<String>,
    },
    /// Two mapped tensors with one name.
    #[error("case `{case}`: `{first}` and `{second}` are both mapped to `{name}`")]
    Collision { case: String, name: String, first: String, second: String },
    /// No tensor that belongs to a case.
    #[error("the file holds no case: expected names like `case0.in.NAME` and `case0.out.NAME`, found {}", list(.names))]
    NoCases {
        /// The names of its tensors.
        names: Vec<String>,
    },
    /// No case that fits the program.
    #[error("no case fits:{}", misfit_lines(.misfits))]
    NoFit {
        /// Every case and why it does not.
        misfits: Vec<(String, Misfit)>,
    },
}

/// Cases, each in a line of its own; the only one of a file has no name.
fn misfit_lines(misfits: &[(String, Misfit)]) -> String {
    const MOST: usize = 8;
    if let [(name, misfit)] = misfits
        && name.is_empty()
    {
        return format!(" {misfit}");
    }
    let line = |(case, misfit): &(String, Misfit)| format!("\ncase `{case}`: {misfit}");
    let mut text: String = misfits.iter().take(MOST).map(line).collect();
    if misfits.len() > MOST {
        text += &format!("\n... and {} more", misfits.len() - MOST);
    }
    text
}

impl GoldenError {
    /// The message in one line: of several cases that do not fit, the first.
    pub fn brief(&self) -> String {
        match self {
            Self::NoFit { misfits } => match misfits.as_slice() {
                [(case, misfit), _, ..] => {
                    format!("no case fits: case `{case}`: {misfit} (and {} more)", misfits.len() - 1)
                }
                [(case, misfit)] if !case.is_empty() => format!("no case fits: case `{case}`: {misfit}"),
                _ => self.to_string(),
            },
            _ => self.to_string(),
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoFit { misfits } => misfits.iter().find_map(|(_, misfit)| misfit.hint()),
            _ => None,
        }
    }
}

/// Why a case does not fit a program.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum Misfit {
    /// An input that the case does not have.
    #[error("input `{name}` ({expected}) is missing, found {}", list(.found))]
    MissingInput {
        name: String,
        expected: String,
        /// The names of the case's inputs.
        found: Vec<String>,
        /// The one of them that would fit under another name.
        candidate: Option<String>,
        /// A command line that gives it.
        example: String,
    },
    /// An input of another shape.
    #[error("input `{name}` has the shape {found:?}, expected {expected}")]
    InputShape {
        name: String,
        expected: String,
        /// The shape in the case.
        found: Vec<usize>,
    },
    /// An input with numbers that its type cannot hold.
    #[error("input `{name}`: element {index} is {value}, which {dtype} cannot hold")]
    InputValue {
        name: String,
        /// The element's place in row-major order.
        index: usize,
        value: f64,
        dtype: DataType,
    },
    /// An input that would be larger than is sensible.
    #[error("input `{name}` ({expected}) is too large to be made")]
    TooLarge { name: String, expected: String },
    /// An output of another shape.
    #[error("output `{name}` has the shape {found:?}, expected {expected}")]
    OutputShape {
        name: String,
        /// Its type, or the shape that the program made.
        expected: String,
        /// The shape in the case.
        found: Vec<usize>,
    },
    /// A tensor whose layout nobody can tell.
    #[error("`{name}` has the shape {shape:?} in every layout, and the other tensors of the case do not agree on one")]
    Layout { name: String, shape: Vec<usize> },
    /// No output to compare.
    #[error("no output to compare: expected {}, the case has {}", list(.expected), list(.found))]
    NoOutputs {
        /// The names of the program's outputs.
        expected: Vec<String>,
        /// The names of the case's outputs.
        found: Vec<String>,
        /// A name of the case and the output that it would fit.
        candidate: Option<(String, String)>,
    },
    /// The tensor library refused.
    #[error("its tensors cannot be used")]
    Tensor(#[from] candle_core::Error),
}

impl Misfit {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MissingInput { name, candidate: Some(candidate), .. } => {
                Some(format!("`--map {candidate}={name}` if that is what it is"))
            }
            Self::MissingInput { example, .. } => Some(format!("give it with --input, e.g. {example}")),
            Self::NoOutputs { candidate: Some((theirs, ours)), .. } => {
                Some(format!("`--map {theirs}={ours}` if that is what it is"))
            }
            _ => None,
        }
    }
}

/// Some names for a message.
fn list(names: &[String]) -> String {
    const MOST: usize = 8;
    let mut text: Vec<String> = names.iter().take(MOST).map(|name| format!("`{name}`")).collect();
    if names.len() > MOST {
        text.push(format!("{} more", names.len() - MOST));
    }
    if text.is_empty() { "nothing".to_owned() } else { text.join(", ") }
}
