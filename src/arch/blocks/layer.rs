//! Layers: attention to itself, attention to an encoder in some, feed-forward. Most normalize before each part, some
//! behind it.
//!
//! Values that all layers share come through the flow, under the names below: whoever enters the stack puts them there.

use super::{Attention, FeedForward, Heads, LayerCache, Linear, RmsNorm, RotaryRows, Scale};
use crate::{
    arch::{ArchError, Flow, Form, Stage},
    contract::features,
    mil::{Builder, Constant, Var},
};

/// The residual stream, in the form's layout.
pub const HIDDEN: &str = "hidden";
/// What is added to the scores of attention to itself, as [`Heads::bias`] makes it.
pub const BIAS: &str = "bias";
/// The same of attention to the last tokens alone.
pub const WINDOW_BIAS: &str = "window_bias";
/// What is added to the scores of attention to the encoder.
pub const CROSS_BIAS: &str = "cross_bias";
/// 0 for queries that see no key, whose result then is 0; 1 for the others. Not there where every query sees a key.
pub const SEEING: &str = "seeing";
/// The same of attention to the encoder.
pub const CROSS_SEEING: &str = "cross_seeing";
/// Rows of the rotary table, where there is one.
pub const COS: &str = "rotary.cos";
/// Rows of the rotary table, where there is one.
pub const SIN: &str = "rotary.sin";
/// What the encoder gave, in the form's layout.
pub const ENCODED: &str = "encoded";
/// Keys of attention to the encoder, [layers, 1, heads, keys, size], where they were made before.
pub const CROSS_KEYS: &str = features::CROSS_KEY_CACHE;
/// Values, likewise.
pub const CROSS_VALUES: &str = features::CROSS_VALUE_CACHE;

/// Attention of tokens to themselves and what came before.
#[derive(Debug, Clone)]
pub struct SelfAttention {
    /// Its heads.
    pub heads: Heads,
    /// Products of queries, keys, values.
    pub inputs: [Linear; 3],
    /// The last product.
    pub output: Linear,
    /// Norms of every head's queries and keys, before they are turned.
    pub head_norms: Option<[RmsNorm; 2]>,
    /// Whether queries and keys are turned by the rows of the rotary table, where the flow has them.
    pub rotary: bool,
    /// What scores are multiplied with.
    pub scale: Scale,
    /// The name in the flow of what is added to scores, where it is there.
    pub bias: &'static str,
    /// Its part of the cache, where there is one.
    pub cache: Option<LayerCache>,
}

/// Attention of tokens to what an encoder gave.
#[derive(Debug, Clone)]
pub struct CrossAttention {
    /// Its heads.
    pub heads: Heads,
    /// The product of queries.
    pub query: Linear,
    /// Products of keys and values.
    pub key_value: [Linear; 2],
    /// The last product.
    pub output: Linear,
    /// What scores are multiplied with.
    pub scale: Scale,
    /// The layer's place in keys and values that were made before, where that is so.
    pub made_before: Option<u64>,
}

/// A layer.
#[derive(Debug, Clone)]
pub struct PreNormLayer {
    /// Its name in the checkpoint.
    pub name: String,
    /// What comes before attention, and attention.
    pub attention: (RmsNorm, SelfAttention),
    /// What comes before attention to the encoder, and that.
    pub cross: Option<(RmsNorm, CrossAttention)>,
    /// What comes before the feed-forward part, and that.
    pub feed_forward: (RmsNorm, FeedForward),
}

/// A result without that of queries that see no key.
fn only_seeing(builder: &mut Builder, flow: &Flow, name: &str, found: Var) -> Result<Var, ArchError> {
    if flow.has(name) { Ok(builder.mul(&format!("found_{name}"), found, flow.get(name))?) } else { Ok(found) }
}

impl SelfAttention {
    /// Queries, keys, values, output.
    pub fn constants(&self) -> Vec<Constant> {
        let norms = self.head_norms.iter().flatten().flat_map(RmsNorm::constants);
        self.inputs.iter().chain([&self.output]).flat_map(Linear::constants).chain(norms).collect()
    }

    /// Queries and keys, normalized and turned.
    fn prepare(&self, builder: &mut Builder, flow: &Flow, parts: [Var; 2], form: &Form) -> Result<[Var; 2], ArchError> {
        let mut parts = parts;
        for (index, name) in ["query", "key"].into_iter().enumerate() {
            if let Some(norms) = &self.head_norms {
                parts[index] = norms[index].build_at(
                    builder,
                    &format!("{name}_norm"),
                    parts[index],
                    Attention::channel_axis(form),
                )?;
            }
            if self.rotary && flow.has(COS) {
                let rows = RotaryRows { cos: flow.get(COS), sin: flow.get(SIN) };
                parts[index] = rows.apply(builder, &format!("{name}_turned"), parts[index], form)?;
            }
        }
        Ok(parts)
    }

    /// Of activations in the form's layout.
    ///
    /// # Errors
    /// When `x` does not fit.
    pub fn build(&self, builder: &mut Builder, flow: &mut Flow, x: Var, form: &Form) -> Result<Var, ArchError> {
        let heads = &self.heads;
        let counts = [heads.query, heads.key_value, heads.key_value];
        let mut parts = Vec::with_capacity(3);
        for ((name, linear), count) in ["query", "key", "value"].into_iter().zip(&self.inputs).zip(counts) {
            let all = linear.build(builder, x, form)?;
            parts.push(heads.split(builder, name, all, count, form)?);
        }
        let [query, key] = self.prepare(builder, flow, [parts[0], parts[1]], form)?;
        let value = parts[2];
        let keys = match &self.cache {
            Some(cache) => cache.update(builder, flow, key, value, form)?,
            None => Attention { key, value, channels_first: Attention::lies(form) },
        };
        let bias = flow.has(self.bias).then(|| flow.get(self.bias));
        let found = heads.attend(builder, query, keys, bias, self.scale, form)?;
        let found = only_seeing(builder, flow, SEEING, found)?;
        let found = heads.join(builder, "joined", found, form)?;
        self.output.build(builder, found, form)
    }
}

impl CrossAttention {
    /// Queries, output. Those of keys and values are the stage's that can also make them on their own.
    pub fn constants(&self) -> Vec<Constant> {
        [&self.query, &self.output].into_iter().flat_map(Linear::constants).collect()
    }

    fn keys(&self, builder: &mut Builder, flow: &Flow, form: &Form) -> Result<Attention, ArchError> {
        let mut parts = Vec::with_capacity(2);
        for (name, linear, cache) in
            [("key", &self.key_value[0], CROSS_KEYS), ("value", &self.key_value[1], CROSS_VALUES)]
        {
            parts.push(match self.made_before {
                Some(layer) => layer_of(builder, name, flow.get(cache), layer)?,
                None => {
                    let all = linear.build(builder, flow.get(ENCODED), form)?;
                    self.heads.split(builder, name, all, self.heads.key_value, form)?
                }
            });
        }
        let channels_first = self.made_before.is_none() && Attention::lies(form);
        Ok(Attention { key: parts[0], value: parts[1], channels_first })
    }

    /// Of activations in the form's layout.
    ///
    /// # Errors
    /// When `x` does not fit.
    pub fn build(&self, builder: &mut Builder, flow: &Flow, x: Var, form: &Form) -> Result<Var, ArchError> {
        let heads = &self.heads;
        let query = self.query.build(builder, x, form)?;
        let query = heads.split(builder, "query", query, heads.query, form)?;
        let keys = self.keys(builder, flow, form)?;
        let found = heads.attend(builder, query, keys, Some(flow.get(CROSS_BIAS)), self.scale, form)?;
        let found = only_seeing(builder, flow, CROSS_SEEING, found)?;
        let found = heads.join(builder, "joined", found, form)?;
        self.output.build(builder, found, form)
    }
}

/// A layer's part of [layers, ...].
pub(super) fn layer_of(builder: &mut Builder, name: &str, all: Var, layer: u64) -> Result<Var, ArchError> {
    let layer = i32::try_from(layer).unwrap_or(i32::MAX);
    let rest = vec![(0, None); builder.shape(all).len() - 1];
    let ranges: Vec<(i32, Option<i32>)> = std::iter::once((layer, Some(layer + 1))).chain(rest).collect();
    let part = builder.slice_by_index(&format!("{name}_slice"), all, &ranges)?;
    Ok(builder.squeeze(&format!("{name}_layer"), part, &[0])?)
}

impl Stage for PreNormLayer {
    fn name(&self) -> &str {
        &self.name
    }

    fn constants(&self) -> Vec<Constant> {
        let (norm, attention) = &self.attention;
        let own = norm.constants().into_iter().chain(attention.constants());
        let cross = self.cross.iter().flat_map(|(norm, cross)| norm.constants().into_iter().chain(cross.constants()));
        let (norm, feed_forward) = &self.feed_forward;
        own.chain(cross).chain(norm.constants()).chain(feed_forward.constants()).collect()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let mut x = flow.get(HIDDEN);
        let (norm, attention) = &self.attention;
        let normed = norm.build(builder, x, form)?;
        let found = builder.scope("attention", |builder| attention.build(builder, flow, normed, form))?;
        x = builder.add("attention_sum", x, found)?;
        if let Some((norm, cross)) = &self.cross {
            let normed = norm.build(builder, x, form)?;
            let found = builder.scope("cross", |builder| cross.build(builder, flow, normed, form))?;
            x = builder.add("cross_sum", x, found)?;
        }
        let (norm, feed_forward) = &self.feed_forward;
        let normed = norm.build(builder, x, form)?;
        let inner = feed_forward.build(builder, normed, form)?;
        flow.put(HIDDEN, builder.add("sum", x, inner)?);
        Ok(())
    }
}

/// A layer that normalizes what each part gives before it is added to the residual stream: attention to itself,
/// feed-forward.
#[derive(Debug, Clone)]
pub struct PostNormLayer {
    /// Its name in the checkpoint.
    pub name: String,
    /// Attention, and what comes behind it.
    pub attention: (SelfAttention, RmsNorm),
    /// The feed-forward part, and what comes behind it.
    pub feed_forward: (FeedForward, RmsNorm),
}

impl Stage for PostNormLayer {
    fn name(&self) -> &str {
        &self.name
    }

    fn constants(&self) -> Vec<Constant> {
        let (attention, norm) = &self.attention;
        let own = attention.constants().into_iter().chain(norm.constants());
        let (feed_forward, norm) = &self.feed_forward;
        own.chain(feed_forward.constants()).chain(norm.constants()).collect()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let x = flow.get(HIDDEN);
        let (attention, norm) = &self.attention;
        let found = builder.scope("attention", |builder| attention.build(builder, flow, x, form))?;
        let normed = norm.build(builder, found, form)?;
        let x = builder.add("attention_sum", x, normed)?;
        let (feed_forward, norm) = &self.feed_forward;
        let inner = feed_forward.build(builder, x, form)?;
        let normed = norm.build(builder, inner, form)?;
        flow.put(HIDDEN, builder.add("sum", x, normed)?);
        Ok(())
    }
}
