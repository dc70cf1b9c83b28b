//! OTLP as JSON: protobuf's mapping with OTLP's changes (LOG-71 to LOG-74).
//!
//! Keys in lowerCamelCase, ids as hex, integers of 64 bits as text, enums as numbers, bytes as base64.

#[cfg(any(feature = "testing", feature = "viewer"))]
mod read;
#[cfg(feature = "file")]
mod write;

#[cfg(any(feature = "testing", feature = "viewer"))]
pub(crate) use self::read::{JsonRequest, request_of_json};
#[cfg(feature = "file")]
pub(crate) use self::write::{put_logs_request, put_request};

#[cfg(all(test, feature = "file", feature = "viewer"))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
