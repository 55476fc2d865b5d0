//! The index: everything that the files could tell too, but not fast enough. SQLite in WAL mode.
//!
//! Nothing here can fail what the user asked for. A damaged database is deleted and made again; while it cannot be used
//! (a full disk, a read-only home), the store goes without.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::{
    base::{Blake3, ByteRange, Digest, FileStat, hash_file},
    manifest::release::{Blob, Segment, SegmentContent},
};

use super::{Store, StoreError, layout::Layout, lock, segments};

const SCHEMA_VERSION: i64 = 2;
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS blobs (id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, modified INTEGER, inode INTEGER,
        blake3 BLOB);
    CREATE INDEX IF NOT EXISTS blobs_by_size ON blobs (size);
    CREATE TABLE IF NOT EXISTS segments (blake3 BLOB NOT NULL, blob INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL,
        PRIMARY KEY (blake3, blob)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS segments_by_blob ON segments (blob);
    CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INTEGER NOT NULL, modified INTEGER NOT NULL, inode INTEGER NOT NULL,
        sha256 BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS cache (namespace TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (namespace, key)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS complete (part TEXT PRIMARY KEY) WITHOUT ROWID;
";
const BUSY: Duration = Duration::from_secs(10);
/// A file that was modified this shortly before it was looked at may change again without its time changing (as in
/// git's racy index).
const RACY: Duration = Duration::from_secs(2);

/// Where a segment's bytes lie on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The blob.
    pub digest: Digest,
    /// The bytes in it.
    pub range: ByteRange,
}

/// The database of one store, opened at first need.
#[derive(Debug)]
pub(super) struct Index {
    layout: Layout,
    connection: Mutex<Option<Connection>>,
}

impl Index {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, connection: Mutex::new(None) }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work`, with a new database if this one is damaged; `None` where the index cannot be used.
    fn with<T>(&self, work: impl Fn(&mut Connection) -> rusqlite::Result<T>) -> Option<T> {
        let mut slot = self.slot();
        for _ in 0..2 {
            if slot.is_none() {
                *slot = Some(self.connect(false)?);
            }
            match work(slot.as_mut()?) {
                Ok(value) => return Some(value),
                Err(error) if is_damage(&error) => {
                    *slot = None;
                    *slot = Some(self.connect(true)?);
                }
                Err(_) => return None,
            }
        }
        None
    }

    /// Opens the database; one that is damaged, of another schema, or no longer wanted is made again.
    fn connect(&self, anew: bool) -> Option<Connection> {
        // Creating, switching to WAL and replacing are not safe against each other; the lock is held for some
        // milliseconds.
        let _lock = lock::exclusive(&self.layout.index_lock()).ok()?;
        let path = self.layout.index();
        if !anew {
            match prepare(&path) {
                Err(error) if is_damage(&error) => {}
                other => return other.ok(),
            }
        }
        remove_database(&path).ok()?;
        prepare(&path).ok()
    }

    /// Throws everything away.
    pub(super) fn clear(&self) {
        let mut slot = self.slot();
        *slot = None;
        *slot = self.connect(true);
    }

    /// How the blob's file looked when all its bytes were last hashed, and their BLAKE3.
    pub(super) fn hashed_blob(&self, digest: &Digest) -> Option<(FileStat, Blake3)> {
        let found = self.with(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT size, modified, inode, blake3 FROM blobs WHERE sha256 = ? AND modified IS NOT NULL AND blake3 \
                 IS NOT NULL",
            )?;
            let read = |row: &rusqlite::Row<'_>| Ok((stat_of(row, 0)?, Blake3::from_bytes(row.get(3)?)));
            query.query_row(params![digest.as_bytes()], read).optional()
        });
        found.flatten()
    }

    pub(super) fn put_hashed_blob(&self, digest: &Digest, stat: FileStat, blake3: &Blake3) {
        self.with(|connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO blobs (sha256, size, modified, inode, blake3) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (sha256) DO UPDATE SET size = ?2, modified = ?3, inode = ?4, blake3 = ?5",
            )?;
            insert.execute(params![
                digest.as_bytes(),
                stat.size as i64,
                stat.modified,
                stat.inode as i64,
                blake3.as_bytes()
            ])
        });
    }

    pub(super) fn has_blob_of_size(&self, size: u64) -> bool {
        let found = self.with(|connection| {
            let mut query = connection.prepare_cached("SELECT 1 FROM blobs WHERE size = ? LIMIT 1")?;
            query.exists(params![size as i64])
        });
        found.unwrap_or(false)
    }

    fn put_segments<'a>(&self, blobs: impl Iterator<Item = (&'a Digest, &'a Blob)> + Clone) {
        self.with(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            blobs.clone().try_for_each(|(digest, blob)| insert_segments(&transaction, digest, blob))?;
            transaction.commit()
        });
    }

    pub(super) fn remove_blobs(&self, digests: &[Digest]) {
        self.with(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for digest in digests {
                transaction
                    .prepare_cached("DELETE FROM segments WHERE blob = (SELECT id FROM blobs WHERE sha256 = ?)")?
                    .execute(params![digest.as_bytes()])?;
                transaction
                    .prepare_cached("DELETE FROM blobs WHERE sha256 = ?")?
                    .execute(params![digest.as_bytes()])?;
            }
            transaction.commit()
        });
    }

    fn is_complete(&self) -> bool {
        let query = "SELECT 1 FROM complete WHERE part = 'segments'";
        self.with(|connection| connection.prepare_cached(query)?.exists([])).unwrap_or(true)
    }

    fn set_complete(&self) {
        self.with(|connection| connection.execute("INSERT OR IGNORE INTO complete VALUES ('segments')", []));
    }

    /// Every place of every segment, in a fixed order of blobs.
    fn locations(&self, wanted: &[Blake3]) -> Vec<(Blake3, Vec<Location>)> {
        let found = self.with(|connection| {
            let transaction = connection.transaction()?;
            let mut query = transaction.prepare_cached(
                "SELECT blobs.sha256, segments.start, segments.length FROM segments JOIN blobs ON blobs.id = \
                 segments.blob
                 WHERE segments.blake3 = ? ORDER BY blobs.sha256",
            )?;
            let mut places = |key: &Blake3| {
                let rows =
                    query.query_map(params![key.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
                Ok((*key, rows.into_iter().filter_map(location_of).collect()))
            };
            wanted.iter().map(&mut places).collect::<rusqlite::Result<Vec<_>>>()
        });
        found.unwrap_or_default()
    }

    fn file_digest(&self, path: &Path, stat: FileStat) -> Option<Digest> {
        let found = self.with(|connection| {
            let mut query =
                connection.prepare_cached("SELECT size, modified, inode, sha256 FROM files WHERE path = ?")?;
            let key = path.as_os_str().as_encoded_bytes();
            query.query_row(params![key], |row| Ok((stat_of(row, 0)?, row.get(3)?))).optional()
        });
        found.flatten().filter(|(known, _)| *known == stat).map(|(_, digest)| Digest::from_bytes(digest))
    }

    fn put_file_digest(&self, path: &Path, stat: FileStat, digest: &Digest) {
        self.with(|connection| {
            let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)")?;
            let key = path.as_os_str().as_encoded_bytes();
            insert.execute(params![key, stat.size as i64, stat.modified, stat.inode as i64, digest.as_bytes()])
        });
    }
}

fn prepare(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version != 0 && version != SCHEMA_VERSION {
        return Err(rusqlite::Error::InvalidQuery);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()?;
    Ok(connection)
}

/// The database goes last: a new one must never meet the old one's log.
fn remove_database(path: &Path) -> io::Result<()> {
    for suffix in ["-wal", "-shm", ""] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(PathBuf::from(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the database itself is broken, and not only busy or out of space.
fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        }
        // `InvalidQuery` is the database of another schema.
        rusqlite::Error::InvalidQuery
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..) => true,
        _ => false,
    }
}

fn stat_of(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<FileStat> {
    let (size, inode): (i64, i64) = (row.get(first)?, row.get(first + 2)?);
    Ok(FileStat { size: size as u64, modified: row.get(first + 1)?, inode: inode as u64 })
}

fn location_of((digest, start, length): ([u8; 32], i64, i64)) -> Option<Location> {
    let range = ByteRange::new(u64::try_from(start).ok()?, u64::try_from(length).ok()?)?;
    Some(Location { digest: Digest::from_bytes(digest), range })
}

fn insert_segments(transaction: &Transaction<'_>, digest: &Digest, blob: &Blob) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO blobs (sha256, size) VALUES (?, ?)")?
        .execute(params![digest.as_bytes(), blob.size as i64])?;
    let mut query = transaction.prepare_cached("SELECT id FROM blobs WHERE sha256 = ?")?;
    let id: i64 = query.query_row(params![digest.as_bytes()], |row| row.get(0))?;
    let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO segments VALUES (?, ?, ?, ?)")?;
    for Segment { offset, length, content, .. } in &blob.segments {
        if let SegmentContent::Blake3(key) = content {
            insert.execute(params![key.as_bytes(), id, *offset as i64, *length as i64])?;
        }
    }
    Ok(())
}

impl Store {
    /// Remembers where the blob's segments lie, for [`find_segments`](Self::find_segments). Descriptions that
    /// contradict themselves are ignored. Blobs that are written here are indexed when they are finished.
    pub fn index_segments(&self, digest: &Digest, blob: &Blob) {
        if !blob.segments.is_empty() && segments::check(blob).is_ok() {
            self.index().put_segments(std::iter::once((digest, blob)));
        }
    }

    /// For each segment that a blob of this store has, one place where it lies. The bytes there are not checked:
    /// [`PartialBlob::copy_from`](super::PartialBlob::copy_from) does.
    pub fn find_segments(&self, wanted: &[Blake3]) -> HashMap<Blake3, Location> {
        // Who only looks leaves no trace in a home without blobs.
        if wanted.is_empty() || !self.layout().blobs().is_dir() {
            return HashMap::new();
        }
        if !self.index().is_complete() {
            self.index_releases();
        }
        let mut sizes = HashMap::new();
        let mut present = |place: &Location| {
            let size = *sizes.entry(place.digest).or_insert_with(|| self.blob_size(&place.digest));
            size.is_some_and(|size| place.range.end() <= size)
        };
        let found = self.index().locations(wanted);
        found.into_iter().filter_map(|(key, places)| Some((key, places.into_iter().find(&mut present)?))).collect()
    }

    /// Makes the index again from the files. Small derived values and digests of outside files are forgotten; they cost
    /// time alone.
    pub fn rebuild_index(&self) {
        self.index().clear();
        self.index_releases();
    }

    /// Releases that cannot be read are skipped: [`verify`](Self::verify) reports them.
    fn index_releases(&self) {
        let mut seen = HashSet::new();
        for (package, version) in self.all_releases().unwrap_or_default() {
            let Some(blobs) = self.described_blobs(&package, &version) else { continue };
            let sound = |(digest, blob): &(&Digest, &Blob)| {
                seen.insert(**digest) && self.blob_size(digest) == Some(blob.size) && segments::check(blob).is_ok()
            };
            let blobs: Vec<_> = blobs.iter().filter(sound).collect();
            self.index().put_segments(blobs.into_iter());
        }
        self.index().set_complete();
    }

    /// A small value that was derived earlier, if it is still known.
    pub fn cache_get(&self, namespace: &str, key: &Blake3) -> Option<Vec<u8>> {
        let value = self.index().with(|connection| {
            let mut query = connection.prepare_cached("SELECT value FROM cache WHERE namespace = ? AND key = ?")?;
            query.query_row(params![namespace, key.as_bytes()], |row| row.get(0)).optional()
        });
        value.flatten()
    }

    /// Remembers a small value that can be derived again. It may be forgotten at any time.
    pub fn cache_put(&self, namespace: &str, key: &Blake3, value: &[u8]) {
        self.index().with(|connection| {
            let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO cache VALUES (?, ?, ?)")?;
            insert.execute(params![namespace, key.as_bytes(), value])
        });
    }

    /// What [`Store::file_digest`] remembers of a file, and its length.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remembered_digest(&self, path: &Path) -> Result<(Option<Digest>, u64), StoreError> {
        let path = std::path::absolute(path).map_err(StoreError::io("resolve", path))?;
        let stat =
            fs::metadata(&path).map(|metadata| FileStat::of(&metadata)).map_err(StoreError::io("stat", &path))?;
        Ok((self.index().file_digest(&path, stat), stat.size))
    }

    /// The sha256 and length of a file outside the store. Remembered by path, length, time and inode; never for a file
    /// that was modified less than two seconds before it was looked at.
    ///
    /// # Errors
    /// What the file system says.
    pub fn file_digest(&self, path: &Path) -> Result<(Digest, u64), StoreError> {
        let path = std::path::absolute(path).map_err(StoreError::io("resolve", path))?;
        let look =
            || fs::metadata(&path).map(|metadata| FileStat::of(&metadata)).map_err(StoreError::io("stat", &path));
        let before = look()?;
        if let Some(digest) = self.index().file_digest(&path, before) {
            return Ok((digest, before.size));
        }
        let looked_at = SystemTime::now();
        let hashed = hash_file(&path, &|_| ()).map_err(StoreError::io("read", &path))?;
        if hashed.size == before.size && look()? == before && is_settled(before, looked_at) {
            self.index().put_file_digest(&path, before, &hashed.sha256);
        }
        Ok((hashed.sha256, hashed.size))
    }
}

fn is_settled(stat: FileStat, looked_at: SystemTime) -> bool {
    let modified = SystemTime::UNIX_EPOCH + Duration::from_nanos(stat.modified.max(0) as u64);
    stat.modified > 0 && looked_at.duration_since(modified).is_ok_and(|age| age >= RACY)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::store::{
        Segmentation,
        tests::{built, home, manifest, noise},
    };

    const KEY: Blake3 = Blake3::from_bytes([7; 32]);

    fn keys(blob: &Blob) -> Vec<Blake3> {
        let key = |segment: &Segment| if let SegmentContent::Blake3(key) = segment.content { Some(key) } else { None };
        blob.segments.iter().filter_map(key).collect()
    }

    #[test]
    fn small_values_are_remembered_across_instances() {
        let home = home();
        assert_eq!(home.store.cache_get("recipe", &KEY), None);
        home.store.cache_put("recipe", &KEY, b"one");
        home.store.cache_put("recipe", &KEY, b"two");
        assert_eq!(
            (home.other().cache_get("recipe", &KEY), home.other().cache_get("other", &KEY)),
            (Some(b"two".to_vec()), None)
        );
    }

    #[test]
    fn a_broken_or_missing_database_is_made_again() {
        let home = home();
        let stored = home.store.put(&noise(1, 2_000_000), Segmentation::ContentDefined).unwrap();
        home.store.put_release(&manifest("p", "1.0.0", &[&stored]), built()).unwrap();
        let path = home.store.layout().index();
        let breakages: [&dyn Fn(); 4] = [
            &|| fs::write(&path, b"this is no database, but it is long enough to look like one".repeat(100)).unwrap(),
            &|| {
                let mut bytes = fs::read(&path).unwrap();
                bytes[200..].fill(0xa5);
                fs::write(&path, bytes).unwrap();
            },
            &|| fs::remove_file(&path).unwrap(),
            &|| Connection::open(&path).unwrap().pragma_update(None, "user_version", 999).unwrap(),
        ];
        for (index, breakage) in breakages.iter().enumerate() {
            home.other().rebuild_index();
            breakage();
            let store = home.other();
            assert_eq!(store.find_segments(&keys(&stored.blob)).len(), stored.blob.segments.len(), "breakage {index}");
            store.cache_put("recipe", &KEY, b"value");
            assert_eq!(
                home.other().cache_get("recipe", &KEY).as_deref(),
                Some(b"value".as_slice()),
                "breakage {index}"
            );
        }
    }

    #[test]
    fn an_index_that_cannot_be_made_fails_nothing() {
        let home = home();
        fs::create_dir_all(home.store.layout().index()).unwrap();
        let stored = home.store.put(&noise(2, 600_000), Segmentation::ContentDefined).unwrap();
        let again = home.store.put(&noise(2, 600_000), Segmentation::ContentDefined).unwrap();
        assert_eq!((&again.blob, stored.is_new, again.is_new), (&stored.blob, true, false));
        home.store.cache_put("recipe", &KEY, b"value");
        assert_eq!(
            (home.store.cache_get("recipe", &KEY), home.store.find_segments(&keys(&stored.blob)).len()),
            (None, 0)
        );
    }

    #[test]
    fn segments_are_found_only_where_the_blob_is() {
        let home = home();
        let stored = home.store.put(&noise(3, 2_000_000), Segmentation::ContentDefined).unwrap();
        let keys = keys(&stored.blob);
        let found = home.store.find_segments(&keys);
        for (segment, key) in stored.blob.segments.iter().zip(&keys) {
            assert_eq!(
                found[key],
                Location { digest: stored.digest, range: ByteRange::new(segment.offset, segment.length).unwrap() }
            );
        }
        fs::remove_file(home.store.blob_path(&stored.digest)).unwrap();
        assert!(home.store.find_segments(&keys).is_empty());
    }

    #[test]
    fn digests_of_outside_files_are_remembered_until_the_file_changes() {
        let home = home();
        let path = home.folder.path().join("checkpoint");
        let write = |bytes: &[u8], seconds: u64| {
            fs::write(&path, bytes).unwrap();
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
                .unwrap();
        };
        write(b"first", 1000);
        assert_eq!(home.store.file_digest(&path).unwrap(), (Digest::of(b"first"), 5));
        write(b"other", 1000);
        assert_eq!(
            home.other().file_digest(&path).unwrap().0,
            Digest::of(b"first"),
            "same length, time and inode: not hashed again"
        );
        write(b"other", 1001);
        assert_eq!(home.store.file_digest(&path).unwrap().0, Digest::of(b"other"));
        // A time that has not come yet is as good as one that has just passed, and needs no quick test.
        let soon = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 3600;
        write(b"young", soon);
        assert_eq!(home.store.file_digest(&path).unwrap().0, Digest::of(b"young"));
        write(b"racey", soon);
        assert_eq!(
            home.store.file_digest(&path).unwrap().0,
            Digest::of(b"racey"),
            "a file that was just modified is hashed again"
        );
    }
}
