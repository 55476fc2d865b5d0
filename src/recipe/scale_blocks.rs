//! Every element of a matrix times the scale of its block, as in checkpoints of 8-bit floats.

use std::{borrow::Cow, fmt, ops::Range, sync::Arc};

use super::{
    ConvertError, Evaluator, Origin, Recipe,
    key::KeyHasher,
    numbers,
    step::{Reader, Step, locate},
};
use crate::types::DataType;

/// Multiplies in float64 and rounds to float32 once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ScaleBlocks {
    input: Arc<Recipe>,
    /// A scale for every block, of float32.
    scales: Arc<Recipe>,
    /// Rows and columns of a block; those at the ends may be smaller.
    block: [u64; 2],
}

impl Recipe {
    /// Every element of a matrix times the scale of its block of `block` rows and columns; `None` where something else
    /// than a matrix of float32 is scaled, or the scales are not one of float32 for each block.
    pub fn scale_blocks(self: &Arc<Self>, scales: &Arc<Self>, block: [u64; 2]) -> Option<Arc<Self>> {
        let [rows, columns] = <[u64; 2]>::try_from(self.shape.as_slice()).ok()?;
        let blocks = [
            rows.checked_div(block[0])? + u64::from(rows % block[0] > 0),
            columns.checked_div(block[1])? + u64::from(columns % block[1] > 0),
        ];
        let floats = self.dtype == DataType::Float32 && scales.dtype == DataType::Float32;
        (floats && scales.shape == blocks)
            .then(|| Self::new(self.dtype, &self.shape, ScaleBlocks { input: self.clone(), scales: scales.clone(), block }))
    }
}

impl Step for ScaleBlocks {
    fn inputs(&self) -> Vec<&Recipe> {
        vec![&self.input, &self.scales]
    }

    fn feed(&self, recipe: &Recipe, key: &mut KeyHasher) {
        key.begin(recipe, "scale blocks");
        key.numbers(self.input.shape());
        key.numbers(&self.block);
        key.recipe(&self.input);
        key.recipe(&self.scales);
    }

    fn origin(&self, _recipe: &Recipe, index: u64) -> (Origin, u64) {
        self.input.origin(index)
    }

    fn print(&self, _recipe: &Recipe, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} * {} per block of {:?}", self.input, self.scales, self.block)
    }

    fn open<'a>(&'a self, recipe: &'a Recipe, evaluator: &'a Evaluator<'_>) -> Result<Box<dyn Reader + 'a>, ConvertError> {
        let scales = evaluator.whole(&self.scales)?;
        let scales = scales.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let blocks = Blocks { columns: recipe.row_length(1), block: self.block, scales };
        Ok(Box::new(ScaledElements { input: evaluator.open(&self.input)?, blocks, recipe }))
    }
}

/// The scales of a matrix's blocks.
struct Blocks {
    /// Columns of the matrix.
    columns: u64,
    /// Rows and columns of a block.
    block: [u64; 2],
    /// Row by row of blocks.
    scales: Vec<f32>,
}

impl Blocks {
    /// The scale of an element.
    fn scale(&self, index: u64) -> f32 {
        let (row, column) = (index / self.columns / self.block[0], index % self.columns / self.block[1]);
        self.scales[(row * self.columns.div_ceil(self.block[1]) + column) as usize]
    }
}

struct ScaledElements<'a> {
    input: Box<dyn Reader + 'a>,
    blocks: Blocks,
    recipe: &'a Recipe,
}

impl Reader for ScaledElements<'_> {
    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, ConvertError> {
        let first = range.start;
        let scaled = numbers::scale_each(&self.input.read(range)?, |index| self.blocks.scale(first + index));
        scaled.map(Cow::Owned).map_err(|bad| locate(bad, first, self.recipe))
    }

    fn release(&self, range: Option<Range<u64>>) {
        self.input.release(range);
    }
}
