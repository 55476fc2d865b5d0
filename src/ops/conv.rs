//! `conv`: convolution over 1 to 3 spatial dimensions (cross-correlation, as in PyTorch).
//!
//! `x` [n, c_in, spatial..], `weight` [c_out, c_in / groups, kernel..], `bias` [c_out]; result [n, c_out, places..] of
//! the type of `x`. `pad` (two per dimension: before, after) counts only with `pad_type` `custom`. iOS16: `pad_type`
//! `same_lower`. iOS17: `weight` and `bias` may have another float type than `x`, and `bias` may be computed.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        convolution::Convolution,
        defaults,
        shapes::{expect_shape, integers, lengths, rank_between, single},
        types::{FLOAT, X, int, text, var},
        window::{Window, places, windows},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Argument, BuildError, Builder, Call, Dimension, InferError, OpDef, OpVersion, Parameter, TensorType, Value, ValueType, Var},
};

const STRIDES: Parameter = int("strides").default(|call| defaults::per_spatial_dimension(call, 1, 1));
const PAD_TYPE: Parameter = text("pad_type").default(|_| Some(Value::string("valid")));
const PAD: Parameter = int("pad").default(|call| defaults::per_spatial_dimension(call, 2, 0));
const DILATIONS: Parameter = int("dilations").default(|call| defaults::per_spatial_dimension(call, 1, 1));
const GROUPS: Parameter = int("groups").default(defaults::one);

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "conv",
        versions: &[
            OpVersion {
                since: Target::Ios15,
                domains: &[('T', FLOAT)],
                parameters: &[X, var("weight", 'T'), var("bias", 'T').constant().optional(), STRIDES, PAD_TYPE, PAD, DILATIONS, GROUPS],
            },
            OpVersion {
                since: Target::Ios17,
                domains: &[('T', FLOAT), ('U', FLOAT)],
                parameters: &[X, var("weight", 'U'), var("bias", 'U').optional(), STRIDES, PAD_TYPE, PAD, DILATIONS, GROUPS],
            },
        ],
        infer,
    },
    kernel,
};

/// How a convolution is padded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Padding {
    /// Not at all.
    #[default]
    Valid,
    /// So that the result has `ceil(length / stride)` places; an odd element goes behind.
    Same,
    /// The same number of zeros on both sides of every dimension.
    Around(u32),
    /// Zeros before and after, per dimension.
    Custom(Vec<(u32, u32)>),
}

/// Options of [`Builder::conv`]; the default is a plain convolution without padding.
#[derive(Debug, Clone, Default)]
pub struct ConvOptions {
    /// Added to every output channel.
    pub bias: Option<Argument>,
    /// Steps per dimension; empty for 1.
    pub strides: Vec<u32>,
    /// Padding.
    pub padding: Padding,
    /// Distance of kernel elements per dimension; empty for 1.
    pub dilations: Vec<u32>,
    /// Groups of channels that do not see each other; 0 for 1.
    pub groups: u32,
}

impl ConvOptions {
    /// Stride 1, `padding` zeros around.
    pub fn padded(padding: u32) -> Self {
        Self { padding: Padding::Around(padding), ..Self::default() }
    }

    /// The same with a bias.
    pub fn bias(mut self, bias: impl Into<Argument>) -> Self {
        self.bias = Some(bias.into());
        self
    }

    /// The same with one stride for every dimension of a picture.
    pub fn stride(mut self, stride: u32) -> Self {
        self.strides = vec![stride, stride];
        self
    }
}

impl Builder {
    /// Convolution of `x` with `weight`. All six parameters are written, as coremltools does.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn conv(&mut self, name: &str, x: Var, weight: impl Into<Argument>, options: ConvOptions) -> Result<Var, BuildError> {
        let spatial = self.ty(x).rank().saturating_sub(2);
        let ints = |values: &[u32]| values.iter().map(|&v| i32::try_from(v).unwrap_or(i32::MAX)).collect::<Vec<_>>();
        let or_ones = |values: &[u32]| if values.is_empty() { vec![1; spatial] } else { ints(values) };
        let (kind, pad) = match &options.padding {
            Padding::Valid | Padding::Around(0) => ("valid", vec![0; 2 * spatial]),
            Padding::Same => ("same", vec![0; 2 * spatial]),
            Padding::Around(zeros) => ("custom", ints(&vec![*zeros; 2 * spatial])),
            Padding::Custom(pairs) => ("custom", pairs.iter().flat_map(|&(before, after)| ints(&[before, after])).collect()),
        };
        let mut arguments: Vec<(&str, Argument)> = vec![
            ("x", x.into()),
            ("weight", weight.into()),
            ("strides", or_ones(&options.strides).as_slice().into()),
            ("pad_type", kind.into()),
            ("pad", pad.as_slice().into()),
            ("dilations", or_ones(&options.dilations).as_slice().into()),
            ("groups", ints(&[options.groups.max(1)])[0].into()),
        ];
        arguments.extend(options.bias.map(|bias| ("bias", bias)));
        self.op1("conv", name, &arguments)
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "x", 3, 5)?;
    let (x, weight) = (call.tensor("x")?, call.tensor("weight")?);
    let groups = integers(call, "groups", 1, 1)?[0];
    let shape = weight_shape(weight, x.rank())?;
    if !shape[0].is_multiple_of(groups) {
        return Err(InferError::rule("groups", format!("{groups} groups do not divide {} output channels", shape[0])));
    }
    if let Some(channels) = x.shape[1].known()
        && shape[1].checked_mul(groups) != Some(channels)
    {
        let expected = format!("{channels} channels of `x` in {groups} groups");
        return Err(InferError::rule("weight", format!("expected {expected}, found {} channels per group", shape[1])));
    }
    expect_shape(call, "bias", &[Dimension::Known(shape[0])])?;
    let windows = windows(call, &shape[2..], &x.shape[2..])?;
    let mut result = vec![x.shape[0], Dimension::Known(shape[0])];
    result.extend(places(&windows, &x.shape[2..], false)?);
    single(x.dtype, result)
}

fn weight_shape(weight: &TensorType, rank: usize) -> Result<Vec<u64>, InferError> {
    let shape = lengths(&weight.shape).filter(|shape| shape.len() == rank && !shape.contains(&0));
    shape.ok_or_else(|| InferError::rule("weight", format!("expected rank {rank} and fixed lengths, found {weight}")))
}

fn three(values: impl IntoIterator<Item = u64>, missing: usize) -> [usize; 3] {
    let values: Vec<usize> = values.into_iter().map(|v| v as usize).collect();
    let mut result = [missing; 3];
    result[3 - values.len()..].copy_from_slice(&values);
    result
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, weight, shape) = (arguments.tensor("x")?, arguments.tensor("weight")?, arguments.shape(0)?);
    let spatial = &arguments.call.tensor("x")?.shape[2..];
    let kernel: Vec<u64> = weight.dims()[2..].iter().map(|&n| n as u64).collect();
    let windows = windows(arguments.call, &kernel, spatial)?;
    let each = |f: fn(&Window) -> u64, missing| three(windows.iter().map(f), missing);
    let convolution = Convolution {
        groups: arguments.call.int("groups")? as usize,
        channels: weight.dims()[1],
        filters: shape[1],
        input: three(x.dims()[2..].iter().map(|&n| n as u64), 1),
        kernel: each(|w| w.kernel, 1),
        output: three(shape[2..].iter().map(|&n| n as u64), 1),
        stride: each(|w| w.stride, 1),
        dilation: each(|w| w.dilation, 1),
        before: each(|w| w.before, 0),
    };
    let bias = arguments.given("bias").map(|bias| bias.to_vec1::<f32>()).transpose()?;
    let values = view(x, |x: &[f32]| view(weight, |weight: &[f32]| convolution.run(x, weight, bias.as_deref(), shape[0])))??;
    Ok(vec![Tensor::from_vec(values, shape, &Device::Cpu)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::support::testing;

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("conv");
    }

    #[test]
    fn channels_and_groups_must_fit() {
        let arguments = [("x", testing::float32(&[1, 4, 8, 8])), ("weight", testing::float32(&[6, 4, 3, 3])), ("groups", 2.into())];
        let why = "parameter `weight`: expected 4 channels of `x` in 2 groups, found 4 channels per group";
        testing::refuses("conv", Target::Ios15, &arguments, why);
        let arguments = [("x", testing::float32(&[1, 4, 8, 8])), ("weight", testing::float32(&[6, 4, 3]))];
        let why = "parameter `weight`: expected rank 4 and fixed lengths, found tensor<fp32, [6, 4, 3]>";
        testing::refuses("conv", Target::Ios15, &arguments, why);
        let arguments = [("x", testing::float32(&[1, 4, 2, 8])), ("weight", testing::float32(&[6, 4, 3, 3]))];
        testing::refuses("conv", Target::Ios15, &arguments, "parameter `x`: a window of 3 does not fit into 2 elements");
    }

    #[test]
    fn what_newer_targets_allow_is_refused_before() {
        let same_lower = [("x", testing::float32(&[1, 4, 8])), ("weight", testing::float32(&[6, 4, 3])), ("pad_type", "same_lower".into())];
        testing::refuses("conv", Target::Ios15, &same_lower, "parameter `pad_type`: `same_lower` needs iOS16");
        testing::accepts("conv", Target::Ios16, &same_lower, "tensor<fp32, [1, 6, 8]>");
        let mixed = [("x", testing::float16(&[1, 4, 8])), ("weight", testing::float32(&[6, 4, 3]))];
        let why = "parameter `weight` is tensor<fp32, [6, 4, 3]>, expected a tensor of fp16, as the other arguments";
        testing::refuses("conv", Target::Ios16, &mixed, why);
        testing::accepts("conv", Target::Ios17, &mixed, "tensor<fp16, [1, 6, 6]>");
    }
}
