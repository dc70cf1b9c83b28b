//! One propagator for the process: W3C's by default, another by variable, builder or code, also
//! where the pipeline is disabled (PROP-2, ENV-7).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use tracing_otlp::config::{PropagatorKind, TracesExporterKind};
use tracing_otlp::propagation::{
    self, B3Propagator, CompositePropagator, JaegerPropagator, Propagator as _,
};
use tracing_otlp::{OtlpBuilder, OtlpConfig, TraceContext};

/// As if these were the process's variables, with nothing to send to.
fn with(variables: &'static [(&str, &str)]) -> OtlpBuilder {
    let config = OtlpConfig::from_source(|name| {
        let found = variables.iter().find(|(n, _)| *n == name)?;
        Some(found.1.into())
    });
    tracing_otlp::builder()
        .with_config(config)
        .with_traces_exporter_kind(TracesExporterKind::None)
}

fn build(builder: OtlpBuilder) -> Vec<&'static str> {
    let _pipeline = builder.build().unwrap();
    propagation::global().fields()
}

/// One test: the order of the calls is what it is about.
#[test]
fn propagators_are_the_process_s() {
    const W3C: [&str; 3] = ["traceparent", "tracestate", "baggage"];
    let kept = propagation::global();
    assert_eq!(kept.fields(), W3C, "without any set-up");
    assert_eq!(build(with(&[])), W3C);

    let disabled = with(&[("OTEL_PROPAGATORS", "b3"), ("OTEL_SDK_DISABLED", "true")]);
    assert_eq!(build(disabled), ["b3"]);
    assert_eq!(kept.fields(), ["b3"], "it is a name, not a copy");
    assert_eq!(build(with(&[])), ["b3"], "who says nothing changes nothing");
    assert_eq!(build(with(&[("OTEL_PROPAGATORS", "ottrace")])), ["b3"]);
    assert_eq!(build(with(&[("OTEL_PROPAGATORS", "baggage")])), ["baggage"]);
    assert!(build(with(&[("OTEL_PROPAGATORS", "none")])).is_empty());

    let both = with(&[("OTEL_PROPAGATORS", "b3")]);
    let code = both.with_propagators([PropagatorKind::Jaeger]);
    assert_eq!(build(code), ["uber-trace-id"]);
    let code = with(&[("OTEL_PROPAGATORS", "b3")])
        .with_propagator(B3Propagator::multi())
        .with_propagators([PropagatorKind::Jaeger]);
    assert_eq!(build(code).len(), 4);

    // A pipeline that can't be built changes nothing.
    let bad = with(&[]).with_propagators([]).with_max_queue_size(0);
    assert!(bad.build().is_err());
    assert_eq!(kept.fields().len(), 4);

    propagation::set_global(JaegerPropagator);
    let late = with(&[("OTEL_PROPAGATORS", "b3")]).with_propagator(B3Propagator::single());
    assert_eq!(build(late), ["uber-trace-id"], "code's word stands");
    // One that holds itself calls itself for ever no more than it calls itself at all.
    propagation::set_global(
        CompositePropagator::none()
            .with(JaegerPropagator)
            .with(kept),
    );
    let mut headers = http::HeaderMap::new();
    let text = "uber-trace-id: 1:2:0:1".split_once(": ").unwrap();
    headers.insert(text.0, text.1.parse().unwrap());
    let cx = kept.extract(TraceContext::default(), &headers);
    headers.clear();
    kept.inject(&cx, &mut headers);
    assert!(cx.is_valid() && headers.len() == 1);
    propagation::set_global(CompositePropagator::none());
    assert!(kept.fields().is_empty());
}
