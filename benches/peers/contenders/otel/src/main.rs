//! `tracing-opentelemetry` over `opentelemetry_sdk`'s batch processor and OTLP over gRPC.
//!
//! Variants: `lean` leaves out the attributes that the layer adds by itself (place in the source,
//! thread, target, busy and idle time), which the other contenders do not send either. `logs` is `lean` and
//! beside it `opentelemetry-appender-tracing` over the SDK's provider of loggers, both with their defaults:
//! an event is a span event and a log record. `logs-only` makes it a log record alone.

use harness::workload::KEYS;
use harness::{Contender, LateAttributes, Ledger, Setup, Traced};
use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::logs::{self, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::trace::{self, BatchSpanProcessor, SdkTracerProvider};
use tokio::runtime::{Builder, Runtime};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

fn main() {
    harness::run::<Otel>();
}

struct Late;

impl LateAttributes for Late {
    fn set(span: &Span, key: &'static str, value: i64) {
        span.set_attribute(key, value);
    }

    /// One by one: there is no call for a list.
    fn set_all(span: &Span) {
        for (value, key) in (0..).zip(KEYS.iter()) {
            Self::set(span, key, value);
        }
    }
}

struct Otel {
    spans: SdkTracerProvider,
    records: Option<SdkLoggerProvider>,
    /// tonic's connection lives on a tokio runtime; the application's would do as well.
    _connection: Runtime,
}

impl Contender for Otel {
    type Work = Traced<Late>;

    fn start(setup: &Setup) -> Self {
        let mut runtime = Builder::new_multi_thread();
        let connection = runtime.worker_threads(1).enable_all().build();
        let connection = connection.expect("a runtime");
        let has_logs = setup.variant.starts_with("logs");
        let (spans, records) = {
            let _inside = connection.enter();
            (provider(setup), has_logs.then(|| log_provider(setup)))
        };

        let layer = tracing_opentelemetry::layer().with_tracer(spans.tracer("peers"));
        let layer = match setup.variant.as_str() {
            "" => layer,
            "lean" | "logs" | "logs-only" => layer
                .with_location(false)
                .with_target(false)
                .with_threads(false)
                .with_tracked_inactivity(false),
            other => panic!("otel has no variant `{other}`"),
        };
        let bridge = records.as_ref().map(OpenTelemetryTracingBridge::new);
        // Without a level, the layer records the spans of its own exporter's connection.
        let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
        match setup.variant.as_str() {
            "logs-only" => registry
                .with(layer.with_filter(filter_fn(|metadata| metadata.is_span())))
                .with(bridge)
                .init(),
            "logs" => registry.with(layer).with(bridge).init(),
            _ => registry.with(layer).init(),
        }
        Self {
            spans,
            records,
            _connection: connection,
        }
    }

    fn flush(&self) {
        // A flush that fails shows as spans that did not arrive.
        let _ = self.spans.force_flush();
        if let Some(records) = &self.records {
            let _ = records.force_flush();
        }
    }

    fn shutdown(self) -> Option<Ledger> {
        let _ = self.spans.shutdown();
        if let Some(records) = &self.records {
            let _ = records.shutdown();
        }
        None
    }
}

fn provider(setup: &Setup) -> SdkTracerProvider {
    let exporter = SpanExporter::builder().with_tonic();
    let exporter = exporter.with_endpoint(&setup.url).build();
    let mut batch = trace::BatchConfigBuilder::default();
    if let Some(spans) = setup.queue {
        batch = batch.with_max_queue_size(spans);
    }
    let processor = BatchSpanProcessor::builder(exporter.expect("a valid endpoint"))
        .with_batch_config(batch.build())
        .build();
    SdkTracerProvider::builder()
        .with_span_processor(processor)
        .build()
}

fn log_provider(setup: &Setup) -> SdkLoggerProvider {
    let exporter = LogExporter::builder().with_tonic();
    let exporter = exporter.with_endpoint(&setup.url).build();
    let mut batch = logs::BatchConfigBuilder::default();
    if let Some(records) = setup.queue {
        batch = batch.with_max_queue_size(records);
    }
    let processor = BatchLogProcessor::builder(exporter.expect("a valid endpoint"))
        .with_batch_config(batch.build())
        .build();
    SdkLoggerProvider::builder()
        .with_log_processor(processor)
        .build()
}
