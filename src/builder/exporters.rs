//! [`Exporters`]: the exporters of a pipeline's own, from code or from the settings.

use super::overrides::CodeOverrides;
use super::target::ExportTarget;
use crate::config::{BatchConfig, LogsExporterKind, OtlpConfig, TracesExporterKind};
use crate::error::Error;
use crate::export::{Batch, ConsoleExporter, Exporter, OtlpClient, Outcome};
use crate::layer::ExportMode;
use crate::processor::LogsRoute;

/// Where a pipeline's own spans and log records go.
pub(super) struct Exporters {
    /// The exporter of spans, or why there is none.
    pub(super) spans: Result<ExportTarget, ExportMode>,
    /// `None`: the pipeline has no logs.
    pub(super) logs: Option<LogsRoute>,
    /// The client of the spans, if the settings describe it.
    pub(super) client: Option<OtlpClient>,
}

impl Exporters {
    pub(super) fn choose(config: &OtlpConfig, parts: &mut CodeOverrides) -> Result<Self, Error> {
        let mut client = None;
        let is_given = parts.exporter.is_some();
        let has_additional = !parts.additional.is_empty();
        let spans = own_target(config, parts.exporter.take(), has_additional, &mut client)?;
        let logs = match &spans {
            Err(ExportMode::Disabled) => None,
            spans => logs_route(
                config,
                parts.logs_exporter.take(),
                spans.as_ref().ok().filter(|_| is_given),
                client.as_ref(),
            )?,
        };
        Ok(Self {
            spans,
            logs,
            client,
        })
    }
}

/// The pipeline's own exporter where it is `none`: takes each span at once.
pub(super) struct Nothing;

impl Exporter for Nothing {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let spans = batch.item_count() as u64;
        async move { Outcome::delivered(spans) }
    }
}

/// The pipeline's own exporter of spans, or why it has none. One from code wins over
/// `OTEL_TRACES_EXPORTER`, and so do additional ones; only `OTEL_SDK_DISABLED` disables them.
fn own_target(
    config: &OtlpConfig,
    given: Option<ExportTarget>,
    has_additional: bool,
    client: &mut Option<OtlpClient>,
) -> Result<Result<ExportTarget, ExportMode>, Error> {
    if config.disabled {
        return Ok(Err(ExportMode::Disabled));
    }
    if let Some(target) = given {
        return Ok(Ok(target));
    }
    Ok(Ok(match config.traces_exporter {
        TracesExporterKind::None if has_additional => ExportTarget::new(Nothing),
        TracesExporterKind::None => return Ok(Err(ExportMode::Unseen)),
        TracesExporterKind::Otlp => otlp(config, client)?,
        TracesExporterKind::Console => ExportTarget::new(ConsoleExporter::new()),
        #[cfg(feature = "file")]
        TracesExporterKind::OtlpStdout => {
            ExportTarget::new(crate::export::OtlpFileExporter::stdout())
        }
        #[cfg(feature = "viewer")]
        TracesExporterKind::Viewer => ExportTarget::new(crate::viewer::viewer().build()?),
    }))
}

/// The client that the settings describe; `known` keeps a handle of it.
fn otlp(config: &OtlpConfig, known: &mut Option<OtlpClient>) -> Result<ExportTarget, Error> {
    #[cfg(all(feature = "opentelemetry-otlp", not(feature = "http-json")))]
    if is_json(&config.connection) {
        let exporter = crate::otel::otlp_span_exporter(config)?;
        return Ok(ExportTarget::new(exporter));
    }
    let client = OtlpClient::with_cap(config.connection.clone(), config.batch.export_timeout)?;
    *known = Some(client.clone());
    Ok(ExportTarget::new(client))
}

/// Whether only opentelemetry-otlp's exporter writes what this connection takes.
#[cfg(all(feature = "opentelemetry-otlp", not(feature = "http-json")))]
fn is_json(connection: &crate::config::ConnectionConfig) -> bool {
    connection.protocol == Some(crate::config::Protocol::HttpJson)
}

/// The exporter of logs, if any: that from code, else that of the spans if it comes from code and
/// supports logs, else that of the settings.
fn logs_route(
    config: &OtlpConfig,
    given: Option<ExportTarget>,
    spans: Option<&ExportTarget>,
    client: Option<&OtlpClient>,
) -> Result<Option<LogsRoute>, Error> {
    let logs = &config.logs;
    // What would be in both signals otherwise is a span event already.
    if !logs.has_records() {
        return Ok(None);
    }
    let exporter = match logs.exporter {
        None | Some(LogsExporterKind::None) => return Ok(None),
        Some(exporter) => exporter,
    };
    let batch = BatchConfig {
        schedule_delay: logs.batch.schedule_delay,
        export_timeout: logs.batch.export_timeout,
        max_queue_size: logs.batch.max_queue_size,
        max_export_batch_size: logs.batch.max_export_batch_size,
        ..config.batch.clone()
    };
    let given = given.as_ref().filter(|target| target.of_logs.is_some());
    if let Some(ExportTarget {
        exporter,
        of_logs: Some(components),
        ..
    }) = given.or(spans)
    {
        return Ok(Some(LogsRoute {
            components: components.clone(),
            exporter: exporter.clone(),
            batch,
        }));
    }
    Ok(Some(match exporter {
        LogsExporterKind::Console => LogsRoute::new(ConsoleExporter::new(), batch),
        #[cfg(feature = "file")]
        LogsExporterKind::OtlpStdout => {
            LogsRoute::new(crate::export::OtlpFileExporter::stdout(), batch)
        }
        #[cfg(all(feature = "opentelemetry-otlp", not(feature = "http-json")))]
        _ if is_json(config.logs_connection()) => {
            LogsRoute::new(crate::otel::otlp_log_exporter(config)?, batch)
        }
        _ => {
            let connection = config.logs_connection().clone();
            let client = OtlpClient::for_logs(connection, batch.export_timeout, client)?;
            LogsRoute::new(client, batch)
        }
    }))
}
