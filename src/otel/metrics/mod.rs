//! Metrics: of the requests that the [middleware](crate::middleware) sees, and of this crate itself.
//!
//! - [`ServerLayer::with_meter_provider`](crate::middleware::ServerLayer::with_meter_provider) and
//!   [`ClientLayer::with_meter_provider`](crate::middleware::ClientLayer::with_meter_provider): the
//!   durations of requests, by the HTTP and RPC conventions. Every request counts, also one that is not
//!   sampled or whose span is filtered out.
//! - [`observe_pipeline`]: the `otel.sdk.*` metrics of a pipeline, from its [`Stats`](crate::Stats).
//! - [`OtlpBuilder::build_with_metrics`](crate::OtlpBuilder::build_with_metrics): a pipeline, and an
//!   [`SdkMeterProvider`] that exports to the same place: [`PipelineWithMetrics`]. [`MetricExporter`] is its exporter, for
//!   providers put together by hand.
//!
//! Instruments are those of the `opentelemetry` API, so any implementation of its `MeterProvider` will
//! do. `docs/metrics.md` lists the metrics and their attributes.
//!
//! ```no_run
//! use tracing_otlp::middleware::ServerLayer;
//! use tracing_otlp::otel::metrics::observe_pipeline;
//!
//! # fn routes() -> axum::Router { axum::Router::new() }
//! # fn main() -> Result<(), tracing_otlp::Error> {
//! let builder = tracing_otlp::builder().with_service_name("shop");
//! let pipeline = builder.build_with_metrics()?;
//! let meters = &pipeline.meter_provider;
//! observe_pipeline(&pipeline.guard.handle(), meters);
//! let app = routes().layer(ServerLayer::new().with_meter_provider(meters));
//! # let (_, _): (&tracing_otlp::OtlpLayer, axum::Router) = (&pipeline.layer, app);
//! // at the end of `main`
//! let _ = meters.shutdown();
//! # Ok(()) }
//! ```

mod exporter;
mod pipeline;
mod requests;

use opentelemetry::InstrumentationScope;
use opentelemetry::metrics::{Meter, MeterProvider};

use crate::guard::ShutdownGuard;
use crate::layer::OtlpLayer;

pub use self::exporter::MetricExporter;
pub(crate) use self::exporter::{disabled_provider, provider};
pub use self::pipeline::observe_pipeline;
pub use opentelemetry_sdk::metrics::SdkMeterProvider;

/// The bounds of buckets for durations, in seconds: those of the conventions for requests.
const DURATION_BOUNDARIES: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// A pipeline, and a meter provider that exports where the spans go: from
/// [`OtlpBuilder::build_with_metrics`](crate::OtlpBuilder::build_with_metrics).
#[derive(Debug)]
#[must_use = "a pipeline ends when its guard is dropped"]
#[non_exhaustive]
pub struct PipelineWithMetrics {
    /// The layer for the subscriber.
    pub layer: OtlpLayer,
    /// The guard, which ends the pipeline of spans and log records.
    pub guard: ShutdownGuard,
    /// The meter provider. Call [`shutdown`](SdkMeterProvider::shutdown) at the end.
    pub meter_provider: SdkMeterProvider,
}

impl PipelineWithMetrics {
    pub(crate) fn new(
        (layer, guard): (OtlpLayer, ShutdownGuard),
        meter_provider: SdkMeterProvider,
    ) -> Self {
        Self {
            layer,
            guard,
            meter_provider,
        }
    }
}

/// The meter of all instruments of this crate.
fn meter(provider: &impl MeterProvider) -> Meter {
    let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(crate::semconv::SCHEMA_URL)
        .build();
    provider.meter_with_scope(scope)
}
