//! Made-up checkpoints for benchmarks: real sizes, numbers that mean nothing.

use std::collections::BTreeMap;

type Shapes = BTreeMap<String, Vec<u64>>;

/// A safetensors file of an image decoder in the layout of diffusers: three blocks, upsampling and a convolution per
/// resolution, one last block.
#[allow(dead_code, reason = "each benchmark uses one of them")]
pub fn image_decoder(width: u64, latent: u64) -> Vec<u8> {
    let mut shapes = Shapes::new();
    let mut conv = |name: String, shape: [u64; 2], bias: bool| {
        shapes.insert(format!("decoder.layers.{name}.weight"), vec![shape[1], shape[0], 3, 3]);
        shapes.extend(bias.then(|| (format!("decoder.layers.{name}.bias"), vec![shape[1]])));
    };
    conv("0".to_owned(), [latent, width], true);
    let mut index = 2;
    for blocks in [3, 3, 3, 1] {
        for _ in 0..blocks {
            [0, 2, 4].into_iter().for_each(|part| conv(format!("{index}.conv.{part}"), [width, width], true));
            index += 1;
        }
        if blocks == 3 {
            conv((index + 1).to_string(), [width, width], false);
            index += 2;
        }
    }
    conv(index.to_string(), [width, 3], true);
    write(&shapes)
}

/// Config and safetensors file of a FLAN-T5 with the widths of flan-t5-base.
#[allow(dead_code, reason = "each benchmark uses one of them")]
pub fn translator(encoder_layers: u64, decoder_layers: u64) -> (String, Vec<u8>) {
    let (width, inner, heads, vocabulary) = (768, 2048, 12, 32128);
    let config = serde_json::json!({
        "model_type": "t5", "d_model": width, "d_kv": 64, "d_ff": inner, "num_heads": heads, "vocab_size": vocabulary,
        "num_layers": encoder_layers, "num_decoder_layers": decoder_layers, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": false,
        "decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0,
    });
    let mut shapes = Shapes::from([
        ("shared.weight".to_owned(), vec![vocabulary, width]),
        ("lm_head.weight".to_owned(), vec![vocabulary, width]),
    ]);
    for (stack, layers, attentions) in [
        ("encoder", encoder_layers, &["SelfAttention"][..]),
        ("decoder", decoder_layers, &["SelfAttention", "EncDecAttention"]),
    ] {
        let mut add = |name: &str, shape: &[u64]| shapes.insert(format!("{stack}.{name}.weight"), shape.to_vec());
        add("final_layer_norm", &[width]);
        add("block.0.layer.0.SelfAttention.relative_attention_bias", &[32, heads]);
        for block in 0..layers {
            for (place, attention) in attentions.iter().enumerate() {
                add(&format!("block.{block}.layer.{place}.layer_norm"), &[width]);
                for product in ["q", "k", "v", "o"] {
                    add(&format!("block.{block}.layer.{place}.{attention}.{product}"), &[width, width]);
                }
            }
            let layer = format!("block.{block}.layer.{}", attentions.len());
            add(&format!("{layer}.layer_norm"), &[width]);
            add(&format!("{layer}.DenseReluDense.wi_0"), &[inner, width]);
            add(&format!("{layer}.DenseReluDense.wi_1"), &[inner, width]);
            add(&format!("{layer}.DenseReluDense.wo"), &[width, inner]);
        }
    }
    (config.to_string(), write(&shapes))
}

fn write(shapes: &Shapes) -> Vec<u8> {
    let mut end = 0;
    let entries = shapes.iter().map(|(name, shape)| {
        let begin = end;
        end += 4 * shape.iter().product::<u64>();
        (name.clone(), serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, end] }))
    });
    let header = serde_json::Value::Object(entries.collect()).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    let mut state = 1_u64;
    for _ in 0..end / 4 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        file.extend((((state >> 40) as f32 / 16_777_216.0 - 0.5) / 8.0).to_le_bytes());
    }
    file
}
