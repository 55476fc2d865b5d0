//! What stands for Xet in a build without it: nothing that could exist, so that it is never offered.

use super::{client::Hub, lfs::Source};
use crate::{
    base::Digest,
    remote::{RemoteError, RemoteOptions, Sent},
};

/// The way to upload by Xet, which there is none of.
pub(super) enum Xet {}

impl Xet {
    pub(super) fn new(_: &RemoteOptions) -> Option<Self> {
        None
    }

    pub(super) fn is_possible(&self) -> bool {
        match *self {}
    }

    pub(super) async fn upload(&self, _: &Hub, _: &Digest, _: u64, _: &Source, _: Sent<'_>) -> Result<bool, RemoteError> {
        match *self {}
    }
}
