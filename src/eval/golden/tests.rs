//! Cases against interfaces.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{cases::natural, *};
use crate::contract::{Feature, Interface};

fn counting(dims: &[usize]) -> Tensor {
    Tensor::arange(0f32, dims.iter().product::<usize>() as f32, &Device::Cpu).unwrap().reshape(dims).unwrap()
}

fn ids(values: &[i64]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap().unsqueeze(0).unwrap()
}

fn ints(tensor: &Tensor) -> Vec<i64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn feature(name: &str, dtype: &str, shape: &[u64]) -> Feature {
    Feature { name: name.to_owned(), dtype: dtype.to_owned(), shape: shape.to_vec(), ..Feature::default() }
}

fn interface(inputs: Vec<Feature>, outputs: Vec<Feature>) -> Interface {
    Interface { inputs, outputs, ..Interface::default() }
}

fn golden(tensors: &[(&str, Tensor)], map: &[&str]) -> Result<Vec<Case>, GoldenError> {
    cases(tensors.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect(), &NameMap::parse(map)?)
}

fn only(tensors: &[(&str, Tensor)]) -> Case {
    golden(tensors, &[]).unwrap().remove(0)
}

fn fitted(case: &Case, interface: &Interface) -> FittedCase {
    fit(case, interface, FitOptions::default()).unwrap()
}

#[test]
fn names_make_cases_in_natural_order() {
    let x = counting(&[1]);
    let names = [
        "case10.in.x",
        "case2.in.x",
        "case2.out.kv.layer0.key",
        "in.x",
        "a.b.in.x.in.y",
        "metadata",
        "case2.in.",
        "inner.x",
    ];
    let cases = golden(&names.map(|name| (name, x.clone())), &[]).unwrap();
    assert_eq!(cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), ["", "a.b", "case2", "case10"]);
    assert_eq!(cases[1].inputs.keys().collect::<Vec<_>>(), ["x.in.y"]);
    assert_eq!(cases[2].outputs.keys().collect::<Vec<_>>(), ["kv.layer0.key"]);
    assert_eq!(cases[2].inputs.len(), 1, "a name that ends after the dot is none");
}

#[test]
fn mappings_rename_and_say_what_is_wrong() {
    let (x, y) = (counting(&[1]), counting(&[2]));
    let file = [("a.in.latents_nchw", x.clone()), ("a.in.latent", y.clone()), ("b.out.latents_nchw", x.clone())];
    let cases = golden(&file, &["latents_nchw=latent"]).unwrap();
    assert_eq!((cases[0].inputs.len(), cases[0].inputs["latent"].dims()), (1, &[1][..]), "the mapped one wins");
    assert!(cases[1].outputs.contains_key("latent"));
    let swapped = golden(&file, &["latents_nchw=latent", "latent=latents_nchw"]).unwrap();
    assert_eq!(swapped[0].inputs["latents_nchw"].dims(), [2]);
    let error = golden(&file, &["latents=latent"]).unwrap_err();
    assert_eq!(error.to_string(), "`latents` is mapped, but no case has it: found `latent`, `latents_nchw`");
    let error = golden(&file, &["latents_nchw=x", "latent=x"]).unwrap_err();
    assert!(matches!(error, GoldenError::Collision { .. }), "{error}");
    assert!(matches!(NameMap::parse(["a"]).unwrap_err(), GoldenError::Mapping { .. }));
    assert!(matches!(NameMap::parse(["a=b", "a=c"]).unwrap_err(), GoldenError::MappedTwice { .. }));
    let error = golden(&[("latent", x)], &[]).unwrap_err();
    assert!(error.to_string().contains("the file holds no case") && error.to_string().contains("`latent`"), "{error}");
}

fn encoder(length: u64) -> Interface {
    let inputs = vec![feature("input_ids", "int32", &[1, length]), feature("attention_mask", "int32", &[1, length])];
    interface(inputs, vec![feature("hidden_states", "float16", &[1, length, 4]), feature("pooled", "float16", &[1, 4])])
}

#[test]
fn short_sequences_are_padded_and_their_valid_part_compared() {
    let case = only(&[
        ("in.input_ids", ids(&[7, 8, 9])),
        ("out.hidden_states", counting(&[1, 3, 4])),
        ("out.other", counting(&[1])),
    ]);
    let fitted = fit(&case, &encoder(5), FitOptions { pad_id: 3 }).unwrap();
    assert_eq!(ints(&fitted.inputs["input_ids"]), [7, 8, 9, 3, 3]);
    assert_eq!(ints(&fitted.inputs["attention_mask"]), [1, 1, 1, 0, 0]);
    assert_eq!(fitted.unchecked, ["pooled"]);
    let produced = counting(&[1, 5, 4]);
    let part = fitted.valid_part("hidden_states", &produced).unwrap();
    assert_eq!(part.flatten_all().unwrap().to_vec1::<f32>().unwrap(), (0..12).map(|n| n as f32).collect::<Vec<_>>());
    assert!(fitted.valid_part("hidden_states", &counting(&[1, 4, 4])).is_err(), "4 is not what 3 was padded to");
    assert!(fitted.valid_part("hidden_states", &counting(&[1, 5, 5])).is_err());
    // A mask of the case is padded too.
    let mut masked = case;
    masked.inputs.insert("attention_mask".to_owned(), ids(&[1, 1, 0]));
    assert_eq!(
        ints(&fit(&masked, &encoder(5), FitOptions { pad_id: 3 }).unwrap().inputs["attention_mask"]),
        [1, 1, 0, 0, 0]
    );
}

#[test]
fn defaults_are_left_to_the_program_but_for_masks_of_what_was_padded() {
    let mut program = encoder(3);
    (program.inputs[1].optional, program.inputs[1].default) = (true, Some("1".to_owned()));
    let case = |ids: Tensor| only(&[("in.input_ids", ids), ("out.pooled", counting(&[1, 4]))]);
    assert!(!fitted(&case(ids(&[7, 8, 9])), &program).inputs.contains_key("attention_mask"));
    assert_eq!(ints(&fitted(&case(ids(&[7, 8])), &program).inputs["attention_mask"]), [1, 1, 0]);
}

#[test]
fn a_missing_input_has_a_command_line_that_gives_it() {
    let case = only(&[("out.pooled", counting(&[1, 4]))]);
    let hint = fit(&case, &encoder(3), FitOptions::default()).unwrap_err().hint().unwrap();
    let zeros = "python3 -c \"import numpy; numpy.save('input_ids.npy', numpy.zeros((1,3,), 'int32'))\"";
    assert_eq!(
        hint,
        format!("give it with --input, e.g. `--input input_ids.npy`; zeros to begin with come from `{zeros}`")
    );
    let strange = feature("x'); import os #", "float32", &[1]);
    let hint =
        fit(&case, &interface(vec![strange], program_outputs()), FitOptions::default()).unwrap_err().hint().unwrap();
    assert_eq!(hint, "give it with --input, e.g. `--input FILE.safetensors`, a file with a tensor of that name");
    let picture = Feature { color: Some("RGB".to_owned()), ..feature("picture", "image", &[1, 3, 4, 4]) };
    let hint =
        fit(&case, &interface(vec![picture], program_outputs()), FitOptions::default()).unwrap_err().hint().unwrap();
    assert_eq!(hint, "give it with --input, e.g. `--input picture.png`");
}

fn program_outputs() -> Vec<Feature> {
    vec![feature("pooled", "float16", &[1, 4])]
}

#[test]
fn a_batch_is_a_case_for_each() {
    let batch = Tensor::new(&[[7i64, 8, 9], [1, 2, 0]], &Device::Cpu).unwrap();
    let masks = Tensor::new(&[[1i64, 1, 1], [1, 1, 0]], &Device::Cpu).unwrap();
    let tensors = [
        ("a.in.input_ids", batch),
        ("a.in.attention_mask", masks),
        ("a.out.pooled", counting(&[2, 4])),
        ("a.out.other", counting(&[5])),
    ];
    let case = only(&tensors);
    let fitting = fit_all(std::slice::from_ref(&case), &encoder(4), FitOptions::default()).unwrap();
    let names: Vec<&str> = fitting.fitted.iter().map(|fitted| fitted.name.as_str()).collect();
    assert_eq!(names, ["a[0]", "a[1]"]);
    assert_eq!(ints(&fitting.fitted[1].inputs["input_ids"]), [1, 2, 0, 0]);
    assert_eq!(ints(&fitting.fitted[1].inputs["attention_mask"]), [1, 1, 0, 0]);
    assert_eq!(fitting.fitted[1].outputs["pooled"].to_vec2::<f32>().unwrap(), [[4.0, 5.0, 6.0, 7.0]]);
    // Tensors that do not belong together are no batch.
    let mut apart = case;
    apart.outputs.insert("pooled".to_owned(), counting(&[3, 4]));
    let error = fit_all(&[apart], &encoder(4), FitOptions::default()).unwrap_err().to_string();
    assert!(error.contains("input `input_ids` has the shape [2, 3], expected int32 [1, 4]"), "{error}");
}

#[test]
fn outputs_are_cut_nowhere_else() {
    let misfit = |hidden: &[usize]| {
        let case = only(&[("in.input_ids", ids(&[7, 8, 9])), ("out.hidden_states", counting(hidden))]);
        fit(&case, &encoder(5), FitOptions::default()).unwrap_err().to_string()
    };
    assert_eq!(misfit(&[1, 3, 3]), "output `hidden_states` has the shape [1, 3, 3], expected float16 [1, 5, 4]");
    assert!(misfit(&[1, 2, 4]).contains("[1, 2, 4]"));
    assert!(misfit(&[3, 4]).contains("[3, 4]"));
}

#[test]
fn decoders_take_what_encoders_gave() {
    let inputs = vec![
        feature("decoder_input_ids", "int32", &[1, 4]),
        feature("decoder_attention_mask", "float32", &[1, 4]),
        feature("encoder_hidden_states", "float16", &[1, 6, 2]),
        feature("encoder_attention_mask", "int32", &[1, 6]),
    ];
    let decoder = interface(inputs, vec![feature("logits", "float16", &[1, 4, 9])]);
    let case = only(&[
        ("in.decoder_input_ids", ids(&[1, 2])),
        ("out.encoder_hidden_states", counting(&[1, 5, 2])),
        ("out.logits", counting(&[1, 2, 9])),
    ]);
    let fitted = fitted(&case, &decoder);
    assert_eq!(fitted.inputs["encoder_hidden_states"].dims(), [1, 6, 2]);
    assert_eq!(
        fitted.inputs["encoder_hidden_states"].get(0).unwrap().get(5).unwrap().to_vec1::<f32>().unwrap(),
        [0.0, 0.0]
    );
    assert_eq!(ints(&fitted.inputs["encoder_attention_mask"]), [1, 1, 1, 1, 1, 0]);
    assert_eq!(
        fitted.inputs["decoder_attention_mask"].flatten_all().unwrap().to_vec1::<f32>().unwrap(),
        [1.0, 1.0, 0.0, 0.0]
    );
}

#[test]
fn caches_start_empty_and_other_inputs_are_missed() {
    let inputs = vec![
        feature("input_ids", "int32", &[1, 4]),
        feature("position", "int32", &[1]),
        feature("key_cache", "float16", &[2, 1, 8, 4]),
    ];
    let mut lm = interface(inputs, vec![feature("logits", "float16", &[1, 4, 9])]);
    let case =
        only(&[("in.input_ids", ids(&[1, 2])), ("in.kinds", ids(&[0, 0])), ("out.logits", counting(&[1, 2, 9]))]);
    let found = fitted(&case, &lm);
    assert_eq!((ints(&found.inputs["position"]), found.inputs["key_cache"].dtype()), (vec![0], DType::F32));
    lm.inputs.push(feature("token_type_ids", "int32", &[1, 4]));
    let misfit = fit(&case, &lm, FitOptions::default()).unwrap_err();
    assert_eq!(misfit.to_string(), "input `token_type_ids` (int32 [1, 4]) is missing, found `input_ids`, `kinds`");
    assert_eq!(misfit.hint().unwrap(), "`--map kinds=token_type_ids` if that is what it is");
    lm.inputs[3].optional = true;
    assert!(
        matches!(fit(&case, &lm, FitOptions::default()), Err(Misfit::MissingInput { .. })),
        "optional, but without a default"
    );
    lm.inputs[3].default = Some("0".to_owned());
    assert!(!fitted(&case, &lm).inputs.contains_key("token_type_ids"));
    lm.inputs[2].shape = vec![1 << 20, 1 << 20];
    assert!(matches!(fit(&case, &lm, FitOptions::default()).unwrap_err(), Misfit::TooLarge { .. }));
}

fn decoder(latent: &[u64], image: &[u64]) -> Interface {
    interface(vec![feature("latent", "float32", latent)], vec![feature("image", "float32", image)])
}

fn pictures(latent: &[usize], image: &[usize]) -> Case {
    only(&[("in.latent", counting(latent)), ("out.image", counting(image))])
}

#[test]
fn pictures_follow_the_layout_of_the_program() {
    let nhwc = decoder(&[1, 4, 6, 16], &[1, 32, 48, 3]);
    let found = fitted(&pictures(&[1, 16, 4, 6], &[1, 3, 32, 48]), &nhwc);
    let expected =
        counting(&[1, 3, 32, 48]).permute((0, 2, 3, 1)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(found.inputs["latent"].dims(), [1, 4, 6, 16]);
    assert_eq!(found.outputs["image"].flatten_all().unwrap().to_vec1::<f32>().unwrap(), expected);
    let back = fitted(&pictures(&[1, 4, 6, 16], &[1, 32, 48, 3]), &decoder(&[1, 16, 4, 6], &[1, 3, 32, 48]));
    assert_eq!(back.outputs["image"].dims(), [1, 3, 32, 48]);
    let kept = fitted(&pictures(&[1, 4, 6, 16], &[1, 32, 48, 3]), &nhwc);
    assert_eq!(kept.inputs["latent"].flatten_all().unwrap().to_vec1::<f32>().unwrap()[1], 1.0);
    assert!(
        fit(&pictures(&[1, 16, 3, 6], &[1, 3, 24, 48]), &nhwc, FitOptions::default()).is_err(),
        "pictures are never padded"
    );
}

#[test]
fn shapes_that_fit_in_every_layout_follow_the_others() {
    let nhwc = decoder(&[1, 32, 32, 32], &[1, 64, 64, 3]);
    let found = fitted(&pictures(&[1, 32, 32, 32], &[1, 3, 64, 64]), &nhwc);
    let second = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()[1];
    assert_eq!(second(&found.inputs["latent"]), 1024.0, "the picture says that the golden is NCHW");
    let kept = fitted(&pictures(&[1, 32, 32, 32], &[1, 64, 64, 3]), &nhwc);
    assert_eq!(second(&kept.inputs["latent"]), 1.0);
    let mut torn = nhwc;
    torn.outputs.push(feature("other", "float32", &[1, 64, 64, 3]));
    let mut case = pictures(&[1, 32, 32, 32], &[1, 3, 64, 64]);
    case.outputs.insert("other".to_owned(), counting(&[1, 64, 64, 3]));
    assert!(matches!(fit(&case, &torn, FitOptions::default()).unwrap_err(), Misfit::Layout { .. }));
}

#[test]
fn a_golden_without_a_case_that_fits_says_why_for_each() {
    let file = [
        ("decode0.in.latents_nchw", counting(&[1, 16, 8, 8])),
        ("decode0.out.image_nchw", counting(&[1, 3, 64, 64])),
        ("encode0.in.image", counting(&[1, 3, 64, 64])),
    ];
    let program = decoder(&[1, 8, 8, 16], &[1, 64, 64, 3]);
    let error = fit_all(&golden(&file, &[]).unwrap(), &program, FitOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no case fits:\ncase `decode0`: input `latent` (float32 [1, 8, 8, 16]) is missing, found `latents_nchw`\n\
         case `encode0`: input `latent` (float32 [1, 8, 8, 16]) is missing, found `image`"
    );
    assert_eq!(error.hint().unwrap(), "`--map latents_nchw=latent` if that is what it is");
    let error =
        fit_all(&golden(&file, &["latents_nchw=latent"]).unwrap(), &program, FitOptions::default()).unwrap_err();
    assert!(
        error.to_string().contains("case `decode0`: no output to compare: expected `image`, the case has `image_nchw`"),
        "{error}"
    );
    assert_eq!(error.hint().unwrap(), "`--map image_nchw=image` if that is what it is");
    let cases = golden(&file[..2], &["latents_nchw=latent", "image_nchw=image"]).unwrap();
    assert_eq!(fit_all(&cases, &program, FitOptions::default()).unwrap().fitted.len(), 1);
}

#[test]
fn flexible_shapes_are_padded_to_the_smallest_that_holds_them() {
    let mut program = encoder(8);
    for feature in &mut program.inputs {
        feature.enumerated = Some(vec![vec![1, 8], vec![1, 16], vec![1, 4], vec![1, 2]]);
    }
    program.outputs = vec![feature("hidden_states", "float32", &[])];
    let case = only(&[("in.input_ids", ids(&[7, 8, 9])), ("out.hidden_states", counting(&[1, 3, 4]))]);
    let found = fitted(&case, &program);
    assert_eq!(ints(&found.inputs["attention_mask"]), [1, 1, 1, 0]);
    assert_eq!(found.valid_part("hidden_states", &counting(&[1, 4, 4])).unwrap().dims(), [1, 3, 4]);
    for feature in &mut program.inputs {
        (feature.enumerated, feature.ranges) = (None, Some(vec![(1, Some(1)), (1, None)]));
    }
    assert!(fitted(&case, &program).paddings.is_empty());
    program.inputs[0].ranges = Some(vec![(1, Some(1)), (1, Some(2))]);
    let misfit = fit(&case, &program, FitOptions::default()).unwrap_err();
    assert_eq!(misfit.to_string(), "input `input_ids` has the shape [1, 3], expected int32 [1..1, 1..2]");
}

#[test]
fn kinds_of_numbers_are_changed_where_nothing_is_lost() {
    let case = |values: &[f32]| {
        let ids = Tensor::new(values, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        only(&[("in.input_ids", ids), ("out.pooled", counting(&[1, 4]))])
    };
    assert_eq!(ints(&fitted(&case(&[3.0, 4.0]), &encoder(3)).inputs["input_ids"]), [3, 4, 0]);
    let misfit = fit(&case(&[3.0, 0.5]), &encoder(3), FitOptions::default()).unwrap_err();
    assert_eq!(misfit.to_string(), "input `input_ids`: element 1 is 0.5, which int64 cannot hold");
    assert!(fit(&case(&[f32::NAN]), &encoder(3), FitOptions::default()).is_err());
    let bytes = only(&[
        ("in.latent", Tensor::zeros((1, 2, 1, 1), DType::I64, &Device::Cpu).unwrap()),
        ("out.image", counting(&[1, 3, 1, 1])),
    ]);
    assert_eq!(fitted(&bytes, &decoder(&[1, 2, 1, 1], &[1, 3, 1, 1])).inputs["latent"].dtype(), DType::F32);
}

proptest! {
    #[test]
    fn natural_order_is_total_and_numbers_count(names in prop::collection::vec("[a-b0-2.]{0,6}", 3), m in 0u32..2000, n in 0u32..2000) {
        let [a, b, c] = [&names[0], &names[1], &names[2]];
        prop_assert_eq!(natural(a, b), natural(b, a).reverse());
        prop_assert_eq!(natural(a, b).is_eq(), a == b);
        if natural(a, b).is_le() && natural(b, c).is_le() {
            prop_assert!(natural(a, c).is_le());
        }
        prop_assert_eq!(natural(&format!("case{m}.x"), &format!("case{n}.x")), m.cmp(&n));
    }

    #[test]
    fn every_length_up_to_the_fixed_one_fits(length in 1usize..9, fixed in 1u64..9) {
        let case = only(&[("in.input_ids", ids(&vec![5; length])), ("out.hidden_states", counting(&[1, length, 4]))]);
        let found = fit(&case, &encoder(fixed), FitOptions::default());
        prop_assert_eq!(found.is_ok(), length as u64 <= fixed);
        if let Ok(found) = found {
            let mask: i64 = ints(&found.inputs["attention_mask"]).iter().sum();
            prop_assert_eq!((mask, found.inputs["input_ids"].dims()[1] as u64), (length as i64, fixed));
            let part = found.valid_part("hidden_states", &counting(&[1, fixed as usize, 4])).unwrap();
            prop_assert_eq!(part.dims(), found.outputs["hidden_states"].dims());
        }
    }
}

#[test]
fn recorded_files_fit_their_programs() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/taef1/golden.safetensors");
    let tensors: BTreeMap<String, Tensor> =
        candle_core::safetensors::load(path, &Device::Cpu).unwrap().into_iter().collect();
    let cases = cases(tensors, &NameMap::default()).unwrap();
    assert_eq!(
        cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(),
        ["decode0", "decode1", "encode0", "encode1"]
    );
    let fitting = fit_all(&cases, &decoder(&[1, 6, 10, 16], &[1, 48, 80, 3]), FitOptions::default()).unwrap();
    assert_eq!(fitting.fitted.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), ["decode1"]);
    assert_eq!(fitting.misfits.len(), 3);
}
