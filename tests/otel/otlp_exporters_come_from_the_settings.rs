//! opentelemetry-otlp's exporters, built from the settings of the pipeline and carried by its client.
#![cfg(feature = "opentelemetry-otlp")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;
use tracing::{info, info_span};
use tracing_otlp::config::{LogsExporterKind, OtlpConfig};
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, Events, Protocol, Stats, otel};
use tracing_subscriber::layer::SubscriberExt as _;

const LONG: Duration = Duration::from_secs(120);

fn config(endpoint: &str, protocol: Protocol) -> OtlpConfig {
    let mut config = OtlpConfig::default();
    config.connection.endpoint = Some(endpoint.to_owned());
    config.connection.protocol = Some(protocol);
    let team = ("x-team".parse().unwrap(), "shop".parse().unwrap());
    config.connection.headers.push(team);
    config.connection.retry.initial_backoff = Duration::from_millis(5);
    config.batch.schedule_delay = Duration::from_secs(3600);
    config.logs.batch.schedule_delay = Duration::from_secs(3600);
    config.logs.exporter = Some(LogsExporterKind::Otlp);
    config.logs.events = Events::AsLogs;
    config
}

/// Records `n` spans with a log record each; the figures after a flush.
fn record(config: OtlpConfig, n: usize) -> Stats {
    let (layer, guard) = tracing_otlp::builder()
        .with_exporter(otel::otlp_span_exporter(&config).unwrap())
        .with_logs_exporter(otel::otlp_log_exporter(&config).unwrap())
        .with_config(config)
        .build()
        .unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        for i in 0..n {
            info_span!("span", i).in_scope(|| info!("said"));
        }
    });
    let _ = guard.force_flush_blocking(LONG);
    let stats = guard.stats();
    assert_eq!(stats.unaccounted(), 0, "{stats}");
    stats
}

#[test]
fn spans_and_records_arrive_as_protobuf() {
    let collector = Collector::start();
    let stats = record(
        config(&collector.http_endpoint(), Protocol::HttpProtobuf),
        20,
    );
    assert_eq!((stats.delivered, stats.logs.delivered), (20, 20), "{stats}");
    let spans = collector.spans();
    assert_eq!(spans.len(), 20);
    assert!(
        spans
            .iter()
            .all(|s| s.resource.attr("service.name").is_some())
    );
    let logs = collector.logs();
    assert_eq!(logs.len(), 20);
    assert!(logs.iter().all(|l| l.trace_id.is_some()));
    // The head is written by this crate's client, from the same settings.
    let request = &collector.requests()[0];
    let header = |name: &str| {
        request
            .headers
            .get(name)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(header("x-team"), "shop");
    assert!(header("user-agent").starts_with("tracing-otlp/"));
}

#[test]
fn spans_arrive_as_json() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/base", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0);
        }
        let head = head.to_lowercase();
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().trim().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let answer = r#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"old"}}"#;
        let length = answer.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{answer}"
        )
        .unwrap();
        (head, serde_json::from_slice::<Value>(&body).unwrap())
    });
    let mut config = config(&endpoint, Protocol::HttpJson);
    config.logs.exporter = None;
    let (layer, guard) = tracing_otlp::builder()
        .with_exporter(otel::otlp_span_exporter(&config).unwrap())
        .with_config(config)
        .build()
        .unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        drop(info_span!("first", count = 3_i64));
        drop(info_span!("second"));
    });
    let _ = guard.force_flush_blocking(LONG);
    let (head, body) = server.join().unwrap();
    assert!(head.starts_with("post /base/v1/traces "), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(head.contains("x-team: shop"), "{head}");
    let span = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["name"], "first");
    assert_eq!(span["traceId"].as_str().unwrap().len(), 32);
    // What the endpoint rejects is counted, which opentelemetry-otlp only logs.
    let stats = guard.stats();
    assert_eq!((stats.delivered, stats.rejected), (1, 1), "{stats}");
}

#[test]
fn what_becomes_of_a_request_is_counted_as_this_client_counts_it() {
    let collector = Collector::start();
    collector.script([Answer::http(503), Answer::http(400)]);
    let mut config = config(&collector.http_endpoint(), Protocol::HttpProtobuf);
    config.logs.exporter = None;
    config.batch.max_export_batch_size = 8;
    let (layer, guard) = tracing_otlp::builder()
        .with_exporter(otel::otlp_span_exporter(&config).unwrap())
        .with_config(config)
        .build()
        .unwrap();
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer));
    let record = |n: usize| {
        tracing::dispatcher::with_default(&dispatch, || {
            (0..n).for_each(|_| drop(info_span!("span")));
        });
        let _ = guard.force_flush_blocking(LONG);
    };
    record(1);
    let stats = guard.stats();
    assert_eq!(stats.dropped(DropReason::Refused), 1, "{stats}");
    assert!(stats.last_error.unwrap().1.contains("HTTP 400"));
    // An endpoint that takes less gets less.
    collector.script([Answer::http(413), Answer::http(413)]);
    record(8);
    let stats = guard.stats();
    assert_eq!((stats.delivered, stats.dropped_total()), (8, 1), "{stats}");
    assert_eq!(collector.span_count(), 8);
}

#[test]
fn an_endpoint_that_is_not_there_loses_nothing_before_the_shutdown_and_keeps_it_short() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let config = config(&nobody, Protocol::HttpProtobuf);
    let (layer, guard) = tracing_otlp::builder()
        .with_exporter(otel::otlp_span_exporter(&config).unwrap())
        .with_config(config)
        .build()
        .unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        drop(info_span!("span"));
    });
    let error = guard
        .force_flush_blocking(Duration::from_millis(300))
        .unwrap_err();
    assert!(
        error.to_string().contains("nobody listens there"),
        "{error}"
    );
    assert_eq!(guard.stats().dropped_total(), 0);
    assert!(guard.shutdown_blocking(LONG).is_err());
    assert_eq!(guard.stats().dropped(DropReason::Unsent), 1);
}

#[test]
fn what_it_cannot_have_is_an_error_with_the_setting() {
    let grpc = config("http://localhost:4317", Protocol::Grpc);
    let mut affine = config("http://localhost:4318", Protocol::HttpProtobuf);
    affine.connection.trace_affinity = true;
    for (config, setting) in [(grpc, "protocol"), (affine, "trace_affinity")] {
        let of_spans = otel::otlp_span_exporter(&config).err().unwrap();
        let of_logs = otel::otlp_log_exporter(&config).err().unwrap();
        for error in [of_spans, of_logs] {
            assert!(error.is_config(), "{error}");
            assert!(error.to_string().contains(setting), "{error}");
        }
    }
}
