//! Attention over heads: fused at iOS18, spelled out before and wherever channels stand first; or head by head, as the
//! Neural Engine likes it.
//!
//! Activations come as [1, tokens, channels] or [1, channels, 1, tokens]; heads as [1, heads, tokens, size] or [1,
//! heads, size, tokens]. Neither way needs a transposition that the other has: products take their factors as they lie.
//! With grouped queries the heads of a group are further rows of one product, so that keys and values are never
//! repeated; only where channels stand first they have to be.

use crate::{
    arch::{ArchError, Form},
    contract::{AttentionForm, LinearForm},
    mil::{Builder, Var},
};

/// Numbers of heads, and the channels of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Heads of queries.
    pub query: u64,
    /// Heads of keys and values, which divide those of queries.
    pub key_value: u64,
    /// Channels of a head.
    pub size: u64,
}

/// What scores are multiplied with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// 1 / sqrt(size)
    InverseRoot,
    /// Nothing.
    One,
}

/// Keys and values, each [1, heads, keys, size], or [1, heads, size, keys].
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// Keys.
    pub key: Var,
    /// Values.
    pub value: Var,
    /// Whether keys and values are [1, heads, size, keys].
    pub channels_first: bool,
}

impl Attention {
    /// How heads lie in a form that makes them anew.
    pub fn lies(form: &Form) -> bool {
        form.linear == LinearForm::Conv
    }

    /// The axis of a head's channels where heads are made anew.
    pub fn channel_axis(form: &Form) -> i32 {
        if Self::lies(form) { 2 } else { 3 }
    }
}

fn dimensions(shape: &[u64]) -> Vec<i32> {
    shape.iter().map(|&n| i32::try_from(n).unwrap_or(i32::MAX)).collect()
}

fn reshape(builder: &mut Builder, name: &str, x: Var, shape: &[u64]) -> Result<Var, ArchError> {
    if builder.shape(x) == shape {
        return Ok(x);
    }
    Ok(builder.reshape(name, x, &dimensions(shape))?)
}

fn product(builder: &mut Builder, name: &str, x: (Var, bool), y: (Var, bool)) -> Result<Var, ArchError> {
    let arguments = [("x", x.0.into()), ("y", y.0.into()), ("transpose_x", x.1.into()), ("transpose_y", y.1.into())];
    Ok(builder.op1("matmul", name, &arguments)?)
}

/// How attention is written in a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// As one operation.
    Fused,
    /// As products over all heads.
    Together,
    /// As products of each head.
    Apart,
}

/// The operator that fused attention is.
const FUSED: &str = "scaled_dot_product_attention";

impl Written {
    fn of(form: &Form) -> Result<Self, ArchError> {
        let linear = form.linear == LinearForm::Linear;
        let refused = |found: &str, why: &str| {
            Err(ArchError::Form { axis: "attention", found: found.to_owned(), why: why.to_owned() })
        };
        match form.attention {
            AttentionForm::Explicit => Ok(Self::Together),
            AttentionForm::Auto if linear && form.operators.has(FUSED) => Ok(Self::Fused),
            AttentionForm::Auto => Ok(Self::Together),
            AttentionForm::Fused if linear => Ok(Self::Fused),
            AttentionForm::Fused => {
                let why = "the fused operation takes heads as [tokens, channels]: use linear = \"linear\", or \
                     attention = \"explicit\"";
                refused("fused with linear = \"conv\"", why)
            }
            AttentionForm::Split if linear => {
                let why =
                    "heads are split where channels stand first: use linear = \"conv\", or attention = \"explicit\"";
                refused("split with linear = \"linear\"", why)
            }
            AttentionForm::Split => Ok(Self::Apart),
        }
    }
}

/// A bias [1, 1 or heads, queries, keys] as attention in this form takes it where every head of the queries has keys of
/// its own.
///
/// # Errors
/// When the form has no such attention.
pub fn turned_bias(builder: &mut Builder, name: &str, bias: Var, form: &Form) -> Result<Var, ArchError> {
    match Written::of(form)? {
        // [1, keys, 1 or heads, queries]
        Written::Apart => Ok(builder.transpose(name, bias, &[0, 3, 1, 2])?),
        Written::Fused | Written::Together => Ok(bias),
    }
}

/// Parts of equal length along an axis.
fn parts(builder: &mut Builder, name: &str, x: Var, count: u64, axis: usize) -> Result<Vec<Var>, ArchError> {
    if count == 1 {
        return Ok(vec![x]);
    }
    let length = builder.shape(x)[axis] / count;
    let lengths = dimensions(&vec![length; usize::try_from(count).unwrap_or(0)]);
    Ok(builder.split(name, x, &lengths, i32::try_from(axis).unwrap_or(i32::MAX))?)
}

impl Heads {
    fn groups(&self) -> u64 {
        self.query / self.key_value.max(1)
    }

    /// Activations of `count` heads as heads.
    ///
    /// # Errors
    /// When `x` has another number of channels.
    pub fn split(&self, builder: &mut Builder, name: &str, x: Var, count: u64, form: &Form) -> Result<Var, ArchError> {
        let shape = builder.shape(x);
        if form.linear == LinearForm::Conv {
            return reshape(builder, name, x, &[1, count, self.size, shape[3]]);
        }
        let apart = reshape(builder, &format!("{name}_apart"), x, &[1, shape[1], count, self.size])?;
        Ok(builder.transpose(name, apart, &[0, 2, 1, 3])?)
    }

    /// Heads as activations.
    ///
    /// # Errors
    /// When `x` is something else.
    pub fn join(&self, builder: &mut Builder, name: &str, x: Var, form: &Form) -> Result<Var, ArchError> {
        let shape = builder.shape(x);
        if form.linear == LinearForm::Conv {
            return reshape(builder, name, x, &[1, shape[1] * shape[2], 1, shape[3]]);
        }
        let turned = builder.transpose(&format!("{name}_turned"), x, &[0, 2, 1, 3])?;
        reshape(builder, name, turned, &[1, shape[2], shape[1] * shape[3]])
    }

    /// Heads as [1, heads, tokens, size], as caches hold them.
    ///
    /// # Errors
    /// When `x` is something else.
    pub fn tokens_first(&self, builder: &mut Builder, name: &str, x: Var, form: &Form) -> Result<Var, ArchError> {
        match form.linear {
            LinearForm::Linear => Ok(x),
            LinearForm::Conv => Ok(builder.transpose(name, x, &[0, 1, 3, 2])?),
        }
    }

    /// A bias [1, 1 or heads, queries, keys] as [`attend`](Self::attend) takes it: made once for all layers.
    ///
    /// # Errors
    /// When it has another shape.
    pub fn bias(&self, builder: &mut Builder, name: &str, bias: Var, form: &Form) -> Result<Var, ArchError> {
        let shape = builder.shape(bias);
        let groups = self.groups();
        if groups == 1 || Written::of(form)? != Written::Fused {
            return turned_bias(builder, name, bias, form);
        }
        match shape.as_slice() {
            [1, 1, 1, _] => Ok(bias),
            [1, 1, ..] => Ok(builder.tile(name, bias, &dimensions(&[1, 1, groups, 1]))?),
            _ => reshape(builder, name, bias, &[1, self.key_value, groups * shape[2], shape[3]]),
        }
    }

    /// What the queries find: heads in, heads out.
    ///
    /// # Errors
    /// When the shapes do not fit, or the form has no such attention.
    pub fn attend(
        &self,
        builder: &mut Builder,
        query: Var,
        found: Attention,
        bias: Option<Var>,
        scale: Scale,
        form: &Form,
    ) -> Result<Var, ArchError> {
        let root = (self.size as f32).sqrt();
        let written = Written::of(form)?;
        if written == Written::Fused {
            let query = if scale == Scale::One { builder.mul("unscaled", query, root)? } else { query };
            return self.fused_attend(builder, "found", query, found, bias);
        }
        let query = if scale == Scale::InverseRoot { builder.mul("scaled", query, 1.0 / root)? } else { query };
        if written == Written::Apart {
            self.apart(builder, "found", query, found, bias)
        } else if form.linear == LinearForm::Conv {
            self.explicit_turned(builder, "found", query, found, bias)
        } else {
            self.explicit(builder, "found", query, found, bias)
        }
    }

    /// The heads of a group as rows of one head, which is how they lie anyway.
    fn fold(&self, builder: &mut Builder, name: &str, x: Var) -> Result<Var, ArchError> {
        let shape = builder.shape(x);
        reshape(builder, name, x, &[1, self.key_value, self.groups() * shape[2], shape[3]])
    }

    fn unfold(&self, builder: &mut Builder, name: &str, x: Var) -> Result<Var, ArchError> {
        let shape = builder.shape(x);
        reshape(builder, name, x, &[1, self.query, shape[2] / self.groups(), shape[3]])
    }

    fn fused_attend(
        &self,
        builder: &mut Builder,
        name: &str,
        query: Var,
        found: Attention,
        bias: Option<Var>,
    ) -> Result<Var, ArchError> {
        let query = self.fold(builder, &format!("{name}_groups"), query)?;
        let result =
            builder.scaled_dot_product_attention(&format!("{name}_fused"), query, found.key, found.value, bias)?;
        self.unfold(builder, name, result)
    }

    fn weights(&self, builder: &mut Builder, name: &str, scores: Var, bias: Option<Var>) -> Result<Var, ArchError> {
        let scores = match bias {
            Some(bias) => builder.add(&format!("{name}_biased"), scores, bias)?,
            None => scores,
        };
        Ok(builder.softmax(&format!("{name}_weights"), scores, 3)?)
    }

    fn explicit(
        &self,
        builder: &mut Builder,
        name: &str,
        query: Var,
        found: Attention,
        bias: Option<Var>,
    ) -> Result<Var, ArchError> {
        let query = self.fold(builder, &format!("{name}_groups"), query)?;
        let scores = product(builder, &format!("{name}_scores"), (query, false), (found.key, !found.channels_first))?;
        let scores = self.unfold(builder, &format!("{name}_by_head"), scores)?;
        let weights = self.weights(builder, name, scores, bias)?;
        let weights = self.fold(builder, &format!("{name}_weights_groups"), weights)?;
        let result = product(builder, &format!("{name}_found"), (weights, false), (found.value, found.channels_first))?;
        self.unfold(builder, name, result)
    }

    fn explicit_turned(
        &self,
        builder: &mut Builder,
        name: &str,
        query: Var,
        found: Attention,
        bias: Option<Var>,
    ) -> Result<Var, ArchError> {
        let key = self.repeated(builder, &format!("{name}_key"), found.key)?;
        let value = self.repeated(builder, &format!("{name}_value"), found.value)?;
        let scores = product(builder, &format!("{name}_scores"), (query, true), (key, !found.channels_first))?;
        let weights = self.weights(builder, name, scores, bias)?;
        product(builder, name, (value, !found.channels_first), (weights, true))
    }

    /// Head by head, with keys before queries, so that nothing but keys is turned around: Apple's "Deploying
    /// Transformers on the Apple Neural Engine" (2022). The bias is [1, keys, 1 or heads, queries].
    fn apart(
        &self,
        builder: &mut Builder,
        name: &str,
        query: Var,
        found: Attention,
        bias: Option<Var>,
    ) -> Result<Var, ArchError> {
        const PRODUCT: &str = "nchw,nwhu->nchu";
        let part = |what: &str| format!("{name}_{what}");
        let keys_first = if found.channels_first { [0, 3, 1, 2] } else { [0, 2, 1, 3] };
        let keys = builder.transpose(&part("keys_first"), found.key, &keys_first)?;
        let keys = parts(builder, &part("keys"), keys, self.key_value, 2)?;
        let values = match found.channels_first {
            true => found.value,
            false => builder.transpose(&part("values_turned"), found.value, &[0, 1, 3, 2])?,
        };
        // [1, heads, size, tokens] as parts of [1, size, 1, tokens]
        let flat = |builder: &mut Builder, what: &str, x: Var, count: u64| {
            let x =
                reshape(builder, &part(&format!("{what}_flat")), x, &[1, count * self.size, 1, builder.shape(x)[3]])?;
            parts(builder, &part(what), x, count, 1)
        };
        let values = flat(builder, "values", values, self.key_value)?;
        let queries = flat(builder, "queries", query, self.query)?;
        let biases = match bias {
            Some(bias) if builder.shape(bias)[2] > 1 => parts(builder, &part("biases"), bias, self.query, 2)?,
            other => other.into_iter().collect(),
        };
        let mut results = Vec::with_capacity(queries.len());
        for (head, query) in queries.into_iter().enumerate() {
            let group = head / usize::try_from(self.groups()).unwrap_or(1);
            let mut scores = builder.einsum(&part(&format!("scores_{head}")), keys[group], query, PRODUCT)?;
            if let Some(&bias) = biases.get(head).or(biases.first()) {
                scores = builder.add(&part(&format!("biased_{head}")), scores, bias)?;
            }
            let weights = builder.softmax(&part(&format!("weights_{head}")), scores, 1)?;
            results.push(builder.einsum(&part(&format!("head_{head}")), values[group], weights, PRODUCT)?);
        }
        let joined = if let [one] = results[..] { one } else { builder.concat(&part("heads"), &results, 1)? };
        let tokens = builder.shape(joined)[3];
        reshape(builder, name, joined, &[1, self.query, self.size, tokens])
    }

    /// Each head of keys or values once per head of its group.
    fn repeated(&self, builder: &mut Builder, name: &str, x: Var) -> Result<Var, ArchError> {
        let (groups, shape) = (self.groups(), builder.shape(x));
        if groups == 1 {
            return Ok(x);
        }
        let apart = builder.expand_dims(&format!("{name}_apart"), x, &[2])?;
        let tiled = builder.tile(&format!("{name}_tiled"), apart, &dimensions(&[1, 1, groups, 1, 1]))?;
        reshape(builder, &format!("{name}_repeated"), tiled, &[1, self.query, shape[2], shape[3]])
    }
}
