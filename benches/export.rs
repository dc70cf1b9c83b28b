//! How long is a request of 512 spans under way, over loopback, until it is acknowledged?
//!
//! ```text
//! cargo bench --bench export
//! ```
//!
//! The receiver only counts, in the same process: half of the time is its.
#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]
#![allow(missing_docs, reason = "nobody imports it")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tracing_otlp::Protocol;
use tracing_otlp::config::{Compression, ConnectionConfig};
use tracing_otlp::export::OtlpClient;
use tracing_otlp::testing::Collector;

use self::support::batch_of_512;

mod support;

fn export(c: &mut Criterion) {
    let batch = batch_of_512();
    let collector = Collector::builder().count_only().start().expect("a port");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut group = c.benchmark_group("export of 512 spans");
    group.throughput(Throughput::Elements(512));
    for (name, protocol, compression) in [
        ("grpc", Protocol::Grpc, Compression::None),
        ("http", Protocol::HttpProtobuf, Compression::None),
        ("grpc, gzip", Protocol::Grpc, Compression::Gzip),
    ] {
        let mut config = ConnectionConfig::default();
        config.endpoint = Some(collector.endpoint(protocol));
        config.protocol = Some(protocol);
        config.compression = compression;
        let client = OtlpClient::new(config).expect("settings");
        runtime.block_on(client.initialize()).expect("a connection");
        group.bench_function(name, |b| {
            b.iter(|| {
                let outcome = runtime.block_on(client.deliver(batch.clone()));
                assert_eq!((outcome.delivered, outcome.retries), (512, 0));
            });
        });
    }
}

criterion_group!(benches, export);
criterion_main!(benches);
