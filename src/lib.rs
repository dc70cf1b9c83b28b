//! Sends the spans of the `tracing` ecosystem to an OTLP endpoint.

mod attribute;
mod clock;
mod config;
mod context;
mod error;
mod export;
mod layer;
mod processor;
mod resource;
pub mod sampler;
mod semconv;
mod stats;
mod suppress;
mod sync;
mod wire;

pub use attribute::{KeyValue, Value};
pub use config::{
    BatchConfig, CaptureConfig, Compression, ExporterConfig, OtlpConfig, Pem, Protocol,
    RetryConfig, SpanLimits, TracesExporter, WorkerConfig,
};
pub use context::{IdGenerator, RandomIds, SpanId, TraceFlags, TraceId};
pub use error::Error;
pub use export::{Batch, Exporter, Outcome};
pub use layer::OtlpLayer;
pub use resource::Resource;
pub use stats::{DropReason, Stats};
