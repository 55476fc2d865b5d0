//! Sentencepiece models (`spiece.model`, `tokenizer.model`; google/sentencepiece, `sentencepiece_model.proto`) of the
//! kinds unigram and BPE.
//!
//! The search for pieces is that of the tokenizers library, on a document that has the same pieces. What comes before
//! it is done here, as the library of sentencepiece does it: special tokens are cut out, the normalizer's table and the
//! treatment of spaces are applied, and the prefix is put before each part. Ids of classes that shift them (XLM-R) are
//! shifted.

use prost::Message;
use regex::Regex;
use serde_json::{Map, Value as Json, json};
use tokenizers::{NormalizedString, Normalizer as _, NormalizerWrapper};

use super::Refusal;
use crate::text::settings::{AddedToken, TokenizerSettings};

const UNIGRAM: i32 = 1;
const BPE: i32 = 2;
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
/// What sentencepiece writes for a space.
const SPACE: &str = "\u{2581}";

/// Classes that frame a text as `add_bos_token` and `add_eos_token` say.
const FLAGGED: [&str; 4] = ["LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "Phi3Tokenizer"];
const T5: &str = "T5Tokenizer";
const XLM_ROBERTA: &str = "XLMRobertaTokenizer";
/// The file name of classes that shift ids.
const SHIFTED_FILE: &str = "sentencepiece.bpe.model";

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

impl Piece {
    fn new(text: &str, kind: i32) -> Self {
        Self { text: Some(text.to_owned()), score: Some(0.0), kind: Some(kind) }
    }

    fn form(&self) -> i32 {
        self.kind.unwrap_or(NORMAL)
    }
}

#[derive(Clone, PartialEq, Message)]
struct Trainer {
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    space_as_suffix: Option<bool>,
    #[prost(bool, optional, tag = "35")]
    byte_fallback: Option<bool>,
    #[prost(int32, optional, tag = "40")]
    unknown: Option<i32>,
    #[prost(int32, optional, tag = "41")]
    begin: Option<i32>,
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
    #[prost(bool, optional, tag = "5")]
    escaped_spaces: Option<bool>,
}

/// Where a text gets a space before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Nowhere,
    /// Before the text, unless it begins with a space or a special token.
    First,
    /// Before every part between special tokens.
    Each,
}

/// A model as the tokenizers library takes it, and what is done around that.
#[derive(Debug)]
pub(super) struct Pieces {
    /// The document; its added tokens are pieces that are never made from smaller ones.
    pub(super) document: Json,
    /// Tokens that the model's files do not have, in the order of their ids.
    pub(super) more: Vec<AddedToken>,
    normalizer: NormalizerWrapper,
    prefix: Prefix,
    /// Ids before and behind a text.
    pub(super) frame: (Vec<u32>, Vec<u32>),
}

/// Reads a model; `name` is its file's.
pub(super) fn read(name: &str, bytes: &[u8], settings: &TokenizerSettings) -> Result<Pieces, Refusal> {
    let model = Model::decode(bytes).map_err(|source| Refusal::Form(Box::new(source)))?;
    let trainer = model.trainer.clone().unwrap_or_default();
    let normalizer = model.normalizer.clone().unwrap_or_default();
    let kind = trainer.kind.unwrap_or(UNIGRAM);
    if model.pieces.is_empty() {
        return Err(Refusal::NoPieces);
    }
    if !matches!(kind, UNIGRAM | BPE) {
        return Err(Refusal::Kind(kind));
    }
    let unsupported = [
        (trainer.space_as_suffix == Some(true), "treat_whitespace_as_suffix", "true", "false"),
        (normalizer.escaped_spaces == Some(false), "escape_whitespaces", "false", "true"),
    ];
    if let Some((_, key, found, expected)) = unsupported.into_iter().find(|(is, ..)| *is) {
        return Err(Refusal::Setting { key: key.to_owned(), found: found.to_owned(), expected });
    }
    if let Some(piece) = model.pieces.iter().find(|piece| piece.form() == UNUSED) {
        return Err(Refusal::Unused { piece: piece.text.clone().unwrap_or_default() });
    }
    let class = settings.class();
    let known = || FLAGGED.iter().chain(&[T5, XLM_ROBERTA]).map(|&class| class.to_owned()).collect();
    match class {
        Some(class) if !FLAGGED.contains(&class) && ![T5, XLM_ROBERTA].contains(&class) => {
            return Err(Refusal::Class { class: class.to_owned(), known: known() });
        }
        None if name == SHIFTED_FILE => return Err(Refusal::NoClass),
        _ => {}
    }
    let shifted = class == Some(XLM_ROBERTA);
    let unknown = if shifted { 3 } else { usize::try_from(trainer.unknown.unwrap_or(0)).unwrap_or(0) };
    let pieces = if shifted { shift(&model.pieces) } else { model.pieces };
    let vocabulary = Vocabulary { pieces: &pieces, unknown, byte_fallback: trainer.byte_fallback.unwrap_or(false) };
    let has_prefix = normalizer.prefix.unwrap_or(true) && settings.flag("add_prefix_space") != Some(false);
    let prefix = match (has_prefix, settings.flag("legacy")) {
        (false, _) => Prefix::Nowhere,
        (true, Some(false)) => Prefix::First,
        (true, _) => Prefix::Each,
    };
    let frame = vocabulary.frame(class, kind, &trainer, settings)?;
    let extra = settings.get("extra_ids").and_then(Json::as_u64).unwrap_or(100).min(10_000);
    let extra = (0..extra).rev().map(|id| AddedToken::special(&format!("<extra_id_{id}>")));
    let steps = steps(&normalizer).to_string();
    Ok(Pieces {
        document: vocabulary.document(kind, has_prefix),
        more: extra.filter(|_| class == Some(T5)).collect(),
        normalizer: serde_json::from_str(&steps).map_err(|source| Refusal::Form(Box::new(source)))?,
        prefix,
        frame,
    })
}

/// The pieces of XLM-R, whose first ids are fairseq's.
fn shift(pieces: &[Piece]) -> Vec<Piece> {
    let first = ["<s>", "<pad>", "</s>", "<unk>"].map(|text| Piece::new(text, CONTROL));
    let rest = pieces.iter().skip(3).cloned();
    first.into_iter().chain(rest).chain([Piece::new("<mask>", CONTROL)]).collect()
}

struct Vocabulary<'a> {
    pieces: &'a [Piece],
    unknown: usize,
    byte_fallback: bool,
}

impl Vocabulary<'_> {
    fn text(&self, id: usize) -> &str {
        self.pieces.get(id).and_then(|piece| piece.text.as_deref()).unwrap_or_default()
    }

    fn document(&self, kind: i32, has_prefix: bool) -> Json {
        let mut decoders = vec![
            json!({ "type": "ByteFallback" }),
            json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
            json!({ "type": "Fuse" }),
        ];
        decoders.extend(has_prefix.then(|| json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 })));
        let special = |piece: &Piece| matches!(piece.form(), CONTROL | USER_DEFINED);
        let added = self.pieces.iter().enumerate().filter(|(_, piece)| special(piece) && !piece.text().is_empty());
        let added: Vec<Json> = added
            .map(|(id, piece)| {
                AddedToken { special: piece.form() == CONTROL, ..AddedToken::special(piece.text()) }.document(id)
            })
            .collect();
        json!({
            "version": "1.0",
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": null,
            "post_processor": null,
            "decoder": { "type": "Sequence", "decoders": decoders },
            "model": if kind == BPE { self.pairs() } else { self.unigram() },
        })
    }

    fn unigram(&self) -> Json {
        let pieces = self.pieces.iter().map(|piece| json!([piece.text(), piece.score.unwrap_or(0.0)]));
        json!({
            "type": "Unigram", "unk_id": self.unknown, "byte_fallback": self.byte_fallback, "vocab": pieces.collect::<Vec<_>>(),
        })
    }

    /// Pieces as merges: the higher its score, the sooner a piece is made, of whichever two that there are.
    fn pairs(&self) -> Json {
        let mut ids: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
        for (id, piece) in self.pieces.iter().enumerate() {
            ids.entry(piece.text()).or_insert(id);
        }
        let is_made = |text: &str| ids.get(text).filter(|&&id| self.pieces[id].form() == NORMAL).copied();
        // (score, letters left, letters right, left, right)
        let mut merges: Vec<(f32, usize, usize, &str, &str)> = Vec::new();
        for piece in self.pieces.iter().filter(|piece| piece.form() == NORMAL) {
            let text = piece.text();
            let letters = text.chars().count();
            let places = text.char_indices().enumerate().skip(1);
            let mut own: Vec<_> = places
                .filter_map(|(count, (at, _))| {
                    let (left, right) = text.split_at(at);
                    Some((
                        (is_made(left)?, is_made(right)?),
                        (piece.score.unwrap_or(0.0), count, letters - count, left, right),
                    ))
                })
                .collect();
            own.sort_by_key(|(order, _)| *order);
            merges.extend(own.into_iter().map(|(_, merge)| merge));
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((b.1, b.2).cmp(&(a.1, a.2))));
        let vocabulary: Map<String, Json> = ids.iter().map(|(text, &id)| ((*text).to_owned(), json!(id))).collect();
        json!({
            "type": "BPE",
            "unk_token": self.text(self.unknown),
            "fuse_unk": true,
            "byte_fallback": self.byte_fallback,
            "vocab": vocabulary,
            "merges": merges.into_iter().map(|(_, _, _, left, right)| json!([left, right])).collect::<Vec<_>>(),
        })
    }

    /// What stands before and behind a text where special tokens are asked for.
    fn frame(
        &self,
        class: Option<&str>,
        kind: i32,
        trainer: &Trainer,
        settings: &TokenizerSettings,
    ) -> Result<(Vec<u32>, Vec<u32>), Refusal> {
        let own = |id: Option<i32>, default: i32| {
            let id = usize::try_from(id.unwrap_or(default)).ok().filter(|&id| !self.text(id).is_empty())?;
            u32::try_from(id).ok()
        };
        let role = |role: &'static str, own: Option<u32>| {
            let Some(token) = settings.role(role) else { return own.ok_or(Refusal::Role { role }) };
            let listed = settings.added.iter().find(|(_, added)| added.content == token.content).map(|(&id, _)| id);
            let found = || {
                self.pieces.iter().position(|piece| piece.text() == token.content).and_then(|id| u32::try_from(id).ok())
            };
            listed.or_else(found).ok_or(Refusal::Token { token: token.content, role })
        };
        let (begin, end) = (own(trainer.begin, 1), own(trainer.end, 2));
        Ok(match class {
            Some(XLM_ROBERTA) => (vec![role("cls_token", None)?], vec![role("sep_token", None)?]),
            Some(T5) => (Vec::new(), vec![role("eos_token", end)?]),
            None if kind == UNIGRAM && settings.get("add_bos_token").or(settings.get("add_eos_token")).is_none() => {
                (Vec::new(), end.into_iter().collect())
            }
            _ => {
                let has_begin = settings.flag("add_bos_token").unwrap_or(true);
                let has_end = settings.flag("add_eos_token").unwrap_or(false);
                let wanted = |wanted: bool, name, id| wanted.then(|| role(name, id)).transpose();
                (
                    wanted(has_begin, "bos_token", begin)?.into_iter().collect(),
                    wanted(has_end, "eos_token", end)?.into_iter().collect(),
                )
            }
        })
    }
}

/// The steps of the normalizer, all but the prefix.
fn steps(settings: &Normalizer) -> Json {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    let mut steps = Vec::new();
    if let Some(table) = settings.table.as_ref().filter(|table| !table.is_empty()) {
        steps.push(json!({ "type": "Precompiled", "precompiled_charsmap": BASE64.encode(table) }));
    }
    if settings.single_spaces.unwrap_or(true) {
        steps.push(json!({ "type": "Replace", "pattern": { "Regex": "^ +| +$" }, "content": "" }));
        steps.push(json!({ "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": " " }));
    }
    steps.push(json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE }));
    json!({ "type": "Sequence", "normalizers": steps })
}

impl Pieces {
    /// A part of a text between special tokens as the search takes it.
    pub(super) fn prepared(&self, part: &str, is_first: bool) -> tokenizers::Result<String> {
        let mut normalized = NormalizedString::from(part);
        self.normalizer.normalize(&mut normalized)?;
        let text = normalized.get();
        let has_prefix = match self.prefix {
            Prefix::Nowhere => false,
            Prefix::First => is_first && !text.starts_with(SPACE),
            Prefix::Each => true,
        };
        Ok(if has_prefix && !text.is_empty() { format!("{SPACE}{text}") } else { text.to_owned() })
    }
}

/// Tokens that are found before anything else is done with a text.
#[derive(Debug)]
pub(super) struct Cutter {
    pattern: Option<Regex>,
    tokens: std::collections::HashMap<String, (AddedToken, u32)>,
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Text(&'a str),
    Token(u32),
}

impl Cutter {
    pub(super) fn new(tokens: Vec<(AddedToken, u32)>) -> Result<Self, Refusal> {
        let mut contents: Vec<&str> =
            tokens.iter().map(|(token, _)| token.content.as_str()).filter(|it| !it.is_empty()).collect();
        // Of those that begin alike the longest is meant.
        contents.sort_by_key(|content| std::cmp::Reverse(content.len()));
        let pattern = contents.iter().map(|content| regex::escape(content)).collect::<Vec<_>>().join("|");
        let pattern =
            (!pattern.is_empty()).then(|| regex::RegexBuilder::new(&pattern).size_limit(1 << 28).build()).transpose();
        let pattern = pattern.map_err(|source| Refusal::Form(Box::new(source)))?;
        Ok(Self {
            pattern,
            tokens: tokens.into_iter().map(|(token, id)| (token.content.clone(), (token, id))).collect(),
        })
    }

    /// The text in parts.
    pub(super) fn cut<'a>(&self, text: &'a str) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        let (mut done, mut at) = (0, 0);
        while let Some(found) = self.pattern.as_ref().and_then(|pattern| pattern.find_at(text, at)) {
            let (token, id) = &self.tokens[found.as_str()];
            let is_word = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
            let (before, after) = (&text[..found.start()], &text[found.end()..]);
            if token.single_word && (is_word(before.chars().next_back()) || is_word(after.chars().next())) {
                at = found.start() + found.as_str().chars().next().map_or(1, char::len_utf8);
                continue;
            }
            let before = &text[done..found.start()];
            let before = if token.lstrip { before.trim_end() } else { before };
            parts.extend((!before.is_empty()).then_some(Part::Text(before)));
            parts.push(Part::Token(*id));
            done = if token.rstrip { text.len() - after.trim_start().len() } else { found.end() };
            at = done;
        }
        parts.extend((done < text.len()).then(|| Part::Text(&text[done..])));
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_tokens_are_cut_out_as_their_flags_say() {
        let token = |content: &str| AddedToken::special(content);
        let tokens = vec![
            (token("<s>"), 1),
            (token("<s>x"), 2),
            (AddedToken { lstrip: true, rstrip: true, ..token("<m>") }, 3),
            (AddedToken { single_word: true, ..token("ab") }, 4),
        ];
        let cutter = Cutter::new(tokens).unwrap();
        use Part::{Text, Token};
        assert_eq!(cutter.cut("a<s>x b <m> c"), [Text("a"), Token(2), Text(" b"), Token(3), Text("c")]);
        assert_eq!(cutter.cut("<s><s>"), [Token(1), Token(1)]);
        assert_eq!(cutter.cut("cab ab"), [Text("cab "), Token(4)]);
        assert_eq!(cutter.cut(""), []);
        assert_eq!(Cutter::new(Vec::new()).unwrap().cut("<s>"), [Text("<s>")]);
    }
}
