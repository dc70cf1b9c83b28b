//! [`MetricsConfig`]: the export of metrics.

use std::time::Duration;

use super::connection::ConnectionConfig;

/// The export of metrics in a pipeline that was built with
/// `OtlpBuilder::build_with_metrics` (feature `metrics`).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// Whether metrics are exported. Default true; false if `OTEL_METRICS_EXPORTER` is `none`.
    pub enabled: bool,
    /// The time from one export to the next. Default 60 s; `OTEL_METRIC_EXPORT_INTERVAL`.
    pub interval: Duration,
    /// The longest one export may take, as [`ConnectionConfig::timeout`], of which the shorter counts;
    /// `None`: no limit. Default 30 s; `OTEL_METRIC_EXPORT_TIMEOUT`.
    pub export_timeout: Option<Duration>,
    /// Whether values count from the start or from the last export. Default
    /// [`MetricsTemporality::Cumulative`]; `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`.
    pub temporality: MetricsTemporality,
    /// The connection; `None`: that of the traces, [`OtlpConfig::connection`](super::OtlpConfig::connection). Default `None`, unless
    /// `OTEL_EXPORTER_OTLP_METRICS_*` variables are set. The builder's methods change both connections.
    pub connection: Option<ConnectionConfig>,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(60),
            export_timeout: Some(Duration::from_secs(30)),
            temporality: MetricsTemporality::Cumulative,
            connection: None,
        }
    }
}

/// The temporality of metrics; `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MetricsTemporality {
    /// Values count from the start.
    #[default]
    Cumulative,
    /// Values count from the last export, except those of sums that go up and down.
    Delta,
    /// As [`Delta`](Self::Delta) for instruments that then take less memory: counters and histograms,
    /// but not observable instruments.
    LowMemory,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OtlpConfig;

    #[test]
    fn the_shorter_timeout_counts() {
        let seconds = Duration::from_secs;
        for (of_request, of_export, expected) in [
            (Some(seconds(10)), Some(seconds(30)), Some(seconds(10))),
            (Some(seconds(10)), Some(seconds(3)), Some(seconds(3))),
            (None, Some(seconds(3)), Some(seconds(3))),
            (Some(seconds(10)), None, Some(seconds(10))),
            (None, None, None),
        ] {
            let mut config = OtlpConfig::default();
            config.connection.timeout = of_request;
            config.metrics.export_timeout = of_export;
            assert_eq!(config.metrics_connection().timeout, expected);
        }
    }
}
