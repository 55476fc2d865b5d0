//! Carries out a publication: the store's blobs are hashed before the first byte is sent and once more on their way; then the release
//! becomes visible in one step.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{PublishError, PublishPlan};
use crate::{
    manifest::release::Release,
    remote::{Commit, Remote, Sent},
    store::{Store, StoreError},
};

/// Hashes every blob that would be sent; blocks. Damaged blobs are removed from the store.
///
/// # Errors
/// `Missing`, `Damaged`, or what the file system says.
pub fn check_local(store: &Store, plan: &PublishPlan, seen: &dyn Fn(u64)) -> Result<(), PublishError> {
    let release = format!("{}@{}", plan.package, plan.version);
    let missing: Vec<_> = plan.missing.iter().filter(|(digest, _)| store.blob_size(digest).is_none()).map(|(digest, _)| *digest).collect();
    if let Some(first) = missing.first() {
        return Err(PublishError::Missing { release, first: *first, count: missing.len() });
    }
    let mut damaged = Vec::new();
    for (digest, size) in &plan.missing {
        match store.blob_verified(digest) {
            Ok(_) => seen(*size),
            Err(StoreError::DamagedBlob { .. } | StoreError::MissingBlob { .. }) => damaged.push(*digest),
            Err(error) => return Err(error.into()),
        }
    }
    match damaged.first() {
        Some(first) => Err(PublishError::Damaged { release, first: *first, count: damaged.len() }),
        None => Ok(()),
    }
}

/// Sends what the plan says, at most `jobs` blobs at once, and commits the release, whose canonical bytes are `bytes`.
///
/// # Errors
/// What the remote says.
pub async fn upload(
    store: &Store,
    remote: &dyn Remote,
    release: &Release,
    bytes: &[u8],
    plan: &PublishPlan,
    jobs: usize,
    sent: Sent<'_>,
) -> Result<Commit, PublishError> {
    let send = |digest| async move {
        let path = store.blob_path(digest);
        remote.put(release, digest, &path, sent).await
    };
    stream::iter(plan.missing.keys()).map(send).buffer_unordered(jobs.max(1)).try_collect::<()>().await?;
    Ok(remote.commit(bytes).await?)
}
