//! Uploading large objects by Git LFS: the batch API says which the Hub lacks, and where their bytes go, in one piece
//! or in parts.
//!
//! Neither the upload nor its completion gets the token: the addresses are signed. Each part is retried by itself.
//! Objects for which the Hub chooses Xet are uploaded by Xet.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{
    Body, Method, Response, Url,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::mpsc, task};

use super::{
    HubError,
    client::{Call, Hub, passing},
    object::Source,
    xet::Xet,
};
use crate::{
    base::{ByteRange, Digest},
    remote::{
        RemoteError, Sent,
        file::{WAITING, send_range},
        http::client::{self, Moving},
    },
};

const LFS_JSON: &str = "application/vnd.git-lfs+json";
/// Transfers that are offered without Xet.
const TRANSFERS: &[&str] = &["basic", "multipart"];
const TRANSFERS_WITH_XET: &[&str] = &["basic", "multipart", "xet"];
/// Objects in one batch request.
const BATCH: usize = 100;
/// Parts of an object that are sent at once.
const PARTS: usize = 4;
/// Retries of a part.
const PART_RETRIES: u32 = 4;

#[derive(Deserialize)]
struct Batch {
    transfer: Option<String>,
    objects: Vec<Object>,
}

/// An object as the batch API describes it.
#[derive(Debug, Clone, Deserialize)]
struct Object {
    oid: String,
    actions: Option<Actions>,
    error: Option<ObjectError>,
}

#[derive(Debug, Clone, Deserialize)]
struct Actions {
    upload: Option<Action>,
    verify: Option<Action>,
}

#[derive(Debug, Clone, Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
struct ObjectError {
    code: u16,
    message: String,
}

/// How the bytes of an object are sent.
#[derive(Debug, PartialEq, Eq)]
enum Transfer {
    Whole,
    /// Parts of that length, with the addresses they go to.
    Parts(u64, Vec<Url>),
}

impl Hub {
    /// Which of the objects the Hub lacks, whatever revision they would belong to.
    pub(super) async fn lacking(&self, branch: &str, objects: &[(Digest, u64)]) -> Result<Vec<Digest>, RemoteError> {
        let mut lacking = Vec::new();
        for group in objects.chunks(BATCH) {
            // For Git LFS alone it is certain what an object without an upload means.
            for object in self.batch(branch, group, TRANSFERS).await?.objects {
                if object.actions.is_some_and(|actions| actions.upload.is_some()) {
                    lacking.extend(object.oid.parse::<Digest>());
                }
            }
        }
        Ok(lacking)
    }

    async fn batch(&self, branch: &str, objects: &[(Digest, u64)], transfers: &[&str]) -> Result<Batch, RemoteError> {
        let objects: Vec<_> = objects.iter().map(|(oid, size)| json!({ "oid": oid, "size": size })).collect();
        let body = json!({
            "operation": "upload", "transfers": transfers, "hash_algo": "sha256",
            "ref": { "name": branch }, "objects": objects,
        });
        let mut call = Call::post(self.lfs_batch(), LFS_JSON, body.to_string());
        call.headers.insert(ACCEPT, HeaderValue::from_static(LFS_JSON));
        let batch: Batch = self.json(&call).await?;
        if let Some(transfer) = batch.transfer.as_deref().filter(|name| !transfers.contains(name)) {
            let what = format!("the transfer `{transfer}`, which was not offered");
            return Err(HubError::Unexpected { url: client::shown(&call.url), what }.into());
        }
        match batch.objects.iter().find_map(|object| Some((object.oid.clone(), object.error.clone()?))) {
            Some((oid, ObjectError { code, message })) => Err(HubError::Object { oid, message: format!("{message} ({code})") }.into()),
            None => Ok(batch),
        }
    }

    /// Uploads an object, unless the Hub has it. The numbers given to `sent` add up to its length, also where nothing
    /// has to go up.
    pub(super) async fn upload(
        &self,
        xet: Option<&Xet>,
        oid: &Digest,
        size: u64,
        source: &Source,
        sent: Sent<'_>,
    ) -> Result<(), RemoteError> {
        let (branch, asked) = (self.revision(), [(*oid, size)]);
        let xet = xet.filter(|xet| xet.is_possible());
        let mut batch = self.batch(branch, &asked, if xet.is_some() { TRANSFERS_WITH_XET } else { TRANSFERS }).await?;
        if let Some(xet) = xet.filter(|_| batch.transfer.as_deref() == Some("xet")) {
            if xet.upload(self, oid, size, source, sent).await? {
                return Ok(());
            }
            batch = self.batch(branch, &asked, TRANSFERS).await?;
        }
        let object = batch.objects.into_iter().find(|object| object.oid == oid.to_string());
        let what = || HubError::Unexpected { url: client::shown(&self.lfs_batch()), what: format!("nothing about sha256:{oid}") };
        let Actions { upload, verify } = object.ok_or_else(what)?.actions.unwrap_or(Actions { upload: None, verify: None });
        match upload {
            Some(action) => self.send_object(oid, size, source, &action, sent).await?,
            None => sent(size),
        }
        match verify {
            Some(action) => {
                let mut call = Call::post(self.address(&action.href)?, LFS_JSON, json!({ "oid": oid, "size": size }).to_string());
                call.headers.insert(ACCEPT, HeaderValue::from_static(LFS_JSON));
                let response = self.ask(&call).await?;
                self.accepted(&call.url, response).await
            }
            None => Ok(()),
        }
    }

    async fn send_object(&self, oid: &Digest, size: u64, source: &Source, action: &Action, sent: Sent<'_>) -> Result<(), RemoteError> {
        let target = self.address(&action.href)?;
        let headers = plain_headers(&action.header);
        match self.transfer(action, size)? {
            Transfer::Whole => self.put(target, headers, source, 0, size, sent).await.map(|_| ()),
            Transfer::Parts(length, urls) => {
                let part = |(index, url): (usize, Url)| async move {
                    let offset = index as u64 * length;
                    let etag = self.part(url, source, offset, length.min(size - offset), sent).await?;
                    Ok::<_, RemoteError>(json!({ "partNumber": index + 1, "etag": etag }))
                };
                let parts: Vec<Value> = stream::iter(urls.into_iter().enumerate()).map(part).buffered(PARTS).try_collect().await?;
                self.complete(target, oid, parts).await
            }
        }
    }

    /// Sends a part, with retries, and returns the ETag of the answer.
    async fn part(&self, url: Url, source: &Source, offset: u64, length: u64, sent: Sent<'_>) -> Result<String, RemoteError> {
        // Not counted while it is sent: a part that is sent again would count twice.
        let attempt = || self.put(url.clone(), HeaderMap::new(), source, offset, length, &|_| ());
        let response = self.retry().with_retries(PART_RETRIES).repeat(attempt).await?;
        sent(length);
        let etag = client::text(response.headers(), ETAG).map(str::to_owned);
        let missing = || HubError::Unexpected { url: client::shown(&url), what: "an uploaded part without an ETag".to_owned() };
        Ok(etag.ok_or_else(missing)?)
    }

    async fn complete(&self, url: Url, oid: &Digest, parts: Vec<Value>) -> Result<(), RemoteError> {
        let body = json!({ "oid": oid, "parts": parts }).to_string();
        let headers = [(ACCEPT, LFS_JSON), (CONTENT_TYPE, LFS_JSON)].map(|(name, value)| (name, HeaderValue::from_static(value)));
        let request = self.http().request(Method::POST, url.clone()).headers(HeaderMap::from_iter(headers));
        let response = self.http().send_bytes(&client::shown(&url), request, Bytes::from(body)).await?;
        let response = self.uploaded(&url, response).await?;
        self.accepted(&url, response).await
    }

    /// Sends bytes of a source to a signed address.
    async fn put(
        &self,
        url: Url,
        headers: HeaderMap,
        source: &Source,
        offset: u64,
        length: u64,
        sent: Sent<'_>,
    ) -> Result<Response, RemoteError> {
        let request = self.http().request(Method::PUT, url.clone()).headers(headers);
        let place = client::shown(&url);
        let response = match source {
            Source::Memory(bytes) => {
                // Offsets and lengths come from the length of these bytes.
                let body = bytes.slice(offset as usize..(offset + length) as usize);
                let response = self.http().send_bytes(&place, request, body).await?;
                sent(length);
                response
            }
            Source::File(path) => self.put_file(&place, request, path, offset, length, sent).await?,
        };
        self.uploaded(&url, response).await
    }

    async fn put_file(
        &self,
        place: &str,
        request: reqwest::RequestBuilder,
        path: &Path,
        offset: u64,
        length: u64,
        sent: Sent<'_>,
    ) -> Result<Response, RemoteError> {
        let Some(range) = ByteRange::new(offset, length) else {
            return self.http().send_bytes(place, request, Bytes::new()).await;
        };
        let size = std::fs::metadata(path).map_err(|source| RemoteError::File { action: "read", path: path.to_owned(), source })?.len();
        let (sender, receiver) = mpsc::channel(WAITING);
        let (counter, mut counts) = mpsc::unbounded_channel();
        let reading = task::spawn_blocking({
            let path = path.to_owned();
            move || send_range(&path, size, range, &sender)
        });
        let moving = Moving::new();
        let steps = stream::unfold((receiver, counter, moving.clone()), |(mut receiver, counter, moving)| async move {
            let step: Vec<u8> = receiver.recv().await?;
            moving.moved();
            // Nobody counts once the request is over.
            let _ = counter.send(step.len() as u64);
            Some((Ok::<_, std::io::Error>(Bytes::from(step)), (receiver, counter, moving)))
        });
        let sending = self.http().send_body(place, request.header(CONTENT_LENGTH, length).body(Body::wrap_stream(steps)), &moving);
        tokio::pin!(sending);
        let response = loop {
            tokio::select! {
                response = &mut sending => break response,
                Some(count) = counts.recv() => sent(count),
            }
        };
        while let Ok(count) = counts.try_recv() {
            sent(count);
        }
        // A file that cannot be read says more than the request that broke off for it.
        match reading.await {
            Ok(read) => read?,
            Err(error) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
        response
    }

    async fn uploaded(&self, url: &Url, response: Response) -> Result<Response, RemoteError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if let Some(retry_after) = passing(status, response.headers()) {
            return Err(RemoteError::Status { url: client::shown(url), status: status.as_u16(), retry_after });
        }
        if self.is_own(url) {
            return Err(self.refusal(url, response).await);
        }
        // A signed address may have expired; the next batch gives another one.
        Err(RemoteError::Status { url: client::shown(url), status: status.as_u16(), retry_after: None })
    }

    fn address(&self, href: &str) -> Result<Url, RemoteError> {
        let batch = self.lfs_batch();
        let wrong = || HubError::Unexpected { url: client::shown(&batch), what: "an upload address that is none".to_owned() };
        let url = batch.join(href).map_err(|_| wrong())?;
        if client::is_safe(batch.scheme(), url.scheme()) {
            return Ok(url);
        }
        Err(RemoteError::UnsafeRedirect { url: client::shown(&batch), target: client::shown(&url) })
    }

    /// In parts where the Hub says how long they are: the other keys of digits are their numbers.
    fn transfer(&self, action: &Action, size: u64) -> Result<Transfer, RemoteError> {
        let Some(chunk) = action.header.get("chunk_size") else { return Ok(Transfer::Whole) };
        let wrong = |what: &str| HubError::Unexpected { url: client::shown(&self.lfs_batch()), what: what.to_owned() };
        let length = number(chunk).filter(|length| *length > 0).ok_or_else(|| wrong("a `chunk_size` that is no length"))?;
        let numbered = action.header.iter().filter_map(|(key, url)| Some((key.parse::<u64>().ok()?, url.as_str()?)));
        let numbered: BTreeMap<u64, &str> = numbered.collect();
        if numbered.len() as u64 != size.div_ceil(length) {
            return Err(wrong("another number of parts than the object has").into());
        }
        let urls = numbered.values().map(|href| self.address(href)).collect::<Result<_, _>>()?;
        Ok(Transfer::Parts(length, urls))
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The headers that the upload needs, without credentials.
fn plain_headers(wanted: &BTreeMap<String, Value>) -> HeaderMap {
    let header = |(name, value): (&String, &Value)| {
        let name: HeaderName = name.parse().ok()?;
        let allowed = name != reqwest::header::AUTHORIZATION && name != CONTENT_LENGTH && name != reqwest::header::HOST;
        Some((name, HeaderValue::from_str(value.as_str()?).ok().filter(|_| allowed)?))
    };
    wanted.iter().filter_map(header).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::HubUrl,
        remote::{Access, RemoteOptions, hub::HubOptions},
    };

    fn transfer(header: Value, size: u64) -> Result<Transfer, RemoteError> {
        let hub = HubOptions { endpoint: "http://hub".to_owned(), ..HubOptions::default() };
        let hub = Hub::new(&HubUrl::parse("hf://acme/tae").unwrap(), &RemoteOptions { hub, ..RemoteOptions::default() }, Access::Read).unwrap();
        hub.transfer(&serde_json::from_value(json!({ "href": "http://hub/x", "header": header })).unwrap(), size)
    }

    #[test]
    fn parts_are_in_the_order_of_their_numbers() {
        let url = |number: u32| format!("http://s3/{number}");
        let header: serde_json::Map<_, _> = (1..=11).map(|number| (format!("{number:05}"), json!(url(number)))).collect();
        let mut header = Value::Object(header);
        header["chunk_size"] = json!("10");
        let Transfer::Parts(10, urls) = transfer(header.clone(), 101).unwrap() else { panic!("parts of ten bytes") };
        assert_eq!(urls.iter().map(Url::to_string).collect::<Vec<_>>(), (1..=11).map(url).collect::<Vec<_>>());
        assert!(transfer(header, 99).is_err());
        assert_eq!(transfer(json!({ "x": "y" }), 99).unwrap(), Transfer::Whole);
        assert!(transfer(json!({ "chunk_size": 0 }), 99).is_err());
    }

    #[test]
    fn credentials_of_headers_do_not_travel() {
        let wanted = [("Authorization", "x"), ("x-amz-acl", "private")].map(|(name, value)| (name.to_owned(), json!(value)));
        let headers = plain_headers(&wanted.into());
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["x-amz-acl"], "private");
    }
}
