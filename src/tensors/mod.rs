//! Reads and writes named tensors in `.safetensors`, `.npy`, `.npz` and `.png` files; reads `.jpg` files.
//!
//! Tensors are held as [`eval`](crate::eval) holds them: every float as `f32`, every integer as `i64`, every boolean as
//! `u8` of 0 or 1; the caller chooses the element type that is written. Files are untrusted: claimed lengths are
//! checked against the bytes of the file, and against the largest ratio of deflate, before anything is allocated.
//! Written files appear whole or not at all, and equal tensors make equal bytes.

mod elements;
mod error;
mod npy;
mod npz;
mod picture;
mod safetensors;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::Path,
};

use candle_core::Tensor;

pub use elements::ElementProblem;
pub use error::TensorFileError;
pub use npy::{NpyProblem, read as read_npy};
pub use picture::{FitMode, Image, Layout, PictureOptions, PictureProblem, ValueRange, fit};

use crate::{base::AtomicFile, mil::DataType};

/// The formats of tensor files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Named tensors, the usual format of checkpoints.
    Safetensors,
    /// One numpy array; the file's stem is its name.
    Npy,
    /// Named numpy arrays.
    Npz,
    /// A picture: one tensor of rank 4.
    Png,
    /// A picture. Read only.
    Jpeg,
}

/// File extensions of common picture formats that are not supported.
const OTHER_PICTURES: [(&str, &str); 10] = [
    ("heic", "HEIC"),
    ("heif", "HEIF"),
    ("avif", "AVIF"),
    ("webp", "WebP"),
    ("gif", "GIF"),
    ("bmp", "BMP"),
    ("tif", "TIFF"),
    ("tiff", "TIFF"),
    ("jp2", "JPEG 2000"),
    ("jxl", "JPEG XL"),
];

impl Format {
    /// Every format and its file extensions.
    pub const ALL: [(Self, &str); 6] = [
        (Self::Safetensors, "safetensors"),
        (Self::Npy, "npy"),
        (Self::Npz, "npz"),
        (Self::Png, "png"),
        (Self::Jpeg, "jpg"),
        (Self::Jpeg, "jpeg"),
    ];

    /// The format of a file by its extension; upper and lower case are equal.
    ///
    /// # Errors
    /// `Extension` or `PictureKind` for any other extension.
    pub fn of(path: &Path) -> Result<Self, TensorFileError> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let is_meant = |ending: &str| extension.eq_ignore_ascii_case(ending);
        if let Some((_, kind)) = OTHER_PICTURES.into_iter().find(|(ending, _)| is_meant(ending)) {
            return Err(TensorFileError::PictureKind { path: path.to_owned(), kind });
        }
        let format = Self::ALL.into_iter().find(|(_, ending)| is_meant(ending));
        format.map(|(format, _)| format).ok_or_else(|| TensorFileError::Extension { path: path.to_owned() })
    }

    /// The format in which a file is written, by its extension.
    ///
    /// # Errors
    /// As [`Self::of`], and `NotWritten` for a format that is only read.
    pub fn of_output(path: &Path) -> Result<Self, TensorFileError> {
        match Self::of(path)? {
            Self::Jpeg => Err(TensorFileError::NotWritten { path: path.to_owned() }),
            format => Ok(format),
        }
    }

    /// Whether a file holds a single picture.
    pub fn is_picture(self) -> bool {
        matches!(self, Self::Png | Self::Jpeg)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL[*self as usize].1)
    }
}

/// Options of reading.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// The name of the tensor in formats without names (npy, pictures); default: the file's stem.
    pub name: Option<String>,
    /// The conversion of pictures to tensors.
    pub picture: PictureOptions,
}

/// Options of writing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteOptions {
    /// The conversion of tensors to pictures.
    pub picture: PictureOptions,
}

/// The default element type in which a tensor is written: float32, int32 or bool.
pub fn default_data_type(tensor: &Tensor) -> DataType {
    match tensor.dtype() {
        candle_core::DType::U8 => DataType::Bool,
        candle_core::DType::I64 => DataType::Int32,
        _ => DataType::Float32,
    }
}

/// Reads every tensor of a file. The extension determines the format.
///
/// # Errors
/// When the extension is unknown, or the file is damaged, exceeds a limit, or has elements of an unsupported type.
pub fn read(path: &Path, options: &ReadOptions) -> Result<BTreeMap<String, Tensor>, TensorFileError> {
    let single = |tensor| {
        let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        BTreeMap::from([(options.name.clone().unwrap_or_else(stem), tensor)])
    };
    let format = Format::of(path)?;
    if format == Format::Safetensors {
        return safetensors::read(path);
    }
    if format.is_picture() {
        let tensor = read_picture(path)?.tensor(&options.picture);
        return tensor.map(single).map_err(|problem| TensorFileError::Picture { path: path.to_owned(), problem });
    }
    let (file, length) = open(path).map_err(|source| TensorFileError::Io { path: path.to_owned(), source })?;
    match format {
        Format::Npz => npz::read(path, file, length),
        _ => npy::read(file, length)
            .map(single)
            .map_err(|problem| TensorFileError::Npy { path: path.to_owned(), problem }),
    }
}

/// Reads a PNG or JPEG file.
///
/// # Errors
/// When the file is neither, is damaged, or exceeds the limits of pictures.
pub fn read_picture(path: &Path) -> Result<Image, TensorFileError> {
    let io = |source| TensorFileError::Io { path: path.to_owned(), source };
    let problem = |problem| TensorFileError::Picture { path: path.to_owned(), problem };
    let (file, length) = open(path).map_err(io)?;
    if length > picture::MOST_BYTES {
        return Err(problem(PictureProblem::Long { length }));
    }
    let mut bytes = Vec::new();
    file.take(picture::MOST_BYTES).read_to_end(&mut bytes).map_err(io)?;
    Image::parse(&bytes).map_err(problem)
}

fn open(path: &Path) -> io::Result<(BufReader<File>, u64)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok((BufReader::new(file), length))
}

/// Writes tensors, each in the element type beside it. The extension determines the format; an existing file is
/// replaced.
///
/// Types that the format does not have are widened: integers of fewer than eight bits to eight, bfloat16 in numpy's
/// formats to float32. Numbers that do not fit their type are an error; pictures alone are clamped.
///
/// # Errors
/// When the format cannot hold the tensors (npy and png hold exactly one, none holds two of one name), a number does
/// not fit, or the file system says no.
pub fn write(
    path: &Path,
    tensors: &[(&str, &Tensor, DataType)],
    options: &WriteOptions,
) -> Result<(), TensorFileError> {
    let format = Format::of_output(path)?;
    check_names(path, format, tensors)?;
    let io = |source| TensorFileError::Io { path: path.to_owned(), source };
    let mut atomic = AtomicFile::create(path).map_err(io)?;
    let mut file = BufWriter::with_capacity(1 << 16, atomic.file());
    match (format, tensors) {
        (Format::Safetensors, _) => safetensors::write(path, &mut file, tensors)?,
        (Format::Npz, _) => npz::write(path, &mut file, tensors)?,
        (Format::Npy, [(name, tensor, dtype)]) => {
            npy::write(&mut file, tensor, *dtype).map_err(|failure| failure.at(path, name))?;
        }
        (Format::Png, [(_, tensor, _)]) => {
            let picture = picture::write(&mut file, tensor, &options.picture);
            picture.map_err(|problem| TensorFileError::Picture { path: path.to_owned(), problem })?;
        }
        _ => return Err(TensorFileError::Count { path: path.to_owned(), format, found: tensors.len() }),
    }
    file.flush().map_err(io)?;
    drop(file);
    atomic.commit().map_err(io)
}

/// The bytes of a `.png` of a tensor of rank 4.
///
/// # Errors
/// When the tensor is no picture, or holds NaN.
pub fn png(tensor: &Tensor, options: &PictureOptions) -> Result<Vec<u8>, PictureProblem> {
    let mut bytes = Vec::new();
    picture::write(&mut bytes, tensor, options)?;
    Ok(bytes)
}

fn check_names(path: &Path, format: Format, tensors: &[(&str, &Tensor, DataType)]) -> Result<(), TensorFileError> {
    let mut seen = BTreeSet::new();
    for (name, ..) in tensors {
        if !seen.insert(name) {
            return Err(TensorFileError::Repeated { path: path.to_owned(), name: (*name).to_owned() });
        }
        if format == Format::Safetensors && *name == safetensors::METADATA {
            return Err(TensorFileError::Reserved { path: path.to_owned(), name: (*name).to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
