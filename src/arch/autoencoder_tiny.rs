//! Tiny autoencoders for latent diffusion: TAESD, TAEF1, TAEF2 (diffusers `AutoencoderTiny`, and the original `taesd`
//! layout).
//!
//! Decoder: `3 tanh(x / 3)`, convolution, relu, then per resolution some residual blocks, nearest upsampling and a
//! convolution without bias; the last convolution makes the picture. Encoder: the mirror image, with convolutions of
//! stride 2. A block is `relu(conv(relu(conv(relu(conv(x'))))) + x')` with `x' = x + pool(x)` where it has a pool
//! branch (TAEF2), whose group normalization averages over the whole picture. Widths, block counts, latent channels and
//! pool branches are read from names and shapes of the tensors: diffusers numbers a decoder's layers one lower than the
//! original, since the clamp is no layer there, and its config has no word for pools. Latents are used raw. Pictures
//! are the network's raw output, in about 0..1.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value as Json;

use super::{
    ArchError, Architecture, Config, ConfigKey, Documents, Feature, Flow, Form, Interface, Interfaces, LoadOptions,
    Network, Shape, Stage, Tables, Tensors,
    blocks::{Conv2d, GroupNorm},
    keys::{irrelevant, only, read},
};
use crate::{
    checkpoint::Weights,
    contract::{ImageLayout, Notes, PictureRange, Task, features},
    mil::{Argument, Builder, Constant, DataType, Var},
};

const NAME: &str = "autoencoder-tiny";
const PARTS: &[&str] = &["decoder", "encoder"];
const POOL_GROUPS: u64 = 4;
const POOL_EPSILON: f32 = 1e-5;
const SHAPES: &str = "the tensors' shapes and names say it";
const RAW: &str = "latents are used raw: what scales them is outside the model";
const KEYS: &[ConfigKey] = &[
    only("_class_name", &["\"AutoencoderTiny\""]),
    read("act_fn"),
    read("upsample_fn"),
    read("upsampling_scaling_factor"),
    irrelevant("in_channels", SHAPES),
    irrelevant("out_channels", SHAPES),
    irrelevant("latent_channels", SHAPES),
    irrelevant("block_out_channels", SHAPES),
    irrelevant("encoder_block_out_channels", SHAPES),
    irrelevant("decoder_block_out_channels", SHAPES),
    irrelevant("num_encoder_blocks", SHAPES),
    irrelevant("num_decoder_blocks", SHAPES),
    irrelevant("latent_magnitude", RAW),
    irrelevant("latent_shift", RAW),
    irrelevant("scaling_factor", RAW),
    irrelevant("shift_factor", RAW),
    irrelevant("force_upcast", "the component's `precision` says how it computes"),
];

/// TAESD, TAEF1, TAEF2.
#[derive(Debug)]
pub(super) struct AutoencoderTiny;

impl Architecture for AutoencoderTiny {
    fn name(&self) -> &'static str {
        NAME
    }

    fn task(&self) -> Task {
        Task::ImageToImage
    }

    fn parts(&self) -> &'static [&'static str] {
        PARTS
    }

    fn detects(&self, config: &Json) -> bool {
        config.get("_class_name").and_then(Json::as_str) == Some("AutoencoderTiny")
    }

    fn config_keys(&self) -> Tables {
        &[KEYS]
    }

    fn component_keys(&self, part: Option<&str>) -> &'static [&'static str] {
        match part {
            Some("decoder") => &["size", "layout", "range", "clamp"],
            _ => &["size", "layout", "range"],
        }
    }

    /// Original checkpoints hold encoder and decoder in a file each, whose tensors have the same names.
    fn weight_files(&self, available: &[String], part: Option<&str>) -> Option<Vec<String>> {
        let part = part?;
        let stem = |file: &str| file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_ascii_lowercase();
        let of_part = |file: &&String| {
            stem(file).strip_suffix(part).is_some_and(|rest| rest.is_empty() || rest.ends_with(['_', '-', '.']))
        };
        let mut files: Vec<String> = available.iter().filter(of_part).cloned().collect();
        // The same weights often lie there as .safetensors and as .pth.
        if files.iter().any(|file| file.ends_with(".safetensors")) {
            files.retain(|file| file.ends_with(".safetensors"));
        }
        (!files.is_empty()).then_some(files)
    }

    fn holds(&self, weights: &dyn Weights, part: Option<&str>) -> bool {
        Part::from_name(part).is_ok_and(|part| part.prefix(weights).is_some())
    }

    fn shape_key(&self) -> &'static str {
        "size"
    }

    fn load(
        &self,
        documents: &Documents,
        weights: &Arc<dyn Weights>,
        options: &LoadOptions,
    ) -> Result<Network, ArchError> {
        let part = Part::from_name(options.part.as_deref())?;
        let config = documents.config.as_ref().map(|_| Config::of(documents, self)).transpose()?;
        let settings = Settings::read(config)?;
        let tensors = part.tensors(weights.as_ref(), options.compute)?;
        let layers = part.layers(&tensors, settings)?;
        let other = if part == Part::Decoder { "encoder." } else { "decoder." };
        tensors.skip(|name| name.starts_with(other));
        tensors.all_used(NAME)?;
        part.network(layers, settings, options)
    }
}

/// What the config says beyond the tensors. Original checkpoints have no config and these values.
#[derive(Debug, Clone, Copy)]
struct Settings {
    activation: Activation,
    scaling: u64,
    magnitude: f32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Activation {
    Relu,
    Silu,
    Gelu,
}

impl Settings {
    fn read(config: Option<Config<'_>>) -> Result<Self, ArchError> {
        let get = |key: &str| config.and_then(|config| config.get(key));
        let refuse = |key: &str, expected: &str, found: &Json| ArchError::Config {
            key: key.to_owned(),
            expected: expected.to_owned(),
            found: found.to_string(),
        };
        let activation = match get("act_fn") {
            None => Activation::Relu,
            Some(value) => match value.as_str() {
                Some("relu") => Activation::Relu,
                Some("silu" | "swish") => Activation::Silu,
                Some("gelu") => Activation::Gelu,
                _ => return Err(refuse("act_fn", "relu, silu or gelu", value)),
            },
        };
        if let Some(value) = get("upsample_fn").filter(|value| value.as_str() != Some("nearest")) {
            return Err(refuse("upsample_fn", "nearest", value));
        }
        let scaling = match get("upsampling_scaling_factor") {
            None => 2,
            Some(value) => value
                .as_u64()
                .filter(|n| (1..=8).contains(n))
                .ok_or_else(|| refuse("upsampling_scaling_factor", "an integer from 1 to 8", value))?,
        };
        // diffusers clamps with a fixed 3, whatever `latent_magnitude` says: that one scales latents for storage only.
        Ok(Self { activation, scaling, magnitude: 3.0 })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Decoder,
    Encoder,
}

/// What a layer index of the checkpoint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Conv,
    Block,
}

impl Part {
    fn from_name(name: Option<&str>) -> Result<Self, ArchError> {
        match name {
            Some("decoder") => Ok(Self::Decoder),
            Some("encoder") => Ok(Self::Encoder),
            other => Err(ArchError::Part { architecture: NAME, parts: PARTS, found: other.map(str::to_owned) }),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Decoder => "decoder",
            Self::Encoder => "encoder",
        }
    }

    /// The prefix under which the checkpoint has the part's numbered layers, if it has them.
    fn prefix(self, weights: &dyn Weights) -> Option<String> {
        let numbered = |prefix: &String| {
            let digit = |name: &str| {
                name.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            };
            weights.names().any(digit)
        };
        let name = self.name();
        [format!("{name}.layers."), format!("{name}."), "layers.".to_owned(), String::new()].into_iter().find(numbered)
    }

    /// The part's tensors, under whichever prefix the checkpoint has them.
    fn tensors(self, weights: &dyn Weights, compute: DataType) -> Result<Tensors<'_>, ArchError> {
        let name = self.name();
        let prefix = self.prefix(weights).ok_or_else(|| ArchError::NoPart {
            part: name.to_owned(),
            expected: format!("`{name}.layers.0.weight` or `1.weight`"),
            found: weights.names().take(3).map(|name| format!("`{name}`")).collect(),
        })?;
        Ok(Tensors::new(weights, &prefix, compute))
    }

    /// The layers in order. Indices that hold no tensors are the activation behind the first convolution and the
    /// upsamplings.
    fn layers(self, tensors: &Tensors<'_>, settings: Settings) -> Result<Vec<Layer>, ArchError> {
        let mut kinds: BTreeMap<u64, Kind> = BTreeMap::new();
        for name in tensors.names() {
            let index = name.split_once('.').and_then(|(index, rest)| Some((index.parse().ok()?, rest)));
            if let Some((index, rest)) = index {
                let kind = if rest.starts_with("conv.") || rest.starts_with("pool.") || rest.starts_with("skip.") {
                    Kind::Block
                } else {
                    Kind::Conv
                };
                kinds.insert(index, kind);
            }
        }
        let mut reader = Reader { part: self, tensors, settings, channels: 0, previous: None, layers: Vec::new() };
        for (index, kind) in kinds {
            reader.layer(index, kind)?;
        }
        reader.finish()
    }

    fn network(self, layers: Vec<Layer>, settings: Settings, options: &LoadOptions) -> Result<Network, ArchError> {
        let channels = |layer: Option<&Layer>, of: fn(&Conv2d) -> u64| match layer {
            Some(Layer { operation: Operation::Conv { conv, .. }, .. }) => of(conv),
            _ => 0,
        };
        let scale: u64 = layers.iter().map(|layer| layer.operation.scale()).product();
        let input = channels(layers.first(), |conv| conv.constants()[0].shape()[1]);
        let output = channels(layers.last(), Conv2d::channels_out);
        let (latent, picture) = if self == Self::Decoder { (input, output) } else { (output, input) };
        let ends = Ends {
            part: self,
            magnitude: settings.magnitude,
            signed: options.range == PictureRange::Signed,
            clamp: options.clamp,
        };
        let mut stages: Vec<Box<dyn Stage>> = vec![Box::new(Entry(ends))];
        stages.extend(layers.into_iter().map(|layer| Box::new(layer) as Box<dyn Stage>));
        stages.push(Box::new(Exit(ends)));
        let range = if options.range == PictureRange::Signed { "-1..1" } else { "0..1" };
        let image = move |form: &Form| {
            picture_feature(features::IMAGE, format!("RGB picture, values in about {range}"), picture, 1, scale, form)
        };
        let latent = move |form: &Form| {
            picture_feature(
                features::LATENT,
                format!("latent picture of {latent} channels, unscaled"),
                latent,
                scale,
                scale,
                form,
            )
        };
        let count = stages.len();
        let (description, interfaces): (_, Interfaces) = match self {
            Self::Decoder => (
                "Tiny autoencoder: decodes latents to a picture",
                Box::new(move |form| Ok(vec![Interface::main(vec![latent(form)?], vec![image(form)?], count)])),
            ),
            Self::Encoder => (
                "Tiny autoencoder: encodes a picture to latents",
                Box::new(move |form| Ok(vec![Interface::main(vec![image(form)?], vec![latent(form)?], count)])),
            ),
        };
        let notes = Notes::default();
        Ok(Network { description: description.to_owned(), interfaces, stages, compute: options.compute, notes })
    }
}

/// A picture of the form's size divided by `divisor`; the size must be a multiple of `scale`.
fn picture_feature(
    name: &str,
    description: String,
    channels: u64,
    divisor: u64,
    scale: u64,
    form: &Form,
) -> Result<Feature, ArchError> {
    let Shape::Image { width, height } = form.shape else {
        let why = "this architecture has pictures: its axis is `size`".to_owned();
        return Err(ArchError::Form { axis: "sequence", found: "of a text".to_owned(), why });
    };
    if width == 0 || height == 0 || width % scale != 0 || height % scale != 0 {
        let found = if width == height { width.to_string() } else { format!("{width}x{height}") };
        return Err(ArchError::Form {
            axis: "size",
            found,
            why: format!("this autoencoder needs multiples of {scale} pixels"),
        });
    }
    let (width, height) = (width / divisor, height / divisor);
    let shape = match form.layout {
        ImageLayout::Nchw => vec![1, channels, height, width],
        ImageLayout::Nhwc => vec![1, height, width, channels],
    };
    Ok(Feature { name: name.to_owned(), description, dtype: DataType::Float32, shape })
}

/// Reads layers one after the other and keeps what the next one must fit to.
struct Reader<'a> {
    part: Part,
    tensors: &'a Tensors<'a>,
    settings: Settings,
    channels: u64,
    previous: Option<u64>,
    layers: Vec<Layer>,
}

impl Reader<'_> {
    fn layer(&mut self, index: u64, kind: Kind) -> Result<(), ArchError> {
        let base = self.tensors.full(&index.to_string());
        let order =
            |previous, why| ArchError::LayerOrder { architecture: NAME, index, previous, name: base.clone(), why };
        let first = self.previous.is_none();
        if first && kind == Kind::Block {
            return Err(order(index, "the first layer must be a convolution"));
        }
        // The decoder's first convolution has an activation behind it, which takes an index.
        let expected = self
            .previous
            .map(|previous| previous + 1 + u64::from(self.part == Part::Decoder && self.layers.len() == 1));
        let upsample = match (expected, kind) {
            (None, _) => false,
            (Some(expected), _) if index == expected => false,
            (Some(expected), Kind::Conv) if index == expected + 1 && self.part == Part::Decoder => true,
            (Some(_), _) => return Err(order(self.previous.unwrap_or(0), "an index between them holds no tensors")),
        };
        let operation = match kind {
            Kind::Block => {
                Operation::Block(Box::new(Block::read(self.tensors, index, self.channels, self.settings.activation)?))
            }
            Kind::Conv => self.conv(index, upsample)?,
        };
        self.channels = operation.channels_out();
        self.previous = Some(index);
        self.layers.push(Layer { name: base, operation });
        Ok(())
    }

    fn conv(&self, index: u64, upsample: bool) -> Result<Operation, ArchError> {
        let weight = format!("{index}.weight");
        let channels_in = if self.previous.is_none() {
            self.tensors.shape(&weight)?.get(1).copied().unwrap_or(0)
        } else {
            self.channels
        };
        let biased = self.tensors.has(&format!("{index}.bias"));
        let downsample = self.part == Part::Encoder && self.previous.is_some() && !biased;
        let stride = if downsample { i32::try_from(self.settings.scaling).unwrap_or(2) } else { 1 };
        let conv = Conv2d::read(self.tensors, &index.to_string(), channels_in, stride)?;
        let activation = (self.part == Part::Decoder && self.previous.is_none()).then_some(self.settings.activation);
        let scaling = if upsample || downsample { self.settings.scaling } else { 1 };
        Ok(Operation::Conv {
            conv,
            upsample: if upsample { Some(self.settings.scaling) } else { None },
            activation,
            scaling,
        })
    }

    /// The last layer makes the result, and the middle layers of a decoder must not have been an encoder's.
    fn finish(self) -> Result<Vec<Layer>, ArchError> {
        let ends_in_conv = |layers: &[Layer]| matches!(layers.last(), Some(Layer { operation: Operation::Conv { conv, .. }, .. }) if conv.has_bias());
        if self.layers.len() < 2 || !ends_in_conv(&self.layers) {
            let last = self.previous.unwrap_or(0);
            let name = self.tensors.full(&last.to_string());
            let why = "the last layer must be a convolution with a bias";
            return Err(ArchError::LayerOrder { architecture: NAME, index: last, previous: last, name, why });
        }
        Ok(self.layers)
    }
}

#[derive(Debug)]
struct Layer {
    name: String,
    operation: Operation,
}

#[derive(Debug)]
enum Operation {
    /// Maybe nearest upsampling, a convolution, maybe an activation.
    Conv { conv: Conv2d, upsample: Option<u64>, activation: Option<Activation>, scaling: u64 },
    /// A residual block.
    Block(Box<Block>),
}

impl Operation {
    fn channels_out(&self) -> u64 {
        match self {
            Self::Conv { conv, .. } => conv.channels_out(),
            Self::Block(block) => block.convs[2].channels_out(),
        }
    }

    fn scale(&self) -> u64 {
        match self {
            Self::Conv { scaling, .. } => *scaling,
            Self::Block(_) => 1,
        }
    }
}

impl Stage for Layer {
    fn name(&self) -> &str {
        &self.name
    }

    fn constants(&self) -> Vec<Constant> {
        match &self.operation {
            Operation::Conv { conv, .. } => conv.constants(),
            Operation::Block(block) => block.constants(),
        }
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, _: &Form) -> Result<(), ArchError> {
        let mut x = flow.get("hidden");
        match &self.operation {
            Operation::Block(block) => x = block.build(builder, x)?,
            Operation::Conv { conv, upsample, activation, .. } => {
                if let Some(factor) = upsample {
                    // A factor instead of a size keeps the list of operations independent of the shape.
                    let factor = Argument::Float(*factor as f32);
                    let arguments =
                        [("x", x.into()), ("scale_factor_height", factor.clone()), ("scale_factor_width", factor)];
                    x = builder.op1("upsample_nearest_neighbor", "upsample", &arguments)?;
                }
                x = conv.build(builder, x)?;
                if let Some(activation) = activation {
                    x = activation.build(builder, "activation", x)?;
                }
            }
        }
        flow.put("hidden", x);
        Ok(())
    }
}

impl Activation {
    fn build(self, builder: &mut Builder, name: &str, x: Var) -> Result<Var, ArchError> {
        Ok(match self {
            Self::Relu => builder.op1("relu", name, &[("x", x.into())])?,
            Self::Silu => builder.op1("silu", name, &[("x", x.into())])?,
            Self::Gelu => builder.op1("gelu", name, &[("x", x.into()), ("mode", "EXACT".into())])?,
        })
    }
}

/// A residual block.
#[derive(Debug)]
struct Block {
    activation: Activation,
    convs: [Conv2d; 3],
    skip: Option<Conv2d>,
    pool: Option<Pool>,
}

/// Adds what the whole picture says: 1x1 convolution, group normalization, relu, 1x1 convolution.
#[derive(Debug)]
struct Pool {
    expand: Conv2d,
    norm: GroupNorm,
    reduce: Conv2d,
}

impl Block {
    fn read(tensors: &Tensors<'_>, index: u64, channels: u64, activation: Activation) -> Result<Self, ArchError> {
        let conv = |place: u64, channels: u64| Conv2d::read(tensors, &format!("{index}.conv.{place}"), channels, 1);
        let first = conv(0, channels)?;
        let second = conv(2, first.channels_out())?;
        let third = conv(4, second.channels_out())?;
        let skip = format!("{index}.skip");
        let skip = if tensors.has(&format!("{skip}.weight")) {
            Some(Conv2d::read(tensors, &skip, channels, 1)?)
        } else {
            None
        };
        let carried = skip.as_ref().map_or(channels, Conv2d::channels_out);
        if third.channels_out() != carried {
            let name = tensors.full(&format!("{index}.conv.4.weight"));
            return Err(ArchError::TensorShape {
                name,
                expected: format!("[{carried}, ...], as what the block adds to"),
                found: third.constants()[0].shape().to_vec(),
            });
        }
        let pool = if tensors.has(&format!("{index}.pool.0.weight")) {
            Some(Pool::read(tensors, index, channels)?)
        } else {
            None
        };
        Ok(Self { activation, convs: [first, second, third], skip, pool })
    }

    fn constants(&self) -> Vec<Constant> {
        let pool = self.pool.iter().flat_map(Pool::constants);
        pool.chain(self.convs.iter().chain(&self.skip).flat_map(Conv2d::constants)).collect()
    }

    fn build(&self, builder: &mut Builder, x: Var) -> Result<Var, ArchError> {
        let x = match &self.pool {
            Some(pool) => pool.build(builder, x)?,
            None => x,
        };
        let [first, second, third] = &self.convs;
        let y = first.build(builder, x)?;
        let y = self.activation.build(builder, "activation_0", y)?;
        let y = second.build(builder, y)?;
        let y = self.activation.build(builder, "activation_1", y)?;
        let y = third.build(builder, y)?;
        let carried = match &self.skip {
            Some(skip) => skip.build(builder, x)?,
            None => x,
        };
        let sum = builder.op1("add", "sum", &[("x", y.into()), ("y", carried.into())])?;
        Ok(builder.op1("relu", "out", &[("x", sum.into())])?)
    }
}

impl Pool {
    fn read(tensors: &Tensors<'_>, index: u64, channels: u64) -> Result<Self, ArchError> {
        let name = |place: u64| format!("{index}.pool.{place}");
        let expand = Conv2d::read(tensors, &name(0), channels, 1)?;
        let norm = GroupNorm::read(tensors, &name(1), expand.channels_out(), POOL_GROUPS, POOL_EPSILON)?;
        let reduce = Conv2d::read(tensors, &name(3), expand.channels_out(), 1)?;
        if reduce.channels_out() != channels {
            let full = tensors.full(&format!("{index}.pool.3.weight"));
            return Err(ArchError::TensorShape {
                name: full,
                expected: format!("[{channels}, ...]"),
                found: reduce.constants()[0].shape().to_vec(),
            });
        }
        Ok(Self { expand, norm, reduce })
    }

    fn constants(&self) -> Vec<Constant> {
        [self.expand.constants(), self.norm.constants(), self.reduce.constants()].concat()
    }

    fn build(&self, builder: &mut Builder, x: Var) -> Result<Var, ArchError> {
        let y = self.expand.build(builder, x)?;
        let y = self.norm.build(builder, y)?;
        let y = builder.op1("relu", "pool_activation", &[("x", y.into())])?;
        let y = self.reduce.build(builder, y)?;
        Ok(builder.op1("add", "pooled", &[("x", x.into()), ("y", y.into())])?)
    }
}

/// What happens before the first and after the last layer.
#[derive(Debug, Clone, Copy)]
struct Ends {
    part: Part,
    magnitude: f32,
    signed: bool,
    clamp: bool,
}

impl Ends {
    /// y = factor x + offset
    fn affine(builder: &mut Builder, x: Var, factor: f32, offset: f32) -> Result<Var, ArchError> {
        let y = builder.op1("mul", "range_scale", &[("x", x.into()), ("y", factor.into())])?;
        Ok(builder.op1("add", "range", &[("x", y.into()), ("y", offset.into())])?)
    }
}

#[derive(Debug)]
struct Entry(Ends);

#[derive(Debug)]
struct Exit(Ends);

fn transpose(builder: &mut Builder, x: Var, name: &str, perm: [i32; 4]) -> Result<Var, ArchError> {
    Ok(builder.op1("transpose", name, &[("x", x.into()), ("perm", perm.into())])?)
}

impl Stage for Entry {
    fn name(&self) -> &str {
        "entry"
    }

    fn constants(&self) -> Vec<Constant> {
        Vec::new()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let Self(ends) = self;
        let mut x = flow.get(if ends.part == Part::Decoder { features::LATENT } else { features::IMAGE });
        if form.layout == ImageLayout::Nhwc {
            x = transpose(builder, x, "channels_first", [0, 3, 1, 2])?;
        }
        if ends.part == Part::Decoder {
            x = builder.op1("real_div", "scaled", &[("x", x.into()), ("y", ends.magnitude.into())])?;
            x = builder.op1("tanh", "squashed", &[("x", x.into())])?;
            x = builder.op1("mul", "clamped", &[("x", x.into()), ("y", ends.magnitude.into())])?;
        } else if ends.signed {
            x = Ends::affine(builder, x, 0.5, 0.5)?;
        }
        flow.put("hidden", x);
        Ok(())
    }
}

impl Stage for Exit {
    fn name(&self) -> &str {
        "exit"
    }

    fn constants(&self) -> Vec<Constant> {
        Vec::new()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let Self(ends) = self;
        let mut x = flow.get("hidden");
        let decoder = ends.part == Part::Decoder;
        if decoder && ends.signed {
            x = Ends::affine(builder, x, 2.0, -1.0)?;
        }
        if decoder && ends.clamp {
            let low = if ends.signed { -1.0 } else { 0.0 };
            x = builder.op1("clip", "cut", &[("x", x.into()), ("alpha", low.into()), ("beta", 1.0.into())])?;
        }
        if form.layout == ImageLayout::Nhwc {
            x = transpose(builder, x, "channels_last", [0, 2, 3, 1])?;
        }
        flow.put(if decoder { features::IMAGE } else { features::LATENT }, x);
        Ok(())
    }
}
