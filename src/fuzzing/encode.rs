//! What is written is what others read.

use opentelemetry_proto::tonic::common::v1::{self as common, any_value};
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message as _;

use super::choose::Choose;
use super::decode_span;
use crate::wire::bounded::{Unbounded, ValueLimit};
use crate::wire::decode::Span;
use crate::wire::field::EncodedKey;
use crate::wire::span::{self, Kind, SpanHead, StatusCode};
use crate::wire::varint;

/// Writes a span of attributes, events and links that the bytes choose, and has prost read it.
pub fn encode(bytes: &[u8]) {
    let mut choose = Choose(bytes);
    let mut ours = Vec::new();
    let mut theirs = proto::Span::default();
    while !choose.0.is_empty() {
        match choose.byte() % 8 {
            0..6 => theirs
                .attributes
                .push(attribute(&mut choose, span::SPAN_ATTRIBUTE, &mut ours)),
            6 => {
                let mut event = Vec::new();
                let time_unix_nano = choose.number();
                let name = choose.text();
                span::put_event_time(&mut event, time_unix_nano);
                span::put_event_name(&mut event, &name);
                let attributes = (0..choose.byte() % 4)
                    .map(|_| attribute(&mut choose, span::EVENT_ATTRIBUTE, &mut event))
                    .collect();
                let dropped_attributes_count = choose.number() as u32;
                span::put_event_dropped(&mut event, dropped_attributes_count);
                varint::put_bytes(&mut ours, span::SPAN_EVENT, &event);
                theirs.events.push(proto::span::Event {
                    time_unix_nano,
                    name,
                    attributes,
                    dropped_attributes_count,
                });
            }
            _ => {
                let (trace_id, span_id) = (choose.array(), choose.array());
                let (trace_state, flags) = (choose.text(), choose.byte());
                let mut link = Vec::new();
                span::put_link(&mut link, trace_id, span_id, &trace_state, flags, false);
                varint::put_bytes(&mut ours, span::SPAN_LINK, &link);
                theirs.links.push(proto::span::Link {
                    trace_id: trace_id.into(),
                    span_id: span_id.into(),
                    trace_state,
                    flags: u32::from(flags) | 0x100,
                    ..Default::default()
                });
            }
        }
    }
    for attribute in &theirs.attributes {
        let key = attribute.key.as_bytes();
        assert!(span::find_attribute(&ours, span::SPAN_ATTRIBUTE, key).is_some());
    }
    let (trace_id, span_id) = (choose.array(), choose.array());
    let (name, start, end) = (choose.text(), choose.number(), choose.number());
    span::put_head(
        &mut ours,
        &SpanHead {
            trace_id,
            span_id,
            parent_id: [0; 8],
            parent_is_remote: false,
            flags: 1,
            trace_state: "",
            name: &name,
            kind: Kind::Server,
            start,
            end,
            status: StatusCode::Unset,
            status_message: "",
            dropped_attributes: 0,
            dropped_events: 0,
            dropped_links: 0,
        },
    );
    theirs.trace_id = trace_id.into();
    theirs.span_id = span_id.into();
    theirs.flags = 0x101;
    theirs.kind = Kind::Server as i32;
    theirs.name = name;
    theirs.start_time_unix_nano = start;
    theirs.end_time_unix_nano = end;
    let read = proto::Span::decode(&ours[..]).map(|span| span.encode_to_vec());
    // Bytes are compared, because a NaN equals nothing.
    assert_eq!(read, Ok(theirs.encode_to_vec()));
    assert!(Span::decode(&ours).is_some(), "ours can't be read by ours");
    decode_span(&ours);
}

/// Writes one attribute, and gives what must be read.
pub(super) fn attribute(choose: &mut Choose<'_>, tag: u8, out: &mut Vec<u8>) -> common::KeyValue {
    use any_value::Value;
    const LIMIT: ValueLimit = ValueLimit::NONE;
    let key = choose.text();
    let encoded = EncodedKey::new(tag, &key);
    let value = match choose.byte() % 7 {
        0 => {
            let text = choose.text();
            assert!(encoded.put_str(out, &LIMIT, &mut Unbounded, &text));
            Value::StringValue(text)
        }
        1 => {
            let text = choose.text();
            let written = encoded.put_fmt(out, &LIMIT, &mut Unbounded, format_args!("{text}"));
            assert!(written.is_ok());
            Value::StringValue(text)
        }
        2 => {
            let value = choose.number() as i64;
            encoded.put_int(out, value);
            Value::IntValue(value)
        }
        3 => {
            let value = choose.byte() & 1 == 1;
            encoded.put_bool(out, value);
            Value::BoolValue(value)
        }
        4 => {
            let value = f64::from_bits(choose.number());
            encoded.put_double(out, value);
            Value::DoubleValue(value)
        }
        5 => {
            let bytes = choose.text().into_bytes();
            assert!(encoded.put_bytes(out, &LIMIT, &mut Unbounded, &bytes));
            Value::BytesValue(bytes)
        }
        _ => {
            let texts: Vec<String> = (0..choose.byte() % 4).map(|_| choose.text()).collect();
            let list = texts.iter().map(String::as_str);
            assert!(encoded.put_list(out, &LIMIT, &mut Unbounded, list).is_ok());
            let values = texts.into_iter().map(Value::StringValue).map(any_value);
            Value::ArrayValue(common::ArrayValue {
                values: values.collect(),
            })
        }
    };
    common::KeyValue {
        key,
        value: Some(any_value(value)),
        ..Default::default()
    }
}

fn any_value(value: any_value::Value) -> common::AnyValue {
    common::AnyValue { value: Some(value) }
}
