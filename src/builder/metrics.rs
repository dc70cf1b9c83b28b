//! [`OtlpBuilder::build_with_metrics`]: a pipeline, and metrics that go the same way.

use super::{OtlpBuilder, assemble};
use crate::error::Error;
use crate::otel::metrics::{self, MetricExporter, PipelineWithMetrics};
use crate::resource::Resource;

impl OtlpBuilder {
    /// As [`build`](Self::build), and with a meter provider whose metrics go to the same endpoint,
    /// by the same protocol, with the same headers, TLS, compression, timeout and retries, every
    /// [`interval`](crate::config::MetricsConfig::interval) (60 s). Its resource is that of the spans,
    /// `service.instance.id` included.
    ///
    /// The `OTEL_EXPORTER_OTLP_METRICS_*` variables say where metrics differ; what these methods say of
    /// the connection counts for both signals. With `OTEL_METRICS_EXPORTER=none` or
    /// `OTEL_SDK_DISABLED=true` the provider's instruments do nothing. An exporter of one's own
    /// ([`with_exporter`](Self::with_exporter)) is for spans alone.
    ///
    /// Call [`shutdown`](metrics::SdkMeterProvider::shutdown) at the end: it exports once more, and takes 5 s at
    /// most (`opentelemetry_sdk` has no other deadline, and takes none). So does dropping the last clone
    /// of the provider.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    ///
    /// ```no_run
    /// use tracing_otlp::middleware::ServerLayer;
    /// use tracing_subscriber::prelude::*;
    ///
    /// # fn routes() -> axum::Router { axum::Router::new() }
    /// # fn main() -> Result<(), tracing_otlp::Error> {
    /// let builder = tracing_otlp::builder().with_service_name("shop");
    /// let pipeline = builder.build_with_metrics()?;
    /// tracing_subscriber::registry().with(pipeline.layer).init();
    /// let meters = pipeline.meter_provider;
    /// opentelemetry::global::set_meter_provider(meters.clone()); // for libraries
    /// let app = routes().layer(ServerLayer::new().with_meter_provider(&meters));
    /// # let _: axum::Router = app;
    /// // at the end of `main`
    /// let _ = meters.shutdown();
    /// # Ok(()) }
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn build_with_metrics(mut self) -> Result<PipelineWithMetrics, Error> {
        let mut parts = std::mem::take(&mut self.parts);
        let config = self.resolve()?;
        let resource = Resource::resolve(&config.resource);
        let is_wanted = config.metrics.enabled && !config.disabled;
        let exporter = is_wanted.then(|| MetricExporter::new(config.metrics_connection()));
        let exporter = exporter.transpose()?;
        parts.resource = Some(resource.clone());
        let pipeline = assemble::assemble(&config, parts)?;
        let meters = match exporter {
            Some(exporter) => metrics::provider(exporter, &config.metrics, &resource),
            None => metrics::disabled_provider(),
        };
        Ok(PipelineWithMetrics::new(pipeline, meters))
    }
}
