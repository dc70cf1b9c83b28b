//! Spans in Kafka, as the Collector's `kafkareceiver` reads them (encoding `otlp_proto`, topic `otlp_spans`).
//!
//! ```text
//! cargo run --manifest-path examples/kafka/Cargo.toml
//! KAFKA_BROKERS=localhost:9092 cargo run --manifest-path examples/kafka/Cargo.toml
//! ```
//!
//! The first command starts librdkafka's own mock of a cluster; the second one uses a cluster of yours. Both
//! read back what they wrote, and compare: each message has one trace, and each trace one partition.

#[path = "kafka/exporter.rs"]
mod exporter;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::mocking::MockCluster;
use tracing::{info, info_span};
use tracing_subscriber::prelude::*;

use exporter::KafkaExporter;

const TOPIC: &str = "otlp_spans";
const PARTITIONS: i32 = 8;
const LONG: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    // Lives as long as the example.
    let mock = MockCluster::new(3)?;
    let brokers = match std::env::var("KAFKA_BROKERS") {
        Ok(brokers) => brokers,
        Err(_) => {
            println!("KAFKA_BROKERS is not set: a mock of a cluster takes the spans");
            mock.create_topic(TOPIC, PARTITIONS, 3)?;
            mock.bootstrap_servers()
        }
    };
    // From here on: what others wrote into the topic is not ours.
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set(
            "group.id",
            format!("tracing-otlp example {}", std::process::id()),
        )
        .set("auto.offset.reset", "earliest")
        .create()?;
    consumer.subscribe(&[TOPIC])?;

    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_service_name("shop")
        .with_exporter(KafkaExporter::new(&brokers, TOPIC)?)
        .build()?;
    tracing_subscriber::registry().with(layer).init();
    let mine: Vec<_> = (0..4)
        .map(|shop| thread::spawn(move || serve(shop)))
        .collect();
    let mut traces = BTreeSet::new();
    for thread in mine {
        traces.extend(thread.join().map_err(|_| "a thread panicked")?);
    }
    guard.shutdown_blocking(LONG)?;
    println!("{}", guard.stats());

    let read = read(&consumer, &traces)?;
    for (partition, spans) in &read {
        println!("partition {partition}: {spans} spans");
    }
    let spans: usize = read.values().sum();
    println!("{} traces, {spans} spans read back", traces.len());
    match spans == 3 * traces.len() {
        true => Ok(()),
        false => Err("spans are missing".into()),
    }
}

/// A hundred requests of three spans each; returns their trace ids.
fn serve(shop: u32) -> Vec<String> {
    let serve_one = |order: u32| {
        use tracing_otlp::SpanExt as _;
        let request = info_span!("request", shop, order);
        let trace = request.trace_context().trace_id().to_string();
        request.in_scope(|| {
            info_span!("load").in_scope(|| info!("loaded"));
            info_span!("store").in_scope(|| info!("stored"));
        });
        trace
    };
    (0..100).map(serve_one).collect()
}

/// Reads until all of `traces` are there; returns the number of their spans by partition.
fn read(
    consumer: &BaseConsumer,
    traces: &BTreeSet<String>,
) -> Result<BTreeMap<i32, usize>, Box<dyn Error>> {
    let mut partition_of = BTreeMap::new();
    let mut spans = BTreeMap::new();
    let deadline = Instant::now() + LONG;
    while spans.values().sum::<usize>() < 3 * traces.len() && Instant::now() < deadline {
        let Some(message) = consumer.poll(Duration::from_millis(200)).transpose()? else {
            continue;
        };
        let key = message
            .key_view::<str>()
            .ok_or("a message without a key")??;
        if !traces.contains(key) {
            continue;
        }
        let request = ExportTraceServiceRequest::decode(message.payload().unwrap_or_default())?;
        let scopes = request
            .resource_spans
            .iter()
            .flat_map(|resource| &resource.scope_spans);
        for span in scopes.flat_map(|scope| &scope.spans) {
            let trace: String = span
                .trace_id
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            if trace != key {
                return Err(format!("a span of trace {trace} in a message of trace {key}").into());
            }
            *spans.entry(message.partition()).or_default() += 1;
        }
        if *partition_of
            .entry(key.to_owned())
            .or_insert(message.partition())
            != message.partition()
        {
            return Err(format!("trace {key} is in two partitions").into());
        }
    }
    Ok(spans)
}
