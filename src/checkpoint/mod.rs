//! Reading Hugging Face-style checkpoints: safetensors (single and sharded), config.json, torch pickles.
