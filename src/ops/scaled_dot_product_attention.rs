//! `scaled_dot_product_attention` (iOS18): `softmax(query key^T / sqrt(e) + mask) value`.
//!
//! `query` [batch.., l, e], `key` [batch.., s, e], `value` [batch.., s, v] of one float type and equal batch dimensions
//! (grouped heads are repeated by the caller); `attn_mask`, boolean (false hides) or float (added), broadcasts to
//! [batch.., l, s]. The scale is fixed.

use candle_core::{DType, Tensor};

use super::{
    Op,
    matmul::product,
    softmax::softmax,
    support::{
        shapes::{rank_between, single},
        types::{FLOAT, var},
        unary::map_elements,
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{BuildError, Builder, Call, DataType, Dimension, InferError, OpDef, OpVersion, ValueType, Var, broadcast},
};

const MASK: &[DataType] = &[DataType::Bool, DataType::Float16, DataType::Float32];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "scaled_dot_product_attention",
        versions: &[OpVersion {
            since: Target::Ios18,
            domains: &[('T', FLOAT), ('M', MASK)],
            parameters: &[var("query", 'T'), var("key", 'T'), var("value", 'T'), var("attn_mask", 'M').optional()],
        }],
        infer,
    },
    kernel,
};

impl Builder {
    /// Attention with the fixed scale `1 / sqrt(e)`.
    ///
    /// # Errors
    /// When the shapes do not fit, or before iOS18.
    pub fn scaled_dot_product_attention(
        &mut self,
        name: &str,
        query: Var,
        key: Var,
        value: Var,
        mask: Option<Var>,
    ) -> Result<Var, BuildError> {
        let mut arguments = vec![("query", query.into()), ("key", key.into()), ("value", value.into())];
        arguments.extend(mask.map(|mask| ("attn_mask", mask.into())));
        self.op1("scaled_dot_product_attention", name, &arguments)
    }
}

fn differ(a: Dimension, b: Dimension) -> bool {
    a.known().zip(b.known()).is_some_and(|(a, b)| a != b)
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "query", 3, 5)?;
    let (query, key, value) = (call.tensor("query")?, call.tensor("key")?, call.tensor("value")?);
    let rank = query.rank();
    for (name, ty) in [("key", key), ("value", value)] {
        if ty.rank() != rank || ty.shape[..rank - 2].iter().zip(&query.shape).any(|(&a, &b)| differ(a, b)) {
            return Err(InferError::rule(name, format!("expected the batch dimensions of {query}, found {ty}")));
        }
    }
    if differ(query.shape[rank - 1], key.shape[rank - 1]) {
        return Err(InferError::rule("key", format!("expected as many features as {query}, found {key}")));
    }
    if differ(key.shape[rank - 2], value.shape[rank - 2]) {
        return Err(InferError::rule("value", format!("expected as many positions as {key}, found {value}")));
    }
    if call.has("attn_mask") {
        let mask = call.tensor("attn_mask")?;
        let scores = [&query.shape[..rank - 1], &key.shape[rank - 2..rank - 1]].concat();
        if broadcast(&mask.shape, &scores).is_none_or(|shape| shape.len() != rank) {
            return Err(InferError::rule("attn_mask", format!("{mask} does not broadcast to the scores of {query} and \
                 {key}")));
        }
    }
    single(query.dtype, [&query.shape[..rank - 1], &value.shape[rank - 1..]].concat())
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (query, key, value) = (arguments.tensor("query")?, arguments.tensor("key")?, arguments.tensor("value")?);
    let rank = query.rank();
    let scale = 1.0 / (query.dims()[rank - 1] as f64).sqrt();
    let mut scores = product(&(query * scale)?, &key.contiguous()?.t()?)?;
    if let Some(mask) = arguments.given("attn_mask") {
        let mask = if mask.dtype() == DType::U8 {
            map_elements(mask, |seen: u8| if seen == 0 { f32::NEG_INFINITY } else { 0.0 })?
        } else {
            mask.clone()
        };
        scores = scores.broadcast_add(&mask)?;
    }
    Ok(vec![product(&softmax(&scores, rank - 1)?, &value.contiguous()?)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("scaled_dot_product_attention");
    }

    #[test]
    fn heads_must_be_equal() {
        let arguments = [
            ("query", testing::float32(&[1, 4, 2, 8])),
            ("key", testing::float32(&[1, 2, 3, 8])),
            ("value", testing::float32(&[1, 2, 3, 8])),
        ];
        let why = "parameter `key`: expected the batch dimensions of tensor<fp32, [1, 4, 2, 8]>, found tensor<fp32, \
             [1, 2, 3, 8]>";
        testing::refuses("scaled_dot_product_attention", Target::Ios18, &arguments, why);
        let why = "`scaled_dot_product_attention` needs iOS18; the program is for iOS17";
        testing::refuses("scaled_dot_product_attention", Target::Ios17, &arguments, why);
    }
}
