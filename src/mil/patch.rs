//! Changes to a function that are not applied yet: new operations at a place, and values that take the place of others.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Binding, Block, BuildError, Builder, Function, Operation, Registry, ValueId, Var};

/// A change to a function. New operations stand in the function's own block; uses in nested blocks are rebound as well.
#[derive(Debug)]
pub struct Patch<'f> {
    function: &'f Function,
    builder: Builder,
    /// New operations by the index of the operation that they stand before.
    inserted: BTreeMap<usize, Vec<Operation>>,
    /// New values by the old ones whose place they take.
    replaced: BTreeMap<ValueId, ValueId>,
}

impl<'f> Patch<'f> {
    /// A change that does nothing yet.
    pub fn new(function: &'f Function, registry: Registry) -> Self {
        Self {
            function,
            builder: Builder::extending(function, registry),
            inserted: BTreeMap::new(),
            replaced: BTreeMap::new(),
        }
    }

    /// The function without the change.
    pub fn function(&self) -> &'f Function {
        self.function
    }

    /// Adds the operations that `build` makes before the operation `index` of the function's block. They may use what
    /// is defined before it.
    ///
    /// # Errors
    /// Those of `build`; nothing is added then.
    pub fn insert<T>(
        &mut self,
        index: usize,
        build: impl FnOnce(&mut Builder) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let result = build(&mut self.builder);
        let operations = self.builder.take_operations();
        if result.is_ok() {
            self.inserted.entry(index).or_default().extend(operations);
        }
        result
    }

    /// Lets every operation and result of the function use `with` instead of `value`, under the name of `value`; new
    /// operations keep what they use. What nothing uses any more is removed.
    pub fn replace(&mut self, value: ValueId, with: Var) {
        self.replaced.insert(value, with.id());
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.inserted.is_empty() && self.replaced.is_empty()
    }

    /// The function with the change.
    pub fn apply(mut self) -> Function {
        let mut function = self.function.clone();
        function.values = self.builder.into_values();
        let mut operations = Vec::new();
        for (index, mut operation) in function.block.operations.into_iter().enumerate() {
            operations.extend(self.inserted.remove(&index).unwrap_or_default());
            rebind(&mut operation, &self.replaced);
            operations.push(operation);
        }
        operations.extend(self.inserted.into_values().flatten());
        function.block.operations = operations;
        function.block.outputs.iter_mut().for_each(|id| replace(id, &self.replaced));
        for (&old, &new) in &self.replaced {
            exchange_names(&mut function, old, new);
        }
        remove_unused(&mut function, self.replaced.into_keys().collect());
        function
    }
}

fn replace(id: &mut ValueId, replaced: &BTreeMap<ValueId, ValueId>) {
    if let Some(new) = replaced.get(id) {
        *id = *new;
    }
}

fn rebind(operation: &mut Operation, replaced: &BTreeMap<ValueId, ValueId>) {
    for binding in operation.inputs.values_mut().flatten() {
        if let Binding::Value(id) = binding {
            replace(id, replaced);
        }
    }
    for block in &mut operation.blocks {
        rebind_block(block, replaced);
    }
}

fn rebind_block(block: &mut Block, replaced: &BTreeMap<ValueId, ValueId>) {
    block.operations.iter_mut().for_each(|operation| rebind(operation, replaced));
    block.outputs.iter_mut().for_each(|id| replace(id, replaced));
}

/// The new value is what the old one was called. Operations with one result are called like it.
fn exchange_names(function: &mut Function, old: ValueId, new: ValueId) {
    let names = [old, new].map(|id| function.value(id).name.clone());
    for (id, name) in [(old, &names[1]), (new, &names[0])] {
        let own = std::mem::replace(&mut function.values[id.0 as usize].name, name.clone());
        let defines = |operation: &&mut Operation| operation.outputs == [id] && operation.name == own;
        if let Some(operation) = function.block.operations.iter_mut().find(defines) {
            operation.name.clone_from(name);
        }
    }
}

/// Removes the operations that made `values` and then those whose results only they used, as far as nothing uses them.
fn remove_unused(function: &mut Function, mut values: BTreeSet<ValueId>) {
    let mut uses: HashMap<ValueId, usize> = HashMap::new();
    let outputs = function.block.outputs.iter().copied();
    for id in function.block.operations.iter().flat_map(Operation::uses).chain(outputs) {
        *uses.entry(id).or_default() += 1;
    }
    // Later operations first, so that what they used is looked at after them.
    let mut kept = Vec::new();
    for operation in std::mem::take(&mut function.block.operations).into_iter().rev() {
        let is_looked_at = operation.outputs.iter().any(|id| values.contains(id));
        if is_looked_at && operation.outputs.iter().all(|id| uses.get(id).is_none_or(|&uses| uses == 0)) {
            for id in operation.uses() {
                uses.entry(id).and_modify(|uses| *uses -= 1);
                values.insert(id);
            }
        } else {
            kept.push(operation);
        }
    }
    kept.reverse();
    function.block.operations = kept;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::Target,
        mil::{DataType, Program, TensorType, Value, print, verify},
        ops,
    };

    /// `y = relu(x * 2 + 1)`
    fn function() -> Function {
        let mut builder = Builder::new(ops::find, Target::Ios16);
        let x = builder.input("x", TensorType::new(DataType::Float32, &[4]));
        let product = builder.op1("mul", "product", &[("x", x.into()), ("y", 2.0.into())]).unwrap();
        let sum = builder.op1("add", "sum", &[("x", product.into()), ("y", 1.0.into())]).unwrap();
        let y = builder.op1("relu", "y", &[("x", sum.into())]).unwrap();
        builder.finish(&[("y", y)]).unwrap()
    }

    fn text(function: Function) -> String {
        let program = Program {
            target: Target::Ios16,
            functions: BTreeMap::from([("main".to_owned(), function)]),
            default_function: None,
            attributes: BTreeMap::new(),
            doc: String::new(),
        };
        verify(&program, ops::find).unwrap();
        print(&program)
    }

    fn index(function: &Function, name: &str) -> (usize, ValueId) {
        let operations = &function.block.operations;
        let index = operations.iter().position(|operation| operation.name == name).unwrap();
        (index, operations[index].outputs[0])
    }

    #[test]
    fn a_replaced_value_takes_what_only_it_used_along_and_leaves_its_name() {
        let function = function();
        let (at, sum) = index(&function, "sum");
        let mut patch = Patch::new(&function, ops::find);
        assert!(patch.is_empty());
        let x = function.inputs[0];
        let new =
            patch.insert(at, |builder| builder.op1("abs", "absolute", &[("x", builder.existing(x).into())])).unwrap();
        patch.replace(sum, new);
        let text = text(patch.apply());
        assert!(text.contains("sum = abs(x = x)") && text.contains("y = relu(x = sum)"), "{text}");
        assert!(!text.contains("mul") && !text.contains("const"), "{text}");
    }

    #[test]
    fn a_new_operation_may_use_the_value_that_it_replaces() {
        let function = function();
        let (_, y) = index(&function, "y");
        let mut patch = Patch::new(&function, ops::find);
        let end = function.block.operations.len();
        let new =
            patch.insert(end, |builder| builder.op1("abs", "absolute", &[("x", builder.existing(y).into())])).unwrap();
        patch.replace(y, new);
        let text = text(patch.apply());
        assert!(text.contains("absolute = relu(x = sum)") && text.contains("y = abs(x = absolute)"), "{text}");
        assert!(text.ends_with("-> (y);\n") && text.contains("mul"), "{text}");
    }

    #[test]
    fn what_cannot_be_built_changes_nothing() {
        let function = function();
        let mut patch = Patch::new(&function, ops::find);
        assert!(patch.insert(0, |builder| builder.op1("abs", "wrong", &[("x", Value::bool(true).into())])).is_err());
        assert!(patch.is_empty());
        assert_eq!(text(patch.apply()), text(function));
    }
}
