//! Small types that every room shares. Each can only be built valid, so that nothing downstream has to check again.

mod digest;
mod fs;
mod mapped;
mod name;
mod nearest;
mod path;
mod range;
mod target;
mod url;

pub use digest::{Blake3, BlobHasher, Digest, DigestError, DigestHasher, HashedBytes};
pub use fs::{AtomicFile, remove_dir_all_writable, sync_parent};
pub use mapped::{map_file, release_mapped};
pub use name::{NameError, PackageName, Tag};
pub use nearest::{meant, nearest};
pub use path::{PathError, RelativePath};
pub use range::ByteRange;
pub use target::{OsFloor, Platform, Target, TargetError};
pub use url::{HubUrl, RemoteUrl, UrlError};
