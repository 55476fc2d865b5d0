//! Walks a function, operation by operation. Shapes are inferred again from what is there, so every result is checked
//! against its operator's contract; values and decoded constants are dropped after their last use.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};

use super::{
    Arguments, EvalError, Kernel, KernelError, OperationError, constant,
    decoded::Decoded,
    defaults,
    pipeline::Body,
    plan::{Plans, Step},
    states::{Held, States, copied, share},
    storage_type,
    symbols::SymbolLengths,
    value::{Numbers, check_shape, conform, readable, small},
    view,
};
use crate::{
    contract::{Feature, Interface},
    emit::coreml::Model,
    mil::{
        Binding, Block, Call, DataType, Dimension, Function, InferError, Operation, Program, Registry, TensorType,
        Value, ValueId, ValueInfo, ValueType,
    },
    recipe::ConstantSource,
};

/// How numbers are kept between operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything in float32: what the program means. Only weights that are decompressed have their declared type.
    Float32,
    /// Every result rounded to its declared element type (each operator computes in float32): what a device with
    /// float16 storage gives.
    Declared,
}

impl Mode {
    /// `float32` or `declared`, as reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Declared => "declared",
        }
    }
}

/// How far a run may go: programs of strangers are run too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most elements that one value may have.
    pub elements: u64,
    /// The most operations that may be run, turns of loops included.
    pub operations: u64,
}

impl Default for Limits {
    /// 2^31 elements, 2^22 operations: an endless loop ends within a minute.
    fn default() -> Self {
        Self { elements: 1 << 31, operations: 1 << 22 }
    }
}

/// Where operators are found.
#[derive(Debug, Clone, Copy)]
pub struct Operators {
    /// Their declarations.
    pub definitions: Registry,
    /// Their evaluation.
    pub kernels: fn(&str) -> Option<Kernel>,
}

/// Runs the functions of a program, or a pipeline of programs. Constants that are needed again, in loops or later runs,
/// stay decoded, so whoever runs a program repeatedly keeps its interpreter.
#[derive(Debug)]
pub struct Interpreter<'a> {
    body: Body<'a>,
    operators: Operators,
    constants: &'a dyn ConstantSource,
    limits: Limits,
}

/// A program that is run, and what is found out about it.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    program: &'a Program,
    /// Knows the defaults of optional inputs.
    interface: Option<&'a Interface>,
    decoded: Decoded,
    plans: Plans,
}

impl<'a> Stage<'a> {
    pub(super) fn new(program: &'a Program, interface: Option<&'a Interface>) -> Self {
        Self { program, interface, decoded: Decoded::default(), plans: Plans::default() }
    }

    /// The description of a function's input.
    fn feature(&self, function: &str, name: &str) -> Option<&'a Feature> {
        let interface = self.interface?;
        let interface = interface.functions.get(function).unwrap_or(interface);
        interface.inputs.iter().find(|feature| feature.name == name)
    }
}

impl<'a> Interpreter<'a> {
    /// An interpreter of `program` whose constants come from `constants`. Every input has to be given.
    pub fn new(program: &'a Program, operators: Operators, constants: &'a dyn ConstantSource) -> Self {
        Self { body: Body::Program(Stage::new(program, None)), operators, constants, limits: Limits::default() }
    }

    /// An interpreter of a model. Optional inputs that are left out hold their defaults.
    pub fn of_model(model: &'a Model, operators: Operators, constants: &'a dyn ConstantSource) -> Self {
        Self { body: Body::of(model), operators, constants, limits: Limits::default() }
    }

    /// The most elements that one value may have.
    pub(super) fn most_elements(&self) -> u64 {
        self.limits.elements
    }

    /// The same within other limits.
    pub fn limited(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Runs a function (without a name: the one that runs by default), with states that start at zero and are
    /// forgotten.
    ///
    /// Inputs may be any float or integer width; results are `f32`, `i64` or (booleans) `u8`.
    ///
    /// # Errors
    /// When inputs do not fit, an operator is unknown, or one fails; the error says which.
    pub fn run(
        &self,
        function: Option<&str>,
        inputs: BTreeMap<String, Tensor>,
        mode: Mode,
    ) -> Result<BTreeMap<String, Tensor>, EvalError> {
        self.run_with_states(function, inputs, &mut States::default(), mode)
    }

    /// [`run`](Self::run) with states that are read and updated; one that is missing starts at zero.
    ///
    /// # Errors
    /// As there. The states may then be updated in part.
    pub fn run_with_states(
        &self,
        function: Option<&str>,
        inputs: BTreeMap<String, Tensor>,
        states: &mut States,
        mode: Mode,
    ) -> Result<BTreeMap<String, Tensor>, EvalError> {
        // On a thread of rayon's own, so that no operation waits until one wakes up.
        rayon::scope(|_| self.start(function, inputs, states, mode, None))
    }

    /// [`run`](Self::run), during which `watch` sees every result as soon as it is there: the operation, the name of
    /// the value, its tensor. Constants are no results.
    ///
    /// # Errors
    /// As there.
    pub fn run_watched(
        &self,
        function: Option<&str>,
        inputs: BTreeMap<String, Tensor>,
        mode: Mode,
        watch: Watch<'_>,
    ) -> Result<BTreeMap<String, Tensor>, EvalError> {
        self.start(function, inputs, &mut States::default(), mode, Some(watch))
    }

    fn start<'s>(
        &'s self,
        function: Option<&'s str>,
        inputs: BTreeMap<String, Tensor>,
        states: &'s mut States,
        mode: Mode,
        watch: Option<Watch<'s>>,
    ) -> Result<BTreeMap<String, Tensor>, EvalError> {
        self.call(&self.body, CallOptions { function, inputs, states, mode, watch })
    }

    /// Runs a function of a program.
    pub(super) fn run_program<'s>(
        &'s self,
        stage: &'s Stage<'a>,
        CallOptions { function, inputs, states, mode, watch }: CallOptions<'s>,
    ) -> Result<BTreeMap<String, Tensor>, EvalError> {
        let program = stage.program;
        let (name, function) = match function {
            None => program.main().ok_or_else(|| EvalError::Function("main".to_owned()))?,
            Some(name) => program
                .functions
                .get_key_value(name)
                .map(|(n, f)| (n.as_str(), f))
                .ok_or(EvalError::Function(name.to_owned()))?,
        };
        let mut run = Run {
            name,
            function,
            operators: self.operators,
            constants: self.constants,
            stage,
            mode,
            limits: self.limits,
            operations: 0,
            symbols: SymbolLengths::default(),
            values: HashMap::new(),
            states,
            watch,
        };
        run.take_inputs(inputs)?;
        run.block(&function.block)?;
        run.outputs()
    }
}

/// What a call is made with.
pub(super) struct CallOptions<'s> {
    pub function: Option<&'s str>,
    pub inputs: BTreeMap<String, Tensor>,
    pub states: &'s mut States,
    pub mode: Mode,
    pub watch: Option<Watch<'s>>,
}

/// Sees the results of operations: the function, the operation, the name of the result and its tensor.
pub type Watch<'w> = &'w mut dyn FnMut(&Function, &Operation, &str, &Tensor);

/// What a value is while the function runs.
enum Slot<'a> {
    Numbers(Numbers),
    /// A constant, and its tensor once it was needed.
    Constant(&'a Value, Option<Tensor>),
    State,
}

/// One argument, ready to be used.
struct Operand {
    ty: ValueType,
    known: Option<Value>,
    numbers: Option<Numbers>,
}

struct Run<'a, 's> {
    name: &'a str,
    function: &'a Function,
    operators: Operators,
    constants: &'a dyn ConstantSource,
    stage: &'s Stage<'a>,
    mode: Mode,
    limits: Limits,
    /// How many operations were run.
    operations: u64,
    /// The lengths of symbolic dimensions.
    symbols: SymbolLengths,
    values: HashMap<ValueId, Slot<'a>>,
    states: &'s mut States,
    /// What it sees stays as it is, so nothing is changed in place before its eyes.
    watch: Option<Watch<'s>>,
}

impl<'a> Run<'a, '_> {
    fn take_inputs(&mut self, mut inputs: BTreeMap<String, Tensor>) -> Result<(), EvalError> {
        for &id in &self.function.inputs {
            let info = self.function.value(id);
            let slot = match &info.ty {
                ValueType::State(ty) => {
                    self.take_state(&info.name, ty)?;
                    Slot::State
                }
                ty => {
                    let given = inputs.remove(&info.name).map_or_else(|| self.default(info), Ok)?;
                    let tensor = self.fitting(&info.name, ty, given)?;
                    self.bind_symbols(&info.name, ty, &tensor)?;
                    Slot::Numbers(tensor.into())
                }
            };
            self.values.insert(id, slot);
        }
        match inputs.pop_first() {
            Some((name, _)) => Err(EvalError::UnknownInput { function: self.name.to_owned(), name }),
            None => Ok(()),
        }
    }

    /// Takes the lengths of symbols from an input.
    fn bind_symbols(&mut self, name: &str, ty: &ValueType, tensor: &Tensor) -> Result<(), EvalError> {
        let Some(declared) = ty.tensor() else { return Ok(()) };
        let bound = self.symbols.bind(declared, tensor.dims().iter().map(|&n| n as u64));
        bound.map_err(|source| EvalError::Symbol {
            function: self.name.to_owned(),
            name: name.to_owned(),
            mismatch: source,
        })
    }

    /// What an input holds that is left out.
    fn default(&self, info: &ValueInfo) -> Result<Tensor, EvalError> {
        let (function, name, expected) = (self.name.to_owned(), info.name.clone(), info.ty.to_string());
        let Some(feature) = self.stage.feature(self.name, &info.name).filter(|feature| feature.optional) else {
            return Err(EvalError::MissingInput { function, name, expected });
        };
        let Some(default) = &feature.default else { return Err(EvalError::NoDefault { function, name, expected }) };
        let tensor = info.ty.tensor().and_then(|ty| defaults::tensor(feature, ty, self.limits.elements));
        tensor.ok_or_else(|| EvalError::Default { function, name, default: default.clone(), expected })
    }

    fn take_state(&mut self, name: &str, ty: &TensorType) -> Result<(), EvalError> {
        let declared = ValueType::from(ty.clone());
        let tensor = match self.states.take(name) {
            Some(held)
                if held.mode == Some(self.mode)
                    && declared.agrees(&Numbers::from(held.tensor.clone()).held_type(&declared)) =>
            {
                held.tensor
            }
            Some(held) => self.fitting(name, &declared, held.tensor)?,
            None => {
                let error = |found: String| self.input_error(name, &ty.clone().into(), found);
                let shape = ty.fixed_shape().filter(|_| ty.elements().is_some_and(|n| n <= self.limits.elements));
                let shape = shape.ok_or_else(|| error("a state without a fixed shape, or too large".to_owned()))?;
                let shape: Vec<usize> = shape.iter().map(|&n| n as usize).collect();
                let dtype = storage_type(ty.dtype).ok_or_else(|| error("no number".to_owned()))?;
                Tensor::zeros(shape, dtype, &Device::Cpu).map_err(|source| error(source.to_string()))?
            }
        };
        self.states.put(name, Held { tensor, mode: Some(self.mode) });
        Ok(())
    }

    fn input_error(&self, name: &str, expected: &ValueType, found: String) -> EvalError {
        EvalError::Input {
            function: self.name.to_owned(),
            name: name.to_owned(),
            expected: expected.to_string(),
            found,
        }
    }

    /// A given tensor as its declared type is held.
    fn fitting(&self, name: &str, expected: &ValueType, given: Tensor) -> Result<Tensor, EvalError> {
        let found = format!("{:?} {:?}", given.dtype(), given.dims());
        let error = || self.input_error(name, expected, found.clone());
        let ty = expected.tensor().ok_or_else(error)?;
        // Scalars are described as `[1]`.
        let given = if ty.rank() == 0 && given.dims() == [1] { given.squeeze(0).map_err(|_| error())? } else { given };
        let variadic = ty.shape.iter().any(|d| matches!(d, Dimension::Unknown { variadic: true }));
        let fits = |(d, &n): (&Dimension, &usize)| d.known().is_none_or(|d| d == n as u64);
        if !variadic && (ty.rank() != given.rank() || !ty.shape.iter().zip(given.dims()).all(fits)) {
            return Err(error());
        }
        let wanted = storage_type(ty.dtype).ok_or_else(error)?;
        let same_kind = match wanted {
            DType::F32 => given.dtype().is_float(),
            DType::I64 => given.dtype().is_int(),
            _ => given.dtype() == DType::U8,
        };
        if !same_kind {
            return Err(error());
        }
        let tensor = given.to_dtype(wanted).and_then(|tensor| conform(tensor, ty.dtype, self.mode));
        tensor.map_err(|source| self.input_error(name, expected, source.to_string()))
    }

    /// Runs the operations of a block, and drops values after their last use.
    fn block(&mut self, block: &'a Block) -> Result<(), EvalError> {
        let plan = self.stage.plans.get(block, std::ptr::eq(block, &self.function.block), self.operators);
        for (index, (operation, step)) in block.operations.iter().zip(&plan.steps).enumerate() {
            self.operation(operation, step).map_err(|source| self.located(index, operation, source))?;
            for id in &step.releases {
                self.values.remove(id);
            }
        }
        Ok(())
    }

    /// Runs a nested block on `inputs` and takes its results.
    fn nested(&mut self, block: &'a Block, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Failure> {
        let expected = block.inputs.iter().map(|&id| Numbers::count(&self.function.value(id).ty)).sum();
        if inputs.len() != expected {
            return Err(OperationError::Blocks { expected, found: inputs.len() }.into());
        }
        let mut inputs = inputs.into_iter();
        for &id in &block.inputs {
            let info = self.function.value(id);
            let numbers =
                Numbers::take(&info.ty, &mut inputs).ok_or_else(|| OperationError::Undefined(info.name.clone()))?;
            let computed = numbers.held_type(&info.ty);
            self.check_declared(info, &computed)?;
            self.values.insert(id, Slot::Numbers(numbers));
        }
        self.block(block).map_err(Failure::Nested)?;
        let mut results = Vec::with_capacity(block.outputs.len());
        for &id in &block.outputs {
            let numbers = self.operand(id)?.numbers;
            results.extend(
                numbers.ok_or_else(|| OperationError::Undefined(self.function.value(id).name.clone()))?.into_tensors(),
            );
        }
        for id in block.inputs.iter().chain(block.operations.iter().flat_map(|operation| &operation.outputs)) {
            self.values.remove(id);
        }
        Ok(results)
    }

    /// The results of an operation with blocks; `first` is what its evaluation gives: the choice, or the first
    /// variables.
    fn controlled(&mut self, operation: &'a Operation, first: Vec<Tensor>) -> Result<Vec<Tensor>, Failure> {
        let [one, other] = operation.blocks.as_slice() else {
            return Err(OperationError::Blocks { expected: 2, found: operation.blocks.len() }.into());
        };
        if operation.kind == "cond" {
            return self.nested(if is_true(first.first())? { one } else { other }, Vec::new());
        }
        let mut variables = first;
        while is_true(self.nested(one, variables.clone())?.first())? {
            variables = self.nested(other, variables)?;
        }
        Ok(variables)
    }

    fn located(&self, index: usize, operation: &Operation, failure: Failure) -> EvalError {
        let (function, name, op) = (self.name.to_owned(), operation.name.clone(), operation.kind.clone());
        match failure {
            Failure::Unknown => EvalError::UnknownOp { function, index, name, op },
            Failure::Nested(error) => error,
            Failure::Operation(source) => EvalError::Operation { function, index, name, op, source: Box::new(source) },
        }
    }

    fn operation(&mut self, operation: &'a Operation, step: &Step) -> Result<(), Failure> {
        self.operations += 1;
        if self.operations > self.limits.operations {
            return Err(OperationError::Endless { limit: self.limits.operations }.into());
        }
        if let Some(value) = operation.constant() {
            self.values.extend(operation.outputs.iter().map(|&id| (id, Slot::Constant(value, None))));
            return Ok(());
        }
        let (definition, kernel) = step.code.ok_or(Failure::Unknown)?;
        let mut call = Call::new(definition, self.function.opset)?;
        let mut tensors: BTreeMap<&str, Vec<Tensor>> = BTreeMap::new();
        for (parameter, operand) in self.operands(operation)? {
            // Whether constants are constant was a question before the program ran.
            match operand.known {
                Some(value) => call.push(parameter, operand.ty, Some(value)),
                None => call.push_fixed(parameter, operand.ty),
            }
            tensors.entry(parameter).or_default().extend(operand.numbers.into_iter().flat_map(Numbers::into_tensors));
        }
        for block in &operation.blocks {
            let types = |ids: &[ValueId]| {
                ids.iter().map(|&id| self.symbols.apply(&self.function.value(id).ty).into_owned()).collect()
            };
            call.push_block(types(&block.inputs), types(&block.outputs));
        }
        let types = call.infer()?;
        self.check_sizes(&types)?;
        let in_place = step.changes.is_some_and(|id| self.is_own(id));
        let mut results = kernel(&Arguments::new(&call, &types, &tensors).in_place(in_place))?;
        drop(tensors);
        if !operation.blocks.is_empty() {
            results = self.controlled(operation, results)?;
        }
        if operation.kind == "write_state" {
            return self.write_state(operation, results);
        }
        // Parts that were rounded make a whole that is.
        let rounded = in_place || step.moves;
        self.keep(operation, &types, results, rounded)
    }

    /// Whether nothing but a state has its numbers where this value has them, and nobody watches.
    fn is_own(&self, id: ValueId) -> bool {
        let Some(Slot::Numbers(Numbers { tensor, .. })) = self.values.get(&id) else { return false };
        let shares = |(other, slot): (&ValueId, &Slot<'_>)| {
            *other != id && matches!(slot, Slot::Numbers(it) if share(&it.tensor, tensor))
        };
        self.watch.is_none() && self.states.have(tensor) && !self.values.iter().any(shares)
    }

    /// Refuses results that are too large before they are computed.
    fn check_sizes(&self, types: &[ValueType]) -> Result<(), OperationError> {
        let elements = |ty: &ValueType| match ty {
            ValueType::List { element, length } => {
                let one = element.tensor().map_or(Some(1), |ty| known_elements(&ty.shape));
                one.and_then(|one| one.checked_mul(length.known().unwrap_or(1)))
            }
            _ => ty.tensor().map_or(Some(1), |ty| known_elements(&ty.shape)),
        };
        match types.iter().find(|ty| elements(ty).is_none_or(|n| n > self.limits.elements)) {
            Some(ty) => Err(OperationError::Large { ty: ty.to_string(), limit: self.limits.elements }),
            None => Ok(()),
        }
    }

    fn operands(&mut self, operation: &'a Operation) -> Result<Vec<(&'a str, Operand)>, OperationError> {
        let mut operands = Vec::new();
        for (parameter, bindings) in &operation.inputs {
            for binding in bindings {
                let operand = match binding {
                    Binding::Value(id) => self.operand(*id)?,
                    Binding::Literal(value) => self.literal(parameter, value)?,
                };
                operands.push((parameter.as_str(), operand));
            }
        }
        // Before iOS18 the parameters of `constexpr_*` are attributes.
        for (parameter, value) in operation.attributes.iter().filter(|_| operation.is_constexpr()) {
            operands.push((parameter, self.literal(parameter, value)?));
        }
        Ok(operands)
    }

    fn operand(&mut self, id: ValueId) -> Result<Operand, OperationError> {
        let info = self.function.value(id);
        let constants = self.constants;
        match self.values.get_mut(&id) {
            None => Err(OperationError::Undefined(info.name.clone())),
            Some(Slot::State) => {
                let numbers = self.states.tensor(&info.name).cloned().map(Numbers::from);
                Ok(Operand { ty: info.ty.clone(), known: None, numbers })
            }
            Some(Slot::Constant(value, decoded)) => {
                if decoded.is_none() {
                    *decoded = self.stage.decoded.get(value, || constant_tensor(&info.name, value, constants))?;
                }
                let known = Some(readable(value, decoded.as_ref()));
                Ok(Operand { ty: value.value_type(), known, numbers: decoded.clone().map(Numbers::from) })
            }
            Some(Slot::Numbers(numbers)) => {
                let ty = numbers.held_type(&info.ty);
                let known = ty.tensor().and_then(|ty| small(ty.dtype, &numbers.tensor));
                Ok(Operand { ty, known, numbers: Some(numbers.clone()) })
            }
        }
    }

    fn literal(&mut self, name: &str, value: &'a Value) -> Result<Operand, OperationError> {
        let constants = self.constants;
        let tensor = self.stage.decoded.get(value, || constant_tensor(name, value, constants))?;
        Ok(Operand {
            ty: value.value_type(),
            known: Some(readable(value, tensor.as_ref())),
            numbers: tensor.map(Numbers::from),
        })
    }

    /// Checks results against inference and declaration, rounds them unless they are `rounded`, and keeps them.
    fn keep(
        &mut self,
        operation: &Operation,
        types: &[ValueType],
        results: Vec<Tensor>,
        rounded: bool,
    ) -> Result<(), Failure> {
        let mut results = results.into_iter();
        for (i, &id) in operation.outputs.iter().enumerate() {
            let info = self.function.value(id);
            let found = types.get(i).and_then(|ty| Some((ty, Numbers::take(ty, &mut results)?)));
            let Some((ty, mut numbers)) = found else {
                return Err(OperationError::Undefined(info.name.clone()).into());
            };
            check_shape(ty, &numbers.tensor)?;
            let computed = numbers.held_type(ty);
            self.check_declared(info, &computed)?;
            let element = ty.tensor().map_or(DataType::Float32, |ty| ty.dtype);
            let mode = if operation.is_constexpr() { Mode::Declared } else { self.mode };
            if !rounded {
                numbers.tensor = conform(numbers.tensor, element, mode).map_err(KernelError::from)?;
            }
            if let Some(watch) = &mut self.watch {
                watch(self.function, operation, &info.name, &numbers.tensor);
            }
            self.values.insert(id, Slot::Numbers(numbers));
        }
        Ok(())
    }

    /// Checks a computed type against the declared one, whose symbols get the computed lengths unless they have others.
    fn check_declared(&mut self, info: &ValueInfo, computed: &ValueType) -> Result<(), OperationError> {
        if let (Some(declared), Some(found)) = (info.ty.tensor(), computed.tensor().and_then(TensorType::fixed_shape))
            && declared.rank() == found.len()
        {
            self.symbols
                .bind(declared, found)
                .map_err(|mismatch| OperationError::Symbol { name: info.name.clone(), mismatch })?;
        }
        if self.symbols.apply(&info.ty).agrees(computed) { Ok(()) } else { Err(declared_error(info, computed)) }
    }

    fn write_state(&mut self, operation: &Operation, results: Vec<Tensor>) -> Result<(), Failure> {
        let state = operation.inputs.get("input").and_then(|bindings| bindings.first());
        let Some(Binding::Value(id)) = state else { return Err(InferError::Missing("input".to_owned()).into()) };
        let info = self.function.value(*id);
        if let (ValueType::State(ty), Some(tensor)) = (&info.ty, results.into_iter().next()) {
            // Numbers that were changed in place are there already; others get a place that is the state's alone.
            let own = self
                .states
                .tensor(&info.name)
                .is_some_and(|state| share(state, &tensor) && state.dims() == tensor.dims());
            let tensor =
                if own { tensor } else { copied(&conform(tensor, ty.dtype, self.mode).map_err(KernelError::from)?) };
            self.states.put(&info.name, Held { tensor, mode: Some(self.mode) });
        }
        Ok(())
    }

    fn outputs(mut self) -> Result<BTreeMap<String, Tensor>, EvalError> {
        let ids = &self.function.block.outputs;
        ids.iter()
            .map(|&id| {
                let name = self.function.value(id).name.clone();
                let tensor = self.operand(id).ok().and_then(|operand| Some(operand.numbers?.tensor));
                let tensor =
                    tensor.ok_or_else(|| EvalError::Result { function: self.name.to_owned(), name: name.clone() })?;
                let tensor = if self.states.have(&tensor) { copied(&tensor) } else { tensor };
                Ok((name, tensor))
            })
            .collect()
    }
}

/// Why an operation failed, before it is said where.
enum Failure {
    Unknown,
    Operation(OperationError),
    /// In a block inside; it says where.
    Nested(EvalError),
}

impl<E: Into<OperationError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Operation(error.into())
    }
}

/// A choice, or whether a loop goes on.
fn is_true(flag: Option<&Tensor>) -> Result<bool, Failure> {
    let flag = flag.ok_or_else(|| OperationError::Undefined("the condition".to_owned()))?;
    let first = view(flag, |values: &[u8]| values.first().copied()).map_err(KernelError::from)?;
    Ok(first.is_some_and(|value| value != 0))
}

/// Number of elements as far as lengths are known; `None` on overflow.
fn known_elements(shape: &[Dimension]) -> Option<u64> {
    shape.iter().try_fold(1u64, |product, d| product.checked_mul(d.known().unwrap_or(1)))
}

fn constant_tensor(name: &str, value: &Value, source: &dyn ConstantSource) -> Result<Option<Tensor>, OperationError> {
    match value.tensor() {
        Some(recipe) if recipe.dtype() != DataType::String => constant::tensor(name, recipe, source).map(Some),
        _ => Ok(None),
    }
}

fn declared_error(info: &ValueInfo, computed: &ValueType) -> OperationError {
    OperationError::Declared { name: info.name.clone(), declared: info.ty.to_string(), computed: computed.to_string() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use half::f16;

    use super::*;
    use crate::{
        base::Target,
        mil::{Builder, OpDef, Recipe},
        ops,
        recipe::{Literals, SourceError},
    };

    fn program(build: impl FnOnce(&mut Builder) -> Vec<(&'static str, crate::mil::Var)>) -> Program {
        let mut builder = Builder::new(ops::find, Target::Ios16);
        let outputs = build(&mut builder);
        let function = builder.finish(&outputs).unwrap();
        let functions = BTreeMap::from([("main".to_owned(), function)]);
        Program {
            target: Target::Ios16,
            functions,
            default_function: None,
            attributes: BTreeMap::new(),
            doc: String::new(),
        }
    }

    /// `(x + 1) * y` in float16, with an output that is an input.
    fn small_program() -> Program {
        program(|builder| {
            let ty = TensorType::new(DataType::Float16, &[2]);
            let (x, y) = (builder.input("x", ty.clone()), builder.input("y", ty));
            let sum = builder.add("sum", x, 1.0).unwrap();
            let product = builder.mul("product", sum, y).unwrap();
            vec![("product", product), ("same", x)]
        })
    }

    fn inputs(values: &[(&str, [f32; 2])]) -> BTreeMap<String, Tensor> {
        values.iter().map(|(name, values)| ((*name).to_owned(), Tensor::new(values, &Device::Cpu).unwrap())).collect()
    }

    fn run(program: &Program, mode: Mode) -> Vec<f32> {
        let interpreter = Interpreter::new(program, ops::OPERATORS, &Literals);
        let outputs = interpreter.run(None, inputs(&[("x", [0.1, 2048.0]), ("y", [3.0, 1.0])]), mode).unwrap();
        assert_eq!(outputs.keys().collect::<Vec<_>>(), ["product", "same"]);
        outputs["product"].to_vec1().unwrap()
    }

    #[test]
    fn the_mode_says_how_results_are_rounded() {
        assert_eq!(run(&small_program(), Mode::Float32), [(0.1f32 + 1.0) * 3.0, 2049.0]);
        let round = |x: f32| f16::from_f32(x).to_f32();
        assert_eq!(run(&small_program(), Mode::Declared), [round(round(round(0.1) + 1.0) * 3.0), 2048.0]);
    }

    #[test]
    fn wrong_inputs_are_named() {
        let program = small_program();
        let interpreter = Interpreter::new(&program, ops::OPERATORS, &Literals);
        let error = |inputs| interpreter.run(None, inputs, Mode::Float32).unwrap_err().to_string();
        assert_eq!(error(inputs(&[("x", [0.0; 2])])), "main: input `y` is missing: expected tensor<fp16, [2]>");
        assert_eq!(error(inputs(&[("x", [0.0; 2]), ("y", [0.0; 2]), ("z", [0.0; 2])])), "main: there is no input `z`");
        let mut long = inputs(&[("x", [0.0; 2])]);
        long.insert("y".to_owned(), Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap());
        assert_eq!(error(long), "main: input `y` is F32 [3], expected tensor<fp16, [2]>");
        let mut whole = inputs(&[("x", [0.0; 2])]);
        whole.insert("y".to_owned(), Tensor::zeros(2, DType::I64, &Device::Cpu).unwrap());
        assert_eq!(error(whole), "main: input `y` is I64 [2], expected tensor<fp16, [2]>");
        let missing = interpreter.run(Some("other"), BTreeMap::new(), Mode::Float32).unwrap_err();
        assert_eq!(missing.to_string(), "the program has no function `other`");
    }

    #[test]
    fn an_operator_that_cannot_be_run_is_named_with_its_place() {
        let program = small_program();
        let some: Registry = |name| -> Option<&'static OpDef> { if name == "mul" { None } else { ops::find(name) } };
        let operators = Operators { definitions: some, kernels: ops::kernel };
        let inputs = inputs(&[("x", [0.0; 2]), ("y", [0.0; 2])]);
        let error = Interpreter::new(&program, operators, &Literals).run(None, inputs, Mode::Float32).unwrap_err();
        assert_eq!(error.to_string(), "main: operation #2 `product`: there is no `mul` to run");
    }

    /// Weights that are all ones.
    #[derive(Debug)]
    struct Ones {
        length: usize,
    }

    impl ConstantSource for Ones {
        fn bytes(&self, _: &Recipe) -> Result<std::borrow::Cow<'_, [u8]>, SourceError> {
            Ok(1f32.to_le_bytes().repeat(self.length).into())
        }
    }

    #[test]
    fn weights_come_from_their_source_and_must_have_their_length() {
        let weight = Recipe::blob("@model_path/weights/weight.bin", 64, DataType::Float32, &[1, 2]);
        let program = program(|builder| {
            let x = builder.input("x", TensorType::new(DataType::Float32, &[2]));
            vec![("y", builder.linear("y", x, &weight, None).unwrap())]
        });
        let x = || inputs(&[("x", [2.0, 3.0])]);
        let source = Ones { length: 2 };
        let outputs = Interpreter::new(&program, ops::OPERATORS, &source).run(None, x(), Mode::Declared).unwrap();
        assert_eq!(outputs["y"].to_vec1::<f32>().unwrap(), [5.0]);
        let source = Ones { length: 1 };
        let error = Interpreter::new(&program, ops::OPERATORS, &source).run(None, x(), Mode::Declared).unwrap_err();
        let EvalError::Operation { op, source, .. } = &error else { panic!("{error}") };
        assert_eq!(op, "linear");
        assert!(source.to_string().ends_with("has 4 bytes, tensor<fp32, [1, 2]> takes 8"), "{source}");
    }

    /// Counts how often somebody asks.
    #[derive(Debug, Default)]
    struct Counted {
        asked: std::sync::atomic::AtomicUsize,
    }

    impl ConstantSource for Counted {
        fn bytes(&self, _: &Recipe) -> Result<std::borrow::Cow<'_, [u8]>, SourceError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Ok([2f32, 3.0].map(f32::to_le_bytes).concat().into())
        }
    }

    #[test]
    fn an_interpreter_that_runs_again_and_again_asks_twice() {
        let weight = Recipe::blob("@model_path/weights/weight.bin", 64, DataType::Float32, &[1, 2]);
        let program = program(|builder| {
            let x = builder.input("x", TensorType::new(DataType::Float32, &[2]));
            vec![("y", builder.linear("y", x, &weight, None).unwrap())]
        });
        let source = Counted::default();
        let interpreter = Interpreter::new(&program, ops::OPERATORS, &source);
        for x in [1.0, 2.0, 3.0, 4.0] {
            let outputs = interpreter.run(None, inputs(&[("x", [x, 1.0])]), Mode::Declared).unwrap();
            assert_eq!(outputs["y"].to_vec1::<f32>().unwrap(), [2.0 * x + 3.0]);
        }
        assert_eq!(source.asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn integers_wrap_as_their_type_does() {
        let program = program(|builder| {
            let x = builder.input("x", TensorType::new(DataType::Int32, &[1]));
            vec![("y", builder.add("y", x, i32::MAX).unwrap())]
        });
        let x = BTreeMap::from([("x".to_owned(), Tensor::new(&[2i64], &Device::Cpu).unwrap())]);
        let outputs = Interpreter::new(&program, ops::OPERATORS, &Literals).run(None, x, Mode::Float32).unwrap();
        assert_eq!(outputs["y"].to_vec1::<i64>().unwrap(), [i64::from(i32::MIN) + 1]);
    }
}
