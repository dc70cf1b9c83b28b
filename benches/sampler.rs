//! What does a decision cost, and what with OpenTelemetry's own samplers?
//!
//! ```text
//! cargo bench --bench sampler
//! ```
//!
//! Each sampler decides for a root and for the child of a sampled remote parent; `sdk/…` are those
//! of `opentelemetry_sdk`. Trace ids run through a table, so that no branch is learnt by heart. The
//! result is dropped inside the clock, as a layer would.

#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "a benchmark, which may fail by panicking"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use opentelemetry::trace::{self as otel, TraceContextExt as _};
use opentelemetry_sdk::trace::{Sampler as Sdk, ShouldSample};
use tracing_otlp::context::{IdGenerator as _, RandomIds, TraceFlags, TraceState};
use tracing_otlp::sampler::{
    AlwaysOff, AlwaysOn, AlwaysRecord, Annotating, CompositeSampler, ParentBased, ParentThreshold,
    ProbabilitySampler, RateLimiter, Rules, Sampler, SamplingInput, TraceIdRatio, When,
};
use tracing_otlp::{KeyValue, SpanId, TraceContext, TraceId};

const IDS: usize = 1024;

fn trace_ids() -> Vec<TraceId> {
    (0..IDS).map(|_| RandomIds.new_trace_id()).collect()
}

fn ours() -> Vec<(&'static str, Box<dyn Sampler>)> {
    let tenth = || ProbabilitySampler::new(0.1);
    let annotated = Annotating::new(tenth(), [KeyValue::new("sampled.by", "us")]);
    let rules = Rules::new(TraceIdRatio::new(0.1))
        .with_rule(When::name("health"), AlwaysOff)
        .with_rule(When::target("hyper"), AlwaysOff)
        .with_rule(When::attribute("url.path", "/health"), AlwaysOff);
    vec![
        ("always_on", Box::new(AlwaysOn)),
        ("always_off", Box::new(AlwaysOff)),
        ("always_record", Box::new(AlwaysRecord::new(AlwaysOff))),
        ("parent_based", Box::new(ParentBased::new(AlwaysOn))),
        ("ratio", Box::new(TraceIdRatio::new(0.1))),
        (
            "parent_ratio",
            Box::new(ParentBased::new(TraceIdRatio::new(0.1))),
        ),
        ("probability", Box::new(tenth())),
        ("probability_all", Box::new(ProbabilitySampler::new(1.0))),
        (
            "composite",
            Box::new(CompositeSampler::new(ParentThreshold::new(tenth()))),
        ),
        ("annotating", Box::new(CompositeSampler::new(annotated))),
        ("rules", Box::new(rules)),
        ("rate_spent", Box::new(RateLimiter::new(0.001))),
        ("rate_open", Box::new(RateLimiter::new(1e9))),
    ]
}

fn theirs() -> Vec<(&'static str, Sdk)> {
    let tenth = || Sdk::TraceIdRatioBased(0.1);
    vec![
        ("sdk/always_on", Sdk::AlwaysOn),
        ("sdk/always_off", Sdk::AlwaysOff),
        (
            "sdk/parent_based",
            Sdk::ParentBased(Box::new(Sdk::AlwaysOn)),
        ),
        ("sdk/ratio", tenth()),
        ("sdk/parent_ratio", Sdk::ParentBased(Box::new(tenth()))),
    ]
}

fn decide(c: &mut Criterion) {
    let ids = trace_ids();
    let attributes = [KeyValue::new("url.path", "/cart")];
    let state = TraceState::parse("vendor=1,ot=th:c;rv:fabcdef0123456").expect("valid");
    for child in [false, true] {
        let mut group = c.benchmark_group(if child { "child" } else { "root" });
        for (name, sampler) in ours() {
            let parents: Vec<_> = ids
                .iter()
                .map(|id| {
                    TraceContext::new(*id, SpanId::from_bytes([1; 8]), TraceFlags::SAMPLED)
                        .with_remote(true)
                        .with_trace_state(state.clone())
                })
                .collect();
            let mut at = 0;
            group.bench_function(name, |b| {
                b.iter(|| {
                    at = (at + 1) % IDS;
                    let mut input = SamplingInput::new(ids[at], "request")
                        .with_target("shop::cart")
                        .with_attributes(&attributes);
                    if child {
                        input = input.with_parent(&parents[at]);
                    }
                    black_box(sampler.should_sample(black_box(&input)))
                });
            });
        }
        for (name, sampler) in theirs() {
            let ids: Vec<_> = ids
                .iter()
                .map(|id| otel::TraceId::from_bytes(id.to_bytes()))
                .collect();
            let attributes = [opentelemetry::KeyValue::new("url.path", "/cart")];
            let state = "vendor=1,ot=th:c;rv:fabcdef0123456".parse::<otel::TraceState>();
            let state = state.expect("valid");
            let parents: Vec<_> = ids
                .iter()
                .map(|id| {
                    let parent = otel::SpanContext::new(
                        *id,
                        otel::SpanId::from_bytes([1; 8]),
                        otel::TraceFlags::SAMPLED,
                        true,
                        state.clone(),
                    );
                    opentelemetry::Context::new().with_remote_span_context(parent)
                })
                .collect();
            let mut at = 0;
            group.bench_function(name, |b| {
                b.iter(|| {
                    at = (at + 1) % IDS;
                    black_box(sampler.should_sample(
                        child.then(|| &parents[at]),
                        ids[at],
                        black_box("request"),
                        &otel::SpanKind::Internal,
                        &attributes,
                        &[],
                    ))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, decide);
criterion_main!(benches);
