//! Small types that every room shares. Each can only be built valid, so that nothing downstream has to check again.

mod digest;
mod folder;
mod fs;
pub mod limits;
mod mapped;
mod name;
mod names;
mod nearest;
mod path;
mod range;
mod stat;
mod target;
mod temporary;
mod time;
mod told;
mod url;
mod whole_file;

pub use digest::{Blake3, BlobHasher, Digest, DigestError, DigestHasher, HashedBytes};
pub use folder::{EntryKind, Folder, FolderError, free_bytes, read_plain};
pub use fs::{AtomicFile, read_at_most, remove_dir_all_writable, remove_left_behind, sync_parent};
pub use mapped::{map_file, release_mapped};
pub use name::{NameError, PackageName, Tag};
pub use names::{ClashKind, PathClash, PathTree, escaped_name, name_key, name_problem};
pub use nearest::{meant, nearest};
pub use path::{PathError, RelativePath};
pub use range::ByteRange;
pub(crate) use stat::FileStat;
pub use target::{OsFloor, Platform, Target, TargetError};
pub use temporary::{note_temporary, remove_temporaries, watch_temporaries};
pub use time::Timestamp;
pub use told::told_bytes;
pub(crate) use url::redacted;
pub use url::{HubUrl, UrlError};
pub(crate) use whole_file::{PIECE, hash_file, hash_rest, pump, same_bytes};
