//! The variables of metrics.

use std::time::Duration;

use super::{Env, SignalVariables, set};
use crate::config::{OtlpConfig, parse};

impl Env<'_> {
    /// Metrics get their own connection only if it differs from that of the traces.
    pub(super) fn metrics(&mut self, config: &mut OtlpConfig) {
        let metrics = &mut config.metrics;
        let exporter = self.read(&["OTEL_METRICS_EXPORTER"], parse::metrics_exporter);
        set(&mut metrics.enabled, exporter);
        let interval = self.read(
            &["OTEL_METRIC_EXPORT_INTERVAL"],
            |text| match parse::duration(text)? {
                Duration::ZERO => Err("use at least 1 ms".into()),
                interval => Ok(interval),
            },
        );
        set(&mut metrics.interval, interval);
        let timeout = self.read(&["OTEL_METRIC_EXPORT_TIMEOUT"], parse::timeout);
        set(&mut metrics.export_timeout, timeout);
        let temporality = self.read(
            &["OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"],
            parse::temporality,
        );
        set(&mut metrics.temporality, temporality);
        let mut connection = self.connection(SignalVariables::Metrics);
        // Metrics do not use it, so it must not make the connections differ.
        connection
            .traces_endpoint
            .clone_from(&config.connection.traces_endpoint);
        metrics.connection = (connection != config.connection).then_some(connection);
    }
}
