//! Positions of the tokens of a call.

use crate::{
    arch::ArchError,
    mil::{Builder, Value, Var},
};

/// Which positions the tokens of a call have.
#[derive(Debug, Clone, Copy)]
pub enum Positions {
    /// 0, 1, ... up to a length.
    FromStart(u64),
    /// `count` positions from `first` on, an int32 `[1]`.
    From {
        /// Position of the first token.
        first: Var,
        /// How many tokens.
        count: u64,
    },
}

impl Positions {
    /// How many there are.
    pub fn count(&self) -> u64 {
        match *self {
            Self::FromStart(count) | Self::From { count, .. } => count,
        }
    }

    /// The positions as int32 `[count]`.
    ///
    /// # Errors
    /// When `first` is no int32.
    pub fn indices(&self, builder: &mut Builder) -> Result<Var, ArchError> {
        let steps: Vec<i32> = (0..i32::try_from(self.count()).unwrap_or(i32::MAX)).collect();
        match *self {
            Self::FromStart(_) => Ok(builder.constant("positions", Value::ints(&steps))),
            Self::From { first, count: 1 } => Ok(first),
            Self::From { first, .. } => Ok(builder.add("positions", Value::ints(&steps), first)?),
        }
    }
}
