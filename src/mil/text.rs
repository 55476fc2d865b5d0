//! Prints programs in the style of Core ML's MIL text, for tests, `inspect` and reviewers. Weights show as the recipe
//! that makes them.

use std::fmt::Write;

use super::{Binding, Block, Function, Operation, Program, Value};

/// The text of a program.
pub fn print(program: &Program) -> String {
    let mut out = format!("program({})\n", program.target);
    for (name, function) in &program.functions {
        print_function(&mut out, name, function);
    }
    out
}

fn print_function(out: &mut String, name: &str, function: &Function) {
    let inputs: Vec<String> =
        function.inputs.iter().map(|&id| function.value(id)).map(|v| format!("{} {}", v.ty, v.name)).collect();
    let _ = writeln!(out, "func {name}<{}>({}) {{", function.opset.id(), inputs.join(", "));
    print_block(out, function, &function.block, 1);
    let _ = writeln!(out, "}} -> ({});", names(function, &function.block.outputs));
}

fn names(function: &Function, ids: &[super::ValueId]) -> String {
    ids.iter().map(|&id| function.value(id).name.as_str()).collect::<Vec<_>>().join(", ")
}

fn print_block(out: &mut String, function: &Function, block: &Block, depth: usize) {
    for operation in &block.operations {
        print_operation(out, function, operation, depth);
    }
}

fn print_operation(out: &mut String, function: &Function, operation: &Operation, depth: usize) {
    let indent = "    ".repeat(depth);
    let results: Vec<String> =
        operation.outputs.iter().map(|&id| function.value(id)).map(|v| format!("{} {}", v.ty, v.name)).collect();
    let _ = write!(out, "{indent}");
    if !results.is_empty() {
        let _ = write!(out, "{} = ", results.join(", "));
    }
    if let Some(value) = operation.constant() {
        let _ = writeln!(out, "const({});", print_value(value));
        return;
    }
    let mut arguments: Vec<String> = operation
        .inputs
        .iter()
        .map(|(name, bindings)| format!("{name} = {}", print_bindings(function, bindings)))
        .collect();
    arguments.extend(operation.attributes.iter().map(|(name, value)| format!("{name} = {}", print_value(value))));
    let _ = write!(out, "{}({})", operation.kind, arguments.join(", "));
    for block in &operation.blocks {
        let _ = writeln!(out, " ({}) {{", names(function, &block.inputs));
        print_block(out, function, block, depth + 1);
        let _ = write!(out, "{indent}}} -> ({})", names(function, &block.outputs));
    }
    out.push_str(";\n");
}

fn print_bindings(function: &Function, bindings: &[Binding]) -> String {
    let one = |binding: &Binding| match binding {
        Binding::Value(id) => function.value(*id).name.clone(),
        Binding::Literal(value) => print_value(value),
    };
    match bindings {
        [single] => one(single),
        several => format!("({})", several.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

fn print_value(value: &Value) -> String {
    match value {
        Value::Tensor(recipe) => recipe.to_string(),
        Value::Tuple(values) | Value::List { values, .. } => {
            format!("({})", values.iter().map(print_value).collect::<Vec<_>>().join(", "))
        }
        Value::Dictionary { entries, .. } => {
            let entries: Vec<String> =
                entries.iter().map(|(k, v)| format!("{{{}, {}}}", print_value(k), print_value(v))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}
