//! Emitted bytes stay as they are: the digests of every package of `manifests/`, and of packages that have each family
//! in each of its forms.
//!
//! A release digest covers the release manifest and so every blob; a variant's digest covers the paths and digests of
//! its files. What changes them belongs under *Artifacts affected* in CHANGELOG.md; `BLESS=1 cargo test --test build
//! digests` then writes `digests.json` again.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use mlreg::{
    base::Digest,
    fetch::Layout,
    manifest::release::{Release, Variant},
    workflow::build::{BuildOptions, build},
};
use serde::{Deserialize, Serialize};

use super::{Project, package::fixtures, toml_path};

const CACHES: &str = "sequence = [1, 4]\ncontext = 16\ncache = [\"state\", \"inputs\"]\nprecision = [\"float16\", \
     \"float32\"]\n\
                      target = [\"iOS15\", \"iOS18\"]\nexclude = [{ cache = \"state\", target = \"iOS15\" }]";
const WHOLE: &str = "sequence = 8\nprecision = [\"float16\", \"float32\"]\ntarget = [\"iOS15\", \"iOS18\"]";
const PICTURES: &str = "size = [64, 96]\nlayout = [\"nchw\", \"nhwc\"]\nprecision = [\"float16\", \"float32\"]\ntarget \
     = [\"iOS15\", \"iOS18\"]";
const HYBRID: &str = "exaone4_hybrid_LLLG_untied_f32";

/// What a release and its variants are known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Digests {
    release: Digest,
    variants: BTreeMap<String, Digest>,
}

impl Digests {
    fn of(bytes: &[u8]) -> Self {
        let release = Release::parse(bytes).unwrap();
        Self {
            release: Digest::of(bytes),
            variants: release.variants.iter().map(|variant| (variant.id.clone(), of_files(variant))).collect(),
        }
    }
}

fn of_files(variant: &Variant) -> Digest {
    let lines: Vec<_> = variant.files.iter().map(|file| format!("{} {}\n", file.path, file.sha256)).collect();
    Digest::of(lines.concat().as_bytes())
}

/// A component `name` that converts a fixture.
fn component(name: &str, fixture: &str, keys: &str) -> String {
    let checkpoint = toml_path(&fixtures().join(fixture));
    format!("[[component]]\nname = \"{name}\"\ncheckpoint = \"{checkpoint}\"\n{keys}\n")
}

/// Packages with every family, cache, layout and split, by name.
fn families() -> Vec<(&'static str, String)> {
    let causal = |keys: &str| {
        let folders = [
            ("exaone4", "exaone4_dense_llama3_tied_bf16"),
            ("exaone4-hybrid", HYBRID),
            ("llama", "llama_gqa_untied_sharded_f32"),
            ("llama-fp8", "llama_fp8"),
            ("mistral", "mistral_sliding_f32"),
            ("phi3", "phi3_fused_qkv_f32"),
            ("phi3-longrope", "phi3_longrope_tied_f32"),
            ("qwen2", "qwen2_bias_tied_bf16"),
            ("qwen3", "qwen3_qknorm_tied_f32"),
        ];
        folders.map(|(name, folder)| component(name, &format!("causal/{folder}"), keys)).concat()
    };
    let hybrid = |name: &str, keys: &str| component(name, &format!("causal/{HYBRID}"), keys);
    let split = format!("{CACHES}\nchunks = 2");
    let functions = "sequence = [1, 4]\ncontext = 16\ncache = \"state\"\nmultifunction = true\nprecision = \
         \"float16\"\ntarget = \"iOS18\"";
    let encoders =
        ["minilm", "classifier", "dense", "gamma_and_beta", "modules", "question_answering", "token_classifier"];
    let generator = "part = \"decoder\"\nsequence = 1\nencoder-sequence = 8\ncontext = 16\ncache = [\"state\", \
         \"inputs\"]\n\
                     precision = [\"float16\", \"float32\"]\ntarget = [\"iOS15\", \"iOS18\"]\n\
                     exclude = [{ cache = \"state\", target = \"iOS15\" }]";
    let translators = [("t5", "t5/v10_tied"), ("mt5", "t5/mt5"), ("umt5", "t5/umt5"), ("lingolite", "lingolite/tied")]
        .map(|(name, folder)| {
            let parts = [("encoder", WHOLE), ("decoder", WHOLE), ("generator", generator)];
            parts.map(|(part, keys)| {
                let named = if part == "generator" { String::new() } else { format!("part = \"{part}\"\n") };
                component(&format!("{name}-{part}"), folder, &format!("{named}{keys}"))
            })
        });
    let forms = ["bfloat16", "five_levels", "four_channels", "gelu", "no_blocks", "silu", "two_levels"];
    let autoencoder =
        |name: &str, folder: &str, part: &str| component(name, folder, &format!("part = \"{part}\"\n{PICTURES}"));
    vec![
        ("causal-caches", causal(CACHES)),
        ("causal-whole", causal(WHOLE)),
        (
            "causal-forms",
            [
                hybrid("window", &format!("{CACHES}\nwindow-cache = true")),
                hybrid("split", &split),
                hybrid("functions", functions),
                component("embedding", "causal/qwen3_embedding", WHOLE),
            ]
            .concat(),
        ),
        ("encoders", encoders.map(|name| component(&name.replace('_', "-"), &format!("bert/{name}"), WHOLE)).concat()),
        ("roberta", component("xlm", "roberta/xlm", WHOLE)),
        ("translators", translators.concat().concat()),
        (
            "autoencoders",
            [
                autoencoder("taef1-decoder", "taef1", "decoder"),
                autoencoder("taef1-encoder", "taef1", "encoder"),
                autoencoder("taef2-decoder", "taef2", "decoder"),
                autoencoder("taef2-encoder", "taef2", "encoder"),
                component(
                    "compiled",
                    "taef1",
                    "part = \"decoder\"\nsize = 64\nformat = \"mlmodelc\"\ntarget = \"iOS18\"",
                ),
            ]
            .concat(),
        ),
        (
            "autoencoder-forms",
            forms
                .map(|form| autoencoder(&form.replace('_', "-"), &format!("autoencoder_forms/{form}"), "decoder"))
                .concat(),
        ),
    ]
}

fn digests() -> BTreeMap<String, Digests> {
    let project = Project::new();
    let mut manifests: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(fixtures().join("../manifests")).unwrap() {
        manifests.push(entry.unwrap().path());
    }
    for (name, components) in families() {
        let file = format!("{name}.toml");
        project.write(&file, format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\n{components}"));
        manifests.push(project.path(&file));
    }
    let options = BuildOptions { manifests, variants: Vec::new(), out: None, layout: Layout::Linked, force: false };
    let report = build(&project.context, &options).unwrap();
    let of = |package: &mlreg::workflow::build::PackageReport| {
        let (_, bytes) = project.context.store().release(&package.package, &package.version).unwrap().unwrap();
        (format!("{}@{}", package.package, package.version), Digests::of(&bytes))
    };
    report.packages.iter().map(of).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "tests ask whether to rewrite what they compare with")]
fn packages_have_the_digests_that_they_had() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/build/digests.json");
    let found = digests();
    if env::var_os("BLESS").is_some() {
        fs::write(&path, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
    }
    let expected: BTreeMap<String, Digests> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for (package, expected) in &expected {
        let found = found.get(package).unwrap_or_else(|| panic!("{package} is not built"));
        let changed: Vec<_> =
            expected.variants.iter().filter(|(id, digest)| found.variants.get(*id) != Some(digest)).collect();
        assert!(changed.is_empty(), "{package}: other bytes in {changed:?}");
        assert_eq!(found, expected, "{package}");
    }
    assert!(found.keys().eq(expected.keys()), "a package without known digests");
}
