//! `run`: bundles in the interpreter, from tensor files to tensor files.

use std::{fs, path::Path};

use candle_core::Tensor;
use mlreg::{
    mil::DataType,
    tensors::{ReadOptions, WriteOptions, read, write},
};

use super::Sandbox;

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/taef1").join(name).display().to_string()
}

/// A sandbox whose store and folder `out` have a decoder of 64 pixels, in NHWC as well.
fn built() -> Sandbox {
    let sandbox = Sandbox::new();
    let checkpoint = fixture("");
    let manifest = format!(
        "[package]\nname = \"tae\"\nversion = \"1.0.0\"\n[[component]]\nname = \"decoder\"\ncheckpoint = \
         '{checkpoint}'\nsize = 64\n\
         layout = [\"nchw\", \"nhwc\"]\nprecision = \"float32\"\ntarget = \"iOS17\"\n"
    );
    fs::write(sandbox.path("tae.toml"), manifest).unwrap();
    let run = sandbox.run(&["build", "tae.toml", "--out", "out"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    sandbox
}

fn golden(name: &str) -> Tensor {
    read(Path::new(&fixture("golden.safetensors")), &ReadOptions::default()).unwrap().remove(name).unwrap()
}

#[track_caller]
fn assert_near(found: &Tensor, expected: &Tensor) {
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(found.dims(), expected.dims());
    let worst = values(found).iter().zip(values(expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= 1e-4, "{worst}");
}

#[test]
fn a_latent_becomes_a_picture() {
    let sandbox = built();
    let input = fixture("golden.safetensors");
    let bundle = "out/tae/decoder-64-float32-ios17.mlpackage";
    let map = ["--input", &input, "--map", "decode0.in.latent=latent"];
    let run =
        sandbox.run(&[&["run", bundle, "--output", "image.png", "--output", "image.safetensors"][..], &map].concat());
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.starts_with("image\tfloat32[1,3,64,64]\t"), "{run:?}");
    let found = read(&sandbox.path("image.safetensors"), &ReadOptions::default()).unwrap().remove("image").unwrap();
    assert_near(&found, &golden("decode0.out.image"));
    let picture = read(&sandbox.path("image.png"), &ReadOptions::default()).unwrap().remove("image").unwrap();
    let clamped = golden("decode0.out.image").clamp(0.0, 1.0).unwrap();
    let levels =
        (((picture - clamped).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap()) * 255.0).unwrap();
    assert!(levels.to_scalar::<f32>().unwrap() <= 0.51, "{levels}");
    // A variant of the store runs without being placed, and takes its channels from where the file has them.
    let arguments = ["run", "tae", "--variant", "*-nhwc-*", "--output", "image.npy", "--json"];
    let document = sandbox.run(&[&arguments[..], &map].concat()).json("mlreg/cli/run/1");
    assert_eq!(document["bundle"], "decoder-64-nhwc-float32-ios17");
    assert_eq!(document["outputs"][0]["shape"], serde_json::json!([1, 64, 64, 3]));
    let found = read(&sandbox.path("image.npy"), &ReadOptions::default()).unwrap().remove("image").unwrap();
    assert_near(&found.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap(), &golden("decode0.out.image"));
}

#[test]
fn what_is_missing_or_does_not_fit_is_named() {
    let sandbox = built();
    let refused = |arguments: &[&str], expected: &str| {
        let run = sandbox.run(&[&["run"], arguments].concat());
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!(run.stderr.contains(expected), "{expected}: {run:?}");
    };
    let bundle = "out/tae/decoder-64-float32-ios17.mlpackage";
    refused(&["tae"], "hint: name one: --variant 'decoder-64-float32-ios17'");
    refused(&["tae", "--variant", "encoder-*"], "`encoder-*` matches no variant of `tae`");
    refused(&[bundle], "input `latent` (float32 [1, 16, 8, 8]) is missing, found nothing");
    refused(
        &[bundle, "--input", &fixture("golden.safetensors")],
        "hint: `--map decode0.in.latent=latent` if that is what it is",
    );
    let input = fixture("golden.safetensors");
    let map = ["--input", &input, "--map", "decode1.in.latent=latent"];
    refused(
        &[&[bundle][..], &map].concat(),
        "input `latent` has the shape [1, 16, 6, 10], expected float32 [1, 16, 8, 8]",
    );
    refused(&[bundle, "--function", "other"], "has no function `other`: expected one of main");
    refused(&["nothing.mlpackage"], "cannot open the bundle `nothing.mlpackage`");
    assert_eq!(sandbox.run(&["run", bundle, "--map", "x"]).code, Some(2));
    refused(
        &[&[bundle, "--output", "image.gif"][..], &map].concat(),
        "image.gif is a picture in GIF, which is neither read nor written",
    );
}

#[test]
fn the_first_result_that_is_not_finite_is_told() {
    let sandbox = built();
    let name = sandbox.path("latent.npy");
    let latent = Tensor::full(f32::INFINITY, (1, 16, 8, 8), &candle_core::Device::Cpu).unwrap();
    let tensors = [("latent", &latent, mlreg::mil::DataType::Float32)];
    mlreg::tensors::write(&name, &tensors, &mlreg::tensors::WriteOptions::default()).unwrap();
    let run = sandbox.run(&["run", "out/tae/decoder-64-float32-ios17.mlpackage", "--input", "latent.npy"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stderr.contains("(real_div) is the first whose result is not finite"), "{run:?}");
}

/// A bundle that coremltools made.
fn foreign(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name).display().to_string()
}

#[test]
fn images_are_tensors_of_the_programs_shape() {
    let sandbox = Sandbox::new();
    let picture = Tensor::full(100f32, (1, 3, 4, 6), &candle_core::Device::Cpu).unwrap();
    write(&sandbox.path("picture.npy"), &[("picture", &picture, DataType::Float32)], &WriteOptions::default()).unwrap();
    let bundle = foreign("packages/image_ios16.mlpackage");
    let run = sandbox.run(&["run", &bundle, "--input", "picture.npy", "--output", "result.npy"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let run = sandbox.run(&["eval", &bundle, "--against", &bundle, "--samples", "2", "--atol", "0"]);
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn a_class_is_written_as_its_place() {
    let sandbox = Sandbox::new();
    let x = Tensor::new(&[[1f32, -1.0, 0.5, 2.0, 0.0]], &candle_core::Device::Cpu).unwrap();
    write(&sandbox.path("x.npy"), &[("x", &x, DataType::Float32)], &WriteOptions::default()).unwrap();
    let run = sandbox.run(&[
        "run",
        &foreign("models/classifier_ios15.mlpackage"),
        "--input",
        "x.npy",
        "--output",
        "classes.safetensors",
    ]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let found = read(&sandbox.path("classes.safetensors"), &ReadOptions::default()).unwrap();
    let label = found["classLabel"].flatten_all().unwrap().to_vec1::<i64>().unwrap();
    let scores = found["classLabel_probs"].flatten_all().unwrap();
    assert_eq!(label, [i64::from(scores.argmax(0).unwrap().to_scalar::<u32>().unwrap())]);
}
