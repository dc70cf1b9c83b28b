//! Our types and those of the OpenTelemetry API, both ways.

use std::borrow::Cow;

use opentelemetry::baggage::{
    Baggage as OtelBaggage, BaggageExt as _, BaggageMetadata, KeyValueMetadata,
};
use opentelemetry::trace::{self as otel, SpanContext, TraceContextExt as _};
use opentelemetry::{Array, Context, StringValue};

use crate::attribute::{KeyValue, Value};
use crate::context::{Baggage, SpanId, TraceContext, TraceFlags, TraceId, TraceState};
use crate::span_data::{SpanKind, Status};

macro_rules! ids {
    ($($id:ident),*) => {$(
        impl From<$id> for opentelemetry::$id {
            fn from(id: $id) -> Self {
                Self::from_bytes(id.to_bytes())
            }
        }

        impl From<opentelemetry::$id> for $id {
            fn from(id: opentelemetry::$id) -> Self {
                Self::from_bytes(id.to_bytes())
            }
        }
    )*};
}

ids!(TraceId, SpanId);

impl From<TraceFlags> for opentelemetry::TraceFlags {
    fn from(flags: TraceFlags) -> Self {
        Self::new(flags.bits())
    }
}

impl From<opentelemetry::TraceFlags> for TraceFlags {
    fn from(flags: opentelemetry::TraceFlags) -> Self {
        Self::from_bits(flags.to_u8())
    }
}

impl From<&TraceState> for otel::TraceState {
    /// Empty if the other crate refuses a member.
    fn from(state: &TraceState) -> Self {
        if state.is_empty() {
            return Self::NONE;
        }
        state.as_str().parse().unwrap_or(Self::NONE)
    }
}

impl From<&otel::TraceState> for TraceState {
    /// Empty if it is not valid by W3C.
    fn from(state: &otel::TraceState) -> Self {
        let text = state.header();
        if text.is_empty() {
            return Self::EMPTY;
        }
        Self::parse(&text).unwrap_or_default()
    }
}

impl From<&TraceContext> for SpanContext {
    fn from(context: &TraceContext) -> Self {
        Self::new(
            context.trace_id().into(),
            context.span_id().into(),
            context.flags().into(),
            context.is_remote(),
            context.trace_state().into(),
        )
    }
}

impl From<&SpanContext> for TraceContext {
    fn from(context: &SpanContext) -> Self {
        Self::new(
            context.trace_id().into(),
            context.span_id().into(),
            context.trace_flags().into(),
        )
        .with_remote(context.is_remote())
        .with_trace_state(context.trace_state().into())
    }
}

impl From<&Baggage> for OtelBaggage {
    fn from(baggage: &Baggage) -> Self {
        members(baggage).collect()
    }
}

fn members(baggage: &Baggage) -> impl Iterator<Item = KeyValueMetadata> {
    baggage
        .iter()
        .map(|m| KeyValueMetadata::new(m.name.to_owned(), m.value.to_owned(), m.metadata))
}

impl From<&OtelBaggage> for Baggage {
    fn from(baggage: &OtelBaggage) -> Self {
        // The other type is a hash map: sorted by name, the order is the same each time.
        let mut members: Vec<_> = baggage.iter().collect();
        members.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        let add = |ours: Self, (name, (value, metadata)): (&opentelemetry::Key, &(_, _))| {
            let (value, metadata): (&StringValue, &BaggageMetadata) = (value, metadata);
            ours.with_metadata(name.as_str(), value.as_str(), metadata.as_str())
        };
        members.into_iter().fold(Self::EMPTY, add)
    }
}

/// The active span and the baggage of an OpenTelemetry context.
pub fn from_context(context: &Context) -> TraceContext {
    let span = context.span();
    let own = TraceContext::from(span.span_context()).with_baggage(context.baggage().into());
    match context.get::<LayerSpan>() {
        Some(origin) => own.with_origin(origin.layer, origin.span),
        None => own,
    }
}

/// The layer and the id of the open span for which a context was made. Another span may be active in the
/// context by now.
pub(super) struct LayerSpan {
    pub(super) layer: u32,
    pub(super) span: u64,
}

/// The current OpenTelemetry context, with the given one's span, if it has one, and its baggage.
pub fn to_context(context: &TraceContext) -> Context {
    let mut own = Context::current();
    if context.is_valid() {
        own = own.with_remote_span_context(context.into());
    }
    with_baggage(own, context.baggage())
}

pub(super) fn with_baggage(context: Context, baggage: &Baggage) -> Context {
    if baggage.is_empty() {
        return match context.baggage().is_empty() {
            true => context,
            false => context.with_cleared_baggage(),
        };
    }
    context.with_baggage(members(baggage))
}

impl From<opentelemetry::Value> for Value {
    fn from(value: opentelemetry::Value) -> Self {
        use opentelemetry::Value as Theirs;
        match value {
            Theirs::Bool(v) => v.into(),
            Theirs::I64(v) => v.into(),
            Theirs::F64(v) => v.into(),
            Theirs::String(v) => Value::String(Cow::Owned(v.into())),
            Theirs::Array(Array::Bool(v)) => array(v),
            Theirs::Array(Array::I64(v)) => array(v),
            Theirs::Array(Array::F64(v)) => array(v),
            Theirs::Array(Array::String(v)) => array(v.into_iter().map(String::from)),
            // A kind of a later version.
            other => other.to_string().into(),
        }
    }
}

fn array<T: Into<Value>>(values: impl IntoIterator<Item = T>) -> Value {
    Value::Array(values.into_iter().map(Into::into).collect())
}

impl From<opentelemetry::KeyValue> for KeyValue {
    fn from(attribute: opentelemetry::KeyValue) -> Self {
        Self::new(String::from(attribute.key), attribute.value)
    }
}

pub(super) fn key_values(
    attributes: impl IntoIterator<Item = opentelemetry::KeyValue>,
) -> Vec<KeyValue> {
    attributes.into_iter().map(KeyValue::from).collect()
}

impl From<otel::SpanKind> for SpanKind {
    fn from(kind: otel::SpanKind) -> Self {
        match kind {
            otel::SpanKind::Client => Self::Client,
            otel::SpanKind::Server => Self::Server,
            otel::SpanKind::Producer => Self::Producer,
            otel::SpanKind::Consumer => Self::Consumer,
            otel::SpanKind::Internal => Self::Internal,
        }
    }
}

impl From<SpanKind> for otel::SpanKind {
    fn from(kind: SpanKind) -> Self {
        match kind {
            SpanKind::Client => Self::Client,
            SpanKind::Server => Self::Server,
            SpanKind::Producer => Self::Producer,
            SpanKind::Consumer => Self::Consumer,
            SpanKind::Internal => Self::Internal,
        }
    }
}

impl From<otel::Status> for Status {
    fn from(status: otel::Status) -> Self {
        match status {
            otel::Status::Unset => Self::Unset,
            otel::Status::Ok => Self::Ok,
            otel::Status::Error { description } => Self::Error { description },
        }
    }
}

impl From<Status> for otel::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Unset => Self::Unset,
            Status::Ok => Self::Ok,
            Status::Error { description } => Self::Error { description },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn context() -> TraceContext {
        TraceContext::new(
            TraceId::from_bytes([1; 16]),
            SpanId::from_bytes([2; 8]),
            TraceFlags::SAMPLED.with(TraceFlags::RANDOM),
        )
        .with_remote(true)
        .with_trace_state(TraceState::parse("a=1,b=2").unwrap())
        .with_baggage(Baggage::EMPTY.with_metadata("user", "jo é", "p=1"))
    }

    #[test]
    fn a_context_goes_there_and_back() {
        let there = to_context(&context());
        assert!(there.span().span_context().is_remote());
        assert_eq!(from_context(&there), context());
        assert_eq!(from_context(&Context::new()), TraceContext::default());
        let plain = TraceContext::default();
        assert_eq!(from_context(&to_context(&plain)), plain);
    }

    #[test]
    fn kinds_and_statuses_go_there_and_back() {
        for kind in [
            SpanKind::Internal,
            SpanKind::Server,
            SpanKind::Client,
            SpanKind::Producer,
            SpanKind::Consumer,
        ] {
            assert_eq!(SpanKind::from(otel::SpanKind::from(kind)), kind);
        }
        for status in [Status::Unset, Status::Ok, Status::error("broken")] {
            assert_eq!(Status::from(otel::Status::from(status.clone())), status);
        }
    }

    #[test]
    fn every_kind_of_value_keeps_its_type() {
        use opentelemetry::Value as Theirs;
        let cases: [(Theirs, Value); 6] = [
            (true.into(), true.into()),
            ((-3_i64).into(), (-3_i64).into()),
            (1.5_f64.into(), 1.5_f64.into()),
            ("text".into(), "text".into()),
            (Theirs::Array(vec![1_i64, 2].into()), array([1_i64, 2])),
            (
                Theirs::Array(Array::String(vec!["a".into()])),
                array([String::from("a")]),
            ),
        ];
        for (theirs, ours) in cases {
            assert_eq!(Value::from(theirs), ours);
        }
    }
}
