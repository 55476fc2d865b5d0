//! Reads `config.json` key by key. A key that is absent or null has its default, or is an error where there is none.

use serde_json::Value as Json;

use super::ArchError;

/// No count in a config is larger.
const LARGEST: u64 = 1 << 31;

/// The keys of a config.
#[derive(Debug, Clone, Copy)]
pub struct Config<'a>(&'a Json);

impl<'a> Config<'a> {
    /// Of a `config.json`.
    pub fn new(json: &'a Json) -> Self {
        Self(json)
    }

    /// The value of `key`; none where it is absent or null.
    pub fn get(&self, key: &str) -> Option<&'a Json> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// The error of a key whose value is not `expected`.
    pub fn refuse(&self, key: &str, expected: impl Into<String>) -> ArchError {
        let found = self.get(key).map_or_else(|| "not there".to_owned(), ToString::to_string);
        ArchError::Config { key: key.to_owned(), expected: expected.into(), found: found.chars().take(80).collect() }
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
