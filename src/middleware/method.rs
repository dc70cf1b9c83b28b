//! HTTP methods that may name a span (HTTP-4): a client can send any text as a method.

use std::sync::Arc;

use http::Method;

use crate::config::known_http_methods;

/// Stands for an unknown method.
pub(crate) const OTHER: &str = "_OTHER";

/// The conventions' methods, or a list in their place; case matters.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownMethods(Option<Arc<[String]>>);

impl KnownMethods {
    /// From `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS`.
    pub(super) fn from_env() -> Self {
        known_http_methods().map_or_else(Self::default, Self::only)
    }

    /// Replaces the conventions' methods.
    pub(super) fn only<M: Into<String>>(methods: impl IntoIterator<Item = M>) -> Self {
        Self(Some(methods.into_iter().map(Into::into).collect()))
    }

    /// The method, if it is known.
    pub(super) fn find<'a>(&self, method: &'a Method) -> Option<&'a str> {
        let name = method.as_str();
        let is_known = match &self.0 {
            Some(known) => known.iter().any(|k| k == name),
            None => is_standard(method),
        };
        is_known.then_some(name)
    }

    /// The method or [`OTHER`], as an owned text; standard methods need no allocation.
    pub(super) fn label(&self, method: &Method) -> std::borrow::Cow<'static, str> {
        let Some(name) = self.find(method) else {
            return OTHER.into();
        };
        match STANDARD.iter().find(|standard| **standard == name) {
            Some(standard) => (*standard).into(),
            None => name.to_owned().into(),
        }
    }
}

const STANDARD: [&str; 10] = [
    "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "QUERY",
];

fn is_standard(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET
            | Method::POST
            | Method::PUT
            | Method::DELETE
            | Method::PATCH
            | Method::HEAD
            | Method::OPTIONS
            | Method::CONNECT
            | Method::TRACE
    ) || method.as_str() == "QUERY"
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_conventions_methods_are_known_case_and_all_http_4() {
        let known = KnownMethods::default();
        for name in STANDARD {
            let method = Method::from_bytes(name.as_bytes()).unwrap();
            assert_eq!(known.find(&method), Some(name));
            assert_eq!(known.label(&method), name);
        }
        for name in ["get", "PURGE", "GET2", "_OTHER"] {
            let method = Method::from_bytes(name.as_bytes()).unwrap();
            assert_eq!(known.find(&method), None);
            assert_eq!(known.label(&method), OTHER);
        }
    }

    #[test]
    fn a_list_of_one_s_own_replaces_them_http_4() {
        let known = KnownMethods::only(["PURGE", "GET"]);
        let purge = Method::from_bytes(b"PURGE").unwrap();
        assert_eq!(known.find(&purge), Some("PURGE"));
        assert_eq!(known.label(&purge), "PURGE");
        assert_eq!(known.find(&Method::GET), Some("GET"));
        assert_eq!(known.find(&Method::POST), None);
    }
}
