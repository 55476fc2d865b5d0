//! Encoders of texts through packages on disk: heads, modules of sentence-transformers, names of other times, files of
//! other times.

use std::{fs, path::Path};

use mlreg::emit::coreml::Package;
use serde_json::{Value, json};

use super::{
    Project,
    package::fixtures,
    text::{BOTH_FORMS, T5_DECODER, T5_ENCODER, bundle, cached, compare, component, golden, translator, weight_files},
    told,
};

/// Builds a fixture in every form, and compares it with its `golden.safetensors`: so many outputs of all cases together
/// in each form.
fn agrees(name: &str, fixture: &str, outputs: usize) -> Project {
    agrees_with(name, fixture, fixture, outputs)
}

/// Like [`agrees`], of a checkpoint that is not the folder of its golden file.
fn agrees_with(name: &str, checkpoint: &str, fixture: &str, outputs: usize) -> Project {
    let keys = format!(
        "sequence = [16, 19]\nprecision = [\"float32\", \"float16\"]\nlinear = [\"linear\", \"conv\"]\n{BOTH_FORMS}"
    );
    let project = Project::new();
    project.build_with(&component(name, checkpoint, &keys), |options| options.out = Some("out".into())).unwrap();
    assert_eq!(compare(&project, &golden(fixture, &[])), 2 * 2 * 2 * 2 * outputs);
    // Nothing that weights are made of depends on the length, the layout or the target.
    let files = weight_files(&project);
    assert!(files.len() == 2 && files.values().all(|files| files.len() == 1), "{files:?}");
    project
}

/// A note of the first bundle.
fn note(project: &Project, topic: &str) -> String {
    let variant = &project.release().1.variants[0];
    let package = Package::open(&bundle(project, variant)).unwrap();
    package.metadata().user_defined.get(&format!("dev.mlreg.{topic}")).cloned().unwrap_or_default()
}

/// A copy of a fixture in the project's folder `checkpoint`.
fn copied(fixture: &str) -> Project {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let to = to.join(path.file_name().unwrap());
            if path.is_dir() { copy(&path, &to) } else { _ = fs::copy(&path, &to).unwrap() }
        }
    }
    let project = Project::new();
    copy(&fixtures().join(fixture), &project.path("checkpoint"));
    project
}

/// Changes a JSON file of the copy.
fn edit(project: &Project, path: &str, change: impl FnOnce(&mut Value)) {
    let path = project.path("checkpoint").join(path);
    let mut json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(&path, serde_json::to_vec(&json).unwrap()).unwrap();
}

fn of_copy(name: &str, keys: &str) -> String {
    format!(
        "[[component]]\nname = \"{name}\"\ncheckpoint = \"checkpoint\"\nsequence = 16\nprecision = \"float32\"\ntarget \
         = \"iOS16\"\n{keys}\n"
    )
}

fn refusal(project: &Project, name: &str, keys: &str) -> String {
    told(&project.build(&of_copy(name, keys)).unwrap_err())
}

#[test]
fn classifiers_give_the_reference_logits() {
    // The class of the config says what it is, not the component's name.
    let project = agrees("encoder", "bert/classifier", 1);
    assert_eq!(note(&project, "labels"), "[\"LABEL_0\"]");
    let project = agrees("ner", "bert/token_classifier", 1);
    assert_eq!(note(&project, "labels"), "[\"O\",\"B-PER\",\"I-PER\",\"B-LOC\",\"I-LOC\"]");
    let project = agrees("answers", "bert/question_answering", 2 * 2);
    assert_eq!(note(&project, "labels"), "");
}

#[test]
fn a_part_of_a_classifier_can_be_chosen() {
    let project = copied("bert/classifier");
    edit(&project, "config.json", |config| {
        config["problem_type"] = json!("regression");
        config["sentence_transformers"] =
            json!({ "activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "5.0" });
    });
    project.build_with(&of_copy("ranker", ""), |options| options.out = Some("out".into())).unwrap();
    assert_eq!(note(&project, "problem-type"), "regression");
    assert!(note(&project, "score").contains("torch.nn.modules.activation.Sigmoid"));
    let encoder = copied("bert/classifier");
    encoder.build_with(&of_copy("ranker", "part = \"encoder\""), |options| options.out = Some("out".into())).unwrap();
    assert_eq!(note(&encoder, "pooling"), "mean, in float32");
    assert!(
        refusal(&project, "ranker", "part = \"decoder\"")
            .contains("has the parts encoder, classifier, token-classifier")
    );
}

#[test]
fn heads_are_never_left_out_in_silence() {
    let project = copied("bert/token_classifier");
    edit(&project, "config.json", |config| config["architectures"] = json!(["BertModel"]));
    let text = refusal(&project, "ner", "");
    let expected = "holds a head that part `encoder` of `bert` does not have: classifier.bias, classifier.weight | add \
         part = \"classifier\"";
    assert!(text.contains(expected), "{text}");
    project.build(&of_copy("ner", "part = \"token-classifier\"")).unwrap();
    for class in ["BertForMultipleChoice", "BertForNextSentencePrediction", "BertLMHeadModel", "JinaBertForMaskedLM"] {
        edit(&project, "config.json", |config| config["architectures"] = json!([class]));
        let text = refusal(&project, "ner", "architecture = \"bert\"");
        assert!(
            text.contains(&format!("`architectures` is [\"{class}\"], expected BertModel, BertForMaskedLM")),
            "{text}"
        );
    }
    edit(&project, "config.json", |config| {
        config["architectures"] = json!(["BertForTokenClassification"]);
        config["id2label"] = json!({ "0": "O", "1": "A" });
    });
    let text = refusal(&project, "ner", "");
    assert!(text.contains("expected 5 labels, as many as `classifier.weight` has rows"), "{text}");
    let cases = [
        ("id2label", json!({ "0": "O", "2": "A" }), "expected a name for each id from 0 on"),
        ("id2label", json!({}), "expected a name for each id from 0 on"),
        ("num_labels", json!(4), "`num_labels` is 4, expected 2, as many as `id2label` has"),
        ("problem_type", json!("ranking"), "`problem_type` is \"ranking\", expected regression"),
    ];
    for (key, value, expected) in cases {
        let project = copied("bert/classifier");
        edit(&project, "config.json", |config| {
            config["id2label"] = json!({ "0": "O", "1": "A" });
            config[key] = value;
        });
        let text = refusal(&project, "ranker", "");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn norms_may_have_their_old_names() {
    agrees("encoder", "bert/gamma_and_beta", 2);
    let project = copied("bert/gamma_and_beta");
    let path = project.path("checkpoint/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let text = String::from_utf8(bytes[8..header].to_vec()).unwrap();
    // A second name for one place: the pooler's bias becomes the first norm's weight, too.
    let (old, new) = ("\"bert.pooler.dense.bias\"", "\"bert.embeddings.LayerNorm.weight\"");
    let with_both = text.trim_end().replace(old, new);
    assert_ne!(with_both.len(), text.trim_end().len(), "{text}");
    fs::write(&path, [&(with_both.len() as u64).to_le_bytes()[..], with_both.as_bytes(), &bytes[header..]].concat())
        .unwrap();
    let text = refusal(&project, "encoder", "");
    let expected = "holds `bert.embeddings.LayerNorm.gamma` and `bert.embeddings.LayerNorm.weight`, which are two names of one tensor";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn modules_follow_one_another_as_the_reference_has_them() {
    agrees("encoder", "bert/dense", 2);
    let project = agrees("encoder", "bert/modules", 2 * 2);
    assert_eq!(
        note(&project, "pooling"),
        "first token and largest and mean and sum by root of length and mean weighted by position and last token, in \
         float32, \
         Dense to 20 channels with GELU, LayerNorm, Dense to 6 channels with Sigmoid, length 1"
    );
    let files = &project.release().1.sources["encoder"].files.clone();
    let files: Vec<&str> = files.keys().map(String::as_str).collect();
    let expected = [
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "3_LayerNorm/config.json",
        "3_LayerNorm/model.safetensors",
        "4_Dense/config.json",
        "4_Dense/model.safetensors",
        "config.json",
        "model.safetensors",
        "modules.json",
    ];
    assert_eq!(files, expected);
}

#[test]
fn another_file_of_a_module_builds_again() {
    let project = copied("bert/dense");
    let build = || project.build(&of_copy("encoder", "")).unwrap().packages.remove(0).digest;
    let first = build();
    assert_eq!(build(), first);
    let path = project.path("checkpoint/2_Dense/model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_ne!(build(), first);
    fs::remove_file(path).unwrap();
    let text = refusal(&project, "encoder", "");
    let expected = "expected the tensor `linear.weight` of module Dense in `2_Dense/model.safetensors` or \
         `2_Dense/pytorch_model.bin`";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn torch_files_from_before_1_6_are_converted() {
    agrees_with("encoder", "bert/legacy_torch/pytorch_model.bin", "bert/legacy_torch", 2);
}

#[test]
fn roberta_counts_positions_from_behind_the_padding() {
    let project = agrees("encoder", "roberta/xlm", 2);
    let interface = project.release().1.variants[0].interface.clone().unwrap();
    let inputs: Vec<&str> = interface.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(inputs, ["input_ids", "attention_mask"]);
    // Of 34 rows two are no position of a token.
    let keys = |length: u64| component("encoder", "roberta/xlm", &format!("sequence = {length}\ntarget = \"iOS16\""));
    project.build(&keys(32)).unwrap();
    let text = told(&project.build(&keys(33)).unwrap_err());
    assert!(text.contains("sequence 33 does not fit: this model has 32 positions"), "{text}");
    let forced = component("encoder", "roberta/xlm", "sequence = 16\ntarget = \"iOS16\"\narchitecture = \"bert\"");
    let text = told(&project.build(&forced).unwrap_err());
    assert!(text.contains("`model_type` is \"xlm-roberta\", expected \"bert\""), "{text}");
}

#[test]
fn mt5_is_t5_by_another_name() {
    let keys = "sequence = 16\nprecision = \"float32\"\ntarget = \"iOS16\"";
    let project = Project::new();
    let both = [component("encoder", "t5/mt5", keys), component("decoder", "t5/mt5", keys)].concat();
    project.build_with(&both, |options| options.out = Some("out".into())).unwrap();
    assert_eq!(compare(&project, &golden("t5/mt5", &[])), 2);
}

#[test]
fn umt5_has_positions_in_every_layer() {
    translator("t5/umt5", T5_ENCODER, T5_DECODER);
}

#[test]
fn cached_umt5_decoders_agree_with_the_reference() {
    cached("t5/umt5", T5_DECODER);
}

#[test]
fn t5_encoders_with_modules_give_sentences() {
    let project = agrees("encoder", "t5/sentence", 2 * 2);
    assert_eq!(note(&project, "pooling"), "mean, in float32, Dense to 10 channels with Identity, length 1");
    let text =
        told(&project.build(&component("decoder", "t5/sentence", "sequence = 16\ntarget = \"iOS16\"")).unwrap_err());
    assert!(text.contains("`architectures` is [\"T5EncoderModel\"], expected a class that has a decoder"), "{text}");
}

#[test]
fn configs_of_t5_are_honoured_or_refused() {
    let with = |change: &dyn Fn(&mut Value)| {
        let project = copied("t5/mt5");
        edit(&project, "config.json", change);
        project.build(&of_copy("decoder", "")).map_err(|error| told(&error))
    };
    let refused = |key: &str, value: Value| with(&|config| config[key] = value.clone()).unwrap_err();
    assert!(
        refused("architectures", json!(["MT5ForTokenClassification"])).contains("expected T5ForConditionalGeneration")
    );
    assert!(refused("dense_act_fn", json!("laplace")).contains("`dense_act_fn` is \"laplace\""));
    assert!(
        refused("is_gated_act", json!(false)).contains("no tensor `decoder.block.0.layer.2.DenseReluDense.wi.weight`")
    );
    assert!(refused("head_dim", json!(4)).contains("`head_dim` is 4, expected 8"));
    assert!(
        refused("model_type", json!("umt5"))
            .contains("no tensor `decoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight`")
    );
    // Without the key mT5 is untied and gated, as its class in transformers says.
    let release = |change: &dyn Fn(&mut Value)| with(change).unwrap().packages.remove(0);
    release(&|config| {
        config.as_object_mut().unwrap().retain(|key, _| key != "tie_word_embeddings" && key != "feed_forward_proj");
    });
}

#[test]
fn causal_models_are_sentence_encoders_by_their_last_token() {
    let project = agrees("encoder", "causal/qwen3_embedding", 2);
    assert_eq!(note(&project, "pooling"), "last token, in float32, length 1");
    let keys = "sequence = 16\ntarget = \"iOS18\"\npart = \"encoder\"";
    for key in ["cache", "chunks"] {
        let value = if key == "cache" { "\"state\"\ncontext = 32" } else { "2" };
        let text = told(
            &project
                .build(&component("lm", "causal/qwen3_embedding", &format!("{keys}\n{key} = {value}")))
                .unwrap_err(),
        );
        assert!(text.contains(&format!("`{key}` has no meaning for part `encoder` of `qwen3`")), "{text}");
    }
}
