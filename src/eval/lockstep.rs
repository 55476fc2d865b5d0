//! Two programs side by side: where do they start to differ?
//!
//! Both run at once, operation by operation, and results of the same name are compared as soon as both are there, so
//! that neither run is kept. Names are compared without what coremltools adds when it changes precision; casts are no
//! results of their own. Pictures that lie in the other layout are turned.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

use candle_core::Tensor;
use serde::Serialize;

use super::{
    EvalError, Mode, NotFinite, Operators,
    metrics::{MeasureOptions, measure, number},
};
use crate::{
    emit::coreml::Package,
    mil::{Binding, Function, Operation},
};

/// What a change of precision adds to names.
const PRECISION_SUFFIXES: [&str; 4] = ["_cast_fp16", "_cast_fp32", "_to_fp16", "_to_fp32"];

/// One side.
#[derive(Debug)]
pub struct Side<'a> {
    /// The package.
    pub package: &'a Package,
    /// The function; none for the one that runs by default.
    pub function: Option<&'a str>,
    /// What goes in.
    pub inputs: BTreeMap<String, Tensor>,
}

/// How far the result of an operation is from the reference's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperationDistance {
    /// The result.
    pub name: String,
    /// Its operator.
    pub operator: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Largest absolute error.
    #[serde(serialize_with = "number")]
    pub max_abs: f64,
    /// Root of the mean squared error.
    #[serde(serialize_with = "number")]
    pub rmse: f64,
    /// Error relative to the reference: root of the errors' squares to the reference's squares.
    #[serde(serialize_with = "number")]
    pub relative: f64,
    /// The largest relative error among its operands: what is not its own.
    #[serde(serialize_with = "number")]
    pub inherited: f64,
    /// Cosine of the angle between both.
    #[serde(serialize_with = "number")]
    pub cosine: f64,
}

/// What two runs came to.
#[derive(Debug)]
pub struct Lockstep {
    /// The results of the reference.
    pub expected: BTreeMap<String, Tensor>,
    /// The results of the program to judge.
    pub actual: BTreeMap<String, Tensor>,
    /// The operations that both have, in the order in which they ran.
    pub operations: Vec<OperationDistance>,
    /// How many results of the program to judge have no counterpart.
    pub unmatched: usize,
    /// The first result of the program to judge that is not finite.
    pub not_finite: Option<NotFinite>,
}

/// Which of the two cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum LockstepError {
    /// The program to judge.
    #[error(transparent)]
    Actual(EvalError),
    /// The reference.
    #[error(transparent)]
    Expected(EvalError),
}

/// Runs both, and compares every result that both have.
///
/// # Errors
/// When one of them cannot be run.
pub fn lockstep(
    actual: Side<'_>,
    expected: Side<'_>,
    operators: Operators,
    mode: Mode,
) -> Result<Lockstep, LockstepError> {
    let own = functions(&actual).map_err(LockstepError::Actual)?;
    let reference = functions(&expected).map_err(LockstepError::Expected)?;
    let common: HashSet<&str> = keys(&own).intersection(&keys(&reference)).copied().collect();
    let (sender, receiver) = sync_channel::<(String, Tensor)>(1);
    let common = &common;
    thread::scope(|scope| {
        let run = scope.spawn(move || {
            let mut watch = |_: &Function, operation: &Operation, name: &str, tensor: &Tensor| {
                if let Some(key) = key(operation, name).filter(|key| common.contains(key)) {
                    // Nobody listens any more where the other run failed.
                    let _ = sender.send((key.to_owned(), tensor.clone()));
                }
            };
            let interpreter = expected.package.interpreter(operators);
            interpreter.run_watched(expected.function, expected.inputs, mode, &mut watch)
        });
        let mut listener = Listener::new(common, receiver);
        let mut watch = |function: &Function, operation: &Operation, name: &str, tensor: &Tensor| {
            listener.hear(function, operation, name, tensor)
        };
        let interpreter = actual.package.interpreter(operators);
        let results = interpreter.run_watched(actual.function, actual.inputs, mode, &mut watch);
        let Listener { operations, unmatched, not_finite, receiver, .. } = listener;
        drop(receiver);
        let expected = run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let expected = expected.map_err(LockstepError::Expected)?;
        let actual = results.map_err(LockstepError::Actual)?;
        Ok(Lockstep { expected, actual, operations, unmatched, not_finite })
    })
}

fn functions<'a>(side: &Side<'a>) -> Result<Vec<&'a Function>, EvalError> {
    let found = side.package.model().function(side.function).map(|(_, functions)| functions);
    found.ok_or_else(|| EvalError::Function(side.function.unwrap_or("main").to_owned()))
}

/// What both sides call a result; none of what is no result of its own.
fn key<'n>(operation: &Operation, name: &'n str) -> Option<&'n str> {
    let plain = PRECISION_SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    (!["cast", "identity"].contains(&operation.kind.as_str())).then_some(plain)
}

fn keys<'f>(functions: &[&'f Function]) -> HashSet<&'f str> {
    let of = |function: &&'f Function| {
        let function = *function;
        let results = function.operations().filter(|operation| operation.constant().is_none());
        results
            .flat_map(|operation| operation.outputs.iter().filter_map(|&id| key(operation, &function.value(id).name)))
    };
    functions.iter().flat_map(of).collect()
}

/// Takes the reference's results as they come, and compares.
struct Listener<'f> {
    common: &'f HashSet<&'f str>,
    receiver: Receiver<(String, Tensor)>,
    /// Results of the reference that came before their counterparts.
    early: HashMap<String, Vec<Tensor>>,
    /// The relative error of every value so far.
    errors: HashMap<String, f64>,
    operations: Vec<OperationDistance>,
    unmatched: usize,
    not_finite: Option<NotFinite>,
}

impl<'f> Listener<'f> {
    fn new(common: &'f HashSet<&'f str>, receiver: Receiver<(String, Tensor)>) -> Self {
        let (early, errors, operations) = (HashMap::new(), HashMap::new(), Vec::new());
        Self { common, receiver, early, errors, operations, unmatched: 0, not_finite: None }
    }

    fn hear(&mut self, function: &Function, operation: &Operation, name: &str, tensor: &Tensor) {
        if self.not_finite.is_none() {
            self.not_finite = NotFinite::of(function, operation, tensor);
        }
        let inherited = self.inherited(function, operation);
        let distance = self
            .counterpart(operation, name)
            .and_then(|expected| distance(operation, name, tensor, &expected, inherited));
        self.unmatched += usize::from(distance.is_none() && key(operation, name).is_some());
        self.errors.insert(name.to_owned(), distance.as_ref().map_or(inherited, |distance| distance.relative));
        self.operations.extend(distance);
    }

    /// The largest error of an operand; what has no counterpart passes on what came in.
    fn inherited(&self, function: &Function, operation: &Operation) -> f64 {
        let values = operation.inputs.values().flatten().filter_map(|binding| match binding {
            Binding::Value(id) => self.errors.get(&function.value(*id).name),
            Binding::Literal(_) => None,
        });
        values.copied().fold(0.0, |largest, error| if error.is_nan() || error > largest { error } else { largest })
    }

    /// The reference's result of the same name, waited for where it is still to come.
    fn counterpart(&mut self, operation: &Operation, name: &str) -> Option<Tensor> {
        let wanted = key(operation, name).filter(|key| self.common.contains(key))?;
        if let Some(tensors) = self.early.get_mut(wanted).filter(|tensors| !tensors.is_empty()) {
            return Some(tensors.remove(0));
        }
        while let Ok((key, tensor)) = self.receiver.recv() {
            if key == wanted {
                return Some(tensor);
            }
            self.early.entry(key).or_default().push(tensor);
        }
        None
    }
}

fn distance(
    operation: &Operation,
    name: &str,
    actual: &Tensor,
    expected: &Tensor,
    inherited: f64,
) -> Option<OperationDistance> {
    let expected = turned(expected, actual.dims())?;
    let metrics = measure(actual, &expected, &MeasureOptions::default()).ok()?;
    Some(OperationDistance {
        name: name.to_owned(),
        operator: operation.kind.clone(),
        shape: actual.dims().to_vec(),
        max_abs: metrics.max_abs,
        rmse: metrics.rmse,
        relative: 10f64.powf(-metrics.snr / 20.0),
        inherited,
        cosine: metrics.cosine,
    })
}

/// The tensor with its channels where `dims` has them.
fn turned(tensor: &Tensor, dims: &[usize]) -> Option<Tensor> {
    if tensor.dims() == dims {
        return Some(tensor.clone());
    }
    let orders = [[0, 2, 3, 1], [0, 3, 1, 2]];
    let fits = |order: &[usize; 4]| {
        dims.len() == 4 && tensor.rank() == 4 && (0..4).all(|axis| tensor.dims()[order[axis]] == dims[axis])
    };
    let order = orders.into_iter().find(fits)?;
    tensor.permute(order).and_then(|tensor| tensor.contiguous()).ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::{DType, Device};

    use super::*;
    use crate::ops;

    fn fixture(name: &str) -> Package {
        Package::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models").join(format!("{name}.mlpackage")))
            .unwrap()
    }

    fn compare(actual: &str, expected: &str) -> Lockstep {
        let (actual, expected) = (fixture(actual), fixture(expected));
        let ids = Tensor::new(&[[3i64, 1, 4, 1]], &Device::Cpu).unwrap();
        let mask = Tensor::zeros((1, 1, 4, 4), DType::F32, &Device::Cpu).unwrap();
        let inputs = || BTreeMap::from([("ids".to_owned(), ids.clone()), ("mask".to_owned(), mask.clone())]);
        let side = |package| Side { package, function: None, inputs: inputs() };
        lockstep(side(&actual), side(&expected), ops::OPERATORS, Mode::Declared).unwrap()
    }

    #[test]
    fn a_program_is_no_further_from_itself_than_nothing() {
        let lockstep = compare("language_ios18", "language_ios18");
        assert!(lockstep.operations.len() > 20 && lockstep.unmatched == 0, "{}", lockstep.operations.len());
        assert!(lockstep.operations.iter().all(|operation| operation.max_abs == 0.0 && operation.relative == 0.0));
    }

    #[test]
    fn compressed_weights_show_where_they_are_used() {
        let lockstep = compare("language_int4_ios18", "language_ios18");
        let first = lockstep.operations.iter().find(|operation| operation.max_abs > 0.0).unwrap();
        assert_eq!(first.inherited, 0.0, "{first:?}");
        let last = lockstep.operations.last().unwrap();
        assert!(last.relative > 0.01 && last.relative < 0.5 && last.inherited > 0.0, "{last:?}");
    }
}
