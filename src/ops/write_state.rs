//! `write_state` (iOS18): a state gets new contents. No results; it is the one operator with an effect.
//!
//! `input`: a state; `data`: a tensor of its type. The interpreter keeps what the evaluation gives.

use super::{Op, support::shapes::expect_shape};
use crate::{
    base::Target,
    mil::{BuildError, Builder, Call, DataType, Domain, InferError, OpDef, OpVersion, Parameter, ValueType, Var},
};

const DATA: &[DataType] = &[
    DataType::Float16,
    DataType::Float32,
    DataType::Int8,
    DataType::Int16,
    DataType::Int32,
    DataType::UInt8,
    DataType::UInt16,
    DataType::Bool,
];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "write_state",
        versions: &[OpVersion {
            since: Target::Ios18,
            domains: &[],
            parameters: &[Parameter::new("input", Domain::State), Parameter::new("data", Domain::Of(DATA))],
        }],
        infer,
    },
    kernel: |arguments| Ok(vec![arguments.tensor("data")?.clone()]),
};

impl Builder {
    /// `state` gets the contents `data`.
    ///
    /// # Errors
    /// When `data` is not of the state's type, or before iOS18.
    pub fn write_state(&mut self, name: &str, state: Var, data: Var) -> Result<(), BuildError> {
        self.op("write_state", name, &[("input", state.into()), ("data", data.into())]).map(drop)
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let ValueType::State(state) = call.value_type("input")? else { return Err(InferError::rule("input", "expected a state")) };
    expect_shape(call, "data", &state.shape)?;
    let data = call.tensor("data")?;
    if data.dtype != state.dtype {
        return Err(InferError::rule("data", format!("expected {state}, found {data}")));
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::{Device, Tensor};

    use crate::{
        base::Target,
        eval::{Interpreter, Mode, States},
        recipe::Literals,
        mil::{Builder, DataType, Program, TensorType, verify},
        ops,
    };

    /// A counter: the state grows by the input, the result is what it held before.
    fn counter() -> Program {
        let ty = TensorType::new(DataType::Float16, &[2]);
        let mut builder = Builder::new(ops::find, Target::Ios18);
        let x = builder.input("x", ty.clone());
        let state = builder.state("memory", ty);
        let before = builder.read_state("before", state).unwrap();
        let after = builder.add("after", before, x).unwrap();
        builder.write_state("memory_write", state, after).unwrap();
        let function = builder.finish(&[("held", before)]).unwrap();
        let functions = BTreeMap::from([("main".to_owned(), function)]);
        Program { target: Target::Ios18, functions, default_function: None, attributes: BTreeMap::new(), doc: String::new() }
    }

    #[test]
    fn a_state_outlives_a_run() {
        let program = counter();
        verify(&program, ops::find).unwrap();
        let interpreter = Interpreter::new(&program, ops::OPERATORS, &Literals);
        let mut states = States::default();
        let mut held = Vec::new();
        for _ in 0..3 {
            let x = Tensor::new(&[1f32, 0.5], &Device::Cpu).unwrap();
            let inputs = BTreeMap::from([("x".to_owned(), x)]);
            let outputs = interpreter.run_with_states(None, inputs, &mut states, Mode::Declared).unwrap();
            held.push(outputs["held"].to_vec1::<f32>().unwrap());
        }
        assert_eq!(held, [[0.0, 0.0], [1.0, 0.5], [2.0, 1.0]]);
        assert_eq!(states.get("memory").unwrap().to_vec1::<f32>().unwrap(), [3.0, 1.5]);
    }
}
