//! What lies in a placed folder, as the file system tells it: names, lengths, times. Hashes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::base::{Blake3, FileStat};

/// What tells a file that was touched from one that was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stat {
    pub(super) size: u64,
    /// Nanoseconds since 1970.
    pub(super) modified: i64,
    pub(super) inode: u64,
    pub(super) executable: bool,
}

/// Some entries of a folder and everything below them, with `/`-separated paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scan {
    pub(super) files: BTreeMap<String, Stat>,
    pub(super) folders: BTreeSet<String>,
    /// Symbolic links, sockets and the like.
    pub(super) others: BTreeSet<String>,
}

impl Stat {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let FileStat { size, modified, inode } = FileStat::of(metadata);
        Self { size, modified, inode, executable: is_executable(metadata) }
    }
}

#[cfg(unix)]
fn is_executable(metadata: &Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &Metadata) -> bool {
    false
}

/// Whether files can be marked as executable here.
pub(super) const HAS_EXECUTABLES: bool = cfg!(unix);

impl Scan {
    /// Looks at `names` in `folder`; what is not there is left out.
    pub(super) fn of<'a>(folder: &Path, names: impl IntoIterator<Item = &'a str>) -> io::Result<Self> {
        let mut scan = Self::default();
        for name in names {
            let place = folder.join(name);
            scan.look(&|| place.clone(), name.to_owned(), fs::symlink_metadata(&place))?;
        }
        Ok(scan)
    }

    fn look(&mut self, place: &dyn Fn() -> PathBuf, path: String, metadata: io::Result<Metadata>) -> io::Result<()> {
        let metadata = match metadata {
            Ok(metadata) => metadata,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if metadata.is_file() {
            self.files.insert(path, Stat::of(&metadata));
        } else if metadata.is_dir() {
            for entry in fs::read_dir(place())? {
                let entry = entry?;
                // A name that is not Unicode was not placed by mlreg; its replacement characters are no name that was,
                // either.
                let below = [path.as_str(), "/", &entry.file_name().to_string_lossy()].concat();
                // Asked of the folder that is open, which spares the system the way to it.
                self.look(&|| entry.path(), below, entry.metadata())?;
            }
            self.folders.insert(path);
        } else {
            self.others.insert(path);
        }
        Ok(())
    }

    /// The part of the scan that is `name` and what is below it.
    pub(super) fn part(&self, name: &str) -> Self {
        let below =
            |path: &String| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        Self {
            files: self
                .files
                .iter()
                .filter(|(path, _)| below(path))
                .map(|(path, stat)| (path.clone(), *stat))
                .collect(),
            folders: self.folders.iter().filter(|path| below(path)).cloned().collect(),
            others: self.others.iter().filter(|path| below(path)).cloned().collect(),
        }
    }

    /// What equal scans have in common.
    pub(super) fn digest(&self) -> Blake3 {
        let mut text = Vec::new();
        let mut name = |kind: u8, path: &String, stat: &[u8]| {
            text.push(kind);
            text.extend((path.len() as u64).to_le_bytes());
            text.extend(path.as_bytes());
            text.extend(stat);
        };
        for (path, Stat { size, modified, inode, executable }) in &self.files {
            let numbers = [*size, modified.cast_unsigned(), *inode, u64::from(*executable)];
            name(0, path, numbers.map(u64::to_le_bytes).as_flattened());
        }
        self.folders.iter().for_each(|path| name(1, path, &[]));
        self.others.iter().for_each(|path| name(2, path, &[]));
        Blake3::of(&text)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.folders.is_empty() && self.others.is_empty()
    }
}
