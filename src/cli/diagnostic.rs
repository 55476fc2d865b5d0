//! Errors as people and Xcode read them: message, place, causes, an empty line, hints. Every command's errors end here.
//!
//! ```text
//! error: digest mismatch: expected sha256:..., received sha256:...
//!   caused by: ...
//!
//! hint: fetch again
//! ```
//!
//! In a build phase of Xcode a mistake with a place begins with it, `/path/file.toml:12:5: error: ...`, so that the IDE jumps there.

use std::{error::Error as StdError, io, panic::PanicHookInfo, path::PathBuf};

use serde::Serialize;

use super::{
    printer::{CAUSE, ERROR, HINT, Paint},
    settings::SettingsError,
};
use crate::workflow::{self, ErrorKind, Place};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The verb failed.
    #[error(transparent)]
    Workflow(Box<workflow::Error>),
    /// The environment.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Flags that do not go together in a way that their declarations cannot say.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: &'static str,
        /// What would be right.
        hint: &'static str,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// Standard input cannot be read.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    /// No threads for CPU work.
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
    /// Whether whoever reads standard output has seen enough, as `head` does.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Workflow(error) => error.kind(),
            Self::Settings(_) | Self::Usage { .. } | Self::Output(_) | Self::Input(_) | Self::Threads { .. } => ErrorKind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Workflow(error) => error.hints(),
            Self::Settings(error) => error.hint().into_iter().collect(),
            Self::Usage { hint, .. } => vec![(*hint).to_owned()],
            Self::Output(_) | Self::Input(_) | Self::Threads { .. } => Vec::new(),
        }
    }
}

/// An error, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Who can do something about it.
    pub kind: ErrorKind,
    /// What went wrong.
    pub message: String,
    /// Where the mistake stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<DiagnosticPlace>,
    /// Why, from near to far.
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
}

impl From<Place> for DiagnosticPlace {
    fn from(Place { path, line, column }: Place) -> Self {
        Self { path: std::path::absolute(&path).unwrap_or(path), line, column }
    }
}

impl Diagnostic {
    /// What is to be said about an error.
    pub fn of(error: &CommandError) -> Self {
        let place = match error {
            CommandError::Workflow(error) => error.place(),
            _ => None,
        };
        let message = without_place(error.to_string(), place.as_ref());
        Self { kind: error.kind(), message, place: place.map(Into::into), causes: causes(error), hints: error.hints() }
    }

    /// The lines for people, each with its line feed.
    pub fn render(&self, paint: Paint, xcode: bool) -> String {
        let error = paint.text(ERROR, "error:");
        let message = indented(&self.message);
        let mut out = match &self.place {
            Some(DiagnosticPlace { path, line, column }) if xcode => format!("{}:{line}:{column}: {error} {message}\n", path.display()),
            Some(DiagnosticPlace { path, line, column }) => {
                format!("{error} {message}\n  {} {}:{line}:{column}\n", paint.text(CAUSE, "-->"), path.display())
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

/// A message that begins with its place says it once.
fn without_place(message: String, place: Option<&Place>) -> String {
    let prefix = place.map(|Place { path, line, column }| format!("{}:{line}:{column}: ", path.display()));
    prefix.and_then(|prefix| Some(message.strip_prefix(&prefix)?.to_owned())).unwrap_or(message)
}

/// Lines after the first stand below it.
fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n  ")
}

/// The sources of an error. One that its holder's message already ends with is not repeated.
fn causes(error: &dyn StdError) -> Vec<String> {
    let mut last = error.to_string();
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        if !last.ends_with(&text) {
            causes.push(text.clone());
            last = text;
        }
        next = source.source();
    }
    causes
}

/// What a panic says: that it is a bug of mlreg.
pub fn render_panic(info: &PanicHookInfo<'_>, paint: Paint) -> String {
    let payload = info.payload();
    let what = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("panic");
    let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
    format!(
        "{} internal error: {}{place}\n\n{} this is a bug in mlreg {}; please report it with the command that you ran\n",
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
        let place = place.then(|| DiagnosticPlace { path: "/app/tae.toml".into(), line: 12, column: 5 });
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
        assert!(
            diagnostic(true).render(Paint::Plain, false).starts_with("error: one\n  two\n  --> /app/tae.toml:12:5\n  caused by: three\n")
        );
        assert!(diagnostic(true).render(Paint::Plain, true).starts_with("/app/tae.toml:12:5: error: one\n  two\n  caused by: three\n"));
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
