//! Carries out a plan: requests run side by side, bytes go to disk as they come, every segment is checked as soon as it is complete, and
//! a blob gets its name only after all its bytes were hashed.
//!
//! What arrived is journaled in small steps and little is on its way, so that a kill costs next to nothing; on resumption complete segments
//! are hashed again before they count. Wrong bytes are forgotten and asked for again a few times. Memory holds one step of every request.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use rayon::prelude::*;
use serde::Serialize;
use tokio::{sync::watch, task};

use super::{
    FetchError,
    pace::Pace,
    plan::{BlobWork, FetchPlan, range_of},
    ranges::{self, Request},
};
use crate::{
    base::{Blake3, ByteRange, Digest},
    manifest::release::{Blob, Release, Segment, SegmentContent},
    remote::{Remote, RemoteError},
    store::{Download, Location, PartialBlob, Store, StoreError, segments},
};

/// How many blobs are under way at once; the remote limits the requests of all of them together.
const BLOBS: usize = 8;
/// How many requests of one blob wait for their turn at the remote.
const REQUESTS: usize = 8;
/// How often wrong bytes are asked for.
const ATTEMPTS: usize = 3;
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

/// Makes every blob of the plan a blob of the store. `seen` hears of received bytes; they may be more than the plan says where bytes
/// came wrong. Dropped at any moment, it leaves what arrived for the next time.
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
    let done: BTreeMap<_, _> = plan.missing().map(|(digest, _)| (*digest, watch::Sender::new(false))).collect();
    let local = plan.missing().flat_map(|(digest, work)| work.copies.iter().map(|(index, place)| (*digest, *index, *place)));
    let local = local.filter_map(|(digest, index, place)| Some((key_of(&release.blobs.get(&digest)?.segments[index])?, place))).collect();
    let downloader = Downloader {
        store,
        remote,
        release,
        local,
        done,
        seen,
        probed: AtomicBool::new(false),
        probing: tokio::sync::Mutex::new(()),
        is_paced: remote.url().as_folder().is_none(),
        pace: Pace::new(),
        received: AtomicU64::new(0),
        reused: AtomicU64::new(0),
    };
    stream::iter(plan.missing()).map(|(digest, _)| downloader.fetch(*digest)).buffer_unordered(BLOBS).try_collect::<()>().await?;
    Ok(DownloadReport { received: downloader.received.into_inner(), reused: downloader.reused.into_inner() })
}

fn key_of(segment: &Segment) -> Option<Blake3> {
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

struct Downloader<'a> {
    store: &'a Store,
    remote: &'a dyn Remote,
    release: &'a Arc<Release>,
    local: HashMap<Blake3, Location>,
    /// Every missing blob of the plan, which is ordered by digest, and whether it is finished.
    done: BTreeMap<Digest, watch::Sender<bool>>,
    seen: &'a (dyn Fn(u64) + Send + Sync),
    /// Whether the remote has answered a range, so that it is known whether it can.
    probed: AtomicBool,
    probing: tokio::sync::Mutex<()>,
    /// Whether what is on its way costs anything when it is lost.
    is_paced: bool,
    pace: Pace,
    received: AtomicU64,
    reused: AtomicU64,
}

/// A segment whose bytes are not right.
#[derive(Debug, Clone, Copy)]
struct Wrong {
    index: usize,
    received: Blake3,
}

/// What hashing found.
#[derive(Debug, Default)]
struct Checked {
    right: BTreeSet<usize>,
    wrong: Vec<Wrong>,
}

impl Checked {
    fn and(mut self, other: Self) -> Self {
        self.right.extend(other.right);
        self.wrong.extend(other.wrong);
        self
    }

    fn add(&mut self, segment: &Segment, index: usize, received: Blake3) {
        if expected_of(segment) == received {
            self.right.insert(index);
        } else {
            self.wrong.push(Wrong { index, received });
        }
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
    async fn fetch(&self, digest: Digest) -> Result<(), FetchError> {
        // The plan was made from the release, so that it has no other blobs.
        let blob = self.release.blobs.get(&digest).ok_or(FetchError::UnlistedBlob { blob: digest })?;
        for attempt in 1.. {
            let partial = match self.fill(digest, blob).await? {
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

    /// Opens the blob's partial file and brings in everything that it lacks.
    async fn fill(&self, digest: Digest, blob: &Blob) -> Result<Filled, FetchError> {
        let Some(mut partial) = self.open(digest).await? else { return Ok(Filled::Present) };
        let mut local = self.local.clone();
        // Later blobs of the plan may be waiting for this one, so that only earlier ones can be waited for.
        local.retain(|_, place| place.digest < digest || !self.done.contains_key(&place.digest));
        let mut attempts = 0;
        loop {
            let mut work = BlobWork::new(blob, &partial.present(), &local);
            if work.inline.is_empty() && work.copies.is_empty() && work.requests.is_empty() {
                return Ok(Filled::Complete(partial));
            }
            // First, so that what arrives has no holes and can be hashed meanwhile.
            partial = self.write_inline(partial, digest, std::mem::take(&mut work.inline)).await?;
            let requests = std::mem::take(&mut work.requests);
            let mut checked = self.ask(&partial, blob, &requests).await?;
            let unchecked = unchecked(blob, &requests, &checked);
            self.wait_for_sources(&work.copies).await;
            let (back, wrong) = self.take_local(partial, digest, work, unchecked, &mut local).await?;
            partial = back;
            checked.wrong.extend(wrong);
            if let Some(first) = checked.wrong.first() {
                attempts += 1;
                if attempts == ATTEMPTS {
                    return Err(self.damaged(digest, &blob.segments[first.index], first.received));
                }
            }
        }
    }

    /// The partial file, after complete segments in it were hashed and wrong ones forgotten; `None` where the blob is here.
    async fn open(&self, digest: Digest) -> Result<Option<PartialBlob>, FetchError> {
        let (store, release) = (self.store.clone(), self.release.clone());
        let opened = blocking(move || {
            let blob = &release.blobs[&digest];
            let partial = match store.partial(&digest, blob)? {
                Download::Present => return Ok(None),
                Download::Partial(partial) => partial,
            };
            let present = partial.present();
            let complete = |segment: &Segment| range_of(segment).is_some_and(|range| present.iter().any(|known| known.contains(&range)));
            let complete: Vec<_> = (0..blob.segments.len()).filter(|index| complete(&blob.segments[*index])).collect();
            let checked = check(&partial, blob, &complete)?;
            forget(&partial, blob, &checked.wrong)?;
            Ok::<_, StoreError>(Some(partial))
        });
        Ok(opened.await??)
    }

    /// Makes the requests. Segments that come in one piece are checked on their way; wrong ones are forgotten.
    async fn ask(&self, partial: &PartialBlob, blob: &Blob, requests: &[Request]) -> Result<Checked, FetchError> {
        let mut requests = requests.to_vec();
        let mut checked = Checked::default();
        if requests.len() > 1 && !self.probed.load(Ordering::Relaxed) {
            // One request tells whether the remote has ranges. Without them, its answer is the whole file, and everything is taken from that.
            let _turn = self.probing.lock().await;
            if !self.probed.load(Ordering::Relaxed) {
                let first = requests[0].range;
                for all in ranges::as_one(requests.clone()) {
                    let (found, position) = self.request(partial, blob, &all, first).await?;
                    (checked, requests) = (found, ranges::beyond(requests, position));
                }
                self.probed.store(true, Ordering::Relaxed);
            }
        }
        if !self.remote.has_ranges() {
            requests = ranges::as_one(requests);
        }
        let rest = stream::iter(&requests).map(|request| self.request(partial, blob, request, request.range)).buffer_unordered(REQUESTS);
        let rest = rest.try_fold(Checked::default(), |all, (one, _)| async { Ok(all.and(one)) }).await?;
        Ok(checked.and(rest))
    }

    /// Asks for `range`, with which the request begins, and writes what is wanted of what comes: at most of the whole request. Also gives
    /// the end of what has come.
    async fn request(&self, partial: &PartialBlob, blob: &Blob, request: &Request, range: ByteRange) -> Result<(Checked, u64), FetchError> {
        for _ in 0..ATTEMPTS {
            let mut receiver = Receiver::new(partial, blob, request);
            match self.receive(partial.digest(), range, request.range.end(), &mut receiver).await {
                Ok(()) => return Ok((receiver.checked, receiver.position)),
                Err(FetchError::Remote(RemoteError::Changed { .. })) => {
                    request.wanted.iter().try_for_each(|range| partial.forget(*range))?;
                }
                Err(error) => return Err(error),
            }
        }
        let remote = self.remote.url().to_string();
        Err(FetchError::KeepsChanging { blob: *partial.digest(), remote, times: ATTEMPTS })
    }

    /// Asks for a range piece by piece; from a remote without ranges, and from a folder, for all of it at once. An answer that is the whole blob
    /// is taken up to `until`.
    async fn receive(&self, digest: &Digest, range: ByteRange, until: u64, receiver: &mut Receiver<'_>) -> Result<(), FetchError> {
        let mut next = Some(range);
        while let Some(rest) = next {
            let is_paced = self.is_paced && self.remote.has_ranges();
            let turn = if is_paced { Some(self.pace.turn(rest, &self.received).await) } else { None };
            let piece = turn.as_ref().map_or(rest, |turn| turn.piece);
            let asked = Instant::now();
            let mut answered = false;
            let mut sink = |bytes: &[u8]| {
                if !std::mem::replace(&mut answered, true) {
                    self.pace.answered(asked.elapsed());
                }
                self.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                (self.seen)(bytes.len() as u64);
                receiver.accept(bytes)
            };
            let result = self.remote.read_on(self.release, digest, piece, until, &mut sink).await;
            if let Some(error) = receiver.failed.take() {
                return Err(error.into());
            }
            result?;
            let end = receiver.position.max(piece.end());
            next = ByteRange::new(end, rest.end().saturating_sub(end));
        }
        Ok(())
    }

    /// Waits until the blobs of the plan are finished that segments are copied from. They stand before this one, and blobs are begun in
    /// the plan's order, so that there is always one that waits for nobody.
    async fn wait_for_sources(&self, copies: &[(usize, Location)]) {
        let sources: BTreeSet<_> = copies.iter().map(|(_, place)| place.digest).collect();
        for done in sources.iter().filter_map(|source| self.done.get(source)) {
            // The sender lives as long as this downloader.
            let _ = done.subscribe().wait_for(|done| *done).await;
        }
    }

    /// Writes what stands in the manifest.
    async fn write_inline(&self, partial: PartialBlob, digest: Digest, inline: Vec<usize>) -> Result<PartialBlob, FetchError> {
        if inline.is_empty() {
            return Ok(partial);
        }
        let release = self.release.clone();
        let written = blocking(move || {
            for segment in inline.iter().map(|index| &release.blobs[&digest].segments[*index]) {
                // The length was checked when the plan was made.
                partial.write_at(segment.offset, &segments::inline_bytes(segment).unwrap_or_default())?;
            }
            Ok::<_, StoreError>(partial)
        });
        Ok(written.await??)
    }

    /// Writes what lies in other blobs, and checks the segments that came in parts.
    /// Places that do not hold what they should are dropped from `local`, so that the next round asks the remote.
    async fn take_local(
        &self,
        partial: PartialBlob,
        digest: Digest,
        work: BlobWork,
        unchecked: Vec<usize>,
        local: &mut HashMap<Blake3, Location>,
    ) -> Result<(PartialBlob, Vec<Wrong>), FetchError> {
        let release = self.release.clone();
        let (partial, outcome) = blocking(move || {
            let blob = &release.blobs[&digest];
            let outcome = copy_local(&partial, blob, &work).and_then(|copied| {
                let checked = check(&partial, blob, &unchecked)?;
                forget(&partial, blob, &checked.wrong)?;
                Ok((copied, checked.wrong))
            });
            (partial, outcome)
        })
        .await?;
        let (Copied { reused, stale }, wrong) = outcome?;
        self.reused.fetch_add(reused, Ordering::Relaxed);
        local.retain(|key, _| !stale.contains(key));
        Ok((partial, wrong))
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

/// What was taken from this machine.
struct Copied {
    reused: u64,
    stale: Vec<Blake3>,
}

fn copy_local(partial: &PartialBlob, blob: &Blob, work: &BlobWork) -> Result<Copied, StoreError> {
    let mut copied = Copied { reused: 0, stale: Vec::new() };
    for (index, place) in &work.copies {
        let segment = &blob.segments[*index];
        let Some(key) = key_of(segment) else { continue };
        match partial.copy_from(place, segment.offset, &key) {
            Ok(()) => copied.reused += segment.length,
            Err(StoreError::StaleLocation { .. } | StoreError::MissingBlob { .. } | StoreError::OutOfBounds { .. }) => {
                copied.stale.push(key)
            }
            Err(error) => return Err(error),
        }
    }
    Ok(copied)
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

/// Takes the bytes of one request in order: writes those that are wanted, hashes segments on their way.
struct Receiver<'a> {
    partial: &'a PartialBlob,
    blob: &'a Blob,
    wanted: &'a [ByteRange],
    position: u64,
    /// The segment that `position` is in, while there is one.
    segment: usize,
    /// Runs while the segment came from its start on, in this request.
    hasher: Option<blake3::Hasher>,
    checked: Checked,
    failed: Option<StoreError>,
}

impl<'a> Receiver<'a> {
    fn new(partial: &'a PartialBlob, blob: &'a Blob, request: &'a Request) -> Self {
        let position = request.range.offset();
        let segment = blob.segments.partition_point(|segment| segment.offset + segment.length <= position);
        Self { partial, blob, wanted: &request.wanted, position, segment, hasher: None, checked: Checked::default(), failed: None }
    }

    fn accept(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.take(bytes).map_err(|error| {
            let text = io::Error::other(error.to_string());
            self.failed = Some(error);
            text
        })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(bytes)?;
        let mut rest = bytes;
        while let Some(segment) = self.blob.segments.get(self.segment).filter(|_| !rest.is_empty()) {
            if self.position == segment.offset {
                self.hasher = Some(blake3::Hasher::new());
            }
            let end = segment.offset + segment.length;
            // At most the length of `rest`.
            let (now, later) = rest.split_at((end - self.position).min(rest.len() as u64) as usize);
            if let Some(hasher) = &mut self.hasher {
                hasher.update(now);
            }
            self.position += now.len() as u64;
            rest = later;
            if self.position == end {
                self.complete(segment)?;
                self.segment += 1;
            }
        }
        self.position += rest.len() as u64;
        Ok(())
    }

    /// Writes the parts of `bytes`, which start at `position`, that are wanted.
    fn write(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let end = self.position + bytes.len() as u64;
        let first = self.wanted.partition_point(|range| range.end() <= self.position);
        for range in self.wanted[first..].iter().take_while(|range| range.offset() < end) {
            let (from, to) = (range.offset().max(self.position), range.end().min(end));
            // Both lie in `bytes`.
            self.partial.write_at(from, &bytes[(from - self.position) as usize..(to - self.position) as usize])?;
        }
        Ok(())
    }

    /// The last byte of a segment came. If all of it came in this request, it is right now, or forgotten.
    fn complete(&mut self, segment: &Segment) -> Result<(), StoreError> {
        let Some((range, hasher)) = range_of(segment).zip(self.hasher.take()) else { return Ok(()) };
        let first = self.wanted.partition_point(|wanted| wanted.end() <= range.offset());
        if !self.wanted.get(first).is_some_and(|wanted| wanted.contains(&range)) {
            return Ok(());
        }
        self.checked.add(segment, self.segment, Blake3::from_bytes(*hasher.finalize().as_bytes()));
        if self.checked.right.contains(&self.segment) { Ok(()) } else { self.partial.forget(range) }
    }
}

/// The segments that have a byte in what is wanted and were not hashed while they came, because they came in parts.
fn unchecked(blob: &Blob, requests: &[Request], checked: &Checked) -> Vec<usize> {
    let mut touched = BTreeSet::new();
    for range in requests.iter().flat_map(|request| &request.wanted) {
        let first = blob.segments.partition_point(|segment| segment.offset + segment.length <= range.offset());
        let last = blob.segments.partition_point(|segment| segment.offset < range.end());
        touched.extend(first..last);
    }
    let known = |index: &usize| checked.right.contains(index) || checked.wrong.iter().any(|wrong| wrong.index == *index);
    touched.into_iter().filter(|index| !known(index)).collect()
}
