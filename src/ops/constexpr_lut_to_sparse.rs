//! `constexpr_lut_to_sparse` (iOS18): a sparse weight whose numbers are indices into tables: the mask, and the numbers
//! looked up.
//!
//! `indices_mask` uint1 [shape], `indices_nonzero_data` uint1 .. uint8 [n], `lut` [blocks.., 2^bits, vector] and
//! `vector_axis` as in `constexpr_lut_to_dense`. Two results: the mask (lengthened by vectors) and [n * vector] numbers
//! of the element type of `lut`.

use super::{
    Op,
    constexpr_lut_to_dense::{INDICES, TABLE},
    support::{
        blocks::{compacted, look_up_shape, looked_up, scattered},
        shapes::{UNKNOWN, rank_between},
        types::{int, var},
    },
};
use crate::{
    base::Target,
    mil::{Call, DataType, Dimension, Domain, InferError, OpDef, OpVersion, Parameter, TensorType, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "constexpr_lut_to_sparse",
        versions: &[OpVersion {
            since: Target::Ios18,
            domains: &[('I', INDICES), ('T', TABLE)],
            parameters: &[
                Parameter::new("indices_mask", Domain::Of(&[DataType::UInt1])).constant(),
                var("indices_nonzero_data", 'I').constant(),
                var("lut", 'T').constant(),
                int("vector_axis").optional(),
            ],
        }],
        infer,
    },
    kernel: |arguments| {
        let (mask, table) = (arguments.tensor("indices_mask")?, arguments.tensor("lut")?);
        let (_, axis, vector) = layout(arguments.call)?;
        let dense = looked_up(&scattered(arguments.tensor("indices_nonzero_data")?, mask)?, table, axis)?;
        let mut repeated = mask.dims().to_vec();
        repeated.insert(axis + 1, vector as usize);
        let mask = mask.unsqueeze(axis + 1)?.broadcast_as(repeated)?.contiguous()?.reshape(arguments.shape(0)?)?;
        let values = compacted(&dense, &mask)?;
        Ok(vec![mask, values])
    },
};

fn layout(call: &Call<'_>) -> Result<(Vec<Dimension>, usize, u64), InferError> {
    let bits = call.tensor("indices_nonzero_data")?.dtype.bits().unwrap_or(8);
    look_up_shape(call, &call.tensor("indices_mask")?.shape, bits)
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "indices_nonzero_data", 1, 1)?;
    let (shape, _, vector) = layout(call)?;
    let count = call.tensor("indices_nonzero_data")?.shape[0].known();
    let count = count.map_or(UNKNOWN, |n| Dimension::Known(n.saturating_mul(vector)));
    let values = TensorType { dtype: call.tensor("lut")?.dtype, shape: vec![count] };
    Ok(vec![TensorType { dtype: DataType::UInt1, shape }.into(), values.into()])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("constexpr_lut_to_sparse");
    }

    #[test]
    fn tables_must_fit_the_mask() {
        let arguments = [
            ("indices_mask", testing::constant("uint1", &[2, 4], &[1])),
            ("indices_nonzero_data", testing::constant("uint2", &[1], &[1])),
            ("lut", testing::constant_zeros(&[1, 3, 4, 1])),
        ];
        let why = "parameter `lut`: [1, 3] does not cut [2, 4] into blocks";
        testing::refuses("constexpr_lut_to_sparse", Target::Ios18, &arguments, why);
    }
}
