//! Builds functions: every operation is checked against its declaration and its result types are inferred.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    Binding, Block, Call, Constant, DataType, Domain, Function, InferError, OpVersion, Operation, Parameter, Presence,
    Registry, Scope, TensorType, Value, ValueId, ValueInfo, ValueType,
};
use crate::base::{Blake3, Target};

/// A value under construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Var(ValueId);

impl Var {
    /// The value's id in the finished function.
    pub fn id(self) -> ValueId {
        self.0
    }
}

/// What an operation is given for a parameter.
#[derive(Debug, Clone)]
pub enum Argument {
    /// A value.
    Var(Var),
    /// Several values, for a variadic parameter.
    Vars(Vec<Var>),
    /// A constant of exactly this type.
    Value(Value),
    /// A float in whichever width the parameter wants: that of the arguments it must agree with, else float32.
    Float(f32),
}

impl From<Var> for Argument {
    fn from(var: Var) -> Self {
        Self::Var(var)
    }
}

impl From<Vec<Var>> for Argument {
    fn from(vars: Vec<Var>) -> Self {
        Self::Vars(vars)
    }
}

impl From<Value> for Argument {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl From<&Constant> for Argument {
    fn from(constant: &Constant) -> Self {
        Self::Value(Value::Tensor(constant.clone()))
    }
}

impl From<f32> for Argument {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}

impl From<bool> for Argument {
    fn from(value: bool) -> Self {
        Self::Value(Value::bool(value))
    }
}

impl From<i32> for Argument {
    fn from(value: i32) -> Self {
        Self::Value(Value::int(value))
    }
}

impl From<&[i32]> for Argument {
    fn from(values: &[i32]) -> Self {
        Self::Value(Value::ints(values))
    }
}

impl<const N: usize> From<[i32; N]> for Argument {
    fn from(values: [i32; N]) -> Self {
        Self::Value(Value::ints(&values))
    }
}

impl From<&str> for Argument {
    fn from(text: &str) -> Self {
        Self::Value(Value::string(text))
    }
}

/// Why an operation cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No such operator.
    #[error("`{0}` is not an operator that mlreg knows")]
    UnknownOp(String),
    /// Its arguments do not fit.
    #[error("cannot build `{op}` for `{name}`")]
    Arguments {
        /// The operator.
        op: String,
        /// The operation's name.
        name: String,
        /// Why.
        #[source]
        source: InferError,
    },
    /// Core ML has at most 5 dimensions.
    #[error("`{op}` for `{name}` makes {ty}: Core ML has at most 5 dimensions")]
    Rank {
        /// The operator.
        op: String,
        /// The operation's name.
        name: String,
        /// The result's type.
        ty: ValueType,
    },
}

/// Inputs and attributes.
type ConstexprArguments = (BTreeMap<String, Vec<Binding>>, BTreeMap<String, Value>);

/// Builds one function.
#[derive(Debug)]
pub struct Builder {
    registry: Registry,
    target: Target,
    values: Vec<ValueInfo>,
    constants: HashMap<ValueId, Value>,
    /// Results of `constexpr_*` operators.
    fixed: HashSet<ValueId>,
    equal: HashMap<(Blake3, DataType, Vec<u64>), Var>,
    inputs: Vec<ValueId>,
    operations: Vec<Operation>,
    names: HashSet<String>,
    modules: Vec<String>,
}

impl Builder {
    /// A function for `target`, with operators from `registry`.
    pub fn new(registry: Registry, target: Target) -> Self {
        Self {
            registry,
            target,
            values: Vec::new(),
            constants: HashMap::new(),
            fixed: HashSet::new(),
            equal: HashMap::new(),
            inputs: Vec::new(),
            operations: Vec::new(),
            names: HashSet::new(),
            modules: Vec::new(),
        }
    }

    /// Builds operations that are put into `function` later; they may use its [`existing`](Self::existing) values.
    pub(super) fn extending(function: &Function, registry: Registry) -> Self {
        let mut builder = Self::new(registry, function.opset);
        builder.values.clone_from(&function.values);
        builder.names = function.values.iter().map(|value| value.name.clone()).collect();
        for operation in function.operations() {
            builder.names.insert(operation.name.clone());
            if let Some(value) = operation.constant() {
                builder.constants.insert(operation.outputs[0], value.clone());
            }
            if operation.is_constexpr() {
                builder.fixed.extend(&operation.outputs);
            }
        }
        builder
    }

    /// A value of the function that is extended.
    pub fn existing(&self, id: ValueId) -> Var {
        Var(id)
    }

    /// The operations that were built since the last call.
    pub(super) fn take_operations(&mut self) -> Vec<Operation> {
        // A constant that went into one place of a function may not be defined at another.
        self.equal.clear();
        std::mem::take(&mut self.operations)
    }

    /// Names and types of all values.
    pub(super) fn into_values(self) -> Vec<ValueInfo> {
        self.values
    }

    /// The target.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Adds a tensor input.
    pub fn input(&mut self, name: &str, ty: TensorType) -> Var {
        self.add_input(name, ty.into())
    }

    /// Adds a state; the emitter refuses it below iOS18.
    pub fn state(&mut self, name: &str, ty: TensorType) -> Var {
        self.add_input(name, ValueType::State(ty))
    }

    fn add_input(&mut self, name: &str, ty: ValueType) -> Var {
        let var = self.define(name, ty);
        self.inputs.push(var.0);
        var
    }

    /// Does `body` with `module` added to the names of what it builds.
    ///
    /// # Errors
    /// Those of `body`.
    pub fn scope<T, E>(
        &mut self,
        module: impl Into<String>,
        body: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.modules.push(module.into());
        let result = body(self);
        self.modules.pop();
        result
    }

    /// The type of a value.
    pub fn value_type(&self, var: Var) -> &ValueType {
        &self.values[var.0.0 as usize].ty
    }

    /// The tensor type of a value.
    ///
    /// # Panics
    /// For a value that is no tensor: operators that give something else are never asked.
    pub fn ty(&self, var: Var) -> &TensorType {
        self.values[var.0.0 as usize].ty.tensor().expect("only tensors are asked for their tensor type")
    }

    /// The fixed shape of a value.
    ///
    /// # Panics
    /// For a value that is no tensor or whose shape is not fixed.
    pub fn shape(&self, var: Var) -> Vec<u64> {
        self.ty(var).fixed_shape().expect("programs are built with fixed shapes")
    }

    fn define(&mut self, wanted: &str, ty: ValueType) -> Var {
        let name = self.unique(wanted);
        let id = ValueId(u32::try_from(self.values.len()).expect("fewer than 2^32 values"));
        self.values.push(ValueInfo { name, ty });
        Var(id)
    }

    fn unique(&mut self, wanted: &str) -> String {
        let clean = super::verify::identifier(wanted);
        let mut name = clean.clone();
        let mut count = 1;
        while !self.names.insert(name.clone()) {
            name = format!("{clean}_{count}");
            count += 1;
        }
        name
    }

    /// A constant. Equal constants are one value.
    pub fn constant(&mut self, name: &str, value: Value) -> Var {
        let key = match &value {
            Value::Tensor(recipe) => Some((recipe.key(), recipe.dtype(), recipe.shape().to_vec())),
            _ => None,
        };
        if let Some(var) = key.as_ref().and_then(|key| self.equal.get(key)) {
            return *var;
        }
        let var = self.define(name, value.value_type());
        if let Some(key) = key {
            self.equal.insert(key, var);
        }
        self.constants.insert(var.0, value.clone());
        self.operations.push(Operation {
            kind: "const".to_owned(),
            name: self.values[var.0.0 as usize].name.clone(),
            inputs: BTreeMap::new(),
            outputs: vec![var.0],
            blocks: Vec::new(),
            attributes: BTreeMap::from([("val".to_owned(), value)]),
            scope: self.here(),
        });
        var
    }

    fn here(&self) -> Scope {
        Scope { module: self.modules.join(".") }
    }

    /// Adds an operation and returns its results. Parameters that have a default and are not given are written with it.
    ///
    /// # Errors
    /// When the operator is unknown or not there at the target, or the arguments do not fit.
    pub fn op(&mut self, kind: &str, name: &str, arguments: &[(&str, Argument)]) -> Result<Vec<Var>, BuildError> {
        let definition = (self.registry)(kind).ok_or_else(|| BuildError::UnknownOp(kind.to_owned()))?;
        let full = if self.modules.is_empty() { name.to_owned() } else { format!("{}_{name}", self.modules.join("_")) };
        let error = |source| BuildError::Arguments { op: kind.to_owned(), name: full.clone(), source };
        let version = definition.at(self.target).ok_or_else(|| {
            error(InferError::Target { op: definition.name, since: definition.since(), target: self.target })
        })?;
        let (inputs, attributes) = if kind.starts_with("constexpr_") {
            self.constexpr_arguments(version, arguments).map_err(error)?
        } else {
            (self.arguments(definition, version, &full, arguments).map_err(error)?, BTreeMap::new())
        };
        let types = self.call(definition, &inputs, &attributes).and_then(|call| call.infer()).map_err(error)?;
        if let Some(ty) = types.iter().find(|ty| ty.tensor().is_some_and(|tensor| tensor.rank() > 5)) {
            return Err(BuildError::Rank { op: kind.to_owned(), name: full, ty: ty.clone() });
        }
        let several = types.len() > 1;
        let outputs: Vec<Var> = types
            .into_iter()
            .enumerate()
            .map(|(i, ty)| self.define(&if several { format!("{full}_{i}") } else { full.clone() }, ty))
            .collect();
        if kind.starts_with("constexpr_") {
            self.fixed.extend(outputs.iter().map(|var| var.0));
        }
        let own = match outputs.as_slice() {
            [single] => self.values[single.0.0 as usize].name.clone(),
            _ => self.unique(&full),
        };
        self.operations.push(Operation {
            kind: kind.to_owned(),
            name: own,
            inputs,
            outputs: outputs.iter().map(|var| var.0).collect(),
            blocks: Vec::new(),
            attributes,
            scope: self.here(),
        });
        Ok(outputs)
    }

    /// Arguments of an ordinary operation: every constant is a `const` of its own, and defaults are written.
    fn arguments(
        &mut self,
        definition: &'static super::OpDef,
        version: &OpVersion,
        op: &str,
        arguments: &[(&str, Argument)],
    ) -> Result<BTreeMap<String, Vec<Binding>>, InferError> {
        let mut inputs: BTreeMap<String, Vec<Binding>> = BTreeMap::new();
        for (parameter, argument) in arguments {
            let vars = self.bind(version, op, parameter, argument, arguments);
            inputs.insert((*parameter).to_owned(), vars.into_iter().map(|var| Binding::Value(var.0)).collect());
        }
        for parameter in version.parameters {
            let Presence::Default(default) = parameter.presence else { continue };
            if inputs.contains_key(parameter.name) {
                continue;
            }
            let value = default(&self.call(definition, &inputs, &BTreeMap::new())?);
            if let Some(value) = value {
                let var = self.constant(&format!("{op}_{}", parameter.name), value);
                inputs.insert(parameter.name.to_owned(), vec![Binding::Value(var.0)]);
            }
        }
        Ok(inputs)
    }

    /// Arguments of a `constexpr_*` operation: constants stand in the operation itself, as attributes in the forms
    /// older than iOS18, which have no inputs, and as inputs from then on, which may also be results of other
    /// `constexpr_*` operations.
    fn constexpr_arguments(
        &self,
        version: &OpVersion,
        arguments: &[(&str, Argument)],
    ) -> Result<ConstexprArguments, InferError> {
        let (mut inputs, mut attributes) = (BTreeMap::new(), BTreeMap::new());
        for (name, argument) in arguments {
            let value = match argument {
                Argument::Value(value) => Some(value.clone()),
                Argument::Float(number) => {
                    let dtype = version.parameter(name).map(|declared| self.float_type(version, declared, arguments));
                    Some(Value::float(dtype.unwrap_or(DataType::Float32), *number))
                }
                Argument::Var(var) => self.constants.get(&var.0).cloned(),
                Argument::Vars(_) => None,
            };
            match (value, argument) {
                (Some(value), _) if version.since < Target::Ios18 => drop(attributes.insert((*name).to_owned(), value)),
                (Some(value), _) => drop(inputs.insert((*name).to_owned(), vec![Binding::Literal(value)])),
                (None, Argument::Var(var)) if version.since >= Target::Ios18 => {
                    inputs.insert((*name).to_owned(), vec![Binding::Value(var.0)]);
                }
                _ => return Err(InferError::NotConstant((*name).to_owned())),
            }
        }
        Ok((inputs, attributes))
    }

    /// [`op`](Self::op) for operators with one result.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// When the operator has not exactly one result.
    pub fn op1(&mut self, kind: &str, name: &str, arguments: &[(&str, Argument)]) -> Result<Var, BuildError> {
        let outputs = self.op(kind, name, arguments)?;
        assert_eq!(outputs.len(), 1, "`{kind}` has one result");
        Ok(outputs[0])
    }

    fn bind(
        &mut self,
        version: &OpVersion,
        op: &str,
        parameter: &str,
        argument: &Argument,
        all: &[(&str, Argument)],
    ) -> Vec<Var> {
        match argument {
            Argument::Var(var) => vec![*var],
            Argument::Vars(vars) => vars.clone(),
            Argument::Value(value) => vec![self.constant(&constant_name(op, parameter, value), value.clone())],
            Argument::Float(number) => {
                let dtype = version
                    .parameter(parameter)
                    .map_or(DataType::Float32, |declared| self.float_type(version, declared, all));
                vec![self.constant(&format!("{op}_{parameter}"), Value::float(dtype, *number))]
            }
        }
    }

    /// The width that a float given for `declared` must have.
    fn float_type(&self, version: &OpVersion, declared: &Parameter, all: &[(&str, Argument)]) -> DataType {
        let Domain::Var(letter) = declared.domain else { return DataType::Float32 };
        let same =
            |name: &str| version.parameter(name).is_some_and(|p| matches!(p.domain, Domain::Var(l) if l == letter));
        let dtype = |argument: &Argument| match argument {
            Argument::Var(var) => Some(self.ty(*var).dtype),
            Argument::Vars(vars) => vars.first().map(|var| self.ty(*var).dtype),
            Argument::Value(Value::Tensor(recipe)) => Some(recipe.dtype()),
            Argument::Value(_) | Argument::Float(_) => None,
        };
        all.iter().filter(|(name, _)| same(name)).find_map(|(_, argument)| dtype(argument)).unwrap_or(DataType::Float32)
    }

    fn call<'a>(
        &self,
        definition: &'static super::OpDef,
        inputs: &'a BTreeMap<String, Vec<Binding>>,
        attributes: &'a BTreeMap<String, Value>,
    ) -> Result<Call<'a>, InferError> {
        let mut call = Call::new(definition, self.target)?;
        for (parameter, bindings) in inputs {
            for binding in bindings {
                match binding {
                    Binding::Value(id) if self.fixed.contains(id) => {
                        call.push_fixed(parameter, self.values[id.0 as usize].ty.clone())
                    }
                    Binding::Value(id) => {
                        call.push(parameter, self.values[id.0 as usize].ty.clone(), self.constants.get(id).cloned())
                    }
                    Binding::Literal(value) => call.push(parameter, value.value_type(), Some(value.clone())),
                }
            }
        }
        for (parameter, value) in attributes {
            call.push(parameter, value.value_type(), Some(value.clone()));
        }
        Ok(call)
    }

    /// Ends the function; its results get the given names. A result that is an input, a constant or named already goes
    /// through `identity`.
    ///
    /// # Errors
    /// Only where `identity` cannot be built.
    pub fn finish(mut self, outputs: &[(&str, Var)]) -> Result<Function, BuildError> {
        let mut ids: Vec<ValueId> = Vec::new();
        for (name, var) in outputs {
            let taken = self.inputs.contains(&var.0) || self.constants.contains_key(&var.0) || ids.contains(&var.0);
            let var = if taken { self.op1("identity", name, &[("x", (*var).into())])? } else { *var };
            self.rename(var, name);
            ids.push(var.0);
        }
        Ok(Function {
            opset: self.target,
            values: self.values,
            inputs: self.inputs,
            block: Block { inputs: Vec::new(), operations: self.operations, outputs: ids, attributes: BTreeMap::new() },
            attributes: BTreeMap::new(),
        })
    }

    fn rename(&mut self, var: Var, name: &str) {
        if self.values[var.0.0 as usize].name == name {
            return;
        }
        if self.names.contains(name) {
            let moved = self.unique(&format!("{name}_value"));
            let other = self.values.iter().position(|value| value.name == name);
            debug_assert!(
                !self.inputs.iter().any(|input| Some(input.0 as usize) == other),
                "`{name}` is the name of an input"
            );
            if let Some(other) = other {
                self.rename_to(ValueId(u32::try_from(other).expect("fewer than 2^32 values")), &moved);
            }
        }
        self.names.insert(name.to_owned());
        self.rename_to(var.0, name);
    }

    fn rename_to(&mut self, id: ValueId, name: &str) {
        self.values[id.0 as usize].name = name.to_owned();
        if let Some(operation) = self.operations.iter_mut().find(|operation| operation.outputs == [id]) {
            operation.name = name.to_owned();
        }
    }
}

/// Weights are named after their checkpoint tensor, everything else after its use.
fn constant_name(op: &str, parameter: &str, value: &Value) -> String {
    match value.tensor().map(|recipe| recipe.sources()).as_deref() {
        Some([tensor]) => (*tensor).to_owned(),
        _ => format!("{op}_{parameter}"),
    }
}
