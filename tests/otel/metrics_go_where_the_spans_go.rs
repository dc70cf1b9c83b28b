//! A pipeline that is built with metrics sends them to the endpoint of its spans, from any runtime and
//! from none, and none of that becomes a span (PAIN 32, EH-3, ENV-7).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/child.rs"]
mod child;
#[path = "../support/life.rs"]
mod life;
#[path = "../support/meters.rs"]
mod meters;
#[path = "../support/pace.rs"]
mod pace;
#[path = "../support/receiver.rs"]
mod receiver;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use life::pace::SLACK;
use life::{Ear, LONG, PROTOCOLS, until};
use meters::{Meters, are, find, sum};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use receiver::{Instead, Receiver};
use tracing::{info_span, span};
use tracing_otlp::config::{ConnectionConfig, MetricsTemporality};
use tracing_otlp::{OtlpBuilder, OtlpConfig, OtlpLayer, Protocol, ShutdownGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

const DELTA: i32 = 1;
const CUMULATIVE: i32 = 2;

fn build(builder: OtlpBuilder) -> (OtlpLayer, ShutdownGuard, SdkMeterProvider) {
    let pipeline = builder.build_with_metrics().unwrap();
    (pipeline.layer, pipeline.guard, pipeline.meter_provider)
}

fn to(receiver: &Receiver, protocol: Protocol) -> OtlpBuilder {
    life::quiet(&receiver.url(), protocol)
}

fn count(meters: &SdkMeterProvider, value: u64) {
    let counter = meters.meter("test").u64_counter("tests").build();
    counter.add(value, &[KeyValue::new("kind", "good")]);
}

/// Settings as these variables have them.
fn read(variables: &'static [(&str, &str)]) -> OtlpConfig {
    OtlpConfig::from_source(move |asked| {
        let found = variables.iter().find(|(name, _)| *name == asked)?;
        Some(found.1.into())
    })
}

#[test]
fn both_signals_speak_for_one_resource_over_both_protocols() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start();
        let builder = to(&receiver, protocol)
            .with_service_name("shop")
            .with_header("x-token", "secret");
        let (layer, guard, meters) = build(builder);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            drop(info_span!("work"));
        });
        count(&meters, 7);
        guard.shutdown_blocking(LONG).unwrap();
        meters.shutdown().unwrap();

        let (metrics, traces) = (receiver.metrics(), receiver.traces());
        assert_eq!((metrics.len(), traces.len()), (1, 1), "{protocol:?}");
        let scopes = &metrics[0].resource_metrics[0].scope_metrics;
        let metric = find(&scopes[0].metrics, "tests").unwrap();
        assert_eq!(sum(metric), [(are([("kind", "good")]), 7)]);

        let of_metrics = metrics[0].resource_metrics[0].resource.clone().unwrap();
        let of_spans = traces[0].resource_spans[0].resource.clone().unwrap();
        let sorted = |mut all: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>| {
            all.sort_by(|a, b| a.key.cmp(&b.key));
            all
        };
        let of_spans = sorted(of_spans.attributes);
        assert_eq!(sorted(of_metrics.attributes), of_spans);
        let keys: Vec<_> = of_spans.iter().map(|a| a.key.as_str()).collect();
        assert!(keys.contains(&"service.instance.id"), "{keys:?}");
        assert_eq!(
            metrics[0].resource_metrics[0].schema_url,
            traces[0].resource_spans[0].schema_url
        );
        for request in receiver.received() {
            assert_eq!(request.headers["x-token"], "secret", "{}", request.path);
            let agent = request.headers["user-agent"].to_str().unwrap();
            assert!(agent.contains("tracing-otlp/"), "{agent}");
        }
    }
}

#[test]
fn under_every_runtime_and_none_pain_32() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start();
        let deliver = || {
            let (_layer, _guard, meters) = build(to(&receiver, protocol));
            count(&meters, 1);
            meters.force_flush().unwrap();
            count(&meters, 1);
            meters.shutdown().unwrap();
        };
        deliver();
        let one = tokio::runtime::Builder::new_current_thread();
        let many = tokio::runtime::Builder::new_multi_thread();
        for mut builder in [one, many] {
            let runtime = builder.enable_all().build().unwrap();
            runtime.block_on(async { deliver() });
        }
        assert_eq!(receiver.metrics().len(), 6, "{protocol:?}");
    }
}

#[test]
fn what_is_dropped_without_a_shutdown_exports_once_more() {
    let receiver = Receiver::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (_layer, _guard, meters) = build(to(&receiver, Protocol::Grpc));
        count(&meters, 1);
    });
    assert_eq!(receiver.metrics().len(), 1);
}

#[test]
fn an_endpoint_that_is_down_for_a_moment_is_asked_again_otlp_8() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start();
        receiver.script([Instead::Unavailable]);
        let builder = to(&receiver, protocol).configure(|config| {
            config.connection.retry.initial_backoff = Duration::from_millis(5);
        });
        let (_layer, _guard, meters) = build(builder);
        count(&meters, 1);
        meters.force_flush().unwrap();
        assert_eq!(receiver.metrics().len(), 2);
        meters.shutdown().unwrap();
    }
}

#[test]
fn what_the_endpoint_rejects_is_no_success_otlp_5() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start();
        receiver.script([Instead::Rejected(1), Instead::Rejected(0)]);
        let (_layer, _guard, meters) = build(to(&receiver, protocol));
        count(&meters, 1);
        assert!(meters.force_flush().is_err());
        // Rejecting nothing is a warning.
        assert!(meters.force_flush().is_ok());
        assert_eq!(receiver.metrics().len(), 2, "and is not tried again");
    }
}

#[test]
fn a_silent_endpoint_keeps_nobody() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    for protocol in PROTOCOLS {
        let builder = life::quiet(&url, protocol).with_timeout(Duration::from_millis(100));
        let (_layer, _guard, meters) = build(builder);
        count(&meters, 1);
        let began = Instant::now();
        assert!(meters.shutdown().is_err());
        assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
    }
}

#[test]
fn variables_of_the_signal_come_before_the_general_ones_env_7() {
    let receiver = Receiver::start();
    let url = receiver.url();
    let metrics_url = format!("{url}/v1/metrics");
    let source = |asked: &str| {
        let value = match asked {
            "OTEL_EXPORTER_OTLP_PROTOCOL" => "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT" => "http://127.0.0.1:9",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" => &metrics_url,
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS" => "x-traces=secret",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS" => "x-metrics=secret",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE" => "Delta",
            _ => return None,
        };
        Some(value.into())
    };
    let config = OtlpConfig::from_source(source);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.metrics.temporality, MetricsTemporality::Delta);
    let builder = tracing_otlp::builder().with_config(config.clone());
    let (_layer, _guard, meters) = build(builder.with_header("x-both", "code"));
    count(&meters, 1);
    meters.shutdown().unwrap();
    let received = &receiver.received()[0];
    assert_eq!(received.path, "/v1/metrics");
    assert_eq!(received.headers["x-metrics"], "secret");
    assert_eq!(received.headers["x-both"], "code");
    assert!(!received.headers.contains_key("x-traces"));

    // An endpoint that code gives is for both.
    let other = Receiver::start();
    let builder = tracing_otlp::builder().with_config(config);
    let (_layer, _guard, meters) = build(builder.with_endpoint(other.url()));
    count(&meters, 1);
    meters.shutdown().unwrap();
    assert_eq!((other.metrics().len(), receiver.metrics().len()), (1, 1));
}

#[test]
fn temporality_is_what_was_asked_for() {
    for (asked, told, last) in [
        (MetricsTemporality::Cumulative, CUMULATIVE, 5),
        (MetricsTemporality::Delta, DELTA, 3),
    ] {
        let receiver = Receiver::start();
        let builder = to(&receiver, Protocol::HttpProtobuf);
        let builder = builder.configure(move |config| config.metrics.temporality = asked);
        let (_layer, _guard, meters) = build(builder);
        for value in [2, 3] {
            count(&meters, value);
            meters.force_flush().unwrap();
        }
        let metrics = receiver.metrics();
        let metric = &metrics[1].resource_metrics[0].scope_metrics[0].metrics[0];
        assert_eq!(sum(metric)[0].1, last);
        let data = metric.data.clone();
        let Some(opentelemetry_proto::tonic::metrics::v1::metric::Data::Sum(sum)) = data else {
            panic!("{data:?}");
        };
        assert_eq!(sum.aggregation_temporality, told);
    }
}

#[test]
fn metrics_go_out_by_themselves() {
    let receiver = Receiver::start();
    let builder = to(&receiver, Protocol::HttpProtobuf);
    let builder = builder.configure(|c| c.metrics.interval = Duration::from_millis(20));
    let (_layer, _guard, meters) = build(builder);
    count(&meters, 1);
    until("two exports", || receiver.metrics().len() >= 2);
}

#[test]
fn nothing_is_exported_where_nothing_shall_be() {
    const NONE: &[(&str, &str)] = &[("OTEL_METRICS_EXPORTER", "none")];
    const DISABLED: &[(&str, &str)] = &[("OTEL_SDK_DISABLED", "true")];
    for variables in [NONE, DISABLED] {
        let receiver = Receiver::start();
        let builder = tracing_otlp::builder().with_config(read(variables));
        let builder = builder.with_protocol(Protocol::HttpProtobuf);
        let (layer, guard, meters) = build(builder.with_endpoint(receiver.url()));
        count(&meters, 1);
        meters.force_flush().unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            drop(info_span!("work"));
        });
        guard.shutdown_blocking(LONG).unwrap();
        meters.shutdown().unwrap();
        assert!(receiver.metrics().is_empty());
        // Spans know nothing of the first.
        let spans = usize::from(variables == NONE);
        assert_eq!(receiver.traces().len(), spans);
    }
}

#[test]
fn variables_that_cannot_be_used_leave_a_warning() {
    const BAD: &[(&str, &str)] = &[
        ("OTEL_METRICS_EXPORTER", "console"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "none"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "soon"),
    ];
    let config = read(BAD);
    let warned: Vec<_> = config.warnings.iter().map(|w| w.setting.as_str()).collect();
    let expected: Vec<_> = BAD.iter().map(|(name, _)| *name).collect();
    assert_eq!(warned, expected);
    assert_eq!(config.metrics, OtlpConfig::default().metrics);
}

#[test]
fn a_wrong_endpoint_is_an_error_of_the_build() {
    let mut config = ConnectionConfig::default();
    config.metrics_endpoint = Some("ftp://nowhere".to_owned());
    let error = tracing_otlp::otel::metrics::MetricExporter::new(config).unwrap_err();
    assert!(error.is_config(), "{error}");
    assert!(error.to_string().contains("metrics_endpoint"), "{error}");
}

#[test]
fn nothing_of_it_becomes_a_span_over_grpc() {
    in_child("nothing_of_it_becomes_a_span_over_grpc", Protocol::Grpc);
}

#[test]
fn nothing_of_it_becomes_a_span_over_http() {
    in_child(
        "nothing_of_it_becomes_a_span_over_http",
        Protocol::HttpProtobuf,
    );
}

/// Only a global default reaches the exporter's thread.
fn in_child(test: &str, protocol: Protocol) {
    match child::role() {
        None => drop(child::run(test, "the application").well()),
        Some(_) => application(protocol),
    }
}

fn application(protocol: Protocol) {
    let receiver = Receiver::start();
    let (layer, guard, meters) = build(to(&receiver, protocol));
    let (ear, seen) = (Ear::default(), Seen::default());
    let subscriber = tracing_subscriber::registry()
        .with(LevelFilter::TRACE)
        .with(layer)
        .with(ear.clone())
        .with(seen.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    // A span that is current all the while takes up nobody else's events.
    info_span!("mine").in_scope(|| {
        for _ in 0..3 {
            count(&meters, 1);
            meters.force_flush().unwrap();
        }
        receiver.script([Instead::Rejected(1)]);
        meters.force_flush().unwrap_err();
        assert!(
            ear.has_heard("metrics could not be exported"),
            "{:?}",
            ear.diagnostics()
        );
        // The endpoint takes them all and adds a warning.
        receiver.script([Instead::Rejected(0)]);
        meters.force_flush().unwrap();
        assert!(
            ear.has_heard("metrics arrive again"),
            "{:?}",
            ear.diagnostics()
        );
        meters.shutdown().unwrap();
    });
    guard.shutdown_blocking(LONG).unwrap();
    let stats = guard.stats();
    assert_eq!(stats.started, 1, "nothing else was recorded: {stats}");
    let traces = receiver.traces();
    let span = &traces[0].resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((span.name.as_str(), span.events.len()), ("mine", 0));
    assert_eq!(receiver.metrics().len(), 6);
    // Another layer saw what there was: h2 traces a lot, hyper alone nothing but our own two words.
    let least = match protocol {
        Protocol::Grpc => 20,
        _ => 2,
    };
    let seen = seen.0.load(Ordering::Relaxed);
    assert!(seen >= least, "{seen}");
}

/// Counts spans and events of the exporter's thread.
#[derive(Clone, Default)]
struct Seen(Arc<AtomicUsize>);

impl Seen {
    fn note(&self) {
        if std::thread::current().name() == Some("otlp-metrics") {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Seen {
    fn on_new_span(&self, _: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        self.note();
    }

    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        self.note();
    }
}

/// The exporter under a provider that somebody put together by hand.
#[test]
fn the_exporter_serves_any_provider() {
    let receiver = Receiver::start();
    let mut config = ConnectionConfig::default();
    config.endpoint = Some(receiver.url());
    let exporter = tracing_otlp::otel::metrics::MetricExporter::new(config).unwrap();
    let meters = SdkMeterProvider::builder()
        .with_periodic_exporter(exporter)
        .build();
    count(&meters, 1);
    meters.shutdown().unwrap();
    assert_eq!(receiver.metrics().len(), 1);
    // What is kept in memory is the same.
    let kept = Meters::new();
    count(&kept.provider, 1);
    assert_eq!(kept.sum("tests"), [(are([("kind", "good")]), 1)]);
}
