//! What goes where: standard output is data, standard error is talk.
//!
//! Data is a table (see `table`), lines or (`--json`) one document with a `schema` field. Talk is one summary line per command, details with
//! `-v`, errors alone with `-q`. Sizes are decimal (1 MB = 1,000,000 bytes), as the Hub and Apple's Finder count. Whatever is printed as text
//! goes through `visible`, so that names and texts of strangers cannot command the terminal.

use std::{
    fmt::Display,
    io::{self, BufRead, IsTerminal, Write},
};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::{ColorChoice, diagnostic::CommandError, settings::Settings, table, visible};

pub use super::table::Table;

/// Columns of a terminal that does not say how many it has.
const USUAL_WIDTH: usize = 80;

/// The word `error:`.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
/// The word `warning:`.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// The word `hint:`.
pub const HINT: Style = AnsiColor::Cyan.on_default().bold();
/// What leads to a cause or a place.
pub const CAUSE: Style = AnsiColor::Blue.on_default().bold();
/// Headings of tables, names of things.
pub const HEADING: Style = Style::new().bold();

/// Whether a stream gets colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Text alone.
    Plain,
    /// Text with ANSI styles.
    Colored,
}

impl Paint {
    /// The text in a style, if there are styles.
    pub fn text(self, style: Style, text: impl Display) -> String {
        match self {
            Self::Plain => text.to_string(),
            Self::Colored => format!("{style}{text}{style:#}"),
        }
    }

    /// What a stream gets, by what the user wants and what it can.
    pub fn choose(choice: ColorChoice, is_terminal: bool, settings: &Settings) -> Self {
        let colored = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => is_terminal && !settings.no_color && !settings.plain_terminal,
        };
        if colored { Self::Colored } else { Self::Plain }
    }
}

/// How much talk there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors alone.
    Quiet,
    /// Warnings and a summary.
    Normal,
    /// Details, too.
    Verbose,
}

/// The two streams and what may go there.
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
    /// A printer of this process's streams.
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

    /// Whether a person reads results as they come.
    pub fn is_watched(&self) -> bool {
        self.is_terminal && !self.json
    }

    /// Whether talk gets colours.
    pub fn talk_paint(&self) -> Paint {
        self.talk
    }

    /// How much talk there is.
    pub fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Prints a command's result: as the document `mlreg/cli/<command>/1`, or in the way that `text` prints it for people.
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

    /// Prints an error: for people on standard error, and with `--json` as a document.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn error(&self, diagnostic: &super::diagnostic::Diagnostic) -> Result<(), CommandError> {
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

    /// Prints text as data. What a terminal would obey is shown escaped.
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

    /// An empty line between two parts, for people alone.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn gap(&self) -> Result<(), CommandError> {
        self.data("\n")
    }

    /// The line that says what was done.
    pub fn summary(&self, text: impl Display) {
        self.talk(Verbosity::Normal, None, text);
    }

    /// A line for those who want every detail.
    pub fn detail(&self, text: impl Display) {
        self.talk(Verbosity::Verbose, None, text);
    }

    /// What a command decided for the user, and how to decide otherwise.
    pub fn note(&self, text: impl Display) {
        self.talk(Verbosity::Normal, Some((HINT, "note:")), text);
    }

    /// Something that the reader can act upon.
    pub fn warning(&self, text: impl Display) {
        self.talk(Verbosity::Normal, Some((WARNING, "warning:")), text);
    }

    /// What was asked for was done, and its answer is no; said even with `-q`.
    pub fn failure(&self, text: impl Display) {
        self.talk(Verbosity::Quiet, Some((ERROR, "error:")), text);
    }

    /// Asks a question on the terminal. `None` where nobody sits there: standard input or standard error is something else.
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

/// Nobody can be told that standard error is closed.
pub fn write_talk(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A size for people, e.g. `2.4 MB`.
pub use crate::base::told_bytes as bytes;

/// A number and its noun, e.g. `1 blob`, `3 blobs`.
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
        let choose = |choice, is_terminal, settings: &Settings| Paint::choose(choice, is_terminal, settings) == Paint::Colored;
        assert!(choose(ColorChoice::Auto, true, &Settings::default()));
        assert!(!choose(ColorChoice::Auto, false, &Settings::default()));
        assert!(!choose(ColorChoice::Auto, true, &no_color));
        assert!(choose(ColorChoice::Always, false, &no_color));
        assert!(!choose(ColorChoice::Never, true, &Settings::default()));
    }
}
