//! `constexpr_sparse_blockwise_shift_scale` (iOS18): a sparse weight whose numbers are made wide block by block.
//!
//! `data_mask` uint1 [shape], `nonzero_data` [n], `scale` and `offset` as in `constexpr_blockwise_shift_scale`, cut
//! along the mask. Two results: the mask, and [n] numbers of the element type of `scale`.

use super::{
    Op,
    constexpr_blockwise_shift_scale::{DATA, check},
    support::{
        blocks::{Blocks, compacted, dequantized, scattered},
        shapes::rank_between,
        types::{FLOAT, var},
    },
};
use crate::{
    base::Target,
    mil::{Call, DataType, Domain, InferError, OpDef, OpVersion, Parameter, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "constexpr_sparse_blockwise_shift_scale",
        versions: &[OpVersion {
            since: Target::Ios18,
            domains: &[('S', DATA), ('D', FLOAT), ('O', DATA)],
            parameters: &[
                Parameter::new("data_mask", Domain::Of(&[DataType::UInt1])).constant(),
                var("nonzero_data", 'S').constant(),
                var("scale", 'D').constant(),
                var("offset", 'O').constant().optional(),
            ],
        }],
        infer,
    },
    kernel: |arguments| {
        let (mask, scale) = (arguments.tensor("data_mask")?, arguments.tensor("scale")?);
        let dense = scattered(arguments.tensor("nonzero_data")?, mask)?;
        let wide = dequantized(&dense, &Blocks::new(mask.dims(), scale.dims()), scale, arguments.given("offset"))?;
        Ok(vec![mask.clone(), compacted(&wide, mask)?])
    },
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "nonzero_data", 1, 1)?;
    let (mask, data) = (call.tensor("data_mask")?, call.tensor("nonzero_data")?);
    check(call, &mask.with_dtype(data.dtype))?;
    Ok(vec![mask.clone().into(), data.with_dtype(call.tensor("scale")?.dtype).into()])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("constexpr_sparse_blockwise_shift_scale");
    }

    #[test]
    fn scales_must_cut_the_mask_into_blocks() {
        let arguments = [
            ("data_mask", testing::constant("uint1", &[2, 4], &[1])),
            ("nonzero_data", testing::constant("int8", &[1], &[1])),
            ("scale", testing::constant_zeros(&[4, 1])),
        ];
        let why = "parameter `scale`: [4, 1] does not cut [2, 4] into blocks";
        testing::refuses("constexpr_sparse_blockwise_shift_scale", Target::Ios18, &arguments, why);
    }
}
