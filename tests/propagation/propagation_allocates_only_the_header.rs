//! Reading W3C's headers allocates nothing, writing them nothing but the headers' own values; trace
//! state and baggage cost what holds them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/allocations.rs"]
mod allocations;

use std::hint::black_box;

use http::HeaderMap;
use tracing_otlp::TraceContext;
use tracing_otlp::context::Baggage;
use tracing_otlp::propagation::{self, Propagator, TraceContextPropagator};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What one call takes, once whatever it needs once is there.
fn allocations(mut call: impl FnMut()) -> usize {
    call();
    let before = allocations::so_far();
    call();
    allocations::so_far() - before
}

fn extract(propagator: &impl Propagator, headers: &HeaderMap) -> usize {
    allocations(|| {
        let cx = propagator.extract(TraceContext::default(), black_box(headers));
        assert!(cx.is_valid());
        black_box(cx);
    })
}

fn inject(propagator: &impl Propagator, cx: &TraceContext) -> usize {
    let mut headers = HeaderMap::with_capacity(16);
    allocations(|| propagator.inject(black_box(cx), &mut headers))
}

#[test]
fn propagation_allocates_only_the_header() {
    let counted = allocations(|| drop(black_box(vec![1])));
    assert_eq!(counted, 1, "the counter counts");

    let mut headers = HeaderMap::new();
    headers.insert("traceparent", TRACEPARENT.parse().unwrap());
    headers.insert("accept", "*/*".parse().unwrap());
    let cx = TraceContext::from_traceparent(TRACEPARENT).unwrap();
    assert_eq!(extract(&TraceContextPropagator, &headers), 0);
    assert_eq!(inject(&TraceContextPropagator, &cx), 1);
    assert_eq!(extract(&propagation::global(), &headers), 0);
    assert_eq!(inject(&propagation::global(), &cx), 1);

    // One value each, whatever there is in it.
    headers.insert("tracestate", "foo=1,bar=2,rojo=3".parse().unwrap());
    let state = "foo=1,bar=2,rojo=3".parse().unwrap();
    let cx = cx.with_trace_state(state);
    assert_eq!(extract(&TraceContextPropagator, &headers), 1);
    assert_eq!(inject(&TraceContextPropagator, &cx), 2);
    assert_eq!(allocations(|| drop(black_box(cx.clone()))), 0);

    // All members share one text and one list.
    let many = (0..32).map(|i| format!("key{i}=value-{i}"));
    let many = many.collect::<Vec<_>>().join(",");
    headers.remove("tracestate");
    headers.insert("baggage", many.parse().unwrap());
    let few = extract(&propagation::global(), &headers);
    assert!(few < 20, "{few} allocations for 32 members");
    let cx = cx.with_baggage(Baggage::parse(&many));
    assert_eq!(allocations(|| drop(black_box(cx.clone()))), 0);
}
