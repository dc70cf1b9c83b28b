//! Events become span events; an error also sets the status of the span.

use std::sync::atomic::Ordering;

use tracing_core::span::Id;
use tracing_core::{Event, Level, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::OtlpLayer;
use super::attributes::{AttributeWriter, EncodedAttributes};
use super::callsite_table;
use super::field_sinks::EventFieldSink;
use super::recorder::Recorder;
use super::scratch::Scratch;
use super::span::OpenSpan;
use super::visitor::{Errors, FieldVisitor};
use crate::clock::{self, Anchor};
use crate::context::registry_lookup::{ancestors, find_ancestor};
use crate::context::stack;
use crate::semconv;
use crate::wire::span::{
    EVENT_ATTRIBUTE, SPAN_EVENT, StatusCode, fields, find_attribute, put_event_dropped,
    put_event_name, put_event_time,
};

/// The clock of an event: the anchor and the start of its span.
#[derive(Clone, Copy)]
pub(super) struct EventClock {
    anchor: Anchor,
    start: u64,
}

impl EventClock {
    /// Fixes the span's anchor. The event's values are formatted between this call and the event's place
    /// in the span; that may take long, or set a parent, and must not change the anchor meanwhile.
    #[inline]
    pub(super) fn of(span: &mut OpenSpan) -> Self {
        span.state.is_anchored = true;
        Self {
            anchor: span.identity.anchor,
            start: span.state.start,
        }
    }

    /// The time, and the same in Unix nanoseconds. Not before the span's start: that may be read on
    /// another core, whose counter is ahead.
    #[inline]
    pub(super) fn now(self) -> (u64, u64) {
        let now = clock::now().max(self.start);
        (now, self.anchor.unix_nanos(now))
    }
}

/// Whether a span takes an event.
enum Admission {
    Kept(EventClock),
    /// The span is at its limit of events.
    Full(EventClock),
    NotRecording,
    /// The span is not open here.
    NotOpen,
}

impl OtlpLayer {
    /// An event of a pipeline without logs: a span event, or nothing.
    #[inline(always)]
    pub(super) fn on_span_event<S>(
        &self,
        recorder: &Recorder,
        event: &Event<'_>,
        context: &Context<'_, S>,
    ) where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let sampling_flags = recorder.config.sampling_flags();
        if event.is_root() || recorder.is_event_filtered(sampling_flags, event) {
            return;
        }
        let entered = || stack::innermost_span(self.layer, |_| true);
        // Without filters the thread's stack and the registry agree, and the stack is cheaper.
        let is_certain =
            !sampling_flags.has_span_filter() && !recorder.may_be_filtered.load(Ordering::Relaxed);
        let span = match event.parent() {
            Some(span) => Some(span.into_u64()),
            None if is_certain => entered(),
            None => context
                .current_span()
                .id()
                .map(Id::into_u64)
                .or_else(entered),
        };
        if let Some(span) = span {
            recorder.record_event(span, event, || self.nearest_recorded(span, event, context));
        }
    }

    /// The span of an event whose own span a filter hides from this layer: the nearest open ancestor,
    /// else the innermost open span that is entered on this thread.
    #[cold]
    pub(super) fn nearest_recorded<S>(
        &self,
        span: u64,
        event: &Event<'_>,
        context: &Context<'_, S>,
    ) -> Option<u64>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let recorder = self.recorder.here();
        let id = Id::from_u64(span);
        let is_open = |span: &u64| recorder.spans.has(*span);
        let found = match context.span(&id) {
            Some(span) => ancestors(span).map(|s| s.id().into_u64()).find(is_open),
            // A filter hides it from the context too; the subscriber itself can look it up.
            None => recorder
                .dispatch()
                .and_then(|d| find_ancestor(&d, &id, |span, _| is_open(&span.into_u64()))),
        };
        let entered = || stack::innermost_span(self.layer, |span| recorder.spans.has(span));
        found.or_else(|| event.is_contextual().then(entered).flatten())
    }
}

impl Recorder {
    /// Adds an event to a span, or to that of `nearest` if it is not open here.
    #[inline(always)]
    pub(super) fn record_event(
        &self,
        mut id: u64,
        event: &Event<'_>,
        nearest: impl FnOnce() -> Option<u64>,
    ) {
        // Fields are visited only if the span records and has room.
        let is_error = *event.metadata().level() == Level::ERROR;
        let limit = self.settings.limits.events;
        let mut admission = self.admit(id, limit, is_error);
        if matches!(admission, Admission::NotOpen) {
            let Some(other) = nearest() else { return };
            id = other;
            admission = self.admit_again(id, limit, is_error);
        }
        let times = match admission {
            Admission::Kept(times) => times,
            // At the limit, an error field may still set the status.
            Admission::Full(times) if callsite_table::of(event.metadata()).has_error_field => times,
            Admission::Full(_) => {
                self.spans.with(id, |span| span.state.dropped_events += 1);
                return;
            }
            Admission::NotRecording | Admission::NotOpen => return,
        };
        let (now, unix) = times.now();
        let mut scratch = Scratch::take(&self.memory);
        put_event_time(scratch.buffer(), unix);
        let errors = self.write_event(event, &mut scratch);
        self.spans.with(id, |span| {
            span.state.last_event = span.state.last_event.max(now);
            span.note_left_out(&scratch);
            if span.state.events < limit && span.add_field(SPAN_EVENT, scratch.bytes()) {
                span.state.events += 1;
            } else {
                span.state.dropped_events += 1;
            }
            if is_error {
                span.set_status(StatusCode::Error, None);
            }
            if let Some(errors) = &errors {
                self.apply_errors(span, errors);
            }
        });
    }

    #[inline(always)]
    fn admit(&self, id: u64, limit: u32, is_error: bool) -> Admission {
        let admit = |span: &mut OpenSpan| {
            if !span.identity.takes_events() {
                self.count_if_ended(span);
                Admission::NotRecording
            } else if span.state.events < limit || is_error {
                Admission::Kept(EventClock::of(span))
            } else {
                Admission::Full(EventClock::of(span))
            }
        };
        self.spans.with(id, admit).unwrap_or(Admission::NotOpen)
    }

    #[cold]
    #[inline(never)]
    fn admit_again(&self, id: u64, limit: u32, is_error: bool) -> Admission {
        self.admit(id, limit, is_error)
    }

    /// Writes name and attributes. Foreign code runs here: no lock is held.
    #[inline(always)]
    fn write_event(&self, event: &Event<'_>, scratch: &mut Scratch<'_>) -> Option<Box<Errors>> {
        let capture = &self.settings.capture;
        let limits = &self.settings.limits;
        let callsite = callsite_table::of(event.metadata());
        let (out, room) = scratch.parts();
        let mut visitor = FieldVisitor(EventFieldSink {
            attributes: AttributeWriter::new(
                (out, room),
                EVENT_ATTRIBUTE,
                &limits.value,
                limits.event_attributes,
            ),
            callsite,
            named: false,
            capture,
            errors: None,
        });
        event.record(&mut visitor);
        let sink = &mut visitor.0;
        let (attributes, named) = (&mut sink.attributes, sink.named);
        if !self.settings.event_extras.are_none() {
            attributes.put_static(callsite.extras(self.settings.event_extras));
        }
        let mut name = callsite.metadata.name();
        if let Some(text) = sink
            .errors
            .as_ref()
            .filter(|_| !named)
            .and_then(|e| e.text.as_deref())
            && capture.error_events_to_exceptions
        {
            attributes.rename_error(text);
            name = semconv::EXCEPTION_EVENT;
        }
        let (dropped, errors) = (attributes.dropped, sink.errors.take());
        let out = scratch.buffer();
        if !named {
            put_event_name(out, name);
        }
        put_event_dropped(out, dropped);
        errors.map(|mut errors| {
            // Beside a message, the field `error` is a plain attribute (EVT-4).
            errors
                .text
                .take_if(|_| named || !capture.error_events_to_status);
            errors
        })
    }

    /// Applies an event's errors to its span: status and `exception.*` attributes.
    #[cold]
    pub(super) fn apply_errors(&self, span: &mut OpenSpan, errors: &Errors) {
        if let Some(text) = &errors.text {
            span.set_status(StatusCode::Error, Some(text));
        }
        if !errors.for_span.is_empty() {
            let exception = EncodedAttributes {
                bytes: &errors.for_span,
                recorded: 0,
                dynamic: true,
                count: fields(&errors.for_span).count() as u32,
                dropped: 0,
            };
            span.add_attributes(&exception, self.settings.limits.attributes);
        }
    }
}

impl AttributeWriter<'_> {
    /// Renames the attribute `error` to `exception.message` (EVT-4).
    #[cold]
    pub(super) fn rename_error(&mut self, text: &str) {
        let limit = self.limit;
        if let Some(at) = find_attribute(self.mine(), self.tag, b"error") {
            self.cut(at);
        }
        self.put_dynamic(semconv::EXCEPTION_MESSAGE, |key, out, room| {
            key.put_str(out, limit, room, text)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::identity::Identity;

    /// A late parent brings the anchor of another local trace.
    #[test]
    fn a_parent_that_comes_while_an_event_is_formatted_moves_no_time() {
        for is_kept in [true, false] {
            let mut span = OpenSpan::default();
            span.identity.anchor = Anchor::of(5_000);
            span.state.start = 100;
            let times = is_kept.then(|| EventClock::of(&mut span));
            let mut parent = Identity::default();
            parent.anchor = Anchor::of(1_000_000);
            span.adopt(parent);
            let anchor = span.identity.anchor;
            match times {
                Some(times) => {
                    let (now, unix) = times.now();
                    assert!(anchor.unix_nanos(span.state.start) <= unix);
                    assert_eq!(anchor.unix_nanos(now), unix);
                }
                None => assert_eq!(anchor, Anchor::of(1_000_000), "the new trace's"),
            }
        }
    }
}
