//! From the vectors of a text's tokens to one vector, as the modules of sentence-transformers do it: pooling over the
//! tokens that the mask keeps, then dense layers, norms and scaling to length 1, in the order of `modules.json`. A
//! folder without it gets the mean, as there.
//!
//! Pooling and lengths are computed in float32, dense layers and norms in the type of their weights. A module's weights
//! lie in its folder; their tensors are called `<folder>/<name>`. Modules with other classes, or with code of their
//! own, are refused by name.

use serde_json::Value as Json;

use super::{Activation, from_layout, layer::HIDDEN};
use crate::{
    arch::{ArchError, Documents, Flow, Form, Stage, Tensors},
    contract::features,
    mil::{Builder, Constant, DataType, Value, Var},
};

/// The list of modules, beside `config.json`.
pub const MODULES: &str = "modules.json";

const LIBRARY: &str = "sentence_transformers.";
const CLASSES: &str = "Transformer, Pooling, Dense, LayerNorm, Normalize or Dropout";
const ACTIVATIONS: &str = "Identity, Tanh, Sigmoid, ReLU, GELU or SiLU of torch.nn";
/// The epsilon of torch's `LayerNorm`.
const EPSILON: f32 = 1e-5;
const WEIGHT_FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// The stage behind a model's last layer: gives [`features::LAST_HIDDEN_STATE`] and [`features::SENTENCE_EMBEDDING`]
/// from the flow's hidden state and `attention_mask`.
#[derive(Debug)]
pub struct SentenceModules {
    poolings: Vec<Pooling>,
    steps: Vec<Step>,
    width: u64,
}

/// A way to make one vector from those of all tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pooling {
    First,
    Max,
    Mean,
    MeanRoot,
    WeightedMean,
    Last,
}

/// The poolings in the order in which sentence-transformers puts their results one behind the other: what flags of
/// configs call them, what `pooling_mode` calls them, and a description.
const POOLINGS: [(Pooling, &str, &str, &str); 6] = [
    (Pooling::First, "cls_token", "cls", "first token"),
    (Pooling::Max, "max_tokens", "max", "largest"),
    (Pooling::Mean, "mean_tokens", "mean", "mean"),
    (Pooling::MeanRoot, "mean_sqrt_len_tokens", "mean_sqrt_len_tokens", "sum by root of length"),
    (Pooling::WeightedMean, "weightedmean_tokens", "weightedmean", "mean weighted by position"),
    (Pooling::Last, "lasttoken", "lasttoken", "last token"),
];

/// What happens to the pooled vector.
#[derive(Debug)]
enum Step {
    /// A product, and what is applied to its result.
    Dense { folder: String, weight: Constant, bias: Option<Constant>, activation: Function },
    /// A norm over all numbers of the vector.
    LayerNorm { folder: String, weight: Constant, bias: Constant },
    /// Division by the length.
    Normalize,
}

/// A function of every element, by the name that torch has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Identity,
    Tanh,
    Sigmoid,
    Other(Activation, &'static str),
}

impl Function {
    /// The function of a class of torch, e.g. `torch.nn.modules.activation.Tanh`.
    fn of_class(class: &str) -> Option<Self> {
        Some(match class.strip_prefix("torch.nn.")?.rsplit('.').next()? {
            "Identity" => Self::Identity,
            "Tanh" => Self::Tanh,
            "Sigmoid" => Self::Sigmoid,
            "ReLU" => Self::Other(Activation::Relu, "ReLU"),
            "GELU" => Self::Other(Activation::Gelu, "GELU"),
            "SiLU" => Self::Other(Activation::Silu, "SiLU"),
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "Identity",
            Self::Tanh => "Tanh",
            Self::Sigmoid => "Sigmoid",
            Self::Other(_, name) => name,
        }
    }

    fn build(self, builder: &mut Builder, x: Var) -> Result<Var, ArchError> {
        const NAME: &str = "activated";
        match self {
            Self::Identity => Ok(x),
            Self::Tanh => Ok(builder.tanh(NAME, x)?),
            Self::Sigmoid => Ok(builder.sigmoid(NAME, x)?),
            Self::Other(activation, _) => activation.build(builder, NAME, x),
        }
    }
}

/// One entry of `modules.json`.
struct Module<'a> {
    /// The last word of its class.
    class: &'a str,
    /// Its folder; empty for the checkpoint's own.
    folder: &'a str,
    entry: &'a Json,
}

impl<'a> Module<'a> {
    fn of(entry: &'a Json) -> Self {
        let text = |key: &str| entry.get(key).and_then(Json::as_str).unwrap_or_default();
        let class = text("type");
        Self { class: class.rsplit('.').next().unwrap_or(class), folder: text("path").trim_end_matches('/'), entry }
    }

    fn list(modules: &'a Json) -> impl Iterator<Item = Self> {
        modules.as_array().into_iter().flatten().map(Self::of)
    }

    fn has_config(&self) -> bool {
        matches!(self.class, "Pooling" | "Dense" | "LayerNorm") && !self.folder.is_empty()
    }

    fn has_weights(&self) -> bool {
        matches!(self.class, "Dense" | "LayerNorm") && !self.folder.is_empty()
    }

    fn config_path(&self) -> String {
        format!("{}/config.json", self.folder)
    }

    fn config(&self, documents: &'a Documents) -> Result<ModuleConfig<'a>, ArchError> {
        let path = self.config_path();
        match documents.others.get(&path) {
            Some(json) => Ok(ModuleConfig { json, path }),
            None => Err(refused(MODULES, format!("`{path}` beside it, for its module {}", self.class), "no such file")),
        }
    }

    fn check(&self) -> Result<(), ArchError> {
        let class = self.entry.get("type").and_then(Json::as_str).unwrap_or_default();
        if !class.starts_with(LIBRARY) {
            return Err(refused(
                MODULES,
                format!("modules of sentence-transformers alone: {CLASSES}"),
                format!("`{class}`"),
            ));
        }
        let known = |key: &str| ["idx", "name", "path", "type"].contains(&key);
        for (key, value) in self.entry.as_object().into_iter().flatten().filter(|(key, _)| !known(key)) {
            if !is_empty(value) {
                return Err(refused(
                    MODULES,
                    "idx, name, path and type alone",
                    format!("`{key}` = {value} for {}", self.class),
                ));
            }
        }
        Ok(())
    }
}

/// The config of a module; every key of it is read or refused.
struct ModuleConfig<'a> {
    json: &'a Json,
    path: String,
}

impl ModuleConfig<'_> {
    fn get(&self, key: &str) -> Option<&Json> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    fn refuse(&self, key: &str, expected: impl Into<String>) -> ArchError {
        let found = self.get(key).map_or_else(|| format!("no `{key}`"), |value| format!("`{key}` = {value}"));
        refused(&self.path, expected, found)
    }

    fn flag_or(&self, key: &str, default: bool) -> Result<bool, ArchError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.refuse(key, "true or false"))
    }

    fn text(&self, key: &str, expected: &str) -> Result<&str, ArchError> {
        self.get(key).and_then(Json::as_str).ok_or_else(|| self.refuse(key, expected))
    }

    /// Checks a number of channels.
    fn must_be(&self, key: &str, width: u64) -> Result<(), ArchError> {
        if self.get(key).and_then(Json::as_u64) == Some(width) {
            Ok(())
        } else {
            Err(self.refuse(key, format!("`{key}` = {width}")))
        }
    }

    fn count(&self, key: &str) -> Result<u64, ArchError> {
        let count = self.get(key).and_then(Json::as_u64).filter(|count| (1..1 << 31).contains(count));
        count.ok_or_else(|| self.refuse(key, "a whole number from 1 on"))
    }

    /// Refuses keys that nobody reads, unless their value asks for nothing.
    fn no_others(&self, known: &[&str]) -> Result<(), ArchError> {
        let others = self
            .json
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, value)| !known.contains(&key.as_str()) && !is_empty(value));
        match others.map(|(key, _)| key).next() {
            Some(key) => Err(self.refuse(key, format!("{} alone", known.join(", ")))),
            None => Ok(()),
        }
    }
}

fn refused(document: &str, expected: impl Into<String>, found: impl Into<String>) -> ArchError {
    ArchError::Document { document: document.to_owned(), expected: expected.into(), found: found.into() }
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(false) => true,
        Json::Array(items) => items.is_empty(),
        Json::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

impl SentenceModules {
    /// The documents that say what the modules are, by path; `read` gives one, where it is there.
    pub fn documents(read: &dyn Fn(&str) -> Option<Json>) -> Vec<String> {
        let modules = read(MODULES).unwrap_or_default();
        let configs = Module::list(&modules).filter(Module::has_config).map(|module| module.config_path());
        std::iter::once(MODULES.to_owned()).chain(configs).collect()
    }

    /// The weight files of modules: for each module the paths that its file may have, the best first.
    pub fn weight_files(documents: &Documents) -> Vec<Vec<String>> {
        let modules = documents.others.get(MODULES).into_iter().flat_map(Module::list);
        let files = |module: Module<'_>| WEIGHT_FILES.map(|file| format!("{}/{file}", module.folder)).to_vec();
        modules.filter(Module::has_weights).map(files).collect()
    }

    /// Whether the checkpoint says what its modules are.
    pub fn are_described(documents: &Documents) -> bool {
        documents.others.contains_key(MODULES)
    }

    /// Reads the modules behind a model whose tokens have `width` channels.
    ///
    /// # Errors
    /// When a module is unknown, stands at the wrong place, has a config that says something else, or lacks its
    /// tensors.
    pub fn read(documents: &Documents, tensors: &Tensors<'_>, width: u64) -> Result<Self, ArchError> {
        let Some(list) = documents.others.get(MODULES) else {
            return Ok(Self { poolings: vec![Pooling::Mean], steps: Vec::new(), width });
        };
        if !list.is_array() {
            return Err(refused(MODULES, "a list of modules", "something else"));
        }
        let mut reader = Reader { documents, tensors, poolings: None, steps: Vec::new(), width };
        for (index, module) in Module::list(list).enumerate() {
            module.check()?;
            reader.read(index, &module)?;
        }
        let expected = "a module Pooling";
        let poolings = reader.poolings.ok_or_else(|| refused(MODULES, expected, "none"))?;
        Ok(Self { poolings, steps: reader.steps, width: reader.width })
    }

    /// Channels of the text's vector.
    pub fn width(&self) -> u64 {
        self.width
    }

    /// What the modules do, for people.
    pub fn describe(&self) -> String {
        let names = POOLINGS
            .iter()
            .filter(|(pooling, ..)| self.poolings.contains(pooling))
            .map(|(.., description)| *description);
        let mut text = format!("{}, in float32", names.collect::<Vec<_>>().join(" and "));
        for step in &self.steps {
            match step {
                Step::Dense { weight, activation, .. } => {
                    text.push_str(&format!(", Dense to {} channels with {}", weight.shape()[0], activation.name()));
                }
                Step::LayerNorm { .. } => text.push_str(", LayerNorm"),
                Step::Normalize => text.push_str(", length 1"),
            }
        }
        text
    }

    /// [1, sequence, width] and [1, sequence, 1] of float32 -> [1, width] each.
    fn pooled(&self, builder: &mut Builder, x: Var, keep: Var, mask: Var) -> Result<Vec<Var>, ArchError> {
        let has = |pooling: Pooling| self.poolings.contains(&pooling);
        let mut pooled = Vec::new();
        if has(Pooling::First) {
            let first = builder.slice_by_index("first", x, &[(0, None), (0, Some(1)), (0, None)])?;
            pooled.push(builder.squeeze("first_token", first, &[1])?);
        }
        if has(Pooling::Max) {
            let kept = builder.mul("kept", x, keep)?;
            let dropped = builder.sub("dropped", keep, 1.0)?;
            let dropped = builder.mul("dropped_low", dropped, 1e9)?;
            let kept = builder.add("kept_or_low", kept, dropped)?;
            pooled.push(builder.reduce_max("largest", kept, &[1], false)?);
        }
        if has(Pooling::Mean) || has(Pooling::MeanRoot) {
            let kept = builder.mul("counted", x, keep)?;
            let sum = builder.reduce_sum("token_sum", kept, &[1], false)?;
            let count = builder.reduce_sum("token_count", keep, &[1], false)?;
            let count = builder.maximum("at_least_one", count, 1e-9)?;
            if has(Pooling::Mean) {
                pooled.push(builder.real_div("mean", sum, count)?);
            }
            if has(Pooling::MeanRoot) {
                let root = builder.sqrt("count_root", count)?;
                pooled.push(builder.real_div("mean_root", sum, root)?);
            }
        }
        if has(Pooling::WeightedMean) {
            pooled.push(weighted_mean(builder, x, keep)?);
        }
        if has(Pooling::Last) {
            pooled.push(last_kept(builder, x, keep, mask)?);
        }
        Ok(pooled)
    }
}

/// 1, 2, ... for each token, as integers, since a table of another type would make weight files depend on the length.
fn numbers(builder: &mut Builder, x: Var) -> Var {
    let count = i32::try_from(builder.shape(x)[1]).unwrap_or(i32::MAX);
    builder.constant("numbers", Value::ints(&(1..=count).collect::<Vec<_>>()))
}

/// The mean of the kept tokens, each counted as often as its place says.
fn weighted_mean(builder: &mut Builder, x: Var, keep: Var) -> Result<Var, ArchError> {
    let numbers = numbers(builder, x);
    let places = builder.cast("places", numbers, DataType::Float32)?;
    let places = builder.expand_dims("place_column", places, &[0, 2])?;
    let weights = builder.mul("weights", keep, places)?;
    let weighted = builder.mul("weighted", x, weights)?;
    let sum = builder.reduce_sum("weighted_sum", weighted, &[1], false)?;
    let total = builder.reduce_sum("weight_sum", weights, &[1], false)?;
    let total = builder.maximum("positive_weight", total, 1e-9)?;
    Ok(builder.real_div("weighted_mean", sum, total)?)
}

/// The last token that the mask keeps; zeros where it keeps none.
fn last_kept(builder: &mut Builder, x: Var, keep: Var, mask: Var) -> Result<Var, ArchError> {
    let numbers = numbers(builder, x);
    let kept = builder.mul("kept_numbers", mask, numbers)?;
    let last = builder.reduce_max("last_number", kept, &[1], false)?;
    let last = builder.sub("last", last, 1)?;
    let last = builder.maximum("last_or_first", last, 0)?;
    let kept = builder.mul("kept_tokens", x, keep)?;
    let row = builder.gather("last_row", kept, last, 1)?;
    Ok(builder.squeeze("last_token", row, &[1])?)
}

/// Reads modules in their order.
struct Reader<'a> {
    documents: &'a Documents,
    tensors: &'a Tensors<'a>,
    poolings: Option<Vec<Pooling>>,
    steps: Vec<Step>,
    /// Channels of what the modules so far give.
    width: u64,
}

impl Reader<'_> {
    fn read(&mut self, index: usize, module: &Module<'_>) -> Result<(), ArchError> {
        if (index == 0) != (module.class == "Transformer") {
            let found = format!("{} at place {index}", module.class);
            return Err(refused(MODULES, "one Transformer, before all other modules", found));
        }
        match module.class {
            "Transformer" if module.folder.is_empty() => Ok(()),
            "Transformer" => Err(refused(MODULES, "the Transformer beside it", format!("one in `{}`", module.folder))),
            "Pooling" if self.poolings.is_some() => Err(refused(MODULES, "one Pooling", "a second one")),
            "Pooling" => self.pooling(module),
            "Dense" | "LayerNorm" | "Normalize" if self.poolings.is_none() => {
                Err(refused(MODULES, "Pooling behind the Transformer", module.class))
            }
            "Dense" => self.dense(module),
            "LayerNorm" => self.layer_norm(module),
            "Normalize" => {
                self.steps.push(Step::Normalize);
                Ok(())
            }
            // Nothing is dropped outside training.
            "Dropout" => Ok(()),
            class => Err(refused(MODULES, CLASSES, class)),
        }
    }

    fn pooling(&mut self, module: &Module<'_>) -> Result<(), ArchError> {
        let config = module.config(self.documents)?;
        let poolings = poolings(&config)?;
        for key in ["word_embedding_dimension", "embedding_dimension"] {
            if config.get(key).is_some() {
                config.must_be(key, self.width)?;
            }
        }
        if !config.flag_or("include_prompt", true)? {
            let expected =
                "true: a bundle has one mask, and cannot leave the tokens of a prompt out of the pooling alone";
            return Err(config.refuse("include_prompt", expected));
        }
        self.width *= poolings.len() as u64;
        self.poolings = Some(poolings);
        Ok(())
    }

    /// A tensor of a module's folder.
    fn tensor(&self, module: &Module<'_>, name: &str, shape: &[u64]) -> Result<Constant, ArchError> {
        let full = format!("{}/{name}", module.folder);
        let files = WEIGHT_FILES.map(|file| format!("`{}/{file}`", module.folder)).join(" or ");
        match self.tensors.has(&full) {
            true => self.tensors.get_shaped(&full, shape),
            false => {
                Err(refused(MODULES, format!("the tensor `{name}` of module {} in {files}", module.class), "none"))
            }
        }
    }

    fn dense(&mut self, module: &Module<'_>) -> Result<(), ArchError> {
        let config = module.config(self.documents)?;
        config.no_others(&[
            "in_features",
            "out_features",
            "bias",
            "activation_function",
            "module_input_name",
            "module_output_name",
        ])?;
        for key in ["module_input_name", "module_output_name"] {
            if config.get(key).is_some_and(|name| name.as_str() != Some(features::SENTENCE_EMBEDDING)) {
                return Err(config.refuse(key, features::SENTENCE_EMBEDDING));
            }
        }
        config.must_be("in_features", self.width)?;
        let output = config.count("out_features")?;
        let class = config.text("activation_function", ACTIVATIONS)?;
        let activation = Function::of_class(class).ok_or_else(|| config.refuse("activation_function", ACTIVATIONS))?;
        let weight = self.tensor(module, "linear.weight", &[output, self.width])?;
        let bias = config.flag_or("bias", true)?.then(|| self.tensor(module, "linear.bias", &[output])).transpose()?;
        self.steps.push(Step::Dense { folder: module.folder.to_owned(), weight, bias, activation });
        self.width = output;
        Ok(())
    }

    fn layer_norm(&mut self, module: &Module<'_>) -> Result<(), ArchError> {
        let config = module.config(self.documents)?;
        config.no_others(&["dimension"])?;
        config.must_be("dimension", self.width)?;
        let [weight, bias] = ["norm.weight", "norm.bias"].map(|name| self.tensor(module, name, &[self.width]));
        self.steps.push(Step::LayerNorm { folder: module.folder.to_owned(), weight: weight?, bias: bias? });
        Ok(())
    }
}

/// The poolings that a module's config turns on: `pooling_mode_...` flags, or names in `pooling_mode`.
fn poolings(config: &ModuleConfig<'_>) -> Result<Vec<Pooling>, ArchError> {
    const MODE: &str = "pooling_mode";
    const FLAG: &str = "pooling_mode_";
    const MEAN: &str = "pooling_mode_mean_tokens";
    let known = POOLINGS.map(|(_, _, mode, _)| mode).join(", ");
    let unknown = |key: &str| config.refuse(key, format!("pooling by {known}"));
    let keys = config.json.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let flags: Vec<&str> = keys.filter(|key| key.starts_with(FLAG)).collect();
    let names: Option<Vec<String>> = match config.get(MODE) {
        None => None,
        Some(Json::String(names)) => Some(names.split('+').map(str::to_lowercase).collect()),
        Some(Json::Array(names)) => {
            Some(names.iter().map(|name| name.as_str().unwrap_or_default().to_lowercase()).collect())
        }
        Some(_) => return Err(unknown(MODE)),
    };
    let mut on = Vec::new();
    if let Some(names) = names {
        // Names override the flags.
        for name in names {
            let named = POOLINGS.iter().find(|(_, _, mode, _)| *mode == name);
            on.push(named.ok_or_else(|| unknown(MODE))?.0);
        }
        if !on.is_sorted_by(|a, b| a < b) {
            return Err(config.refuse(MODE, format!("poolings in the order {known}")));
        }
    } else {
        for &key in &flags {
            let named = POOLINGS.iter().find(|(_, flag, ..)| *flag == &key[FLAG.len()..]);
            if config.flag_or(key, false)? {
                on.push(named.ok_or_else(|| unknown(key))?.0);
            }
        }
        // The one flag that is on where it is absent.
        if !flags.contains(&MEAN) {
            on.push(Pooling::Mean);
        }
        on.sort_unstable();
    }
    if on.is_empty() {
        return Err(refused(&config.path, format!("pooling by {known}"), "no pooling"));
    }
    let mut known_keys = vec!["word_embedding_dimension", "embedding_dimension", "include_prompt", MODE];
    known_keys.extend(&flags);
    config.no_others(&known_keys)?;
    Ok(on)
}

impl Step {
    fn constants(&self) -> Vec<Constant> {
        match self {
            Self::Dense { weight, bias, .. } => std::iter::once(weight).chain(bias).cloned().collect(),
            Self::LayerNorm { weight, bias, .. } => vec![weight.clone(), bias.clone()],
            Self::Normalize => Vec::new(),
        }
    }

    /// Float32 [1, width] in and out.
    fn build(&self, builder: &mut Builder, x: Var) -> Result<Var, ArchError> {
        match self {
            Self::Normalize => {
                let arguments = [("x", x.into()), ("axes", [1].into()), ("keep_dims", true.into())];
                let length = builder.op1("reduce_l2_norm", "length", &arguments)?;
                let length = builder.maximum("positive_length", length, 1e-12)?;
                Ok(builder.real_div("normalized", x, length)?)
            }
            Self::Dense { folder, weight, bias, activation } => builder.scope(folder.as_str(), |builder| {
                let x = builder.cast("narrow", x, weight.dtype())?;
                let x = builder.linear("linear", x, weight, bias.as_ref().map(Into::into))?;
                let x = activation.build(builder, x)?;
                Ok(builder.cast("wide", x, DataType::Float32)?)
            }),
            Self::LayerNorm { folder, weight, bias } => builder.scope(folder.as_str(), |builder| {
                let x = builder.cast("narrow", x, weight.dtype())?;
                let x = builder.layer_norm("norm", x, &[1], Some((weight.into(), bias.into())), EPSILON)?;
                Ok(builder.cast("wide", x, DataType::Float32)?)
            }),
        }
    }
}

impl Stage for SentenceModules {
    fn name(&self) -> &str {
        "pooling"
    }

    fn constants(&self) -> Vec<Constant> {
        self.steps.iter().flat_map(Step::constants).collect()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let x = from_layout(builder, "tokens", flow.get(HIDDEN), form)?;
        flow.put(features::LAST_HIDDEN_STATE, x);
        let compute = builder.ty(x).dtype;
        let wide = builder.cast("wide", x, DataType::Float32)?;
        let mask = flow.get(features::ATTENTION_MASK);
        let keep = builder.cast("keep", mask, DataType::Float32)?;
        let keep = builder.expand_dims("keep_column", keep, &[2])?;
        let pooled = self.pooled(builder, wide, keep, mask)?;
        let mut embedding = match pooled.as_slice() {
            [only] => *only,
            several => builder.concat("poolings", several, 1)?,
        };
        for step in &self.steps {
            embedding = step.build(builder, embedding)?;
        }
        // A single precision result stays one where that is what the program gives.
        let dtype = if form.io == DataType::Float32 { DataType::Float32 } else { compute };
        flow.put(features::SENTENCE_EMBEDDING, builder.cast("embedding", embedding, dtype)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use serde_json::json;

    use super::*;
    use crate::checkpoint::MemoryWeights;

    fn module(class: &str, path: &str) -> Json {
        json!({ "idx": 0, "name": "0", "path": path, "type": format!("sentence_transformers.models.{class}") })
    }

    fn dense(bias: bool, activation: &str) -> Json {
        json!({ "in_features": 4, "out_features": 3, "bias": bias, "activation_function": activation })
    }

    fn pooling(flags: &[&str]) -> Json {
        let mut config = json!({ "word_embedding_dimension": 4, "pooling_mode_mean_tokens": false });
        flags.iter().for_each(|flag| config[format!("pooling_mode_{flag}")] = json!(true));
        config
    }

    fn documents(modules: Json, others: &[(&str, Json)]) -> Documents {
        let mut documents = Documents::default();
        documents.others.insert(MODULES.to_owned(), modules);
        documents.others.extend(others.iter().map(|(path, json)| ((*path).to_owned(), json.clone())));
        documents
    }

    fn weights() -> MemoryWeights {
        let mut weights = MemoryWeights::default();
        weights.insert_f32("2_Dense/linear.weight", &[3, 4], &[0.5; 12]);
        weights.insert_f32("2_Dense/linear.bias", &[3], &[0.5; 3]);
        weights.insert_f32("3_LayerNorm/norm.weight", &[3], &[0.5; 3]);
        weights.insert_f32("3_LayerNorm/norm.bias", &[3], &[0.5; 3]);
        weights
    }

    fn read(documents: &Documents) -> Result<SentenceModules, ArchError> {
        let weights = weights();
        let tensors = Tensors::new(&weights, "", DataType::Float32);
        SentenceModules::read(documents, &tensors, 4)
    }

    /// What is said of a pooling with this config.
    fn pooled(config: Json) -> String {
        let modules = json!([module("Transformer", ""), module("Pooling", "1_Pooling")]);
        match read(&documents(modules, &[("1_Pooling/config.json", config)])) {
            Ok(modules) => format!("{} {}", modules.width(), modules.describe()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn modules_are_read_in_their_order() {
        let modules = json!([
            module("Transformer", ""),
            module("Pooling", "1_Pooling"),
            module("Dense", "2_Dense/"),
            module("LayerNorm", "3_LayerNorm"),
            module("Dropout", "4_Dropout"),
            module("Normalize", "5_Normalize"),
        ]);
        let dense = dense(true, "torch.nn.modules.activation.Tanh");
        let configs = [
            ("1_Pooling/config.json", pooling(&["lasttoken"])),
            ("2_Dense/config.json", dense),
            ("3_LayerNorm/config.json", json!({ "dimension": 3 })),
        ];
        let documents = documents(modules, &configs);
        let modules = read(&documents).unwrap();
        assert_eq!(modules.describe(), "last token, in float32, Dense to 3 channels with Tanh, LayerNorm, length 1");
        assert_eq!((modules.width(), modules.constants().len()), (3, 4));
        let files = SentenceModules::weight_files(&documents);
        assert_eq!(
            files.concat(),
            [
                "2_Dense/model.safetensors",
                "2_Dense/pytorch_model.bin",
                "3_LayerNorm/model.safetensors",
                "3_LayerNorm/pytorch_model.bin"
            ]
        );
        let listed = SentenceModules::documents(&|path| documents.others.get(path).cloned());
        assert_eq!(listed, ["modules.json", "1_Pooling/config.json", "2_Dense/config.json", "3_LayerNorm/config.json"]);
    }

    #[test]
    fn every_pooling_is_known_or_refused() {
        assert_eq!(pooled(pooling(&["cls_token"])), "4 first token, in float32");
        assert_eq!(pooled(pooling(&["weightedmean_tokens"])), "4 mean weighted by position, in float32");
        assert_eq!(pooled(pooling(&["lasttoken", "max_tokens"])), "8 largest and last token, in float32");
        assert_eq!(pooled(json!({ "word_embedding_dimension": 4 })), "4 mean, in float32");
        assert_eq!(pooled(json!({ "pooling_mode_cls_token": true })), "8 first token and mean, in float32");
        assert_eq!(pooled(json!({ "pooling_mode": "Mean", "pooling_mode_cls_token": true })), "4 mean, in float32");
        assert_eq!(pooled(json!({ "pooling_mode": ["cls", "mean"] })), "8 first token and mean, in float32");
        let refusals = [
            (
                pooling(&["attention"]),
                "1_Pooling/config.json: found `pooling_mode_attention` = true, expected pooling by cls, max",
            ),
            (pooling(&[]), "1_Pooling/config.json: found no pooling, expected pooling by cls"),
            (
                json!({ "pooling_mode": "mean+cls" }),
                "1_Pooling/config.json: found `pooling_mode` = \"mean+cls\", expected poolings in the order cls",
            ),
            (
                json!({ "pooling_mode": "median" }),
                "1_Pooling/config.json: found `pooling_mode` = \"median\", expected pooling by cls",
            ),
            (
                json!({ "word_embedding_dimension": 5 }),
                "1_Pooling/config.json: found `word_embedding_dimension` = 5, expected `word_embedding_dimension` = 4",
            ),
            (
                json!({ "include_prompt": false }),
                "1_Pooling/config.json: found `include_prompt` = false, expected true",
            ),
            (
                json!({ "temperature": 2 }),
                "1_Pooling/config.json: found `temperature` = 2, expected word_embedding_dimension",
            ),
        ];
        for (config, expected) in refusals {
            let found = pooled(config);
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn modules_that_are_not_understood_are_refused_by_name() {
        let refusal = |modules: &[Json], dense: Json| {
            let configs = [("1_Pooling/config.json", pooling(&["cls_token"])), ("2_Dense/config.json", dense)];
            read(&documents(Json::Array(modules.to_vec()), &configs)).unwrap_err().to_string()
        };
        let (transformer, pooling, layer) =
            (module("Transformer", ""), module("Pooling", "1_Pooling"), module("Dense", "2_Dense"));
        let good = || dense(true, "torch.nn.modules.linear.Identity");
        let of = |modules: &[Json]| refusal(modules, good());
        assert!(
            of(&[transformer.clone(), pooling.clone(), module("CNN", "2_CNN")])
                .starts_with("modules.json: found CNN, expected Transformer")
        );
        assert!(
            of(&[transformer.clone(), layer.clone()]).starts_with("modules.json: found Dense, expected Pooling behind")
        );
        assert!(of(slice::from_ref(&transformer)).starts_with("modules.json: found none, expected a module Pooling"));
        assert!(of(slice::from_ref(&pooling)).contains("found Pooling at place 0, expected one Transformer"));
        assert!(of(&[transformer.clone(), transformer.clone()]).contains("found Transformer at place 1"));
        assert!(of(&[module("Transformer", "0_Transformer")]).contains("one in `0_Transformer`"));
        assert!(of(&[transformer.clone(), pooling.clone(), pooling.clone()]).contains("a second one"));
        assert!(of(&[transformer.clone(), module("Pooling", "7_Pooling")]).contains("`7_Pooling/config.json`"));
        let own = json!({ "path": "", "type": "custom_st.Transformer" });
        assert!(of(&[own]).starts_with(
            "modules.json: found `custom_st.Transformer`, expected modules of sentence-transformers alone"
        ));
        let mut tasks = transformer.clone();
        tasks["kwargs"] = json!(["task"]);
        assert!(of(&[tasks]).contains("`kwargs` = [\"task\"] for Transformer"));
        let all = [transformer, pooling, layer];
        let of = |config: Json| refusal(&all, config);
        assert!(of(dense(true, "torch.nn.modules.activation.Hardtanh")).contains("Hardtanh"));
        assert!(of(dense(true, "my.Tanh")).contains("expected Identity, Tanh"));
        assert!(of(json!({ "in_features": 5, "out_features": 3 })).contains("expected `in_features` = 4"));
        let mut other = good();
        other["use_residual"] = json!(true);
        assert!(of(other).contains("`use_residual` = true"));
        let mut tokens = good();
        tokens["module_input_name"] = json!("token_embeddings");
        assert!(of(tokens).contains("token_embeddings"));
        let mut wide = good();
        wide["out_features"] = json!(2);
        assert!(of(wide).contains("tensor `2_Dense/linear.weight` has the shape [3, 4], expected [2, 4]"));
        let files =
            refusal(&[all[0].clone(), all[1].clone(), module("LayerNorm", "2_Dense")], json!({ "dimension": 4 }));
        assert!(
            files.contains("the tensor `norm.weight` of module LayerNorm in `2_Dense/model.safetensors` or"),
            "{files}"
        );
    }
}
