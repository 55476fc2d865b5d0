//! Heads that classify: a text by its first token, every token, or where an answer begins and ends.

use serde_json::Value as Json;

use super::Part;
use crate::{
    arch::{
        ArchError, Config, Flow, Form, Stage, Tensors,
        blocks::{Linear, from_layout, layer::HIDDEN},
    },
    contract::{LinearForm, Notes, features, notes},
    mil::{Builder, Constant, Var},
};

pub(super) const START: &str = features::START_LOGITS;
pub(super) const END: &str = features::END_LOGITS;

/// The labels of a head, and what the config says about their scores.
#[derive(Debug)]
pub(super) struct Labels {
    /// In the order of their ids.
    names: Vec<String>,
    /// Whether one label holds, several do, or the score is a number of its own.
    problem: Option<String>,
    /// The class of torch that makes a cross-encoder's score from the logits.
    activation: Option<String>,
}

impl Labels {
    pub(super) fn read(config: Config<'_>) -> Result<Self, ArchError> {
        const PROBLEMS: [&str; 3] = ["regression", "single_label_classification", "multi_label_classification"];
        let names = names(config)?;
        for key in ["num_labels", "_num_labels"] {
            if config.get(key).is_some() && config.count(key)? != names.len() as u64 {
                return Err(config.refuse(key, format!("{}, as many as `id2label` has", names.len())));
            }
        }
        let problem = config.get("problem_type").map(|problem| problem.as_str().unwrap_or_default());
        if problem.is_some_and(|problem| !PROBLEMS.contains(&problem)) {
            return Err(config.refuse("problem_type", PROBLEMS.join(", ")));
        }
        let nested = config.get("sentence_transformers").and_then(|table| table.get("activation_fn"));
        let activation = nested.or_else(|| config.get("sbert_ce_default_activation_function")).and_then(Json::as_str);
        Ok(Self { names, problem: problem.map(str::to_owned), activation: activation.map(str::to_owned) })
    }

    pub(super) fn count(&self) -> u64 {
        self.names.len() as u64
    }

    /// What a bundle's metadata says: labels as a JSON list in the order of the logits.
    pub(super) fn notes(&self, part: Part) -> Notes {
        let mut notes = Notes::default();
        if part != Part::QuestionAnswering {
            notes.add(&notes::Labels(self.names.clone()));
        }
        if let Some(problem) = &self.problem {
            notes.add(&notes::ProblemType(problem.clone()));
        }
        if let Some(class) = self.activation.as_ref().filter(|_| part == Part::Classifier) {
            notes.add(&notes::Score(format!("a cross-encoder's score is {class} of the logits")));
        }
        notes
    }
}

/// The names in `id2label`, or as many default ones as `num_labels` says.
fn names(config: Config<'_>) -> Result<Vec<String>, ArchError> {
    const KEY: &str = "id2label";
    const MOST: u64 = 1 << 20;
    let Some(value) = config.get(KEY) else {
        let count = config.count_or("num_labels", 2)?;
        if count > MOST {
            return Err(config.refuse("num_labels", format!("at most {MOST} labels")));
        }
        return Ok((0..count).map(|id| format!("LABEL_{id}")).collect());
    };
    let refuse = || config.refuse(KEY, "a name for each id from 0 on");
    let table = value.as_object().filter(|table| !table.is_empty()).ok_or_else(refuse)?;
    let mut names = vec![None; table.len()];
    for (id, name) in table {
        let slot = id.parse::<usize>().ok().and_then(|id| names.get_mut(id)).ok_or_else(refuse)?;
        let name = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
        if slot.replace(name).is_some() {
            return Err(refuse());
        }
    }
    names.into_iter().collect::<Option<_>>().ok_or_else(refuse)
}

/// A head.
#[derive(Debug)]
pub(super) enum Head {
    /// Of the text: `output(tanh(pooler(first token)))`.
    Text { pooler: Linear, output: Linear },
    /// Of every token.
    Tokens { output: Linear },
    /// Of every token, as two rows of scores.
    Spans { output: Linear },
}

impl Head {
    /// Reads the head of a part; `pooler` is the name of the product before a text's labels.
    pub(super) fn read(
        tensors: &Tensors<'_>,
        part: Part,
        pooler: &str,
        width: u64,
        config: Config<'_>,
        labels: &Labels,
    ) -> Result<Self, ArchError> {
        let name = match part {
            Part::QuestionAnswering => "qa_outputs",
            Part::Classifier if pooler.starts_with("classifier.") => "classifier.out_proj",
            _ => "classifier",
        };
        let product = |name: &str, output: u64| {
            let weight = tensors.get_shaped(&format!("{name}.weight"), &[output, width])?;
            let bias = tensors.get_shaped(&format!("{name}.bias"), &[output])?;
            Ok::<_, ArchError>(Linear::new(name, weight, Some(bias)))
        };
        let count = if part == Part::QuestionAnswering { 2 } else { labels.count() };
        let found = tensors.shape(&format!("{name}.weight"))?.first().copied().unwrap_or(0);
        if found != count || labels.count() != count {
            let key = if config.get("id2label").is_some() { "id2label" } else { "num_labels" };
            return Err(config.refuse(key, format!("{found} labels, as many as `{name}.weight` has rows")));
        }
        Ok(match part {
            Part::QuestionAnswering => Self::Spans { output: product(name, count)? },
            Part::Classifier => Self::Text { pooler: product(pooler, width)?, output: product(name, count)? },
            _ => Self::Tokens { output: product(name, count)? },
        })
    }

    /// The first token of activations in the form's layout.
    fn first_token(builder: &mut Builder, x: Var, form: &Form) -> Result<Var, ArchError> {
        let ranges: &[(i32, Option<i32>)] = match form.linear {
            LinearForm::Linear => &[(0, None), (0, Some(1)), (0, None)],
            LinearForm::Conv => &[(0, None), (0, None), (0, None), (0, Some(1))],
        };
        Ok(builder.slice_by_index("first_token", x, ranges)?)
    }
}

impl Stage for Head {
    fn name(&self) -> &str {
        "head"
    }

    fn constants(&self) -> Vec<Constant> {
        match self {
            Self::Text { pooler, output } => pooler.constants().into_iter().chain(output.constants()).collect(),
            Self::Tokens { output } | Self::Spans { output } => output.constants(),
        }
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let x = flow.get(HIDDEN);
        match self {
            Self::Text { pooler, output } => {
                let first = Self::first_token(builder, x, form)?;
                let pooled = pooler.build(builder, first, form)?;
                let pooled = builder.tanh("pooled", pooled)?;
                let scores = output.build(builder, pooled, form)?;
                let scores = from_layout(builder, "scores", scores, form)?;
                flow.put(features::LOGITS, builder.squeeze("text_scores", scores, &[1])?);
            }
            Self::Tokens { output } => {
                let scores = output.build(builder, x, form)?;
                flow.put(features::LOGITS, from_layout(builder, "scores", scores, form)?);
            }
            Self::Spans { output } => {
                let scores = output.build(builder, x, form)?;
                let scores = from_layout(builder, "scores", scores, form)?;
                for (index, name) in [(0, START), (1, END)] {
                    let column = builder.slice_by_index(
                        &format!("{name}_column"),
                        scores,
                        &[(0, None), (0, None), (index, Some(index + 1))],
                    )?;
                    flow.put(name, builder.squeeze(&format!("{name}_row"), column, &[2])?);
                }
            }
        }
        Ok(())
    }
}
