//! torch files from before version 1.6 (`torch.serialization._legacy_save`): pickles one behind the other, then the
//! data of the storages.
//!
//! In order: the magic number, the version of the protocol, facts about the machine that wrote the file, the saved
//! object, the list of storage keys, and for each key an int64 with its number of elements and the elements,
//! little-endian. Lengths are checked against the file before they are used; bytes behind the last storage are an
//! error, as a file that was written twice is.

use std::{collections::BTreeMap, ops::Range};

use super::{
    PickleProblem,
    machine::{self, Id, Value, Values},
    storage_dtype,
};

/// The pickled magic number 0x1950a86a20f9469cfc6c: LONG1, its length, its digits, STOP.
const MAGIC: &[u8] = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
const PROTOCOL: i64 = 1001;
/// Length of the number in front of a storage's data.
const COUNT: u64 = 8;

/// Where the data of each storage lies in the file, by key.
pub(super) type Places<'a> = BTreeMap<&'a str, Range<u64>>;

/// The saved object of a file, and its storages.
pub(super) struct Contents<'a> {
    pub(super) values: Values<'a>,
    pub(super) top: Id,
    pub(super) places: Places<'a>,
}

/// Whether the file begins with the magic number, in a pickle of protocol 2 or later.
pub(super) fn is_legacy(file: &[u8]) -> bool {
    let [0x80, 2..=5, rest @ ..] = file else { return false };
    let body = match rest {
        // FRAME, which protocol 4 writes around what follows.
        [0x95, rest @ ..] => rest.get(8..).unwrap_or_default(),
        _ => rest,
    };
    body.starts_with(MAGIC)
}

/// Reads the pickles, and finds the storages behind them.
pub(super) fn read(file: &[u8]) -> Result<Contents<'_>, PickleProblem> {
    let (.., at) = machine::run_at(file, 0)?;
    let (values, protocol, at) = machine::run_at(file, at)?;
    if values.int(protocol) != Some(PROTOCOL) {
        return Err(PickleProblem::Legacy { part: "protocol version", expected: "1001" });
    }
    let (values, system, at) = machine::run_at(file, at)?;
    check_byte_order(&values, system)?;
    let (values, top, at) = machine::run_at(file, at)?;
    let (names, keys, at) = machine::run_at(file, at)?;
    let keys = names.list(keys).ok_or(PickleProblem::Legacy { part: "list of storages", expected: "a list" })?;
    let keys: Option<Vec<&str>> = keys.iter().map(|&key| names.text(key)).collect();
    let keys = keys.ok_or(PickleProblem::Legacy { part: "list of storages", expected: "a text for each key" })?;
    let places = places(file, at as u64, &keys, &storages(&values)?)?;
    Ok(Contents { values, top, places })
}

fn check_byte_order(values: &Values<'_>, system: Id) -> Result<(), PickleProblem> {
    let entries = values.dict(system).unwrap_or_default();
    let order =
        entries.iter().find(|(key, _)| values.text(*key) == Some("little_endian")).map(|&(_, value)| values.get(value));
    match order {
        Some(Value::Bool(true)) => Ok(()),
        Some(Value::Bool(false)) => Err(PickleProblem::ByteOrder { found: "big".to_owned() }),
        _ => Err(PickleProblem::Legacy { part: "description of the machine", expected: "`little_endian`" }),
    }
}

/// What the saved object says about a storage.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Declared {
    /// Bytes of an element.
    width: u64,
    elements: u64,
}

/// Every storage that the saved object refers to.
fn storages<'a>(values: &Values<'a>) -> Result<BTreeMap<&'a str, Declared>, PickleProblem> {
    let mut found = BTreeMap::new();
    for id in values.references() {
        let Some([kind, class, key, _, elements, ..]) = values.tuple(id) else { continue };
        let (Some("storage"), Some((_, class)), Some(key)) =
            (values.text(*kind), values.global(*class), values.text(*key))
        else {
            continue;
        };
        let width = match class {
            "UntypedStorage" => 1,
            _ => storage_dtype(class)
                .ok_or_else(|| PickleProblem::StorageType { key: key.to_owned(), class: class.to_owned() })?
                .size(),
        };
        let elements = values.int(*elements).and_then(|elements| u64::try_from(elements).ok());
        let elements = elements
            .ok_or(PickleProblem::Legacy { part: "reference to a storage", expected: "a number of elements" })?;
        let declared = Declared { width, elements };
        if *found.entry(key).or_insert(declared) != declared {
            return Err(PickleProblem::StorageConflict { key: key.to_owned() });
        }
    }
    Ok(found)
}

/// Walks over the storages, which lie from `at` on in the order of `keys`.
fn places<'a>(
    file: &[u8],
    mut at: u64,
    keys: &[&'a str],
    declared: &BTreeMap<&str, Declared>,
) -> Result<Places<'a>, PickleProblem> {
    let mut places = Places::new();
    for &key in keys {
        let declared = declared.get(key).ok_or_else(|| PickleProblem::StorageUnused { key: key.to_owned() })?;
        let left = file.len() as u64 - at;
        let cut = |needed: Option<u64>| PickleProblem::StorageCut { key: key.to_owned(), needed, left };
        if left < COUNT {
            return Err(cut(Some(COUNT)));
        }
        let (begin, count) = (at + COUNT, &file[at as usize..(at + COUNT) as usize]);
        let count = i64::from_le_bytes(count.try_into().expect("the slice is that long"));
        if u64::try_from(count) != Ok(declared.elements) {
            return Err(PickleProblem::StorageLength {
                key: key.to_owned(),
                declared: declared.elements,
                found: count,
            });
        }
        let needed = declared.elements.checked_mul(declared.width).and_then(|bytes| bytes.checked_add(COUNT));
        let needed = needed.filter(|&needed| needed <= left).ok_or_else(|| cut(needed))?;
        at += needed;
        if places.insert(key, begin..at).is_some() {
            return Err(PickleProblem::StorageRepeated { key: key.to_owned() });
        }
    }
    let rest = file.len() as u64 - at;
    if rest > 0 { Err(PickleProblem::Trailing { bytes: rest }) } else { Ok(places) }
}
