//! The same numbers in another element type.

use std::{borrow::Cow, fmt, ops::Range, sync::Arc};

use super::{
    ConvertError, Evaluator, Origin, Recipe,
    key::KeyHasher,
    numbers,
    step::{Reader, Step, locate, width},
};
use crate::types::DataType;

/// Rounds to nearest even. A finite number that the type cannot hold is an error.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cast {
    input: Arc<Recipe>,
}

impl Recipe {
    /// This recipe's elements as `dtype`; itself where it has that type already.
    pub fn cast(self: &Arc<Self>, dtype: DataType) -> Arc<Self> {
        if self.dtype == dtype {
            return self.clone();
        }
        Self::new(dtype, &self.shape, Cast { input: self.clone() })
    }
}

impl Step for Cast {
    fn inputs(&self) -> Vec<&Recipe> {
        vec![&self.input]
    }

    fn feed(&self, recipe: &Recipe, key: &mut KeyHasher) {
        key.begin(recipe, "cast");
        key.recipe(&self.input);
    }

    fn origin(&self, _recipe: &Recipe, index: u64) -> (Origin, u64) {
        self.input.origin(index)
    }

    fn print(&self, recipe: &Recipe, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.input, recipe.dtype())
    }

    fn open<'a>(&'a self, recipe: &'a Recipe, evaluator: &'a Evaluator<'_>) -> Result<Box<dyn Reader + 'a>, ConvertError> {
        width(self.input.dtype(), "cast")?;
        Ok(Box::new(CastElements { input: evaluator.open(&self.input)?, from: self.input.dtype(), recipe }))
    }
}

struct CastElements<'a> {
    input: Box<dyn Reader + 'a>,
    from: DataType,
    recipe: &'a Recipe,
}

impl Reader for CastElements<'_> {
    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, ConvertError> {
        let first = range.start;
        let cast = numbers::cast(&self.input.read(range)?, self.from, self.recipe.dtype());
        cast.map(Cow::Owned).map_err(|bad| locate(bad, first, self.recipe))
    }

    fn release(&self, range: Option<Range<u64>>) {
        self.input.release(range);
    }
}
