//! Sentencepiece models (`spiece.model`; google/sentencepiece, `sentencepiece_model.proto`) of kind unigram, as the document that a
//! `tokenizer.json` is.
//!
//! The normalizer's table, the prefix and the treatment of spaces are taken over; pieces that the user defined are found before anything else.

use prost::Message;
use serde_json::{Value as Json, json};

const UNIGRAM: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
/// What sentencepiece writes for a space.
const SPACE: &str = "\u{2581}";

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Trainer {
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
    #[prost(bool, optional, tag = "35")]
    byte_fallback: Option<bool>,
    #[prost(int32, optional, tag = "40")]
    unknown: Option<i32>,
    #[prost(int32, optional, tag = "42")]
    end: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Normalizer {
    #[prost(bytes = "vec", optional, tag = "2")]
    table: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3")]
    prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    single_spaces: Option<bool>,
}

/// Why bytes are no such model.
#[derive(Debug)]
pub(super) enum Refusal {
    Form(prost::DecodeError),
    Kind(i32),
}

/// The document of a tokenizer that does the same. A text gets the end token behind it where special tokens are asked for.
pub(super) fn document(bytes: &[u8]) -> Result<Json, Refusal> {
    let model = Model::decode(bytes).map_err(Refusal::Form)?;
    let trainer = model.trainer.clone().unwrap_or_default();
    match trainer.kind.unwrap_or(UNIGRAM) {
        UNIGRAM => {}
        kind => return Err(Refusal::Kind(kind)),
    }
    let text = |piece: &Piece| piece.text.clone().unwrap_or_default();
    let vocabulary: Vec<Json> = model.pieces.iter().map(|piece| json!([text(piece), piece.score.unwrap_or(0.0)])).collect();
    let byte_fallback = trainer.byte_fallback.unwrap_or(false);
    let end = trainer.end.unwrap_or(2);
    let end = usize::try_from(end).ok().and_then(|id| Some((id, text(model.pieces.get(id)?))));
    Ok(json!({
        "version": "1.0",
        "added_tokens": added(&model.pieces),
        "normalizer": normalizer(&model.normalizer.unwrap_or_default()),
        "pre_tokenizer": null,
        "post_processor": end.map(|(id, token)| json!({
            "type": "TemplateProcessing",
            "single": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "SpecialToken": { "id": token, "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
            "special_tokens": { token.clone(): { "id": token, "ids": [id], "tokens": [token] } },
        })),
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "ByteFallback" },
            { "type": "Replace", "pattern": { "String": SPACE }, "content": " " },
            { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
        ] },
        "model": {
            "type": "Unigram",
            "unk_id": trainer.unknown.unwrap_or(0),
            "vocab": vocabulary,
            "byte_fallback": byte_fallback,
        },
    }))
}

/// Pieces that are never made from smaller ones.
fn added(pieces: &[Piece]) -> Vec<Json> {
    let token = |(id, piece): (usize, &Piece)| {
        let kind = piece.kind.filter(|kind| matches!(*kind, CONTROL | USER_DEFINED))?;
        Some(json!({
            "id": id, "content": piece.text.clone().unwrap_or_default(), "special": kind == CONTROL,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        }))
    };
    pieces.iter().enumerate().filter_map(token).collect()
}

fn normalizer(settings: &Normalizer) -> Json {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    let mut steps = Vec::new();
    if let Some(table) = settings.table.as_ref().filter(|table| !table.is_empty()) {
        steps.push(json!({ "type": "Precompiled", "precompiled_charsmap": BASE64.encode(table) }));
    }
    if settings.single_spaces.unwrap_or(true) {
        steps.push(json!({ "type": "Strip", "strip_left": true, "strip_right": true }));
        steps.push(json!({ "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": " " }));
    }
    if settings.prefix.unwrap_or(true) {
        steps.push(json!({ "type": "Prepend", "prepend": SPACE }));
    }
    steps.push(json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE }));
    json!({ "type": "Sequence", "normalizers": steps })
}
