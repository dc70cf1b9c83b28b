//! A parent that does not say whether its trace id is random is worth one warning (SMP-6). Alone in
//! its process, because "once" is meant of that.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/life.rs"]
mod life;

use life::{LONG, Pipeline, pipeline, quiet};
use tracing::{dispatcher, info_span};
use tracing_otlp::sampler::ProbabilitySampler;
use tracing_otlp::testing::Collector;
use tracing_otlp::{Protocol, SpanId, TraceContext, TraceFlags, TraceId, TraceState, context};

fn parent(flags: TraceFlags) -> TraceContext {
    let (trace, span) = (TraceId::from_bytes([7; 16]), SpanId::from_bytes([8; 8]));
    TraceContext::new(trace, span, flags).with_remote(true)
}

/// Makes two children of `parent`, and says which warnings that was worth.
fn warnings_after(pipeline: &Pipeline, parent: &TraceContext) -> usize {
    dispatcher::with_default(&pipeline.dispatch, || {
        for _ in 0..2 {
            context::sync_scope(parent.clone(), || drop(info_span!("child")));
        }
    });
    pipeline.guard.force_flush_blocking(LONG).unwrap();
    let said = pipeline.ear.diagnostics();
    said.iter().filter(|l| l.contains("random")).count()
}

#[test]
fn once_and_only_where_it_is_presumed_smp_6() {
    let collector = Collector::start();
    let make = || {
        let endpoint = collector.endpoint(Protocol::Grpc);
        let builder = quiet(&endpoint, Protocol::Grpc);
        pipeline(builder.with_sampler(ProbabilitySampler::new(1.0)))
    };
    let first = make();
    let known = parent(TraceFlags::SAMPLED.with(TraceFlags::RANDOM));
    assert_eq!(warnings_after(&first, &known), 0);
    let explicit = TraceState::parse("ot=rv:fd70a000000000").unwrap();
    let explicit = parent(TraceFlags::SAMPLED).with_trace_state(explicit);
    assert_eq!(warnings_after(&first, &explicit), 0);
    dispatcher::with_default(&first.dispatch, || drop(info_span!("root")));

    warnings_after(&first, &parent(TraceFlags::SAMPLED));
    first.guard.shutdown_blocking(LONG).unwrap();
    let said = first.ear.diagnostics();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("WARN") && said[0].contains("traceparent"));

    let second = make();
    warnings_after(&second, &parent(TraceFlags::SAMPLED));
    second.guard.shutdown_blocking(LONG).unwrap();
    assert!(second.ear.diagnostics().is_empty());
}
