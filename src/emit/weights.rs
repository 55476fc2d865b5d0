//! Weight files of a component: which constants lie in which byte range of which file, decided before any program
//! exists.
//!
//! A plan depends on the constants alone, never on a shape or target, so all programs of a component refer to the same
//! bytes. Formats differ in the order of constants and in the bytes between them; a place is a file and a byte range,
//! so a format can refer to a file of another one.

use std::collections::HashMap;

use crate::{
    base::{Blake3, ByteRange},
    mil::{Constant, Literal, Recipe},
};

/// Places of a component's constants.
#[derive(Debug, Clone, Default)]
pub struct WeightPlan {
    files: Vec<WeightFile>,
    /// Index of the file, and of the constant in it.
    places: HashMap<Blake3, (usize, usize)>,
    inline: Vec<Constant>,
    values: HashMap<Blake3, Literal>,
}

/// One weight file of a plan.
#[derive(Debug, Clone)]
pub struct WeightFile {
    name: String,
    constants: Vec<Constant>,
    ranges: Vec<ByteRange>,
    pieces: Vec<WeightPiece>,
}

/// A part of a weight file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightPiece {
    /// Bytes of the format: headers, records, padding.
    Bytes(Vec<u8>),
    /// The data of the file's constant with this index.
    Constant(usize),
}

/// The place of a constant's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightPlace<'p> {
    /// Name of the weight file, e.g. `weight.bin`.
    pub file: &'p str,
    /// The bytes of the data in that file.
    pub range: ByteRange,
}

impl WeightPlan {
    /// A plan of `files`. The programs hold the constants in `inline`, whose values are set later by
    /// [`set_values`](Self::set_values).
    pub fn new(files: Vec<WeightFile>, inline: Vec<Constant>) -> Self {
        let mut places = HashMap::new();
        for (file, planned) in files.iter().enumerate() {
            let keys = planned.constants.iter().enumerate();
            places.extend(keys.map(|(index, constant)| (constant.key(), (file, index))));
        }
        Self { files, places, inline, values: HashMap::new() }
    }

    /// The weight files; none where programs hold every constant.
    pub fn files(&self) -> &[WeightFile] {
        &self.files
    }

    /// The file of that name.
    pub fn file(&self, name: &str) -> Option<&WeightFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The place of a constant; `None` where it lies in no weight file.
    pub fn place(&self, recipe: &Recipe) -> Option<WeightPlace<'_>> {
        let (file, index) = *self.places.get(&recipe.key())?;
        let file = &self.files[file];
        Some(WeightPlace { file: &file.name, range: file.ranges[index] })
    }

    /// The constants in programs that are no literals, each once.
    pub fn inline(&self) -> &[Constant] {
        &self.inline
    }

    /// Sets the little-endian bytes of an [`inline`](Self::inline) constant.
    pub fn set_values(&mut self, constant: &Recipe, bytes: Vec<u8>) {
        self.values.insert(constant.key(), Literal::Packed(bytes));
    }

    /// The values of an [`inline`](Self::inline) constant, once they are set.
    pub fn values(&self, recipe: &Recipe) -> Option<&Literal> {
        self.values.get(&recipe.key())
    }
}

impl WeightFile {
    /// A file with `constants` at `ranges`, sorted by offset, that consists of `pieces`.
    pub fn new(name: String, constants: Vec<Constant>, ranges: Vec<ByteRange>, pieces: Vec<WeightPiece>) -> Self {
        Self { name, constants, ranges, pieces }
    }

    /// The name, e.g. `weight.bin`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The constants and the ranges of their data, sorted by offset.
    pub fn constants(&self) -> impl ExactSizeIterator<Item = (&Constant, ByteRange)> {
        self.constants.iter().zip(self.ranges.iter().copied())
    }

    /// The constant of that index.
    ///
    /// # Panics
    /// When the file has fewer constants.
    pub fn constant(&self, index: usize) -> &Constant {
        &self.constants[index]
    }

    /// The constant whose data starts at `offset`.
    pub fn constant_at(&self, offset: u64) -> Option<(&Constant, ByteRange)> {
        let index = self.ranges.binary_search_by_key(&offset, ByteRange::offset).ok()?;
        Some((&self.constants[index], self.ranges[index]))
    }

    /// The whole file, first to last byte.
    pub fn pieces(&self) -> &[WeightPiece] {
        &self.pieces
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        let length = |piece: &WeightPiece| match piece {
            WeightPiece::Bytes(bytes) => bytes.len() as u64,
            WeightPiece::Constant(index) => self.ranges[*index].length(),
        };
        self.pieces.iter().map(length).sum()
    }

    /// Bytes of data, without those of the format.
    pub fn data_length(&self) -> u64 {
        self.ranges.iter().map(ByteRange::length).sum()
    }

    /// Hash of the file's recipes and of the format's bytes: with the digests of the checkpoint, it identifies the
    /// file's content.
    pub fn key(&self) -> Blake3 {
        let mut hasher = blake3::Hasher::new();
        for piece in &self.pieces {
            match piece {
                WeightPiece::Bytes(bytes) => hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes),
                WeightPiece::Constant(index) => hasher.update(self.constants[*index].key().as_bytes()),
            };
        }
        Blake3::from_bytes(*hasher.finalize().as_bytes())
    }
}
