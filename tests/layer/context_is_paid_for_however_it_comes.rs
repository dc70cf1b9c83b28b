//! Baggage and trace state that a span has are paid for by the memory of open spans, whichever way they
//! came, for as long as any span has them.

use crate::gate::Gate;
use tracing::{Span, info_span};
use tracing_otlp::context::{Baggage, TraceFlags, TraceState};
use tracing_otlp::sampler::{ParentBased, Sampler, SamplingInput, SamplingResult};
use tracing_otlp::{OtlpBuilder, SpanExt as _, SpanId, TraceContext, TraceId, context};

const MIB: usize = 1 << 20;

/// Bytes of each baggage.
const LARGE: usize = 7_000;

fn baggage(n: usize) -> Baggage {
    Baggage::default().with("large", &format!("{n:0>LARGE$}"))
}

fn trace_state(n: usize) -> TraceState {
    let members: Vec<_> = (0..30).map(|m| format!("k{m}={n:0>230}")).collect();
    members.join(",").parse().unwrap()
}

fn remote(n: usize) -> TraceContext {
    TraceContext::new(
        TraceId::from_bytes([7; 16]),
        SpanId::from_bytes((n as u64 + 1).to_be_bytes()),
        TraceFlags::SAMPLED,
    )
    .with_remote(true)
}

/// Makes a span that has about [`LARGE`] bytes of baggage or of trace state.
type Way = fn(usize, &Span) -> Span;

const WAYS: &[(&str, Way)] = &[
    ("a scope of another process", |n, _| {
        context::sync_scope(remote(n).with_baggage(baggage(n)), || info_span!("span"))
    }),
    ("a late parent in another process", |n, _| {
        let span = info_span!("span");
        let parent = remote(n).with_baggage(baggage(n));
        span.set_parent(parent).unwrap();
        span
    }),
    ("a late parent's trace state", |n, _| {
        let span = info_span!("span");
        let parent = remote(n).with_trace_state(trace_state(n));
        span.set_parent(parent).unwrap();
        span
    }),
    ("late baggage alone", |n, _| {
        let span = info_span!("span");
        let parent = TraceContext::default().with_baggage(baggage(n));
        span.set_parent(parent).unwrap();
        span
    }),
    ("a late parent that is open here", |n, open| {
        let span = info_span!("span");
        let parent = open.trace_context().with_baggage(baggage(n));
        span.set_parent(parent).unwrap();
        span
    }),
    ("a scope of a span that is open here", |n, open| {
        let scope = open.trace_context().with_baggage(baggage(n));
        context::sync_scope(scope, || info_span!("span"))
    }),
    ("a parent that has ended", |n, _| {
        let parent = context::sync_scope(remote(n).with_baggage(baggage(n)), || info_span!("span"));
        let child = info_span!(parent: &parent, "child");
        parent.end();
        child
    }),
    ("a span that was ended and is still there", |n, _| {
        let scope = remote(n).with_baggage(baggage(n));
        let span = context::sync_scope(scope, || info_span!("span"));
        span.end();
        span
    }),
    ("a sampler", |n, _| info_span!("stated", n)),
];

/// Gives some spans a trace state.
struct States;

impl Sampler for States {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        let mut result = SamplingResult::RECORD_AND_SAMPLE;
        if input.name == "stated" {
            result.trace_state = Some(trace_state(1));
        }
        result
    }

    fn description(&self) -> String {
        "States".to_owned()
    }
}

fn with_sampler(builder: OtlpBuilder) -> OtlpBuilder {
    builder.with_sampler(ParentBased::new(States))
}

#[test]
fn each_way_is_charged_and_given_back() {
    const SPANS: usize = 100;
    for (name, way) in WAYS {
        let gate = Gate::open(with_sampler);
        gate.within(|| {
            let open = info_span!("open here");
            // What lies idle afterwards lies there before.
            drop((0..SPANS).map(|n| way(n, &open)).collect::<Vec<_>>());
            gate.flush().unwrap();
            let before = gate.stats().memory_used as usize;
            let spans: Vec<_> = (0..SPANS).map(|n| way(n, &open)).collect();
            gate.flush().unwrap();
            let used = (gate.stats().memory_used as usize).saturating_sub(before);
            assert!(used >= SPANS * (LARGE - 500), "{name}: {used}");
            assert!(used <= SPANS * LARGE * 5 / 4, "{name}: {used}");
            drop(spans);
            gate.flush().unwrap();
            let left = (gate.stats().memory_used as usize).saturating_sub(before);
            assert!(left <= SPANS * 100, "{name}: {left} are not given back");
        });
        let stats = gate.settle();
        assert_eq!(stats.truncated_for_memory, 0, "{name}");
    }
}

#[test]
fn without_memory_for_it_baggage_goes_and_is_counted() {
    for (name, way) in WAYS {
        const SPANS: usize = 450;
        let gate = Gate::open(|b| with_sampler(b).with_max_memory(4 * MIB));
        gate.within(|| {
            let open = info_span!("open here");
            let spans: Vec<_> = (0..SPANS).map(|n| way(n, &open)).collect();
            let stats = gate.stats();
            assert!(stats.memory_used <= stats.memory_limit, "{name}: {stats}");
            let texts = |s: &Span| {
                let context = s.trace_context();
                let value = context.baggage().get("large").unwrap_or_default();
                value.len() + context.trace_state().as_str().len()
            };
            let held: usize = spans.iter().map(texts).sum();
            assert!(held <= 4 * MIB, "{name}: {held}");
            assert!(held >= MIB, "{name}: {held}");
            drop((spans, open));
        });
        assert!(gate.flush().is_err(), "{name}: it is told");
        let stats = gate.settle();
        assert_eq!(stats.dropped_total(), 0, "{name}: {stats}");
        assert!(stats.truncated_for_memory >= 50, "{name}: {stats}");
    }
}
