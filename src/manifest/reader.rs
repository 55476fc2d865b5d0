//! Reads TOML with positions: every value knows its key and place, every table its permitted keys.
//!
//! Values are taken one by one instead of through serde derives, so that errors about unknown keys, types and values
//! that contradict each other name the key, its place, the expected form and the nearest known word.

use std::{collections::BTreeMap, ops::Range, rc::Rc};

use toml::de::{DeTable, DeValue};

use super::error::{ManifestError, Problem};
use crate::base::meant;

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// Line, from 1.
    pub(crate) line: usize,
    /// Column in characters, from 1.
    pub(crate) column: usize,
}

impl Place {
    pub(crate) fn error(self, file: &str, problem: Problem) -> ManifestError {
        ManifestError { file: file.to_owned(), line: self.line, column: self.column, problem: Box::new(problem) }
    }
}

/// A file's name and text.
#[derive(Debug)]
pub(crate) struct Document<'t> {
    file: &'t str,
    text: &'t str,
}

impl<'t> Document<'t> {
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }

    /// The line in which a span starts, trimmed.
    fn line(&self, span: &Range<usize>) -> &'t str {
        let start = self.text.get(..span.start).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
        self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default().trim()
    }

    pub(crate) fn error(&self, span: &Range<usize>, problem: Problem) -> ManifestError {
        self.place(span).error(self.file, problem)
    }
}

/// Parses a file; `known` are its top-level keys.
pub(crate) fn parse<'t>(text: &'t str, file: &'t str, known: &[&'static str]) -> Result<Table<'t>, ManifestError> {
    let document = Rc::new(Document { file, text });
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let message =
            error.message().split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ");
        // The second `[component]` is a duplicate key for the parser.
        let is_component =
            message.contains("duplicate key") && document.line(&span) == "[component]" && known.contains(&"component");
        let problem = match is_component {
            true => Problem::Brackets { found: "[component]".to_owned(), expected: "[[component]]".to_owned() },
            false => Problem::Syntax { message },
        };
        document.error(&span, problem)
    })?;
    Table::new(&document, "the manifest".to_owned(), 0..0, table.into_inner(), known)
}

/// A table whose entries are taken one by one.
#[derive(Debug)]
pub(crate) struct Table<'t> {
    document: Rc<Document<'t>>,
    label: String,
    span: Range<usize>,
    entries: BTreeMap<String, Item<'t>>,
}

impl<'t> Table<'t> {
    fn new(
        document: &Rc<Document<'t>>,
        label: String,
        span: Range<usize>,
        table: DeTable<'t>,
        known: &[&'static str],
    ) -> Result<Self, ManifestError> {
        let table = Self::open(document, label, span, table);
        match table
            .entries
            .values()
            .filter(|item| !known.contains(&item.key.as_str()))
            .min_by_key(|item| item.key_span.start)
        {
            Some(item) => Err(table.unknown(item, known)),
            None => Ok(table),
        }
    }

    /// A table that may have any key.
    fn open(document: &Rc<Document<'t>>, label: String, span: Range<usize>, table: DeTable<'t>) -> Self {
        let entries = table.into_iter().map(|(key, value)| {
            let key_span = key.span();
            let key = key.into_inner().into_owned();
            (
                key.clone(),
                Item { document: Rc::clone(document), key, key_span, span: value.span(), value: value.into_inner() },
            )
        });
        Self { document: Rc::clone(document), label, span, entries: entries.collect() }
    }

    fn unknown(&self, item: &Item<'t>, known: &[&'static str]) -> ManifestError {
        let nearest = meant(&item.key, known.iter().copied()).map(str::to_owned);
        let problem =
            Problem::UnknownKey { table: self.label.clone(), key: item.key.clone(), nearest, known: known.to_vec() };
        self.document.error(&item.key_span, problem)
    }

    /// Takes the value of `key`, if there is one.
    pub(crate) fn take(&mut self, key: &str) -> Option<Item<'t>> {
        self.entries.remove(key)
    }

    /// Takes the value of the required `key`.
    pub(crate) fn need(&mut self, key: &'static str) -> Result<Item<'t>, ManifestError> {
        self.take(key)
            .ok_or_else(|| self.document.error(&self.span, Problem::MissingKey { table: self.label.clone(), key }))
    }

    /// The entries that were not taken, in the order of the file.
    pub(crate) fn rest(self) -> Vec<Item<'t>> {
        let mut rest: Vec<Item<'t>> = self.entries.into_values().collect();
        rest.sort_by_key(|item| item.key_span.start);
        rest
    }

    pub(crate) fn error(&self, problem: Problem) -> ManifestError {
        self.document.error(&self.span, problem)
    }

    pub(crate) fn place(&self) -> Place {
        self.document.place(&self.span)
    }

    /// Changes the table's name in messages.
    pub(crate) fn relabel(&mut self, label: String) {
        self.label = label;
    }
}

/// A value with its key.
#[derive(Debug, Clone)]
pub(crate) struct Item<'t> {
    document: Rc<Document<'t>>,
    pub(crate) key: String,
    key_span: Range<usize>,
    span: Range<usize>,
    value: DeValue<'t>,
}

impl<'t> Item<'t> {
    /// An error about the value.
    pub(crate) fn error(&self, problem: Problem) -> ManifestError {
        self.document.error(&self.span, problem)
    }

    /// An error about the key.
    pub(crate) fn key_error(&self, problem: Problem) -> ManifestError {
        self.document.error(&self.key_span, problem)
    }

    pub(crate) fn place(&self) -> Place {
        self.document.place(&self.span)
    }

    /// Line and column of the key, from 1.
    pub(crate) fn key_place(&self) -> (usize, usize) {
        let Place { line, column } = self.document.place(&self.key_span);
        (line, column)
    }

    /// Whether the value is a table.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    /// The error for a value that is no table; for a list of tables it names the brackets.
    fn not_a_table(&self) -> ManifestError {
        match &self.value {
            DeValue::Array(items)
                if !items.is_empty() && items.iter().all(|item| matches!(item.get_ref(), DeValue::Table(_))) =>
            {
                let (found, expected) = (format!("[[{}]]", self.key), format!("[{}]", self.key));
                self.key_error(Problem::Brackets { found, expected })
            }
            _ => self.unexpected("a table"),
        }
    }

    /// Whether the value is a string.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.value, DeValue::String(_))
    }

    /// An error that shows the value and what was expected.
    pub(crate) fn unexpected(&self, expected: impl Into<String>) -> ManifestError {
        self.error(Problem::Value {
            key: self.key.clone(),
            found: self.shown(),
            expected: expected.into(),
            nearest: None,
        })
    }

    /// The value as in the file, or its type if it is long.
    fn shown(&self) -> String {
        match &self.value {
            DeValue::String(text) if text.chars().count() <= 80 => format!("\"{text}\""),
            DeValue::String(_) => "a long string".to_owned(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(value) => value.to_string(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }

    /// A string that is not empty.
    pub(crate) fn text(&self, expected: &str) -> Result<&str, ManifestError> {
        match &self.value {
            DeValue::String(text) if !text.is_empty() => Ok(text),
            _ => Err(self.unexpected(expected)),
        }
    }

    /// A string that `parse` accepts; `expected` describes it in the error.
    pub(crate) fn parsed<T, E: std::fmt::Display>(
        &self,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, ManifestError> {
        parse(self.text(expected)?).map_err(|_| self.unexpected(expected))
    }

    /// One of `words`.
    pub(crate) fn word<T: Copy>(&self, words: &[T], name: impl Fn(T) -> &'static str) -> Result<T, ManifestError> {
        let names: Vec<&str> = words.iter().map(|word| name(*word)).collect();
        let expected = || one_of(&names);
        let text = self.text(&expected())?;
        words.iter().copied().find(|word| name(*word) == text).ok_or_else(|| {
            let nearest = meant(text, names.iter().copied()).map(str::to_owned);
            self.error(Problem::Value { key: self.key.clone(), found: self.shown(), expected: expected(), nearest })
        })
    }

    /// A whole number from 1 to `limit`.
    pub(crate) fn number(&self, limit: u32) -> Result<u32, ManifestError> {
        self.as_number()
            .filter(|number| (1..=limit).contains(number))
            .ok_or_else(|| self.unexpected(format!("a whole number from 1 to {limit}")))
    }

    fn as_number(&self) -> Option<u32> {
        match &self.value {
            DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        }
    }

    pub(crate) fn boolean(&self) -> Result<bool, ManifestError> {
        match self.value {
            DeValue::Boolean(value) => Ok(value),
            _ => Err(self.unexpected("`true` or `false`")),
        }
    }

    /// Two whole numbers from 1 to `limit`; `None` if the value is no list.
    pub(crate) fn pair(&self, limit: u32) -> Option<Result<(u32, u32), ManifestError>> {
        let DeValue::Array(_) = self.value else { return None };
        let numbers: Vec<u32> =
            self.items().iter().filter_map(|item| item.as_number().filter(|n| (1..=limit).contains(n))).collect();
        let pair = <[u32; 2]>::try_from(numbers).ok().filter(|_| self.items().len() == 2);
        Some(
            pair.map(|[width, height]| (width, height))
                .ok_or_else(|| self.unexpected(format!("two whole numbers from 1 to {limit}"))),
        )
    }

    /// The items of a list; any other value is its only item.
    pub(crate) fn items(&self) -> Vec<Item<'t>> {
        match &self.value {
            DeValue::Array(items) => items
                .iter()
                .map(|item| Item {
                    value: item.get_ref().clone(),
                    span: item.span(),
                    document: Rc::clone(&self.document),
                    ..self.clone_key()
                })
                .collect(),
            _ => vec![self.clone()],
        }
    }

    fn clone_key(&self) -> Self {
        let Self { document, key, key_span, span, .. } = self;
        Self {
            document: Rc::clone(document),
            key: key.clone(),
            key_span: key_span.clone(),
            span: span.clone(),
            value: DeValue::Boolean(false),
        }
    }

    /// One value or a list of values, each read by `read`. Refuses empty lists and duplicates.
    pub(crate) fn one_or_list<T: PartialEq>(
        &self,
        read: impl Fn(&Item<'t>) -> Result<T, ManifestError>,
    ) -> Result<Vec<T>, ManifestError> {
        let mut values = Vec::new();
        for item in self.items() {
            let value = read(&item)?;
            if values.contains(&value) {
                return Err(item.error(Problem::Duplicate { key: self.key.clone(), value: item.shown() }));
            }
            values.push(value);
        }
        if values.is_empty() { Err(self.error(Problem::Empty { key: self.key.clone() })) } else { Ok(values) }
    }

    /// A table with the keys `known`.
    pub(crate) fn table(self, label: String, known: &[&'static str]) -> Result<Table<'t>, ManifestError> {
        match self.value {
            DeValue::Table(table) => Table::new(&self.document, label, self.span, table, known),
            _ => Err(self.not_a_table()),
        }
    }

    /// A table with arbitrary keys.
    pub(crate) fn names(self, label: String) -> Result<Table<'t>, ManifestError> {
        match self.value {
            DeValue::Table(table) => Ok(Table::open(&self.document, label, self.span, table)),
            _ => Err(self.not_a_table()),
        }
    }

    /// Items of a list; refuses other values.
    pub(crate) fn list(&self, expected: &str) -> Result<Vec<Item<'t>>, ManifestError> {
        if matches!(self.value, DeValue::Array(_)) { Ok(self.items()) } else { Err(self.unexpected(expected)) }
    }
}

fn one_of(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
        None => String::new(),
    }
}
