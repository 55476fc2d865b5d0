//! The same elements under another shape.

use std::{fmt, sync::Arc};

use super::{
    ConvertError, Evaluator, Origin, Recipe,
    key::KeyHasher,
    product,
    step::{Reader, Step},
};

/// Changes no byte, and so no key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reshape {
    input: Arc<Recipe>,
}

impl Recipe {
    /// The same elements as `shape`; `None` where their number differs.
    pub fn reshape(self: &Arc<Self>, shape: &[u64]) -> Option<Arc<Self>> {
        if self.shape == shape {
            return Some(self.clone());
        }
        (product(shape)? == product(&self.shape)?).then(|| Self::new(self.dtype, shape, Reshape { input: self.clone() }))
    }
}

impl Step for Reshape {
    fn inputs(&self) -> Vec<&Recipe> {
        vec![&self.input]
    }

    fn feed(&self, _recipe: &Recipe, key: &mut KeyHasher) {
        key.recipe(&self.input);
    }

    fn origin(&self, _recipe: &Recipe, index: u64) -> (Origin, u64) {
        self.input.origin(index)
    }

    fn print(&self, recipe: &Recipe, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} reshaped {:?}", self.input, recipe.shape())
    }

    fn open<'a>(&'a self, _recipe: &'a Recipe, evaluator: &'a Evaluator<'_>) -> Result<Box<dyn Reader + 'a>, ConvertError> {
        evaluator.open(&self.input)
    }
}
