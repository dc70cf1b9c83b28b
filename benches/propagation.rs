//! What do reading and writing trace headers cost, beside opentelemetry_sdk's propagators?
//!
//! ```text
//! cargo bench --bench propagation
//! ```
//!
//! Both read from and write to an `http::HeaderMap` that holds seven other headers, as a request
//! does. Over there, a context goes from and to the map through adapters as opentelemetry-http has
//! them, and every header name is looked up as text.
#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]
#![allow(missing_docs, reason = "nobody imports it")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::propagation::{self as theirs, TextMapPropagator};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation as sdk;
use tracing_otlp::TraceContext;
use tracing_otlp::context::Baggage;
use tracing_otlp::propagation::{
    B3Propagator, BaggagePropagator, Propagator, TraceContextPropagator, global,
};

const TRACEPARENT: (&str, &str) = (
    "traceparent",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
);
const TRACESTATE: (&str, &str) = ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
const BAGGAGE: (&str, &str) = ("baggage", "user=4711,region=eu%20west,plan=free;internal");
const B3: (&str, &str) = ("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1");

fn request(more: &[(&'static str, &'static str)]) -> HeaderMap {
    let others = [
        ("host", "shop.example"),
        ("user-agent", "bench/1.0"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("content-type", "application/json"),
        ("content-length", "512"),
        ("x-request-id", "5f2b6d1e"),
    ];
    let mut headers = HeaderMap::with_capacity(16);
    for (name, value) in others.iter().chain(more) {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    headers
}

struct Extractor<'a>(&'a HeaderMap);

impl theirs::Extractor for Extractor<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Injector<'a>(&'a mut HeaderMap);

impl theirs::Injector for Injector<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let Ok(name) = HeaderName::from_bytes(key.as_bytes())
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            self.0.insert(name, value);
        }
    }
}

/// One workload: ours, and where there is one, theirs.
fn both(
    c: &mut Criterion,
    name: &str,
    incoming: &HeaderMap,
    ours: &impl Propagator,
    sdk: Option<&dyn TextMapPropagator>,
) {
    let mut group = c.benchmark_group(format!("extract/{name}"));
    group.bench_function("tracing-otlp", |b| {
        b.iter(|| ours.extract(TraceContext::default(), black_box(incoming)));
    });
    if let Some(sdk) = sdk {
        let none = Context::new();
        group.bench_function("opentelemetry_sdk", |b| {
            b.iter(|| sdk.extract_with_context(&none, &Extractor(black_box(incoming))));
        });
    }
    group.finish();

    let cx = ours.extract(TraceContext::default(), incoming);
    let mut group = c.benchmark_group(format!("inject/{name}"));
    let mut outgoing = request(&[]);
    group.bench_function("tracing-otlp", |b| {
        b.iter(|| ours.inject(black_box(&cx), &mut outgoing));
    });
    if let Some(sdk) = sdk {
        let cx = sdk.extract_with_context(&Context::new(), &Extractor(incoming));
        let mut theirs = request(&[]);
        group.bench_function("opentelemetry_sdk", |b| {
            b.iter(|| sdk.inject_context(black_box(&cx), &mut Injector(&mut theirs)));
        });
        // Theirs sends a `tracestate` without members too.
        let more = theirs.keys().filter(|name| !outgoing.contains_key(*name));
        assert!(more.eq(["tracestate"]) || outgoing.len() == theirs.len());
    }
    group.finish();
}

/// The text alone, without a carrier.
fn text(c: &mut Criterion) {
    let cx = TraceContext::from_traceparent(TRACEPARENT.1).expect("it is one");
    let mut group = c.benchmark_group("traceparent");
    group.bench_function("parse", |b| {
        b.iter(|| TraceContext::from_traceparent(black_box(TRACEPARENT.1)));
    });
    group.bench_function("write", |b| b.iter(|| black_box(&cx).to_traceparent()));
}

fn propagation(c: &mut Criterion) {
    let w3c = sdk::TraceContextPropagator::new();
    let baggage = sdk::BaggagePropagator::new();

    // Both read the same, or there is nothing to compare.
    let headers = request(&[TRACEPARENT, TRACESTATE]);
    let cx = w3c.extract_with_context(&Context::new(), &Extractor(&headers));
    let span = cx.span().span_context().clone();
    let ours = TraceContextPropagator.extract(TraceContext::default(), &headers);
    assert_eq!(span.trace_id().to_string(), ours.trace_id().to_string());
    assert_eq!(span.trace_state().header(), ours.trace_state().as_str());

    both(
        c,
        "traceparent",
        &request(&[TRACEPARENT]),
        &TraceContextPropagator,
        Some(&w3c),
    );
    both(
        c,
        "traceparent, tracestate",
        &headers,
        &TraceContextPropagator,
        Some(&w3c),
    );
    let headers = request(&[BAGGAGE]);
    let cx = baggage.extract_with_context(&Context::new(), &Extractor(&headers));
    assert_eq!(cx.baggage().len(), Baggage::parse(BAGGAGE.1).len());
    both(c, "baggage", &headers, &BaggagePropagator, Some(&baggage));
    let composite = theirs::TextMapCompositePropagator::new(vec![
        Box::new(sdk::TraceContextPropagator::new()),
        Box::new(sdk::BaggagePropagator::new()),
    ]);
    both(
        c,
        "default, without baggage",
        &request(&[TRACEPARENT]),
        &global(),
        Some(&composite),
    );
    both(c, "none there", &request(&[]), &global(), Some(&composite));
    both(c, "b3", &request(&[B3]), &B3Propagator::single(), None);
    both(c, "b3multi", &request(&[B3]), &B3Propagator::multi(), None);
}

criterion_group!(benches, text, propagation);
criterion_main!(benches);
