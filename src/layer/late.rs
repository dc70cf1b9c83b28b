//! What is said of a span after its creation, other than by `tracing`'s own callbacks: the layer's
//! side of its door.

use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing_core::Metadata;

use super::attributes::{Attributes as Row, Visited};
use super::callsite;
use super::core::{Core, Subject};
use super::fields::Meaning;
use super::identity::Identity;
use super::open_spans::OpenSpans;
use super::parent::Lineage;
use super::scratch::Scratch;
use super::settings::Fate;
use super::span::OpenSpan;
use crate::attribute::{KeyValue, Value};
use crate::clock;
use crate::context::doors::{Change, Spans};
use crate::context::{SetParentError, TraceContext};
use crate::sampler::Fields;
use crate::semconv;
use crate::span_data::{SpanKind, Status};
use crate::wire::decode::attribute_value;
use crate::wire::span::{
    EVENT_ATTRIBUTE, LINK_ATTRIBUTE, SPAN_ATTRIBUTE, SPAN_EVENT, SPAN_LINK, StatusCode,
    put_event_dropped, put_event_name, put_event_time, put_link, put_link_dropped,
};

/// A table of open spans and what it takes to change them: the registry's spans, or free ones.
#[derive(Clone, Copy)]
pub(super) struct Desk<'a> {
    pub(super) core: &'a Core,
    pub(super) spans: &'a OpenSpans,
}

impl Spans for Core {
    fn has(&self, span: u64, metadata: &Metadata<'_>) -> bool {
        let same = |s: &mut OpenSpan| std::ptr::eq(s.name, metadata.name());
        self.spans.with(span, same) == Some(true)
    }

    fn context(&self, span: u64) -> Option<TraceContext> {
        self.desk().context(span)
    }

    fn is_recording(&self, span: u64) -> bool {
        self.desk().is_recording(span)
    }

    fn set_parent(
        &self,
        span: u64,
        metadata: &'static Metadata<'static>,
        parent: &TraceContext,
    ) -> Result<(), SetParentError> {
        self.desk().set_parent(span, metadata, parent)
    }

    fn change(&self, span: u64, change: &Change<'_>) {
        self.desk().change(span, change);
    }

    fn end(&self, span: u64, at: Option<SystemTime>) {
        self.desk().end(span, at);
    }
}

impl Desk<'_> {
    pub(super) fn context(self, span: u64) -> Option<TraceContext> {
        self.spans.with(span, |span| span.identity.context())
    }

    pub(super) fn is_recording(self, span: u64) -> bool {
        let recording = |s: &mut OpenSpan| s.identity.is_recording();
        self.spans.with(span, recording) == Some(true)
    }

    fn set_parent(
        self,
        span: u64,
        metadata: &'static Metadata<'static>,
        parent: &TraceContext,
    ) -> Result<(), SetParentError> {
        if self.core.settings.fate == Fate::Disabled {
            return Err(SetParentError::SpanDisabled);
        }
        let callsite = callsite::of(metadata);
        callsite.note_late_parent();
        let kept = self
            .spans
            .with(span, |span| {
                check_parent(span)?;
                // The sampler sees what the span was created with; it runs without our lock.
                let mut identity = span.identity.clone();
                let is_root = !identity.continues(parent);
                Ok((identity, is_root, Kept::of(span)))
            })
            .ok_or(SetParentError::SpanDisabled)?;
        let (mut identity, is_root, fields) = kept?;
        let added = if is_root {
            None
        } else {
            let added = if Lineage::Context.asks(self.core.config.watch()) {
                let subject = Subject::of(metadata);
                Some(
                    self.core
                        .ask_sampler(&mut identity, false, &subject, &fields),
                )
            } else {
                identity.follow(false, self.core.settings.fate == Fate::Exported);
                None
            };
            identity.set_local(None);
            if let Some(outlet) = &self.core.outlet {
                outlet.begin(&mut identity);
            }
            added
        };
        let scope = self
            .core
            .outlet
            .as_ref()
            .map(|o| o.scope(metadata.target()));
        let extras = self.core.extras(callsite);
        let limit = self.core.settings.limits.attributes;
        let adopted = self.spans.decide(span, |span| {
            check_parent(span)?;
            if span.adopt(identity) {
                span.scope = scope.unwrap_or_default();
                span.add_attributes(&extras.visited(), limit);
            }
            Ok(())
        });
        adopted.ok_or(SetParentError::Ended)??;
        if let Some(added) = added.filter(|added| !added.is_empty()) {
            self.add_attributes(span, &added);
        }
        Ok(())
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
                Status::Error { description } if description.is_empty() => {
                    span.set_status(StatusCode::Error, None);
                }
                Status::Error { description } => {
                    span.set_status(StatusCode::Error, Some(description));
                }
            }),
            Change::Name(name) => self.set(span, |s| s.special.set(Meaning::SpanName, name)),
        }
    }

    pub(super) fn end(self, span: u64, at: Option<SystemTime>) {
        let end = clock::now();
        let mut rest = self.core.spare();
        let ended = self.spans.replace(span, |span| {
            if span.identity.is_ended() {
                self.core.count_if_ended(span);
                return None;
            }
            rest.identity = span.identity.ended();
            rest.name = span.name;
            rest.state.has_children = span.state.has_children;
            Some(rest)
        });
        if let Some(mut span) = ended {
            span.state.end_given = at.map_or(0, unix_nanos);
            self.core.finish_early(span, end);
        }
    }
}

/// Whether a span may still get another parent.
fn check_parent(span: &OpenSpan) -> Result<(), SetParentError> {
    if span.identity.is_ended() {
        Err(SetParentError::Ended)
    } else if span.state.has_children {
        Err(SetParentError::HasChildren)
    } else {
        Ok(())
    }
}

impl Core {
    /// The spans of the registry.
    #[inline]
    pub(super) fn desk(&self) -> Desk<'_> {
        Desk {
            core: self,
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
        let mut scratch = Scratch::take();
        let written = self.write(scratch.buffer(), attributes);
        let visited = Visited {
            bytes: scratch.bytes(),
            ..written
        };
        span.add_attributes(&visited, self.settings.limits.attributes);
    }

    fn write(&self, out: &mut Vec<u8>, attributes: &[KeyValue]) -> Visited<'static> {
        let limits = &self.settings.limits;
        let mut row = Row::new(out, SPAN_ATTRIBUTE, &limits.value, limits.attributes);
        put_all(&mut row, attributes);
        row.written()
    }
}

impl Desk<'_> {
    /// Whether attributes of a span are kept; `None` if it is not open.
    #[inline]
    pub(super) fn is_listening(self, span: u64) -> Option<bool> {
        self.spans.with(span, |span| {
            let recording = span.identity.is_recording();
            if !recording {
                self.core.count_if_ended(span);
            }
            recording
        })
    }

    fn set(self, span: u64, set: impl FnOnce(&mut OpenSpan)) {
        self.spans.with(span, |span| {
            if span.identity.is_recording() {
                set(span);
            } else {
                self.core.count_if_ended(span);
            }
        });
    }

    fn add_attributes(self, span: u64, attributes: &[KeyValue]) {
        if self.is_listening(span) != Some(true) {
            return;
        }
        let mut scratch = Scratch::take();
        let written = self.core.write(scratch.buffer(), attributes);
        let visited = Visited {
            bytes: scratch.bytes(),
            ..written
        };
        let limit = self.core.settings.limits.attributes;
        self.set(span, |span| span.add_attributes(&visited, limit));
    }

    pub(super) fn add_link(self, span: u64, to: &TraceContext, attributes: &[KeyValue]) {
        // One to nowhere says something if it has attributes or a trace state (TR-12).
        if !to.is_valid() && attributes.is_empty() && to.trace_state().is_empty() {
            return;
        }
        let limits = &self.core.settings.limits;
        let mut scratch = Scratch::take();
        put_link(
            scratch.buffer(),
            to.trace_id().to_bytes(),
            to.span_id().to_bytes(),
            to.trace_state().as_str(),
            to.flags().bits(),
            to.is_remote(),
        );
        let mut row = Row::new(
            scratch.buffer(),
            LINK_ATTRIBUTE,
            &limits.value,
            limits.link_attributes,
        );
        put_all(&mut row, attributes);
        let dropped = row.dropped;
        put_link_dropped(scratch.buffer(), dropped);
        let limit = limits.links;
        self.set(span, |span| {
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
        put: impl FnOnce(&mut Row<'_>),
    ) {
        let anchor = self.spans.with(span, |span| {
            let takes = span.identity.takes_events();
            if !takes {
                self.core.count_if_ended(span);
            }
            takes.then_some(span.identity.anchor)
        });
        let Some(Some(anchor)) = anchor else { return };
        let limits = &self.core.settings.limits;
        let time = at.map_or_else(
            || self.core.clock.unix_nanos(anchor, clock::now()),
            unix_nanos,
        );
        let mut scratch = Scratch::take();
        put_event_time(scratch.buffer(), time);
        put_event_name(scratch.buffer(), name);
        let mut row = Row::new(
            scratch.buffer(),
            EVENT_ATTRIBUTE,
            &limits.value,
            limits.event_attributes,
        );
        put(&mut row);
        let dropped = row.dropped;
        put_event_dropped(scratch.buffer(), dropped);
        let limit = limits.events;
        self.set(span, |span| {
            if at.is_none() {
                span.state.last_event = span.state.last_event.max(time);
            }
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

fn put_all(row: &mut Row<'_>, attributes: &[KeyValue]) {
    for attribute in attributes {
        row.put_value(&attribute.key, &attribute.value);
    }
}

pub(super) fn unix_nanos(time: SystemTime) -> u64 {
    // Before 1970 is as good as 1970; after 2554 as good as then.
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// What a span was created with and has been told since, for a sampler that decides again.
struct Kept {
    attributes: Vec<u8>,
    name: Option<String>,
    kind: Option<SpanKind>,
}

impl Kept {
    fn of(span: &OpenSpan) -> Self {
        Self {
            attributes: span.body.clone(),
            name: span.special.has_name.then(|| span.special.name.clone()),
            kind: span.special.kind,
        }
    }
}

impl Fields for Kept {
    fn value(&self, key: &str) -> Option<Value> {
        match key {
            "otel.name" => self.name.clone().map(Value::from),
            "otel.kind" => self.kind.map(|kind| kind.name().into()),
            _ => attribute_value(&self.attributes, SPAN_ATTRIBUTE, key),
        }
    }
}

impl OpenSpan {
    /// Takes the identity that follows from another parent; says whether it begins to be recorded
    /// only now. One that no longer is keeps what it has, for a next parent.
    fn adopt(&mut self, identity: Identity) -> bool {
        let was_recording = self.identity.is_recording();
        let anchor = self.identity.anchor;
        self.identity = identity;
        self.identity.anchor = anchor;
        let is_recording = self.identity.is_recording();
        if was_recording && !is_recording {
            self.identity.set_provisional();
        }
        is_recording && !was_recording
    }
}
