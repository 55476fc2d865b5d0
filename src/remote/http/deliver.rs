//! The body of a checked answer, given on byte by byte; what comes before or after the range is left out.

use reqwest::{Response, header::HeaderValue};

use super::{
    answer::{self, Body, RangeRequest},
    client::Client,
};
use crate::remote::{RemoteError, Sink};

/// A reading that ended early: after how many bytes, and the ETag they belong to.
pub(in crate::remote) struct Break {
    pub(in crate::remote) error: RemoteError,
    pub(in crate::remote) delivered: u64,
    pub(in crate::remote) etag: Option<HeaderValue>,
}

impl From<RemoteError> for Break {
    fn from(error: RemoteError) -> Self {
        Self { error, delivered: 0, etag: None }
    }
}

/// Gives the range's bytes to `sink`, skipping what comes before it. Of a whole blob the bytes up to `until` follow;
/// the rest is left.
pub(in crate::remote) async fn deliver(
    client: &Client,
    wanted: &RangeRequest,
    mut response: Response,
    body: Body,
    until: u64,
    sink: Sink<'_>,
) -> Result<(), Break> {
    let etag = answer::etag(response.headers());
    let (skip, end) = match body {
        Body::Whole => (wanted.range.offset(), wanted.range.end().max(until.min(wanted.size))),
        Body::Part => (0, wanted.range.length()),
    };
    let mut received = 0;
    while received < end {
        let broken = |error| Break { error, delivered: received.saturating_sub(skip), etag: etag.clone() };
        let chunk = client.chunk(&wanted.url, &mut response, received, end).await.map_err(broken)?;
        let length = chunk.len() as u64;
        let first = skip.saturating_sub(received).min(length);
        let last = (end - received).min(length);
        if first < last {
            // Both are at most the chunk's length.
            let bytes = &chunk[first as usize..last as usize];
            sink(bytes).map_err(|source| broken(RemoteError::Sink { url: wanted.url.clone(), source }))?;
        }
        received += length;
    }
    Ok(())
}
