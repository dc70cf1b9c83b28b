//! From the messages of `opentelemetry-proto` to plain types.
//!
//! Nothing of this crate's own `wire` is used here, so that the collector is an independent
//! witness of the bytes that `wire` writes.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message};

use super::log::{LogData, ReceivedLog};
use super::received::{
    ReceivedEvent, ReceivedKind, ReceivedLink, ReceivedResource, ReceivedScope, ReceivedSpan,
    ReceivedStatus, ReceivedStatusCode, SpanData,
};
use super::value::{self, ReceivedValue};
use crate::context::{SpanId, TraceId};
use crate::signal::Signal;

/// The parts of a decoded request that a [`ReceivedRequest`](super::ReceivedRequest) shows.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub(super) resource_count: usize,
    pub(super) scope_count: usize,
    pub(super) span_count: usize,
    pub(super) spans: Vec<ReceivedSpan>,
    pub(super) log_count: usize,
    pub(super) logs: Vec<ReceivedLog>,
}

impl Decoded {
    /// All of it.
    pub(super) fn all(signal: Signal, bytes: Bytes) -> Result<Self, DecodeError> {
        Ok(match signal {
            Signal::Traces => Self::new(ExportTraceServiceRequest::decode(bytes)?),
            Signal::Logs => Self::of_logs(ExportLogsServiceRequest::decode(bytes)?),
        })
    }

    /// Its numbers alone; what lies within a span is not looked at.
    pub(super) fn count(signal: Signal, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut out = Self::default();
        // `ExportTraceServiceRequest.resource_spans`, `ResourceSpans.scope_spans` and
        // `ScopeSpans.spans`, by their field numbers; those of logs have the same.
        each(bytes, 1, |resource_spans| {
            out.resource_count += 1;
            each(resource_spans, 2, |scope_spans| {
                out.scope_count += 1;
                each(scope_spans, 2, |_| {
                    out.span_count += 1;
                    Ok(())
                })
            })
        })?;
        if signal == Signal::Logs {
            out.log_count = std::mem::take(&mut out.span_count);
        }
        Ok(out)
    }

    fn of_logs(request: ExportLogsServiceRequest) -> Self {
        let mut out = Self {
            resource_count: request.resource_logs.len(),
            ..Self::default()
        };
        for rl in request.resource_logs {
            let resource = resource(rl.resource, rl.schema_url);
            out.scope_count += rl.scope_logs.len();
            for sl in rl.scope_logs {
                let scope = scope(sl.scope, sl.schema_url);
                let logs = sl.log_records.into_iter();
                out.logs
                    .extend(logs.map(|l| log(l, scope.clone(), resource.clone())));
            }
        }
        out.log_count = out.logs.len();
        out
    }

    pub(super) fn new(request: ExportTraceServiceRequest) -> Self {
        let mut out = Self {
            resource_count: request.resource_spans.len(),
            ..Self::default()
        };
        for rs in request.resource_spans {
            let resource = resource(rs.resource, rs.schema_url);
            out.scope_count += rs.scope_spans.len();
            for ss in rs.scope_spans {
                let scope = scope(ss.scope, ss.schema_url);
                let spans = ss.spans.into_iter();
                out.spans
                    .extend(spans.map(|s| span(s, scope.clone(), resource.clone())));
            }
        }
        out.span_count = out.spans.len();
        out
    }
}

fn resource(resource: Option<Resource>, schema_url: String) -> Arc<ReceivedResource> {
    let resource = resource.unwrap_or_default();
    Arc::new(ReceivedResource {
        attributes: value::pairs(resource.attributes),
        dropped_attributes: resource.dropped_attributes_count,
        schema_url,
    })
}

fn scope(scope: Option<InstrumentationScope>, schema_url: String) -> Arc<ReceivedScope> {
    let scope = scope.unwrap_or_default();
    Arc::new(ReceivedScope {
        name: scope.name,
        version: scope.version,
        attributes: value::pairs(scope.attributes),
        dropped_attributes: scope.dropped_attributes_count,
        schema_url,
    })
}

fn log(l: LogRecord, scope: Arc<ReceivedScope>, resource: Arc<ReceivedResource>) -> ReceivedLog {
    ReceivedLog(Arc::new(LogData {
        unix_nanos: l.time_unix_nano,
        observed_unix_nanos: l.observed_time_unix_nano,
        severity_number: l.severity_number,
        severity_text: l.severity_text,
        body: l.body.map(|body| ReceivedValue::from_proto(Some(body))),
        attributes: value::pairs(l.attributes),
        dropped_attributes: l.dropped_attributes_count,
        flags: l.flags,
        trace_id: (!l.trace_id.is_empty()).then(|| trace_id(&l.trace_id)),
        span_id: (!l.span_id.is_empty()).then(|| span_id(&l.span_id)),
        event_name: l.event_name,
        scope,
        resource,
    }))
}

/// Calls `f` with each length-delimited field of that number.
fn each(
    mut bytes: &[u8],
    number: u32,
    mut f: impl FnMut(&[u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    while !bytes.is_empty() {
        let (found, wire_type) = decode_key(&mut bytes)?;
        if (found, wire_type) != (number, WireType::LengthDelimited) {
            skip_field(wire_type, found, &mut bytes, DecodeContext::default())?;
            continue;
        }
        let len = usize::try_from(decode_varint(&mut bytes)?).unwrap_or(usize::MAX);
        let Some((message, rest)) = bytes.split_at_checked(len) else {
            // Prost's own words for it: its error cannot be made by others.
            return skip_field(wire_type, found, &mut &[1u8][..], DecodeContext::default());
        };
        bytes = rest;
        f(message)?;
    }
    Ok(())
}

fn span(
    s: proto::Span,
    scope: Arc<ReceivedScope>,
    resource: Arc<ReceivedResource>,
) -> ReceivedSpan {
    let status = s.status.unwrap_or_default();
    ReceivedSpan(Arc::new(SpanData {
        trace_id: trace_id(&s.trace_id),
        span_id: span_id(&s.span_id),
        parent_span_id: (!s.parent_span_id.is_empty()).then(|| span_id(&s.parent_span_id)),
        trace_state: s.trace_state,
        flags: s.flags,
        name: s.name,
        kind: kind(s.kind),
        start_unix_nanos: s.start_time_unix_nano,
        end_unix_nanos: s.end_time_unix_nano,
        attributes: value::pairs(s.attributes),
        dropped_attributes: s.dropped_attributes_count,
        events: s.events.into_iter().map(event).collect(),
        dropped_events: s.dropped_events_count,
        links: s.links.into_iter().map(link).collect(),
        dropped_links: s.dropped_links_count,
        status: ReceivedStatus {
            code: code(status.code),
            message: status.message,
        },
        scope,
        resource,
    }))
}

fn event(e: proto::span::Event) -> ReceivedEvent {
    ReceivedEvent {
        name: e.name,
        unix_nanos: e.time_unix_nano,
        attributes: value::pairs(e.attributes),
        dropped_attributes: e.dropped_attributes_count,
    }
}

fn link(l: proto::span::Link) -> ReceivedLink {
    ReceivedLink {
        trace_id: trace_id(&l.trace_id),
        span_id: span_id(&l.span_id),
        trace_state: l.trace_state,
        flags: l.flags,
        attributes: value::pairs(l.attributes),
        dropped_attributes: l.dropped_attributes_count,
    }
}

fn kind(number: i32) -> ReceivedKind {
    match number {
        0 => ReceivedKind::Unspecified,
        1 => ReceivedKind::Internal,
        2 => ReceivedKind::Server,
        3 => ReceivedKind::Client,
        4 => ReceivedKind::Producer,
        5 => ReceivedKind::Consumer,
        other => ReceivedKind::Unknown(other),
    }
}

fn code(number: i32) -> ReceivedStatusCode {
    match number {
        0 => ReceivedStatusCode::Unset,
        1 => ReceivedStatusCode::Ok,
        2 => ReceivedStatusCode::Error,
        other => ReceivedStatusCode::Unknown(other),
    }
}

/// All zero where the length is wrong: no valid id looks so.
fn trace_id(bytes: &[u8]) -> TraceId {
    bytes
        .try_into()
        .map_or(TraceId::INVALID, TraceId::from_bytes)
}

fn span_id(bytes: &[u8]) -> SpanId {
    bytes.try_into().map_or(SpanId::INVALID, SpanId::from_bytes)
}
