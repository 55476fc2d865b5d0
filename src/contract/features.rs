//! Names of the inputs, outputs, states and functions of the models that mlreg makes.

/// Token ids of a text: int32 `[1, sequence]`.
pub const INPUT_IDS: &str = "input_ids";
/// 1 for tokens, 0 for padding: int32 `[1, sequence]`.
pub const ATTENTION_MASK: &str = "attention_mask";
/// Segment of each token: int32 `[1, sequence]`.
pub const TOKEN_TYPE_IDS: &str = "token_type_ids";
/// Number of tokens before those of a call: int32 `[1]`. Only cached decoders have it.
pub const POSITION: &str = "position";

/// Activations between chunks of a model, or what an encoder computes: float `[1, sequence, width]`.
pub const HIDDEN_STATES: &str = "hidden_states";
/// Output name of a middle chunk, whose input is already called [`HIDDEN_STATES`].
pub const HIDDEN_STATES_OUT: &str = "hidden_states_out";
/// Scores of next tokens `[1, rows, vocabulary]`, of labels `[1, labels]`, or of each token's labels `[1, sequence,
/// labels]`.
pub const LOGITS: &str = "logits";
/// Vector of every token: float `[1, sequence, width]`.
pub const LAST_HIDDEN_STATE: &str = "last_hidden_state";
/// Vector of a text: float `[1, width]`.
pub const SENTENCE_EMBEDDING: &str = "sentence_embedding";
/// Scores of every token to start an answer: float `[1, sequence]`.
pub const START_LOGITS: &str = "start_logits";
/// Scores of every token to end an answer: float `[1, sequence]`.
pub const END_LOGITS: &str = "end_logits";

/// Token ids that a translator's decoder reads: int32 `[1, sequence]`.
pub const DECODER_INPUT_IDS: &str = "decoder_input_ids";
/// 1 for tokens of the decoder, 0 for padding: int32 `[1, sequence]`.
pub const DECODER_ATTENTION_MASK: &str = "decoder_attention_mask";
/// Output of the encoder, as the decoder takes it: float `[1, encoder sequence, width]`.
pub const ENCODER_HIDDEN_STATES: &str = "encoder_hidden_states";
/// 1 for tokens of the encoder, 0 for padding: int32 `[1, encoder sequence]`.
pub const ENCODER_ATTENTION_MASK: &str = "encoder_attention_mask";

/// Keys of earlier tokens: float `[layers, 1, heads, slots, size]`.
pub const KEY_CACHE: &str = "key_cache";
/// Values of earlier tokens, in the shape of [`KEY_CACHE`].
pub const VALUE_CACHE: &str = "value_cache";
/// Keys of layers with a sliding window, as a ring of slots.
pub const WINDOW_KEY_CACHE: &str = "window_key_cache";
/// Values of layers with a sliding window, as a ring of slots.
pub const WINDOW_VALUE_CACHE: &str = "window_value_cache";
/// Keys of attention to the encoder, which do not change while a text is generated.
pub const CROSS_KEY_CACHE: &str = "cross_key_cache";
/// Values of attention to the encoder, which do not change while a text is generated.
pub const CROSS_VALUE_CACHE: &str = "cross_value_cache";

/// Picture that an autoencoder reads or writes.
pub const IMAGE: &str = "image";
/// Latent picture of an autoencoder.
pub const LATENT: &str = "latent";

/// Function that runs where none is named.
pub const MAIN_FUNCTION: &str = "main";
/// Function of a cached decoder that computes keys and values of attention to the encoder.
pub const CROSS_FUNCTION: &str = "cross";

const UPDATED: &str = "_out";

/// Whether a feature holds keys or values of earlier tokens.
pub fn is_cache(name: &str) -> bool {
    name.ends_with(KEY_CACHE) || name.ends_with(VALUE_CACHE)
}

/// Whether only a model that attends to an encoder has this input.
pub fn is_of_encoder(name: &str) -> bool {
    name.starts_with("encoder_") || name.starts_with("cross_")
}

/// The output that holds an input's value for the next call, e.g. `key_cache_out`.
pub fn updated(name: &str) -> String {
    format!("{name}{UPDATED}")
}

/// The input that takes this output at the next call; `None` for other outputs.
pub fn input_of_updated(name: &str) -> Option<&str> {
    name.strip_suffix(UPDATED).filter(|input| is_cache(input))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updated_caches_belong_to_their_inputs() {
        assert_eq!(input_of_updated(&updated(WINDOW_KEY_CACHE)), Some(WINDOW_KEY_CACHE));
        assert_eq!(input_of_updated(HIDDEN_STATES_OUT), None);
        assert_eq!(input_of_updated(LOGITS), None);
    }
}
