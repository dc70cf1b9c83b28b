//! OTLP as JSON: converts an encoded request.
//!
//! The types of `opentelemetry-proto` read the bytes and write the JSON, as in `opentelemetry-otlp`: ids in
//! hexadecimal, 64-bit integers as strings.

use bytes::{Bytes, BytesMut};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::Value;

use super::endpoint::Signal;
use crate::error::Error;
use crate::wire::response::PartialSuccess;

/// Every build that has this module speaks it.
pub(super) fn check() -> Result<(), Error> {
    Ok(())
}

/// The same request as JSON.
pub(super) fn encode(signal: Signal, frames: &[Bytes]) -> Result<Bytes, String> {
    let mut all = BytesMut::with_capacity(frames.iter().map(Bytes::len).sum());
    frames.iter().for_each(|frame| all.extend_from_slice(frame));
    match signal {
        Signal::Traces => rewrite::<ExportTraceServiceRequest>(all.freeze()),
        Signal::Logs => rewrite::<ExportLogsServiceRequest>(all.freeze()),
        #[cfg(feature = "metrics")]
        Signal::Metrics => {
            use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
            rewrite::<ExportMetricsServiceRequest>(all.freeze())
        }
        #[cfg(not(feature = "metrics"))]
        Signal::Metrics => Err("there are no metrics".to_owned()),
    }
}

fn rewrite<T: Message + Default + serde::Serialize>(bytes: Bytes) -> Result<Bytes, String> {
    let request = T::decode(bytes).map_err(|e| e.to_string())?;
    let json = serde_json::to_vec(&request).map_err(|e| e.to_string())?;
    Ok(json.into())
}

/// The content of a success. The success counts even if the body cannot be read.
pub(super) fn partial(body: &[u8]) -> PartialSuccess {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let partial = answer.get("partialSuccess");
    let field = |name| partial.and_then(|partial| partial.get(name));
    let rejected = field("rejectedSpans")
        .or_else(|| field("rejectedLogRecords"))
        .or_else(|| field("rejectedDataPoints"));
    let number = match rejected {
        Some(Value::String(text)) => text.parse().ok(),
        Some(number) => number.as_i64(),
        None => None,
    };
    let message = field("errorMessage").and_then(Value::as_str);
    PartialSuccess {
        rejected_spans: number.unwrap_or_default(),
        error_message: message.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rejected_is_read_as_text_or_number_otlp_5() {
        for (body, rejected, message) in [
            ("{}", 0, ""),
            ("", 0, ""),
            ("<html>", 0, ""),
            (r#"{"partialSuccess":{}}"#, 0, ""),
            (
                r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"old"}}"#,
                3,
                "old",
            ),
            (r#"{"partialSuccess":{"rejectedSpans":2}}"#, 2, ""),
            (r#"{"partialSuccess":{"rejectedDataPoints":"4"}}"#, 4, ""),
        ] {
            let partial = partial(body.as_bytes());
            assert_eq!(partial.rejected_spans, rejected, "{body}");
            assert_eq!(partial.error_message, message, "{body}");
        }
    }
}
