//! Core ML weight files of a component: constants as records of blob storage, spread over files of limited length.
//!
//! Equal constants are stored once; short ones stay in the programs, as in coremltools.

use std::collections::HashSet;

use super::{
    BlobError, BlobLayout, BlobPiece, BlobRecord, WeightLocation, WeightLookup, WeightRecords, belongs_in_weight_file,
    blob::{ALIGNMENT, padding_bits},
    weight_reference,
};
use crate::{
    base::Blake3,
    emit::{WeightFile, WeightPiece, WeightPlan},
    mil::{Constant, Literal, Recipe},
};

/// Stem of the weight files of one component.
const WEIGHTS: &str = "weight";
/// Stem of the weight files that several components share.
const SHARED: &str = "shared";

/// The greatest length of a weight file in bytes, unless a single constant is longer: some runtimes fail above 2 GB.
pub const WEIGHT_FILE_LIMIT: u64 = 2_000_000_000;

/// Plans files `weight.bin`, `weight_1.bin` and so on with `constants` in their order, each once. Those in `shared` lie
/// in their own order in files `shared.bin`, `shared_1.bin` and so on, which are the same for every component that has
/// all of them. A file ends before the constant with which it would exceed `limit` bytes.
///
/// # Errors
/// For constants that a weight file cannot hold.
pub fn plan_weights(constants: &[Constant], shared: &[Constant], limit: u64) -> Result<WeightPlan, BlobError> {
    let mut planner = Planner { limit, ..Planner::default() };
    for (stem, constants) in [(SHARED, shared), (WEIGHTS, constants)] {
        let first = planner.files.len();
        for constant in constants {
            planner.add(stem, first, constant)?;
        }
    }
    Ok(WeightPlan::new(planner.files.into_iter().map(PlannedFile::finish).collect(), planner.inline))
}

/// Files that are being filled.
#[derive(Default)]
struct Planner {
    files: Vec<PlannedFile>,
    inline: Vec<Constant>,
    /// Keys of the constants that have a place.
    placed: HashSet<Blake3>,
    limit: u64,
}

struct PlannedFile {
    name: String,
    constants: Vec<Constant>,
    layout: BlobLayout,
}

impl Planner {
    /// Adds a constant to the last of the files from `first` on, or to a new one, unless it has a place.
    fn add(&mut self, stem: &str, first: usize, constant: &Constant) -> Result<(), BlobError> {
        if !belongs_in_weight_file(constant) {
            let is_new = constant.as_literal().is_none() && self.placed.insert(constant.key());
            self.inline.extend(is_new.then(|| constant.clone()));
        } else if self.placed.insert(constant.key()) {
            let length = constant.byte_length().ok_or(BlobError::TooLarge)?;
            if self.files.len() == first || self.files.last().is_some_and(|file| !file.has_room(length, self.limit)) {
                self.files.push(PlannedFile::new(stem, self.files.len() - first));
            }
            let last = self.files.len() - 1;
            self.files[last].add(constant)?;
        }
        Ok(())
    }
}

impl PlannedFile {
    fn new(stem: &str, number: usize) -> Self {
        let name = if number == 0 { format!("{stem}.bin") } else { format!("{stem}_{number}.bin") };
        Self { name, constants: Vec::new(), layout: BlobLayout::new() }
    }

    /// Whether the file may hold another `length` bytes; an empty file always may.
    fn has_room(&self, length: u64, limit: u64) -> bool {
        self.constants.is_empty() || self.layout.length_with(length).is_some_and(|total| total <= limit)
    }

    fn add(&mut self, constant: &Constant) -> Result<(), BlobError> {
        self.layout.add(constant.dtype(), constant.elements().ok_or(BlobError::TooLarge)?)?;
        self.constants.push(constant.clone());
        Ok(())
    }

    fn finish(self) -> WeightFile {
        let ranges = self.layout.records().iter().map(|record| record.data).collect();
        let pieces = self.layout.pieces().map(|piece| match piece {
            BlobPiece::Bytes(bytes) => WeightPiece::Bytes(bytes),
            BlobPiece::Data(index) => WeightPiece::Constant(index),
        });
        WeightFile::new(self.name, self.constants, ranges, pieces.collect())
    }
}

/// The record of a constant is the [`ALIGNMENT`] bytes before its data.
impl WeightLookup for WeightPlan {
    fn location(&self, recipe: &Recipe) -> Option<WeightLocation> {
        let place = self.place(recipe)?;
        Some(WeightLocation { file: weight_reference(place.file), offset: place.range.offset() - ALIGNMENT })
    }

    fn values(&self, recipe: &Recipe) -> Option<Literal> {
        self.values(recipe).cloned()
    }
}

/// The records that the planned files will hold.
impl WeightRecords for WeightPlan {
    fn record(&self, file: &str, offset: u64) -> Result<Option<BlobRecord>, BlobError> {
        let planned = self.files().iter().find(|planned| weight_reference(planned.name()) == file);
        let planned = planned.ok_or_else(|| BlobError::NoFile { file: file.to_owned() })?;
        let found = offset.checked_add(ALIGNMENT).and_then(|start| planned.constant_at(start));
        let (constant, data) = found.ok_or(BlobError::NoRecord { offset })?;
        let padding_bits = padding_bits(constant.dtype(), constant.elements().unwrap_or(0));
        Ok(Some(BlobRecord { metadata_offset: offset, dtype: constant.dtype(), data, padding_bits }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mil::DataType;

    #[test]
    fn equal_constants_are_stored_once_and_short_ones_not_at_all() {
        let weight = Recipe::source("a.weight", DataType::Float32, &[4, 4]).cast(DataType::Float16);
        let same = weight.reshape(&[16]).unwrap();
        let short = Recipe::source("a.bias", DataType::Float32, &[9]);
        let other = Recipe::source("b.weight", DataType::Float32, &[10]);
        let constants = [weight.clone(), short.clone(), same.clone(), short.clone(), other.clone()];
        let mut plan = plan_weights(&constants, &[], WEIGHT_FILE_LIMIT).unwrap();
        assert_eq!(plan.files()[0].constants().map(|(constant, _)| constant).collect::<Vec<_>>(), [&weight, &other]);
        assert_eq!(plan.inline(), std::slice::from_ref(&short));
        assert_eq!(plan.location(&same), plan.location(&weight));
        assert_eq!(
            plan.location(&weight).unwrap(),
            WeightLocation { file: "@model_path/weights/weight.bin".to_owned(), offset: 64 }
        );
        assert_eq!(plan.location(&other).unwrap().offset, 192);
        assert_eq!((plan.location(&short), plan.values(&short)), (None, None));
        plan.set_values(&short, vec![0; 36]);
        assert_eq!(plan.values(&short), Some(&Literal::Packed(vec![0; 36])));
    }

    #[test]
    fn shared_constants_have_a_file_of_their_own() {
        let recipe = |name: &str| Recipe::source(name, DataType::Float16, &[10]);
        let plan = |own: &str| {
            let constants = [recipe(own), recipe("b"), recipe("a")];
            plan_weights(&constants, &[recipe("a"), recipe("b")], WEIGHT_FILE_LIMIT).unwrap()
        };
        let (one, other) = (plan("c"), plan("d"));
        let names: Vec<&str> = one.files().iter().map(|file| file.name()).collect();
        assert_eq!(names, ["shared.bin", "weight.bin"]);
        assert_eq!(one.files()[0].key(), other.files()[0].key());
        assert_ne!(one.files()[1].key(), other.files()[1].key());
        let place = |name: &str| one.location(&recipe(name)).unwrap();
        assert_eq!((place("b").file.as_str(), place("b").offset), ("@model_path/weights/shared.bin", 192));
        assert_eq!((place("c").file.as_str(), place("c").offset), ("@model_path/weights/weight.bin", 64));
    }

    #[test]
    fn large_weights_are_spread_over_files() {
        let recipe = |name: &str, length: u64| Recipe::source(name, DataType::Float16, &[length]);
        let constants =
            [recipe("a", 32), recipe("b", 32), recipe("c", 33), recipe("d", 5000), recipe("e", 32), recipe("a", 32)];
        // A header, and for each of two constants a record and 64 bytes.
        let spread = |limit: u64| {
            let plan = plan_weights(&constants, &[recipe("s", 32), recipe("t", 32)], limit).unwrap();
            let sources =
                |file: &WeightFile| file.constants().map(|(it, _)| it.sources()[0].to_owned()).collect::<String>();
            plan.files().iter().map(|file| format!("{}={}", file.name(), sources(file))).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(spread(64 + 2 * 128), "shared.bin=st weight.bin=ab weight_1.bin=c weight_2.bin=d weight_3.bin=e");
        assert_eq!(
            spread(64 + 2 * 128 - 1),
            "shared.bin=s shared_1.bin=t weight.bin=a weight_1.bin=b weight_2.bin=c weight_3.bin=d weight_4.bin=e"
        );
        assert_eq!(spread(WEIGHT_FILE_LIMIT), "shared.bin=st weight.bin=abcde");
        let plan = plan_weights(&constants, &[], 64 + 2 * 128).unwrap();
        let place = plan.location(&recipe("e", 32)).unwrap();
        assert_eq!((place.file.as_str(), place.offset), ("@model_path/weights/weight_3.bin", 64));
        assert_eq!(plan.record(&place.file, place.offset).unwrap().unwrap().elements(), 32);
        assert!(plan.files()[..2].iter().all(|file| file.length() <= 64 + 2 * 128));
    }

    #[test]
    fn records_are_those_of_the_layout() {
        let weight = Recipe::source("a", DataType::Float16, &[10]);
        let plan = plan_weights(std::slice::from_ref(&weight), &[], WEIGHT_FILE_LIMIT).unwrap();
        let place = plan.location(&weight).unwrap();
        assert_eq!(plan.record(&place.file, place.offset).unwrap().unwrap().elements(), 10);
        assert!(matches!(plan.record(&place.file, 128), Err(BlobError::NoRecord { offset: 128 })));
        assert!(matches!(plan.record("@model_path/weights/other.bin", 64), Err(BlobError::NoFile { .. })));
    }

    #[test]
    fn a_file_is_known_by_its_recipes() {
        let recipe = |name: &str| Recipe::source(name, DataType::Float16, &[10]);
        let key = |names: &[&str]| {
            let constants: Vec<_> = names.iter().map(|name| recipe(name)).collect();
            plan_weights(&constants, &[], WEIGHT_FILE_LIMIT).unwrap().files()[0].key()
        };
        assert_eq!(key(&["a", "b"]), key(&["a", "b", "a"]));
        assert_ne!(key(&["a", "b"]), key(&["b", "a"]));
    }
}
