//! [`LogFieldSink`]: an event's fields as body, attributes and name of a log record.

use std::error::Error;

use super::super::attributes::AttributeWriter;
use super::super::callsite::{Callsite, Field};
use super::super::fields::FieldRole;
use super::super::visitor::{Errors, FieldSink, VisitedValue};
use super::callsite::LogCallsite;
use super::sink::LogSink;
use crate::config::CaptureConfig;
use crate::processor::ScopeId;
use crate::semconv;
use crate::text::text_of;
use crate::wire::bounded::Room;
use crate::wire::log_record::{
    EVENT_NAME, LOG_ATTRIBUTE, put_body, put_body_bytes, put_body_fmt, put_body_str, put_dropped,
    put_event_name,
};
use crate::wire::value::ValueRef;

/// The most bytes of a target's or an error's text: a `Display` may write without end.
const LONGEST_TEXT: usize = 64 << 10;

pub(super) struct LogFieldSink<'a> {
    attributes: AttributeWriter<'a>,
    callsite: &'a LogCallsite,
    sink: &'a LogSink,
    capture: &'a CaptureConfig,
    /// The offset of its bytes in the buffer.
    start: usize,
    has_message: bool,
    named_by: NamedBy,
    /// The scope of a target given by a field, and whether the scope has the target's name.
    scope: Option<(ScopeId, bool)>,
    errors: Option<Box<Errors>>,
}

/// The origin of a record's event name; the later variants win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NamedBy {
    Nothing,
    EventName,
    OtelEventName,
}

/// The parts of a written record, and the errors for its span.
pub(super) struct WrittenRecord {
    /// The range of the visited fields' bytes.
    pub(super) encoded: std::ops::Range<usize>,
    /// Attributes in that range, and those dropped at the limit.
    pub(super) count: u32,
    pub(super) dropped_of_visited: u32,
    /// Whether one of their keys is no field's.
    pub(super) is_dynamic: bool,
    /// Attributes of the whole record that were dropped at the limit.
    pub(super) dropped: u32,
    pub(super) scope: ScopeId,
    pub(super) has_message: bool,
    /// The shape of `#[instrument(err)]`: no message, and an error's text (EVT-4).
    pub(super) is_exception: bool,
    pub(super) named_by: NamedBy,
    pub(super) errors: Option<Box<Errors>>,
}

impl<'a> LogFieldSink<'a> {
    #[inline]
    pub(super) fn new(
        (out, room): (&'a mut Vec<u8>, &'a mut dyn Room),
        callsite: &'a LogCallsite,
        sink: &'a LogSink,
        capture: &'a CaptureConfig,
    ) -> Self {
        Self {
            start: out.len(),
            attributes: AttributeWriter::new(
                (out, room),
                LOG_ATTRIBUTE,
                &sink.value_limit,
                sink.attributes,
            ),
            callsite,
            sink,
            capture,
            has_message: false,
            named_by: NamedBy::Nothing,
            scope: None,
            errors: None,
        }
    }

    /// Writes the attributes beside the fields; `more` adds fields of surrounding spans.
    #[inline]
    pub(super) fn finish(
        self,
        common: &'static Callsite,
        sink: &LogSink,
        capture: &CaptureConfig,
        more: Option<&dyn Fn(&mut AttributeWriter<'_>)>,
    ) -> WrittenRecord {
        let Self {
            mut attributes,
            callsite,
            start,
            has_message,
            named_by,
            scope,
            errors,
            ..
        } = self;
        let text = errors.as_ref().and_then(|e| e.text.as_deref());
        let text = text.filter(|_| !has_message && capture.error_events_to_exceptions);
        if let Some(text) = text {
            attributes.rename_error(text);
        }
        let mut written = WrittenRecord {
            encoded: start..attributes.out.len(),
            count: attributes.count,
            dropped_of_visited: attributes.dropped,
            is_dynamic: attributes.is_dynamic(),
            dropped: 0,
            scope: ScopeId::default(),
            has_message,
            is_exception: text.is_some(),
            named_by,
            errors: None,
        };
        if capture.location {
            attributes.put_static(&callsite.location);
        }
        if capture.threads {
            attributes.put_thread(common);
        }
        if let Some(more) = more {
            more(&mut attributes);
        }
        let (scope, has_name) =
            scope.unwrap_or_else(|| sink.scope_of(callsite, common.metadata.target()));
        if !has_name {
            attributes.put_dynamic(semconv::OTEL_SCOPE_NAME, |key, out, room| {
                let limit = crate::wire::bounded::ValueLimit::NONE;
                key.put_str(out, &limit, room, common.metadata.target())
            });
        }
        let AttributeWriter {
            out, room, dropped, ..
        } = attributes;
        put_dropped(out, dropped);
        if named_by == NamedBy::Nothing {
            match text {
                Some(_) if callsite.event_name.is_empty() => {
                    put_event_name(out, semconv::EXCEPTION_EVENT);
                }
                _ => out.extend_from_slice(&callsite.event_name),
            }
        }
        if let Some(text) = text {
            put_body_str(out, room, text);
        }
        written.dropped = dropped;
        written.scope = scope;
        written.errors = errors;
        written
    }

    /// Written anew each time: decoders take the last `event_name` of a record.
    fn set_event_name(&mut self, field: &str, value: VisitedValue<'_>) {
        let by = match field {
            "otel.event.name" => NamedBy::OtelEventName,
            _ => NamedBy::EventName,
        };
        let attributes = &mut self.attributes;
        if by >= self.named_by && value.with_text(|text| attributes.put_text(EVENT_NAME, text)) {
            self.named_by = by;
        }
    }

    /// Writes the value as the body, unless the record has one.
    #[inline(always)]
    fn set_body(&mut self, value: VisitedValue<'_>) {
        if self.has_message {
            return;
        }
        let AttributeWriter { out, room, .. } = &mut self.attributes;
        self.has_message = match value {
            VisitedValue::Str(text) => {
                put_body_str(out, *room, text);
                true
            }
            VisitedValue::Bytes(bytes) => put_body_bytes(out, *room, bytes),
            VisitedValue::Bool(value) => put_short_body(out, ValueRef::Bool(value)),
            VisitedValue::Int(value) => put_short_body(out, ValueRef::Int(value)),
            VisitedValue::Double(value) => put_short_body(out, ValueRef::Double(value)),
            other => other.with_text(|text| put_body_fmt(out, *room, text)),
        };
    }
}

fn put_short_body(out: &mut Vec<u8>, value: ValueRef<'_>) -> bool {
    put_body(out, value);
    true
}

impl<'a> FieldSink<'a> for LogFieldSink<'a> {
    #[inline(always)]
    fn field(&self, index: usize) -> Option<&'a Field> {
        self.callsite.fields.get(index)
    }

    #[inline(always)]
    fn attributes(&mut self) -> &mut AttributeWriter<'a> {
        &mut self.attributes
    }

    #[inline(always)]
    fn take(&mut self, name: &str, role: FieldRole, value: VisitedValue<'_>) -> bool {
        match (role, value) {
            (FieldRole::Message, _) => {
                self.set_body(value);
                false
            }
            (_, VisitedValue::Bytes(_)) => true,
            (FieldRole::LogTarget, VisitedValue::Str(target)) => {
                self.scope = Some(self.sink.scope_of_target(target));
                false
            }
            (FieldRole::LogTarget, _) => {
                let target = value.with_text(|text| text_of(text, LONGEST_TEXT));
                self.scope = Some(self.sink.scope_of_target(&target));
                false
            }
            (FieldRole::LogLocation, _) => self.capture.location,
            (FieldRole::LogModule, _) => false,
            (FieldRole::EventName, _) => {
                self.set_event_name(name, value);
                false
            }
            (FieldRole::Error, _) if value.is_text() => {
                let text = value.with_text(|text| text_of(text, LONGEST_TEXT));
                self.errors.get_or_insert_default().text = Some(text);
                true
            }
            _ => true,
        }
    }

    fn note_error(&mut self, error: &(dyn Error + 'static)) {
        // The application's own `exception.*` fields win, whichever come first (LOG-60).
        if self.capture.error_fields_to_exceptions && !self.callsite.has_exception {
            self.attributes.put_exception(error);
        }
        if self.capture.error_records_to_exceptions {
            let errors = self.errors.get_or_insert_default();
            errors.set_for_span(error, &mut self.attributes);
        }
    }
}
