//! Sends the spans of the `tracing` ecosystem to an OTLP endpoint: a collector, Jaeger, Tempo, any
//! vendor.
//!
//! ```no_run
//! use std::time::Duration;
//! use tracing_subscriber::{filter::LevelFilter, prelude::*};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), tracing_otlp::Error> {
//!     let (layer, guard) = tracing_otlp::builder().with_service_name("shop").build()?;
//!     tracing_subscriber::registry().with(LevelFilter::INFO).with(layer).init();
//!
//!     // #[instrument], info_span!, events, futures …
//!
//!     // A guard that is dropped flushes too, for at most five seconds.
//!     if let Err(error) = guard.shutdown(Duration::from_secs(5)).await {
//!         tracing::warn!(%error, "not every span was delivered");
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The `OTEL_*` variables are read as the specification has them; each has a method of
//! [`OtlpBuilder`] too. [`init()`] sets up a whole subscriber in one line.
//!
//! How to do what, and what helps when something is wrong:
//! [`guide`](https://docs.rs/tracing-otlp/latest/tracing_otlp/guide/).
//!
//! # The way of a span
//!
//! ```text
//!  application thread                                   worker thread `otlp-worker`
//!  ──────────────────                                   ───────────────────────────
//!  1 span!, #[instrument]
//!  2 OtlpLayer: sampled? then visit the fields,
//!    straight into OTLP bytes
//!  3 events, record: appended as they happen
//!  4 close: header appended, bytes copied   ──▶ queue ──▶ 5 a permit, a batch: chunks, not spans
//!    into a chunk that many spans share                  6 OtlpClient: gRPC or HTTP, retry ──▶ endpoint
//!                                                        7 what became of each span ──▶ Stats
//! ```
//!
//! 1. A span is written once, as the bytes of an OTLP `Span`. There is no second encoding, no tree of
//!    attributes and, once warm, no allocation on the thread that records it.
//! 2. The application never waits: a queue that is full drops, and counts why ([`DropReason`]).
//! 3. The worker has a thread and a tokio runtime of its own. It needs none of the application's,
//!    lives on while that is torn down, and what its own libraries trace is never captured.
//! 4. Every call that waits takes a deadline and keeps it: [`ShutdownGuard`] works on a current-thread
//!    runtime, on any other, and on none.
//! 5. Every span is delivered, rejected, or dropped under one named reason: [`Stats`].
//!
//! # What is recorded
//!
//! Fields keep their type: booleans, integers, floating point numbers, strings and bytes arrive as
//! such; `Debug` and `Display` values and errors as strings, an error with its chain. A field that is
//! recorded again replaces its value. Some fields have a meaning:
//!
//! | Field of a span | Effect |
//! | --- | --- |
//! | `otel.name` | the span's name |
//! | `otel.kind` | `server`, `client`, `producer`, `consumer` or `internal` |
//! | `otel.status_code` | `ok` (final) or `error` |
//! | `otel.status_description`, or `otel.status_message` | status error, with this description |
//!
//! They work at creation and by `Span::record` until the span closes. Events become span events; one
//! of level ERROR makes the status an error, and what `#[instrument(err)]` emits becomes an
//! `exception` event. `follows_from` makes a link. A span ends when it was left for the last time, or
//! when it closes if it was never entered.
//!
//! # Features
//!
//! - `grpc`, `http`, `tls`, `tls-builtin`, `init`: on by default.
//! - `tls-ring`, `tls-aws-lc`: a provider of cryptography for TLS from rustls itself;
//!   [docs/configuration.md](https://docs.rs/tracing-otlp/latest/tracing_otlp/guide/) tells which one is taken.
//! - `http-json`: OTLP over HTTP with JSON bodies.
//! - `gzip`, `zstd`: compressed requests.
//! - `fmt` (part of `init`) and `json`: [`fmt::with_trace_ids`](https://docs.rs/tracing-otlp/latest/tracing_otlp/fmt/),
//!   trace ids on the lines of a log.
//! - `testing`: [`testing::Collector`](https://docs.rs/tracing-otlp/latest/tracing_otlp/testing/), an OTLP
//!   collector inside the process.
//! - `opentelemetry`: [`otel`](https://docs.rs/tracing-otlp/latest/tracing_otlp/otel/), spans of the
//!   OpenTelemetry API in this pipeline, and the extension trait of `tracing-opentelemetry`.
//! - `opentelemetry-otlp`: the exporters of that crate, from the settings of this one; they send `http/json` in a
//!   build without `http-json`.
//! - `tower`: [`middleware`](https://docs.rs/tracing-otlp/latest/tracing_otlp/middleware/), a span for each
//!   request that is served or sent, over HTTP and gRPC; `axum` and `tonic` add what those know of a request,
//!   `reqwest-middleware` a client's spans for reqwest.
//! - `metrics`: the conventions' metrics of those requests and of the pipeline itself.
//! - `viewer`: [`viewer()`](https://docs.rs/tracing-otlp/latest/tracing_otlp/viewer/), a trace viewer in the
//!   browser, and the program `tracing-otlp-viewer`.
//! - `file`: [`export::OtlpFileExporter`](https://docs.rs/tracing-otlp/latest/tracing_otlp/export/struct.OtlpFileExporter.html),
//!   traces and log records in files and on standard output.
//! - `full`: all of them but `tls-ring`, `tls-aws-lc` and `opentelemetry-otlp`.
#![cfg_attr(docsrs, feature(doc_cfg))]
// Under loom only the concurrent core compiles, so most of what it has is not used.
#![cfg_attr(tracing_otlp_loom, allow(dead_code, unused_imports, unreachable_pub))]

/// The README compiles.
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../README.md")]
mod readme {}

// Text alone. Its examples need most features.
#[cfg(all(any(doc, doctest), feature = "full"))]
pub mod guide;

mod attribute;
#[cfg(not(tracing_otlp_loom))]
mod builder;
#[cfg(not(tracing_otlp_loom))]
mod clock;
#[cfg(not(tracing_otlp_loom))]
pub mod config;
#[cfg(not(tracing_otlp_loom))]
pub mod context;
#[cfg(all(feature = "tls", not(tracing_otlp_loom)))]
mod crypto;
#[cfg(not(tracing_otlp_loom))]
pub mod diagnostics;
mod drawing;
mod error;
#[cfg(not(tracing_otlp_loom))]
pub mod export;
#[cfg(all(feature = "fmt", not(tracing_otlp_loom)))]
#[cfg_attr(docsrs, doc(cfg(feature = "fmt")))]
pub mod fmt;
#[cfg(not(tracing_otlp_loom))]
mod fork;
/// Entrances for the fuzz targets; no part of the interface.
#[cfg(all(any(test, all(fuzzing, feature = "testing")), not(tracing_otlp_loom)))]
#[doc(hidden)]
#[cfg_attr(test, allow(unreachable_pub, reason = "reached when fuzzing"))]
pub mod fuzzing;
#[cfg(all(feature = "tower", not(tracing_otlp_loom)))]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod graceful;
#[cfg(not(tracing_otlp_loom))]
pub mod guard;
#[cfg(all(feature = "init", not(tracing_otlp_loom)))]
#[cfg_attr(docsrs, doc(cfg(feature = "init")))]
pub mod init;
#[cfg(not(tracing_otlp_loom))]
mod layer;
#[cfg(all(feature = "tower", not(tracing_otlp_loom)))]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod middleware;
#[cfg(all(feature = "opentelemetry", not(tracing_otlp_loom)))]
#[cfg_attr(docsrs, doc(cfg(feature = "opentelemetry")))]
pub mod otel;
mod pool;
pub mod processor;
#[cfg(not(tracing_otlp_loom))]
pub mod propagation;
#[cfg(not(tracing_otlp_loom))]
pub mod registry;
#[cfg(not(tracing_otlp_loom))]
mod resource;
#[cfg(not(tracing_otlp_loom))]
pub mod runtime_config;
#[cfg(not(tracing_otlp_loom))]
pub mod sampler;
mod semconv;
mod signal;
mod span_data;
#[cfg(not(tracing_otlp_loom))]
mod span_ext;
pub mod stats;
#[cfg(not(tracing_otlp_loom))]
mod suppress;
mod sync;
#[cfg(not(tracing_otlp_loom))]
mod tail;
#[cfg(all(feature = "testing", not(tracing_otlp_loom)))]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod text;
#[cfg(all(feature = "viewer", not(tracing_otlp_loom)))]
#[cfg_attr(docsrs, doc(cfg(feature = "viewer")))]
pub mod viewer;
mod wire;

#[cfg(not(tracing_otlp_loom))]
pub use self::{
    attribute::{KeyValue, Value},
    builder::{OtlpBuilder, builder},
    config::{Events, OtlpConfig, Protocol},
    context::{SpanId, TraceContext, TraceId},
    guard::ShutdownGuard,
    layer::OtlpLayer,
    registry::registry,
    resource::Resource,
    runtime_config::ConfigStore,
    span_data::{SpanKind, Status},
    span_ext::SpanExt,
};

#[cfg(all(feature = "init", not(tracing_otlp_loom)))]
#[cfg_attr(docsrs, doc(cfg(feature = "init")))]
pub use init::{init, subscriber};

#[cfg(all(feature = "tower", not(tracing_otlp_loom)))]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use graceful::GracefulShutdown;

#[cfg(all(feature = "viewer", not(tracing_otlp_loom)))]
#[cfg_attr(docsrs, doc(cfg(feature = "viewer")))]
pub use viewer::viewer;

pub use error::Error;
pub use stats::{DropReason, Stats};
