//! What a field with a role means to a span and to a span event.

use std::error::Error;

use super::attributes::AttributeWriter;
use super::callsite::{Callsite, Field};
use super::fields::{CUT, FieldRole, OtelFields};
use super::visitor::{Errors, FieldSink, VisitedValue};
use crate::config::CaptureConfig;
use crate::text::beginning;
use crate::wire::bounded::{Unwritten, ValueLimit, format_into, text_within};

/// The fields of a span: those with a role are no attributes.
#[derive(Debug)]
pub(crate) struct SpanFieldSink<'a> {
    pub(crate) attributes: AttributeWriter<'a>,
    pub(crate) otel_fields: &'a mut OtelFields,
    pub(crate) callsite: &'static Callsite,
    pub(crate) exceptions: bool,
}

/// The fields of an event.
#[derive(Debug)]
pub(crate) struct EventFieldSink<'a> {
    pub(crate) attributes: AttributeWriter<'a>,
    pub(crate) callsite: &'static Callsite,
    /// Whether the event's name was written.
    pub(crate) named: bool,
    pub(crate) capture: &'a CaptureConfig,
    pub(crate) errors: Option<Box<Errors>>,
}

impl<'a> FieldSink<'a> for SpanFieldSink<'a> {
    #[inline(always)]
    fn field(&self, index: usize) -> Option<&'a Field> {
        self.callsite.fields.get(index)
    }

    #[inline(always)]
    fn attributes(&mut self) -> &mut AttributeWriter<'a> {
        &mut self.attributes
    }

    #[inline(always)]
    fn take(&mut self, _: &str, role: FieldRole, value: VisitedValue<'_>) -> bool {
        match value {
            VisitedValue::Bytes(_) => return true,
            VisitedValue::Str(text) => self.otel_fields.set(role, text, self.attributes.room),
            other => self.set_formatted(role, other),
        }
        false
    }

    fn note_error(&mut self, error: &(dyn Error + 'static)) {
        if self.exceptions {
            self.attributes.put_exception(error);
        }
    }
}

impl SpanFieldSink<'_> {
    /// Sets the name, kind or status of the span from a field with that role.
    #[cold]
    #[inline(never)]
    fn set_formatted(&mut self, role: FieldRole, value: VisitedValue<'_>) {
        let AttributeWriter { out, room, .. } = &mut self.attributes;
        let at = out.len();
        // The length limit applies to attributes alone (LIM-2).
        let formatted = value.with_text(|text| format_into(out, &ValueLimit::NONE, *room, text));
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
}

impl<'a> FieldSink<'a> for EventFieldSink<'a> {
    #[inline(always)]
    fn field(&self, index: usize) -> Option<&'a Field> {
        self.callsite.fields.get(index)
    }

    #[inline(always)]
    fn attributes(&mut self) -> &mut AttributeWriter<'a> {
        &mut self.attributes
    }

    #[inline(always)]
    fn take(&mut self, _: &str, role: FieldRole, value: VisitedValue<'_>) -> bool {
        match role {
            _ if matches!(value, VisitedValue::Bytes(_)) => true,
            FieldRole::Message => {
                let attributes = &mut self.attributes;
                self.named = self.named || value.with_text(|text| attributes.put_name(text));
                false
            }
            FieldRole::Error if value.is_text() => {
                self.set_error(value);
                true
            }
            FieldRole::LogTarget => self.capture.target,
            FieldRole::LogLocation => self.capture.location,
            FieldRole::LogModule => false,
            _ => true,
        }
    }

    fn note_error(&mut self, error: &(dyn Error + 'static)) {
        if self.capture.error_fields_to_exceptions {
            self.attributes.put_exception(error);
        }
        if self.capture.error_records_to_exceptions {
            let errors = self.errors.get_or_insert_default();
            errors.set_for_span(error, &mut self.attributes);
        }
    }
}

impl EventFieldSink<'_> {
    #[cold]
    fn set_error(&mut self, value: VisitedValue<'_>) {
        let text = value.with_text(|text| text_within(self.attributes.room, text));
        self.errors.get_or_insert_default().text = Some(text);
    }
}
