//! [`Components`]: the names of a pipeline's processor and exporter in metrics.

use std::any::{Any, type_name};

use crate::config::Protocol;
use crate::export::{Exporter, OtlpClient};
use crate::signal::Signal;
use crate::stats::EndpointStats;
use crate::sync::{AtomicU64, Ordering};

/// The names of a pipeline's parts, and the host and port of its endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Components {
    /// Among the pipelines of this process, from 0.
    number: u64,
    /// The `otel.component.type` of the exporter.
    pub(crate) exporter: &'static str,
    /// Host and port of the endpoint, if the exporter is an [`OtlpClient`] with a single one.
    pub(crate) server: Option<(String, u16)>,
    /// The exporter itself, for the counters of its endpoints.
    client: Option<OtlpClient>,
}

impl Components {
    /// The `otel.component.type` of a processor of spans, and of one of logs.
    pub(crate) const PROCESSOR: &'static str = "batching_span_processor";
    #[cfg_attr(
        not(feature = "metrics"),
        allow(dead_code, reason = "only metrics tell it")
    )]
    pub(crate) const LOG_PROCESSOR: &'static str = "batching_log_processor";

    pub(crate) fn of<E: Exporter>(signal: Signal, exporter: &E) -> Self {
        static NEXT: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
        let [spans, logs] = &NEXT;
        let next = match signal {
            Signal::Traces => spans,
            Signal::Logs => logs,
        };
        let client = (exporter as &dyn Any).downcast_ref::<OtlpClient>();
        let endpoint = client.and_then(OtlpClient::endpoint);
        Self {
            number: next.fetch_add(1, Ordering::Relaxed),
            exporter: match (client.and_then(OtlpClient::protocol), signal) {
                (Some(Protocol::Grpc), Signal::Traces) => "otlp_grpc_span_exporter",
                (Some(Protocol::HttpProtobuf), Signal::Traces) => "otlp_http_span_exporter",
                (Some(Protocol::HttpJson), Signal::Traces) => "otlp_http_json_span_exporter",
                (Some(Protocol::Grpc), Signal::Logs) => "otlp_grpc_log_exporter",
                (Some(Protocol::HttpProtobuf), Signal::Logs) => "otlp_http_log_exporter",
                (Some(Protocol::HttpJson), Signal::Logs) => "otlp_http_json_log_exporter",
                (None, _) => type_name::<E>(),
            },
            server: endpoint.map(|endpoint| (endpoint.host.clone(), endpoint.port)),
            client: client.cloned(),
        }
    }

    /// What each endpoint got; none unless the exporter is an [`OtlpClient`].
    pub(crate) fn endpoint_stats(&self) -> Vec<EndpointStats> {
        self.client
            .as_ref()
            .map(OtlpClient::endpoint_stats)
            .unwrap_or_default()
    }

    /// The `otel.component.name` of the part of this type.
    pub(crate) fn name(&self, component_type: &str) -> String {
        format!("{component_type}/{}", self.number)
    }
}
