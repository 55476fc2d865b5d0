//! Ranges of the remote: what nothing else brings, in few requests.
//!
//! Segments that come in one piece are hashed on their way; wrong ones are forgotten.

use std::{collections::BTreeSet, io, sync::atomic::Ordering, time::Instant};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Brought, Cost, Filling, Need, SegmentSource, Totals};
use crate::{
    base::{Blake3, ByteRange},
    fetch::{
        FetchError,
        download::{ATTEMPTS, Checked},
        plan::{range_of, sum},
        ranges::{self, Request},
    },
    manifest::release::{Blob, Segment},
    remote::RemoteError,
    store::{PartialBlob, StoreError},
};

/// How many requests of one blob wait for their turn at the remote.
const REQUESTS: usize = 8;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remote {
    /// The requests, in order.
    pub requests: Vec<Request>,
    /// Missing ranges that are not part of a request yet.
    missing: Vec<ByteRange>,
}

impl Remote {
    /// Takes a whole blob on, of which no segments are known.
    pub(in crate::fetch) fn take_range(&mut self, range: ByteRange, arrived: &[ByteRange]) {
        self.missing.extend(ranges::subtract(&[range], arrived));
    }
}

impl SegmentSource for Remote {
    fn cost(need: &Need<'_>) -> Option<Cost> {
        let missing = ranges::subtract(&[need.range], need.arrived);
        Some(Cost { bytes: sum(missing.iter()), requests: 1 })
    }

    fn take(&mut self, need: &Need<'_>) {
        self.take_range(need.range, need.arrived);
    }

    fn complete(&mut self, blob: &Blob) {
        let cuts: Vec<_> = blob.segments.iter().map(|segment| segment.offset).collect();
        self.requests = ranges::requests(&std::mem::take(&mut self.missing), &cuts);
    }

    fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    fn delivers(&self) -> u64 {
        sum(self.requests.iter().flat_map(|request| &request.wanted))
    }

    fn add_to(&self, totals: &mut Totals) {
        totals.requests += self.requests.len() as u64;
        totals.wanted = totals.wanted.saturating_add(self.delivers());
        totals.download = totals.download.saturating_add(sum(self.requests.iter().map(|request| &request.range)));
    }

    /// Makes the requests. Until the remote has answered a range, one request tells whether it has ranges: without them
    /// its answer is the whole file, and everything is taken from that.
    async fn bring(&self, filling: &Filling<'_>) -> Result<Brought, FetchError> {
        let mut requests = self.requests.clone();
        let mut checked = Checked::default();
        if requests.len() > 1 && !filling.downloader.probed.load(Ordering::Relaxed) {
            let _turn = filling.downloader.probing.lock().await;
            if !filling.downloader.probed.load(Ordering::Relaxed) {
                let first = requests[0].range;
                for all in ranges::as_one(requests.clone()) {
                    let (found, position) = filling.request(&all, first).await?;
                    (checked, requests) = (found, ranges::beyond(requests, position));
                }
                filling.downloader.probed.store(true, Ordering::Relaxed);
            }
        }
        if !filling.downloader.remote.has_ranges() {
            requests = ranges::as_one(requests);
        }
        let rest =
            stream::iter(&requests).map(|request| filling.request(request, request.range)).buffer_unordered(REQUESTS);
        let rest = rest.try_fold(Checked::default(), |all, (one, _)| async { Ok(all.and(one)) }).await?;
        let checked = checked.and(rest);
        let unchecked = unchecked(filling.blob(), &self.requests, &checked);
        Ok(Brought { checked, unchecked, ..Brought::default() })
    }
}

impl Filling<'_> {
    /// Asks for `range`, with which the request begins, and writes what is wanted of what comes: at most of the whole
    /// request. Also gives the end of what has come.
    async fn request(&self, request: &Request, range: ByteRange) -> Result<(Checked, u64), FetchError> {
        for _ in 0..ATTEMPTS {
            let mut receiver = Receiver::new(&self.partial, self.blob(), request);
            match self.receive(range, request.range.end(), &mut receiver).await {
                Ok(()) => return Ok((receiver.checked, receiver.position)),
                Err(FetchError::Remote(RemoteError::Changed { .. })) => {
                    request.wanted.iter().try_for_each(|range| self.partial.forget(*range))?;
                }
                Err(error) => return Err(error),
            }
        }
        let remote = self.downloader.remote.url().to_string();
        Err(FetchError::KeepsChanging { blob: self.digest, remote, times: ATTEMPTS })
    }

    /// Asks for a range piece by piece; from a remote without ranges, and from a folder, for all of it at once. An
    /// answer that is the whole blob is taken up to `until`.
    async fn receive(&self, range: ByteRange, until: u64, receiver: &mut Receiver<'_>) -> Result<(), FetchError> {
        let downloader = self.downloader;
        let mut next = Some(range);
        while let Some(rest) = next {
            let is_paced = downloader.is_paced && downloader.remote.has_ranges();
            let turn = if is_paced { Some(downloader.pace.turn(rest, &downloader.received).await) } else { None };
            let piece = turn.as_ref().map_or(rest, |turn| turn.piece);
            let asked = Instant::now();
            let mut answered = false;
            let mut sink = |bytes: &[u8]| {
                if !std::mem::replace(&mut answered, true) {
                    downloader.pace.answered(asked.elapsed());
                }
                downloader.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                (downloader.seen)(bytes.len() as u64);
                receiver.accept(bytes)
            };
            let result = downloader.remote.read_on(downloader.release, &self.digest, piece, until, &mut sink).await;
            if let Some(error) = receiver.failed.take() {
                return Err(error.into());
            }
            result?;
            let end = receiver.position.max(piece.end());
            next = ByteRange::new(end, rest.end().saturating_sub(end));
        }
        Ok(())
    }
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
        Self {
            partial,
            blob,
            wanted: &request.wanted,
            position,
            segment,
            hasher: None,
            checked: Checked::default(),
            failed: None,
        }
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
    touched.into_iter().filter(|index| !checked.knows(*index)).collect()
}
