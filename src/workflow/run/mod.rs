//! `run`: executes a bundle on this machine's CPU, tensors in, tensors out.
//!
//! A bundle is a folder, or a variant of a release in the store, which runs directly from its blobs.

mod error;
pub(super) mod inputs;
pub mod text;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

use candle_core::{DType, Tensor};
use serde::Serialize;

pub use error::RunError;
pub use inputs::PictureChoice;

use super::{
    Context, Error,
    bundles::{self, Bundle, BundleSubject},
};
use crate::{
    contract::{Feature, Interface},
    emit::coreml::ColorSpace,
    emit::coreml::Model,
    eval::{Mode, NotFinite, pixels},
    mil::{DataType, Function, Operation},
    ops,
    tensors::{self, Format, Layout, PictureOptions, ReadOptions, ValueRange, WriteOptions},
};

/// The bundle to run, its inputs, and where the outputs go.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The folder or package.
    pub subject: BundleSubject,
    /// Glob that selects one variant of a package.
    pub variant: Option<String>,
    /// The function; `None` for the default function.
    pub function: Option<String>,
    /// Files of input tensors.
    pub inputs: Vec<PathBuf>,
    /// Names in files, each with the input that it stands for.
    pub names: BTreeMap<String, String>,
    /// Files to write the results to.
    pub outputs: Vec<PathBuf>,
    /// Precision of values between operations.
    pub mode: Mode,
    /// How pictures become inputs, and outputs become pictures.
    pub pictures: PictureChoice,
}

/// Outputs of a run.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// The bundle, as a person would name it.
    pub bundle: String,
    /// Bundles with the same purpose that were not run, because this one has the preferred precision or target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// The function.
    pub function: String,
    /// Its results, by name.
    pub outputs: Vec<OutputReport>,
    /// The first operation whose result is not finite, if there is one.
    pub not_finite: Option<NotFinite>,
    /// The files that were written.
    pub written: Vec<PathBuf>,
    /// Warnings about input pictures.
    pub warnings: Vec<String>,
    /// Duration in seconds.
    pub seconds: f64,
}

/// Statistics of an output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputReport {
    /// Its name.
    pub name: String,
    /// Its declared element type.
    pub dtype: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Smallest finite number, if there is one.
    pub min: Option<f64>,
    /// Largest finite number, if there is one.
    pub max: Option<f64>,
    /// Mean of the finite numbers, if there are any.
    pub mean: Option<f64>,
    /// How many numbers are not finite.
    pub not_finite: u64,
}

/// Runs a bundle.
///
/// # Errors
/// When there is no such bundle, it is damaged, inputs are missing or do not fit, or an operation cannot be run.
pub fn run(context: &Context, options: &RunOptions) -> Result<RunReport, Error> {
    // What cannot be written is said before minutes of work.
    let files = options.outputs.iter().map(|path| Ok((context.directory().join(path), Format::of_output(path)?)));
    let files = files.collect::<Result<Vec<_>, RunError>>()?;
    let (bundle, others) = bundles::find_preferred(context, &options.subject, options.variant.as_deref())?;
    let Bundle { name, package, .. } = bundle;
    let model = package.model();
    let (function_name, _) = model.function(options.function.as_deref()).ok_or_else(|| RunError::Function {
        bundle: name.clone(),
        function: options.function.clone().unwrap_or_else(|| "main".to_owned()),
        known: model.functions(),
    })?;
    let interface = package.interface(Some(&function_name)).cloned().unwrap_or_default();
    let (inputs, notes) = inputs::read(context.directory(), options, &name, &interface)?;
    let has_array = || interface.outputs.iter().any(|feature| feature.dtype != IMAGE);
    let makes_pictures = files.iter().any(|(_, format)| format.is_picture()) && has_array();
    let warnings = notes.warnings(options.pictures, makes_pictures)?;
    let results = Results { model, function: &function_name, interface: &interface };
    let start = Instant::now();
    let mut not_finite = None;
    let mut watch = |function: &Function, operation: &Operation, _: &str, tensor: &Tensor| {
        if not_finite.is_none() {
            not_finite = NotFinite::of(function, operation, tensor);
        }
    };
    let interpreter = package.interpreter(ops::OPERATORS);
    let tensors = interpreter.run_watched(Some(&function_name), inputs, options.mode, &mut watch);
    let tensors = tensors.map_err(|source| RunError::Run { bundle: name.clone(), source })?;
    let seconds = start.elapsed().as_secs_f64();
    for (path, format) in &files {
        results.write(path, *format, &tensors, options.pictures.range.unwrap_or_default())?;
    }
    let outputs = tensors
        .iter()
        .map(|(name, tensor)| report(name, tensor, results.declared(name)))
        .collect::<Result<_, RunError>>()?;
    let written = files.into_iter().map(|(path, _)| path).collect();
    Ok(RunReport { bundle: name, others, function: function_name, outputs, not_finite, written, warnings, seconds })
}

/// Type of image features in interfaces.
const IMAGE: &str = "image";

/// Declarations of a function's outputs.
struct Results<'a> {
    model: &'a Model,
    function: &'a str,
    interface: &'a Interface,
}

impl Results<'_> {
    /// The declared element type of a result.
    fn declared(&self, name: &str) -> DataType {
        let ty = self.model.output(Some(self.function), name).and_then(|ty| ty.tensor().map(|ty| ty.dtype));
        ty.unwrap_or(DataType::Float32)
    }

    fn feature(&self, name: &str) -> Option<&Feature> {
        self.interface.outputs.iter().find(|feature| feature.name == name)
    }

    /// Writes the results that a file takes. Images become pictures of pixels from 0 to 255 in the order of their color
    /// space, whatever `range` is.
    fn write(
        &self,
        path: &Path,
        format: Format,
        tensors: &BTreeMap<String, Tensor>,
        range: ValueRange,
    ) -> Result<(), RunError> {
        let single = matches!(format, Format::Npy | Format::Png);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let chosen: Vec<(&str, &Tensor, DataType)> = tensors
            .iter()
            .filter(|(name, _)| !single || tensors.len() == 1 || **name == stem)
            .map(|(name, tensor)| (name.as_str(), tensor, written_type(self.declared(name))))
            .collect();
        if single && chosen.len() != 1 {
            return Err(RunError::Single { path: path.to_owned(), outputs: tensors.keys().cloned().collect() });
        }
        let mut picture = PictureOptions { range, ..PictureOptions::default() };
        let image = chosen.first().filter(|_| format == Format::Png).and_then(|(name, ..)| self.feature(name));
        let Some(image) = image.filter(|feature| feature.dtype == IMAGE) else {
            return Ok(tensors::write(path, &chosen, &WriteOptions { picture })?);
        };
        picture.range = ValueRange::Byte;
        picture.layout = Some(Layout::Nchw);
        let (name, tensor, dtype) = chosen[0];
        let is_reversed = image.color.as_deref() == Some(ColorSpace::Bgr.name());
        let tensor = if is_reversed { pixels::reversed(tensor) } else { Ok(tensor.clone()) };
        let tensor = tensor.map_err(|source| RunError::Result { name: name.to_owned(), source })?;
        Ok(tensors::write(path, &[(name, &tensor, dtype)], &WriteOptions { picture })?)
    }
}

/// The element type of an output in a file. A class name is written as its index in the list of classes.
fn written_type(declared: DataType) -> DataType {
    if declared == DataType::String { DataType::Int32 } else { declared }
}

fn report(name: &str, tensor: &Tensor, dtype: DataType) -> Result<OutputReport, RunError> {
    let wrong = |source| RunError::Result { name: name.to_owned(), source };
    let values: Vec<f64> = tensor.to_dtype(DType::F64).and_then(|it| it.flatten_all()?.to_vec1()).map_err(wrong)?;
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let count = finite().count();
    Ok(OutputReport {
        name: name.to_owned(),
        dtype: dtype.long_name(),
        shape: tensor.dims().to_vec(),
        min: finite().reduce(f64::min),
        max: finite().reduce(f64::max),
        mean: (count > 0).then(|| finite().sum::<f64>() / count as f64),
        not_finite: (values.len() - count) as u64,
    })
}
