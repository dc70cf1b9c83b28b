//! `LogRecord`, field by field (LOG-5).
//!
//! Fields come in any order, so a record is written front to back while its event is visited: times,
//! severity and context, then body and attributes as they come. A chunk of records is framed as one
//! of spans: `ResourceLogs` and `ScopeLogs` have the field numbers of their siblings.

use super::bounded::{Room, Unwritten, ValueLimit, format_into};
use super::value::{BYTES, STRING, ValueRef, any_value_len, put_any_value};
use super::varint::{self, FIXED32, FIXED64, LEN, VARINT, tag};

/// `LogRecord.attributes`
pub(crate) const LOG_ATTRIBUTE: u8 = tag(6, LEN);
/// `LogRecord.body`
pub(crate) const LOG_BODY: u8 = tag(5, LEN);

const TIME: u8 = tag(1, FIXED64);
const SEVERITY_NUMBER: u8 = tag(2, VARINT);
const SEVERITY_TEXT: u8 = tag(3, LEN);
const DROPPED_ATTRIBUTES: u8 = tag(7, VARINT);
const FLAGS: u8 = tag(8, FIXED32);
const TRACE_ID: u8 = tag(9, LEN);
const SPAN_ID: u8 = tag(10, LEN);
const OBSERVED_TIME: u8 = tag(11, FIXED64);
/// `LogRecord.event_name`
pub(crate) const EVENT_NAME: u8 = tag(12, LEN);

/// Appends both times of a record that is observed when it happens (LOG-6).
#[inline]
pub(crate) fn put_times(out: &mut Vec<u8>, unix_nanos: u64) {
    let time = unix_nanos.to_le_bytes();
    let mut fields = [TIME; 18];
    fields[1..9].copy_from_slice(&time);
    fields[9] = OBSERVED_TIME;
    fields[10..].copy_from_slice(&time);
    out.extend_from_slice(&fields);
}

/// Appends the times of a record from another source: zero is unknown.
#[cfg(any(test, fuzzing, feature = "opentelemetry"))]
pub(crate) fn put_time_and_observed(out: &mut Vec<u8>, time: u64, observed: u64) {
    for (tag, time) in [(TIME, time), (OBSERVED_TIME, observed)] {
        if time > 0 {
            out.push(tag);
            out.extend_from_slice(&time.to_le_bytes());
        }
    }
}

/// Appends the severity: a number from 1 to 24, zero for none, and its text, empty for none.
pub(crate) fn put_severity(out: &mut Vec<u8>, number: u8, text: &str) {
    if number > 0 {
        out.extend_from_slice(&[SEVERITY_NUMBER, number & 0x7f]);
    }
    if !text.is_empty() {
        varint::put_bytes(out, SEVERITY_TEXT, text.as_bytes());
    }
}

/// Appends trace id, span id and flags. Bits 8 to 31 of the flags are zero: the remote bits are for
/// spans and links only. A record within a trace and outside of any span has no span id (LOG-11).
#[inline]
pub(crate) fn put_context(out: &mut Vec<u8>, trace_id: [u8; 16], span_id: [u8; 8], flags: u8) {
    const FLAGS_AT: usize = 28;
    let mut fields = [0; FLAGS_AT + 5];
    fields[..2].copy_from_slice(&[TRACE_ID, 16]);
    fields[2..18].copy_from_slice(&trace_id);
    fields[18..20].copy_from_slice(&[SPAN_ID, 8]);
    fields[20..FLAGS_AT].copy_from_slice(&span_id);
    fields[FLAGS_AT..FLAGS_AT + 2].copy_from_slice(&[FLAGS, flags]);
    // A constant size, so the copy needs no call.
    out.extend_from_slice(&fields);
    if flags == 0 || span_id == [0; 8] {
        shorten(out, &fields[FLAGS_AT..], span_id == [0; 8], flags == 0);
    }
}

/// Removes a context's span id, or its flags, or both.
#[cold]
fn shorten(out: &mut Vec<u8>, flags: &[u8], no_span: bool, no_flags: bool) {
    out.truncate(out.len() - flags.len());
    if no_span {
        out.truncate(out.len() - 10);
    }
    if !no_flags {
        out.extend_from_slice(flags);
    }
}

/// Appends the name that makes the record an event (LOG-12).
pub(crate) fn put_event_name(out: &mut Vec<u8>, name: &str) {
    varint::put_bytes(out, EVENT_NAME, name.as_bytes());
}

/// Appends the number of dropped attributes.
#[inline]
pub(crate) fn put_dropped(out: &mut Vec<u8>, count: u32) {
    if count > 0 {
        out.push(DROPPED_ATTRIBUTES);
        varint::put(out, u64::from(count));
    }
}

/// Appends a body of any kind.
pub(crate) fn put_body<'a>(out: &mut Vec<u8>, value: impl Into<ValueRef<'a>>) {
    let value = value.into();
    out.push(LOG_BODY);
    varint::put(out, any_value_len(value, 1) as u64);
    put_any_value(out, value, 1);
}

/// Appends a text as the body, up to the budget. Length limits apply to attributes only (LOG-3).
#[inline]
pub(crate) fn put_body_str(out: &mut Vec<u8>, room: &mut dyn Room, text: &str) {
    if text.len() < 0x7e {
        let len = text.len() as u8;
        out.extend_from_slice(&[LOG_BODY, len + 2, STRING, len]);
        out.extend_from_slice(text.as_bytes());
    } else {
        put_long_body(out, room, text);
    }
}

#[cold]
#[inline(never)]
fn put_long_body(out: &mut Vec<u8>, room: &mut dyn Room, text: &str) {
    let _ = put_body_fmt(out, room, format_args!("{text}"));
}

/// Appends bytes as the body; false, and nothing appended, if the budget is used up.
pub(crate) fn put_body_bytes(out: &mut Vec<u8>, room: &mut dyn Room, bytes: &[u8]) -> bool {
    let more = bytes.len().saturating_add(24);
    if out.capacity() - out.len() < more && !room.make_room(out, more) {
        room.leave_out();
        return false;
    }
    debug_assert_eq!(BYTES, tag(7, LEN));
    put_body(out, ValueRef::Bytes(bytes));
    true
}

/// Appends the formatted `value` as the body, up to the budget. False, and nothing appended, if its
/// `fmt` fails.
#[inline]
pub(crate) fn put_body_fmt(
    out: &mut Vec<u8>,
    room: &mut dyn Room,
    value: std::fmt::Arguments<'_>,
) -> bool {
    let start = out.len();
    out.extend_from_slice(&[LOG_BODY, 0, STRING, 0]);
    let text = out.len();
    match format_into(out, &ValueLimit::NONE, room, value) {
        Ok(()) => {}
        Err(Unwritten::NoRoom) => room.leave_out(),
        Err(Unwritten::Failed) => {
            out.truncate(start);
            return false;
        }
    }
    let len = out.len() - text;
    match out.get_mut(start..text) {
        Some([_, any_len, _, text_len]) if len < 0x7e => {
            *any_len = len as u8 + 2;
            *text_len = len as u8;
        }
        _ => widen(out, start, text),
    }
    true
}

/// Makes space for longer lengths before the text at `text`, which exceeds the short form.
#[cold]
#[inline(never)]
fn widen(out: &mut Vec<u8>, start: usize, text: usize) {
    let len = (out.len() - text) as u64;
    let mut head = Vec::with_capacity(24);
    head.push(LOG_BODY);
    varint::put(&mut head, 1 + varint::len(len) as u64 + len);
    head.push(STRING);
    varint::put(&mut head, len);
    out.splice(start..text, head);
}

#[cfg(all(test, not(tracing_otlp_loom)))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Decoded};
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::attribute::Value;
    use crate::wire::bounded::Unbounded;
    use crate::wire::value::put_key_value;

    fn text(text: &str) -> Option<AnyValue> {
        Some(AnyValue {
            value: Some(Decoded::StringValue(text.to_owned())),
        })
    }

    #[test]
    fn every_field_arrives_log_5() {
        let mut out = Vec::new();
        put_times(&mut out, 1_790_000_000_000_000_001);
        put_severity(&mut out, 9, "INFO");
        put_context(&mut out, [1; 16], [2; 8], 1);
        assert!(put_body_fmt(
            &mut out,
            &mut Unbounded,
            format_args!("{}", 42)
        ));
        put_key_value(&mut out, LOG_ATTRIBUTE, "k", &Value::from(7i64));
        put_event_name(&mut out, "cart.emptied");
        put_dropped(&mut out, 300);
        let record = LogRecord::decode(&out[..]).unwrap();
        let expected = LogRecord {
            time_unix_nano: 1_790_000_000_000_000_001,
            observed_time_unix_nano: 1_790_000_000_000_000_001,
            severity_number: 9,
            severity_text: "INFO".to_owned(),
            body: text("42"),
            attributes: vec![KeyValue {
                key: "k".to_owned(),
                value: Some(AnyValue {
                    value: Some(Decoded::IntValue(7)),
                }),
                ..Default::default()
            }],
            dropped_attributes_count: 300,
            flags: 1,
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            event_name: "cart.emptied".to_owned(),
        };
        assert_eq!(record, expected);
        assert_eq!(out.len(), expected.encoded_len(), "the shortest there is");
    }

    /// A span id without a trace is never written; a trace without a span is (LOG-11).
    #[test]
    fn a_context_without_a_span_has_no_span_id() {
        for flags in [0, 1] {
            let mut out = Vec::new();
            put_context(&mut out, [3; 16], [0; 8], flags);
            let record = LogRecord::decode(&out[..]).unwrap();
            assert_eq!(out.len(), record.encoded_len());
            assert_eq!((record.trace_id, record.span_id), (vec![3; 16], vec![]));
            assert_eq!(record.flags, u32::from(flags));
        }
    }

    /// Absent, empty and an empty text are three bodies.
    #[test]
    fn bodies_of_every_kind_arrive_log_8() {
        let decode = |out: &[u8]| LogRecord::decode(out).unwrap().body;
        assert_eq!(decode(&[]), None);
        let mut out = Vec::new();
        put_body_str(&mut out, &mut Unbounded, "");
        assert_eq!(out, [0x2a, 2, 0x0a, 0]);
        assert_eq!(decode(&out), text(""));
        for (value, expected) in [
            (ValueRef::Int(-5), Decoded::IntValue(-5)),
            (ValueRef::Bool(false), Decoded::BoolValue(false)),
            (ValueRef::Double(0.5), Decoded::DoubleValue(0.5)),
            (ValueRef::Bytes(b"\xff"), Decoded::BytesValue(vec![0xff])),
        ] {
            let mut out = Vec::new();
            put_body(&mut out, value);
            let body = decode(&out).unwrap();
            assert_eq!(body.value, Some(expected));
        }
    }

    #[test]
    fn a_body_that_fails_to_format_leaves_no_trace() {
        struct Fails;
        impl std::fmt::Display for Fails {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("half")?;
                Err(std::fmt::Error)
            }
        }
        let mut out = vec![1, 2];
        assert!(!put_body_fmt(
            &mut out,
            &mut Unbounded,
            format_args!("{Fails}")
        ));
        assert_eq!(out, [1, 2]);
    }

    proptest! {
        #[test]
        fn texts_of_any_length_round_trip(len in 0usize..40_000, by_fmt in any::<bool>()) {
            let body = "ü".repeat(len / 2);
            let mut out = Vec::new();
            match by_fmt {
                true => { put_body_fmt(&mut out, &mut Unbounded, format_args!("{body}")); }
                false => put_body_str(&mut out, &mut Unbounded, &body),
            }
            let record = LogRecord::decode(&out[..]).unwrap();
            prop_assert_eq!(&record.body, &text(&body));
            prop_assert_eq!(out.len(), record.encoded_len());
        }

        #[test]
        fn records_round_trip(
            time in any::<u64>(), observed in any::<u64>(), number in 0u8..25,
            severity in "\\PC{0,9}", name in "\\PC{0,200}", dropped in any::<u32>(),
            trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), flags in any::<u8>(),
        ) {
            let mut out = Vec::new();
            put_time_and_observed(&mut out, time, observed);
            put_severity(&mut out, number, &severity);
            put_context(&mut out, trace, span, flags);
            if !name.is_empty() {
                put_event_name(&mut out, &name);
            }
            put_dropped(&mut out, dropped);
            let record = LogRecord::decode(&out[..]).unwrap();
            prop_assert_eq!(record.time_unix_nano, time);
            prop_assert_eq!(record.observed_time_unix_nano, observed);
            prop_assert_eq!(record.severity_number, i32::from(number));
            prop_assert_eq!(record.severity_text, severity);
            prop_assert_eq!(record.event_name, name);
            prop_assert_eq!(record.dropped_attributes_count, dropped);
            prop_assert_eq!(record.trace_id, trace);
            prop_assert_eq!(record.flags, u32::from(flags));
            let span = if span == [0; 8] { vec![] } else { span.to_vec() };
            prop_assert_eq!(record.span_id, span);
        }
    }
}
