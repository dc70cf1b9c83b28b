//! Interoperation with the `opentelemetry` crates, for code that uses their API beside `tracing`, and
//! for migrations from `tracing-opentelemetry`.
//!
//! - [`OpenTelemetrySpanExt`]: the extension trait of `tracing-opentelemetry`; change the imports.
//! - [`TracerProvider`]: the spans of libraries that use the OpenTelemetry API join this pipeline and its
//!   traces.
//! - [`OtlpBuilder::with_context_activation`](crate::OtlpBuilder::with_context_activation): while a
//!   `tracing` span is entered, `opentelemetry::Context::current()` has it as its active span. Opt-in: it
//!   costs two allocations and more each time a span is entered.
//! - [`LoggerProvider`]: the log records of code that uses the OpenTelemetry API join this pipeline.
//! - [`SpanExporterAdapter`], [`LogExporterAdapter`]: any `SpanExporter` or `LogExporter` of `opentelemetry_sdk` at
//!   the end of this pipeline.
//! - [`otlp_span_exporter`](https://docs.rs/tracing-otlp/latest/tracing_otlp/otel/fn.otlp_span_exporter.html),
//!   `otlp_log_exporter`: opentelemetry-otlp's exporters, built from the settings of this pipeline (feature
//!   `opentelemetry-otlp`).
//! - [`TextMapPropagatorAdapter`]: this crate's propagators for code that uses the API's global one.
//! - [`metrics`](https://docs.rs/tracing-otlp/latest/tracing_otlp/otel/metrics/): of requests, and of this
//!   crate itself (feature `metrics`).
//! - `From` between the ids, flags, kinds, values and contexts of both.
//!
//! This module follows the minor versions of `opentelemetry`, which are breaking; no other module exposes
//! its types. `docs/migrating-from-tracing-opentelemetry.md` lists the differences from
//! `tracing-opentelemetry`.
//!
//! ```
//! use opentelemetry::global;
//! use opentelemetry::trace::{Tracer as _, TracerProvider as _};
//! use tracing_otlp::otel::TracerProvider;
//! use tracing_subscriber::prelude::*;
//!
//! # fn main() -> Result<(), tracing_otlp::Error> {
//! # let builder = tracing_otlp::builder().without_env();
//! let (layer, _guard) = builder.with_context_activation(true).build()?;
//! global::set_tracer_provider(TracerProvider::new(&layer));
//! # let _ =
//! tracing_subscriber::registry().with(layer)
//! # ;
//! // A library's span, in the trace of the entered `tracing` span.
//! global::tracer("some.library").in_span("query", |_cx| {});
//! # Ok(()) }
//! ```

mod activation;
mod convert;
mod exporter;
mod log_record;
mod logger;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub mod metrics;
mod names;
#[cfg(feature = "opentelemetry-otlp")]
mod otlp_exporter;
mod propagator;
mod span_data;
mod span_ext;
mod tracer;

pub(crate) use self::activation::context_observer;
pub use self::convert::{from_context, to_context};
pub use self::exporter::{LogExporterAdapter, SpanExporterAdapter};
pub use self::logger::{Logger, LoggerProvider, LoggerRecord};
#[cfg(feature = "opentelemetry-otlp")]
#[cfg_attr(docsrs, doc(cfg(feature = "opentelemetry-otlp")))]
pub use self::otlp_exporter::{otlp_log_exporter, otlp_span_exporter};
pub use self::propagator::TextMapPropagatorAdapter;
pub use self::span_ext::{OpenTelemetrySpanExt, get_otel_context};
pub use self::tracer::{Tracer, TracerProvider, TracerSpan};
pub use crate::context::SetParentError;
