//! Xet in builds without the feature `xet`: never available.

use super::{client::Hub, object::Source};
use crate::{
    base::Digest,
    remote::{RemoteError, RemoteOptions, Sent},
};

/// Uninhabited stand-in for builds without the feature `xet`.
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
