//! A made-up checkpoint of an image decoder, for benchmarks.

use std::collections::BTreeMap;

/// A safetensors file of a decoder in the layout of diffusers: three blocks, upsampling and a convolution per resolution, one last block.
pub fn checkpoint(width: u64, latent: u64) -> Vec<u8> {
    let mut shapes: BTreeMap<String, Vec<u64>> = BTreeMap::new();
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

fn write(shapes: &BTreeMap<String, Vec<u64>>) -> Vec<u8> {
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
