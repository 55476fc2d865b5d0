//! Converts the weight files of a plan: each is streamed into the store once, unless an earlier build did so.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    panic::resume_unwind,
    thread,
};

use super::{error::BuildError, front::FrontEnd, shelf::Shelf};
use crate::{
    base::Blake3,
    emit::{WeightFile, WeightPiece, WeightPlan},
    manifest::{Precision, release::TensorLabel},
    mil::Constant,
    recipe::{ConvertError, Evaluator},
    store::{Cut, Segmentation, StoreError, StoredBlob},
    workflow::{Amount, Context, Error},
};

/// How many files are written at once: each is bound by its sha256, the work of one thread.
const WRITERS: usize = 2;

/// Stored weight files, by name.
pub(super) type StoredWeights = BTreeMap<String, StoredBlob>;

/// Converts the weights of one model.
pub(super) struct WeightConverter<'c> {
    pub(super) context: &'c Context,
    pub(super) shelf: &'c Shelf<'c>,
    pub(super) component: &'c str,
    pub(super) precision: Precision,
    pub(super) front: &'c dyn FrontEnd,
    pub(super) evaluator: &'c Evaluator<'c>,
}

impl WeightConverter<'_> {
    /// The weight files of each plan, in the order of the plans; files that are equal in several plans are converted
    /// once.
    pub(super) fn files(&self, plans: &[&WeightPlan]) -> Result<Vec<StoredWeights>, Error> {
        let mut distinct: Vec<(Blake3, &WeightFile)> = Vec::new();
        for file in plans.iter().flat_map(|plan| plan.files()) {
            let key = file.key();
            if distinct.iter().all(|(known, _)| *known != key) {
                distinct.push((key, file));
            }
        }
        let mut stored = HashMap::new();
        for files in distinct.chunks(WRITERS) {
            stored.extend(self.side_by_side(files)?);
        }
        let of_plan = |plan: &&WeightPlan| {
            plan.files().iter().map(|file| (file.name().to_owned(), stored[&file.key()].clone())).collect()
        };
        Ok(plans.iter().map(of_plan).collect())
    }

    fn side_by_side(&self, files: &[(Blake3, &WeightFile)]) -> Result<Vec<(Blake3, StoredBlob)>, Error> {
        thread::scope(|scope| {
            let threads: Vec<_> =
                files.iter().map(|(key, file)| scope.spawn(|| Ok((*key, self.file(key, file)?)))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        })
    }

    /// Writes a weight file, unless an earlier build did.
    fn file(&self, key: &Blake3, file: &WeightFile) -> Result<StoredBlob, Error> {
        // A source that is still being hashed has no earlier conversion.
        let early = self.front.is_hashed().then(|| self.with_digests(key)).transpose()?;
        let stored = self.shelf.weights(early, segmentation(file), |write| self.write(file, write))?;
        if early.is_none() {
            self.shelf.remember_weights(&self.with_digests(key)?, &stored);
        }
        Ok(stored)
    }

    /// Identifies the bytes of a file: its own key, and the digests of the source.
    fn with_digests(&self, key: &Blake3) -> Result<Blake3, StoreError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(key.as_bytes());
        self.front.digests()?.values().for_each(|digest| _ = hasher.update(digest.as_bytes()));
        Ok(Blake3::from_bytes(*hasher.finalize().as_bytes()))
    }

    fn write(&self, file: &WeightFile, write: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), Error> {
        let Self { component, precision, .. } = self;
        let converting = format!("converting {component} {precision}");
        let task = self.context.progress().begin(&converting, Amount::Bytes(file.data_length()));
        for piece in file.pieces() {
            let written = match piece {
                WeightPiece::Bytes(bytes) => write(bytes).map_err(ConvertError::Write),
                WeightPiece::Constant(index) => self.evaluator.write(file.constant(*index), &mut |bytes| {
                    task.advance(bytes.len() as u64);
                    write(bytes)
                }),
            };
            written.map_err(|source| BuildError::Convert { component: (*component).to_owned(), source })?;
        }
        task.finish(&format!("converted {} tensors of {component} to {precision}", file.constants().len()));
        Ok(())
    }
}

/// One segment for the data of each constant.
fn segmentation(file: &WeightFile) -> Segmentation {
    let cuts = file.constants().map(|(constant, range)| Cut { range, label: Some(label(constant)) });
    Segmentation::Cuts(cuts.collect())
}

/// The label of a constant's segment: the tensors that it is made from, joined by `+`.
fn label(constant: &Constant) -> TensorLabel {
    let sources: BTreeSet<&str> = constant.sources().into_iter().collect();
    let name = sources.into_iter().collect::<Vec<_>>().join("+");
    TensorLabel { name, dtype: constant.dtype().long_name(), shape: constant.shape().to_vec() }
}
