//! The zip archive around a torch checkpoint: finds entries without copying them. APPNOTE.TXT 4.3 and 4.4, zip64
//! included.
//!
//! Only stored entries are taken: torch never compresses, since it maps its files too. Checksums are not looked at.

use std::{collections::BTreeMap, ops::Range};

use super::PickleProblem;

const END: u32 = 0x0605_4b50;
const END64_LOCATOR: u32 = 0x0706_4b50;
const END64: u32 = 0x0606_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;
/// Length of the end record, and the longest comment behind it.
const END_LENGTH: usize = 22;
const LONGEST_COMMENT: usize = 0xFFFF;
/// Id of the extra field with 64-bit lengths.
const ZIP64: u16 = 1;

/// Where each entry's data lies in the file.
pub(super) type Entries<'a> = BTreeMap<&'a str, Range<u64>>;

/// Finds every entry.
pub(super) fn read(file: &[u8]) -> Result<Entries<'_>, PickleProblem> {
    let directory = Reader { file, part: "the directory" };
    let mut at = directory_range(file)?;
    let mut entries = Entries::new();
    while !at.is_empty() {
        let (name, range, next) = entry(file, directory, at.start, at.end)?;
        if entries.insert(name, range).is_some() {
            return Err(PickleProblem::RepeatedEntry { entry: name.to_owned() });
        }
        at.start = next;
    }
    Ok(entries)
}

/// The central directory's place, from the record at the end of the file.
fn directory_range(file: &[u8]) -> Result<Range<u64>, PickleProblem> {
    let end = Reader { file, part: "the end record" };
    let first = file.len().saturating_sub(END_LENGTH + LONGEST_COMMENT);
    let found = (first..(file.len() + 1).saturating_sub(END_LENGTH)).rev().find(|&at| {
        let comment = end.u16(at as u64 + 20);
        end.u32(at as u64) == Ok(END) && comment.is_ok_and(|length| at + END_LENGTH + usize::from(length) == file.len())
    });
    let at = found.ok_or(PickleProblem::NotZip)? as u64;
    let (length, begin) = (end.u32(at + 12)?, end.u32(at + 16)?);
    if length != u32::MAX && begin != u32::MAX {
        return end.range(begin.into(), length.into());
    }
    let locator = at.checked_sub(20).ok_or(PickleProblem::Archive { part: end.part, at })?;
    end.signature(locator, END64_LOCATOR)?;
    let record = end.u64(locator + 8)?;
    end.signature(record, END64)?;
    end.range(end.u64(record + 48)?, end.u64(record + 40)?)
}

/// The entry whose directory header is at `at`: its name, its data, and where the next header is.
fn entry<'a>(
    file: &'a [u8],
    directory: Reader<'a>,
    at: u64,
    end: u64,
) -> Result<(&'a str, Range<u64>, u64), PickleProblem> {
    directory.signature(at, CENTRAL)?;
    let (name_length, extra_length) = (directory.u16(at + 28)?, directory.u16(at + 30)?);
    let name_end = at + 46 + u64::from(name_length);
    let next = name_end + u64::from(extra_length) + u64::from(directory.u16(at + 32)?);
    if next > end {
        return Err(PickleProblem::Archive { part: directory.part, at });
    }
    let name = std::str::from_utf8(directory.bytes(at + 46, name_length.into())?);
    let name = name.map_err(|_| PickleProblem::Archive { part: directory.part, at: at + 46 })?;
    let encrypted = directory.u16(at + 8)? & 1 != 0;
    if encrypted || directory.u16(at + 10)? != 0 {
        return Err(PickleProblem::Compressed { entry: name.to_owned() });
    }
    let mut long = long_values(directory, name_end, extra_length)?;
    let mut value = |field: u64| {
        let short = directory.u32(field)?;
        let mut wide = || long.next().ok_or(PickleProblem::Archive { part: directory.part, at: field });
        if short == u32::MAX { wide() } else { Ok(u64::from(short)) }
    };
    let length = value(at + 24)?;
    let stored = value(at + 20)?;
    let local = value(at + 42)?;
    if length != stored {
        return Err(PickleProblem::Archive { part: directory.part, at: at + 20 });
    }
    let header = Reader { file, part: "an entry's header" };
    header.signature(local, LOCAL)?;
    let begin = local + 30 + u64::from(header.u16(local + 26)?) + u64::from(header.u16(local + 28)?);
    Ok((name, header.range(begin, length)?, next))
}

/// The 64-bit values of a header's zip64 field, which stand for those that are all ones in the header.
fn long_values(directory: Reader<'_>, begin: u64, length: u16) -> Result<impl Iterator<Item = u64>, PickleProblem> {
    let mut extra = directory.bytes(begin, length.into())?;
    while let [id0, id1, n0, n1, rest @ ..] = extra {
        let length = usize::from(u16::from_le_bytes([*n0, *n1]));
        let Some((field, next)) = rest.split_at_checked(length) else { break };
        if u16::from_le_bytes([*id0, *id1]) == ZIP64 {
            return Ok(longs(field));
        }
        extra = next;
    }
    Ok(longs(&[]))
}

fn longs(field: &[u8]) -> impl Iterator<Item = u64> {
    field.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("chunks are that long")))
}

/// Little-endian numbers at places that may lie outside the file.
#[derive(Clone, Copy)]
struct Reader<'a> {
    file: &'a [u8],
    part: &'static str,
}

impl<'a> Reader<'a> {
    fn range(self, begin: u64, length: u64) -> Result<Range<u64>, PickleProblem> {
        let end = begin.checked_add(length).filter(|&end| end <= self.file.len() as u64);
        Ok(begin..end.ok_or(PickleProblem::Archive { part: self.part, at: begin })?)
    }

    fn bytes(self, at: u64, length: u64) -> Result<&'a [u8], PickleProblem> {
        let range = self.range(at, length)?;
        Ok(&self.file[range.start as usize..range.end as usize])
    }

    fn array<const N: usize>(self, at: u64) -> Result<[u8; N], PickleProblem> {
        Ok(self.bytes(at, N as u64)?.try_into().expect("the slice is that long"))
    }

    fn u16(self, at: u64) -> Result<u16, PickleProblem> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(self, at: u64) -> Result<u32, PickleProblem> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(self, at: u64) -> Result<u64, PickleProblem> {
        self.array(at).map(u64::from_le_bytes)
    }

    fn signature(self, at: u64, expected: u32) -> Result<(), PickleProblem> {
        if self.u32(at)? == expected { Ok(()) } else { Err(PickleProblem::Archive { part: self.part, at }) }
    }
}
