//! `.npy`: one array of numpy. Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>,
//! versions 1 to 3.
//!
//! Booleans, integers and floats of either byte order, in C or Fortran order. Structured types and pickled objects are
//! refused.

use std::io::{self, Read, Write};

use candle_core::Tensor;

use super::elements::{self, ElementProblem, Failure};
use crate::mil::DataType;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// How Git LFS pointers begin.
const LFS_POINTER: [u8; 6] = *b"versio";
/// Longest header that is read; numpy itself stops at 10,000.
const LONGEST_HEADER: u64 = 1 << 16;
/// Most dimensions that numpy has.
const MOST_DIMENSIONS: usize = 64;

/// Names of element types, without byte order.
const NAMES: [(&str, DataType); 12] = [
    ("b1", DataType::Bool),
    ("i1", DataType::Int8),
    ("i2", DataType::Int16),
    ("i4", DataType::Int32),
    ("i8", DataType::Int64),
    ("u1", DataType::UInt8),
    ("u2", DataType::UInt16),
    ("u4", DataType::UInt32),
    ("u8", DataType::UInt64),
    ("f2", DataType::Float16),
    ("f4", DataType::Float32),
    ("f8", DataType::Float64),
];

/// What is wrong with a numpy array.
#[derive(Debug, thiserror::Error)]
pub enum NpyProblem {
    /// It cannot be read.
    #[error("its bytes cannot be read")]
    Io(#[from] io::Error),
    /// It does not begin as arrays do.
    #[error("it begins with `{}`, expected `\\x93NUMPY`", .found.escape_ascii())]
    Magic {
        /// How it begins.
        found: [u8; 6],
    },
    /// A version of the format that came later.
    #[error("format version {major}.{minor} is not known")]
    Version {
        /// The major version.
        major: u8,
        /// The minor version.
        minor: u8,
    },
    /// A header longer than the file or the limit.
    #[error("the header claims {claimed} bytes, at most {limit} fit")]
    HeaderLength {
        /// The claimed length.
        claimed: u64,
        /// What fits.
        limit: u64,
    },
    /// A header that is not the dictionary it should be.
    #[error("the header is not what numpy writes: expected {expected} at byte {at}")]
    Header {
        /// What should stand there.
        expected: &'static str,
        /// Where, from the start of the dictionary.
        at: usize,
    },
    /// Elements that are no plain numbers.
    #[error("elements are `{descr}`: expected booleans, integers or floats of at most 64 bits")]
    Elements {
        /// numpy's name of the type.
        descr: String,
    },
    /// Data of another length than type and shape need.
    #[error("there are {found} bytes of data, shape {shape:?} of `{descr}` needs {}", .expected.map_or("more than fit".to_owned(), |n| n.to_string()))]
    Length {
        /// The shape.
        shape: Vec<u64>,
        /// numpy's name of the type.
        descr: String,
        /// Bytes that are needed; `None` on overflow.
        expected: Option<u64>,
        /// Bytes that are there.
        found: u64,
    },
    /// Numbers that cannot be held.
    #[error("its numbers cannot be held")]
    Values(#[from] ElementProblem),
}

impl NpyProblem {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Magic { found: LFS_POINTER } => {
                Some("this is a Git LFS pointer: fetch the real file, for example with `git lfs pull`".to_owned())
            }
            Self::Elements { .. } => Some("save it with `.astype(\"float32\")` or another plain type".to_owned()),
            _ => None,
        }
    }
}

/// Reads an array that takes up exactly `length` bytes of the source; the caller knows that they can be there.
///
/// # Errors
/// When it breaks a rule of the format, has elements that are no plain numbers, or is of another length.
pub fn read(mut source: impl Read, length: u64) -> Result<Tensor, NpyProblem> {
    let mut start = [0; 8];
    source.read_exact(&mut start)?;
    let [found @ .., major, minor] = start;
    if found != *MAGIC {
        return Err(NpyProblem::Magic { found });
    }
    let (claimed, prefix) = match (major, minor) {
        (1, 0) => (u64::from(u16::from_le_bytes(bytes(&mut source)?)), 10),
        (2 | 3, 0) => (u64::from(u32::from_le_bytes(bytes(&mut source)?)), 12),
        _ => return Err(NpyProblem::Version { major, minor }),
    };
    let limit = LONGEST_HEADER.min(length.saturating_sub(prefix));
    if claimed > limit {
        return Err(NpyProblem::HeaderLength { claimed, limit });
    }
    let mut text = vec![0; claimed as usize];
    source.read_exact(&mut text)?;
    Header::parse(&text)?.read_data(source, length - prefix - claimed)
}

fn bytes<const N: usize>(source: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Writes an array in the given element type, version 1 of the format, C order.
pub(super) fn write(out: &mut dyn Write, tensor: &Tensor, dtype: DataType) -> Result<(), Failure> {
    let stored = stored(dtype).ok_or(ElementProblem::DataType { dtype })?;
    out.write_all(&header(stored, tensor.dims()))?;
    elements::write(tensor, stored, out)
}

/// Length of the file that [`write`] makes; `None` for types that are never held.
pub(super) fn length(tensor: &Tensor, dtype: DataType) -> Option<u64> {
    let stored = stored(dtype)?;
    Some(header(stored, tensor.dims()).len() as u64 + tensor.elem_count() as u64 * (stored.bits()? / 8))
}

/// numpy has no bfloat16; float32 holds all of it.
fn stored(dtype: DataType) -> Option<DataType> {
    match elements::whole_bytes(dtype)? {
        DataType::BFloat16 => Some(DataType::Float32),
        other => Some(other),
    }
}

/// Everything before the data, byte for byte as numpy writes it: padded with spaces to a multiple of 64.
fn header(stored: DataType, shape: &[usize]) -> Vec<u8> {
    let name = NAMES.iter().find(|(_, dtype)| *dtype == stored).map_or("f4", |(name, _)| name);
    let order = if name.ends_with('1') { '|' } else { '<' };
    let dimensions: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let dictionary =
        format!("{{'descr': '{order}{name}', 'fortran_order': False, 'shape': ({}{comma}), }}", dimensions.join(", "));
    let padded = (10 + dictionary.len() + 1).next_multiple_of(64);
    let mut out = [MAGIC.as_slice(), &[1, 0], &((padded - 10) as u16).to_le_bytes(), dictionary.as_bytes()].concat();
    out.resize(padded - 1, b' ');
    out.push(b'\n');
    out
}

/// What the header says.
#[derive(Debug, Default)]
struct Header {
    descr: Option<String>,
    fortran: Option<bool>,
    shape: Option<Vec<u64>>,
}

impl Header {
    fn parse(text: &[u8]) -> Result<Self, NpyProblem> {
        let mut cursor = Cursor { text, at: 0 };
        let mut header = Self::default();
        cursor.expect(b'{', "`{`")?;
        while !cursor.take(b'}') {
            let key = cursor.string()?;
            cursor.expect(b':', "`:`")?;
            match key.as_str() {
                "descr" if header.descr.is_none() => header.descr = Some(cursor.string()?),
                "fortran_order" if header.fortran.is_none() => header.fortran = Some(cursor.boolean()?),
                "shape" if header.shape.is_none() => header.shape = Some(cursor.tuple()?),
                _ => return Err(cursor.problem("`descr`, `fortran_order` and `shape`, each once,")),
            }
            if !cursor.take(b',') {
                cursor.expect(b'}', "`,` or `}`")?;
                break;
            }
        }
        cursor.skip_spaces();
        if cursor.at < text.len() { Err(cursor.problem("nothing")) } else { Ok(header) }
    }

    fn read_data(self, mut source: impl Read, found: u64) -> Result<Tensor, NpyProblem> {
        let (Some(descr), Some(fortran), Some(shape)) = (self.descr, self.fortran, self.shape) else {
            return Err(NpyProblem::Header { expected: "`descr`, `fortran_order` and `shape`", at: 0 });
        };
        let Some((big, dtype, width)) = element_type(&descr) else { return Err(NpyProblem::Elements { descr }) };
        let expected = shape.iter().try_fold(width, |product, &n| product.checked_mul(n));
        if expected != Some(found) {
            return Err(NpyProblem::Length { shape, descr, expected, found });
        }
        let mut data = vec![0; found as usize];
        source.read_exact(&mut data)?;
        // Reading on makes archives compare their checksum, and finds data behind the end.
        if source.read(&mut [0])? != 0 {
            return Err(NpyProblem::Length { shape, descr, expected, found: found + 1 });
        }
        if big {
            data.chunks_exact_mut(width as usize).for_each(<[u8]>::reverse);
        }
        if !fortran {
            return Ok(elements::tensor(dtype, &shape, &data)?);
        }
        let reversed: Vec<u64> = shape.iter().rev().copied().collect();
        let order: Vec<usize> = (0..shape.len()).rev().collect();
        let tensor = elements::tensor(dtype, &reversed, &data)?;
        Ok(tensor.permute(order).and_then(|tensor| tensor.contiguous()).map_err(ElementProblem::from)?)
    }
}

/// Whether elements are big-endian, their type, and how many bytes they have.
fn element_type(descr: &str) -> Option<(bool, DataType, u64)> {
    let (order, name) = descr.split_at_checked(1)?;
    let (_, dtype) = NAMES.iter().find(|(known, _)| *known == name)?;
    let width = dtype.bits()? / 8;
    let big = match order {
        "<" => false,
        ">" => true,
        "|" if width == 1 => false,
        _ => return None,
    };
    Some((big, *dtype, width))
}

/// A reader of the few Python literals that headers are made of.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn problem(&self, expected: &'static str) -> NpyProblem {
        NpyProblem::Header { expected, at: self.at }
    }

    fn skip_spaces(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    /// Takes a character, where it is next.
    fn take(&mut self, character: u8) -> bool {
        self.skip_spaces();
        let there = self.text.get(self.at) == Some(&character);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, character: u8, expected: &'static str) -> Result<(), NpyProblem> {
        if self.take(character) { Ok(()) } else { Err(self.problem(expected)) }
    }

    /// A string in quotes, without escapes.
    fn string(&mut self) -> Result<String, NpyProblem> {
        let quote = if self.take(b'"') { b'"' } else { b'\'' };
        if quote == b'\'' {
            self.expect(b'\'', "a string")?;
        }
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|&b| b == quote).ok_or_else(|| self.problem("the end of the string"))?;
        let string = std::str::from_utf8(&rest[..length]).map_err(|_| self.problem("text"))?.to_owned();
        self.at += length + 1;
        Ok(string)
    }

    fn boolean(&mut self) -> Result<bool, NpyProblem> {
        self.skip_spaces();
        for (word, value) in [(&b"True"[..], true), (b"False", false)] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.problem("`True` or `False`"))
    }

    fn tuple(&mut self) -> Result<Vec<u64>, NpyProblem> {
        self.expect(b'(', "`(`")?;
        let mut numbers = Vec::new();
        while !self.take(b')') {
            if numbers.len() == MOST_DIMENSIONS {
                return Err(self.problem("at most 64 dimensions"));
            }
            numbers.push(self.number()?);
            if !self.take(b',') {
                self.expect(b')', "`,` or `)`")?;
                break;
            }
        }
        Ok(numbers)
    }

    /// A length; Python 2 wrote an `L` behind it.
    fn number(&mut self) -> Result<u64, NpyProblem> {
        self.skip_spaces();
        let rest = &self.text[self.at..];
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let number = std::str::from_utf8(&rest[..digits]).ok().and_then(|text| text.parse().ok());
        let number = number.ok_or_else(|| self.problem("a length"))?;
        self.at += digits;
        self.take(b'L');
        Ok(number)
    }
}
