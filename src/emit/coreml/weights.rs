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

/// The weight file of a component.
const WEIGHT_FILE: &str = "weight.bin";
/// The weight file that several components have.
const SHARED_FILE: &str = "shared.bin";

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
    /// One file `weight.bin` with `constants` in their order, each once. The values of [`inline`](Self::inline) ones are still to be given.
    ///
    /// # Errors
    /// For constants that a weight file cannot hold.
    pub fn new(constants: &[Constant]) -> Result<Self, BlobError> {
        Self::with_shared(constants, &[])
    }

    /// [`new`](Self::new), but for the constants in `shared`, which lie in their own order in a file `shared.bin`. It is the same for every
    /// component that has all of them.
    ///
    /// # Errors
    /// As there.
    pub fn with_shared(constants: &[Constant], shared: &[Constant]) -> Result<Self, BlobError> {
        let mut plan = Self::default();
        for (name, constants) in [(SHARED_FILE, shared), (WEIGHT_FILE, constants)] {
            let mut file = WeightFile { name: name.to_owned(), constants: Vec::new(), layout: BlobLayout::new() };
            for constant in constants {
                plan.add(&mut file, constant)?;
            }
            if !file.constants.is_empty() {
                plan.files.push(file);
            }
        }
        Ok(plan)
    }

    /// Gives a constant its place in the file that is filled now, unless it has one.
    fn add(&mut self, file: &mut WeightFile, constant: &Constant) -> Result<(), BlobError> {
        let key = constant.key();
        if !belongs_in_weight_file(constant) {
            let new = constant.as_literal().is_none() && !self.inline.iter().any(|other| other.key() == key);
            self.inline.extend(new.then(|| constant.clone()));
        } else if !self.places.contains_key(&key) {
            let offset = file.layout.add(constant.dtype(), constant.elements().ok_or(BlobError::TooLarge)?)?;
            self.places.insert(key, (self.files.len(), offset));
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
        let mut plan = WeightPlan::new(&[weight.clone(), short.clone(), same.clone(), short.clone(), other.clone()]).unwrap();
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
        let plan = |own: &str| WeightPlan::with_shared(&[recipe(own), recipe("b"), recipe("a")], &[recipe("a"), recipe("b")]).unwrap();
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
    fn records_are_those_of_the_layout() {
        let weight = Recipe::source("a", DataType::Float16, &[10]);
        let plan = WeightPlan::new(std::slice::from_ref(&weight)).unwrap();
        let place = plan.location(&weight).unwrap();
        assert_eq!(plan.record(&place.file, place.offset).unwrap().unwrap().elements(), 10);
        assert!(matches!(plan.record(&place.file, 128), Err(BlobError::NoRecord { offset: 128 })));
        assert!(matches!(plan.record("@model_path/weights/other.bin", 64), Err(BlobError::NoFile { .. })));
    }

    #[test]
    fn a_file_is_known_by_its_recipes() {
        let recipe = |name: &str| Recipe::source(name, DataType::Float16, &[10]);
        let key = |names: &[&str]| WeightPlan::new(&names.iter().map(|name| recipe(name)).collect::<Vec<_>>()).unwrap().files()[0].key();
        assert_eq!(key(&["a", "b"]), key(&["a", "b", "a"]));
        assert_ne!(key(&["a", "b"]), key(&["b", "a"]));
    }
}
