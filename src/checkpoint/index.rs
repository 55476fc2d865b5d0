//! Several files as one set of tensors: shards named by an index, or simply merged.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{CheckpointError, TensorInfo, Weights, error::IndexProblem};

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
                    return Err(CheckpointError::Repeated { name: name.to_owned(), first: files[first].0.clone(), second: path.clone() });
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
}

/// An index file: which shard holds which tensor.
#[derive(Debug)]
pub(super) struct Index {
    path: PathBuf,
    map: BTreeMap<String, String>,
}

impl Index {
    /// Reads `weight_map` of a `*.safetensors.index.json`.
    pub(super) fn read(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
        let json: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|source| CheckpointError::Json { path: path.to_owned(), source })?;
        let problem = |problem| CheckpointError::Index { path: path.to_owned(), problem };
        let entries = json.get("weight_map").and_then(|map| map.as_object()).ok_or_else(|| problem(IndexProblem::NoMap))?;
        let mut map = BTreeMap::new();
        for (tensor, shard) in entries {
            let shard = shard.as_str().ok_or_else(|| problem(IndexProblem::NoMap))?;
            let plain = shard.parse::<crate::base::RelativePath>().is_ok_and(|path| path.parent().is_none());
            if !plain {
                return Err(problem(IndexProblem::Name { tensor: tensor.clone(), shard: shard.to_owned() }));
            }
            map.insert(tensor.clone(), shard.to_owned());
        }
        Ok(Self { path: path.to_owned(), map })
    }

    /// The shards, each once, sorted.
    pub(super) fn shards(&self) -> BTreeSet<&str> {
        self.map.values().map(String::as_str).collect()
    }

    /// Checks that the shards in `present` are all, and that each holds what it is said to.
    pub(super) fn check(&self, present: &[(PathBuf, Arc<dyn Weights>)]) -> Result<(), CheckpointError> {
        let problem = |problem| CheckpointError::Index { path: self.path.clone(), problem };
        let of = |shard: &str| present.iter().find(|(path, _)| path.file_name().is_some_and(|name| name == shard));
        for (tensor, shard) in &self.map {
            let (_, weights) = of(shard).ok_or_else(|| problem(IndexProblem::Missing(shard.clone())))?;
            if weights.info(tensor).is_none() {
                return Err(problem(IndexProblem::Absent { tensor: tensor.clone(), shard: shard.clone() }));
            }
        }
        Ok(())
    }
}
