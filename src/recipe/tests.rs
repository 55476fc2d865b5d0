use std::{
    borrow::Cow,
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use half::f16;
use proptest::prelude::*;

use super::{
    evaluator::{AT_ONCE, PIECE},
    *,
};
use crate::checkpoint::{CheckpointDtype, CheckpointError, MemoryWeights, TensorInfo, Weights};

fn evaluate_to_vec(recipe: &Recipe, weights: &MemoryWeights) -> Result<Vec<u8>, ConvertError> {
    Evaluator::new(weights).bytes(recipe)
}

fn weights() -> MemoryWeights {
    let mut weights = MemoryWeights::default();
    weights.insert_f32("m", &[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    weights
}

fn floats(recipe: &Arc<Recipe>, weights: &MemoryWeights) -> Vec<f32> {
    let bytes = evaluate_to_vec(&recipe.cast(DataType::Float32), weights).unwrap();
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

#[test]
fn steps_give_what_numpy_gives() {
    let weights = weights();
    let m = Recipe::source("m", DataType::Float32, &[2, 3]);
    assert_eq!(floats(&m.transpose(&[1, 0]).unwrap(), &weights), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(floats(&m.slice(1, 1, 2).unwrap(), &weights), [1.0, 2.0, 4.0, 5.0]);
    assert_eq!(floats(&m.slice(0, 1, 1).unwrap(), &weights), [3.0, 4.0, 5.0]);
    let column = m.slice(1, 0, 1).unwrap();
    assert_eq!(
        floats(&Recipe::concat(&[m.clone(), column], 1).unwrap(), &weights),
        [0.0, 1.0, 2.0, 0.0, 3.0, 4.0, 5.0, 3.0]
    );
    assert_eq!(
        floats(&Recipe::concat(&[m.clone(), m.clone()], 0).unwrap(), &weights)[6..],
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    );
    assert_eq!(floats(&m.scale(0.5).cast(DataType::Float16), &weights), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
}

#[test]
fn float16_rounds_to_nearest_even_and_never_overflows_silently() {
    let mut weights = MemoryWeights::default();
    // numpy.float16 of these: 2049 lies between 2048 and 2050 (even mantissa 2048), 2051 between 2050 and 2052 (2052).
    weights.insert_f32("a", &[5], &[2049.0, 2051.0, 65504.0, 5.96e-8, 1e-9]);
    let half = |name: &str, n: u64| Recipe::source(name, DataType::Float32, &[n]).cast(DataType::Float16);
    assert_eq!(floats(&half("a", 5), &weights), [2048.0, 2052.0, 65504.0, 5.960_464_5e-8, 0.0]);
    weights.insert_f32("big", &[3], &[1.0, -65520.0, 2.0]);
    let error = evaluate_to_vec(&half("big", 3), &weights).unwrap_err();
    assert_eq!(error.to_string(), "tensor `big` gives -65520 at index 1, which fp16 cannot hold");
    assert!(error.hint().unwrap().contains("float32"));
}

#[test]
fn bad_numbers_are_found_where_they_are_stored() {
    let mut weights = weights();
    weights.insert_f32("big", &[2, 3], &[0.0, 1.0, 2.0, 3.0, 1e6, 5.0]);
    let source = |name: &str| Recipe::source(name, DataType::Float32, &[2, 3]);
    let (m, big) = (source("m"), source("big"));
    let stored_at_4 = [
        big.clone(),
        big.transpose(&[1, 0]).unwrap(),
        big.slice(1, 1, 2).unwrap(),
        big.slice(0, 1, 1).unwrap(),
        Recipe::concat(&[m.clone(), big.clone()], 0).unwrap(),
        Recipe::concat(&[m.clone(), big.clone()], 1).unwrap().transpose(&[1, 0]).unwrap(),
        big.scale(1.0).reshape(&[3, 2]).unwrap(),
    ];
    for recipe in stored_at_4 {
        let error = evaluate_to_vec(&recipe.cast(DataType::Float16), &weights).unwrap_err();
        assert_eq!(error.to_string(), "tensor `big` gives 1000000 at index 4, which fp16 cannot hold", "{recipe:?}");
    }
}

#[test]
fn stored_numbers_must_be_finite_even_where_nothing_is_cast() {
    let cases: [(&str, CheckpointDtype, &[u8]); 4] = [
        ("NaN", CheckpointDtype::F32, &[0, 0, 0x80, 0x3F, 0, 0, 0xC0, 0x7F]),
        ("-inf", CheckpointDtype::F16, &[0, 0x3C, 0, 0xFC]),
        ("inf", CheckpointDtype::BF16, &[0x80, 0x3F, 0x80, 0x7F]),
        ("NaN", CheckpointDtype::F64, &[0, 0, 0, 0, 0, 0, 0xF0, 0x3F, 1, 0, 0, 0, 0, 0, 0xF0, 0xFF]),
    ];
    for (value, dtype, data) in cases {
        let mut weights = MemoryWeights::default();
        weights.insert("bad", dtype, &[2], data.to_vec());
        let source = Recipe::source("bad", dtype.into(), &[2]);
        for recipe in [
            source.clone(),
            source.cast(DataType::Float32),
            source.reshape(&[1, 2]).unwrap().transpose(&[1, 0]).unwrap(),
        ] {
            let error = evaluate_to_vec(&recipe, &weights).unwrap_err();
            assert_eq!(error.to_string(), format!("tensor `bad` holds {value} at index 1, expected finite numbers"));
        }
    }
}

#[test]
fn constants_may_be_infinite() {
    let mask = Recipe::literal(DataType::Float32, &[2], Literal::Floats(vec![0.0, f32::NEG_INFINITY])).unwrap();
    let bytes = evaluate_to_vec(&mask.cast(DataType::Float16), &MemoryWeights::default()).unwrap();
    assert_eq!(bytes, [0, 0, 0, 0xFC]);
}

#[test]
fn float64_is_rounded_once() {
    // numpy.array(values).astype(numpy.float16).view(numpy.uint16): by way of float32, the first three would be ties.
    let cases: [(f64, u16); 9] = [
        (1.0 + 1.0 / 2048.0 + 1e-12, 0x3C01),
        (1.0 + 3.0 / 2048.0 - 1e-12, 0x3C01),
        (-(1.0 + 1.0 / 2048.0 + 1e-12), 0xBC01),
        (1.0 + 1.0 / 2048.0, 0x3C00),
        (65_519.999_999_999, 0x7BFF),
        (2.980_232_238_769_531_3e-8, 0x0000),
        (2.980_232_238_769_532e-8, 0x0001),
        (1e-300, 0x0000),
        (0.1, 0x2E66),
    ];
    let mut weights = MemoryWeights::default();
    weights.insert(
        "f64",
        CheckpointDtype::F64,
        &[9],
        cases.iter().flat_map(|(value, _)| value.to_le_bytes()).collect(),
    );
    let recipe = Recipe::source("f64", DataType::Float64, &[9]).cast(DataType::Float16);
    let found: Vec<u16> =
        evaluate_to_vec(&recipe, &weights).unwrap().as_chunks().0.iter().map(|&b| u16::from_le_bytes(b)).collect();
    assert_eq!(found, cases.map(|(_, half)| half));
}

#[test]
fn no_way_to_a_float_overflows_silently() {
    let mut weights = MemoryWeights::default();
    weights.insert("f64", CheckpointDtype::F64, &[2], [1.0f64, -1e39].iter().flat_map(|v| v.to_le_bytes()).collect());
    weights.insert("i32", CheckpointDtype::I32, &[2], [1i32, 65_520].iter().flat_map(|v| v.to_le_bytes()).collect());
    weights.insert(
        "f16",
        CheckpointDtype::F16,
        &[2],
        [1.0f32, 40_000.0].map(|v| f16::from_f32(v).to_le_bytes()).concat(),
    );
    weights.insert_f32("f32", &[2], &[1.0, -(2f32.powi(127))]);
    let source = |name: &str, dtype| Recipe::source(name, dtype, &[2]);
    let cases = [
        (source("f64", DataType::Float64).cast(DataType::Float32), "1000000000000000000000000000000000000000", "fp32"),
        (source("i32", DataType::Int32).cast(DataType::Float16), "65520", "fp16"),
        (source("f16", DataType::Float16).scale(2.0), "80000", "fp16"),
        (source("f32", DataType::Float32).scale(4.0), "680564733841877000000000000000000000000", "fp32"),
    ];
    for (recipe, value, dtype) in cases {
        let error = evaluate_to_vec(&recipe, &weights).unwrap_err().to_string();
        assert!(
            error.replace('-', "").ends_with(&format!("gives {value} at index 1, which {dtype} cannot hold")),
            "{error}"
        );
    }
}

#[test]
fn a_tensor_must_have_the_type_that_the_recipe_expects() {
    let weights = weights();
    let of =
        |dtype, shape: &[u64]| evaluate_to_vec(&Recipe::source("m", dtype, shape), &weights).unwrap_err().to_string();
    // As many bytes, but other numbers.
    assert_eq!(
        of(DataType::Int32, &[2, 3]),
        "tensor `m` is tensor<fp32, [2, 3]>, the recipe expects tensor<int32, [2, 3]>"
    );
    assert_eq!(
        of(DataType::Float32, &[3, 2]),
        "tensor `m` is tensor<fp32, [2, 3]>, the recipe expects tensor<fp32, [3, 2]>"
    );
    let missing = evaluate_to_vec(&Recipe::source("n", DataType::Float32, &[1]), &weights).unwrap_err();
    assert_eq!(missing.to_string(), "there is no tensor `n`");
}

#[test]
fn integers_that_do_not_fit_are_errors() {
    let mut weights = MemoryWeights::default();
    weights.insert("i64", CheckpointDtype::I64, &[2], [1i64, 1 << 31].iter().flat_map(|v| v.to_le_bytes()).collect());
    weights.insert_f32("half", &[1], &[0.5]);
    let error = |recipe: &Recipe| evaluate_to_vec(recipe, &weights).unwrap_err().to_string();
    let wide = Recipe::source("i64", DataType::Int64, &[2]).cast(DataType::Int32);
    assert_eq!(error(&wide), "tensor `i64` gives 2147483648 at index 1, which int32 cannot hold");
    let broken = Recipe::source("half", DataType::Float32, &[1]).cast(DataType::Int32);
    assert_eq!(error(&broken), "tensor `half` gives 0.5 at index 0, which int32 cannot hold");
    let scaled = Recipe::source("i64", DataType::Int64, &[2]).scale(2.0);
    assert_eq!(error(&scaled), "int64 cannot be scaled");
}

#[test]
fn elements_that_share_bytes_are_cut_at_whole_bytes_only() {
    let packed = Recipe::literal(DataType::UInt4, &[2, 3], Literal::Packed(vec![0x21, 0x43, 0x65])).unwrap();
    let none = MemoryWeights::default();
    assert_eq!(evaluate_to_vec(&packed.reshape(&[6]).unwrap(), &none).unwrap(), [0x21, 0x43, 0x65]);
    let steps = [
        packed.slice(0, 1, 1).unwrap(),
        packed.transpose(&[1, 0]).unwrap(),
        Recipe::concat(&[packed.clone(), packed.clone()], 1).unwrap(),
        packed.cast(DataType::Float16),
    ];
    for recipe in steps {
        assert!(matches!(
            evaluate_to_vec(&recipe, &none),
            Err(ConvertError::Unsupported { dtype: DataType::UInt4, .. })
        ));
    }
}

#[test]
fn tensors_without_elements_give_no_bytes() {
    let mut weights = weights();
    weights.insert("none", CheckpointDtype::F32, &[0, u64::MAX / 2, 4], Vec::new());
    let none = Recipe::source("none", DataType::Float32, &[0, u64::MAX / 2, 4]);
    let slice = none.slice(1, u64::MAX / 4, 3).unwrap();
    let all = [none.cast(DataType::Float16), none.transpose(&[1, 0, 2]).unwrap(), slice.clone(), none];
    for recipe in all {
        assert_eq!(evaluate_to_vec(&recipe, &weights).unwrap(), [0u8; 0]);
    }
    weights.insert_f32("some", &[1, 3, 4], &[2.0; 12]);
    let some = Recipe::source("some", DataType::Float32, &[1, 3, 4]);
    assert_eq!(floats(&Recipe::concat(&[slice, some], 0).unwrap(), &weights), [2.0; 12]);
}

#[test]
fn a_failing_writer_ends_the_work() {
    let weights = weights();
    let recipe = Recipe::source("m", DataType::Float32, &[2, 3]);
    let error = Evaluator::new(&weights).write(&recipe, &mut |_| Err(io::Error::other("disk full"))).unwrap_err();
    assert!(matches!(error, ConvertError::Write(_)));
}

#[test]
fn every_stored_type_becomes_a_float() {
    let mut weights = MemoryWeights::default();
    weights.insert("f64", CheckpointDtype::F64, &[2], [0.1f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect());
    weights.insert(
        "bf16",
        CheckpointDtype::BF16,
        &[2],
        [0x3F80u16, 0xC000].iter().flat_map(|v| v.to_le_bytes()).collect(),
    );
    weights.insert("i64", CheckpointDtype::I64, &[2], [7i64, -1].iter().flat_map(|v| v.to_le_bytes()).collect());
    let as_f32 = |name: &str, dtype| floats(&Recipe::source(name, dtype, &[2]).cast(DataType::Float32), &weights);
    assert_eq!(as_f32("f64", DataType::Float64), [0.1, -2.0]);
    assert_eq!(as_f32("bf16", DataType::BFloat16), [1.0, -2.0]);
    assert_eq!(as_f32("i64", DataType::Int64), [7.0, -1.0]);
    let ints = Recipe::source("i64", DataType::Int64, &[2]).cast(DataType::Int32);
    assert_eq!(evaluate_to_vec(&ints, &weights).unwrap(), [7, 0, 0, 0, 255, 255, 255, 255]);
}

#[test]
fn floats_of_8_bits_are_cast() {
    let mut weights = MemoryWeights::default();
    weights.insert("e4m3", CheckpointDtype::F8E4M3, &[6], vec![0x38, 0x7e, 0x08, 0x01, 0xbc, 0x80]);
    weights.insert("e5m2", CheckpointDtype::F8E5M2, &[3], vec![0x3c, 0x7b, 0x81]);
    weights.insert("nan", CheckpointDtype::F8E4M3, &[2], vec![0x38, 0xff]);
    weights.insert("inf", CheckpointDtype::F8E5M2, &[2], vec![0x38, 0x7c]);
    let source = |name: &str, dtype, length| Recipe::source(name, dtype, &[length]).cast(DataType::Float32);
    assert_eq!(
        floats(&source("e4m3", DataType::Float8E4M3FN, 6), &weights),
        [1.0, 448.0, 0.015625, 0.001953125, -1.5, 0.0]
    );
    assert_eq!(floats(&source("e5m2", DataType::Float8E5M2, 3), &weights), [1.0, 57344.0, -(2f32.powi(-16))]);
    for (name, dtype) in [("nan", DataType::Float8E4M3FN), ("inf", DataType::Float8E5M2)] {
        let error = evaluate_to_vec(&source(name, dtype, 2), &weights).unwrap_err();
        assert!(matches!(error, ConvertError::NotFinite { index: 1, .. }), "{error}");
    }
}

#[test]
fn blocks_have_a_scale_each() {
    let mut weights = MemoryWeights::default();
    weights.insert_f32("m", &[3, 5], &(1..=15u8).map(f32::from).collect::<Vec<_>>());
    weights.insert_f32("s", &[2, 3], &[1.0, 10.0, 100.0, 2.0, 20.0, 200.0]);
    let [matrix, scales] =
        [("m", [3, 5]), ("s", [2, 3])].map(|(name, shape)| Recipe::source(name, DataType::Float32, &shape));
    let scaled = matrix.scale_blocks(&scales, [2, 2]).unwrap();
    let expected = [1., 2., 30., 40., 500., 6., 7., 80., 90., 1000., 22., 24., 260., 280., 3000.];
    assert_eq!(floats(&scaled, &weights), expected);
    assert_eq!(floats(&scaled.slice(1, 1, 3).unwrap(), &weights), [2., 30., 40., 7., 80., 90., 24., 260., 280.]);
    assert_ne!(scaled.key(), matrix.scale_blocks(&scales, [2, 2]).unwrap().cast(DataType::Float16).key());
    for block in [[1, 2], [2, 1], [0, 2], [3, 5]] {
        assert!(matrix.scale_blocks(&scales, block).is_none(), "{block:?}");
    }
    weights.insert_f32("s", &[2, 3], &[1.0, f32::MAX, 1.0, 1.0, 1.0, 1.0]);
    assert!(matches!(evaluate_to_vec(&scaled, &weights), Err(ConvertError::Overflow { index: 2, .. })));
}

#[test]
fn pieces_join_without_a_seam() {
    let n = PIECE * AT_ONCE + 12_345;
    let values: Vec<f32> = (0..n).map(|i| (i % 4093) as f32 * 0.25 - 300.0).collect();
    let mut weights = MemoryWeights::default();
    weights.insert_f32("long", &[n], &values);
    let recipe = Recipe::source("long", DataType::Float32, &[n]).cast(DataType::Float16);
    let expected: Vec<u8> = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
    assert!(evaluate_to_vec(&recipe, &weights).unwrap() == expected);
}

#[test]
fn equal_bytes_have_equal_keys() {
    let source = Recipe::source("a", DataType::Float32, &[4, 2]);
    let half = source.cast(DataType::Float16);
    assert_eq!(half.key(), half.reshape(&[8]).unwrap().key());
    assert_eq!(half.key(), source.reshape(&[2, 4]).unwrap().cast(DataType::Float16).key());
    assert_ne!(half.key(), source.key());
    assert_ne!(source.key(), Recipe::source("b", DataType::Float32, &[4, 2]).key());
    assert_ne!(source.transpose(&[1, 0]).unwrap().key(), source.key());
    assert_ne!(source.slice(0, 0, 2).unwrap().key(), source.slice(0, 1, 2).unwrap().key());
    assert_eq!(half.byte_length(), Some(16));
}

#[test]
fn impossible_recipes_cannot_be_made() {
    let source = Recipe::source("a", DataType::Float32, &[4, 2]);
    assert!(source.reshape(&[7]).is_none());
    assert!(source.transpose(&[0, 0]).is_none());
    assert!(source.slice(0, 3, 2).is_none());
    assert!(Recipe::concat(&[source.clone(), source.cast(DataType::Float16)], 0).is_none());
    assert!(Recipe::literal(DataType::Int8, &[1], Literal::Ints(vec![128])).is_none());
    assert!(Recipe::literal(DataType::UInt4, &[3], Literal::Packed(vec![0, 0])).is_some());
    assert!(Recipe::literal(DataType::UInt4, &[3], Literal::Packed(vec![0])).is_none());
}

/// An element of a recipe of float32 tensors without arithmetic: the stored one that it comes from.
fn reference(recipe: &Recipe, index: u64, weights: &MemoryWeights) -> f32 {
    match recipe.origin(index) {
        (Origin::Tensor(name), at) => {
            f32::from_le_bytes(weights.data(&name).unwrap()[at as usize * 4..at as usize * 4 + 4].try_into().unwrap())
        }
        (Origin::Literal, _) => unreachable!("all are tensors"),
    }
}

/// Tensors in memory, and how often one was opened.
#[derive(Debug)]
struct CountedWeights {
    weights: MemoryWeights,
    opened: AtomicU64,
}

impl Weights for CountedWeights {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        self.weights.names()
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.weights.info(name)
    }

    fn data(&self, name: &str) -> Result<Cow<'_, [u8]>, CheckpointError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.weights.data(name)
    }
}

#[test]
fn recipes_that_share_a_fit_compute_it_once_where_the_bound_allows() {
    let mut weights = MemoryWeights::default();
    let values: Vec<f32> = (0..600u16).map(|i| f32::from(i * 7 % 11)).collect();
    weights.insert_f32("m", &[20, 30], &values);
    let (table, indices) = Recipe::source("m", DataType::Float32, &[20, 30]).two_valued();
    for (bound, opened) in [(100, 1), (10, 2)] {
        let counted = CountedWeights { weights: weights.clone(), opened: AtomicU64::new(0) };
        let evaluator = Evaluator::keeping(&counted, bound);
        assert_eq!(evaluator.bytes(&table).unwrap(), [0f32.to_le_bytes(), 10f32.to_le_bytes()].concat());
        let bits = evaluator.bytes(&indices).unwrap();
        let upper = |index: usize| bits[index / 8] >> (index % 8) & 1 == 1;
        assert!(values.iter().enumerate().all(|(index, value)| upper(index) == (*value > 5.0)));
        assert_eq!(counted.opened.into_inner(), opened, "with a bound of {bound} bytes");
    }
    assert_eq!(indices.byte_length(), Some(75));
}

#[test]
fn bytes_of_a_checkpoint_are_read_as_elements_of_less_than_a_byte() {
    let mut weights = MemoryWeights::default();
    weights.insert("blocks", CheckpointDtype::U8, &[2, 4], vec![0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe]);
    let bytes = Recipe::source("blocks", DataType::UInt8, &[2, 4]);
    let nibbles = bytes.reinterpret(DataType::UInt4, &[2, 8]).unwrap();
    let of = |recipe: &Recipe| evaluate_to_vec(recipe, &weights);
    assert_eq!(of(&nibbles.slice(0, 1, 1).unwrap()).unwrap(), [0x98, 0xba, 0xdc, 0xfe]);
    assert_eq!(of(&nibbles.slice(1, 2, 4).unwrap()).unwrap(), [0x32, 0x54, 0xba, 0xdc]);
    let twice = Recipe::concat(&[nibbles.slice(1, 0, 2).unwrap(), nibbles.clone()], 1).unwrap();
    assert_eq!(of(&twice).unwrap(), [0x10, 0x10, 0x32, 0x54, 0x76, 0x98, 0x98, 0xba, 0xdc, 0xfe]);
    let halves = bytes.reinterpret(DataType::UInt16, &[4]).unwrap();
    assert_eq!(of(&halves.transpose(&[0]).unwrap()).unwrap(), of(&bytes).unwrap());
    assert!(matches!(
        of(&nibbles.slice(1, 1, 2).unwrap()),
        Err(ConvertError::Unsupported { dtype: DataType::UInt4, .. })
    ));
    assert!(
        bytes.reinterpret(DataType::UInt4, &[17]).is_none() && nibbles.reinterpret(DataType::UInt8, &[8]).is_none()
    );
}

proptest! {
    #[test]
    fn casting_is_what_half_does(values in proptest::collection::vec(-65519.0f32..65519.0, 1..300)) {
        let mut weights = MemoryWeights::default();
        weights.insert_f32("v", &[values.len() as u64], &values);
        let recipe = Recipe::source("v", DataType::Float32, &[values.len() as u64]).cast(DataType::Float16);
        let expected: Vec<u8> = values.iter().flat_map(|&v| f16::from_f32_const(v).to_le_bytes()).collect();
        prop_assert_eq!(evaluate_to_vec(&recipe, &weights).unwrap(), expected);
    }

    #[test]
    fn any_range_of_any_chain_is_the_same_as_the_whole(steps in proptest::collection::vec((0u8..4, any::<u64>()), 0..5), cut in any::<[u64; 2]>()) {
        let mut weights = MemoryWeights::default();
        weights.insert_f32("a", &[3, 4, 5], &(0..60u8).map(f32::from).collect::<Vec<_>>());
        let mut recipe = Recipe::source("a", DataType::Float32, &[3, 4, 5]);
        for (step, choice) in steps {
            let axis = (choice % 3) as usize;
            let length = recipe.shape()[axis];
            recipe = match step {
                0 => recipe.transpose(&[[0, 2, 1], [2, 0, 1], [1, 2, 0]][axis]).unwrap(),
                1 => recipe.slice(axis, choice / 3 % length, 1 + choice / 99 % (length - choice / 3 % length)).unwrap(),
                2 => Recipe::concat(&[recipe.clone(), recipe.slice(axis, 0, 1).unwrap()], axis).unwrap(),
                _ => recipe.reshape(&[recipe.shape()[1], recipe.shape()[2], recipe.shape()[0]]).unwrap(),
            };
        }
        let n = recipe.elements().unwrap();
        let expected: Vec<u8> = (0..n).flat_map(|index| reference(&recipe, index, &weights).to_le_bytes()).collect();
        prop_assert_eq!(&evaluate_to_vec(&recipe, &weights).unwrap(), &expected);
        let mut cut = cut.map(|at| at % (n + 1));
        cut.sort();
        let evaluator = Evaluator::new(&weights);
        let part = evaluator.open(&recipe).unwrap().read(cut[0]..cut[1]).unwrap().into_owned();
        prop_assert_eq!(&part[..], &expected[cut[0] as usize * 4..cut[1] as usize * 4]);
    }
}
