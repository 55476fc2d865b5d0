//! `local_response_norm`: `x / (k + alpha / size * sum)^beta`, where the sum is over the squares of `size` neighbouring
//! channels, of which `size / 2` (rounded down) lie before the channel itself.
//!
//! `x` [n, c, spatial..] of rank 3 or 4, float16 or float32. iOS17: `alpha`, `beta` and `k` may have another float
//! type.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{
    Op,
    support::{
        defaults,
        shapes::{integers, rank_between},
        types::{FLOAT, X, int, var},
        unary::same_as_x,
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Call, InferError, OpDef, OpVersion, Parameter, ValueType},
};

const SIZE: Parameter = int("size");

const fn alpha(letter: char) -> Parameter {
    var("alpha", letter).constant().default(|call| defaults::float(call, "alpha", 1e-4))
}

const fn beta(letter: char) -> Parameter {
    var("beta", letter).constant().default(|call| defaults::float(call, "beta", 0.75))
}

const fn k(letter: char) -> Parameter {
    var("k", letter).constant().default(|call| defaults::float(call, "k", 1.0))
}

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "local_response_norm",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', FLOAT)], parameters: &[X, SIZE, alpha('T'), beta('T'), k('T')] },
            OpVersion {
                since: Target::Ios17,
                domains: &[('T', FLOAT), ('U', FLOAT)],
                parameters: &[X, SIZE, alpha('U'), beta('U'), k('U')],
            },
        ],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "x", 3, 4)?;
    integers(call, "size", 1, 1)?;
    same_as_x(call)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, call) = (arguments.tensor("x")?, arguments.call);
    let size = call.int("size")? as usize;
    let (factor, beta, k) = (call.number("alpha")? / size as f64, call.number("beta")?, call.number("k")?);
    let channels = x.dims()[1];
    let plane = x.dims()[2..].iter().product::<usize>();
    let mut out = vec![0.0; x.elem_count()];
    if !out.is_empty() {
        view(x, |x: &[f32]| {
            out.par_chunks_mut(plane).enumerate().for_each(|(index, out)| {
                let (image, channel) = (index / channels * channels, index % channels);
                let near = channel.saturating_sub(size / 2)..channel.saturating_add(size.div_ceil(2)).min(channels);
                for (place, out) in out.iter_mut().enumerate() {
                    let at = |channel: usize| f64::from(x[(image + channel) * plane + place]);
                    let squares: f64 = near.clone().map(|channel| at(channel) * at(channel)).sum();
                    *out = (at(channel) / (k + factor * squares).powf(beta)) as f32;
                }
            });
        })?;
    }
    Ok(vec![Tensor::from_vec(out, x.shape(), &Device::Cpu)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("local_response_norm");
    }

    #[test]
    fn the_window_is_not_empty() {
        let arguments = [("x", testing::float32(&[1, 3, 2, 2])), ("size", 0.into())];
        testing::refuses("local_response_norm", Target::Ios15, &arguments, "parameter `size`: expected values of at \
             least 1, found 0");
    }
}
