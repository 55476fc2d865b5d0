//! A tokenizer: a `tokenizer.json` of Hugging Face's tokenizers, or what older checkpoints have in its place. The
//! latter become the document that a `tokenizer.json` is, as transformers 4.57 converts them.
//!
//! | file | reads |
//! |---|---|
//! | `sentencepiece` | `*.model`: unigram and BPE |
//! | `byte_pairs` | `vocab.json` with `merges.txt` |
//! | `wordpiece` | `vocab.txt` |
//!
//! Which class of tokenizer the files belong to, and its flags, stand in `tokenizer_config.json` beside them.

mod byte_pairs;
mod refusal;
mod sentencepiece;
mod wordpiece;

use std::path::Path;

use serde_json::Value as Json;

pub use refusal::Refusal;
pub(super) use wordpiece::BERT_CLASSES;

use self::sentencepiece::{Cutter, Part, Pieces};
use super::{
    TextError, TokenizerFiles,
    settings::{AddedToken, CONFIG, TokenizerSettings},
};

const DOCUMENT: &str = "tokenizer.json";
const WORDS: &str = "vocab.txt";
const PAIRS: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const MODEL: &str = ".model";

/// Makes tokens from text, and text from tokens.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Of a sentencepiece model: what is done before the search for pieces.
    pieces: Option<(Pieces, Cutter)>,
}

/// What a file is.
enum Kind {
    Document,
    Pieces,
    Words,
    Pairs,
}

impl Tokenizer {
    /// Whether a file of that name is a tokenizer, or the part of one that others lie beside.
    pub fn is_one(file_name: &str) -> bool {
        [DOCUMENT, WORDS, PAIRS].contains(&file_name) || file_name.ends_with(MODEL)
    }

    /// Reads a tokenizer from a file and what lies beside it, or from a folder.
    ///
    /// # Errors
    /// When it cannot be read, or there is none.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        let files = TokenizerFiles::beside(path)?;
        Self::find(&files)?.ok_or_else(|| TextError::NoTokenizer { path: path.to_owned() })
    }

    /// The tokenizer among files: the one that the user named; else `tokenizer.json` before a sentencepiece model, byte
    /// pairs and words, where the class does not say which is meant. `None` where there is none.
    ///
    /// # Errors
    /// When it is damaged, or of a form that cannot be read.
    pub fn find(files: &TokenizerFiles) -> Result<Option<Self>, TextError> {
        let settings = TokenizerSettings::read(files)?;
        let names = || files.names().filter(|name| !name.contains('/'));
        let has = |wanted: &str| names().any(|name| name == wanted);
        let models = || {
            names()
                .filter(|name| name.ends_with(MODEL))
                .min_by_key(|name| (*name != "tokenizer.model", name.len(), *name))
        };
        let is_words = settings.class().is_some_and(|class| BERT_CLASSES.contains(&class));
        let (name, kind) = match files.named() {
            Some(name) => (name, kind_of(files, name)?),
            None if has(DOCUMENT) => (DOCUMENT, Kind::Document),
            None if is_words && has(WORDS) => (WORDS, Kind::Words),
            None => match models() {
                Some(name) => (name, kind_of(files, name)?),
                None if has(PAIRS) && has(MERGES) => (PAIRS, Kind::Pairs),
                None if has(WORDS) => (WORDS, Kind::Words),
                None if has(PAIRS) => return Err(files.form(PAIRS, format!("expected `{MERGES}` beside it"))),
                None => return Ok(None),
            },
        };
        let refused = |source: Refusal| TextError::Refused { path: files.shown(name), source };
        let form = |source: tokenizers::Error| files.form(name, source);
        let load = |document: &Json| tokenizers::Tokenizer::from_bytes(document.to_string()).map_err(form);
        let tokenizer = match kind {
            Kind::Document => {
                let bytes = files.read(name)?.unwrap_or_default();
                let mut tokenizer = tokenizers::Tokenizer::from_bytes(&bytes).and_then(Self::new).map_err(form)?;
                if let Some(frame) = frame(&tokenizer.inner, &settings).map_err(refused)? {
                    let frame = serde_json::from_str::<tokenizers::PostProcessorWrapper>(&frame.to_string());
                    tokenizer.inner.with_post_processor(Some(frame.map_err(|source| files.form(name, source))?));
                }
                return Ok(Some(tokenizer));
            }
            Kind::Words => {
                let text = files.text(name)?.unwrap_or_default();
                let mut inner = load(&wordpiece::document(&text, &settings).map_err(refused)?)?;
                let class = settings.class().unwrap_or(BERT_CLASSES[0]);
                add(&mut inner, &settings, settings.special_of(Some(class))).map_err(refused)?;
                Self { inner, pieces: None }
            }
            Kind::Pairs => {
                let vocabulary = files.json(PAIRS)?.and_then(|document| document.as_object().cloned());
                let vocabulary = vocabulary.ok_or_else(|| {
                    files.form(name, format!("expected `{PAIRS}` with an object of tokens and ids beside it"))
                })?;
                let merges =
                    files.text(MERGES)?.ok_or_else(|| files.form(name, format!("expected `{MERGES}` beside it")))?;
                let mut inner = load(&byte_pairs::document(&vocabulary, &merges, &settings).map_err(refused)?)?;
                let class = settings.class().unwrap_or("GPT2Tokenizer");
                add(&mut inner, &settings, settings.special_of(Some(class))).map_err(refused)?;
                Self { inner, pieces: None }
            }
            Kind::Pieces => {
                let bytes = files.read(name)?.unwrap_or_default();
                let mut pieces = sentencepiece::read(name, &bytes, &settings).map_err(refused)?;
                let mut inner = load(&pieces.document)?;
                // It is large, and everything that it says is in the tokenizer now.
                pieces.document = Json::Null;
                let more = pieces.more.iter().cloned().chain(settings.special()).collect();
                let mut cut = add(&mut inner, &settings, more).map_err(refused)?;
                let own = inner.get_added_tokens_decoder();
                for (id, token) in own.into_iter().filter(|(_, token)| token.special) {
                    if !cut.iter().any(|(known, _)| known.content == token.content) {
                        cut.push((AddedToken::special(&token.content), id));
                    }
                }
                // They were cut out before; what the normalizer makes of other text is none.
                inner.set_encode_special_tokens(true);
                Self { inner, pieces: Some((pieces, Cutter::new(cut).map_err(refused)?)) }
            }
        };
        Ok(Some(tokenizer))
    }

    /// Without the padding and the longest length that a document may ask for: programs have their own.
    fn new(mut tokenizer: tokenizers::Tokenizer) -> tokenizers::Result<Self> {
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None)?;
        Ok(Self { inner: tokenizer, pieces: None })
    }

    /// The tokens of a text, with the special ones that stand around a text where `special` says so.
    ///
    /// # Errors
    /// When the tokenizer cannot take the text.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TextError> {
        let search =
            |text: &str| self.inner.encode(text, special && self.pieces.is_none()).map_err(TextError::Tokenizer);
        let Some((pieces, cutter)) = &self.pieces else { return Ok(search(text)?.get_ids().to_vec()) };
        let (before, behind) = &pieces.frame;
        let mut ids = if special { before.clone() } else { Vec::new() };
        for (index, part) in cutter.cut(text).into_iter().enumerate() {
            match part {
                Part::Token(id) => ids.push(id),
                Part::Text(part) => {
                    let part = pieces.prepared(part, index == 0).map_err(TextError::Tokenizer)?;
                    ids.extend(search(&part)?.get_ids());
                }
            }
        }
        ids.extend(behind.iter().filter(|_| special));
        Ok(ids)
    }

    /// The text of tokens, without special ones.
    ///
    /// # Errors
    /// When the tokenizer cannot take them.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        self.inner.decode(ids, true).map_err(TextError::Tokenizer)
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The id of a token that must be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn need(&self, token: &str) -> Result<u32, TextError> {
        self.id(token).ok_or_else(|| TextError::NoToken { token: token.to_owned() })
    }
}

/// What stands around a text by the flags in the settings, for the classes that put it there whatever their document
/// says; with what they do by default at the beginning of a text.
const FLAGGED: [(&str, bool); 4] =
    [("LlamaTokenizer", true), ("GemmaTokenizer", true), ("CohereTokenizer", true), ("GPTNeoXTokenizer", false)];

fn frame(inner: &tokenizers::Tokenizer, settings: &TokenizerSettings) -> Result<Option<Json>, Refusal> {
    let class = settings.class();
    let Some((_, begins)) = FLAGGED.iter().find(|(name, _)| Some(*name) == class) else { return Ok(None) };
    let role = |role: &'static str| {
        let token = settings.role(role).ok_or(Refusal::Role { role })?.content;
        let id = inner.token_to_id(&token).ok_or_else(|| Refusal::Token { token: token.clone(), role })?;
        Ok((token, u64::from(id)))
    };
    let wanted =
        |flag: &str, default: bool, name| settings.flag(flag).unwrap_or(default).then(|| role(name)).transpose();
    let (first, last) = (wanted("add_bos_token", *begins, "bos_token")?, wanted("add_eos_token", false, "eos_token")?);
    Ok(Some(byte_pairs::framed(first, last)))
}

/// Adds the tokens that files give ids to, then those without. Returns all of them with their ids.
fn add(
    inner: &mut tokenizers::Tokenizer,
    settings: &TokenizerSettings,
    special: Vec<AddedToken>,
) -> Result<Vec<(AddedToken, u32)>, Refusal> {
    let listed = settings.added.iter().map(|(&id, token)| (token, Some(id)));
    let is_listed = |token: &AddedToken| settings.added.values().any(|known| known.content == token.content);
    let rest = special.iter().filter(|token| !is_listed(token)).map(|token| (token, None));
    let mut added = Vec::new();
    for (token, expected) in listed.chain(rest).filter(|(token, _)| !token.content.is_empty()) {
        let AddedToken { content, special, single_word, lstrip, rstrip, normalized } = token;
        let own = tokenizers::AddedToken::from(content.clone(), *special);
        let own = own.single_word(*single_word).lstrip(*lstrip).rstrip(*rstrip).normalized(*normalized);
        let count = if *special { inner.add_special_tokens([own]) } else { inner.add_tokens([own]) };
        count.map_err(Refusal::Form)?;
        let found = inner.token_to_id(content);
        match (found, expected) {
            (Some(found), None) => added.push((token.clone(), found)),
            (Some(found), Some(expected)) if found == expected => added.push((token.clone(), found)),
            (found, expected) => return Err(Refusal::Id { token: content.clone(), found, expected }),
        }
    }
    Ok(added)
}

/// What a file is, by its name and what is in it.
fn kind_of(files: &TokenizerFiles, name: &str) -> Result<Kind, TextError> {
    let not = |found: &'static str| TextError::NotTokenizer { path: files.shown(name), found };
    if name == MERGES {
        return Ok(Kind::Pairs);
    }
    if name.ends_with(".json") {
        let document = files.json(name)?.unwrap_or_default();
        let has = |key: &str| document.get(key).is_some();
        let is_table = || document.as_object().is_some_and(|map| !map.is_empty() && map.values().all(Json::is_u64));
        return match name {
            CONFIG => Err(not("the settings of a tokenizer")),
            _ if has("model") => Ok(Kind::Document),
            _ if is_table() && name == PAIRS => Ok(Kind::Pairs),
            _ if is_table() => Err(not("a table of tokens and ids")),
            _ if has("tokenizer_class") || has("model_max_length") => Err(not("the settings of a tokenizer")),
            _ if has("model_type") || has("architectures") => Err(not("the config of a model")),
            _ if has("config") && has("vocab") => Err(not("a tekken file")),
            _ if has("bos_token") || has("unk_token") || has("cls_token") => Err(not("a list of special tokens")),
            _ => Err(files.form(name, "expected a document with a key `model`")),
        };
    }
    let bytes = files.read(name)?.unwrap_or_default();
    let text = std::str::from_utf8(&bytes).ok();
    let is_plain = |text: &&str| !text.contains(|letter: char| letter.is_control() && !letter.is_whitespace());
    match text.filter(is_plain) {
        Some(text) if is_tiktoken(text) => Err(not("a vocabulary of tiktoken")),
        Some(text) if !text.trim().is_empty() && !name.ends_with(MODEL) => Ok(Kind::Words),
        Some(_) => Err(not("a text")),
        None if name.ends_with(MODEL) || bytes.starts_with(b"\n") => Ok(Kind::Pieces),
        None => Err(not("neither a text nor a sentencepiece model")),
    }
}

/// Whether a text has a token in base64 and its rank in every line.
fn is_tiktoken(text: &str) -> bool {
    let is_line = |line: &str| {
        line.split_once(' ').is_some_and(|(token, rank)| {
            let is_base64 = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
            is_base64 && token.len().is_multiple_of(4) && !token.is_empty() && rank.parse::<u32>().is_ok()
        })
    };
    !text.trim().is_empty() && text.lines().take(100).all(is_line)
}

#[cfg(test)]
mod tests;
