//! Which bundles of a package are run: what they do is seen from their inputs and outputs.
//!
//! Of several that do the same, cached decoders come before others, float32 before float16 (which is no faster here), `linear` before `conv`, later
//! targets before earlier ones. Lengths are chosen when the texts are known.

use std::{cmp::Reverse, path::Path};

use super::{TextChoice, TextRunError, language};
use crate::{
    base::Target,
    manifest::release::{BundleKind, Feature, Interface, Release, Variant},
    text::{ChatTemplate, Tokenizer},
    workflow::{
        Context, Error,
        bundles::{self, Bundle, BundleSubject, Found},
        publish,
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
    release: Option<Release>,
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
        Self { name: self.name.clone(), encoder, decoders, crosses: of(&self.crosses), release: self.release.clone() }
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
        let is = |axis: &str, value: &str| variant.and_then(|variant| variant.axes.get(axis)).is_some_and(|found| found == value);
        let order = (!is("precision", "float32"), is("linear", "conv"), Reverse(variant.and_then(|variant| variant.target)));
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
    let release = match options.subject {
        BundleSubject::Folder(_) => None,
        BundleSubject::Package(request) => Some(publish::find_usable(context, request)?),
    };
    let mut candidates = Vec::new();
    for found in bundles::find(context, options.subject, options.variants)? {
        let (interface, variant) = match &found {
            Found::Variant(variant) => (variant.interface.clone(), Some(variant.clone())),
            Found::Folder(_) => (found.clone().open(context)?.package.interface(None).cloned(), None),
        };
        candidates.extend(interface.map(|interface| Candidate::of(found, interface, variant.as_deref())));
    }
    candidates.sort_by_key(|candidate| candidate.order);
    let with = |output: &str| candidates.iter().filter(|it| has(&it.interface.outputs, output)).cloned().collect::<Vec<_>>();
    let (sentences, tokens) = (with("sentence_embedding"), with("hidden_states"));
    let later = candidates.iter().any(|it| language::is_later_chunk(&it.interface));
    let whole = |it: &&Candidate| language::is_language_model(&it.interface) && (later || has(&it.interface.outputs, "logits"));
    let language: Vec<Candidate> = candidates.iter().filter(whole).cloned().collect();
    let decoders = candidates.iter().filter(|it| has(&it.interface.inputs, "decoder_input_ids")).cloned().collect();
    let name = options.subject.to_string();
    let encoder = match (sentences.is_empty(), tokens.is_empty()) {
        _ if !language.is_empty() => Encoder::Language(language),
        (false, _) => Encoder::Sentences(sentences),
        (true, false) => Encoder::Tokens(tokens),
        _ => return Err(TextRunError::Missing { package: name, missing: "encoder of text" }.into()),
    };
    Ok(Chosen { name, encoder, decoders, crosses: with("cross_key_cache"), release })
}

/// The tokenizer that is named, or the one among the package's plain files; `tokenizer.json` before others.
pub(super) fn tokenizer(context: &Context, options: &TextChoice<'_>, chosen: &Chosen) -> Result<Tokenizer, TextRunError> {
    if let Some(path) = options.tokenizer {
        return Ok(Tokenizer::open(&context.directory().join(path))?);
    }
    let variants = chosen.release.iter().flat_map(|release| &release.variants).filter(|variant| variant.kind == BundleKind::Files);
    let files = variants.flat_map(|variant| &variant.files).filter(|file| Tokenizer::is_one(file.path.file_name()));
    let file = files.min_by_key(|file| (!file.path.as_str().ends_with(".json"), file.path.clone()));
    let file = file.ok_or_else(|| TextRunError::NoTokenizer { package: chosen.name.clone() })?;
    let path = context.store().blob_path(&file.sha256);
    let bytes = std::fs::read(&path).map_err(|source| TextRunError::Read { path, source })?;
    Ok(Tokenizer::read(Path::new(file.path.as_str()), &bytes, file.path.as_str().ends_with(".json"))?)
}

/// The chat template that belongs to the tokenizer: among the package's plain files, or beside the tokenizer that was named.
pub(super) fn chat_template(context: &Context, options: &TextChoice<'_>, chosen: &Chosen) -> Option<ChatTemplate> {
    let read = |name: &str| match options.tokenizer {
        Some(path) => std::fs::read_to_string(context.directory().join(path).with_file_name(name)).ok(),
        None => {
            let variants = chosen.release.iter().flat_map(|release| &release.variants).filter(|variant| variant.kind == BundleKind::Files);
            let file = variants.flat_map(|variant| &variant.files).find(|file| file.path.file_name() == name)?;
            std::fs::read_to_string(context.store().blob_path(&file.sha256)).ok()
        }
    };
    let config = read("tokenizer_config.json").and_then(|text| serde_json::from_str(&text).ok());
    ChatTemplate::find(read("chat_template.jinja"), config.as_ref())
}

/// Of candidates that can take `wanted` tokens the shortest, else the longest; equal ones in their order.
pub(super) fn fitting(candidates: &[Candidate], wanted: usize, length: impl Fn(&Candidate) -> usize) -> Option<&Candidate> {
    let enough = candidates.iter().filter(|candidate| length(candidate) >= wanted).min_by_key(|candidate| length(candidate));
    enough.or_else(|| candidates.iter().min_by_key(|candidate| Reverse(length(candidate))))
}
