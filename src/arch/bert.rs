//! BERT-like sentence encoders (Devlin et al. 2018, arXiv 1810.04805; transformers `BertModel`, sentence-transformers' folder layout).
//!
//! Embeddings of words, positions and types, then layers that normalize behind each sum. `sentence_embedding` is what modules.json makes of
//! the last layer: pooling over the tokens that the mask keeps, and maybe a length of 1; both in float32. A folder without modules.json gets the
//! mean, as sentence-transformers does. The model's own pooler and the heads of pretraining are left out.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value as Json;

use super::{
    ArchError, Architecture, Config, ConfigKey, Documents, Feature, Flow, Form, Interface, LoadOptions, Network, Stage, Tables, Tensors,
    TextShape,
    blocks::{
        Activation, Attention, Embedding, FeedForward, Heads, LayerNorm, Linear, Scale, from_layout, padding_bias, to_layout, turned_bias,
    },
    keys::{irrelevant, only, read},
};
use crate::{
    checkpoint::Weights,
    mil::{Builder, Constant, DataType, Var},
};

const NAME: &str = "bert";
const PARTS: &[&str] = &["encoder"];
const MODULES: &str = "modules.json";

/// What the pooler of BERT's first release had, which transformers does not read.
const FIRST_RELEASE: &str = "describes a pooler of BERT's first release, which transformers does not have";
const KEYS: &[ConfigKey] = &[
    only("model_type", &["\"bert\""]),
    read("vocab_size"),
    read("hidden_size"),
    read("num_hidden_layers"),
    read("num_attention_heads"),
    read("intermediate_size"),
    read("hidden_act"),
    read("max_position_embeddings"),
    read("type_vocab_size"),
    read("layer_norm_eps"),
    read("position_embedding_type"),
    read("is_decoder"),
    irrelevant("tie_word_embeddings", "concerns the head of pretraining, which is left out"),
    irrelevant("directionality", FIRST_RELEASE),
    irrelevant("pooler_*", FIRST_RELEASE),
];

/// BERT, MiniLM and the like.
#[derive(Debug)]
pub(super) struct Bert;

impl Architecture for Bert {
    fn name(&self) -> &'static str {
        NAME
    }

    fn parts(&self) -> &'static [&'static str] {
        PARTS
    }

    fn detects(&self, config: &Json) -> bool {
        config.get("model_type").and_then(Json::as_str) == Some("bert")
    }

    fn config_keys(&self) -> Tables {
        &[KEYS]
    }

    fn component_keys(&self, _part: Option<&str>) -> &'static [&'static str] {
        &["sequence", "linear", "attention"]
    }

    fn documents(&self, read: &dyn Fn(&str) -> Option<Json>) -> Vec<String> {
        let folders = read(MODULES).map(|modules| modules_of(&modules)).unwrap_or_default();
        std::iter::once(MODULES.to_owned()).chain(folders.into_iter().filter_map(|module| module.config_path())).collect()
    }

    fn holds(&self, weights: &dyn Weights, _part: Option<&str>) -> bool {
        weights.names().any(|name| name.ends_with("embeddings.word_embeddings.weight"))
    }

    fn load(&self, documents: &Documents, weights: &Arc<dyn Weights>, options: &LoadOptions) -> Result<Network, ArchError> {
        if let Some(part) = options.part.as_deref().filter(|part| !PARTS.contains(part)) {
            return Err(ArchError::Part { architecture: NAME, parts: PARTS, found: Some(part.to_owned()) });
        }
        let sizes = Sizes::read(Config::of(documents, self)?)?;
        let pooling = Pooling::read(documents)?;
        let prefix = if weights.names().any(|name| name.starts_with("bert.")) { "bert." } else { "" };
        let tensors = Tensors::new(weights.as_ref(), prefix, options.compute);
        tensors.skip(|name| name == "embeddings.position_ids" || name.starts_with("pooler.") || name.starts_with("cls."));
        let mut stages: Vec<Box<dyn Stage>> = vec![Box::new(Entry::read(&tensors, &sizes)?)];
        for layer in 0..sizes.layers {
            stages.push(Box::new(Layer::read(&tensors, &sizes, layer)?));
        }
        tensors.all_used(NAME)?;
        stages.push(Box::new(Exit { pooling }));
        Ok(network(&sizes, pooling, stages, options))
    }
}

fn network(sizes: &Sizes, pooling: Pooling, stages: Vec<Box<dyn Stage>>, options: &LoadOptions) -> Network {
    let (count, width, positions, types) = (stages.len(), sizes.width, sizes.positions, sizes.types);
    let embedding = width * pooling.modes.count();
    let interfaces = move |form: &Form| {
        let TextShape { sequence, .. } = form.text()?;
        if sequence > positions {
            let why = format!("this model has {positions} positions");
            return Err(ArchError::Form { axis: "sequence", found: sequence.to_string(), why });
        }
        let mut inputs = vec![
            Feature::int32("input_ids", "tokens of the text, padded behind", &[1, sequence]),
            Feature::int32("attention_mask", "1 for tokens of the text, 0 for padding", &[1, sequence]),
        ];
        if types > 0 {
            inputs.push(Feature::int32("token_type_ids", "0 for the first sentence, 1 for the second", &[1, sequence]));
        }
        let outputs = vec![
            Feature::float("last_hidden_state", "a vector for every token", &[1, sequence, width]),
            Feature::float("sentence_embedding", "one vector for the text", &[1, embedding]),
        ];
        Ok(vec![Interface::main(inputs, outputs, count)])
    };
    Network {
        description: "Sentence encoder: makes a vector from a text".to_owned(),
        interfaces: Box::new(interfaces),
        stages,
        compute: options.compute,
        notes: BTreeMap::from([("pooling".to_owned(), pooling.describe())]),
    }
}

#[derive(Debug)]
struct Sizes {
    layers: u64,
    width: u64,
    heads: u64,
    inner: u64,
    vocabulary: u64,
    positions: u64,
    types: u64,
    epsilon: f64,
    activation: Activation,
}

impl Sizes {
    fn read(config: Config<'_>) -> Result<Self, ArchError> {
        let (width, heads) = (config.count("hidden_size")?, config.count("num_attention_heads")?);
        if !width.is_multiple_of(heads) {
            return Err(config.refuse("num_attention_heads", format!("a divisor of hidden_size, which is {width}")));
        }
        if config.text_or("position_embedding_type", "absolute")? != "absolute" {
            return Err(config.refuse("position_embedding_type", "absolute"));
        }
        if config.flag_or("is_decoder", false)? {
            return Err(config.refuse("is_decoder", "false"));
        }
        let activation = Activation::from_name(config.text_or("hidden_act", "gelu")?);
        Ok(Self {
            layers: config.count("num_hidden_layers")?,
            width,
            heads,
            inner: config.count("intermediate_size")?,
            vocabulary: config.count("vocab_size")?,
            positions: config.count_or("max_position_embeddings", 512)?,
            types: match config.get("type_vocab_size").and_then(Json::as_u64) {
                Some(0) => 0,
                _ => config.count_or("type_vocab_size", 2)?,
            },
            epsilon: config.positive_or("layer_norm_eps", 1e-12)?,
            activation: activation.ok_or_else(|| config.refuse("hidden_act", Activation::NAMES))?,
        })
    }

    fn heads(&self) -> Heads {
        Heads { query: self.heads, key_value: self.heads, size: self.width / self.heads }
    }
}

/// One entry of modules.json.
struct Module {
    kind: String,
    path: String,
}

impl Module {
    fn config_path(&self) -> Option<String> {
        (self.kind == "Pooling" && !self.path.is_empty()).then(|| format!("{}/config.json", self.path))
    }
}

fn modules_of(modules: &Json) -> Vec<Module> {
    let text = |module: &Json, key: &str| module.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let kind = |module: &Json| text(module, "type").rsplit('.').next().unwrap_or_default().to_owned();
    modules.as_array().into_iter().flatten().map(|module| Module { kind: kind(module), path: text(module, "path") }).collect()
}

/// How vectors of tokens become one of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pooling {
    modes: Modes,
    normalize: bool,
}

/// Which poolings stand one behind the other, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Modes {
    first: bool,
    max: bool,
    mean: bool,
    mean_root: bool,
}

impl Modes {
    fn count(self) -> u64 {
        [self.first, self.max, self.mean, self.mean_root].into_iter().map(u64::from).sum()
    }

    /// Turns on the pooling that sentence-transformers calls so.
    fn add(&mut self, name: &str) -> bool {
        match name {
            "cls" | "cls_token" => self.first = true,
            "max" | "max_tokens" => self.max = true,
            "mean" | "mean_tokens" => self.mean = true,
            "mean_sqrt_len_tokens" => self.mean_root = true,
            _ => return false,
        }
        true
    }
}

impl Pooling {
    fn read(documents: &Documents) -> Result<Self, ArchError> {
        let mean = Modes { mean: true, ..Modes::default() };
        let Some(modules) = documents.others.get(MODULES) else { return Ok(Self { modes: mean, normalize: false }) };
        let (mut modes, mut normalize) = (mean, false);
        for module in modules_of(modules) {
            let config = module.config_path().and_then(|path| documents.others.get(&path));
            match module.kind.as_str() {
                "Transformer" => {}
                "Pooling" => modes = config.map_or(Ok(mean), Self::modes)?,
                "Normalize" => normalize = true,
                _ => {
                    let expected = "the modules Transformer, Pooling and Normalize".to_owned();
                    return Err(ArchError::Document { document: MODULES.to_owned(), expected, found: module.kind });
                }
            }
        }
        Ok(Self { modes, normalize })
    }

    /// The poolings that a module's config turns on: `pooling_mode_...` flags, or the name `pooling_mode`.
    fn modes(config: &Json) -> Result<Modes, ArchError> {
        let flag = |(key, value): (&String, &Json)| {
            let name = key.strip_prefix("pooling_mode_")?;
            value.as_bool().unwrap_or(false).then(|| name.to_owned())
        };
        let named = config.get("pooling_mode").and_then(Json::as_str).map(|name| name.split('+').map(str::to_owned).collect::<Vec<_>>());
        let on = named.unwrap_or_else(|| config.as_object().into_iter().flatten().filter_map(flag).collect());
        let mut modes = Modes::default();
        let unknown = on.iter().find(|name| !modes.add(name));
        let refuse = |found: &str| ArchError::Document {
            document: "config.json of the pooling module".to_owned(),
            expected: "pooling by cls, max, mean or mean_sqrt_len".to_owned(),
            found: found.to_owned(),
        };
        match unknown {
            Some(name) => Err(refuse(name)),
            None if modes == Modes::default() => Err(refuse("no pooling")),
            None => Ok(modes),
        }
    }

    fn describe(self) -> String {
        let Modes { first, max, mean, mean_root } = self.modes;
        let names = [(first, "first token"), (max, "largest"), (mean, "mean"), (mean_root, "sum by root of length")];
        let names: Vec<&str> = names.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
        format!("{}, in float32{}", names.join(" and "), if self.normalize { ", length 1" } else { "" })
    }
}

#[derive(Debug)]
struct Entry {
    words: Embedding,
    positions: Constant,
    types: Option<Embedding>,
    norm: LayerNorm,
    compute: DataType,
}

impl Entry {
    fn read(tensors: &Tensors<'_>, sizes: &Sizes) -> Result<Self, ArchError> {
        let table = |name: &str, rows: u64| Embedding::read(tensors, &format!("embeddings.{name}_embeddings"), rows, sizes.width, 1.0);
        let words = table("word", sizes.vocabulary)?;
        Ok(Self {
            positions: table("position", sizes.positions)?.table().clone(),
            types: if sizes.types > 0 { Some(table("token_type", sizes.types)?) } else { None },
            norm: LayerNorm::read(tensors, "embeddings", "LayerNorm", sizes.width, sizes.epsilon)?,
            compute: words.table().dtype(),
            words,
        })
    }
}

impl Stage for Entry {
    fn name(&self) -> &str {
        "embeddings"
    }

    fn constants(&self) -> Vec<Constant> {
        let types = self.types.as_ref().map(|types| types.table().clone());
        let tables = [self.words.table().clone(), self.positions.clone()].into_iter().chain(types);
        tables.chain(self.norm.constants()).collect()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let sequence = i32::try_from(form.text()?.sequence).unwrap_or(i32::MAX);
        let mut x = self.words.build(builder, flow.get("input_ids"))?;
        let table = builder.constant("position_table", crate::mil::Value::Tensor(self.positions.clone()));
        let positions = builder.slice_by_index("positions", table, &[(0, Some(sequence)), (0, None)])?;
        x = builder.add("with_positions", x, positions)?;
        if let Some(types) = &self.types {
            let types = types.build(builder, flow.get("token_type_ids"))?;
            x = builder.add("with_types", x, types)?;
        }
        let x = to_layout(builder, "hidden", x, form)?;
        flow.put("hidden", self.norm.build(builder, x, form)?);
        let bias = padding_bias(builder, "mask", flow.get("attention_mask"), self.compute)?;
        flow.put("bias", turned_bias(builder, "bias", bias, form)?);
        Ok(())
    }
}

#[derive(Debug)]
struct Layer {
    name: String,
    heads: Heads,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: LayerNorm,
    feed_forward: FeedForward,
    norm: LayerNorm,
}

impl Layer {
    fn read(tensors: &Tensors<'_>, sizes: &Sizes, layer: u64) -> Result<Self, ArchError> {
        let name = format!("encoder.layer.{layer}");
        let linear = |part: &str, input: u64, output: u64| Linear::read(tensors, &name, part, input, output);
        let norm = |part: &str| LayerNorm::read(tensors, &name, part, sizes.width, sizes.epsilon);
        Ok(Self {
            heads: sizes.heads(),
            query: linear("attention.self.query", sizes.width, sizes.width)?,
            key: linear("attention.self.key", sizes.width, sizes.width)?,
            value: linear("attention.self.value", sizes.width, sizes.width)?,
            output: linear("attention.output.dense", sizes.width, sizes.width)?,
            attention_norm: norm("attention.output.LayerNorm")?,
            feed_forward: FeedForward {
                gate: None,
                up: linear("intermediate.dense", sizes.width, sizes.inner)?,
                down: linear("output.dense", sizes.inner, sizes.width)?,
                activation: sizes.activation,
            },
            norm: norm("output.LayerNorm")?,
            name,
        })
    }

    fn attend(&self, builder: &mut Builder, x: Var, bias: Var, form: &Form) -> Result<Var, ArchError> {
        let heads = &self.heads;
        let mut head = |name: &str, linear: &Linear| {
            let all = linear.build(builder, x, form)?;
            heads.split(builder, name, all, heads.query, form)
        };
        let (query, key, value) = (head("query", &self.query)?, head("key", &self.key)?, head("value", &self.value)?);
        let found = Attention { key, value, channels_first: Attention::lies(form) };
        let found = heads.attend(builder, query, found, Some(bias), Scale::InverseRoot, form)?;
        let found = heads.join(builder, "joined", found, form)?;
        self.output.build(builder, found, form)
    }
}

impl Stage for Layer {
    fn name(&self) -> &str {
        &self.name
    }

    fn constants(&self) -> Vec<Constant> {
        let products = [&self.query, &self.key, &self.value, &self.output].into_iter().flat_map(Linear::constants);
        products.chain(self.attention_norm.constants()).chain(self.feed_forward.constants()).chain(self.norm.constants()).collect()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let x = flow.get("hidden");
        let attended = self.attend(builder, x, flow.get("bias"), form)?;
        let x = builder.add("attention_sum", x, attended)?;
        let x = self.attention_norm.build(builder, x, form)?;
        let inner = self.feed_forward.build(builder, x, form)?;
        let x = builder.add("sum", x, inner)?;
        flow.put("hidden", self.norm.build(builder, x, form)?);
        Ok(())
    }
}

#[derive(Debug)]
struct Exit {
    pooling: Pooling,
}

impl Exit {
    /// [1, sequence, width] and [1, sequence, 1] of float32 -> [1, width] each.
    fn pooled(&self, builder: &mut Builder, x: Var, keep: Var) -> Result<Vec<Var>, ArchError> {
        let modes = self.pooling.modes;
        let mut pooled = Vec::new();
        if modes.first {
            let first = builder.slice_by_index("first", x, &[(0, None), (0, Some(1)), (0, None)])?;
            pooled.push(builder.squeeze("first_token", first, &[1])?);
        }
        if modes.max {
            let kept = builder.mul("kept", x, keep)?;
            let dropped = builder.sub("dropped", keep, 1.0)?;
            let dropped = builder.mul("dropped_low", dropped, 1e9)?;
            let kept = builder.add("kept_or_low", kept, dropped)?;
            pooled.push(builder.reduce_max("largest", kept, &[1], false)?);
        }
        if modes.mean || modes.mean_root {
            let kept = builder.mul("counted", x, keep)?;
            let sum = builder.reduce_sum("token_sum", kept, &[1], false)?;
            let count = builder.reduce_sum("token_count", keep, &[1], false)?;
            let count = builder.maximum("at_least_one", count, 1e-9)?;
            if modes.mean {
                pooled.push(builder.real_div("mean", sum, count)?);
            }
            if modes.mean_root {
                let root = builder.sqrt("count_root", count)?;
                pooled.push(builder.real_div("mean_root", sum, root)?);
            }
        }
        Ok(pooled)
    }
}

impl Stage for Exit {
    fn name(&self) -> &str {
        "pooling"
    }

    fn constants(&self) -> Vec<Constant> {
        Vec::new()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let x = from_layout(builder, "tokens", flow.get("hidden"), form)?;
        flow.put("last_hidden_state", x);
        let compute = builder.ty(x).dtype;
        let wide = builder.cast("wide", x, DataType::Float32)?;
        let keep = builder.cast("keep", flow.get("attention_mask"), DataType::Float32)?;
        let keep = builder.expand_dims("keep_column", keep, &[2])?;
        let pooled = self.pooled(builder, wide, keep)?;
        let mut embedding = match pooled.as_slice() {
            [only] => *only,
            several => builder.concat("poolings", several, 1)?,
        };
        if self.pooling.normalize {
            let length =
                builder.op1("reduce_l2_norm", "length", &[("x", embedding.into()), ("axes", [1].into()), ("keep_dims", true.into())])?;
            let length = builder.maximum("positive_length", length, 1e-12)?;
            embedding = builder.real_div("normalized", embedding, length)?;
        }
        // A single precision result stays one where that is what the program gives.
        let dtype = if form.io == DataType::Float32 { DataType::Float32 } else { compute };
        flow.put("sentence_embedding", builder.cast("embedding", embedding, dtype)?);
        Ok(())
    }
}
