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
    assert!(
        text.contains("component `decoder`: `compress = \"linear:int8\"` is not built by this version of mlreg"),
        "{text}"
    );
    let text = refused(&project, &decoder("taef1", "part = \"decoder\"\nsequence = 64\ntarget = \"iOS18\""));
    assert!(
        text.contains("component `decoder`: `sequence` has no meaning for part `decoder` of `autoencoder-tiny`"),
        "{text}"
    );
    let bert = "[[component]]\nname = \"encoder\"\ncheckpoint = ";
    let bert = format!("{bert}\"{}\"\ntarget = \"iOS17\"", super::toml_path(&fixtures().join("bert/minilm")));
    let text = refused(&project, &bert);
    assert!(text.contains("component `encoder`: `bert` needs `sequence` | add the number of tokens"), "{text}");
    let text = refused(&project, &format!("{bert}\nsequence = 128"));
    assert!(
        text.contains(
            "`encoder-s128-float16-ios17` cannot be built; sequence 128 does not fit: this model has 64 positions"
        ),
        "{text}"
    );
    let text = refused(&project, &decoder("taef1", "part = \"decoder\"\ntarget = \"iOS18\""));
    assert!(
        text.contains("component `decoder`: `autoencoder-tiny` needs `size`") && text.contains("| add the size"),
        "{text}"
    );
    let text = refused(&project, &decoder("taef1", "part = \"decoder\"\nsize = 100\ntarget = \"iOS18\""));
    assert!(
        text.contains("variant `decoder-100-float16-ios18` cannot be built; size 100 does not fit")
            && text.contains("multiples of 8"),
        "{text}"
    );
    let text = refused(&project, &decoder("taef1", "part = \"unet\"\nsize = 64\ntarget = \"iOS18\""));
    assert!(text.contains("has the parts decoder, encoder; the component asks for `unet`"), "{text}");
    let text = refused(&project, &decoder("nothing", KEYS));
    assert!(text.contains("component `decoder`: cannot read its checkpoint") && text.contains("nothing"), "{text}");
}

#[test]
fn keys_without_a_meaning_are_refused_where_they_stand() {
    let project = Project::new();
    let component = |fixture: &str, keys: &str| {
        let path = super::toml_path(&fixtures().join(fixture));
        format!("[[component]]\nname = \"c\"\ncheckpoint = \"{path}\"\ntarget = \"iOS18\"\n{keys}")
    };
    let (lm, bert, t5, tae) = ("causal/llama_tied_f16", "bert/minilm", "t5/v10_tied", "taef1");
    for (fixture, keys, expected) in [
        (
            bert,
            "sequence = 8\ncontext = 8\ncache = \"state\"",
            "m.toml:9:11: component `c`: `context` has no meaning for part `encoder` of `bert`",
        ),
        (
            bert,
            "sequence = 8\nlogits = \"last\"",
            "m.toml:9:10: component `c`: `logits` has no meaning for part `encoder` of `bert`",
        ),
        (bert, "size = 8", "m.toml:8:8: component `c`: `size` has no meaning for part `encoder` of `bert`"),
        (
            bert,
            "sequence = 8\nrange = \"signed\"",
            "m.toml:9:9: component `c`: `range` has no meaning for part `encoder` of `bert`",
        ),
        (
            lm,
            "sequence = 8\nlayout = \"nhwc\"",
            "m.toml:9:10: component `c`: `layout` has no meaning for part `decoder` of `llama`",
        ),
        (
            lm,
            "sequence = 8\nencoder-sequence = 8",
            "m.toml:9:20: component `c`: `encoder-sequence` has no meaning for part `decoder` of `llama`",
        ),
        (
            lm,
            "sequence = 8\nclamp = true",
            "m.toml:9:9: component `c`: `clamp` has no meaning for part `decoder` of `llama`",
        ),
        (
            t5,
            "part = \"encoder\"\nsequence = 8\nlogits = \"last\"",
            "m.toml:10:10: component `c`: `logits` has no meaning for part `encoder` of `t5`",
        ),
        (
            t5,
            "part = \"cross\"\nsequence = 8\nattention = \"split\"",
            "m.toml:10:13: component `c`: `attention` has no meaning for part `cross` of `t5`",
        ),
        (t5, "part = \"decoder\"\nsequence = 8\nchunks = 2", "m.toml:10:10: component `c"),
        (
            tae,
            "part = \"decoder\"\nsize = 64\nlinear = \"conv\"",
            "m.toml:10:10: component `c`: `linear` has no meaning for part `decoder`",
        ),
        (
            tae,
            "part = \"encoder\"\nsize = 64\nclamp = true",
            "m.toml:10:9: component `c`: `clamp` has no meaning for part `encoder`",
        ),
    ] {
        let text = refused(&project, &component(fixture, keys));
        assert!(text.starts_with(expected) && text.contains("| leave it out; `"), "{keys}: {text}");
    }
    let text = refused(&project, &component(lm, "sequence = 8\ncontext = 64"));
    assert!(text.starts_with("m.toml:9:11: component `c`: `context` needs `cache` beside it"), "{text}");
    let text = refused(&project, &component(lm, "sequence = 8\ncontext = 64\ncache = \"state\"\nwindow-cache = true"));
    assert!(text.contains("window-cache true does not fit: no layer of this model has a window"), "{text}");
    let text = refused(&project, &component(lm, "sequence = 64\ncontext = 32\ncache = \"state\""));
    assert!(
        text.contains("sequence 64 does not fit: the tokens of a call are written to the cache, whose `context` is 32"),
        "{text}"
    );
    project.build(&component(lm, "part = \"decoder\"\nsequence = 8")).unwrap();
}

#[test]
fn keys_of_a_config_are_honoured_refused_or_ignored_by_name() {
    let project = Project::new();
    let fixture = fixtures().join("causal/llama_tied_f16");
    for file in ["model.safetensors", "generation_config.json"] {
        project.write(&format!("c/{file}"), fs::read(fixture.join(file)).unwrap());
    }
    let config = fs::read_to_string(fixture.join("config.json")).unwrap();
    let with = |keys: &str| project.write("c/config.json", config.replacen('{', &format!("{{{keys}"), 1));
    let component = |keys: &str| {
        format!("[[component]]\nname = \"lm\"\ncheckpoint = \"c\"\nsequence = 8\ntarget = \"iOS18\"\n{keys}")
    };
    with("\"logit_scale\": 0.5,");
    let text = refused(&project, &component(""));
    let expected = "config.json: `logit_scale` is 0.5, which mlreg does not know how to honour for `llama` | if it \
         changes no number of the model, add \
                    ignore-config = [\"logit_scale\"] to the component";
    assert!(text.ends_with(expected), "{text}");
    let text = refused(&project, &component("ignore-config = \"hidden_size\""));
    assert!(text.contains("`ignore-config` cannot name `hidden_size`: `llama` reads it"), "{text}");
    with("\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4},");
    let text = refused(&project, &component(""));
    assert!(
        text.contains("the checkpoint is quantized (gptq, 4 bits)")
            && text.ends_with("| convert its original (unquantized) checkpoint"),
        "{text}"
    );
    with("\"logit_scale\": 0.5,");
    project.build(&component("ignore-config = \"logit_scale\"")).unwrap();
    let source = &project.release().1.sources["lm"];
    assert_eq!(source.ignored_config.iter().collect::<Vec<_>>(), ["logit_scale"]);
}

#[test]
fn globs_must_match() {
    let project = Project::new();
    let error = project
        .build_with(&decoder("taef1", KEYS), |options| options.variants = vec!["decoder-64-float16-ios17".to_owned()])
        .unwrap_err();
    assert_eq!(
        told(&error),
        "`decoder-64-float16-ios17` matches no variant of `p` | did you mean `decoder-64-float16-ios18`?"
    );
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
    let component =
        format!("[[component]]\nname = \"decoder\"\ncheckpoint = \"c\"\narchitecture = \"autoencoder-tiny\"\n{KEYS}");
    for (from, to, message) in [
        (
            "\"decoder.layers.0.bias\"",
            "\"decoder.layers.0.biaz\"",
            "holds tensors that `autoencoder-tiny` does not have: decoder.layers.0.biaz",
        ),
        (
            "\"decoder.layers.0.weight\"",
            "\"decoder.layers.0.weighs\"",
            "the checkpoint has no tensor `decoder.layers.0.weight`",
        ),
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
    project
        .write("c/model.safetensors", fs::read(fixtures().join("taef1/diffusion_pytorch_model.safetensors")).unwrap());
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
    let component =
        format!("[[component]]\nname = \"decoder\"\ncheckpoint = \"c\"\narchitecture = \"autoencoder-tiny\"\n{KEYS}");
    project.build(&component).unwrap();
    let (_, release) = project.release();
    assert_eq!(release.sources["decoder"].files.keys().collect::<Vec<_>>(), ["some.safetensors"]);
    let project = Project::new();
    project.write("c/some.safetensors", &weights);
    project.write("c/other.safetensors", &weights);
    let text = refused(&project, &component);
    assert!(
        text.contains("holds several weight files: other.safetensors, some.safetensors")
            && text.contains("| name one of them"),
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
    assert!(
        text.contains("`b/a b.aimodel`") && text.contains("`b/a-b.aimodel`") && text.contains("`a-b-ios26-aimodel`"),
        "{text}"
    );
}

#[cfg(unix)]
#[test]
fn links_out_of_a_bundle_are_refused() {
    let project = Project::new();
    project.write("b/x.aimodel/inside", "1");
    project.write("secret", "2");
    let link = project.path("b/x.aimodel/link");
    std::os::unix::fs::symlink(project.path("secret"), &link).unwrap();
    let component = format!(
        "[[component]]\nname = \"v\"\nimport = \"{}/*.aimodel\"\ntarget = \"iOS26\"",
        toml_path(&project.path("b"))
    );
    let text = refused(&project, &component);
    assert!(text.contains("link") && text.contains("outside its bundle"), "{text}");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("inside", &link).unwrap();
    project.build(&component).unwrap();
    let (_, release) = project.release();
    let files: Vec<_> = release.variants[0].files.iter().map(|file| (file.path.as_str(), file.size)).collect();
    assert_eq!(files, [("inside", 1), ("link", 1)]);
}
