//! Weight files: MIL blob storage, version 2.
//!
//! ```text
//! 0    header    u32 records, u32 version = 2, 56 zero bytes
//! 64   record    u32 0xdeadbeef, u32 dtype, u64 data length, u64 data offset, u64 padding bits, 32 reserved bytes
//! 128  data      then zeros up to the next multiple of 64, the next record, its data, ...; nothing after the last data
//! ```
//!
//! Padding bits count the unused high bits of the last byte, for element types below 8 bits. coremltools 8 added the
//! field with those types; older writers left uninitialized memory in the 40 bytes after the data offset. So the reader
//! uses the field for those types alone, and ignores the reserved bytes.
//!
//! All numbers are little-endian. A program refers to a tensor by the offset of its record. A [`BlobLayout`] computes
//! every offset before any data exists; data is then streamed between the pieces of the layout.

use std::io::{self, Read, Seek, SeekFrom};

use super::is_lfs_pointer;
use crate::{base::ByteRange, mil::DataType};

/// Alignment of records in bytes; also the length of the header and of a record.
pub const ALIGNMENT: u64 = 64;
const SENTINEL: u32 = 0xdead_beef;
const VERSION: u32 = 2;

/// Codes of element types in records.
const CODES: [(DataType, u32); 17] = [
    (DataType::Float16, 1),
    (DataType::Float32, 2),
    (DataType::UInt8, 3),
    (DataType::Int8, 4),
    (DataType::BFloat16, 5),
    (DataType::Int16, 6),
    (DataType::UInt16, 7),
    (DataType::Int4, 8),
    (DataType::UInt1, 9),
    (DataType::UInt2, 10),
    (DataType::UInt4, 11),
    (DataType::UInt3, 12),
    (DataType::UInt6, 13),
    (DataType::Int32, 14),
    (DataType::UInt32, 15),
    (DataType::Float8E4M3FN, 16),
    (DataType::Float8E5M2, 17),
];

/// An error of planning or reading a weight file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum BlobError {
    /// An element type that weight files cannot hold.
    #[error("weight files cannot hold {0}")]
    Unstorable(DataType),
    /// A tensor without elements, which Core ML's reader refuses.
    #[error("a weight file cannot hold a tensor without elements")]
    Empty,
    /// A length beyond the range of the format.
    #[error("the weight file grows beyond what its format can address")]
    TooLarge,
    /// A weight file that the bundle does not have.
    #[error("there is no weight file `{file}`")]
    NoFile { file: String },
    /// An offset at which a planned file has no record.
    #[error("no weight record starts at {offset}")]
    NoRecord { offset: u64 },
    /// The file cannot be read.
    #[error("cannot read the weight file")]
    Io(#[from] io::Error),
    /// A Git LFS pointer in place of the file.
    #[error("it is a Git LFS pointer: its real bytes were never downloaded")]
    LfsPointer,
    /// Another version, or another kind of file.
    #[error("not a weight file: its version field is {found}, expected {VERSION}")]
    Version { found: u32 },
    /// A record or data beyond the end of the file.
    #[error("weight record at {offset}: it needs {needed} bytes from {start} on, the file has {length}")]
    Truncated { offset: u64, start: u64, needed: u64, length: u64 },
    /// Bytes that are not a record.
    #[error("no weight record at {offset}: it starts with {found:#010x}, expected {SENTINEL:#010x}")]
    Sentinel { offset: u64, found: u32 },
    /// An offset that is not aligned.
    #[error("no weight record at {offset}: records start at multiples of {ALIGNMENT}, after the header")]
    Misaligned { offset: u64 },
    /// An unknown element type.
    #[error("weight record at {offset}: unknown element type {code}")]
    Code { offset: u64, code: u32 },
    /// A length that is not a multiple of the element type's.
    #[error(
        "weight record at {offset}: {length} bytes with {padding_bits} padding bits are no whole number of {dtype} \
         elements"
    )]
    Length { offset: u64, dtype: DataType, length: u64, padding_bits: u64 },
    /// Data that does not follow its record.
    #[error("weight record at {offset}: its data starts at {data}, expected {expected}")]
    Order { offset: u64, data: u64, expected: u64 },
    /// A header with a wrong number of records.
    #[error("the weight file's header counts {header} records, {found} are there")]
    Count { header: u32, found: usize },
}

/// One tensor of a weight file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRecord {
    /// Offset of the record, to which programs refer.
    pub metadata_offset: u64,
    /// Element type.
    pub dtype: DataType,
    /// Range of the tensor's data.
    pub data: ByteRange,
    /// Unused high bits of the last byte; 0 for types of whole bytes.
    pub padding_bits: u8,
}

impl BlobRecord {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        let bits = u128::from(self.data.length()) * 8 - u128::from(self.padding_bits);
        // Every storable type has a width, and the quotient is at most 8 times the length of a file.
        u64::try_from(bits / u128::from(self.dtype.bits().unwrap_or(8))).unwrap_or(u64::MAX)
    }

    /// The 64 bytes of the record.
    pub fn to_bytes(&self) -> [u8; ALIGNMENT as usize] {
        let mut bytes = [0; ALIGNMENT as usize];
        bytes[0..4].copy_from_slice(&SENTINEL.to_le_bytes());
        bytes[4..8].copy_from_slice(&code_of(self.dtype).unwrap_or(0).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.data.length().to_le_bytes());
        bytes[16..24].copy_from_slice(&self.data.offset().to_le_bytes());
        bytes[24..32].copy_from_slice(&u64::from(self.padding_bits).to_le_bytes());
        bytes
    }

    fn parse(offset: u64, bytes: &[u8; ALIGNMENT as usize], file_length: u64) -> Result<Self, BlobError> {
        let found = u32_at(bytes, 0);
        if found != SENTINEL {
            return Err(BlobError::Sentinel { offset, found });
        }
        let code = u32_at(bytes, 4);
        let dtype =
            CODES.iter().find(|(_, c)| *c == code).map(|(dtype, _)| *dtype).ok_or(BlobError::Code { offset, code })?;
        let bits = dtype.bits().unwrap_or(8);
        let (length, start) = (u64_at(bytes, 8), u64_at(bytes, 16));
        // Older writers left uninitialized bytes there.
        let padding = if bits < 8 { u64_at(bytes, 24) } else { 0 };
        let truncated = BlobError::Truncated { offset, start, needed: length, length: file_length };
        let wrong = BlobError::Length { offset, dtype, length, padding_bits: padding };
        if length == 0 {
            return Err(wrong);
        }
        let data = ByteRange::new(start, length).filter(|range| range.end() <= file_length).ok_or(truncated)?;
        match u8::try_from(padding) {
            Ok(padding_bits @ 0..=7)
                if (u128::from(length) * 8 - u128::from(padding_bits)).is_multiple_of(u128::from(bits)) =>
            {
                Ok(Self { metadata_offset: offset, dtype, data, padding_bits })
            }
            _ => Err(wrong),
        }
    }
}

/// Whether weight files can hold elements of this type.
pub fn is_storable(dtype: DataType) -> bool {
    code_of(dtype).is_some()
}

/// Unused high bits of the last byte of `elements` elements; 0 for types of whole bytes.
pub(super) fn padding_bits(dtype: DataType, elements: u64) -> u8 {
    let last = u128::from(elements) * u128::from(dtype.bits().unwrap_or(8)) % 8;
    (8 - last as u8) % 8
}

fn code_of(dtype: DataType) -> Option<u32> {
    CODES.iter().find(|(d, _)| *d == dtype).map(|(_, code)| *code)
}

fn u32_at(bytes: &[u8; ALIGNMENT as usize], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; ALIGNMENT as usize], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Offsets of every tensor of a planned weight file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlobLayout {
    records: Vec<BlobRecord>,
}

/// A part of a weight file, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobPiece {
    /// The header, or padding and a record.
    Bytes(Vec<u8>),
    /// The data of the record with this index, of the record's data length.
    Data(usize),
}

impl BlobLayout {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a tensor and returns the offset of its record. Elements below 8 bits form one bit stream whose last byte
    /// is padded.
    ///
    /// # Errors
    /// For element types that cannot be stored, tensors without elements, and files that become too long.
    pub fn add(&mut self, dtype: DataType, elements: u64) -> Result<u64, BlobError> {
        let bits = dtype.bits().filter(|_| is_storable(dtype)).ok_or(BlobError::Unstorable(dtype))?;
        if elements == 0 {
            return Err(BlobError::Empty);
        }
        if self.records.len() >= u32::MAX as usize {
            return Err(BlobError::TooLarge);
        }
        let used = elements.checked_mul(bits).ok_or(BlobError::TooLarge)?;
        let length = used.div_ceil(8);
        let metadata_offset = self.next_offset().ok_or(BlobError::TooLarge)?;
        let start = metadata_offset.checked_add(ALIGNMENT).ok_or(BlobError::TooLarge)?;
        let data = ByteRange::new(start, length).ok_or(BlobError::TooLarge)?;
        let padding_bits = padding_bits(dtype, elements);
        self.records.push(BlobRecord { metadata_offset, dtype, data, padding_bits });
        Ok(metadata_offset)
    }

    fn next_offset(&self) -> Option<u64> {
        self.file_length().checked_next_multiple_of(ALIGNMENT)
    }

    /// Records of the tensors, in file order.
    pub fn records(&self) -> &[BlobRecord] {
        &self.records
    }

    /// Length of the file.
    pub fn file_length(&self) -> u64 {
        self.records.last().map_or(ALIGNMENT, |record| record.data.end())
    }

    /// Length of the file with another tensor of `bytes` bytes; `None` on overflow.
    pub fn length_with(&self, bytes: u64) -> Option<u64> {
        self.next_offset()?.checked_add(ALIGNMENT)?.checked_add(bytes)
    }

    /// The 64 bytes at the start of the file.
    pub fn header(&self) -> [u8; ALIGNMENT as usize] {
        let mut bytes = [0; ALIGNMENT as usize];
        bytes[0..4].copy_from_slice(&(self.records.len() as u32).to_le_bytes());
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes
    }

    /// The record at `offset`.
    ///
    /// # Errors
    /// When no record starts there.
    pub fn record(&self, offset: u64) -> Result<BlobRecord, BlobError> {
        let found = self.records.binary_search_by_key(&offset, |record| record.metadata_offset);
        found.map(|index| self.records[index]).map_err(|_| BlobError::NoRecord { offset })
    }

    /// The whole file: the header, then padding, record and data of each tensor.
    pub fn pieces(&self) -> impl Iterator<Item = BlobPiece> + '_ {
        let mut end = ALIGNMENT;
        let tensors = self.records.iter().enumerate().flat_map(move |(index, record)| {
            let mut bytes = vec![0; (record.metadata_offset - end) as usize];
            bytes.extend(record.to_bytes());
            end = record.data.end();
            [BlobPiece::Bytes(bytes), BlobPiece::Data(index)]
        });
        std::iter::once(BlobPiece::Bytes(self.header().to_vec())).chain(tensors)
    }
}

/// Reads the record at `offset`. Its data may lie anywhere in the file, as in Core ML's own reader. For a slice, use
/// [`io::Cursor`].
///
/// # Errors
/// When there is no record at `offset`, or its data exceeds the file.
pub fn record_at<R: Read + Seek>(mut file: R, offset: u64) -> Result<BlobRecord, BlobError> {
    let length = file.seek(SeekFrom::End(0))?;
    read_header(&mut file, length)?;
    read_record(&mut file, offset, length)
}

/// Reads every record of a file in canonical order. Data is not read.
///
/// # Errors
/// When the file is damaged, or in another order than this module writes.
pub fn records<R: Read + Seek>(mut file: R) -> Result<Vec<BlobRecord>, BlobError> {
    let length = file.seek(SeekFrom::End(0))?;
    let header = read_header(&mut file, length)?;
    let mut records = Vec::new();
    let mut offset = ALIGNMENT;
    while offset < length {
        let record = read_record(&mut file, offset, length)?;
        let (data, expected) = (record.data.offset(), offset + ALIGNMENT);
        if data != expected {
            return Err(BlobError::Order { offset, data, expected });
        }
        records.push(record);
        offset = record.data.end().checked_next_multiple_of(ALIGNMENT).ok_or(BlobError::TooLarge)?;
    }
    if records.len() != header as usize {
        return Err(BlobError::Count { header, found: records.len() });
    }
    Ok(records)
}

fn read_header<R: Read + Seek>(file: &mut R, length: u64) -> Result<u32, BlobError> {
    let bytes = read_block(file, 0, length)?;
    if is_lfs_pointer(&bytes) {
        return Err(BlobError::LfsPointer);
    }
    match u32_at(&bytes, 4) {
        VERSION => Ok(u32_at(&bytes, 0)),
        found => Err(BlobError::Version { found }),
    }
}

fn read_record<R: Read + Seek>(file: &mut R, offset: u64, length: u64) -> Result<BlobRecord, BlobError> {
    if offset < ALIGNMENT || !offset.is_multiple_of(ALIGNMENT) {
        return Err(BlobError::Misaligned { offset });
    }
    let bytes = read_block(file, offset, length)?;
    BlobRecord::parse(offset, &bytes, length)
}

fn read_block<R: Read + Seek>(file: &mut R, offset: u64, length: u64) -> Result<[u8; ALIGNMENT as usize], BlobError> {
    if offset.checked_add(ALIGNMENT).is_none_or(|end| end > length) {
        return Err(BlobError::Truncated { offset, start: offset, needed: ALIGNMENT, length });
    }
    let mut bytes = [0; ALIGNMENT as usize];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::base::Digest;

    /// A file with this data, each with its number of elements.
    pub(crate) fn file(tensors: &[(DataType, u64, &[u8])]) -> Vec<u8> {
        let mut layout = BlobLayout::new();
        for (dtype, elements, _) in tensors {
            layout.add(*dtype, *elements).unwrap();
        }
        let mut bytes = Vec::new();
        for piece in layout.pieces() {
            match piece {
                BlobPiece::Bytes(b) => bytes.extend(b),
                BlobPiece::Data(index) => {
                    assert_eq!(tensors[index].2.len() as u64, layout.records()[index].data.length());
                    bytes.extend(tensors[index].2);
                }
            }
        }
        assert_eq!(bytes.len() as u64, layout.file_length());
        bytes
    }

    fn apple() -> Vec<u8> {
        file(&[
            (DataType::Float16, 3, &[0x00, 0x3c, 0x00, 0xc0, 0x00, 0x38]),
            (DataType::Int4, 5, &[0x78, 0x1f, 0x03]),
            (DataType::UInt3, 9, &[0xd1, 0x58, 0x1f, 0x01]),
            (DataType::UInt6, 5, &[0x81, 0x30, 0xfc, 0x20]),
            (DataType::UInt1, 9, &[0x8d, 0x01]),
            (DataType::UInt2, 5, &[0xe4, 0x01]),
        ])
    }

    #[test]
    fn a_file_is_what_apples_writer_makes() {
        let bytes = apple();
        assert_eq!(bytes.len(), 770);
        assert_eq!(Digest::of(&bytes).to_string(), "134d0afd4dd854de0ca9e7399db16a4b51dee4274dd83dc558499bd82ab116e8");
        let records = records(Cursor::new(&bytes)).unwrap();
        assert_eq!(records.iter().map(|r| r.metadata_offset).collect::<Vec<_>>(), [64, 192, 320, 448, 576, 704]);
        assert_eq!(records.iter().map(|r| r.padding_bits).collect::<Vec<_>>(), [0, 4, 5, 2, 7, 6]);
        assert_eq!(records.iter().map(|r| r.elements()).collect::<Vec<_>>(), [3, 5, 9, 5, 9, 5]);
    }

    #[test]
    fn impossible_tensors_are_refused() {
        let mut layout = BlobLayout::new();
        assert!(matches!(layout.add(DataType::Int64, 1), Err(BlobError::Unstorable(DataType::Int64))));
        assert!(matches!(layout.add(DataType::Bool, 1), Err(BlobError::Unstorable(DataType::Bool))));
        assert!(matches!(layout.add(DataType::Int8, 0), Err(BlobError::Empty)));
        assert!(matches!(layout.add(DataType::Float32, u64::MAX), Err(BlobError::TooLarge)));
        assert!(matches!(layout.add(DataType::Int8, i64::MAX as u64), Err(BlobError::TooLarge)));
        assert_eq!(layout, BlobLayout::new());
    }

    #[test]
    fn damage_is_named() {
        let good = apple();
        let broken = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            records(Cursor::new(bytes)).unwrap_err()
        };
        assert!(matches!(broken(4, 1), BlobError::Version { found: 1 }));
        assert!(matches!(broken(0, 7), BlobError::Count { header: 7, found: 6 }));
        assert!(matches!(broken(64, 0), BlobError::Sentinel { offset: 64, .. }));
        assert!(matches!(broken(68, 99), BlobError::Code { offset: 64, code: 99 }));
        assert!(matches!(broken(72, 5), BlobError::Length { offset: 64, length: 5, .. }));
        assert!(matches!(broken(72, 0), BlobError::Length { offset: 64, length: 0, .. }));
        assert!(matches!(broken(79, 255), BlobError::Truncated { offset: 64, .. }));
        assert!(matches!(broken(80, 64), BlobError::Order { offset: 64, data: 64, expected: 128 }));
        assert!(matches!(broken(192 + 24, 8), BlobError::Length { offset: 192, padding_bits: 8, .. }));
        assert!(matches!(record_at(Cursor::new(&good), 65), Err(BlobError::Misaligned { offset: 65 })));
        assert!(matches!(record_at(Cursor::new(&good), 0), Err(BlobError::Misaligned { offset: 0 })));
        assert!(matches!(record_at(Cursor::new(&good), 1 << 40), Err(BlobError::Truncated { .. })));
        assert!(matches!(records(Cursor::new(&good[..50])), Err(BlobError::Truncated { .. })));
        assert_eq!(record_at(Cursor::new(&good), 320).unwrap().dtype, DataType::UInt3);
        let pointer =
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 770\n", Digest::of(&good));
        assert!(matches!(records(Cursor::new(pointer)), Err(BlobError::LfsPointer)));
    }

    #[test]
    fn what_older_writers_left_behind_the_offset_is_ignored() {
        let garbage = |at: usize| {
            let mut bytes = apple();
            bytes[at + 24..at + 64].fill(0x13);
            bytes
        };
        assert_eq!(records(Cursor::new(garbage(64))).unwrap(), records(Cursor::new(apple())).unwrap());
        assert_eq!(record_at(Cursor::new(garbage(64)), 64).unwrap().elements(), 3);
        for (at, dtype) in
            [(192, DataType::Int4), (320, DataType::UInt3), (448, DataType::UInt6), (576, DataType::UInt1)]
        {
            let error = record_at(Cursor::new(garbage(at)), at as u64).unwrap_err();
            assert!(
                matches!(error, BlobError::Length { padding_bits: 0x1313_1313_1313_1313, dtype: found, .. } if found == dtype),
                "{error}"
            );
        }
        let wide = [DataType::Float32, DataType::Int8, DataType::UInt8, DataType::Int16, DataType::UInt32];
        for dtype in wide {
            let bytes = file(&[(dtype, 4, &vec![1; 4 * dtype.bits().unwrap() as usize / 8])]);
            for field in [1, 7, 8, u64::MAX, 0x0131_303f_2550] {
                let mut bytes = bytes.clone();
                bytes[88..96].copy_from_slice(&field.to_le_bytes());
                let record = record_at(Cursor::new(&bytes), 64).unwrap();
                assert_eq!((record.elements(), record.padding_bits), (4, 0), "{dtype} with {field}");
            }
        }
    }

    fn storable() -> impl Strategy<Value = DataType> {
        prop::sample::select(CODES.map(|(dtype, _)| dtype).to_vec())
    }

    proptest! {
        #[test]
        fn what_is_planned_is_read(tensors in prop::collection::vec((storable(), 1u64..300), 0..12)) {
            let mut layout = BlobLayout::new();
            for (dtype, elements) in &tensors {
                layout.add(*dtype, *elements).unwrap();
            }
            let data: Vec<Vec<u8>> = layout.records().iter().map(|r| vec![0xa5; r.data.length() as usize]).collect();
            let filled: Vec<_> = tensors.iter().zip(&data).map(|((dtype, n), d)| (*dtype, *n, d.as_slice())).collect();
            let bytes = file(&filled);
            let read = records(Cursor::new(&bytes)).unwrap();
            prop_assert_eq!(read.as_slice(), layout.records());
            prop_assert_eq!(read.iter().map(|r| (r.dtype, r.elements())).collect::<Vec<_>>(), tensors);
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), offset in any::<u64>(), at in 0usize..400, byte in any::<u8>()) {
            let _ = records(Cursor::new(&bytes));
            let _ = record_at(Cursor::new(&bytes), offset);
            bytes = apple();
            bytes[at] = byte;
            if let Ok(records) = records(Cursor::new(&bytes)) {
                prop_assert!(records.iter().all(|r| r.data.end() <= bytes.len() as u64));
            }
        }
    }
}
