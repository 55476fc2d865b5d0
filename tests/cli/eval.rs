//! `eval`: bundles against recorded tensors, against each other, against the picture that went in.

use std::{collections::BTreeMap, fs, path::Path};

use candle_core::{Device, Tensor};
use mlreg::{
    mil::DataType,
    tensors::{self, ReadOptions, WriteOptions},
};
use serde_json::Value;

use super::Sandbox;

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name).display().to_string()
}

/// A sandbox whose store and folder `out` have encoders and decoders of 64 pixels in both precisions, and a decoder of
/// 32.
fn built() -> Sandbox {
    let sandbox = Sandbox::new();
    let checkpoint = fixture("taef1");
    let component = |name: &str, size: &str| {
        format!(
            "[[component]]\nname = \"{name}\"\ncheckpoint = '{checkpoint}'\nsize = {size}\nlayout = \"nhwc\"\n\
             precision = [\"float16\", \"float32\"]\ntarget = \"iOS17\"\n"
        )
    };
    let manifest = format!(
        "[package]\nname = \"tae\"\nversion = \"1.0.0\"\n{}{}",
        component("encoder", "64"),
        component("decoder", "[64, 32]")
    );
    fs::write(sandbox.path("tae.toml"), manifest).unwrap();
    sandbox.succeed(&["build", "tae.toml", "--out", "out"]);
    sandbox
}

fn bundle(id: &str) -> String {
    format!("out/tae/{id}.mlpackage")
}

fn write(sandbox: &Sandbox, name: &str, tensors: &[(&str, &Tensor)]) {
    let tensors: Vec<_> =
        tensors.iter().map(|(name, tensor)| (*name, *tensor, tensors::default_data_type(tensor))).collect();
    tensors::write(&sandbox.path(name), &tensors, &WriteOptions::default()).unwrap();
}

/// A picture with slopes and edges.
fn picture(width: usize, height: usize) -> Tensor {
    let value = |channel: usize, y: usize, x: usize| ((x * (channel + 1) + y * 2) % 97) as f32 / 96.0;
    let values: Vec<f32> =
        (0..3).flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| value(c, y, x)))).collect();
    Tensor::from_vec(values, (1, 3, height, width), &Device::Cpu).unwrap()
}

fn outputs(document: &Value) -> BTreeMap<&str, &Value> {
    let bundles = document["bundles"].as_array().unwrap();
    bundles.iter().map(|bundle| (bundle["bundle"].as_str().unwrap(), &bundle["cases"][0]["outputs"][0])).collect()
}

#[test]
fn every_variant_is_compared_with_recorded_tensors() {
    let sandbox = built();
    let golden = fixture("taef1/golden.safetensors");
    let run = sandbox.run(&["eval", "tae", "--golden", &golden, "--min-psnr", "45", "--json"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let document = run.json("mlreg/cli/eval/1");
    let outputs = outputs(&document);
    assert_eq!(outputs.len(), 4, "{document}");
    for (id, output) in outputs {
        let psnr = output["psnr"].as_f64().unwrap();
        let expected = if id.contains("float32") { 110.0..150.0 } else { 45.0..80.0 };
        assert!(expected.contains(&psnr), "{id}: {psnr}");
        assert!(id.contains("float16") || output["max_abs"].as_f64().unwrap() < 1e-4, "{id}: {output}");
    }
    // What the file has nothing for is said, and no error while there is something else.
    let skipped: Vec<&str> =
        document["skipped"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(skipped, ["decoder-32-nhwc-float16-ios17", "decoder-32-nhwc-float32-ios17"]);
    let asked = sandbox.run(&["eval", "tae", "--variant", "decoder-32-*", "--golden", &golden]);
    assert_eq!(asked.code, Some(1), "{asked:?}");
    assert!(
        asked
            .stderr
            .contains("case `decode0`: input `latent` has the shape [1, 16, 8, 8], expected float16 [1, 4, 4, 16]"),
        "{asked:?}"
    );
}

#[test]
fn thresholds_decide_the_exit_code() {
    let sandbox = built();
    let golden = fixture("taef1/golden.safetensors");
    let near = bundle("decoder-64-nhwc-float32-ios17");
    let run = |arguments: &[&str]| sandbox.run(&[&["eval", &near, "--golden", &golden][..], arguments].concat());
    assert_eq!(run(&["--atol", "1e-4"]).code, Some(0));
    assert_eq!(run(&["--rtol", "1e-2", "--atol", "1e-5"]).code, Some(0));
    let far = run(&["--atol", "1e-9"]);
    assert_eq!(far.code, Some(3), "{far:?}");
    assert!(far.stderr.contains("numbers are off by more than 1e-9 + 0e0 * |expected|"), "{far:?}");
    assert!(far.stdout.ends_with("\tfailed\n"), "{far:?}");
    let noisy = run(&["--min-psnr", "200"]);
    assert_eq!(noisy.code, Some(3), "{noisy:?}");
    assert!(noisy.stderr.contains("at least 200 dB are asked for"), "{noisy:?}");
}

#[test]
fn a_bundle_is_compared_with_another_down_to_the_operation() {
    let sandbox = built();
    let (half, single) = (bundle("decoder-64-nhwc-float16-ios17"), bundle("decoder-64-nhwc-float32-ios17"));
    let arguments = ["eval", &half, "--against", &single, "--samples", "2", "--per-op", "--json"];
    let document = sandbox.succeed(&arguments).json("mlreg/cli/eval/1");
    let cases = document["bundles"][0]["cases"].as_array().unwrap();
    assert_eq!(cases.iter().map(|case| case["case"].as_str().unwrap()).collect::<Vec<_>>(), ["sample0", "sample1"]);
    assert_ne!(cases[0]["outputs"][0]["max_abs"], cases[1]["outputs"][0]["max_abs"], "samples differ");
    for case in cases {
        assert_eq!(case["operations"]["unmatched"], 0, "{case}");
        let distances = case["operations"]["distances"].as_array().unwrap();
        assert!(distances.len() > 20 && distances[0]["inherited"] == 0.0, "{case}");
        assert_eq!(
            case["operations"]["first_difference"],
            distances.iter().find(|it| it["max_abs"] != 0.0).unwrap()["name"]
        );
    }
    assert_eq!(
        sandbox.succeed(&arguments).json("mlreg/cli/eval/1")["bundles"][0]["cases"][0]["outputs"],
        cases[0]["outputs"]
    );
    let same = sandbox.succeed(&["eval", &single, "--against", &single, "--per-op"]);
    assert!(same.stderr.contains(&format!("no operation of `{single}` differs")), "{same:?}");
}

#[test]
fn bundles_that_share_a_reference_are_compared_as_each_alone() {
    let sandbox = built();
    let (half, single) = (bundle("decoder-64-nhwc-float16-ios17"), bundle("decoder-64-nhwc-float32-ios17"));
    let outputs = |bundles: &[&str]| -> Vec<Value> {
        let arguments = [&["eval"], bundles, &["--against", &single, "--samples", "2", "--json"]].concat();
        let document = sandbox.succeed(&arguments).json("mlreg/cli/eval/1");
        let cases =
            document["bundles"].as_array().unwrap().iter().flat_map(|bundle| bundle["cases"].as_array().unwrap());
        cases.map(|case| case["outputs"].clone()).collect()
    };
    let together = outputs(&[&half, &single]);
    assert_eq!(together.len(), 4);
    assert_eq!(together, [outputs(&[&half]), outputs(&[&single])].concat());
}

#[test]
fn language_models_are_compared_by_what_a_sampler_would_notice() {
    let sandbox = Sandbox::new();
    let (packed, plain) = (fixture("models/language_int4_ios18.mlpackage"), fixture("models/language_ios18.mlpackage"));
    let document =
        sandbox.succeed(&["eval", &packed, "--against", &plain, "--samples", "4", "--json"]).json("mlreg/cli/eval/1");
    for case in document["bundles"][0]["cases"].as_array().unwrap() {
        let logits = &case["outputs"][0]["logits"];
        assert_eq!(logits["rows"], 1, "the length is flexible, and 1 where nothing else is asked for: {case}");
        let divergence = logits["kl_mean"].as_f64().unwrap();
        assert!(divergence > 0.0 && divergence < 0.5 && logits["argmax_agreement"].is_number(), "{case}");
    }
}

#[test]
fn variants_of_a_package_are_compared_with_the_most_precise_one() {
    let sandbox = built();
    let document = sandbox.succeed(&["eval", "tae", "--against", "tae", "--json"]).json("mlreg/cli/eval/1");
    let references: BTreeMap<&str, &str> = document["bundles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["bundle"].as_str().unwrap(), it["reference"].as_str().unwrap()))
        .collect();
    let expected = ["decoder-32-nhwc", "decoder-64-nhwc", "encoder-64-nhwc"]
        .map(|id| (format!("{id}-float16-ios17"), format!("{id}-float32-ios17")));
    assert_eq!(references, expected.iter().map(|(bundle, reference)| (bundle.as_str(), reference.as_str())).collect());
}

#[test]
fn a_picture_comes_back_from_encoder_and_decoder() {
    let sandbox = built();
    write(&sandbox, "photo.png", &[("photo", &picture(96, 80))]);
    let arguments =
        ["eval", "tae", "--roundtrip", "photo.png", "--pictures", "pictures", "--report", "page/report.html", "--json"];
    let document = sandbox.succeed(&arguments).json("mlreg/cli/eval/1");
    let bundles = document["bundles"].as_array().unwrap();
    assert_eq!(bundles.len(), 2, "{document}");
    for (bundle, precision) in bundles.iter().zip(["float16", "float32"]) {
        assert_eq!(bundle["bundle"], format!("encoder-64-nhwc-{precision}-ios17 + decoder-64-nhwc-{precision}-ios17"));
        assert_eq!(bundle["reference"], "photo.png at 64x64");
        assert_eq!(bundle["cases"][0]["outputs"][0]["shape"], serde_json::json!([1, 3, 64, 64]));
    }
    // Expected, found and difference next to each other.
    let strip = tensors::read(
        &sandbox.path("pictures/encoder-64-nhwc-float16-ios17---decoder-64-nhwc-float16-ios17-image.png"),
        &ReadOptions::default(),
    );
    assert_eq!(strip.unwrap().pop_first().unwrap().1.dims(), [1, 3, 64, 200]);
    let page = fs::read_to_string(sandbox.path("page/report.html")).unwrap();
    // What was expected is shown once, then what came out and the difference of each precision.
    assert_eq!(page.matches("<img alt=").count(), 1 + 2 * 2, "{page}");
    for told in [
        "class=\"verdict measured\"",
        "tae 1.0.0",
        "Release digest",
        "float16 is within",
        "All differences have one scale",
    ] {
        assert!(page.contains(told), "{told}: {page}");
    }
    assert!(page.contains("decoder-64-nhwc-float16-ios17") && page.contains("width=device-width"), "{page}");
    for outside in ["http://", "https://", "<script", "src=\"/", "@import"] {
        assert!(!page.contains(outside), "the page needs `{outside}`");
    }
    let alone = sandbox.run(&["eval", "tae", "--variant", "decoder-*", "--roundtrip", "photo.png"]);
    assert_eq!(alone.code, Some(1), "{alone:?}");
    assert!(alone.stderr.contains("error: no encoder and decoder belong together among:\n  `decoder-"), "{alone:?}");
}

#[test]
fn pictures_and_arrays_are_goldens_too() {
    let sandbox = built();
    let bundle = bundle("decoder-64-nhwc-float32-ios17");
    let mut golden = tensors::read(Path::new(&fixture("taef1/golden.safetensors")), &ReadOptions::default()).unwrap();
    let (latent, image) = (golden.remove("decode0.in.latent").unwrap(), golden.remove("decode0.out.image").unwrap());
    write(&sandbox, "latent.npy", &[("latent", &latent)]);
    write(&sandbox, "expected.npy", &[("expected", &image)]);
    tensors::write(&sandbox.path("seen.png"), &[("seen", &image, DataType::Float32)], &WriteOptions::default())
        .unwrap();
    let compare = |file: &str| {
        sandbox
            .succeed(&["eval", &bundle, "--input", "latent.npy", "--expect", file, "--json"])
            .json("mlreg/cli/eval/1")
    };
    let exact = compare("expected.npy");
    assert!(exact["bundles"][0]["cases"][0]["outputs"][0]["max_abs"].as_f64().unwrap() < 1e-4, "{exact}");
    // Eight bits, and nothing below black or above white.
    let rounded = compare("seen.png");
    assert!(rounded["bundles"][0]["cases"][0]["outputs"][0]["cosine"].as_f64().unwrap() > 0.8, "{rounded}");
}

#[test]
fn the_first_operation_without_a_finite_result_is_named() {
    let sandbox = built();
    write(&sandbox, "huge.npy", &[("huge", &Tensor::full(1e30f32, (1, 8, 8, 16), &Device::Cpu).unwrap())]);
    let (half, single) = (bundle("decoder-64-nhwc-float16-ios17"), bundle("decoder-64-nhwc-float32-ios17"));
    let run = sandbox.run(&["eval", &half, "--against", &single, "--input", "huge.npy"]);
    assert!(run.stderr.contains(" is the first whose result is not finite"), "{run:?}");
    assert!(run.stderr.contains("warning:") && !run.stderr.contains(&format!("`{single}`: ")), "{run:?}");
}

#[test]
fn what_cannot_be_compared_is_explained() {
    let sandbox = built();
    let golden = fixture("taef1/golden.safetensors");
    let (encoder, decoder) = (bundle("encoder-64-nhwc-float32-ios17"), bundle("decoder-64-nhwc-float32-ios17"));
    let refused = |code: i32, arguments: &[&str], expected: &str| {
        let run = sandbox.run(&[&["eval"], arguments].concat());
        assert_eq!(run.code, Some(code), "{run:?}");
        assert!(run.stderr.contains(expected), "{expected}: {run:?}");
    };
    refused(2, &[&decoder], "--golden <FILE>");
    refused(2, &[&decoder, "--golden", &golden, "--roundtrip", "p.png"], "cannot be used with");
    refused(2, &[&decoder, "--golden", &golden, "--atol", "-1"], "not negative");
    refused(1, &[&decoder, "--golden", "missing.safetensors"], "missing.safetensors");
    refused(1, &[&decoder, "--against", &encoder], "input `latent` (float32 [1, 8, 8, 16]) is missing, found `image`");
    let single = ["tae", "--variant", "decoder-*-float32-*", "--against", "tae"];
    refused(
        1,
        &[&single[..], &["--against-variant", "*-float32-*"]].concat(),
        "nothing to compare: every chosen variant of `tae` is float32",
    );
    refused(
        1,
        &single,
        "hint: add float16 to `precision` and build again, or name another package or bundle with --against",
    );
    refused(
        1,
        &[&decoder, "--golden", &golden, "--function", "other"],
        "has no function `other`: expected one of main",
    );
    refused(1, &[&decoder, "--golden", &golden, "--map", "latents=latent"], "`latents` is mapped, but no case has it");
    write(
        &sandbox,
        "other.safetensors",
        &[
            ("in.z", &Tensor::zeros((1, 16, 8, 8), candle_core::DType::F32, &Device::Cpu).unwrap()),
            ("out.image", &picture(64, 64)),
        ],
    );
    refused(1, &[&decoder, "--golden", "other.safetensors"], "hint: `--map z=latent` if that is what it is");
}
