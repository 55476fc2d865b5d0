//! How an operator is declared: its parameters, their types, what changed at which target, and how its results' types
//! follow.

use std::collections::BTreeMap;

use half::f16;

use super::{Constant, DataType, Dimension, Literal, TensorType, Value, ValueType};
use crate::base::Target;

/// Finds an operator's declaration by its MIL name.
pub type Registry = fn(&str) -> Option<&'static OpDef>;

/// The declaration of an operator.
#[derive(Debug)]
pub struct OpDef {
    /// Its MIL name.
    pub name: &'static str,
    /// Its contracts, oldest first; the last one that is not newer than a function's opset holds.
    pub versions: &'static [OpVersion],
    /// The types of the results.
    pub infer: fn(&Call<'_>) -> Result<Vec<ValueType>, InferError>,
}

/// The contract of an operator from a target on.
#[derive(Debug)]
pub struct OpVersion {
    /// First target.
    pub since: Target,
    /// Type variables: every parameter of the same letter has the same element type, one of these.
    pub domains: &'static [(char, &'static [DataType])],
    /// Parameters, in MIL's order.
    pub parameters: &'static [Parameter],
}

/// A parameter of an operator.
#[derive(Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub domain: Domain,
    /// Whether it may be left out.
    pub presence: Presence,
    /// Whether it must be known when the program is compiled.
    pub constant: bool,
    /// Whether it takes several values.
    pub variadic: bool,
}

/// Which values a parameter takes.
#[derive(Debug, Clone, Copy)]
pub enum Domain {
    /// Tensors of one of these element types.
    Of(&'static [DataType]),
    /// Tensors of the version's type variable of this letter.
    Var(char),
    /// A state.
    State,
    /// Anything.
    Any,
}

/// Computes a default from the other arguments; `None` where it cannot be known.
pub type Default = fn(&Call<'_>) -> Option<Value>;

/// Whether a parameter may be left out.
#[derive(Debug, Clone, Copy)]
pub enum Presence {
    /// No.
    Required,
    /// Yes, and leaving it out means that it is not there.
    Optional,
    /// Yes, and leaving it out means this value. Writers always write it, since Core ML's own parser has refused
    /// programs without.
    Default(Default),
}

impl Parameter {
    /// A required parameter that may be computed at run time.
    pub const fn new(name: &'static str, domain: Domain) -> Self {
        Self { name, domain, presence: Presence::Required, constant: false, variadic: false }
    }

    /// The same, known at compile time.
    pub const fn constant(mut self) -> Self {
        self.constant = true;
        self
    }

    /// The same, but it may be left out.
    pub const fn optional(mut self) -> Self {
        self.presence = Presence::Optional;
        self
    }

    /// The same, with a default.
    pub const fn default(mut self, default: Default) -> Self {
        self.presence = Presence::Default(default);
        self
    }

    /// The same, taking several values.
    pub const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }
}

impl OpDef {
    /// The contract at `target`; `None` where the operator is newer.
    pub fn at(&self, target: Target) -> Option<&'static OpVersion> {
        self.versions.iter().rev().find(|version| version.since <= target)
    }

    /// The first target that has the operator.
    pub fn since(&self) -> Target {
        self.versions[0].since
    }
}

impl OpVersion {
    /// The parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&'static Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }
}

/// Why arguments do not fit an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferError {
    /// The operator is not there at the target.
    #[error("`{op}` needs {since}; the program is for {target}")]
    Target {
        /// The operator.
        op: &'static str,
        /// Its first target.
        since: Target,
        /// The program's.
        target: Target,
    },
    /// A parameter that the operator does not have at the target.
    #[error("`{op}` has no parameter `{parameter}` at {target}")]
    Unknown {
        /// The operator.
        op: &'static str,
        /// The name.
        parameter: String,
        /// The program's target.
        target: Target,
    },
    /// A required parameter is not given.
    #[error("required parameter `{0}` is missing")]
    Missing(String),
    /// A parameter is computed, but must be known.
    #[error("parameter `{0}` must be a constant")]
    NotConstant(String),
    /// Several values for a parameter of one.
    #[error("parameter `{parameter}` takes one value, found {found}")]
    Count {
        /// The parameter.
        parameter: String,
        /// Number of values.
        found: usize,
    },
    /// A parameter of another type.
    #[error("parameter `{parameter}` is {found}, expected {expected}")]
    Type {
        /// The parameter.
        parameter: String,
        /// What is allowed.
        expected: String,
        /// What was given.
        found: String,
    },
    /// Arguments whose shapes or values do not fit together.
    #[error("parameter `{parameter}`: {why}")]
    Rule {
        /// The parameter.
        parameter: &'static str,
        /// What was expected and found.
        why: String,
    },
}

impl InferError {
    /// A rule that `parameter` breaks.
    pub fn rule(parameter: &'static str, why: impl Into<String>) -> Self {
        Self::Rule { parameter, why: why.into() }
    }
}

/// An argument, as type inference sees it.
#[derive(Debug, Clone)]
struct Operand {
    ty: ValueType,
    constant: Option<Value>,
    /// Fixed before the program runs, known here or not.
    fixed: bool,
}

/// A use of an operator: its arguments' types and the constants among them. Accessors fall back to the operator's
/// defaults.
#[derive(Debug)]
pub struct Call<'a> {
    definition: &'static OpDef,
    version: &'static OpVersion,
    target: Target,
    arguments: BTreeMap<&'a str, Vec<Operand>>,
    blocks: Vec<BlockTypes>,
}

/// The types that a nested block takes and gives.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockTypes {
    /// Of its inputs (loop variables).
    pub inputs: Vec<ValueType>,
    /// Of its results.
    pub outputs: Vec<ValueType>,
}

impl<'a> Call<'a> {
    /// A use of `definition` at `target`, without arguments yet.
    ///
    /// # Errors
    /// When the target does not have the operator.
    pub fn new(definition: &'static OpDef, target: Target) -> Result<Self, InferError> {
        let missing = InferError::Target { op: definition.name, since: definition.since(), target };
        let version = definition.at(target).ok_or(missing)?;
        Ok(Self { definition, version, target, arguments: BTreeMap::new(), blocks: Vec::new() })
    }

    /// Adds a value of an argument.
    pub fn push(&mut self, parameter: &'a str, ty: ValueType, constant: Option<Value>) {
        let fixed = constant.is_some();
        self.arguments.entry(parameter).or_default().push(Operand { ty, constant, fixed });
    }

    /// Adds a value that is fixed before the program runs, though it is not known here: a result of a `constexpr_*`
    /// operator.
    pub fn push_fixed(&mut self, parameter: &'a str, ty: ValueType) {
        self.arguments.entry(parameter).or_default().push(Operand { ty, constant: None, fixed: true });
    }

    /// Adds the types of a nested block.
    pub fn push_block(&mut self, inputs: Vec<ValueType>, outputs: Vec<ValueType>) {
        self.blocks.push(BlockTypes { inputs, outputs });
    }

    /// The contract that holds.
    pub fn version(&self) -> &'static OpVersion {
        self.version
    }

    /// The function's opset.
    pub fn target(&self) -> Target {
        self.target
    }

    /// The operator's name.
    pub fn op(&self) -> &'static str {
        self.definition.name
    }

    /// The types of the nested blocks.
    pub fn blocks(&self) -> &[BlockTypes] {
        &self.blocks
    }

    /// The types of all values of an argument, tensors or not.
    ///
    /// # Errors
    /// When it was not given.
    pub fn value_types(&self, name: &str) -> Result<Vec<&ValueType>, InferError> {
        let operands = self.arguments.get(name).ok_or_else(|| InferError::Missing(name.to_owned()))?;
        Ok(operands.iter().map(|operand| &operand.ty).collect())
    }

    /// Checks the arguments against the contract and infers the results.
    ///
    /// # Errors
    /// The first argument that does not fit.
    pub fn infer(&self) -> Result<Vec<ValueType>, InferError> {
        self.check()?;
        (self.definition.infer)(self)
    }

    fn check(&self) -> Result<(), InferError> {
        for (&name, operands) in &self.arguments {
            let unknown = || InferError::Unknown { op: self.op(), parameter: name.to_owned(), target: self.target };
            let parameter = self.version.parameter(name).ok_or_else(unknown)?;
            if !parameter.variadic && operands.len() != 1 {
                return Err(InferError::Count { parameter: name.to_owned(), found: operands.len() });
            }
            if parameter.constant && operands.iter().any(|operand| !operand.fixed) {
                return Err(InferError::NotConstant(name.to_owned()));
            }
        }
        let mut bound: BTreeMap<char, DataType> = BTreeMap::new();
        for parameter in self.version.parameters {
            match self.arguments.get(parameter.name) {
                Some(operands) => {
                    operands.iter().try_for_each(|operand| self.check_type(parameter, &operand.ty, &mut bound))?
                }
                None if matches!(parameter.presence, Presence::Required) => {
                    return Err(InferError::Missing(parameter.name.to_owned()));
                }
                None => {}
            }
        }
        Ok(())
    }

    fn check_type(
        &self,
        parameter: &Parameter,
        ty: &ValueType,
        bound: &mut BTreeMap<char, DataType>,
    ) -> Result<(), InferError> {
        let error = |expected: String| InferError::Type {
            parameter: parameter.name.to_owned(),
            expected,
            found: ty.to_string(),
        };
        let list = |allowed: &[DataType]| {
            let names: Vec<_> = allowed.iter().map(|dtype| dtype.name()).collect();
            format!("a tensor of {}", names.join(", "))
        };
        let allowed = match parameter.domain {
            Domain::Any => return Ok(()),
            Domain::State => {
                return if matches!(ty, ValueType::State(_)) { Ok(()) } else { Err(error("a state".to_owned())) };
            }
            Domain::Of(allowed) => allowed,
            Domain::Var(letter) => self.version.domain(letter),
        };
        let dtype = ty
            .tensor()
            .map(|tensor| tensor.dtype)
            .filter(|dtype| allowed.contains(dtype))
            .ok_or_else(|| error(list(allowed)))?;
        if let Domain::Var(letter) = parameter.domain {
            let first = *bound.entry(letter).or_insert(dtype);
            if first != dtype {
                return Err(error(format!("a tensor of {first}, as the other arguments")));
            }
        }
        Ok(())
    }

    /// Whether the argument was given.
    pub fn has(&self, name: &str) -> bool {
        self.arguments.contains_key(name)
    }

    fn operand(&self, name: &str) -> Option<&Operand> {
        self.arguments.get(name)?.first()
    }

    /// The type of an argument.
    ///
    /// # Errors
    /// When it was not given.
    pub fn value_type(&self, name: &str) -> Result<&ValueType, InferError> {
        self.operand(name).map(|operand| &operand.ty).ok_or_else(|| InferError::Missing(name.to_owned()))
    }

    /// The tensor type of an argument.
    ///
    /// # Errors
    /// When it was not given or is no tensor.
    pub fn tensor(&self, name: &str) -> Result<&TensorType, InferError> {
        let ty = self.value_type(name)?;
        ty.tensor().ok_or_else(|| InferError::Type {
            parameter: name.to_owned(),
            expected: "a tensor".to_owned(),
            found: ty.to_string(),
        })
    }

    /// The tensor types of a variadic argument.
    ///
    /// # Errors
    /// When it was not given or one is no tensor.
    pub fn tensors(&self, name: &str) -> Result<Vec<&TensorType>, InferError> {
        let operands = self.arguments.get(name).ok_or_else(|| InferError::Missing(name.to_owned()))?;
        let found = |ty: &ValueType| InferError::Type {
            parameter: name.to_owned(),
            expected: "a tensor".to_owned(),
            found: ty.to_string(),
        };
        operands.iter().map(|operand| operand.ty.tensor().ok_or_else(|| found(&operand.ty))).collect()
    }

    /// The constant value of an argument or its default; `None` where it is computed, or absent without a default.
    pub fn known(&self, name: &str) -> Option<Value> {
        match self.operand(name) {
            Some(operand) => operand.constant.clone(),
            None => match self.version.parameter(name)?.presence {
                Presence::Default(default) => default(self),
                Presence::Required | Presence::Optional => None,
            },
        }
    }

    /// The constant values of a variadic argument.
    ///
    /// # Errors
    /// When it was not given, or one is computed.
    pub fn known_values(&self, name: &str) -> Result<Vec<Value>, InferError> {
        let operands = self.arguments.get(name).ok_or_else(|| InferError::Missing(name.to_owned()))?;
        let known: Option<Vec<Value>> = operands.iter().map(|operand| operand.constant.clone()).collect();
        known.ok_or_else(|| InferError::NotConstant(name.to_owned()))
    }

    fn literal(&self, name: &str) -> Result<Constant, InferError> {
        let value = self.known(name).ok_or_else(|| InferError::NotConstant(name.to_owned()))?;
        match value {
            Value::Tensor(recipe) if recipe.as_literal().is_some() => Ok(recipe),
            other => Err(self.unexpected(name, "a constant in place", &other)),
        }
    }

    fn unexpected(&self, name: &str, expected: &str, found: &Value) -> InferError {
        InferError::Type {
            parameter: name.to_owned(),
            expected: expected.to_owned(),
            found: found.value_type().to_string(),
        }
    }

    /// The integers of a constant argument, scalar or vector.
    ///
    /// # Errors
    /// When it is computed or holds no integers.
    pub fn ints(&self, name: &str) -> Result<Vec<i64>, InferError> {
        let recipe = self.literal(name)?;
        match recipe.as_literal() {
            Some(Literal::Ints(values)) => Ok(values.clone()),
            _ => Err(self.unexpected(name, "integers", &Value::Tensor(recipe))),
        }
    }

    /// The integer of a constant argument.
    ///
    /// # Errors
    /// When it is computed or is no single integer.
    pub fn int(&self, name: &str) -> Result<i64, InferError> {
        match self.ints(name)?.as_slice() {
            [value] => Ok(*value),
            _ => Err(InferError::Type {
                parameter: name.to_owned(),
                expected: "one integer".to_owned(),
                found: "several".to_owned(),
            }),
        }
    }

    /// The booleans of a constant argument.
    ///
    /// # Errors
    /// When it is computed or holds no booleans.
    pub fn bools(&self, name: &str) -> Result<Vec<bool>, InferError> {
        let recipe = self.literal(name)?;
        match recipe.as_literal() {
            Some(Literal::Bools(values)) => Ok(values.clone()),
            _ => Err(self.unexpected(name, "booleans", &Value::Tensor(recipe))),
        }
    }

    /// The boolean of a constant argument.
    ///
    /// # Errors
    /// When it is computed or is no single boolean.
    pub fn bool(&self, name: &str) -> Result<bool, InferError> {
        match self.bools(name)?.as_slice() {
            [value] => Ok(*value),
            _ => Err(InferError::Type {
                parameter: name.to_owned(),
                expected: "one boolean".to_owned(),
                found: "several".to_owned(),
            }),
        }
    }

    /// The number of a constant argument: a float of any width, or an integer.
    ///
    /// # Errors
    /// When it is computed or is no single number.
    pub fn number(&self, name: &str) -> Result<f64, InferError> {
        let recipe = self.literal(name)?;
        let number = match recipe.as_literal() {
            Some(Literal::Floats(values)) => values.first().map(|&v| f64::from(v)),
            Some(Literal::Halves(values)) => values.first().copied().map(f16::to_f64),
            Some(Literal::Doubles(values)) => values.first().copied(),
            Some(Literal::Ints(values)) => values.first().map(|&v| v as f64),
            _ => None,
        };
        number.ok_or_else(|| self.unexpected(name, "a number", &Value::Tensor(recipe)))
    }

    /// The string of a constant argument.
    ///
    /// # Errors
    /// When it is computed or is no string.
    pub fn text(&self, name: &str) -> Result<String, InferError> {
        let recipe = self.literal(name)?;
        match recipe.as_literal() {
            Some(Literal::Strings(values)) if values.len() == 1 => Ok(values[0].clone()),
            _ => Err(self.unexpected(name, "a string", &Value::Tensor(recipe))),
        }
    }

    /// An axis argument, made non-negative for a tensor of `rank` dimensions.
    ///
    /// # Errors
    /// When it is no constant integer in `-rank..rank`.
    pub fn axis(&self, name: &'static str, rank: usize) -> Result<usize, InferError> {
        normalize_axis(name, self.int(name)?, rank)
    }

    /// Several axes, made non-negative; repeated ones are refused.
    ///
    /// # Errors
    /// When they are no constant integers in `-rank..rank`, or repeat.
    pub fn axes(&self, name: &'static str, rank: usize) -> Result<Vec<usize>, InferError> {
        let axes =
            self.ints(name)?.into_iter().map(|axis| normalize_axis(name, axis, rank)).collect::<Result<Vec<_>, _>>()?;
        let mut sorted = axes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() == axes.len() {
            Ok(axes)
        } else {
            Err(InferError::rule(name, format!("axes repeat: {axes:?}")))
        }
    }
}

fn normalize_axis(name: &'static str, axis: i64, rank: usize) -> Result<usize, InferError> {
    let signed = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(signed)
        .ok()
        .filter(|&axis| axis < rank)
        .ok_or_else(|| InferError::rule(name, format!("axis {axis} is outside a tensor of rank {rank}")))
}

impl OpVersion {
    fn domain(&self, letter: char) -> &'static [DataType] {
        self.domains.iter().find(|(l, _)| *l == letter).map_or(&[], |(_, allowed)| *allowed)
    }

    /// The element types that a parameter takes; empty for states and anything.
    pub fn allowed(&self, parameter: &Parameter) -> &'static [DataType] {
        match parameter.domain {
            Domain::Of(allowed) => allowed,
            Domain::Var(letter) => self.domain(letter),
            Domain::State | Domain::Any => &[],
        }
    }
}

/// The shape of an elementwise result, as numpy broadcasts: aligned at the last dimension, 1 stretches. `None` where
/// shapes do not fit. An unknown length against a known one other than 1 takes the known one. A symbol fits itself, 1
/// and an unknown length.
pub fn broadcast(a: &[Dimension], b: &[Dimension]) -> Option<Vec<Dimension>> {
    let rank = a.len().max(b.len());
    let at =
        |shape: &[Dimension], i: usize| (i + shape.len()).checked_sub(rank).map_or(Dimension::Known(1), |i| shape[i]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (Dimension::Known(1), other) | (other, Dimension::Known(1)) => Some(other),
            (unknown @ Dimension::Unknown { .. }, Dimension::Symbol(_))
            | (Dimension::Symbol(_), unknown @ Dimension::Unknown { .. }) => Some(unknown),
            (one, other) if !one.agrees(other) => None,
            (Dimension::Known(x), _) | (_, Dimension::Known(x)) => Some(Dimension::Known(x)),
            (same, _) => Some(same),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_as_in_numpy() {
        let known = |shape: &[u64]| TensorType::new(DataType::Float32, shape).shape;
        assert_eq!(broadcast(&known(&[2, 1, 3]), &known(&[4, 1])), Some(known(&[2, 4, 3])));
        assert_eq!(broadcast(&known(&[]), &known(&[4])), Some(known(&[4])));
        assert_eq!(broadcast(&known(&[2]), &known(&[3])), None);
    }
}
