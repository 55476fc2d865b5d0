//! `upsample_nearest_neighbor`: every pixel repeated; a place of the result takes pixel `floor(place / factor)`.
//!
//! `x` [.., height, width] of rank 3 or more, float16 or float32; factors are float32 or int32; lengths become
//! `floor(length * factor)`. Where a factor was made from a length, as coremltools does (`(length + 0.0001) / length
//! before`), it is taken for the exact quotient, since places would fall into the pixel before theirs. The same at
//! every target.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::{
    Op,
    support::{
        shapes::{UNKNOWN, rank_between, single},
        types::{FLOAT, X, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{BuildError, Builder, Call, DataType, Dimension, InferError, OpDef, OpVersion, Value, ValueType, Var},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "upsample_nearest_neighbor",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', FLOAT), ('U', &[DataType::Float32, DataType::Int32])],
            parameters: &[
                X,
                var("scale_factor_height", 'U').constant().default(|call| factor_one(call, "scale_factor_width")),
                var("scale_factor_width", 'U').constant().default(|call| factor_one(call, "scale_factor_height")),
            ],
        }],
        infer: enlarged,
    },
    kernel,
};

impl Builder {
    /// Pictures enlarged by a factor, pixel by pixel.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn upsample_nearest_neighbor(&mut self, name: &str, x: Var, factor: f32) -> Result<Var, BuildError> {
        let arguments = [("x", x.into()), ("scale_factor_height", factor.into()), ("scale_factor_width", factor.into())];
        self.op1("upsample_nearest_neighbor", name, &arguments)
    }
}

/// 1, in the element type of the other factor.
pub(super) fn factor_one(call: &Call<'_>, other: &str) -> Option<Value> {
    let float = call.tensor(other).is_ok_and(|ty| ty.dtype == DataType::Float32);
    Some(if float { Value::float(DataType::Float32, 1.0) } else { Value::int(1) })
}

/// The shape of `x` with the last two lengths multiplied by the factors.
pub(super) fn enlarged(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "x", 3, 5)?;
    let x = call.tensor("x")?;
    let mut shape = x.shape.clone();
    for (i, name) in [(x.rank() - 2, "scale_factor_height"), (x.rank() - 1, "scale_factor_width")] {
        let factor = call.number(name)?;
        if !(factor > 0.0 && factor.is_finite()) {
            return Err(InferError::rule(name, format!("expected a factor above 0, found {factor}")));
        }
        shape[i] = shape[i].known().map_or(UNKNOWN, |length| Dimension::Known((length as f64 * factor) as u64));
    }
    single(x.dtype, shape)
}

/// How far a length before `floor` is from a whole one at most when that was meant.
const MEANT: f64 = 1e-3;

/// The pixel, of `from`, that each of `to` places takes; in float32, as torch computes it.
fn pick(from: usize, to: usize, factor: f64) -> Vec<usize> {
    let whole = (from as f64 * factor - to as f64).abs() < MEANT;
    let spacing = if whole { from as f32 / to as f32 } else { (1.0 / factor) as f32 };
    (0..to).map(|place| ((place as f32 * spacing) as usize).min(from.saturating_sub(1))).collect()
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, shape) = (arguments.tensor("x")?, arguments.shape(0)?);
    let rank = shape.len();
    let rows = pick(x.dims()[rank - 2], shape[rank - 2], arguments.call.number("scale_factor_height")?);
    let columns = pick(x.dims()[rank - 1], shape[rank - 1], arguments.call.number("scale_factor_width")?);
    let x = x.to_dtype(DType::F32)?;
    let (height, width) = (x.dims()[rank - 2], x.dims()[rank - 1]);
    let mut out = vec![0.0; shape.iter().product()];
    if !out.is_empty() {
        view(&x, |x: &[f32]| {
            out.par_chunks_mut(rows.len() * columns.len()).zip(x.par_chunks(height * width)).for_each(|(out, x)| {
                for (i, &row) in rows.iter().enumerate() {
                    let (before, out) = out.split_at_mut(i * columns.len());
                    let out = &mut out[..columns.len()];
                    if i > 0 && rows[i - 1] == row {
                        out.copy_from_slice(&before[before.len() - columns.len()..]);
                    } else {
                        let x = &x[row * width..(row + 1) * width];
                        out.iter_mut().zip(&columns).for_each(|(out, &column)| *out = x[column]);
                    }
                }
            });
        })?;
    }
    Ok(vec![Tensor::from_vec(out, shape, x.device())?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("upsample_nearest_neighbor");
    }

    #[test]
    fn factors_must_be_of_one_type_and_positive() {
        let arguments = [("x", testing::float32(&[1, 2, 3, 3])), ("scale_factor_height", 2.0.into()), ("scale_factor_width", 2.into())];
        let why = "parameter `scale_factor_width` is int32, expected a tensor of fp32, as the other arguments";
        testing::refuses("upsample_nearest_neighbor", Target::Ios15, &arguments, why);
        let arguments = [("x", testing::float32(&[1, 2, 3, 3])), ("scale_factor_height", 0.into())];
        let why = "parameter `scale_factor_height`: expected a factor above 0, found 0";
        testing::refuses("upsample_nearest_neighbor", Target::Ios15, &arguments, why);
    }
}
