//! Requests to the Hub: its addresses, the token, redirects, and what a refusal means.
//!
//! The token goes to the endpoint's own scheme, host and port and nowhere else. Redirects that stay there are followed
//! here; one that leads elsewhere is handed out, since only its own headers say what lies behind it. Retries are a
//! layer, see [`crate::remote::open`].

use std::{fmt, time::Duration};

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION},
};
use serde::de::DeserializeOwned;

use super::{
    HubError, HubOptions, HubToken,
    limits::{self, header},
    options::MAIN,
};
use crate::{
    base::HubUrl,
    remote::{
        Access, RemoteError, RemoteOptions, RetryPolicy,
        http::client::{self, Client},
    },
};

/// The longest answer of the API that is read.
const API_LIMIT: u64 = 64 << 20;
/// The longest explanation of an error that is read.
const ERROR_LIMIT: u64 = 64 << 10;
/// What stands in an address as it is (RFC 3986 section 2.3).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A repository and the way to it.
pub(super) struct Hub {
    http: Client,
    endpoint: Url,
    repository: String,
    revision: String,
    token: Option<HeaderValue>,
    offline: bool,
    retry: RetryPolicy,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &client::shown(&self.endpoint))
            .field("repository", &self.repository)
            .finish_non_exhaustive()
    }
}

/// A request of the API.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

impl Call {
    pub(super) fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: None }
    }

    pub(super) fn post(url: Url, kind: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        Self { method: Method::POST, url, headers, body: Some(body.into()) }
    }

    pub(super) fn json(url: Url, body: &serde_json::Value) -> Self {
        Self::post(url, "application/json", body.to_string())
    }
}

/// A path with every segment encoded.
pub(super) fn encoded_path(path: &str) -> String {
    path.split('/').map(|part| utf8_percent_encode(part, PLAIN).to_string()).collect::<Vec<_>>().join("/")
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

impl Hub {
    pub(super) fn new(url: &HubUrl, options: &RemoteOptions, access: Access) -> Result<Self, RemoteError> {
        let HubOptions { endpoint, token, token_for_reading, offline, .. } = &options.hub;
        let wrong = || HubError::Endpoint { endpoint: endpoint.split(['?', '@']).next_back().unwrap_or_default().to_owned() };
        let parsed = Url::parse(endpoint.trim_end_matches('/')).ok();
        let parsed = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()).ok_or_else(wrong)?;
        let sends_token = *token_for_reading || access == Access::Publish;
        Ok(Self {
            http: Client::without_redirects(options)?,
            endpoint: parsed,
            repository: url.repository().to_owned(),
            revision: url.revision().unwrap_or(MAIN).to_owned(),
            token: token.as_ref().filter(|_| sends_token).map(HubToken::header),
            offline: *offline,
            retry: RetryPolicy::of(options),
        })
    }

    pub(super) fn http(&self) -> &Client {
        &self.http
    }

    pub(super) fn repository(&self) -> &str {
        &self.repository
    }

    /// The revision of the address; the main branch where it has none.
    pub(super) fn revision(&self) -> &str {
        &self.revision
    }

    /// The policy for requests that are repeated here rather than by the layer around the remote.
    pub(super) fn retry(&self) -> RetryPolicy {
        self.retry
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// An address of this Hub.
    pub(super) fn below_endpoint(&self, path: &str) -> Url {
        let mut url = self.endpoint.clone();
        url.set_path(&format!("{}{path}", self.endpoint.path().trim_end_matches('/')));
        url
    }

    /// `/api/<path>`.
    pub(super) fn api(&self, path: &str) -> Url {
        self.below_endpoint(&format!("/api/{path}"))
    }

    /// `/api/models/<id>/<kind>/<revision>`, the revision encoded as a whole.
    pub(super) fn api_at(&self, kind: &str, revision: &str) -> Url {
        self.api(&format!("models/{}/{kind}/{}", self.repository, encoded(revision)))
    }

    /// `/api/models/<id>/<kind>`.
    pub(super) fn api_of(&self, kind: &str) -> Url {
        self.api(&format!("models/{}/{kind}", self.repository))
    }

    /// The address of the Git LFS batch API.
    pub(super) fn lfs_batch(&self) -> Url {
        self.below_endpoint(&format!("/{}.git/info/lfs/objects/batch", self.repository))
    }

    /// The address of a file.
    pub(super) fn file(&self, revision: &str, path: &str) -> Url {
        self.below_endpoint(&format!("/{}/resolve/{}/{}", self.repository, encoded(revision), encoded_path(path)))
    }

    /// Whether an address is the Hub's own, where the token may go.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin()
    }

    /// Sends a call, follows redirects that stay at the Hub, and gives whatever answers then, with its address.
    pub(super) async fn send(&self, call: &Call) -> Result<(Url, Response), RemoteError> {
        if self.offline {
            return Err(HubError::Offline { repository: self.repository.clone() }.into());
        }
        let mut url = call.url.clone();
        for _ in 0..=client::REDIRECTS {
            let mut request = self.http.request(call.method.clone(), url.clone()).headers(call.headers.clone());
            if let Some(token) = self.token.as_ref().filter(|_| self.is_own(&url)) {
                request = request.header(AUTHORIZATION, token.clone());
            }
            let place = client::shown(&url);
            let response = match &call.body {
                Some(body) => self.http.send_bytes(&place, request, body.clone()).await?,
                None => self.http.send(&place, request).await?,
            };
            match redirect_of(&url, &response) {
                Some(next) if self.is_own(&next) && self.is_own(&url) => url = next,
                _ => return Ok((url, response)),
            }
        }
        Err(RemoteError::TooManyRedirects { url: client::shown(&call.url), limit: client::REDIRECTS })
    }

    /// A successful answer of the Hub itself.
    pub(super) async fn ask(&self, call: &Call) -> Result<Response, RemoteError> {
        let (url, response) = self.send(call).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(&url, response).await) }
    }

    /// The JSON that a call is answered with.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, RemoteError> {
        let response = self.ask(call).await?;
        self.parsed(&call.url, response).await
    }

    /// The JSON of an answer.
    pub(super) async fn parsed<T: DeserializeOwned>(&self, url: &Url, mut response: Response) -> Result<T, RemoteError> {
        let place = client::shown(url);
        let bytes = self.http.body(&place, &mut response, API_LIMIT).await?;
        if client::looks_like_html(&bytes) {
            return Err(RemoteError::HtmlPage { url: place });
        }
        let what = |error: serde_json::Error| HubError::Unexpected { url: place, what: error.to_string() };
        serde_json::from_slice(&bytes).map_err(|error| what(error).into())
    }

    /// Whether a success whose body says nothing is the Hub's: a page for people in its place did nothing.
    pub(super) async fn accepted(&self, url: &Url, mut response: Response) -> Result<(), RemoteError> {
        let place = client::shown(url);
        let bytes = self.http.body(&place, &mut response, API_LIMIT).await?;
        if client::looks_like_html(&bytes) { Err(RemoteError::HtmlPage { url: place }) } else { Ok(()) }
    }

    /// What an answer without success means.
    pub(super) async fn refusal(&self, url: &Url, mut response: Response) -> RemoteError {
        let place = client::shown(url);
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_redirection() {
            let target = redirect_of(url, &response).map_or_else(String::new, |target| client::shown(&target));
            return RemoteError::UnsafeRedirect { url: place, target };
        }
        if let Some(retry_after) = passing(status, &headers) {
            return RemoteError::Status { url: place, status: status.as_u16(), retry_after };
        }
        // The explanation is a help, and its absence no reason for another error.
        let body = self.http.body(&place, &mut response, ERROR_LIMIT).await.unwrap_or_default();
        self.explained(place, status, &headers, &body)
    }

    fn explained(&self, url: String, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> RemoteError {
        let repository = self.repository.clone();
        let with_token = self.has_token();
        let code = header(headers, "x-error-code").unwrap_or_default();
        let message = message(status, headers, body);
        match (status.as_u16(), code) {
            (_, "GatedRepo") => HubError::Gated { repository, with_token }.into(),
            (_, "RepoNotFound") if status != StatusCode::UNAUTHORIZED => HubError::NoRepository { repository, with_token }.into(),
            (_, "RevisionNotFound") => HubError::NoRevision { repository, revision: self.revision.clone() }.into(),
            (_, "EntryNotFound") | (404 | 410, "") => RemoteError::NotFound { url },
            (403 | 404, _) if message.contains("is disabled") => HubError::Disabled { repository }.into(),
            (401, _) if with_token => HubError::InvalidToken { message }.into(),
            (401, _) => HubError::NoRepository { repository, with_token }.into(),
            (403, _) => HubError::Forbidden { url, message }.into(),
            (409, _) => HubError::Exists { url, message }.into(),
            (412, _) => HubError::Moved { repository, branch: self.revision.clone() }.into(),
            (status, _) => HubError::Refused { url, status, message }.into(),
        }
    }
}

/// Where a redirect leads.
pub(super) fn redirect_of(url: &Url, response: &Response) -> Option<Url> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = client::text(response.headers(), LOCATION).filter(|_| is_redirect)?;
    url.join(location).ok()
}

/// Of an answer after which the same request may succeed: how long the server asks to wait. `None` for any other.
pub(super) fn passing(status: StatusCode, headers: &HeaderMap) -> Option<Option<Duration>> {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
        .then(|| limits::wait(headers).or_else(|| client::retry_after(headers)))
}

/// What the Hub says about a refusal, in one line.
fn message(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> String {
    let said = header(headers, "x-error-message").map(str::to_owned).or_else(|| {
        let body: serde_json::Value = serde_json::from_slice(body).ok()?;
        Some(body.get("error").or_else(|| body.get("message"))?.as_str()?.to_owned())
    });
    let said = said.unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason was given").to_lowercase());
    let line: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    match header(headers, "x-request-id") {
        Some(id) => format!("{line} (request {})", id.chars().take(80).collect::<String>()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(endpoint: &str, token: Option<&str>) -> Hub {
        let options = RemoteOptions {
            hub: HubOptions { endpoint: endpoint.to_owned(), token: token.and_then(HubToken::new), ..HubOptions::default() },
            ..RemoteOptions::default()
        };
        Hub::new(&HubUrl::parse("hf://acme/tae").unwrap(), &options, Access::Read).unwrap()
    }

    fn explained(token: Option<&str>, status: u16, headers: &[(&'static str, &'static str)], body: &str) -> String {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
        let status = StatusCode::from_u16(status).unwrap();
        hub("http://hub", token).explained("http://hub/x".to_owned(), status, &headers, body.as_bytes()).to_string()
    }

    #[test]
    fn addresses_are_encoded() {
        let hub = hub("http://hub/mirror/", None);
        assert_eq!(
            hub.file("refs/pr/1", "a b/c+d@e.json").as_str(),
            "http://hub/mirror/acme/tae/resolve/refs%2Fpr%2F1/a%20b/c%2Bd%40e.json"
        );
        assert_eq!(hub.api_at("tree", "main").as_str(), "http://hub/mirror/api/models/acme/tae/tree/main");
        assert_eq!(hub.lfs_batch().as_str(), "http://hub/mirror/acme/tae.git/info/lfs/objects/batch");
    }

    #[test]
    fn only_the_endpoint_itself_is_trusted() {
        let hub = hub("https://hub:8443", None);
        let own = |url: &str| hub.is_own(&Url::parse(url).unwrap());
        assert!(own("https://hub:8443/x"));
        assert!(!own("http://hub:8443/x") && !own("https://hub/x") && !own("https://cdn.hub:8443/x"));
    }

    #[test]
    fn refusals_have_the_right_sentence() {
        let code = |code| [("x-error-code", code)];
        assert_eq!(explained(None, 401, &[], ""), "`hf://acme/tae` does not exist, or it is private and there is no \
             token");
        assert_eq!(
            explained(Some("t"), 404, &code("RepoNotFound"), ""),
            "`hf://acme/tae` does not exist, or it is private and the token has no access to it"
        );
        assert_eq!(explained(None, 401, &code("GatedRepo"), ""), "`hf://acme/tae` is gated, and there is no token");
        assert_eq!(explained(Some("t"), 403, &code("GatedRepo"), ""), "`hf://acme/tae` is gated: the token's owner has \
             no access to it");
        assert_eq!(explained(None, 404, &code("RevisionNotFound"), ""), "`hf://acme/tae` has no revision `main`");
        assert_eq!(explained(None, 404, &code("EntryNotFound"), ""), "`http://hub/x` does not exist");
        let disabled = [("x-error-message", "Access to this resource is disabled.")];
        assert_eq!(explained(None, 403, &disabled, ""), "access to `hf://acme/tae` is disabled");
        let invalid = [("x-error-message", "Invalid credentials in Authorization header")];
        assert!(explained(Some("t"), 401, &invalid, "").starts_with("the Hub does not accept the token: Invalid \
             credentials"));
        assert_eq!(explained(Some("t"), 403, &[], r#"{"error":"read only"}"#), "`http://hub/x` answered 403: read only");
        let id = [("x-request-id", "7")];
        assert_eq!(explained(Some("t"), 400, &id, r#"{"error":"a\nb"}"#), "`http://hub/x` answered 400: a b (request 7)");
    }

    #[test]
    fn waits_come_from_either_header() {
        let wait = |status: u16, headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
            passing(StatusCode::from_u16(status).unwrap(), &headers)
        };
        let seconds = |count| Some(Some(Duration::from_secs(count)));
        assert_eq!(wait(429, &[("ratelimit", "\"api\";r=0;t=12"), ("retry-after", "3")]), seconds(12));
        assert_eq!(wait(429, &[("ratelimit", "\"api\";r=5;t=12"), ("retry-after", "3")]), seconds(3));
        assert_eq!(wait(503, &[]), Some(None));
        assert_eq!(wait(403, &[("retry-after", "3")]), None);
    }
}
