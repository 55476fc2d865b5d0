//! How a checkpoint says that its weights are quantized, and by which method.

use serde_json::Value as Json;

/// The keys under which configs say so: transformers, MLX, and compressed-tensors' older name.
const KEYS: [&str; 3] = ["quantization_config", "quantization", "compression_config"];

/// A quantization of a whole checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantization {
    /// The key of `config.json` that says so.
    pub key: &'static str,
    /// The method, e.g. `gptq`.
    pub method: String,
    /// Bits of a weight, where the config says so.
    pub bits: Option<u64>,
}

impl Quantization {
    /// What a `config.json` says; none where weights are stored as they are.
    pub fn of(config: &Json) -> Option<Self> {
        KEYS.into_iter().find_map(|key| Self::read(key, config.get(key)?))
    }

    fn read(key: &'static str, table: &Json) -> Option<Self> {
        let table = table.as_object().filter(|table| !table.is_empty())?;
        let flag = |name: &str| table.get(name).and_then(Json::as_bool) == Some(true);
        let text = |name: &str| table.get(name).and_then(Json::as_str).map(str::to_owned);
        let number = |name: &str| table.get(name).and_then(Json::as_u64);
        let bits =
            number("bits").or_else(|| number("w_bit")).or_else(|| number("nbits")).or(match (flag("load_in_4bit"), flag("load_in_8bit")) {
                (true, _) => Some(4),
                (_, true) => Some(8),
                _ => None,
            });
        let method = text("quant_method").or_else(|| text("quant_algo")).unwrap_or_else(|| match key {
            "quantization" => "mlx".to_owned(),
            "compression_config" => "compressed-tensors".to_owned(),
            _ if flag("load_in_4bit") || flag("load_in_8bit") => "bitsandbytes".to_owned(),
            _ => "unknown method".to_owned(),
        });
        Some(Self { key, method, bits })
    }

    /// Method and bits, e.g. `gptq, 4 bits`.
    pub fn describe(&self) -> String {
        match self.bits {
            Some(bits) => format!("{}, {bits} bits", self.method),
            None => self.method.clone(),
        }
    }
}
