//! Redacts URLs: credentials, and the signatures of signed links (HTTP-5).

use std::borrow::Cow;
use std::sync::Arc;

use http::Uri;
use http::uri::Authority;

/// Replaces a secret value.
const REDACTED: &str = "REDACTED";

/// Keys of queries whose values are redacted; case matters.
#[derive(Debug, Clone, Default)]
pub(super) struct SecretKeys(Option<Arc<[String]>>);

/// The keys that the conventions list.
const DEFAULT: [&str; 7] = [
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Goog-Signature",
];

impl SecretKeys {
    /// Replaces the conventions' list.
    pub(super) fn only<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self(Some(keys.into_iter().map(Into::into).collect()))
    }

    fn has(&self, key: &[u8]) -> bool {
        match &self.0 {
            Some(keys) => keys.iter().any(|k| k.as_bytes() == key),
            None => DEFAULT.iter().any(|k| k.as_bytes() == key),
        }
    }

    fn is_secret(&self, pair: &[u8]) -> bool {
        let equals = pair.iter().position(|b| *b == b'=');
        equals.is_some_and(|at| {
            let (key, value) = pair.split_at(at);
            value != b"=" && self.has(key)
        })
    }

    /// The query with the values of secret keys replaced, the keys kept.
    pub(super) fn query<'a>(&self, query: &'a str) -> Cow<'a, str> {
        // By bytes: on short texts, a search by characters costs several times as much.
        let mut pairs = query.as_bytes().split(|b| *b == b'&');
        if !pairs.any(|pair| self.is_secret(pair)) {
            return Cow::Borrowed(query);
        }
        let mut redacted = String::with_capacity(query.len());
        for (i, pair) in query.split('&').enumerate() {
            if i > 0 {
                redacted.push('&');
            }
            match pair.split_once('=') {
                Some((key, _)) if self.is_secret(pair.as_bytes()) => {
                    redacted.push_str(key);
                    redacted.push('=');
                    redacted.push_str(REDACTED);
                }
                _ => redacted.push_str(pair),
            }
        }
        Cow::Owned(redacted)
    }

    /// The whole URL, without credentials; with `authority` where the URI has no host. The target of a
    /// CONNECT is an authority and stays one.
    pub(super) fn url(&self, uri: &Uri, authority: Option<&str>) -> String {
        let mut url = String::with_capacity(128);
        let own = uri.authority().map(Authority::as_str);
        if let Some(authority) = own.or(authority) {
            if uri.scheme().is_some() || own.is_none() {
                url.push_str(uri.scheme_str().unwrap_or("http"));
                url.push_str("://");
            }
            match authority.rsplit_once('@') {
                Some((_, host)) => {
                    url.push_str("REDACTED:REDACTED@");
                    url.push_str(host);
                }
                None => url.push_str(authority),
            }
        }
        url.push_str(uri.path());
        if let Some(query) = uri.query() {
            url.push('?');
            url.push_str(&self.query(query));
        }
        url
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_replaced_and_their_keys_kept_http_5() {
        let keys = SecretKeys::default();
        for (query, redacted) in [
            ("", ""),
            ("a=1&b=2", "a=1&b=2"),
            ("sig=abc", "sig=REDACTED"),
            ("a=1&Signature=x%20y&b=", "a=1&Signature=REDACTED&b="),
            ("SIG=abc&sig=&sig", "SIG=abc&sig=&sig"),
            (
                "X-Amz-Signature=1&X-Amz-Signature=2",
                "X-Amz-Signature=REDACTED&X-Amz-Signature=REDACTED",
            ),
            ("sig=a=b", "sig=REDACTED"),
            ("&&sig=a&", "&&sig=REDACTED&"),
        ] {
            assert_eq!(keys.query(query), redacted);
        }
        for key in DEFAULT {
            assert_eq!(keys.query(&format!("{key}=s")), format!("{key}=REDACTED"));
        }
    }

    #[test]
    fn the_list_can_be_replaced_as_a_whole_http_5() {
        let keys = SecretKeys::only(["token"]);
        assert_eq!(keys.query("token=1&sig=2"), "token=REDACTED&sig=2");
        assert_eq!(SecretKeys::only([""; 0]).query("sig=2"), "sig=2");
    }

    #[test]
    fn credentials_never_leave_http_5() {
        let keys = SecretKeys::default();
        for (url, redacted) in [
            (
                "https://u:p@example.com/a?b=1",
                "https://REDACTED:REDACTED@example.com/a?b=1",
            ),
            (
                "https://u@example.com:8443/",
                "https://REDACTED:REDACTED@example.com:8443/",
            ),
            ("http://example.com", "http://example.com/"),
            ("http://[::1]:80/x?sig=1", "http://[::1]:80/x?sig=REDACTED"),
            ("/only/path?q", "http://a:1/only/path?q"),
            ("b:443", "b:443"),
        ] {
            assert_eq!(keys.url(&url.parse().unwrap(), Some("a:1")), redacted);
        }
        assert_eq!(keys.url(&Uri::from_static("/b"), None), "/b");
    }
}
