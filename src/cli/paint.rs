//! Colours: the styles of words, and whether a stream gets them.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

use super::{ColorChoice, settings::Settings};

/// The word `error:`.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
/// The word `warning:`.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// The word `hint:`.
pub const HINT: Style = AnsiColor::Cyan.on_default().bold();
/// The words before a cause or a place.
pub const CAUSE: Style = AnsiColor::Blue.on_default().bold();
/// Headings of tables, and labels.
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

    /// Colours or plain text for a stream: the user's choice, else what the stream and the environment allow.
    pub fn choose(choice: ColorChoice, is_terminal: bool, settings: &Settings) -> Self {
        let colored = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => is_terminal && !settings.no_color && !settings.plain_terminal,
        };
        if colored { Self::Colored } else { Self::Plain }
    }
}
