//! A parent that is set after the span's creation. What it changes:
//!
//! | What | Changes | Why |
//! | --- | --- | --- |
//! | Trace id, parent id, trace state, baggage | To the parent's | The span moves to the parent's trace |
//! | Span id, name, kind, status, start | No | They do not depend on the parent |
//! | Sampling decision | Decided again | A sampler may follow the parent; it sees the span's attributes without those that the layer and the sampler added |
//! | Attributes of the first sampler | Removed, unless set again since | They belong to the first decision; a value that one had replaced returns |
//! | Attributes of the second sampler | Added | As at a creation |
//! | Other attributes, events, links | No | The application recorded them; an unrecorded span keeps them for a next parent |
//! | Scope, attributes of the callsite | Set if the span is recorded only from now on | An unrecorded span has none |
//! | Clock anchor | To an open parent's, unless the span has an event | An event's Unix time is already encoded |
//! | Local trace of the tail sampler | To an open parent's, else a new one | Its spans are kept or dropped together |
//! | Counters of started spans | Moved between sampled and unsampled | Each span is counted once, by its last decision |
//! | Children | Error `HasChildren` | They carry the old trace, in headers too |
//! | Parent not valid | Baggage only | It names no trace |

use tracing_core::Metadata;

use super::callsite::StaticAttributes;
use super::callsite_table;
use super::edit::SpanEditor;
use super::identity::Identity;
use super::parent::ParentKind;
use super::recorder::SamplerSubject;
use super::settings::ExportMode;
use super::span::OpenSpan;
use crate::attribute::{KeyValue, Value};
use crate::context::layer_registry::Spans as _;
use crate::context::{SetParentError, TraceContext};
use crate::sampler::Fields;
use crate::span_data::SpanKind;
use crate::wire::decode::attribute_value;
use crate::wire::span::SPAN_ATTRIBUTE;

impl SpanEditor<'_> {
    pub(super) fn set_parent(
        self,
        span: u64,
        metadata: &'static Metadata<'static>,
        parent: &TraceContext,
    ) -> Result<(), SetParentError> {
        let recorder = self.recorder;
        if recorder.settings.export_mode == ExportMode::Disabled {
            return Err(SetParentError::SpanDisabled);
        }
        let callsite = callsite_table::of(metadata);
        callsite.note_late_parent();
        if !parent.is_valid() {
            return self.set_baggage(span, parent);
        }
        let extras = recorder.extras(callsite);
        let asks = ParentKind::Context.asks(recorder.config.sampling_flags());
        let found = self.spans.with(span, |span| {
            check(span)?;
            let snapshot = asks.then(|| SamplerSnapshot::of(span, extras));
            Ok((span.identity.clone(), snapshot))
        });
        let (mut identity, snapshot) = found.ok_or(SetParentError::SpanDisabled)??;
        if parent.span_id().to_bytes() == identity.span_id {
            return Err(SetParentError::OwnContext);
        }
        // The sampler runs between two locks of the span, so the new identity is made on a copy;
        // `check` runs again before the copy replaces the old one.
        identity.clear();
        let parent_kind = recorder.inherit_context(&mut identity, parent);
        let added = self.decide(&mut identity, parent_kind, metadata, snapshot);
        let scope = recorder.sink.as_ref().map(|o| o.scope(callsite));
        let limit = recorder.settings.limits.attributes;
        let adopted = self.spans.decide(span, |span| {
            check(span)?;
            let replaced = span.withdraw_added();
            if span.adopt(identity) {
                span.scope = scope.unwrap_or_default();
                span.add_attributes(&extras.encoded(), limit);
            }
            span.pay_for_context();
            Ok(replaced)
        });
        let replaced = adopted.ok_or(SetParentError::Ended)??;
        self.notify_observer(span);
        if !replaced.is_empty() {
            self.add_attributes(span, &replaced);
        }
        if !added.is_empty() {
            self.spans.with(span, |span| span.note_added(&added));
            self.add_attributes(span, &added);
        }
        Ok(())
    }

    /// Sets the baggage: the only change by a context without a trace.
    fn set_baggage(self, span: u64, parent: &TraceContext) -> Result<(), SetParentError> {
        let set = self.spans.with(span, |span| {
            check(span)?;
            span.identity.set_baggage(parent.baggage());
            span.pay_for_context();
            Ok(())
        });
        set.ok_or(SetParentError::SpanDisabled)??;
        self.notify_observer(span);
        Ok(())
    }

    fn notify_observer(self, span: u64) {
        let recorder = self.recorder;
        if let (Some(observer), Some(context)) =
            (recorder.settings.observer, recorder.context(span))
        {
            observer.changed(recorder.layer, span, &context);
        }
    }

    /// Decides about the span under its new parent; returns the sampler's attributes. Foreign code may
    /// run here: no lock is held.
    fn decide(
        self,
        identity: &mut Identity,
        parent_kind: ParentKind,
        metadata: &'static Metadata<'static>,
        snapshot: Option<SamplerSnapshot>,
    ) -> Vec<KeyValue> {
        let recorder = self.recorder;
        let asks = parent_kind.asks(recorder.config.sampling_flags());
        let added = match snapshot.filter(|_| asks) {
            Some(snapshot) => {
                recorder.ask_sampler(identity, false, &SamplerSubject::of(metadata), &snapshot)
            }
            None => {
                recorder.follow_parent(identity, false);
                Vec::new()
            }
        };
        if let Some(sink) = &recorder.sink {
            sink.begin(identity);
        }
        added
    }
}

/// Fails if the span's parent is final.
fn check(span: &OpenSpan) -> Result<(), SetParentError> {
    if span.identity.is_ended() {
        Err(SetParentError::Ended)
    } else if span.state.has_children {
        Err(SetParentError::HasChildren)
    } else {
        Ok(())
    }
}

/// The span's fields for a second decision: as created and as set since, without the attributes that
/// the layer and the first sampler added.
struct SamplerSnapshot {
    attributes: Vec<u8>,
    added: Vec<(KeyValue, Option<Value>)>,
    extras: &'static StaticAttributes,
    name: Option<String>,
    kind: Option<SpanKind>,
}

impl SamplerSnapshot {
    fn of(span: &OpenSpan, extras: &'static StaticAttributes) -> Self {
        Self {
            attributes: span.body.clone(),
            added: span.added().to_vec(),
            extras,
            name: span
                .otel_fields
                .has_name
                .then(|| span.otel_fields.name.clone()),
            kind: span.otel_fields.kind,
        }
    }
}

impl Fields for SamplerSnapshot {
    fn value(&self, key: &str) -> Option<Value> {
        match key {
            "otel.name" => return self.name.clone().map(Value::from),
            "otel.kind" => return self.kind.map(|kind| kind.name().into()),
            _ => {}
        }
        let value = attribute_value(&self.attributes, SPAN_ATTRIBUTE, key)?;
        let is_it = |(added, _): &&(KeyValue, _)| added.key == key && added.value == value;
        if let Some((_, replaced)) = self.added.iter().find(is_it) {
            return replaced.clone();
        }
        let extra = attribute_value(&self.extras.bytes, SPAN_ATTRIBUTE, key);
        Some(value).filter(|value| extra.as_ref() != Some(value))
    }
}

impl OpenSpan {
    /// Takes the identity under another parent; returns whether recording begins with it. A span whose
    /// recording ends keeps its attributes, for a next parent.
    pub(super) fn adopt(&mut self, identity: Identity) -> bool {
        let was_recording = self.identity.is_recording();
        let anchor = self.identity.anchor;
        self.identity = identity;
        if self.state.is_anchored {
            // The Unix times of its events are encoded already.
            self.identity.anchor = anchor;
        }
        let is_recording = self.identity.is_recording();
        if was_recording && !is_recording {
            self.identity.set_provisional();
        }
        is_recording && !was_recording
    }
}
