//! Finds the language models among the bundles of a package: which bundles and functions form a whole model, and how
//! many tokens each can be called with.
//!
//! A form is a set of bundles that were made alike (same axes apart from lengths) and have one length of cache. Its
//! calls are chains with one function for each chunk of the model. Decoders of translators, encoders and functions with
//! inputs that no language model has belong to no form.

use std::collections::BTreeMap;

use super::{
    chunk::ChunkName,
    features::{ATTENTION_MASK, HIDDEN_STATES, HIDDEN_STATES_OUT, INPUT_IDS, KEY_CACHE, LOGITS, POSITION, is_cache},
    interface::{Feature, Interface},
};

/// What the search knows of a bundle.
#[derive(Debug, Clone)]
pub struct Bundle<'a> {
    /// Its component; empty for a bundle that belongs to no package.
    pub component: &'a str,
    /// How many chunks its model has, where the release says it.
    pub chunks: Option<u64>,
    /// How it was made: axes that all bundles of one form share, by label.
    pub making: BTreeMap<String, String>,
    /// Its inputs, outputs and states.
    pub interface: &'a Interface,
    /// Whether its logits score labels instead of next tokens.
    pub scores_labels: bool,
}

/// Bundles that form one language model, with one length of cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanguageForm {
    /// What the names of its components share: `lm`, or `lm-` before `chunk-1`.
    pub family: String,
    /// How its bundles were made.
    pub making: BTreeMap<String, String>,
    /// Slots of the cache that keeps every position; `None` without such a cache.
    pub slots: Option<u64>,
    /// How many tokens fit, prompt and answer together; `None` where every layer keeps only a window.
    pub context: Option<u64>,
    /// Whether it remembers earlier tokens.
    pub cached: bool,
    /// Whether the caches are Core ML states.
    pub states: bool,
    /// By the number of tokens of a call: one step for each chunk.
    pub calls: BTreeMap<u64, Vec<BundleStep>>,
}

/// The part of a call that one bundle computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleStep {
    /// Index of the bundle.
    pub bundle: usize,
    /// Name of its function; `None` where it has only one.
    pub function: Option<String>,
}

/// Position of a function in a chain.
#[derive(Debug, Clone, Copy)]
struct Position<'a> {
    family: &'a str,
    number: u64,
    /// Whether it computes logits.
    is_last: bool,
}

impl<'a> Bundle<'a> {
    /// Every function with its name; the default function of other bundles has none.
    fn functions(&self) -> Vec<(Option<&'a String>, &'a Interface)> {
        match self.interface.functions.is_empty() {
            true => vec![(None, self.interface)],
            false => self.interface.functions.iter().map(|(name, interface)| (Some(name), interface)).collect(),
        }
    }

    /// Whether some function is a part of a language model, though others of its chunks may be missing.
    pub fn is_language(&self) -> bool {
        self.functions().iter().any(|(_, interface)| self.position(interface).is_some())
    }

    /// Where a function stands in its model; `None` where it is no part of a language model.
    fn position(&self, interface: &Interface) -> Option<Position<'a>> {
        let is_masked = interface.takes(POSITION) || interface.takes(ATTENTION_MASK);
        if !is_masked || self.scores_labels || !interface.inputs.iter().all(is_of_language) {
            return None;
        }
        let (starts, ends) = (interface.takes(INPUT_IDS), interface.gives(LOGITS));
        if starts && ends {
            return Some(Position { family: self.component, number: 1, is_last: true });
        }
        let ChunkName { family, number } = ChunkName::parse(self.component)?;
        let number = u64::from(number);
        let continues = interface.takes(HIDDEN_STATES) && number > 1;
        let hands_on = interface.gives(HIDDEN_STATES) || interface.gives(HIDDEN_STATES_OUT);
        let is_last = self.chunks.map_or(ends, |count| number == count);
        let has_input = if number == 1 { starts } else { continues };
        let has_output = if is_last { ends } else { hands_on };
        (has_input && has_output).then_some(Position { family, number, is_last })
    }
}

/// Whether a language model has an input of that name.
fn is_of_language(feature: &Feature) -> bool {
    [INPUT_IDS, HIDDEN_STATES, POSITION, ATTENTION_MASK].contains(&feature.name.as_str()) || is_cache(&feature.name)
}

/// How many tokens a call of a function reads.
fn tokens(interface: &Interface) -> Option<u64> {
    let feature = interface.input(INPUT_IDS).or_else(|| interface.input(HIDDEN_STATES))?;
    feature.shape.get(1).copied().filter(|&count| count > 0)
}

/// Slots of the cache that keeps every position.
fn slots(interface: &Interface) -> Option<u64> {
    interface.caches().find(|feature| feature.name == KEY_CACHE)?.shape.get(3).copied()
}

/// What all calls of a form share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    family: String,
    making: BTreeMap<String, String>,
    cached: bool,
    slots: Option<u64>,
}

/// A function in a chain.
#[derive(Debug, Clone)]
struct Link<'a> {
    step: BundleStep,
    interface: &'a Interface,
    is_last: bool,
}

/// Functions by the tokens of their calls, then by the number of their chunk.
type Chains<'a> = BTreeMap<u64, BTreeMap<u64, Link<'a>>>;

/// Every whole language model among the bundles, by family and making. Of bundles that do the same the first is taken.
pub fn language_forms(bundles: &[Bundle<'_>]) -> Vec<LanguageForm> {
    let mut forms = chains(bundles);
    add_windows(&mut forms);
    forms.iter().filter_map(|(key, chains)| form(key, chains)).collect()
}

fn chains<'a>(bundles: &'a [Bundle<'a>]) -> BTreeMap<Key, Chains<'a>> {
    let mut forms: BTreeMap<Key, Chains<'_>> = BTreeMap::new();
    for (index, bundle) in bundles.iter().enumerate() {
        for (name, interface) in bundle.functions() {
            let (Some(position), Some(tokens)) = (bundle.position(interface), tokens(interface)) else { continue };
            let (family, making) = (position.family.to_owned(), bundle.making.clone());
            let key = Key { family, making, cached: interface.is_cached(), slots: slots(interface) };
            let step = BundleStep { bundle: index, function: name.cloned() };
            let chain = forms.entry(key).or_default().entry(tokens).or_default();
            chain.entry(position.number).or_insert(Link { step, interface, is_last: position.is_last });
        }
    }
    forms
}

/// Chunks whose layers all keep windows have no slots that tell lengths of caches apart: they belong to every length.
fn add_windows(forms: &mut BTreeMap<Key, Chains<'_>>) {
    let with_slots: Vec<Key> = forms.keys().filter(|key| key.slots.is_some()).cloned().collect();
    for key in with_slots {
        let Some(windows) = forms.get(&Key { slots: None, ..key.clone() }).cloned() else { continue };
        for (tokens, links) in windows.into_iter().filter(|(_, links)| !is_whole(links)) {
            let chain = forms.entry(key.clone()).or_default().entry(tokens).or_default();
            for (number, link) in links {
                chain.entry(number).or_insert(link);
            }
        }
    }
}

/// The form of these chains; `None` where none of them is whole.
fn form(key: &Key, chains: &Chains<'_>) -> Option<LanguageForm> {
    let whole: BTreeMap<u64, &BTreeMap<u64, Link<'_>>> =
        chains.iter().filter(|(_, links)| is_whole(links)).map(|(&tokens, links)| (tokens, links)).collect();
    let longest = *whole.last_key_value()?.0;
    let links = || whole.values().flat_map(|links| links.values());
    Some(LanguageForm {
        family: key.family.clone(),
        making: key.making.clone(),
        slots: key.slots,
        context: if key.cached { key.slots } else { Some(longest) },
        cached: key.cached,
        states: links().any(|link| !link.interface.states.is_empty()),
        calls: whole
            .iter()
            .map(|(&tokens, links)| (tokens, links.values().map(|link| link.step.clone()).collect()))
            .collect(),
    })
}

/// Whether no chunk is missing.
fn is_whole(links: &BTreeMap<u64, Link<'_>>) -> bool {
    links.keys().copied().eq(1..=links.len() as u64) && links.values().next_back().is_some_and(|link| link.is_last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(names: &[(&str, &[u64])]) -> Vec<Feature> {
        let feature = |(name, shape): &(&str, &[u64])| Feature {
            name: (*name).to_owned(),
            shape: shape.to_vec(),
            ..Feature::default()
        };
        names.iter().map(feature).collect()
    }

    /// A function with `input`, `output` and a cache of `slots`, called with `tokens`.
    fn function(input: &str, output: &str, tokens: u64, slots: Option<u64>) -> Interface {
        let caches =
            slots.map(|slots| features(&[(KEY_CACHE, &[2, 1, 2, slots, 8]), ("value_cache", &[2, 1, 2, slots, 8])]));
        let inputs = features(&[(input, &[1, tokens]), (POSITION, &[1])]);
        Interface {
            inputs,
            outputs: features(&[(output, &[1, tokens, 9])]),
            states: caches.unwrap_or_default(),
            ..Interface::default()
        }
    }

    fn bundle<'a>(component: &'a str, chunks: Option<u64>, interface: &'a Interface) -> Bundle<'a> {
        Bundle { component, chunks, making: BTreeMap::new(), interface, scores_labels: false }
    }

    fn calls(form: &LanguageForm) -> Vec<(u64, Vec<usize>)> {
        form.calls.iter().map(|(&tokens, steps)| (tokens, steps.iter().map(|step| step.bundle).collect())).collect()
    }

    #[test]
    fn lengths_of_one_cache_are_calls_of_one_form() {
        let (long, short) = (function(INPUT_IDS, LOGITS, 64, Some(128)), function(INPUT_IDS, LOGITS, 1, Some(128)));
        let other = function(INPUT_IDS, LOGITS, 1, Some(512));
        let forms =
            language_forms(&[bundle("lm", None, &long), bundle("lm", None, &short), bundle("lm", None, &other)]);
        let found: Vec<_> = forms.iter().map(|form| (form.context, calls(form))).collect();
        assert_eq!(found, [(Some(128), vec![(1, vec![1]), (64, vec![0])]), (Some(512), vec![(1, vec![2])])]);
        assert!(forms[0].cached && forms[0].states);
    }

    #[test]
    fn functions_of_one_bundle_are_calls() {
        let functions =
            [("s64", function(INPUT_IDS, LOGITS, 64, Some(128))), ("s1", function(INPUT_IDS, LOGITS, 1, Some(128)))];
        let both = Interface {
            functions: functions.map(|(name, function)| (name.to_owned(), function)).into(),
            ..function(INPUT_IDS, LOGITS, 64, Some(128))
        };
        let forms = language_forms(&[bundle("lm", None, &both)]);
        let names: Vec<_> = forms[0].calls.values().map(|steps| steps[0].function.as_deref().unwrap()).collect();
        assert_eq!(names, ["s1", "s64"]);
    }

    #[test]
    fn chunks_are_whole_or_no_form() {
        let first = function(INPUT_IDS, HIDDEN_STATES, 1, Some(8));
        let middle = function(HIDDEN_STATES, HIDDEN_STATES_OUT, 1, None);
        let last = function(HIDDEN_STATES, LOGITS, 1, Some(8));
        for count in [Some(3), None] {
            let all = [
                bundle("lm-chunk-3", count, &last),
                bundle("lm-chunk-1", count, &first),
                bundle("lm-chunk-2", count, &middle),
            ];
            let forms = language_forms(&all);
            assert_eq!(forms.len(), 1, "the middle chunk, which keeps windows alone, belongs to the others");
            assert_eq!((forms[0].family.as_str(), calls(&forms[0])), ("lm-", vec![(1, vec![1, 2, 0])]));
            for missing in 0..3 {
                let rest: Vec<Bundle<'_>> =
                    all.iter().enumerate().filter(|(index, _)| *index != missing).map(|(_, it)| it.clone()).collect();
                assert!(language_forms(&rest).is_empty() && rest.iter().all(Bundle::is_language), "{missing}");
            }
        }
    }

    #[test]
    fn bundles_that_were_made_differently_are_forms_of_their_own() {
        let interface = function(INPUT_IDS, LOGITS, 1, Some(8));
        let made = |precision: &str| Bundle {
            making: BTreeMap::from([("precision".to_owned(), precision.to_owned())]),
            ..bundle("lm", None, &interface)
        };
        assert_eq!(language_forms(&[made("float16"), made("float32")]).len(), 2);
    }

    #[test]
    fn other_models_of_text_are_no_language_models() {
        let mut encoder = function(INPUT_IDS, LOGITS, 8, None);
        encoder.inputs[1].name = ATTENTION_MASK.to_owned();
        assert!(bundle("lm", None, &encoder).is_language());
        assert!(!Bundle { scores_labels: true, ..bundle("classifier", None, &encoder) }.is_language());
        let mut unknown = encoder.clone();
        unknown.inputs.extend(features(&[("token_type_ids", &[1, 8])]));
        assert!(!bundle("bert", None, &unknown).is_language());
        let states = function(INPUT_IDS, HIDDEN_STATES, 8, None);
        assert!(!bundle("encoder", None, &states).is_language());
    }
}
