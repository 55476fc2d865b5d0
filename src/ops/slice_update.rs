//! `slice_update` (iOS18): `x` with `update` in the place of the elements that `slice_by_index` would take.
//!
//! `begin`, `end`, `stride` and the masks are those of `slice_by_index`; `update` has the shape of that slice and is no
//! scalar.

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor, WithDType};

use super::{
    Op,
    slice_by_index::{BEGIN, BEGIN_MASK, END, END_MASK, SQUEEZE_MASK, STRIDE, ranges, sliced},
    support::{
        shapes::expect_shape,
        types::{SIZE, WIDE, X, var},
        unary::same_as_x,
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Argument, BuildError, Builder, Call, Dimension, InferError, OpDef, OpVersion, ValueType, Var},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "slice_update",
        versions: &[OpVersion {
            since: Target::Ios18,
            domains: &[('T', WIDE), ('U', SIZE)],
            parameters: &[X, var("update", 'T'), BEGIN, END, STRIDE, BEGIN_MASK, END_MASK, SQUEEZE_MASK],
        }],
        infer,
    },
    kernel,
};

impl Builder {
    /// `x` with `update` at `begin..end`, which may be computed.
    ///
    /// # Errors
    /// When the arguments do not fit, or before iOS18.
    pub fn slice_update(
        &mut self,
        name: &str,
        x: Var,
        update: Var,
        begin: impl Into<Argument>,
        end: impl Into<Argument>,
    ) -> Result<Var, BuildError> {
        self.op1("slice_update", name, &[("x", x.into()), ("update", update.into()), ("begin", begin.into()), ("end", end.into())])
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let ranges = ranges(call, x.rank())?;
    let slice = sliced(&x.shape, &ranges).into_iter().zip(&ranges).filter(|(_, range)| !range.squeeze).map(|(d, _)| d);
    let slice: Vec<Dimension> = slice.collect();
    if slice.is_empty() {
        return Err(InferError::rule("update", "a scalar cannot be put in"));
    }
    expect_shape(call, "update", &slice)?;
    same_as_x(call)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, update) = (arguments.tensor("x")?, arguments.tensor("update")?);
    let mut axes = Vec::new();
    for (axis, range) in ranges(arguments.call, x.rank())?.iter().enumerate() {
        axes.push(range.places(x.dims()[axis] as u64).ok_or_else(|| InferError::NotConstant("begin".to_owned()))?);
    }
    let count: usize = axes.iter().map(Vec::len).product();
    if count != update.elem_count() {
        return Err(InferError::rule("update", format!("expected {count} elements, found {}", update.elem_count())).into());
    }
    let result = if arguments.may_change_x() && x.is_contiguous() { x.clone() } else { x.force_contiguous()? };
    result.inplace_op1(&Put { update, axes })?;
    Ok(vec![result])
}

/// Puts elements at the places of every axis into a contiguous tensor.
struct Put<'a> {
    update: &'a Tensor,
    axes: Vec<Vec<usize>>,
}

impl Put<'_> {
    fn into<T: WithDType>(&self, values: &mut [T], layout: &Layout) -> candle_core::Result<()> {
        let values = &mut values[layout.start_offset()..];
        let put = |(i, &value): (usize, &T)| {
            let (mut rest, mut at, mut step) = (i, 0, 1);
            for (places, &length) in self.axes.iter().zip(layout.dims()).rev() {
                at += places[rest % places.len()] * step;
                rest /= places.len();
                step *= length;
            }
            values[at] = value;
        };
        view(self.update, |update: &[T]| update.iter().enumerate().for_each(put))
    }
}

impl InplaceOp1 for Put<'_> {
    fn name(&self) -> &'static str {
        "slice_update"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        match storage {
            CpuStorage::F32(values) => self.into(values, layout),
            CpuStorage::U8(values) => self.into(values, layout),
            CpuStorage::I64(values) => self.into(values, layout),
            _ => candle_core::bail!("tensors are held in other element types"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::{Device, Tensor};

    use crate::{
        base::Target,
        eval::{Interpreter, Mode, States},
        recipe::Literals,
        mil::{Builder, DataType, Program, TensorType, Var, verify},
        ops::{self, support::testing},
    };

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("slice_update");
    }

    #[test]
    fn the_update_has_the_shape_of_the_slice() {
        let arguments = [
            ("x", testing::float32(&[4, 3])),
            ("update", testing::float32(&[2, 3])),
            ("begin", testing::ints(&[0, 0])),
            ("end", testing::ints(&[1, 3])),
        ];
        let why = "parameter `update`: expected tensor<fp32, [1, 3]>, found tensor<fp32, [2, 3]>";
        testing::refuses("slice_update", Target::Ios18, &arguments, why);
    }

    /// A program that puts its input [1] into the state [3] at place 1; `body` makes more results of the state before,
    /// and after.
    fn program(body: impl FnOnce(&mut Builder, Var, Var) -> Vec<(&'static str, Var)>) -> Program {
        let mut builder = Builder::new(ops::find, Target::Ios18);
        let x = builder.input("x", TensorType::new(DataType::Float16, &[1]));
        let state = builder.state("memory", TensorType::new(DataType::Float16, &[3]));
        let before = builder.read_state("before", state).unwrap();
        let updated = builder.slice_update("updated", before, x, [1], [2]).unwrap();
        builder.write_state("write", state, updated).unwrap();
        let after = builder.read_state("after", state).unwrap();
        let results = body(&mut builder, before, after);
        let functions = BTreeMap::from([("main".to_owned(), builder.finish(&results).unwrap())]);
        Program { target: Target::Ios18, functions, default_function: None, attributes: BTreeMap::new(), doc: String::new() }
    }

    fn run(program: &Program, states: &mut States, x: f32) -> BTreeMap<String, Vec<f32>> {
        verify(program, ops::find).unwrap();
        let inputs = BTreeMap::from([("x".to_owned(), Tensor::new(&[x], &Device::Cpu).unwrap())]);
        let interpreter = Interpreter::new(program, ops::OPERATORS, &Literals);
        let outputs = interpreter.run_with_states(None, inputs, states, Mode::Declared).unwrap();
        outputs.into_iter().map(|(name, tensor)| (name, tensor.to_vec1().unwrap())).collect()
    }

    #[test]
    fn a_state_that_nobody_else_sees_is_changed_in_place() {
        let program = program(|_, _, after| vec![("after", after)]);
        let mut states = States::default();
        assert_eq!(run(&program, &mut states, 5.0)["after"], [0.0, 5.0, 0.0]);
        let place = |states: &States| states.tensor("memory").unwrap().clone();
        let (first, copy) = (place(&states), states.clone());
        let outputs = run(&program, &mut states, 7.0);
        assert!(states.have(&first), "the numbers are where they were");
        assert_eq!(outputs["after"], [0.0, 7.0, 0.0]);
        // Neither results nor copies change with it.
        run(&program, &mut states, 9.0);
        assert_eq!(outputs["after"], [0.0, 7.0, 0.0]);
        assert_eq!(copy.get("memory").unwrap().to_vec1::<f32>().unwrap(), [0.0, 5.0, 0.0]);
    }

    #[test]
    fn what_is_used_later_stays_as_it_was() {
        let mut states = States::default();
        let kept = program(|_, before, after| vec![("before", before), ("after", after)]);
        assert_eq!(run(&kept, &mut states, 5.0)["before"], [0.0; 3]);
        assert_eq!(run(&kept, &mut states, 6.0)["before"], [0.0, 5.0, 0.0]);
        // A part of an earlier reading, looked at after the next change.
        let mut builder = Builder::new(ops::find, Target::Ios18);
        let x = builder.input("x", TensorType::new(DataType::Float16, &[1]));
        let state = builder.state("memory", TensorType::new(DataType::Float16, &[3]));
        let early = builder.read_state("early", state).unwrap();
        let part = builder.slice_by_index("part", early, &[(1, Some(2))]).unwrap();
        let before = builder.read_state("before", state).unwrap();
        let updated = builder.slice_update("updated", before, x, [1], [2]).unwrap();
        builder.write_state("write", state, updated).unwrap();
        let function = builder.finish(&[("part", part)]).unwrap();
        let functions = BTreeMap::from([("main".to_owned(), function)]);
        let parts = Program { target: Target::Ios18, functions, default_function: None, attributes: BTreeMap::new(), doc: String::new() };
        assert_eq!(run(&parts, &mut states, 7.0)["part"], [6.0]);
        assert_eq!(run(&parts, &mut states, 8.0)["part"], [7.0]);
    }
}
