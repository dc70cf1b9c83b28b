//! [`CallOptions`]: the settings that a call carries, the same for server and client.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderName};
use tracing::Span;

use super::address::IpText;
use super::call_status::CallProtocol;
use super::end::CallEnd;
use super::grpc;
use super::head::ResponseHead;
use super::in_flight::InFlight;
use super::known::KnownNames;
use super::meter::Meter;
use super::method::OTHER;
use super::text;
use crate::attribute::{KeyValue, Value};
use crate::span_ext::SpanExt as _;

pub(super) type PeerOf = dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync;
pub(super) type OnResponse = dyn Fn(&ResponseHead<'_>, &Span) + Send + Sync;
pub(super) type OnEnd = dyn Fn(&CallEnd<'_>, &Span) + Send + Sync;

/// The settings of a layer, in one allocation: each request of axum's router clones its layers, and a count
/// that all threads share costs more than the clone itself.
#[derive(Debug, Clone, Default)]
pub(super) struct LayerSettings<S: ?Sized> {
    pub(super) call: CallOptions,
    /// Those of a server or of a client.
    pub(super) role: S,
}

/// The settings of a layer as its calls hold them.
pub(super) type SharedSettings = Arc<LayerSettings<dyn Send + Sync>>;

/// The settings that a call needs from its beginning to its end.
#[derive(Clone, Default)]
pub(crate) struct CallOptions {
    pub(super) body_size: bool,
    pub(super) time_to_first_byte: bool,
    /// A client's call is over with the headers of its response (HTTP-9).
    pub(super) ends_with_headers: bool,
    /// Finds the address of the server in a response's extensions.
    pub(super) peer: Option<Arc<PeerOf>>,
    pub(super) response_headers: Captured,
    /// The response header that carries the server's `traceparent` to the client.
    pub(super) trace_header: Option<HeaderName>,
    pub(super) server_timing: bool,
    pub(super) on_response: Option<Arc<OnResponse>>,
    pub(super) on_end: Option<Arc<OnEnd>>,
    pub(crate) meter: Option<Arc<dyn Meter>>,
    /// gRPC methods that are listed, or have answered.
    pub(super) methods: KnownNames,
    /// gRPC methods that a client has called.
    pub(super) called: KnownNames,
    /// Servers that a client has called, as `address:port`.
    pub(super) servers: KnownNames,
    pub(super) in_flight: Option<InFlight>,
    /// Called after the call's end, when its span has closed.
    pub(super) after: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl CallOptions {
    /// Whether a setting, a hook or a meter needs the call's duration.
    pub(super) fn is_timed(&self) -> bool {
        self.time_to_first_byte || self.meter.is_some() || self.on_end.is_some()
    }

    /// Writes the trace's ids into the response, for the client.
    pub(super) fn write_response_headers(&self, span: &Span, headers: &mut HeaderMap) {
        if self.trace_header.is_none() && !self.server_timing {
            return;
        }
        let context = span.trace_context();
        if span.is_disabled() || !context.is_valid() {
            return;
        }
        let traceparent = context.to_traceparent();
        if let (Some(name), Ok(value)) = (&self.trace_header, traceparent.as_str().parse()) {
            headers.insert(name, value);
        }
        let timing = format!("traceparent;desc=\"{traceparent}\"");
        if let (true, Ok(value)) = (self.server_timing, timing.parse()) {
            headers.append("server-timing", value);
        }
    }

    /// Records the server's address: that of the response's extensions, else `fallback`.
    pub(super) fn record_peer(
        &self,
        span: &Span,
        response: &Extensions,
        fallback: Option<SocketAddr>,
    ) {
        let found = self.peer.as_ref().and_then(|peer| peer(response));
        let Some(peer) = found.or(fallback) else {
            return;
        };
        if let Some(address) = IpText::of(peer).as_str() {
            span.record("network.peer.address", address);
            span.record("network.peer.port", peer.port());
        }
    }

    /// Whether a label may name the server. A resent request may be a redirect, whose target a foreign
    /// server chose: its server gets a label only if the client has called it itself.
    pub(super) fn may_name_server(
        &self,
        address: &str,
        port: Option<u16>,
        is_resent: bool,
    ) -> bool {
        let server = format!("{address}:{}", port.unwrap_or_default());
        match is_resent {
            true => self.servers.has(&server),
            false => self.servers.learn(&server),
        }
    }

    /// Renames the span of a gRPC method that may not exist (RPC-1, RPC-2).
    pub(super) fn mark_unknown_method(&self, span: &Span, path: &str) {
        span.record("otel.name", grpc::SYSTEM);
        span.record("rpc.method", OTHER);
        // A path that names no method was recorded when the span was made.
        if let Some(original) = grpc::method(path) {
            span.record("rpc.method_original", text::cut(original));
        }
    }
}

impl fmt::Debug for CallOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallOptions")
            .field("body_size", &self.body_size)
            .field("time_to_first_byte", &self.time_to_first_byte)
            .field("response_headers", &self.response_headers)
            .field("methods", &self.methods)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

/// Headers that become attributes (HTTP-6, RPC-7).
#[derive(Debug, Clone, Default)]
pub(super) struct Captured(Arc<[HeaderName]>);

impl Captured {
    pub(super) fn of(names: impl IntoIterator<Item = HeaderName>) -> Self {
        Self(names.into_iter().collect())
    }

    pub(super) fn put_request(&self, span: &Span, headers: &HeaderMap, protocol: CallProtocol) {
        let prefix = match protocol {
            CallProtocol::Http => "http.request.header.",
            CallProtocol::Grpc => "rpc.request.metadata.",
        };
        self.put(span, headers, prefix);
    }

    pub(super) fn put_response(&self, span: &Span, headers: &HeaderMap, protocol: CallProtocol) {
        let prefix = match protocol {
            CallProtocol::Http => "http.response.header.",
            CallProtocol::Grpc => "rpc.response.metadata.",
        };
        self.put(span, headers, prefix);
    }

    /// Records each header as a list of strings, without the values that are marked as sensitive.
    fn put(&self, span: &Span, headers: &HeaderMap, prefix: &'static str) {
        if self.0.is_empty() || span.is_disabled() {
            return;
        }
        let attribute = |name: &HeaderName| {
            let values = headers.get_all(name).into_iter();
            let values = values.filter(|value| !value.is_sensitive());
            let values: Vec<_> = values
                .map(|value| Value::from(text::of_header(value).into_owned()))
                .collect();
            (!values.is_empty()).then(|| KeyValue::new(format!("{prefix}{name}"), values))
        };
        let attributes: Vec<_> = self.0.iter().filter_map(attribute).collect();
        span.set_attributes(&attributes);
    }
}
