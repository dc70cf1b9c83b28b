//! A parent that comes after its child's creation: the decision is taken again, with the fields that
//! the span was created with.

use tracing_core::Metadata;

use super::callsite::{self, StaticAttributes};
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
        let callsite = callsite::of(metadata);
        callsite.note_late_parent();
        if !parent.is_valid() {
            return self.set_baggage(span, parent);
        }
        let extras = recorder.extras(callsite);
        let asks = ParentKind::Context.asks(recorder.config.sampling_flags());
        let found = self.spans.with(span, |span| {
            check(span)?;
            let kept = asks.then(|| SamplerSnapshot::of(span, extras));
            Ok((span.identity.clone(), kept))
        });
        let (mut identity, kept) = found.ok_or(SetParentError::SpanDisabled)??;
        if parent.span_id().to_bytes() == identity.span_id {
            return Err(SetParentError::OwnContext);
        }
        identity.clear();
        let parent_kind = recorder.inherit_context(&mut identity, parent);
        let added = self.decide(&mut identity, parent_kind, metadata, kept);
        let scope = recorder.sink.as_ref().map(|o| o.scope(metadata.target()));
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
        self.tell_bridge(span);
        if !replaced.is_empty() {
            self.add_attributes(span, &replaced);
        }
        if !added.is_empty() {
            self.spans.with(span, |span| span.note_added(&added));
            self.add_attributes(span, &added);
        }
        Ok(())
    }

    /// All that a context without a trace can change.
    fn set_baggage(self, span: u64, parent: &TraceContext) -> Result<(), SetParentError> {
        let set = self.spans.with(span, |span| {
            check(span)?;
            span.identity.set_baggage(parent.baggage());
            span.pay_for_context();
            Ok(())
        });
        set.ok_or(SetParentError::SpanDisabled)??;
        self.tell_bridge(span);
        Ok(())
    }

    fn tell_bridge(self, span: u64) {
        let recorder = self.recorder;
        if let (Some(bridge), Some(context)) = (recorder.settings.bridge, recorder.context(span)) {
            bridge.changed(recorder.layer, span, &context);
        }
    }

    /// What becomes of the span under its new parent, and what the sampler adds. Foreign code may run:
    /// no lock is held.
    fn decide(
        self,
        identity: &mut Identity,
        parent_kind: ParentKind,
        metadata: &'static Metadata<'static>,
        kept: Option<SamplerSnapshot>,
    ) -> Vec<KeyValue> {
        let recorder = self.recorder;
        let asks = parent_kind.asks(recorder.config.sampling_flags());
        let added = match kept.filter(|_| asks) {
            Some(kept) => {
                recorder.ask_sampler(identity, false, &SamplerSubject::of(metadata), &kept)
            }
            None => {
                identity.follow(false, recorder.settings.export_mode == ExportMode::Exported);
                Vec::new()
            }
        };
        if let Some(sink) = &recorder.sink {
            sink.begin(identity);
        }
        added
    }
}

/// Whether a span may still get another parent.
fn check(span: &OpenSpan) -> Result<(), SetParentError> {
    if span.identity.is_ended() {
        Err(SetParentError::Ended)
    } else if span.state.has_children {
        Err(SetParentError::HasChildren)
    } else {
        Ok(())
    }
}

/// What a span was created with and has been told since, for a sampler that decides again: not what
/// the layer and the sampler themselves have added.
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
    /// Takes the identity that follows from another parent; says whether it begins to be recorded
    /// only now. One that no longer is keeps what it has, for a next parent.
    pub(super) fn adopt(&mut self, identity: Identity) -> bool {
        let was_recording = self.identity.is_recording();
        let anchor = self.identity.anchor;
        self.identity = identity;
        if self.state.is_anchored {
            // Its events are converted already; else it takes the anchor of its new local trace.
            self.identity.anchor = anchor;
        }
        let is_recording = self.identity.is_recording();
        if was_recording && !is_recording {
            self.identity.set_provisional();
        }
        is_recording && !was_recording
    }
}
