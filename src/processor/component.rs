//! [`Components`]: a pipeline's processor and exporter, as metrics name them (SPEC 5e).

use std::any::{Any, type_name};

use crate::config::Protocol;
use crate::export::{Exporter, OtlpClient};
use crate::sync::{AtomicU64, Ordering};

/// The names of a pipeline's parts, and where its spans go.
#[derive(Debug)]
pub(crate) struct Components {
    /// Among the pipelines of this process, from 0.
    number: u64,
    /// The `otel.component.type` of the exporter.
    pub(crate) exporter: &'static str,
    /// Host and port of its endpoint, if it is ours.
    pub(crate) server: Option<(String, u16)>,
}

impl Components {
    /// The `otel.component.type` of a processor.
    pub(crate) const PROCESSOR: &'static str = "batching_span_processor";

    pub(super) fn of<E: Exporter>(exporter: &E) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let client = (exporter as &dyn Any).downcast_ref::<OtlpClient>();
        let endpoint = client.map(OtlpClient::endpoint);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            exporter: match endpoint.map(|endpoint| endpoint.protocol) {
                Some(Protocol::Grpc) => "otlp_grpc_span_exporter",
                Some(Protocol::HttpProtobuf) => "otlp_http_span_exporter",
                Some(Protocol::HttpJson) => "otlp_http_json_span_exporter",
                None => type_name::<E>(),
            },
            server: endpoint.map(|endpoint| (endpoint.host.clone(), endpoint.port)),
        }
    }

    /// The `otel.component.name` of the part of this type.
    pub(crate) fn name(&self, component_type: &str) -> String {
        format!("{component_type}/{}", self.number)
    }
}
