//! Evaluates recipes: from a checkpoint's tensors to the bytes of a weight file, streamed in pieces, several pieces at
//! a time in parallel.

use std::{io, sync::Arc};

use rayon::prelude::*;

use super::{ConvertError, Recipe, memory::Memory, step::Reader};
use crate::checkpoint::Weights;

/// Elements that one piece holds; a multiple of 8, so that a piece of any element type begins at a whole byte.
pub(super) const PIECE: u64 = 256 << 10;
/// Pieces that are made at once.
pub(super) const AT_ONCE: u64 = 16;
/// Bytes of intermediate results that are kept for other recipes.
const KEPT_BYTES: u64 = 32 << 20;

/// Makes the bytes of recipes from the tensors of one checkpoint.
///
/// A recipe of mapped tensors takes a few pieces of memory, whatever its size. A step that needs all elements of its
/// input at once takes them as one intermediate result; results are kept within a bound, so that recipes which share
/// one compute it once. Rounding is to nearest even. A finite number that becomes infinite is an error, and so is a
/// stored number that is not finite, since it would spoil every result of the model.
#[derive(Debug)]
pub struct Evaluator<'w> {
    weights: &'w dyn Weights,
    memory: Memory,
}

impl<'w> Evaluator<'w> {
    /// Evaluates with 32 MiB of intermediate results at most.
    pub fn new(weights: &'w dyn Weights) -> Self {
        Self::keeping(weights, KEPT_BYTES)
    }

    /// Evaluates with `bytes` of intermediate results at most; a larger result is made again for each recipe that needs
    /// it.
    pub fn keeping(weights: &'w dyn Weights, bytes: u64) -> Self {
        Self { weights, memory: Memory::new(bytes) }
    }

    /// Writes the recipe's bytes to `out`, in order: little-endian, row-major, elements of less than a byte as one bit
    /// stream, low bits first.
    ///
    /// # Errors
    /// When a tensor is missing or differs from what the recipe expects, a number does not fit, or `out` fails. Some
    /// bytes may have been written by then.
    pub fn write(&self, recipe: &Recipe, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), ConvertError> {
        let reader = self.open(recipe)?;
        let elements = recipe.elements().unwrap_or(0);
        let mut begin = 0;
        while begin < elements {
            let end = elements.min(begin + PIECE * AT_ONCE);
            let starts: Vec<u64> = (begin..end).step_by(PIECE as usize).collect();
            let pieces: Vec<_> =
                starts.into_par_iter().map(|start| reader.read(start..end.min(start + PIECE))).collect();
            // In order, so that of several errors it is always the first that is reported.
            for piece in pieces {
                out(&piece?).map_err(ConvertError::Write)?;
            }
            reader.release(Some(begin..end));
            begin = end;
        }
        reader.release(None);
        Ok(())
    }

    /// The recipe's bytes in memory.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn bytes(&self, recipe: &Recipe) -> Result<Vec<u8>, ConvertError> {
        let mut bytes = Vec::new();
        let mut out = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        self.write(recipe, &mut out)?;
        Ok(bytes)
    }

    /// The tensors that are read.
    pub(super) fn weights(&self) -> &'w dyn Weights {
        self.weights
    }

    /// A recipe's elements, to be read at any range.
    pub(super) fn open<'a>(&'a self, recipe: &'a Recipe) -> Result<Box<dyn Reader + 'a>, ConvertError> {
        recipe.step.get().open(recipe, self)
    }

    /// All bytes of a recipe as an intermediate result, which is kept for others as far as the bound allows.
    pub(super) fn whole(&self, recipe: &Recipe) -> Result<Arc<Vec<u8>>, ConvertError> {
        self.remember(recipe, || self.bytes(recipe))
    }

    /// The bytes of a recipe that can only be made as a whole, such as a fit: kept under the recipe's key for the
    /// recipes that take parts of it.
    pub(super) fn remember(
        &self,
        recipe: &Recipe,
        make: impl FnOnce() -> Result<Vec<u8>, ConvertError>,
    ) -> Result<Arc<Vec<u8>>, ConvertError> {
        self.memory.get(recipe.key(), make)
    }
}
