//! Sends the spans of the `tracing` ecosystem to an OTLP endpoint.
#![cfg_attr(docsrs, feature(doc_cfg))]
// Under loom only the concurrent core compiles, so most of what it has is not used.
#![cfg_attr(tracing_otlp_loom, allow(dead_code, unused_imports, unreachable_pub))]

mod attribute;
#[cfg(not(tracing_otlp_loom))]
mod builder;
#[cfg(not(tracing_otlp_loom))]
mod clock;
#[cfg(not(tracing_otlp_loom))]
mod config;
#[cfg(not(tracing_otlp_loom))]
mod context;
#[cfg(not(tracing_otlp_loom))]
mod diagnostics;
mod error;
#[cfg(not(tracing_otlp_loom))]
mod export;
/// Entrances for the fuzz targets; no part of the interface.
#[cfg(all(any(test, all(fuzzing, feature = "testing")), not(tracing_otlp_loom)))]
#[doc(hidden)]
#[cfg_attr(test, allow(unreachable_pub, reason = "reached when fuzzing"))]
pub mod fuzzing;
#[cfg(not(tracing_otlp_loom))]
mod guard;
#[cfg(not(tracing_otlp_loom))]
mod human;
#[cfg(all(feature = "init", not(tracing_otlp_loom)))]
mod init;
#[cfg(not(tracing_otlp_loom))]
mod layer;
mod pool;
mod processor;
#[cfg(not(tracing_otlp_loom))]
mod resource;
#[cfg(not(tracing_otlp_loom))]
pub mod sampler;
mod semconv;
mod stats;
#[cfg(not(tracing_otlp_loom))]
mod suppress;
mod sync;
#[cfg(all(feature = "testing", not(tracing_otlp_loom)))]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod wire;

#[cfg(not(tracing_otlp_loom))]
pub use self::{
    attribute::{KeyValue, Value},
    builder::{OtlpBuilder, builder},
    config::{
        BatchConfig, CaptureConfig, Compression, ConfigWarning, ExporterConfig, OtlpConfig, Pem,
        Protocol, ResourceConfig, RetryConfig, SpanLimits, TracesExporter, WorkerConfig,
    },
    context::{IdGenerator, RandomIds, SpanId, TraceFlags, TraceId},
    export::{
        Batch, ConcurrencyLimiter, ConcurrencyPermit, ConsoleExporter, Exporter, OtlpClient,
        Outcome,
    },
    guard::{PipelineHandle, ShutdownGuard},
    layer::OtlpLayer,
    processor::{BatchProcessor, ScopeId, TelemetryData},
    resource::Resource,
};

#[cfg(all(feature = "init", not(tracing_otlp_loom)))]
#[cfg_attr(docsrs, doc(cfg(feature = "init")))]
pub use init::init;

pub use error::Error;
pub use stats::{DropReason, Stats};
