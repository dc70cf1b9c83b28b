//! In the steady state the thread that records a span allocates nothing beyond the registry's own
//! (which is nothing too), sampled or not, with fields, events and records.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/allocations.rs"]
mod allocations;
#[path = "../support/capture.rs"]
mod capture;

use tracing::{info, info_span};
use tracing_otlp::config::TailConfig;
use tracing_otlp::context::TraceFlags;
use tracing_otlp::sampler::AlwaysOff;
use tracing_otlp::{KeyValue, OtlpBuilder, SpanExt as _, SpanId, TraceContext, TraceId, context};
use tracing_subscriber::layer::SubscriberExt as _;

fn one_request(n: u64) {
    let root = info_span!(
        "request",
        otel.kind = "server",
        http.request.method = "GET",
        url.path = "/api/v1/users/4711/orders",
        http.response.status_code = tracing::field::Empty,
        time.unix = 1_790_000_000_000_000_000u64,
    );
    let _root = root.enter();
    for _ in 0..3 {
        let _child = info_span!("child", component = "web", n, user = %"user-4711").entered();
        info!(attempt = n, "cache miss");
    }
    root.record("http.response.status_code", 200);
}

#[test]
fn a_span_allocates_nothing() {
    for sampled in [true, false] {
        let allocations = allocations_of_ten(|b| match sampled {
            true => b,
            false => b.with_sampler(AlwaysOff),
        });
        assert_eq!(allocations, 0, "sampled: {sampled}");
    }
}

/// An `Option` tells its layer less than others do.
#[test]
fn nor_does_one_of_a_layer_in_an_option() {
    let (layer, capture) = capture::layer();
    let subscriber = tracing_subscriber::registry().with(Some(layer));
    assert_eq!(allocations_under(subscriber, &capture), 0);
}

#[test]
fn nor_does_one_on_our_own_registry() {
    let (layer, capture) = capture::layer();
    let subscriber = tracing_otlp::registry().with(layer);
    assert_eq!(allocations_under(subscriber, &capture), 0);
}

/// What the spans of a local trace share, and their hold on it, are allocated once for it; holding
/// them takes no more.
#[test]
fn tail_sampling_allocates_twice_for_a_local_trace() {
    for ratio in [0.0, 1.0] {
        let mut tail = TailConfig::default();
        (tail.ratio, tail.slower_than_quantile) = (ratio, Some(0.999));
        let allocations = allocations_of_ten(|b| b.with_tail_sampling(tail));
        assert_eq!(allocations, 20, "ratio {ratio}");
    }
}

#[test]
fn reading_the_current_context_allocates_nothing() {
    let (layer, capture) = capture::layer();
    capture::under(tracing_subscriber::registry().with(layer), || {
        let scope = TraceContext::new(
            TraceId::from_bytes([1; 16]),
            SpanId::from_bytes([2; 8]),
            TraceFlags::SAMPLED,
        );
        let read = || {
            assert!(context::current().is_valid());
            let _span = info_span!("span").entered();
            assert_eq!(context::current().trace_id(), scope.trace_id());
        };
        context::sync_scope(scope.clone(), || (0..2_000).for_each(|_| read()));
        let long = std::time::Duration::from_secs(20);
        capture.guard().force_flush_blocking(long).unwrap();
        let before = allocations::so_far();
        for _ in 0..200 {
            context::sync_scope(scope.clone(), read);
        }
        assert_eq!(allocations::so_far() - before, 0);
    });
}

/// TR-8 needs to know the keys of a span; that takes no memory of its own in the steady state.
#[test]
fn late_attributes_allocate_nothing_however_many() {
    let keys: Vec<String> = (0..135).map(|n| format!("k{n}")).collect();
    let keys: &'static [String] = keys.leak();
    let numbered = (0i64..).zip(keys);
    let list: Vec<_> = numbered
        .map(|(n, key)| KeyValue::new(key.as_str(), n))
        .collect();
    let (layer, capture) =
        capture::layer_with(|b| b.configure(|c| c.limits.attribute_count_limit = 1_000));
    let record = || {
        let span = info_span!("import");
        for key in &keys[..100] {
            span.set_attribute(key.as_str(), 7);
        }
        span.set_attributes(&list);
        info_span!("row").add_event("columns", &list);
    };
    capture::under(tracing_subscriber::registry().with(layer), || {
        (0..500).for_each(|_| record());
        let long = std::time::Duration::from_secs(20);
        let of_one = || {
            capture.guard().force_flush_blocking(long).unwrap();
            record();
            let before = allocations::so_far();
            record();
            allocations::so_far() - before
        };
        assert_eq!((0..10).map(|_| of_one()).min(), Some(0));
    });
}

fn allocations_of_ten(edit: impl FnOnce(OtlpBuilder) -> OtlpBuilder) -> usize {
    let (layer, capture) = capture::layer_with(edit);
    allocations_under(tracing_subscriber::registry().with(layer), &capture)
}

/// What ten requests allocate.
fn allocations_under(
    subscriber: impl tracing::Subscriber + Send + Sync,
    capture: &capture::Capture,
) -> usize {
    let (mut of_ten, mut of_200) = (usize::MAX, usize::MAX);
    capture::under(subscriber, || {
        // Pools, thread-locals and the queue's chunks warm up.
        for n in 0..2_000 {
            one_request(n);
        }
        for _ in 0..10 {
            capture
                .guard()
                .force_flush_blocking(std::time::Duration::from_secs(20))
                .unwrap();
            let begun = allocations::so_far();
            for _ in 0..20 {
                let before = allocations::so_far();
                for n in 0..10 {
                    one_request(n);
                }
                of_ten = of_ten.min(allocations::so_far() - before);
            }
            of_200 = of_200.min(allocations::so_far() - begun);
        }
    });
    // Where the worker gets no processor for a while, the queue takes new chunks meanwhile, of more
    // than ten requests each.
    const CHUNKS: usize = 20;
    let most = 20 * of_ten + CHUNKS;
    assert!(of_200 <= most, "{of_ten} of ten, {of_200} of 200");
    of_ten
}
