//! Visitors that encode field values: one for spans, one for events.

use std::error::Error;
use std::fmt::Debug;

use tracing_core::Field;
use tracing_core::field::Visit;

use super::attributes::AttributeWriter;
use super::callsite::Callsite;
use super::fields::{CUT, FieldRole, OtelFields};
use crate::config::CaptureConfig;
use crate::text::beginning;
use crate::wire::field::{EncodedKey, Unwritten, ValueLimit, format_into, text_within};
use crate::wire::span::SPAN_ATTRIBUTE;

/// Visits the fields of a span.
#[derive(Debug)]
pub(crate) struct SpanVisitor<'a> {
    pub(crate) attributes: AttributeWriter<'a>,
    pub(crate) otel_fields: &'a mut OtelFields,
    pub(crate) callsite: &'static Callsite,
    pub(crate) exceptions: bool,
}

/// Visits the fields of an event.
#[derive(Debug)]
pub(crate) struct EventVisitor<'a> {
    pub(crate) attributes: AttributeWriter<'a>,
    pub(crate) callsite: &'static Callsite,
    /// Whether the event's name was written.
    pub(crate) named: bool,
    pub(crate) capture: &'a CaptureConfig,
    pub(crate) errors: Option<Box<Errors>>,
}

/// The errors of an event.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    /// The text of the field `error`.
    pub(crate) text: Option<String>,
    /// `exception.*` attributes for the span, as fields of `Span`.
    pub(crate) for_span: Vec<u8>,
}

/// The integers of `tracing` that OTLP lacks: an `i64` if the value fits, else digits (TR-9).
macro_rules! wide_integers {
    ($digits:ident) => {
        fn record_u64(&mut self, field: &Field, value: u64) {
            match i64::try_from(value) {
                Ok(value) => self.record_i64(field, value),
                Err(_) => self.$digits(field, format_args!("{value}")),
            }
        }

        fn record_i128(&mut self, field: &Field, value: i128) {
            match i64::try_from(value) {
                Ok(value) => self.record_i64(field, value),
                Err(_) => self.$digits(field, format_args!("{value}")),
            }
        }

        fn record_u128(&mut self, field: &Field, value: u128) {
            match i64::try_from(value) {
                Ok(value) => self.record_i64(field, value),
                Err(_) => self.$digits(field, format_args!("{value}")),
            }
        }
    };
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

impl SpanVisitor<'_> {
    /// Sets the name, kind or status of the span from a field with that role.
    #[cold]
    #[inline(never)]
    fn otel_fields(&mut self, role: FieldRole, value: std::fmt::Arguments<'_>) {
        let AttributeWriter { out, room, .. } = &mut self.attributes;
        let at = out.len();
        // The length limit applies to attributes alone (LIM-2).
        let formatted = format_into(out, &ValueLimit::NONE, *room, value);
        let text = std::str::from_utf8(&out[at..]).unwrap_or_default();
        match formatted {
            Ok(()) => self.otel_fields.set(role, text, *room),
            Err(Unwritten::NoRoom) => {
                room.leave_out();
                self.otel_fields.set(role, beginning(text, CUT), *room);
            }
            Err(Unwritten::Failed) => {}
        }
        out.truncate(at);
    }

    /// A number that does not fit OTLP's integer.
    #[cold]
    fn put_digits(&mut self, field: &Field, value: std::fmt::Arguments<'_>) {
        self.record_debug(field, &value);
    }
}

/// Writes a plain attribute by `put`; a field with another role gets the value as text.
macro_rules! span_value {
    ($self:ident, $field:ident, $value:expr, $put:expr) => {{
        let field = field_of!($self, $field);
        if field.role != FieldRole::Attribute {
            return $self.otel_fields(field.role, format_args!("{}", $value));
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

impl Visit for SpanVisitor<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        span_value!(self, field, value, |key: &EncodedKey, out| key
            .put_bool(out, value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        span_value!(self, field, value, |key: &EncodedKey, out| key
            .put_int(out, value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        span_value!(self, field, value, |key: &EncodedKey, out| key
            .put_double(out, value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let field = field_of!(self, field);
        if field.role != FieldRole::Attribute {
            self.otel_fields
                .set(field.role, value, self.attributes.room);
        } else if self.attributes.admit(field.bit, &field.key) {
            self.attributes.put_str(&field.key, value);
        }
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        let field = field_of!(self, field);
        if self.attributes.admit(field.bit, &field.key) {
            self.attributes.put_bytes(&field.key, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let name = field.name();
        let field = field_of!(self, field);
        if field.role != FieldRole::Attribute {
            return self.otel_fields(field.role, format_args!("{value}"));
        }
        if self.attributes.admit(field.bit, &field.key) {
            self.attributes.put_error(name, &field.key, value);
        }
        if self.exceptions {
            self.attributes.put_exception(value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let field = field_of!(self, field);
        if field.role != FieldRole::Attribute {
            return self.otel_fields(field.role, format_args!("{value:?}"));
        }
        if self.attributes.admit(field.bit, &field.key) {
            self.attributes
                .put_fmt(&field.key, format_args!("{value:?}"));
        }
    }

    wide_integers!(put_digits);
}

impl EventVisitor<'_> {
    /// Handles a field with a role; returns whether it becomes an attribute too.
    #[inline]
    fn is_attribute(&mut self, role: FieldRole, value: std::fmt::Arguments<'_>) -> bool {
        match role {
            FieldRole::Message => {
                self.named = self.named || self.attributes.put_name(value);
                false
            }
            FieldRole::LogTarget => self.capture.target,
            FieldRole::LogLocation => self.capture.location,
            FieldRole::LogModule => false,
            _ => true,
        }
    }

    /// As [`is_attribute`](Self::is_attribute) for values that may describe an error: text or the error
    /// itself (EVT-4).
    #[inline]
    fn is_attribute_of_text(&mut self, role: FieldRole, value: std::fmt::Arguments<'_>) -> bool {
        if role == FieldRole::Error {
            let text = text_within(self.attributes.room, value);
            self.errors.get_or_insert_default().text = Some(text);
            return true;
        }
        self.is_attribute(role, value)
    }

    /// A number that does not fit OTLP's integer.
    #[cold]
    fn put_digits(&mut self, field: &Field, value: std::fmt::Arguments<'_>) {
        let field = field_of!(self, field);
        if field.role != FieldRole::Attribute && !self.is_attribute(field.role, value) {
            return;
        }
        if self.attributes.admit(field.bit, &field.key) {
            self.attributes.put_fmt(&field.key, value);
        }
    }
}

impl AttributeWriter<'_> {
    #[inline(always)]
    pub(super) fn put_str(&mut self, key: &EncodedKey, value: &str) {
        if !key.put_str(self.out, self.limit, self.room, value) {
            self.give_back(Unwritten::NoRoom);
        }
    }

    pub(super) fn put_bytes(&mut self, key: &EncodedKey, value: &[u8]) {
        if !key.put_bytes(self.out, self.limit, self.room, value) {
            self.give_back(Unwritten::NoRoom);
        }
    }

    #[inline(always)]
    pub(super) fn put_fmt(&mut self, key: &EncodedKey, value: std::fmt::Arguments<'_>) {
        if let Err(why) = key.put_fmt(self.out, self.limit, self.room, value) {
            self.give_back(why);
        }
    }

    /// Writes an event's name. Without room it writes the beginning; if formatting fails it writes
    /// nothing and returns false.
    #[inline]
    fn put_name(&mut self, value: std::fmt::Arguments<'_>) -> bool {
        self.put_text(crate::wire::span::EVENT_NAME_TAG, value)
    }

    /// As [`put_name`](Self::put_name), as any text field.
    #[inline(always)]
    pub(super) fn put_text(&mut self, tag: u8, value: std::fmt::Arguments<'_>) -> bool {
        use crate::wire::varint;
        let out = &mut *self.out;
        let start = out.len();
        // One byte for the length, which is enough for nearly all texts; replaced by more if not.
        out.extend_from_slice(&[tag, 0]);
        match format_into(out, &ValueLimit::NONE, self.room, value) {
            Ok(()) => {}
            Err(why) => {
                if why == Unwritten::NoRoom {
                    self.room.leave_out();
                }
                if why == Unwritten::Failed || out.len() == start + 2 {
                    out.truncate(start);
                    return false;
                }
            }
        }
        let len = out.len() - start - 2;
        match u8::try_from(len) {
            Ok(short @ 0..=127) => out[start + 1] = short,
            _ => {
                let mut long = Vec::with_capacity(10);
                varint::put(&mut long, len as u64);
                out.splice(start + 1..start + 2, long);
            }
        }
        true
    }
}

macro_rules! event_value {
    ($self:ident, $field:ident, $value:expr, $put:expr) => {{
        let field = field_of!($self, $field);
        if field.role != FieldRole::Attribute
            && !$self.is_attribute(field.role, format_args!("{}", $value))
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

impl Visit for EventVisitor<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        event_value!(self, field, value, |key: &EncodedKey, out| key
            .put_bool(out, value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        event_value!(self, field, value, |key: &EncodedKey, out| key
            .put_int(out, value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        event_value!(self, field, value, |key: &EncodedKey, out| key
            .put_double(out, value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let field = field_of!(self, field);
        if field.role != FieldRole::Attribute
            && !self.is_attribute_of_text(field.role, format_args!("{value}"))
        {
            return;
        }
        if self.attributes.admit(field.bit, &field.key) {
            self.attributes.put_str(&field.key, value);
        }
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        let field = field_of!(self, field);
        if self.attributes.admit(field.bit, &field.key) {
            self.attributes.put_bytes(&field.key, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let name = field.name();
        let field = field_of!(self, field);
        if !self.is_attribute_of_text(field.role, format_args!("{value}")) {
            return;
        }
        if self.attributes.admit(field.bit, &field.key) {
            self.attributes.put_error(name, &field.key, value);
        }
        if self.capture.error_fields_to_exceptions {
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
        let field = field_of!(self, field);
        if field.role != FieldRole::Attribute
            && !self.is_attribute_of_text(field.role, format_args!("{value:?}"))
        {
            return;
        }
        if self.attributes.admit(field.bit, &field.key) {
            self.attributes
                .put_fmt(&field.key, format_args!("{value:?}"));
        }
    }

    wide_integers!(put_digits);
}
