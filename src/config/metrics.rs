//! [`MetricsConfig`]: the export of metrics.

use std::time::Duration;

use super::{ExporterConfig, OtlpConfig};

/// The export of metrics in a pipeline that was built with
/// `OtlpBuilder::build_with_metrics` (feature `metrics`).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// Whether metrics are exported. Default true; false if `OTEL_METRICS_EXPORTER` is `none`.
    pub enabled: bool,
    /// The time from one export to the next. Default 60 s; `OTEL_METRIC_EXPORT_INTERVAL`.
    pub interval: Duration,
    /// The longest one export may take, as [`ExporterConfig::timeout`], of which the shorter counts;
    /// `None`: no limit. Default 30 s; `OTEL_METRIC_EXPORT_TIMEOUT`.
    pub export_timeout: Option<Duration>,
    /// Whether values count from the start or from the last export. Default
    /// [`MetricsTemporality::Cumulative`]; `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`.
    pub temporality: MetricsTemporality,
    /// The connection; `None`: that of the traces, [`OtlpConfig::exporter`]. Default `None`, unless
    /// `OTEL_EXPORTER_OTLP_METRICS_*` variables are set. The builder's methods change both connections.
    pub exporter: Option<ExporterConfig>,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(60),
            export_timeout: Some(Duration::from_secs(30)),
            temporality: MetricsTemporality::Cumulative,
            exporter: None,
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

impl OtlpConfig {
    /// The connection of metrics.
    #[cfg(feature = "metrics")]
    pub(crate) fn metrics_exporter(&self) -> ExporterConfig {
        let own = self.metrics.exporter.as_ref();
        let mut exporter = own.unwrap_or(&self.exporter).clone();
        let limits = [exporter.timeout, self.metrics.export_timeout];
        exporter.timeout = limits.into_iter().flatten().min();
        exporter
    }
}

impl ExporterConfig {
    /// Applies the difference from `before` to `after`: a change that code makes to the traces'
    /// connection counts for metrics too (ENV-7).
    pub(crate) fn follow(&mut self, before: &Self, after: &Self) {
        macro_rules! follow {
            ($($setting:ident),*) => {$(
                if before.$setting != after.$setting {
                    self.$setting = after.$setting.clone();
                }
            )*};
        }
        follow!(
            protocol,
            endpoint,
            metrics_endpoint,
            logs_endpoint,
            insecure,
            certificate,
            client_key,
            client_certificate,
            header_provider,
            compression,
            timeout,
            connect_timeout,
            max_concurrent_exports,
            max_request_size,
            max_response_size,
            retry,
            user_agent_prefix
        );
        // One by one: headers from a variable of traces must not go to the metrics' endpoint.
        let new = after.headers.iter().filter(|h| !before.headers.contains(h));
        for (name, value) in new {
            self.headers.retain(|(known, _)| known != name);
            self.headers.push((name.clone(), value.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    #[cfg(feature = "metrics")]
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
            config.exporter.timeout = of_request;
            config.metrics.export_timeout = of_export;
            assert_eq!(config.metrics_exporter().timeout, expected);
        }
    }

    fn header(name: &'static str) -> (HeaderName, HeaderValue) {
        let value = HeaderValue::from_static("v");
        (HeaderName::from_static(name), value)
    }

    #[test]
    fn what_code_changed_counts_and_the_traces_own_variables_do_not_env_7() {
        let before = ExporterConfig {
            timeout: Some(Duration::from_secs(3)),
            headers: vec![header("traces-only")],
            ..ExporterConfig::default()
        };
        let mut after = before.clone();
        after.endpoint = Some("http://code".to_owned());
        after.headers.push(header("from-code"));
        let mut metrics = ExporterConfig {
            timeout: Some(Duration::from_secs(7)),
            metrics_endpoint: Some("http://variable".to_owned()),
            headers: vec![header("metrics-only"), header("from-code")],
            ..ExporterConfig::default()
        };
        metrics.follow(&before, &after);
        assert_eq!(metrics.timeout, Some(Duration::from_secs(7)));
        assert_eq!(metrics.endpoint.as_deref(), Some("http://code"));
        assert_eq!(metrics.metrics_endpoint.as_deref(), Some("http://variable"));
        assert_eq!(
            metrics.headers,
            [header("metrics-only"), header("from-code")]
        );
    }
}
