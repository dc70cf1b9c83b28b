//! [`MetricExporter`]: metrics of `opentelemetry_sdk` over this crate's own connection.

use std::fmt;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use prost::Message as _;
use tokio::runtime::Runtime;
use tokio_util::task::AbortOnDropHandle;
use tracing::Level;

use super::super::exporter::resource_of;
use crate::config::{ConnectionConfig, MetricsConfig, MetricsTemporality, WorkerConfig};
use crate::diagnostics::{ReportFields, Speaker, Topic};
use crate::error::Error;
use crate::export::OtlpClient;
use crate::processor::build_runtime;
use crate::resource::Resource;
use crate::sync::{Arc, Mutex, lock};

/// Sends metrics as a pipeline sends spans: over gRPC or HTTP, with the same settings, headers, TLS,
/// compression and retries.
///
/// [`OtlpBuilder::build_with_metrics`](crate::OtlpBuilder::build_with_metrics) makes one; this type is
/// for providers with views or readers of their own. Exports run on a thread of their own (`otlp-metrics`),
/// whose spans no layer of this crate captures. So the exporter works under every reader, inside and outside
/// of a runtime, and never blocks one.
///
/// An export takes [`timeout`](ConnectionConfig::timeout) at most, retries included. A `tracing` event with the
/// target `tracing_otlp` reports failed exports, at most once a minute, and their end.
///
/// ```
/// use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
/// use tracing_otlp::config::ConnectionConfig;
/// use tracing_otlp::otel::metrics::MetricExporter;
///
/// # fn main() -> Result<(), tracing_otlp::Error> {
/// let mut config = ConnectionConfig::default();
/// config.endpoint = Some("http://localhost:4317".into());
/// let reader = PeriodicReader::builder(MetricExporter::new(config)?).build();
/// let meters = SdkMeterProvider::builder().with_reader(reader).build();
/// # Ok(()) }
/// ```
pub struct MetricExporter {
    client: OtlpClient,
    /// `None` after the shutdown.
    runtime: Mutex<Option<Runtime>>,
    reports: Arc<Mutex<MetricsReports>>,
    temporality: Temporality,
}

impl MetricExporter {
    /// For that endpoint: its [`metrics_endpoint`](ConnectionConfig::metrics_endpoint), or `v1/metrics`
    /// below its [`endpoint`](ConnectionConfig::endpoint). Does no I/O.
    ///
    /// # Errors
    ///
    /// A setting that cannot be used ([`Error::is_config`]), or a thread that the system refuses
    /// ([`Error::is_worker`]).
    pub fn new(config: ConnectionConfig) -> Result<Self, Error> {
        let client = OtlpClient::for_metrics(config)?;
        let runtime = build_runtime(&WorkerConfig {
            threads: Some(1),
            thread_name: "otlp-metrics".to_owned(),
            stack_size: None,
        })?;
        Ok(Self {
            client,
            runtime: Mutex::new(Some(runtime)),
            reports: Arc::default(),
            temporality: Temporality::default(),
        })
    }

    /// Whether values count from the start or from the last export. Default: from the start.
    #[must_use]
    pub fn with_temporality(mut self, temporality: Temporality) -> Self {
        self.temporality = temporality;
        self
    }

    fn end(&self) -> Option<Runtime> {
        lock(&self.runtime).take()
    }
}

impl PushMetricExporter for MetricExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let body = ExportMetricsServiceRequest::from(metrics).encode_to_vec();
        let (client, reports) = (self.client.clone(), Arc::clone(&self.reports));
        let send = async move {
            let (sent, warning) = match client.post(body.into()).await {
                Ok(None) => (Ok(()), None),
                Ok(Some(partial)) if partial.count == 0 => (Ok(()), Some(partial.message)),
                Ok(Some(partial)) => {
                    let (count, message) = (partial.count, partial.message);
                    let error = format!("the endpoint rejected {count} data points: {message}");
                    (Err(error), None)
                }
                Err(error) => (Err(error), None),
            };
            let mut reports = lock(&reports);
            reports.tell(&sent);
            if let Some(warning) = warning {
                reports.warn(&format!(
                    "metrics arrived, with a warning of the endpoint: {warning}"
                ));
            }
            sent
        };
        let task = match &*lock(&self.runtime) {
            Some(runtime) => AbortOnDropHandle::new(runtime.spawn(send)),
            None => return Err(OTelSdkError::AlreadyShutdown),
        };
        match task.await {
            Ok(sent) => sent.map_err(OTelSdkError::InternalFailure),
            Err(error) if error.is_cancelled() => Err(OTelSdkError::AlreadyShutdown),
            Err(error) => Err(OTelSdkError::InternalFailure(error.to_string())),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        // The exporter has no queue.
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let Some(runtime) = self.end() else {
            return Err(OTelSdkError::AlreadyShutdown);
        };
        let ended = self.client.close(timeout);
        runtime.shutdown_background();
        ended.map_err(|error| {
            // The SDK's error has no room for the cause.
            lock(&self.reports).warn(&error.to_string());
            OTelSdkError::Timeout(timeout)
        })
    }

    fn temporality(&self) -> Temporality {
        self.temporality
    }
}

impl Drop for MetricExporter {
    fn drop(&mut self) {
        // The plain drop of a runtime blocks, and panics on the thread of another runtime.
        if let Some(runtime) = self.end() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for MetricExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricExporter")
            .field("client", &self.client)
            .field("temporality", &self.temporality)
            .finish_non_exhaustive()
    }
}

/// Reports that metrics do not arrive, and that they arrive again.
#[derive(Debug, Default)]
struct MetricsReports {
    is_failing: bool,
    spoke: Option<Instant>,
    speaker: Speaker,
}

/// The time between two reports of the same failure.
const REPEAT: Duration = Duration::from_secs(60);

impl MetricsReports {
    fn tell(&mut self, sent: &Result<(), String>) {
        match sent {
            Ok(()) if std::mem::take(&mut self.is_failing) => {
                let fields = ReportFields::default();
                self.speaker
                    .say(Topic::Metrics, Level::INFO, "metrics arrive again", fields);
            }
            Ok(()) => {}
            Err(error) => {
                self.is_failing = true;
                self.warn(&format!("metrics could not be exported: {error}"));
            }
        }
    }

    fn warn(&mut self, message: &str) {
        let now = Instant::now();
        if self.spoke.is_some_and(|at| now.duration_since(at) < REPEAT) {
            return;
        }
        self.spoke = Some(now);
        let fields = ReportFields::default();
        self.speaker
            .say(Topic::Metrics, Level::WARN, message, fields);
    }
}

/// A provider that exports by `exporter`, with this resource.
pub(crate) fn provider(
    exporter: MetricExporter,
    config: &MetricsConfig,
    resource: &Resource,
) -> SdkMeterProvider {
    let exporter = exporter.with_temporality(match config.temporality {
        MetricsTemporality::Cumulative => Temporality::Cumulative,
        MetricsTemporality::Delta => Temporality::Delta,
        MetricsTemporality::LowMemory => Temporality::LowMemory,
    });
    let reader = PeriodicReader::builder(exporter)
        .with_interval(config.interval)
        .build();
    SdkMeterProvider::builder()
        .with_resource(resource_of(&resource.encode()))
        .with_reader(reader)
        .build()
}

/// A provider whose instruments do nothing.
pub(crate) fn disabled_provider() -> SdkMeterProvider {
    SdkMeterProvider::builder().build()
}
