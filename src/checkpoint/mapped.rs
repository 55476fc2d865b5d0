//! A weight file mapped into memory. The one place with IO: readers of formats are functions of bytes.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use memmap2::Mmap;

use super::{CheckpointError, TensorInfo, Weights, strided};
use crate::base::{map_file, release_mapped};

/// How every Git LFS pointer starts.
pub(super) const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// Tensors of a file by name, in the order of their names.
pub type StoredTensors = BTreeMap<String, StoredTensor>;

/// A tensor and its place. Readers hand it out only when every element lies inside the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensor {
    /// Element type and dimensions.
    pub info: TensorInfo,
    /// Where its first element begins, in bytes from the start of the file.
    pub begin: u64,
    /// Steps between neighbours of each dimension, in elements; `None`: row-major without gaps.
    pub strides: Option<Vec<u64>>,
}

/// A mapped file.
pub(super) struct MappedFile {
    path: PathBuf,
    map: Mmap,
    tensors: StoredTensors,
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedFile")
            .field("path", &self.path)
            .field("tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}

impl MappedFile {
    /// Maps the file and finds its tensors with the reader of its format.
    pub(super) fn open(
        path: &Path,
        read: impl FnOnce(&[u8]) -> Result<StoredTensors, CheckpointError>,
    ) -> Result<Self, CheckpointError> {
        let map = map_file(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
        if map.starts_with(LFS_POINTER) {
            return Err(CheckpointError::LfsPointer { path: path.to_owned() });
        }
        let tensors = read(&map)?;
        Ok(Self { path: path.to_owned(), map, tensors })
    }
}

impl Weights for MappedFile {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.tensors.keys().map(String::as_str))
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|tensor| &tensor.info)
    }

    fn data(&self, name: &str) -> Result<Cow<'_, [u8]>, CheckpointError> {
        let tensor = self.tensors.get(name).ok_or_else(|| CheckpointError::NoTensor { name: name.to_owned() })?;
        Ok(tensor.data(&self.map))
    }

    fn release(&self, name: &str, bytes: Range<u64>) {
        let Some(tensor) = self.tensors.get(name).filter(|tensor| tensor.strides.is_none()) else { return };
        let place = |offset: u64| tensor.begin.saturating_add(offset.min(tensor.info.bytes().unwrap_or(0))) as usize;
        release_mapped(&self.map, place(bytes.start)..place(bytes.end));
    }
}

impl StoredTensor {
    /// Its data in the file it was found in: borrowed where it is row-major there, else put in order.
    ///
    /// # Panics
    /// When `file` is shorter than the file that the tensor was found in.
    pub fn data<'a>(&self, file: &'a [u8]) -> Cow<'a, [u8]> {
        let length = self.info.bytes().expect("readers checked that it lies in the file") as usize;
        if length == 0 {
            return Cow::Borrowed(&[]);
        }
        let rest = &file[self.begin as usize..];
        let Some(strides) = &self.strides else { return Cow::Borrowed(&rest[..length]) };
        let width = self.info.dtype.size();
        Cow::Owned(strided::gather(rest, width as usize, &self.info.shape, strides, 0..length as u64 / width))
    }
}
