//! The Hub's rate limits as answers state them: `RateLimit: "resolvers";r=0;t=172`, what remains and the seconds until
//! it is full again (draft-ietf-httpapi-ratelimit-headers).

use std::time::Duration;

use reqwest::header::HeaderMap;

/// A header as text.
pub(super) fn header<'h>(headers: &'h HeaderMap, name: &'static str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// How long to wait where one of the limits is used up.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let limits = header(headers, "ratelimit")?;
    limits.split(',').filter_map(used_up).max().map(Duration::from_secs)
}

/// The seconds until a limit is full again, if nothing of it is left.
fn used_up(limit: &str) -> Option<u64> {
    let parameter = |name: &str| {
        let mut parts = limit.split(';').skip(1).map(str::trim);
        parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok())
    };
    (parameter("r")? == 0).then(|| parameter("t"))?
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn waiting(value: &'static str) -> Option<u64> {
        let headers = HeaderMap::from_iter([("ratelimit".parse().unwrap(), HeaderValue::from_static(value))]);
        wait(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn only_what_is_used_up_makes_wait() {
        assert_eq!(waiting("\"resolvers\";r=0;t=172"), Some(172));
        assert_eq!(waiting("\"resolvers\"; r=0; t=5, \"api\";r=0;t=9"), Some(9));
        assert_eq!(waiting("\"resolvers\";r=2998;t=172"), None);
        assert_eq!(waiting("\"resolvers\";r=0"), None);
        assert_eq!(waiting("nonsense"), None);
    }
}
