//! Inputs for a program that nobody gave data for: enough to see how far two programs are apart.
//!
//! Token ids stay inside of the table that they choose from, pictures have numbers between black and white, everything
//! else is normally distributed. The same seed makes the same numbers on every machine. Caches, positions and masks of
//! sequences are left to [`fit_inputs`](super::golden::fit_inputs), which starts a program afresh.

use std::collections::{BTreeMap, HashSet};

use candle_core::{Device, Tensor};

use super::golden::{self, Case};
use crate::{
    contract::{Feature, Interface},
    mil::{Binding, Function, Literal, Operation, ValueId, ValueType},
};

/// The most elements of an input that is made.
const MOST_ELEMENTS: u64 = 1 << 30;
/// How many ids there are where no table says it.
const DEFAULT_IDS: u64 = 2;

/// How inputs are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleOptions {
    /// What the numbers come from.
    pub seed: u64,
    /// The numbers of black and white in pictures.
    pub picture: (f32, f32),
}

/// An input that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot make numbers for the input `{name}`: its shape is not fixed, or it is too large")]
pub struct SampleError {
    /// The input.
    pub name: String,
}

/// The inputs of one call of `functions`: of one, or of those of a pipeline. Names of the interface and of the
/// functions are the same. Inputs with a default are left out.
///
/// # Errors
/// When an input has no fixed shape.
pub fn sample(functions: &[&Function], interface: &Interface, options: SampleOptions) -> Result<Case, SampleError> {
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut inputs = BTreeMap::new();
    for feature in &interface.inputs {
        if feature.default.is_some() || golden::starts_empty(feature) {
            continue;
        }
        let error = || SampleError { name: feature.name.clone() };
        let elements = feature.shape.iter().try_fold(1u64, |product, &n| product.checked_mul(n));
        let elements = elements.filter(|&n| n <= MOST_ELEMENTS && !feature.shape.is_empty()).ok_or_else(error)?;
        let shape: Vec<usize> = feature.shape.iter().map(|&n| n as usize).collect();
        let tensor = tensor(functions, feature, elements, &shape, options.picture, &mut random);
        inputs.insert(feature.name.clone(), tensor.map_err(|_| error())?);
    }
    Ok(Case { name: String::new(), inputs, outputs: BTreeMap::new() })
}

fn tensor(
    functions: &[&Function],
    feature: &Feature,
    elements: u64,
    shape: &[usize],
    (black, white): (f32, f32),
    random: &mut fastrand::Rng,
) -> candle_core::Result<Tensor> {
    let is_float = ["float", "double", "bf16"].iter().any(|kind| feature.dtype.starts_with(kind));
    let is_mask = golden::is_mask(feature);
    let count = 0..elements;
    if feature.dtype == "image" {
        return Tensor::from_vec(count.map(|_| random.f32() * 255.0).collect::<Vec<f32>>(), shape, &Device::Cpu);
    }
    if is_float {
        // A float mask is added to scores: nothing is masked.
        let number = |_| match () {
            () if is_mask => 0.0,
            () if feature.name.contains("image") => black + (white - black) * random.f32(),
            () => normal(random),
        };
        return Tensor::from_vec(count.map(number).collect::<Vec<f32>>(), shape, &Device::Cpu);
    }
    let ids = functions
        .iter()
        .filter_map(|function| table_length(function, &feature.name))
        .min()
        .unwrap_or(DEFAULT_IDS)
        .max(1);
    let number = |_| if is_mask { 1 } else { i64::try_from(random.u64(0..ids)).unwrap_or(0) };
    let numbers = Tensor::from_vec(count.map(number).collect::<Vec<i64>>(), shape, &Device::Cpu)?;
    if feature.dtype == "bool" { numbers.to_dtype(candle_core::DType::U8) } else { Ok(numbers) }
}

/// A normally distributed number, by Box and Muller; the pure-Rust functions give the same on every system.
fn normal(random: &mut fastrand::Rng) -> f32 {
    let (radius, angle) = (1.0 - random.f64(), random.f64());
    ((-2.0 * libm::log(radius)).sqrt() * libm::cos(std::f64::consts::TAU * angle)) as f32
}

/// The length of the shortest table that an input chooses from, directly or after operations on integers.
fn table_length(function: &Function, input: &str) -> Option<u64> {
    let mut reached: HashSet<ValueId> =
        function.inputs.iter().copied().filter(|&id| function.value(id).name == input).collect();
    let mut shortest: Option<u64> = None;
    for operation in function.operations() {
        let reaches = |parameter: &str| operation.inputs.get(parameter).is_some_and(|bindings| any(bindings, &reached));
        if operation.kind.starts_with("gather") && reaches("indices") {
            let length = chosen_length(function, operation);
            shortest =
                shortest.map_or(length, |shortest| length.map_or(Some(shortest), |length| Some(length.min(shortest))));
        } else if operation.inputs.values().any(|bindings| any(bindings, &reached)) {
            let integer =
                |id: &&ValueId| matches!(&function.value(**id).ty, ValueType::Tensor(ty) if ty.dtype.is_integer());
            reached.extend(operation.outputs.iter().filter(integer));
        }
    }
    shortest
}

fn any(bindings: &[Binding], values: &HashSet<ValueId>) -> bool {
    bindings.iter().any(|binding| matches!(binding, Binding::Value(id) if values.contains(id)))
}

/// The length of the axis that a `gather` chooses along.
fn chosen_length(function: &Function, operation: &Operation) -> Option<u64> {
    let Some([Binding::Value(table)]) = operation.inputs.get("x").map(Vec::as_slice) else { return None };
    let table = function.value(*table).ty.tensor()?;
    let axis = operation.inputs.get("axis").and_then(|bindings| integer(function, bindings.first()?)).unwrap_or(0);
    let axis = if axis < 0 { axis + table.shape.len() as i64 } else { axis };
    table.shape.get(usize::try_from(axis).ok()?)?.known()
}

/// A constant integer.
fn integer(function: &Function, binding: &Binding) -> Option<i64> {
    let value = match binding {
        Binding::Literal(value) => value,
        Binding::Value(id) => function.operations().find(|made| made.outputs.contains(id))?.constant()?,
    };
    match value.tensor().and_then(|recipe| recipe.as_literal()) {
        Some(Literal::Ints(values)) => values.first().copied(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::Target,
        mil::{Builder, DataType, Recipe, TensorType},
        ops,
    };

    fn feature(name: &str, dtype: &str, shape: &[u64]) -> Feature {
        Feature { name: name.to_owned(), dtype: dtype.to_owned(), shape: shape.to_vec(), ..Feature::default() }
    }

    /// Ids choose rows of a table of 7, after a cast.
    fn chooser() -> Function {
        let mut builder = Builder::new(ops::find, Target::Ios17);
        let ids = builder.input("input_ids", TensorType::new(DataType::Int32, &[1, 50]));
        let shifted = builder.add("shifted", ids, 0).unwrap();
        let table = Recipe::blob("@model_path/weights/weight.bin", 64, DataType::Float32, &[7, 4]);
        let rows = builder
            .op1("gather", "rows", &[("x", (&table).into()), ("indices", shifted.into()), ("axis", 0.into())])
            .unwrap();
        builder.finish(&[("rows", rows)]).unwrap()
    }

    fn made(features: Vec<Feature>, seed: u64) -> BTreeMap<String, Tensor> {
        let interface = Interface { inputs: features, ..Interface::default() };
        sample(&[&chooser()], &interface, SampleOptions { seed, picture: (0.0, 1.0) }).unwrap().inputs
    }

    #[test]
    fn ids_stay_inside_of_their_table() {
        let inputs = made(vec![feature("input_ids", "int32", &[1, 50])], 3);
        let ids: Vec<i64> = inputs["input_ids"].flatten_all().unwrap().to_vec1().unwrap();
        assert!(ids.iter().all(|id| (0..7).contains(id)), "{ids:?}");
        assert!(ids.iter().max() > Some(&4), "not only the first rows: {ids:?}");
    }

    #[test]
    fn numbers_suit_what_the_input_is_called() {
        let features = vec![
            feature("image", "float32", &[1, 3, 20, 20]),
            feature("latent", "float16", &[1, 4, 20, 20]),
            feature("attention_mask", "int32", &[1, 6]),
            feature("causal_mask", "float16", &[1, 1, 6, 6]),
            feature("position", "int32", &[1]),
            feature("key_cache", "float16", &[2, 4]),
        ];
        let inputs = made(features, 1);
        assert_eq!(inputs.keys().collect::<Vec<_>>(), ["attention_mask", "causal_mask", "image", "latent"]);
        let values = |name: &str| {
            inputs[name].flatten_all().unwrap().to_dtype(candle_core::DType::F64).unwrap().to_vec1::<f64>().unwrap()
        };
        assert!(values("image").iter().all(|v| (0.0..=1.0).contains(v)));
        let latent = values("latent");
        let mean = latent.iter().sum::<f64>() / latent.len() as f64;
        let variance = latent.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / latent.len() as f64;
        assert!(mean.abs() < 0.1 && (variance - 1.0).abs() < 0.15, "{mean} {variance}");
        assert!(values("attention_mask").iter().all(|&v| v == 1.0) && values("causal_mask").iter().all(|&v| v == 0.0));
    }

    #[test]
    fn the_seed_decides() {
        let latent = |seed| {
            let inputs = made(vec![feature("latent", "float32", &[1, 2, 3])], seed);
            inputs["latent"].flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(latent(5), latent(5));
        assert_ne!(latent(5), latent(6));
    }

    #[test]
    fn shapes_must_be_fixed() {
        for shape in [&[][..], &[1 << 40, 1 << 40]] {
            let interface = Interface { inputs: vec![feature("x", "float32", shape)], ..Interface::default() };
            let error = sample(&[&chooser()], &interface, SampleOptions { seed: 0, picture: (0.0, 1.0) }).unwrap_err();
            assert_eq!(error.name, "x");
        }
    }
}
