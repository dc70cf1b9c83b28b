//! Every byte, read back by prost and opentelemetry-proto: none of our code decodes here.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span};
use proptest::prelude::*;
use prost::Message;

use super::bounded::{Room, Unbounded, Unwritten, ValueLimit};
use super::field::EncodedKey;
use super::request::{ScopeGroup, count_items, frame, framed_len, prefix_of_items};
use super::span::*;
use super::varint;

const NO_LIMIT: ValueLimit = ValueLimit::NONE;

fn head() -> SpanHead<'static> {
    SpanHead {
        trace_id: [1; 16],
        span_id: [2; 8],
        parent_id: [0; 8],
        parent_is_remote: false,
        flags: 1,
        trace_state: "",
        name: "n",
        kind: Kind::Internal,
        start: 1,
        end: 2,
        status: StatusCode::Unset,
        status_message: "",
        dropped_attributes: 0,
        dropped_events: 0,
        dropped_links: 0,
    }
}

fn decode(bytes: &[u8]) -> Span {
    Span::decode(bytes).expect("a valid span")
}

#[derive(Debug, Clone)]
enum Sample {
    Str(String),
    Fmt(String),
    Int(i64),
    Bool(bool),
    Double(f64),
    Bytes(Vec<u8>),
    Strings(Vec<String>),
}

/// Short and long ones: lengths of one byte and of more are written by different code.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,20}", ".{100,140}", "[a-zé\\PC]{0,300}"]
}

fn sample() -> impl Strategy<Value = Sample> {
    prop_oneof![
        text().prop_map(Sample::Str),
        text().prop_map(Sample::Fmt),
        prop_oneof![any::<i64>(), 0..20_000i64].prop_map(Sample::Int),
        any::<bool>().prop_map(Sample::Bool),
        any::<f64>().prop_map(Sample::Double),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Sample::Bytes),
        prop::collection::vec(text(), 0..4).prop_map(Sample::Strings),
    ]
}

impl Sample {
    fn put(&self, key: &EncodedKey, out: &mut Vec<u8>) {
        match self {
            Self::Str(v) => assert!(key.put_str(out, &NO_LIMIT, &mut Unbounded, v)),
            Self::Fmt(v) => assert!(
                key.put_fmt(out, &NO_LIMIT, &mut Unbounded, format_args!("{v}"))
                    .is_ok()
            ),
            Self::Int(v) => key.put_int(out, *v),
            Self::Bool(v) => key.put_bool(out, *v),
            Self::Double(v) => key.put_double(out, *v),
            Self::Bytes(v) => assert!(key.put_bytes(out, &NO_LIMIT, &mut Unbounded, v)),
            Self::Strings(v) => {
                let texts = v.iter().map(String::as_str);
                assert!(key.put_list(out, &NO_LIMIT, &mut Unbounded, texts).is_ok());
            }
        }
    }

    fn expected(&self) -> Value {
        match self.clone() {
            Self::Str(v) | Self::Fmt(v) => Value::StringValue(v),
            Self::Int(v) => Value::IntValue(v),
            Self::Bool(v) => Value::BoolValue(v),
            Self::Double(v) => Value::DoubleValue(v),
            Self::Bytes(v) => Value::BytesValue(v),
            Self::Strings(v) => {
                Value::ArrayValue(opentelemetry_proto::tonic::common::v1::ArrayValue {
                    values: v
                        .into_iter()
                        .map(|s| AnyValue {
                            value: Some(Value::StringValue(s)),
                        })
                        .collect(),
                })
            }
        }
    }
}

/// NaN is not equal to itself; its bits are.
fn same(a: &KeyValue, key: &str, b: &Value) -> bool {
    let value = a.value.as_ref().and_then(|v| v.value.as_ref());
    a.key == key
        && match (value, b) {
            (Some(Value::DoubleValue(a)), Value::DoubleValue(b)) => a.to_bits() == b.to_bits(),
            (value, b) => value == Some(b),
        }
}

proptest! {
    #[test]
    fn attributes_of_any_kind_and_length_are_read_back(
        pairs in prop::collection::vec(("[a-z.]{1,60}|\\PC{1,100}", sample()), 0..8)
    ) {
        let mut out = Vec::new();
        for (key, value) in &pairs {
            value.put(&EncodedKey::new(SPAN_ATTRIBUTE, key), &mut out);
        }
        put_head(&mut out, &head());
        let span = decode(&out);
        prop_assert_eq!(span.attributes.len(), pairs.len());
        for (read, (key, value)) in span.attributes.iter().zip(&pairs) {
            prop_assert!(same(read, key, &value.expected()), "{:?} is not {:?}", read, value);
        }
        // No longer than prost's own encoding, which is the shortest there is.
        let dense = out.len() - put_head_len();
        let bare = Span { attributes: span.attributes, ..Span::default() };
        prop_assert_eq!(dense, bare.encoded_len());
    }

    #[test]
    fn the_head_is_read_back(
        trace_id in any::<[u8; 16]>(),
        span_id in any::<[u8; 8]>(),
        parent_id in any::<[u8; 8]>(),
        remote in any::<bool>(),
        flags in 0u8..4,
        times in any::<(u64, u64)>(),
        name in text(),
        state in "[a-z]=[a-z]{0,200}|",
        message in text(),
        dropped in any::<(u32, u32, u32)>(),
    ) {
        let mut out = Vec::new();
        put_head(&mut out, &SpanHead {
            trace_id, span_id, parent_id, parent_is_remote: remote, flags,
            trace_state: &state, name: &name, kind: Kind::Consumer,
            start: times.0, end: times.1,
            status: StatusCode::Error, status_message: &message,
            dropped_attributes: dropped.0, dropped_events: dropped.1, dropped_links: dropped.2,
        });
        let span = decode(&out);
        prop_assert_eq!(span.trace_id, trace_id);
        prop_assert_eq!(span.span_id, span_id);
        let parent: &[u8] = if parent_id == [0; 8] { &[] } else { &parent_id };
        prop_assert_eq!(span.parent_span_id, parent);
        prop_assert_eq!(span.flags, u32::from(flags) | 0x100 | if remote { 0x200 } else { 0 });
        prop_assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), times);
        prop_assert_eq!(span.name, name);
        prop_assert_eq!(span.trace_state, state);
        prop_assert_eq!(span.kind, span::SpanKind::Consumer as i32);
        let status = span.status.expect("a status");
        prop_assert_eq!((status.code, status.message), (2, message));
        prop_assert_eq!(
            (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count),
            dropped
        );
    }

    #[test]
    fn a_request_is_read_back_whatever_the_slices(
        sizes in prop::collection::vec(prop::collection::vec(0usize..6000, 0..6), 0..4),
        resource in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let resource = {
            let mut out = Vec::new();
            // `ResourceSpans.schema_url`, any bytes that are valid UTF-8.
            let text: String = resource.iter().map(|b| char::from(b & 0x7f)).collect();
            varint::put_bytes(&mut out, 0x1a, text.as_bytes());
            Bytes::from(out)
        };
        let groups: Vec<ScopeGroup> = sizes.iter().map(|spans| ScopeGroup {
            scope: Bytes::from_static(b"\x0a\x03\x0a\x01s"),
            items: spans.iter().map(|size| {
                let mut span = Vec::new();
                let name = "x".repeat(*size);
                put_head(&mut span, &SpanHead { name: &name, ..head() });
                let mut run = Vec::new();
                varint::put_bytes(&mut run, super::request::ITEMS, &span);
                Bytes::from(run)
            }).collect(),
        }).collect();
        let bytes: Vec<u8> = frame(&resource, &groups).concat();
        prop_assert_eq!(bytes.len(), framed_len(&resource, &groups));
        let request = ExportTraceServiceRequest::decode(&bytes[..]).expect("a valid request");
        prop_assert_eq!(request.resource_spans.len(), 1);
        let scopes = &request.resource_spans[0].scope_spans;
        prop_assert_eq!(scopes.len(), sizes.len());
        for (scope, sizes) in scopes.iter().zip(&sizes) {
            let read: Vec<usize> = scope.spans.iter().map(|s| s.name.len()).collect();
            prop_assert_eq!(&read, sizes);
            prop_assert_eq!(&scope.scope.as_ref().expect("a scope").name, "s");
        }
    }

    #[test]
    fn counting_spans_never_panics_on_anything(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = count_items(&bytes);
        let _ = prefix_of_items(&bytes, 3);
        let _ = find_attribute(&bytes, SPAN_ATTRIBUTE, b"key");
        let _ = fields(&bytes).count();
        let _ = key_of(&bytes);
    }
}

fn put_head_len() -> usize {
    let mut out = Vec::new();
    put_head(&mut out, &head());
    out.len()
}

#[test]
fn several_mebibytes_are_one_attribute() {
    let long = "ä".repeat(3 << 20);
    let mut out = Vec::new();
    let key = EncodedKey::new(SPAN_ATTRIBUTE, "k");
    assert!(key.put_str(&mut out, &NO_LIMIT, &mut Unbounded, &long));
    assert!(
        key.put_fmt(&mut out, &NO_LIMIT, &mut Unbounded, format_args!("{long}"))
            .is_ok()
    );
    let span = decode(&out);
    for attribute in &span.attributes {
        assert!(same(attribute, "k", &Value::StringValue(long.clone())));
    }
    assert_eq!(span.attributes.len(), 2);
}

/// Room for no buffer of more than so many bytes.
#[derive(Debug)]
struct Most(usize);

impl Room for Most {
    fn make_room(&mut self, out: &mut Vec<u8>, more: usize) -> bool {
        out.len() + more <= self.0
    }

    fn keep_text(&mut self, _: usize, now: usize) -> bool {
        now <= self.0
    }

    fn leave_out(&mut self) {}
}

#[test]
fn a_value_without_room_is_not_written() {
    let room = &mut Most(200);
    let mut out = b"before".to_vec();
    let key = EncodedKey::new(SPAN_ATTRIBUTE, "k");
    let long = "x".repeat(300);
    let written = key.put_fmt(&mut out, &NO_LIMIT, room, format_args!("{long}"));
    assert_eq!(written, Err(Unwritten::NoRoom));
    assert!(!key.put_str(&mut out, &NO_LIMIT, room, &long));
    assert!(!key.put_bytes(&mut out, &NO_LIMIT, room, long.as_bytes()));
    assert!(
        key.put_list(&mut out, &NO_LIMIT, room, [long.as_str()].into_iter())
            .is_err()
    );
    assert_eq!(out, b"before");
    let short = format_args!("{}", &long[..10]);
    assert_eq!(key.put_fmt(&mut out, &NO_LIMIT, room, short), Ok(()));
}

/// What the limit of characters cuts off needs no room.
#[test]
fn a_giant_that_is_cut_needs_little_room() {
    struct Giant;
    impl std::fmt::Display for Giant {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            (0..1_000_000).try_for_each(|_| f.write_str("giant "))
        }
    }
    let limit = ValueLimit { length: 9 };
    let mut out = Vec::new();
    let key = EncodedKey::new(SPAN_ATTRIBUTE, "k");
    let written = key.put_fmt(&mut out, &limit, &mut Most(200), format_args!("{Giant}"));
    assert_eq!(written, Ok(()));
    let expected = Value::StringValue("giant gia".into());
    assert!(same(&decode(&out).attributes[0], "k", &expected));
}

#[test]
fn strings_are_cut_by_characters_and_bytes_by_bytes_lim_2() {
    let (limit, room) = (ValueLimit { length: 3 }, &mut Unbounded);
    let mut out = Vec::new();
    let key = EncodedKey::new(SPAN_ATTRIBUTE, "k");
    key.put_str(&mut out, &limit, room, "ääää");
    let text = format_args!("{}{}", "ää", "öü");
    assert!(key.put_fmt(&mut out, &limit, room, text).is_ok());
    key.put_bytes(&mut out, &limit, room, b"12345");
    key.put_list(&mut out, &limit, room, ["abcd", "é"].into_iter())
        .unwrap();
    let read: Vec<Value> = decode(&out)
        .attributes
        .into_iter()
        .filter_map(|a| a.value?.value)
        .collect();
    assert_eq!(read[0], Value::StringValue("äää".into()));
    assert_eq!(read[1], Value::StringValue("ääö".into()));
    assert_eq!(read[2], Value::BytesValue(b"123".to_vec()));
    assert_eq!(
        read[3],
        Sample::Strings(vec!["abc".into(), "é".into()]).expected()
    );
}

#[test]
fn a_status_without_error_has_no_message_tr_7() {
    let mut out = Vec::new();
    let ok = SpanHead {
        status: StatusCode::Ok,
        status_message: "lost",
        ..head()
    };
    put_head(&mut out, &ok);
    let status = decode(&out).status.expect("a status");
    assert_eq!((status.code, status.message.as_str()), (1, ""));
    assert_eq!(decode(&out[..0]).status, None);
}

#[test]
fn an_event_and_a_link_are_read_back() {
    let mut event = Vec::new();
    put_event_time(&mut event, 7);
    put_event_name(&mut event, "boiled");
    EncodedKey::new(EVENT_ATTRIBUTE, "celsius").put_int(&mut event, 100);
    put_event_dropped(&mut event, 3);
    let mut link = Vec::new();
    put_link(&mut link, [3; 16], [4; 8], "a=b", 1, true);
    let mut out = Vec::new();
    varint::put_bytes(&mut out, SPAN_EVENT, &event);
    varint::put_bytes(&mut out, SPAN_LINK, &link);
    let span = decode(&out);
    let event = &span.events[0];
    assert_eq!((event.time_unix_nano, event.name.as_str()), (7, "boiled"));
    assert!(same(&event.attributes[0], "celsius", &Value::IntValue(100)));
    assert_eq!(event.dropped_attributes_count, 3);
    let link = &span.links[0];
    assert_eq!(
        (&link.trace_id[..], &link.span_id[..]),
        (&[3; 16][..], &[4; 8][..])
    );
    assert_eq!((link.trace_state.as_str(), link.flags), ("a=b", 0x301));
}

#[test]
fn an_attribute_is_found_between_events() {
    let mut body = Vec::new();
    EncodedKey::new(SPAN_ATTRIBUTE, "first").put_int(&mut body, 1);
    let mut event = Vec::new();
    // An event that holds bytes which look like the attribute.
    EncodedKey::new(SPAN_ATTRIBUTE, "second").put_int(&mut event, 2);
    varint::put_bytes(&mut body, SPAN_EVENT, &event);
    let at = body.len();
    EncodedKey::new(SPAN_ATTRIBUTE, "second").put_int(&mut body, 3);
    assert_eq!(
        find_attribute(&body, SPAN_ATTRIBUTE, b"second"),
        Some(at..body.len())
    );
    assert_eq!(find_attribute(&body, SPAN_ATTRIBUTE, b"third"), None);
    let keys: Vec<_> = fields(&body)
        .filter_map(|(_, content, _)| key_of(content))
        .collect();
    assert!(keys.contains(&&b"first"[..]) && keys.contains(&&b"second"[..]));
}
