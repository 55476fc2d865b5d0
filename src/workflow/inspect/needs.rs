//! What a program needs: the lowest deployment target whose contract every operation satisfies, and what keeps it from
//! a lower one.
//!
//! Contracts are those of the operators' declarations. Features of a model that are no operations stand in a table: to
//! add one, write a function and put it into the list. What an OS does better than another is no need.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use serde::Serialize;

use crate::{
    base::Target,
    emit::coreml::{ColorSpace, FeatureType, ModelMetadata},
    mil::{
        self, Binding, DataType, Function, InferError, Known, Literal, Operation, Program, Refusal, Registry, Value,
        ValueType,
    },
};

/// What a program needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// The lowest target that takes all of it; `None` where there is none, not even the declared one.
    pub floor: Option<Target>,
    /// The target that the model is declared for.
    pub declared: Target,
    /// What keeps it from lower targets, highest target first; what the first target has is not listed.
    pub reasons: Vec<Need>,
    /// Operators that no declaration is known of, so that nothing can be said about them.
    pub unknown_operators: BTreeSet<String>,
}

/// Something that came with a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Need {
    /// What it is, e.g. `states`, `scaled_dot_product_attention`, `int4 weights (constexpr_blockwise_shift_scale)`.
    pub what: String,
    /// The target that it came with; `None` where no target takes it.
    pub target: Option<Target>,
    /// The operations that are of that kind; none for features of the whole model.
    pub operations: Vec<OperationPlace>,
}

/// An operation of a program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct OperationPlace {
    /// Its function.
    pub function: String,
    /// Its name.
    pub name: String,
    /// Its operator.
    pub operator: String,
}

impl OperationPlace {
    pub(super) fn new(function: &str, operation: &Operation) -> Self {
        Self { function: function.to_owned(), name: operation.name.clone(), operator: operation.kind.clone() }
    }
}

impl Needs {
    /// The needs that make the floor, where it is above the first target.
    pub fn of_floor(&self) -> impl Iterator<Item = &Need> {
        self.reasons.iter().filter(|need| need.target.is_none() || need.target == self.floor)
    }
}

/// A feature of a model that is no operation: what it is and the target that it came with, once for each that the model
/// has.
type Feature = fn(&Program, &ModelMetadata) -> Vec<(String, Target)>;

/// Every such feature.
const FEATURES: &[Feature] =
    &[states, functions, narrow_inputs, narrow_outputs, wide_greys, enumerated_inputs, integer_tables];

/// Targets that have an opset, oldest first.
fn targets() -> impl DoubleEndedIterator<Item = Target> {
    Target::all().filter(|target| target.opset().is_some())
}

/// What `program`, as it was read, has beside its operations: each feature with the target that it came with.
pub(super) fn features(program: &Program, metadata: &ModelMetadata) -> BTreeMap<String, Target> {
    FEATURES.iter().flat_map(|feature| feature(program, metadata)).collect()
}

/// Looks for the floor of `program`, whose integer tables stand in place, and of its features.
pub(super) fn needs(program: &Program, features: BTreeMap<String, Target>, registry: Registry) -> Needs {
    let mut unknown_operators = BTreeSet::new();
    let mut judged = Vec::new();
    let known: Vec<Known<'_>> = program.functions.values().map(Known::of).collect();
    for ((name, function), known) in program.functions.iter().zip(&known) {
        for operation in function.operations().filter(|operation| operation.kind != "const") {
            match registry(&operation.kind) {
                None => drop(unknown_operators.insert(operation.kind.clone())),
                Some(_) => judged.push(Judged::new(name, function, known, operation, registry)),
            }
        }
    }
    let taken_by = |target: &Target| {
        judged.iter().all(|judged| judged.accepts(*target)) && features.values().all(|since| since <= target)
    };
    let floor = targets().find(taken_by);
    let mut needs: BTreeMap<(Option<Target>, String), Vec<OperationPlace>> = BTreeMap::new();
    for (what, since) in features {
        needs.entry((Some(since), what)).or_default();
    }
    for judged in &judged {
        if let Some((what, target)) = judged.need(floor) {
            needs.entry((target, what)).or_default().push(judged.place());
        }
    }
    let mut reasons: Vec<Need> =
        needs.into_iter().map(|((target, what), operations)| Need { what, target, operations }).collect();
    // The highest target first, and what no target takes before all.
    // Features of the whole model come before operations.
    reasons.sort_by_key(|need| (need.target.is_some(), Reverse(need.target), !need.operations.is_empty()));
    Needs { floor, declared: program.target, reasons, unknown_operators }
}

/// An operation and what every target says about it.
struct Judged<'a> {
    function: (&'a str, &'a Function),
    known: &'a Known<'a>,
    operation: &'a Operation,
    refusals: BTreeMap<Target, Refusal>,
}

impl<'a> Judged<'a> {
    fn new(
        name: &'a str,
        function: &'a Function,
        known: &'a Known<'a>,
        operation: &'a Operation,
        registry: Registry,
    ) -> Self {
        let refusal = |target| Some((target, mil::refusal(function, known, operation, target, registry)?));
        Self { function: (name, function), known, operation, refusals: targets().filter_map(refusal).collect() }
    }

    fn accepts(&self, target: Target) -> bool {
        !self.refusals.contains_key(&target)
    }

    /// What keeps it from the targets below `floor`, and the first target from which on all up to `floor` take it.
    /// Without a floor, the highest target that takes it stands in for it.
    fn need(&self, floor: Option<Target>) -> Option<(String, Option<Target>)> {
        let Some(floor) = floor.or_else(|| targets().rev().find(|&target| self.accepts(target))) else {
            return self.refusals.values().next_back().map(|refusal| (self.what(refusal), None));
        };
        let (&last, refusal) = self.refusals.range(..floor).next_back()?;
        Some((self.what(refusal), targets().find(|&target| target > last)))
    }

    fn place(&self) -> OperationPlace {
        OperationPlace::new(self.function.0, self.operation)
    }

    /// What it is about the operation that a target refuses.
    fn what(&self, refusal: &Refusal) -> String {
        let op = &self.operation.kind;
        if let Some(weights) = self.weights() {
            return format!("{weights} ({op})");
        }
        match refusal {
            Refusal::Arguments(InferError::Target { .. }) => op.clone(),
            Refusal::Arguments(InferError::Unknown { parameter, .. }) => format!("{op} with {parameter}"),
            Refusal::Arguments(InferError::Missing(parameter)) => format!("{op} without {parameter}"),
            Refusal::Arguments(InferError::NotConstant(parameter)) => format!("{op} with a computed {parameter}"),
            Refusal::Arguments(InferError::Count { parameter, .. }) => format!("{op} with several {parameter}"),
            Refusal::Arguments(InferError::Type { parameter, found, .. }) => match self.dtype(parameter) {
                Some(dtype) => format!("{op} with {} {parameter}", dtype.long_name()),
                None => format!("{op} with {found} as {parameter}"),
            },
            Refusal::Arguments(InferError::Rule { parameter, .. }) => match self.text(parameter) {
                Some(text) => format!("{op} with {parameter} {text}"),
                None => format!("{op} with this {parameter}"),
            },
            Refusal::Results | Refusal::Inputs => op.clone(),
        }
    }

    /// What a `constexpr_*` operation makes.
    fn weights(&self) -> Option<String> {
        let dtype = |parameter| self.dtype(parameter).map_or_else(|| "compressed".to_owned(), DataType::long_name);
        Some(match self.operation.kind.as_str() {
            "constexpr_affine_dequantize" => format!("{} weights", dtype("quantized_data")),
            "constexpr_blockwise_shift_scale" => format!("{} weights", dtype("data")),
            "constexpr_lut_to_dense" => "palettized weights".to_owned(),
            "constexpr_lut_to_sparse" => "sparse palettized weights".to_owned(),
            "constexpr_sparse_to_dense" => "sparse weights".to_owned(),
            "constexpr_sparse_blockwise_shift_scale" => format!("sparse {} weights", dtype("nonzero_data")),
            "constexpr_cast" => format!("{} weights", dtype("source_val")),
            _ => return None,
        })
    }

    /// The text of a constant argument, such as the name of a mode.
    fn text(&self, parameter: &str) -> Option<&'a str> {
        let value = match self.operation.inputs.get(parameter)?.first()? {
            Binding::Value(id) => self.known.constant(*id)?,
            Binding::Literal(value) => value,
        };
        match value.tensor()?.as_literal()? {
            Literal::Strings(texts) => texts.first().map(String::as_str),
            _ => None,
        }
    }

    fn dtype(&self, parameter: &str) -> Option<DataType> {
        let ty = match self.operation.inputs.get(parameter).and_then(|bindings| bindings.first()) {
            Some(Binding::Value(id)) => self.function.1.value(*id).ty.clone(),
            Some(Binding::Literal(value)) => value.value_type(),
            None => self.operation.attributes.get(parameter)?.value_type(),
        };
        ty.tensor().map(|tensor| tensor.dtype)
    }
}

fn states(program: &Program, _: &ModelMetadata) -> Vec<(String, Target)> {
    let has_state =
        |function: &Function| function.inputs.iter().any(|&id| matches!(function.value(id).ty, ValueType::State(_)));
    only_if(program.functions.values().any(has_state), "states", Target::Ios18)
}

fn functions(program: &Program, _: &ModelMetadata) -> Vec<(String, Target)> {
    only_if(program.functions.len() > 1, "several functions", Target::Ios18)
}

fn narrow_inputs(program: &Program, _: &ModelMetadata) -> Vec<(String, Target)> {
    narrow(program, "inputs", |function| &function.inputs)
}

fn narrow_outputs(program: &Program, _: &ModelMetadata) -> Vec<(String, Target)> {
    narrow(program, "outputs", |function| &function.block.outputs)
}

/// Element types of inputs and outputs that came after iOS15.
fn narrow(program: &Program, side: &str, ids: fn(&Function) -> &[mil::ValueId]) -> Vec<(String, Target)> {
    let types = [(DataType::Float16, Target::Ios16), (DataType::Int8, Target::Ios26)];
    let has = |dtype: DataType| {
        let is = |function: &Function, id| function.value(id).ty.tensor().is_some_and(|tensor| tensor.dtype == dtype);
        program.functions.values().any(|function| ids(function).iter().any(|&id| is(function, id)))
    };
    types
        .into_iter()
        .filter(|(dtype, _)| has(*dtype))
        .map(|(dtype, since)| (format!("{} {side}", dtype.long_name()), since))
        .collect()
}

fn wide_greys(_: &Program, metadata: &ModelMetadata) -> Vec<(String, Target)> {
    let mut notes = metadata.functions.values().flat_map(|notes| notes.features.values());
    let has = notes.any(|note| matches!(note.ty, Some(FeatureType::Image { color: ColorSpace::GrayscaleFloat16, .. })));
    only_if(has, "float16 grey images", Target::Ios16)
}

/// Before iOS18 one input may have enumerated shapes.
fn enumerated_inputs(program: &Program, metadata: &ModelMetadata) -> Vec<(String, Target)> {
    use crate::emit::coreml::Flexibility::Enumerated;
    let is_enumerated = |ty: &Option<FeatureType>| match ty {
        Some(FeatureType::Array(array)) => matches!(array.flexibility, Some(Enumerated(_))),
        Some(FeatureType::Image { flexibility, .. }) => matches!(flexibility, Some(Enumerated(_))),
        _ => false,
    };
    let several = |(name, function): (&String, &Function)| {
        let notes = metadata.functions.get(name);
        let note = |id: &mil::ValueId| notes.and_then(|notes| notes.features.get(&function.value(*id).name));
        function.inputs.iter().filter_map(note).filter(|note| is_enumerated(&note.ty)).count() > 1
    };
    only_if(program.functions.iter().any(several), "several inputs of enumerated shapes", Target::Ios18)
}

/// Before iOS18 weight files hold 8 bit integers and floats alone. Arguments of `constexpr_*` are not meant: their
/// operators say what they need.
fn integer_tables(program: &Program, _: &ModelMetadata) -> Vec<(String, Target)> {
    let constants = program.functions.values().flat_map(Function::operations).filter_map(Operation::constant);
    let in_file = |value: &Value| {
        let recipe = value.tensor().filter(|recipe| recipe.as_blob().is_some())?;
        let dtype = recipe.dtype();
        (dtype.is_integer() && dtype.bits() != Some(8)).then_some(dtype)
    };
    let dtypes: BTreeSet<DataType> = constants.filter_map(in_file).collect();
    dtypes
        .into_iter()
        .map(|dtype| (format!("{} constants in a weight file", dtype.long_name()), Target::Ios18))
        .collect()
}

fn only_if(condition: bool, what: &str, since: Target) -> Vec<(String, Target)> {
    condition.then(|| (what.to_owned(), since)).into_iter().collect()
}
