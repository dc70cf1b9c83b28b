//! A sampler that has to presume what nobody says, or is used where it should not be, is worth one
//! warning (SMP-4, SMP-6). Alone in its process, because "once" is meant of that.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;
#[path = "../support/life.rs"]
mod life;
#[path = "../support/pace.rs"]
mod pace;

use life::{LONG, Pipeline, pipeline, quiet};
use tracing::{dispatcher, info_span};
use tracing_otlp::context::{TraceFlags, TraceState};
use tracing_otlp::sampler::{ParentBased, ProbabilitySampler, Sampler, TraceIdRatio};
use tracing_otlp::testing::Collector;
use tracing_otlp::{Protocol, SpanId, TraceContext, TraceId, context};

fn parent(flags: TraceFlags) -> TraceContext {
    let (trace, span) = (TraceId::from_bytes([7; 16]), SpanId::from_bytes([8; 8]));
    TraceContext::new(trace, span, flags).with_remote(true)
}

/// A pipeline of its own, which makes a root and two children of each parent; all its warnings.
fn warnings_of(sampler: impl Sampler, parents: &[TraceContext]) -> Vec<String> {
    let collector = Collector::start();
    let endpoint = collector.endpoint(Protocol::Grpc);
    let builder = quiet(&endpoint, Protocol::Grpc).with_sampler(sampler);
    let Pipeline {
        dispatch,
        guard,
        ear,
    } = pipeline(builder);
    dispatcher::with_default(&dispatch, || {
        drop(info_span!("root"));
        for parent in parents.iter().chain(parents) {
            context::sync_scope(parent.clone(), || drop(info_span!("child")));
        }
    });
    guard.shutdown_blocking(LONG).unwrap();
    ear.diagnostics()
}

#[test]
fn once_and_only_where_there_is_doubt() {
    let half = ProbabilitySampler::new(0.5);
    let explicit = TraceState::parse("ot=rv:fd70a000000000").unwrap();
    let known = [
        parent(TraceFlags::SAMPLED.with(TraceFlags::RANDOM)),
        parent(TraceFlags::SAMPLED).with_trace_state(explicit),
    ];
    let unknown = [parent(TraceFlags::SAMPLED)];
    assert!(warnings_of(half.clone(), &known).is_empty());
    // All are kept, however random they are.
    assert!(warnings_of(ProbabilitySampler::new(1.0), &unknown).is_empty());
    let said = warnings_of(half.clone(), &unknown);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("WARN") && said[0].contains("traceparent"));
    assert!(warnings_of(half, &unknown).is_empty());

    let tenth = TraceIdRatio::new(0.1);
    assert!(warnings_of(ParentBased::new(tenth), &known).is_empty());
    let said = warnings_of(tenth, &known);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("WARN") && said[0].contains("parentbased_traceidratio"));
    assert!(warnings_of(tenth, &known).is_empty());
}
