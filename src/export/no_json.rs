//! Replaces `json` in a build without it: `http/json` is an error.

use bytes::Bytes;

use super::endpoint::ExportSignal;
#[cfg(feature = "opentelemetry-otlp")]
pub(super) use super::json_answer::partial;
use crate::error::Error;

pub(super) fn check() -> Result<(), Error> {
    Err(Error::config(
        "protocol",
        "http/json",
        "this build cannot write JSON: enable the feature `http-json` of tracing-otlp, or set \
         OTEL_EXPORTER_OTLP_PROTOCOL to grpc or http/protobuf",
    ))
}

pub(super) fn encode(_: ExportSignal, _: &[Bytes]) -> Result<Bytes, String> {
    Err("this build cannot write JSON".to_owned())
}

#[cfg(not(feature = "opentelemetry-otlp"))]
#[cfg_attr(not(feature = "http"), expect(dead_code, reason = "HTTP asks"))]
pub(super) fn partial(_: &[u8]) -> crate::wire::response::PartialSuccess {
    crate::wire::response::PartialSuccess::default()
}
