//! How a call ended, and the status of its span (HTTP-2, HTTP-3, RPC-3, RPC-4).

use std::borrow::Cow;
use std::fmt::Display;

use http::StatusCode;

use super::grpc::Code;
use crate::context::layer_registry::ExceptionSeverity;

/// The side of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

/// The protocol of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallProtocol {
    Http,
    Grpc,
}

/// The name of the record of a call's exception, and how bad that is: a client may expect it (LOG-40).
pub(super) fn exception_of(
    role: Role,
    protocol: CallProtocol,
) -> (&'static str, ExceptionSeverity) {
    match (role, protocol) {
        (Role::Server, CallProtocol::Http) => {
            ("http.server.request.exception", ExceptionSeverity::Error)
        }
        (Role::Server, CallProtocol::Grpc) => {
            ("rpc.server.call.exception", ExceptionSeverity::Error)
        }
        (Role::Client, CallProtocol::Http) => {
            ("http.client.request.exception", ExceptionSeverity::Warn)
        }
        (Role::Client, CallProtocol::Grpc) => {
            ("rpc.client.call.exception", ExceptionSeverity::Warn)
        }
    }
}

/// What ended a call.
#[derive(Clone, Copy)]
pub(super) enum Ending<'a> {
    /// The last byte, or the headers if the call does not wait for the body.
    Complete,
    /// The caller dropped the call before its end.
    Cancelled,
    /// Code that ran for it panicked.
    Panicked { message: &'a str },
    /// The service, or the body, returned an error of this type.
    Failed {
        kind: &'static str,
        message: &'a dyn Display,
    },
}

/// The facts of a call at its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallFacts {
    pub(super) role: Role,
    pub(super) protocol: CallProtocol,
    pub(super) status: Option<StatusCode>,
    pub(super) code: Option<Code>,
    /// Whether the caller's deadline has passed (gRPC).
    pub(super) is_late: bool,
}

/// The status of a call, for the span and the metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct CallStatus {
    /// Low cardinality: an HTTP status, a gRPC code, `cancelled`, `panic`, or the name of an error type.
    pub(super) error_type: Option<Cow<'static, str>>,
    pub(super) code: Option<Code>,
}

/// The `error.type` of a server's call that its client cancelled.
pub(super) const CANCELLED: &str = "cancelled";
/// The `error.type` of a panic.
pub(super) const PANIC: &str = "panic";

pub(super) fn call_status(facts: &CallFacts, ending: Ending<'_>) -> CallStatus {
    match facts.protocol {
        CallProtocol::Http => CallStatus {
            error_type: http_error(facts, ending),
            code: None,
        },
        CallProtocol::Grpc => grpc(facts, ending),
    }
}

fn http_error(facts: &CallFacts, ending: Ending<'_>) -> Option<Cow<'static, str>> {
    let first_error = match facts.role {
        Role::Server => 500,
        Role::Client => 400,
    };
    // `StatusCode` allows 600 and above too: they count as errors.
    let status = facts.status.filter(|s| s.as_u16() >= first_error);
    match (status, ending) {
        (Some(status), _) => Some(status.as_str().to_owned().into()),
        (None, Ending::Complete) => None,
        (None, Ending::Panicked { .. }) => Some(PANIC.into()),
        (None, Ending::Failed { kind, .. }) => Some(kind.into()),
        // On a client the caller cancelled on purpose; a server cannot tell why.
        (None, Ending::Cancelled) => (facts.role == Role::Server).then_some(CANCELLED.into()),
    }
}

fn grpc(facts: &CallFacts, ending: Ending<'_>) -> CallStatus {
    let unanswered = match ending {
        // A response without `grpc-status` is a proxy's, or was cut.
        Ending::Complete => facts.status.map(Code::of_http),
        Ending::Cancelled | Ending::Failed { .. } if facts.is_late => Some(Code::DEADLINE_EXCEEDED),
        Ending::Cancelled => Some(Code::CANCELLED),
        Ending::Panicked { .. } | Ending::Failed { .. } => None,
    };
    let code = match facts.code {
        // Cancelled after the deadline: the deadline is the cause.
        Some(Code::CANCELLED) if facts.is_late && facts.role == Role::Client => {
            Some(Code::DEADLINE_EXCEEDED)
        }
        answered => answered.or(unanswered),
    };
    let is_error = |code: Code| match (facts.role, facts.status) {
        // The response is not from a gRPC server, so HTTP's rules decide.
        (Role::Server, Some(status))
            if facts.code.is_none() && matches!(ending, Ending::Complete) =>
        {
            status.is_server_error()
        }
        (Role::Server, _) => code.is_error_of_server(),
        (Role::Client, _) => !code.is_ok(),
    };
    let error_type = match (code, ending) {
        (Some(code), _) if is_error(code) => Some(code.name().into()),
        (_, Ending::Panicked { .. }) => Some(PANIC.into()),
        (None, Ending::Failed { kind, .. }) => Some(kind.into()),
        _ => None,
    };
    CallStatus { error_type, code }
}

/// The name of an error type, for `error.type`; [`OTHER`] for a box or a trait object, whose name
/// says nothing.
pub(super) fn kind_of<E>() -> &'static str {
    let name = std::any::type_name::<E>();
    if name.contains("dyn ") { OTHER } else { name }
}

/// An error without a type of its own (HTTP-3).
pub(super) const OTHER: &str = "_OTHER";

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const NONE: CallFacts = CallFacts {
        role: Role::Server,
        protocol: CallProtocol::Http,
        status: None,
        code: None,
        is_late: false,
    };
    const FAILED: Ending<'_> = Ending::Failed {
        kind: "my::Error",
        message: &"broken",
    };

    fn http(role: Role, status: u16, ending: Ending<'_>) -> Option<String> {
        let status = StatusCode::from_u16(status).ok();
        let call_status = call_status(
            &CallFacts {
                role,
                status,
                ..NONE
            },
            ending,
        );
        assert_eq!(call_status.code, None);
        call_status.error_type.map(Cow::into_owned)
    }

    #[test]
    fn statuses_are_errors_of_one_side_or_both_http_2() {
        for (status, server, client) in [
            (100, None, None),
            (200, None, None),
            (304, None, None),
            (399, None, None),
            (400, None, Some("400")),
            (404, None, Some("404")),
            (499, None, Some("499")),
            (500, Some("500"), Some("500")),
            (599, Some("599"), Some("599")),
            (700, Some("700"), Some("700")),
        ] {
            let complete = Ending::Complete;
            assert_eq!(http(Role::Server, status, complete).as_deref(), server);
            assert_eq!(http(Role::Client, status, complete).as_deref(), client);
        }
    }

    #[test]
    fn other_endings_are_named_http_3() {
        let cancelled = Ending::Cancelled;
        assert_eq!(
            http(Role::Server, 200, cancelled).as_deref(),
            Some("cancelled")
        );
        assert_eq!(http(Role::Client, 200, cancelled), None);
        assert_eq!(http(Role::Client, 0, FAILED).as_deref(), Some("my::Error"));
        // What was answered says more than what happened to it.
        assert_eq!(http(Role::Server, 503, cancelled).as_deref(), Some("503"));
        let panicked = Ending::Panicked { message: "" };
        assert_eq!(http(Role::Server, 0, panicked).as_deref(), Some("panic"));
    }

    fn grpc(
        role: Role,
        code: Option<&str>,
        ending: Ending<'_>,
    ) -> (Option<String>, Option<&'static str>) {
        let mut headers = http::HeaderMap::new();
        if let Some(code) = code {
            headers.insert("grpc-status", code.parse().unwrap());
        }
        let facts = CallFacts {
            role,
            protocol: CallProtocol::Grpc,
            status: Some(StatusCode::OK),
            code: Code::find(&headers),
            ..NONE
        };
        let call_status = call_status(&facts, ending);
        (
            call_status.error_type.map(Cow::into_owned),
            call_status.code.map(Code::name),
        )
    }

    #[test]
    fn codes_are_errors_of_one_side_or_both_rpc_4() {
        let complete = Ending::Complete;
        assert_eq!(grpc(Role::Server, Some("0"), complete), (None, Some("OK")));
        assert_eq!(
            grpc(Role::Server, Some("5"), complete),
            (None, Some("NOT_FOUND"))
        );
        let not_found = (Some("NOT_FOUND".to_owned()), Some("NOT_FOUND"));
        assert_eq!(grpc(Role::Client, Some("5"), complete), not_found);
        let internal = (Some("INTERNAL".to_owned()), Some("INTERNAL"));
        assert_eq!(grpc(Role::Server, Some("13"), complete), internal);
        let unknown = (Some("UNKNOWN".to_owned()), Some("UNKNOWN"));
        assert_eq!(grpc(Role::Client, None, complete), unknown);
    }

    #[test]
    fn calls_without_an_answer_have_a_code_where_one_is_known_rpc_3() {
        let cancelled = Ending::Cancelled;
        assert_eq!(
            grpc(Role::Server, None, cancelled),
            (None, Some("CANCELLED"))
        );
        let by_client = (Some("CANCELLED".to_owned()), Some("CANCELLED"));
        assert_eq!(grpc(Role::Client, None, cancelled), by_client);
        assert_eq!(
            grpc(Role::Client, None, FAILED),
            (Some("my::Error".to_owned()), None)
        );
        let late = CallFacts {
            protocol: CallProtocol::Grpc,
            is_late: true,
            ..NONE
        };
        let error_type = |facts: CallFacts| call_status(&facts, cancelled).error_type;
        assert_eq!(error_type(late).as_deref(), Some("DEADLINE_EXCEEDED"));
        // After the deadline, `CANCELLED` becomes `DEADLINE_EXCEEDED` on a client only.
        let code = Some(Code::CANCELLED);
        let role = Role::Client;
        let told = CallFacts { role, code, ..late };
        assert_eq!(error_type(told).as_deref(), Some("DEADLINE_EXCEEDED"));
        assert_eq!(error_type(CallFacts { code, ..late }), None);
    }

    #[test]
    fn a_type_that_says_nothing_is_other_http_3() {
        assert_eq!(kind_of::<std::fmt::Error>(), "core::fmt::Error");
        assert_eq!(kind_of::<Box<dyn std::error::Error + Send>>(), "_OTHER");
    }
}
