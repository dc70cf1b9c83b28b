//! Exporters of `opentelemetry_sdk` take this pipeline's spans, and none of them holds it up.

use std::future::pending;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use opentelemetry::trace::{
    Span as _, SpanKind, Status as OtelStatus, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Array, Context, Value as OtelValue};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SpanData, SpanExporter};
use tracing::{error, info, info_span};
use tracing_otlp::otel::{SpanExporterAdapter, Tracer, TracerProvider};
use tracing_otlp::testing::Collector;
use tracing_otlp::{DropReason, KeyValue, SpanExt as _, Stats, Status, TraceContext, Value};
use tracing_subscriber::layer::SubscriberExt as _;

const LONG: Duration = Duration::from_secs(120);

/// Records with an exporter of the SDK; the figures after a shutdown.
fn record(adapter: SpanExporterAdapter<impl SpanExporter + 'static>, f: impl FnOnce()) -> Stats {
    let builder = tracing_otlp::builder().without_env();
    let (layer, guard) = builder
        .with_service_name("shop")
        .with_exporter(adapter)
        .build()
        .unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), f);
    let _ = guard.force_flush_blocking(LONG);
    let stats = guard.stats();
    assert_eq!(stats.unaccounted(), 0, "{stats}");
    stats
}

/// Keeps what it is given, also the resource.
#[derive(Debug, Clone, Default)]
struct Keep {
    spans: InMemorySpanExporter,
    resource: Arc<Mutex<Option<Resource>>>,
}

impl SpanExporter for Keep {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.spans.export(batch).await
    }

    fn set_resource(&mut self, resource: &Resource) {
        *self.resource.lock().unwrap() = Some(resource.clone());
    }
}

#[test]
fn everything_that_was_recorded_is_there() {
    let keep = Keep::default();
    let stats = record(SpanExporterAdapter::new(keep.clone()), || {
        let span = info_span!(
            "parent",
            otel.kind = "client",
            yes = true,
            n = -7,
            f = 1.5,
            s = "x"
        );
        span.set_attribute("bytes", vec![1_u8, 255]);
        span.set_attribute("list", vec![Value::from(1_i64), Value::from(2_i64)]);
        span.set_attribute("mixed", vec![Value::from(1_i64), Value::from("two")]);
        let remote = TraceContext::default()
            .with_trace_state(tracing_otlp::context::TraceState::parse("a=1").unwrap())
            .with_remote(true);
        span.add_link_with_attributes(remote, &[KeyValue::new("why", "retry")]);
        span.in_scope(|| {
            info!(k = 1, "happened");
            error!("broken");
            info_span!("child").in_scope(|| {});
        });
        span.set_status(Status::error("it broke"));
    });
    assert_eq!(stats.delivered, 2);
    let spans = keep.spans.get_finished_spans().unwrap();
    let parent = spans.iter().find(|s| s.name == "parent").unwrap();
    let child = spans.iter().find(|s| s.name == "child").unwrap();
    assert_eq!(child.parent_span_id, parent.span_context.span_id());
    assert!(!child.parent_span_is_remote);
    assert_eq!(
        child.span_context.trace_id(),
        parent.span_context.trace_id()
    );
    assert!(parent.span_context.is_sampled() && !parent.span_context.is_remote());
    assert_eq!(parent.span_kind, SpanKind::Client);
    assert!(parent.start_time <= child.start_time && child.end_time <= parent.end_time);
    assert_eq!(parent.status, OtelStatus::error("it broke"));
    let value = |key: &str| {
        let mut found = parent.attributes.iter().filter(|a| a.key.as_str() == key);
        found.next().map(|a| a.value.clone())
    };
    assert_eq!(value("yes"), Some(true.into()));
    assert_eq!(value("n"), Some((-7_i64).into()));
    assert_eq!(value("f"), Some(1.5.into()));
    assert_eq!(value("s"), Some("x".into()));
    assert_eq!(value("bytes"), Some("Af8=".into()));
    assert_eq!(
        value("list"),
        Some(OtelValue::Array(Array::I64(vec![1, 2])))
    );
    let mixed = OtelValue::Array(Array::String(vec!["1".into(), "two".into()]));
    assert_eq!(value("mixed"), Some(mixed));
    let events: Vec<_> = parent.events.iter().map(|e| e.name.as_ref()).collect();
    assert_eq!(events, ["happened", "broken"]);
    let link = &parent.links.links[0];
    assert!(link.span_context.is_remote());
    assert_eq!(link.span_context.trace_state().get("a"), Some("1"));
    assert_eq!(link.attributes.len(), 1);
    assert_eq!(parent.instrumentation_scope.name(), "tracing-otlp");
    let resource = keep.resource.lock().unwrap().clone().unwrap();
    let name = resource.get(&"service.name".into());
    assert_eq!(name, Some("shop".into()));
    assert!(resource.schema_url().is_some());
}

/// Records a hundred spans with an exporter of `opentelemetry-otlp`'s.
#[track_caller]
fn all_arrive(collector: &Collector, exporter: opentelemetry_otlp::SpanExporter) {
    let stats = record(SpanExporterAdapter::new(exporter), || {
        for i in 0..100 {
            info_span!("span", i).in_scope(|| {});
        }
    });
    assert_eq!((stats.delivered, stats.dropped_total()), (100, 0));
    assert_eq!(collector.spans().len(), 100);
}

#[test]
fn the_grpc_exporter_of_opentelemetry_otlp_delivers() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let collector = Collector::start();
    let exporter = {
        let _entered = runtime.enter();
        opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(collector.grpc_endpoint())
            .build()
            .unwrap()
    };
    all_arrive(&collector, exporter);
}

/// One client blocks its thread, which must not be a runtime's own; the other needs a runtime.
#[test]
fn the_http_exporters_of_opentelemetry_otlp_deliver() {
    let blocking = reqwest::blocking::Client::builder().build().unwrap();
    let asynchronous = reqwest::Client::builder().build().unwrap();
    for is_blocking in [true, false] {
        let collector = Collector::start();
        let builder = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", collector.http_endpoint()));
        let builder = match is_blocking {
            true => builder.with_http_client(blocking.clone()),
            false => builder.with_http_client(asynchronous.clone()),
        };
        all_arrive(&collector, builder.build().unwrap());
    }
}

#[derive(Debug)]
enum Bad {
    Fails,
    Hangs,
    Blocks,
    Panics,
    PanicsWhenTold,
}

impl SpanExporter for Bad {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        match self {
            Self::Fails => Err(OTelSdkError::InternalFailure("no luck".into())),
            Self::Hangs => pending().await,
            Self::Blocks => loop {
                std::thread::park();
            },
            Self::Panics | Self::PanicsWhenTold => panic!("on purpose"),
        }
    }

    fn set_resource(&mut self, _: &Resource) {
        assert!(!matches!(self, Self::PanicsWhenTold), "on purpose");
    }
}

#[test]
fn an_exporter_that_fails_is_counted_and_takes_nothing_down() {
    let span = || info_span!("span").in_scope(|| {});
    let stats = record(SpanExporterAdapter::new(Bad::Fails), span);
    assert_eq!(stats.dropped(DropReason::Unconfirmed), 1, "{stats}");
    assert!(stats.last_error.unwrap().1.contains("no luck"));
    for bad in [Bad::Panics, Bad::PanicsWhenTold] {
        let stats = record(SpanExporterAdapter::new(bad), span);
        assert_eq!(stats.dropped_total(), 1, "{stats}");
    }
}

#[test]
fn a_shutdown_keeps_its_deadline_whatever_the_exporter_does() {
    for bad in [Bad::Hangs, Bad::Blocks] {
        let builder = tracing_otlp::builder().without_env();
        let adapter = SpanExporterAdapter::new(bad);
        let (layer, guard) = builder.with_exporter(adapter).build().unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || drop(info_span!("span")));
        let begun = Instant::now();
        assert!(guard.shutdown_blocking(Duration::from_millis(200)).is_err());
        assert!(begun.elapsed() < LONG);
        assert_eq!(guard.stats().unaccounted(), 0);
        assert_eq!(guard.stats().dropped_total(), 1);
    }
}

#[test]
fn a_batch_that_takes_too_long_is_given_up_and_never_two_are_exported_at_once() {
    let builder = tracing_otlp::builder()
        .without_env()
        .with_export_timeout(Duration::from_millis(50))
        .with_exporter(SpanExporterAdapter::new(Bad::Hangs));
    let (layer, guard) = builder.build().unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..2 {
            drop(info_span!("span"));
            let _ = guard.force_flush_blocking(LONG);
        }
    });
    let stats = guard.stats();
    assert_eq!(stats.dropped(DropReason::Unconfirmed), 2, "{stats}");
}

/// Starts spans of the OpenTelemetry API while it exports.
#[derive(Debug, Clone, Default)]
struct TracesItself {
    exported: InMemorySpanExporter,
    tracer: Arc<OnceLock<Tracer>>,
}

impl SpanExporter for TracesItself {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        // Other providers are told as well (EH-3).
        assert!(Context::is_current_telemetry_suppressed());
        let tracer = self.tracer.get().unwrap();
        let mut span = tracer.start("export");
        assert!(!span.is_recording());
        span.end();
        self.exported.export(batch).await
    }
}

#[test]
fn an_exporter_that_traces_itself_feeds_nothing_back_eh_3() {
    let exporter = TracesItself::default();
    let builder = tracing_otlp::builder().without_env();
    let adapter = SpanExporterAdapter::new(exporter.clone());
    let (layer, guard) = builder.with_exporter(adapter).build().unwrap();
    let tracer = TracerProvider::new(&layer).tracer("exporter");
    let tracer = exporter.tracer.get_or_init(|| tracer);
    tracer.start("application's").end();
    {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        tracer.start("not wanted").end();
    }
    guard.force_flush_blocking(LONG).unwrap();
    // What an export recorded would come with the next.
    guard.force_flush_blocking(LONG).unwrap();
    let exported = exporter.exported.get_finished_spans().unwrap();
    assert_eq!(exported.len(), 1, "{exported:?}");
    assert_eq!(guard.stats().started, 1);
}
