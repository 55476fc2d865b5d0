//! `constexpr_sparse_to_dense`: a weight made from its numbers other than 0 and a bit for every place.
//!
//! iOS16 (parameters are attributes): `mask` uint8 [m] holds the bits of `shape`, low bits first. iOS18: `mask` uint1
//! [shape]; 4 bit numbers too. `nonzero_data` [n] holds as many numbers as bits are set; the result has its element
//! type.

use super::{
    Op,
    constexpr_lut_to_dense::{TABLE, packed_shape, unpacked},
    support::{
        blocks::scattered,
        shapes::{rank_between, single},
        types::var,
    },
};
use crate::{
    base::Target,
    mil::{Call, DataType, Dimension, Domain, InferError, OpDef, OpVersion, Parameter, ValueType},
};

const DATA: &[DataType] = &[DataType::Int4, DataType::UInt4, DataType::Int8, DataType::UInt8, DataType::Float16, DataType::Float32];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "constexpr_sparse_to_dense",
        versions: &[
            OpVersion {
                since: Target::Ios16,
                domains: &[('T', TABLE)],
                parameters: &[
                    var("nonzero_data", 'T').constant(),
                    Parameter::new("mask", Domain::Of(&[DataType::UInt8])).constant(),
                    Parameter::new("shape", Domain::Of(&[DataType::UInt32])).constant(),
                ],
            },
            OpVersion {
                since: Target::Ios18,
                domains: &[('T', DATA)],
                parameters: &[var("nonzero_data", 'T').constant(), Parameter::new("mask", Domain::Of(&[DataType::UInt1])).constant()],
            },
        ],
        infer,
    },
    kernel: |arguments| {
        let mask = arguments.tensor("mask")?;
        let packed = arguments.call.has("shape").then(|| unpacked(mask, 1, &arguments.shape(0)?)).transpose()?;
        Ok(vec![scattered(arguments.tensor("nonzero_data")?, packed.as_ref().unwrap_or(mask))?])
    },
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "nonzero_data", 1, 1)?;
    let (data, mask) = (call.tensor("nonzero_data")?, call.tensor("mask")?);
    if !call.has("shape") {
        return single(data.dtype, mask.shape.clone());
    }
    let shape = packed_shape(call)?;
    let elements = shape.iter().try_fold(1u64, |product, &n| product.checked_mul(n));
    if mask.rank() != 1 || mask.elements() != elements.map(|n| n.div_ceil(8)) {
        return Err(InferError::rule("mask", format!("{mask} does not hold the bits of {shape:?}")));
    }
    single(data.dtype, shape.into_iter().map(Dimension::Known).collect())
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("constexpr_sparse_to_dense");
    }

    #[test]
    fn bits_must_fill_the_shape() {
        let shape = testing::constant("uint32", &[2], &[3, 0, 0, 0, 3, 0, 0, 0]);
        let arguments =
            [("nonzero_data", testing::constant_zeros(&[1])), ("mask", testing::constant("uint8", &[1], &[1])), ("shape", shape)];
        let why = "parameter `mask`: tensor<uint8, [1]> does not hold the bits of [3, 3]";
        testing::refuses("constexpr_sparse_to_dense", Target::Ios16, &arguments, why);
    }
}
