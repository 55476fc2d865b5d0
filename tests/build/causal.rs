//! Causal language models through packages on disk, against what transformers gives: whole texts, and prefill and
//! decoding through every form of cache. Tolerances are those of the other text models.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use mlreg::{
    contract::Feature,
    emit::coreml::Package,
    eval::{Interpreter, Mode, States, golden::Case},
    manifest::release::Variant,
    ops,
};

use super::{
    Project,
    text::{assert_close, built, bundle, compare, component, floats, golden, golden_of},
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
        Self {
            calls,
            states: (0..chunks).map(|_| States::default()).collect(),
            caches: vec![BTreeMap::new(); chunks],
            mode,
        }
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
                let zeros =
                    || Tensor::zeros(shape(&interface.inputs, &feature.name), DType::F32, &Device::Cpu).unwrap();
                inputs
                    .insert(feature.name.clone(), self.caches[index].get(&feature.name).cloned().unwrap_or_else(zeros));
            }
            let results = interpreter.run_with_states(function, inputs, &mut self.states[index], self.mode).unwrap();
            for (name, tensor) in results {
                match name.strip_suffix("_out") {
                    Some("hidden_states") => handed = ("hidden_states", tensor),
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
        let keys = "sequence = 20\nprecision = [\"float32\", \"float16\"]\nlinear = [\"linear\", \"conv\"]\ntarget = \
             [\"iOS15\", \"iOS18\"]\nexclude = [{ linear = \"conv\", target = \"iOS18\" }, { precision = \"float16\", target = \"iOS15\" }]";
        let project = built(&lm(fixture, keys));
        let release = project.release().1;
        assert_eq!(release.variants.len(), 4);
        for variant in &release.variants {
            let package = open(&project, variant);
            for case in cases(fixture) {
                let (tokens, expected) = whole(&case);
                let mask = Tensor::from_vec(vec![1i64; tokens.len()], (1, tokens.len()), &Device::Cpu).unwrap();
                let mask = mask.pad_with_zeros(1, 0, 20 - tokens.len()).unwrap();
                let inputs =
                    BTreeMap::from([("input_ids".to_owned(), row(&tokens, 20)), ("attention_mask".to_owned(), mask)]);
                let results = package.interpreter(ops::OPERATORS).run(None, inputs, Mode::Declared).unwrap();
                let found = results["logits"].narrow(1, 0, tokens.len()).unwrap();
                assert_close(
                    &format!("{fixture} {} of {}: logits", case.name, variant.id),
                    &variant.axes["precision"],
                    &expected,
                    &found,
                );
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
            check_release(
                fixture,
                &format!("sequence = [{PREFILL}, 1]\ncontext = {CONTEXT}\ncache = \"{cache}\"\n{forms}\n{targets}"),
            );
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
        let packages: Vec<(usize, Package)> = variants
            .iter()
            .map(|variant| (variant.axes["sequence"].parse().unwrap(), open(&project, variant)))
            .collect();
        assert_eq!(packages.len(), 2);
        let precision = variants[0].axes["precision"].as_str();
        // States hold float16 whatever the program computes in; without that rounding it must be exact.
        let mode = if precision == "float32" { Mode::Float32 } else { Mode::Declared };
        let interpreters: Vec<_> = packages.iter().map(|(_, package)| package.interpreter(ops::OPERATORS)).collect();
        let parts = packages.iter().zip(&interpreters);
        let calls =
            parts.map(|((length, package), interpreter)| (*length, vec![(package, interpreter, None)])).collect();
        check(&|| Runner::new(&calls, mode), fixture, &variants[0].id, precision);
    }
}

#[test]
fn heads_may_be_written_one_by_one() {
    for fixture in [HYBRID, "phi3_fused_qkv_f32"] {
        for (cache, targets) in FORMS {
            let forms = "precision = [\"float32\", \"float16\"]\nlinear = \"conv\"\nattention = \"split\"";
            let window = if fixture == HYBRID { "window-cache = true\n" } else { "" };
            let keys = format!(
                "sequence = [{PREFILL}, 1]\ncontext = {CONTEXT}\ncache = \"{cache}\"\n{window}{forms}\n{targets}"
            );
            check_release(fixture, &keys);
        }
    }
    let project = built(&lm(HYBRID, "sequence = 20\nlinear = \"conv\"\nattention = \"split\"\ntarget = \"iOS18\""));
    let package = open(&project, &project.release().1.variants[0]);
    let operations =
        package.program().main().unwrap().1.block.operations.iter().filter(|operation| operation.kind == "einsum");
    let config: serde_json::Value = serde_json::from_slice(
        &std::fs::read(format!("{}/fixtures/causal/{HYBRID}/config.json", env!("CARGO_MANIFEST_DIR"))).unwrap(),
    )
    .unwrap();
    let number = |key: &str| config[key].as_u64().unwrap() as usize;
    assert_eq!(operations.count(), 2 * number("num_attention_heads") * number("num_hidden_layers"));
}

#[test]
fn windows_may_be_all_that_is_kept() {
    for (fixture, forms) in [
        ("mistral_sliding_f32", "precision = \"float32\""),
        (HYBRID, "precision = [\"float32\", \"float16\"]\nlinear = \"conv\""),
    ] {
        for (cache, targets) in FORMS {
            let keys = format!(
                "sequence = [{PREFILL}, 1]\ncontext = 64\ncache = \"{cache}\"\nwindow-cache = true\n{forms}\n{targets}"
            );
            check_release(fixture, &keys);
        }
    }
}

/// Prefill and decoding with the bundles (or functions) of one form, in float32; gives the logits of every case.
fn logits_of(fixture: &str, calls: &BTreeMap<usize, Vec<Part<'_>>>) -> Vec<Vec<f32>> {
    let run = |case: &Case| {
        let (prompt, forced) = (ids(&case.inputs["input_ids"]), ids(&case.inputs["forced_ids"]));
        floats(&Runner::new(calls, Mode::Declared).forced(&prompt, &forced))
    };
    cases(fixture).iter().map(run).collect()
}

/// The number of a chunk; 0 of a model that is whole.
fn chunk(variant: &Variant) -> usize {
    variant.axes.get("chunk").map_or(0, |number| number.parse().unwrap())
}

#[test]
fn chunks_are_the_whole_model_bit_for_bit() {
    for (fixture, count) in [(HYBRID, 3), ("qwen2_bias_tied_bf16", 2)] {
        for (cache, targets) in FORMS.iter().chain(&[("none", "target = [\"iOS15\", \"iOS18\"]")]) {
            let lengths =
                if *cache == "none" { "20".to_owned() } else { format!("[{PREFILL}, 1]\ncontext = {CONTEXT}") };
            let keys = format!(
                "sequence = {lengths}\ncache = \"{cache}\"\nwindow-cache = {}\nprecision = \"float32\"\n{targets}",
                *cache != "none" && fixture == HYBRID
            );
            let project = built(
                &[
                    lm(fixture, &keys),
                    component("split", &format!("causal/{fixture}"), &format!("{keys}\nchunks = {count}")),
                ]
                .concat(),
            );
            let release = project.release().1;
            let components: std::collections::BTreeSet<&str> =
                release.variants.iter().map(|variant| variant.component.as_str()).collect();
            assert_eq!(
                components.into_iter().collect::<Vec<_>>(),
                [&["chunk-1", "chunk-2", "chunk-3"][..count], &["lm"]].concat()
            );
            check_chunks(&project, &release.variants, fixture, cache, count);
        }
    }
}

fn check_chunks(project: &Project, variants: &[Variant], fixture: &str, cache: &str, count: usize) {
    let targets: std::collections::BTreeSet<_> = variants.iter().map(|variant| variant.target).collect();
    for target in targets {
        let packages: Vec<(&Variant, Package)> = variants
            .iter()
            .filter(|variant| variant.target == target)
            .map(|variant| (variant, open(project, variant)))
            .collect();
        let interpreters: Vec<_> = packages.iter().map(|(_, package)| package.interpreter(ops::OPERATORS)).collect();
        let mut chains: [BTreeMap<usize, Vec<Part<'_>>>; 2] = Default::default();
        let mut files = std::collections::BTreeSet::new();
        // By id, so that chunks come in their order.
        for ((variant, package), interpreter) in packages.iter().zip(&interpreters) {
            let chain =
                chains[usize::from(chunk(variant) > 0)].entry(variant.axes["sequence"].parse().unwrap()).or_default();
            chain.push((package, interpreter, None));
            assert_eq!(chain.len(), chunk(variant).max(1));
            files.insert(variant.files.iter().find(|file| file.path.as_str().ends_with("weight.bin")).unwrap().sha256);
        }
        assert_eq!(files.len(), count + 1, "each chunk has its own weight file, whatever its length");
        let [whole, split] = chains
            .map(|calls| if cache == "none" { whole_texts(fixture, &calls[&20]) } else { logits_of(fixture, &calls) });
        assert!(whole == split, "{fixture} {cache} {target:?}");
    }
}

/// The logits of whole texts through a chain of chunks without a cache.
fn whole_texts(fixture: &str, chain: &[Part<'_>]) -> Vec<Vec<f32>> {
    let run = |case: &Case| {
        let tokens = whole(case).0;
        let mask = Tensor::from_vec(vec![1i64; tokens.len()], (1, tokens.len()), &Device::Cpu).unwrap();
        let mask = mask.pad_with_zeros(1, 0, 20 - tokens.len()).unwrap();
        let mut handed = BTreeMap::from([("input_ids".to_owned(), row(&tokens, 20))]);
        for (_, interpreter, function) in chain {
            handed.insert("attention_mask".to_owned(), mask.clone());
            handed = interpreter.run(*function, handed, Mode::Declared).unwrap();
            if let Some(states) = handed.remove("hidden_states_out") {
                handed.insert("hidden_states".to_owned(), states);
            }
        }
        let logits = handed["logits"].narrow(1, 0, tokens.len()).unwrap();
        assert_close("chained logits", "float32", &whole(case).1, &logits);
        floats(&logits)
    };
    cases(fixture).iter().map(run).collect()
}

#[test]
fn forms_of_attention_that_cannot_be_are_refused() {
    for (linear, attention, way_out) in
        [("linear", "split", "linear = \"conv\""), ("conv", "fused", "linear = \"linear\"")]
    {
        let keys = format!("sequence = 8\ntarget = \"iOS18\"\nlinear = \"{linear}\"\nattention = \"{attention}\"");
        let error = super::told(&Project::new().build(&lm("llama_tied_f16", &keys)).unwrap_err());
        assert!(
            error.contains(&format!("{attention} with linear = \"{linear}\"")) && error.contains(way_out),
            "{error}"
        );
    }
}

#[test]
fn chunks_that_cannot_be_are_refused() {
    let refused = |components: &str| super::told(&Project::new().build(components).unwrap_err());
    let keys = "sequence = 8\ntarget = \"iOS18\"\nchunks = 9";
    let error = refused(&lm("llama_tied_f16", keys));
    assert!(
        error.contains("component `chunk-1`") && error.contains("chunks 9 does not fit: this model has 3 layers"),
        "{error}"
    );
    let error = refused(&component("encoder", "bert/minilm", keys));
    assert!(error.contains("`chunks` has no meaning for part `encoder` of `bert`"), "{error}");
}

#[test]
fn functions_are_the_separate_bundles_bit_for_bit() {
    for (cache, linear, window) in [("state", "linear", false), ("state", "conv", true), ("inputs", "linear", true)] {
        let keys = format!(
            "sequence = [{PREFILL}, 1]\ncontext = 32\ncache = \"{cache}\"\nlinear = \"{linear}\"\nwindow-cache = \
             {window}\nprecision = \"float32\"\ntarget = \"iOS18\""
        );
        let project = built(
            &[
                lm(HYBRID, &keys),
                component("both", &format!("causal/{HYBRID}"), &format!("{keys}\nmultifunction = true")),
            ]
            .concat(),
        );
        let release = project.release().1;
        let (joined, alone): (Vec<&Variant>, Vec<&Variant>) =
            release.variants.iter().partition(|variant| variant.component == "both");
        let weights = |variant: &Variant| {
            variant.files.iter().find(|file| file.path.as_str().ends_with("weight.bin")).unwrap().sha256
        };
        assert!(alone.iter().all(|variant| weights(variant) == weights(joined[0])));
        let interface = joined[0].interface.as_ref().unwrap();
        let names: Vec<&str> = interface.functions.keys().map(String::as_str).collect();
        assert_eq!((joined.len(), names), (1, vec!["s1_c32", "s8_c32"]));
        assert_eq!(shape(&interface.inputs, "input_ids"), [1, PREFILL], "the manifest's first shape runs by default");
        assert_eq!(interface.functions["s1_c32"].states, interface.functions["s8_c32"].states);

        let both = open(&project, joined[0]);
        let packages: Vec<(usize, Package)> =
            alone.iter().map(|variant| (variant.axes["sequence"].parse().unwrap(), open(&project, variant))).collect();
        let interpreters: Vec<_> = packages.iter().map(|(_, package)| package.interpreter(ops::OPERATORS)).collect();
        let separate = packages
            .iter()
            .zip(&interpreters)
            .map(|((length, package), interpreter)| (*length, vec![(package, interpreter, None)]))
            .collect();
        let interpreter = both.interpreter(ops::OPERATORS);
        let functions = [(1, "s1_c32"), (PREFILL, "s8_c32")]
            .map(|(length, name)| (length, vec![(&both, &interpreter, Some(name))]))
            .into();
        assert!(logits_of(HYBRID, &functions) == logits_of(HYBRID, &separate), "{cache} {linear}");
        check(&|| Runner::new(&functions, Mode::Float32), HYBRID, "functions", "float32");
    }
}

#[test]
fn chunks_have_functions_too() {
    let keys = format!(
        "sequence = [{PREFILL}, 1]\ncontext = {CONTEXT}\ncache = \"state\"\nprecision = \"float32\"\ntarget = \
         \"iOS18\"\nchunks = 2\nmultifunction = true"
    );
    let project = built(&lm(HYBRID, &keys));
    let release = project.release().1;
    let ids: Vec<&str> = release.variants.iter().map(|variant| variant.id.as_str()).collect();
    assert_eq!(ids, ["chunk-1-s8-c18+s1-c18-state-float32-ios18", "chunk-2-s8-c18+s1-c18-state-float32-ios18"]);
    let packages: Vec<Package> = release.variants.iter().map(|variant| open(&project, variant)).collect();
    let interpreters: Vec<_> = packages.iter().map(|package| package.interpreter(ops::OPERATORS)).collect();
    let chain = |name| {
        packages.iter().zip(&interpreters).map(|(package, interpreter)| (package, interpreter, Some(name))).collect()
    };
    let calls = BTreeMap::from([(1, chain("s1_c18")), (PREFILL, chain("s8_c18"))]);
    check(&|| Runner::new(&calls, Mode::Float32), HYBRID, "chunks with functions", "float32");
}

const ONE_CALL: &str = "sequence = 16\nprecision = \"float32\"\ntarget = \"iOS16\"";

#[test]
fn backbones_without_prefix_have_the_embedding_as_their_head() {
    let project = built(&lm("qwen3_backbone_tied_f32", ONE_CALL));
    assert_eq!(compare(&project, &golden("causal/qwen3_backbone_tied_f32", &[])), 1);
}

#[test]
fn longrope_has_the_list_of_the_components_longest_length() {
    let fixture = "phi3_longrope_tied_f32";
    let project = built(&lm(fixture, ONE_CALL));
    assert_eq!(compare(&project, &golden(&format!("causal/{fixture}"), &[])), 1);
    let project = built(&lm(fixture, &ONE_CALL.replace("16\n", "48\n")));
    assert_eq!(compare(&project, &golden_of(&format!("causal/{fixture}/golden_long.safetensors"), &[])), 1);
}

#[test]
fn weights_of_8_bit_floats_are_the_numbers_that_they_stand_for() {
    let project = built(&lm("llama_fp8", ONE_CALL));
    assert_eq!(compare(&project, &golden("causal/llama_fp8", &[])), 1);
}
