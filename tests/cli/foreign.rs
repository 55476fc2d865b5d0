//! Packages as other people have them: older weight records, optional inputs, images, pipelines.

use std::path::Path;

use candle_core::Tensor;
use mlreg::tensors::{self, ReadOptions};

use super::Sandbox;

fn foreign(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/foreign").join(name).display().to_string()
}

fn read(path: &Path) -> Tensor {
    tensors::read(path, &ReadOptions::default()).unwrap().pop_first().unwrap().1
}

#[test]
fn packages_of_older_writers_are_inspected_and_compared() {
    let sandbox = Sandbox::new();
    let (net, golden) = (foreign("old_records.mlpackage"), foreign("old_records.safetensors"));
    let run = sandbox.run(&["inspect", &net]);
    assert!(run.code == Some(0) && !run.stderr.contains("cannot be read"), "{run:?}");
    assert!(run.stdout.contains("weights/weight.bin\tfloat32\t"), "{run:?}");
    sandbox.succeed(&["eval", &net, "--golden", &golden, "--atol", "1e-4"]);
    sandbox.succeed(&["eval", &net, "--against", &net, "--per-op", "--atol", "0"]);
}

#[test]
fn optional_inputs_may_be_left_out() {
    let sandbox = Sandbox::new();
    let gain = foreign("gain.mlpackage");
    assert!(sandbox.succeed(&["inspect", &gain]).stdout.contains("\nmain\tinput\tgain? float32[1,4] = 0.5\n"));
    let document = sandbox.succeed(&["inspect", &gain, "--json"]).json("mlreg/cli/inspect/1");
    assert_eq!(document["interface"]["inputs"][1]["default"], "0.5");
    sandbox.succeed(&[
        "eval",
        &gain,
        "--input",
        &foreign("gain_x.npz"),
        "--expect",
        &foreign("gain_y.npy"),
        "--atol",
        "1e-6",
    ]);
    let x = foreign("defaults_x.npy");
    sandbox.succeed(&["run", &foreign("defaults.mlpackage"), "--input", &x, "--output", "y.npy"]);
    let run = sandbox.run(&["run", &foreign("no_default.mlpackage"), "--input", &x, "--map", "defaults_x=x"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains("input `half` (float16 [2, 3]) is missing"), "{run:?}");
    assert!(
        run.stderr.contains(
            "`--input half.npy`; zeros to begin with come from `python3 -c \"import numpy; numpy.save('half.npy'"
        ),
        "{run:?}"
    );
}

#[test]
fn pictures_are_pixels_for_images() {
    let sandbox = Sandbox::new();
    let picture = foreign("picture.png");
    for colors in ["rgb", "bgr"] {
        let (package, expected) = (foreign(&format!("{colors}.mlpackage")), foreign(&format!("{colors}_expected.npy")));
        sandbox.succeed(&["eval", &package, "--input", &picture, "--expect", &expected, "--atol", "1e-3"]);
        sandbox.succeed(&[
            "eval", &package, "--input", &picture, "--range", "byte", "--expect", &expected, "--atol", "1e-3",
        ]);
        let run = sandbox.run(&["eval", &package, "--input", &picture, "--range", "signed", "--expect", &expected]);
        assert_eq!(run.code, Some(1), "{run:?}");
        let said = format!(
            "`--range signed` does not fit `picture`, an image ({}): its pixels are 0 to 255",
            colors.to_uppercase()
        );
        assert!(run.stderr.contains(&said), "{run:?}");
        let shown = sandbox.succeed(&["inspect", &package]).stdout;
        assert!(shown.contains(&format!("\nmain\tinput\tpicture image[12,20] {}\n", colors.to_uppercase())), "{shown}");
        let document = sandbox.succeed(&["inspect", &package, "--json"]).json("mlreg/cli/inspect/1");
        assert_eq!(document["interface"]["inputs"][0]["color"], colors.to_uppercase());
    }
}

#[test]
fn images_that_come_out_are_written_as_a_device_gives_them() {
    let sandbox = Sandbox::new();
    let (package, picture) = (foreign("negative_bgr.mlpackage"), foreign("picture.png"));
    sandbox.succeed(&["eval", &package, "--input", &picture, "--expect", &foreign("negative.png"), "--atol", "0.003"]);
    sandbox.succeed(&["run", &package, "--input", &picture, "--output", "negative.png"]);
    let (found, expected) = (read(&sandbox.path("negative.png")), read(Path::new(&foreign("negative.png"))));
    assert_eq!(found.to_vec3_flat(), expected.to_vec3_flat());
    // Halves of odd numbers are rounded in pixels, and stay in tensors.
    let grey = foreign("grey.mlpackage");
    let pixels = foreign("photo_grey.jpg");
    sandbox
        .succeed(&["run", &grey, "--input", &pixels, "--fit", "crop", "--output", "half.png", "--output", "half.npy"]);
    let (picture, tensor) =
        (read(&sandbox.path("half.png")).to_vec3_flat(), read(&sandbox.path("half.npy")).to_vec3_flat());
    assert!(
        picture.iter().zip(&tensor).all(|(pixel, number)| (pixel * 255.0 - number.round()).abs() < 1e-3),
        "{picture:?} {tensor:?}"
    );
}

trait Flat {
    fn to_vec3_flat(&self) -> Vec<f32>;
}

impl Flat for Tensor {
    fn to_vec3_flat(&self) -> Vec<f32> {
        self.flatten_all().unwrap().to_vec1().unwrap()
    }
}

#[test]
fn pictures_of_other_sizes_are_named_or_fitted() {
    let sandbox = Sandbox::new();
    let (rgb, photo) = (foreign("rgb.mlpackage"), foreign("photo.jpg"));
    let run = sandbox.run(&["run", &rgb, "--input", &photo]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains("photo.jpg` has 12 x 8 pixels, `picture` takes 20 x 12\n"), "{run:?}");
    assert!(run.stderr.ends_with("hint: `--fit stretch`, `--fit crop` or `--fit pad` resizes it\n"), "{run:?}");
    for mode in ["stretch", "crop", "pad"] {
        sandbox.succeed(&["run", &rgb, "--input", &photo, "--fit", mode]);
    }
    let sizes = foreign("sizes.mlpackage");
    let document = sandbox.succeed(&["run", &sizes, "--input", &photo, "--json"]).json("mlreg/cli/run/1");
    assert_eq!(document["outputs"][0]["shape"], serde_json::json!([1, 3, 8, 12]));
    let run = sandbox.run(&["run", &sizes, "--input", &foreign("picture.png")]);
    assert!(run.stderr.contains("has 20 x 12 pixels, `picture` takes 4 to 16 x 2 to 16\n"), "{run:?}");
    let run = sandbox.run(&["run", &rgb, "--input", "photo.heic"]);
    assert!(run.stderr.contains("photo.heic is a picture in HEIC, which is neither read nor written"), "{run:?}");
    assert!(run.stderr.contains("hint: convert it: `magick photo.heic photo.png`"), "{run:?}");
}

#[test]
fn pipelines_are_inspected_run_and_compared() {
    let sandbox = Sandbox::new();
    let two = foreign("two.mlpackage");
    let run = sandbox.succeed(&["inspect", &two]);
    for line in
        ["\npart     1", "\npart     2", "weights/0-weight.bin\n", "weights/1-weight.bin\n", "\nmemory   weights "]
    {
        assert!(run.stdout.contains(line), "{line:?}: {run:?}");
    }
    let document = sandbox.succeed(&["inspect", &two, "--json"]).json("mlreg/cli/inspect/1");
    let parts = document["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2);
    assert!(
        parts.iter().all(|part| part["model_type"] == "mlProgram" && part["operations"][0]["operators"].is_object()),
        "{document}"
    );
    let program = sandbox.succeed(&["inspect", &two, "--program"]).stdout;
    assert_eq!((program.matches("// part ").count(), program.matches("program(iOS16)\n").count()), (2, 2), "{program}");
    sandbox.succeed(&["eval", &two, "--golden", &foreign("two.safetensors"), "--atol", "1e-5"]);
    sandbox.succeed(&["eval", &two, "--against", &two, "--per-op", "--atol", "0"]);
    let nested = foreign("nested.mlpackage");
    sandbox.succeed(&[
        "eval",
        &nested,
        "--input",
        &foreign("nested_x.npy"),
        "--expect",
        &foreign("nested_y.npy"),
        "--atol",
        "1e-5",
    ]);
    let run = sandbox.run(&["run", &two, "--function", "other"]);
    assert!(run.stderr.contains("has no function `other`: expected one of main"), "{run:?}");
}

#[test]
fn a_package_of_the_store_is_inspected_in_parts() {
    let sandbox = Sandbox::new();
    let manifest = format!(
        "[package]\nname = \"made\"\nversion = \"1.0.0\"\n[[component]]\nname = \"net\"\nimport = \
         '{}/{{two,gain}}.mlpackage'\n",
        foreign("").trim_end_matches('/')
    );
    std::fs::write(sandbox.path("made.toml"), manifest).unwrap();
    sandbox.succeed(&["build", "made.toml"]);
    let run = sandbox.succeed(&["inspect", "made", "--variant", "two-*"]);
    assert!(run.stdout.contains("\npart     2") && run.stdout.contains("weights/1-weight.bin\n"), "{run:?}");
    let run = sandbox.succeed(&["inspect", "made"]);
    assert!(run.stdout.starts_with("gain-ios16\t") && run.stdout.contains("\ntwo-ios16\t"), "{run:?}");
    assert!(run.stderr.contains("`made` has 2 bundles: inspect one with --variant 'gain-ios16'"), "{run:?}");
}
