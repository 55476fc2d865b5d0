//! The content-addressed store on disk: blobs by sha256, releases, downloads under way, and where things were placed.
//!
//! ```text
//! HOME/
//!   blobs/sha256/ab/<64 hex digits>          a blob, mode 0444; these files are the truth
//!   blobs.lock                               held while a blob gets or loses its name
//!   releases/<package>/<version>.json        a release manifest, byte for byte
//!   releases/<package>/<version>~origin.json where it came from (`~` occurs in no version, so no two names collide)
//!   releases/.lock                           held while a release is put or removed
//!   partial/<hex>.part, <hex>.ranges         a download under way and the journal of what arrived
//!   tmp/                                     files that are being written
//!   placements/<16 hex digits>.json          folders that were placed
//!   pins.json, uses.json                     who holds what, and in which order variants were used
//!   index.sqlite                             derived; may be deleted at any moment
//!   index.lock                               held while a damaged index is replaced
//!   lock                                     shared by everybody who writes, exclusive for gc
//! ```
//! Blocking; safe from many threads and processes at once. What a fetch wants and where bytes come from is decided
//! elsewhere.
//!
//! Durability: a blob's bytes are synced before it gets its name, so no power loss shows a name without its content.
//! The folder is not synced for each blob: a name that is lost costs only that the next run writes it again. A release
//! syncs its folder, which on journaling file systems carries the earlier renames with it.

mod ahead;
mod blobs;
mod error;
mod evict;
mod gc;
mod index;
mod io;
mod layout;
mod lock;
mod partial;
mod pins;
mod placements;
mod ranges;
mod record;
mod releases;
pub mod segments;
mod units;
mod uses;
mod verify;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub use error::StoreError;
pub use gc::{Evicted, GcBlob, GcOptions, GcPlan, GcReport};
pub use index::Location;
pub use lock::WriteGuard;
pub use partial::{Download, PartialBlob};
pub use pins::{Pin, Pins, Priority, Subject, VariantKey};
pub use placements::Placement;
pub use releases::{Origin, Provenance};
pub use segments::{Cut, SegmentError, Segmentation};
pub use verify::{Finding, Problem, VerifyReport};
pub use writer::{BlobWriter, StoredBlob};

use index::Index;
use layout::Layout;
use lock::StoreLock;

/// A store below one folder. Clones share it; separate instances and processes may use the same folder at once.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    lock: StoreLock,
    index: Index,
}

impl Store {
    /// The store below `home`. Touches no file: folders and the index are made when they are first needed.
    ///
    /// # Errors
    /// When `home` is relative and there is no working directory.
    pub fn open(home: &Path) -> Result<Self, StoreError> {
        let home = std::path::absolute(home).map_err(StoreError::io("resolve", home))?;
        let layout = Layout::new(home);
        Ok(Self {
            inner: Arc::new(Inner { lock: StoreLock::new(layout.lock()), index: Index::new(layout.clone()), layout }),
        })
    }

    /// The folder of the store, absolute.
    pub fn home(&self) -> &Path {
        self.inner.layout.home()
    }

    /// Keeps `gc` away until the guard is dropped. Every writing call takes one for its own duration; whoever writes
    /// blobs first and the release that names them later holds one over both.
    ///
    /// # Errors
    /// When the lock file cannot be made or locked.
    pub fn writing(&self) -> Result<WriteGuard, StoreError> {
        self.inner.lock.shared()
    }

    fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    fn index(&self) -> &Index {
        &self.inner.index
    }

    fn temporary_folder(&self) -> Result<PathBuf, StoreError> {
        let folder = self.layout().temporary();
        std::fs::create_dir_all(&folder).map_err(StoreError::io("make", &folder))?;
        Ok(folder)
    }
}

#[cfg(test)]
mod schedules;
#[cfg(test)]
mod tests;
