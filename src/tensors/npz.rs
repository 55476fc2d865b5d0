//! `.npz`: a zip archive of `<name>.npy`, stored or deflated when read, stored when written, as `numpy.savez` does.

use std::{
    collections::BTreeMap,
    io::{Read, Seek, Write},
    path::Path,
};

use candle_core::Tensor;
use zip::{CompressionMethod, DateTime, System, ZipArchive, ZipWriter, result::ZipError, write::SimpleFileOptions};

use super::{TensorFileError, npy};
use crate::mil::DataType;

/// Largest ratio of inflated to deflated bytes.
pub(super) const DEFLATE_RATIO: u64 = 1032;
/// Most bytes of all arrays of one archive.
const LARGEST: u64 = 8 << 30;
const ENDING: &str = ".npy";

pub(super) fn read(
    path: &Path,
    file: impl Read + Seek,
    length: u64,
) -> Result<BTreeMap<String, Tensor>, TensorFileError> {
    let archive_error = |source| TensorFileError::Archive { path: path.to_owned(), source };
    let mut archive = ZipArchive::new(file).map_err(archive_error)?;
    if archive.has_duplicate_names() {
        return Err(archive_error(ZipError::InvalidArchive("names are there twice".into())));
    }
    // One budget for all: entries may share their compressed bytes.
    let mut budget = length.saturating_mul(DEFLATE_RATIO).min(LARGEST);
    let mut tensors = BTreeMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(archive_error)?;
        let file_name = entry.name().map_err(archive_error)?.into_owned();
        let Some(name) = file_name.strip_suffix(ENDING).map(str::to_owned) else {
            return Err(TensorFileError::Entry { path: path.to_owned(), entry: file_name });
        };
        let (claimed, limit) = (entry.size(), possible(entry.compressed_size(), length).min(budget));
        if claimed > limit {
            return Err(TensorFileError::Expansion { path: path.to_owned(), entry: file_name, claimed, limit });
        }
        budget -= claimed;
        let tensor = npy::read(entry, claimed);
        let tensor =
            tensor.map_err(|problem| TensorFileError::Npz { path: path.to_owned(), entry: file_name, problem })?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// Most bytes that an entry can inflate to, given its claimed compressed length and the length of the archive.
fn possible(compressed: u64, length: u64) -> u64 {
    compressed.min(length).saturating_mul(DEFLATE_RATIO)
}

pub(super) fn write(
    path: &Path,
    file: &mut (impl Write + Seek),
    tensors: &[(&str, &Tensor, DataType)],
) -> Result<(), TensorFileError> {
    let archive_error = |source| TensorFileError::Archive { path: path.to_owned(), source };
    let mut sorted = tensors.to_vec();
    sorted.sort_by_key(|(name, ..)| *name);
    let mut archive = ZipWriter::new(file);
    for (name, tensor, dtype) in sorted {
        // Archives with a date differ from day to day; `u32::MAX` bytes and more need the long form of lengths.
        let large = npy::length(tensor, dtype).is_some_and(|length| length >= u64::from(u32::MAX));
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default());
        let options = options.system(System::Unix).unix_permissions(0o644).large_file(large);
        archive.start_file(format!("{name}{ENDING}"), options).map_err(archive_error)?;
        npy::write(&mut archive, tensor, dtype).map_err(|failure| failure.at(path, name))?;
    }
    archive.finish().map_err(archive_error)?;
    Ok(())
}
