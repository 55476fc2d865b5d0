//! Causal language models through packages on disk, against what transformers gives: whole texts, and prefill and decoding through every form of
//! cache. Tolerances are those of the other text models.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use mlreg::{
    eval::{Interpreter, Mode, Package, States, golden::Case},
    manifest::release::{Feature, Variant},
    ops,
};

use super::{
    Project,
    text::{assert_close, built, bundle, component, floats, golden},
};

const FIXTURES: &[&str] = &[
    "exaone4_dense_llama3_tied_bf16",
    "exaone4_hybrid_LLLG_untied_f32",
    "llama_gqa_untied_sharded_f32",
    "llama_tied_f16",
    "mistral_sliding_f32",
    "phi3_fused_qkv_f32",
    "qwen2_bias_tied_bf16",
    "qwen3_qknorm_tied_f32",
];
const HYBRID: &str = "exaone4_hybrid_LLLG_untied_f32";
/// As long as the longest case.
const CONTEXT: usize = 18;
/// A prefill that is shorter than the longest text, so that it takes two steps, the second with padding.
const PREFILL: usize = 8;

fn lm(fixture: &str, keys: &str) -> String {
    component("lm", &format!("causal/{fixture}"), keys)
}

fn cases(fixture: &str) -> Vec<Case> {
    golden(&format!("causal/{fixture}"), &[])
}

fn ids(tensor: &Tensor) -> Vec<i64> {
    tensor.flatten_all().unwrap().to_vec1::<i64>().unwrap()
}

fn row(tokens: &[i64], length: usize) -> Tensor {
    let mut padded = tokens.to_vec();
    padded.resize(length, 7);
    Tensor::from_vec(padded, (1, length), &Device::Cpu).unwrap()
}

/// The tokens of a case, and the logits behind each.
fn whole(case: &Case) -> (Vec<i64>, Tensor) {
    let tokens = [ids(&case.inputs["input_ids"]), ids(&case.inputs["forced_ids"])].concat();
    (tokens, Tensor::cat(&[&case.outputs["prefill_logits"], &case.outputs["forced_logits"]], 1).unwrap())
}

fn shape(features: &[Feature], name: &str) -> Vec<usize> {
    let feature = features.iter().find(|feature| feature.name == name).unwrap_or_else(|| panic!("no {name}"));
    feature.shape.iter().map(|&n| n as usize).collect()
}

/// A chunk, and the function of it that is run.
type Part<'a> = (&'a Package, &'a Interpreter<'a>, Option<&'a str>);

/// The bundles of one form: a chain of chunks for each number of tokens of a call.
struct Runner<'a> {
    calls: &'a BTreeMap<usize, Vec<Part<'a>>>,
    states: Vec<States>,
    caches: Vec<BTreeMap<String, Tensor>>,
    mode: Mode,
}

impl<'a> Runner<'a> {
    fn new(calls: &'a BTreeMap<usize, Vec<Part<'a>>>, mode: Mode) -> Self {
        let chunks = calls.values().next().unwrap().len();
        Self { calls, states: (0..chunks).map(|_| States::default()).collect(), caches: vec![BTreeMap::new(); chunks], mode }
    }

    /// Logits of tokens that stand behind `position` others.
    fn step(&mut self, tokens: &[i64], position: usize) -> Tensor {
        let (&length, chain) = self.calls.range(tokens.len()..).next().unwrap();
        let mut handed = ("input_ids", row(tokens, length));
        for (index, &(package, interpreter, function)) in chain.iter().enumerate() {
            let interface = package.interface(function).unwrap();
            let mut inputs = BTreeMap::from([
                (handed.0.to_owned(), handed.1.clone()),
                ("position".to_owned(), Tensor::from_vec(vec![position as i64], 1, &Device::Cpu).unwrap()),
            ]);
            for feature in interface.inputs.iter().filter(|feature| feature.name.ends_with("_cache")) {
                let zeros = || Tensor::zeros(shape(&interface.inputs, &feature.name), DType::F32, &Device::Cpu).unwrap();
                inputs.insert(feature.name.clone(), self.caches[index].get(&feature.name).cloned().unwrap_or_else(zeros));
            }
            let results = interpreter.run_with_states(function, inputs, &mut self.states[index], self.mode).unwrap();
            for (name, tensor) in results {
                match name.strip_suffix("_out") {
                    Some(cache) => drop(self.caches[index].insert(cache.to_owned(), tensor)),
                    None => handed = (if name == "logits" { "logits" } else { "hidden_states" }, tensor),
                }
            }
        }
        handed.1.narrow(1, 0, tokens.len()).unwrap()
    }

    /// Prefill in steps of `PREFILL`, then token by token.
    fn forced(&mut self, prompt: &[i64], forced: &[i64]) -> Tensor {
        let most = *self.calls.keys().last().unwrap();
        let mut rows = Vec::new();
        for (index, tokens) in prompt.chunks(most).enumerate() {
            rows.push(self.step(tokens, index * most));
        }
        for (index, token) in forced.iter().enumerate() {
            rows.push(self.step(&[*token], prompt.len() + index));
        }
        Tensor::cat(&rows, 1).unwrap()
    }

    fn greedy(&mut self, prompt: &[i64], count: usize) -> Vec<i64> {
        let most = *self.calls.keys().last().unwrap();
        let (mut found, mut last) = (Vec::new(), Vec::new());
        for (index, tokens) in prompt.chunks(most).enumerate() {
            let logits = self.step(tokens, index * most);
            last = floats(&logits.narrow(1, tokens.len() - 1, 1).unwrap());
        }
        while found.len() < count {
            let token = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap() as i64;
            found.push(token);
            if found.len() < count && prompt.len() + found.len() <= CONTEXT {
                last = floats(&self.step(&[token], prompt.len() + found.len() - 1));
            } else {
                break;
            }
        }
        found
    }
}

fn open(project: &Project, variant: &Variant) -> Package {
    let package = Package::open(&bundle(project, variant)).unwrap();
    mlreg::mil::verify(package.program(), ops::find).unwrap();
    package
}

fn check<'a>(runner: &dyn Fn() -> Runner<'a>, fixture: &str, what: &str, precision: &str) {
    for case in cases(fixture) {
        let (prompt, forced) = (ids(&case.inputs["input_ids"]), ids(&case.inputs["forced_ids"]));
        let logits = runner().forced(&prompt, &forced);
        assert_close(&format!("{fixture} {} of {what}: logits", case.name), precision, &whole(&case).1, &logits);
        if precision == "float32" {
            let expected = ids(&case.outputs["greedy_ids"]);
            let found = runner().greedy(&prompt, expected.len());
            assert_eq!(found, expected[..found.len()], "{fixture} {} of {what}", case.name);
        }
    }
}

#[test]
fn whole_texts_have_the_reference_logits() {
    for fixture in FIXTURES {
        let keys = "sequence = 20\nprecision = [\"float32\", \"float16\"]\nlinear = [\"linear\", \"conv\"]\ntarget = [\"iOS15\", \"iOS18\"]\nexclude = [{ linear = \"conv\", target = \"iOS18\" }, { precision = \"float16\", target = \"iOS15\" }]";
        let project = built(&lm(fixture, keys));
        let release = project.release().1;
        assert_eq!(release.variants.len(), 4);
        for variant in &release.variants {
            let package = open(&project, variant);
            for case in cases(fixture) {
                let (tokens, expected) = whole(&case);
                let mask = Tensor::from_vec(vec![1i64; tokens.len()], (1, tokens.len()), &Device::Cpu).unwrap();
                let mask = mask.pad_with_zeros(1, 0, 20 - tokens.len()).unwrap();
                let inputs = BTreeMap::from([("input_ids".to_owned(), row(&tokens, 20)), ("attention_mask".to_owned(), mask)]);
                let results = package.interpreter(ops::OPERATORS).run(None, inputs, Mode::Declared).unwrap();
                let found = results["logits"].narrow(1, 0, tokens.len()).unwrap();
                assert_close(&format!("{fixture} {} of {}: logits", case.name, variant.id), &variant.axes["precision"], &expected, &found);
            }
        }
    }
}

/// Forms of cache, and what a manifest says for them.
const FORMS: &[(&str, &str)] = &[("state", "target = \"iOS18\""), ("inputs", "target = [\"iOS15\", \"iOS18\"]")];

#[test]
fn caches_give_what_whole_texts_give() {
    for fixture in FIXTURES {
        for (cache, targets) in FORMS {
            // Every form with the model that has most in it, the usual form with the others.
            let forms = match *fixture {
                HYBRID => "precision = [\"float32\", \"float16\"]\nlinear = [\"linear\", \"conv\"]",
                _ => "precision = \"float32\"",
            };
            check_release(fixture, &format!("sequence = [{PREFILL}, 1]\ncontext = {CONTEXT}\ncache = \"{cache}\"\n{forms}\n{targets}"));
        }
    }
}

/// Groups the variants of a release by everything but the sequence, and checks each group.
fn check_release(fixture: &str, keys: &str) {
    let project = built(&lm(fixture, keys));
    let release = project.release().1;
    let mut groups: BTreeMap<(String, Option<mlreg::base::Target>), Vec<&Variant>> = BTreeMap::new();
    for variant in &release.variants {
        let axes: BTreeMap<_, _> = variant.axes.iter().filter(|(axis, _)| !axis.contains("sequence")).collect();
        groups.entry((format!("{axes:?}"), variant.target)).or_default().push(variant);
    }
    for variants in groups.values() {
        let packages: Vec<(usize, Package)> =
            variants.iter().map(|variant| (variant.axes["sequence"].parse().unwrap(), open(&project, variant))).collect();
        assert_eq!(packages.len(), 2);
        let precision = variants[0].axes["precision"].as_str();
        // States hold float16 whatever the program computes in; without that rounding it must be exact.
        let mode = if precision == "float32" { Mode::Float32 } else { Mode::Declared };
        let interpreters: Vec<_> = packages.iter().map(|(_, package)| package.interpreter(ops::OPERATORS)).collect();
        let parts = packages.iter().zip(&interpreters);
        let calls = parts.map(|((length, package), interpreter)| (*length, vec![(package, interpreter, None)])).collect();
        check(&|| Runner::new(&calls, mode), fixture, &variants[0].id, precision);
    }
}

#[test]
fn windows_may_be_all_that_is_kept() {
    for (fixture, forms) in
        [("mistral_sliding_f32", "precision = \"float32\""), (HYBRID, "precision = [\"float32\", \"float16\"]\nlinear = \"conv\"")]
    {
        for (cache, targets) in FORMS {
            let keys = format!("sequence = [{PREFILL}, 1]\ncontext = 64\ncache = \"{cache}\"\nwindow-cache = true\n{forms}\n{targets}");
            check_release(fixture, &keys);
        }
    }
}
