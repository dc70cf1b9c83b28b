//! Encoded spans as an `ExportTraceServiceRequest` in JSON, on one line; log records as an
//! `ExportLogsServiceRequest`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::text;
use crate::wire::decode::{
    Attributes, DecodedResource, DecodedValue, Event, Link, LogRecord, Scope, Span,
};

/// The error for bytes that are no span.
pub(crate) type Unreadable = u64;

/// The keys of a request of one signal, and what writes one of its items; false: no item, nothing is written.
struct Form {
    resources: &'static str,
    scopes: &'static str,
    items: &'static str,
    put: fn(&mut String, &[u8]) -> bool,
}

const SPANS: Form = Form {
    resources: "resourceSpans",
    scopes: "scopeSpans",
    items: "spans",
    put: |out, span| {
        Span::decode(span)
            .map(|span| put_span(out, &span))
            .is_some()
    },
};
const LOGS: Form = Form {
    resources: "resourceLogs",
    scopes: "scopeLogs",
    items: "logRecords",
    put: |out, record| {
        let record = LogRecord::decode(record);
        record.map(|record| put_record(out, &record)).is_some()
    },
};

/// Appends one request with these spans: the resource and each scope as their encoded fields of
/// `ResourceSpans` and `ScopeSpans` other than the spans. The text has no line break.
pub(crate) fn put_request<'a>(
    out: &mut String,
    resource: &[u8],
    spans: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Unreadable {
    put(out, &SPANS, resource, spans)
}

/// The same with log records: an `ExportLogsServiceRequest`.
pub(crate) fn put_logs_request<'a>(
    out: &mut String,
    resource: &[u8],
    records: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Unreadable {
    put(out, &LOGS, resource, records)
}

fn put<'a>(
    out: &mut String,
    form: &Form,
    resource: &[u8],
    items: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Unreadable {
    let resource = DecodedResource::decode(resource).unwrap_or_default();
    out.push_str("{\"");
    out.push_str(form.resources);
    out.push_str(r#"":[{"resource":{"#);
    let mut fields = JsonFields(out, false);
    fields.attributes("attributes", &resource.attributes);
    out.push_str("},\"");
    out.push_str(form.scopes);
    out.push_str("\":[");
    let mut scope: Option<&[u8]> = None;
    let (mut unreadable, mut is_first) = (0, true);
    for (of, item) in items {
        let before = (out.len(), scope, is_first);
        if scope != Some(of) {
            if let Some(scope) = scope {
                end_scope(out, scope);
                out.push(',');
            }
            begin_scope(out, form, of);
            (scope, is_first) = (Some(of), true);
        }
        if !is_first {
            out.push(',');
        }
        is_first = false;
        if !(form.put)(out, item) {
            unreadable += 1;
            out.truncate(before.0);
            (scope, is_first) = (before.1, before.2);
        }
    }
    if let Some(scope) = scope {
        end_scope(out, scope);
    }
    out.push(']');
    JsonFields(out, true).text("schemaUrl", resource.schema_url);
    out.push_str("}]}");
    unreadable
}

fn begin_scope(out: &mut String, form: &Form, scope: &[u8]) {
    let scope = Scope::decode(scope).unwrap_or_default();
    out.push_str(r#"{"scope":{"#);
    let mut fields = JsonFields(out, false);
    fields.text("name", scope.name);
    fields.text("version", scope.version);
    fields.attributes("attributes", &scope.attributes);
    fields.count("droppedAttributesCount", scope.dropped_attributes);
    out.push_str("},\"");
    out.push_str(form.items);
    out.push_str("\":[");
}

fn end_scope(out: &mut String, scope: &[u8]) {
    let scope = Scope::decode(scope).unwrap_or_default();
    out.push(']');
    JsonFields(out, true).text("schemaUrl", scope.schema_url);
    out.push('}');
}

fn put_record(out: &mut String, record: &LogRecord<'_>) {
    out.push('{');
    let mut fields = JsonFields(out, false);
    fields.nanos("timeUnixNano", record.unix_nanos);
    fields.nanos("observedTimeUnixNano", record.observed_unix_nanos);
    fields.number("severityNumber", record.severity_number);
    fields.text("severityText", record.severity_text);
    if let Some(body) = &record.body {
        fields.key("body");
        put_value(fields.0, body);
    }
    fields.attributes("attributes", &record.attributes);
    fields.count("droppedAttributesCount", record.dropped_attributes);
    fields.count("flags", record.flags);
    fields.id("traceId", &record.trace_id.unwrap_or_default());
    fields.id("spanId", &record.span_id.unwrap_or_default());
    fields.text("eventName", record.event_name);
    out.push('}');
}

fn put_span(out: &mut String, span: &Span<'_>) {
    out.push('{');
    let mut fields = JsonFields(out, false);
    fields.id("traceId", &span.trace_id);
    fields.id("spanId", &span.span_id);
    fields.text("traceState", span.trace_state);
    fields.id("parentSpanId", &span.parent_span_id.unwrap_or_default());
    fields.count("flags", span.flags);
    fields.text("name", span.name);
    fields.number("kind", span.kind);
    fields.nanos("startTimeUnixNano", span.start_unix_nanos);
    fields.nanos("endTimeUnixNano", span.end_unix_nanos);
    fields.attributes("attributes", &span.attributes);
    fields.count("droppedAttributesCount", span.dropped_attributes);
    fields.list("events", &span.events, put_event);
    fields.count("droppedEventsCount", span.dropped_events);
    fields.list("links", &span.links, put_link);
    fields.count("droppedLinksCount", span.dropped_links);
    let status = span.status;
    if status != Default::default() {
        fields.key("status");
        fields.0.push('{');
        let mut of_status = JsonFields(fields.0, false);
        of_status.text("message", status.message);
        of_status.number("code", status.code);
        fields.0.push('}');
    }
    out.push('}');
}

fn put_event(out: &mut String, event: &Event<'_>) {
    out.push('{');
    let mut fields = JsonFields(out, false);
    fields.nanos("timeUnixNano", event.unix_nanos);
    fields.text("name", event.name);
    fields.attributes("attributes", &event.attributes);
    fields.count("droppedAttributesCount", event.dropped_attributes);
    out.push('}');
}

fn put_link(out: &mut String, link: &Link<'_>) {
    out.push('{');
    let mut fields = JsonFields(out, false);
    fields.id("traceId", &link.trace_id);
    fields.id("spanId", &link.span_id);
    fields.text("traceState", link.trace_state);
    fields.attributes("attributes", &link.attributes);
    fields.count("droppedAttributesCount", link.dropped_attributes);
    fields.count("flags", link.flags);
    out.push('}');
}

fn put_attribute(out: &mut String, (key, value): &(&str, DecodedValue<'_>)) {
    out.push_str(r#"{"key":"#);
    put_text(out, key);
    out.push_str(r#","value":"#);
    put_value(out, value);
    out.push('}');
}

/// A `oneof` is always written, a default value too (LOG-74).
fn put_value(out: &mut String, value: &DecodedValue<'_>) {
    out.push('{');
    match value {
        DecodedValue::Empty => {}
        DecodedValue::String(v) => {
            out.push_str(r#""stringValue":"#);
            put_text(out, v);
        }
        DecodedValue::Bool(v) => {
            out.push_str(r#""boolValue":"#);
            out.push_str(if *v { "true" } else { "false" });
        }
        DecodedValue::Int(v) => {
            out.push_str(r#""intValue":""#);
            out.push_str(&v.to_string());
            out.push('"');
        }
        DecodedValue::Double(v) => {
            out.push_str(r#""doubleValue":"#);
            put_double(out, *v);
        }
        DecodedValue::Bytes(v) => {
            out.push_str(r#""bytesValue":""#);
            STANDARD.encode_string(v, out);
            out.push('"');
        }
        DecodedValue::Array(list) => {
            out.push_str(r#""arrayValue":{"values":["#);
            put_all(out, list, put_value);
            out.push_str("]}");
        }
        DecodedValue::Map(list) => {
            out.push_str(r#""kvlistValue":{"values":["#);
            put_all(out, list, put_attribute);
            out.push_str("]}");
        }
    }
    out.push('}');
}

fn put_double(out: &mut String, v: f64) {
    match v {
        v if v.is_nan() => out.push_str(r#""NaN""#),
        f64::INFINITY => out.push_str(r#""Infinity""#),
        f64::NEG_INFINITY => out.push_str(r#""-Infinity""#),
        // The shortest text that reads back as the same number.
        v => out.push_str(&serde_json::Value::from(v).to_string()),
    }
}

fn put_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn put_all<T>(out: &mut String, list: &[T], put: impl Fn(&mut String, &T)) {
    for (i, item) in list.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        put(out, item);
    }
}

/// The members of an object, and whether one is written yet. A default value is left out.
struct JsonFields<'a>(&'a mut String, bool);

impl JsonFields<'_> {
    fn key(&mut self, key: &str) {
        if std::mem::replace(&mut self.1, true) {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(key);
        self.0.push_str("\":");
    }

    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.key(key);
            put_text(self.0, text);
        }
    }

    fn id(&mut self, key: &str, id: &[u8]) {
        if id.iter().any(|b| *b != 0) {
            self.key(key);
            self.0.push('"');
            self.0.push_str(&text::hex(id));
            self.0.push('"');
        }
    }

    fn nanos(&mut self, key: &str, nanos: u64) {
        if nanos != 0 {
            self.key(key);
            self.0.push('"');
            self.0.push_str(&nanos.to_string());
            self.0.push('"');
        }
    }

    fn number(&mut self, key: &str, number: i32) {
        if number != 0 {
            self.key(key);
            self.0.push_str(&number.to_string());
        }
    }

    fn count(&mut self, key: &str, count: u32) {
        if count != 0 {
            self.key(key);
            self.0.push_str(&count.to_string());
        }
    }

    fn list<T>(&mut self, key: &str, list: &[T], put: impl Fn(&mut String, &T)) {
        if !list.is_empty() {
            self.key(key);
            self.0.push('[');
            put_all(self.0, list, put);
            self.0.push(']');
        }
    }

    fn attributes(&mut self, key: &str, list: &Attributes<'_>) {
        self.list(key, list, put_attribute);
    }
}
