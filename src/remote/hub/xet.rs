//! Uploading large objects by Xet: `hf-xet` cuts them by their content and sends the pieces that the Hub has of no file
//! yet.
//!
//! The Hub issues a token for its storage alone; hf-xet renews it at the Hub. All objects share one session, whose
//! notes lie in a temporary folder. The shard of an object names its sha256, by which a commit then finds it.

use std::{
    fmt::Display,
    fs, io,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, USER_AGENT},
};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::{sync::OnceCell, time};
use xet::{
    XetError,
    xet_session::{GroupProgressReport, Sha256Policy, XetConfig, XetSession, XetSessionBuilder, XetUploadCommit},
};

use super::{
    HubError,
    client::{Call, Hub},
    object::Source,
};
use crate::{
    base::{Digest, note_temporary},
    remote::{RemoteError, RemoteOptions, RetryPolicy, Sent, http::client},
};

/// Objects that are cut up at once, which is faster than they can be sent. Each holds up to 64 MiB, twice while it is
/// packed.
const OBJECTS: usize = 1;
/// Packs of pieces, of up to 64 MiB, that are on their way at once.
const PACKS: usize = 4;
/// How long a pack may take to be answered, which is when the whole of it has arrived. Whether it moves at all is
/// watched here.
const LONGEST: Duration = Duration::from_secs(20 * 60);
/// So many times longer than other servers nothing may move, since hf-xet waits between its attempts.
const PATIENCE: u32 = 4;
/// hf-xet's waits grow by their first one, so that it has to be longer than those of other requests.
const FIRST_WAIT: u32 = 4;
/// How often is looked at what was sent.
const TICK: Duration = Duration::from_millis(200);

/// The way to upload by Xet, where the Hub has it.
pub(super) struct Xet {
    config: XetConfig,
    /// For the storage.
    headers: HeaderMap,
    /// For the Hub, which renews the token.
    renewal: HeaderMap,
    /// For how long nothing may move.
    limit: Duration,
    /// None inside: this Hub has no Xet.
    session: OnceCell<Option<Session>>,
}

/// What the Hub hands out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Grant {
    access_token: String,
    exp: u64,
    cas_url: String,
}

/// Where this repository's objects go.
struct Session {
    xet: XetSession,
    grant: Grant,
    renewal: Url,
    /// The storage's address, as it is shown.
    place: String,
    limit: Duration,
    /// When anything was last seen to move.
    moved: Mutex<Instant>,
    _notes: TempDir,
}

impl Xet {
    /// `None` without a token, or where the options do without Xet.
    pub(super) fn new(options: &RemoteOptions) -> Option<Self> {
        let token = options.hub.token.as_ref().filter(|_| options.hub.xet)?;
        // The environment is none of this room's business: no `HF_XET_*` is read.
        let mut config = XetConfig::default();
        config.telemetry.enabled = false;
        config.data.max_concurrent_file_ingestion = OBJECTS;
        config.client.ac_max_upload_concurrency = PACKS;
        config.client.connect_timeout = options.connect_timeout;
        config.client.read_timeout = LONGEST;
        let retry = RetryPolicy::of(options);
        config.client.retry_max_attempts = retry.retries as usize;
        config.client.retry_base_delay = retry.backoff * FIRST_WAIT;
        config.client.retry_max_duration = retry.longest_wait;
        let agent = HeaderValue::from_str(&options.user_agent).ok();
        let headers = HeaderMap::from_iter(agent.map(|agent| (USER_AGENT, agent)));
        let mut renewal = headers.clone();
        renewal.insert(AUTHORIZATION, token.header());
        Some(Self { config, headers, renewal, limit: options.stall_timeout * PATIENCE, session: OnceCell::new() })
    }

    /// Whether the Hub may have Xet, as far as is known.
    pub(super) fn is_possible(&self) -> bool {
        !matches!(self.session.get(), Some(None))
    }

    /// Uploads an object. The numbers given to `sent` add up to its length. `false`, and nothing done, where the Hub
    /// has no Xet after all.
    pub(super) async fn upload(&self, hub: &Hub, oid: &Digest, size: u64, source: &Source, sent: Sent<'_>) -> Result<bool, RemoteError> {
        let Some(session) = self.session.get_or_try_init(|| self.open(hub, oid)).await? else { return Ok(false) };
        if let Source::File(path) = source {
            check_length(path, size)?;
        }
        let upload = self.begin(session).await.map_err(|error| failure(oid, &session.place, &error))?;
        session.send(&upload.0, oid, size, source, sent).await.map_err(|error| failure(oid, &session.place, &error))?;
        Ok(true)
    }

    /// Asks for a token; `None` where the Hub has none to give.
    async fn open(&self, hub: &Hub, oid: &Digest) -> Result<Option<Session>, RemoteError> {
        let renewal = hub.api_at("xet-write-token", hub.revision());
        let grant: Grant = match hub.json(&Call::get(renewal.clone())).await {
            Err(RemoteError::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let place = client::shown(&storage(&renewal, &grant)?);
        let failed = |source| RemoteError::File { action: "make a folder in", path: std::env::temp_dir(), source };
        let notes = tempfile::Builder::new().prefix("mlreg-xet-").tempdir().map_err(failed)?;
        note_temporary(notes.path());
        let builder = XetSessionBuilder::new_with_config(self.config.clone()).with_cache_dir(notes.path());
        let xet = builder.build().map_err(|error| failure(oid, &place, &error))?;
        Ok(Some(Session { xet, grant, renewal, place, limit: self.limit, moved: Mutex::new(Instant::now()), _notes: notes }))
    }

    async fn begin(&self, session: &Session) -> Result<Running, XetError> {
        let Grant { access_token, exp, cas_url } = &session.grant;
        let upload = session
            .xet
            .new_upload_commit()?
            .with_endpoint(cas_url.trim_end_matches('/'))
            .with_token_info(access_token, *exp)
            .with_token_refresh_url(session.renewal.as_str(), self.renewal.clone())
            .with_custom_headers(self.headers.clone());
        upload.build().await.map(Running)
    }
}

impl Session {
    async fn send(&self, upload: &XetUploadCommit, oid: &Digest, size: u64, source: &Source, sent: Sent<'_>) -> Result<(), UploadError> {
        let sha256 = Sha256Policy::from_hex(&oid.to_string());
        let file = match source {
            Source::File(path) => upload.upload_from_path(path.clone(), sha256).await?,
            Source::Memory(bytes) => upload.upload_bytes(bytes.to_vec(), sha256, None).await?,
        };
        let finishing = async {
            // What failed while it was cut up is over: it would finish the rest all the same, and its progress would
            // not add up.
            file.finalize_ingestion().await?;
            upload.commit().await
        };
        tokio::pin!(finishing);
        let mut ticks = time::interval(TICK);
        let (mut reported, mut before) = (0, None);
        let report = loop {
            tokio::select! {
                report = &mut finishing => break report?,
                _ = ticks.tick() => {}
            }
            let done = file.progress().map_or(0, |progress| progress.bytes_completed).clamp(reported, size);
            sent(done - reported);
            reported = done;
            let now = Some(numbers(&upload.progress()));
            if self.stands_still(now != before) > self.limit {
                return Err(UploadError::Stalled(self.limit));
            }
            before = now;
        };
        let arrived = report.uploads.values().next().and_then(|upload| upload.xet_info.file_size);
        if arrived != Some(size) {
            return Err(UploadError::Length { size, arrived: arrived.unwrap_or_default() });
        }
        sent(size - reported);
        Ok(())
    }

    /// For how long nothing has moved, of whichever object: they wait for each other.
    fn stands_still(&self, moves: bool) -> Duration {
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        if moves {
            *moved = Instant::now();
        }
        moved.elapsed()
    }
}

/// Where a grant is for, which the Hub at `renewal` gave.
fn storage(renewal: &Url, grant: &Grant) -> Result<Url, RemoteError> {
    let wrong = |what: &str| HubError::Unexpected { url: client::shown(renewal), what: what.to_owned() };
    if HeaderValue::from_str(&grant.access_token).is_err() {
        return Err(wrong("a token that no header can carry").into());
    }
    let url = Url::parse(&grant.cas_url).ok().filter(|url| url.username().is_empty() && url.password().is_none());
    let url = url.ok_or_else(|| wrong("a `casUrl` that is no address"))?;
    if client::is_safe(renewal.scheme(), url.scheme()) {
        return Ok(url);
    }
    Err(RemoteError::UnsafeRedirect { url: client::shown(renewal), target: client::shown(&url) })
}

fn failure(oid: &Digest, place: &str, error: &dyn Display) -> RemoteError {
    let message = error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    HubError::Xet { oid: oid.to_string(), url: place.to_owned(), message }.into()
}

/// Why an object did not arrive.
#[derive(Debug, thiserror::Error)]
enum UploadError {
    #[error(transparent)]
    Xet(#[from] XetError),
    #[error("nothing moved for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    #[error("{arrived} bytes were sent, expected {size}")]
    Length { size: u64, arrived: u64 },
}

/// An upload that is aborted when it is dropped.
struct Running(XetUploadCommit);

impl Drop for Running {
    fn drop(&mut self) {
        // It only fails where there is nothing left to end.
        let _ = self.0.abort();
    }
}

/// What changes while an upload gets on.
fn numbers(progress: &GroupProgressReport) -> [u64; 6] {
    let shard = progress.shard.clone().unwrap_or_default();
    [
        progress.total_bytes_completed,
        progress.total_transfer_bytes,
        progress.total_transfer_bytes_completed,
        shard.total_shard_bytes,
        shard.total_shard_bytes_upload_completed,
        shard.total_shard_validation_entries_completed,
    ]
}

/// A file of another length is found before anything of it is sent.
fn check_length(path: &Path, size: u64) -> Result<(), RemoteError> {
    let found = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(RemoteError::NotFound { url: path.display().to_string() }),
        Err(source) => return Err(RemoteError::File { action: "read", path: path.to_owned(), source }),
    };
    if found == size { Ok(()) } else { Err(RemoteError::WrongSize { url: path.display().to_string(), expected: size, found: Some(found) }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storage_is_as_safe_as_the_hub() {
        let storage = |hub: &str, cas_url: &str, token: &str| {
            let grant = serde_json::json!({ "accessToken": token, "exp": 1, "casUrl": cas_url });
            storage(&Url::parse(hub).unwrap(), &serde_json::from_value(grant).unwrap()).map_err(|error| error.to_string())
        };
        assert!(storage("https://hub/api", "https://cas/", "t").is_ok() && storage("http://hub/api", "http://cas/", "t").is_ok());
        assert_eq!(
            storage("https://hub/api", "http://cas/", "t").unwrap_err(),
            "`https://hub/api` redirects to `http://cas/`, which is not followed"
        );
        for cas_url in ["https://me:secret@cas/", "cas"] {
            let error = storage("https://hub/api", cas_url, "t").unwrap_err();
            assert!(error.ends_with("a `casUrl` that is no address"), "{error}");
        }
        assert!(storage("https://hub/api", "https://cas/", "a\nb").unwrap_err().ends_with("a token that no header can \
             carry"));
    }

    #[test]
    fn messages_are_one_line() {
        let error = failure(&Digest::of(b"x"), "https://cas/", &"a\nb").to_string();
        assert_eq!(error, format!("cannot upload sha256:{} to `https://cas/` by Xet: a b", Digest::of(b"x")));
    }
}
