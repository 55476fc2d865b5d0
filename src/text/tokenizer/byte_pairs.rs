//! `vocab.json` with `merges.txt`: byte pairs of GPT-2 and those who followed it, as the document that a
//! `tokenizer.json` is. The classes differ in how a text is cut into words and in what stands around it, which the
//! files themselves do not say.

use serde_json::{Map, Value as Json, json};

use super::Refusal;
use crate::text::settings::TokenizerSettings;

/// How a class cuts and frames texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Gpt2,
    Qwen2,
    /// `<s>` text `</s>`.
    Roberta,
    /// `[CLS]` text `[SEP]`.
    Deberta,
    /// Text `</s>`.
    Blenderbot,
    /// Words that end in `</w>`.
    Clip,
}

const STYLES: [(&str, Style); 12] = [
    ("GPT2Tokenizer", Style::Gpt2),
    ("CodeGenTokenizer", Style::Gpt2),
    ("Qwen2Tokenizer", Style::Qwen2),
    ("RobertaTokenizer", Style::Roberta),
    ("BartTokenizer", Style::Roberta),
    ("LongformerTokenizer", Style::Roberta),
    ("LEDTokenizer", Style::Roberta),
    ("MvpTokenizer", Style::Roberta),
    ("LayoutLMv3Tokenizer", Style::Roberta),
    ("DebertaTokenizer", Style::Deberta),
    ("BlenderbotTokenizer", Style::Blenderbot),
    ("CLIPTokenizer", Style::Clip),
];

const QWEN_WORDS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const CLIP_WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
const END: &str = "<|endoftext|>";
const WORD_END: &str = "</w>";

/// The document of a tokenizer that does the same.
pub(super) fn document(
    vocabulary: &Map<String, Json>,
    merges: &str,
    settings: &TokenizerSettings,
) -> Result<Json, Refusal> {
    let class = match settings.class() {
        Some(class) => class,
        None if vocabulary.contains_key(END) && !vocabulary.keys().any(|token| token.ends_with(WORD_END)) => {
            STYLES[0].0
        }
        None => return Err(Refusal::NoClass),
    };
    let Some((_, style)) = STYLES.iter().find(|(name, _)| *name == class) else {
        let known = STYLES.iter().map(|(name, _)| (*name).to_owned()).collect();
        return Err(Refusal::Class { class: class.to_owned(), known });
    };
    let pairs = merges
        .lines()
        .enumerate()
        .filter(|(index, line)| !line.trim().is_empty() && (*index != 0 || !line.starts_with("#version")));
    let pair = |(index, line): (usize, &str)| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        [left, right] => Ok(json!([left, right])),
        _ => Err(Refusal::Merge { line: index + 1, found: line.to_owned() }),
    };
    let pairs: Vec<Json> = pairs.map(pair).collect::<Result<_, _>>()?;
    let role = |role: &'static str| -> Result<(String, u64), Refusal> {
        let token = settings.role_of(role, Some(class)).ok_or(Refusal::Role { role })?;
        let added = settings.added.iter().find(|(_, added)| added.content == token.content).map(|(&id, _)| id.into());
        let id = added.or_else(|| vocabulary.get(&token.content).and_then(Json::as_u64));
        Ok((token.content.clone(), id.ok_or_else(|| Refusal::Token { token: token.content, role })?))
    };
    let blank = settings.flag("add_prefix_space").unwrap_or(false);
    let bytes = |prefix: bool, words: bool| json!({ "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": false, "use_regex": words });
    let split = |words: &str, behavior: &str, invert: bool| json!({ "type": "Split", "pattern": { "Regex": words }, "behavior": behavior, "invert": invert });
    let (normalizer, words) = match style {
        Style::Qwen2 => (
            json!({ "type": "NFC" }),
            json!({ "type": "Sequence", "pretokenizers": [split(QWEN_WORDS, "Isolated", false), bytes(blank, false)] }),
        ),
        Style::Clip => (
            json!({ "type": "Sequence", "normalizers": [
                { "type": "NFC" }, { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " }, { "type": "Lowercase" },
            ] }),
            json!({ "type": "Sequence", "pretokenizers": [split(CLIP_WORDS, "Removed", true), bytes(false, true)] }),
        ),
        _ => (Json::Null, bytes(blank, true)),
    };
    let frame = match style {
        Style::Gpt2 if settings.flag("add_bos_token") == Some(true) => framed(Some(role("bos_token")?), None),
        Style::Gpt2 | Style::Qwen2 => bytes(true, true),
        Style::Roberta | Style::Deberta => framed(Some(role("cls_token")?), Some(role("sep_token")?)),
        Style::Clip => framed(Some(role("bos_token")?), Some(role("eos_token")?)),
        Style::Blenderbot => framed(None, Some(role("eos_token")?)),
    };
    let unknown = match style {
        Style::Clip => Json::from(role("unk_token")?.0),
        _ => Json::Null,
    };
    Ok(json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": normalizer,
        "pre_tokenizer": words,
        "post_processor": frame,
        "decoder": bytes(true, true),
        "model": {
            "type": "BPE",
            "unk_token": unknown,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": if *style == Style::Clip { WORD_END } else { "" },
            "fuse_unk": false,
            "byte_fallback": false,
            "vocab": vocabulary,
            "merges": pairs,
        },
    }))
}

/// A frame of special tokens around a text.
pub(super) fn framed(first: Option<(String, u64)>, last: Option<(String, u64)>) -> Json {
    let mut single = vec![json!({ "Sequence": { "id": "A", "type_id": 0 } })];
    let mut special = Map::new();
    for (place, token) in [(0, &first), (1 + usize::from(first.is_some()), &last)] {
        if let Some((token, id)) = token {
            single.insert(place, json!({ "SpecialToken": { "id": token, "type_id": 0 } }));
            special.insert(token.clone(), json!({ "id": token, "ids": [id], "tokens": [token] }));
        }
    }
    let pair = [json!({ "Sequence": { "id": "A", "type_id": 0 } }), json!({ "Sequence": { "id": "B", "type_id": 0 } })];
    json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special })
}
