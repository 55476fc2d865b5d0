//! Whether the answer to a read is what was asked for: a pure decision over status and headers (RFC 9110 sections 14
//! and 15).
//!
//! A part is believed only where status 206, `Content-Range` and length agree; a whole file only where its length is
//! the blob's.

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue};

use super::{super::RemoteError, client::text};
use crate::base::ByteRange;

/// What was asked for.
#[derive(Debug)]
pub(in crate::remote) struct RangeRequest {
    pub(in crate::remote) url: String,
    pub(in crate::remote) range: ByteRange,
    pub(in crate::remote) size: u64,
    /// The ETag of the bytes before, where this goes on after a break.
    pub(in crate::remote) before: Option<HeaderValue>,
}

/// What the body begins with.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::remote) enum Body {
    /// The first byte of the range.
    Part,
    /// The first byte of the blob.
    Whole,
}

impl RangeRequest {
    pub(in crate::remote) fn is_whole(&self) -> bool {
        self.range.length() == self.size
    }
}

/// Decides what to make of an answer with a successful status or 416.
pub(in crate::remote) fn check(wanted: &RangeRequest, status: u16, headers: &HeaderMap) -> Result<Body, RemoteError> {
    let url = || wanted.url.clone();
    if let (Some(before), Some(now)) = (&wanted.before, etag(headers))
        && *before != now
    {
        return Err(RemoteError::Changed { url: url() });
    }
    match status {
        206 => check_part(wanted, headers),
        200 => check_whole(wanted, headers),
        416 => Err(RemoteError::WrongSize { url: url(), expected: wanted.size, found: unsatisfied_size(headers) }),
        _ => Err(RemoteError::Status { url: url(), status, retry_after: None }),
    }
}

fn check_part(wanted: &RangeRequest, headers: &HeaderMap) -> Result<Body, RemoteError> {
    let range = wanted.range;
    let wrong = |found: Option<&str>| {
        let found = found.map(|text| text.chars().take(100).collect());
        RemoteError::WrongRange { url: wanted.url.clone(), asked: range, found }
    };
    let content_range = text(headers, CONTENT_RANGE);
    let part = content_range.and_then(ContentRange::parse).ok_or_else(|| wrong(content_range))?;
    if let Some(found) = part.size.filter(|size| *size != wanted.size) {
        return Err(RemoteError::WrongSize { url: wanted.url.clone(), expected: wanted.size, found: Some(found) });
    }
    if (part.first, part.last) != (range.offset(), range.end() - 1) {
        return Err(wrong(content_range));
    }
    match content_length(headers) {
        Some(length) if length != range.length() => Err(wrong(Some(&format!("{} and a length of {length}", content_range.unwrap_or(""))))),
        _ => Ok(Body::Part),
    }
}

fn check_whole(wanted: &RangeRequest, headers: &HeaderMap) -> Result<Body, RemoteError> {
    let url = || wanted.url.clone();
    match content_length(headers) {
        // Some servers call any file a page that begins like one, so that the type alone proves nothing against the
        // right length.
        Some(length) if length == wanted.size => Ok(Body::Whole),
        _ if is_html(headers) => Err(RemoteError::HtmlPage { url: url() }),
        None if wanted.is_whole() => Ok(Body::Whole),
        found => Err(RemoteError::WrongSize { url: url(), expected: wanted.size, found }),
    }
}

pub(in crate::remote) fn is_html(headers: &HeaderMap) -> bool {
    let kind = text(headers, CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or("").trim();
    kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
}

pub(in crate::remote) fn etag(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ETAG).cloned()
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, CONTENT_LENGTH).and_then(decimal)
}

/// The complete length of a 416 answer: `bytes */1234`.
fn unsatisfied_size(headers: &HeaderMap) -> Option<u64> {
    text(headers, CONTENT_RANGE)?.trim().strip_prefix("bytes */").and_then(decimal)
}

/// `bytes first-last/size`, where the size may be `*`.
#[derive(Debug, PartialEq, Eq)]
struct ContentRange {
    first: u64,
    last: u64,
    size: Option<u64>,
}

impl ContentRange {
    fn parse(value: &str) -> Option<Self> {
        let (range, size) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let size = if size == "*" { None } else { Some(decimal(size)?) };
        Some(Self { first: decimal(first)?, last: decimal(last)?, size })
    }
}

/// Digits alone: `parse` would take a sign.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::HeaderName;

    use super::*;

    fn ask(offset: u64, length: u64, before: Option<&'static str>, status: u16, headers: &[(&str, &str)]) -> Result<Body, RemoteError> {
        let range = ByteRange::new(offset, length).unwrap();
        let wanted = RangeRequest { url: "http://host/x".to_owned(), range, size: 100, before: before.map(HeaderValue::from_static) };
        let pair = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
        check(&wanted, status, &headers.iter().map(pair).collect())
    }

    #[test]
    fn parts_that_agree() {
        assert_eq!(ask(10, 5, None, 206, &[("content-range", "bytes 10-14/100"), ("content-length", "5")]).unwrap(), Body::Part);
        assert_eq!(ask(10, 5, None, 206, &[("content-range", "bytes 10-14/*")]).unwrap(), Body::Part);
    }

    #[test]
    fn parts_that_do_not() {
        for range in
            ["bytes 10-15/100", "bytes 9-14/100", "bytes 0-4/100", "bytes=10-14/100", "bytes 10-14", "bytes */100", "bytes +10-14/100"]
        {
            let error = ask(10, 5, None, 206, &[("content-range", range)]).unwrap_err();
            assert!(matches!(error, RemoteError::WrongRange { .. }), "{range}: {error}");
        }
        let error = ask(10, 5, None, 206, &[]).unwrap_err();
        assert_eq!(error.to_string(), "`http://host/x` was asked for `bytes=10-14` and answered with a part that it \
             does not name");
        let error = ask(10, 5, None, 206, &[("content-range", "bytes 10-14/100"), ("content-length", "6")]).unwrap_err();
        assert!(error.to_string().ends_with("answered with `bytes 10-14/100 and a length of 6`"), "{error}");
        let error = ask(10, 5, None, 206, &[("content-range", "bytes 10-14/99")]).unwrap_err();
        assert_eq!(error.to_string(), "`http://host/x` should have 100 bytes and has 99");
    }

    #[test]
    fn whole_files() {
        assert_eq!(ask(10, 5, None, 200, &[("content-length", "100")]).unwrap(), Body::Whole);
        assert_eq!(ask(0, 100, None, 200, &[]).unwrap(), Body::Whole);
        assert!(matches!(ask(10, 5, None, 200, &[]), Err(RemoteError::WrongSize { found: None, .. })));
        assert!(matches!(ask(10, 5, None, 200, &[("content-length", "5")]), Err(RemoteError::WrongSize { found: Some(5), .. })));
        let page = ("content-type", "text/html; charset=utf-8");
        assert!(matches!(ask(10, 5, None, 200, &[page]), Err(RemoteError::HtmlPage { .. })));
        assert!(matches!(ask(0, 100, None, 200, &[page, ("content-length", "99")]), Err(RemoteError::HtmlPage { .. })));
        assert_eq!(ask(0, 100, None, 200, &[page, ("content-length", "100")]).unwrap(), Body::Whole);
    }

    #[test]
    fn beyond_the_end_is_a_wrong_size() {
        let error = ask(10, 5, None, 416, &[("content-range", "bytes */7")]).unwrap_err();
        assert_eq!(error.to_string(), "`http://host/x` should have 100 bytes and has 7");
        assert!(matches!(ask(10, 5, None, 416, &[]), Err(RemoteError::WrongSize { found: None, .. })));
    }

    #[test]
    fn another_etag_is_another_file() {
        let part = ("content-range", "bytes 10-14/100");
        assert!(matches!(ask(10, 5, Some("\"a\""), 206, &[part, ("etag", "\"b\"")]), Err(RemoteError::Changed { .. })));
        assert!(matches!(ask(10, 5, Some("\"a\""), 200, &[("etag", "\"b\"")]), Err(RemoteError::Changed { .. })));
        assert_eq!(ask(10, 5, Some("\"a\""), 206, &[part, ("etag", "\"a\"")]).unwrap(), Body::Part);
    }

    proptest! {
        #[test]
        fn content_range_round_trips(first in any::<u64>(), last in any::<u64>(), size in any::<Option<u64>>()) {
            let total = size.map_or_else(|| "*".to_owned(), |size| size.to_string());
            prop_assert_eq!(ContentRange::parse(&format!("bytes {first}-{last}/{total}")), Some(ContentRange { first, last, size }));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*") {
            let _ = ContentRange::parse(&text);
        }
    }
}
