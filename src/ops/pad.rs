//! `pad`: elements added before and after the last dimensions: a constant, a mirror image without the edge, or the edge
//! repeated.
//!
//! `x`: float16 or float32; `pad` [2k] holds (before, after) of the last k dimensions and may be computed;
//! `constant_val` has the element type of `x`. The same at every target.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        defaults,
        shapes::{UNKNOWN, choice, single},
        types::{FLOAT, INT32, X, text, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Call, Dimension, Domain, InferError, OpDef, OpVersion, Parameter, TensorType, Value, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "pad",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', FLOAT)],
            parameters: &[
                X,
                Parameter::new("pad", Domain::Of(INT32)),
                text("mode").default(|_| Some(Value::string("constant"))),
                var("constant_val", 'T').constant().default(|call| defaults::float(call, "constant_val", 0.0)),
            ],
        }],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    choice(call, "mode", &["constant", "reflect", "replicate"])?;
    if call.known("pad").is_none() {
        return single(x.dtype, unknown(x, call.tensor("pad")?)?);
    }
    let pairs = pairs(call, x.rank())?;
    let reflect = call.text("mode")? == "reflect";
    let mut shape = x.shape.clone();
    for (d, (before, after)) in shape.iter_mut().zip(pairs) {
        if before == 0 && after == 0 {
            continue;
        }
        let Some(length) = d.known() else {
            *d = UNKNOWN;
            continue;
        };
        if reflect && before.max(after) >= length {
            return Err(InferError::rule("pad", format!("a mirror image of {length} elements has no {} more", before.max(after))));
        }
        *d = Dimension::Known(length.saturating_add(before).saturating_add(after));
    }
    single(x.dtype, shape)
}

/// The shape where `pad` is computed: nothing of the padded dimensions is known.
fn unknown(x: &TensorType, pad: &TensorType) -> Result<Vec<Dimension>, InferError> {
    if pad.shape != [Dimension::Known(2 * x.rank() as u64)] {
        return Err(InferError::rule("pad", format!("when computed, expected {} values, found {pad}", 2 * x.rank())));
    }
    Ok(vec![UNKNOWN; x.rank()])
}

/// Elements before and after every dimension.
fn pairs(call: &Call<'_>, rank: usize) -> Result<Vec<(u64, u64)>, InferError> {
    let pad = call.ints("pad")?;
    let values: Option<Vec<u64>> = pad.iter().map(|&n| u64::try_from(n).ok()).collect();
    let values = values.filter(|values| values.len() % 2 == 0 && values.len() <= 2 * rank);
    let values = values.ok_or_else(|| InferError::rule("pad", format!("expected up to {rank} pairs, none negative, \
         found {pad:?}")))?;
    let mut pairs = vec![(0, 0); rank - values.len() / 2];
    pairs.extend(values.chunks_exact(2).map(|pair| (pair[0], pair[1])));
    Ok(pairs)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let x = arguments.tensor("x")?;
    let mode = arguments.call.text("mode")?;
    let mut result = x.clone();
    for (axis, (before, after)) in pairs(arguments.call, x.rank())?.into_iter().enumerate() {
        let (before, after) = (before as usize, after as usize);
        if before == 0 && after == 0 {
            continue;
        }
        result = match mode.as_str() {
            "constant" => surrounded(&result, axis, before, after, arguments.call.number("constant_val")? as f32)?,
            mode => picked(&result, axis, before, after, mode == "reflect")?,
        };
    }
    Ok(vec![result])
}

fn surrounded(x: &Tensor, axis: usize, before: usize, after: usize, value: f32) -> Result<Tensor, KernelError> {
    let block = |length: usize| {
        let mut shape = x.dims().to_vec();
        shape[axis] = length;
        Tensor::full(value, shape, &Device::Cpu)
    };
    Ok(Tensor::cat(&[block(before)?, x.clone(), block(after)?], axis)?)
}

/// Elements of `x` in the places of the padding.
fn picked(x: &Tensor, axis: usize, before: usize, after: usize, mirror: bool) -> Result<Tensor, KernelError> {
    let length = x.dims()[axis] as i64;
    let place = |i: i64| match i {
        i if i < 0 => {
            if mirror {
                -i
            } else {
                0
            }
        }
        i if i >= length => {
            if mirror {
                2 * (length - 1) - i
            } else {
                length - 1
            }
        }
        i => i,
    };
    let indices: Vec<i64> = (-(before as i64)..length + after as i64).map(place).collect();
    let count = indices.len();
    Ok(x.contiguous()?.index_select(&Tensor::from_vec(indices, count, &Device::Cpu)?, axis)?)
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("pad");
    }

    #[test]
    fn pairs_must_fit_the_rank() {
        let arguments = |pad: &[i32], mode: &str| [("x", testing::float32(&[2, 3])), ("pad", testing::ints(pad)), ("mode", mode.into())];
        let why = "parameter `pad`: expected up to 2 pairs, none negative, found [1, -1]";
        testing::refuses("pad", Target::Ios15, &arguments(&[1, -1], "constant"), why);
        let why = "parameter `pad`: a mirror image of 3 elements has no 3 more";
        testing::refuses("pad", Target::Ios15, &arguments(&[0, 3], "reflect"), why);
        let why = "parameter `mode`: expected one of `constant`, `reflect`, `replicate`, found `wrap`";
        testing::refuses("pad", Target::Ios15, &arguments(&[0, 3], "wrap"), why);
    }
}
