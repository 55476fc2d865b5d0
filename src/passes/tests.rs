//! A palette of two values through weight plan, program, specification and interpreter.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use candle_core::{Device, Tensor};

use super::*;
use crate::{
    checkpoint::MemoryWeights,
    emit::coreml::{ModelMetadata, WEIGHT_FILE_LIMIT, WeightLookup, decode, encode, plan_weights},
    eval::{Interpreter, Mode},
    mil::{Builder, DataType, TensorType},
    ops,
    recipe::{ConstantSource, Evaluator, Recipe, SourceError},
};

/// Stores matrices of float32 as two values and a bit for each element.
#[derive(Debug)]
struct TwoValued;

impl Pass for TwoValued {
    fn name(&self) -> &'static str {
        "two-valued"
    }

    fn replacement(&self, constant: &Constant, _target: Target) -> Option<Replacement> {
        let is_weight =
            constant.dtype() == DataType::Float32 && constant.shape().len() == 2 && !constant.sources().is_empty();
        is_weight.then(|| {
            let (table, indices) = constant.two_valued();
            let arguments = vec![("indices", indices), ("lut", table.reshape(&[1, 1, 2, 1]).unwrap())];
            Replacement::Operator { kind: "constexpr_lut_to_dense", arguments }
        })
    }
}

/// Constants that are evaluated when they are asked for.
#[derive(Debug)]
struct Evaluated<'w>(Evaluator<'w>);

impl ConstantSource for Evaluated<'_> {
    fn bytes(&self, recipe: &Recipe) -> Result<Cow<'_, [u8]>, SourceError> {
        Ok(Cow::Owned(self.0.bytes(recipe)?))
    }
}

const SHAPE: [u64; 2] = [8, 16];

fn weight() -> Constant {
    Recipe::source("w", DataType::Float32, &SHAPE)
}

/// `y = x wᵀ`
fn program() -> Program {
    let mut builder = Builder::new(ops::find, Target::Ios18);
    let x = builder.input("x", TensorType::new(DataType::Float32, &[1, 16]));
    let weight = builder.constant("w", Value::Tensor(weight()));
    let y = builder.op1("linear", "y", &[("x", x.into()), ("weight", weight.into())]).unwrap();
    Program {
        target: Target::Ios18,
        functions: BTreeMap::from([("main".to_owned(), builder.finish(&[("y", y)]).unwrap())]),
        default_function: None,
        attributes: BTreeMap::new(),
        doc: String::new(),
    }
}

#[test]
fn weight_plan_and_program_agree_on_what_is_stored() {
    let passes = Passes::new(vec![Arc::new(TwoValued)]);
    let stored = passes.stored(&[weight()], Target::Ios18);
    assert_eq!(stored.iter().map(|constant| constant.byte_length().unwrap()).collect::<Vec<_>>(), [16, 8]);
    let plan = plan_weights(&stored, &[], WEIGHT_FILE_LIMIT).unwrap();
    assert!(plan.location(&stored[0]).is_some() && plan.location(&weight()).is_none());
    // The table is too short for a weight file.
    let values: Vec<f32> = (0..128u16).map(|i| f32::from(i * 37 % 101) - 50.0).collect();
    let mut weights = MemoryWeights::default();
    weights.insert_f32("w", &SHAPE, &values);
    let source = Evaluated(Evaluator::new(&weights));
    let mut plan = plan;
    for constant in plan.inline().to_vec() {
        plan.set_values(&constant, source.0.bytes(&constant).unwrap());
    }
    let program = passes.run(program(), ops::find).unwrap();
    let text = crate::mil::print(&program);
    assert!(text.contains("w = constexpr_lut_to_dense(") && text.contains("linear(bias = "), "{text}");
    let bytes = encode(&program, &ModelMetadata::default(), &plan).unwrap();
    let (read, _) = decode(bytes.into(), &plan).unwrap();
    verify(&read, ops::find).unwrap();

    let x: Vec<f32> = (0..16u8).map(|i| f32::from(i) * 0.25 - 1.0).collect();
    let inputs = BTreeMap::from([("x".to_owned(), Tensor::from_vec(x.clone(), (1, 16), &Device::Cpu).unwrap())]);
    let interpreter = Interpreter::new(&program, ops::OPERATORS, &source);
    let y = interpreter.run(None, inputs, Mode::Float32).unwrap()["y"].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (least, most) = (-50.0, 50.0);
    let nearer = |value: &f32| if value - least > most - value { most } else { least };
    let expected = values.chunks(16).map(|row| row.iter().zip(&x).map(|(w, x)| nearer(w) * x).sum::<f32>());
    assert!(y.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-3), "{y:?}");
}

#[test]
fn no_passes_change_nothing() {
    let passes = Passes::default();
    assert_eq!(passes.stored(&[weight()], Target::Ios15), [weight()]);
    assert_eq!(passes.run(program(), ops::find).unwrap(), program());
}

/// Asks for an operator that iOS15 does not have.
#[test]
fn what_the_target_does_not_have_is_an_error_that_names_the_pass() {
    let passes = Passes::new(vec![Arc::new(TwoValued)]);
    let mut old = program();
    old.functions.get_mut("main").unwrap().opset = Target::Ios15;
    old.target = Target::Ios15;
    let error = passes.run(old, ops::find).unwrap_err();
    assert_eq!(error.to_string(), "pass `two-valued` cannot change function `main`");
}
