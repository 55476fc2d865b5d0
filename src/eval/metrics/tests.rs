//! Metrics against numpy and scipy (`fixtures/metrics/make.py`), and at the edges that those do not define.

use candle_core::Device;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn tensor(values: &[f32]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

fn measured(actual: &[f32], expected: &[f32]) -> Metrics {
    measure(&tensor(actual), &tensor(expected), &MeasureOptions::default()).unwrap()
}

/// Sums of some hundred float64 numbers in another order; decibels are logarithms of them.
fn near(what: &str, found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{what}: {found} instead of {expected}");
}

fn of_case(case: &Value, side: &str) -> Tensor {
    let numbers = |key: &str| case[key].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect::<Vec<_>>();
    let shape: Vec<usize> = numbers("shape").into_iter().map(|n| n as usize).collect();
    Tensor::from_vec(numbers(side).into_iter().map(|n| n as f32).collect::<Vec<_>>(), shape, &Device::Cpu).unwrap()
}

#[test]
fn metrics_are_those_of_numpy_and_scipy() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/metrics/metrics.json");
    let cases: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for (name, case) in cases.as_object().unwrap() {
        let thresholds = Thresholds { atol: case["atol"].as_f64(), rtol: case["rtol"].as_f64(), min_psnr: None };
        let options = MeasureOptions { logits: case["logits"].is_object(), thresholds, peak: Peak::ReferenceRange };
        let found = measure(&of_case(case, "actual"), &of_case(case, "expected"), &options).unwrap();
        let json = serde_json::to_value(&found).unwrap();
        for key in ["max_abs", "max_relative", "mae", "rmse", "peak", "psnr", "snr", "cosine"] {
            near(&format!("{key} of {name}"), json[key].as_f64().unwrap(), &case[key]);
        }
        assert_eq!((&json["worst"], &json["violations"]), (&case["worst"], &case["violations"]), "{name}");
        assert_eq!(found.failures.is_empty(), case["violations"] == 0, "{name}: {:?}", found.failures);
        if let Some(logits) = found.logits {
            let expected = &case["logits"];
            near(&format!("kl_mean of {name}"), logits.kl_mean, &expected["kl_mean"]);
            near(&format!("kl_max of {name}"), logits.kl_max, &expected["kl_max"]);
            near(&format!("argmax_agreement of {name}"), logits.argmax_agreement, &expected["argmax_agreement"]);
            assert_eq!(
                (Value::from(logits.rows), Value::from(logits.worst_row)),
                (expected["rows"].clone(), expected["worst_row"].clone()),
                "{name}"
            );
        }
    }
}

#[test]
fn nan_is_never_agreement() {
    for (actual, expected, counts) in [
        ([1.0, f32::NAN, 5.0], [1.0, 1.0, 1.0], (1, 0)),
        ([1.0, 1.0, 5.0], [1.0, f32::NAN, 1.0], (0, 1)),
        ([1.0, f32::NAN, 1.0], [1.0, f32::NAN, 1.0], (1, 1)),
        ([f32::INFINITY, f32::NAN, 0.0], [0.0, 0.0, 0.0], (1, 0)),
    ] {
        let metrics = measured(&actual, &expected);
        assert_eq!(metrics.worst, 1, "{actual:?}");
        let errors = [
            metrics.max_abs,
            metrics.max_relative,
            metrics.mae,
            metrics.rmse,
            metrics.psnr,
            metrics.snr,
            metrics.cosine,
        ];
        assert!(errors.iter().all(|error| error.is_nan()), "{actual:?} against {expected:?}: {metrics:?}");
        assert_eq!((metrics.actual_non_finite.nan, metrics.expected_non_finite.nan), counts);
        assert!(matches!(metrics.failures[..], [Failure::NotANumber { .. }]), "{:?}", metrics.failures);
        let thresholds = Thresholds { atol: Some(f64::INFINITY), rtol: None, min_psnr: Some(-1e9) };
        let options = MeasureOptions { thresholds, logits: true, ..MeasureOptions::default() };
        let metrics = measure(&tensor(&actual), &tensor(&expected), &options).unwrap();
        assert_eq!(metrics.failures.len(), 3, "{:?}", metrics.failures);
        let logits = metrics.logits.unwrap();
        assert_eq!(logits.argmax_agreement, 0.0);
        assert!(logits.kl_mean.is_nan() && logits.kl_max.is_nan());
    }
}

#[test]
fn equal_infinities_agree_and_stay_out_of_sums() {
    let mask = f32::NEG_INFINITY;
    let metrics = measured(&[1.0, mask, 3.5], &[1.0, mask, 3.0]);
    assert_eq!((metrics.max_abs, metrics.worst, metrics.peak), (0.5, 2, 2.0));
    assert!((metrics.snr - 10.0 * (10.0f64 / 0.25).log10()).abs() < 1e-12);
    assert!(metrics.cosine > 0.99 && metrics.failures.is_empty());
    assert_eq!(metrics.actual_non_finite, NonFinite { nan: 0, infinite: 1 });
    let options = MeasureOptions {
        logits: true,
        thresholds: Thresholds { rtol: Some(1.0), ..Thresholds::default() },
        ..MeasureOptions::default()
    };
    let same = measure(&tensor(&[0.0, mask]), &tensor(&[0.0, mask]), &options).unwrap();
    assert_eq!(
        (same.violations, same.logits.unwrap().kl_max, same.logits.unwrap().argmax_agreement),
        (Some(0), 0.0, 1.0)
    );
    // An infinite reference allows an infinite error of nobody; what the reference rules out costs nothing, what the
    // other rules out does.
    let lost = measure(&tensor(&[0.0, 1.0]), &tensor(&[0.0, f32::INFINITY]), &options).unwrap();
    assert_eq!(
        (lost.max_abs, lost.psnr, lost.snr, lost.violations),
        (f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY, Some(1))
    );
    assert_eq!(lost.max_relative, f64::INFINITY);
    let allowed = measure(&tensor(&[0.0, 0.0]), &tensor(&[0.0, mask]), &options).unwrap().logits.unwrap();
    assert!((allowed.kl_max - 2f64.ln()).abs() < 1e-15, "{allowed:?}");
    let ruled_out = measure(&tensor(&[0.0, mask]), &tensor(&[0.0, 0.0]), &options).unwrap().logits.unwrap();
    assert_eq!(ruled_out.kl_max, f64::INFINITY);
}

#[test]
fn zeros_have_defined_metrics() {
    let both = measured(&[0.0], &[-0.0]);
    assert_eq!((both.cosine, both.psnr, both.snr, both.max_relative), (1.0, f64::INFINITY, f64::INFINITY, 0.0));
    let one = measured(&[0.0], &[2.0]);
    assert_eq!(
        (one.cosine, one.peak, one.psnr, one.max_relative),
        (0.0, 2.0, 0.0, 1.0),
        "a constant reference has its magnitude as the peak"
    );
    assert_eq!(measured(&[1.0], &[0.0]).snr, f64::NEG_INFINITY);
    let nothing = measured(&[], &[]);
    assert_eq!((nothing.count, nothing.worst_element, nothing.psnr), (0, None, f64::INFINITY));
}

#[test]
fn thresholds_say_why_numbers_fail() {
    let fail = |thresholds| {
        let options = MeasureOptions { thresholds, peak: Peak::Value(1.0), ..MeasureOptions::default() };
        measure(&tensor(&[1.0, 2.25]), &tensor(&[1.0, 2.0]), &options).unwrap().failures
    };
    let none = Thresholds::default();
    assert_eq!(fail(none), []);
    assert_eq!(fail(Thresholds { atol: Some(0.25), ..none }), []);
    assert_eq!(fail(Thresholds { rtol: Some(0.125), ..none }), []);
    assert_eq!(fail(Thresholds { atol: Some(0.05), rtol: Some(0.1), min_psnr: Some(15.0) }), []);
    let tolerance = Failure::Tolerance { violations: 1, count: 2, atol: 0.2, rtol: 0.0, max_abs: 0.25 };
    assert_eq!(fail(Thresholds { atol: Some(0.2), ..none }), [tolerance]);
    assert_eq!(
        tolerance.to_string(),
        "1 of 2 numbers are off by more than 2e-1 + 0e0 * |expected|, at most by 2.500e-1"
    );
    let psnr = fail(Thresholds { min_psnr: Some(45.0), ..none });
    assert_eq!(psnr[0].to_string(), "the peak signal to noise ratio is 15.05 dB, at least 45 dB are asked for");
}

#[test]
fn reports_are_valid_json() {
    let options = MeasureOptions {
        logits: true,
        thresholds: Thresholds { atol: Some(0.0), ..Thresholds::default() },
        ..MeasureOptions::default()
    };
    let metrics = measure(&tensor(&[f32::NAN, f32::NEG_INFINITY]), &tensor(&[1.0, 2.0]), &options).unwrap();
    let json: Value = serde_json::from_str(&serde_json::to_string(&metrics).unwrap()).unwrap();
    assert_eq!((&json["max_abs"], &json["worst_element"]["actual"]), (&"nan".into(), &"nan".into()));
    assert_eq!(
        (&json["failures"][0]["reason"], &json["failures"][1]["max_abs"]),
        (&"not_a_number".into(), &"nan".into())
    );
    assert_eq!(serde_json::to_value(measured(&[1.0], &[1.0])).unwrap()["psnr"], "inf");
    assert_eq!(serde_json::to_value(measured(&[1.0], &[0.0])).unwrap()["snr"], "-inf");
}

#[test]
fn tensors_of_other_kinds_and_places_are_compared_as_numbers() {
    let ints = Tensor::new(&[[1i64, 2, 3], [4, 5, 6]], &Device::Cpu).unwrap();
    let floats = Tensor::new(&[[1f32, 4.0], [2.0, 5.0], [3.0, 7.0]], &Device::Cpu).unwrap().t().unwrap();
    let metrics = measure(&ints, &floats, &MeasureOptions::default()).unwrap();
    assert_eq!((metrics.max_abs, metrics.worst), (1.0, 5));
    let flags = Tensor::new(&[1u8, 0], &Device::Cpu).unwrap();
    assert_eq!(measure(&flags, &tensor(&[1.0, 1.0]), &MeasureOptions::default()).unwrap().mae, 0.5);
    let error = measure(&flags, &ints, &MeasureOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "cannot compare the shape [2] with [2, 3]");
}

proptest! {
    #[test]
    fn laws_of_metrics(pairs in prop::collection::vec((-1e3f32..1e3, -1e3f32..1e3), 1..40), shift in -50f32..50.0) {
        let (a, e): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let options = MeasureOptions { logits: true, thresholds: Thresholds { atol: Some(0.0), ..Thresholds::default() }, ..MeasureOptions::default() };
        let there = measure(&tensor(&a), &tensor(&e), &options).unwrap();
        let back = measure(&tensor(&e), &tensor(&a), &options).unwrap();
        prop_assert_eq!((there.max_abs, there.mae, there.rmse, there.cosine), (back.max_abs, back.mae, back.rmse, back.cosine));
        prop_assert!(there.mae <= there.rmse * (1.0 + 1e-12) && there.rmse <= there.max_abs * (1.0 + 1e-12));
        prop_assert_eq!(there.violations, Some(a.iter().zip(&e).filter(|(a, e)| a != e).count()));
        prop_assert!(there.logits.unwrap().kl_max >= 0.0);
        let same = measure(&tensor(&e), &tensor(&e), &options).unwrap();
        prop_assert_eq!((same.psnr, same.logits.unwrap().kl_max, same.failures.len()), (f64::INFINITY, 0.0, 0));
        // Logits that differ by a constant are one distribution; float32 rounds the sums to 1e-4.
        let shifted: Vec<f32> = e.iter().map(|value| value + shift).collect();
        let logits = measure(&tensor(&shifted), &tensor(&e), &options).unwrap().logits.unwrap();
        prop_assert!(logits.kl_max < 1e-3, "{logits:?}");
    }
}
