#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::trace::v1 as proto;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use super::*;

type Pairs = Vec<common::KeyValue>;

fn any_value() -> impl Strategy<Value = common::AnyValue> {
    use common::any_value::Value;
    let leaf = prop_oneof![
        Just(None),
        ".{0,12}".prop_map(|v| Some(Value::StringValue(v))),
        any::<bool>().prop_map(|v| Some(Value::BoolValue(v))),
        any::<i64>().prop_map(|v| Some(Value::IntValue(v))),
        (-1e300..1e300).prop_map(|v: f64| Some(Value::DoubleValue(v))),
        vec(any::<u8>(), 0..12).prop_map(|v| Some(Value::BytesValue(v))),
    ]
    .prop_map(|value| common::AnyValue { value });
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4)
                .prop_map(|values| Value::ArrayValue(common::ArrayValue { values })),
            vec((".{0,8}", inner), 0..4).prop_map(|values| {
                let values = values.into_iter().map(pair).collect();
                Value::KvlistValue(common::KeyValueList { values })
            }),
        ]
        .prop_map(|value| common::AnyValue { value: Some(value) })
    })
}

fn pair((key, value): (String, common::AnyValue)) -> common::KeyValue {
    common::KeyValue {
        key,
        value: Some(value),
        ..Default::default()
    }
}

fn attributes() -> impl Strategy<Value = Pairs> {
    vec((".{0,8}", any_value()).prop_map(pair), 0..4)
}

/// Empty or of the right length, as any writer has it.
fn id_of(len: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(Vec::new()), vec(any::<u8>(), len)]
}

fn event() -> impl Strategy<Value = proto::span::Event> {
    (any::<u64>(), ".{0,8}", attributes(), any::<u32>()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| proto::span::Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    )
}

fn link() -> impl Strategy<Value = proto::span::Link> {
    let fields = (
        id_of(16),
        id_of(8),
        ".{0,8}",
        attributes(),
        any::<u32>(),
        any::<u32>(),
    );
    fields.prop_map(
        |(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| {
            proto::span::Link {
                trace_id,
                span_id,
                trace_state,
                attributes,
                dropped_attributes_count,
                flags,
            }
        },
    )
}

fn span() -> impl Strategy<Value = proto::Span> {
    let head = (
        id_of(16),
        id_of(8),
        ".{0,8}",
        id_of(8),
        any::<u32>(),
        ".{0,20}",
    );
    let numbers = (
        any::<i32>(),
        any::<u64>(),
        any::<u64>(),
        any::<[u32; 3]>(),
        proptest::option::of((".{0,8}", any::<i32>())),
    );
    let lists = (attributes(), vec(event(), 0..3), vec(link(), 0..3));
    (head, numbers, lists).prop_map(|(head, numbers, lists)| proto::Span {
        trace_id: head.0,
        span_id: head.1,
        trace_state: head.2,
        parent_span_id: head.3,
        flags: head.4,
        name: head.5,
        kind: numbers.0,
        start_time_unix_nano: numbers.1,
        end_time_unix_nano: numbers.2,
        attributes: lists.0,
        dropped_attributes_count: numbers.3[0],
        events: lists.1,
        dropped_events_count: numbers.3[1],
        links: lists.2,
        dropped_links_count: numbers.3[2],
        status: numbers
            .4
            .map(|(message, code)| proto::Status { message, code }),
    })
}

/// What `decode` should have read, from prost's own reading.
fn expected(s: &proto::Span) -> Span<'_> {
    let status = s.status.as_ref();
    Span {
        trace_id: id_from(&s.trace_id).unwrap_or_default(),
        span_id: id_from(&s.span_id).unwrap_or_default(),
        parent_span_id: id_from(&s.parent_span_id),
        trace_state: &s.trace_state,
        flags: s.flags,
        name: &s.name,
        kind: s.kind,
        start_unix_nanos: s.start_time_unix_nano,
        end_unix_nanos: s.end_time_unix_nano,
        attributes: pairs_from(&s.attributes),
        dropped_attributes: s.dropped_attributes_count,
        events: s.events.iter().map(event_from).collect(),
        dropped_events: s.dropped_events_count,
        links: s.links.iter().map(link_from).collect(),
        dropped_links: s.dropped_links_count,
        status: SpanStatus {
            message: status.map_or("", |s| &s.message),
            code: status.map_or(0, |s| s.code),
        },
    }
}

fn event_from(e: &proto::span::Event) -> Event<'_> {
    Event {
        unix_nanos: e.time_unix_nano,
        name: &e.name,
        attributes: pairs_from(&e.attributes),
        dropped_attributes: e.dropped_attributes_count,
    }
}

fn link_from(l: &proto::span::Link) -> Link<'_> {
    Link {
        trace_id: id_from(&l.trace_id).unwrap_or_default(),
        span_id: id_from(&l.span_id).unwrap_or_default(),
        trace_state: &l.trace_state,
        attributes: pairs_from(&l.attributes),
        dropped_attributes: l.dropped_attributes_count,
        flags: l.flags,
    }
}

fn pairs_from(list: &[common::KeyValue]) -> Attributes<'_> {
    list.iter()
        .map(|kv| {
            (
                &*kv.key,
                kv.value.as_ref().map_or(DecodedValue::Empty, value_from),
            )
        })
        .collect()
}

fn value_from(v: &common::AnyValue) -> DecodedValue<'_> {
    use common::any_value::Value as V;
    match &v.value {
        None | Some(V::StringValueStrindex(_)) => DecodedValue::Empty,
        Some(V::StringValue(v)) => DecodedValue::String(v),
        Some(V::BoolValue(v)) => DecodedValue::Bool(*v),
        Some(V::IntValue(v)) => DecodedValue::Int(*v),
        Some(V::DoubleValue(v)) => DecodedValue::Double(*v),
        Some(V::BytesValue(v)) => DecodedValue::Bytes(v),
        Some(V::ArrayValue(v)) => DecodedValue::Array(v.values.iter().map(value_from).collect()),
        Some(V::KvlistValue(v)) => DecodedValue::Map(pairs_from(&v.values)),
    }
}

fn id_from<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

proptest! {
    #[test]
    fn reads_what_prost_writes(span in span()) {
        let bytes = span.encode_to_vec();
        prop_assert_eq!(Span::decode(&bytes), Some(expected(&span)));
    }

    /// Fields in any order, twice, and cut anywhere: two messages in a row are one merged message.
    #[test]
    fn agrees_with_prost_on_concatenated_and_cut_messages(
        first in span(),
        second in span(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = first.encode_to_vec();
        bytes.extend(second.encode_to_vec());
        let merged = proto::Span::decode(&bytes[..]).unwrap();
        prop_assert_eq!(Span::decode(&bytes), Some(expected(&merged)));

        let part = &bytes[..cut.index(bytes.len() + 1)];
        match proto::Span::decode(part) {
            Ok(read) => prop_assert_eq!(Span::decode(part), Some(expected(&read))),
            Err(_) => prop_assert_eq!(Span::decode(part), None),
        }
    }

    #[test]
    fn any_bytes_are_safe(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Span::decode(&bytes);
        let _ = Scope::decode(&bytes);
    }

    /// One wrong byte in a good message reaches deeper than random bytes do.
    #[test]
    fn any_damage_is_safe(
        span in span(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = span.encode_to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // Prost takes more than we do (groups, ids of any length), never less.
        if let Some(read) = Span::decode(&bytes) {
            let theirs = proto::Span::decode(&bytes[..]);
            prop_assert!(theirs.is_ok(), "{read:?}");
        }
    }
}

#[test]
fn a_scope_is_read_from_scope_spans_without_spans() {
    let message = proto::ScopeSpans {
        scope: Some(common::InstrumentationScope {
            name: "shop".to_owned(),
            version: "1.2".to_owned(),
            attributes: vec![pair(("k".to_owned(), common::AnyValue::default()))],
            dropped_attributes_count: 3,
        }),
        spans: vec![proto::Span::default()],
        schema_url: "https://example.org".to_owned(),
    };
    let expected = Scope {
        name: "shop",
        version: "1.2",
        attributes: vec![("k", DecodedValue::Empty)],
        dropped_attributes: 3,
        schema_url: "https://example.org",
    };
    assert_eq!(Scope::decode(&message.encode_to_vec()), Some(expected));
    assert_eq!(Scope::decode(&[]), Some(Scope::default()));
}

/// Lists `depth` deep, as one attribute of a span.
fn nested(depth: usize) -> Vec<u8> {
    let mut value = common::AnyValue::default();
    for _ in 1..depth {
        let values = vec![value];
        let list = common::any_value::Value::ArrayValue(common::ArrayValue { values });
        value = common::AnyValue { value: Some(list) };
    }
    let attributes = vec![pair(("k".to_owned(), value))];
    proto::Span {
        attributes,
        ..Default::default()
    }
    .encode_to_vec()
}

#[test]
fn depth_is_bounded_above_what_we_write() {
    assert!(Span::decode(&nested(64)).is_some(), "LIM-1");
    assert!(Span::decode(&nested(MAX_DEPTH)).is_some());
    assert_eq!(Span::decode(&nested(MAX_DEPTH + 1)), None);
    assert_eq!(Span::decode(&nested(1000)), None);
}

#[test]
fn what_is_no_span_gives_none() {
    for (bytes, why) in [
        (&b"\x0a\x02ab"[..], "a trace id of two bytes"),
        (b"\x12\x09123456789", "a span id of nine bytes"),
        (b"\x2a\x01\xff", "a name that is not UTF-8"),
        (b"\x28\x01", "a name as a number"),
        (b"\x2a\x05ab", "a name cut short"),
        (
            b"\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "a length beyond all",
        ),
        (b"\x39\x01", "a time cut short"),
        (b"\x00\x01", "field number 0"),
        (b"\xff\xff\xff\xff\xff\x01", "a field number beyond 29 bits"),
        (b"\xa3\x06\xa4\x06", "a group"),
        (b"\x0f", "wire type 7"),
    ] {
        assert_eq!(Span::decode(bytes), None, "{why}");
    }
    let unknown = b"\xa0\x06\x01\xa9\x06abcdefgh\xb2\x06\x03abc\xbd\x06abcd";
    assert_eq!(
        Span::decode(unknown),
        Some(Span::default()),
        "unknown fields"
    );
}
