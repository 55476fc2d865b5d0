//! `matmul`: batched matrix product; batch dimensions broadcast as in numpy.
//!
//! `x` [.., m, k] (a vector counts as one row, which the result has not), `y` [.., k, n] of float16, float32 or int32;
//! `transpose_x`, `transpose_y` swap the last two dimensions first. The result has the element type of `x`. iOS17: `y`
//! may have another element type.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::{
    Op,
    support::{
        defaults,
        dot::{products, weighted_sums},
        shapes::single,
        types::{NUMBER, X, boolean, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Argument, BuildError, Builder, Call, Dimension, InferError, OpDef, OpVersion, Parameter, ValueType, Var, broadcast},
};

const TRANSPOSE_X: Parameter = boolean("transpose_x").default(defaults::off);
const TRANSPOSE_Y: Parameter = boolean("transpose_y").default(defaults::off);

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "matmul",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', NUMBER)], parameters: &[X, var("y", 'T'), TRANSPOSE_X, TRANSPOSE_Y] },
            OpVersion {
                since: Target::Ios17,
                domains: &[('T', NUMBER), ('U', NUMBER)],
                parameters: &[X, var("y", 'U'), TRANSPOSE_X, TRANSPOSE_Y],
            },
        ],
        infer,
    },
    kernel,
};

impl Builder {
    /// The matrix product of `x` and `y`, or of `x` and `y` transposed.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn matmul(&mut self, name: &str, x: Var, y: impl Into<Argument>, transpose_y: bool) -> Result<Var, BuildError> {
        let arguments = [("x", x.into()), ("y", y.into()), ("transpose_x", false.into()), ("transpose_y", transpose_y.into())];
        self.op1("matmul", name, &arguments)
    }
}

/// The dimensions of a factor as it is multiplied.
fn factor(call: &Call<'_>, name: &'static str, transpose: &str) -> Result<Vec<Dimension>, InferError> {
    let ty = call.tensor(name)?;
    let least = if name == "x" && !call.bool(transpose)? { 1 } else { 2 };
    if ty.rank() < least {
        return Err(InferError::rule(name, format!("expected a rank of at least {least}, found {ty}")));
    }
    let mut shape = ty.shape.clone();
    if shape.len() == 1 {
        shape.insert(0, Dimension::Known(1));
    } else if call.bool(transpose)? {
        let rank = shape.len();
        shape.swap(rank - 1, rank - 2);
    }
    Ok(shape)
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let (x, y) = (call.tensor("x")?, call.tensor("y")?);
    let (a, b) = (factor(call, "x", "transpose_x")?, factor(call, "y", "transpose_y")?);
    let (inner_a, inner_b) = (a[a.len() - 1], b[b.len() - 2]);
    if !inner_a.agrees(inner_b) {
        return Err(InferError::rule("y", format!("{y} has {inner_b} rows to multiply, `x`, which is {x}, has {inner_a} \
             columns")));
    }
    let batch = broadcast(&a[..a.len() - 2], &b[..b.len() - 2]);
    let mut shape = batch.ok_or_else(|| InferError::rule("y", format!("the batch dimensions of {y} and {x} do not \
         broadcast")))?;
    if x.rank() > 1 {
        shape.push(a[a.len() - 2]);
    }
    shape.push(b[b.len() - 1]);
    single(x.dtype, shape)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, y, shape) = (arguments.tensor("x")?, arguments.tensor("y")?, arguments.shape(0)?);
    let x = if x.rank() == 1 { x.unsqueeze(0)? } else { x.clone() };
    let x = if arguments.call.bool("transpose_x")? { x.t()? } else { x };
    let y = if arguments.call.bool("transpose_y")? { y.t()? } else { y.clone() };
    Ok(vec![product(&x, &y)?.reshape(shape)?])
}

/// Up to so many rows are multiplied one by one, for which the other factor need not be rearranged.
const FEW_ROWS: usize = 4;

/// The product of float or integer matrices. Integers are multiplied in float64, which is exact below 2^53.
pub(super) fn product(x: &Tensor, y: &Tensor) -> Result<Tensor, KernelError> {
    if x.dtype() != DType::F32 || y.dtype() != DType::F32 {
        let wide = x.to_dtype(DType::F64)?.broadcast_matmul(&y.to_dtype(DType::F64)?)?;
        return Ok(wide.to_dtype(x.dtype())?);
    }
    match few_rows(x, y)? {
        Some(result) => Ok(result),
        None => Ok(x.broadcast_matmul(y)?),
    }
}

/// The product of few rows with a matrix that lies as it is multiplied or transposed, or with one for each batch: what
/// a model does with weights, keys and values for one token.
fn few_rows(x: &Tensor, y: &Tensor) -> Result<Option<Tensor>, KernelError> {
    let (outer, transposed) = (&x.dims()[..x.rank() - 1], y.t()?);
    let (length, columns) = (x.dims()[x.rank() - 1], y.dims()[y.rank() - 1]);
    let rows: usize = if y.rank() == 2 { outer.iter().product() } else { outer[outer.len() - 1] };
    let same_batches = y.rank() == 2 || outer[..outer.len() - 1] == y.dims()[..y.rank() - 2];
    if rows > FEW_ROWS || !same_batches || x.elem_count() * y.elem_count() == 0 {
        return Ok(None);
    }
    // A vector lies both ways.
    let (turned, plain) = (transposed.is_contiguous(), y.is_contiguous());
    if !turned && !plain {
        return Ok(None);
    }
    let batch = |(x, y): (&[f32], &[f32])| if turned { products(x, y, length) } else { weighted_sums(x, y, length, columns) };
    let values = view(x, |x: &[f32]| {
        view(if turned { &transposed } else { y }, |y: &[f32]| {
            x.par_chunks(rows * length).zip(y.par_chunks(columns * length)).flat_map_iter(batch).collect::<Vec<f32>>()
        })
    })??;
    Ok(Some(Tensor::from_vec(values, [outer, &[columns]].concat(), &Device::Cpu)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::support::testing;

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("matmul");
    }

    #[test]
    fn inner_lengths_must_agree() {
        let arguments = [("x", testing::float32(&[2, 3])), ("y", testing::float32(&[2, 3]))];
        let why = "parameter `y`: tensor<fp32, [2, 3]> has 2 rows to multiply, `x`, which is tensor<fp32, [2, 3]>, has \
             3 columns";
        testing::refuses("matmul", Target::Ios15, &arguments, why);
        let arguments = [("x", testing::float32(&[3])), ("y", testing::float32(&[3]))];
        let why = "parameter `y`: expected a rank of at least 2, found tensor<fp32, [3]>";
        testing::refuses("matmul", Target::Ios15, &arguments, why);
    }

    #[test]
    fn unknown_lengths_stay_unknown() {
        let arguments = [("x", testing::flexible(&[2, 0, 3])), ("y", testing::float32(&[3, 4]))];
        testing::accepts("matmul", Target::Ios15, &arguments, "tensor<fp32, [2, ?, 4]>");
    }

    #[test]
    fn few_rows_of_every_batch_are_multiplied_alike() {
        for (x, y) in [(&[2, 3, 1, 5][..], &[2, 3, 7, 5][..]), (&[3, 4, 8], &[3, 2, 8]), (&[2, 1, 6], &[9, 6]), (&[1, 1, 2], &[1, 0, 2])] {
            let number = |count: usize| (0..count).map(|i| ((i * 31) % 17) as f32 - 8.0).collect::<Vec<f32>>();
            let tensor = |shape: &[usize]| Tensor::from_vec(number(shape.iter().product()), shape, &Device::Cpu).unwrap();
            let (x, y) = (tensor(x), tensor(y).t().unwrap());
            let expected = x.contiguous().unwrap().broadcast_matmul(&y.contiguous().unwrap()).unwrap();
            let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for y in [&y, &y.contiguous().unwrap()] {
                let found = product(&x, y).unwrap();
                assert_eq!(found.dims(), expected.dims());
                assert_eq!(values(&found), values(&expected));
            }
        }
    }
}
