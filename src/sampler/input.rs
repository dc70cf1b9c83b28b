//! [`SamplingInput`]: the facts of a new span for its sampler.

use std::fmt;

use tracing_core::Level;

use crate::attribute::{KeyValue, Value};
use crate::context::{TraceContext, TraceFlags, TraceId, TraceState};
use crate::span_data::SpanKind;

/// The facts of a new span for its sampler.
///
/// The layer makes an input for each span. A test of a sampler makes its own:
///
/// ```
/// use tracing_otlp::sampler::{ParentBased, Sampler, SamplingInput};
/// use tracing_otlp::{KeyValue, SpanId, TraceContext, TraceId};
/// use tracing_otlp::context::TraceFlags;
///
/// let trace = TraceId::from_bytes([1; 16]);
/// let parent = TraceContext::new(trace, SpanId::from_bytes([2; 8]), TraceFlags::SAMPLED);
/// let attributes = [KeyValue::new("http.request.method", "GET")];
/// let input = SamplingInput::new(trace, "request")
///     .with_parent(&parent)
///     .with_attributes(&attributes);
/// assert!(ParentBased::default().should_sample(&input).is_sampled());
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct SamplingInput<'a> {
    /// The parent; `None` for a root.
    pub parent: Option<&'a TraceContext>,
    /// The trace that the span belongs to.
    pub trace_id: TraceId,
    /// The trace's flags: the parent's, or those of a new trace.
    pub flags: TraceFlags,
    /// The name of the span's callsite (`otel.name` is a field, not visited yet).
    pub name: &'a str,
    /// The callsite's target.
    pub target: &'a str,
    /// The callsite's level.
    pub level: Level,
    /// The fields of the span's creation.
    pub(crate) fields: FieldSource<'a>,
}

/// Where the fields of a span's creation are.
#[derive(Clone, Copy)]
pub(crate) enum FieldSource<'a> {
    /// In a span that is being made.
    Span(&'a dyn Fields),
    /// In the list of a test.
    List(&'a [KeyValue]),
}

impl<'a> SamplingInput<'a> {
    /// A root of level INFO with neither target nor attributes, in a trace whose id is random.
    pub fn new(trace_id: TraceId, name: &'a str) -> Self {
        Self {
            parent: None,
            trace_id,
            flags: TraceFlags::RANDOM,
            name,
            target: "",
            level: Level::INFO,
            fields: FieldSource::List(&[]),
        }
    }

    /// With this parent, its trace id and its flags.
    #[must_use]
    pub fn with_parent(mut self, parent: &'a TraceContext) -> Self {
        self.parent = Some(parent);
        self.trace_id = parent.trace_id();
        self.flags = parent.flags();
        self
    }

    /// With this target.
    #[must_use]
    pub fn with_target(mut self, target: &'a str) -> Self {
        self.target = target;
        self
    }

    /// With this level.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// With these attributes; a key that is there twice has its last value.
    #[must_use]
    pub fn with_attributes(mut self, attributes: &'a [KeyValue]) -> Self {
        self.fields = FieldSource::List(attributes);
        self
    }
}

impl SamplingInput<'_> {
    /// The value under this key at the span's creation; at most the first 64 KiB of a text or of bytes.
    /// Only this field is visited, and a `Debug` or `Display` value is formatted for it.
    pub fn attribute(&self, key: &str) -> Option<Value> {
        match self.fields {
            FieldSource::Span(fields) => fields.value(key),
            FieldSource::List(list) => list.value(key),
        }
    }

    /// The kind at the span's creation (`otel.kind`).
    pub fn kind(&self) -> SpanKind {
        match self.attribute("otel.kind") {
            Some(Value::String(kind)) => SpanKind::from_name(&kind),
            _ => SpanKind::Internal,
        }
    }

    /// The parent's trace state; empty for a root.
    pub(super) fn trace_state(&self) -> &TraceState {
        static EMPTY: TraceState = TraceState::EMPTY;
        self.parent.map_or(&EMPTY, TraceContext::trace_state)
    }
}

impl fmt::Debug for SamplingInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SamplingInput")
            .field("parent", &self.parent)
            .field("trace_id", &self.trace_id)
            .field("flags", &self.flags)
            .field("name", &self.name)
            .field("target", &self.target)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

/// The fields of a span's creation, not formatted yet.
pub(crate) trait Fields {
    /// The value of this field alone.
    fn value(&self, key: &str) -> Option<Value>;
}

impl Fields for &[KeyValue] {
    /// A duplicate key has its last value.
    fn value(&self, key: &str) -> Option<Value> {
        let found = self.iter().rev().find(|a| a.key == key)?;
        Some(found.value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_attributes_are_those_the_span_is_created_with() {
        let given = vec![
            KeyValue::new("otel.kind", "SERVER"),
            KeyValue::new("n", 1),
            KeyValue::new("n", 2),
        ];
        let bare = SamplingInput::new(TraceId::from_bytes([1; 16]), "s");
        assert_eq!(
            (bare.kind(), bare.attribute("n")),
            (SpanKind::Internal, None)
        );
        let input = bare.with_attributes(&given);
        assert_eq!(input.kind(), SpanKind::Server);
        assert_eq!(input.attribute("n"), Some(Value::Int(2)));
        assert_eq!(input.attribute("m"), None);
    }

    #[test]
    fn a_child_belongs_to_its_parent_s_trace() {
        let trace = TraceId::from_bytes([7; 16]);
        let parent = TraceContext::new(trace, Default::default(), TraceFlags::SAMPLED);
        let input = SamplingInput::new(TraceId::from_bytes([1; 16]), "s").with_parent(&parent);
        assert_eq!((input.trace_id, input.flags), (trace, TraceFlags::SAMPLED));
    }
}
