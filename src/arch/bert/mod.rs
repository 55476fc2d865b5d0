//! BERT and RoBERTa: encoders, sentence encoders, and the heads that classify (Devlin et al. 2018, arXiv 1810.04805;
//! Liu et al. 2019, arXiv 1907.11692; transformers `modeling_bert.py`, `modeling_roberta.py`).
//!
//! Embeddings of words, positions and types, then layers that normalize behind each sum. The part `encoder` gives the
//! vectors of the tokens, and the vector that the modules of sentence-transformers make of them; the other parts give
//! the logits of a head, which the class in the config names. Heads of pretraining are left out, and so is the pooler
//! where no head needs it. A head that the part does not have is an error.

mod heads;
mod sizes;
mod stages;

use std::sync::Arc;

use serde_json::Value as Json;

use self::{
    heads::{Head, Labels},
    sizes::Sizes,
    stages::{Entry, Layer},
};
use super::{
    ArchError, Architecture, Config, ConfigKey, Documents, Feature, Form, Interface, LoadOptions, Network, Stage,
    Tables, Tensors, TextShape,
    blocks::SentenceModules,
    keys::{irrelevant, only, read},
};
use crate::{
    checkpoint::Weights,
    contract::{Notes, Task, features, notes},
};

const PARTS: &[&str] = &["encoder", "classifier", "token-classifier", "question-answering"];
/// Tensors of heads that give something, by the start of their names.
const HEADS: [&str; 2] = ["classifier.", "qa_outputs."];
/// Tensors of the heads of pretraining.
const PRETRAINING: [&str; 2] = ["cls.", "lm_head."];
/// Tables of integers that older versions of transformers saved.
const BUFFERS: [&str; 2] = ["embeddings.position_ids", "embeddings.token_type_ids"];

/// What the pooler of BERT's first release had, which transformers does not read.
const FIRST_RELEASE: &str = "describes a pooler of BERT's first release, which transformers does not have";
/// The keys of all families.
const KEYS: &[ConfigKey] = &[
    read("vocab_size"),
    read("hidden_size"),
    read("num_hidden_layers"),
    read("num_attention_heads"),
    read("intermediate_size"),
    read("hidden_act"),
    read("max_position_embeddings"),
    read("type_vocab_size"),
    read("layer_norm_eps"),
    only("position_embedding_type", &["\"absolute\""]),
    read("id2label"),
    irrelevant("label2id", "`id2label` says the same"),
    read("num_labels"),
    read("_num_labels"),
    read("problem_type"),
    read("sentence_transformers"),
    read("sbert_ce_default_activation_function"),
    irrelevant("tie_word_embeddings", "concerns the head of pretraining, which is left out"),
];
const OF_BERT: &[ConfigKey] = &[
    only("model_type", &["\"bert\""]),
    irrelevant("directionality", FIRST_RELEASE),
    irrelevant("pooler_*", FIRST_RELEASE),
];

/// A family of encoders.
#[derive(Debug)]
pub(super) struct Family {
    /// Its name in package manifests, which is `model_type` in configs.
    name: &'static str,
    /// How the names of its classes start.
    stems: &'static [&'static str],
    /// How the names of its tensors start where a head stands beside it.
    prefix: &'static str,
    /// Whether positions are those of RoBERTa: counted from behind the padding's id, which padding has.
    counts_from_padding: bool,
    /// The keys of its configs.
    keys: Tables,
}

const ROBERTAS: &[&str] = &["Roberta", "XLMRoberta", "Camembert"];

/// BERT, MiniLM and the like.
pub(super) static BERT: Family =
    Family { name: "bert", stems: &["Bert"], prefix: "bert.", counts_from_padding: false, keys: &[OF_BERT, KEYS] };
/// RoBERTa.
pub(super) static ROBERTA: Family =
    roberta("roberta", &[&[only("model_type", &["\"roberta\""]), read("pad_token_id")], KEYS]);
/// XLM-RoBERTa.
pub(super) static XLM_ROBERTA: Family =
    roberta("xlm-roberta", &[&[only("model_type", &["\"xlm-roberta\""]), read("pad_token_id")], KEYS]);
/// CamemBERT.
pub(super) static CAMEMBERT: Family =
    roberta("camembert", &[&[only("model_type", &["\"camembert\""]), read("pad_token_id")], KEYS]);

const fn roberta(name: &'static str, keys: Tables) -> Family {
    Family { name, stems: ROBERTAS, prefix: "roberta.", counts_from_padding: true, keys }
}

/// What a bundle gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Encoder,
    Classifier,
    TokenClassifier,
    QuestionAnswering,
}

impl Part {
    const ALL: [Self; 4] = [Self::Encoder, Self::Classifier, Self::TokenClassifier, Self::QuestionAnswering];

    fn name(self) -> &'static str {
        PARTS[self as usize]
    }

    /// The part that a class of transformers is, by its name without the family's.
    fn of_class(class: &str) -> Option<Self> {
        match class {
            "Model" | "ForMaskedLM" | "ForPreTraining" => Some(Self::Encoder),
            "ForSequenceClassification" => Some(Self::Classifier),
            "ForTokenClassification" => Some(Self::TokenClassifier),
            "ForQuestionAnswering" => Some(Self::QuestionAnswering),
            _ => None,
        }
    }
}

/// The first class that a config lists.
fn class(config: &Json) -> Option<&str> {
    config.get("architectures")?.get(0)?.as_str()
}

impl Family {
    fn part_of_class(&self, class: &str) -> Option<Part> {
        self.stems.iter().find_map(|stem| Part::of_class(class.strip_prefix(stem)?))
    }

    /// The part that the component asks for, and the one that the config describes.
    fn part(&self, options: &LoadOptions, config: Config<'_>) -> Result<(Part, Option<Part>), ArchError> {
        let described = match config.get("architectures").and_then(|listed| listed.get(0)?.as_str()) {
            None => None,
            Some(class) => {
                let refuse = || {
                    let stem = self.stems[0];
                    let kinds = [
                        "Model",
                        "ForMaskedLM",
                        "ForSequenceClassification",
                        "ForTokenClassification",
                        "ForQuestionAnswering",
                    ];
                    config.refuse("architectures", kinds.map(|kind| format!("{stem}{kind}")).join(", "))
                };
                Some(self.part_of_class(class).ok_or_else(refuse)?)
            }
        };
        let Some(name) = options.part.as_deref() else { return Ok((described.unwrap_or(Part::Encoder), described)) };
        let part = Part::ALL.into_iter().find(|part| part.name() == name);
        let unknown = || ArchError::Part { architecture: self.name, parts: PARTS, found: Some(name.to_owned()) };
        Ok((part.ok_or_else(unknown)?, described))
    }
}

impl Architecture for Family {
    fn name(&self) -> &'static str {
        self.name
    }

    fn task(&self) -> Task {
        Task::TextEncoding
    }

    fn parts(&self) -> &'static [&'static str] {
        PARTS
    }

    fn described_part(&self, config: Option<&Json>) -> Option<&'static str> {
        Some(self.part_of_class(class(config?)?)?.name())
    }

    fn default_part(&self) -> Option<&'static str> {
        Some(Part::Encoder.name())
    }

    fn detects(&self, config: &Json) -> bool {
        match config.get("model_type").and_then(Json::as_str) {
            Some(kind) => kind == self.name,
            // The first configs had no kind.
            None => class(config)
                .and_then(|class| class.strip_prefix(self.stems[0]))
                .is_some_and(|kind| Part::of_class(kind).is_some()),
        }
    }

    fn config_keys(&self) -> Tables {
        self.keys
    }

    fn component_keys(&self, _part: Option<&str>) -> &'static [&'static str] {
        &["sequence", "linear", "attention"]
    }

    fn documents(&self, read: &dyn Fn(&str) -> Option<Json>) -> Vec<String> {
        SentenceModules::documents(read)
    }

    fn module_files(&self, documents: &Documents, part: Option<&str>) -> Vec<Vec<String>> {
        if part == Some(Part::Encoder.name()) { SentenceModules::weight_files(documents) } else { Vec::new() }
    }

    fn holds(&self, weights: &dyn Weights, _part: Option<&str>) -> bool {
        weights.names().any(|name| name.ends_with("embeddings.word_embeddings.weight"))
    }

    fn load(
        &self,
        documents: &Documents,
        weights: &Arc<dyn Weights>,
        options: &LoadOptions,
    ) -> Result<Network, ArchError> {
        let config = Config::of(documents, self)?;
        self.refuse_kin(documents)?;
        let (part, described) = self.part(options, config)?;
        let sizes = Sizes::read(config, self.counts_from_padding)?;
        one_name_per_norm(weights.as_ref())?;
        let prefix = if weights.names().any(|name| name.starts_with(self.prefix)) { self.prefix } else { "" };
        let tensors = Tensors::new(weights.as_ref(), "", options.compute);
        let mut stages: Vec<Box<dyn Stage>> = vec![Box::new(Entry::read(&tensors, prefix, &sizes)?)];
        for layer in 0..sizes.layers {
            stages.push(Box::new(Layer::read(&tensors, prefix, &sizes, layer)?));
        }
        let (outputs, notes) = match part {
            Part::Encoder => {
                let modules = SentenceModules::read(documents, &tensors, sizes.width)?;
                let outputs = Outputs::Sentence { tokens: sizes.width, text: modules.width() };
                let notes = Notes::default().with(&notes::Pooling(modules.describe()));
                stages.push(Box::new(modules));
                (outputs, notes)
            }
            part => {
                let labels = Labels::read(config)?;
                let pooler = if self.counts_from_padding {
                    "classifier.dense".to_owned()
                } else {
                    format!("{prefix}pooler.dense")
                };
                stages.push(Box::new(Head::read(&tensors, part, &pooler, sizes.width, config, &labels)?));
                (Outputs::Head { part, labels: labels.count() }, labels.notes(part))
            }
        };
        self.account(&tensors, part, described, prefix)?;
        Ok(network(&sizes, outputs, notes, stages, options))
    }
}

impl Family {
    /// Refuses a config that names no family and has the numbers of RoBERTa's, whose tensors are called the same and
    /// whose positions are not.
    fn refuse_kin(&self, documents: &Documents) -> Result<(), ArchError> {
        let Some(config) = documents.config.as_ref().filter(|_| !self.counts_from_padding) else { return Ok(()) };
        let number = |key: &str| config.get(key).and_then(Json::as_u64);
        let is_named =
            ["model_type", "architectures"].iter().any(|key| config.get(key).is_some_and(|value| !value.is_null()));
        if is_named || (number("type_vocab_size") != Some(1) && number("pad_token_id") != Some(1)) {
            return Ok(());
        }
        Err(ArchError::Document {
            document: "config.json".to_owned(),
            expected: "the `model_type` of a BERT".to_owned(),
            found: "no `model_type`, and one token type or padding by token 1, as RoBERTa and its kin have".to_owned(),
        })
    }

    /// Checks that every tensor was read, or is left out for a reason.
    fn account(
        &self,
        tensors: &Tensors<'_>,
        part: Part,
        described: Option<Part>,
        prefix: &str,
    ) -> Result<(), ArchError> {
        let starts = |name: &str, starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        let own = |name: &str| name.strip_prefix(prefix).unwrap_or(name).to_owned();
        tensors.skip(|name| BUFFERS.contains(&own(name).as_str()) || starts(name, &PRETRAINING));
        if part != Part::Classifier {
            tensors.skip(|name| own(name).starts_with("pooler."));
        }
        // A component that asks for the encoder of a model with a head leaves the head out knowingly.
        if part == Part::Encoder && described.is_some_and(|described| described != part) {
            tensors.skip(|name| starts(name, &HEADS));
        }
        let heads: Vec<String> =
            tensors.unused().filter(|name| starts(name, &HEADS)).map(str::to_owned).take(5).collect();
        if !heads.is_empty() {
            return Err(ArchError::Head {
                architecture: self.name,
                part: part.name(),
                names: heads,
                parts: &PARTS[1..],
            });
        }
        tensors.all_used(self.name)
    }
}

/// Checks that no norm has both of the names that its tensors had over the years.
fn one_name_per_norm(weights: &dyn Weights) -> Result<(), ArchError> {
    for (old, new) in [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")] {
        for name in weights.names() {
            let Some(start) = name.strip_suffix(old) else { continue };
            let other = format!("{start}{new}");
            if weights.info(&other).is_some() {
                return Err(ArchError::TwoNames { first: name.to_owned(), second: other });
            }
        }
    }
    Ok(())
}

/// What a network gives, and how wide it is.
#[derive(Debug, Clone, Copy)]
enum Outputs {
    Sentence { tokens: u64, text: u64 },
    Head { part: Part, labels: u64 },
}

impl Outputs {
    fn description(self) -> &'static str {
        match self {
            Self::Sentence { .. } => "Sentence encoder: makes a vector from a text",
            Self::Head { part: Part::TokenClassifier, .. } => {
                "Token classifier: scores the labels of every token of a text"
            }
            Self::Head { part: Part::QuestionAnswering, .. } => {
                "Question answering: scores where the answer begins and ends"
            }
            Self::Head { .. } => "Classifier: scores the labels of a text",
        }
    }

    fn features(self, sequence: u64) -> Vec<Feature> {
        match self {
            Self::Sentence { tokens, text } => vec![
                Feature::float(features::LAST_HIDDEN_STATE, "a vector for every token", &[1, sequence, tokens]),
                Feature::float(features::SENTENCE_EMBEDDING, "one vector for the text", &[1, text]),
            ],
            Self::Head { part: Part::TokenClassifier, labels } => {
                vec![Feature::float(features::LOGITS, "scores of every label, for every token", &[1, sequence, labels])]
            }
            Self::Head { part: Part::QuestionAnswering, .. } => vec![
                Feature::float(
                    heads::START,
                    "for every token, the score of the answer beginning there",
                    &[1, sequence],
                ),
                Feature::float(heads::END, "for every token, the score of the answer ending there", &[1, sequence]),
            ],
            Self::Head { labels, .. } => vec![Feature::float(features::LOGITS, "scores of every label", &[1, labels])],
        }
    }
}

fn network(
    sizes: &Sizes,
    outputs: Outputs,
    notes: Notes,
    stages: Vec<Box<dyn Stage>>,
    options: &LoadOptions,
) -> Network {
    let (count, longest, has_types) = (stages.len(), sizes.longest(), sizes.takes_types());
    let interfaces = move |form: &Form| {
        let TextShape { sequence, .. } = form.text()?;
        if sequence > longest {
            let why = format!("this model has {longest} positions");
            return Err(ArchError::Form { axis: "sequence", found: sequence.to_string(), why });
        }
        let mut inputs = vec![
            Feature::int32(features::INPUT_IDS, "tokens of the text, padded behind", &[1, sequence]),
            Feature::int32(features::ATTENTION_MASK, "1 for tokens of the text, 0 for padding", &[1, sequence]),
        ];
        if has_types {
            inputs.push(Feature::int32(
                features::TOKEN_TYPE_IDS,
                "0 for the first sentence, 1 for the second",
                &[1, sequence],
            ));
        }
        Ok(vec![Interface::main(inputs, outputs.features(sequence), count)])
    };
    Network {
        description: outputs.description().to_owned(),
        interfaces: Box::new(interfaces),
        stages,
        compute: options.compute,
        notes,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::arch;

    fn detected(config: &Json) -> (String, Option<&'static str>) {
        match arch::detect(Some(config)) {
            Ok(found) => (found.name().to_owned(), found.described_part(Some(config))),
            Err(error) => (error.to_string(), None),
        }
    }

    #[test]
    fn configs_are_told_apart_by_kind_and_class() {
        for (kind, class, name, part) in [
            (Some("bert"), "BertModel", "bert", Some("encoder")),
            (Some("bert"), "BertForMaskedLM", "bert", Some("encoder")),
            (None, "BertForSequenceClassification", "bert", Some("classifier")),
            (Some("bert"), "BertForMultipleChoice", "bert", None),
            (Some("roberta"), "RobertaForTokenClassification", "roberta", Some("token-classifier")),
            (Some("xlm-roberta"), "XLMRobertaModel", "xlm-roberta", Some("encoder")),
            (Some("camembert"), "CamembertForQuestionAnswering", "camembert", Some("question-answering")),
            (None, "T5WithLMHeadModel", "t5", None),
            (None, "MT5EncoderModel", "mt5", None),
            (Some("umt5"), "UMT5ForConditionalGeneration", "umt5", None),
        ] {
            let config = json!({ "model_type": kind, "architectures": [class] });
            assert_eq!(detected(&config), (name.to_owned(), part), "{config}");
        }
        for config in [
            json!({ "model_type": "electra", "architectures": ["ElectraModel"] }),
            json!({ "architectures": ["BertGenerationEncoder"] }),
        ] {
            assert!(detected(&config).0.contains("which mlreg does not convert"), "{config}");
        }
    }

    #[test]
    fn old_and_new_names_of_one_norm_exclude_each_other() {
        let mut weights = crate::checkpoint::MemoryWeights::default();
        weights.insert_f32("a.LayerNorm.gamma", &[1], &[1.0]);
        weights.insert_f32("a.LayerNorm.bias", &[1], &[1.0]);
        one_name_per_norm(&weights).unwrap();
        weights.insert_f32("a.LayerNorm.beta", &[1], &[1.0]);
        let error = one_name_per_norm(&weights).unwrap_err().to_string();
        assert_eq!(
            error,
            "the checkpoint holds `a.LayerNorm.beta` and `a.LayerNorm.bias`, which are two names of one tensor"
        );
    }
}
