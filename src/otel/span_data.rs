//! Wire bytes to the SDK's `SpanData`, for exporters that want structure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::wire::decode::{self, Attributes, Scope, Span};

/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`
const IS_REMOTE: u32 = 0x200;

/// A span, from the encoded fields of its scope and its own.
pub(super) fn decode(scope: &[u8], span: &[u8]) -> Option<SpanData> {
    let scope = Scope::decode(scope)?;
    let span = Span::decode(span)?;
    // Field by field, because a later version may have more fields.
    let mut events = SpanEvents::default();
    events.dropped_count = span.dropped_events;
    events.events = span.events.iter().map(event).collect();
    let mut links = SpanLinks::default();
    links.dropped_count = span.dropped_links;
    links.links = span.links.iter().map(link).collect();
    Some(SpanData {
        span_context: context(
            span.trace_id,
            span.span_id,
            span.flags,
            false,
            span.trace_state,
        ),
        parent_span_id: span
            .parent_span_id
            .map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: span.flags & IS_REMOTE != 0,
        span_kind: kind(span.kind),
        name: span.name.to_owned().into(),
        start_time: time(span.start_unix_nanos),
        end_time: time(span.end_unix_nanos),
        attributes: attributes(&span.attributes),
        dropped_attributes_count: span.dropped_attributes,
        events,
        links,
        status: match span.status.code {
            1 => Status::Ok,
            2 => Status::error(span.status.message.to_owned()),
            _ => Status::Unset,
        },
        instrumentation_scope: instrumentation_scope(&scope),
    })
}

fn event(event: &decode::Event<'_>) -> Event {
    Event::new(
        event.name.to_owned(),
        time(event.unix_nanos),
        attributes(&event.attributes),
        event.dropped_attributes,
    )
}

fn link(link: &decode::Link<'_>) -> Link {
    let is_remote = link.flags & IS_REMOTE != 0;
    Link::new(
        context(
            link.trace_id,
            link.span_id,
            link.flags,
            is_remote,
            link.trace_state,
        ),
        attributes(&link.attributes),
        link.dropped_attributes,
    )
}

fn context(
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u32,
    is_remote: bool,
    trace_state: &str,
) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(trace_id),
        SpanId::from_bytes(span_id),
        TraceFlags::new((flags & 0xff) as u8),
        is_remote,
        trace_state.parse().unwrap_or(TraceState::NONE),
    )
}

pub(super) fn instrumentation_scope(scope: &Scope<'_>) -> InstrumentationScope {
    let mut builder = InstrumentationScope::builder(scope.name.to_owned())
        .with_attributes(attributes(&scope.attributes));
    if !scope.version.is_empty() {
        builder = builder.with_version(scope.version.to_owned());
    }
    if !scope.schema_url.is_empty() {
        builder = builder.with_schema_url(scope.schema_url.to_owned());
    }
    builder.build()
}

fn kind(kind: i32) -> SpanKind {
    match kind {
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        _ => SpanKind::Internal,
    }
}

fn time(unix_nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(unix_nanos)
}

pub(super) fn attributes(attributes: &Attributes<'_>) -> Vec<KeyValue> {
    let pairs = attributes.iter();
    pairs
        .map(|(key, v)| KeyValue::new((*key).to_owned(), value(v)))
        .collect()
}

fn value(value: &decode::DecodedValue<'_>) -> Value {
    use decode::DecodedValue as Ours;
    match value {
        Ours::Bool(v) => (*v).into(),
        Ours::Int(v) => (*v).into(),
        Ours::Double(v) => (*v).into(),
        Ours::Array(v) => Value::Array(array(v)),
        other => text(other).into(),
    }
}

/// A list of one kind keeps its kind; a mixed list becomes texts.
fn array(values: &[decode::DecodedValue<'_>]) -> Array {
    use decode::DecodedValue as Ours;
    fn all<'a, T>(
        values: &'a [Ours<'a>],
        one: impl Fn(&'a Ours<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        values.iter().map(one).collect()
    }
    let bools = all(values, |v| match v {
        Ours::Bool(v) => Some(*v),
        _ => None,
    });
    let ints = all(values, |v| match v {
        Ours::Int(v) => Some(*v),
        _ => None,
    });
    let doubles = all(values, |v| match v {
        Ours::Double(v) => Some(*v),
        _ => None,
    });
    match (bools, ints, doubles) {
        (Some(v), ..) if !v.is_empty() => Array::Bool(v),
        (_, Some(v), _) if !v.is_empty() => Array::I64(v),
        (.., Some(v)) if !v.is_empty() => Array::F64(v),
        _ => Array::String(values.iter().map(|v| StringValue::from(text(v))).collect()),
    }
}

fn text(value: &decode::DecodedValue<'_>) -> String {
    use decode::DecodedValue as Ours;
    match value {
        Ours::Empty => String::new(),
        Ours::String(v) => (*v).to_owned(),
        Ours::Bool(v) => v.to_string(),
        Ours::Int(v) => v.to_string(),
        Ours::Double(v) => v.to_string(),
        Ours::Bytes(v) => BASE64_STANDARD.encode(v),
        Ours::Array(v) => v.iter().map(text).collect::<Vec<_>>().join(","),
        Ours::Map(v) => {
            let pairs = v.iter().map(|(key, v)| format!("{key}={}", text(v)));
            pairs.collect::<Vec<_>>().join(",")
        }
    }
}
