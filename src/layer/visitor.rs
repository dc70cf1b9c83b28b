//! [`FieldVisitor`]: the one visitor of field values. It writes plain attributes itself; what a field with a
//! role means, each [`FieldSink`] says: spans, span events, log records.

use std::error::Error;
use std::fmt::{self, Debug};

use tracing_core::Field;
use tracing_core::field::Visit;

use super::attributes::AttributeWriter;
use super::callsite;
use super::fields::FieldRole;
use crate::wire::bounded::{Unwritten, ValueLimit, format_into};
use crate::wire::field::EncodedKey;
use crate::wire::span::SPAN_ATTRIBUTE;

/// Visits the fields of a span, an event or a record, whose callsite `S` knows.
#[derive(Debug)]
pub(super) struct FieldVisitor<S>(pub(super) S);

/// The owner of visited fields.
pub(super) trait FieldSink<'a> {
    /// The callsite's data of a field; `None` for a field of another callsite.
    fn field(&self, index: usize) -> Option<&'a callsite::Field>;

    fn attributes(&mut self) -> &mut AttributeWriter<'a>;

    /// Takes a field that is no plain attribute; returns whether it becomes an attribute too.
    fn take(&mut self, name: &str, role: FieldRole, value: VisitedValue<'_>) -> bool;

    /// Called after the attribute of an error.
    fn note_error(&mut self, error: &(dyn Error + 'static));
}

/// The value of a field with a role.
#[derive(Clone, Copy)]
pub(super) enum VisitedValue<'v> {
    Bool(bool),
    Int(i64),
    Double(f64),
    /// A number that does not fit OTLP's integer.
    Digits(fmt::Arguments<'v>),
    Str(&'v str),
    Bytes(&'v [u8]),
    Debug(&'v dyn Debug),
    Error(&'v (dyn Error + 'static)),
}

impl VisitedValue<'_> {
    /// Whether it may describe an error: a text or the error itself (EVT-4).
    #[inline(always)]
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Str(_) | Self::Debug(_) | Self::Error(_))
    }

    /// Calls `f` with the value as text. Bytes have none.
    #[inline(always)]
    pub(super) fn with_text<R>(self, f: impl FnOnce(fmt::Arguments<'_>) -> R) -> R {
        match self {
            Self::Bool(value) => f(format_args!("{value}")),
            Self::Int(value) => f(format_args!("{value}")),
            Self::Double(value) => f(format_args!("{value}")),
            Self::Digits(value) => f(value),
            Self::Str(value) => f(format_args!("{value}")),
            Self::Bytes(_) => f(format_args!("")),
            Self::Debug(value) => f(format_args!("{value:?}")),
            Self::Error(value) => f(format_args!("{value}")),
        }
    }
}

/// Gives a field with a role to its owner; returns whether it becomes an attribute too.
#[inline(always)]
fn take<'a>(
    sink: &mut impl FieldSink<'a>,
    field: &Field,
    role: FieldRole,
    value: VisitedValue<'_>,
) -> bool {
    if role == FieldRole::Nameless {
        sink.attributes().dropped += 1;
        return false;
    }
    sink.take(field.name(), role, value)
}

impl<'a, S: FieldSink<'a>> FieldVisitor<S> {
    /// Writes an attribute by `put`, unless the field has a role that says otherwise.
    #[inline(always)]
    fn put(
        &mut self,
        field: &Field,
        value: VisitedValue<'_>,
        put: impl FnOnce(&mut AttributeWriter<'a>, &EncodedKey),
    ) {
        let sink = &mut self.0;
        let Some(known) = sink.field(field.index()) else {
            return;
        };
        if known.role != FieldRole::Attribute && !take(sink, field, known.role, value) {
            return;
        }
        let attributes = sink.attributes();
        if attributes.admit(known.bit, &known.key) {
            put(attributes, &known.key);
        }
    }

    /// A number that does not fit OTLP's integer (TR-9).
    #[cold]
    fn put_digits(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.put(field, VisitedValue::Digits(value), |attributes, key| {
            attributes.put_fmt(key, value);
        });
    }
}

impl<'a, S: FieldSink<'a>> Visit for FieldVisitor<S> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, VisitedValue::Bool(value), |attributes, key| {
            key.put_bool(attributes.out, value);
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, VisitedValue::Int(value), |attributes, key| {
            key.put_int(attributes.out, value);
        });
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

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, VisitedValue::Double(value), |attributes, key| {
            key.put_double(attributes.out, value);
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, VisitedValue::Str(value), |attributes, key| {
            attributes.put_str(key, value);
        });
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.put(field, VisitedValue::Bytes(value), |attributes, key| {
            attributes.put_bytes(key, value);
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, VisitedValue::Debug(value), |attributes, key| {
            attributes.put_fmt(key, format_args!("{value:?}"));
        });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let sink = &mut self.0;
        let Some(known) = sink.field(field.index()) else {
            return;
        };
        let is_plain = known.role == FieldRole::Attribute;
        if !is_plain && !take(sink, field, known.role, VisitedValue::Error(value)) {
            return;
        }
        let attributes = sink.attributes();
        if attributes.admit(known.bit, &known.key) {
            attributes.put_error(field.name(), &known.key, value);
        }
        sink.note_error(value);
    }
}

/// The errors of an event.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    /// The text of the field `error`.
    pub(crate) text: Option<String>,
    /// `exception.*` attributes for the span, as fields of `Span`.
    pub(crate) for_span: Vec<u8>,
}

impl Errors {
    /// Writes an error's `exception.*` for the span, within the memory of `attributes`.
    pub(super) fn set_for_span(
        &mut self,
        error: &(dyn Error + 'static),
        attributes: &mut AttributeWriter<'_>,
    ) {
        let AttributeWriter { room, limit, .. } = attributes;
        let out = &mut self.for_span;
        out.clear();
        AttributeWriter::new((out, *room), SPAN_ATTRIBUTE, limit, u32::MAX).put_exception(error);
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
    pub(super) fn put_name(&mut self, value: std::fmt::Arguments<'_>) -> bool {
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
