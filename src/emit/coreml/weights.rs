//! A component's weight plan: which constants lie where in which weight file, decided before any program exists.
//!
//! The plan depends on the constants alone, never on a shape or target, so every program of the component names the same file and
//! offset. Equal constants are stored once; short ones stand in the programs, as coremltools has it.

use std::collections::HashMap;

use super::{BlobError, BlobLayout, BlobRecord, WeightLocation, WeightLookup, WeightRecords, belongs_in_weight_file, weight_reference};
use crate::{
    base::Blake3,
    mil::{Constant, Literal, Recipe},
};

/// The weight files of a component.
const WEIGHTS: &str = "weight";
/// The weight files that several components have.
const SHARED: &str = "shared";

/// How many bytes a weight file has at most, unless one constant alone has more: some runtimes fail above 2 GB.
pub const WEIGHT_FILE_LIMIT: u64 = 2_000_000_000;

/// Where a component's constants lie.
#[derive(Debug, Clone, Default)]
pub struct WeightPlan {
    files: Vec<WeightFile>,
    /// Index of the file, and offset of the record.
    places: HashMap<Blake3, (usize, u64)>,
    inline: Vec<Constant>,
    values: HashMap<Blake3, Literal>,
}

/// One weight file of a plan.
#[derive(Debug, Clone)]
pub struct WeightFile {
    /// Its name inside the package's `weights` folder.
    pub name: String,
    /// Its constants, in the order of the layout's records.
    pub constants: Vec<Constant>,
    /// Where their records and data stand.
    pub layout: BlobLayout,
}

impl WeightPlan {
    /// Files `weight.bin`, `weight_1.bin` and so on with `constants` in their order, each once. Those in `shared` lie in their own order in
    /// files `shared.bin`, `shared_1.bin` and so on, which are the same for every component that has all of them. A file ends before the
    /// constant with which it would have more than `limit` bytes. The values of [`inline`](Self::inline) constants are still to be given.
    ///
    /// # Errors
    /// For constants that a weight file cannot hold.
    pub fn new(constants: &[Constant], shared: &[Constant], limit: u64) -> Result<Self, BlobError> {
        let mut plan = Self::default();
        for (stem, constants) in [(SHARED, shared), (WEIGHTS, constants)] {
            let first = plan.files.len();
            for constant in constants {
                plan.add(stem, first, constant, limit)?;
            }
        }
        Ok(plan)
    }

    /// Gives a constant its place in the last of the files from `first` on, or in a new one, unless it has one.
    fn add(&mut self, stem: &str, first: usize, constant: &Constant, limit: u64) -> Result<(), BlobError> {
        let key = constant.key();
        if !belongs_in_weight_file(constant) {
            let new = constant.as_literal().is_none() && !self.inline.iter().any(|other| other.key() == key);
            self.inline.extend(new.then(|| constant.clone()));
        } else if !self.places.contains_key(&key) {
            let length = constant.byte_length().ok_or(BlobError::TooLarge)?;
            if self.files.len() == first || self.files.last().is_some_and(|file| !file.has_room(length, limit)) {
                self.files.push(WeightFile::new(stem, self.files.len() - first));
            }
            let index = self.files.len() - 1;
            let file = &mut self.files[index];
            let offset = file.layout.add(constant.dtype(), constant.elements().ok_or(BlobError::TooLarge)?)?;
            self.places.insert(key, (index, offset));
            file.constants.push(constant.clone());
        }
        Ok(())
    }

    /// The weight files; none where every constant stands in the programs.
    pub fn files(&self) -> &[WeightFile] {
        &self.files
    }

    /// The constants that stand in the programs and whose values are not known yet, each once.
    pub fn inline(&self) -> &[Constant] {
        &self.inline
    }

    /// Gives the little-endian bytes of an [`inline`](Self::inline) constant.
    pub fn set_values(&mut self, constant: &Recipe, bytes: Vec<u8>) {
        self.values.insert(constant.key(), Literal::Packed(bytes));
    }
}

impl WeightLookup for WeightPlan {
    fn location(&self, recipe: &Recipe) -> Option<WeightLocation> {
        let (file, offset) = *self.places.get(&recipe.key())?;
        Some(WeightLocation { file: weight_reference(&self.files[file].name), offset })
    }

    fn values(&self, recipe: &Recipe) -> Option<Literal> {
        self.values.get(&recipe.key()).cloned()
    }
}

/// What a package that was written by the plan refers to.
impl WeightRecords for WeightPlan {
    fn record(&self, file: &str, offset: u64) -> Result<Option<BlobRecord>, BlobError> {
        let found = self.files.iter().find(|candidate| weight_reference(&candidate.name) == file);
        let found = found.ok_or_else(|| BlobError::NoFile { file: file.to_owned() })?;
        found.layout.record(offset).map(Some)
    }
}

impl WeightFile {
    fn new(stem: &str, number: usize) -> Self {
        let name = if number == 0 { format!("{stem}.bin") } else { format!("{stem}_{number}.bin") };
        Self { name, constants: Vec::new(), layout: BlobLayout::new() }
    }

    /// Whether a constant of `length` bytes may stand in the file: always, if it is the first.
    fn has_room(&self, length: u64, limit: u64) -> bool {
        self.constants.is_empty() || self.layout.length_with(length).is_some_and(|total| total <= limit)
    }

    /// Identifies the bytes of the file, together with the checkpoint: the recipes in their order.
    pub fn key(&self) -> Blake3 {
        let mut hasher = blake3::Hasher::new();
        for constant in &self.constants {
            hasher.update(constant.key().as_bytes());
            hasher.update(&constant.byte_length().unwrap_or(0).to_le_bytes());
        }
        Blake3::from_bytes(*hasher.finalize().as_bytes())
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
        let mut plan = WeightPlan::new(&constants, &[], WEIGHT_FILE_LIMIT).unwrap();
        assert_eq!(plan.files()[0].constants, [weight.clone(), other.clone()]);
        assert_eq!(plan.inline(), std::slice::from_ref(&short));
        assert_eq!(plan.location(&same), plan.location(&weight));
        assert_eq!(plan.location(&weight).unwrap(), WeightLocation { file: "@model_path/weights/weight.bin".to_owned(), offset: 64 });
        assert_eq!(plan.location(&other).unwrap().offset, 192);
        assert_eq!((plan.location(&short), plan.values(&short)), (None, None));
        plan.set_values(&short, vec![0; 36]);
        assert_eq!(plan.values(&short), Some(Literal::Packed(vec![0; 36])));
    }

    #[test]
    fn shared_constants_have_a_file_of_their_own() {
        let recipe = |name: &str| Recipe::source(name, DataType::Float16, &[10]);
        let plan = |own: &str| {
            let constants = [recipe(own), recipe("b"), recipe("a")];
            WeightPlan::new(&constants, &[recipe("a"), recipe("b")], WEIGHT_FILE_LIMIT).unwrap()
        };
        let (one, other) = (plan("c"), plan("d"));
        let names: Vec<&str> = one.files().iter().map(|file| file.name.as_str()).collect();
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
        let constants = [recipe("a", 32), recipe("b", 32), recipe("c", 33), recipe("d", 5000), recipe("e", 32), recipe("a", 32)];
        // A header, and for each of two constants a record and 64 bytes.
        let spread = |limit: u64| {
            let plan = WeightPlan::new(&constants, &[recipe("s", 32), recipe("t", 32)], limit).unwrap();
            let sources = |file: &WeightFile| file.constants.iter().map(|it| it.sources()[0].to_owned()).collect::<String>();
            plan.files().iter().map(|file| format!("{}={}", file.name, sources(file))).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(spread(64 + 2 * 128), "shared.bin=st weight.bin=ab weight_1.bin=c weight_2.bin=d weight_3.bin=e");
        assert_eq!(
            spread(64 + 2 * 128 - 1),
            "shared.bin=s shared_1.bin=t weight.bin=a weight_1.bin=b weight_2.bin=c weight_3.bin=d weight_4.bin=e"
        );
        assert_eq!(spread(WEIGHT_FILE_LIMIT), "shared.bin=st weight.bin=abcde");
        let plan = WeightPlan::new(&constants, &[], 64 + 2 * 128).unwrap();
        let place = plan.location(&recipe("e", 32)).unwrap();
        assert_eq!((place.file.as_str(), place.offset), ("@model_path/weights/weight_3.bin", 64));
        assert_eq!(plan.record(&place.file, place.offset).unwrap().unwrap().elements(), 32);
        assert!(plan.files()[..2].iter().all(|file| file.layout.file_length() <= 64 + 2 * 128));
    }

    #[test]
    fn records_are_those_of_the_layout() {
        let weight = Recipe::source("a", DataType::Float16, &[10]);
        let plan = WeightPlan::new(std::slice::from_ref(&weight), &[], WEIGHT_FILE_LIMIT).unwrap();
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
            WeightPlan::new(&constants, &[], WEIGHT_FILE_LIMIT).unwrap().files()[0].key()
        };
        assert_eq!(key(&["a", "b"]), key(&["a", "b", "a"]));
        assert_ne!(key(&["a", "b"]), key(&["b", "a"]));
    }
}
