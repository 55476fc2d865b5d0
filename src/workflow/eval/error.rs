//! What can go wrong when numbers are compared. Numbers that are far apart are no error.

use std::{io, path::PathBuf};

use crate::{
    eval::{
        EvalError,
        golden::{GoldenError, Misfit},
        metrics::MetricsError,
        samples::SampleError,
    },
    scores::ScoreError,
    tensors::{PictureProblem, TensorFileError},
    text::TextError,
    workflow::run::RunError,
};

/// Why there is nothing to say about numbers.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum EvaluationError {
    /// A golden file.
    #[error("cannot use the golden `{}`", path.display())]
    Golden {
        path: PathBuf,
        #[source]
        source: GoldenError,
    },
    /// Names that are mapped.
    #[error(transparent)]
    Names(GoldenError),
    /// A tensor file.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// Inputs.
    #[error(transparent)]
    Inputs(#[from] RunError),
    /// No case that fits a bundle that was asked for.
    #[error("cannot compare `{bundle}`")]
    NoFit {
        bundle: String,
        #[source]
        source: GoldenError,
    },
    /// Nothing that fits anything.
    #[error("nothing was compared:{}", lines(reasons(.skipped).into_iter()))]
    Nothing {
        /// What was left out, and why.
        skipped: Vec<(String, String)>,
        hint: Option<String>,
    },
    /// Variants that are all kept with the same precision, compared with each other.
    #[error("nothing to compare: every {}variant of `{package}` is {precision}", if *.chosen { "chosen " } else { "" })]
    OnePrecision {
        package: String,
        precision: String,
        /// Whether some variants were chosen.
        chosen: bool,
    },
    /// Inputs that do not fit.
    #[error("the inputs do not fit `{bundle}`")]
    Misfit {
        bundle: String,
        #[source]
        source: Misfit,
    },
    /// Inputs that cannot be made.
    #[error("cannot make inputs for `{bundle}`")]
    Sample {
        bundle: String,
        #[source]
        source: SampleError,
    },
    /// No such function.
    #[error("`{bundle}` has no function `{function}`: expected one of {}", known.join(", "))]
    Function { bundle: String, function: String, known: Vec<String> },
    /// A file of one tensor that could be any output.
    #[error("the expected tensors {} are none of the outputs of `{bundle}`: {}", given.join(", "), outputs.join(", "))]
    NoOutput { bundle: String, given: Vec<String>, outputs: Vec<String> },
    /// A bundle cannot be run.
    #[error("cannot run `{bundle}`")]
    Run {
        bundle: String,
        #[source]
        source: EvalError,
    },
    /// Outputs cannot be compared.
    #[error("cannot compare the output `{output}` of `{bundle}`")]
    Compare {
        bundle: String,
        output: String,
        #[source]
        source: MetricsError,
    },
    /// A round trip without an encoder and a decoder that belong together.
    #[error("no encoder and decoder belong together among:{}", lines(bundles.iter().cloned()))]
    NoPairs { bundles: Vec<String> },
    /// Tensors that are no picture.
    #[error("`{}` holds no picture", path.display())]
    NotAPicture { path: PathBuf },
    /// A picture that cannot be made.
    #[error("cannot make a picture of `{name}`")]
    Picture {
        name: String,
        #[source]
        source: PictureProblem,
    },
    /// A file of texts that cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A text that has no token behind another.
    #[error("`{}` comes to {tokens} tokens, expected at least 2", path.display())]
    ShortText {
        path: PathBuf,
        /// Its tokens, as far as a window takes them.
        tokens: usize,
    },
    /// A tokenizer.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Texts that cannot be scored.
    #[error(transparent)]
    Scores(#[from] ScoreError),
    /// A file that cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A mistake in a page's template.
    #[error("cannot make the page `{}`", path.display())]
    Page {
        path: PathBuf,
        /// What is wrong with the template.
        #[source]
        source: Box<minijinja::Error>,
    },
}

/// Why a bundle is not compared with itself.
pub(super) const IS_REFERENCE: &str = "it is the reference";
/// How many bundles of one reason are named.
const NAMED: usize = 2;

/// Each reason once, with some of the bundles that it is about.
fn reasons(skipped: &[(String, String)]) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, why) in skipped {
        match reasons.iter_mut().find(|(known, _)| *known == why.as_str()) {
            Some((_, names)) => names.push(name),
            None => reasons.push((why, vec![name])),
        }
    }
    let told = |(why, names): &(&str, Vec<&str>)| {
        let named: Vec<String> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
        let more = names.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}: {why}", named.join(", "))
    };
    reasons.iter().map(told).collect()
}

/// Some lines of a message, each in a line of its own.
fn lines(lines: impl ExactSizeIterator<Item = String>) -> String {
    const MOST: usize = 8;
    let count = lines.len();
    let mut text: String = lines.take(MOST).map(|line| format!("\n{line}")).collect();
    if count > MOST {
        text += &format!("\n... and {} more", count - MOST);
    }
    text
}

impl EvaluationError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Golden { source, .. } | Self::NoFit { source, .. } => source.hint(),
            Self::Inputs(error) => error.hint(),
            Self::Scores(error) => error.hint(),
            Self::Text(error) => error.hint(),
            Self::Nothing { skipped, hint: None } if skipped.iter().all(|(_, why)| why == IS_REFERENCE) => {
                Some("build the package with a second `precision`, or name another package with --against".to_owned())
            }
            Self::Nothing { hint, .. } => hint.clone(),
            Self::OnePrecision { precision, .. } => {
                let other = if precision == "float32" { "float16" } else { "float32" };
                Some(format!("add {other} to `precision` and build again, or name another package or bundle with --against"))
            }
            Self::Misfit { source, .. } => source.hint(),
            Self::NoOutput { given, outputs, .. } => Some(format!("name what is meant: --map {}={}", given.first()?, outputs.first()?)),
            Self::Sample { .. } => Some("give inputs with --input or --golden".to_owned()),
            Self::NoPairs { .. } => {
                Some("a round trip needs an encoder (`image` to `latent`) and a decoder (`latent` to `image`) of one size: add a component with `part = \"encoder\"`, or name both bundles".to_owned())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_once() {
        let skipped = |whys: &[&str]| {
            let named = |(index, why): (usize, &&str)| (format!("b{index}"), (*why).to_owned());
            EvaluationError::Nothing { skipped: whys.iter().enumerate().map(named).collect(), hint: None }
        };
        let error = skipped(&[IS_REFERENCE, IS_REFERENCE, "no", IS_REFERENCE]);
        assert_eq!(error.to_string(), "nothing was compared:\n`b0`, `b1` and 1 more: it is the reference\n`b2`: no");
        assert_eq!(error.hint(), None);
        assert!(skipped(&[IS_REFERENCE]).hint().unwrap().contains("second `precision`"));
    }
}
