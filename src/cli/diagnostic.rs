//! Formats the errors of every command: message, place, causes, an empty line, hints.
//!
//! ```text
//! error: unknown key `licence` in `[package]`
//!   --> /app/tae.toml:3:1
//!    |
//!  3 | licence = "MIT"
//!    | ^^^^^^^
//!
//! hint: did you mean `license`?
//! ```
//!
//! In a build phase of Xcode, an error with a place begins with it, `/path/file.toml:12:5: error: ...`, so that the IDE
//! can jump there.

use std::{
    error::Error as StdError,
    fs::File,
    io::{self, Read},
    panic::PanicHookInfo,
    path::{Path, PathBuf},
};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::{
    paint::{CAUSE, ERROR, HINT, Paint},
    settings::SettingsError,
    visible,
};
use crate::{
    remote,
    workflow::{self, ErrorKind, Place},
};

/// Longest file that is read to quote a line, in bytes.
const LONGEST_SOURCE: u64 = 1 << 20;
/// Characters of a long line that are quoted on each side of the error.
const AROUND: usize = 60;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A verb of `workflow` failed.
    #[error(transparent)]
    Workflow(Box<workflow::Error>),
    /// The environment cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Flags contradict each other in a way that clap cannot express.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: &'static str,
        /// What would be right.
        hint: &'static str,
    },
    /// A deletion that cannot be undone lacks a confirmation.
    #[error("{action} cannot be undone, and there is no terminal to ask on")]
    Unconfirmed {
        /// What is to be done.
        action: String,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// Standard input cannot be read.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    /// The thread pool cannot be created.
    #[error("cannot start {jobs} threads")]
    Threads {
        /// How many were asked for.
        jobs: usize,
        /// What rayon says.
        #[source]
        source: rayon::ThreadPoolBuildError,
    },
}

impl From<workflow::Error> for CommandError {
    fn from(error: workflow::Error) -> Self {
        Self::Workflow(Box::new(error))
    }
}

impl CommandError {
    /// Whether the reader of standard output closed it, as `head` does.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Workflow(error) => error.kind(),
            Self::Settings(_)
            | Self::Usage { .. }
            | Self::Unconfirmed { .. }
            | Self::Output(_)
            | Self::Input(_)
            | Self::Threads { .. } => ErrorKind::Input,
        }
    }

    /// Whether the command line is wrong ([`Exit::Usage`](super::Exit::Usage)).
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Usage { .. } | Self::Unconfirmed { .. })
    }

    fn hints(&self) -> Vec<String> {
        let mut hints = match self {
            Self::Workflow(error) => error.hints(),
            Self::Settings(error) => error.hint().into_iter().collect(),
            Self::Usage { hint, .. } => vec![(*hint).to_owned()],
            Self::Unconfirmed { .. } => vec!["look with `--dry-run`, then say `--yes`".to_owned()],
            Self::Output(_) | Self::Input(_) | Self::Threads { .. } => Vec::new(),
        };
        if matches!(self, Self::Workflow(_)) {
            hints.extend(system_hint(self));
        }
        hints
    }
}

/// A hint for an I/O error of a disk or folder.
fn system_hint(error: &(dyn StdError + 'static)) -> Option<String> {
    let chain =
        std::iter::successors(Some(error), |&error| error.source().filter(|_| !remote::is_of_the_client(error)));
    let kind = chain.filter_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind).last()?;
    let hint = match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: `mlreg gc` deletes what can be fetched again; `--home DIR` puts the store on another \
             disk"
        }
        io::ErrorKind::PermissionDenied => {
            "check the owner and the mode of the file or folder; `--home DIR` puts the store elsewhere"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only: `--home DIR` puts the store elsewhere, `--out DIR` the bundles"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// An error in the form that is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Kind of the error, which decides the exit code.
    pub kind: ErrorKind,
    /// Message.
    pub message: String,
    /// Place of the error in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<DiagnosticPlace>,
    /// Causes, the nearest first.
    pub causes: Vec<String>,
    /// Next steps.
    pub hints: Vec<String>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiagnosticPlace {
    /// The file, as far as possible absolute.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// Text of the line, if the file can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl From<Place> for DiagnosticPlace {
    fn from(Place { path, line, column }: Place) -> Self {
        let text = line_of(&path, line);
        Self { path: std::path::absolute(&path).unwrap_or(path), line, column, text }
    }
}

/// A line of a text file, without its end.
fn line_of(path: &Path, line: usize) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(LONGEST_SOURCE).read_to_string(&mut text).ok()?;
    text.lines().nth(line.checked_sub(1)?).map(str::to_owned)
}

/// Formats the line of a place with the error underlined.
fn excerpt(place: &DiagnosticPlace, paint: Paint) -> String {
    let Some(text) = place.text.as_deref().filter(|text| !text.trim().is_empty()) else { return String::new() };
    let at = place.column.saturating_sub(1);
    let width = token(text, at);
    let first = at.saturating_sub(AROUND);
    // Tabs count as one blank, so that the underline stands below what it means.
    let piece = |from: usize, count: usize| {
        visible::line(&text.chars().skip(from).take(count).collect::<String>().replace('\t', " "))
    };
    let (before, marked) = (piece(first, at - first), piece(at, width.min(AROUND)));
    let after = piece(at + width.min(AROUND), AROUND);
    let (indent, caret) = (" ".repeat(before.width()), "^".repeat(marked.width().max(1)));
    let number = place.line.to_string();
    let (gutter, bar) = (" ".repeat(number.len()), paint.text(CAUSE, "|"));
    let line = format!(" {} {bar} {before}{marked}{after}", paint.text(CAUSE, &number));
    format!(" {gutter} {bar}\n{}\n {gutter} {bar} {indent}{}\n", line.trim_end(), paint.text(ERROR, caret))
}

/// Length in characters of the TOML word, string or list that begins at a column.
fn token(line: &str, at: usize) -> usize {
    let rest: Vec<char> = line.chars().skip(at).collect();
    let closing = |open: char, close: char| {
        let mut depth = 0_usize;
        rest.iter().position(|&character| {
            depth += usize::from(character == open);
            depth -= usize::from(character == close && depth > 0);
            character == close && depth == 0
        })
    };
    let content =
        line.chars().skip(at).take_while(|&character| character != '#').collect::<String>().trim_end().chars().count();
    match rest.first() {
        Some(&quote @ ('"' | '\'')) => {
            rest[1..].iter().position(|&character| character == quote).map_or(rest.len(), |end| end + 2)
        }
        Some('[') => closing('[', ']').map_or(content, |end| end + 1),
        Some('{') => closing('{', '}').map_or(content, |end| end + 1),
        _ => rest.iter().take_while(|&&character| !character.is_whitespace() && !"=,]}#".contains(character)).count(),
    }
}

impl Diagnostic {
    /// Collects message, place, causes and hints of an error.
    pub fn of(error: &CommandError) -> Self {
        let place = match error {
            CommandError::Workflow(error) => error.place(),
            _ => None,
        };
        let message = without_place(error.to_string(), place.as_ref());
        Self { kind: error.kind(), message, place: place.map(Into::into), causes: causes(error), hints: error.hints() }
    }

    /// Formats the error as lines for a terminal, a log or Xcode.
    pub fn render(&self, paint: Paint, xcode: bool) -> String {
        let error = paint.text(ERROR, "error:");
        let message = indented(&self.message);
        let mut out = match &self.place {
            Some(place @ DiagnosticPlace { line, column, .. }) => {
                let path = visible::line(&place.path.display().to_string());
                match xcode {
                    true => format!("{path}:{line}:{column}: {error} {message}\n"),
                    false => format!(
                        "{error} {message}\n  {} {path}:{line}:{column}\n{}",
                        paint.text(CAUSE, "-->"),
                        excerpt(place, paint)
                    ),
                }
            }
            None => format!("{error} {message}\n"),
        };
        for cause in &self.causes {
            out += &format!("  {} {}\n", paint.text(CAUSE, "caused by:"), indented(cause));
        }
        if !self.hints.is_empty() {
            out.push('\n');
        }
        for hint in &self.hints {
            out += &format!("{} {}\n", paint.text(HINT, "hint:"), indented(hint));
        }
        out
    }
}

/// Removes the place from the beginning of a message, since it is printed separately.
fn without_place(message: String, place: Option<&Place>) -> String {
    let prefix = place.map(|Place { path, line, column }| format!("{}:{line}:{column}: ", path.display()));
    prefix.and_then(|prefix| Some(message.strip_prefix(&prefix)?.to_owned())).unwrap_or(message)
}

/// Indents all lines after the first, and escapes control characters.
fn indented(text: &str) -> String {
    visible::lines(text.trim_end()).replace('\n', "\n  ").replace("\n  \n", "\n\n")
}

/// The sources of an error. One that its holder's message already ends with is not repeated, and of the layers of the
/// HTTP client only the innermost says something.
fn causes(error: &dyn StdError) -> Vec<String> {
    let mut last = error.to_string();
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(mut source) = next {
        if remote::is_of_the_client(source) {
            source = std::iter::successors(Some(source), |&source| source.source()).last().unwrap_or(source);
        }
        let text = source.to_string();
        if !last.ends_with(&text) {
            causes.push(text.clone());
            last = text;
        }
        next = source.source();
    }
    causes
}

/// Formats a panic as a bug of mlreg.
pub fn render_panic(info: &PanicHookInfo<'_>, paint: Paint) -> String {
    let payload = info.payload();
    let what = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("panic");
    let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
    format!(
        "{} internal error: {}{place}\n\n{} this is a bug in mlreg {}; please report it with the command that you \
         ran\n",
        paint.text(ERROR, "error:"),
        indented(what),
        paint.text(HINT, "hint:"),
        env!("CARGO_PKG_VERSION"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(place: bool) -> Diagnostic {
        let text = Some("size = [768, \"a\"]  # x".to_owned());
        let place = place.then(|| DiagnosticPlace { path: "/app/tae.toml".into(), line: 12, column: 14, text });
        Diagnostic {
            kind: ErrorKind::Input,
            message: "one\ntwo".to_owned(),
            place,
            causes: vec!["three".to_owned(), "four".to_owned()],
            hints: vec!["five".to_owned()],
        }
    }

    #[test]
    fn message_causes_empty_line_hints() {
        let expected = "error: one\n  two\n  caused by: three\n  caused by: four\n\nhint: five\n";
        assert_eq!(diagnostic(false).render(Paint::Plain, false), expected);
    }

    #[test]
    fn a_place_stands_where_the_reader_looks_for_it() {
        let expected = "error: one\n  two\n  --> /app/tae.toml:12:14\n    |\n 12 | size = [768, \"a\"]  # x\n    |              ^^^\n  caused by: three\n";
        let shown = diagnostic(true).render(Paint::Plain, false);
        assert!(shown.starts_with(expected), "{shown}");
        assert!(
            diagnostic(true)
                .render(Paint::Plain, true)
                .starts_with("/app/tae.toml:12:14: error: one\n  two\n  caused by: three\n")
        );
    }

    #[test]
    fn words_texts_and_lists_are_underlined_whole() {
        for (line, at, expected) in [
            ("licence = \"MIT\"", 0, "licence"),
            ("size = [7, [8, 9], 7]", 7, "[7, [8, 9], 7]"),
            ("exclude = [{ a = 1 }, {", 22, "{"),
            ("name = \"open", 7, "\"open"),
            ("  batch = 0x7,", 10, "0x7"),
            ("[package", 8, ""),
            ("größe = 'a b' # c", 8, "'a b'"),
        ] {
            let found: String = line.chars().skip(at).take(token(line, at)).collect();
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn a_long_line_is_shown_around_its_mistake() {
        let text = Some(format!("{}\tkey = {}", "\u{1b}".repeat(100), "x".repeat(500)));
        let place = DiagnosticPlace { path: "/a".into(), line: 1, column: 102, text };
        let lines: Vec<String> = excerpt(&place, Paint::Plain).lines().map(str::to_owned).collect();
        assert!(
            lines[1].ends_with(&format!(" key = {}", "x".repeat(57))) && lines[1].starts_with(" 1 | \\u{1b}"),
            "{lines:?}"
        );
        assert_eq!(lines[2].find('^'), lines[1].find("key"));
        assert!(lines[2].ends_with("^^^"));
    }

    #[test]
    fn messages_of_strangers_command_no_terminal() {
        let diagnostic = Diagnostic {
            message: "a\u{1b}[2J\rb".to_owned(),
            causes: vec!["\u{9b}31m".to_owned()],
            ..diagnostic(false)
        };
        let shown = diagnostic.render(Paint::Plain, false);
        assert!(shown.starts_with("error: a\\u{1b}[2J\\rb\n  caused by: \\u{9b}31m\n"), "{shown}");
    }

    #[test]
    fn a_place_is_said_once() {
        let place = Place { path: "tae.toml".into(), line: 3, column: 1 };
        assert_eq!(without_place("tae.toml:3:1: unknown key".to_owned(), Some(&place)), "unknown key");
        assert_eq!(without_place("unknown key".to_owned(), Some(&place)), "unknown key");
        assert_eq!(without_place("tae.toml:3:1: unknown key".to_owned(), None), "tae.toml:3:1: unknown key");
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let colored = diagnostic(true).render(Paint::Colored, false);
        assert!(colored.starts_with("\u{1b}["));
        assert_eq!(anstream::adapter::strip_str(&colored).to_string(), diagnostic(true).render(Paint::Plain, false));
    }

    #[test]
    fn causes_that_were_said_are_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("{text}")]
        struct Layer {
            text: &'static str,
            #[source]
            source: Option<Box<Layer>>,
        }
        let layer = |text, source: Option<Layer>| Layer { text, source: source.map(Box::new) };
        let error = layer("cannot read: no space", Some(layer("no space", Some(layer("disk", None)))));
        assert_eq!(causes(&error), ["disk"]);
    }
}
