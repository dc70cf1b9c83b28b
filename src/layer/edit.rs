//! [`SpanEditor`]: changes of an open span after its creation, and the layer's side of the
//! [layer registry](crate::context::layer_registry).

use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing_core::span::Record;
use tracing_core::{Dispatch, Metadata};

use super::OtlpLayer;
use super::attributes::{AttributeWriter, EncodedAttributes};
use super::callsite::Callsite;
use super::event::EventClock;
use super::field_sinks::SpanFieldSink;
use super::fields::OtelFields;
use super::filters;
use super::keys::MANY;
use super::open_spans::OpenSpans;
use super::recorder::Recorder;
use super::scratch::Scratch;
use super::span::OpenSpan;
use super::visitor::FieldVisitor;
use crate::attribute::KeyValue;
use crate::clock;
use crate::context::layer_registry::{Change, Spans};
use crate::context::{SetParentError, TraceContext};
use crate::semconv;
use crate::span_data::Status;
use crate::wire::span::{
    EVENT_ATTRIBUTE, LINK_ATTRIBUTE, SPAN_ATTRIBUTE, SPAN_EVENT, SPAN_LINK, StatusCode,
    put_event_dropped, put_event_name, put_event_time, put_link, put_link_dropped,
};

/// Changes the spans of one table: those of the registry, or the manual ones.
#[derive(Clone, Copy)]
pub(super) struct SpanEditor<'a> {
    pub(super) recorder: &'a Recorder,
    pub(super) spans: &'a OpenSpans,
}

impl Spans for Recorder {
    fn is_in(&self, dispatch: &Dispatch) -> Option<bool> {
        let found = dispatch.downcast_ref::<OtlpLayer>()?;
        Some(found.layer == self.layer)
    }

    fn learn(&self, dispatch: &Dispatch) {
        let recorder = self.here();
        let may_be_filtered =
            recorder.settings.capture.expect_filters || !filters::are_absent(dispatch);
        recorder
            .may_be_filtered
            .store(may_be_filtered, Ordering::Relaxed);
        recorder.set_dispatch(dispatch.downgrade());
    }

    fn has(&self, span: u64, metadata: &Metadata<'_>) -> bool {
        let same = |s: &mut OpenSpan| std::ptr::eq(s.name, metadata.name());
        self.here().spans.with(span, same) == Some(true)
    }

    fn may_hide(&self) -> bool {
        self.here().may_be_filtered.load(Ordering::Relaxed)
            || self.config.sampling_flags().has_span_filter()
    }

    fn context(&self, span: u64) -> Option<TraceContext> {
        let recorder = self.here();
        let context = recorder.editor().context(span);
        let context = context.or_else(|| recorder.context_from_before(span))?;
        Some(context.with_origin(self.layer, span))
    }

    fn is_recording(&self, span: u64) -> bool {
        self.here().editor().is_recording(span)
    }

    #[cfg(feature = "opentelemetry")]
    fn has_free(&self, span_id: [u8; 8]) -> bool {
        let id = u64::from_be_bytes(span_id);
        let recorder = self.here();
        if recorder.manual.get().is_some_and(|manual| manual.has(id)) {
            return true;
        }
        // In a fork also the parent's spans: `try_with`, because a thread that does not exist here
        // may hold the lock.
        let before = self.manual.get().filter(|_| !std::ptr::eq(recorder, self));
        before.is_some_and(|manual| manual.try_with(id, |_| ()).is_some())
    }

    fn set_parent(
        &self,
        span: u64,
        metadata: &'static Metadata<'static>,
        parent: &TraceContext,
    ) -> Result<(), SetParentError> {
        self.here().editor().set_parent(span, metadata, parent)
    }

    fn change(&self, span: u64, change: &Change<'_>) {
        self.here().editor().change(span, change);
    }

    fn end(&self, span: u64, at: Option<SystemTime>) {
        self.here().editor().end(span, at);
    }
}

impl SpanEditor<'_> {
    pub(super) fn context(self, span: u64) -> Option<TraceContext> {
        self.spans.with(span, |span| span.identity.context())
    }

    pub(super) fn is_recording(self, span: u64) -> bool {
        let recording = |s: &mut OpenSpan| s.identity.is_recording();
        self.spans.with(span, recording) == Some(true)
    }

    pub(super) fn change(self, span: u64, change: &Change<'_>) {
        match *change {
            Change::Attributes(attributes) => self.add_attributes(span, attributes),
            Change::Link(to, attributes) => self.add_link(span, to, attributes),
            Change::Event {
                name,
                at,
                attributes,
            } => self.add_event(span, name, at, |row| put_all(row, attributes)),
            Change::Error(error) => self.add_error(span, error),
            Change::Exception(exception) => self.add_exception(span, exception),
            Change::Status(status) => self.set(span, |span| match status {
                Status::Unset => {}
                Status::Ok => span.set_status(StatusCode::Ok, None),
                Status::Error { description } => {
                    span.set_status(StatusCode::Error, Some(description));
                }
            }),
            Change::Name(name) => self.set(span, |s| s.set_name(name)),
        }
    }

    pub(super) fn end(self, span: u64, at: Option<SystemTime>) {
        // A span that keeps nothing needs no other in its place.
        let end_unrecorded = |span: &mut OpenSpan| span.identity.end_unrecorded();
        if self.spans.with(span, end_unrecorded) == Some(true) {
            return;
        }
        let end = clock::now();
        if let Some(mut span) = self.take_to_end(span) {
            span.state.end_given = at.map_or(0, unix_nanos);
            self.recorder.finish_early(span, end);
        }
    }

    /// Takes out a span that ends before its close. The span left in its place has the identity alone,
    /// for children.
    pub(super) fn take_to_end(self, span: u64) -> Option<Box<OpenSpan>> {
        let mut rest = self.recorder.take_for_exchange();
        self.spans.replace(span, |span| {
            if span.identity.is_ended() {
                self.recorder.count_if_ended(span);
                return None;
            }
            rest.identity = span.identity.ended();
            rest.name = span.name;
            rest.state.has_children = span.state.has_children;
            Some(rest)
        })
    }
}

impl Recorder {
    /// The spans of the registry.
    #[inline]
    pub(super) fn editor(&self) -> SpanEditor<'_> {
        SpanEditor {
            recorder: self,
            spans: &self.spans,
        }
    }

    /// Counts a call on a span that has ended (TR-10).
    #[inline]
    pub(super) fn count_if_ended(&self, span: &OpenSpan) {
        if span.identity.is_ended() {
            self.after_end.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds attributes to a span that is in no table.
    #[inline(never)]
    pub(super) fn add_key_values(&self, span: &mut OpenSpan, attributes: &[KeyValue]) {
        if attributes.is_empty() {
            return;
        }
        let mut scratch = Scratch::take(&self.memory);
        let written = self.write(&mut scratch, attributes);
        let encoded = EncodedAttributes {
            bytes: scratch.bytes(),
            ..written
        };
        span.note_left_out(&scratch);
        span.add_attributes(&encoded, self.settings.limits.attributes);
    }

    fn write(
        &self,
        scratch: &mut Scratch<'_>,
        attributes: &[KeyValue],
    ) -> EncodedAttributes<'static> {
        let limits = &self.settings.limits;
        let (out, room) = scratch.parts();
        let mut row = AttributeWriter::new(
            (out, room),
            SPAN_ATTRIBUTE,
            &limits.value,
            limits.attributes,
        );
        put_all(&mut row, attributes);
        row.written()
    }
}

impl SpanEditor<'_> {
    /// Whether a span keeps attributes, `None` if it is not open. A call after the span's end is counted.
    #[inline]
    pub(super) fn check_recording(self, span: u64) -> Option<bool> {
        self.spans.with(span, |span| {
            let recording = span.identity.is_recording();
            if !recording {
                self.recorder.count_if_ended(span);
            }
            recording
        })
    }

    /// Adds fields that `Span::record` sets after the span's creation. Foreign code runs before the
    /// span is locked.
    #[inline]
    pub(super) fn record_values(self, span: u64, callsite: &'static Callsite, values: &Record<'_>) {
        let recorder = self.recorder;
        let limits = &recorder.settings.limits;
        let mut scratch = Scratch::take(&recorder.memory);
        let (out, room) = scratch.parts();
        let mut otel_fields = OtelFields::default();
        let mut visitor = FieldVisitor(SpanFieldSink {
            attributes: AttributeWriter::new(
                (out, room),
                SPAN_ATTRIBUTE,
                &limits.value,
                limits.attributes,
            ),
            otel_fields: &mut otel_fields,
            callsite,
            exceptions: recorder.settings.capture.error_fields_to_exceptions,
        });
        values.record(&mut visitor);
        let written = visitor.0.attributes.written();
        let encoded = EncodedAttributes {
            bytes: scratch.bytes(),
            ..written
        };
        self.spans.with(span, |span| {
            span.add_attributes(&encoded, limits.attributes);
            span.merge(&otel_fields);
            span.note_left_out(&scratch);
        });
    }

    /// Adds a link to another open span of the table; a closed one leaves no link.
    #[inline]
    pub(super) fn add_link_to_open_span(self, span: u64, other: u64) {
        // Two buckets, locked one after the other: two threads cannot wait for each other.
        let other = self.spans.with(other, |s| s.identity.clone());
        if let Some(other) = other {
            self.add_link(span, &other.context(), &[]);
        }
    }

    fn set(self, span: u64, set: impl FnOnce(&mut OpenSpan)) {
        self.spans.with(span, |span| {
            if span.identity.is_recording() {
                set(span);
            } else {
                self.recorder.count_if_ended(span);
            }
        });
    }

    /// Sets attributes; each replaces an earlier one of the same key (TR-8).
    pub(super) fn add_attributes(self, span: u64, attributes: &[KeyValue]) {
        let limits = &self.recorder.settings.limits;
        let mut left = attributes;
        loop {
            let set = self.spans.with(span, |span| {
                if span.identity.is_recording() {
                    return Some(span.set_short(left, limits));
                }
                self.recorder.count_if_ended(span);
                None
            });
            let Some(Some(set)) = set else { return };
            left = left.get(set..).unwrap_or_default();
            match (set, left) {
                (_, []) => return,
                (0, [long, rest @ ..]) => {
                    self.add_long_attribute(span, long);
                    left = rest;
                    if left.is_empty() {
                        return;
                    }
                }
                _ => {}
            }
        }
    }

    /// Encodes an attribute before the span is locked.
    #[cold]
    #[inline(never)]
    fn add_long_attribute(self, span: u64, attribute: &KeyValue) {
        let mut scratch = Scratch::take(&self.recorder.memory);
        let written = self
            .recorder
            .write(&mut scratch, std::slice::from_ref(attribute));
        let encoded = EncodedAttributes {
            bytes: scratch.bytes(),
            ..written
        };
        let limit = self.recorder.settings.limits.attributes;
        self.set(span, |span| {
            span.note_left_out(&scratch);
            span.add_attributes(&encoded, limit);
        });
    }

    pub(super) fn add_link(self, span: u64, to: &TraceContext, attributes: &[KeyValue]) {
        // A link without a valid context is kept for its attributes or trace state (TR-12).
        if !to.is_valid() && attributes.is_empty() && to.trace_state().is_empty() {
            return;
        }
        let limits = &self.recorder.settings.limits;
        let mut scratch = Scratch::take(&self.recorder.memory);
        put_link(
            scratch.buffer(),
            to.trace_id().to_bytes(),
            to.span_id().to_bytes(),
            to.trace_state().as_str(),
            to.flags().bits(),
            to.is_remote(),
        );
        let (out, room) = scratch.parts();
        let mut row = AttributeWriter::new(
            (out, room),
            LINK_ATTRIBUTE,
            &limits.value,
            limits.link_attributes,
        );
        put_all(&mut row, attributes);
        let dropped = row.dropped;
        put_link_dropped(scratch.buffer(), dropped);
        let limit = limits.links;
        self.set(span, |span| {
            span.note_left_out(&scratch);
            if span.state.links < limit && span.add_field(SPAN_LINK, scratch.bytes()) {
                span.state.links += 1;
            } else {
                span.state.dropped_links += 1;
            }
        });
    }

    /// Adds an event; `put` writes its attributes and may run foreign code.
    pub(super) fn add_event(
        self,
        span: u64,
        name: &str,
        at: Option<SystemTime>,
        put: impl FnOnce(&mut AttributeWriter<'_>),
    ) {
        let times = self.spans.with(span, |span| {
            let takes = span.identity.takes_events();
            if !takes {
                self.recorder.count_if_ended(span);
            }
            takes.then(|| EventClock::of(span))
        });
        let Some(Some(times)) = times else { return };
        let limits = &self.recorder.settings.limits;
        // A time given by the caller does not move the span's end.
        let (now, unix) = match at {
            Some(at) => (0, unix_nanos(at)),
            None => times.now(),
        };
        let mut scratch = Scratch::take(&self.recorder.memory);
        put_event_time(scratch.buffer(), unix);
        let kept = scratch.fitting(name);
        put_event_name(scratch.buffer(), kept);
        let (out, room) = scratch.parts();
        let mut row = AttributeWriter::new(
            (out, room),
            EVENT_ATTRIBUTE,
            &limits.value,
            limits.event_attributes,
        );
        put(&mut row);
        let dropped = row.dropped;
        put_event_dropped(scratch.buffer(), dropped);
        let limit = limits.events;
        self.set(span, |span| {
            span.note_left_out(&scratch);
            span.state.last_event = span.state.last_event.max(now);
            if span.state.events < limit && span.add_field(SPAN_EVENT, scratch.bytes()) {
                span.state.events += 1;
            } else {
                span.state.dropped_events += 1;
            }
        });
    }

    /// Adds an `exception` event with the error's message and causes (TR-14, ERR-2).
    fn add_error(self, span: u64, error: &(dyn Error + 'static)) {
        self.add_event(span, semconv::EXCEPTION_EVENT, None, |row| {
            row.put_exception(error);
        });
    }
}

pub(super) fn put_all(row: &mut AttributeWriter<'_>, attributes: &[KeyValue]) {
    if attributes.len() > MANY as usize {
        return row.put_many(attributes);
    }
    for attribute in attributes {
        row.put_value(&attribute.key, &attribute.value);
    }
}

pub(super) fn unix_nanos(time: SystemTime) -> u64 {
    // Saturates: 0 before 1970, the maximum after the year 2554.
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}
