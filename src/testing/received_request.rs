//! [`ReceivedRequest`]: a request that arrived, with its spans and log records.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Version};

use super::log::ReceivedLog;
use super::received::ReceivedSpan;
use crate::config::Protocol;
use crate::signal::Signal;

/// A request whose body arrived whole and could be decoded.
#[derive(Clone)]
#[non_exhaustive]
pub struct ReceivedRequest {
    /// Which attempt it was: 1 for the first that reached the collector.
    pub attempt: u64,
    /// Which connection it came on: 1 for the first. Equal numbers: the connection was kept alive.
    pub connection: u64,
    /// gRPC or HTTP.
    pub protocol: Protocol,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// Headers, or gRPC metadata.
    pub headers: HeaderMap,
    /// When its body had arrived.
    pub at: Instant,
    /// Bytes of the body as sent: compressed if it was, with gRPC's five bytes of framing.
    pub wire_len: usize,
    /// Whether it was compressed.
    pub compressed: bool,
    /// What it brought.
    pub signal: Signal,
    /// The encoded `ExportTraceServiceRequest`, or `ExportLogsServiceRequest`, decompressed, for tests that
    /// decode it themselves; of a request in JSON, what protobuf has for it. Empty if the collector
    /// [only counts](super::CollectorBuilder::count_only).
    pub message: Bytes,
    /// The number of `ResourceSpans`, or `ResourceLogs`, in it.
    pub resource_count: usize,
    /// The number of `ScopeSpans`, or `ScopeLogs`, in it, over all resources.
    pub scope_count: usize,
    /// How many spans are in it.
    pub span_count: usize,
    /// All its spans, in order of arrival; none if the collector
    /// [only counts](super::CollectorBuilder::count_only).
    pub spans: Vec<ReceivedSpan>,
    /// How many log records are in it.
    pub log_count: usize,
    /// All its log records, as [`spans`](Self::spans).
    pub logs: Vec<ReceivedLog>,
    /// Whether the collector took the spans. False for one it refused by script, or has not
    /// answered (yet): those spans are not in [`Collector::spans`](super::Collector::spans).
    pub accepted: bool,
}

impl ReceivedRequest {
    /// The header (gRPC: metadata entry) of that name, if it is readable text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl fmt::Debug for ReceivedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedRequest")
            .field("attempt", &self.attempt)
            .field("connection", &self.connection)
            .field("protocol", &self.protocol)
            .field("headers", &self.headers)
            .field("wire_len", &self.wire_len)
            .field("compressed", &self.compressed)
            .field("accepted", &self.accepted)
            .field("spans", &self.spans)
            .finish_non_exhaustive()
    }
}
