//! Language models of a release, as the templates see them: forms with the calls that generated code can make.

use std::{cmp::Reverse, collections::BTreeSet};

use serde::Serialize;

use super::{bundles::Bundle, names::Scope};
use crate::{
    contract::{BundleStep, LanguageForm, language_forms},
    manifest::{self, Axis},
};

/// Bundles that form one language model.
#[derive(Debug, Serialize)]
pub(super) struct Form {
    pub name: String,
    pub value: String,
    /// How many tokens fit; `None` where every layer keeps only a window.
    pub context: Option<u64>,
    pub cached: bool,
    pub states: bool,
    /// Shortest first.
    pub calls: Vec<Call>,
}

/// A call with a number of tokens.
#[derive(Debug, Serialize)]
pub(super) struct Call {
    pub tokens: u64,
    pub steps: Vec<Step>,
}

/// The part of a call that one bundle computes.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    /// Name of the bundle's constant.
    pub bundle: String,
    pub function: Option<String>,
}

/// Every form, the one to prefer on a device first: caches, then states, then float16, then long contexts.
pub(super) fn forms(bundles: &[Bundle]) -> Vec<Form> {
    let facts: Vec<_> = bundles.iter().map(Bundle::facts).collect();
    let mut scope = Scope::with(&["all"]);
    let mut forms: Vec<(_, Form)> =
        language_forms(&facts).iter().map(|form| (device_order(form), view(form, bundles, &mut scope))).collect();
    forms.sort_by_key(|(order, _)| *order);
    forms.into_iter().map(|(_, form)| form).collect()
}

fn device_order(form: &LanguageForm) -> impl Ord + Copy + use<> {
    let is_half = form.making.get(Axis::Precision.label()).is_none_or(|precision| precision == "float16");
    (!form.cached, !form.states, !is_half, Reverse(form.slots.unwrap_or(u64::MAX)))
}

fn view(form: &LanguageForm, bundles: &[Bundle], scope: &mut Scope) -> Form {
    let name = name(form);
    let step = |step: &BundleStep| Step { bundle: bundles[step.bundle].value.clone(), function: step.function.clone() };
    let calls = form.calls.iter().map(|(&tokens, steps)| Call { tokens, steps: steps.iter().map(step).collect() });
    Form {
        value: scope.value_name(&name),
        name,
        context: form.context,
        cached: form.cached,
        states: form.states,
        calls: calls.collect(),
    }
}

/// Component, length of the cache, and the axes that are not at their usual value.
fn name(form: &LanguageForm) -> String {
    let family = if form.family.is_empty() { "chunks" } else { form.family.trim_end_matches('-') };
    let context = form.slots.map(|slots| format!("c{slots}"));
    let axes = manifest::distinguishing(&form.making).map(str::to_owned);
    std::iter::once(family.to_owned()).chain(context).chain(axes).collect::<Vec<_>>().join("-")
}

/// The bundles that forms are made of, by their constants.
pub(super) fn used(forms: &[Form]) -> BTreeSet<&str> {
    forms.iter().flat_map(|form| &form.calls).flat_map(|call| &call.steps).map(|step| step.bundle.as_str()).collect()
}
