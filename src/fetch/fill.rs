//! Fills bundles with the bytes of blobs: clones where the file system has such, else links where the layout wants
//! them, else copies.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{
    FetchError,
    layout::{Layout, PlacedBundle, PlacedFile, Proof},
    materialize::Survey,
};
use crate::{base::Digest, store::Store};

/// Writes files with the bytes of blobs.
pub(super) struct Filler<'a> {
    store: &'a Store,
    layout: Layout,
    /// `linked`: a file in the folder for every content that is there, and whether it is executable.
    pool: HashMap<(Digest, bool), PathBuf>,
    clones: bool,
}

impl<'a> Filler<'a> {
    pub(super) fn new(store: &'a Store, layout: Layout, folder: &Path, wanted: &Proof, survey: &Survey) -> Self {
        let mut pool = HashMap::new();
        let intact =
            wanted.bundles.iter().filter(|(name, _)| layout == Layout::Linked && survey.intact.contains(*name));
        for (name, bundle) in intact {
            for (path, file) in &bundle.files {
                pool.entry((file.sha256, file.executable)).or_insert_with(|| path.below(&folder.join(name)));
            }
        }
        Self { store, layout, pool, clones: true }
    }

    pub(super) fn build(&mut self, bundle: &PlacedBundle, target: &Path) -> Result<(), FetchError> {
        fs::create_dir(target).map_err(FetchError::io("make", target))?;
        for folder in bundle.all_folders() {
            let folder = folder.below(target);
            fs::create_dir_all(&folder).map_err(FetchError::io("make", &folder))?;
        }
        bundle.files.iter().try_for_each(|(path, file)| self.put(file, &path.below(target)))
    }

    pub(super) fn put(&mut self, file: &PlacedFile, target: &Path) -> Result<(), FetchError> {
        let key = (file.sha256, file.executable);
        if let Some(twin) = self.pool.get(&key) {
            // File systems without links, or with too many of one file, get another file.
            if fs::hard_link(twin, target).is_ok() {
                return Ok(());
            }
        }
        self.take_from_store(file, target).map_err(FetchError::io("write", target))?;
        if self.layout == Layout::Linked {
            self.pool.insert(key, target.to_owned());
        }
        Ok(())
    }

    /// A clone where the file system has such, else a link where the layout wants one, else a copy.
    fn take_from_store(&mut self, file: &PlacedFile, target: &Path) -> io::Result<()> {
        let blob = self.store.blob_path(&file.sha256);
        if self.clones {
            match reflink_copy::reflink(&blob, target) {
                Ok(()) => return set_mode(target, file.executable),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
                Err(_) => self.clones = false,
            }
        }
        // A link has the blob's mode.
        let linked = self.layout != Layout::Copied
            && !file.executable
            && is_read_only(&blob)?
            && fs::hard_link(&blob, target).is_ok();
        if linked {
            return Ok(());
        }
        fs::copy(&blob, target)?;
        set_mode(target, file.executable)?;
        File::options().write(true).open(target)?.sync_data()
    }

    /// A bundle was moved: its files are elsewhere now.
    pub(super) fn settle(&mut self, from: &Path, to: &Path) {
        for path in self.pool.values_mut() {
            if let Ok(rest) = path.strip_prefix(from) {
                *path = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            }
        }
    }
}

/// Whether the blob has the mode that the store gave it, which a link to it may have changed.
#[cfg(unix)]
fn is_read_only(blob: &Path) -> io::Result<bool> {
    Ok(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(blob)?.permissions()) & 0o777 == 0o444)
}

#[cfg(not(unix))]
fn is_read_only(blob: &Path) -> io::Result<bool> {
    Ok(fs::metadata(blob)?.permissions().readonly())
}

#[cfg(unix)]
fn set_mode(path: &Path, executable: bool) -> io::Result<()> {
    let mode = if executable { 0o755 } else { 0o644 };
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(path: &Path, _: bool) -> io::Result<()> {
    let mut permissions = fs::metadata(path)?.permissions();
    #[expect(
        clippy::permissions_set_readonly_false,
        reason = "this is not Unix, where that would mean writable by everybody"
    )]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions)
}
