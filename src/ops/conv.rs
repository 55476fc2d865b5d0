//! `conv`: convolution over 1 to 3 spatial dimensions (cross-correlation, as in PyTorch).
//!
//! `x` [n, c_in, spatial..], `weight` [c_out, c_in / groups, kernel..], `bias` [c_out]; result [n, c_out, places..] of the type of `x`.
//! `pad` (two per dimension: before, after) counts only with `pad_type` `custom`.
//! iOS16: `pad_type` `same_lower`. iOS17: `weight` and `bias` may have another float type than `x`, and `bias` may be computed.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{
    Op,
    support::{
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

/// One convolution, spelled out: always three spatial dimensions, missing ones in front have length 1.
struct Convolution {
    groups: usize,
    channels: usize,
    input: [usize; 3],
    kernel: [usize; 3],
    output: [usize; 3],
    stride: [usize; 3],
    dilation: [usize; 3],
    before: [usize; 3],
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
        input: three(x.dims()[2..].iter().map(|&n| n as u64), 1),
        kernel: each(|w| w.kernel, 1),
        output: three(shape[2..].iter().map(|&n| n as u64), 1),
        stride: each(|w| w.stride, 1),
        dilation: each(|w| w.dilation, 1),
        before: each(|w| w.before, 0),
    };
    let bias = arguments.given("bias").map(|bias| bias.to_vec1::<f32>()).transpose()?;
    let values = convolution.run(x, weight, bias.as_deref(), shape[0], shape[1])?;
    Ok(vec![Tensor::from_vec(values, shape, &Device::Cpu)?])
}

/// Bytes of the patch matrix of one tile: enough rows that few of the input's are prepared twice, little beside the pictures.
const TILE_BYTES: usize = 8 << 20;

impl Convolution {
    /// The patches of a tile of output rows become a matrix that is multiplied with the weights; tiles run in parallel. A patch lies in one piece,
    /// channels innermost, which is the order in which the product is fastest.
    fn run(&self, x: &Tensor, weight: &Tensor, bias: Option<&[f32]>, batch: usize, filters: usize) -> Result<Vec<f32>, KernelError> {
        let per_group = filters / self.groups;
        let length = self.channels * self.kernel.iter().product::<usize>();
        let weight =
            weight.reshape((filters, self.channels, ()))?.transpose(1, 2)?.contiguous()?.reshape((self.groups, per_group, length))?;
        let rows = self.output[0] * self.output[1];
        let (width, plane) = (self.output[2], rows * self.output[2]);
        let tile_rows = (TILE_BYTES / 4 / (length * width).max(1)).clamp(1, rows.max(1));
        let mut out = vec![0.0; batch * filters * plane];
        if out.is_empty() {
            return Ok(out);
        }
        let tiles = tiles(&mut out, plane, per_group, tile_rows * width);
        let input_plane = self.channels * self.input.iter().product::<usize>();
        view(x, |x: &[f32]| {
            tiles.into_par_iter().try_for_each(|Tile { group, index, mut parts }| {
                let image = &x[group * input_plane..(group + 1) * input_plane];
                let places = parts[0].len();
                let patches = self.patches(image, index * tile_rows, places / width);
                let patches = Tensor::from_vec(patches, (places, length), &Device::Cpu)?;
                let product = patches.matmul(&weight.get(group % self.groups)?.t()?)?;
                view(&product, |product: &[f32]| {
                    for (i, part) in parts.iter_mut().enumerate() {
                        let bias = bias.map_or(0.0, |bias| bias[group % self.groups * per_group + i]);
                        part.iter_mut().zip(product.iter().skip(i).step_by(per_group)).for_each(|(out, &value)| *out = value + bias);
                    }
                })
            })
        })??;
        Ok(out)
    }

    /// The patches of output rows `first..first + rows`, one behind the other.
    fn patches(&self, image: &[f32], first: usize, rows: usize) -> Vec<f32> {
        let [depth, height, width] = self.kernel;
        let run = width * self.channels;
        let length = depth * height * run;
        let mut patches = vec![0.0; rows * self.output[2] * length];
        let mut lines: BTreeMap<(usize, usize), Vec<f32>> = BTreeMap::new();
        for (row, patches) in (first..first + rows).zip(patches.chunks_mut(self.output[2] * length)) {
            for (z, y) in (0..depth).flat_map(|z| (0..height).map(move |y| (z, y))) {
                let source = (self.source(0, row / self.output[1], z), self.source(1, row % self.output[1], y));
                // Rows in the padding stay zero.
                let (Some(from_z), Some(from_y)) = source else { continue };
                let line = lines.entry((from_z, from_y)).or_insert_with(|| self.line(image, from_z, from_y));
                let begin = (z * height + y) * run;
                for (place, patch) in patches.chunks_mut(length).enumerate() {
                    self.copy_run(line, place * self.stride[2], &mut patch[begin..begin + run]);
                }
            }
        }
        patches
    }

    /// Where in the input kernel element `element` lies at output place `place`; `None` in the padding.
    fn source(&self, axis: usize, place: usize, element: usize) -> Option<usize> {
        let padded = place * self.stride[axis] + element * self.dilation[axis];
        padded.checked_sub(self.before[axis]).filter(|&at| at < self.input[axis])
    }

    /// A row of the input with its padding, channels innermost.
    fn line(&self, image: &[f32], z: usize, y: usize) -> Vec<f32> {
        let [depth, height, width] = self.input;
        let padded = (self.output[2] - 1) * self.stride[2] + (self.kernel[2] - 1) * self.dilation[2] + 1;
        let used = width.min(padded.saturating_sub(self.before[2]));
        let mut line = vec![0.0; padded * self.channels];
        let inner = &mut line[self.before[2].min(padded) * self.channels..];
        for channel in 0..self.channels {
            let start = ((channel * depth + z) * height + y) * width;
            let places = inner.iter_mut().skip(channel).step_by(self.channels);
            places.zip(&image[start..start + used]).for_each(|(place, &value)| *place = value);
        }
        line
    }

    /// The kernel's width of elements from `at` on.
    fn copy_run(&self, line: &[f32], at: usize, run: &mut [f32]) {
        if self.dilation[2] == 1 {
            run.copy_from_slice(&line[at * self.channels..at * self.channels + run.len()]);
            return;
        }
        for (element, piece) in run.chunks_mut(self.channels).enumerate() {
            let from = (at + element * self.dilation[2]) * self.channels;
            piece.copy_from_slice(&line[from..from + self.channels]);
        }
    }
}

/// A piece of the result that is computed at once: the same places of all filters of one group.
struct Tile<'a> {
    /// Image times number of groups, plus group.
    group: usize,
    /// Which tile of the plane.
    index: usize,
    /// One slice per filter.
    parts: Vec<&'a mut [f32]>,
}

fn tiles(out: &mut [f32], plane: usize, per_group: usize, places: usize) -> Vec<Tile<'_>> {
    let mut tiles = Vec::new();
    for (group, planes) in out.chunks_mut(plane * per_group).enumerate() {
        let mut own: Vec<Tile<'_>> = (0..plane.div_ceil(places)).map(|index| Tile { group, index, parts: Vec::new() }).collect();
        for plane in planes.chunks_mut(plane) {
            own.iter_mut().zip(plane.chunks_mut(places)).for_each(|(tile, part)| tile.parts.push(part));
        }
        tiles.append(&mut own);
    }
    tiles
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
