//! fastrace-tracing: spans of `tracing` become fastrace's, which go the way of the contender `fastrace`, through
//! its OpenTelemetry reporter and OTLP over gRPC. Every value becomes a string.
//!
//! Variants: `lean` leaves out the attributes that the layer adds by itself (place in the source, thread). It
//! has no call for attributes that no callsite declares, so it sets none in `dynamic`, `many` and `list`.

use std::borrow::Cow;

use fastrace::collector::Config;
use fastrace_opentelemetry::OpenTelemetryReporter;
use fastrace_tracing::FastraceCompatLayer;
use harness::{Contender, Ledger, Setup, Traced};
use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() {
    harness::run::<FastraceTracing>();
}

struct FastraceTracing {
    _connection: Runtime,
}

impl Contender for FastraceTracing {
    type Work = Traced;

    fn start(setup: &Setup) -> Self {
        let mut runtime = Builder::new_multi_thread();
        let connection = runtime.worker_threads(1).enable_all().build();
        let connection = connection.expect("a runtime");
        let exporter = {
            let _inside = connection.enter();
            let exporter = SpanExporter::builder().with_tonic();
            exporter.with_endpoint(&setup.url).build()
        };
        let runtime = connection.handle().clone();
        let reporter = OpenTelemetryReporter::new(
            exporter.expect("a valid endpoint"),
            Cow::Owned(Resource::builder().build()),
            InstrumentationScope::builder("peers").build(),
        )
        .with_block_on(move |export| runtime.block_on(export));
        fastrace::set_reporter(reporter, Config::default());

        let layer = match setup.variant.as_str() {
            "" => FastraceCompatLayer::new(),
            "lean" => FastraceCompatLayer::new()
                .with_location(false)
                .with_threads(false),
            other => panic!("fastrace-tracing has no variant `{other}`"),
        };
        tracing_subscriber::registry()
            .with(LevelFilter::INFO)
            .with(layer)
            .init();
        Self {
            _connection: connection,
        }
    }

    /// On a thread that fastrace makes for it.
    fn flush(&self) {
        fastrace::flush();
    }

    fn shutdown(self) -> Option<Ledger> {
        fastrace::flush();
        None
    }
}
