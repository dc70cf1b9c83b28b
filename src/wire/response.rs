//! Reads an endpoint's responses: partial success, `google.rpc.Status`, `RetryInfo`.
//!
//! The bytes are foreign: unknown fields are skipped, and a malformed message counts as absent.

use std::time::Duration;

use super::reader::{FieldValue, MessageFields};

/// `ExportTracePartialSuccess`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PartialSuccess {
    pub(crate) rejected_spans: i64,
    pub(crate) error_message: String,
}

impl PartialSuccess {
    /// Reads an `ExportTraceServiceResponse`. An absent or default `partial_success` is full success
    /// (OTLP-4); `None` if the bytes are malformed.
    pub(crate) fn decode(response: &[u8]) -> Option<Self> {
        let mut partial = Self::default();
        for field in MessageFields::new(response) {
            if let (1, FieldValue::Bytes(message)) = field? {
                for field in MessageFields::new(message) {
                    match field? {
                        (1, FieldValue::Varint(n)) => partial.rejected_spans = n as i64,
                        (2, FieldValue::Bytes(text)) => {
                            partial.error_message = String::from_utf8_lossy(text).into_owned();
                        }
                        _ => {}
                    }
                }
            }
        }
        Some(partial)
    }
}

/// The used fields of `google.rpc.Status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RpcStatus {
    pub(crate) message: String,
    /// `RetryInfo.retry_delay` among the details.
    pub(crate) retry_delay: Option<Duration>,
}

impl RpcStatus {
    /// Reads a status; `None` if the bytes are malformed.
    pub(crate) fn decode(status: &[u8]) -> Option<Self> {
        let mut out = Self::default();
        for field in MessageFields::new(status) {
            match field? {
                (2, FieldValue::Bytes(text)) => {
                    out.message = String::from_utf8_lossy(text).into_owned()
                }
                (3, FieldValue::Bytes(any)) => {
                    out.retry_delay = retry_info(any)?.or(out.retry_delay)
                }
                _ => {}
            }
        }
        Some(out)
    }
}

/// The delay of an `Any` that is a `RetryInfo`.
#[expect(
    clippy::option_option,
    reason = "malformed, something else, and a delay are three things"
)]
fn retry_info(any: &[u8]) -> Option<Option<Duration>> {
    let mut is_retry_info = false;
    let mut value: &[u8] = &[];
    for field in MessageFields::new(any) {
        match field? {
            (1, FieldValue::Bytes(url)) => is_retry_info = url.ends_with(b"google.rpc.RetryInfo"),
            (2, FieldValue::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    if !is_retry_info {
        return Some(None);
    }
    let mut delay = Duration::ZERO;
    for field in MessageFields::new(value) {
        if let (1, FieldValue::Bytes(duration)) = field? {
            delay = decode_duration(duration)?;
        }
    }
    Some(Some(delay))
}

/// `google.protobuf.Duration`; a negative one is zero.
fn decode_duration(message: &[u8]) -> Option<Duration> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in MessageFields::new(message) {
        match field? {
            (1, FieldValue::Varint(n)) => seconds = n as i64,
            (2, FieldValue::Varint(n)) => nanos = n as i64,
            _ => {}
        }
    }
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let nanos = u32::try_from(nanos).unwrap_or(0).min(999_999_999);
    Some(Duration::new(seconds, nanos))
}

#[cfg(all(test, not(tracing_otlp_loom)))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceResponse,
    };
    use proptest::prelude::*;
    use prost::Message;

    use crate::wire::varint;

    proptest! {
        #[test]
        fn a_partial_success_is_read_as_prost_writes_it(rejected in any::<i64>(), text in "\\PC*") {
            let response = ExportTraceServiceResponse {
                partial_success: Some(ExportTracePartialSuccess {
                    rejected_spans: rejected,
                    error_message: text.clone(),
                }),
            };
            let read = PartialSuccess::decode(&response.encode_to_vec()).unwrap();
            prop_assert_eq!(read, PartialSuccess { rejected_spans: rejected, error_message: text });
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = PartialSuccess::decode(&bytes);
            let _ = RpcStatus::decode(&bytes);
        }
    }

    #[test]
    fn an_empty_answer_is_full_success_otlp_4() {
        assert_eq!(PartialSuccess::decode(&[]), Some(PartialSuccess::default()));
        assert_eq!(
            PartialSuccess::decode(&[0x0a, 0]),
            Some(PartialSuccess::default())
        );
    }

    #[test]
    fn retry_info_is_found_among_the_details() {
        let mut retry = Vec::new();
        varint::put_bytes(
            &mut retry,
            0x0a,
            &[0x08, 2, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01],
        );
        let mut any = Vec::new();
        varint::put_bytes(&mut any, 0x0a, b"type.googleapis.com/google.rpc.RetryInfo");
        varint::put_bytes(&mut any, 0x12, &retry);
        let mut other = Vec::new();
        varint::put_bytes(&mut other, 0x0a, b"type.googleapis.com/google.rpc.Help");
        let mut status = vec![0x08, 14];
        varint::put_bytes(&mut status, 0x12, b"busy");
        varint::put_bytes(&mut status, 0x1a, &other);
        varint::put_bytes(&mut status, 0x1a, &any);
        let read = RpcStatus::decode(&status).unwrap();
        assert_eq!(read.message, "busy");
        assert_eq!(read.retry_delay, Some(Duration::from_millis(2500)));
    }
}
