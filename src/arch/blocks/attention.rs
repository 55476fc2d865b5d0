//! Attention over heads: fused at iOS18, spelled out before and wherever channels stand first.
//!
//! Activations come as [1, tokens, channels] or [1, channels, 1, tokens]; heads as [1, heads, tokens, size] or [1, heads, size, tokens]. Neither
//! way needs a transposition that the other has: products take their factors as they lie. With grouped queries the heads of a group are
//! further rows of one product, so that keys and values are never repeated; only where channels stand first they have to be.

use crate::{
    arch::{ArchError, AttentionForm, Form, LinearForm},
    base::Target,
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

impl Heads {
    /// Whether attention in this form is one operation.
    fn fused(form: &Form) -> Result<bool, ArchError> {
        let linear = form.linear == LinearForm::Linear;
        match form.attention {
            AttentionForm::Explicit => Ok(false),
            AttentionForm::Auto => Ok(linear && form.target >= Target::Ios18),
            AttentionForm::Fused if linear => Ok(true),
            AttentionForm::Fused => {
                let why = "the fused operation takes heads as [tokens, channels]: use linear = \"linear\", or attention = \"explicit\""
                    .to_owned();
                Err(ArchError::Form { axis: "attention", found: "fused with linear = \"conv\"".to_owned(), why })
            }
        }
    }

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
        if groups == 1 || !Self::fused(form)? {
            return Ok(bias);
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
        if Self::fused(form)? {
            let query = if scale == Scale::One { builder.mul("unscaled", query, root)? } else { query };
            return self.fused_attend(builder, "found", query, found, bias);
        }
        let query = if scale == Scale::InverseRoot { builder.mul("scaled", query, 1.0 / root)? } else { query };
        if form.linear == LinearForm::Conv {
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

    fn fused_attend(&self, builder: &mut Builder, name: &str, query: Var, found: Attention, bias: Option<Var>) -> Result<Var, ArchError> {
        let query = self.fold(builder, &format!("{name}_groups"), query)?;
        let result = builder.scaled_dot_product_attention(&format!("{name}_fused"), query, found.key, found.value, bias)?;
        self.unfold(builder, name, result)
    }

    fn weights(&self, builder: &mut Builder, name: &str, scores: Var, bias: Option<Var>) -> Result<Var, ArchError> {
        let scores = match bias {
            Some(bias) => builder.add(&format!("{name}_biased"), scores, bias)?,
            None => scores,
        };
        Ok(builder.softmax(&format!("{name}_weights"), scores, 3)?)
    }

    fn explicit(&self, builder: &mut Builder, name: &str, query: Var, found: Attention, bias: Option<Var>) -> Result<Var, ArchError> {
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
