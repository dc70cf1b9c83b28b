//! OTLP's protobuf encoding: writes spans, log records and requests, reads responses.
//!
//! Depends on bytes and attributes only, never on tracing types, contexts, clocks or settings.
//! Every number below is a field number of opentelemetry-proto v1.11.0.

pub(crate) mod bounded;
pub(crate) mod decode;
pub(crate) mod field;
#[cfg(any(feature = "file", feature = "testing", feature = "viewer"))]
pub(crate) mod json;
pub(crate) mod log_record;
pub(crate) mod outline;
pub(crate) mod reader;
pub(crate) mod request;
#[cfg_attr(
    not(any(feature = "grpc", feature = "http")),
    allow(dead_code, reason = "only transports get answers")
)]
pub(crate) mod response;
pub(crate) mod shed;
pub(crate) mod span;
pub(crate) mod value;
pub(crate) mod varint;

#[cfg(all(test, not(tracing_otlp_loom)))]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
mod tests;
