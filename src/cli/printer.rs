//! Output: data goes to standard output, messages ("talk") to standard error.
//!
//! Data is a table (see `table`), lines, or with `--json` one document with a `schema` field. Talk is one summary line
//! per command, more with `-v`, only errors with `-q`. Sizes are decimal (1 MB = 1,000,000 bytes), as on the Hub and in
//! Apple's Finder. `visible` escapes all printed text, so that names and texts of strangers cannot control the
//! terminal.

use std::{
    fmt::Display,
    io::{self, BufRead, IsTerminal, Write},
};

use anstyle::Style;
use serde::Serialize;

use super::{
    ColorChoice,
    diagnostic::{CommandError, Diagnostic},
    paint::{ERROR, HEADING, HINT, Paint, WARNING},
    settings::Settings,
    table, visible,
};

pub use super::table::Table;

/// Width of a terminal that does not report one, in columns.
const USUAL_WIDTH: usize = 80;

/// Which messages are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors.
    Quiet,
    /// Also warnings and the summary.
    Normal,
    /// Also details.
    Verbose,
}

/// Writes to standard output and standard error, in the chosen form.
#[derive(Debug, Clone)]
pub struct Printer {
    json: bool,
    verbosity: Verbosity,
    is_terminal: bool,
    output: Paint,
    talk: Paint,
    xcode: bool,
}

impl Printer {
    /// A printer for this process's streams.
    pub fn new(json: bool, verbosity: Verbosity, color: ColorChoice, settings: &Settings) -> Self {
        let (output, talk) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            json,
            verbosity,
            is_terminal: output,
            output: Paint::choose(color, output, settings),
            talk: Paint::choose(color, talk, settings),
            xcode: settings.xcode,
        }
    }

    /// Whether results are read on a terminal while they arrive.
    pub fn is_watched(&self) -> bool {
        self.is_terminal && !self.json
    }

    /// The colours of standard error.
    pub fn talk_paint(&self) -> Paint {
        self.talk
    }

    /// Which messages are printed.
    pub fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Prints a command's report: with `--json` as the document `mlreg/cli/<command>/1`, else with `text`.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn report<T: Serialize>(
        &self,
        command: &str,
        report: &T,
        text: impl FnOnce(&Self) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        if self.json { self.document(command, report) } else { text(self) }
    }

    /// Prints an error to standard error, and with `--json` as a document to standard output, too.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn error(&self, diagnostic: &Diagnostic) -> Result<(), CommandError> {
        write_talk(&diagnostic.render(self.talk, self.xcode));
        if self.json { self.document("error", diagnostic) } else { Ok(()) }
    }

    fn document<T: Serialize>(&self, kind: &str, body: &T) -> Result<(), CommandError> {
        #[derive(Serialize)]
        struct Document<'a, T> {
            schema: String,
            #[serde(flatten)]
            body: &'a T,
        }
        let document = Document { schema: format!("mlreg/cli/{kind}/1"), body };
        let text = serde_json::to_string_pretty(&document).map_err(|error| CommandError::Output(error.into()))?;
        write_data((visible::json(&text) + "\n").as_bytes())
    }

    /// Prints text as data, with control characters escaped.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn data(&self, text: &str) -> Result<(), CommandError> {
        write_data(visible::lines(text).as_bytes())
    }

    /// Prints lines `label  value`. On a terminal values wrap between words.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn fields(&self, fields: &[(&str, String)]) -> Result<(), CommandError> {
        let width = fields.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        let room = if self.is_terminal { terminal_width().saturating_sub(width + 2).max(1) } else { usize::MAX };
        let mut text = String::new();
        for (label, value) in fields {
            let lines = table::wrap(&visible::line(value), room).join(&format!("\n{:width$}  ", ""));
            text += &format!("{}  {lines}\n", self.output.text(HEADING, format_args!("{label:width$}")));
        }
        write_data(text.as_bytes())
    }

    /// Prints a table.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn table(&self, table: &Table) -> Result<(), CommandError> {
        let text = if self.is_terminal { table.aligned(self.output, terminal_width()) } else { table.plain() };
        write_data(text.as_bytes())
    }

    /// Prints an empty line between two parts, on a terminal only.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn gap(&self) -> Result<(), CommandError> {
        self.data("\n")
    }

    /// Prints the summary line of a command.
    pub fn summary(&self, text: impl Display) {
        self.talk(Verbosity::Normal, None, text);
    }

    /// Prints a line with `-v`.
    pub fn detail(&self, text: impl Display) {
        self.talk(Verbosity::Verbose, None, text);
    }

    /// Notes a choice that the command made for the user, and how to change it.
    pub fn note(&self, text: impl Display) {
        self.talk(Verbosity::Normal, Some((HINT, "note:")), text);
    }

    /// Warns of something that the user can act upon.
    pub fn warning(&self, text: impl Display) {
        self.talk(Verbosity::Normal, Some((WARNING, "warning:")), text);
    }

    /// Reports a negative result of a command that ran to its end, even with `-q`.
    pub fn failure(&self, text: impl Display) {
        self.talk(Verbosity::Quiet, Some((ERROR, "error:")), text);
    }

    /// Asks a yes-or-no question. `None` where standard input or standard error is not a terminal.
    ///
    /// # Errors
    /// When the answer cannot be read.
    pub fn ask(&self, question: impl Display) -> Result<Option<bool>, CommandError> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() || self.json {
            return Ok(None);
        }
        write_talk(&format!("{} [y/N] ", visible::lines(&question.to_string())));
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map_err(CommandError::Input)?;
        Ok(Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")))
    }

    fn talk(&self, least: Verbosity, word: Option<(Style, &str)>, text: impl Display) {
        if self.verbosity >= least {
            let word = word.map(|(style, word)| self.talk.text(style, word) + " ").unwrap_or_default();
            write_talk(&format!("{word}{}\n", visible::lines(&text.to_string())));
        }
    }
}

fn terminal_width() -> usize {
    let width = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
    width.filter(|width| *width > 0).unwrap_or(USUAL_WIDTH)
}

fn write_data(bytes: &[u8]) -> Result<(), CommandError> {
    let mut output = io::stdout().lock();
    output.write_all(bytes).and_then(|()| output.flush()).map_err(CommandError::Output)
}

/// Writes to standard error. Failures are ignored, since no stream is left to report them.
pub fn write_talk(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Formats a size, e.g. `2.4 MB`.
pub use crate::base::told_bytes as bytes;

/// Formats a number with its noun, e.g. `1 blob`, `3 blobs`.
pub fn count(number: impl TryInto<u64>, noun: &str) -> String {
    match number.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_digit_after_the_point() {
        let expected = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (2_400_000, "2.4 MB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (number, text) in expected {
            assert_eq!(bytes(number), text);
        }
        assert_eq!((count(1_usize, "blob"), count(0_u64, "blob")), ("1 blob".to_owned(), "0 blobs".to_owned()));
    }

    #[test]
    fn colours_are_a_terminals_unless_asked_for() {
        let mut no_color = Settings::default();
        no_color.no_color = true;
        let choose =
            |choice, is_terminal, settings: &Settings| Paint::choose(choice, is_terminal, settings) == Paint::Colored;
        assert!(choose(ColorChoice::Auto, true, &Settings::default()));
        assert!(!choose(ColorChoice::Auto, false, &Settings::default()));
        assert!(!choose(ColorChoice::Auto, true, &no_color));
        assert!(choose(ColorChoice::Always, false, &no_color));
        assert!(!choose(ColorChoice::Never, true, &Settings::default()));
    }
}
