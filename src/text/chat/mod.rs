//! Chat templates: how a model wants a conversation written, as a Jinja template beside its tokenizer
//! (`chat_template.jinja`, the key `chat_template` of `tokenizer_config.json`, or `chat_template.json`).
//!
//! Templates are rendered as transformers 4.57 renders them: they see `messages`, `add_generation_prompt`, `tools` and
//! `documents` (none), every special token by its name, `raise_exception` and `strftime_now`; blocks are trimmed;
//! values print as Python prints them. They are strangers' programs, so they have a limit of steps and of what they
//! write.
//!
//! | file | has |
//! |---|---|
//! | `dialect` | what minijinja does not parse |
//! | `python` | what templates expect of Python's values |

mod dialect;
mod python;

use std::io;

use minijinja::{
    Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, context,
    syntax::SyntaxConfig,
    value::{Rest, Serde, ValueKind},
};
use serde_json::Value as Json;

use super::{LocalTime, TextError, TokenizerFiles, settings::TokenizerSettings};

/// How many steps of a template are run.
const STEPS: u64 = 10_000_000;
/// No context of a model is longer, in bytes; templates are programs of strangers.
const LONGEST_PROMPT: usize = 16 << 20;
const NAME: &str = "chat_template";
const OWN_FILE: &str = "chat_template.jinja";
const OLD_FILE: &str = "chat_template.json";
/// The name of the template that is meant where there are several.
const DEFAULT: &str = "default";

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Whoever runs the model.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text.
    pub content: String,
}

/// A template, and the special tokens that it may name.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: String,
    tokens: Vec<(String, Json)>,
}

impl ChatTemplate {
    /// The template of a tokenizer; `None` where its files have none. A file of its own comes before the key in the
    /// tokenizer's config.
    ///
    /// # Errors
    /// When a file cannot be read, or there are several templates and none is the default.
    pub fn find(files: &TokenizerFiles) -> Result<Option<Self>, TextError> {
        let settings = TokenizerSettings::read(files)?;
        let own = files.text(OWN_FILE)?;
        let mut named: Vec<(String, String)> = Vec::new();
        named.extend(own.map(|source| (DEFAULT.to_owned(), source)));
        for (name, file) in files.templates() {
            named.extend(files.text(file)?.map(|source| (name.to_owned(), source)));
        }
        if named.is_empty() {
            named = listed(settings.get(NAME)).ok_or(TextError::Templates { names: Vec::new() })?;
        }
        if named.is_empty() {
            named = listed(files.json(OLD_FILE)?.as_ref().and_then(|document| document.get(NAME))).unwrap_or_default();
        }
        if named.is_empty() {
            return Ok(None);
        }
        let names = named.iter().map(|(name, _)| name.clone()).collect();
        let default = named.into_iter().find(|(name, _)| name == DEFAULT);
        let (_, source) = default.ok_or(TextError::Templates { names })?;
        Ok(Some(Self { source, tokens: settings.named() }))
    }

    /// The conversation up to where the model's answer begins. `now` is what the template takes for the time.
    ///
    /// # Errors
    /// When the template is damaged, or refuses the conversation.
    pub fn render(&self, messages: &[Message], now: LocalTime) -> Result<String, TextError> {
        let refused = |source: Error| TextError::Template(Box::new(source));
        let mut environment = environment(now).map_err(refused)?;
        for (name, token) in &self.tokens {
            environment.add_global(name.clone(), Value::from(Serde(token)));
        }
        let message = |message: &Message| context! { role => message.role.name(), content => message.content.clone() };
        let messages: Vec<Value> = messages.iter().map(message).collect();
        let none = Value::from(());
        let values = context! { messages, tools => none.clone(), documents => none, add_generation_prompt => true };
        let unknown =
            |name| Error::new(ErrorKind::InvalidOperation, format!("templates that use `{name}` are not supported"));
        let source = dialect::rewritten(&self.source).map_err(unknown).map_err(refused)?;
        environment.add_template(NAME, &source).map_err(refused)?;
        let mut prompt = Prompt::default();
        let rendered = environment
            .get_template(NAME)
            .and_then(|template| template.render_captured_to(values, &mut prompt).map(drop));
        if prompt.is_full {
            let why = format!("it writes more than {LONGEST_PROMPT} bytes");
            return Err(refused(Error::new(ErrorKind::InvalidOperation, why)));
        }
        rendered.map_err(refused)?;
        String::from_utf8(prompt.bytes).map_err(|_| refused(ErrorKind::BadSerialization.into()))
    }
}

/// What a template has written.
#[derive(Debug, Default)]
struct Prompt {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Prompt {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > LONGEST_PROMPT {
            self.is_full = true;
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Templates by name; one without a name is the default. `None` for what is no template.
fn listed(value: Option<&Json>) -> Option<Vec<(String, String)>> {
    match value {
        None => Some(Vec::new()),
        Some(Json::String(source)) => Some(vec![(DEFAULT.to_owned(), source.clone())]),
        Some(Json::Array(list)) => {
            let text = |entry: &Json, key: &str| entry.get(key).and_then(Json::as_str).map(str::to_owned);
            list.iter().map(|entry| Some((text(entry, "name")?, text(entry, "template")?))).collect()
        }
        Some(Json::Object(map)) => {
            map.iter().map(|(name, source)| Some((name.clone(), source.as_str()?.to_owned()))).collect()
        }
        Some(_) => None,
    }
}

/// Jinja as transformers sets it up.
fn environment(now: LocalTime) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(STEPS));
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_unknown_method_callback(python::method);
    environment.set_formatter(|out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value| {
        Ok(out.write_str(&python::text(value))?)
    });
    environment.remove_global("debug");
    environment.add_function(dialect::PERCENT, python::percent);
    environment.add_function("strftime_now", move |format: &str| now.format(format));
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("cycler", |items: Rest<Value>| minijinja_contrib::globals::cycler(items.0));
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    environment.add_test("number", |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool));
    environment.add_test("iterable", |value: &Value| python::is_iterable(value));
    environment.add_test("sequence", |value: &Value| python::is_iterable(value));
    environment.add_filter("tojson", python::to_json);
    environment.add_filter("string", |value: &Value| python::text(value));
    environment.add_filter("int", python::int);
    environment.add_filter("float", python::float);
    environment.add_filter("replace", python::replace);
    environment.add_filter("e", python::escape);
    environment.add_filter("escape", python::escape);
    environment.add_filter("first", |value: &Value| python::at_end(value, false));
    environment.add_filter("last", |value: &Value| python::at_end(value, true));
    environment.add_filter("attr", python::attribute);
    environment.add_filter("length", python::length);
    environment.add_filter("count", python::length);
    Ok(environment)
}

#[cfg(test)]
mod tests;
