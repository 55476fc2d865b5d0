//! Carries out a plan: requests run side by side, bytes go to disk as they come, every segment is checked as soon as it
//! is complete, and a blob gets its name only after all its bytes were hashed.
//!
//! What arrived is journaled in small steps and little is on its way, so that a kill costs next to nothing; on
//! resumption complete segments are hashed again before they count. Wrong bytes are forgotten and asked for again a few
//! times. Memory holds one step of every request.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures_util::{StreamExt, TryStreamExt, stream};
use rayon::prelude::*;
use serde::Serialize;
use tokio::{sync::watch, task};

use super::{
    FetchError,
    pace::Pace,
    plan::{BlobWork, FetchPlan, range_of},
    sources::Failed,
};
use crate::{
    base::{Blake3, ByteRange, Digest},
    manifest::release::{Blob, Release, Segment, SegmentContent},
    remote::Remote,
    store::{Download, Location, PartialBlob, Store, StoreError, segments},
};

/// How many blobs are under way at once; the remote limits the requests of all of them together.
const BLOBS: usize = 8;
/// How often wrong bytes are asked for.
pub(super) const ATTEMPTS: usize = 3;
/// How many bytes are read back and hashed in one step.
const STEP: u64 = 1 << 20;

/// What a download did, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DownloadReport {
    /// Received from the remote.
    pub received: u64,
    /// Taken from other blobs of this machine.
    pub reused: u64,
}

/// Makes every blob of the plan a blob of the store, by the sources that the plan has. `seen` hears of received bytes;
/// they may be more than the plan says where bytes came wrong. Dropped at any moment, it leaves what arrived for the
/// next time.
///
/// # Errors
/// `DamagedSegment` and `DamagedBlob` where bytes come wrong repeatedly, and what store and remote say.
pub async fn download(
    store: &Store,
    remote: &dyn Remote,
    release: &Arc<Release>,
    plan: &FetchPlan,
    seen: &(dyn Fn(u64) + Send + Sync),
) -> Result<DownloadReport, FetchError> {
    let downloader = Downloader {
        store,
        remote,
        release,
        plan,
        done: plan.missing().map(|(digest, _)| (*digest, watch::Sender::new(false))).collect(),
        seen,
        probed: AtomicBool::new(false),
        probing: tokio::sync::Mutex::new(()),
        is_paced: remote.url().as_folder().is_none(),
        pace: Pace::new(),
        received: AtomicU64::new(0),
        reused: AtomicU64::new(0),
    };
    let blobs = stream::iter(plan.missing()).map(|(digest, work)| downloader.fetch(*digest, work));
    blobs.buffer_unordered(BLOBS).try_collect::<()>().await?;
    Ok(DownloadReport { received: downloader.received.into_inner(), reused: downloader.reused.into_inner() })
}

/// The BLAKE3 of a segment whose bytes do not stand in the manifest.
pub(super) fn key_of(segment: &Segment) -> Option<Blake3> {
    match &segment.content {
        SegmentContent::Blake3(key) => Some(*key),
        SegmentContent::Data(_) => None,
    }
}

/// What the bytes of a segment hash to, also of one whose bytes stand in the manifest.
fn expected_of(segment: &Segment) -> Blake3 {
    // The plan checked that inline bytes can be read.
    key_of(segment).unwrap_or_else(|| Blake3::of(&segments::inline_bytes(segment).unwrap_or_default()))
}

/// A download under way: what all blobs of the plan share.
pub(super) struct Downloader<'a> {
    store: &'a Store,
    pub(super) remote: &'a dyn Remote,
    pub(super) release: &'a Arc<Release>,
    plan: &'a FetchPlan,
    /// Every missing blob of the plan, and whether it is finished.
    done: BTreeMap<Digest, watch::Sender<bool>>,
    pub(super) seen: &'a (dyn Fn(u64) + Send + Sync),
    /// Whether the remote has answered a range, so that it is known whether it has ranges.
    pub(super) probed: AtomicBool,
    pub(super) probing: tokio::sync::Mutex<()>,
    /// Whether bytes under way cost anything when they are lost.
    pub(super) is_paced: bool,
    pub(super) pace: Pace,
    pub(super) received: AtomicU64,
    reused: AtomicU64,
}

/// A segment whose bytes are not right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wrong {
    index: usize,
    received: Blake3,
}

/// What hashing found.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) right: BTreeSet<usize>,
    pub(super) wrong: Vec<Wrong>,
}

impl Checked {
    pub(super) fn and(mut self, other: Self) -> Self {
        self.right.extend(other.right);
        self.wrong.extend(other.wrong);
        self
    }

    pub(super) fn add(&mut self, segment: &Segment, index: usize, received: Blake3) {
        if expected_of(segment) == received {
            self.right.insert(index);
        } else {
            self.wrong.push(Wrong { index, received });
        }
    }

    /// Whether a segment was hashed.
    pub(super) fn knows(&self, index: usize) -> bool {
        self.right.contains(&index) || self.wrong.iter().any(|wrong| wrong.index == index)
    }
}

/// What sources have brought.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// Segments that were hashed on their way; wrong ones are forgotten already.
    pub(super) checked: Checked,
    /// Segments that have to be read back and hashed.
    pub(super) unchecked: Vec<usize>,
    /// Segments, by their place, that a source could not bring.
    pub(super) unfit: Vec<usize>,
    /// The same with the kind of source.
    pub(super) failed: Failed,
    /// Bytes taken from this machine.
    pub(super) reused: u64,
}

impl Brought {
    pub(super) fn and(mut self, other: Self) -> Self {
        self.checked = self.checked.and(other.checked);
        self.unchecked.extend(other.unchecked);
        self.unfit.extend(other.unfit);
        self.failed.extend(other.failed);
        self.reused += other.reused;
        self
    }
}

/// A blob that is being put together.
pub(super) struct Filling<'a> {
    pub(super) downloader: &'a Downloader<'a>,
    pub(super) digest: Digest,
    pub(super) partial: Arc<PartialBlob>,
}

/// The same where work may block.
pub(super) struct BlockingFilling {
    release: Arc<Release>,
    digest: Digest,
    pub(super) partial: Arc<PartialBlob>,
}

impl BlockingFilling {
    pub(super) fn blob(&self) -> &Blob {
        &self.release.blobs[&self.digest]
    }
}

impl<'a> Filling<'a> {
    pub(super) fn blob(&self) -> &'a Blob {
        &self.downloader.release.blobs[&self.digest]
    }

    /// Runs work where it may block.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(BlockingFilling) -> T + Send + 'static,
    ) -> Result<T, FetchError> {
        let (release, digest, partial) = (self.downloader.release.clone(), self.digest, self.partial.clone());
        blocking(move || work(BlockingFilling { release, digest, partial })).await
    }

    /// Waits until those of the blobs that the plan has are finished. They stand before this one, and blobs are begun
    /// in the plan's order, so that there is always one that waits for nobody.
    pub(super) async fn wait_for(&self, blobs: &BTreeSet<Digest>) {
        for done in blobs.iter().filter_map(|blob| self.downloader.done.get(blob)) {
            // The sender lives as long as the downloader.
            let _ = done.subscribe().wait_for(|done| *done).await;
        }
    }

    /// Counts bytes that were taken from this machine.
    pub(super) fn reused(&self, bytes: u64) {
        self.downloader.reused.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Reads segments back and hashes them; wrong ones are forgotten.
    async fn check(&self, indexes: Vec<usize>) -> Result<Checked, FetchError> {
        let check = move |work: BlockingFilling| {
            let checked = check(&work.partial, work.blob(), &indexes)?;
            forget(&work.partial, work.blob(), &checked.wrong)?;
            Ok::<_, StoreError>(checked)
        };
        Ok(self.blocking(check).await??)
    }
}

/// How a blob's bytes came.
enum Filled {
    /// They are all there, and their segments are right.
    Complete(PartialBlob),
    /// Somebody else has finished it.
    Present,
}

impl Downloader<'_> {
    async fn fetch(&self, digest: Digest, work: &BlobWork) -> Result<(), FetchError> {
        // The plan was made from the release, so that it has no other blobs.
        let blob = self.release.blobs.get(&digest).ok_or(FetchError::UnlistedBlob { blob: digest })?;
        for attempt in 1.. {
            let partial = match self.fill(digest, blob, work).await? {
                Filled::Complete(partial) => partial,
                Filled::Present => break,
            };
            let release = self.release.clone();
            match blocking(move || partial.finish(&release.blobs[&digest])).await? {
                // The partial file was discarded; without segments nothing could be checked earlier.
                Err(StoreError::WrongBytes { received, .. }) if attempt == ATTEMPTS || !blob.segments.is_empty() => {
                    let remote = self.remote.url().to_string();
                    return Err(FetchError::DamagedBlob { expected: digest, received, size: blob.size, remote });
                }
                Err(StoreError::WrongBytes { .. }) => {}
                other => {
                    other?;
                    break;
                }
            }
        }
        if let Some(done) = self.done.get(&digest) {
            done.send_replace(true);
        }
        Ok(())
    }

    /// Opens the blob's partial file and brings in everything that it lacks: by the planned work, and where facts have
    /// changed since (other bytes arrived, or wrong ones were forgotten) by work that is planned from the new facts.
    async fn fill(&self, digest: Digest, blob: &Blob, planned: &BlobWork) -> Result<Filled, FetchError> {
        let Some(partial) = self.open(digest).await? else { return Ok(Filled::Present) };
        let filling = Filling { downloader: self, digest, partial: Arc::new(partial) };
        let mut local: Option<HashMap<Blake3, Location>> = None;
        let mut failed = Failed::new();
        let mut work = planned.clone();
        let mut attempts = 0;
        loop {
            let present = filling.partial.present();
            if !work.is_for(&present) || !failed.is_empty() {
                let local = local.get_or_insert_with(|| self.plan.local(&digest, self.release));
                work = BlobWork::new(blob, &present, local, &failed);
            }
            if work.sources.is_empty() {
                let partial = Arc::into_inner(filling.partial).expect("blocking work has ended");
                return Ok(Filled::Complete(partial));
            }
            let brought = work.sources.bring(&filling).await?;
            failed.extend(brought.failed);
            let checked = brought.checked.and(filling.check(brought.unchecked).await?);
            if let Some(first) = checked.wrong.first() {
                attempts += 1;
                if attempts == ATTEMPTS {
                    return Err(self.damaged(digest, &blob.segments[first.index], first.received));
                }
            }
        }
    }

    /// The partial file, after complete segments in it were hashed and wrong ones forgotten; `None` where the blob is
    /// here.
    async fn open(&self, digest: Digest) -> Result<Option<PartialBlob>, FetchError> {
        let (store, release) = (self.store.clone(), self.release.clone());
        let opened = blocking(move || {
            let blob = &release.blobs[&digest];
            let partial = match store.partial(&digest, blob)? {
                Download::Present => return Ok(None),
                Download::Partial(partial) => partial,
            };
            let present = partial.present();
            let complete = |segment: &Segment| {
                range_of(segment).is_some_and(|range| present.iter().any(|known| known.contains(&range)))
            };
            let complete: Vec<_> = (0..blob.segments.len()).filter(|index| complete(&blob.segments[*index])).collect();
            let checked = check(&partial, blob, &complete)?;
            forget(&partial, blob, &checked.wrong)?;
            Ok::<_, StoreError>(Some(partial))
        });
        Ok(opened.await??)
    }

    fn damaged(&self, blob: Digest, segment: &Segment, received: Blake3) -> FetchError {
        FetchError::DamagedSegment {
            blob,
            offset: segment.offset,
            length: segment.length,
            tensor: segment.tensor.as_ref().map(|label| label.name.clone()).filter(|name| !name.is_empty()),
            expected: expected_of(segment),
            received,
            remote: self.remote.url().to_string(),
        }
    }
}

/// Runs work where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, FetchError> {
    match task::spawn_blocking(work).await {
        Ok(value) => Ok(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(source) => Err(FetchError::Interrupted { source }),
    }
}

/// Hashes some segments of a partial file, several at once.
fn check(partial: &PartialBlob, blob: &Blob, indexes: &[usize]) -> Result<Checked, StoreError> {
    let hash = |index: &usize| Ok((*index, hash_segment(partial, &blob.segments[*index])?));
    let hashes: Vec<(usize, Blake3)> = indexes.par_iter().map(hash).collect::<Result<_, StoreError>>()?;
    let mut checked = Checked::default();
    for (index, received) in hashes {
        checked.add(&blob.segments[index], index, received);
    }
    Ok(checked)
}

/// Hashes the bytes of a segment in small steps.
fn hash_segment(partial: &PartialBlob, segment: &Segment) -> Result<Blake3, StoreError> {
    let mut hasher = blake3::Hasher::new();
    let end = segment.offset + segment.length;
    let mut at = segment.offset;
    while let Some(step) = ByteRange::new(at, STEP.min(end - at)) {
        hasher.update(&partial.read(step)?);
        at = step.end();
    }
    Ok(Blake3::from_bytes(*hasher.finalize().as_bytes()))
}

fn forget(partial: &PartialBlob, blob: &Blob, wrong: &[Wrong]) -> Result<(), StoreError> {
    let ranges = wrong.iter().filter_map(|wrong| range_of(&blob.segments[wrong.index]));
    ranges.into_iter().try_for_each(|range| partial.forget(range))
}
