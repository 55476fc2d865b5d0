//! How a checkpoint says that its weights are quantized, and by which method.

use serde_json::{Map, Value as Json};

/// The keys under which configs say so: transformers, MLX, and compressed-tensors' older name.
const KEYS: [&str; 3] = ["quantization_config", "quantization", "compression_config"];

/// Methods whose weights are 8 bit floats.
const FLOAT_METHODS: [&str; 2] = ["fp8", "fbgemm_fp8"];
/// The method that can do much.
const PACKED: &str = "compressed-tensors";
/// Formats of it whose numbers stand there as they are, beside their scales.
const PLAIN_FORMATS: [&str; 2] = ["float-quantized", "naive-quantized"];

/// A quantization of a whole checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantization {
    /// The key of `config.json` that says so.
    pub key: &'static str,
    /// The method, e.g. `gptq`.
    pub method: String,
    /// Bits of a weight, where the config says so.
    pub bits: Option<u64>,
    /// Rows and columns of the blocks that have one scale.
    pub block: Option<[u64; 2]>,
    is_read: bool,
}

impl Quantization {
    /// What a `config.json` says; none where weights are stored as they are.
    pub fn of(config: &Json) -> Option<Self> {
        KEYS.into_iter().find_map(|key| Self::read(key, config.get(key)?))
    }

    fn read(key: &'static str, table: &Json) -> Option<Self> {
        let is_nothing = matches!(table, Json::Null | Json::Bool(false))
            || table.as_str() == Some("")
            || table.as_array().is_some_and(Vec::is_empty);
        let Some(table) = table.as_object() else {
            let method = table.as_str().unwrap_or("unknown method").chars().take(40).collect();
            return (!is_nothing).then_some(Self { key, method, bits: None, block: None, is_read: false });
        };
        if table.is_empty() {
            return None;
        }
        let flag = |name: &str| table.get(name).and_then(Json::as_bool) == Some(true);
        let text = |name: &str| table.get(name).and_then(Json::as_str).map(str::to_owned);
        let number = |name: &str| table.get(name).and_then(Json::as_u64);
        let bits = number("bits").or_else(|| number("w_bit")).or_else(|| number("nbits")).or(
            match (flag("load_in_4bit"), flag("load_in_8bit")) {
                (true, _) => Some(4),
                (_, true) => Some(8),
                _ => None,
            },
        );
        let method = text("quant_method").or_else(|| text("quant_algo")).unwrap_or_else(|| match key {
            "quantization" => "mlx".to_owned(),
            "compression_config" => PACKED.to_owned(),
            _ if flag("load_in_4bit") || flag("load_in_8bit") => "bitsandbytes".to_owned(),
            // MLX writes its table under both names.
            _ if table.contains_key("group_size") && table.contains_key("bits") => "mlx".to_owned(),
            _ => "unknown method".to_owned(),
        });
        let groups = table
            .get("config_groups")
            .and_then(Json::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(_, group)| group.get("weights"));
        let bits = bits.or_else(|| groups.clone().find_map(|weights| weights.get("num_bits")?.as_u64()));
        let is_float = groups.clone().count() > 0
            && groups.clone().all(|weights| weights.get("type").and_then(Json::as_str) == Some("float"));
        let size = |list: &Json| {
            <[u64; 2]>::try_from(list.as_array()?.iter().filter_map(Json::as_u64).collect::<Vec<_>>()).ok()
        };
        let block = table
            .get("weight_block_size")
            .and_then(size)
            .or_else(|| groups.clone().find_map(|weights| size(weights.get("block_structure")?)));
        let bits = bits.or_else(|| FLOAT_METHODS.contains(&method.as_str()).then_some(8));
        let bits = bits.or_else(|| (method == "mxfp4").then_some(4));
        let plain = text("format").is_none_or(|format| PLAIN_FORMATS.contains(&format.as_str()));
        // Rotations at run time, and weights of which zeros are left out.
        let is_empty = |value: &Json| value.is_null() || value.as_object().is_some_and(Map::is_empty);
        let is_dense = |value: &Json| value.get("format").and_then(Json::as_str) == Some("dense");
        let plain = plain
            && table.get("transform_config").is_none_or(is_empty)
            && table.get("sparsity_config").is_none_or(|value| is_empty(value) || is_dense(value));
        let is_read =
            plain && (FLOAT_METHODS.contains(&method.as_str()) || (method == PACKED && is_float && bits == Some(8)));
        Some(Self { key, method, bits, block, is_read })
    }

    /// Whether weights are 8 bit floats with scales beside them, which are read as the numbers that they stand for.
    pub fn is_read(&self) -> bool {
        self.is_read
    }

    /// Method and bits, e.g. `gptq, 4 bits`.
    pub fn describe(&self) -> String {
        match self.bits {
            Some(bits) => format!("{}, {bits} bits", self.method),
            None => self.method.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::arch::{self, Config, Documents};

    #[test]
    fn methods_are_named_with_their_bits() {
        let group = |kind: &str, bits: u64| json!({ "group_0": { "weights": { "num_bits": bits, "type": kind, "strategy": "channel" } } });
        for (key, table, expected, is_read) in [
            (
                "quantization_config",
                json!({ "quant_method": "gptq", "bits": 4, "group_size": 128 }),
                "gptq, 4 bits",
                false,
            ),
            (
                "quantization_config",
                json!({ "quant_method": "awq", "bits": 4, "version": "gemm" }),
                "awq, 4 bits",
                false,
            ),
            (
                "quantization_config",
                json!({ "quant_method": "bitsandbytes", "load_in_4bit": true }),
                "bitsandbytes, 4 bits",
                false,
            ),
            (
                "quantization_config",
                json!({ "load_in_8bit": true, "load_in_4bit": false }),
                "bitsandbytes, 8 bits",
                false,
            ),
            ("quantization_config", json!({ "quant_method": "hqq", "weight_quant_params": {} }), "hqq", false),
            ("quantization_config", json!({ "quant_method": "mxfp4" }), "mxfp4, 4 bits", false),
            (
                "quantization_config",
                json!({ "quant_method": "fp8", "weight_block_size": [128, 128] }),
                "fp8, 8 bits",
                true,
            ),
            ("quantization_config", json!({ "quant_method": "fbgemm_fp8" }), "fbgemm_fp8, 8 bits", true),
            (
                "quantization_config",
                json!({ "quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": group("float", 8) }),
                "compressed-tensors, 8 bits",
                true,
            ),
            (
                "quantization_config",
                json!({ "quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": group("int", 4) }),
                "compressed-tensors, 4 bits",
                false,
            ),
            (
                "compression_config",
                json!({ "format": "int-quantized", "config_groups": group("int", 8) }),
                "compressed-tensors, 8 bits",
                false,
            ),
            ("quantization", json!({ "group_size": 64, "bits": 4 }), "mlx, 4 bits", false),
            ("quantization_config", json!({ "group_size": 64, "bits": 8 }), "mlx, 8 bits", false),
            (
                "quantization_config",
                json!({ "quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": group("float", 8),
                    "transform_config": { "config_groups": { "R3": { "type": "hadamard" } } } }),
                "compressed-tensors, 8 bits",
                false,
            ),
            ("quantization_config", json!("gptq"), "gptq", false),
            ("quantization_config", json!(["x"]), "unknown method", false),
            ("quantization_config", json!({ "foo": 1 }), "unknown method", false),
        ] {
            let quantization = Quantization::of(&json!({ key: table })).unwrap();
            assert_eq!((quantization.describe().as_str(), quantization.is_read()), (expected, is_read), "{table}");
            let documents = Documents { config: Some(json!({ key: table })), ..Documents::default() };
            let result = Config::of(&documents, arch::find("llama").unwrap());
            let text = format!("the checkpoint is quantized ({expected}), as `{key}` of its config.json says");
            assert_eq!(result.err().map(|error| error.to_string()), (!is_read).then_some(text), "{table}");
            let ignored = Documents { ignored: [key.to_owned()].into(), ..documents };
            Config::of(&ignored, arch::find("llama").unwrap()).unwrap();
        }
        assert_eq!(Quantization::of(&json!({ "quantization_config": null, "quantization": {} })), None);
        let block = Quantization::of(
            &json!({ "quantization_config": { "quant_method": "fp8", "weight_block_size": [64, 128] } }),
        )
        .unwrap()
        .block;
        assert_eq!(block, Some([64, 128]));
    }
}
