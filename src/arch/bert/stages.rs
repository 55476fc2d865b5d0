//! Embeddings and layers.

use super::Sizes;
use crate::{
    arch::{
        ArchError, Flow, Form, Stage, Tensors,
        blocks::{
            Attention, Embedding, FeedForward, Heads, LayerNorm, Linear, Scale, layer::HIDDEN, padding_bias, to_layout,
            turned_bias,
        },
    },
    contract::features,
    mil::{Builder, Constant, DataType, Value, Var},
};

#[derive(Debug)]
pub(super) struct Entry {
    words: Embedding,
    positions: Constant,
    types: Option<Embedding>,
    norm: LayerNorm,
    compute: DataType,
    /// The id of padding, where positions count from behind it.
    padding: Option<i32>,
    /// Whether types are an input.
    takes_types: bool,
}

impl Entry {
    pub(super) fn read(tensors: &Tensors<'_>, prefix: &str, sizes: &Sizes) -> Result<Self, ArchError> {
        let stage = format!("{prefix}embeddings");
        let table = |name: &str, rows: u64| {
            Embedding::read(tensors, &format!("{stage}.{name}_embeddings"), rows, sizes.width, 1.0)
        };
        let words = table("word", sizes.vocabulary)?;
        Ok(Self {
            positions: table("position", sizes.positions)?.table().clone(),
            types: if sizes.types > 0 { Some(table("token_type", sizes.types)?) } else { None },
            norm: LayerNorm::read(tensors, &stage, "LayerNorm", sizes.width, sizes.epsilon)?,
            compute: words.table().dtype(),
            words,
            padding: sizes.padding.map(|padding| i32::try_from(padding).unwrap_or(i32::MAX)),
            takes_types: sizes.takes_types(),
        })
    }

    /// Rows of the table of positions, which can be added to those of words.
    fn position_rows(&self, builder: &mut Builder, mask: Var, sequence: i32) -> Result<Var, ArchError> {
        let table = Value::Tensor(self.positions.clone());
        let Some(padding) = self.padding else {
            let table = builder.constant("position_table", table);
            return Ok(builder.slice_by_index("positions", table, &[(0, Some(sequence)), (0, None)])?);
        };
        // The first token has the row behind the padding's, which padding has.
        let steps: Vec<i32> = (1..=sequence).collect();
        let steps = builder.mul("steps", mask, Value::ints(&steps))?;
        let rows = builder.add("position_ids", steps, padding)?;
        Ok(builder.gather("positions", table, rows, 0)?)
    }

    fn add_types(&self, builder: &mut Builder, flow: &Flow, x: Var) -> Result<Var, ArchError> {
        let Some(types) = &self.types else { return Ok(x) };
        if self.takes_types {
            let types = types.build(builder, flow.get(features::TOKEN_TYPE_IDS))?;
            return Ok(builder.add("with_types", x, types)?);
        }
        Ok(builder.add("with_type", x, types.table())?)
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
        let x = self.words.build(builder, flow.get(features::INPUT_IDS))?;
        let positions = self.position_rows(builder, flow.get(features::ATTENTION_MASK), sequence)?;
        let x = builder.add("with_positions", x, positions)?;
        let x = self.add_types(builder, flow, x)?;
        let x = to_layout(builder, "hidden", x, form)?;
        flow.put(HIDDEN, self.norm.build(builder, x, form)?);
        let bias = padding_bias(builder, "mask", flow.get(features::ATTENTION_MASK), self.compute)?;
        flow.put("bias", turned_bias(builder, "bias", bias, form)?);
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Layer {
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
    pub(super) fn read(tensors: &Tensors<'_>, prefix: &str, sizes: &Sizes, layer: u64) -> Result<Self, ArchError> {
        let name = format!("encoder.layer.{layer}");
        let stage = format!("{prefix}{name}");
        let linear = |part: &str, input: u64, output: u64| Linear::read(tensors, &stage, part, input, output);
        let norm = |part: &str| LayerNorm::read(tensors, &stage, part, sizes.width, sizes.epsilon);
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
        products
            .chain(self.attention_norm.constants())
            .chain(self.feed_forward.constants())
            .chain(self.norm.constants())
            .collect()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let x = flow.get(HIDDEN);
        let attended = self.attend(builder, x, flow.get("bias"), form)?;
        let x = builder.add("attention_sum", x, attended)?;
        let x = self.attention_norm.build(builder, x, form)?;
        let inner = self.feed_forward.build(builder, x, form)?;
        let x = builder.add("sum", x, inner)?;
        flow.put(HIDDEN, self.norm.build(builder, x, form)?);
        Ok(())
    }
}
