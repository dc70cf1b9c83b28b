//! The settings of a pipeline as plain values: [`OtlpConfig`] and its parts.
//!
//! The defaults of what a variable sets are the specification's. The queue and the size of a batch differ:
//! [`BatchConfig`] and [`LogBatchConfig`] say why.
//!
//! You need this module to set what the builder has no method for
//! ([`OtlpBuilder::configure`](crate::OtlpBuilder::configure)), to read settings from the `OTEL_*`
//! variables or another source ([`OtlpConfig::from_env`], [`OtlpConfig::from_source`]), and to look up
//! a setting's unit, default and variable.
//!
//! Precedence, highest first: code, the signal's variable, the general variable, the default.

mod batch;
mod connection;
mod env;
mod headers;
mod logs;
#[cfg(feature = "metrics")]
mod metrics;
mod otlp;
pub(crate) mod parse;
mod protocol;
mod proxy;
pub(crate) mod request_header;
mod resource;
mod span;
mod spelling;
mod tail;
mod traces;
mod validate;
mod warning;

#[cfg(test)]
mod tests;

pub use batch::{BatchConfig, WorkerConfig};
pub use connection::{ConnectionConfig, Pem, RetryConfig};
#[cfg(feature = "tower")]
pub(crate) use env::known_http_methods;
pub(crate) use env::wants_no_color;
pub(crate) use headers::read as read_headers;
pub use headers::{HeaderProvider, ProvidedHeaders};
pub use logs::{
    EventRule, Events, LogBatchConfig, LogLimits, LogsConfig, LogsExporterKind, SpanFields,
};
#[cfg(feature = "metrics")]
pub use metrics::{MetricsConfig, MetricsTemporality};
pub use otlp::OtlpConfig;
pub use protocol::{Compression, Protocol};
pub use proxy::ProxyConfig;
pub use resource::ResourceConfig;
pub use span::{CaptureConfig, SpanLimits};
pub use tail::TailConfig;
pub use traces::{PropagatorKind, SamplerConfig, TracesExporterKind};
pub use warning::ConfigWarning;
