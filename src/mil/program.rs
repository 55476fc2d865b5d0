//! Programs, functions, blocks, operations.

use std::collections::BTreeMap;

use super::{Value, ValueType};
use crate::base::Target;

/// A value of a function: the index of its [`ValueInfo`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// Name and type of a value.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueInfo {
    /// Its name, unique in the function.
    pub name: String,
    /// Its type.
    pub ty: ValueType,
}

/// A whole program.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// The lowest OS that may load it (the model's specification version).
    pub target: Target,
    /// Functions by name; a program of one function calls it `main`.
    pub functions: BTreeMap<String, Function>,
    /// The function that runs when none is asked for, in a program of several.
    pub default_function: Option<String>,
    /// Attributes such as `buildInfo`.
    pub attributes: BTreeMap<String, Value>,
    /// Documentation text.
    pub doc: String,
}

/// A function.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// The opset that its operations are taken from.
    pub opset: Target,
    /// Every value of the function, nested blocks included.
    pub values: Vec<ValueInfo>,
    /// Inputs, states included.
    pub inputs: Vec<ValueId>,
    /// The body.
    pub block: Block,
    /// Attributes such as `FlexibleShapeInformation`.
    pub attributes: BTreeMap<String, Value>,
}

/// A list of operations.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Block {
    /// Inputs of a nested block (loop variables).
    pub inputs: Vec<ValueId>,
    /// Operations, each after those that it uses.
    pub operations: Vec<Operation>,
    /// Results.
    pub outputs: Vec<ValueId>,
    /// Attributes.
    pub attributes: BTreeMap<String, Value>,
}

/// What an argument is bound to.
#[derive(Debug, Clone, PartialEq)]
pub enum Binding {
    /// An earlier value.
    Value(ValueId),
    /// A constant in place.
    Literal(Value),
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// The operator, e.g. `conv`; `const` for constants, whose value is the attribute `val`.
    pub kind: String,
    /// Its own name, unique in the function; not always an output's name.
    pub name: String,
    /// Arguments by parameter; several bindings for variadic parameters.
    pub inputs: BTreeMap<String, Vec<Binding>>,
    /// Results.
    pub outputs: Vec<ValueId>,
    /// Nested blocks.
    pub blocks: Vec<Block>,
    /// Attributes other than `name`.
    pub attributes: BTreeMap<String, Value>,
    /// Where it came from.
    pub scope: Scope,
}

/// Where an operation came from. Not part of what a package says.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The part of the network, e.g. `layers.3.conv.0`.
    pub module: String,
}

/// Scopes never make programs differ.
impl PartialEq for Scope {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Function {
    /// Name and type of a value.
    ///
    /// # Panics
    /// For an id of another function.
    pub fn value(&self, id: ValueId) -> &ValueInfo {
        &self.values[id.0 as usize]
    }

    /// Every operation, nested ones after the one that holds them.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        let mut stack: Vec<std::slice::Iter<'_, Operation>> = vec![self.block.operations.iter()];
        std::iter::from_fn(move || {
            loop {
                let Some(operation) = stack.last_mut()?.next() else {
                    stack.pop();
                    continue;
                };
                for block in operation.blocks.iter().rev() {
                    stack.push(block.operations.iter());
                }
                return Some(operation);
            }
        })
    }
}

impl Binding {
    /// The constant in place.
    pub fn literal(&self) -> Option<&Value> {
        match self {
            Self::Literal(value) => Some(value),
            Self::Value(_) => None,
        }
    }
}

impl Operation {
    /// The value of a `const` operation.
    pub fn constant(&self) -> Option<&Value> {
        if self.kind == "const" { self.attributes.get("val") } else { None }
    }

    /// Every constant that stands in the operation itself: arguments in place, and attributes.
    pub fn constants(&self) -> impl Iterator<Item = &Value> {
        self.inputs.values().flatten().filter_map(Binding::literal).chain(self.attributes.values())
    }

    /// Whether it makes a weight out of compressed constants, before the program runs.
    pub fn is_constexpr(&self) -> bool {
        self.kind.starts_with("constexpr_")
    }

    /// Whether it runs when the program does: it is neither a constant nor made out of constants before.
    pub fn is_computed(&self) -> bool {
        self.kind != "const" && !self.is_constexpr()
    }
}

impl Program {
    /// The function that runs when none is asked for: the default one, else `main`, else the only one.
    pub fn main(&self) -> Option<(&str, &Function)> {
        let name = self.default_function.as_deref().unwrap_or("main");
        let named = self.functions.get_key_value(name);
        let only = || if self.functions.len() == 1 { self.functions.iter().next() } else { None };
        named.or_else(only).map(|(name, function)| (name.as_str(), function))
    }
}
