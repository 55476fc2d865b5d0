//! Requests and their failures: what every answer must fulfil before anyone looks at its body.

use std::{
    error::Error,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::stream;
use reqwest::{
    Body, Method, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect,
};
use tokio::time::{self, Instant};

use super::{
    super::{RemoteError, RemoteOptions},
    answer,
};
use crate::base::redacted;

/// How many redirects are followed.
pub(in crate::remote) const REDIRECTS: usize = 10;

/// So many times longer than elsewhere nothing may move where a body is sent.
const PATIENCE: u32 = 4;
/// How many bytes in memory are sent in one step.
const STEP: usize = 64 << 10;

/// An HTTP client with this room's rules.
#[derive(Debug)]
pub(in crate::remote) struct Client {
    inner: reqwest::Client,
    stall_timeout: Duration,
}

impl Client {
    pub(super) fn new(options: &RemoteOptions) -> Result<Self, RemoteError> {
        Self::with_policy(options, redirect::Policy::custom(follow))
    }

    /// A client that hands out redirects as they are.
    pub(in crate::remote) fn without_redirects(options: &RemoteOptions) -> Result<Self, RemoteError> {
        Self::with_policy(options, redirect::Policy::none())
    }

    fn with_policy(options: &RemoteOptions, policy: redirect::Policy) -> Result<Self, RemoteError> {
        // reqwest takes the process's provider. One that was installed before stays, and the error says no more than
        // that.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .user_agent(&options.user_agent)
            .connect_timeout(options.connect_timeout)
            .redirect(policy)
            .default_headers(HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]))
            // The address of the page before may carry a signature.
            .referer(false);
        let builder = if options.system_proxy { builder } else { builder.no_proxy() };
        let inner = builder.build().map_err(|source| RemoteError::Client { source })?;
        Ok(Self { inner, stall_timeout: options.stall_timeout })
    }

    /// A request that [`send`](Self::send) takes.
    pub(in crate::remote) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.inner.request(method, url)
    }

    /// Whatever the server answers to a request for `place`.
    pub(in crate::remote) async fn send(&self, place: &str, request: RequestBuilder) -> Result<Response, RemoteError> {
        match time::timeout(self.stall_timeout, request.send()).await {
            Ok(answer) => answer.map_err(|error| failure(place, error)),
            Err(_) => Err(self.stalled(place, 1)),
        }
    }

    /// As [`send`](Self::send), for requests with a body, which may take as long as it gets on. Servers answer when
    /// they have dealt with all of it, and what the system has taken of it may still be on its way, so that more
    /// patience is needed.
    pub(in crate::remote) async fn send_body(&self, place: &str, request: RequestBuilder, body: &Moving) -> Result<Response, RemoteError> {
        let sending = request.send();
        tokio::pin!(sending);
        loop {
            let limit = self.stall_timeout.saturating_mul(PATIENCE);
            tokio::select! {
                answer = &mut sending => return answer.map_err(|error| failure(place, error)),
                () = time::sleep(limit.saturating_sub(body.last().elapsed())) => {}
            }
            if body.last().elapsed() >= limit {
                return Err(self.stalled(place, PATIENCE));
            }
        }
    }

    /// As [`send_body`](Self::send_body), for bytes in memory.
    pub(in crate::remote) async fn send_bytes(&self, place: &str, request: RequestBuilder, bytes: Bytes) -> Result<Response, RemoteError> {
        let (moving, length) = (Moving::new(), bytes.len());
        let steps = stream::unfold((bytes, moving.clone()), |(mut rest, moving)| async move {
            moving.moved();
            let step = rest.split_to(rest.len().min(STEP));
            (!step.is_empty()).then_some((Ok::<_, io::Error>(step), (rest, moving)))
        });
        self.send_body(place, request.header(CONTENT_LENGTH, length).body(Body::wrap_stream(steps)), &moving).await
    }

    fn stalled(&self, place: &str, times: u32) -> RemoteError {
        RemoteError::Stalled { url: place.to_owned(), limit: self.stall_timeout.saturating_mul(times) }
    }

    /// A successful answer (2xx) or 416, without content encoding.
    pub(super) async fn get(&self, url: Url, headers: HeaderMap) -> Result<Response, RemoteError> {
        let response = self.send(&shown(&url), self.inner.get(url.clone()).headers(headers)).await?;
        if response.status() != StatusCode::RANGE_NOT_SATISFIABLE {
            self.accept(&url, &response)?;
        }
        Ok(response)
    }

    /// Refuses answers without success and with a content encoding.
    fn accept(&self, url: &Url, response: &Response) -> Result<(), RemoteError> {
        let (place, status) = (answered(url, response), response.status());
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(RemoteError::NotFound { url: place }),
            _ if !status.is_success() => {
                Err(RemoteError::Status { url: place, status: status.as_u16(), retry_after: retry_after(response.headers()) })
            }
            _ => check_encoding(&place, response.headers()),
        }
    }

    /// The length of a file, where the server says it.
    pub(super) async fn head(&self, url: Url) -> Result<Option<u64>, RemoteError> {
        let response = self.send(&shown(&url), self.inner.head(url.clone())).await?;
        self.accept(&url, &response)?;
        Ok(text(response.headers(), CONTENT_LENGTH).and_then(|length| length.parse().ok()))
    }

    /// A whole JSON document of at most `limit` bytes.
    pub(super) async fn document(&self, url: Url, headers: HeaderMap, limit: u64) -> Result<Vec<u8>, RemoteError> {
        let mut response = self.get(url.clone(), headers).await?;
        let place = answered(&url, &response);
        if response.status() != StatusCode::OK {
            return Err(RemoteError::Status { url: place, status: response.status().as_u16(), retry_after: None });
        }
        if answer::is_html(response.headers()) {
            return Err(RemoteError::HtmlPage { url: place });
        }
        let bytes = self.body(&place, &mut response, limit).await?;
        if looks_like_html(&bytes) { Err(RemoteError::HtmlPage { url: place }) } else { Ok(bytes) }
    }

    /// A whole body of at most `limit` bytes.
    pub(in crate::remote) async fn body(&self, place: &str, response: &mut Response, limit: u64) -> Result<Vec<u8>, RemoteError> {
        let expected = response.content_length();
        let mut bytes = Vec::new();
        loop {
            if expected.unwrap_or(0).max(bytes.len() as u64) > limit {
                return Err(RemoteError::TooLarge { url: place.to_owned(), limit });
            }
            match self.next(place, response, bytes.len() as u64, expected).await? {
                Some(chunk) => bytes.extend_from_slice(&chunk),
                None => return Ok(bytes),
            }
        }
    }

    /// The next bytes of a body of which `received` came and `expected` are needed; its end is an error.
    pub(in crate::remote) async fn chunk(
        &self,
        place: &str,
        response: &mut Response,
        received: u64,
        expected: u64,
    ) -> Result<Bytes, RemoteError> {
        let ended = || RemoteError::Truncated { url: place.to_owned(), expected: Some(expected), received, source: None };
        self.next(place, response, received, Some(expected)).await?.ok_or_else(ended)
    }

    async fn next(&self, place: &str, response: &mut Response, received: u64, expected: Option<u64>) -> Result<Option<Bytes>, RemoteError> {
        let truncated = |error: reqwest::Error| {
            let source = Some(error.without_url());
            RemoteError::Truncated { url: place.to_owned(), expected, received, source }
        };
        match time::timeout(self.stall_timeout, response.chunk()).await {
            Ok(chunk) => chunk.map_err(truncated),
            Err(_) => Err(self.stalled(place, 1)),
        }
    }
}

/// When a body was last seen to get on.
#[derive(Debug, Clone)]
pub(in crate::remote) struct Moving(Arc<Mutex<Instant>>);

impl Moving {
    /// A body that begins now.
    pub(in crate::remote) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Something of it was taken.
    pub(in crate::remote) fn moved(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failure(place: &str, error: reqwest::Error) -> RemoteError {
    let url = place.to_owned();
    match refused(&error) {
        Some(Refused::TooMany) => RemoteError::TooManyRedirects { url, limit: REDIRECTS },
        Some(Refused::Unsafe(target)) => RemoteError::UnsafeRedirect { url, target: target.clone() },
        None => RemoteError::Unreachable { url, source: error.without_url() },
    }
}

/// Refuses compressed answers: their lengths and hashes are not those of the file.
pub(in crate::remote) fn check_encoding(place: &str, headers: &HeaderMap) -> Result<(), RemoteError> {
    match text(headers, CONTENT_ENCODING) {
        Some(encoding) if !encoding.trim().is_empty() && !encoding.trim().eq_ignore_ascii_case("identity") => {
            Err(RemoteError::Encoded { url: place.to_owned(), encoding: encoding.chars().take(80).collect() })
        }
        _ => Ok(()),
    }
}

/// Whether a document is a page for people, whatever its type says.
pub(in crate::remote) fn looks_like_html(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<')
}

/// A redirect that the policy does not follow.
#[derive(Debug)]
enum Refused {
    TooMany,
    Unsafe(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused redirect")
    }
}

impl Error for Refused {}

/// reqwest itself drops `Authorization` when host, port or scheme change.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let from = attempt.previous().last().map_or("https", Url::scheme);
    if !is_safe(from, attempt.url().scheme()) {
        let target = shown(attempt.url());
        return attempt.error(Refused::Unsafe(target));
    }
    if attempt.previous().len() > REDIRECTS { attempt.error(Refused::TooMany) } else { attempt.follow() }
}

pub(in crate::remote) fn is_safe(from: &str, to: &str) -> bool {
    to == "https" || (to == "http" && from == "http")
}

/// Why the policy refused, which reqwest wraps at some depth.
fn refused<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Refused> {
    error.downcast_ref().or_else(|| refused(error.source()?))
}

/// The address without credentials and query.
pub(in crate::remote) fn shown(url: &Url) -> String {
    redacted(url.as_str())
}

/// The address, with the one that answered where a redirect led elsewhere.
pub(in crate::remote) fn answered(asked: &Url, response: &Response) -> String {
    let (asked, answering) = (shown(asked), shown(response.url()));
    if asked == answering { asked } else { format!("{asked} (redirected to {answering})") }
}

pub(in crate::remote) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Seconds, or a date as seen from the answer's own date (this machine's clock where it has none).
pub(in crate::remote) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER)?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| httpdate::parse_http_date(text.trim()).ok();
    let now = text(headers, DATE).and_then(date).unwrap_or_else(SystemTime::now);
    Some(date(value)?.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_never_lead_down() {
        assert!(is_safe("http", "http") && is_safe("http", "https") && is_safe("https", "https"));
        assert!(!is_safe("https", "http") && !is_safe("http", "file") && !is_safe("https", "ftp"));
    }

    #[test]
    fn waits_in_seconds_and_as_dates() {
        let wait = |value: &'static str| {
            let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
            retry_after(&HeaderMap::from_iter([(DATE, date), (RETRY_AFTER, HeaderValue::from_static(value))]))
        };
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-1"), None);
    }
}
