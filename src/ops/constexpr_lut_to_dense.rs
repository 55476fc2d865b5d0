//! `constexpr_lut_to_dense`: a weight made from indices into a table of numbers.
//!
//! iOS16 (parameters are attributes): `indices` uint8 [m] holds indices of 1, 2, 4, 6 or 8 bits for `shape`, low bits
//! first, into `lut` [2^bits]. iOS18: `indices` uint1 .. uint8 [shape], `lut` [blocks.., 2^bits, vector] holds one
//! table per block; vectors of more than one number lie along `vector_axis`, which they lengthen. The result has the
//! element type of `lut`.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{
    Op,
    support::{
        blocks::{look_up_shape, looked_up},
        shapes::single,
        types::{int, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Call, DataType, Dimension, Domain, InferError, OpDef, OpVersion, Parameter, ValueType},
};

/// The element types of indices.
pub(super) const INDICES: &[DataType] =
    &[DataType::UInt1, DataType::UInt2, DataType::UInt3, DataType::UInt4, DataType::UInt6, DataType::UInt8];
/// The element types of tables.
pub(super) const TABLE: &[DataType] = &[DataType::Int8, DataType::UInt8, DataType::Float16, DataType::Float32];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "constexpr_lut_to_dense",
        versions: &[
            OpVersion {
                since: Target::Ios16,
                domains: &[('T', TABLE)],
                parameters: &[
                    Parameter::new("indices", Domain::Of(&[DataType::UInt8])).constant(),
                    var("lut", 'T').constant(),
                    Parameter::new("shape", Domain::Of(&[DataType::UInt32])).constant(),
                ],
            },
            OpVersion {
                since: Target::Ios18,
                domains: &[('I', INDICES), ('T', TABLE)],
                parameters: &[var("indices", 'I').constant(), var("lut", 'T').constant(), int("vector_axis").optional()],
            },
        ],
        infer,
    },
    kernel,
};

fn is_packed(call: &Call<'_>) -> bool {
    call.version().parameter("shape").is_some()
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let (indices, table) = (call.tensor("indices")?, call.tensor("lut")?);
    if !is_packed(call) {
        let bits = indices.dtype.bits().unwrap_or(8);
        return single(table.dtype, look_up_shape(call, &indices.shape, bits)?.0);
    }
    let entries = table.elements().filter(|entries| table.rank() == 1 && [2, 4, 16, 64, 256].contains(entries));
    let entries = entries.ok_or_else(|| InferError::rule("lut", format!("expected a vector of 2, 4, 16, 64 or 256, \
         found {table}")))?;
    let shape = packed_shape(call)?;
    let elements = shape.iter().try_fold(1u64, |product, &n| product.checked_mul(n));
    let bytes = elements.and_then(|n| n.checked_mul(u64::from(entries.ilog2()))).map(|bits| bits.div_ceil(8));
    if indices.rank() != 1 || indices.elements() != bytes {
        return Err(InferError::rule("indices", format!("{shape:?} does not take the {} bit indices of {indices}", entries.ilog2())));
    }
    single(table.dtype, shape.into_iter().map(Dimension::Known).collect())
}

/// The constant `shape` of the operator's form before iOS18.
pub(super) fn packed_shape(call: &Call<'_>) -> Result<Vec<u64>, InferError> {
    let shape = call.ints("shape")?;
    shape.iter().map(|&n| u64::try_from(n).map_err(|_| InferError::rule("shape", format!("negative lengths in \
         {shape:?}")))).collect()
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (indices, table) = (arguments.tensor("indices")?, arguments.tensor("lut")?);
    if is_packed(arguments.call) {
        let shape = arguments.shape(0)?;
        let indices = unpacked(indices, table.elem_count().ilog2() as usize, &shape)?;
        let blocks = [vec![1; shape.len()], vec![table.elem_count(), 1]].concat();
        return Ok(vec![looked_up(&indices, &table.reshape(blocks)?, shape.len().saturating_sub(1))?]);
    }
    let bits = arguments.call.tensor("indices")?.dtype.bits().unwrap_or(8);
    let axis = look_up_shape(arguments.call, &arguments.call.tensor("indices")?.shape, bits)?.1;
    Ok(vec![looked_up(indices, table, axis)?])
}

/// Elements of `bits` bits (at most 8) out of bytes, low bits first.
pub(super) fn unpacked(bytes: &Tensor, bits: usize, shape: &[usize]) -> Result<Tensor, KernelError> {
    let count: usize = shape.iter().product();
    let values: Vec<i64> = view(bytes, |bytes: &[i64]| {
        let byte = |i: usize| bytes.get(i).copied().unwrap_or(0);
        let element = |at: usize| (byte(at / 8) | byte(at / 8 + 1) << 8) >> (at % 8) & ((1 << bits) - 1);
        (0..count).into_par_iter().with_min_len(1 << 14).map(|i| element(i * bits)).collect()
    })?;
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("constexpr_lut_to_dense");
    }

    #[test]
    fn tables_must_fit_their_indices() {
        let arguments = [("indices", testing::constant("uint4", &[2, 4], &[0; 4])), ("lut", testing::constant_zeros(&[1, 1, 4, 1]))];
        let why = "parameter `lut`: expected [blocks.., 16, vector] for 2 dimensions, found tensor<fp32, [1, 1, 4, 1]>";
        testing::refuses("constexpr_lut_to_dense", Target::Ios18, &arguments, why);
        let arguments = [("indices", testing::constant("uint4", &[2, 4], &[0; 4])), ("lut", testing::constant_zeros(&[1, 1, 16, 2]))];
        testing::refuses("constexpr_lut_to_dense", Target::Ios18, &arguments, "parameter `vector_axis`: vectors of 2 \
             need an axis");
    }

    #[test]
    fn packed_indices_must_fill_the_shape() {
        let shape = testing::constant("uint32", &[2], &[3, 0, 0, 0, 3, 0, 0, 0]);
        let arguments = [("indices", testing::constant("uint8", &[4], &[0; 4])), ("lut", testing::constant_zeros(&[16])), ("shape", shape)];
        let why = "parameter `indices`: [3, 3] does not take the 4 bit indices of tensor<uint8, [4]>";
        testing::refuses("constexpr_lut_to_dense", Target::Ios16, &arguments, why);
    }
}
