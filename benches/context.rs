//! What does context cost: asking what is current, scopes, late changes, and context activation?
//!
//! ```text
//! cargo bench --bench context
//! ```
//!
//! `tracing::Span::current()` and `opentelemetry::Context::current()` stand beside ours in the same run.
//! Activation cannot be taken back in a process, so its group comes last.
#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]
#![allow(missing_docs, reason = "nobody imports it")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use opentelemetry::Context;
use tracing::{Dispatch, Level, Span, dispatcher, info_span};
use tracing_otlp::context::TraceFlags;
use tracing_otlp::{OtlpBuilder, SpanExt as _, SpanId, TraceContext, TraceId, context};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use self::support::{Discard, pipeline};

mod support;

fn dispatch(builder: OtlpBuilder) -> Dispatch {
    let (dispatch, guard) = pipeline(builder, Discard);
    // The pipeline lives as long as the process.
    std::mem::forget(guard);
    dispatch
}

fn remote() -> TraceContext {
    TraceContext::new(
        TraceId::from_bytes([1; 16]),
        SpanId::from_bytes([2; 8]),
        TraceFlags::SAMPLED,
    )
    .with_remote(true)
}

fn current(c: &mut Criterion) {
    let dispatch = dispatch(tracing_otlp::builder());
    dispatcher::with_default(&dispatch, || {
        let mut group = c.benchmark_group("current");
        group.bench_function("nothing: ours", |b| b.iter(context::current));
        group.bench_function("nothing: Span::current", |b| b.iter(Span::current));
        {
            let _span = info_span!("span").entered();
            group.bench_function("under a span: ours", |b| b.iter(context::current));
            group.bench_function("under a span: Span::current", |b| b.iter(Span::current));
        }
        context::sync_scope(remote(), || {
            group.bench_function("under a scope: ours", |b| b.iter(context::current));
        });
        group.bench_function("opentelemetry Context::current", |b| {
            b.iter(Context::current)
        });
        group.finish();
    });
    // Where the registry may have another span current than the layer was told of.
    let (layer, guard) = tracing_otlp::builder()
        .with_exporter(Discard)
        .build()
        .expect("an exporter of our own");
    let seen = filter_fn(|metadata| *metadata.level() <= Level::INFO);
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(seen));
    tracing::subscriber::with_default(subscriber, || {
        let mut group = c.benchmark_group("current");
        let _span = info_span!("span").entered();
        group.bench_function("behind a filter: ours", |b| b.iter(context::current));
        group.bench_function("behind a filter: Span::current", |b| b.iter(Span::current));
        group.finish();
    });
    drop(guard);
}

fn scopes(c: &mut Criterion) {
    let dispatch = dispatch(tracing_otlp::builder());
    dispatcher::with_default(&dispatch, || {
        let mut group = c.benchmark_group("scope");
        let cx = remote();
        group.bench_function("open and close", |b| {
            b.iter(|| context::sync_scope(black_box(cx.clone()), || ()))
        });
        let theirs = tracing_otlp::otel::to_context(&cx);
        group.bench_function("opentelemetry attach and detach", |b| {
            b.iter(|| black_box(theirs.clone()).attach())
        });
        group.bench_function("a root in it", |b| {
            b.iter(|| context::sync_scope(cx.clone(), || info_span!("root")))
        });
        group.bench_function("a root, then set_parent", |b| {
            b.iter(|| {
                let span = info_span!("root");
                let _ = span.set_parent(cx.clone());
                span
            })
        });
        group.finish();
    });
}

fn late(c: &mut Criterion) {
    let dispatch = dispatch(tracing_otlp::builder());
    dispatcher::with_default(&dispatch, || {
        let mut group = c.benchmark_group("late");
        group.bench_function("set_attribute", |b| {
            let span = info_span!("span");
            b.iter(|| span.set_attribute("key", black_box(5_i64)));
        });
        group.bench_function("record, for comparison", |b| {
            let span = info_span!("span", key = tracing::field::Empty);
            b.iter(|| span.record("key", black_box(5_i64)));
        });
        group.bench_function("trace_context", |b| {
            let span = info_span!("span");
            b.iter(|| span.trace_context());
        });
        group.finish();
    });
}

fn activation(c: &mut Criterion) {
    for on in [false, true] {
        let dispatch = dispatch(tracing_otlp::builder().with_context_activation(on));
        dispatcher::with_default(&dispatch, || {
            let mut group = c.benchmark_group(format!("activation {on}"));
            let span = info_span!("span");
            group.bench_function("enter and exit", |b| b.iter(|| span.in_scope(|| ())));
            group.bench_function("a span, entered", |b| {
                b.iter(|| info_span!("span").in_scope(|| ()))
            });
            group.finish();
        });
    }
}

criterion_group!(benches, current, scopes, late, activation);
criterion_main!(benches);
