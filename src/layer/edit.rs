//! What is said of a span after its creation, other than by `tracing`'s own callbacks: the layer's
//! side of its door.

use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing_core::{Dispatch, Metadata};

use super::OtlpLayer;
use super::attributes::{AttributeWriter, EncodedAttributes};
use super::event::Times;
use super::filters;
use super::open_spans::OpenSpans;
use super::recorder::Recorder;
use super::scratch::Scratch;
use super::span::OpenSpan;
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

/// A table of open spans and what it takes to change them: the registry's spans, or free ones.
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
        let may_be_filtered = !filters::are_absent(dispatch);
        let recorder = self.here();
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
            || self.config.sampling_flags().has_detail()
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
        if recorder.free.get().is_some_and(|free| free.has(id)) {
            return true;
        }
        // In a fork, one that was open before it: no lock is waited for.
        let before = self.free.get().filter(|_| !std::ptr::eq(recorder, self));
        before.is_some_and(|free| free.try_with(id, |_| ()).is_some())
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
        let end = clock::now();
        if let Some(mut span) = self.take_to_end(span) {
            span.state.end_given = at.map_or(0, unix_nanos);
            self.recorder.finish_early(span, end);
        }
    }

    /// Takes a span out that is to end before its close: what is left in its place makes children.
    pub(super) fn take_to_end(self, span: u64) -> Option<Box<OpenSpan>> {
        let mut rest = self.recorder.spare_in_exchange();
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

    /// Counts a call that came too late (TR-10).
    #[inline]
    pub(super) fn count_if_ended(&self, span: &OpenSpan) {
        if span.identity.is_ended() {
            self.after_end.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds attributes to a span that nobody else sees yet.
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
    /// Whether attributes of a span are kept; `None` if it is not open.
    #[inline]
    pub(super) fn is_listening(self, span: u64) -> Option<bool> {
        self.spans.with(span, |span| {
            let recording = span.identity.is_recording();
            if !recording {
                self.recorder.count_if_ended(span);
            }
            recording
        })
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

    pub(super) fn add_attributes(self, span: u64, attributes: &[KeyValue]) {
        if self.is_listening(span) != Some(true) {
            return;
        }
        let mut scratch = Scratch::take(&self.recorder.memory);
        let written = self.recorder.write(&mut scratch, attributes);
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
        // One to nowhere says something if it has attributes or a trace state (TR-12).
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
    fn add_event(
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
            takes.then(|| Times::of(span))
        });
        let Some(Some(times)) = times else { return };
        let limits = &self.recorder.settings.limits;
        // Where code says when it was, that says nothing about the span's end.
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

    /// An event `exception` with the message and its causes (TR-14, ERR-2).
    fn add_error(self, span: u64, error: &(dyn Error + 'static)) {
        self.add_event(span, semconv::EXCEPTION_EVENT, None, |row| {
            row.put_exception(error);
        });
    }
}

fn put_all(row: &mut AttributeWriter<'_>, attributes: &[KeyValue]) {
    /// More of them are not looked for one by one.
    const MANY: usize = 128;
    if attributes.len() > MANY {
        return row.put_many(attributes);
    }
    for attribute in attributes {
        row.put_value(&attribute.key, &attribute.value);
    }
}

pub(super) fn unix_nanos(time: SystemTime) -> u64 {
    // Before 1970 is as good as 1970; after 2554 as good as then.
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}
