//! `tracing-opentelemetry` over `opentelemetry_sdk`'s batch processor and OTLP over gRPC.
//!
//! Variant `lean` leaves out the attributes that the layer adds by itself (place in the source,
//! thread, target, busy and idle time), which the other contenders do not send either.

use harness::workload::KEYS;
use harness::{Contender, LateAttributes, Ledger, Setup, Traced};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tokio::runtime::{Builder, Runtime};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
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
    provider: SdkTracerProvider,
    /// tonic's connection lives on a tokio runtime; the application's would do as well.
    _connection: Runtime,
}

impl Contender for Otel {
    type Work = Traced<Late>;

    fn start(setup: &Setup) -> Self {
        let mut runtime = Builder::new_multi_thread();
        let connection = runtime.worker_threads(1).enable_all().build();
        let connection = connection.expect("a runtime");
        let exporter = {
            let _inside = connection.enter();
            let exporter = SpanExporter::builder().with_tonic();
            exporter.with_endpoint(&setup.url).build()
        };
        let mut batch = BatchConfigBuilder::default();
        if let Some(spans) = setup.queue {
            batch = batch.with_max_queue_size(spans);
        }
        let processor = BatchSpanProcessor::builder(exporter.expect("a valid endpoint"))
            .with_batch_config(batch.build())
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .build();

        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("peers"));
        let layer = match setup.variant.as_str() {
            "" => layer,
            "lean" => layer
                .with_location(false)
                .with_target(false)
                .with_threads(false)
                .with_tracked_inactivity(false),
            other => panic!("otel has no variant `{other}`"),
        };
        // Without a level, the layer records the spans of its own exporter's connection.
        tracing_subscriber::registry()
            .with(LevelFilter::INFO)
            .with(layer)
            .init();
        Self {
            provider,
            _connection: connection,
        }
    }

    fn flush(&self) {
        // A flush that fails shows as spans that did not arrive.
        let _ = self.provider.force_flush();
    }

    fn shutdown(self) -> Option<Ledger> {
        let _ = self.provider.shutdown();
        None
    }
}
