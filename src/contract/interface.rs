//! Inputs, outputs and states of a model, as release manifests list them.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::features;

/// Inputs, outputs and states of a model. A model with several functions lists them; the top level describes its
/// default function.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Interface {
    /// Inputs, in the model's order.
    pub inputs: Vec<Feature>,
    /// Outputs, in the model's order.
    pub outputs: Vec<Feature>,
    /// States, in the model's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<Feature>,
    /// Every function of a multifunction model, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub functions: BTreeMap<String, Interface>,
    /// The function that runs when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_function: Option<String>,
}

/// An input, output or state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// `float32`, `float16`, `int32`, ... of an array; `image`, `string`, `dictionary`, ... of anything else.
    pub dtype: String,
    /// Its (default) shape; empty where it is not fixed.
    pub shape: Vec<u64>,
    /// Lowest and highest length of every dimension, where they are flexible; no highest means unbounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranges: Option<Vec<(u64, Option<u64>)>>,
    /// The shapes it may take, where they are enumerated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enumerated: Option<Vec<Vec<u64>>>,
    /// Whether it may be left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// Value of every element of an optional input that is left out, as decimal text, e.g. `0.5` or `-inf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Color space of an image: `RGB`, `BGR`, `GRAYSCALE` or `GRAYSCALE_FLOAT16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
}

/// The feature of that name.
fn named<'a>(features: &'a [Feature], name: &str) -> Option<&'a Feature> {
    features.iter().find(|feature| feature.name == name)
}

impl Interface {
    /// The input of that name.
    pub fn input(&self, name: &str) -> Option<&Feature> {
        named(&self.inputs, name)
    }

    /// The output of that name.
    pub fn output(&self, name: &str) -> Option<&Feature> {
        named(&self.outputs, name)
    }

    /// Whether there is an input of that name.
    pub fn takes(&self, name: &str) -> bool {
        self.input(name).is_some()
    }

    /// Whether there is an output of that name.
    pub fn gives(&self, name: &str) -> bool {
        self.output(name).is_some()
    }

    /// Length of a dimension of an input; 0 where there is no such input or dimension.
    pub fn input_length(&self, name: &str, dimension: usize) -> usize {
        let length = self.input(name).and_then(|feature| feature.shape.get(dimension));
        length.and_then(|&length| usize::try_from(length).ok()).unwrap_or(0)
    }

    /// Caches of earlier tokens, in states or inputs.
    pub fn caches(&self) -> impl Iterator<Item = &Feature> {
        self.states.iter().chain(&self.inputs).filter(|feature| features::is_cache(&feature.name))
    }

    /// Whether it is a decoder that remembers earlier tokens.
    pub fn is_cached(&self) -> bool {
        self.takes(features::POSITION)
    }

    /// Whether some function attends to the output of an encoder.
    pub fn attends_to_encoder(&self) -> bool {
        let functions = std::iter::once(self).chain(self.functions.values());
        let mut features = functions.flat_map(|function| function.inputs.iter().chain(&function.states));
        features.any(|feature| features::is_of_encoder(&feature.name))
    }
}

/// `name dtype[shape]`, then the color space of an image and ` = default`; a flexible dimension is `low..high` or
/// `low..`, enumerated shapes stand one after another, `?` is optional.
impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} {}{}", self.name, if self.optional { "?" } else { "" }, self.dtype, self.shapes())?;
        self.color.as_ref().map_or(Ok(()), |color| write!(f, " {color}"))?;
        self.default.as_ref().map_or(Ok(()), |default| write!(f, " = {default}"))
    }
}

impl Feature {
    fn shapes(&self) -> String {
        match (&self.enumerated, &self.ranges) {
            (Some(shapes), _) => shapes.iter().map(|shape| bracketed(shape)).collect::<Vec<_>>().join("|"),
            (None, Some(ranges)) => format!("[{}]", ranges.iter().map(range).collect::<Vec<_>>().join(",")),
            (None, None) if self.shape.is_empty() => String::new(),
            (None, None) => bracketed(&self.shape),
        }
    }
}

fn bracketed(shape: &[u64]) -> String {
    format!("[{}]", shape.iter().map(u64::to_string).collect::<Vec<_>>().join(","))
}

fn range((low, high): &(u64, Option<u64>)) -> String {
    match high {
        Some(high) if high == low => low.to_string(),
        Some(high) => format!("{low}..{high}"),
        None => format!("{low}.."),
    }
}
