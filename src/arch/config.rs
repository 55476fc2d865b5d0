//! Reads `config.json` key by key, and keeps account: every key is read, checked, irrelevant for a stated reason, or
//! refused.
//!
//! A key that is absent or null has its default, or is an error where there is none. Families read only keys that their
//! table declares, which debug builds assert; what no table declares is refused before a tensor is read, since ignoring
//! it could give wrong numbers.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::{ArchError, Architecture, Documents, keys};

/// No count in a config is larger.
const LARGEST: u64 = 1 << 31;

/// The keys of a config.
#[derive(Debug, Clone, Copy)]
pub struct Config<'a> {
    json: &'a Json,
    /// The key of `config.json` whose table this is; empty for the document itself.
    within: &'static str,
    account: Option<Account<'a>>,
}

/// What the keys of a whole `config.json` are checked against.
#[derive(Debug, Clone, Copy)]
struct Account<'a> {
    tables: keys::Tables,
    ignored: &'a BTreeSet<String>,
}

impl<'a> Config<'a> {
    /// The `config.json` of a checkpoint, every key of which is accounted for by the tables of `architecture`.
    ///
    /// # Errors
    /// When there is no config, or it has keys that the architecture refuses or does not know.
    pub fn of(documents: &'a Documents, architecture: &dyn Architecture) -> Result<Self, ArchError> {
        let json = documents.config.as_ref().ok_or(ArchError::NeedsConfig { architecture: architecture.name() })?;
        let tables = architecture.config_keys();
        keys::account(json, architecture.name(), tables, &documents.ignored)?;
        Ok(Self { json, within: "", account: Some(Account { tables, ignored: &documents.ignored }) })
    }

    /// Any document, whose keys nobody accounts for; `within` is the key of `config.json` that holds it, empty for
    /// another document.
    pub fn new(json: &'a Json, within: &'static str) -> Self {
        Self { json, within, account: None }
    }

    /// The value of `key`; none where it is absent, null, or ignored by the component.
    pub fn get(&self, key: &str) -> Option<&'a Json> {
        self.entry(key).filter(|value| !value.is_null())
    }

    /// Whether the key is there and null: transformers then does without, where an absent key has the family's default.
    pub fn is_null(&self, key: &str) -> bool {
        self.entry(key).is_some_and(Json::is_null)
    }

    /// The names of all keys whose value is not null.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.json.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str())
    }

    fn entry(&self, key: &str) -> Option<&'a Json> {
        if let Some(Account { tables, ignored }) = self.account {
            debug_assert!(keys::is_readable(tables, key), "`{key}` is read, but no table of the family declares it");
            #[cfg(test)]
            keys::tests::record(key);
            if ignored.contains(key) {
                return None;
            }
        }
        self.json.get(key)
    }

    /// The error of a key whose value is not `expected`.
    pub fn refuse(&self, key: &str, expected: impl Into<String>) -> ArchError {
        let found = self.get(key).map_or_else(|| "not there".to_owned(), keys::shown);
        let key = if self.within.is_empty() { key.to_owned() } else { format!("{}.{key}", self.within) };
        ArchError::Config { key, expected: expected.into(), found }
    }

    /// A count of at least 1.
    ///
    /// # Errors
    /// When it is absent or something else.
    pub fn count(&self, key: &str) -> Result<u64, ArchError> {
        let count = self.get(key).and_then(Json::as_u64).filter(|n| (1..=LARGEST).contains(n));
        count.ok_or_else(|| self.refuse(key, format!("a whole number from 1 to {LARGEST}")))
    }

    /// A count, or `default` where the key is absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn count_or(&self, key: &str, default: u64) -> Result<u64, ArchError> {
        self.get(key).map_or(Ok(default), |_| self.count(key))
    }

    /// The id of a token, or `default` where the key is absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn id_or(&self, key: &str, default: u64) -> Result<u64, ArchError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_u64().filter(|id| *id < LARGEST).ok_or_else(|| self.refuse(key, "the id of a token"))
    }

    /// A finite number above 0, or `default` where the key is absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn positive_or(&self, key: &str, default: f64) -> Result<f64, ArchError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_f64().filter(|x| x.is_finite() && *x > 0.0).ok_or_else(|| self.refuse(key, "a number above 0"))
    }

    /// A flag, or `default` where the key is absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool, ArchError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.refuse(key, "true or false"))
    }

    /// A text, or `default` where the key is absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn text_or(&self, key: &str, default: &'a str) -> Result<&'a str, ArchError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_str().ok_or_else(|| self.refuse(key, "a text"))
    }
}
