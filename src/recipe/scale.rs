//! Every element times one factor.

use std::{borrow::Cow, fmt, ops::Range, sync::Arc};

use super::{
    ConvertError, Evaluator, Origin, Recipe,
    key::KeyHasher,
    numbers,
    step::{Reader, Step, locate, width},
};

/// Multiplies in float64 and rounds once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    input: Arc<Recipe>,
    factor: f64,
}

impl Recipe {
    /// Every element times `factor`. The elements are floating point numbers, which evaluating checks.
    pub fn scale(self: &Arc<Self>, factor: f64) -> Arc<Self> {
        Self::new(self.dtype, &self.shape, Scale { input: self.clone(), factor })
    }
}

impl Step for Scale {
    fn inputs(&self) -> Vec<&Recipe> {
        vec![&self.input]
    }

    fn feed(&self, recipe: &Recipe, key: &mut KeyHasher) {
        key.begin(recipe, "scale");
        key.numbers(&[self.factor.to_bits()]);
        key.recipe(&self.input);
    }

    fn origin(&self, _recipe: &Recipe, index: u64) -> (Origin, u64) {
        self.input.origin(index)
    }

    fn print(&self, _recipe: &Recipe, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} * {}", self.input, self.factor)
    }

    fn open<'a>(&'a self, recipe: &'a Recipe, evaluator: &'a Evaluator<'_>) -> Result<Box<dyn Reader + 'a>, ConvertError> {
        width(recipe.dtype(), "scaled")?;
        Ok(Box::new(ScaledElements { input: evaluator.open(&self.input)?, factor: self.factor, recipe }))
    }
}

struct ScaledElements<'a> {
    input: Box<dyn Reader + 'a>,
    factor: f64,
    recipe: &'a Recipe,
}

impl Reader for ScaledElements<'_> {
    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, ConvertError> {
        let first = range.start;
        let scaled = numbers::scale(&self.input.read(range)?, self.recipe.dtype(), self.factor);
        scaled.map(Cow::Owned).map_err(|bad| locate(bad, first, self.recipe))
    }

    fn release(&self, range: Option<Range<u64>>) {
        self.input.release(range);
    }
}
