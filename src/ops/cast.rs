//! `cast`: the same numbers in another element type.
//!
//! `x`: float16, float32, int32, bool; `dtype`: the new type's MIL name. Floats become integers by cutting off the
//! fraction; bool is whether a number is not 0. iOS17: int8, uint8, int16, uint16 too. Never int64.

use candle_core::{DType, Tensor};

use super::{
    Op,
    support::{
        shapes::choice,
        types::{PLAIN, WIDE, X, text},
        unary::map_elements,
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, storage_type},
    mil::{BuildError, Builder, Call, DataType, InferError, OpDef, OpVersion, ValueType, Var},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "cast",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', PLAIN)], parameters: &[X, text("dtype")] },
            OpVersion { since: Target::Ios17, domains: &[('T', WIDE)], parameters: &[X, text("dtype")] },
        ],
        infer,
    },
    kernel,
};

impl Builder {
    /// The same numbers as `dtype`; `x` itself where it has that type.
    ///
    /// # Errors
    /// When the target has no such type.
    pub fn cast(&mut self, name: &str, x: Var, dtype: DataType) -> Result<Var, BuildError> {
        if self.ty(x).dtype == dtype {
            return Ok(x);
        }
        self.op1("cast", name, &[("x", x.into()), ("dtype", dtype.name().into())])
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let allowed = call.version().parameter("x").map_or(&[][..], |x| call.version().allowed(x));
    let names: Vec<_> = allowed.iter().map(|dtype| dtype.name()).collect();
    let name = choice(call, "dtype", &names)?;
    let dtype = DataType::from_name(&name).unwrap_or(DataType::Float32);
    Ok(vec![call.tensor("x")?.with_dtype(dtype).into()])
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let x = arguments.tensor("x")?;
    let result = match (x.dtype(), storage_type(arguments.result(0)?.dtype)) {
        (from, Some(to)) if from == to => x.clone(),
        (DType::F32, Some(DType::I64)) => map_elements(x, |x: f32| x as i64)?,
        (DType::F32, Some(DType::U8)) => map_elements(x, |x: f32| u8::from(x != 0.0))?,
        (DType::I64, Some(DType::U8)) => map_elements(x, |x: i64| u8::from(x != 0))?,
        (_, to) => x.to_dtype(to.unwrap_or(DType::F32))?,
    };
    Ok(vec![result])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("cast");
    }

    #[test]
    fn types_are_refused_before_their_target() {
        let arguments = [("x", testing::float32(&[2])), ("dtype", "int16".into())];
        let why = "parameter `dtype`: expected one of `fp16`, `fp32`, `int32`, `bool`, found `int16`";
        testing::refuses("cast", Target::Ios16, &arguments, why);
        testing::accepts("cast", Target::Ios17, &arguments, "tensor<int16, [2]>");
    }
}
