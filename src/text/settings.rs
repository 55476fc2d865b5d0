//! What stands beside a vocabulary: `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`, read as
//! transformers 4.57 reads them. `special_tokens_map.json` and `added_tokens.json` count only where the config has no
//! `added_tokens_decoder`.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::{TextError, TokenizerFiles};

/// The name of the file with a tokenizer's class and flags.
pub(super) const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";

/// The special tokens that every tokenizer may have, in the order in which transformers gives ids to new ones.
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
const MORE: &str = "additional_special_tokens";

/// A token that is found in a text before anything else is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AddedToken {
    pub(super) content: String,
    pub(super) special: bool,
    pub(super) single_word: bool,
    pub(super) lstrip: bool,
    pub(super) rstrip: bool,
    pub(super) normalized: bool,
}

impl AddedToken {
    pub(super) fn special(content: &str) -> Self {
        Self {
            content: content.to_owned(),
            special: true,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
        }
    }

    fn read(value: &Json, special: bool) -> Option<Self> {
        if let Some(content) = value.as_str() {
            return Some(Self { normalized: !special, ..Self { special, ..Self::special(content) } });
        }
        let flag = |key: &str, default: bool| value.get(key).and_then(Json::as_bool).unwrap_or(default);
        let special = flag("special", special);
        Some(Self {
            content: value.get("content")?.as_str()?.to_owned(),
            special,
            single_word: flag("single_word", false),
            lstrip: flag("lstrip", false),
            rstrip: flag("rstrip", false),
            normalized: flag("normalized", !special),
        })
    }

    /// As it stands in the document of a tokenizer.
    pub(super) fn document(&self, id: usize) -> Json {
        json!({
            "id": id, "content": self.content, "special": self.special, "single_word": self.single_word,
            "lstrip": self.lstrip, "rstrip": self.rstrip, "normalized": self.normalized,
        })
    }
}

/// The settings of a tokenizer.
#[derive(Debug, Clone, Default)]
pub(super) struct TokenizerSettings {
    config: Map<String, Json>,
    /// Tokens with the ids that the files give them.
    pub(super) added: BTreeMap<u32, AddedToken>,
}

/// Classes whose mask takes the white space before it along.
const GREEDY_MASKS: [&str; 10] = [
    "RobertaTokenizer",
    "BartTokenizer",
    "LongformerTokenizer",
    "LEDTokenizer",
    "MvpTokenizer",
    "LayoutLMv3Tokenizer",
    "BlenderbotTokenizer",
    "XLMRobertaTokenizer",
    "MPNetTokenizer",
    "DebertaTokenizer",
];

/// The special tokens of a class where its config is silent. An unknown class has none.
fn defaults(class: &str) -> &'static [(&'static str, &'static str)] {
    match class {
        "LlamaTokenizer" | "CodeLlamaTokenizer" => {
            &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")]
        }
        "GemmaTokenizer" => {
            &[("unk_token", "<unk>"), ("bos_token", "<bos>"), ("eos_token", "<eos>"), ("pad_token", "<pad>")]
        }
        "T5Tokenizer" => &[("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")],
        "GPT2Tokenizer" | "CodeGenTokenizer" => {
            &[("unk_token", "<|endoftext|>"), ("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>")]
        }
        "Qwen2Tokenizer" => {
            &[("unk_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")]
        }
        "CLIPTokenizer" => &[
            ("unk_token", "<|endoftext|>"),
            ("bos_token", "<|startoftext|>"),
            ("eos_token", "<|endoftext|>"),
            ("pad_token", "<|endoftext|>"),
        ],
        "RobertaTokenizer"
        | "BartTokenizer"
        | "LongformerTokenizer"
        | "LEDTokenizer"
        | "MvpTokenizer"
        | "BlenderbotTokenizer"
        | "XLMRobertaTokenizer" => &[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("sep_token", "</s>"),
            ("cls_token", "<s>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
            ("mask_token", "<mask>"),
        ],
        "MPNetTokenizer" => &[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("sep_token", "</s>"),
            ("cls_token", "<s>"),
            ("unk_token", "[UNK]"),
            ("pad_token", "<pad>"),
            ("mask_token", "<mask>"),
        ],
        "DebertaTokenizer" => &[
            ("bos_token", "[CLS]"),
            ("eos_token", "[SEP]"),
            ("sep_token", "[SEP]"),
            ("cls_token", "[CLS]"),
            ("unk_token", "[UNK]"),
            ("pad_token", "[PAD]"),
            ("mask_token", "[MASK]"),
        ],
        _ if super::tokenizer::BERT_CLASSES.contains(&class) => &[
            ("unk_token", "[UNK]"),
            ("sep_token", "[SEP]"),
            ("pad_token", "[PAD]"),
            ("cls_token", "[CLS]"),
            ("mask_token", "[MASK]"),
        ],
        _ => &[],
    }
}

impl TokenizerSettings {
    /// Reads the settings; all of their files may be missing.
    ///
    /// # Errors
    /// When one of them is damaged.
    pub(super) fn read(files: &TokenizerFiles) -> Result<Self, TextError> {
        let object = |name: &str| match files.json(name)? {
            None => Ok(None),
            Some(Json::Object(map)) => Ok(Some(map)),
            Some(_) => Err(files.form(name, "expected a JSON object")),
        };
        let mut config = object(CONFIG)?.unwrap_or_default();
        let mut added = BTreeMap::new();
        if let Some(decoder) = config.get("added_tokens_decoder") {
            let wrong = |what: &str| files.form(CONFIG, format!("`added_tokens_decoder`: {what}"));
            let entries = decoder.as_object().ok_or_else(|| wrong("expected an object of ids and tokens"))?;
            for (id, token) in entries {
                let id = id.parse().map_err(|_| wrong(&format!("`{id}` is no id")))?;
                let token = AddedToken::read(token, false)
                    .ok_or_else(|| wrong(&format!("the token of id {id} has no `content`")))?;
                added.insert(id, token);
            }
            return Ok(Self { config, added });
        }
        for (key, value) in object(SPECIAL)?.unwrap_or_default() {
            let merged = match (key.as_str(), config.get(&key).and_then(Json::as_array), value.as_array()) {
                (MORE, Some(own), Some(more)) => {
                    own.iter().chain(more.iter().filter(|it| !own.contains(it))).cloned().collect()
                }
                _ => value,
            };
            config.insert(key, merged);
        }
        let settings = Self { config, added: BTreeMap::new() };
        let special: Vec<String> = settings.special().into_iter().map(|token| token.content).collect();
        for (content, id) in object(ADDED)?.unwrap_or_default() {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| files.form(ADDED, format!("the id of `{content}` is no number")))?;
            let is_special = special.contains(&content);
            let token = AddedToken { special: is_special, normalized: !is_special, ..AddedToken::special(&content) };
            added.insert(id, token);
        }
        Ok(Self { added, ..settings })
    }

    /// The class without `Fast`, where one is named that says anything.
    pub(super) fn class(&self) -> Option<&str> {
        let class = self.config.get("tokenizer_class")?.as_str()?;
        let class = class.strip_suffix("Fast").unwrap_or(class);
        (class != "PreTrainedTokenizer").then_some(class)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Json> {
        self.config.get(key).filter(|value| !value.is_null())
    }

    /// A flag that may be missing or `null`.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Json::as_bool)
    }

    /// The token of a role, e.g. `bos_token`: the config's, else the class's.
    pub(super) fn role(&self, role: &str) -> Option<AddedToken> {
        self.role_of(role, self.class())
    }

    /// The token of a role, where a class is assumed.
    pub(super) fn role_of(&self, role: &str, class: Option<&str>) -> Option<AddedToken> {
        let is_greedy = role == "mask_token" && class.is_some_and(|class| GREEDY_MASKS.contains(&class));
        match self.config.get(role) {
            Some(Json::String(content)) => Some(AddedToken { lstrip: is_greedy, ..AddedToken::special(content) }),
            Some(value) => AddedToken::read(value, true),
            None => {
                let default = defaults(class?).iter().find(|(key, _)| *key == role)?;
                Some(AddedToken { lstrip: is_greedy, ..AddedToken::special(default.1) })
            }
        }
    }

    /// Every special token, each once: those with a role first.
    pub(super) fn special(&self) -> Vec<AddedToken> {
        self.special_of(self.class())
    }

    /// Every special token, where a class is assumed.
    pub(super) fn special_of(&self, class: Option<&str>) -> Vec<AddedToken> {
        let more = self.get(MORE).and_then(Json::as_array).into_iter().flatten();
        let extra = self.get("extra_special_tokens").and_then(Json::as_object).into_iter().flat_map(|map| map.values());
        let roles = ROLES.iter().filter_map(|role| self.role_of(role, class));
        let mut found: Vec<AddedToken> = Vec::new();
        for token in roles.chain(more.chain(extra).filter_map(|value| AddedToken::read(value, true))) {
            if !found.iter().any(|known| known.content == token.content) {
                found.push(AddedToken { special: true, ..token });
            }
        }
        found
    }

    /// The names by which a chat template may call special tokens. A token that is `null` is not among them.
    pub(super) fn named(&self) -> Vec<(String, Json)> {
        let role = |role: &&str| Some(((*role).to_owned(), Json::from(self.role(role)?.content)));
        let mut named: Vec<(String, Json)> = ROLES.iter().filter_map(role).collect();
        let content = |value: &Json| AddedToken::read(value, true).map(|token| token.content);
        if let Some(more) = self.get(MORE).and_then(Json::as_array).filter(|more| !more.is_empty()) {
            named.push((MORE.to_owned(), more.iter().filter_map(content).collect()));
        }
        let extra = self.get("extra_special_tokens").and_then(Json::as_object).into_iter().flatten();
        named.extend(extra.filter_map(|(name, value)| Some((name.clone(), Json::from(content(value)?)))));
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(files: &[(&str, Json)]) -> Result<TokenizerSettings, TextError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in files {
            std::fs::write(folder.path().join(name), value.to_string()).unwrap();
        }
        TokenizerSettings::read(&TokenizerFiles::beside(folder.path()).unwrap())
    }

    #[test]
    fn special_tokens_have_names_in_every_form() {
        let config = json!({
            "tokenizer_class": "LlamaTokenizerFast", "bos_token": { "content": "<b>", "lstrip": true }, "eos_token": null,
            "pad_token": "<p>", "extra_special_tokens": { "image_token": "<img>" },
        });
        let map = json!({ "additional_special_tokens": ["<x>", { "content": "<y>" }], "pad_token": "<q>" });
        let named = settings(&[(CONFIG, config), (SPECIAL, map)]).unwrap().named();
        let named: BTreeMap<String, Json> = named.into_iter().collect();
        let expected = json!({
            "bos_token": "<b>", "unk_token": "<unk>", "pad_token": "<q>", "image_token": "<img>",
            "additional_special_tokens": ["<x>", "<y>"],
        });
        assert_eq!(json!(named), expected);
    }

    #[test]
    fn the_decoder_of_added_tokens_outranks_older_files() {
        let config =
            json!({ "added_tokens_decoder": { "7": { "content": "<a>", "special": true } }, "pad_token": "<p>" });
        let settings =
            settings(&[(CONFIG, config), (SPECIAL, json!({ "pad_token": "<q>" })), (ADDED, json!({ "<z>": 9 }))])
                .unwrap();
        assert_eq!(settings.role("pad_token").unwrap().content, "<p>");
        assert_eq!(settings.added.keys().collect::<Vec<_>>(), [&7]);
        assert!(settings.added[&7].special && !settings.added[&7].normalized);
    }

    #[test]
    fn damaged_settings_are_errors() {
        let wrong = [
            (CONFIG, json!([])),
            (CONFIG, json!({ "added_tokens_decoder": { "x": "<a>" } })),
            (CONFIG, json!({ "added_tokens_decoder": { "1": {} } })),
            (ADDED, json!({ "<a>": "one" })),
        ];
        for (name, value) in wrong {
            let error = settings(&[(name, value.clone())]).unwrap_err();
            assert!(matches!(error, TextError::Form { .. }), "{value}");
        }
    }
}
