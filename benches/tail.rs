//! What a tail decision costs: the life of a local trace with and without one.
//!
//! `off`: no tail sampling. `drops`: all are held and dropped. `keeps`: all are held and then
//! exported. `learns`: as `drops`, and each root's duration goes into its name's quantile.

#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "a benchmark, which may fail by panicking"
)]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tracing::{Dispatch, dispatcher, info_span};
use tracing_otlp::config::TailConfig;

use self::support::{Discard, pipeline, record_span};

mod support;

fn pipelines() -> Vec<(&'static str, Dispatch)> {
    let mut keeps = TailConfig::default();
    keeps.ratio = 1.0;
    let mut learns = TailConfig::default();
    learns.slower_than_quantile = Some(0.999_999);
    let tails = [
        ("off", None),
        ("drops", Some(TailConfig::default())),
        ("keeps", Some(keeps)),
        ("learns", Some(learns)),
    ];
    let build = |(name, tail)| {
        let builder = tracing_otlp::builder().with_tail_sampling(tail);
        let (dispatch, guard) = pipeline(builder, Discard);
        // The pipeline lives as long as the process.
        std::mem::forget(guard);
        (name, dispatch)
    };
    tails.map(build).into()
}

fn traces(c: &mut Criterion) {
    let mut group = c.benchmark_group("local trace");
    for (name, dispatch) in pipelines() {
        for children in [0, 1, 10] {
            let id = BenchmarkId::new(name, format!("{children} children"));
            dispatcher::with_default(&dispatch, || {
                group.bench_function(id, |b| {
                    b.iter(|| {
                        let _root = info_span!("root").entered();
                        (0..children).for_each(|_| record_span());
                    });
                });
            });
        }
    }
}

criterion_group!(benches, traces);
criterion_main!(benches);
