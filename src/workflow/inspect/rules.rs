//! What is worth knowing before a device sees a model, as sentences: rules of thumb about hardware, runtimes and tools.
//!
//! Nothing here makes a model wrong; what a target refuses is a [need](super::needs). Every rule is a constant that
//! names its source; to add one, write it and put its name into [`RULES`].

use std::{collections::HashSet, io::Read};

use serde::Serialize;

use super::{
    bundle::{BundleWeights, WeightFile},
    needs::Needs,
};
use crate::{
    base::Target,
    contract::Interface,
    mil::{
        Constant, DataType, Function, Known, Literal, Operation, Parameter, Presence, Program, Registry, Value,
        ValueId, ValueType,
    },
};

/// Something worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The name of the rule, which stays.
    pub rule: &'static str,
    /// The function, where it is about one.
    pub function: Option<String>,
    /// What it is about, e.g. names of inputs or operations.
    pub names: Vec<String>,
    /// A sentence, which names the first of them.
    pub text: String,
}

/// What rules look at.
pub(super) struct Subject<'a> {
    pub(super) program: &'a Program,
    pub(super) interface: &'a Interface,
    pub(super) needs: &'a Needs,
    pub(super) weights: &'a [WeightFile],
    /// Where the constants are; none while they are not written.
    pub(super) data: Option<BundleWeights<'a>>,
    pub(super) registry: Registry,
}

/// A rule: its name and what it looks at.
struct Rule {
    name: &'static str,
    check: Check,
}

/// What a rule found.
struct Finding {
    names: Vec<String>,
    text: String,
}

enum Check {
    /// The whole bundle.
    Bundle(fn(&Subject<'_>) -> Option<Finding>),
    /// One function, and how it is described.
    Function(fn(&Subject<'_>, &Function, &Interface) -> Option<Finding>),
}

/// What a manifest can say so that a rule of that name finds nothing; none where no key avoids it. `halves`: whether
/// the program computes in float16 already.
pub(super) fn advice(rule: &str, halves: bool) -> Option<&'static str> {
    match rule {
        "large-weights" => Some("`chunks` splits the layers into several bundles"),
        "state-alignment" => Some("cache = \"inputs\" has no states"),
        "float32-compute" if !halves => Some("precision = \"float16\" computes in float16"),
        "float32-compute" => Some("no key avoids it: float16 has not the range or the digits for what is computed so"),
        _ => None,
    }
}

/// Every rule, in the order of the report.
const RULES: &[Rule] = &[
    UNDECLARED_TARGET,
    LARGE_WEIGHTS,
    FLOAT16_RANGE,
    INTEGER_INPUTS,
    FLEXIBLE_SHAPES,
    STATE_ALIGNMENT,
    RANK,
    FLOAT32_COMPUTE,
    CONTROL_FLOW,
    MISSING_PARAMETERS,
];

/// Looks at `subject` with every rule.
pub(super) fn warnings(subject: &Subject<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for Rule { name: rule, check } in RULES {
        let mut add = |function: Option<&String>, finding: Option<Finding>| {
            let warning = |Finding { names, text }| Warning { rule, function: function.cloned(), names, text };
            warnings.extend(finding.map(warning));
        };
        match check {
            Check::Bundle(check) => add(None, check(subject)),
            Check::Function(check) => {
                for (name, function) in &subject.program.functions {
                    add(
                        Some(name),
                        check(subject, function, subject.interface.functions.get(name).unwrap_or(subject.interface)),
                    );
                }
            }
        }
    }
    warnings
}

/// What is found about some names, if there are any; `sentence` gets the first of them as a list.
fn about(names: impl IntoIterator<Item = String>, sentence: impl FnOnce(&str) -> String) -> Option<Finding> {
    const SHOWN: usize = 3;
    let names: Vec<String> = names.into_iter().collect();
    let mut list = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        list += &format!(" and {} more", names.len() - SHOWN);
    }
    (!names.is_empty()).then(|| Finding { text: sentence(&list), names })
}

/// Core ML takes the availability of a model from its specification version, whatever the program holds. Source:
/// compiled models, whose `metadata.json` gives the version's OS for programs of older opsets.
const UNDECLARED_TARGET: Rule = Rule {
    name: "undeclared-target",
    check: Check::Bundle(|subject| {
        let (declared, needs) = (subject.program.target, subject.needs);
        let text = match needs.floor {
            Some(floor) if floor <= declared => return None,
            Some(floor) => format!("the model is declared for {declared} and needs {floor}"),
            None => "no deployment target takes all operations of the program".to_owned(),
        };
        Some(Finding { names: needs.of_floor().map(|need| need.what.clone()).collect(), text })
    }),
};

/// Readers that keep lengths in signed 32 bit numbers end at 2^31 - 1 bytes, and tags of on-demand resources held 2 GB
/// in use before iOS18. Source: Apple's limits of on-demand resources.
const LARGE_WEIGHTS: Rule = Rule {
    name: "large-weights",
    check: Check::Bundle(|subject| {
        let large = subject.weights.iter().filter(|file| file.bytes > i32::MAX as u64);
        about(large.map(|file| file.path.to_string()), |files| {
            format!("{files}: above 2 GB some runtimes and ways of delivery fail; the model can be split")
        })
    }),
};

/// The lowest float32 of a mask becomes -inf in float16, and 0 * -inf is NaN in the outputs; weights beyond 65504
/// become infinite. Source: what coremltools 9 writes of such masks.
const FLOAT16_RANGE: Rule = Rule {
    name: "float16-range",
    check: Check::Bundle(|subject| {
        let mut seen = HashSet::new();
        let functions = subject.program.functions.values();
        let constants = functions
            .flat_map(|function| function.operations().flat_map(|operation| float16_constants(function, operation)));
        let damaged =
            constants.filter(|(_, recipe)| seen.insert(recipe.key()) && !is_finite(recipe, subject.data.as_ref()));
        about(damaged.map(|(name, _)| name.to_owned()), |constants| {
            format!("float16 constants hold infinities or NaN, out of range when they were made: {constants}")
        })
    }),
};

/// A program passes int32, from iOS26 on int8, and no other integers. Source: coremltools 9.
const INTEGER_INPUTS: Rule = Rule {
    name: "integer-inputs",
    check: Check::Function(|subject, function, _| {
        let passes =
            |dtype| dtype == DataType::Int32 || (dtype == DataType::Int8 && subject.program.target >= Target::Ios26);
        let is_other = |id: &&ValueId| {
            function.value(**id).ty.tensor().is_some_and(|ty| ty.dtype.is_integer() && !passes(ty.dtype))
        };
        let other = function.inputs.iter().filter(is_other);
        about(other.map(|id| function.value(*id).name.clone()), |inputs| {
            format!("inputs are integers other than int32, which Core ML does not pass: {inputs}")
        })
    }),
};

/// Fixed shapes are best for the Neural Engine, enumerated ones next; ranges keep a model off it unless the app sets
/// the hint that shapes change infrequently (iOS 17.4). Source: the guide of coremltools.
const FLEXIBLE_SHAPES: Rule = Rule {
    name: "flexible-shapes",
    check: Check::Function(|_, _, interface| {
        let bends = |ranges: &Vec<(u64, Option<u64>)>| ranges.iter().any(|(least, greatest)| Some(*least) != *greatest);
        let flexible = interface.inputs.iter().filter(|feature| feature.ranges.as_ref().is_some_and(bends));
        about(flexible.map(|feature| feature.name.clone()), |inputs| {
            format!("inputs have ranges of lengths, where the Neural Engine wants fixed or enumerated shapes: {inputs}")
        })
    }),
};

/// The last axis lies in rows of 64 bytes, 32 elements of float16, on the Neural Engine; a last axis of 1 takes 32
/// times the memory. Source: Apple's ml-ane-transformers and coreai-models.
const STATE_ALIGNMENT: Rule = Rule {
    name: "state-alignment",
    check: Check::Function(|_, function, _| {
        let is_unaligned = |id: &&ValueId| match &function.value(**id).ty {
            ValueType::State(ty) => {
                ty.shape.last().and_then(|last| last.known()).is_some_and(|length| length % 32 != 0)
            }
            _ => false,
        };
        let unaligned = function.inputs.iter().filter(is_unaligned);
        about(unaligned.map(|id| function.value(*id).name.clone()), |states| {
            format!("the last dimension of states is no multiple of 32, to which the Neural Engine pads: {states}")
        })
    }),
};

/// Core ML's runtime has at most 5 dimensions, which coremltools does not check; tables of compressed weights may have
/// more. Source: coremltools, coreai-models.
const RANK: Rule = Rule {
    name: "rank",
    check: Check::Function(|_, function, _| {
        let computed =
            function.operations().filter(|operation| operation.is_computed()).flat_map(|operation| &operation.outputs);
        let values = function.inputs.iter().chain(computed).map(|&id| function.value(id));
        let high = values.filter(|value| value.ty.tensor().is_some_and(|tensor| tensor.rank() > 5));
        about(high.map(|value| value.name.clone()), |values| {
            format!("Core ML has at most 5 dimensions, these have more: {values}")
        })
    }),
};

/// float32 has no place on the Neural Engine, not even between float16 operations. Source: coreai-models.
const FLOAT32_COMPUTE: Rule = Rule {
    name: "float32-compute",
    check: Check::Function(|_, function, _| {
        let is_float32 =
            |id: &ValueId| function.value(*id).ty.tensor().is_some_and(|tensor| tensor.dtype == DataType::Float32);
        let computed: Vec<_> =
            function.operations().filter(|operation| operation.is_computed() && operation.kind != "cast").collect();
        let wide: Vec<_> = computed.iter().filter(|operation| operation.outputs.iter().any(is_float32)).collect();
        about(wide.iter().map(|operation| operation.name.clone()), |_| {
            format!(
                "{} of {} operations compute in float32, which runs on CPU and GPU only",
                wide.len(),
                computed.len()
            )
        })
    }),
};

/// Loops and choices do not run on the Neural Engine. Source: coremltools.
const CONTROL_FLOW: Rule = Rule {
    name: "control-flow",
    check: Check::Function(|_, function, _| {
        let branching = function.operations().filter(|operation| !operation.blocks.is_empty());
        about(branching.map(|operation| operation.name.clone()), |operations| {
            format!("loops and choices do not run on the Neural Engine: {operations}")
        })
    }),
};

/// Core ML's parser has refused programs that leave out parameters, though coremltools has defaults for them. Source:
/// rustnn's notes on runs on macOS.
const MISSING_PARAMETERS: Rule = Rule {
    name: "missing-parameters",
    check: Check::Function(|subject, function, _| {
        let known = Known::of(function);
        let missing =
            function.operations().flat_map(|operation| left_out(subject.registry, function, &known, operation));
        about(missing, |parameters| {
            format!("Core ML's parser may refuse operations that leave out parameters: {parameters}")
        })
    }),
};

/// The parameters that an operation leaves to their defaults, as `operation.parameter`.
fn left_out(registry: Registry, function: &Function, known: &Known<'_>, operation: &Operation) -> Vec<String> {
    let Some(definition) = registry(&operation.kind) else { return Vec::new() };
    let Ok(call) = known.call(function, operation, definition, function.opset) else { return Vec::new() };
    let has_default =
        |parameter: &&Parameter| matches!(parameter.presence, Presence::Default(default) if default(&call).is_some());
    let left_out = call.version().parameters.iter().filter(|parameter| !call.has(parameter.name)).filter(has_default);
    left_out.map(|parameter| format!("{}.{}", operation.name, parameter.name)).collect()
}

/// The float16 constants of an operation, each with a name: its own where it is a `const`, else that of the weight that
/// is made of it.
fn float16_constants<'a>(function: &'a Function, operation: &'a Operation) -> Vec<(&'a str, &'a Constant)> {
    let name = operation.outputs.first().map_or(operation.name.as_str(), |&id| function.value(id).name.as_str());
    let tensors = operation.constants().filter_map(Value::tensor);
    tensors.filter(|recipe| recipe.dtype() == DataType::Float16).map(|recipe| (name, recipe)).collect()
}

/// Whether all numbers of a float16 constant are finite; one that cannot be read counts as such.
fn is_finite(recipe: &Constant, data: Option<&BundleWeights<'_>>) -> bool {
    if let Some(Literal::Halves(values)) = recipe.as_literal() {
        return values.iter().all(|value| value.is_finite());
    }
    let record = recipe.as_blob().zip(data).and_then(|((file, offset), data)| data.data(file, offset));
    record.is_none_or(all_finite)
}

/// Whether a stream of float16 has no infinity and no NaN: none with every bit of the exponent set.
fn all_finite(mut data: impl Read) -> bool {
    const EXPONENT: u8 = 0x7c;
    let mut buffer = vec![0; 1 << 18];
    let mut filled = 0;
    loop {
        match data.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return true,
            Ok(count) => filled += count,
        }
        let whole = filled & !1;
        if buffer[..whole].chunks_exact(2).any(|bytes| bytes[1] & EXPONENT == EXPONENT) {
            return false;
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
}
