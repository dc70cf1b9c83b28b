//! [`Redirecting`]: HTTP that follows 307 and 308, which keep method and body (RFC 9110).
//!
//! 301, 302 and 303 turn a POST into a GET in most clients, so they are refusals here. Headers, user and
//! password, and the client's certificate are sent only to the endpoint's own scheme, host and port. A
//! redirect from `https` to `http` is not followed.

use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri};

use super::attempt::{AttemptResult, Request};
use super::dial::Dialer;
use super::endpoint::{Endpoint, RequestTarget};
use super::http::Http;
use super::size::Said;
use super::status::Retryability;
use crate::sync::{Arc, Mutex, lock};

/// The bound of redirects for one request.
const MOST: usize = 5;

#[derive(Debug)]
pub(crate) struct Redirecting {
    endpoint: Http,
    dialer: Dialer,
    headers: HeaderMap,
    user_agent: HeaderValue,
    max_response: usize,
    /// The targets of redirects, with their connections. The latest is last.
    others: Mutex<Vec<Arc<Http>>>,
}

impl Redirecting {
    pub(crate) fn new(
        dialer: Dialer,
        headers: HeaderMap,
        user_agent: HeaderValue,
        max_response: usize,
    ) -> Self {
        let endpoint = Http::new(
            dialer.clone(),
            headers.clone(),
            user_agent.clone(),
            max_response,
        );
        Self {
            endpoint,
            dialer,
            headers,
            user_agent,
            max_response,
            others: Mutex::default(),
        }
    }

    pub(crate) fn address(&self) -> String {
        self.endpoint.address()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.endpoint.is_connected()
    }

    pub(crate) fn target_of(&self, endpoint: &Endpoint) -> RequestTarget {
        self.dialer.target_of(endpoint)
    }

    /// Also of the places that redirects lead to: each has certificates of its own.
    pub(crate) fn has_new_tls(&self) -> bool {
        let others = lock(&self.others).clone();
        let of_others = others.iter().map(|other| other.has_new_tls());
        of_others.fold(self.endpoint.has_new_tls(), |any, is_new| any | is_new)
    }

    pub(crate) async fn connect(&self) -> Result<(), String> {
        self.endpoint.connect().await
    }

    pub(crate) fn disconnect_current(&self) {
        self.endpoint.disconnect_current();
        lock(&self.others).clear();
    }

    /// One attempt, with its redirects.
    pub(crate) async fn exchange(
        &self,
        request: &Request,
        timeout: Option<Duration>,
    ) -> AttemptResult {
        let mut answer = self.endpoint.exchange(request, timeout).await;
        let mut from = self.uri_of(&request.target.0);
        for _ in 0..MOST {
            let AttemptResult::NotTaken {
                location: Some(location),
                ..
            } = &answer
            else {
                return answer;
            };
            let next = match self.other(&from, location) {
                Ok(next) => next,
                Err(why) => return not_followed(answer, &why),
            };
            from = next.endpoint().uri.clone();
            let mut request = request.for_next_place(next.target());
            if !next.endpoint().has_origin_of(&self.dialer.endpoint) {
                request = request.without_credentials();
            }
            answer = next.exchange(&request, timeout).await;
            // Nobody has set that address.
            answer.add_words(&format!(" ({} redirects there)", self.address()));
        }
        match &answer {
            AttemptResult::NotTaken {
                location: Some(_), ..
            } => not_followed(answer, &format!("it is one of more than {MOST}")),
            _ => answer,
        }
    }

    /// The whole URL of a target, which is a path or a URL.
    fn uri_of(&self, target: &Uri) -> Uri {
        let mut parts = self.dialer.endpoint.uri.clone().into_parts();
        parts.path_and_query = target.path_and_query().cloned();
        Uri::from_parts(parts).unwrap_or_else(|_| self.dialer.endpoint.uri.clone())
    }

    /// The HTTP client for the target of a redirect.
    fn other(&self, from: &Uri, location: &str) -> Result<Arc<Http>, String> {
        let to = Endpoint::of_url(join(from, location).ok_or("it is no URL")?)?;
        if from.scheme_str() == Some("https") && !to.tls {
            return Err("it leads from https to http".to_owned());
        }
        let mut others = lock(&self.others);
        if let Some(known) = others.iter().find(|http| http.endpoint().uri == to.uri) {
            return Ok(Arc::clone(known));
        }
        let is_own = to.has_origin_of(&self.dialer.endpoint);
        let (dialer, headers) = match is_own {
            true => (self.dialer.at(to), self.headers.clone()),
            false => {
                let dialer = self.dialer.elsewhere(to).map_err(|e| e.to_string())?;
                (dialer, HeaderMap::new())
            }
        };
        let http = Http::new(dialer, headers, self.user_agent.clone(), self.max_response);
        let http = Arc::new(http);
        if others.len() >= MOST {
            others.remove(0);
        }
        others.push(Arc::clone(&http));
        Ok(http)
    }
}

fn not_followed(answer: AttemptResult, why: &str) -> AttemptResult {
    let message = match answer {
        AttemptResult::NotTaken { message, .. } => message,
        _ => String::new(),
    };
    AttemptResult::NotTaken {
        retryability: Retryability::Refused,
        message: format!("{message} (not followed: {why})"),
        wait: None,
        size: Said::Nothing,
        location: None,
    }
}

/// The URL of a `Location` relative to `base`. Dot segments of a path are not resolved.
fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    if location.contains("://") && !location.starts_with(['/', '?']) {
        return location.parse().ok();
    }
    let scheme = base.scheme_str()?;
    if location.starts_with("//") {
        return format!("{scheme}:{location}").parse().ok();
    }
    let path = match location.chars().next() {
        None => return None,
        Some('/') => location.to_owned(),
        Some('?') => format!("{}{location}", base.path()),
        Some(_) => {
            let (folder, _) = base.path().rsplit_once('/')?;
            format!("{folder}/{location}")
        }
    };
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(path.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_location_may_be_relative() {
        let base: Uri = "https://c:4318/a/v1/traces?q=1".parse().unwrap();
        for (location, expected) in [
            ("https://d/x?y#z", Some("https://d/x?y")),
            ("http://d/x", Some("http://d/x")),
            ("//d:1/x", Some("https://d:1/x")),
            ("/x?r=http://e/", Some("https://c:4318/x?r=http://e/")),
            ("spans", Some("https://c:4318/a/v1/spans")),
            ("?q=2", Some("https://c:4318/a/v1/traces?q=2")),
            ("", None),
            ("#x", None),
            ("ht tp://d", None),
        ] {
            let joined = join(&base, location).map(|uri| uri.to_string());
            assert_eq!(joined.as_deref(), expected, "{location}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn nothing_leads_from_https_to_http_and_secrets_stay_at_home() {
        use crate::config::ConnectionConfig;
        use crate::export::endpoint::ExportSignal;
        use crate::export::resolve::Resolver;
        let config = ConnectionConfig {
            endpoint: Some("https://c.test:4318".to_owned()),
            ..ConnectionConfig::default()
        };
        let endpoint = Endpoint::resolve(&config, ExportSignal::Traces).unwrap();
        let dialer = Dialer::new(Arc::new(config), endpoint, Resolver::system()).unwrap();
        let from = dialer.endpoint.uri.clone();
        let mut headers = HeaderMap::new();
        headers.insert("x-key", HeaderValue::from_static("secret"));
        let agent = HeaderValue::from_static("a");
        let http = Redirecting::new(dialer, headers, agent, 1);
        let error = http.other(&from, "http://c.test:4318/x").unwrap_err();
        assert!(error.contains("https to http"), "{error}");
        for (location, is_told) in [
            ("/x", true),
            ("https://C.test:4318/y", true),
            ("https://c.test/x", false),
            ("https://d.test:4318/x", false),
            ("https://u:p@d.test:4318/y", false),
        ] {
            let other = http.other(&from, location).unwrap();
            assert_eq!(other.sends_header("x-key"), is_told, "{location}");
            assert!(!other.sends_header("authorization"), "{location}");
        }
        assert!(lock(&http.others).len() <= MOST);
    }
}
