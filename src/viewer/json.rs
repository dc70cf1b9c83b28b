//! Traces as JSON, for the page and for scripts.
//!
//! Moments are nanoseconds since 1970 as text, because a number in JavaScript has 53 bits; durations
//! and offsets are numbers, exact up to 104 days. Integers of attributes beyond 53 bits are text too.

use serde_json::{Map, Value as Json, json};

use super::origin::Origin;
use super::record::StoredRecord;
use super::same_event::RecordsByTime;
use super::store::Snapshot;
use super::trace::{Stored, Summary};
use crate::text;
use crate::wire::decode::{Attributes, DecodedResource, DecodedValue, Scope, Span};

/// A line of the list.
pub(super) fn summary(number: u64, summary: &Summary) -> Json {
    let services: Vec<&str> = summary.services.iter().map(|s| &**s).collect();
    json!({
        "number": number,
        "trace_id": text::hex(&summary.id),
        "name": &*summary.name,
        "service": &*summary.service,
        "services": services,
        "has_root": summary.has_root,
        "start_unix_nanos": summary.start.to_string(),
        "duration_nanos": summary.nanos(),
        "spans": summary.spans,
        "errors": summary.errors,
        "open_spans": summary.open,
        "last_heard_unix_nanos": heard(summary.open > 0, summary.heard),
        "spans_left_out": summary.left_out,
        "log_records": summary.records,
        "log_records_left_out": summary.records_left_out,
        "is_slow_or_failed": summary.is_slow_or_failed,
    })
}

/// Resources and scopes of one answer: what comes from one names it by its position.
#[derive(Default)]
pub(super) struct Origins<'a>(Vec<&'a Origin>);

impl<'a> Origins<'a> {
    pub(super) fn position(&mut self, of: &'a Origin) -> usize {
        let known = self.0.iter().position(|o| std::ptr::eq(*o, of));
        known.unwrap_or_else(|| {
            self.0.push(of);
            self.0.len() - 1
        })
    }

    pub(super) fn json(&self) -> Json {
        self.0.iter().map(|of| origin(of)).collect()
    }
}

/// A whole trace: its line, its spans and log records from the earliest on, and where they come from.
pub(super) fn trace(snapshot: &Snapshot) -> Json {
    let start = snapshot.summary.start;
    let mut spans: Vec<&Stored> = snapshot.spans.iter().map(|s| &**s).collect();
    spans.sort_by_key(|s| (s.start, std::cmp::Reverse(s.end), s.id));
    let mut records: Vec<&StoredRecord> = snapshot.records.iter().map(|r| &**r).collect();
    records.sort_by_key(|r| r.at);
    let mut by_time = RecordsByTime::new(&records);
    let mut origins = Origins::default();
    let mut listed = Vec::with_capacity(spans.len());
    for stored in spans {
        let origin = origins.position(&stored.origin);
        listed.push(span(stored, start, origin, &mut by_time));
    }
    let mut logs = Vec::with_capacity(records.len());
    for (index, stored) in records.into_iter().enumerate() {
        let origin = origins.position(&stored.origin);
        let mut log = record(stored, Some(start), origin);
        log["is_span_event"] = by_time.is_span_event(index).into();
        logs.push(log);
    }
    let mut whole = summary(snapshot.number, &snapshot.summary);
    if let Json::Object(whole) = &mut whole {
        whole.insert("origins".into(), origins.json());
        whole.insert("spans".into(), listed.into());
        whole.insert("logs".into(), logs.into());
    }
    whole
}

fn origin(origin: &Origin) -> Json {
    let resource = DecodedResource::decode(&origin.resource).unwrap_or_default();
    let scope = Scope::decode(&origin.scope).unwrap_or_default();
    json!({
        "service": &*origin.service,
        "resource": attributes(&resource.attributes),
        "scope": {
            "name": scope.name,
            "version": scope.version,
            "attributes": attributes(&scope.attributes),
        },
    })
}

/// When something that is open was heard of.
fn heard(is_open: bool, at: u64) -> Option<String> {
    is_open.then(|| at.to_string())
}

/// A span. An event that came as a log record too stands among these alone.
fn span(stored: &Stored, trace_start: u64, origin: usize, logs: &mut RecordsByTime<'_>) -> Json {
    let span: &Span<'_> = &stored.span();
    let start = span.start_unix_nanos;
    let events = span.events.iter();
    let events = events.filter(|e| !logs.take(span.span_id, e.unix_nanos, e.name));
    let events = events.map(|event| {
        json!({
            "name": event.name,
            "unix_nanos": event.unix_nanos.to_string(),
            "offset_nanos": between(trace_start, event.unix_nanos),
            "attributes": attributes(&event.attributes),
        })
    });
    let links = span.links.iter().map(|link| {
        json!({
            "trace_id": text::hex(&link.trace_id),
            "span_id": text::hex(&link.span_id),
            "attributes": attributes(&link.attributes),
        })
    });
    json!({
        "span_id": text::hex(&span.span_id),
        "parent_span_id": span.parent_span_id.map(|id| text::hex(&id)),
        "name": span.name,
        "kind": kind(span.kind),
        "start_unix_nanos": start.to_string(),
        "offset_nanos": start.saturating_sub(trace_start),
        "duration_nanos": stored.end.saturating_sub(start),
        "is_open": stored.is_open,
        "last_heard_unix_nanos": heard(stored.is_open, stored.end),
        "status": { "code": status(span.status.code), "message": span.status.message },
        "attributes": attributes(&span.attributes),
        "events": events.collect::<Vec<_>>(),
        "links": links.collect::<Vec<_>>(),
        "trace_state": span.trace_state,
        "dropped": {
            "attributes": span.dropped_attributes,
            "events": span.dropped_events,
            "links": span.dropped_links,
        },
        "origin": origin,
    })
}

/// A log record; `trace_start` is that of its trace.
pub(super) fn record(stored: &StoredRecord, trace_start: Option<u64>, origin: usize) -> Json {
    let record = stored.record();
    json!({
        "unix_nanos": stored.at.to_string(),
        "offset_nanos": trace_start.map(|start| between(start, stored.at)),
        "span_id": record.span_id.map(|id| text::hex(&id)),
        "severity_number": record.severity_number,
        "severity": record.severity_text,
        "body": record.body.as_ref().map(value),
        "event_name": record.event_name,
        "attributes": attributes(&record.attributes),
        "attributes_dropped": record.dropped_attributes,
        "origin": origin,
    })
}

/// From one moment to another, which may be before it.
fn between(from: u64, to: u64) -> i64 {
    let nanos = i128::from(to) - i128::from(from);
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

/// Of two attributes with one key the later one, as backends have it.
pub(super) fn attributes(list: &Attributes<'_>) -> Json {
    let pairs = list.iter().map(|(key, v)| ((*key).to_owned(), value(v)));
    Json::Object(pairs.collect::<Map<_, _>>())
}

pub(super) fn value(value: &DecodedValue<'_>) -> Json {
    /// Beyond it a number in JavaScript skips integers.
    const EXACT: u64 = 1 << 53;
    match value {
        DecodedValue::Empty => Json::Null,
        DecodedValue::String(v) => (*v).into(),
        DecodedValue::Bool(v) => (*v).into(),
        DecodedValue::Int(v) if v.unsigned_abs() <= EXACT => (*v).into(),
        DecodedValue::Int(v) => v.to_string().into(),
        DecodedValue::Double(v) if v.is_finite() => (*v).into(),
        DecodedValue::Double(v) => v.to_string().into(),
        DecodedValue::Bytes(v) => json!({ "bytes": text::hex(v) }),
        DecodedValue::Array(list) => list.iter().map(self::value).collect(),
        DecodedValue::Map(list) => attributes(list),
    }
}

fn kind(number: i32) -> &'static str {
    match number {
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        _ => "internal",
    }
}

fn status(code: i32) -> &'static str {
    match code {
        1 => "ok",
        2 => "error",
        _ => "unset",
    }
}
