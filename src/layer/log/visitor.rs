//! [`LogVisitor`]: encodes an event's fields as body, attributes and name of a log record.

use std::error::Error;
use std::fmt::Debug;

use tracing_core::Field;
use tracing_core::field::Visit;

use super::super::attributes::AttributeWriter;
use super::super::callsite::Callsite;
use super::super::fields::FieldRole;
use super::super::visitor::Errors;
use super::callsite::LogCallsite;
use super::sink::LogSink;
use crate::config::CaptureConfig;
use crate::processor::ScopeId;
use crate::semconv;
use crate::text::text_of;
use crate::wire::field::{EncodedKey, Room};
use crate::wire::log_record::{
    EVENT_NAME, LOG_ATTRIBUTE, put_body, put_body_bytes, put_body_fmt, put_body_str, put_dropped,
    put_event_name,
};
use crate::wire::span::SPAN_ATTRIBUTE;
use crate::wire::value::ValueRef;

/// The most bytes of a target's or an error's text: a `Display` may write without end.
const LONGEST_TEXT: usize = 64 << 10;

pub(super) struct LogVisitor<'a> {
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

impl<'a> LogVisitor<'a> {
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
                let limit = crate::wire::field::ValueLimit::NONE;
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

    /// Handles a field with a role; returns whether it becomes an attribute too. `body` writes its value
    /// as the body.
    #[inline]
    fn is_attribute(
        &mut self,
        name: &str,
        role: FieldRole,
        value: std::fmt::Arguments<'_>,
        body: impl FnOnce(&mut Vec<u8>, &mut dyn Room) -> bool,
    ) -> bool {
        match role {
            FieldRole::Message => {
                if !self.has_message {
                    self.has_message = body(self.attributes.out, self.attributes.room);
                }
                false
            }
            FieldRole::LogTarget => {
                self.scope = Some(self.sink.scope_of_target(&text_of(value, LONGEST_TEXT)));
                false
            }
            FieldRole::LogLocation => self.capture.location,
            FieldRole::LogModule => false,
            FieldRole::EventName => {
                self.set_event_name(name, value);
                false
            }
            _ => true,
        }
    }

    /// As [`is_attribute`](Self::is_attribute) for values that may describe an error: text or the error
    /// itself (EVT-4).
    #[inline]
    fn is_attribute_of_text(
        &mut self,
        name: &str,
        role: FieldRole,
        value: std::fmt::Arguments<'_>,
    ) -> bool {
        if role == FieldRole::Error {
            self.errors.get_or_insert_default().text = Some(text_of(value, LONGEST_TEXT));
            return true;
        }
        self.is_attribute(name, role, value, |out, room| {
            put_body_fmt(out, room, value)
        })
    }

    /// Written anew each time: decoders take the last `event_name` of a record.
    fn set_event_name(&mut self, field: &str, value: std::fmt::Arguments<'_>) {
        let by = match field {
            "otel.event.name" => NamedBy::OtelEventName,
            _ => NamedBy::EventName,
        };
        if by >= self.named_by && self.attributes.put_text(EVENT_NAME, value) {
            self.named_by = by;
        }
    }

    /// A number that does not fit OTLP's integer.
    #[cold]
    fn put_digits(&mut self, field: &Field, value: std::fmt::Arguments<'_>) {
        self.record_debug(field, &value);
    }
}

/// The callsite's data of a field; returns from the method for a field of another callsite.
macro_rules! field_of {
    ($self:ident, $field:ident) => {
        match $self.callsite.fields.get($field.index()) {
            Some(field) => field,
            None => return,
        }
    };
}

macro_rules! log_value {
    ($self:ident, $field:ident, $value:expr, $body:expr, $put:expr) => {{
        let name = $field.name();
        let field = field_of!($self, $field);
        if field.role != FieldRole::Attribute
            && !$self.is_attribute(name, field.role, format_args!("{}", $value), |out, _| {
                put_body(out, $body);
                true
            })
        {
            return;
        }
        if $self.attributes.admit(field.bit, &field.key) {
            #[allow(
                clippy::redundant_closure_call,
                reason = "one macro for all kinds of values"
            )]
            ($put)(&field.key, &mut *$self.attributes.out);
        }
    }};
}

impl Visit for LogVisitor<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        log_value!(
            self,
            field,
            value,
            ValueRef::Bool(value),
            |key: &EncodedKey, out| key.put_bool(out, value)
        );
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        log_value!(
            self,
            field,
            value,
            ValueRef::Int(value),
            |key: &EncodedKey, out| key.put_int(out, value)
        );
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        log_value!(
            self,
            field,
            value,
            ValueRef::Double(value),
            |key: &EncodedKey, out| key.put_double(out, value)
        );
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.record_i64(field, value),
            Err(_) => self.put_digits(field, format_args!("{value}")),
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        match i64::try_from(value) {
            Ok(value) => self.record_i64(field, value),
            Err(_) => self.put_digits(field, format_args!("{value}")),
        }
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        match i64::try_from(value) {
            Ok(value) => self.record_i64(field, value),
            Err(_) => self.put_digits(field, format_args!("{value}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let name = field.name();
        let field = field_of!(self, field);
        match field.role {
            FieldRole::Attribute => {}
            FieldRole::Message => {
                if !self.has_message {
                    put_body_str(self.attributes.out, self.attributes.room, value);
                    self.has_message = true;
                }
                return;
            }
            FieldRole::LogTarget => {
                self.scope = Some(self.sink.scope_of_target(value));
                return;
            }
            role => {
                if !self.is_attribute_of_text(name, role, format_args!("{value}")) {
                    return;
                }
            }
        }
        if self.attributes.admit(field.bit, &field.key) {
            self.attributes.put_str(&field.key, value);
        }
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        let field = field_of!(self, field);
        if field.role == FieldRole::Message {
            if !self.has_message {
                let AttributeWriter { out, room, .. } = &mut self.attributes;
                self.has_message = put_body_bytes(out, *room, value);
            }
        } else if self.attributes.admit(field.bit, &field.key) {
            self.attributes.put_bytes(&field.key, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let name = field.name();
        let field = field_of!(self, field);
        if field.role != FieldRole::Attribute
            && !self.is_attribute_of_text(name, field.role, format_args!("{value}"))
        {
            return;
        }
        if self.attributes.admit(field.bit, &field.key) {
            self.attributes.put_error(name, &field.key, value);
        }
        // The application's own `exception.*` fields win, whichever come first (LOG-60).
        if self.capture.error_fields_to_exceptions && !self.callsite.has_exception {
            self.attributes.put_exception(value);
        }
        if self.capture.error_records_to_exceptions {
            let AttributeWriter { room, limit, .. } = &mut self.attributes;
            let out = &mut self.errors.get_or_insert_default().for_span;
            out.clear();
            AttributeWriter::new((out, *room), SPAN_ATTRIBUTE, limit, u32::MAX)
                .put_exception(value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let name = field.name();
        let field = field_of!(self, field);
        if field.role != FieldRole::Attribute
            && !self.is_attribute_of_text(name, field.role, format_args!("{value:?}"))
        {
            return;
        }
        if self.attributes.admit(field.bit, &field.key) {
            self.attributes
                .put_fmt(&field.key, format_args!("{value:?}"));
        }
    }
}
