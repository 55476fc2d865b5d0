//! Carries out a publication: blobs are sent side by side and hashed on their way; then the release becomes visible in
//! one step.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{PublishError, PublishPlan};
use crate::{
    base::Digest,
    remote::{Commit, Publication, Remote, RemoteError, Sent},
    store::{Store, StoreError},
};

/// Checks that the store has every blob that has to be sent. Their bytes are hashed when they are sent.
///
/// # Errors
/// [`PublishError::Missing`].
pub fn check_present(store: &Store, plan: &PublishPlan) -> Result<(), PublishError> {
    let is_missing = |(digest, _): &(&Digest, &u64)| store.blob_size(digest).is_none();
    let missing: Vec<Digest> = plan.missing.iter().filter(is_missing).map(|(digest, _)| *digest).collect();
    match missing.first() {
        Some(first) => Err(PublishError::Missing { release: name(plan), first: *first, count: missing.len() }),
        None => Ok(()),
    }
}

/// Sends the blobs of a plan, at most `jobs` at once, and commits the release.
///
/// # Errors
/// What the remote says.
pub async fn upload(
    remote: &dyn Remote,
    publication: &Publication,
    plan: &PublishPlan,
    jobs: usize,
    sent: Sent<'_>,
) -> Result<Commit, RemoteError> {
    let send = |digest| remote.put(publication, digest, sent);
    stream::iter(plan.missing.keys()).map(send).buffer_unordered(jobs.max(1)).try_collect::<()>().await?;
    remote.commit(publication).await
}

/// The error of a publication. A blob whose bytes were not those of its name is hashed again and removed from the
/// store, so that it is built or fetched again.
pub fn damage(store: &Store, plan: &PublishPlan, error: RemoteError) -> PublishError {
    let RemoteError::WrongContent { expected, .. } = error else { return error.into() };
    match store.blob_verified(&expected) {
        Err(StoreError::DamagedBlob { .. } | StoreError::MissingBlob { .. }) => {
            PublishError::Damaged { release: name(plan), blob: expected }
        }
        _ => error.into(),
    }
}

fn name(plan: &PublishPlan) -> String {
    format!("{}@{}", plan.package, plan.version)
}
