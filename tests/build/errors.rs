//! Bad input ends in one message that names thing, place, expected, found and next step, and nothing becomes visible.

use std::fs;

use mlreg::{emit::coreml::is_lfs_pointer, workflow::ErrorKind};

use super::{Project, decoder, package::fixtures, told, toml_path};

const KEYS: &str = "part = \"decoder\"\nsize = 64\nprecision = \"float16\"\ntarget = \"iOS18\"";

/// The message of a build that must fail, after which the store holds no release.
fn refused(project: &Project, components: &str) -> String {
    let error = project.build(components).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    assert!(project.context.store().packages().unwrap().is_empty());
    told(&error)
}

#[test]
fn manifests_are_refused_with_place_and_next_step() {
    let project = Project::new();
    let text = refused(&project, &decoder("taef1", "part = \"decoder\"\nsize = 64\ntarget = \"iOS14\""));
    assert!(text.starts_with("m.toml:10:10: `target` is \"iOS14\""), "{text}");
    let error = project.build(&decoder("taef1", "part = \"decoder\"\nsizes = 64\ntarget = \"iOS18\"")).unwrap_err();
    let place = error.place().unwrap();
    assert_eq!((place.path.to_str(), place.line), (Some("m.toml"), 9));
    assert!(told(&error).ends_with("| did you mean `size`?"), "{}", told(&error));
    let text = refused(&project, &decoder("taef1", &format!("{KEYS}\ncompress = \"linear:int8\"")));
    assert!(text.contains("component `decoder`: `compress = \"linear:int8\"` is not built by this version of mlreg"), "{text}");
    let text = refused(&project, &decoder("taef1", "part = \"decoder\"\nsequence = 64\ntarget = \"iOS18\""));
    assert!(text.contains("component `decoder`: `autoencoder-tiny` needs `size`"), "{text}");
    let bert = "[[component]]\nname = \"encoder\"\ncheckpoint = ";
    let bert = format!("{bert}\"{}\"\ntarget = \"iOS17\"", super::toml_path(&fixtures().join("bert/minilm")));
    let text = refused(&project, &format!("{bert}\nsize = 64"));
    assert!(text.contains("component `encoder`: `bert` needs `sequence` | add the number of tokens"), "{text}");
    let text = refused(&project, &format!("{bert}\nsequence = 128"));
    assert!(
        text.contains("`encoder-s128-float16-ios17` cannot be built; sequence 128 does not fit: this model has 64 positions"),
        "{text}"
    );
    let text = refused(&project, &decoder("taef1", "part = \"decoder\"\ntarget = \"iOS18\""));
    assert!(text.contains("component `decoder`: `autoencoder-tiny` needs `size`") && text.contains("| add the size"), "{text}");
    let text = refused(&project, &decoder("taef1", "part = \"decoder\"\nsize = 100\ntarget = \"iOS18\""));
    assert!(
        text.contains("variant `decoder-100-float16-ios18` cannot be built; size 100 does not fit") && text.contains("multiples of 8"),
        "{text}"
    );
    let text = refused(&project, &decoder("taef1", "part = \"unet\"\nsize = 64\ntarget = \"iOS18\""));
    assert!(text.contains("has the parts decoder, encoder; the component asks for `unet`"), "{text}");
    let text = refused(&project, &decoder("nothing", KEYS));
    assert!(text.contains("component `decoder`: cannot read its checkpoint") && text.contains("nothing"), "{text}");
}

#[test]
fn globs_must_match() {
    let project = Project::new();
    let error =
        project.build_with(&decoder("taef1", KEYS), |options| options.variants = vec!["decoder-64-float16-ios17".to_owned()]).unwrap_err();
    assert_eq!(told(&error), "`decoder-64-float16-ios17` matches no variant of `p` | did you mean `decoder-64-float16-ios18`?");
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let project = Project::new();
    let bytes = fs::read(fixtures().join("taef1/diffusion_pytorch_model.safetensors")).unwrap();
    let renamed = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let text = String::from_utf8(bytes[8..header].to_vec()).unwrap();
        assert!(text.contains(from), "{text}");
        [&bytes[..8], text.replacen(from, to, 1).as_bytes(), &bytes[header..]].concat()
    };
    let component = format!("[[component]]\nname = \"decoder\"\ncheckpoint = \"c\"\narchitecture = \"autoencoder-tiny\"\n{KEYS}");
    for (from, to, message) in [
        (
            "\"decoder.layers.0.bias\"",
            "\"decoder.layers.0.biaz\"",
            "holds tensors that `autoencoder-tiny` does not have: decoder.layers.0.biaz",
        ),
        ("\"decoder.layers.0.weight\"", "\"decoder.layers.0.weighs\"", "the checkpoint has no tensor `decoder.layers.0.weight`"),
    ] {
        project.write("c/model.safetensors", renamed(from, to));
        let text = refused(&project, &component);
        assert!(text.contains("component `decoder`: cannot convert") && text.contains(message), "{text}");
    }
    project.write("c/model.safetensors", &bytes[..bytes.len() - 1]);
    let text = refused(&project, &component);
    assert!(text.contains("model.safetensors") && text.contains("claims the bytes"), "{text}");
    project.write("c/model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n");
    let text = refused(&project, &component);
    assert!(text.contains("Git LFS pointer") && text.contains("| fetch the real"), "{text}");
}

#[test]
fn an_unknown_config_says_what_it_found() {
    let project = Project::new();
    project.write("c/model.safetensors", fs::read(fixtures().join("taef1/diffusion_pytorch_model.safetensors")).unwrap());
    let component = format!("[[component]]\nname = \"decoder\"\ncheckpoint = \"c\"\n{KEYS}");
    let text = refused(&project, &component);
    assert!(text.contains("has no config.json") && text.contains("| name it in the component: architecture"), "{text}");
    project.write("c/config.json", r#"{"_class_name": "AutoencoderKL"}"#);
    let text = refused(&project, &component);
    assert!(text.contains("config.json describes `AutoencoderKL`, which mlreg does not convert"), "{text}");
}

#[test]
fn several_weight_files_are_told_apart_by_their_tensors() {
    let project = Project::new();
    let weights = fs::read(fixtures().join("taef2/taef2.safetensors")).unwrap();
    project.write("c/some.safetensors", &weights);
    project.write("c/golden.safetensors", fs::read(fixtures().join("taef2/golden.safetensors")).unwrap());
    let component = format!("[[component]]\nname = \"decoder\"\ncheckpoint = \"c\"\narchitecture = \"autoencoder-tiny\"\n{KEYS}");
    project.build(&component).unwrap();
    let (_, release) = project.release();
    assert_eq!(release.sources["decoder"].files.keys().collect::<Vec<_>>(), ["some.safetensors"]);
    let project = Project::new();
    project.write("c/some.safetensors", &weights);
    project.write("c/other.safetensors", &weights);
    let text = refused(&project, &component);
    assert!(
        text.contains("holds several weight files: other.safetensors, some.safetensors") && text.contains("| name one of them"),
        "{text}"
    );
}

#[test]
fn pointers_in_bundles_are_named() {
    let project = Project::new();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    assert!(is_lfs_pointer(pointer));
    project.write("b/x.mlmodelc/weights/weight.bin", pointer);
    let text = refused(&project, "[[component]]\nname = \"v\"\nimport = \"b/*.mlmodelc\"\ntarget = \"iOS18\"");
    assert!(text.contains("weight.bin` is a Git LFS pointer") && text.ends_with("`git lfs pull`"), "{text}");
}

#[test]
fn imports_that_match_nothing_or_each_other_are_refused() {
    let project = Project::new();
    let text = refused(&project, "[[component]]\nname = \"v\"\nimport = \"b/*.mlmodelc\"\ntarget = \"iOS18\"");
    assert!(text.contains("b/*.mlmodelc"), "{text}");
    project.write("b/a b.aimodel/x", "1");
    project.write("b/a-b.aimodel/x", "1");
    let text = refused(&project, "[[component]]\nname = \"v\"\nimport = \"b/*.aimodel\"\ntarget = \"iOS26\"");
    assert!(text.contains("`b/a b.aimodel`") && text.contains("`b/a-b.aimodel`") && text.contains("`a-b-ios26-aimodel`"), "{text}");
}

#[cfg(unix)]
#[test]
fn links_out_of_a_bundle_are_refused() {
    let project = Project::new();
    project.write("b/x.aimodel/inside", "1");
    project.write("secret", "2");
    let link = project.path("b/x.aimodel/link");
    std::os::unix::fs::symlink(project.path("secret"), &link).unwrap();
    let component = format!("[[component]]\nname = \"v\"\nimport = \"{}/*.aimodel\"\ntarget = \"iOS26\"", toml_path(&project.path("b")));
    let text = refused(&project, &component);
    assert!(text.contains("link") && text.contains("outside its bundle"), "{text}");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("inside", &link).unwrap();
    project.build(&component).unwrap();
    let (_, release) = project.release();
    let files: Vec<_> = release.variants[0].files.iter().map(|file| (file.path.as_str(), file.size)).collect();
    assert_eq!(files, [("inside", 1), ("link", 1)]);
}
