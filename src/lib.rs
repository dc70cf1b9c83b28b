//! Sends the spans of the `tracing` ecosystem to an OTLP endpoint.

mod attribute;
mod builder;
mod config;
mod error;
mod export;
mod processor;
mod resource;
mod semconv;
mod stats;
mod suppress;
mod sync;
mod wire;

pub use attribute::{KeyValue, Value};
pub use builder::{OtlpBuilder, builder};
pub use config::{
    BatchConfig, CaptureConfig, Compression, ConfigWarning, ExporterConfig, OtlpConfig, Pem,
    Protocol, ResourceConfig, RetryConfig, SpanLimits, TracesExporter, WorkerConfig,
};
pub use error::Error;
pub use export::{Batch, Exporter, Outcome};
pub use resource::Resource;
pub use stats::{DropReason, Stats};
