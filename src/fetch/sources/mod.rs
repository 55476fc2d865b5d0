//! Where the bytes of a segment can come from. Each kind is a file that says when it applies, what it costs, what it
//! waits for and how it is carried out; a new kind is a file and a word in `sources!`.

mod inline;
mod local;
mod remote;

use std::collections::{BTreeSet, HashMap};

pub use self::{inline::Inline, local::Local, remote::Remote};
use super::{
    FetchError,
    download::{Brought, Filling},
    plan::Totals,
};
use crate::{
    base::{Blake3, ByteRange, Digest},
    manifest::release::{Blob, Segment},
    store::Location,
};

/// What one segment costs from one source. Compared by bytes, then by requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    /// Bytes that come over the network.
    pub(super) bytes: u64,
    /// Requests, where the segment is asked for alone.
    pub(super) requests: u64,
}

impl Cost {
    /// Nothing moves over the network.
    pub(super) const FREE: Self = Self { bytes: 0, requests: 0 };
}

/// Kinds, by their place in the list, that could not bring a segment, by its place: the next round asks another kind for it.
pub(super) type Failed = BTreeSet<(usize, usize)>;

/// A segment that is not complete yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need<'a> {
    /// Its place in the blob's list.
    pub(super) index: usize,
    pub(super) segment: &'a Segment,
    pub(super) range: ByteRange,
    /// What has arrived of the blob, in order.
    pub(super) arrived: &'a [ByteRange],
    /// Where segments lie in blobs that are here, or that the plan finishes before this one.
    pub(super) local: &'a HashMap<Blake3, Location>,
}

/// A kind of source, and what it has to bring for one blob.
pub(super) trait SegmentSource: Default {
    /// The cost of a segment, where this kind can bring it.
    fn cost(need: &Need<'_>) -> Option<Cost>;

    /// Takes a segment on.
    fn take(&mut self, need: &Need<'_>);

    /// Called once, after the last segment was taken on.
    fn complete(&mut self, _blob: &Blob) {}

    /// Whether there is nothing to bring.
    fn is_empty(&self) -> bool;

    /// Bytes of the segments that it brings. They need not be as many as are transferred for it.
    fn delivers(&self) -> u64;

    /// Adds what it brings, and what that costs, to the sums of a plan.
    fn add_to(&self, totals: &mut Totals);

    /// The blobs that have to be finished before.
    fn needs(&self) -> BTreeSet<Digest> {
        BTreeSet::new()
    }

    /// Writes the bytes into the partial blob.
    ///
    /// # Errors
    /// What store and remote say. Bytes that are wrong are no error: they are forgotten and reported in the result.
    async fn bring(&self, filling: &Filling<'_>) -> Result<Brought, FetchError>;
}

/// Declares the kinds, in the order in which they are carried out; of kinds with equal costs the first one is taken.
macro_rules! sources {
    ($($name:ident: $kind:ident,)*) => {
        /// What every source has to bring for one blob.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct Sources {
            $(
                #[doc = concat!("What [`", stringify!($kind), "`] brings.")]
                pub $name: $kind,
            )*
        }

        impl Sources {
            /// Gives a segment to the cheapest source that has not failed to bring it.
            pub(super) fn take(&mut self, need: &Need<'_>, failed: &Failed) {
                let mut costs = [$($kind::cost(need)),*];
                for (kind, cost) in costs.iter_mut().enumerate() {
                    *cost = cost.filter(|_| !failed.contains(&(kind, need.index)));
                }
                let cheapest = costs.iter().flatten().min().copied();
                let chosen = costs.iter().position(|cost| cost.is_some() && *cost == cheapest);
                let mut kind = 0;
                $(
                    if chosen == Some(kind) {
                        self.$name.take(need);
                    }
                    kind += 1;
                )*
                debug_assert!(chosen.is_some_and(|chosen| chosen < kind), "the remote can bring every segment");
            }

            /// Bytes of all segments that are brought.
            pub(super) fn delivers(&self) -> u64 {
                0_u64 $(.saturating_add(self.$name.delivers()))*
            }

            /// Called after the last segment was taken on.
            pub(super) fn complete(&mut self, blob: &Blob) {
                $(self.$name.complete(blob);)*
            }

            /// Whether nothing is left to bring.
            pub fn is_empty(&self) -> bool {
                true $(&& self.$name.is_empty())*
            }

            /// Adds what is brought to the sums of a plan.
            pub(super) fn add_to(&self, totals: &mut Totals) {
                $(self.$name.add_to(totals);)*
            }

            /// Brings everything, one kind after the other; each waits for the blobs that it needs.
            pub(super) async fn bring(&self, filling: &Filling<'_>) -> Result<Brought, FetchError> {
                let mut brought = Brought::default();
                let mut kind = 0;
                $(
                    if !self.$name.is_empty() {
                        filling.wait_for(&self.$name.needs()).await;
                        let mut one = self.$name.bring(filling).await?;
                        brought.failed.extend(one.unfit.drain(..).map(|segment| (kind, segment)));
                        brought = brought.and(one);
                    }
                    kind += 1;
                )*
                debug_assert!(brought.failed.iter().all(|(failed, _)| *failed < kind));
                Ok(brought)
            }
        }
    };
}

sources! {
    // First, so that what arrives has no holes and can be hashed meanwhile.
    inline: Inline,
    remote: Remote,
    local: Local,
}
