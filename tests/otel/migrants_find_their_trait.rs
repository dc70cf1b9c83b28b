//! What `docs/migrating-from-tracing-opentelemetry.md` promises, without context activation.

use std::time::{Duration, SystemTime};

use crate::capture::{int, layer, layer_with, named, record, text, under, value};
use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, baggage::BaggageExt as _};
use tracing::{info, info_span};
use tracing_otlp::otel::{
    OpenTelemetrySpanExt as _, SetParentError, TracerProvider, get_otel_context,
};
use tracing_otlp::sampler::{AlwaysOff, ParentBased};
use tracing_subscriber::layer::SubscriberExt as _;

fn remote(flags: TraceFlags) -> SpanContext {
    SpanContext::new(
        TraceId::from(9_u128),
        SpanId::from(9_u64),
        flags,
        true,
        TraceState::from_key_value([("vendor", "1")]).unwrap(),
    )
}

fn extracted(flags: TraceFlags) -> Context {
    Context::new()
        .with_remote_span_context(remote(flags))
        .with_baggage([KeyValue::new("user", "7")])
}

#[test]
fn the_trait_says_what_it_said_there() {
    let spans = record(|| {
        let span = info_span!("span");
        span.set_parent(extracted(TraceFlags::SAMPLED)).unwrap();
        span.set_attribute("undeclared", 5_i64);
        span.add_link(remote(TraceFlags::default()));
        span.add_link_with_attributes(
            remote(TraceFlags::SAMPLED),
            vec![KeyValue::new("why", "retry")],
        );
        span.add_event("happened", vec![KeyValue::new("n", 1)]);
        let then = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_111);
        span.add_event_with_timestamp("then", then, vec![]);
        span.set_status(Status::error("broken"));
        let cx = span.context();
        let own = cx.span().span_context().clone();
        assert_eq!(own.trace_id(), TraceId::from(9_u128));
        assert!(own.is_valid() && !own.is_remote() && own.is_sampled());
        assert_eq!(own.trace_state().get("vendor"), Some("1"));
        assert_eq!(cx.baggage().get("user").unwrap().as_str(), "7");
    });
    let span = named(&spans, "span");
    assert_eq!(span.parent_span_id, 9_u64.to_be_bytes());
    assert_eq!(span.trace_state, "vendor=1");
    assert_eq!(value(&span.attributes, "undeclared"), int(5).as_ref());
    assert_eq!(span.links.len(), 2);
    assert_eq!(
        value(&span.links[1].attributes, "why"),
        text("retry").as_ref()
    );
    assert_eq!(span.events[1].time_unix_nano, 1_111);
    assert_eq!(span.status.as_ref().unwrap().code, 2);
}

#[test]
fn a_parent_may_be_set_after_enter_and_not_after_a_child() {
    let spans = record(|| {
        let span = info_span!("server").entered();
        info!("an event does not settle it");
        span.set_parent(extracted(TraceFlags::SAMPLED)).unwrap();
        drop(info_span!("child"));
        assert_eq!(
            span.set_parent(extracted(TraceFlags::SAMPLED)),
            Err(SetParentError::HasChildren)
        );
    });
    assert_eq!(named(&spans, "child").trace_id, 9_u128.to_be_bytes());
    assert_eq!(named(&spans, "server").events.len(), 1);
}

#[test]
fn a_sampled_parent_brings_back_a_root_that_was_dropped_with_its_fields() {
    let (layer, capture) = layer_with(|builder| builder.with_sampler(ParentBased::new(AlwaysOff)));
    under(tracing_subscriber::registry().with(layer), || {
        let span = info_span!("server", field = "kept");
        span.set_parent(extracted(TraceFlags::SAMPLED)).unwrap();
    });
    let spans = capture.spans();
    assert_eq!(value(&spans[0].attributes, "field"), text("kept").as_ref());
}

#[test]
fn errors_name_what_is_missing() {
    let disabled = tracing::Span::none();
    assert_eq!(
        disabled.set_parent(extracted(TraceFlags::SAMPLED)),
        Err(SetParentError::SpanDisabled)
    );
    assert!(!disabled.context().has_active_span());
}

#[test]
fn other_layers_get_the_context_of_a_span() {
    let (layer, _capture) = layer();
    under(tracing_subscriber::registry().with(layer), || {
        let span = info_span!("span");
        let found = span.with_subscriber(|(id, dispatch)| get_otel_context(id, dispatch));
        let found = found.flatten().unwrap();
        assert_eq!(
            found.span().span_context(),
            span.context().span().span_context()
        );
    });
    let none = tracing::Dispatch::new(tracing_subscriber::registry());
    assert!(get_otel_context(&tracing::span::Id::from_u64(1), &none).is_none());
}

#[test]
fn without_activation_the_api_s_context_is_left_alone_and_its_spans_still_join_the_trace() {
    let (layer, capture) = layer();
    let tracer = TracerProvider::new(&layer).tracer("library");
    under(tracing_subscriber::registry().with(layer), || {
        let _handler = info_span!("handler").entered();
        assert!(!Context::current().has_active_span());
        drop(tracer.start("library"));
    });
    let spans = capture.spans();
    assert_eq!(
        named(&spans, "library").parent_span_id,
        named(&spans, "handler").span_id
    );
}

/// Alone in its process with this: no other test here asks the API for a propagator.
#[test]
fn code_that_asks_the_api_for_a_propagator_gets_ours() {
    use std::collections::HashMap;

    use opentelemetry::global;
    use tracing_otlp::otel::TextMapPropagatorAdapter;

    global::set_text_map_propagator(TextMapPropagatorAdapter::global());
    let mut carrier = HashMap::new();
    let sent = extracted(TraceFlags::SAMPLED);
    global::get_text_map_propagator(|p| p.inject_context(&sent, &mut carrier));
    assert!(carrier.contains_key("traceparent"), "{carrier:?}");
    assert_eq!(carrier.get("baggage").map(String::as_str), Some("user=7"));
    let received = global::get_text_map_propagator(|p| p.extract(&carrier));
    let (received, sent) = (received.span(), sent.span());
    assert_eq!(
        received.span_context().trace_id(),
        sent.span_context().trace_id()
    );
    assert!(received.span_context().is_remote());
}
