//! Every operator, one file each: declaration per target, type inference, evaluation.
//!
//! The list below is the only registration: [`find`] serves the builder and the verifier, [`OPERATORS`] the
//! interpreter. Contracts (names, element types, what is constant, defaults) are those of coremltools 9.0's operator
//! registry. Helpers of whole families are in `support`.

mod support;

use crate::{
    eval::{Kernel, Operators},
    mil::OpDef,
};

/// An operator: what it takes and gives, and how it is computed.
#[derive(Debug)]
pub struct Op {
    /// Its declaration.
    pub def: OpDef,
    /// Its evaluation.
    pub kernel: Kernel,
}

macro_rules! ops {
    ($($word:ident),* $(,)?) => {
        $(mod $word;)*
        static OPS: &[&Op] = &[$(&$word::OP),*];
    };
}

ops! {
    abs, acos, add, affine, argsort, asin, atan, atanh, avg_pool, band_part, batch_norm, batch_to_space, cast, ceil, clamped_relu, classify,
    clip, concat, cond, constexpr_affine_dequantize, constexpr_blockwise_shift_scale, constexpr_cast, constexpr_lut_to_dense,
    constexpr_lut_to_sparse, constexpr_sparse_blockwise_shift_scale, constexpr_sparse_to_dense, conv, conv_transpose, cos, cosh, crop,
    crop_resize, cumsum, depth_to_space, dequantize, einsum, elu, equal, erf, exp, exp2, expand_dims, fill, fill_like, flatten2d, floor,
    floor_div, gather, gather_along_axis, gather_nd, gelu, greater, greater_equal, gru, identity, instance_norm, inverse, l2_norm, l2_pool,
    layer_norm, leaky_relu, less, less_equal, linear, linear_activation, list_gather, list_length, list_read, list_scatter, list_write,
    local_response_norm, log, logical_and, logical_not, logical_or, logical_xor, lstm, make_list, matmul, max_pool, maximum, minimum,
    modulo, mul, non_maximum_suppression, non_zero, not_equal, one_hot, pad, pixel_shuffle, pixel_unshuffle, pow, prelu, quantize,
    random_bernoulli, random_categorical, random_normal, random_uniform, range_1d, read_state, real_div, reduce_argmax, reduce_argmin,
    reduce_l1_norm, reduce_l2_norm, reduce_log_sum, reduce_log_sum_exp, reduce_max, reduce_mean, reduce_min, reduce_prod, reduce_sum,
    reduce_sum_square, relu, relu6, resample, reshape, reshape_like, resize, resize_bilinear, resize_nearest_neighbor, reverse,
    reverse_sequence, rnn, round, rsqrt, scaled_dot_product_attention, scaled_tanh, scatter, scatter_along_axis, scatter_nd, select, shape,
    sigmoid, sigmoid_hard, sign, silu, sin, sinh, slice_by_index, slice_by_size, slice_update, sliding_windows, softmax, softplus,
    softplus_parametric, softsign, space_to_batch, space_to_depth, split, sqrt, square, squeeze, stack, sub, tan, tanh, threshold,
    thresholded_relu, tile, topk, transpose, upsample_bilinear, upsample_nearest_neighbor, while_loop, write_state,
}

pub use conv::{ConvOptions, Padding};

/// Where the interpreter finds operators.
pub const OPERATORS: Operators = Operators { definitions: find, kernels: kernel };

/// Every operator, by name.
pub fn all() -> impl Iterator<Item = &'static Op> {
    OPS.iter().copied()
}

fn lookup(name: &str) -> Option<&'static Op> {
    all().find(|op| op.def.name == name)
}

/// The declaration of an operator, by its MIL name. A [`Registry`](crate::mil::Registry).
pub fn find(name: &str) -> Option<&'static OpDef> {
    lookup(name).map(|op| &op.def)
}

/// The evaluation of an operator, by its MIL name.
pub fn kernel(name: &str) -> Option<Kernel> {
    lookup(name).map(|op| op.kernel)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::{
        base::Target,
        mil::{Domain, OpVersion, Presence},
    };

    /// Name, constant, optional, element types (none: anything), as `fixtures/ops/contracts.json` has them from
    /// coremltools' registry.
    type Contract = Vec<(String, bool, bool, BTreeSet<String>)>;

    /// Not in the registry: coremltools makes it of its own `coreml_update_state` when it writes a program.
    const UNREGISTERED: [&str; 1] = ["write_state"];

    fn registry() -> BTreeMap<String, BTreeMap<Target, Contract>> {
        let text = include_str!("../../fixtures/ops/contracts.json");
        serde_json::from_str(text).expect("a table of contracts")
    }

    fn contract(version: &OpVersion) -> Contract {
        let parameter = |p: &crate::mil::Parameter| {
            let allowed = version.allowed(p).iter().map(|dtype| dtype.name().to_owned()).collect();
            (p.name.to_owned(), p.constant, !matches!(p.presence, Presence::Required), allowed)
        };
        version.parameters.iter().map(parameter).collect()
    }

    #[test]
    fn contracts_are_those_of_coremltools() {
        let registry = registry();
        for op in all().filter(|op| !UNREGISTERED.contains(&op.def.name)) {
            let theirs = &registry[op.def.name];
            assert_eq!(theirs.keys().next(), Some(&op.def.since()), "{}: first target", op.def.name);
            for target in [Target::Ios15, Target::Ios16, Target::Ios17, Target::Ios18, Target::Ios26] {
                let Some((_, expected)) = theirs.range(..=target).next_back() else { continue };
                // Blocks are parameters of coremltools' Python functions, not of operations.
                let expected: &Contract =
                    &expected.iter().filter(|parameter| !parameter.0.starts_with('_')).cloned().collect();
                let mut found = contract(op.def.at(target).expect("not older than its first target"));
                // Tuples of tensors and values of any type have no element types in the registry.
                for (mine, theirs) in found.iter_mut().zip(expected.iter()).filter(|(_, theirs)| theirs.3.is_empty()) {
                    mine.3.clone_from(&theirs.3);
                }
                assert_eq!(&found, expected, "{} at {target}", op.def.name);
            }
        }
    }

    #[test]
    fn names_are_unique_and_versions_ordered() {
        let names: BTreeSet<_> = all().map(|op| op.def.name).collect();
        assert_eq!(names.len(), OPS.len());
        for op in all() {
            let since: Vec<_> = op.def.versions.iter().map(|version| version.since).collect();
            assert!(!since.is_empty() && since.is_sorted_by(|a, b| a < b), "{}: {since:?}", op.def.name);
        }
    }

    #[test]
    fn every_type_variable_is_declared() {
        for op in all() {
            for version in op.def.versions {
                for parameter in version.parameters {
                    let free = matches!(parameter.domain, Domain::Any | Domain::State);
                    assert!(free || !version.allowed(parameter).is_empty(), "{} {}", op.def.name, parameter.name);
                }
            }
        }
    }
}
