//! In the steady state a thread that records events as log records allocates nothing: with fields, inside
//! and outside of spans, as records alone and as span events too.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/allocations.rs"]
mod allocations;

use tracing::{debug, info, info_span, warn};
use tracing_otlp::context::TraceFlags;
use tracing_otlp::export::{Batch, Exporter, Outcome, Signal};
use tracing_otlp::sampler::AlwaysOff;
use tracing_otlp::{Events, OtlpBuilder, ShutdownGuard, SpanId, TraceContext, TraceId, context};
use tracing_subscriber::layer::SubscriberExt as _;

struct Take;

impl Exporter for Take {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        std::future::ready(Outcome::delivered(batch.item_count() as u64))
    }

    fn supports(&self, _: Signal) -> bool {
        true
    }
}

const LONG: std::time::Duration = std::time::Duration::from_secs(20);

fn one_request(n: u64) {
    info!(n, "outside of any span");
    let _root = info_span!("request", n).entered();
    info!(attempt = n, cached = true, ratio = 0.5, "cache miss");
    warn!(user = %"user-4711", path = "/api/v1/users/4711", "slow: {} ms", n);
    tracing::event!(name: "cart.emptied", tracing::Level::INFO, n);
    info!(target: "shop::stock", text = "x".repeat(0).as_str(), "with a target");
    debug!(big = u64::MAX, "with digits");
}

fn allocations_of(edit: impl FnOnce(OtlpBuilder) -> OtlpBuilder, request: fn(u64)) -> usize {
    let builder = tracing_otlp::builder().without_env().with_exporter(Take);
    let (layer, guard): (_, ShutdownGuard) = edit(builder).build().unwrap();
    let mut fewest = usize::MAX;
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        // Pools, thread-locals and the queue's chunks warm up.
        for n in 0..2_000 {
            request(n);
        }
        // A round through which the worker kept up shows what a record itself takes.
        for _ in 0..10 {
            guard.force_flush_blocking(LONG).unwrap();
            let before = allocations::so_far();
            for n in 0..200 {
                request(n);
            }
            fewest = fewest.min(allocations::so_far() - before);
        }
        guard.force_flush_blocking(LONG).unwrap();
        let stats = guard.stats();
        assert_eq!(stats.logs.unaccounted(), 0, "{stats}");
        assert_eq!(stats.logs.delivered, stats.logs.emitted, "{stats}");
        assert!(stats.logs.emitted > 0);
    });
    fewest
}

#[test]
fn a_log_record_allocates_nothing() {
    for events in [Events::AsLogs, Events::AsBoth] {
        assert_eq!(
            allocations_of(|b| b.with_logs(events), one_request),
            0,
            "{events:?}"
        );
    }
}

#[test]
fn nor_does_one_of_an_unsampled_span() {
    let unsampled = |b: OtlpBuilder| b.with_logs(Events::AsBoth).with_sampler(AlwaysOff);
    assert_eq!(allocations_of(unsampled, one_request), 0);
}

#[test]
fn nor_one_that_the_filter_leaves_out() {
    let filtered = |b: OtlpBuilder| {
        b.with_logs(Events::AsLogs)
            .with_log_filter("off,shop=info".parse().unwrap())
    };
    assert_eq!(allocations_of(filtered, one_request), 0);
}

#[test]
fn nor_one_in_a_scope() {
    fn in_a_scope(n: u64) {
        let cx = TraceContext::new(
            TraceId::from_bytes([1; 16]),
            SpanId::from_bytes([2; 8]),
            TraceFlags::SAMPLED,
        );
        context::sync_scope(cx, || info!(n, "in a scope"));
    }
    assert_eq!(
        allocations_of(|b| b.with_logs(Events::AsLogs), in_a_scope),
        0
    );
}
