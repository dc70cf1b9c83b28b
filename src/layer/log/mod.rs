//! Events become log records, span events, or both with one visit.
//!
//! A record is written into the thread's buffer while its event is visited, and its bytes go to the
//! processor unchanged. A span event of the same event is copied from the record's bytes: the attributes
//! of both differ in their tags alone (LOG-5).

mod callsite;
mod exception;
#[cfg(feature = "opentelemetry")]
mod manual;
mod sink;
mod span_event;
mod span_fields;
mod visitor;

use std::sync::atomic::Ordering;

use tracing_core::span::Id;
use tracing_core::{Event, Level, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

pub(super) use self::callsite::LogCallsite;
#[cfg(feature = "opentelemetry")]
pub(crate) use self::manual::{ManualLogs, NewRecord};
pub(crate) use self::sink::LogSink;
use self::span_event::SpanEventSource;
use self::visitor::LogFieldSink;
use super::OtlpLayer;
use super::attributes::AttributeWriter;
use super::callsite_table as callsites;
use super::event::EventClock;
use super::recorder::{LogTargetIs, Recorder};
use super::scratch::Scratch;
use super::visitor::{Errors, FieldVisitor};
use crate::clock::{self, Anchor};
use crate::config::{Events, SpanFields};
use crate::context::otel_context::ContextObserver;
use crate::context::registry_lookup::ancestors;
use crate::context::stack::{self, Innermost};
use crate::sync::Arc;
use crate::wire::log_record;
use crate::wire::span::StatusCode;

/// Trace id, span id and W3C flags of an event's context.
type ContextIds = ([u8; 16], [u8; 8], u8);

/// The outputs of an event.
struct EventPlan<'a> {
    sink: &'a LogSink,
    is_log: bool,
    is_span_event: bool,
    is_error: bool,
    /// The span that gets the span event, or the error status; `None`: no span.
    span: Option<u64>,
    ids: Option<ContextIds>,
    /// The clock of the event's span.
    clock: Option<EventClock>,
    /// Adds fields of the surrounding spans to the record.
    span_fields: Option<&'a dyn Fn(&mut AttributeWriter<'_>)>,
}

/// A span's data for an event in it.
struct SpanView {
    ids: ContextIds,
    clock: EventClock,
    /// Whether it keeps events and a status.
    is_recording: bool,
    has_room: bool,
}

impl OtlpLayer {
    /// An event of a pipeline that has logs.
    #[inline(never)]
    pub(super) fn on_event_with_logs<S>(
        &self,
        recorder: &Recorder,
        sink: &Arc<LogSink>,
        event: &Event<'_>,
        context: &Context<'_, S>,
    ) where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let sampling_flags = recorder.config.sampling_flags();
        let metadata = event.metadata();
        let level = *metadata.level();
        let is_error = level == Level::ERROR;
        let events = match sink.rules.is_empty() {
            true => sink.events,
            false => sink.events_of(event),
        };
        let mut is_log = events != Events::AsSpanEvents
            && (!sampling_flags.has_log_filter() || recorder.admits_log(event));
        let is_of_span = !event.is_root() && !recorder.is_event_filtered(sampling_flags, event);
        let is_span_event = is_of_span && events != Events::AsLogs;
        let concerns_span =
            is_span_event || is_of_span && (is_error || callsites::of(metadata).has_error_field);
        if !is_log && !concerns_span {
            return;
        }
        // The innermost span gives the record's ids, unless a scope is attached inside it.
        let (span, ids) = self.origin_of(recorder, event, context);
        let mut seen = None;
        let mut nearest = span;
        if let Some(id) = span {
            seen = recorder.view(id);
            if seen.is_none() {
                nearest = self.nearest_recorded(id, event, context);
                seen = nearest.and_then(|id| recorder.view(id));
            }
        }
        let ids = match ids {
            IdOrigin::Span => seen.as_ref().map(|seen| seen.ids),
            IdOrigin::Context(ids) => ids,
        };
        if let Some((_, _, flags)) = ids {
            is_log &= sink.takes(level, flags & 1 == 1);
        }
        if is_log {
            sink.emitted.count();
            is_log = !sink.processor.refuses_logs();
        }
        let is_wanted = seen.as_ref().is_some_and(|seen| seen.is_recording);
        let has_room = seen.as_ref().is_some_and(|seen| seen.has_room);
        if is_span_event && !is_wanted && seen.is_some() {
            nearest.and_then(|id| {
                recorder
                    .spans
                    .with(id, |span| recorder.count_if_ended(span))
            });
        }
        let concerns_span = concerns_span && is_wanted;
        if !is_log && !concerns_span {
            return;
        }
        if !is_log && !has_room && !is_error && !callsites::of(metadata).has_error_field {
            let span = nearest.filter(|_| is_span_event);
            span.and_then(|id| {
                recorder
                    .spans
                    .with(id, |span| span.state.dropped_events += 1)
            });
            return;
        }
        let add_fields = |attributes: &mut AttributeWriter<'_>| {
            for span in nearest.into_iter().flat_map(|id| spans_from(id, context)) {
                let copy = |span: &mut _| span_fields::copy(&sink.span_fields, span, attributes);
                recorder.spans.with(span, copy);
            }
        };
        let has_fields = is_log && sink.span_fields != SpanFields::None;
        recorder.write_log(
            event,
            &EventPlan {
                sink,
                is_log,
                is_span_event: is_span_event && is_wanted,
                is_error,
                span: nearest.filter(|_| concerns_span),
                ids,
                clock: seen.map(|seen| seen.clock),
                span_fields: has_fields.then_some(&add_fields),
            },
        );
    }

    /// The span of an event, and the origin of its ids. The context is the one that a span created in the
    /// event's place would get as its parent (LOG-51).
    #[inline]
    fn origin_of<S>(
        &self,
        recorder: &Recorder,
        event: &Event<'_>,
        context: &Context<'_, S>,
    ) -> (Option<u64>, IdOrigin)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        if let Some(span) = event.parent() {
            return (Some(span.into_u64()), IdOrigin::Span);
        }
        if event.is_root() {
            return (None, IdOrigin::Context(None));
        }
        let active = recorder
            .settings
            .observer
            .and_then(ContextObserver::current);
        let innermost = match active {
            Some(active) if active.is_valid() => Some(active.ids()),
            _ => match stack::innermost(self.layer, |_| true) {
                Innermost::Scope => Some(stack::scope_ids()),
                _ => None,
            },
        };
        let entered = || stack::innermost_span(self.layer, |_| true);
        let is_certain = !recorder.config.sampling_flags().has_span_filter()
            && !recorder.may_be_filtered.load(Ordering::Relaxed);
        let span = match is_certain {
            true => entered(),
            false => {
                let registered = context.current_span().id().map(|id| id.into_u64());
                registered.or_else(entered)
            }
        };
        let origin = match innermost {
            Some(ids) => IdOrigin::Context(ids),
            None => IdOrigin::Span,
        };
        (span, origin)
    }
}

/// A span and its ancestors, innermost first.
fn spans_from<'a, S>(id: u64, context: &'a Context<'_, S>) -> impl Iterator<Item = u64> + use<'a, S>
where
    S: Subscriber + for<'b> LookupSpan<'b>,
{
    let span = context.span(&Id::from_u64(id));
    let outer = span.into_iter().flat_map(ancestors);
    std::iter::once(id).chain(outer.map(|span| span.id().into_u64()))
}

/// The origin of a record's ids.
enum IdOrigin {
    /// The span that the event belongs to.
    Span,
    /// A scope, or a span of the OpenTelemetry API; `None`: no ids.
    Context(Option<ContextIds>),
}

impl LogSink {
    /// The outputs of an event where rules say more than one thing.
    #[inline(never)]
    fn events_of(&self, event: &Event<'_>) -> Events {
        let metadata = event.metadata();
        let level = *metadata.level();
        let of = |target: &str| {
            let mut rules = self.rules.iter();
            let first = rules.find_map(|rule| rule.events_of(target, level));
            first.unwrap_or(self.events)
        };
        if !callsites::of(metadata).is_log_line {
            return of(metadata.target());
        }
        let mut events = self.events;
        let mut look = LogTargetIs(
            |target: &str| {
                events = of(target);
                true
            },
            true,
        );
        event.record(&mut look);
        events
    }
}

impl Recorder {
    #[inline]
    fn view(&self, span: u64) -> Option<SpanView> {
        let limit = self.settings.limits.events;
        self.spans.with(span, |span| SpanView {
            ids: (
                span.identity.trace_id,
                span.identity.span_id,
                span.identity.trace_flags().bits(),
            ),
            clock: EventClock::of(span),
            is_recording: span.identity.takes_events(),
            has_room: span.state.events < limit,
        })
    }

    /// Whether the log filter admits an event; a line of the `log` crate has its own target.
    #[cold]
    fn admits_log(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        let level = *metadata.level();
        if !callsites::of(metadata).is_log_line {
            return self.config.admits_log(metadata.target(), level);
        }
        let mut admits = LogTargetIs(|target: &str| self.config.admits_log(target, level), true);
        event.record(&mut admits);
        admits.1
    }

    /// Visits an event once and writes its outputs. Foreign code runs here: no lock is held.
    fn write_log(&self, event: &Event<'_>, plan: &EventPlan<'_>) {
        let (now, unix) = match plan.clock {
            Some(clock) => clock.now(),
            None => {
                let now = clock::now();
                (now, Anchor::current().unix_nanos(now))
            }
        };
        let (sink, capture) = (plan.sink, &self.settings.capture);
        let common = callsites::of(event.metadata());
        let callsite = common.log();
        let mut scratch = Scratch::take(&self.memory);
        let out = scratch.buffer();
        log_record::put_times(out, unix);
        out.extend_from_slice(&callsite.head);
        if let Some((trace_id, span_id, flags)) = plan.ids {
            log_record::put_context(out, trace_id, span_id, flags);
        }
        let (out, room) = scratch.parts();
        let mut visitor = FieldVisitor(LogFieldSink::new((out, room), callsite, sink, capture));
        event.record(&mut visitor);
        let written = visitor.0.finish(common, sink, capture, plan.span_fields);
        if plan.is_log {
            let dropped = written.dropped;
            sink.push(written.scope, scratch.bytes(), dropped, scratch.left_out());
        }
        let Some(span) = plan.span else {
            return;
        };
        if plan.is_span_event && sink.is_one_visit {
            let source = SpanEventSource {
                event,
                callsite: common,
                written: &written,
                times: (now, unix),
            };
            self.add_as_span_event(span, &mut scratch, &source);
        }
        let has_message = written.has_message;
        let errors = written.errors.map(|mut errors| {
            // Beside a message, the field `error` is a plain attribute (EVT-4).
            let is_status = !has_message && capture.error_events_to_status;
            errors.text.take_if(|_| !is_status);
            errors
        });
        if plan.is_error || errors.is_some() {
            self.note_errors(span, plan.is_error, errors.as_deref());
        }
        drop(scratch);
        if plan.is_span_event && !sink.is_one_visit {
            self.record_event(span, event, || None);
        }
    }

    /// Applies an event's level and errors to its span, also if the event becomes no span event.
    #[cold]
    fn note_errors(&self, span: u64, is_error: bool, errors: Option<&Errors>) {
        self.spans.with(span, |span| {
            if is_error {
                span.set_status(StatusCode::Error, None);
            }
            if let Some(errors) = errors {
                self.apply_errors(span, errors);
            }
        });
    }
}
