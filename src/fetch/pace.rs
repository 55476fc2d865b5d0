//! How many bytes are under way at once, so that little is lost when a connection or the process breaks off, and the
//! line is busy all the same.
//!
//! What was asked for and did not arrive is fetched again, and a fast server has it in the system's buffers long before
//! anybody reads it. So a long range is asked for piece by piece, and all pieces under way have an allowance: 512 KiB
//! where answers come at once, what a fast line carries while an answer travels where they do not, and the more has
//! come already, the more: it stays a small part of that. A server that is near is asked for few long pieces, since
//! every request costs it more than the bytes do; one that is far for many at a time.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::ranges::LONGEST_REQUEST;
use crate::base::ByteRange;

/// How many pieces of full length are under way from a server that is far.
const FAR: u64 = 8;
/// How many from one that is near.
const NEAR: u64 = 2;
/// The least allowance.
const LEAST: u64 = 512 << 10;
/// What one piece from far should bring per second of latency.
const RATE: u64 = 32 << 20;
/// When so much was received, this part of it may be under way, whatever the latency.
const MUCH: u64 = 32 << 20;
const PART: u64 = 16;

/// The latency of a remote, as far as it is known, and what is under way from there.
#[derive(Debug)]
pub(super) struct Pace {
    /// The quickest answer so far, in nanoseconds: slower ones say more about this machine than about the line.
    quickest: AtomicU64,
    under_way: Mutex<u64>,
    /// Something has come.
    less: Notify,
}

/// A piece that may be asked for; it is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pace: &'a Pace,
    pub(super) piece: ByteRange,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.pace.under_way() -= self.piece.length();
        self.pace.less.notify_waiters();
    }
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { quickest: AtomicU64::new(u64::MAX), under_way: Mutex::default(), less: Notify::new() }
    }

    /// The first bytes of an answer came after so long.
    pub(super) fn answered(&self, after: Duration) {
        self.quickest.fetch_min(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Waits until the beginning of `rest` may be asked for, after `received` bytes of anything.
    pub(super) async fn turn(&self, rest: ByteRange, received: &AtomicU64) -> Turn<'_> {
        loop {
            let less = self.less.notified();
            if let Some(turn) = self.try_turn(rest, received.load(Ordering::Relaxed)) {
                return turn;
            }
            less.await;
        }
    }

    fn try_turn(&self, rest: ByteRange, received: u64) -> Option<Turn<'_>> {
        let (allowance, pieces) = self.allowance(received);
        let length = rest.length().min(allowance / pieces).min(LONGEST_REQUEST);
        let mut under_way = self.under_way();
        let fits = *under_way == 0 || *under_way + length <= allowance;
        let piece = ByteRange::new(rest.offset(), length).filter(|_| fits)?;
        *under_way += length;
        Some(Turn { pace: self, piece })
    }

    /// How many bytes may be under way, and in how many pieces of full length.
    fn allowance(&self, received: u64) -> (u64, u64) {
        let least = if received < MUCH { LEAST } else { received / PART };
        match self.quickest.load(Ordering::Relaxed) {
            // Before anything is known, little is asked for.
            u64::MAX => (least, FAR),
            nanoseconds => {
                let far = (u128::from(nanoseconds) * u128::from(RATE) / 1_000_000_000).min(LONGEST_REQUEST.into())
                    as u64
                    * FAR;
                if far <= LEAST { (least, NEAR) } else { (far.max(least), FAR) }
            }
        }
    }

    fn under_way(&self) -> MutexGuard<'_, u64> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn range(offset: u64, length: u64) -> ByteRange {
        ByteRange::new(offset, length).unwrap()
    }

    #[test]
    fn pieces_grow_with_the_quickest_answer() {
        let pace = Pace::new();
        let long = range(100, 100 << 20);
        let length = |received| pace.try_turn(long, received).unwrap().piece.length();
        assert_eq!(length(0), 64 << 10, "before anything is known");
        pace.answered(Duration::from_secs(60));
        assert_eq!(length(0), LONGEST_REQUEST);
        pace.answered(Duration::from_millis(50));
        assert_eq!(length(0), RATE / 20);
        pace.answered(Duration::from_micros(100));
        pace.answered(Duration::from_secs(1));
        assert_eq!(length(0), 256 << 10, "slow answers of a fast server do not count");
        assert_eq!(length(MUCH - 1), 256 << 10);
        assert_eq!(length(1 << 30), LONGEST_REQUEST, "little beside what came already");
        let short = range(7, 10);
        assert_eq!(pace.try_turn(short, 0).unwrap().piece, short);
    }

    #[test]
    fn all_pieces_together_keep_to_the_allowance() {
        let pace = Pace::new();
        pace.answered(Duration::from_micros(100));
        let (long, short) = (range(0, 10 << 20), range(0, 100 << 10));
        let two = [long, long].map(|range| pace.try_turn(range, 0).unwrap());
        assert!(pace.try_turn(short, 0).is_none());
        drop(two);
        let many: Vec<_> = (0..5).map(|_| pace.try_turn(short, 0).unwrap()).collect();
        assert!(pace.try_turn(short, 0).is_none(), "{} of 100 KiB", many.len());
        drop(many);
        pace.answered(Duration::from_nanos(1));
        let far = Pace::new();
        far.answered(Duration::from_millis(50));
        let eight: Vec<_> = (0..8).map(|_| far.try_turn(long, 0).unwrap()).collect();
        assert!(far.try_turn(long, 0).is_none(), "{} from far", eight.len());
    }

    #[tokio::test]
    async fn whoever_waits_gets_a_turn_when_there_is_room() {
        let pace = Pace::new();
        let received = AtomicU64::new(0);
        let long = range(0, 100 << 20);
        let mut first: Vec<_> = (0..8).map(|_| pace.try_turn(long, 0).unwrap()).collect();
        let waiting = pace.turn(long, &received);
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        first.pop();
        assert_eq!(waiting.await.piece, range(0, 64 << 10));
    }
}
