//! [`OtlpConfig`]: all settings of one pipeline.

use tracing_core::LevelFilter;

use super::batch::{BatchConfig, WorkerConfig};
use super::connection::ConnectionConfig;
use super::logs::LogsConfig;
#[cfg(feature = "metrics")]
use super::metrics::MetricsConfig;
use super::resource::ResourceConfig;
use super::span::{CaptureConfig, SpanLimits};
use super::tail::TailConfig;
use super::traces::{PropagatorKind, SamplerConfig, TracesExporterKind};
use super::warning::ConfigWarning;

/// All settings of one pipeline.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OtlpConfig {
    /// Record and export nothing. Default false; `OTEL_SDK_DISABLED`.
    pub disabled: bool,
    /// Where spans go. Default [`TracesExporterKind::Otlp`]; `OTEL_TRACES_EXPORTER`.
    pub traces_exporter: TracesExporterKind,
    /// The sampler, unless the builder has one. Default
    /// [`SamplerConfig::ParentBasedAlwaysOn`]; `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`.
    pub sampler: SamplerConfig,
    /// Tail sampling: the recorded traces that are exported. Default `None`: all.
    pub tail: Option<TailConfig>,
    /// The formats in which context travels between processes, in their order; an empty list: none.
    /// Default `None`: [`PropagatorKind::DEFAULT`], unless the process has others already;
    /// `OTEL_PROPAGATORS`.
    pub propagators: Option<Vec<PropagatorKind>>,
    /// The connection to the endpoint.
    pub connection: ConnectionConfig,
    /// The export of metrics, in a pipeline with metrics.
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub metrics: MetricsConfig,
    /// Log records and their export.
    pub logs: LogsConfig,
    /// The queue and its batches.
    pub batch: BatchConfig,
    /// The worker's thread and runtime.
    pub worker: WorkerConfig,
    /// How much one span may hold.
    pub limits: SpanLimits,
    /// The attributes that the layer records beside a span's own fields.
    pub capture: CaptureConfig,
    /// The resource: the attributes that identify this process.
    pub resource: ResourceConfig,
    /// The pipeline writes its reports from this level on to standard error, if no layer of the
    /// subscriber shows them: there is no fmt layer, or its filter hides the target `tracing_otlp`.
    /// Default [`LevelFilter::INFO`]; `OTEL_LOG_LEVEL`, in which `none` is [`LevelFilter::OFF`].
    ///
    /// It writes each kind of report once at its begin, every ten minutes while it lasts, and once at its
    /// end. A pipeline waits three seconds for its subscriber before it writes. With a
    /// [handler](crate::OtlpBuilder::with_diagnostic_handler) it writes nothing.
    pub stderr_level: LevelFilter,
    /// The settings that were ignored or changed while reading. The worker reports them once it runs.
    pub warnings: Vec<ConfigWarning>,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            disabled: false,
            traces_exporter: TracesExporterKind::default(),
            sampler: SamplerConfig::default(),
            tail: None,
            propagators: None,
            connection: ConnectionConfig::default(),
            #[cfg(feature = "metrics")]
            metrics: MetricsConfig::default(),
            logs: LogsConfig::default(),
            batch: BatchConfig::default(),
            worker: WorkerConfig::default(),
            limits: SpanLimits::default(),
            capture: CaptureConfig::default(),
            resource: ResourceConfig::default(),
            stderr_level: LevelFilter::INFO,
            warnings: Vec::new(),
        }
    }
}

impl OtlpConfig {
    /// Removes the URLs of variables over which a base URL from code wins, in each connection.
    pub(crate) fn settle_urls(&mut self) {
        self.connection.settle_urls();
        if let Some(connection) = &mut self.logs.connection {
            connection.settle_urls();
        }
        #[cfg(feature = "metrics")]
        if let Some(exporter) = &mut self.metrics.connection {
            exporter.settle_urls();
        }
    }

    /// The connection of logs: its own, or that of traces.
    pub(crate) fn logs_connection(&self) -> &ConnectionConfig {
        self.logs.connection.as_ref().unwrap_or(&self.connection)
    }

    /// The connection of metrics.
    #[cfg(feature = "metrics")]
    pub(crate) fn metrics_connection(&self) -> ConnectionConfig {
        let own = self.metrics.connection.as_ref();
        let mut exporter = own.unwrap_or(&self.connection).clone();
        let limits = [exporter.timeout, self.metrics.export_timeout];
        exporter.timeout = limits.into_iter().flatten().min();
        exporter
    }
}
