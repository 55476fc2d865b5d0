//! Compiled bundles: made on any OS, beside the packages of the same component, with the same weight file.

use std::{collections::BTreeSet, fs, path::Path};

use mlreg::{
    base::Digest,
    fetch::Layout,
    manifest::release::{BundleKind, Compiled, Release, Variant},
    workflow::{
        bundles::BundleSubject,
        inspect::{InspectOptions, InspectReport, inspect},
        link::link,
    },
};

use super::{Project, decoder, package::fixtures, told, toml_path};

const SIX_SIZES: &str = "part = \"decoder\"\nsize = [64, 96, 128, 160, 192, 256]\nlayout = \"nhwc\"\nprecision = \
     \"float16\"\n\
                         target = [\"iOS15\", \"iOS18\"]\nformat = [\"mlpackage\", \"mlmodelc\"]";

fn compiled(release: &Release) -> Vec<&Variant> {
    release.variants.iter().filter(|variant| variant.kind == BundleKind::MlModelC).collect()
}

fn weights(variant: &Variant) -> BTreeSet<Digest> {
    let in_weights = variant.files.iter().filter(|file| file.path.as_str().ends_with("weights/weight.bin"));
    in_weights.map(|file| file.sha256).collect()
}

#[test]
fn twelve_compiled_bundles_share_one_weight_file_with_their_packages() {
    let project = Project::new();
    let report = project.build(&decoder("taef1", SIX_SIZES)).unwrap();
    let (_, release) = project.release();
    assert_eq!((release.variants.len(), compiled(&release).len()), (24, 12));
    let files: BTreeSet<Digest> = release.variants.iter().flat_map(weights).collect();
    assert_eq!(files.len(), 1);
    let weights = release.blobs[files.first().unwrap()].size;
    let twice = report.packages[0].stored_bytes - weights;
    assert!(twice < 2 * weights + 24 * 100_000, "{twice} bytes beside {weights} of weights");
    for variant in compiled(&release) {
        let twin = release.variants.iter().find(|other| format!("{}-mlmodelc", other.id) == variant.id).unwrap();
        assert_eq!((&variant.interface, variant.target), (&twin.interface, twin.target), "{}", variant.id);
        let expected =
            Compiled { compiler: "mlmodelc-export".to_owned(), run_on_device: false, other: Default::default() };
        assert_eq!((&variant.compiled, &twin.compiled), (&Some(expected), &None), "{}", variant.id);
    }
}

#[test]
fn a_release_of_compiled_bundles_does_not_depend_on_where_it_is_built() {
    let build = || {
        let project = Project::new();
        project.build(&decoder("taef1", SIX_SIZES)).unwrap();
        project.release().0
    };
    assert_eq!(build(), build());
}

#[test]
fn compiled_bundles_alone_convert_their_weights() {
    let project = Project::new();
    let keys = "part = \"decoder\"\nsize = 64\nprecision = \"float32\"\ntarget = \"iOS16\"\nformat = \"mlmodelc\"";
    let place = |layout: Layout| {
        project
            .build_with(&decoder("taef1", keys), |options| (options.out, options.layout) = (Some("out".into()), layout))
            .unwrap();
        project.path("out/p/decoder-64-float32-ios16.mlmodelc")
    };
    let bundle = place(Layout::Linked);
    let complete = fs::read(bundle.join("weights/weight.bin")).unwrap();
    let Ok(InspectReport::Bundle(report)) = inspect(
        &project.context,
        &InspectOptions { subject: BundleSubject::Folder(bundle.clone()), variant: None, program: false },
    ) else {
        panic!()
    };
    assert_eq!((report.kind, report.target.unwrap().name(), report.problems.len()), (BundleKind::MlModelC, "iOS16", 0));
    let feature = |features: &[mlreg::contract::Feature]| features[0].to_string();
    assert_eq!(feature(&report.interface.inputs), "latent float32[1,16,8,8]");
    assert_eq!(feature(&report.interface.outputs), "image float32[1,3,64,64]");
    // What the program refers to is there.
    let text = fs::read_to_string(bundle.join("model.mil")).unwrap();
    let offsets = text
        .split("offset = tensor<uint64, []>(")
        .skip(1)
        .map(|rest| rest[..rest.find(')').unwrap()].parse::<usize>().unwrap());
    let offsets: Vec<usize> = offsets.collect();
    assert!(offsets.len() > 20);
    for offset in offsets {
        assert_eq!(complete[offset..offset + 4], 0xdead_beef_u32.to_le_bytes(), "a record at {offset}");
    }

    fs::remove_dir_all(project.path("out")).unwrap();
    let bundle = place(Layout::Shared);
    assert!(!bundle.join("weights/weight.bin").exists());
    assert!(project.path("out/p/weight.bin").exists());
    link(&project.context, Path::new("out/p")).unwrap();
    assert!(fs::read(bundle.join("weights/weight.bin")).unwrap() == complete);
}

#[test]
fn what_cannot_be_compiled_says_where_and_what_next() {
    let project = Project::new();
    let checkpoint = toml_path(&fixtures().join("t5/v10_tied"));
    let keys = format!(
        "[[component]]\nname = \"decoder\"\ncheckpoint = \"{checkpoint}\"\nsequence = 1\nencoder-sequence = \
         16\ncontext = 16\ncache = \"state\"\n\
         precision = \"float16\"\ntarget = \"iOS18\"\nformat = [\"mlpackage\", \"mlmodelc\"]\n"
    );
    if cfg!(target_os = "macos") {
        return;
    }
    let text = told(&project.build(&keys).unwrap_err());
    let id = "decoder-s1-e16-c16-state-float16-ios18-mlmodelc";
    assert!(
        text.starts_with(&format!(
            "variant `{id}` cannot be compiled to a .mlmodelc here; function `main`, `key_cache"
        )),
        "{text}"
    );
    assert!(
        text.contains(": a state cannot be compiled without Apple's tools | build it on a Mac with Xcode"),
        "{text}"
    );
    assert!(text.contains("leave \"mlmodelc\" out of the formats of `decoder`"), "{text}");
    assert!(project.context.store().release(&"p".parse().unwrap(), &"1.0.0".parse().unwrap()).unwrap().is_none());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { _ = fs::copy(&path, target).unwrap() }
    }
}

#[test]
fn packages_made_elsewhere_can_be_compiled() {
    let project = Project::new();
    for name in ["attention_ios15", "int4_blocks_ios18"] {
        copy(&fixtures().join(format!("models/{name}.mlpackage")), &project.path(&format!("in/{name}.mlpackage")));
    }
    let import = |name: &str| {
        format!("[[component]]\nname = \"v\"\nimport = \"in/{name}.mlpackage\"\nformat = [\"mlpackage\", \"mlmodelc\"]")
    };
    project.build(&import("attention_ios15")).unwrap();
    let (_, release) = project.release();
    let [package, model] = &release.variants[..] else { panic!("{:?}", release.variants) };
    assert_eq!((package.id.as_str(), model.id.as_str()), ("attention-ios15", "attention-ios15-mlmodelc"));
    assert_eq!((weights(package), &package.interface), (weights(model), &model.interface));
    assert_eq!(weights(model).len(), 1);
    if !cfg!(target_os = "macos") {
        let text = told(&project.build(&import("int4_blocks_ios18")).unwrap_err());
        assert!(
            text.contains("variant `int4-blocks-ios18-mlmodelc` cannot be compiled")
                && text.contains("a tensor of int4"),
            "{text}"
        );
    }
    // A package whose program names a weight file that is not there.
    fs::remove_file(project.path("in/attention_ios15.mlpackage/Data/com.apple.CoreML/weights/weight.bin")).unwrap();
    let text = told(&project.build(&import("attention_ios15")).unwrap_err());
    assert!(text.contains("weights/weight.bin` does not name a weight file of the bundle"), "{text}");
}
