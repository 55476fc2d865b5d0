//! Which bundles of a package are run: what they do is seen from their inputs and outputs.
//!
//! Of several that do the same, cached decoders come before others, float32 before float16 (which is no faster here), `linear` before `conv`, later
//! targets before earlier ones. Lengths are chosen when the texts are known.

use std::{cmp::Reverse, collections::BTreeMap, path::PathBuf};

use super::{Picked, TextChoice, TextRunError, language};
use crate::{
    base::Target,
    contract::{Feature, Interface},
    manifest::release::Variant,
    text::{Tokenizer, TokenizerFiles},
    workflow::{
        Context, Error,
        bundles::{self, Bundle, Found, PlainFiles},
    },
};

/// A bundle that may be run.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    found: Found,
    pub interface: Interface,
    making: Making,
    component: String,
    order: (bool, bool, Reverse<Option<Target>>),
}

/// How the numbers of a bundle were made. Bundles of one making belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Making {
    linear: String,
    precision: String,
    compression: String,
}

impl Making {
    fn of(variant: Option<&Variant>) -> Self {
        let axis = |name: &str| variant.and_then(|variant| variant.axes.get(name)).cloned().unwrap_or_default();
        Self { linear: axis("linear"), precision: axis("precision"), compression: axis("compression") }
    }

    /// As variants are named: without what is at its default.
    fn name(&self) -> String {
        let Self { linear, precision, compression } = self;
        let parts = [(linear, "linear"), (precision, ""), (compression, "none")];
        let parts: Vec<&str> = parts.into_iter().filter(|(value, default)| value != default).map(|(value, _)| value.as_str()).collect();
        parts.into_iter().filter(|value| !value.is_empty()).collect::<Vec<_>>().join("-")
    }
}

/// What makes vectors from text, in every length there is.
#[derive(Debug)]
pub(super) enum Encoder {
    Sentences(Vec<Candidate>),
    Tokens(Vec<Candidate>),
    /// A language model has none: these are its own bundles.
    Language(Vec<Candidate>),
}

/// The bundles of a package, by what they do, the preferred ones first.
#[derive(Debug)]
pub(super) struct Chosen {
    /// The package, or the bundle.
    pub name: String,
    pub encoder: Encoder,
    pub decoders: Vec<Candidate>,
    pub crosses: Vec<Candidate>,
}

impl Chosen {
    /// A choice for each way in which decoders were made, by its name, the most precise first. Encoders of other makings are taken
    /// only where there is none of that making: then of its precision, then any.
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

    /// How the bundles that were run were made, where others could have been run.
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
            let some = |fits: &dyn Fn(&Making) -> bool| candidates.iter().filter(|it| fits(&it.making)).cloned().collect::<Vec<_>>();
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

pub(super) fn has(features: &[Feature], name: &str) -> bool {
    features.iter().any(|feature| feature.name == name)
}

/// A length in a feature's shape; 0 where there is none.
pub(super) fn length(features: &[Feature], name: &str, axis: usize) -> usize {
    let feature = features.iter().find(|feature| feature.name == name);
    feature.and_then(|feature| feature.shape.get(axis)).and_then(|&n| usize::try_from(n).ok()).unwrap_or(0)
}

impl Candidate {
    fn of(found: Found, interface: Interface, variant: Option<&Variant>) -> Self {
        let order = bundles::preference(variant);
        let component = variant.map_or_else(String::new, |variant| variant.component.clone());
        Self { found, interface, making: Making::of(variant), component, order }
    }

    /// The preferred ones come first.
    pub(super) fn order(&self) -> impl Ord + use<> {
        self.order
    }

    /// Whether two bundles were made in the same way.
    pub(super) fn is_made_as(&self, other: &Self) -> bool {
        self.making == other.making && self.order.2 == other.order.2
    }

    /// The component, or what chunks of one component have in common.
    pub(super) fn model(&self) -> &str {
        self.component.rsplit_once("chunk-").map_or(self.component.as_str(), |(model, _)| model)
    }

    /// Which chunk of a model it is, from 1 on: the number that its component's name ends in.
    pub(super) fn chunk(&self) -> Option<usize> {
        self.component.rsplit_once("chunk-")?.1.parse().ok()
    }

    pub(super) fn open(&self, context: &Context) -> Result<Bundle, Error> {
        Ok(self.found.clone().open(context)?)
    }

    pub(super) fn is_cached(&self) -> bool {
        has(&self.interface.inputs, "position")
    }
}

/// Finds what there is.
pub(super) fn choose(context: &Context, options: &TextChoice<'_>) -> Result<Chosen, Error> {
    let mut candidates = Vec::new();
    for found in bundles::find(context, options.subject, options.variants)? {
        let variant = found.variant().cloned();
        let interface = match &variant {
            Some(variant) => variant.interface.clone(),
            None => found.clone().open(context)?.package.interface(None).cloned(),
        };
        candidates.extend(interface.map(|interface| Candidate::of(found, interface, variant.as_ref())));
    }
    candidates.sort_by_key(|candidate| candidate.order);
    let with = |output: &str| candidates.iter().filter(|it| has(&it.interface.outputs, output)).cloned().collect::<Vec<_>>();
    let (sentences, tokens) = (with("sentence_embedding"), with("hidden_states"));
    let later = candidates.iter().any(|it| language::is_later_chunk(&it.interface));
    let whole = |it: &&Candidate| language::is_language_model(&it.interface) && (later || has(&it.interface.outputs, "logits"));
    let mut language: Vec<Candidate> = Vec::new();
    for candidate in candidates.iter().filter(whole) {
        if candidate.is_cached() || !language::scores_labels(&candidate.open(context)?) {
            language.push(candidate.clone());
        }
    }
    let decoders = candidates.iter().filter(|it| has(&it.interface.inputs, "decoder_input_ids")).cloned().collect();
    let name = options.subject.to_string();
    let encoder = match (sentences.is_empty(), tokens.is_empty()) {
        _ if !language.is_empty() => Encoder::Language(language),
        (false, _) => Encoder::Sentences(sentences),
        (true, false) => Encoder::Tokens(tokens),
        _ => return Err(TextRunError::Missing { package: name, missing: "encoder of text" }.into()),
    };
    Ok(Chosen { name, encoder, decoders, crosses: with("cross_key_cache") })
}

/// The files of the tokenizer that is named, or of the one among the package's plain files.
pub(super) fn tokenizer_files(context: &Context, options: &TextChoice<'_>) -> Result<TokenizerFiles, Error> {
    match options.tokenizer {
        Some(path) => Ok(TokenizerFiles::beside(&context.directory().join(path)).map_err(TextRunError::from)?),
        None => Ok(TokenizerFiles::new(together(bundles::plain_files(context, options.subject)?))),
    }
}

/// The tokenizer that these files are.
pub(super) fn tokenizer(files: &TokenizerFiles, package: &str) -> Result<Tokenizer, TextRunError> {
    Tokenizer::find(files)?.ok_or_else(|| TextRunError::NoTokenizer { package: package.to_owned() })
}

/// Of plain files those that belong to one tokenizer: what lies in the same folder and component before what has no tokenizer beside it.
fn together(groups: Vec<PlainFiles>) -> BTreeMap<String, PathBuf> {
    let mut folders: Vec<BTreeMap<String, PathBuf>> = Vec::new();
    for PlainFiles { files } in groups {
        let is_one = |file: &&crate::base::RelativePath| Tokenizer::is_one(file.file_name());
        let mut tokenizers: Vec<String> =
            files.keys().filter(is_one).map(|file| file.parent().map_or(String::new(), |it| format!("{it}/"))).collect();
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

/// Of candidates that can take `wanted` tokens the shortest, else the longest; equal ones in their order.
pub(super) fn fitting(candidates: &[Candidate], wanted: usize, length: impl Fn(&Candidate) -> usize) -> Option<&Candidate> {
    let enough = candidates.iter().filter(|candidate| length(candidate) >= wanted).min_by_key(|candidate| length(candidate));
    enough.or_else(|| candidates.iter().min_by_key(|candidate| Reverse(length(candidate))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[&str]) -> PlainFiles {
        PlainFiles { files: files.iter().map(|path| (path.parse().unwrap(), PathBuf::from(path))).collect() }
    }

    fn chosen(groups: &[&[&str]]) -> Vec<String> {
        together(groups.iter().map(|files| group(files)).collect()).into_values().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn files_of_one_tokenizer_are_found_together() {
        assert_eq!(chosen(&[&["tokenizer.json", "tokenizer_config.json"]]), ["tokenizer.json", "tokenizer_config.json"]);
        assert_eq!(
            chosen(&[&["a/vocab.txt", "a/tokenizer_config.json"], &["readme.md"]]),
            ["readme.md", "a/tokenizer_config.json", "a/vocab.txt"]
        );
        assert_eq!(chosen(&[&["vocab.txt"], &["x/chat_template.jinja"]]), ["x/chat_template.jinja", "vocab.txt"]);
        // The settings of another tokenizer are none of this one's.
        assert_eq!(chosen(&[&["a.model", "special_tokens_map.json"], &["tokenizer.json"]]), ["tokenizer.json"]);
        assert_eq!(chosen(&[&["a/vocab.txt", "a/x.json", "b/tokenizer.json", "b/y.json"]]), ["b/tokenizer.json", "b/y.json"]);
        assert_eq!(
            chosen(&[&["t/tokenizer.json", "t/additional_chat_templates/rag.jinja"]]),
            ["t/additional_chat_templates/rag.jinja", "t/tokenizer.json"]
        );
        assert!(chosen(&[]).is_empty());
    }
}
