//! OTLP as JSON: converts an encoded request.
//!
//! The types of `opentelemetry-proto` read the bytes and write the JSON, as in `opentelemetry-otlp`: ids in
//! hexadecimal, 64-bit integers as strings.

use bytes::{Bytes, BytesMut};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use super::endpoint::ExportSignal;
pub(super) use super::json_answer::partial;
use crate::error::Error;

/// Every build that has this module speaks it.
pub(super) fn check() -> Result<(), Error> {
    Ok(())
}

/// The same request as JSON.
pub(super) fn encode(signal: ExportSignal, frames: &[Bytes]) -> Result<Bytes, String> {
    let mut all = BytesMut::with_capacity(frames.iter().map(Bytes::len).sum());
    frames.iter().for_each(|frame| all.extend_from_slice(frame));
    match signal {
        ExportSignal::Traces => rewrite::<ExportTraceServiceRequest>(all.freeze()),
        ExportSignal::Logs => rewrite::<ExportLogsServiceRequest>(all.freeze()),
        #[cfg(feature = "metrics")]
        ExportSignal::Metrics => {
            use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
            rewrite::<ExportMetricsServiceRequest>(all.freeze())
        }
        #[cfg(not(feature = "metrics"))]
        ExportSignal::Metrics => Err("there are no metrics".to_owned()),
    }
}

fn rewrite<T: Message + Default + serde::Serialize>(bytes: Bytes) -> Result<Bytes, String> {
    let request = T::decode(bytes).map_err(|e| e.to_string())?;
    let json = serde_json::to_vec(&request).map_err(|e| e.to_string())?;
    Ok(json.into())
}
