//! What can be wrong with a torch checkpoint.

/// Why a torch checkpoint cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PickleProblem {
    /// Tensors below a key that should hold one.
    #[error("its state dict has tensors below `{key}`, which is no tensor: expected a tensor for every name")]
    Nested {
        /// The key.
        key: String,
    },
    /// No zip archive.
    #[error("it is no zip archive")]
    NotZip,
    /// A file of the first versions of torch.
    #[error("it is a tar archive, which the first versions of torch wrote")]
    Tar,
    /// A file from before torch 1.6 with an unexpected part.
    #[error("its {part} is not what torch wrote before version 1.6: expected {expected}")]
    Legacy {
        /// Which part of it.
        part: &'static str,
        /// What is missing.
        expected: &'static str,
    },
    /// A storage of an element type that nobody knows.
    #[error("storage `{key}` has the element type `{class}`, which mlreg does not know")]
    StorageType {
        /// The storage.
        key: String,
        /// torch's name of its class.
        class: String,
    },
    /// A storage that is described in two ways.
    #[error("storage `{key}` has two element types or two lengths")]
    StorageConflict {
        /// The storage.
        key: String,
    },
    /// A storage that the list names and no tensor refers to.
    #[error("storage `{key}` belongs to no tensor, so that its length is unknown")]
    StorageUnused {
        /// The storage.
        key: String,
    },
    /// A storage that is listed twice.
    #[error("storage `{key}` is listed twice")]
    StorageRepeated {
        /// The storage.
        key: String,
    },
    /// A storage of another length than its tensors say.
    #[error("storage `{key}` has {found} elements, its tensors expect {declared}")]
    StorageLength {
        /// The storage.
        key: String,
        /// What its tensors say.
        declared: u64,
        /// What stands in front of its data.
        found: i64,
    },
    /// A storage that reaches beyond the end of the file.
    #[error("storage `{key}` needs {} bytes, {left} are left in the file", .needed.map_or("too many".to_owned(), |n| n.to_string()))]
    StorageCut {
        /// The storage.
        key: String,
        /// Its bytes; `None` on overflow.
        needed: Option<u64>,
        /// Bytes from its beginning to the end of the file.
        left: u64,
    },
    /// Bytes behind the last storage.
    #[error("{bytes} bytes follow the last storage, expected the end of the file")]
    Trailing {
        /// How many.
        bytes: u64,
    },
    /// A pickle without an end.
    #[error("the pickle at byte {start} does not end within {limit} bytes, more are not read")]
    Endless {
        /// Where it begins.
        start: usize,
        /// The limit.
        limit: u64,
    },
    /// A damaged archive.
    #[error("{part} of the archive is damaged at byte {at}")]
    Archive {
        /// Which part of it.
        part: &'static str,
        /// Where.
        at: u64,
    },
    /// An entry that is not simply stored.
    #[error("`{entry}` in the archive is compressed or encrypted, expected it to be stored")]
    Compressed {
        /// The entry.
        entry: String,
    },
    /// Two entries of one name.
    #[error("`{entry}` is in the archive twice")]
    RepeatedEntry {
        /// Their name.
        entry: String,
    },
    /// No pickle, or several.
    #[error("expected one `data.pkl` in the archive")]
    NoPickle,
    /// Data of another kind of machine.
    #[error("its byte order is `{found}`, expected `little`")]
    ByteOrder {
        /// What the archive says.
        found: String,
    },
    /// A pickle longer than any that is meant.
    #[error("its pickle has {length} bytes, at most {limit} are read")]
    TooLong {
        /// Its length.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// A pickle that ends early.
    #[error("its pickle ends inside the instruction at byte {at}")]
    Truncated {
        /// Where the instruction begins.
        at: usize,
    },
    /// An instruction that torch does not write.
    #[error("its pickle has the unknown instruction {code:#04x} at byte {at}")]
    Instruction {
        /// The instruction.
        code: u8,
        /// Where.
        at: usize,
    },
    /// An instruction without what it works on.
    #[error("the instruction at byte {at} of its pickle needs {expected}")]
    Unexpected {
        /// What it needs.
        expected: &'static str,
        /// Where the instruction begins.
        at: usize,
    },
    /// No state dict.
    #[error("it holds no tensors at the top or under {}; at the top there is {}", list(.keys), list(.found))]
    NoStateDict {
        /// The keys that were looked at.
        keys: &'static [&'static str],
        /// The first keys that are there.
        found: Vec<String>,
    },
    /// A tensor that is there twice.
    #[error("tensor `{tensor}` is there twice")]
    RepeatedTensor {
        /// The tensor.
        tensor: String,
    },
    /// A kind of tensor that is not read.
    #[error("tensor `{tensor}` is made by `{function}`, expected a dense tensor")]
    Function {
        /// The tensor.
        tensor: String,
        /// torch's function.
        function: String,
    },
    /// A tensor whose description is not what torch writes.
    #[error("the description of tensor `{tensor}` needs {expected}")]
    Malformed {
        /// The tensor.
        tensor: String,
        /// What is missing.
        expected: &'static str,
    },
    /// An element type that nobody knows.
    #[error("tensor `{tensor}` has the element type `{dtype}`, which mlreg does not know")]
    Dtype {
        /// The tensor.
        tensor: String,
        /// torch's name of it.
        dtype: String,
    },
    /// A storage that is not there.
    #[error("the data of tensor `{tensor}` should be in `{entry}`, which is not in the archive")]
    NoStorage {
        /// The tensor.
        tensor: String,
        /// The entry.
        entry: String,
    },
    /// A storage that the file does not list.
    #[error("the data of tensor `{tensor}` should be in the storage `{key}`, which the file does not list")]
    UnlistedStorage {
        /// The tensor.
        tensor: String,
        /// The storage.
        key: String,
    },
    /// A tensor that reaches beyond its storage.
    #[error("tensor `{tensor}` needs {} elements of its storage, which has {available}", .end.map_or("too many".to_owned(), |n| n.to_string()))]
    Outside {
        /// The tensor.
        tensor: String,
        /// One past its last element; `None` on overflow.
        end: Option<u64>,
        /// Elements that the storage has.
        available: u64,
    },
    /// A tensor with more elements than its storage.
    #[error("tensor `{tensor}` has {} elements, its storage only {available}", .elements.map_or("too many".to_owned(), |n| n.to_string()))]
    Expanded {
        /// The tensor.
        tensor: String,
        /// Its elements; `None` on overflow.
        elements: Option<u64>,
        /// Elements that the storage has.
        available: u64,
    },
}

fn list(names: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    if quoted.is_empty() { "nothing".to_owned() } else { quoted.join(", ") }
}

impl PickleProblem {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::StorageCut { .. } => "the file may be cut short: download it again".to_owned(),
            Self::Tar | Self::Legacy { .. } | Self::Compressed { .. } => {
                "load it with torch and save it again, best as safetensors".to_owned()
            }
            Self::Expanded { .. } => "call `.contiguous()` on the tensor before saving".to_owned(),
            Self::Function { .. } | Self::Instruction { .. } | Self::NoStateDict { .. } => {
                "save `model.state_dict()`, best as safetensors".to_owned()
            }
            _ => return None,
        })
    }
}
