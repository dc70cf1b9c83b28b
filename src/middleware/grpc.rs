//! A gRPC call by its HTTP headers: content type, status, message and deadline.

use std::borrow::Cow;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode;

use crate::semconv::GRPC_CODES;

/// A status code of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(u8);

/// The `rpc.system.name`.
pub(crate) const SYSTEM: &str = "grpc";

impl Code {
    pub(super) const CANCELLED: Self = Self(1);
    pub(super) const UNKNOWN: Self = Self(2);
    pub(super) const DEADLINE_EXCEEDED: Self = Self(4);

    /// `UNKNOWN` for a number that is no code (RPC-3).
    pub(super) fn of(code: u8) -> Self {
        if usize::from(code) < GRPC_CODES.len() {
            Self(code)
        } else {
            Self::UNKNOWN
        }
    }

    /// From headers or trailers.
    pub(super) fn find(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get("grpc-status")?;
        let text = value.to_str().ok().filter(|text| text.len() <= 10);
        let code = text.and_then(|text| text.parse().ok());
        Some(code.map_or(Self::UNKNOWN, Self::of))
    }

    /// The code of a response without a `grpc-status`, such as a proxy's.
    pub(super) fn of_http(status: StatusCode) -> Self {
        Self(match status.as_u16() {
            400 => 13,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502..=504 => 14,
            _ => 2,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        GRPC_CODES
            .get(usize::from(self.0))
            .copied()
            .unwrap_or("UNKNOWN")
    }

    /// Whether the code is an error of the server, not of its client (RPC-4).
    pub(super) fn is_error_of_server(self) -> bool {
        matches!(self.0, 2 | 4 | 12..=15)
    }

    pub(super) fn is_ok(self) -> bool {
        self.0 == 0
    }
}

/// Whether a request is a gRPC call. gRPC-Web is not: its status is within its body.
pub(super) fn is_grpc(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::POST && has_content_type(headers)
}

/// Whether a request or a response has a content type of gRPC.
pub(super) fn has_content_type(headers: &HeaderMap) -> bool {
    const PREFIX: &[u8] = b"application/grpc";
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let rest = value.as_bytes().strip_prefix(PREFIX);
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Whether a route may serve gRPC: it names a service, `/package.Service/{*rest}`, or a whole method.
/// Any client can send `application/grpc` to a handler of plain HTTP.
pub(super) fn may_serve(route: &str) -> bool {
    route.rsplit_once('/').is_some_and(|(service, method)| {
        let is_literal = |part: &str| !part.contains('{');
        service.len() > 1 && is_literal(service) && (method.starts_with("{*") || is_literal(method))
    })
}

/// Whether a route is for the method at `path` and no other.
pub(super) fn is_whole(route: &str, path: &str) -> bool {
    route == path && !route.contains('{')
}

/// `package.Service/Method`, from the path.
pub(super) fn method(path: &str) -> Option<&str> {
    let method = path.strip_prefix('/')?;
    let (service, name) = method.split_once('/')?;
    (!service.is_empty() && !name.is_empty()).then_some(method)
}

/// The `grpc-message`, decoded.
pub(super) fn message(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let value = headers.get("grpc-message")?;
    let bytes = value.as_bytes();
    let bytes = bytes.get(..super::text::LONGEST_ENCODED).unwrap_or(bytes);
    let message = percent_decode(bytes).decode_utf8_lossy();
    (!message.is_empty()).then_some(message)
}

/// The caller's `grpc-timeout`.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-timeout")?;
    if value.len() > 9 {
        return None;
    }
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

/// After this much of its timeout, a server counts a cancelled call as past its deadline. Shorter than
/// the timeout, because the two clocks differ and the request and the cancellation take time to arrive.
pub(super) fn late_after(timeout: Duration) -> Duration {
    timeout.saturating_sub((timeout / 10).min(Duration::from_millis(50)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_status_is_its_name_rpc_3() {
        for (value, name) in [
            ("0", "OK"),
            ("4", "DEADLINE_EXCEEDED"),
            ("16", "UNAUTHENTICATED"),
            ("17", "UNKNOWN"),
            ("-1", "UNKNOWN"),
            ("", "UNKNOWN"),
            ("4294967296", "UNKNOWN"),
        ] {
            assert_eq!(
                Code::find(&headers("grpc-status", value)).unwrap().name(),
                name
            );
        }
        assert_eq!(Code::find(&HeaderMap::new()), None);
    }

    #[test]
    fn a_server_fails_by_some_codes_only_rpc_4() {
        let failing: Vec<_> = (0..17)
            .map(Code::of)
            .filter(|code| code.is_error_of_server())
            .map(Code::name)
            .collect();
        let expected = [
            "UNKNOWN",
            "DEADLINE_EXCEEDED",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
        ];
        assert_eq!(failing, expected);
    }

    #[test]
    fn calls_are_told_by_their_content_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/json", false),
        ] {
            let headers = headers("content-type", value);
            assert_eq!(is_grpc(&Method::POST, &headers), expected, "{value}");
            assert!(!is_grpc(&Method::GET, &headers));
        }
    }

    #[test]
    fn methods_are_whole_or_not_at_all_rpc_1() {
        for (path, expected) in [
            ("/a.B/C", Some("a.B/C")),
            ("/a.B/", None),
            ("/a", None),
            ("//C", None),
            ("/", None),
        ] {
            assert_eq!(method(path), expected);
        }
    }

    #[test]
    fn a_route_may_be_a_whole_method() {
        assert!(is_whole("/a.B/C", "/a.B/C"));
        for (route, path) in [("/a.B/{*rest}", "/a.B/C"), ("/a.B/{*c}", "/a.B/{*c}")] {
            assert!(!is_whole(route, path), "{route}");
        }
    }

    #[test]
    fn routes_with_a_parameter_are_plain_http() {
        for (route, expected) in [
            ("/a.B/{*rest}", true),
            ("/nested/a.B/{*rest}", true),
            ("/a.B/C", true),
            ("/users/{id}", false),
            ("/{tenant}/a.B/{*rest}", false),
            ("/{*rest}", false),
            ("/health", false),
            ("/", false),
        ] {
            assert_eq!(may_serve(route), expected, "{route}");
        }
    }

    #[test]
    fn deadlines_have_eight_digits_and_a_unit() {
        for (value, expected) in [
            ("5S", Some(Duration::from_secs(5))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("100m", Some(Duration::from_millis(100))),
            ("123456789S", None),
            ("S", None),
            ("", None),
            ("5", None),
            ("+5S", None),
        ] {
            assert_eq!(
                timeout(&headers("grpc-timeout", value)),
                expected,
                "{value}"
            );
        }
        let mut strange = HeaderMap::new();
        strange.insert(
            "grpc-timeout",
            http::HeaderValue::from_bytes("5µ".as_bytes()).unwrap(),
        );
        assert_eq!(timeout(&strange), None);
    }

    #[test]
    fn a_caller_that_goes_at_its_deadline_may_seem_early() {
        for (timeout, expected) in [(0, 0), (30, 27), (1000, 950), (60_000, 59_950)] {
            let timeout = Duration::from_millis(timeout);
            assert_eq!(late_after(timeout), Duration::from_millis(expected));
        }
    }

    #[test]
    fn messages_are_percent_decoded() {
        assert_eq!(
            message(&headers("grpc-message", "not%20there%")).unwrap(),
            "not there%"
        );
        assert_eq!(message(&headers("grpc-message", "")), None);
    }
}
