//! Any bytes as a package's specification: refused, or verified and run on zeros within limits. Weight files are not
//! there.

#![no_main]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use libfuzzer_sys::fuzz_target;
use mlreg::{
    emit::coreml::{Unchecked, decode},
    eval::{Interpreter, Limits, Mode, storage_type},
    recipe::Literals,
    mil::{Function, TensorType, ValueType, verify},
    ops,
};

const LIMITS: Limits = Limits { elements: 1 << 14, operations: 1000 };

fn zeros(ty: &TensorType) -> Option<Tensor> {
    let fits = ty.elements().is_none_or(|n| n <= LIMITS.elements);
    let shape: Vec<usize> = ty.shape.iter().map(|d| d.known().unwrap_or(1) as usize).collect();
    Tensor::zeros(shape, storage_type(ty.dtype).filter(|_| fits)?, &Device::Cpu).ok()
}

fn inputs(function: &Function) -> Option<BTreeMap<String, Tensor>> {
    let given = function.inputs.iter().map(|&id| function.value(id)).filter(|info| !matches!(info.ty, ValueType::State(_)));
    given.map(|info| Some((info.name.clone(), zeros(info.ty.tensor()?)?))).collect()
}

fuzz_target!(|specification: &[u8]| {
    let Ok((program, _)) = decode(specification.to_vec().into(), &Unchecked) else { return };
    let _ = verify(&program, ops::find);
    let interpreter = Interpreter::new(&program, ops::OPERATORS, &Literals).limited(LIMITS);
    for (name, function) in &program.functions {
        if let Some(inputs) = inputs(function) {
            let _ = interpreter.run(Some(name), inputs, Mode::Declared);
        }
    }
});
