//! Damaged programs end in an error: bytes and values of the fixtures are changed at random, then decoded, verified and
//! run within limits.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use candle_core::{DType, Device, Tensor};
use proptest::{prelude::*, sample::Index};

use super::*;
use crate::{
    base::Target,
    emit::coreml::decode,
    eval::{Interpreter, Limits, Mode, storage_type, types_of},
    mil::{
        Binding, Block, DataType, Dimension, Function, Known, Literal, Operation, Value, ValueId, ValueInfo, ValueType,
        peak, refusal, verify,
    },
    ops,
};

const LIMITS: Limits = Limits { elements: 1 << 16, operations: 3000 };

struct Victim {
    bytes: Vec<u8>,
    package: Package,
}

fn victims() -> &'static [Victim] {
    static VICTIMS: OnceLock<Vec<Victim>> = OnceLock::new();
    VICTIMS.get_or_init(|| {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let list = |name: &str| fs::read_dir(fixtures.join(name)).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<PathBuf> = list("models").chain(list("packages")).chain(list("foreign")).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "mlpackage"));
        paths.retain(|path| !path.ends_with("two.mlpackage") && !path.ends_with("nested.mlpackage"));
        paths.sort();
        let victim = |path: &PathBuf| Victim {
            bytes: fs::read(path.join("Data/com.apple.CoreML/model.mlmodel")).unwrap(),
            package: Package::open(path).unwrap(),
        };
        paths.iter().map(victim).collect()
    })
}

/// Ones of every input's type; unknown lengths are 2.
fn inputs(function: &Function) -> Option<BTreeMap<String, Tensor>> {
    let given =
        function.inputs.iter().map(|&id| function.value(id)).filter(|info| !matches!(info.ty, ValueType::State(_)));
    let one = |info: &ValueInfo| {
        let ty = info.ty.tensor()?;
        let shape: Vec<usize> = ty.shape.iter().map(|d| d.known().unwrap_or(2) as usize).collect();
        let count = shape
            .iter()
            .try_fold(1usize, |product, &n| product.checked_mul(n))
            .filter(|&n| n <= LIMITS.elements as usize)?;
        let ones = Tensor::ones(count, DType::F32, &Device::Cpu).ok()?.to_dtype(storage_type(ty.dtype)?).ok()?;
        Some((info.name.clone(), ones.reshape(shape).ok()?))
    };
    given.map(one).collect()
}

/// Verifies, weighs and runs every function; what comes out does not matter.
fn exercise(program: &Program, weights: &dyn ConstantSource) {
    let _ = verify(program, ops::find);
    program.functions.values().for_each(weigh);
    let interpreter = Interpreter::new(program, ops::OPERATORS, weights).limited(LIMITS);
    for (name, function) in &program.functions {
        if let Some(inputs) = inputs(function) {
            let _ = interpreter.run(Some(name), inputs, Mode::Declared);
        }
    }
}

/// Infers lengths from inputs of length 2, looks for the peak, and asks every target about every operation.
fn weigh(function: &Function) {
    let twos = |id: ValueId| Some((id, vec![2; function.value(id).ty.tensor()?.rank().min(8)]));
    let shapes = function.inputs.iter().filter_map(|&id| twos(id)).collect();
    let _ = peak(function, &types_of(function, &shapes, ops::OPERATORS));
    let known = Known::of(function);
    for operation in function.operations() {
        Target::all().for_each(|target| drop(refusal(function, &known, operation, target, ops::find)));
    }
}

/// The `which`-th operation of a block, those inside of others counted too.
fn pick<'a>(block: &'a mut Block, which: &mut usize) -> Option<&'a mut Operation> {
    for operation in &mut block.operations {
        if *which == 0 {
            return Some(operation);
        }
        *which -= 1;
        for inner in &mut operation.blocks {
            if let Some(found) = pick(inner, which) {
                return Some(found);
            }
        }
    }
    None
}

const EXTREMES: [i64; 14] =
    [0, 1, -1, 2, -2, 3, 5, 7, 100, 65_535, i32::MAX as i64, i32::MIN as i64, i32::MAX as i64 - 1, 1 << 20];

fn changed(value: &Value, at: Index, extreme: i64) -> Option<Value> {
    let recipe = value.tensor()?;
    let literal = match recipe.as_literal()? {
        Literal::Ints(values) if !values.is_empty() => {
            let mut values = values.clone();
            values[at.index(recipe.elements()? as usize)] = extreme;
            Literal::Ints(values)
        }
        Literal::Bools(values) => Literal::Bools(values.iter().map(|value| !value).collect()),
        Literal::Floats(values) if values.len() == 1 => Literal::Floats(vec![
            [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-30, 1e30][extreme.unsigned_abs() as usize % 6],
        ]),
        _ => return None,
    };
    Recipe::literal(recipe.dtype(), recipe.shape(), literal).map(Value::Tensor)
}

/// Changes one thing in one operation of a function.
fn damage(function: &mut Function, which: Index, kind: usize, at: Index, extreme: i64) {
    let count = function.operations().count();
    let values = function.values.len();
    if count == 0 || values == 0 {
        return;
    }
    let id = ValueId(at.index(values) as u32);
    if kind == 0 {
        if let ValueType::Tensor(ty) | ValueType::State(ty) = &mut function.values[id.0 as usize].ty
            && !ty.shape.is_empty()
        {
            let axis = which.index(ty.shape.len());
            ty.shape[axis] =
                if extreme < 0 { Dimension::Unknown { variadic: false } } else { Dimension::Known(extreme as u64) };
        }
        return;
    }
    let Some(operation) = pick(&mut function.block, &mut which.index(count)) else { return };
    match kind {
        1 => {
            if let Some(value) = operation.attributes.values_mut().next()
                && let Some(new) = changed(value, at, extreme)
            {
                *value = new;
            }
        }
        2 => {
            if let Some(bindings) = operation.inputs.values_mut().nth(at.index(8)) {
                *bindings = vec![Binding::Value(id)];
            }
        }
        3 => drop(operation.inputs.pop_first()),
        4 => drop(operation.outputs.pop()),
        5 => drop(operation.blocks.pop()),
        6 => operation.inputs.values_mut().for_each(|bindings| bindings.extend(bindings.first().cloned())),
        _ => {
            let literal =
                Recipe::literal(DataType::Int32, &[], Literal::Ints(vec![extreme])).expect("every extreme is an int32");
            let literal = Value::Tensor(literal);
            if let Some(bindings) = operation.inputs.values_mut().nth(at.index(8)) {
                *bindings = vec![Binding::Literal(literal)];
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn damaged_bytes_end_in_an_error(which in any::<Index>(), changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4)) {
        let victim = which.get(victims());
        let mut bytes = victim.bytes.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok((program, _)) = decode(bytes.into(), &victim.package.weights) {
            exercise(&program, &victim.package.weights);
        }
    }

    #[test]
    fn damaged_programs_end_in_an_error(
        which in any::<Index>(),
        damages in prop::collection::vec((any::<Index>(), 0usize..8, any::<Index>(), prop::sample::select(&EXTREMES[..])), 1..3),
    ) {
        let victim = which.get(victims());
        let mut program = victim.package.program().clone();
        for (operation, kind, at, extreme) in damages {
            program.functions.values_mut().for_each(|function| damage(function, operation, kind, at, extreme));
        }
        exercise(&program, &victim.package.weights);
    }
}
