//! Opens folders component by component without following symbolic links.
//!
//! The root of a [`Folder`] may be reached through a link, because whoever names it knows where it leads. Nothing below
//! it is followed: on Unix every step starts at the open folder above it, so that a link that is swapped in meanwhile
//! leads nowhere. Elsewhere each step looks first.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::RelativePath;

/// The kind of a directory entry; links are not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, dangling or not.
    Link,
    /// A device, a socket or the like.
    Other,
}

/// Why something below a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A link.
    #[error("`{}` is a symbolic link{}: links inside a managed folder are not followed", path.display(), destination(path))]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A thing of another kind.
    #[error("`{}` is {found}, expected {expected}", path.display())]
    Kind {
        /// The thing.
        path: PathBuf,
        /// What was expected.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A file that is longer than it may be.
    #[error("`{}` has more than {limit} bytes, which is more than such a file has", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The file system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// ` to <where>`, where the system says it.
fn destination(link: &Path) -> String {
    std::fs::read_link(link).map_or_else(|_| String::new(), |to| format!(" to `{}`", to.display()))
}

impl FolderError {
    fn io(action: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path, source }
    }

    /// Whether nothing lies there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Link { path } => {
                Some(format!("put what `{}` leads to in its place, or remove the link", path.display()))
            }
            _ => None,
        }
    }
}

impl EntryKind {
    fn told(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Folder => "a folder",
            Self::Link => "a symbolic link",
            Self::Other => "neither a file nor a folder",
        }
    }
}

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    handle: system::Handle,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder. Links in `path` are followed.
    ///
    /// # Errors
    /// Errors of the file system, also where `path` is no folder.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let handle = system::open_root(path).map_err(FolderError::io("open the folder", path.to_owned()))?;
        Ok(Self { handle, path: path.to_owned() })
    }

    /// The path by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of the entry `name`, a single component; `None` where there is no such entry.
    ///
    /// # Errors
    /// What the file system says.
    pub fn kind(&self, name: &str) -> Result<Option<EntryKind>, FolderError> {
        match system::kind(&self.handle, name) {
            Ok(kind) => Ok(Some(kind)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FolderError::io("look at", self.path.join(name))(error)),
        }
    }

    /// Opens a folder in this one.
    ///
    /// # Errors
    /// `Link` and `Kind` where it is no folder, or what the file system says.
    pub fn folder(&self, name: &str) -> Result<Self, FolderError> {
        let opened = system::open_folder(&self.handle, name);
        let handle = opened.map_err(|error| self.refusal(name, EntryKind::Folder, "open the folder", error))?;
        Ok(Self { handle, path: self.path.join(name) })
    }

    /// Opens a folder in this one and creates it if it is missing.
    ///
    /// # Errors
    /// As [`folder`](Self::folder).
    pub fn make_folder(&self, name: &str) -> Result<Self, FolderError> {
        match system::make_folder(&self.handle, name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(FolderError::io("make", self.path.join(name))(error))
            }
            _ => self.folder(name),
        }
    }

    /// Opens the parent folder of `path` step by step; `None` where it is missing.
    ///
    /// # Errors
    /// As [`folder`](Self::folder).
    pub fn parent_of(&self, path: &RelativePath) -> Result<Option<Self>, FolderError> {
        let mut open: Option<Self> = None;
        let Some(parent) = path.parent() else { return Self::try_clone(self).map(Some) };
        for name in parent.components() {
            let above = open.as_ref().unwrap_or(self);
            open = match above.folder(name) {
                Err(error) if error.is_missing() => return Ok(None),
                other => Some(other?),
            };
        }
        Ok(open)
    }

    /// Opens the parent folder of `path` step by step and creates missing folders.
    ///
    /// # Errors
    /// As [`folder`](Self::folder).
    pub fn make_parent_of(&self, path: &RelativePath) -> Result<Self, FolderError> {
        let mut open = Self::try_clone(self)?;
        for name in path.parent().iter().flat_map(|parent| parent.components().map(str::to_owned).collect::<Vec<_>>()) {
            open = open.make_folder(&name)?;
        }
        Ok(open)
    }

    fn try_clone(&self) -> Result<Self, FolderError> {
        let handle = system::clone(&self.handle).map_err(FolderError::io("open the folder", self.path.clone()))?;
        Ok(Self { handle, path: self.path.clone() })
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// `Link` and `Kind` where it is none, or what the file system says.
    pub fn file(&self, name: &str) -> Result<File, FolderError> {
        let opened = system::open_file(&self.handle, name);
        let file = opened.map_err(|error| self.refusal(name, EntryKind::File, "open", error))?;
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(file),
            Ok(_) => Err(self.refusal(name, EntryKind::File, "open", io::ErrorKind::InvalidInput.into())),
            Err(error) => Err(FolderError::io("look at", self.path.join(name))(error)),
        }
    }

    /// Reads a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`file`](Self::file), and `TooLong`.
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, FolderError> {
        let mut bytes = Vec::new();
        let read = self.file(name)?.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(FolderError::io("read", self.path.join(name)))?;
        if bytes.len() as u64 > limit {
            return Err(FolderError::TooLong { path: self.path.join(name), limit });
        }
        Ok(bytes)
    }

    /// Creates a file; an existing one is an error.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create_file(&self, name: &str) -> Result<File, FolderError> {
        system::create_file(&self.handle, name).map_err(FolderError::io("make", self.path.join(name)))
    }

    /// Makes a hard link to a file of this folder in another folder. `false` where the file system cannot.
    pub fn hard_link(&self, name: &str, into: &Self, new: &str) -> bool {
        system::hard_link(&self.handle, name, &into.handle, new).is_ok()
    }

    /// Renames a file within this folder; a file of the new name is replaced.
    ///
    /// # Errors
    /// What the file system says.
    pub fn rename(&self, name: &str, new: &str) -> Result<(), FolderError> {
        system::rename(&self.handle, name, new).map_err(FolderError::io("replace", self.path.join(new)))
    }

    /// Removes a file or link. A missing one is no error.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove_file(&self, name: &str) -> Result<(), FolderError> {
        match system::remove_file(&self.handle, name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FolderError::io("remove", self.path.join(name))(error))
            }
            _ => Ok(()),
        }
    }

    /// What to say where something could not be opened as what was expected.
    fn refusal(&self, name: &str, expected: EntryKind, action: &'static str, source: io::Error) -> FolderError {
        let path = self.path.join(name);
        match self.kind(name) {
            Ok(Some(EntryKind::Link)) => FolderError::Link { path },
            Ok(Some(found)) if found != expected => {
                FolderError::Kind { path, expected: expected.told(), found: found.told() }
            }
            _ => FolderError::Io { action, path, source },
        }
    }
}

/// Reads a regular file of at most `limit` bytes, which is not reached through a link of its own name. Nobody waits for
/// a pipe.
///
/// # Errors
/// As [`Folder::read`].
pub fn read_plain(path: &Path, limit: u64) -> Result<Vec<u8>, FolderError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| FolderError::io("read", path.to_owned())(io::ErrorKind::InvalidFilename.into()))?;
    Folder::open(parent)?.read(name, limit)
}

/// Free bytes for this user on the file system of `path`, or of its nearest existing ancestor; `None` where the system
/// does not report them.
pub fn free_bytes(path: &Path) -> Option<u64> {
    system::free_bytes(path.ancestors().find(|path| path.exists())?)
}

#[cfg(unix)]
mod system {
    use std::{fs::File, io, os::fd::OwnedFd, path::Path};

    use rustix::fs::{
        AtFlags, FileType, Mode, OFlags, linkat, mkdirat, open, openat, renameat, statat, statvfs, unlinkat,
    };

    use super::EntryKind;

    pub(super) type Handle = OwnedFd;

    const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

    pub(super) fn open_root(path: &Path) -> io::Result<Handle> {
        Ok(open(path, FOLDER, Mode::empty())?)
    }

    pub(super) fn open_folder(folder: &Handle, name: &str) -> io::Result<Handle> {
        Ok(openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?)
    }

    pub(super) fn clone(folder: &Handle) -> io::Result<Handle> {
        folder.try_clone()
    }

    pub(super) fn make_folder(folder: &Handle, name: &str) -> io::Result<()> {
        Ok(mkdirat(folder, name, Mode::from_raw_mode(0o777))?)
    }

    pub(super) fn kind(folder: &Handle, name: &str) -> io::Result<EntryKind> {
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Folder,
            FileType::Symlink => EntryKind::Link,
            _ => EntryKind::Other,
        })
    }

    pub(super) fn open_file(folder: &Handle, name: &str) -> io::Result<File> {
        // Opening a pipe would wait for whoever writes into it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(openat(folder, name, flags, Mode::empty())?.into())
    }

    pub(super) fn create_file(folder: &Handle, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(folder, name, flags, Mode::from_raw_mode(0o644))?.into())
    }

    pub(super) fn hard_link(folder: &Handle, name: &str, into: &Handle, new: &str) -> io::Result<()> {
        Ok(linkat(folder, name, into, new, AtFlags::empty())?)
    }

    pub(super) fn rename(folder: &Handle, name: &str, new: &str) -> io::Result<()> {
        Ok(renameat(folder, name, folder, new)?)
    }

    pub(super) fn remove_file(folder: &Handle, name: &str) -> io::Result<()> {
        Ok(unlinkat(folder, name, AtFlags::empty())?)
    }

    pub(super) fn free_bytes(path: &Path) -> Option<u64> {
        // File systems of the network that count nothing say that they have nothing.
        let found = statvfs(path).ok().filter(|found| found.f_blocks > 0)?;
        found.f_bavail.checked_mul(found.f_frsize)
    }
}

#[cfg(not(unix))]
mod system {
    use std::{
        fs::{self, File},
        io,
        path::{Path, PathBuf},
    };

    use super::EntryKind;

    pub(super) type Handle = PathBuf;

    pub(super) fn open_root(path: &Path) -> io::Result<Handle> {
        fs::read_dir(path).map(|_| path.to_owned())
    }

    pub(super) fn open_folder(folder: &Handle, name: &str) -> io::Result<Handle> {
        match kind(folder, name)? {
            EntryKind::Folder => Ok(folder.join(name)),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn clone(folder: &Handle) -> io::Result<Handle> {
        Ok(folder.clone())
    }

    pub(super) fn make_folder(folder: &Handle, name: &str) -> io::Result<()> {
        fs::create_dir(folder.join(name))
    }

    pub(super) fn kind(folder: &Handle, name: &str) -> io::Result<EntryKind> {
        let found = fs::symlink_metadata(folder.join(name))?;
        Ok(match () {
            () if found.is_symlink() => EntryKind::Link,
            () if found.is_file() => EntryKind::File,
            () if found.is_dir() => EntryKind::Folder,
            () => EntryKind::Other,
        })
    }

    pub(super) fn open_file(folder: &Handle, name: &str) -> io::Result<File> {
        match kind(folder, name)? {
            EntryKind::File => File::open(folder.join(name)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(super) fn create_file(folder: &Handle, name: &str) -> io::Result<File> {
        File::create_new(folder.join(name))
    }

    pub(super) fn hard_link(folder: &Handle, name: &str, into: &Handle, new: &str) -> io::Result<()> {
        fs::hard_link(folder.join(name), into.join(new))
    }

    pub(super) fn rename(folder: &Handle, name: &str, new: &str) -> io::Result<()> {
        fs::rename(folder.join(name), folder.join(new))
    }

    pub(super) fn remove_file(folder: &Handle, name: &str) -> io::Result<()> {
        fs::remove_file(folder.join(name))
    }

    pub(super) fn free_bytes(_: &Path) -> Option<u64> {
        None
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, io::Write, os::unix::fs::symlink};

    use super::*;

    fn path(text: &str) -> RelativePath {
        text.parse().unwrap()
    }

    #[test]
    fn links_are_followed_to_the_root_and_nowhere_below_it() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        let inside = tempfile::tempdir().unwrap();
        let real = inside.path().join("real");
        fs::create_dir_all(real.join("a/b")).unwrap();
        fs::write(real.join("a/b/file"), "bytes").unwrap();
        symlink(&real, inside.path().join("root")).unwrap();
        symlink(outside.path(), real.join("a/out")).unwrap();
        symlink("b/file", real.join("a/alias")).unwrap();
        symlink("nowhere", real.join("dangling")).unwrap();
        let root = Folder::open(&inside.path().join("root")).unwrap();
        assert_eq!(root.parent_of(&path("a/b/file")).unwrap().unwrap().read("file", 5).unwrap(), b"bytes");
        assert!(root.parent_of(&path("a/c/file")).unwrap().is_none());
        assert!(matches!(root.parent_of(&path("a/out/secret")), Err(FolderError::Link { .. })));
        assert!(matches!(root.make_parent_of(&path("a/out/new/x")), Err(FolderError::Link { .. })));
        assert!(matches!(root.make_parent_of(&path("dangling/x")), Err(FolderError::Link { .. })));
        let a = root.folder("a").unwrap();
        assert!(matches!(a.read("alias", 100), Err(FolderError::Link { .. })));
        assert!(matches!(root.read("dangling", 100), Err(FolderError::Link { .. })));
        assert!(matches!(root.read("a", 100), Err(FolderError::Kind { .. })));
        assert!(matches!(a.folder("b").unwrap().folder("file"), Err(FolderError::Kind { .. })));
        assert!(matches!(a.folder("b").unwrap().read("file", 4), Err(FolderError::TooLong { .. })));
        assert!(root.read("missing", 1).unwrap_err().is_missing());
        assert_eq!(a.kind("out").unwrap(), Some(EntryKind::Link));
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_becomes_a_link_while_it_is_open_leads_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["root/a", "outside"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let root = Folder::open(&folder.path().join("root")).unwrap();
        let open = root.folder("a").unwrap();
        fs::rename(folder.path().join("root/a"), folder.path().join("root/moved")).unwrap();
        symlink("../outside", folder.path().join("root/a")).unwrap();
        open.create_file("x").unwrap().write_all(b"x").unwrap();
        assert_eq!(fs::read(folder.path().join("root/moved/x")).unwrap(), b"x");
        assert_eq!(fs::read_dir(folder.path().join("outside")).unwrap().count(), 0);
    }

    #[test]
    fn files_are_made_linked_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let root = Folder::open(folder.path()).unwrap();
        root.create_file("one").unwrap().write_all(b"one").unwrap();
        let inner = root.make_parent_of(&path("a/b/x")).unwrap();
        assert!(root.hard_link("one", &inner, "two"));
        assert!(!root.hard_link("one", &inner, "two"), "nothing is replaced");
        assert!(inner.create_file("two").is_err());
        root.create_file("new").unwrap();
        root.rename("new", "one").unwrap();
        assert_eq!(fs::read(folder.path().join("a/b/two")).unwrap(), b"one");
        assert_eq!(fs::read(folder.path().join("one")).unwrap(), b"");
        root.remove_file("one").unwrap();
        root.remove_file("one").unwrap();
    }

    #[test]
    fn nobody_waits_for_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        if std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
            assert!(matches!(read_plain(&pipe, 10), Err(FolderError::Kind { .. })));
        }
    }

    #[test]
    fn disks_say_what_is_free() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(&folder.path().join("not/there")).unwrap() > 0);
    }
}
