//! `resize` (iOS17): the last `resized_dims` dimensions get the lengths at the end of `shape`, interpolated linearly or
//! by the nearest element.
//!
//! `x`: float16, float32 or int32 (whose interpolated values are rounded); `shape` may be computed, and 0 in it keeps
//! the length of `x`. `sampling_mode` says where the places of the result lie among the elements.

use candle_core::{DType, Tensor};

use super::{
    Op,
    support::{
        sampling::{Grid, SAMPLING_MODE, interpolated, selected, taps},
        shapes::{UNKNOWN, choice, single},
        types::{NUMBER, X, text, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Call, DataType, Dimension, Domain, InferError, OpDef, OpVersion, Parameter, Value, ValueType},
};

const SHAPE: &[DataType] = &[DataType::Int32, DataType::Int16, DataType::UInt16, DataType::UInt32];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "resize",
        versions: &[OpVersion {
            since: Target::Ios17,
            domains: &[('T', NUMBER), ('U', SHAPE)],
            parameters: &[
                X,
                var("shape", 'U'),
                Parameter::new("resized_dims", Domain::Of(&[DataType::UInt32])).constant(),
                text("interpolation_mode").default(|_| Some(Value::string("LINEAR"))),
                SAMPLING_MODE,
            ],
        }],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    Grid::of(call)?;
    choice(call, "interpolation_mode", &["LINEAR", "NEAREST_NEIGHBOR"])?;
    let (x, lengths) = (call.tensor("x")?, call.tensor("shape")?);
    let given = lengths.shape.first().and_then(|d| d.known()).filter(|&n| lengths.rank() == 1 && n <= x.rank() as u64);
    let given = given.ok_or_else(|| InferError::rule("shape", format!("expected a vector of at most {}, found \
         {lengths}", x.rank())))?;
    let resized = u64::try_from(call.int("resized_dims")?).ok().filter(|&n| n <= given);
    let resized = resized.ok_or_else(|| InferError::rule("resized_dims", format!("more than the {given} of `shape`")))? as usize;
    let wanted = if call.known("shape").is_some() { Some(call.ints("shape")?) } else { None };
    let mut shape = x.shape.clone();
    for (i, axis) in (x.rank() - resized..x.rank()).enumerate() {
        let length = wanted.as_ref().map(|wanted| wanted[wanted.len() - resized + i]);
        shape[axis] = match length {
            None => UNKNOWN,
            Some(0) => shape[axis],
            Some(length) if length > 0 && x.shape[axis].known() != Some(0) => Dimension::Known(length as u64),
            Some(length) => return Err(InferError::rule("shape", format!("a length of {} cannot become {length}", x.shape[axis]))),
        };
    }
    single(x.dtype, shape)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, shape) = (arguments.tensor("x")?, arguments.shape(0)?);
    let grid = Grid::of(arguments.call)?;
    let resized = arguments.call.int("resized_dims")? as usize;
    let axes = x.rank() - resized..x.rank();
    if arguments.call.text("interpolation_mode")? == "NEAREST_NEIGHBOR" {
        let select = |x: Tensor, axis: usize| selected(&x, axis, &grid.nearest(x.dims()[axis], shape[axis]));
        return Ok(vec![axes.into_iter().try_fold(x.clone(), select)?]);
    }
    let interpolate = |x: Tensor, axis: usize| interpolated(&x, axis, &taps(grid, x.dims()[axis], shape[axis]));
    let result = axes.into_iter().try_fold(x.to_dtype(DType::F32)?, interpolate)?;
    Ok(vec![if x.dtype().is_float() { result } else { result.round()?.to_dtype(x.dtype())? }])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("resize");
    }

    #[test]
    fn no_more_dimensions_than_there_are() {
        let two = || testing::constant("uint32", &[], &[2, 0, 0, 0]);
        let arguments = [("x", testing::float32(&[4])), ("shape", testing::ints(&[2, 2])), ("resized_dims", two())];
        let why = "parameter `shape`: expected a vector of at most 1, found tensor<int32, [2]>";
        testing::refuses("resize", Target::Ios17, &arguments, why);
        let arguments = [("x", testing::float32(&[4, 4])), ("shape", testing::ints(&[2])), ("resized_dims", two())];
        testing::refuses("resize", Target::Ios17, &arguments, "parameter `resized_dims`: more than the 1 of `shape`");
        let arguments = [("x", testing::float32(&[4, 4])), ("shape", testing::int32(&[2])), ("resized_dims", two())];
        testing::accepts("resize", Target::Ios17, &arguments, "tensor<fp32, [?, ?]>");
    }
}
