//! `run`: executes a bundle on this machine's CPU, tensors in, tensors out.
//!
//! A bundle is a folder, or a variant of a release in the store, which is run from its blobs without being placed anywhere.

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

use super::{
    Context, Error,
    bundles::{self, Bundle, BundleSubject},
};
use crate::{
    eval::{Mode, NotFinite},
    mil::{DataType, Function, Operation, Program},
    ops,
    tensors::{self, Format, PictureOptions, ReadOptions, ValueRange, WriteOptions},
};

/// What to run, with what.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The subject.
    pub subject: BundleSubject,
    /// Of a package: a glob that leaves one variant.
    pub variant: Option<String>,
    /// The function; none for the one that runs by default.
    pub function: Option<String>,
    /// Files of input tensors.
    pub inputs: Vec<PathBuf>,
    /// Names in files, and the inputs that they mean.
    pub names: BTreeMap<String, String>,
    /// Files to write the results to.
    pub outputs: Vec<PathBuf>,
    /// How numbers are kept between operations.
    pub mode: Mode,
    /// The numbers of black and white in pictures.
    pub range: ValueRange,
}

/// What a run gave.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// The bundle, as a person would name it.
    pub bundle: String,
    /// Bundles that do the same and were not run, since this one is preferred: for its precision, or for its target.
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
    /// How long it took.
    pub seconds: f64,
}

/// A result in numbers.
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
    /// Mean of the finite numbers, if there are some.
    pub mean: Option<f64>,
    /// How many are not finite.
    pub not_finite: u64,
}

/// Runs a bundle.
///
/// # Errors
/// When there is no such bundle, it is damaged, inputs are missing or do not fit, or an operation cannot be run.
pub fn run(context: &Context, options: &RunOptions) -> Result<RunReport, Error> {
    // What cannot be written is said before minutes of work.
    let files = options.outputs.iter().map(|path| Ok((context.directory().join(path), Format::of(path)?)));
    let files = files.collect::<Result<Vec<_>, RunError>>()?;
    let (bundle, others) = bundles::find_preferred(context, &options.subject, options.variant.as_deref())?;
    let Bundle { name, package, .. } = bundle;
    let (function_name, function) = function(package.program(), options.function.as_deref(), &name)?;
    let interface = package.interface(Some(&function_name)).cloned().unwrap_or_default();
    let inputs = inputs::read(context.directory(), options, &name, &interface)?;
    let start = Instant::now();
    let mut not_finite = None;
    let mut watch = |operation: &Operation, _: &str, tensor: &Tensor| {
        if not_finite.is_none() {
            not_finite = NotFinite::of(function, operation, tensor);
        }
    };
    let interpreter = package.interpreter(ops::OPERATORS);
    let results = interpreter.run_watched(Some(&function_name), inputs, options.mode, &mut watch);
    let results = results.map_err(|source| RunError::Run { bundle: name.clone(), source })?;
    let seconds = start.elapsed().as_secs_f64();
    for (path, format) in &files {
        write(path, *format, &results, function, options.range)?;
    }
    let outputs = results.iter().map(|(name, tensor)| report(name, tensor, function)).collect::<Result<_, RunError>>()?;
    let written = files.into_iter().map(|(path, _)| path).collect();
    Ok(RunReport { bundle: name, others, function: function_name, outputs, not_finite, written, seconds })
}

fn function<'p>(program: &'p Program, name: Option<&str>, bundle: &str) -> Result<(String, &'p Function), RunError> {
    let found = match name {
        None => program.main(),
        Some(name) => program.functions.get_key_value(name).map(|(name, function)| (name.as_str(), function)),
    };
    let found = found.map(|(name, function)| (name.to_owned(), function));
    found.ok_or_else(|| RunError::Function {
        bundle: bundle.to_owned(),
        function: name.unwrap_or("main").to_owned(),
        known: program.functions.keys().cloned().collect(),
    })
}

/// The declared element type of a result.
fn declared(function: &Function, name: &str) -> DataType {
    let outputs = function.block.outputs.iter().map(|&id| function.value(id));
    let ty = outputs.into_iter().find(|value| value.name == name).and_then(|value| value.ty.tensor().map(|ty| ty.dtype));
    ty.unwrap_or(DataType::Float32)
}

/// The element type of a result in a file: the name of a class is its place in the list of classes.
fn written_type(declared: DataType) -> DataType {
    if declared == DataType::String { DataType::Int32 } else { declared }
}

fn write(path: &Path, format: Format, results: &BTreeMap<String, Tensor>, function: &Function, range: ValueRange) -> Result<(), RunError> {
    let single = matches!(format, Format::Npy | Format::Png);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let chosen: Vec<(&str, &Tensor, DataType)> = results
        .iter()
        .filter(|(name, _)| !single || results.len() == 1 || **name == stem)
        .map(|(name, tensor)| (name.as_str(), tensor, written_type(declared(function, name))))
        .collect();
    if single && chosen.len() != 1 {
        return Err(RunError::Single { path: path.to_owned(), outputs: results.keys().cloned().collect() });
    }
    let picture = PictureOptions { range, ..PictureOptions::default() };
    Ok(tensors::write(path, &chosen, &WriteOptions { picture })?)
}

fn report(name: &str, tensor: &Tensor, function: &Function) -> Result<OutputReport, RunError> {
    let dtype = declared(function, name);
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
