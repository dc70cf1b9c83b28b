//! What does it cost to turn a span into bytes, and spans into a request, beside prost?
//!
//! ```text
//! cargo bench --bench encode
//! ```
//!
//! `span/otlp` is a whole life: recorded through `tracing`, encoded as it goes, closed, queued.
//! `span/registry` is the same without this crate. `span/prost` begins where a typed span
//! (the very span that we sent, read back) already exists, and copies it, as an exporter must that
//! borrows its spans; `span/prost encode only` leaves out the copy.
#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]
#![allow(missing_docs, reason = "nobody imports it")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tracing::{Dispatch, dispatcher};
use tracing_subscriber::registry;

use self::support::{Discard, batch_of_512, pipeline, record_span};

mod support;

fn span(c: &mut Criterion) {
    let request = ExportTraceServiceRequest::decode(batch_of_512().to_bytes()).expect("a request");
    let typed = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(typed.events.len(), 1);
    let (otlp, guard) = pipeline(tracing_otlp::builder(), Discard);
    let mut group = c.benchmark_group("span");
    for (name, dispatch) in [("registry", Dispatch::new(registry())), ("otlp", otlp)] {
        dispatcher::with_default(&dispatch, || {
            group.bench_function(name, |b| b.iter(record_span));
        });
    }
    assert_eq!(guard.stats().dropped_total(), 0, "a drop is no work");
    let mut out = Vec::with_capacity(4096);
    group.bench_function("prost", |b| {
        b.iter(|| {
            out.clear();
            let span = black_box(typed).clone();
            span.encode(&mut out).expect("room");
            black_box(&out);
        });
    });
    group.bench_function("prost encode only", |b| {
        b.iter(|| {
            out.clear();
            black_box(typed).encode(&mut out).expect("room");
            black_box(&out);
        });
    });
}

fn request(c: &mut Criterion) {
    let batch = batch_of_512();
    let typed = ExportTraceServiceRequest::decode(batch.to_bytes()).expect("a request");
    let mut group = c.benchmark_group("request of 512 spans");
    group.throughput(Throughput::Bytes(batch.encoded_len() as u64));
    group.bench_function("frames", |b| b.iter(|| black_box(&batch).frames()));
    group.bench_function("one piece", |b| b.iter(|| black_box(&batch).to_bytes()));
    group.bench_function("prost", |b| b.iter(|| black_box(&typed).encode_to_vec()));
}

criterion_group!(benches, span, request);
criterion_main!(benches);
