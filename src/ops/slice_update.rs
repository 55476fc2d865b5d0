//! `slice_update` (iOS18): `x` with `update` in the place of the elements that `slice_by_index` would take.
//!
//! `begin`, `end`, `stride` and the masks are those of `slice_by_index`; `update` has the shape of that slice and is no scalar.

use candle_core::{Device, Tensor, WithDType};

use super::{
    Op,
    slice_by_index::{BEGIN, BEGIN_MASK, END, END_MASK, SQUEEZE_MASK, STRIDE, ranges, sliced},
    support::{
        shapes::expect_shape,
        types::{SIZE, WIDE, X, var},
        unary::same_as_x,
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Argument, BuildError, Builder, Call, Dimension, InferError, OpDef, OpVersion, ValueType, Var},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "slice_update",
        versions: &[OpVersion {
            since: Target::Ios18,
            domains: &[('T', WIDE), ('U', SIZE)],
            parameters: &[X, var("update", 'T'), BEGIN, END, STRIDE, BEGIN_MASK, END_MASK, SQUEEZE_MASK],
        }],
        infer,
    },
    kernel,
};

impl Builder {
    /// `x` with `update` at `begin..end`, which may be computed.
    ///
    /// # Errors
    /// When the arguments do not fit, or before iOS18.
    pub fn slice_update(
        &mut self,
        name: &str,
        x: Var,
        update: Var,
        begin: impl Into<Argument>,
        end: impl Into<Argument>,
    ) -> Result<Var, BuildError> {
        self.op1("slice_update", name, &[("x", x.into()), ("update", update.into()), ("begin", begin.into()), ("end", end.into())])
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let ranges = ranges(call, x.rank())?;
    let slice = sliced(&x.shape, &ranges).into_iter().zip(&ranges).filter(|(_, range)| !range.squeeze).map(|(d, _)| d);
    let slice: Vec<Dimension> = slice.collect();
    if slice.is_empty() {
        return Err(InferError::rule("update", "a scalar cannot be put in"));
    }
    expect_shape(call, "update", &slice)?;
    same_as_x(call)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, update) = (arguments.tensor("x")?, arguments.tensor("update")?);
    let mut axes = Vec::new();
    for (axis, range) in ranges(arguments.call, x.rank())?.iter().enumerate() {
        axes.push(range.places(x.dims()[axis] as u64).ok_or_else(|| InferError::NotConstant("begin".to_owned()))?);
    }
    let result = match x.dtype() {
        candle_core::DType::F32 => replaced::<f32>(x, update, &axes),
        candle_core::DType::U8 => replaced::<u8>(x, update, &axes),
        _ => replaced::<i64>(x, update, &axes),
    };
    Ok(vec![result?])
}

fn replaced<T: WithDType>(x: &Tensor, update: &Tensor, axes: &[Vec<usize>]) -> Result<Tensor, KernelError> {
    let mut values = view(x, <[T]>::to_vec)?;
    let count: usize = axes.iter().map(Vec::len).product();
    if count != update.elem_count() {
        return Err(InferError::rule("update", format!("expected {count} elements, found {}", update.elem_count())).into());
    }
    view(update, |update: &[T]| {
        for (i, &value) in update.iter().enumerate() {
            let (mut rest, mut at, mut step) = (i, 0, 1);
            for (places, &length) in axes.iter().zip(x.dims()).rev() {
                at += places[rest % places.len()] * step;
                rest /= places.len();
                step *= length;
            }
            values[at] = value;
        }
    })?;
    Ok(Tensor::from_vec(values, x.shape(), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("slice_update");
    }

    #[test]
    fn the_update_has_the_shape_of_the_slice() {
        let arguments = [
            ("x", testing::float32(&[4, 3])),
            ("update", testing::float32(&[2, 3])),
            ("begin", testing::ints(&[0, 0])),
            ("end", testing::ints(&[1, 3])),
        ];
        let why = "parameter `update`: expected tensor<fp32, [1, 3]>, found tensor<fp32, [2, 3]>";
        testing::refuses("slice_update", Target::Ios18, &arguments, why);
    }
}
