//! A tokenizer: a `tokenizer.json` of Hugging Face's tokenizers, or a sentencepiece model.

use std::{fs, path::Path};

use super::{
    TextError,
    sentencepiece::{self, Refusal},
};

/// Makes tokens from text, and text from tokens.
#[derive(Debug)]
pub struct Tokenizer(tokenizers::Tokenizer);

impl Tokenizer {
    /// Whether a file of that name may be a tokenizer: `tokenizer.json`, or anything that ends in `.model`.
    pub fn is_one(file_name: &str) -> bool {
        file_name == "tokenizer.json" || file_name.ends_with(".model")
    }

    /// Reads a tokenizer; a file whose name ends in `.json` is a `tokenizer.json`, everything else a sentencepiece model.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        let bytes = fs::read(path).map_err(|source| TextError::Io { path: path.to_owned(), source })?;
        Self::read(path, &bytes, is_json)
    }

    /// Reads a tokenizer that lies anywhere; `name` is the file's in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(name: &Path, bytes: &[u8], is_json: bool) -> Result<Self, TextError> {
        let form = |source| TextError::Form { path: name.to_owned(), source };
        if is_json {
            return tokenizers::Tokenizer::from_bytes(bytes).map_err(form).and_then(|tokenizer| Self::new(tokenizer).map_err(form));
        }
        let document = sentencepiece::document(bytes).map_err(|refusal| match refusal {
            Refusal::Form(source) => form(Box::new(source)),
            Refusal::Kind(found) => TextError::Kind { path: name.to_owned(), found },
        })?;
        tokenizers::Tokenizer::from_bytes(document.to_string()).map(Self).map_err(form)
    }

    /// Without the padding and the longest length that a document may ask for: programs have their own.
    fn new(mut tokenizer: tokenizers::Tokenizer) -> tokenizers::Result<Self> {
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None)?;
        Ok(Self(tokenizer))
    }

    /// The tokens of a text, with the special ones that stand around a text where `special` says so.
    ///
    /// # Errors
    /// When the tokenizer cannot take the text.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TextError> {
        let encoding = self.0.encode(text, special).map_err(TextError::Tokenizer)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of tokens, without special ones.
    ///
    /// # Errors
    /// When the tokenizer cannot take them.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        self.0.decode(ids, true).map_err(TextError::Tokenizer)
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.0.token_to_id(token)
    }

    /// The id of a token that must be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn need(&self, token: &str) -> Result<u32, TextError> {
        self.id(token).ok_or_else(|| TextError::NoToken { token: token.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
    }

    fn probes(folder: &str) -> Vec<(String, Vec<u32>)> {
        let text = fs::read_to_string(fixture(folder).join("golden_tokens.json")).unwrap();
        let probes: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let ids = |probe: &serde_json::Value| probe["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        probes.iter().map(|probe| (probe["text"].as_str().unwrap().to_owned(), ids(probe))).collect()
    }

    #[test]
    fn sentencepiece_models_give_the_tokens_of_their_library() {
        for file in ["t5/v10_tied/tokenizer.json", "t5/v10_tied/spiece.model", "t5/overflow/spiece.model"] {
            let tokenizer = Tokenizer::open(&fixture(file)).unwrap();
            for (text, ids) in probes(file.rsplit_once('/').unwrap().0) {
                assert_eq!(tokenizer.encode(&text, true).unwrap(), ids, "{text} by {file}");
            }
        }
    }

    #[test]
    fn normalizing_tables_are_taken_over() {
        let tokenizer = Tokenizer::open(&fixture("lingolite/tied/translation_tokenizer.model")).unwrap();
        for (text, ids) in probes("lingolite/tied") {
            let own = tokenizer.encode(&text, false).unwrap();
            assert_eq!(own, ids[2..ids.len() - 3], "{text}");
        }
        let text = "Translate English to German: the weather is nice today.";
        let back = tokenizer.decode(&tokenizer.encode(text, true).unwrap()).unwrap();
        assert_eq!(back.to_lowercase().replace('\u{2047}', ""), text.to_lowercase());
    }

    #[test]
    fn padding_is_not_the_tokenizers_business() {
        let text = fs::read_to_string(fixture("t5/v10_tied/tokenizer.json")).unwrap();
        let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
        document["padding"] = serde_json::json!({
            "strategy": { "Fixed": 40 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"
        });
        document["truncation"] = serde_json::json!({ "max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right" });
        let tokenizer = Tokenizer::read(Path::new("x"), document.to_string().as_bytes(), true).unwrap();
        let (text, ids) = probes("t5/v10_tied").remove(0);
        assert_eq!(tokenizer.encode(&text, true).unwrap(), ids);
    }

    #[test]
    fn what_is_no_tokenizer_is_refused() {
        for (bytes, is_json) in [(&b"{}"[..], true), (&b"\xff\xff"[..], false), (&b"[]"[..], true), (&b""[..], false)] {
            let error = Tokenizer::read(Path::new("x"), bytes, is_json).unwrap_err();
            assert_eq!(error.to_string(), "`x` is no tokenizer that mlreg reads");
        }
        let bpe = Tokenizer::read(Path::new("x"), &[0x12, 2, 0x18, 2], false).unwrap_err();
        assert_eq!(bpe.to_string(), "`x` is a sentencepiece model of kind 2, expected unigram");
    }
}
