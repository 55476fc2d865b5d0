//! Parsers of the numbers that options take.

/// Why a text is not a number that an option takes.
#[derive(Debug, thiserror::Error)]
pub(super) enum NumberError {
    #[error("expected a number")]
    NotANumber,
    #[error("expected a number that is not negative")]
    Negative,
}

/// Parses a finite number.
pub(super) fn finite(text: &str) -> Result<f64, NumberError> {
    text.parse().ok().filter(|value: &f64| value.is_finite()).ok_or(NumberError::NotANumber)
}

/// Parses a finite number of at least 0.
pub(super) fn not_negative(text: &str) -> Result<f64, NumberError> {
    finite(text).and_then(|value| if value >= 0.0 { Ok(value) } else { Err(NumberError::Negative) })
}
