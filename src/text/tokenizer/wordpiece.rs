//! `vocab.txt`: WordPiece behind BERT's basic tokenizer, as the document that a `tokenizer.json` is.

use serde_json::{Map, Value as Json, json};

use super::Refusal;
use crate::text::settings::TokenizerSettings;

/// Classes that are BERT's tokenizer under another name.
pub(in crate::text) const BERT_CLASSES: [&str; 15] = [
    "BertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "MobileBertTokenizer",
    "ConvBertTokenizer",
    "SqueezeBertTokenizer",
    "RetriBertTokenizer",
    "RealmTokenizer",
    "LxmertTokenizer",
    "LayoutLMTokenizer",
    "LayoutLMv2Tokenizer",
    "DPRReaderTokenizer",
    "DPRQuestionEncoderTokenizer",
    "DPRContextEncoderTokenizer",
    "TinyBertTokenizer",
];
/// The class with `<s>` and `</s>` around a text.
const MPNET: &str = "MPNetTokenizer";

/// The document of a tokenizer that does the same.
pub(super) fn document(text: &str, settings: &TokenizerSettings) -> Result<Json, Refusal> {
    let class = settings.class().unwrap_or(BERT_CLASSES[0]);
    if class != MPNET && !BERT_CLASSES.contains(&class) {
        let known = BERT_CLASSES.iter().chain([&MPNET]).map(|&class| class.to_owned()).collect();
        return Err(Refusal::Class { class: class.to_owned(), known });
    }
    let mut vocabulary = Map::new();
    for (id, token) in text.lines().enumerate() {
        vocabulary.insert(token.to_owned(), json!(id));
    }
    if settings.flag("do_basic_tokenize") == Some(false) {
        return Err(Refusal::Setting {
            key: "do_basic_tokenize".to_owned(),
            found: "false".to_owned(),
            expected: "true",
        });
    }
    let special = settings.special_of(Some(class));
    let kept = settings.get("never_split").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
    if let Some(word) = kept.into_iter().find(|word| !special.iter().any(|token| token.content == *word)) {
        return Err(Refusal::Setting {
            key: "never_split".to_owned(),
            found: word.to_owned(),
            expected: "special tokens",
        });
    }
    let role = |role: &'static str| -> Result<(String, u64), Refusal> {
        let token = settings.role_of(role, Some(class)).ok_or(Refusal::Role { role })?;
        let id = vocabulary.get(&token.content).and_then(Json::as_u64);
        Ok((token.content.clone(), id.ok_or_else(|| Refusal::Token { token: token.content, role })?))
    };
    let [(unknown, _), (first, first_id), (last, last_id)] =
        [role("unk_token")?, role("cls_token")?, role("sep_token")?];
    let token = |token: &str, kind: u32| json!({ "SpecialToken": { "id": token, "type_id": kind } });
    let sequence = |name: &str, kind: u32| json!({ "Sequence": { "id": name, "type_id": kind } });
    let mut pair = vec![token(&first, 0), sequence("A", 0), token(&last, 0)];
    pair.extend((class == MPNET).then(|| token(&last, 0)));
    pair.extend([sequence("B", 1), token(&last, 1)]);
    let special_token =
        |token: &str, id: u64| (token.to_owned(), json!({ "id": token, "ids": [id], "tokens": [token] }));
    let prefix = settings.get("wordpieces_prefix").and_then(Json::as_str).unwrap_or("##");
    Ok(json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": settings.flag("tokenize_chinese_chars").unwrap_or(true),
            "strip_accents": settings.flag("strip_accents"),
            "lowercase": settings.flag("do_lower_case").unwrap_or(true),
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [token(&first, 0), sequence("A", 0), token(&last, 0)],
            "pair": pair,
            "special_tokens": Json::Object([special_token(&first, first_id), special_token(&last, last_id)].into_iter().collect()),
        },
        "decoder": { "type": "WordPiece", "prefix": prefix, "cleanup": true },
        "model": {
            "type": "WordPiece",
            "unk_token": unknown,
            "continuing_subword_prefix": prefix,
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    }))
}
