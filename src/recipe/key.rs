//! Keys of recipes: a hash over the steps.

use crate::{base::Blake3, recipe::Recipe};

/// Hashes the steps of a recipe. Every text and list begins with its length, so that no two different steps feed the
/// same bytes.
#[derive(Default)]
pub(super) struct KeyHasher(blake3::Hasher);

impl KeyHasher {
    /// Feeds a whole recipe.
    pub(super) fn recipe(&mut self, recipe: &Recipe) {
        recipe.step.get().feed(recipe, self);
    }

    /// Begins a step: the element type of its result, and its name.
    pub(super) fn begin(&mut self, recipe: &Recipe, step: &str) {
        self.text(recipe.dtype.name());
        self.text(step);
    }

    pub(super) fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.0.update(&(value.len() as u64).to_le_bytes());
        self.0.update(value);
    }

    pub(super) fn numbers(&mut self, values: &[u64]) {
        self.0.update(&(values.len() as u64).to_le_bytes());
        for value in values {
            self.0.update(&value.to_le_bytes());
        }
    }

    pub(super) fn finish(self) -> Blake3 {
        Blake3::from_bytes(*self.0.finalize().as_bytes())
    }
}
