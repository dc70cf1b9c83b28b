//! What the fuzz targets call, and the property tests below: any bytes in, no panic, no lie.
//!
//! Each function takes the fuzzer's bytes, does one thing that foreign input can reach, and
//! asserts what must hold. opentelemetry-proto and prost are the second opinion.

mod choose;
mod encode;
mod log_record;
mod propagation;
#[cfg(feature = "tower")]
mod requests;

pub use encode::encode;
pub use log_record::log_record;
pub use propagation::propagation;
#[cfg(feature = "tower")]
pub use requests::requests;

use std::ffi::OsString;

use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message as _;

use self::choose::Choose;
use crate::config::{ConnectionConfig, OtlpConfig, Protocol};
use crate::context::TraceState;
use crate::export::endpoint::{Endpoint, ExportSignal};
use crate::sampler::{OtelState, Threshold};
use crate::wire::decode::{Scope, Span};
use crate::wire::response::{PartialSuccess, RpcStatus};
use crate::wire::{request, span};

/// Reads a span; where prost can read it too, both read the same.
pub fn decode_span(bytes: &[u8]) {
    let _ = Scope::decode(bytes);
    let _ = request::count_items(bytes);
    let _ = request::each_item(bytes).map(Span::decode).count();
    let _ = span::find_attribute(bytes, span::SPAN_ATTRIBUTE, b"key");
    let _ = span::fields(bytes)
        .filter_map(|f| span::key_of(f.1))
        .count();
    let (Some(ours), Ok(theirs)) = (Span::decode(bytes), proto::Span::decode(bytes)) else {
        return;
    };
    // An id that is absent is zeros, or nothing.
    assert!(theirs.trace_id.is_empty() || theirs.trace_id == ours.trace_id);
    assert!(theirs.span_id.is_empty() || theirs.span_id == ours.span_id);
    let parent = ours.parent_span_id.map(Vec::from).unwrap_or_default();
    assert_eq!(parent, theirs.parent_span_id);
    assert_eq!(ours.name, theirs.name);
    assert_eq!(ours.trace_state, theirs.trace_state);
    assert_eq!((ours.kind, ours.flags), (theirs.kind, theirs.flags));
    let times = (theirs.start_time_unix_nano, theirs.end_time_unix_nano);
    assert_eq!((ours.start_unix_nanos, ours.end_unix_nanos), times);
    let status = theirs.status.unwrap_or_default();
    assert_eq!(ours.status.message, status.message);
    assert_eq!(ours.status.code, status.code);
    assert_eq!(ours.attributes.len(), theirs.attributes.len());
    for ((key, _), theirs) in ours.attributes.iter().zip(&theirs.attributes) {
        assert_eq!(*key, theirs.key);
    }
    assert_eq!(ours.events.len(), theirs.events.len());
    for (ours, theirs) in ours.events.iter().zip(&theirs.events) {
        assert_eq!(ours.name, theirs.name);
        assert_eq!(ours.attributes.len(), theirs.attributes.len());
    }
    assert_eq!(ours.links.len(), theirs.links.len());
    assert_eq!(
        (
            ours.dropped_attributes,
            ours.dropped_events,
            ours.dropped_links
        ),
        (
            theirs.dropped_attributes_count,
            theirs.dropped_events_count,
            theirs.dropped_links_count
        )
    );
}

/// Reads what an endpoint answers.
pub fn response(bytes: &[u8]) {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
    let ours = PartialSuccess::decode(bytes);
    if let (Some(ours), Ok(theirs)) = (ours, ExportTraceServiceResponse::decode(bytes)) {
        let theirs = theirs.partial_success.unwrap_or_default();
        assert_eq!(ours.rejected_spans, theirs.rejected_spans);
        assert_eq!(ours.error_message, theirs.error_message);
    }
    if let Some(status) = RpcStatus::decode(bytes) {
        // Text that is not UTF-8 grows threefold where it is replaced, and no more.
        assert!(status.message.len() <= 3 * bytes.len());
    }
}

/// Reads settings from variables, one a line: the first byte says which.
pub fn settings(bytes: &[u8]) {
    let lines: Vec<(&str, OsString)> = bytes
        .split(|b| *b == b'\n')
        .filter_map(|line| {
            let (which, value) = line.split_first()?;
            let name = VARIABLES[usize::from(*which) % VARIABLES.len()];
            Some((name, os_string(value)))
        })
        .collect();
    let mut config = OtlpConfig::from_source(|asked| {
        let line = lines.iter().find(|(name, _)| *name == asked)?;
        Some(line.1.clone())
    });
    for warning in &config.warnings {
        let line = warning.to_string();
        assert!(!line.contains(['\n', '\r', '\u{1b}', '\0']), "{line:?}");
        assert!(line.len() < 1500, "{} bytes", line.len());
    }
    // Only a key without its certificate is a mistake that variables can make.
    if config.connection.client_key.is_some() != config.connection.client_certificate.is_some() {
        assert!(config.validate().is_err());
        config.connection.client_key = None;
        config.connection.client_certificate = None;
    }
    assert_eq!(config.validate().map_err(|e| e.to_string()), Ok(()));
}

#[cfg(unix)]
fn os_string(bytes: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStringExt as _;
    OsString::from_vec(bytes.to_vec())
}

#[cfg(not(unix))]
fn os_string(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// Variables with rules of their own; the signal's twins share them.
const VARIABLES: &[&str] = &[
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
    "OTEL_PROPAGATORS",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_CONFIG_FILE",
    "OTEL_LOGS_EXPORTER",
    "OTEL_RUST_TRACING_EVENTS",
    "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN",
    "OTEL_BLRP_MAX_QUEUE_SIZE",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BLRP_SCHEDULE_DELAY",
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_INSECURE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];

/// Reads the value of the trace state's `ot` and writes another threshold into it, which is read
/// again; all else stays.
pub fn otel_state(bytes: &[u8]) {
    let mut choose = Choose(bytes);
    let threshold = match choose.byte() {
        0 => None,
        _ => Threshold::from_bits(u64::from_be_bytes(choose.array()) >> 8),
    };
    let text = String::from_utf8_lossy(choose.0).into_owned();
    let read = OtelState::parse(&text);
    let written = read.with(threshold);
    if written.len() > 256 {
        return;
    }
    let again = OtelState::parse(&written);
    assert_eq!(again.threshold, threshold, "{written}");
    assert_eq!(again.randomness, read.randomness, "{written}");
    assert_eq!(again.with(read.threshold), read.with(read.threshold));
    assert!(TraceState::EMPTY.with("ot", &written).is_ok() || written.is_empty());
}

/// Resolves an endpoint; what is given back can be dialled, what is refused shows no password.
pub fn endpoint(bytes: &[u8]) {
    let mut choose = Choose(bytes);
    let choice = choose.byte();
    let url = String::from_utf8_lossy(choose.0).into_owned();
    let mut config = ConnectionConfig {
        insecure: choice & 1 == 1,
        protocol: match choice >> 1 & 3 {
            0 => None,
            1 => Some(Protocol::Grpc),
            _ => Some(Protocol::HttpProtobuf),
        },
        ..ConnectionConfig::default()
    };
    if choice & 8 == 0 {
        config.endpoint = Some(url);
    } else {
        config.traces_endpoint = Some(url);
    }
    match Endpoint::resolve(&config, ExportSignal::Traces) {
        Ok(endpoint) => {
            assert!(!endpoint.host.is_empty() && endpoint.port > 0);
            assert!(!endpoint.host.contains(['@', '/', '?', '#']));
            let tls = endpoint.uri.scheme_str() == Some("https");
            assert_eq!(tls, endpoint.tls);
            assert!(endpoint.uri.path().starts_with('/'));
            assert!(!endpoint.address().is_empty());
        }
        Err(error) => assert!(error.is_config()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::varint;

    /// Bytes that look like protobuf more often than chance has it.
    fn messages() -> impl Strategy<Value = Vec<u8>> {
        let field = (1u8..17, any::<bool>(), vec(any::<u8>(), 0..40)).prop_map(
            |(number, is_message, content)| {
                let mut out = Vec::new();
                if is_message {
                    varint::put_bytes(&mut out, number << 3 | varint::LEN, &content);
                } else {
                    varint::put(&mut out, u64::from(number << 3));
                    varint::put(&mut out, content.len() as u64);
                }
                out
            },
        );
        prop_oneof![
            vec(any::<u8>(), 0..200),
            vec(field, 0..8).prop_map(|f| f.concat())
        ]
    }

    /// URLs that are nearly right.
    fn urls() -> impl Strategy<Value = Vec<u8>> {
        let scheme = prop_oneof![Just(""), Just("http://"), Just("HTTPS://"), Just("://")];
        let url = (
            scheme,
            "([a-z@.:\\[\\]%-]{0,8}|\\PC{0,4})",
            "(:[0-9]{0,6})?",
            "[/?#%].{0,9}|",
        );
        (any::<u8>(), url).prop_map(|(choice, (scheme, host, port, path))| {
            let mut out = vec![choice];
            out.extend_from_slice(format!("{scheme}{host}{port}{path}").as_bytes());
            out
        })
    }

    proptest! {
        #[test]
        fn any_bytes_as_a_span(bytes in messages()) {
            decode_span(&bytes);
        }

        #[test]
        fn any_bytes_as_an_answer(bytes in messages()) {
            response(&bytes);
        }

        #[test]
        fn any_span_is_read_by_others(bytes in vec(any::<u8>(), 0..600)) {
            encode(&bytes);
        }

        #[test]
        fn any_log_record_is_read_by_others(bytes in prop_oneof![messages(), vec(any::<u8>(), 0..600)]) {
            log_record(&bytes);
        }

        #[test]
        fn any_settings(
            lines in vec((any::<u8>(), "\\PC{0,24}|[0-9.]{1,24}|[a-z]=\\PC{0,9}"), 0..8)
        ) {
            let lines = lines.iter().map(|(which, value)| {
                let mut line = vec![*which];
                line.extend_from_slice(value.as_bytes());
                line
            });
            settings(&lines.collect::<Vec<_>>().join(&b'\n'));
        }

        #[test]
        fn settings_of_any_bytes(bytes in vec(any::<u8>(), 0..200)) {
            settings(&bytes);
        }

        #[test]
        fn any_otel_state(
            head in vec(any::<u8>(), 9),
            text in "([a-z][a-z0-9]{0,2}:[A-Za-z0-9._-]{0,60}|th:[0-9a-f]{0,16}|rv:[0-9a-f]{14}|.{0,9}|;){0,9}",
        ) {
            otel_state(&[&head, text.as_bytes()].concat());
        }

        #[test]
        fn any_endpoint(bytes in prop_oneof![urls(), vec(any::<u8>(), 0..60)]) {
            endpoint(&bytes);
        }
    }
}
