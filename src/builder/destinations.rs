//! Destinations beside the pipeline's own.

use super::OtlpBuilder;
use super::additional::AdditionalExporter;
use super::target::ExportTarget;
use crate::config::{BatchConfig, ConnectionConfig};
use crate::export::Exporter;

impl OtlpBuilder {
    /// Sends all spans, and log records if the pipeline has them, to a further OTLP endpoint, with headers, TLS,
    /// retries and limits of its own. A span is encoded once.
    ///
    /// `name` stands for it in [`Stats::additional`](crate::Stats::additional). `batch` sets its own queue, batches
    /// and memory, in addition to those of the pipeline; it has a worker thread of its own. So one destination
    /// that is slow or down costs no other anything. A flush and a shutdown cover all of them, and report the
    /// losses of each. With [`TracesExporterKind::None`](crate::config::TracesExporterKind::None) the spans go to these
    /// destinations alone, and the pipeline's own counters count them as delivered.
    ///
    /// ```no_run
    /// use tracing_otlp::config::{BatchConfig, ConnectionConfig};
    ///
    /// let mut vendor = ConnectionConfig::default();
    /// vendor.endpoint = Some("https://otlp.vendor.example".into());
    /// let mut batch = BatchConfig::default();
    /// batch.max_memory = 16 << 20;
    /// let builder = tracing_otlp::builder().with_additional_endpoint("vendor", vendor, batch);
    /// ```
    pub fn with_additional_endpoint(
        mut self,
        name: impl Into<String>,
        connection: ConnectionConfig,
        batch: BatchConfig,
    ) -> Self {
        let (name, connection) = (name.into(), Box::new(connection));
        self.parts.additional.push(AdditionalExporter::Endpoint {
            name,
            connection,
            batch,
        });
        self
    }

    /// The same with an exporter of your own. It gets log records too if it
    /// [supports](Exporter::supports) them and the pipeline has them.
    pub fn with_additional_exporter(
        mut self,
        name: impl Into<String>,
        exporter: impl Exporter,
        batch: BatchConfig,
    ) -> Self {
        let (name, target) = (name.into(), ExportTarget::new(exporter));
        self.parts.additional.push(AdditionalExporter::Given {
            name,
            target,
            batch,
        });
        self
    }
}
