//! Where the bytes of a program's constants come from.

use std::borrow::Cow;

use super::Recipe;

/// Why the bytes of a constant cannot be had, as the source says it.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Makes the bytes of constants. Literals never get here.
pub trait ConstantSource: std::fmt::Debug + Sync {
    /// The bytes of `recipe`, laid out as in a weight file; borrowed where they are mapped.
    ///
    /// # Errors
    /// When they cannot be made.
    fn bytes(&self, recipe: &Recipe) -> Result<Cow<'_, [u8]>, SourceError>;
}

/// The source of programs whose constants all stand in place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Literals;

/// A constant that does not stand in place.
#[derive(Debug, thiserror::Error)]
#[error("the constant is not a literal and no weights were given")]
struct NotLiteral;

impl ConstantSource for Literals {
    fn bytes(&self, recipe: &Recipe) -> Result<Cow<'_, [u8]>, SourceError> {
        let literal = recipe.as_literal().ok_or(NotLiteral)?;
        Ok(Cow::Owned(literal.to_bytes(recipe.dtype()).unwrap_or_default().into_owned()))
    }
}
