//! Tests of operators: refusals, accepted types, and numbers and types against `fixtures/ops/`, which coremltools 9.0
//! and numpy made.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::Deserialize;

use crate::{
    base::Target,
    eval::{Interpreter, Mode, decode},
    mil::{
        Argument, BuildError, Builder, DataType, Dimension, Literal, Program, Recipe, TensorType, Value, Var, verify,
    },
    ops,
    recipe::Literals,
};

/// An argument of a refusal test: an input of a type, several, or a constant.
#[derive(Debug, Clone)]
pub(in crate::ops) enum Given {
    Input(TensorType),
    Several(Vec<Given>),
    Constant(Argument),
}

impl From<i32> for Given {
    fn from(value: i32) -> Self {
        Self::Constant(value.into())
    }
}

impl From<f32> for Given {
    fn from(value: f32) -> Self {
        Self::Constant(value.into())
    }
}

impl From<bool> for Given {
    fn from(value: bool) -> Self {
        Self::Constant(value.into())
    }
}

impl From<&str> for Given {
    fn from(value: &str) -> Self {
        Self::Constant(value.into())
    }
}

/// A float32 input.
pub(in crate::ops) fn float32(shape: &[u64]) -> Given {
    Given::Input(TensorType::new(DataType::Float32, shape))
}

/// A float16 input.
pub(in crate::ops) fn float16(shape: &[u64]) -> Given {
    Given::Input(TensorType::new(DataType::Float16, shape))
}

/// An int32 input.
pub(in crate::ops) fn int32(shape: &[u64]) -> Given {
    Given::Input(TensorType::new(DataType::Int32, shape))
}

/// A boolean input.
pub(in crate::ops) fn boolean(shape: &[u64]) -> Given {
    Given::Input(TensorType::new(DataType::Bool, shape))
}

/// A float32 input with unknown lengths, given as 0.
pub(in crate::ops) fn flexible(shape: &[u64]) -> Given {
    let dimension = |&n: &u64| if n == 0 { super::shapes::UNKNOWN } else { crate::mil::Dimension::Known(n) };
    Given::Input(TensorType { dtype: DataType::Float32, shape: shape.iter().map(dimension).collect() })
}

/// A constant vector of int32.
pub(in crate::ops) fn ints(values: &[i32]) -> Given {
    Given::Constant(values.into())
}

/// A constant float32 scalar.
pub(in crate::ops) fn constant_float32(value: f32) -> Given {
    Given::Constant(Value::float(DataType::Float32, value).into())
}

/// A constant of any element type from its bytes, or from zeros as many as there must be.
pub(in crate::ops) fn constant(dtype: &str, shape: &[u64], bytes: &[u8]) -> Given {
    let dtype = DataType::from_name(dtype).expect("a MIL name");
    let length = (shape.iter().product::<u64>() * dtype.bits().unwrap_or(8)).div_ceil(8) as usize;
    let mut packed = bytes.to_vec();
    packed.resize(length, 0);
    let values = decode(dtype, shape, &packed).expect("enough bytes").filter(|t| t.dtype() == candle_core::DType::I64);
    let literal = match values {
        Some(values) if dtype.bits().is_some_and(|bits| bits >= 8) => {
            Literal::Ints(values.flatten_all().and_then(|t| t.to_vec1()).expect("integers"))
        }
        _ => Literal::Packed(packed),
    };
    Given::Constant(Value::Tensor(Recipe::literal(dtype, shape, literal).expect("as many as the shape")).into())
}

/// A constant float32 tensor of zeros.
pub(in crate::ops) fn constant_zeros(shape: &[u64]) -> Given {
    let zeros = vec![0.0; shape.iter().product::<u64>() as usize];
    Given::Constant(
        Value::Tensor(Recipe::literal(DataType::Float32, shape, Literal::Floats(zeros)).expect("as many as the shape"))
            .into(),
    )
}

/// Several values for a variadic parameter.
pub(in crate::ops) fn several(values: &[Given]) -> Given {
    Given::Several(values.to_vec())
}

fn build(op: &str, target: Target, arguments: &[(&str, Given)]) -> Result<String, BuildError> {
    let mut builder = Builder::new(ops::find, target);
    let mut bound = Vec::new();
    for (name, given) in arguments {
        let argument = match given {
            Given::Input(ty) => builder.input(name, ty.clone()).into(),
            Given::Constant(argument) => argument.clone(),
            Given::Several(values) => {
                let input = |given: &Given| match given {
                    Given::Input(ty) => builder.input(name, ty.clone()),
                    Given::Constant(Argument::Value(value)) => builder.constant(name, value.clone()),
                    _ => panic!("several values are inputs and constants"),
                };
                values.iter().map(input).collect::<Vec<Var>>().into()
            }
        };
        bound.push((*name, argument));
    }
    let results = builder.op(op, "tested", &bound)?;
    Ok(results.iter().map(|&var| builder.value_type(var).to_string()).collect::<Vec<_>>().join(", "))
}

/// Asserts that the arguments are refused with exactly this message.
#[track_caller]
pub(in crate::ops) fn refuses(op: &str, target: Target, arguments: &[(&str, Given)], why: &str) {
    match build(op, target, arguments) {
        Err(BuildError::Arguments { source, .. }) => assert_eq!(source.to_string(), why),
        other => panic!("`{op}` at {target} should be refused with `{why}`, got {other:?}"),
    }
}

/// Asserts that the arguments give results of these types.
#[track_caller]
pub(in crate::ops) fn accepts(op: &str, target: Target, arguments: &[(&str, Given)], types: &str) {
    assert_eq!(build(op, target, arguments).expect("accepted"), types, "`{op}` at {target}");
}

#[derive(Debug, Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    targets: Vec<Target>,
    arguments: BTreeMap<String, Numbers>,
    results: Vec<Array>,
    tolerance: f64,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Numbers {
    One(Array),
    Several(Vec<Array>),
}

#[derive(Debug, Deserialize)]
struct Array {
    dtype: String,
    shape: Vec<u64>,
    data: Vec<serde_json::Value>,
    #[serde(default)]
    constant: bool,
    /// The shape that type inference gives, where it does not know every length.
    declared: Option<Vec<Option<u64>>>,
}

impl Array {
    fn dtype(&self) -> DataType {
        DataType::from_name(&self.dtype).expect("fixtures name element types as MIL does")
    }

    fn ty(&self) -> TensorType {
        let dimension = |length: &Option<u64>| length.map_or(super::shapes::UNKNOWN, Dimension::Known);
        match &self.declared {
            Some(shape) => TensorType { dtype: self.dtype(), shape: shape.iter().map(dimension).collect() },
            None => TensorType::new(self.dtype(), &self.shape),
        }
    }

    fn number(value: &serde_json::Value) -> f64 {
        match value.as_str() {
            Some("inf") => f64::INFINITY,
            Some("-inf") => f64::NEG_INFINITY,
            Some(_) => f64::NAN,
            None => value.as_f64().unwrap_or_else(|| f64::from(u8::from(value.as_bool() == Some(true)))),
        }
    }

    fn numbers(&self) -> Vec<f64> {
        self.data.iter().map(Self::number).collect()
    }

    fn literal(&self) -> Literal {
        let numbers = || self.numbers().into_iter();
        match self.dtype() {
            DataType::String => {
                Literal::Strings(self.data.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect())
            }
            DataType::Bool => Literal::Bools(numbers().map(|v| v != 0.0).collect()),
            DataType::Float16 => Literal::Halves(numbers().map(half::f16::from_f64).collect()),
            DataType::Float32 => Literal::Floats(numbers().map(|v| v as f32).collect()),
            dtype if dtype.bits().is_some_and(|bits| bits < 8) => {
                Literal::Packed(self.packed(dtype.bits().unwrap_or(8)))
            }
            _ => Literal::Ints(numbers().map(|v| v as i64).collect()),
        }
    }

    fn packed(&self, bits: u64) -> Vec<u8> {
        let mut bytes = vec![0u8; (self.data.len() * bits as usize).div_ceil(8)];
        for (i, value) in self.numbers().into_iter().enumerate() {
            for bit in (0..bits as usize).filter(|bit| (value as i64) >> bit & 1 == 1) {
                let at = i * bits as usize + bit;
                bytes[at / 8] |= 1 << (at % 8);
            }
        }
        bytes
    }

    fn value(&self) -> Value {
        Value::Tensor(
            Recipe::literal(self.dtype(), &self.shape, self.literal())
                .expect("fixtures hold as many numbers as their shapes"),
        )
    }

    fn tensor(&self) -> Tensor {
        let bytes = self.literal().to_bytes(self.dtype()).unwrap().into_owned();
        decode(self.dtype(), &self.shape, &bytes).expect("as many bytes as the shape needs").expect("numbers")
    }

    fn bind(&self, name: &str, builder: &mut Builder, inputs: &mut BTreeMap<String, Tensor>) -> Var {
        if self.constant {
            return builder.constant(name, self.value());
        }
        let var = builder.input(name, TensorType::new(self.dtype(), &self.shape));
        inputs.insert(name.to_owned(), self.tensor());
        var
    }
}

/// Builds every case of `fixtures/ops/<op>.json` at all its targets; types must be coremltools', numbers the
/// reference's.
#[track_caller]
pub(in crate::ops) fn fixture(op: &str) {
    let path = format!("{}/fixtures/ops/{op}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let fixture: Fixture = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(!fixture.cases.is_empty(), "{path} has no cases");
    for case in &fixture.cases {
        for &target in &case.targets {
            check(op, case, target);
        }
    }
}

#[track_caller]
fn check(op: &str, case: &Case, target: Target) {
    let place = format!("`{op}` at {target}, case `{}`", case.name);
    let mut builder = Builder::new(ops::find, target);
    let mut inputs = BTreeMap::new();
    // A function without inputs is none: an operator whose arguments are all constants gets one that nobody uses.
    let unused = builder.input("unused", TensorType::new(DataType::Float32, &[1]));
    inputs.insert(
        "unused".to_owned(),
        Array { dtype: "fp32".into(), shape: vec![1], data: vec![0.into()], constant: false, declared: None }.tensor(),
    );
    let arguments: Vec<(&str, Argument)> = case
        .arguments
        .iter()
        .map(|(name, numbers)| match numbers {
            Numbers::One(array) => (name.as_str(), array.bind(name, &mut builder, &mut inputs).into()),
            Numbers::Several(arrays) => {
                let bind = |(i, array): (usize, &Array)| array.bind(&format!("{name}_{i}"), &mut builder, &mut inputs);
                (name.as_str(), arrays.iter().enumerate().map(bind).collect::<Vec<_>>().into())
            }
        })
        .collect();
    let results = builder.op(op, "tested", &arguments).unwrap_or_else(|error| panic!("{place}: {}", chain(&error)));
    let types: Vec<String> = results.iter().map(|&var| builder.ty(var).to_string()).collect();
    let expected: Vec<String> = case.results.iter().map(|result| result.ty().to_string()).collect();
    assert_eq!(types, expected, "{place}");
    let names: Vec<String> = (0..results.len()).map(|i| format!("result_{i}")).collect();
    let mut outputs: Vec<(&str, Var)> = names.iter().map(String::as_str).zip(results).collect();
    outputs.push(("unused_result", unused));
    let function = builder.finish(&outputs).unwrap_or_else(|error| panic!("{place}: {}", chain(&error)));
    let functions = BTreeMap::from([("main".to_owned(), function)]);
    let program =
        Program { target, functions, default_function: None, attributes: BTreeMap::new(), doc: String::new() };
    if op != "identity" {
        // Inputs and outputs may be of any type here, which `verify` does not allow; everything else holds.
        let checked = verify(&program, ops::find);
        let feature = matches!(&checked, Err(mil) if mil.to_string().contains("which needs"));
        assert!(checked.is_ok() || feature, "{place}: {checked:?}");
    }
    let run = Interpreter::new(&program, ops::OPERATORS, &Literals).run(None, inputs, Mode::Float32);
    let run = run.unwrap_or_else(|error| panic!("{place}: {}", chain(&error)));
    for (name, expected) in names.iter().zip(&case.results) {
        close(&place, &run[name], expected, case.tolerance);
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// Every number within `tolerance`, relative to the larger of 1 and the expected number.
#[track_caller]
fn close(place: &str, actual: &Tensor, expected: &Array, tolerance: f64) {
    let actual = actual
        .to_dtype(candle_core::DType::F64)
        .and_then(|t| t.flatten_all())
        .and_then(|t| t.to_vec1::<f64>())
        .expect("numbers");
    let expected = expected.numbers();
    assert_eq!(actual.len(), expected.len(), "{place}: number of elements");
    for (i, (a, e)) in actual.iter().zip(&expected).enumerate() {
        let same = a == e || (a.is_nan() && e.is_nan()) || (a - e).abs() <= tolerance * e.abs().max(1.0);
        assert!(same, "{place}: element {i} is {a}, expected {e} within {tolerance}");
    }
}
