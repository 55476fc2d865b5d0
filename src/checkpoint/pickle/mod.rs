//! torch's files (`.pth`, `.pt`, `.bin`, `.ckpt`), zip archives and the older runs of pickles: a state dict at the top,
//! or under one of the keys that training scripts use.
//!
//! No code is run, and nothing is skipped in silence: a tensor that cannot be read is an error. Left out: the tar
//! archives of torch's first versions, TorchScript, quantized and sparse tensors. candle's reader is not used because
//! it copies values whenever a pickle refers to them, nests them without limit (both can end the process), and leaves
//! out tensors of types that it does not know.

mod archive;
mod legacy;
mod machine;
mod problem;

pub use problem::PickleProblem;

use std::{collections::HashSet, ops::Range};

use self::{
    archive::Entries,
    machine::{Id, Value, Values},
};
use super::{
    CheckpointDtype, TensorInfo,
    mapped::{StoredTensor, StoredTensors},
    strided,
};

/// Where training scripts put the state dict, if not at the top; the first that holds tensors counts.
const KEYS: [&str; 6] = ["state_dict", "model_state_dict", "model", "params", "params_ema", "module"];
/// What tar archives have in their first header, and where.
const TAR: (usize, &[u8]) = (257, b"ustar");

/// Finds the tensors of a torch checkpoint.
///
/// # Errors
/// When it is damaged, holds no state dict, or a tensor of it cannot be read.
pub fn read(file: &[u8]) -> Result<StoredTensors, PickleProblem> {
    if legacy::is_legacy(file) {
        let contents = legacy::read(file)?;
        return tensors(&contents.values, contents.top, &Storages::Listed(contents.places));
    }
    if file.get(TAR.0..).is_some_and(|rest| rest.starts_with(TAR.1)) {
        return Err(PickleProblem::Tar);
    }
    let entries = archive::read(file)?;
    let folder = folder(&entries)?;
    let bytes = |name: &str| {
        entries.get(format!("{folder}{name}").as_str()).map(|range| &file[range.start as usize..range.end as usize])
    };
    if let Some(order) = bytes("byteorder").filter(|order| *order != b"little") {
        return Err(PickleProblem::ByteOrder {
            found: String::from_utf8_lossy(&order[..order.len().min(16)]).into_owned(),
        });
    }
    let (values, top) = machine::run(bytes("data.pkl").ok_or(PickleProblem::NoPickle)?)?;
    tensors(&values, top, &Storages::Archive { entries: &entries, folder })
}

/// The tensors of the state dict that `top` is or holds.
fn tensors(values: &Values<'_>, top: Id, storages: &Storages<'_>) -> Result<StoredTensors, PickleProblem> {
    let (mut tensors, mut seen) = (StoredTensors::new(), HashSet::new());
    for &(key, value) in state_dict(values, top)? {
        let name = values.text(key).unwrap_or("a key that is no text");
        let reader = TensorReader { values, storages, name };
        let tensor = if values.text(key).is_some() { reader.read(value)? } else { None };
        let Some(tensor) = tensor else {
            if holds_tensors(values, value, &mut seen) {
                return Err(PickleProblem::Nested { key: name.to_owned() });
            }
            continue;
        };
        if tensors.insert(name.to_owned(), tensor).is_some() {
            return Err(PickleProblem::RepeatedTensor { tensor: name.to_owned() });
        }
    }
    Ok(tensors)
}

/// The folder inside the archive, with its slash: torch names it after the file.
fn folder<'a>(entries: &Entries<'a>) -> Result<&'a str, PickleProblem> {
    let is_folder = |folder: &&str| folder.is_empty() || folder.ends_with('/');
    let mut folders = entries.keys().filter_map(|name| name.strip_suffix("data.pkl").filter(is_folder));
    match (folders.next(), folders.next()) {
        (Some(folder), None) => Ok(folder),
        _ => Err(PickleProblem::NoPickle),
    }
}

/// The dictionary that holds the tensors.
fn state_dict<'v>(values: &'v Values<'_>, top: Id) -> Result<&'v [(Id, Id)], PickleProblem> {
    let entries = values.dict(top).unwrap_or_default();
    let holds_tensors = |dict: &&[(Id, Id)]| dict.iter().any(|&(_, value)| rebuild(values, value).is_some());
    let below = |key: &&str| {
        let (_, value) = entries.iter().rfind(|(name, _)| values.text(*name) == Some(key))?;
        values.dict(*value).filter(holds_tensors)
    };
    let found = KEYS.iter().find_map(below).or(Some(entries).filter(holds_tensors));
    found.ok_or_else(|| PickleProblem::NoStateDict {
        keys: &KEYS,
        found: entries.iter().filter_map(|(key, _)| values.text(*key)).take(20).map(str::to_owned).collect(),
    })
}

/// Whether a value of a state dict is a tensor or holds one at any depth. What was seen before held none, and is not
/// looked at again.
fn holds_tensors(values: &Values<'_>, value: Id, seen: &mut HashSet<Id>) -> bool {
    let mut waiting = vec![value];
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        match values.get(id) {
            Value::Call { callable, args } if rebuild(values, id).is_none() => waiting.extend([*callable, *args]),
            Value::Call { .. } => return true,
            Value::Tuple(ids) | Value::List(ids) => waiting.extend(ids),
            Value::Dict(entries) => waiting.extend(entries.iter().map(|&(_, value)| value)),
            _ => {}
        }
    }
    false
}

/// The function that would make the tensor, and its arguments, behind what wraps parameters and subclasses of tensors.
fn rebuild<'v, 'a>(values: &'v Values<'a>, id: Id) -> Option<(&'a str, &'v [Id])> {
    let mut id = id;
    // Each wrapper lies around a value that was there before, but a chain of them is no tensor that torch wrote.
    for _ in 0..4 {
        let Value::Call { callable, args } = values.get(id) else { return None };
        let (module, name) = values.global(*callable)?;
        let args = values.tuple(*args)?;
        match (module, name) {
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => id = *args.first()?,
            ("torch._tensor", "_rebuild_from_type_v2") => {
                let (_, name) = values.global(*args.first()?)?;
                return Some((name, values.tuple(*args.get(2)?)?));
            }
            _ if module.starts_with("torch") && name.starts_with("_rebuild") => return Some((name, args)),
            _ => return None,
        }
    }
    None
}

/// What is needed to find a tensor's data.
struct TensorReader<'v, 'a> {
    values: &'v Values<'a>,
    storages: &'v Storages<'v>,
    name: &'v str,
}

/// Where the data of storages lies.
enum Storages<'a> {
    /// In entries of an archive.
    Archive { entries: &'a Entries<'a>, folder: &'a str },
    /// Behind the pickles.
    Listed(legacy::Places<'a>),
}

impl Storages<'_> {
    fn find(&self, tensor: &str, key: &str) -> Result<Range<u64>, PickleProblem> {
        let tensor = || tensor.to_owned();
        match self {
            Self::Archive { entries, folder } => {
                let entry = format!("{folder}data/{key}");
                let range = entries.get(entry.as_str()).cloned();
                range.ok_or_else(|| PickleProblem::NoStorage { tensor: tensor(), entry })
            }
            Self::Listed(places) => {
                let range = places.get(key).cloned();
                range.ok_or_else(|| PickleProblem::UnlistedStorage { tensor: tensor(), key: key.to_owned() })
            }
        }
    }
}

/// A tensor's storage.
struct Storage {
    dtype: CheckpointDtype,
    begin: u64,
    length: u64,
}

impl TensorReader<'_, '_> {
    /// The tensor that a value of the state dict is, if it is one.
    fn read(&self, value: Id) -> Result<Option<StoredTensor>, PickleProblem> {
        let Some((function, args)) = rebuild(self.values, value) else { return Ok(None) };
        // Arguments: storage, offset, size, stride, requires_grad, hooks; v3: the dtype.
        let dtype = match function {
            "_rebuild_tensor_v2" | "_rebuild_tensor" => None,
            "_rebuild_tensor_v3" => Some(self.dtype_argument(args)?),
            _ => return Err(PickleProblem::Function { tensor: self.name.to_owned(), function: function.to_owned() }),
        };
        let [storage, offset, shape, strides, ..] = args else {
            return Err(self.malformed("a storage, offset, size and stride"));
        };
        // Behind the hooks, and in v3 behind the dtype: whether the numbers are meant with another sign or conjugate.
        let bits =
            args.get(if dtype.is_some() { 7 } else { 6 }).and_then(|&bits| self.values.dict(bits)).unwrap_or_default();
        if bits.iter().any(|&(_, bit)| !matches!(self.values.get(bit), Value::Bool(false))) {
            return Err(self.malformed("numbers as they stand, neither negated nor conjugate"));
        }
        let storage = self.storage(*storage, dtype)?;
        let offset = self
            .values
            .int(*offset)
            .and_then(|offset| u64::try_from(offset).ok())
            .ok_or_else(|| self.malformed("an offset"))?;
        let shape = self.numbers(*shape, "a size")?;
        let strides = self.numbers(*strides, "a stride")?;
        if shape.len() != strides.len() {
            return Err(self.malformed("as many strides as dimensions"));
        }
        self.place(&storage, offset, shape, strides).map(Some)
    }

    /// Checks that every element lies in the storage.
    fn place(
        &self,
        storage: &Storage,
        offset: u64,
        shape: Vec<u64>,
        strides: Vec<u64>,
    ) -> Result<StoredTensor, PickleProblem> {
        let width = storage.dtype.size();
        let available = storage.length / width;
        let info = TensorInfo { dtype: storage.dtype, shape };
        let elements = info.bytes().map(|bytes| bytes / width);
        let last = info.shape.iter().zip(&strides).try_fold(offset, |last, (&n, &stride)| {
            let step = n.saturating_sub(1).checked_mul(stride)?;
            last.checked_add(step)
        });
        let end = if elements == Some(0) { Some(offset) } else { last.and_then(|last| last.checked_add(1)) };
        if end.is_none_or(|end| end > available) {
            return Err(PickleProblem::Outside { tensor: self.name.to_owned(), end, available });
        }
        // Elements that share a place: an expanded tensor, whose copy could be of any length.
        if elements.is_none_or(|elements| elements > available) {
            return Err(PickleProblem::Expanded { tensor: self.name.to_owned(), elements, available });
        }
        let strides = (!is_row_major(&info.shape, &strides)).then_some(strides);
        Ok(StoredTensor { info, begin: storage.begin + offset * width, strides })
    }

    /// A storage: the tuple ("storage", class, key, device, length); in old files with a view of it, or None, at the
    /// end.
    fn storage(&self, id: Id, dtype: Option<CheckpointDtype>) -> Result<Storage, PickleProblem> {
        let reference = if let Value::Persistent(id) = self.values.get(id) { self.values.tuple(*id) } else { None };
        let Some([kind, class, key, rest @ ..]) = reference else { return Err(self.malformed("a storage")) };
        let (Some("storage"), Some((_, class)), Some(key)) =
            (self.values.text(*kind), self.values.global(*class), self.values.text(*key))
        else {
            return Err(self.malformed("a storage"));
        };
        let unknown = || PickleProblem::Dtype { tensor: self.name.to_owned(), dtype: class.to_owned() };
        let dtype = dtype.or_else(|| storage_dtype(class)).ok_or_else(unknown)?;
        let range = self.storages.find(self.name, key)?;
        let storage = Storage { dtype, begin: range.start, length: range.end - range.start };
        match rest.get(2).map(|&view| self.values.get(view)) {
            None | Some(Value::None) => Ok(storage),
            Some(Value::Tuple(view)) => self.view(&storage, view),
            Some(_) => Err(self.malformed("a view of a storage, or none")),
        }
    }

    /// A part of a storage: the tuple (key, offset, length), both in elements.
    fn view(&self, storage: &Storage, view: &[Id]) -> Result<Storage, PickleProblem> {
        let number = |id: &Id| self.values.int(*id).and_then(|value| u64::try_from(value).ok());
        let [_, offset, length] = view else { return Err(self.malformed("a view's key, offset and length")) };
        let (Some(offset), Some(length)) = (number(offset), number(length)) else {
            return Err(self.malformed("a view's offset and length"));
        };
        let width = storage.dtype.size();
        let (end, available) = (offset.checked_add(length), storage.length / width);
        if end.is_none_or(|end| end > available) {
            return Err(PickleProblem::Outside { tensor: self.name.to_owned(), end, available });
        }
        Ok(Storage { dtype: storage.dtype, begin: storage.begin + offset * width, length: length * width })
    }

    fn dtype_argument(&self, args: &[Id]) -> Result<CheckpointDtype, PickleProblem> {
        let argument = args.get(6).and_then(|&id| self.values.global(id));
        let (_, name) = argument.ok_or_else(|| self.malformed("a dtype"))?;
        torch_dtype(name).ok_or_else(|| PickleProblem::Dtype { tensor: self.name.to_owned(), dtype: name.to_owned() })
    }

    fn numbers(&self, id: Id, expected: &'static str) -> Result<Vec<u64>, PickleProblem> {
        let number = |&id: &Id| self.values.int(id).and_then(|value| u64::try_from(value).ok());
        let numbers = self.values.tuple(id).and_then(|ids| ids.iter().map(number).collect());
        numbers.ok_or_else(|| self.malformed(expected))
    }

    fn malformed(&self, expected: &'static str) -> PickleProblem {
        PickleProblem::Malformed { tensor: self.name.to_owned(), expected }
    }
}

/// Whether the strides say nothing that the shape does not: those of dimensions of length 1 are arbitrary.
fn is_row_major(shape: &[u64], strides: &[u64]) -> bool {
    let expected = strided::row_major(shape);
    shape.contains(&0)
        || shape.iter().zip(strides).zip(expected).all(|((&n, &stride), expected)| n == 1 || stride == expected)
}

/// Element types of torch's typed storages.
fn storage_dtype(class: &str) -> Option<CheckpointDtype> {
    Some(match class {
        "DoubleStorage" => CheckpointDtype::F64,
        "FloatStorage" => CheckpointDtype::F32,
        "HalfStorage" => CheckpointDtype::F16,
        "BFloat16Storage" => CheckpointDtype::BF16,
        "LongStorage" => CheckpointDtype::I64,
        "IntStorage" => CheckpointDtype::I32,
        "ShortStorage" => CheckpointDtype::I16,
        "CharStorage" => CheckpointDtype::I8,
        "ByteStorage" => CheckpointDtype::U8,
        "BoolStorage" => CheckpointDtype::Bool,
        _ => return None,
    })
}

/// Element types that have no storage of their own, by their name in torch.
fn torch_dtype(name: &str) -> Option<CheckpointDtype> {
    Some(match name {
        "uint16" => CheckpointDtype::U16,
        "uint32" => CheckpointDtype::U32,
        "uint64" => CheckpointDtype::U64,
        "float8_e4m3fn" => CheckpointDtype::F8E4M3,
        "float8_e5m2" => CheckpointDtype::F8E5M2,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
