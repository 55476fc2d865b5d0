//! How many bytes one request asks for at once, so that little is on its way when a connection or the process breaks off, and the line is
//! busy all the same.
//!
//! What was asked for and did not arrive is fetched again, and a fast server has it in the system's buffers long before anybody reads it. So a
//! long range is asked for piece by piece: as much as a fast line carries while an answer travels, and never less than 64 KiB. Where
//! answers come at once, all requests together have less than 1 MiB under way; where they take 50 ms, 1.6 MiB each keep 250 MB/s busy. The more
//! has come already, the longer a piece may be: all that is under way stays a small part of it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::ranges::LONGEST_REQUEST;
use crate::base::ByteRange;

/// The shortest piece of a longer range.
const SHORTEST: u64 = 64 << 10;
/// What one request should bring per second of latency.
const RATE: u64 = 32 << 20;
/// A piece may be this part of what was received, whatever the latency: with eight requests, a kill costs 1/64 of that.
const PART: u64 = 512;

/// The latency of a remote, as far as it is known.
#[derive(Debug)]
pub(super) struct Pace {
    /// The quickest answer so far, in nanoseconds: slower ones say more about this machine than about the line.
    quickest: AtomicU64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { quickest: AtomicU64::new(u64::MAX) }
    }

    /// The first bytes of an answer came after so long.
    pub(super) fn answered(&self, after: Duration) {
        self.quickest.fetch_min(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The beginning of `rest` that is asked for next, after `received` bytes of anything.
    pub(super) fn piece(&self, rest: ByteRange, received: u64) -> ByteRange {
        let length = match self.quickest.load(Ordering::Relaxed) {
            u64::MAX => SHORTEST,
            nanoseconds => {
                (u128::from(nanoseconds) * u128::from(RATE) / 1_000_000_000).clamp(SHORTEST.into(), LONGEST_REQUEST.into()) as u64
            }
        };
        let length = length.max(received / PART).min(LONGEST_REQUEST);
        ByteRange::new(rest.offset(), rest.length().min(length)).unwrap_or(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_grow_with_the_quickest_answer() {
        let pace = Pace::new();
        let long = ByteRange::new(100, 100 << 20).unwrap();
        let length = || pace.piece(long, 0).length();
        assert_eq!(length(), SHORTEST, "before anything is known");
        pace.answered(Duration::from_secs(60));
        assert_eq!(length(), LONGEST_REQUEST);
        pace.answered(Duration::from_millis(50));
        assert_eq!(length(), RATE / 20);
        pace.answered(Duration::from_micros(100));
        pace.answered(Duration::from_secs(1));
        assert_eq!(length(), SHORTEST, "slow answers of a fast server do not count");
        assert_eq!(pace.piece(long, 0).offset(), 100);
        let short = ByteRange::new(7, 10).unwrap();
        assert_eq!(pace.piece(short, 0), short);
        assert_eq!(pace.piece(long, 1 << 30).length(), 2 << 20, "little beside what came already");
        assert_eq!(pace.piece(long, 1 << 50).length(), LONGEST_REQUEST);
    }
}
