//! Matching a case with an interface.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::{
    Case, GoldenError, Misfit,
    layout::{self, Turn},
};
use crate::{
    contract::{Feature, Interface, features},
    eval::view,
    mil::DataType,
};

/// The most elements of an input that is made or padded.
const MOST_ELEMENTS: usize = 1 << 30;

/// How cases are fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FitOptions {
    /// What token ids (inputs whose names end in `input_ids`) are padded with.
    pub pad_id: i64,
}

/// An axis of an input that was made longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Padding {
    /// The input.
    pub input: String,
    /// Which axis.
    pub axis: usize,
    /// Its length in the case.
    pub from: usize,
    /// Its length in the program.
    pub to: usize,
}

/// A case in the form of a program.
#[derive(Debug, Clone)]
pub struct FittedCase {
    /// The name of the case.
    pub name: String,
    /// What the program takes, complete.
    pub inputs: BTreeMap<String, Tensor>,
    /// What it should give, in its layout; shorter than that where inputs were padded.
    pub outputs: BTreeMap<String, Tensor>,
    /// Outputs of the program that the case says nothing of.
    pub unchecked: Vec<String>,
    /// What was padded.
    pub paddings: Vec<Padding>,
}

/// The cases of a golden file for one program.
#[derive(Debug)]
pub struct Fitting {
    /// Those that fit, at least one.
    pub fitted: Vec<FittedCase>,
    /// The names of those that do not, and why.
    pub misfits: Vec<(String, Misfit)>,
}

/// Fits every case that fits. A batch, for a program that takes one at a time, becomes a case for each: `case0[0]`,
/// `case0[1]` and so on.
///
/// # Errors
/// When none does.
pub fn fit_all(cases: &[Case], interface: &Interface, options: FitOptions) -> Result<Fitting, GoldenError> {
    let mut fitting = Fitting { fitted: Vec::new(), misfits: Vec::new() };
    for case in cases {
        let rows = rows(case, interface);
        let rows = rows.as_deref().unwrap_or(std::slice::from_ref(case));
        let fitted: Result<Vec<_>, _> = rows.iter().map(|row| fit(row, interface, options)).collect();
        match fitted {
            Ok(rows) => fitting.fitted.extend(rows),
            Err(misfit) => fitting.misfits.push((case.name.clone(), misfit)),
        }
    }
    if fitting.fitted.is_empty() { Err(GoldenError::NoFit { misfits: fitting.misfits }) } else { Ok(fitting) }
}

/// The cases that a batch is, if the program takes one of them at a time: every tensor that it knows has as many rows.
fn rows(case: &Case, interface: &Interface) -> Option<Vec<Case>> {
    let features = || interface.inputs.iter().chain(&interface.outputs);
    let known = |name: &String| features().any(|feature| feature.name == *name);
    let inputs = case.inputs.iter().filter(|(name, _)| known(name));
    let outputs = case.outputs.iter().filter(|(name, _)| known(name));
    let mut lengths = inputs.clone().chain(outputs.clone()).map(|(_, tensor)| tensor.dims().first().copied());
    let count = lengths.next()??;
    if count < 2
        || lengths.any(|length| length != Some(count))
        || features().any(|feature| feature.shape.first() != Some(&1))
    {
        return None;
    }
    let row = |index: usize| {
        let part = |(name, tensor): (&String, &Tensor)| Some((name.clone(), tensor.narrow(0, index, 1).ok()?));
        let name = format!("{}[{index}]", case.name);
        Some(Case {
            name,
            inputs: inputs.clone().map(part).collect::<Option<_>>()?,
            outputs: outputs.clone().map(part).collect::<Option<_>>()?,
        })
    };
    (0..count).map(row).collect()
}

/// Brings a case into the form of a program (of one function of it: the interface's own inputs and outputs).
///
/// - Inputs are taken by name; an input that the case only has as an output is taken from there (a decoder's
///   `encoder_hidden_states`).
/// - Float tensors of rank 4 that are NCHW where the program is NHWC, or the other way round, are transposed. A shape
///   that fits in every layout follows the other tensors of the case; where those do not agree, the case does not fit.
/// - Integer inputs that are shorter than the program's shape are padded behind with 0 (ids with
///   [`FitOptions::pad_id`]), their masks with 0. Float inputs are padded only where the program has a mask for them.
/// - A missing mask (`attention_mask`, `encoder_attention_mask`, ...) is made from the length of its sequence
///   (`input_ids`, `encoder_hidden_states`, ...).
/// - A missing `position` is 0 and a missing `..._cache` is all 0: a case starts with empty caches.
/// - Inputs with a default are left out where the case does not have them, but for the mask of a sequence that was
///   padded. Other missing inputs do not fit.
/// - Integers become floats and back where the program wants that and nothing is lost.
/// - Outputs have the program's shape, but for axes that are as short as a padded input was: there the valid part
///   counts.
///
/// # Errors
/// When the case does not fit.
pub fn fit(case: &Case, interface: &Interface, options: FitOptions) -> Result<FittedCase, Misfit> {
    let fitted = fit_inputs(case, interface, options)?;
    if fitted.outputs.is_empty() { Err(no_outputs(case, interface)) } else { Ok(fitted) }
}

/// As [`fit`], of a case that need not say what comes out.
///
/// # Errors
/// When the case does not fit.
pub fn fit_inputs(case: &Case, interface: &Interface, options: FitOptions) -> Result<FittedCase, Misfit> {
    let mut fit = Fit { case, interface, options, turns: possible_turns(case, interface), paddings: Vec::new() };
    let mut inputs = fit.given_inputs()?;
    fit.make_missing(&mut inputs)?;
    let outputs = fit.outputs()?;
    let unchecked =
        interface.outputs.iter().filter(|f| !outputs.contains_key(&f.name)).map(|f| f.name.clone()).collect();
    Ok(FittedCase { name: case.name.clone(), inputs, outputs, unchecked, paddings: fit.paddings })
}

impl FittedCase {
    /// The part of an output that the case speaks of: padded axes are cut to the length in the case.
    ///
    /// # Errors
    /// When the shapes differ otherwise, or the case has no such output.
    pub fn valid_part(&self, name: &str, produced: &Tensor) -> Result<Tensor, Misfit> {
        let found = self.outputs.get(name).map(|tensor| tensor.dims().to_vec()).unwrap_or_default();
        if !covers(produced.dims(), &found, &self.paddings) {
            return Err(Misfit::OutputShape {
                name: name.to_owned(),
                expected: format!("{:?}", produced.dims()),
                found,
            });
        }
        let mut part = produced.clone();
        for (axis, &length) in found.iter().enumerate() {
            part = part.narrow(axis, 0, length)?;
        }
        Ok(part)
    }
}

/// Whether a golden shape is the program's, but for axes that were padded.
fn covers(program: &[usize], golden: &[usize], paddings: &[Padding]) -> bool {
    let axis = |(&to, &from): (&usize, &usize)| {
        from == to || paddings.iter().any(|padding| (padding.from, padding.to) == (from, to))
    };
    program.len() == golden.len() && program.iter().zip(golden).all(axis)
}

/// What is known while a case is fitted.
struct Fit<'a> {
    case: &'a Case,
    interface: &'a Interface,
    options: FitOptions,
    turns: BTreeMap<(bool, &'a str), Vec<Turn>>,
    paddings: Vec<Padding>,
}

/// How each tensor of rank 4 can be turned, by whether it goes in, and its name. Those that fit in no way are not
/// there.
fn possible_turns<'a>(case: &'a Case, interface: &'a Interface) -> BTreeMap<(bool, &'a str), Vec<Turn>> {
    let inputs = interface.inputs.iter().filter_map(|feature| Some((true, feature, given(case, feature)?)));
    let outputs =
        interface.outputs.iter().filter_map(|feature| Some((false, feature, case.outputs.get(&feature.name)?)));
    let floats = inputs.chain(outputs).filter(|(.., tensor)| tensor.dtype() == DType::F32);
    let turns = floats.map(|(is_input, feature, tensor)| {
        (
            (is_input, feature.name.as_str()),
            layout::turns(tensor.dims(), |dims| program_shape(feature, dims).as_deref() == Some(dims)),
        )
    });
    turns.filter(|(_, turns)| !turns.is_empty()).collect()
}

/// The tensor that is fed to an input.
fn given<'a>(case: &'a Case, feature: &Feature) -> Option<&'a Tensor> {
    // A cache that a case gives is what it holds afterwards.
    let recorded = || case.outputs.get(&feature.name).filter(|_| !starts_empty(feature));
    case.inputs.get(&feature.name).or_else(recorded)
}

impl Fit<'_> {
    /// The tensor in the program's layout.
    fn turned(&self, is_input: bool, name: &str, tensor: &Tensor) -> Result<Tensor, Misfit> {
        let Some(turns) = self.turns.get(&(is_input, name)) else { return Ok(tensor.clone()) };
        let common = layout::common(self.turns.values().map(Vec::as_slice));
        let turn = match (common, turns.as_slice()) {
            (Some(turn), _) => turn,
            (None, &[turn]) => turn,
            (None, _) => return Err(Misfit::Layout { name: name.to_owned(), shape: tensor.dims().to_vec() }),
        };
        Ok(turn.apply(tensor)?)
    }

    fn given_inputs(&mut self) -> Result<BTreeMap<String, Tensor>, Misfit> {
        let mut inputs = BTreeMap::new();
        for feature in &self.interface.inputs {
            if let Some(tensor) = given(self.case, feature) {
                let tensor = self.turned(true, &feature.name, tensor)?;
                let tensor = in_kind(feature, tensor)?;
                inputs.insert(feature.name.clone(), self.padded(feature, tensor)?);
            }
        }
        Ok(inputs)
    }

    /// The tensor in a shape that the program takes.
    fn padded(&mut self, feature: &Feature, tensor: Tensor) -> Result<Tensor, Misfit> {
        let found = tensor.dims().to_vec();
        let misfit =
            || Misfit::InputShape { name: feature.name.clone(), expected: described(feature), found: found.clone() };
        let shape = program_shape(feature, &found).ok_or_else(misfit)?;
        if shape == found {
            return Ok(tensor);
        }
        let may_be_padded = is_mask(feature) || tensor.dtype() != DType::F32 || self.mask_of(feature).is_some();
        if !may_be_padded {
            return Err(misfit());
        }
        check_size(feature, &shape)?;
        let value = if feature.name.ends_with(features::INPUT_IDS) { self.options.pad_id } else { 0 };
        let mut padded = tensor;
        for (axis, (&from, &to)) in found.iter().zip(&shape).enumerate().filter(|(_, (from, to))| from != to) {
            let mut rest = padded.dims().to_vec();
            rest[axis] = to - from;
            let rest = Tensor::full(value, rest, &Device::Cpu)?.to_dtype(padded.dtype())?;
            padded = Tensor::cat(&[&padded, &rest], axis)?;
            self.paddings.push(Padding { input: feature.name.clone(), axis, from, to });
        }
        Ok(padded)
    }

    /// The mask of a sequence: `encoder_attention_mask` of `encoder_hidden_states`.
    fn mask_of(&self, feature: &Feature) -> Option<&Feature> {
        self.interface
            .inputs
            .iter()
            .find(|mask| is_mask(mask) && self.sequence_of(mask).is_some_and(|s| s.name == feature.name))
    }

    /// The sequence of a mask, by name.
    fn sequence_of(&self, mask: &Feature) -> Option<&Feature> {
        let prefix = mask.name.strip_suffix("attention_mask").or_else(|| mask.name.strip_suffix("mask"))?;
        let find = |name: &str| self.interface.inputs.iter().find(|f| f.name.strip_prefix(prefix) == Some(name));
        [features::INPUT_IDS, features::HIDDEN_STATES, "inputs_embeds"].into_iter().find_map(find)
    }

    fn make_missing(&self, inputs: &mut BTreeMap<String, Tensor>) -> Result<(), Misfit> {
        for feature in &self.interface.inputs {
            if inputs.contains_key(&feature.name) {
                continue;
            }
            let has_default = feature.optional && feature.default.is_some();
            let made = match is_mask(feature) {
                true if has_default && !self.is_padded(feature) => None,
                true => self.made_mask(feature, inputs)?,
                false if has_default => None,
                false => self.made_empty(feature)?,
            };
            match made {
                Some(tensor) => drop(inputs.insert(feature.name.clone(), in_kind(feature, tensor)?)),
                None if has_default => {}
                None => return Err(self.missing(feature)),
            }
        }
        Ok(())
    }

    /// Whether the sequence of a mask was made longer.
    fn is_padded(&self, mask: &Feature) -> bool {
        self.sequence_of(mask)
            .is_some_and(|sequence| self.paddings.iter().any(|padding| padding.input == sequence.name))
    }

    /// Ones for what the case has of the mask's sequence, zeros for what was padded.
    fn made_mask(&self, mask: &Feature, inputs: &BTreeMap<String, Tensor>) -> Result<Option<Tensor>, Misfit> {
        let sequence = self.sequence_of(mask).and_then(|feature| inputs.get_key_value(&feature.name));
        let Some((name, [batch, length, ..])) = sequence.map(|(name, tensor)| (name, tensor.dims())) else {
            return Ok(None);
        };
        let valid = self
            .paddings
            .iter()
            .find(|padding| padding.input == *name && padding.axis == 1)
            .map_or(*length, |padding| padding.from);
        if program_shape(mask, &[*batch, *length]).as_deref() != Some(&[*batch, *length]) {
            return Ok(None);
        }
        let values: Vec<i64> = (0..batch * length).map(|i| i64::from(i % length < valid)).collect();
        Ok(Some(Tensor::from_vec(values, (*batch, *length), &Device::Cpu)?))
    }

    /// What a fresh start needs: the first position, empty caches.
    fn made_empty(&self, feature: &Feature) -> Result<Option<Tensor>, Misfit> {
        let shape: Option<Vec<usize>> = feature.shape.iter().map(|&n| usize::try_from(n).ok()).collect();
        let Some(shape) = shape.filter(|_| starts_empty(feature)) else { return Ok(None) };
        check_size(feature, &shape)?;
        Ok(Some(Tensor::zeros(shape, DType::I64, &Device::Cpu)?))
    }

    fn missing(&self, feature: &Feature) -> Misfit {
        let known = |name: &String| self.interface.inputs.iter().any(|f| f.name == *name);
        let candidate = self
            .case
            .inputs
            .iter()
            .find(|(name, tensor)| !known(name) && could_be(feature, tensor))
            .map(|(name, _)| name.clone());
        let found = self.case.inputs.keys().cloned().collect();
        let example = example(feature);
        Misfit::MissingInput { name: feature.name.clone(), expected: described(feature), found, candidate, example }
    }

    fn outputs(&self) -> Result<BTreeMap<String, Tensor>, Misfit> {
        let mut outputs = BTreeMap::new();
        for feature in &self.interface.outputs {
            let Some(tensor) = self.case.outputs.get(&feature.name) else { continue };
            let tensor = self.turned(false, &feature.name, tensor)?;
            let shape: Vec<usize> = feature.shape.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
            // Where the shape is not fixed, it is known when the program ran: `valid_part` looks again.
            if is_fixed(feature) && !covers(&shape, tensor.dims(), &self.paddings) {
                let found = tensor.dims().to_vec();
                return Err(Misfit::OutputShape { name: feature.name.clone(), expected: described(feature), found });
            }
            outputs.insert(feature.name.clone(), tensor);
        }
        Ok(outputs)
    }
}

fn no_outputs(case: &Case, interface: &Interface) -> Misfit {
    let features = &interface.outputs;
    let candidate = features.iter().find_map(|feature| {
        let (theirs, _) = case.outputs.iter().find(|(_, tensor)| could_be(feature, tensor))?;
        Some((theirs.clone(), feature.name.clone()))
    });
    let expected = features.iter().map(|feature| feature.name.clone()).collect();
    Misfit::NoOutputs { expected, found: case.outputs.keys().cloned().collect(), candidate }
}

/// Whether an input says which places of a sequence count.
pub(crate) fn is_mask(feature: &Feature) -> bool {
    feature.name == "mask" || feature.name.ends_with("_mask")
}

/// Whether an input is made where a case does not have it: a position of 0, an empty cache.
pub(crate) fn starts_empty(feature: &Feature) -> bool {
    feature.name == features::POSITION || feature.name.ends_with("_cache")
}

fn is_fixed(feature: &Feature) -> bool {
    !feature.shape.is_empty() && feature.ranges.is_none() && feature.enumerated.is_none()
}

/// `float32 [1, 16, 64]`, for messages.
fn described(feature: &Feature) -> String {
    match (&feature.enumerated, &feature.ranges) {
        (Some(shapes), _) => format!("{} of one of {shapes:?}", feature.dtype),
        (None, Some(ranges)) => {
            let dimension =
                |(low, high): &(u64, Option<u64>)| format!("{low}..{}", high.map_or("".to_owned(), |n| n.to_string()));
            format!("{} [{}]", feature.dtype, ranges.iter().map(dimension).collect::<Vec<_>>().join(", "))
        }
        (None, None) => format!("{} {:?}", feature.dtype, feature.shape),
    }
}

/// A command line that gives an input: a picture, or a file of zeros in the default shape and what makes it.
fn example(feature: &Feature) -> String {
    let name = &feature.name;
    // Names are the words of strangers, and this goes into a shell.
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return "`--input FILE.safetensors`, a file with a tensor of that name".to_owned();
    }
    if feature.dtype == "image" {
        return format!("`--input {name}.png`");
    }
    let least = || feature.ranges.iter().flatten().map(|(least, _)| (*least).max(1)).collect::<Vec<u64>>();
    let shape = if feature.shape.is_empty() { least() } else { feature.shape.clone() };
    let shape: String = shape.iter().map(|n| format!("{n},")).collect();
    let dtype = if feature.dtype.starts_with("bf") { "float32" } else { feature.dtype.as_str() };
    let zeros = format!("python3 -c \"import numpy; numpy.save('{name}.npy', numpy.zeros(({shape}), '{dtype}'))\"");
    format!("`--input {name}.npy`; zeros to begin with come from `{zeros}`")
}

/// The smallest shape that the program takes and that holds a tensor of these dimensions; `None` where there is none.
fn program_shape(feature: &Feature, dims: &[usize]) -> Option<Vec<usize>> {
    let holds = |shape: &[u64]| {
        let shape: Vec<usize> = shape.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<_>>()?;
        (shape.len() == dims.len() && shape.iter().zip(dims).all(|(to, from)| to >= from)).then_some(shape)
    };
    if let Some(shapes) = &feature.enumerated {
        let size = |shape: &Vec<usize>| shape.iter().fold(1usize, |product, &n| product.saturating_mul(n));
        return shapes.iter().filter_map(|shape| holds(shape)).min_by_key(size);
    }
    if let Some(ranges) = &feature.ranges {
        let inside = |(&n, &(low, high)): (&usize, &(u64, Option<u64>))| {
            let length = (n as u64).max(low);
            high.is_none_or(|high| length <= high).then_some(usize::try_from(length).ok()).flatten()
        };
        return (ranges.len() == dims.len()).then(|| dims.iter().zip(ranges).map(inside).collect()).flatten();
    }
    if feature.shape.is_empty() { Some(dims.to_vec()) } else { holds(&feature.shape) }
}

/// Whether a tensor of another name could be meant: it has a shape that the program takes, in some layout or after
/// padding.
fn could_be(feature: &Feature, tensor: &Tensor) -> bool {
    let (dims, is_float) = (tensor.dims(), tensor.dtype() == DType::F32);
    let exact = |dims: &[usize]| program_shape(feature, dims).as_deref() == Some(dims);
    let same_kind = kind(feature).is_none_or(|dtype| (dtype == DType::F32) == is_float);
    // Sequences differ in their second dimension.
    let padded = || {
        program_shape(feature, dims)
            .is_some_and(|shape| shape.iter().zip(dims).enumerate().all(|(axis, (to, from))| axis == 1 || to == from))
    };
    same_kind && (exact(dims) || !layout::turns(dims, exact).is_empty() || padded())
}

fn check_size(feature: &Feature, shape: &[usize]) -> Result<(), Misfit> {
    let elements = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    if elements.is_some_and(|n| n <= MOST_ELEMENTS) {
        return Ok(());
    }
    Err(Misfit::TooLarge { name: feature.name.clone(), expected: described(feature) })
}

/// How the numbers of a feature are held; `None` for what holds none.
fn kind(feature: &Feature) -> Option<DType> {
    let of = |names: &[&str]| names.iter().any(|name| feature.dtype.starts_with(name));
    match () {
        () if of(&["float", "double", "bf16", "image"]) => Some(DType::F32),
        () if of(&["int", "uint"]) => Some(DType::I64),
        () if of(&["bool"]) => Some(DType::U8),
        () => None,
    }
}

/// The tensor in the kind of numbers that the feature has.
fn in_kind(feature: &Feature, tensor: Tensor) -> Result<Tensor, Misfit> {
    let Some(kind) = kind(feature).filter(|kind| *kind != tensor.dtype()) else { return Ok(tensor) };
    let allowed = |value: f64| match kind {
        DType::I64 => value.fract() == 0.0 && value.abs() < 9e18,
        DType::U8 => value == 0.0 || value == 1.0,
        _ => true,
    };
    let wrong = match tensor.dtype() {
        DType::F32 => view(&tensor, |values: &[f32]| {
            values.iter().map(|&v| f64::from(v)).enumerate().find(|(_, v)| !allowed(*v))
        })?,
        DType::I64 => {
            view(&tensor, |values: &[i64]| values.iter().map(|&v| v as f64).enumerate().find(|(_, v)| !allowed(*v)))?
        }
        _ => None,
    };
    if let Some((index, value)) = wrong {
        let dtype = if kind == DType::U8 { DataType::Bool } else { DataType::Int64 };
        return Err(Misfit::InputValue { name: feature.name.clone(), index, value, dtype });
    }
    Ok(tensor.to_dtype(kind)?)
}
