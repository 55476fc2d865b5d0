//! Random numbers. What they are depends on the generator of the device, with a seed too, so there is nothing to
//! compute that a result could be compared with: these operators are declared, but not evaluated.

use super::{
    defaults,
    shapes::{ANY_RANK, UNKNOWN, single},
    types::{INT32, int},
};
use crate::{
    eval::{Kernel, KernelError},
    mil::{Call, Dimension, Domain, InferError, Parameter, Value, ValueType},
};

/// The shape of the result.
pub(in crate::ops) const SHAPE: Parameter = Parameter::new("shape", Domain::Of(INT32));
/// The seed; -1 for one that the device chooses.
pub(in crate::ops) const SEED: Parameter = int("seed").default(|_| Some(Value::int(-1)));

/// A known float of the result's type.
pub(in crate::ops) const fn number(name: &'static str, default: crate::mil::Default) -> Parameter {
    Parameter::new(name, Domain::Var('T')).constant().default(default)
}

/// A number of the type that `other` has.
pub(in crate::ops) fn like(call: &Call<'_>, name: &str, value: f32) -> Option<Value> {
    defaults::float(call, name, value)
}

/// A tensor of the shape that is asked for, with the element type of `name`.
pub(in crate::ops) fn infer(call: &Call<'_>, name: &str) -> Result<Vec<ValueType>, InferError> {
    let dtype = call.known(name).and_then(|value| value.tensor().map(|recipe| recipe.dtype()));
    let dtype = dtype.ok_or_else(|| InferError::NotConstant(name.to_owned()))?;
    let shape = call.tensor("shape")?;
    if shape.rank() != 1 {
        return Err(InferError::rule("shape", format!("expected a vector, found {shape}")));
    }
    if call.known("shape").is_none() {
        return single(
            dtype,
            shape.shape[0].known().map_or(vec![ANY_RANK], |rank| vec![UNKNOWN; rank.min(64) as usize]),
        );
    }
    let length = |n: i64| {
        u64::try_from(n).map(Dimension::Known).map_err(|_| InferError::rule("shape", format!("a length of {n}")))
    };
    single(dtype, call.ints("shape")?.into_iter().map(length).collect::<Result<_, _>>()?)
}

/// The refusal.
pub(in crate::ops) const KERNEL: Kernel = |_| Err(KernelError::Random);
