//! The spans of requests: the fields of each kind, and their levels.
//!
//! Each kind declares the [late fields](super::late::LATE) of its protocol. The spans are ordinary
//! `tracing` spans, so that a log shows them and filters apply.

use std::fmt;

use tracing::field::Empty;
use tracing::{Level, span};

use super::grpc;
use super::late::{CallSpan, LateFields};

/// `{method} {target}`, or `{method}` alone (HTTP-1).
pub(super) struct SpanName<'a> {
    /// `HTTP` for a method that is not known.
    pub(super) method: &'a str,
    pub(super) target: Option<&'a str>,
}

impl fmt::Display for SpanName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method)?;
        match self.target {
            Some(target) => write!(f, " {target}"),
            None => Ok(()),
        }
    }
}

/// The connection's addresses, recorded on every kind of span.
pub(super) struct Endpoints<'a> {
    pub(super) server: Option<&'a str>,
    pub(super) server_port: Option<u16>,
    pub(super) peer: Option<&'a str>,
    pub(super) peer_port: Option<u16>,
}

/// A request that came in over HTTP.
pub(super) struct HttpServer<'a> {
    pub(super) name: SpanName<'a>,
    pub(super) method: &'a str,
    pub(super) method_original: Option<&'a str>,
    pub(super) route: Option<&'a str>,
    pub(super) scheme: &'a str,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) ends: Endpoints<'a>,
    pub(super) client: Option<&'a str>,
    pub(super) user_agent: Option<&'a str>,
    pub(super) version: Option<&'a str>,
    pub(super) request_size: Option<u64>,
}

/// A request that goes out over HTTP.
pub(super) struct HttpClient<'a> {
    pub(super) name: SpanName<'a>,
    pub(super) method: &'a str,
    pub(super) method_original: Option<&'a str>,
    pub(super) url: &'a str,
    pub(super) template: Option<&'a str>,
    pub(super) ends: Endpoints<'a>,
    pub(super) resend_count: Option<u32>,
    pub(super) request_size: Option<u64>,
}

/// A gRPC call, from either side.
pub(super) struct GrpcSpan<'a> {
    pub(super) kind: &'static str,
    /// `None` if the path names no method.
    pub(super) method: Option<&'a str>,
    pub(super) method_original: Option<&'a str>,
    pub(super) ends: Endpoints<'a>,
    pub(super) client: Option<&'a str>,
    pub(super) version: Option<&'a str>,
}

/// A callsite has one level: this makes a callsite for each level, each with its late fields.
macro_rules! span_at {
    ($level:expr, $target:literal, $name:literal, $($fields:tt)*) => {
        match $level {
            Level::ERROR => span_at!(@at Level::ERROR, $target, $name, $($fields)*),
            Level::WARN => span_at!(@at Level::WARN, $target, $name, $($fields)*),
            Level::INFO => span_at!(@at Level::INFO, $target, $name, $($fields)*),
            Level::DEBUG => span_at!(@at Level::DEBUG, $target, $name, $($fields)*),
            Level::TRACE => span_at!(@at Level::TRACE, $target, $name, $($fields)*),
        }
    };
    (@at $level:expr, $target:literal, $name:literal, $($fields:tt)*) => {{
        static LATE: LateFields = LateFields::new();
        CallSpan {
            span: span!(target: $target, $level, $name, $($fields)*),
            late: &LATE,
        }
    }};
}
#[cfg(test)]
pub(super) use span_at;

impl HttpServer<'_> {
    #[inline(never)]
    pub(super) fn span(&self, level: Level) -> CallSpan {
        span_at!(
            level,
            "tracing_otlp::server",
            "HTTP request",
            otel.status_code = Empty,
            otel.status_description = Empty,
            error.type = Empty,
            http.response.status_code = Empty,
            http.response.body.size = Empty,
            tracing_otlp.time_to_first_byte = Empty,
            network.protocol.version = self.version,
            otel.kind = "server",
            otel.name = %self.name,
            http.request.method = self.method,
            http.request.method_original = self.method_original,
            http.route = self.route,
            url.scheme = self.scheme,
            url.path = self.path,
            url.query = self.query,
            server.address = self.ends.server,
            server.port = self.ends.server_port,
            client.address = self.client,
            network.peer.address = self.ends.peer,
            network.peer.port = self.ends.peer_port,
            user_agent.original = self.user_agent,
            http.request.body.size = self.request_size,
        )
    }
}

impl HttpClient<'_> {
    #[inline(never)]
    pub(super) fn span(&self, level: Level) -> CallSpan {
        span_at!(
            level,
            "tracing_otlp::client",
            "HTTP request",
            otel.status_code = Empty,
            otel.status_description = Empty,
            error.type = Empty,
            http.response.status_code = Empty,
            http.response.body.size = Empty,
            tracing_otlp.time_to_first_byte = Empty,
            network.protocol.version = Empty,
            otel.kind = "client",
            otel.name = %self.name,
            http.request.method = self.method,
            http.request.method_original = self.method_original,
            url.full = self.url,
            url.template = self.template,
            server.address = self.ends.server,
            server.port = self.ends.server_port,
            network.peer.address = self.ends.peer,
            network.peer.port = self.ends.peer_port,
            http.request.resend_count = self.resend_count,
            http.request.body.size = self.request_size,
        )
    }
}

macro_rules! grpc_span {
    ($grpc:expr, $level:expr, $target:literal) => {
        span_at!(
            $level,
            $target,
            "gRPC call",
            otel.status_code = Empty,
            otel.status_description = Empty,
            error.type = Empty,
            rpc.status_code = Empty,
            http.response.body.size = Empty,
            tracing_otlp.time_to_first_byte = Empty,
            network.protocol.version = $grpc.version,
            otel.kind = $grpc.kind,
            otel.name = $grpc.method.unwrap_or(grpc::SYSTEM),
            rpc.system.name = grpc::SYSTEM,
            rpc.method = $grpc.method.unwrap_or(super::method::OTHER),
            rpc.method_original = $grpc.method_original,
            server.address = $grpc.ends.server,
            server.port = $grpc.ends.server_port,
            client.address = $grpc.client,
            network.peer.address = $grpc.ends.peer,
            network.peer.port = $grpc.ends.peer_port,
        )
    };
}

impl GrpcSpan<'_> {
    #[inline(never)]
    pub(super) fn served(&self, level: Level) -> CallSpan {
        grpc_span!(self, level, "tracing_otlp::server")
    }

    #[inline(never)]
    pub(super) fn called(&self, level: Level) -> CallSpan {
        grpc_span!(self, level, "tracing_otlp::client")
    }
}
