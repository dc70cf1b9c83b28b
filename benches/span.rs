//! What recording costs: the life of a span, an event, a `record`, a poll.
//!
//! Each group holds the baselines (`registry`: no layer; `noop`: a layer that does nothing) beside
//! this crate sampled and unsampled. The exporter counts and discards, so the queue never fills.
//! Allocations and instructions: `benches/README.md`.

#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "a benchmark, which may fail by panicking"
)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tracing::field::Empty;
use tracing::{Dispatch, Instrument as _, dispatcher, info, info_span};
use tracing_otlp::sampler;
use tracing_subscriber::layer::{Identity, SubscriberExt as _};
use tracing_subscriber::registry;

use self::support::{Discard, pipeline};

mod support;

/// The subscribers to compare, with what must outlive them.
fn subscribers() -> Vec<(&'static str, Dispatch)> {
    let build = |builder| {
        let (dispatch, guard) = pipeline(builder, Discard);
        // The pipeline lives as long as the process.
        std::mem::forget(guard);
        dispatch
    };
    vec![
        ("registry", Dispatch::new(registry())),
        ("noop", Dispatch::new(registry().with(Identity::new()))),
        (
            "unsampled",
            build(tracing_otlp::builder().with_sampler(sampler::AlwaysOff)),
        ),
        ("otlp", build(tracing_otlp::builder())),
    ]
}

fn bench(c: &mut Criterion, group: &str, f: impl Fn()) {
    let mut group = c.benchmark_group(group);
    for (name, dispatch) in subscribers() {
        dispatcher::with_default(&dispatch, || group.bench_function(name, |b| b.iter(&f)));
    }
}

fn spans(c: &mut Criterion) {
    bench(c, "span/0 fields", || {
        let _entered = info_span!("bench").entered();
    });
    bench(c, "span/3 fields", || {
        let user = black_box("user-4711");
        let _entered =
            info_span!("bench", component = "web", items = black_box(42), user = %user).entered();
    });
    bench(c, "span/8 fields", || {
        let s = black_box("value");
        let n = black_box(42);
        let _entered =
            info_span!("bench", a = s, b = n, c = s, d = n, e = s, f = true, g = 0.5, h = %s)
                .entered();
    });
    bench(c, "span/child", || {
        let _root = info_span!("root").entered();
        let _child = info_span!("child").entered();
    });
}

fn in_span(c: &mut Criterion) {
    let mut group = c.benchmark_group("in a span");
    for (name, dispatch) in subscribers() {
        dispatcher::with_default(&dispatch, || {
            // A fresh span for each batch, or its limit of events is soon reached.
            let span = || info_span!("bench", late = Empty).entered();
            group.bench_function(format!("event/{name}"), |b| {
                b.iter_batched_ref(
                    span,
                    |_| info!(key = "users", attempt = black_box(1), "cache miss"),
                    BatchSize::PerIteration,
                );
            });
            group.bench_function(format!("record/{name}"), |b| {
                b.iter_batched_ref(
                    span,
                    |span| {
                        span.record("late", black_box(200));
                    },
                    BatchSize::PerIteration,
                );
            });
        });
    }
}

fn polls(c: &mut Criterion) {
    let mut group = c.benchmark_group("async");
    for (name, dispatch) in subscribers() {
        dispatcher::with_default(&dispatch, || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime");
            group.bench_function(format!("8 polls of a spanned future/{name}"), |b| {
                b.iter(|| {
                    runtime.block_on(
                        async {
                            for _ in 0..7 {
                                tokio::task::yield_now().await;
                            }
                        }
                        .instrument(info_span!("bench")),
                    );
                });
            });
        });
    }
}

criterion_group!(benches, spans, in_span, polls);
criterion_main!(benches);
