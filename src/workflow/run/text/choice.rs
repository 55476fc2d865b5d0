//! Chooses the bundles of a package to run, by their inputs and outputs.
//!
//! Among bundles with the same purpose, cached decoders come before others, float32 before float16 (which is no faster
//! here), `linear` before `conv`, later targets before earlier ones. Lengths are chosen once the texts are known.

use std::{cmp::Reverse, collections::BTreeMap, path::PathBuf};

use super::{Picked, TextChoice, TextRunError};
use crate::{
    base::Target,
    contract::{self, Interface, features, notes::Labels},
    manifest::{self, Axis, CHUNKS, release::Variant},
    text::{Tokenizer, TokenizerFiles},
    workflow::{
        Context, Error,
        bundles::{self, Bundle, Contents, Found, PlainFiles},
    },
};

/// A bundle that may run.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    found: Found,
    pub interface: Interface,
    making: Making,
    component: String,
    axes: BTreeMap<String, String>,
    scores_labels: bool,
    order: (bool, bool, Reverse<Option<Target>>),
}

/// Axes that change a bundle's numbers. Bundles that run together have one making.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Making {
    linear: String,
    precision: String,
    compression: String,
}

impl Making {
    fn of(variant: Option<&Variant>) -> Self {
        let axis = |axis: Axis| variant.and_then(|variant| variant.axes.get(axis.label())).cloned().unwrap_or_default();
        Self { linear: axis(Axis::Linear), precision: axis(Axis::Precision), compression: axis(Axis::Compress) }
    }

    /// As in variant ids: without defaults.
    fn name(&self) -> String {
        let Self { linear, precision, compression } = self;
        let parts = [(linear, "linear"), (precision, ""), (compression, "none")];
        let parts: Vec<&str> =
            parts.into_iter().filter(|(value, default)| value != default).map(|(value, _)| value.as_str()).collect();
        parts.into_iter().filter(|value| !value.is_empty()).collect::<Vec<_>>().join("-")
    }
}

/// The bundles that turn text into vectors, in every length that the package has.
#[derive(Debug)]
pub(super) enum Encoder {
    Sentences(Vec<Candidate>),
    Tokens(Vec<Candidate>),
    /// A language model, which has no encoder: its own bundles.
    Language(Vec<Candidate>),
}

/// The bundles of a package by purpose, the preferred ones first.
#[derive(Debug)]
pub(super) struct Chosen {
    /// The package, or the bundle.
    pub name: String,
    pub encoder: Encoder,
    pub decoders: Vec<Candidate>,
    pub crosses: Vec<Candidate>,
}

impl Chosen {
    /// A choice for each making of the decoders, with its name, the most precise first. Encoders of another making are
    /// used only if this making has none: first those of its precision, then any.
    pub(super) fn by_making(&self) -> Vec<(String, Self)> {
        let mut makings: Vec<&Making> = Vec::new();
        let language: &[Candidate] = if let Encoder::Language(bundles) = &self.encoder { bundles } else { &[] };
        for decoder in self.decoders.iter().chain(language) {
            if !makings.contains(&&decoder.making) {
                makings.push(&decoder.making);
            }
        }
        makings.into_iter().map(|making| (making.name(), self.made(making))).collect()
    }

    /// The making of the bundles that ran, if the package has others.
    pub(super) fn picked(&self, names: &[String]) -> Option<Picked> {
        let own = match &self.encoder {
            Encoder::Sentences(candidates) | Encoder::Language(candidates) => candidates,
            Encoder::Tokens(_) => &self.decoders,
        };
        let mut makings: Vec<String> = Vec::new();
        for candidate in own {
            if !makings.contains(&candidate.making.name()) {
                makings.push(candidate.making.name());
            }
        }
        let ran = own.iter().find(|candidate| names.contains(&candidate.found.name()))?;
        let making = ran.making.name();
        makings.retain(|other| *other != making);
        (!makings.is_empty()).then_some(Picked { making, others: makings })
    }

    fn made(&self, making: &Making) -> Self {
        let of = |candidates: &[Candidate]| -> Vec<Candidate> {
            let some = |fits: &dyn Fn(&Making) -> bool| {
                candidates.iter().filter(|it| fits(&it.making)).cloned().collect::<Vec<_>>()
            };
            let [same, similar] = [some(&|other| other == making), some(&|other| other.precision == making.precision)];
            [same, similar].into_iter().find(|found| !found.is_empty()).unwrap_or_else(|| candidates.to_vec())
        };
        let encoder = match &self.encoder {
            Encoder::Sentences(candidates) => Encoder::Sentences(of(candidates)),
            Encoder::Tokens(candidates) => Encoder::Tokens(of(candidates)),
            Encoder::Language(candidates) => Encoder::Language(of(candidates)),
        };
        let decoders = self.decoders.iter().filter(|decoder| decoder.making == *making).cloned().collect();
        Self { name: self.name.clone(), encoder, decoders, crosses: of(&self.crosses) }
    }
}

impl Candidate {
    fn of(found: Found, interface: Interface) -> Self {
        let variant = found.variant();
        Self {
            making: Making::of(variant),
            component: variant.map_or_else(String::new, |variant| variant.component.clone()),
            axes: variant.map_or_else(BTreeMap::new, |variant| variant.axes.clone()),
            order: bundles::preference(variant),
            scores_labels: false,
            interface,
            found,
        }
    }

    /// Sort key: preferred bundles are lowest.
    pub(super) fn order(&self) -> impl Ord + use<> {
        self.order
    }

    /// Facts for the search for language models.
    pub(super) fn facts(&self) -> contract::Bundle<'_> {
        let target = self.found.variant().and_then(|variant| variant.target);
        let target = target.map(|target| (Axis::Target.label().to_owned(), target.to_string()));
        contract::Bundle {
            component: &self.component,
            chunks: self.axes.get(CHUNKS).and_then(|count| count.parse().ok()),
            making: manifest::making(&self.axes).into_iter().chain(target).collect(),
            interface: &self.interface,
            scores_labels: self.scores_labels,
        }
    }

    pub(super) fn open(&self, context: &Context) -> Result<Bundle, Error> {
        Ok(self.found.clone().open(context)?)
    }

    pub(super) fn is_cached(&self) -> bool {
        self.interface.is_cached()
    }

    /// Asks the bundle's notes whether its logits score labels, where the interface leaves that open.
    fn with_labels(mut self, context: &Context) -> Result<Self, Error> {
        self.scores_labels =
            !self.is_cached() && self.facts().is_language() && self.open(context)?.notes().has::<Labels>();
        Ok(self)
    }
}

/// Finds what the bundles of a package do.
///
/// # Errors
/// When there are none, or they encode no text.
pub(super) fn choose(contents: &Contents<'_>, options: &TextChoice<'_>) -> Result<Chosen, Error> {
    let found = contents.programs(options.variants)?.into_iter();
    let mut candidates: Vec<Candidate> =
        found.filter_map(|found| candidate(contents.context(), found).transpose()).collect::<Result<_, _>>()?;
    candidates.sort_by_key(|candidate| candidate.order);
    let select = |is_meant: &dyn Fn(&Candidate) -> bool| {
        candidates.iter().filter(|it| is_meant(it)).cloned().collect::<Vec<_>>()
    };
    let language = select(&|it| it.facts().is_language());
    let sentences = select(&|it| it.interface.gives(features::SENTENCE_EMBEDDING));
    let tokens = select(&|it| it.interface.gives(features::HIDDEN_STATES));
    let name = options.subject.to_string();
    let encoder = match (language.is_empty(), sentences.is_empty(), tokens.is_empty()) {
        (false, _, _) => Encoder::Language(language),
        (_, false, _) => Encoder::Sentences(sentences),
        (_, _, false) => Encoder::Tokens(tokens),
        _ => return Err(TextRunError::Missing { package: name, missing: "encoder of text" }.into()),
    };
    let decoders = select(&|it| it.interface.takes(features::DECODER_INPUT_IDS));
    let crosses = select(&|it| it.interface.gives(features::CROSS_KEY_CACHE));
    Ok(Chosen { name, encoder, decoders, crosses })
}

/// A bundle whose interface is known.
fn candidate(context: &Context, found: Found) -> Result<Option<Candidate>, Error> {
    let interface = match found.variant() {
        Some(variant) => variant.interface.clone(),
        None => found.clone().open(context)?.package.interface(None).cloned(),
    };
    interface.map(|interface| Candidate::of(found, interface).with_labels(context)).transpose()
}

/// The files of the named tokenizer, or else of the one among the package's plain files.
pub(super) fn tokenizer_files(contents: &Contents<'_>, options: &TextChoice<'_>) -> Result<TokenizerFiles, Error> {
    match options.tokenizer {
        Some(path) => {
            Ok(TokenizerFiles::beside(&contents.context().directory().join(path)).map_err(TextRunError::from)?)
        }
        None => Ok(TokenizerFiles::new(together(contents.plain_files()?))),
    }
}

/// Reads the tokenizer from its files.
pub(super) fn tokenizer(files: &TokenizerFiles, package: &str) -> Result<Tokenizer, TextRunError> {
    Tokenizer::find(files)?.ok_or_else(|| TextRunError::NoTokenizer { package: package.to_owned() })
}

/// The plain files that belong to one tokenizer: those in its folder and component first, then those that have no
/// tokenizer beside them.
fn together(groups: Vec<PlainFiles>) -> BTreeMap<String, PathBuf> {
    let mut folders: Vec<BTreeMap<String, PathBuf>> = Vec::new();
    for PlainFiles { files } in groups {
        let is_one = |file: &&crate::base::RelativePath| Tokenizer::is_one(file.file_name());
        let mut tokenizers: Vec<String> = files
            .keys()
            .filter(is_one)
            .map(|file| file.parent().map_or(String::new(), |it| format!("{it}/")))
            .collect();
        tokenizers.sort_by_key(|folder| (folder.len(), folder.clone()));
        tokenizers.dedup();
        // What lies below a tokenizer's folder is its; the rest of the component goes with the first.
        let owner = |path: &str| tokenizers.iter().rposition(|folder| path.starts_with(folder.as_str())).unwrap_or(0);
        let mut own = vec![BTreeMap::new(); tokenizers.len().max(1)];
        for (path, file) in files {
            let index = owner(path.as_str());
            let folder = tokenizers.get(index).map_or("", String::as_str);
            let name = path.as_str().strip_prefix(folder).unwrap_or_else(|| path.file_name());
            own[index].insert(name.to_owned(), file);
        }
        folders.extend(own);
    }
    let has = |folder: &BTreeMap<String, PathBuf>| folder.keys().any(|name| Tokenizer::is_one(name));
    let rank = |folder: &BTreeMap<String, PathBuf>| (!has(folder), !folder.contains_key("tokenizer.json"));
    folders.sort_by_key(rank);
    let mut folders = folders.into_iter();
    let mut chosen = folders.next().unwrap_or_default();
    for folder in folders.filter(|folder| !has(folder)) {
        for (name, file) in folder {
            let plain = name.rsplit('/').next().unwrap_or(&name).to_owned();
            chosen.entry(plain).or_insert(file);
        }
    }
    chosen
}

/// The shortest candidate that takes `wanted` tokens, else the longest one; the first of equal ones.
pub(super) fn fitting(
    candidates: &[Candidate],
    wanted: usize,
    length: impl Fn(&Candidate) -> usize,
) -> Option<&Candidate> {
    let enough =
        candidates.iter().filter(|candidate| length(candidate) >= wanted).min_by_key(|candidate| length(candidate));
    enough.or_else(|| candidates.iter().min_by_key(|candidate| Reverse(length(candidate))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[&str]) -> PlainFiles {
        PlainFiles { files: files.iter().map(|path| (path.parse().unwrap(), PathBuf::from(path))).collect() }
    }

    fn chosen(groups: &[&[&str]]) -> Vec<String> {
        together(groups.iter().map(|files| group(files)).collect())
            .into_values()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn files_of_one_tokenizer_are_found_together() {
        assert_eq!(
            chosen(&[&["tokenizer.json", "tokenizer_config.json"]]),
            ["tokenizer.json", "tokenizer_config.json"]
        );
        assert_eq!(
            chosen(&[&["a/vocab.txt", "a/tokenizer_config.json"], &["readme.md"]]),
            ["readme.md", "a/tokenizer_config.json", "a/vocab.txt"]
        );
        assert_eq!(chosen(&[&["vocab.txt"], &["x/chat_template.jinja"]]), ["x/chat_template.jinja", "vocab.txt"]);
        // The settings of another tokenizer are none of this one's.
        assert_eq!(chosen(&[&["a.model", "special_tokens_map.json"], &["tokenizer.json"]]), ["tokenizer.json"]);
        assert_eq!(
            chosen(&[&["a/vocab.txt", "a/x.json", "b/tokenizer.json", "b/y.json"]]),
            ["b/tokenizer.json", "b/y.json"]
        );
        assert_eq!(
            chosen(&[&["t/tokenizer.json", "t/additional_chat_templates/rag.jinja"]]),
            ["t/additional_chat_templates/rag.jinja", "t/tokenizer.json"]
        );
        assert!(chosen(&[]).is_empty());
    }
}
