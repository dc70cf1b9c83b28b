//! A span event from the bytes of a log record: the same attributes under another tag.

use tracing_core::Event;

use super::super::attributes::AttributeWriter;
use super::super::callsite::Callsite;
use super::super::recorder::{LogTargetIs, Recorder};
use super::super::scratch::Scratch;
use super::visitor::{NamedBy, WrittenRecord};
use crate::semconv;
use crate::wire::bounded::Room as _;
use crate::wire::decode::{DecodedValue, LogRecord};
use crate::wire::log_record::{EVENT_NAME, LOG_ATTRIBUTE, LOG_BODY};
use crate::wire::reader::Delimited;
use crate::wire::span::{
    EVENT_ATTRIBUTE, SPAN_EVENT, fields, put_event_dropped, put_event_name, put_event_time,
};
use crate::wire::value::STRING;
use crate::wire::varint;

/// The input of a span event.
pub(super) struct SpanEventSource<'a> {
    pub(super) event: &'a Event<'a>,
    pub(super) callsite: &'static Callsite,
    pub(super) written: &'a WrittenRecord,
    /// The time by the clock, and in Unix nanoseconds.
    pub(super) times: (u64, u64),
}

impl Recorder {
    /// Adds an event to a span; `scratch` has the event as a log record.
    pub(super) fn add_as_span_event(
        &self,
        span: u64,
        scratch: &mut Scratch<'_>,
        source: &SpanEventSource<'_>,
    ) {
        let start = scratch.bytes().len();
        let is_written = self.write_span_event(scratch, source);
        let limit = self.settings.limits.events;
        self.spans.with(span, |span| {
            span.state.last_event = span.state.last_event.max(source.times.0);
            span.note_left_out(scratch);
            let event = scratch.bytes().get(start..).unwrap_or_default();
            let has_room = is_written && span.state.events < limit;
            if has_room && span.add_field(SPAN_EVENT, event) {
                span.state.events += 1;
            } else {
                span.state.dropped_events += 1;
            }
        });
    }

    /// Appends the span event to the buffer; false without room.
    fn write_span_event(&self, scratch: &mut Scratch<'_>, source: &SpanEventSource<'_>) -> bool {
        let (limits, capture) = (&self.settings.limits, &self.settings.capture);
        let SpanEventSource {
            written, callsite, ..
        } = source;
        let (out, room) = scratch.parts();
        let encoded = written.encoded.clone();
        let extras = callsite.extras(self.settings.event_extras);
        let more = encoded.len() + extras.bytes.len() + callsite.metadata.name().len() + 64;
        if out.capacity() - out.len() < more && !room.make_room(out, more) {
            room.leave_out();
            return false;
        }
        put_event_time(out, source.times.1);
        if written.is_exception {
            put_event_name(out, semconv::EXCEPTION_EVENT);
        } else if !written.has_message || !put_name_of_body(out, encoded.clone()) {
            put_event_name(out, callsite.metadata.name());
        }
        let mut attributes = AttributeWriter::new(
            (out, room),
            EVENT_ATTRIBUTE,
            &limits.value,
            limits.event_attributes,
        );
        copy_attributes(attributes.out, encoded.clone());
        attributes.count = written.count;
        attributes.dropped = written.dropped_of_visited;
        if written.is_dynamic {
            attributes.set_dynamic();
        }
        if written.named_by != NamedBy::Nothing {
            put_event_name_field(&mut attributes, encoded, written.named_by);
        }
        if callsite.is_log_line && capture.target {
            // Fields of `log`'s lines are plain texts: no foreign code runs here.
            let mut visit = LogTargetIs(
                |target: &str| {
                    target_of(&mut attributes, target);
                    true
                },
                true,
            );
            source.event.record(&mut visit);
        }
        attributes.put_static(extras);
        let dropped = attributes.dropped;
        put_event_dropped(out_of(attributes), dropped);
        true
    }
}

fn out_of(attributes: AttributeWriter<'_>) -> &mut Vec<u8> {
    attributes.out
}

fn target_of(attributes: &mut AttributeWriter<'_>, target: &str) {
    let limit = attributes.limit;
    attributes.put_dynamic("target", |key, out, room| {
        key.put_str(out, limit, room, target)
    });
}

/// Copies the attributes of the record at `from` to the end, under the tag of an event's.
fn copy_attributes(out: &mut Vec<u8>, from: std::ops::Range<usize>) {
    let mut at = from.start;
    while at < from.end {
        let Some((tag, _, whole)) = out.get(at..from.end).and_then(|row| fields(row).next()) else {
            return;
        };
        let (is_attribute, len) = (tag == LOG_ATTRIBUTE, whole.len());
        if is_attribute {
            let copy = out.len();
            out.extend_from_within(at..at + len);
            if let Some(tag) = out.get_mut(copy) {
                *tag = EVENT_ATTRIBUTE;
            }
        }
        at += len;
    }
}

/// Writes the body of a record as an event's name.
fn put_name_of_body(out: &mut Vec<u8>, encoded: std::ops::Range<usize>) -> bool {
    const NAME: u8 = crate::wire::span::EVENT_NAME_TAG;
    let Some((at, any)) = find(out, encoded, LOG_BODY) else {
        return false;
    };
    // Usually a text: tag, length, text.
    let mut fields = Delimited::new(any);
    if let Some((STRING, text)) = fields.next()
        && fields.rest().is_empty()
    {
        let end = at + any.len();
        let text = end - text.len()..end;
        out.push(NAME);
        varint::put(out, text.len() as u64);
        out.extend_from_within(text);
        return true;
    }
    let mut body = Vec::new();
    varint::put_bytes(&mut body, LOG_BODY, any);
    let name = match LogRecord::decode(&body).and_then(|record| record.body) {
        Some(DecodedValue::Bool(v)) => v.to_string(),
        Some(DecodedValue::Int(v)) => v.to_string(),
        Some(DecodedValue::Double(v)) => v.to_string(),
        _ => return false,
    };
    put_event_name(out, &name);
    true
}

/// The last field with this tag: offset of its content, and the content.
fn find(out: &[u8], encoded: std::ops::Range<usize>, tag: u8) -> Option<(usize, &[u8])> {
    let mut at = encoded.start;
    let mut found = None;
    for (known, content, whole) in fields(out.get(encoded)?) {
        if known == tag {
            found = Some((at + whole.len() - content.len(), content));
        }
        at += whole.len();
    }
    found
}

/// Adds a record's event name as an attribute of the span event.
#[cold]
fn put_event_name_field(
    attributes: &mut AttributeWriter<'_>,
    encoded: std::ops::Range<usize>,
    by: NamedBy,
) {
    let key = match by {
        NamedBy::OtelEventName => "otel.event.name",
        _ => "event.name",
    };
    let Some((_, name)) = find(attributes.out, encoded, EVENT_NAME) else {
        return;
    };
    let name = String::from_utf8_lossy(name).into_owned();
    let limit = attributes.limit;
    attributes.put_dynamic(key, |key, out, room| key.put_str(out, limit, room, &name));
}
