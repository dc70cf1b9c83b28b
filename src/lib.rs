//! Sends the spans of the `tracing` ecosystem to an OTLP endpoint.
#![cfg_attr(tracing_otlp_loom, allow(dead_code, unused_imports, unreachable_pub))]

#[cfg(not(tracing_otlp_loom))]
mod attribute;
#[cfg(not(tracing_otlp_loom))]
mod config;
#[cfg(not(tracing_otlp_loom))]
mod diagnostics;
mod error;
#[cfg(not(tracing_otlp_loom))]
mod export;
#[cfg(not(tracing_otlp_loom))]
mod guard;
mod pool;
mod processor;
#[cfg(not(tracing_otlp_loom))]
mod resource;
mod stats;
#[cfg(not(tracing_otlp_loom))]
mod suppress;
mod sync;
mod wire;

#[cfg(not(tracing_otlp_loom))]
pub use {
    attribute::{KeyValue, Value},
    config::{
        BatchConfig, CaptureConfig, Compression, ExporterConfig, OtlpConfig, Pem, Protocol,
        RetryConfig, SpanLimits, TracesExporter, WorkerConfig,
    },
    export::{Batch, Exporter, Outcome},
    guard::{PipelineHandle, ShutdownGuard},
    processor::{BatchProcessor, ScopeId, TelemetryData},
    resource::Resource,
};

pub use error::Error;
pub use stats::{DropReason, Stats};
