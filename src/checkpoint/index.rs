//! Several files as one set of tensors: shards named by an index, or simply merged.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;

use super::{
    CheckpointError, TensorInfo, Weights,
    error::IndexProblem,
    json::{self, Entries},
};
use crate::base::RelativePath;

/// The tensors of several files.
#[derive(Debug)]
pub(super) struct Merged {
    files: Vec<Arc<dyn Weights>>,
    places: BTreeMap<String, usize>,
}

impl Merged {
    /// Every tensor of every file; a name that two files hold is an error.
    pub(super) fn new(files: Vec<(PathBuf, Arc<dyn Weights>)>) -> Result<Self, CheckpointError> {
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for (index, (path, file)) in files.iter().enumerate() {
            for name in file.names() {
                if let Some(first) = places.insert(name.to_owned(), index) {
                    return Err(CheckpointError::Repeated {
                        name: name.to_owned(),
                        first: files[first].0.clone(),
                        second: path.clone(),
                    });
                }
            }
        }
        Ok(Self { files: files.into_iter().map(|(_, file)| file).collect(), places })
    }
}

impl Weights for Merged {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.places.keys().map(String::as_str))
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.files[*self.places.get(name)?].info(name)
    }

    fn data(&self, name: &str) -> Result<Cow<'_, [u8]>, CheckpointError> {
        let &file = self.places.get(name).ok_or_else(|| CheckpointError::NoTensor { name: name.to_owned() })?;
        self.files[file].data(name)
    }

    fn release(&self, name: &str, bytes: Range<u64>) {
        if let Some(&file) = self.places.get(name) {
            self.files[file].release(name, bytes);
        }
    }
}

/// An index file: which shard holds which tensor.
#[derive(Debug)]
pub(super) struct Index {
    path: PathBuf,
    map: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct IndexFile {
    weight_map: Entries<String>,
}

impl Index {
    /// Reads `weight_map` of a `*.index.json`.
    pub(super) fn read(path: &Path) -> Result<Self, CheckpointError> {
        let file: IndexFile = json::read(path)?;
        let problem = |problem| CheckpointError::Index { path: path.to_owned(), problem };
        let mut map = BTreeMap::new();
        for (tensor, shard) in file.weight_map.0 {
            let plain = shard.parse::<RelativePath>().is_ok_and(|path| path.parent().is_none());
            if !plain {
                return Err(problem(IndexProblem::Name { tensor, shard }));
            }
            if let Some(first) = map.insert(tensor.clone(), shard.clone()) {
                return Err(problem(IndexProblem::Repeated { tensor, first, second: shard }));
            }
        }
        Ok(Self { path: path.to_owned(), map })
    }

    /// The file that it was read from.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the shards, each once, sorted.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.map.values().map(String::as_str).collect()
    }

    /// The shards; all of them must be there.
    pub(super) fn shards(&self) -> Result<BTreeSet<&str>, CheckpointError> {
        let shards = self.names();
        match shards.iter().find(|shard| !self.path.with_file_name(shard).exists()) {
            Some(shard) => Err(self.problem(IndexProblem::Missing((*shard).to_owned()))),
            None => Ok(shards),
        }
    }

    /// Checks that every tensor is in the shard that it is said to be in, as far as that shard is among `opened`.
    pub(super) fn check(&self, opened: &[(PathBuf, Arc<dyn Weights>)]) -> Result<(), CheckpointError> {
        let opened: BTreeMap<_, _> = opened.iter().map(|(path, weights)| (path.file_name(), weights)).collect();
        for (tensor, shard) in &self.map {
            if opened.get(&Some(shard.as_ref())).is_some_and(|weights| weights.info(tensor).is_none()) {
                return Err(self.problem(IndexProblem::Absent { tensor: tensor.clone(), shard: shard.clone() }));
            }
        }
        Ok(())
    }

    fn problem(&self, problem: IndexProblem) -> CheckpointError {
        CheckpointError::Index { path: self.path.clone(), problem }
    }
}
