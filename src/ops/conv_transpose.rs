//! `conv_transpose`: transposed convolution over 1 to 3 spatial dimensions: every element of `x` adds `weight`, scaled
//! by it, to the result.
//!
//! `x` [n, c_in, spatial..], `weight` [c_in, c_out / groups, kernel..], `bias` [c_out]; result [n, c_out, places..] of
//! the type of `x`. `pad` (two per dimension: before, after) is cut off, with `pad_type` `custom` only; `same` leaves
//! `length * stride` places, unless `output_shape` says otherwise. iOS17: `weight` and `bias` may have another float
//! type than `x`, and may be computed.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{
    Op,
    support::{
        defaults,
        shapes::{UNKNOWN, choice, expect_shape, integers, lengths, rank_between, single},
        types::{FLOAT, X, int, text, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Call, Dimension, InferError, OpDef, OpVersion, Parameter, Value, ValueType},
};

const PAD: Parameter = int("pad").default(|call| defaults::per_spatial_dimension(call, 2, 0));
const OUTPUT_SHAPE: Parameter = int("output_shape").optional();
const PAD_TYPE: Parameter = text("pad_type").default(|_| Some(Value::string("valid")));
const STRIDES: Parameter = int("strides").default(|call| defaults::per_spatial_dimension(call, 1, 1));
const DILATIONS: Parameter = int("dilations").default(|call| defaults::per_spatial_dimension(call, 1, 1));
const GROUPS: Parameter = int("groups").default(defaults::one);

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "conv_transpose",
        versions: &[
            OpVersion {
                since: Target::Ios15,
                domains: &[('T', FLOAT)],
                parameters: &[
                    X,
                    var("weight", 'T').constant(),
                    var("bias", 'T').constant().optional(),
                    PAD,
                    OUTPUT_SHAPE,
                    PAD_TYPE,
                    STRIDES,
                    DILATIONS,
                    GROUPS,
                ],
            },
            OpVersion {
                since: Target::Ios17,
                domains: &[('T', FLOAT), ('U', FLOAT)],
                parameters: &[X, var("weight", 'U'), var("bias", 'U').optional(), PAD, OUTPUT_SHAPE, PAD_TYPE, STRIDES, DILATIONS, GROUPS],
            },
        ],
        infer,
    },
    kernel,
};

/// How one dimension of the input lies in the result.
#[derive(Debug, Clone, Copy)]
struct Span {
    kernel: u64,
    stride: u64,
    dilation: u64,
    /// Places cut off in front.
    before: u64,
    /// Places that are left; `None` where they depend on an unknown length.
    places: Option<u64>,
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let (channels, spans) = spans(call)?;
    expect_shape(call, "bias", &[Dimension::Known(channels)])?;
    let x = call.tensor("x")?;
    let places = spans.iter().map(|span| span.places.map_or(UNKNOWN, Dimension::Known));
    single(x.dtype, [x.shape[0], Dimension::Known(channels)].into_iter().chain(places).collect())
}

/// Output channels and spatial dimensions.
fn spans(call: &Call<'_>) -> Result<(u64, Vec<Span>), InferError> {
    rank_between(call, "x", 3, 5)?;
    let (x, weight) = (call.tensor("x")?, call.tensor("weight")?);
    let shape = lengths(&weight.shape).filter(|shape| shape.len() == x.rank() && !shape.contains(&0));
    let shape = shape.ok_or_else(|| InferError::rule("weight", format!("expected rank {} and fixed lengths, found \
         {weight}", x.rank())))?;
    let groups = integers(call, "groups", 1, 1)?[0];
    if x.shape[1].known().is_some_and(|channels| channels != shape[0]) || !shape[0].is_multiple_of(groups) {
        let expected = format!("{} channels of `x` in {groups} groups", x.shape[1]);
        return Err(InferError::rule("weight", format!("expected {expected}, found {weight}")));
    }
    let channels = shape[1].checked_mul(groups).ok_or_else(|| InferError::rule("groups", "too many"))?;
    let count = shape.len() - 2;
    let (strides, dilations) = (integers(call, "strides", count, 1)?, integers(call, "dilations", count, 1)?);
    let wanted = if call.has("output_shape") { Some(integers(call, "output_shape", count + 2, 1)?) } else { None };
    if let Some(wanted) = &wanted
        && (wanted[1] != channels || x.shape[0].known().is_some_and(|n| n != wanted[0]))
    {
        return Err(InferError::rule("output_shape", format!("expected [{}, {channels}, ..], found {wanted:?}", x.shape[0])));
    }
    let span = |i: usize| {
        let span = Span { kernel: shape[2 + i], stride: strides[i], dilation: dilations[i], before: 0, places: None };
        span.placed(call, i, x.shape[2 + i], wanted.as_ref().map(|wanted| wanted[2 + i]))
    };
    Ok((channels, (0..count).map(span).collect::<Result<_, _>>()?))
}

impl Span {
    fn placed(mut self, call: &Call<'_>, axis: usize, length: Dimension, wanted: Option<u64>) -> Result<Self, InferError> {
        let kind = choice(call, "pad_type", &["valid", "custom", "same", "same_lower"])?;
        let count = call.tensor("x")?.rank() - 2;
        let pad = if kind == "custom" { integers(call, "pad", 2 * count, 0)? } else { vec![0; 2 * count] };
        self.before = pad[2 * axis];
        self.places = wanted;
        let Some(length) = length.known() else { return Ok(self) };
        let reach = (self.kernel - 1).saturating_mul(self.dilation).saturating_add(1);
        let full = length.saturating_sub(1).saturating_mul(self.stride).saturating_add(reach);
        if kind.starts_with("same") {
            let places = wanted.unwrap_or(length.saturating_mul(self.stride));
            let total = full.saturating_sub(places);
            self.before = if kind == "same" { total / 2 } else { total - total / 2 };
            self.places = Some(places);
            return Ok(self);
        }
        let cut = self.before.saturating_add(pad[2 * axis + 1]);
        let left = full.checked_sub(cut).ok_or_else(|| InferError::rule("pad", format!("{cut} are more than {full} \
             places")))?;
        self.places = Some(wanted.unwrap_or(left));
        Ok(self)
    }

    /// The place that kernel element `element` of input element `at` adds to.
    fn place(&self, at: usize, element: usize) -> Option<usize> {
        let place = (at * self.stride as usize + element * self.dilation as usize).checked_sub(self.before as usize)?;
        self.places.is_some_and(|places| (place as u64) < places).then_some(place)
    }
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, weight, shape) = (arguments.tensor("x")?, arguments.tensor("weight")?, arguments.shape(0)?);
    let (_, spans) = spans(arguments.call)?;
    let groups = arguments.call.int("groups")? as usize;
    let bias = arguments.given("bias").map(|bias| bias.to_vec1::<f32>()).transpose()?;
    let (inputs, outputs) = (x.dims()[1] / groups, shape[1] / groups);
    let elements: usize = x.dims()[2..].iter().product();
    let taps: usize = weight.dims()[2..].iter().product();
    let plane: usize = shape[2..].iter().product();
    // [groups, outputs, taps, inputs]: the weights of one output channel are a matrix.
    let weight = weight.reshape((groups, inputs, outputs, taps))?.permute([0, 2, 3, 1])?.contiguous()?;
    let x = x.contiguous()?.reshape((x.dims()[0], groups, inputs, elements))?;
    if u32::try_from(plane).is_err() {
        return Err(InferError::rule("x", format!("{plane} places are too many")).into());
    }
    let mut out = vec![0.0; shape.iter().product()];
    if out.is_empty() {
        return Ok(vec![Tensor::from_vec(out, shape, &Device::Cpu)?]);
    }
    let places = reached(&spans, &arguments.tensor("x")?.dims()[2..], &shape[2..]);
    out.par_chunks_mut(plane).enumerate().try_for_each(|(i, out)| {
        let (image, channel) = (i / shape[1], i % shape[1]);
        let (group, own) = (channel / outputs, channel % outputs);
        out.fill(bias.as_ref().map_or(0.0, |bias| bias[channel]));
        let product = weight.get(group)?.get(own)?.matmul(&x.get(image)?.get(group)?)?;
        view(&product, |product: &[f32]| {
            for (product, places) in product.chunks(elements.max(1)).zip(places.chunks(elements.max(1))) {
                for (value, &place) in product.iter().zip(places).filter(|(_, place)| **place != OUTSIDE) {
                    out[place as usize] += value;
                }
            }
        })?;
        Ok::<_, KernelError>(())
    })?;
    Ok(vec![Tensor::from_vec(out, shape, &Device::Cpu)?])
}

/// Cut off.
const OUTSIDE: u32 = u32::MAX;

/// For every kernel element and input element, the place of the result's plane that their product adds to.
fn reached(spans: &[Span], input: &[usize], output: &[usize]) -> Vec<u32> {
    let mut places = vec![0u32];
    let mut kernel_elements = 1;
    let mut input_elements = 1;
    for (axis, span) in spans.iter().enumerate() {
        let (kernel, length) = (span.kernel as usize, input[axis]);
        let mut next = Vec::with_capacity(places.len() * kernel * length);
        for outer in 0..kernel_elements {
            for element in 0..kernel {
                for before in &places[outer * input_elements..(outer + 1) * input_elements] {
                    next.extend((0..length).map(|at| match span.place(at, element) {
                        Some(place) if *before != OUTSIDE => *before * output[axis] as u32 + place as u32,
                        _ => OUTSIDE,
                    }));
                }
            }
        }
        places = next;
        kernel_elements *= kernel;
        input_elements *= length;
    }
    places
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("conv_transpose");
    }

    #[test]
    fn channels_and_places_must_fit() {
        let arguments = [("x", testing::float32(&[1, 4, 8])), ("weight", testing::constant_zeros(&[3, 2, 3]))];
        let why = "parameter `weight`: expected 4 channels of `x` in 1 groups, found tensor<fp32, [3, 2, 3]>";
        testing::refuses("conv_transpose", Target::Ios15, &arguments, why);
        let weight = || ("weight", testing::constant_zeros(&[4, 2, 3]));
        let x = || ("x", testing::float32(&[1, 4, 2]));
        let arguments = [x(), weight(), ("pad_type", "custom".into()), ("pad", testing::ints(&[3, 2]))];
        testing::refuses("conv_transpose", Target::Ios15, &arguments, "parameter `pad`: 5 are more than 4 places");
        let arguments = [x(), weight(), ("output_shape", testing::ints(&[1, 3, 4]))];
        let why = "parameter `output_shape`: expected [1, 2, ..], found [1, 3, 4]";
        testing::refuses("conv_transpose", Target::Ios15, &arguments, why);
    }
}
