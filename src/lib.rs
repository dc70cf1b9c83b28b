//! Sends the spans of the `tracing` ecosystem to an OTLP endpoint.

mod attribute;
mod config;
mod error;
mod export;
mod human;
mod processor;
mod resource;
mod stats;
mod suppress;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
mod wire;

pub use attribute::{KeyValue, Value};
pub use config::{
    BatchConfig, CaptureConfig, Compression, ExporterConfig, OtlpConfig, Pem, Protocol,
    RetryConfig, SpanLimits, TracesExporter, WorkerConfig,
};
pub use error::Error;
pub use export::{Batch, ConsoleExporter, Exporter, Outcome};
pub use resource::Resource;
pub use stats::{DropReason, Stats};
