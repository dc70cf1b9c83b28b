//! Log records between the OpenTelemetry API, the wire and the SDK.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::{InstrumentationScope, Key, SpanId, TraceFlags, TraceId};
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider};

use super::names::interned;
use super::span_data::instrumentation_scope;
use crate::wire::bounded::truncate;
use crate::wire::decode::{self, DecodedValue, LogRecord};
use crate::wire::log_record::{LOG_ATTRIBUTE, LOG_BODY};
use crate::wire::varint::{self, FIXED64, LEN, VARINT, tag};

/// A value nested deeper than this is written as an empty one (LIM-4).
const MAX_DEPTH: usize = 64;

/// Appends a record's body; no limit applies to it.
pub(super) fn put_body(out: &mut Vec<u8>, body: &AnyValue) {
    put_nested(out, LOG_BODY, |out| put_value(out, body, usize::MAX, 1));
}

/// An encoded attribute of a log record; `limit` is the length of strings and byte arrays.
pub(super) fn attribute(key: &str, value: &AnyValue, limit: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 24);
    put_nested(&mut out, LOG_ATTRIBUTE, |out| {
        put_pair(out, key, value, limit, 1);
    });
    out
}

fn put_nested(out: &mut Vec<u8>, tag: u8, put: impl FnOnce(&mut Vec<u8>)) {
    let mut content = Vec::new();
    put(&mut content);
    varint::put_bytes(out, tag, &content);
}

fn put_pair(out: &mut Vec<u8>, key: &str, value: &AnyValue, limit: usize, depth: usize) {
    varint::put_bytes(out, tag(1, LEN), key.as_bytes());
    put_nested(out, tag(2, LEN), |out| put_value(out, value, limit, depth));
}

fn put_value(out: &mut Vec<u8>, value: &AnyValue, limit: usize, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    match value {
        AnyValue::String(v) => {
            let text = truncate(v.as_str(), limit);
            varint::put_bytes(out, tag(1, LEN), text.as_bytes());
        }
        AnyValue::Boolean(v) => out.extend([tag(2, VARINT), u8::from(*v)]),
        AnyValue::Int(v) => {
            out.push(tag(3, VARINT));
            varint::put(out, *v as u64);
        }
        AnyValue::Double(v) => {
            out.push(tag(4, FIXED64));
            out.extend(v.to_le_bytes());
        }
        AnyValue::ListAny(list) => put_nested(out, tag(5, LEN), |out| {
            for value in list.iter() {
                put_nested(out, tag(1, LEN), |out| {
                    put_value(out, value, limit, depth + 1);
                });
            }
        }),
        AnyValue::Map(map) => put_nested(out, tag(6, LEN), |out| {
            // A hash map: by key it is the same each time.
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| key.as_str());
            for (key, value) in pairs {
                put_nested(out, tag(1, LEN), |out| {
                    put_pair(out, key.as_str(), value, limit, depth + 1);
                });
            }
        }),
        AnyValue::Bytes(v) => {
            let bytes = v.get(..limit.min(v.len())).unwrap_or_default();
            varint::put_bytes(out, tag(7, LEN), bytes);
        }
        // A kind that is younger than this code.
        other => varint::put_bytes(out, tag(1, LEN), format!("{other:?}").as_bytes()),
    }
}

/// Makes records of the SDK, which only its own loggers can.
#[derive(Debug)]
pub(super) struct RecordSource(SdkLogger);

impl RecordSource {
    pub(super) fn new() -> Self {
        Self(SdkLoggerProvider::builder().build().logger(""))
    }

    /// A record with its scope, from the encoded fields of both.
    pub(super) fn decode(
        &self,
        scope: &[u8],
        record: &[u8],
    ) -> Option<(SdkLogRecord, InstrumentationScope)> {
        let scope = decode::Scope::decode(scope)?;
        let ours = LogRecord::decode(record)?;
        let mut theirs = self.0.create_log_record();
        for (nanos, is_observed) in [(ours.unix_nanos, false), (ours.observed_unix_nanos, true)] {
            match (nanos, is_observed) {
                (0, _) => {}
                (nanos, false) => theirs.set_timestamp(time(nanos)),
                (nanos, true) => theirs.set_observed_timestamp(time(nanos)),
            }
        }
        if let Some(severity) = severity(ours.severity_number) {
            theirs.set_severity_number(severity);
        }
        if let Some(text) = interned(ours.severity_text) {
            theirs.set_severity_text(text);
        }
        if let Some(name) = interned(ours.event_name) {
            theirs.set_event_name(name);
        }
        if let Some(body) = ours.body.as_ref().and_then(any_value) {
            theirs.set_body(body);
        }
        for (key, value) in &ours.attributes {
            if let Some(value) = any_value(value) {
                theirs.add_attribute((*key).to_owned(), value);
            }
        }
        if let Some(trace_id) = ours.trace_id {
            theirs.set_trace_context(
                TraceId::from_bytes(trace_id),
                SpanId::from_bytes(ours.span_id.unwrap_or_default()),
                Some(TraceFlags::new((ours.flags & 0xff) as u8)),
            );
        }
        Some((theirs, instrumentation_scope(&scope)))
    }
}

fn time(unix_nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(unix_nanos)
}

/// `None`: no value, which that API cannot say.
fn any_value(value: &DecodedValue<'_>) -> Option<AnyValue> {
    Some(match value {
        DecodedValue::Empty => return None,
        DecodedValue::String(v) => AnyValue::String((*v).to_owned().into()),
        DecodedValue::Bool(v) => AnyValue::Boolean(*v),
        DecodedValue::Int(v) => AnyValue::Int(*v),
        DecodedValue::Double(v) => AnyValue::Double(*v),
        DecodedValue::Bytes(v) => AnyValue::Bytes(Box::new(v.to_vec())),
        DecodedValue::Array(list) => {
            AnyValue::ListAny(Box::new(list.iter().filter_map(any_value).collect()))
        }
        DecodedValue::Map(list) => {
            let pairs = list.iter().filter_map(|(key, v)| {
                let key: Key = (*key).to_owned().into();
                Some((key, any_value(v)?))
            });
            AnyValue::Map(Box::new(pairs.collect::<HashMap<_, _>>()))
        }
    })
}

fn severity(number: i32) -> Option<Severity> {
    use Severity::*;
    const ALL: [Severity; 24] = [
        Trace, Trace2, Trace3, Trace4, Debug, Debug2, Debug3, Debug4, Info, Info2, Info3, Info4,
        Warn, Warn2, Warn3, Warn4, Error, Error2, Error3, Error4, Fatal, Fatal2, Fatal3, Fatal4,
    ];
    let at = usize::try_from(number).ok()?.checked_sub(1)?;
    ALL.get(at).copied()
}
