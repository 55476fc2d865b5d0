//! Text models through packages on disk, against what the reference implementations give.
//!
//! Tolerances: in float32 the only differences are the orders of sums, 1e-4 of the largest expected number is some
//! hundred times what they make. With float16 weights and float16 results of every operation, results must point the
//! same way (cosine of 0.9995), and logits must name the same token in 99 of 100 rows.

use std::{collections::BTreeMap, path::PathBuf};

use candle_core::Tensor;
use mlreg::{
    emit::coreml::Package,
    eval::{
        Interpreter, Mode, States,
        golden::{Case, FitOptions, NameMap, cases, fit_all},
    },
    manifest::release::Variant,
    ops,
    tensors::{ReadOptions, read},
};

use super::{Project, package::fixtures, toml_path};

/// The recorded cases of a fixture, with other names than theirs.
pub(crate) fn golden(fixture: &str, names: &[&str]) -> Vec<Case> {
    golden_of(&format!("{fixture}/golden.safetensors"), names)
}

/// The recorded cases of a file.
pub(crate) fn golden_of(file: &str, names: &[&str]) -> Vec<Case> {
    let tensors = read(&fixtures().join(file), &ReadOptions::default()).unwrap();
    cases(tensors, &NameMap::parse(names).unwrap()).unwrap()
}

/// A component of a fixture.
pub(crate) fn component(name: &str, fixture: &str, keys: &str) -> String {
    format!("[[component]]\nname = \"{name}\"\ncheckpoint = \"{}\"\n{keys}\n", toml_path(&fixtures().join(fixture)))
}

pub(crate) fn built(components: &str) -> Project {
    let project = Project::new();
    project.build_with(components, |options| options.out = Some("out".into())).unwrap();
    project
}

pub(crate) fn bundle(project: &Project, variant: &Variant) -> PathBuf {
    project.path("out/p").join(format!("{}.mlpackage", variant.id))
}

pub(crate) fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Fails unless `found` is `expected` as closely as the precision allows.
pub(crate) fn assert_close(what: &str, precision: &str, expected: &Tensor, found: &Tensor) {
    assert_eq!(expected.dims(), found.dims(), "{what}");
    let (expected, found, width) = (floats(expected), floats(found), *expected.dims().last().unwrap());
    let scale = expected.iter().fold(0.0f32, |scale, x| scale.max(x.abs()));
    if precision == "float32" {
        let worst = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-4 * scale, "{what}: differs by {worst} at a scale of {scale}");
        return;
    }
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let cosine = product(&expected, &found) / (product(&expected, &expected) * product(&found, &found)).sqrt();
    assert!(cosine >= 0.9995, "{what}: cosine {cosine}");
    if what.ends_with("logits") {
        let largest = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
        let rows = expected.len() / width;
        // Scores that lie closer together than float16 can tell are one.
        let step = |row: &[f32]| row.iter().fold(0.0f32, |most, x| most.max(x.abs())) / 512.0;
        let names_it = |a: &[f32], b: &[f32]| {
            largest(a).zip(largest(b)).is_some_and(|(best, named)| a[best] - a[named] <= step(a))
        };
        let equal = expected.chunks(width).zip(found.chunks(width)).filter(|(a, b)| names_it(a, b)).count();
        assert!(equal as f64 >= 0.99 * rows as f64, "{what}: {equal} of {rows} rows name the same token");
    }
}

/// Compares every variant with every case that fits; gives the number of outputs that were compared.
pub(crate) fn compare(project: &Project, cases: &[Case]) -> usize {
    let mut count = 0;
    for variant in project.release().1.variants {
        let package = Package::open(&bundle(project, &variant)).unwrap();
        mlreg::mil::verify(package.program(), ops::find).unwrap();
        let interface = package.interface(None).unwrap();
        for case in fit_all(cases, interface, FitOptions::default()).unwrap().fitted {
            let results = package.interpreter(ops::OPERATORS).run(None, case.inputs.clone(), Mode::Declared).unwrap();
            for (name, expected) in &case.outputs {
                let found = case.valid_part(name, &results[name]).unwrap();
                let what = format!("{} of {}: {name}", case.name, variant.id);
                assert_close(&what, &variant.axes["precision"], expected, &found);
                count += 1;
            }
        }
    }
    count
}

const EVERY_TARGET: &str = "target = [\"iOS15\", \"iOS16\", \"iOS17\", \"iOS18\"]";
/// Translators have programs of two forms, before iOS18 and from then on.
pub(crate) const BOTH_FORMS: &str = "target = [\"iOS15\", \"iOS18\"]";

/// The names of weight files of the release, by the precision of the variants that have them.
pub(crate) fn weight_files(project: &Project) -> BTreeMap<String, std::collections::BTreeSet<String>> {
    let mut files: BTreeMap<String, std::collections::BTreeSet<String>> = BTreeMap::new();
    for variant in project.release().1.variants {
        let weights = variant.files.iter().find(|file| file.path.as_str().ends_with("weight.bin")).unwrap();
        files.entry(variant.axes["precision"].clone()).or_default().insert(weights.sha256.to_string());
    }
    files
}

#[test]
fn sentence_encoders_give_the_reference_embeddings() {
    let keys = format!(
        "sequence = [24, 40]\nprecision = [\"float32\", \"float16\"]\nlinear = [\"linear\", \"conv\"]\n{EVERY_TARGET}"
    );
    let project = built(&component("encoder", "bert/minilm", &keys));
    let compared = compare(&project, &golden("bert/minilm", &[]));
    assert_eq!(compared, 2 * 2 * 2 * 4 * 2 * 2);
    let files = weight_files(&project);
    assert!(files.len() == 2 && files.values().all(|files| files.len() == 1), "{files:?}");
}

/// Both parts of a translator, uncached, in every form.
pub(crate) fn translator(fixture: &str, encoder: &[&str], decoder: &[&str]) {
    let keys = format!("precision = [\"float32\", \"float16\"]\nlinear = [\"linear\", \"conv\"]\n{BOTH_FORMS}");
    let project = built(&component("encoder", fixture, &format!("sequence = [20, 48]\n{keys}")));
    let cases = golden(fixture, encoder);
    let long = cases.iter().filter(|case| case.inputs["input_ids"].dims()[1] > 20).count();
    assert_eq!(compare(&project, &cases), 2 * 2 * 2 * (2 * cases.len() - long));
    let files = weight_files(&project);
    assert!(files.len() == 2 && files.values().all(|files| files.len() == 1), "{files:?}");
    let project = built(&component("decoder", fixture, &format!("sequence = 40\nencoder-sequence = 48\n{keys}")));
    assert_eq!(compare(&project, &golden(fixture, decoder)), 2 * 2 * 2 * cases.len());
}

pub(crate) const T5_ENCODER: &[&str] = &["encoder_hidden_states=hidden_states"];
pub(crate) const T5_DECODER: &[&str] = &["attention_mask=encoder_attention_mask"];
const LINGOLITE_ENCODER: &[&str] =
    &["src_input_ids=input_ids", "src_attention_mask=attention_mask", "encoder_output=hidden_states"];
const LINGOLITE_DECODER: &[&str] = &[
    "src_attention_mask=encoder_attention_mask",
    "tgt_input_ids=decoder_input_ids",
    "encoder_output=encoder_hidden_states",
];

#[test]
fn heads_one_by_one_give_the_same() {
    let keys = "precision = [\"float32\", \"float16\"]\nlinear = \"conv\"\nattention = \"split\"\ntarget = \"iOS15\"";
    let project = built(&component("encoder", "bert/minilm", &format!("sequence = 40\n{keys}")));
    assert!(compare(&project, &golden("bert/minilm", &[])) > 0);
    for (fixture, encoder, decoder) in
        [("t5/v10_tied", T5_ENCODER, T5_DECODER), ("lingolite/tied", LINGOLITE_ENCODER, LINGOLITE_DECODER)]
    {
        let project = built(&component("encoder", fixture, &format!("sequence = 48\n{keys}")));
        assert_eq!(compare(&project, &golden(fixture, encoder)), 2 * golden(fixture, encoder).len());
        let project = built(&component("decoder", fixture, &format!("sequence = 40\nencoder-sequence = 48\n{keys}")));
        assert_eq!(compare(&project, &golden(fixture, decoder)), 2 * golden(fixture, decoder).len());
    }
}

#[test]
fn t5_with_a_tied_head_agrees_with_the_reference() {
    translator("t5/v10_tied", T5_ENCODER, T5_DECODER);
}

#[test]
fn flan_t5_survives_float16() {
    translator("t5/overflow", T5_ENCODER, T5_DECODER);
}

#[test]
fn lingolite_agrees_with_the_reference() {
    translator("lingolite/tied", LINGOLITE_ENCODER, LINGOLITE_DECODER);
}

/// Generates as an app would: the encoder, the keys and values of attention to it once, then token by token.
struct Generation<'a> {
    decoder: &'a Package,
    interpreter: Interpreter<'a>,
    /// The bundle that has the keys and values, where the decoder has no function for them.
    cross: Option<&'a Package>,
    states: States,
    inputs: BTreeMap<String, Tensor>,
    mode: Mode,
}

impl<'a> Generation<'a> {
    fn start(decoder: &'a Package, cross: Option<&'a Package>, case: &Case, mode: Mode) -> Self {
        let interface = decoder.interface(None).unwrap();
        let shape = |name: &str| -> Vec<usize> {
            let feature = interface.inputs.iter().find(|feature| feature.name == name).unwrap();
            feature.shape.iter().map(|n| format!("{n}").parse().unwrap()).collect()
        };
        let length = shape("encoder_attention_mask")[1];
        let pad = |tensor: &Tensor| tensor.pad_with_zeros(1, 0, length - tensor.dims()[1]).unwrap();
        let encoded =
            BTreeMap::from([("encoder_hidden_states".to_owned(), pad(&case.outputs["encoder_hidden_states"]))]);
        let mut inputs = match cross {
            Some(cross) => cross.interpreter(ops::OPERATORS).run(None, encoded, mode).unwrap(),
            None => decoder.interpreter(ops::OPERATORS).run(Some("cross"), encoded, mode).unwrap(),
        };
        inputs.insert("encoder_attention_mask".to_owned(), pad(&case.inputs["encoder_attention_mask"]));
        if interface.states.is_empty() {
            for name in ["key_cache", "value_cache"] {
                inputs.insert(
                    name.to_owned(),
                    Tensor::zeros(shape(name), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap(),
                );
            }
        }
        Self {
            decoder,
            interpreter: decoder.interpreter(ops::OPERATORS),
            cross,
            states: States::default(),
            inputs,
            mode,
        }
    }

    /// The rows of logits of these tokens, which are padded to what the decoder takes.
    fn step(&mut self, tokens: &[i64], position: i64) -> Tensor {
        let interface = self.decoder.interface(None).unwrap();
        let feature = interface.inputs.iter().find(|feature| feature.name == "decoder_input_ids").unwrap();
        let length: usize = format!("{}", feature.shape[1]).parse().unwrap();
        let mut padded = tokens.to_vec();
        padded.resize(length, 7);
        let device = candle_core::Device::Cpu;
        let mut inputs = self.inputs.clone();
        inputs.insert("decoder_input_ids".to_owned(), Tensor::from_vec(padded, (1, length), &device).unwrap());
        inputs.insert("position".to_owned(), Tensor::from_vec(vec![position], 1, &device).unwrap());
        let mut results = self.interpreter.run_with_states(None, inputs, &mut self.states, self.mode).unwrap();
        for name in ["key_cache", "value_cache"] {
            if let Some(cache) = results.remove(&format!("{name}_out")) {
                self.inputs.insert(name.to_owned(), cache);
            }
        }
        results["logits"].narrow(1, 0, tokens.len()).unwrap()
    }
}

/// Cached decoders of a fixture: forced tokens give the reference's logits, and greedy ones are the reference's.
pub(crate) fn cached(fixture: &str, decoder: &[&str]) {
    // The longest case has 40 forced tokens; the last step of 6 reaches behind the end of the context.
    let keys = "precision = [\"float32\", \"float16\"]\nlinear = [\"linear\", \"conv\"]\nsequence = [1, \
         6]\nencoder-sequence = 48\ncontext = 41\n";
    let decoders = format!(
        "{keys}cache = [\"state\", \"inputs\"]\ntarget = [\"iOS15\", \"iOS18\"]\nexclude = [{{ cache = \"state\", \
         target = \"iOS15\" }}, \
         {{ linear = \"conv\", precision = \"float16\" }}]"
    );
    let none = "precision = [\"float32\", \"float16\"]\nsequence = 40\nencoder-sequence = 48\ntarget = \"iOS18\"\npart \
         = \"decoder\"";
    let cross = "precision = [\"float32\", \"float16\"]\nsequence = 48\ntarget = \"iOS15\"";
    let project = built(
        &[
            component("decoder", fixture, &decoders),
            component("uncached", fixture, none),
            component("cross", fixture, cross),
        ]
        .concat(),
    );
    let release = project.release().1;
    let open = |id: &str| Package::open(&bundle(&project, release.variant(id).unwrap())).unwrap();
    let crosses = [("float32", open("cross-s48-float32-ios15")), ("float16", open("cross-s48-float16-ios15"))];
    let (mut count, mut files) = (0, std::collections::BTreeSet::new());
    for variant in release.variants.iter().filter(|variant| variant.component == "decoder") {
        let precision = variant.axes["precision"].as_str();
        let package = open(&variant.id);
        mlreg::mil::verify(package.program(), ops::find).unwrap();
        let before = variant.target.unwrap() < mlreg::base::Target::Ios18;
        let cross = before.then(|| &crosses.iter().find(|(name, _)| *name == precision).unwrap().1);
        let weights = variant.files.iter().find(|file| file.path.as_str().ends_with("weight.bin")).unwrap();
        files.insert((precision.to_owned(), before, weights.sha256));
        for case in golden(fixture, decoder) {
            check_cached(&package, cross, &case, &variant.id, precision, variant.axes["sequence"].parse().unwrap());
            count += 1;
        }
    }
    assert_eq!(count, (2 + 1) * 2 * 3 * golden(fixture, decoder).len());
    assert_eq!(files.len(), 4, "{files:?}");
    for uncached in release.variants.iter().filter(|variant| variant.component == "uncached") {
        let weights = uncached.files.iter().find(|file| file.path.as_str().ends_with("weight.bin")).unwrap();
        assert!(files.contains(&(uncached.axes["precision"].clone(), false, weights.sha256)), "{}", uncached.id);
    }
}

fn check_cached(package: &Package, cross: Option<&Package>, case: &Case, id: &str, precision: &str, step: usize) {
    let ids = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<i64>().unwrap();
    let forced = ids(&case.inputs["decoder_input_ids"]);
    // States hold float16 whatever the program computes in; without that rounding it must be exact.
    let mode = if precision == "float32" { Mode::Float32 } else { Mode::Declared };
    let mut generation = Generation::start(package, cross, case, mode);
    assert_eq!(generation.cross.is_some(), cross.is_some());
    let mut rows = Vec::new();
    for (index, tokens) in forced.chunks(step).enumerate() {
        rows.push(generation.step(tokens, (index * step) as i64));
    }
    let logits = Tensor::cat(&rows, 1).unwrap();
    assert_close(&format!("{} of {id}: logits", case.name), precision, &case.outputs["logits"], &logits);
    if precision == "float32" && step == 1 {
        let expected = ids(&case.outputs["greedy_ids"]);
        let mut generation = Generation::start(package, cross, case, Mode::Declared);
        let mut found = vec![expected[0]];
        while found.len() < expected.len() {
            let logits = floats(&generation.step(&found[found.len() - 1..], found.len() as i64 - 1));
            found.push((0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as i64);
        }
        assert_eq!(found, expected, "{} of {id}", case.name);
    }
}

#[test]
fn cached_t5_decoders_agree_with_the_reference() {
    cached("t5/v10_tied", T5_DECODER);
}

#[test]
fn cached_lingolite_decoders_agree_with_the_reference() {
    cached("lingolite/tied", LINGOLITE_DECODER);
}

#[test]
fn cached_decoders_have_two_functions_for_each_length() {
    let keys = "sequence = [6, 1]\nencoder-sequence = 48\ncontext = 41\ncache = \"state\"\nprecision = \
         \"float32\"\ntarget = \"iOS18\"";
    let joined = component("joined", "t5/v10_tied", &format!("{keys}\npart = \"decoder\"\nmultifunction = true"));
    let project = built(&[component("decoder", "t5/v10_tied", keys), joined].concat());
    let release = project.release().1;
    let joined = release.variant("joined-s6-e48-c41+s1-e48-c41-state-float32-ios18").unwrap();
    let names: Vec<&str> = joined.interface.as_ref().unwrap().functions.keys().map(String::as_str).collect();
    assert_eq!(names, ["s1_e48_c41", "s1_e48_c41_cross", "s6_e48_c41", "s6_e48_c41_cross"]);
    let package = Package::open(&bundle(&project, joined)).unwrap();
    let alone =
        Package::open(&bundle(&project, release.variant("decoder-s1-e48-c41-state-float32-ios18").unwrap())).unwrap();
    for (name, own) in [("s1_e48_c41", "main"), ("s1_e48_c41_cross", "cross")] {
        let program = |package: &Package, name: &str| format!("{:?}", package.program().functions[name]);
        assert_eq!(program(&package, name), program(&alone, own));
    }
}

/// Names and digests of the weight files of a variant.
fn weights_of(variant: &Variant) -> BTreeMap<&str, mlreg::base::Digest> {
    let name = |path: &str| path.rsplit_once("weights/").map(|(_, name)| name.to_owned());
    let files = variant.files.iter().filter(|file| name(file.path.as_str()).is_some());
    files.map(|file| (file.path.as_str().rsplit('/').next().unwrap(), file.sha256)).collect()
}

/// The offsets of a weight file that the program names.
fn records(package: &Package, file: &str) -> std::collections::BTreeSet<u64> {
    let operations = package.program().functions.values().flat_map(|function| function.operations());
    let records = operations.filter_map(|operation| operation.constant()?.tensor()?.as_blob());
    records.filter(|(named, _)| *named == file).map(|(_, offset)| offset).collect()
}

#[test]
fn components_share_a_weight_file_where_they_ask_for_it() {
    let keys =
        "sequence = [8, 16]\nprecision = [\"float32\", \"float16\"]\ntarget = [\"iOS15\", \"iOS18\"]\nshared = true";
    for (fixture, names) in [("t5/overflow", T5_DECODER), ("lingolite/tied", LINGOLITE_DECODER)] {
        let both = [
            component("encoder", fixture, keys),
            component("decoder", fixture, &keys.replace("[8, 16]", "16\nencoder-sequence = 20")),
        ];
        let project = built(&both.concat());
        let release = project.release().1;
        let mut shared: BTreeMap<&str, std::collections::BTreeSet<_>> = BTreeMap::new();
        for variant in &release.variants {
            let weights = weights_of(variant);
            assert_eq!(weights.keys().copied().collect::<Vec<_>>(), ["shared.bin", "weight.bin"], "{}", variant.id);
            shared.entry(&variant.axes["precision"]).or_default().insert(weights["shared.bin"]);
            // Every record of the shared file is one that the program names.
            let package = Package::open(&bundle(&project, variant)).unwrap();
            let blob = &release.blobs[&weights["shared.bin"]];
            let tensors = blob.segments.iter().filter(|segment| segment.tensor.is_some()).count();
            assert!(tensors >= 1);
            let records = records(&package, "@model_path/weights/shared.bin");
            assert_eq!(records.len(), tensors, "{}", variant.id);
        }
        assert!(shared.len() == 2 && shared.values().all(|files| files.len() == 1), "{shared:?}");
        let decoder = release.variants.iter().find(|variant| variant.id == "decoder-s16-e20-float32-ios18").unwrap();
        let package = Package::open(&bundle(&project, decoder)).unwrap();
        let cases =
            fit_all(&golden(fixture, names), package.interface(None).unwrap(), FitOptions::default()).unwrap().fitted;
        let results = package.interpreter(ops::OPERATORS).run(None, cases[0].inputs.clone(), Mode::Declared).unwrap();
        let found = cases[0].valid_part("logits", &results["logits"]).unwrap();
        assert_close("logits", "float32", &cases[0].outputs["logits"], &found);
    }
}

#[test]
fn components_without_a_shared_file_still_have_equal_segments() {
    let keys = "sequence = 8\nprecision = \"float16\"\ntarget = \"iOS17\"";
    let project =
        built(&[component("encoder", "t5/overflow", keys), component("decoder", "t5/overflow", keys)].concat());
    let release = project.release().1;
    let table = |id: &str| {
        let weights = weights_of(release.variant(id).unwrap());
        let segments = &release.blobs[&weights["weight.bin"]].segments;
        let table = segments
            .iter()
            .find(|segment| segment.tensor.as_ref().is_some_and(|label| label.name == "shared.weight"))
            .unwrap();
        format!("{:?}", table.content)
    };
    assert_eq!(table("encoder-s8-float16-ios17"), table("decoder-s8-float16-ios17"));
}

#[test]
fn nothing_to_share_is_an_error() {
    let keys = "sequence = 8\nprecision = \"float16\"\ntarget = \"iOS17\"\nshared = true";
    let project = Project::new();
    let alone = super::told(&project.build(&component("encoder", "t5/overflow", keys)).unwrap_err());
    assert!(alone.starts_with("`shared = true`: encoder alone has no tensor in common at float16"), "{alone}");
    let both = [component("encoder", "t5/overflow", keys), component("cross", "t5/overflow", keys)].concat();
    let both = super::told(&project.build(&both).unwrap_err());
    assert!(both.starts_with("`shared = true`: encoder, cross have no tensor in common at float16"), "{both}");
}
