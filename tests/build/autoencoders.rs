//! Tiny autoencoders through packages on disk, against pictures that the reference implementations made.
//!
//! Tolerances: in float32 the only differences are the orders of sums, 1e-4 is some hundred times what they make. With
//! float16 weights and float16 results of every operation pictures must agree to 45 dB, about 1.5 levels of 255.

use std::{collections::BTreeMap, path::Path};

use candle_core::Tensor;
use mlreg::{
    emit::coreml::Package,
    eval::{
        Mode,
        compare::{Comparison, compare_with_peak},
    },
    ops,
};

use super::{
    Project, decoder,
    package::{fixtures, run, tensors},
    toml_path,
};

/// Builds one part of a fixture in every form, and compares every golden case that fits.
fn check(fixture: &str, part: &str, targets: &[&str]) {
    let project = Project::new();
    let (case, input, output) =
        if part == "decoder" { ("decode", "latent", "image") } else { ("encode", "image", "latent") };
    let keys = format!(
        "part = \"{part}\"\nsize = [64, [80, 48]]\nlayout = [\"nchw\", \"nhwc\"]\nprecision = [\"float32\", \
         \"float16\"]\n\
         target = {targets:?}"
    );
    project
        .build_with(&decoder(fixture, &keys).replacen("decoder", part, 1), |options| options.out = Some("out".into()))
        .unwrap();
    let golden = tensors(&fixtures().join(fixture).join("golden.safetensors"));
    let mut count = 0;
    for variant in project.release().1.variants {
        let package = project.path("out/p").join(format!("{}.mlpackage", variant.id));
        let case = if variant.axes["size"] == "64" { format!("{case}0") } else { format!("{case}1") };
        let (given, expected) = (&golden[&format!("{case}.in.{input}")], &golden[&format!("{case}.out.{output}")]);
        let nhwc = variant.axes["layout"] == "nhwc";
        let give = if nhwc { given.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap() } else { given.clone() };
        let results = run(&package, BTreeMap::from([(input.to_owned(), give)]), Mode::Declared);
        let found = &results[output];
        let found = if nhwc { found.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap() } else { found.clone() };
        let comparison = compared(expected, &found);
        if variant.axes["precision"] == "float32" {
            assert!(comparison.max_abs <= 1e-4, "{} of {fixture}: {comparison:?}", variant.id);
        } else {
            assert!(comparison.psnr >= 45.0, "{} of {fixture}: {comparison:?}", variant.id);
        }
        count += 1;
    }
    assert_eq!(count, 8 * targets.len());
}

/// The peak is the range of the expected values, since latents are no pictures.
fn compared(expected: &Tensor, found: &Tensor) -> Comparison {
    assert_eq!(expected.dims(), found.dims());
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (expected, found) = (values(expected), values(found));
    let peak = expected.iter().copied().fold(f32::MIN, f32::max) - expected.iter().copied().fold(f32::MAX, f32::min);
    compare_with_peak(&found, &expected, f64::from(peak)).unwrap()
}

#[test]
fn sizes_are_functions_of_one_bundle() {
    let project = Project::new();
    let keys = "part = \"decoder\"\nsize = [[80, 48], 64]\nlayout = [\"nchw\", \"nhwc\"]\nprecision = \
         \"float32\"\ntarget = \"iOS18\"";
    let joined = decoder("taef1", &format!("{keys}\nmultifunction = true")).replacen("decoder", "joined", 1);
    project.build_with(&(decoder("taef1", keys) + &joined), |options| options.out = Some("out".into())).unwrap();
    let open = |id: &str| Package::open(&project.path("out/p").join(format!("{id}.mlpackage"))).unwrap();
    let golden = tensors(&fixtures().join("taef1/golden.safetensors"));
    let joined = open("joined-80x48+64-float32-ios18");
    assert_eq!(joined.program().default_function.as_deref(), Some("size_80x48"));
    for (size, case) in [("64", "decode0"), ("80x48", "decode1")] {
        let decode = |package: &Package, function: Option<&str>| {
            let inputs = BTreeMap::from([("latent".to_owned(), golden[&format!("{case}.in.latent")].clone())]);
            let image = &package.interpreter(ops::OPERATORS).run(function, inputs, Mode::Declared).unwrap()["image"];
            image.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let function = format!("size_{size}");
        assert!(decode(&joined, Some(&function)) == decode(&open(&format!("decoder-{size}-float32-ios18")), None));
    }
    let release = project.release().1;
    let weights = release
        .variants
        .iter()
        .flat_map(|variant| &variant.files)
        .filter(|file| file.path.as_str().ends_with("weight.bin"));
    assert_eq!(weights.map(|file| file.sha256).collect::<std::collections::BTreeSet<_>>().len(), 1);
}

#[test]
fn taef1_decodes() {
    check("taef1", "decoder", &["iOS15", "iOS16", "iOS17", "iOS18"]);
}

#[test]
fn taef1_encodes() {
    check("taef1", "encoder", &["iOS15", "iOS16", "iOS17", "iOS18"]);
}

#[test]
fn taef1_in_the_original_layout() {
    check("taef1_original", "decoder", &["iOS17"]);
    check("taef1_original", "encoder", &["iOS17"]);
}

#[test]
fn taef2_decodes() {
    check("taef2", "decoder", &["iOS15", "iOS16", "iOS17", "iOS18"]);
}

#[test]
fn taef2_encodes() {
    check("taef2", "encoder", &["iOS15", "iOS16", "iOS17", "iOS18"]);
}

#[test]
fn taef2_in_the_original_layout() {
    check("taef2_original", "decoder", &["iOS17"]);
    check("taef2_original", "encoder", &["iOS17"]);
}

/// The file that a bundle placed under `out/p` has its weights in.
fn weights(project: &Project, id: &str) -> Vec<u8> {
    let path = project.path("out/p").join(Path::new(&format!("{id}.mlpackage")));
    std::fs::read(path.join("Data/com.apple.CoreML/weights/weight.bin")).unwrap()
}

#[test]
fn variants_that_were_built_apart_have_the_same_weights() {
    let build = |keys: &str, id: &str| {
        let project = Project::new();
        let keys = format!("part = \"decoder\"\nprecision = \"float16\"\n{keys}");
        project.build_with(&decoder("taef2", &keys), |options| options.out = Some("out".into())).unwrap();
        weights(&project, id)
    };
    let one = build("size = 64\ntarget = \"iOS15\"", "decoder-64-float16-ios15");
    let other = build(
        "size = [[80, 48]]\nlayout = \"nhwc\"\ntarget = \"iOS18\"\nio-precision = \"float32\"\nrange = \
         \"signed\"\nclamp = true",
        "decoder-80x48-nhwc-iofloat32-float16-ios18",
    );
    assert!(one == other);
}

#[test]
fn pictures_can_be_signed_and_clamped() {
    let picture = |keys: &str| {
        let project = Project::new();
        let keys = format!("part = \"decoder\"\nsize = 64\nprecision = \"float32\"\ntarget = \"iOS16\"\n{keys}");
        project.build_with(&decoder("taef1", &keys), |options| options.out = Some("out".into())).unwrap();
        let package = project.path("out/p/decoder-64-float32-ios16.mlpackage");
        let golden = tensors(&fixtures().join("taef1/golden.safetensors"));
        let latent = (golden["decode0.in.latent"].clone() * 3.0).unwrap();
        let result =
            run(&package, BTreeMap::from([("latent".to_owned(), latent)]), Mode::Float32).remove("image").unwrap();
        result.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let plain = picture("");
    let signed = picture("range = \"signed\"");
    assert!(plain.iter().zip(&signed).all(|(y, s)| (2.0 * y - 1.0 - s).abs() < 1e-5));
    assert!(plain.iter().any(|&y| !(0.0..=1.0).contains(&y)), "the case has nothing to clamp");
    let clamped = picture("clamp = true");
    assert!(plain.iter().zip(&clamped).all(|(y, c)| (y.clamp(0.0, 1.0) - c).abs() < 1e-6));
    let both = picture("range = \"signed\"\nclamp = true");
    assert!(signed.iter().zip(&both).all(|(s, c)| (s.clamp(-1.0, 1.0) - c).abs() < 1e-6));
}

#[test]
fn unusual_forms_convert() {
    let project = Project::new();
    let forms = [
        ("bfloat16", 8),
        ("two_levels", 2),
        ("no_blocks", 2),
        ("silu", 4),
        ("gelu", 2),
        ("five_levels", 16),
        ("four_channels", 4),
    ];
    let component = |(form, scale): &(&str, u32), part: &str| {
        let checkpoint = toml_path(&fixtures().join("autoencoder_forms").join(form));
        format!(
            "[[component]]\nname = \"{form}-{part}\"\ncheckpoint = \"{checkpoint}\"\npart = \"{part}\"\nsize = [[{}, \
             {}]]\n\
             precision = \"float32\"\ntarget = \"iOS17\"\n",
            3 * scale,
            2 * scale
        )
    };
    let components: String =
        forms.iter().flat_map(|form| [component(form, "decoder"), component(form, "encoder")]).collect();
    project.build_with(&components, |options| options.out = Some("out".into())).unwrap();
    for (form, scale) in forms {
        let golden = tensors(&fixtures().join("autoencoder_forms").join(form).join("golden.safetensors"));
        for (part, case, input, output) in
            [("decoder", "decode0", "latent", "image"), ("encoder", "encode0", "image", "latent")]
        {
            let id = format!("{form}-{part}-{}x{}-float32-ios17", 3 * scale, 2 * scale);
            let package = project.path("out/p").join(format!("{id}.mlpackage"));
            let given = golden[&format!("{case}.in.{input}")].clone();
            let results = run(&package, BTreeMap::from([(input.to_owned(), given)]), Mode::Float32);
            let comparison = compared(&golden[&format!("{case}.out.{output}")], &results[output]);
            assert!(comparison.max_abs <= 1e-4, "{id}: {comparison:?}");
        }
    }
}
