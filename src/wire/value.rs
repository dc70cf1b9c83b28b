//! `KeyValue` and `AnyValue`.
//!
//! `AnyValue` is a `oneof`: a value of zero, false or `""` is written out, because a field left
//! away would mean "no value" (TR-8).

use super::varint::{self, FIXED64, LEN, VARINT, tag};
use crate::attribute::Value;

/// `KeyValue.key`
pub(super) const KEY: u8 = tag(1, LEN);
/// `KeyValue.value`
pub(super) const VALUE: u8 = tag(2, LEN);

/// `AnyValue.string_value`
pub(crate) const STRING: u8 = tag(1, LEN);
/// `AnyValue.bool_value`
pub(super) const BOOL: u8 = tag(2, VARINT);
/// `AnyValue.int_value`
pub(super) const INT: u8 = tag(3, VARINT);
/// `AnyValue.double_value`
pub(super) const DOUBLE: u8 = tag(4, FIXED64);
/// `AnyValue.array_value`
pub(super) const ARRAY: u8 = tag(5, LEN);
/// `AnyValue.bytes_value`
pub(super) const BYTES: u8 = tag(7, LEN);

/// `ArrayValue.values`
pub(super) const VALUES: u8 = tag(1, LEN);

/// An array nested deeper than this is written as an empty value (LIM-4).
const MAX_DEPTH: usize = 64;

/// A borrowed value, so that recording needs no owned [`Value`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum ValueRef<'a> {
    String(&'a str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
    Array(&'a [Value]),
}

/// Appends a `KeyValue` as the field `tag`.
#[inline]
pub(crate) fn put_key_value<'a>(
    out: &mut Vec<u8>,
    tag: u8,
    key: &str,
    value: impl Into<ValueRef<'a>>,
) {
    let value = value.into();
    let value_len = any_value_len(value, 1);
    let len = field_len(key.len()) + field_len(value_len);
    if len < 0x80 {
        // All lengths within are short too.
        out.extend_from_slice(&[tag, len as u8, KEY, key.len() as u8]);
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(&[VALUE, value_len as u8]);
    } else {
        out.push(tag);
        varint::put(out, len as u64);
        varint::put_bytes(out, KEY, key.as_bytes());
        out.push(VALUE);
        varint::put(out, value_len as u64);
    }
    put_any_value(out, value, 1);
}

/// As [`put_key_value`] for an attribute that is mostly short: a number, a truth or a short text.
#[inline]
pub(crate) fn put_short_key_value(out: &mut Vec<u8>, tag: u8, key: &str, value: &Value) {
    // `Value`'s length, `AnyValue`'s field, a number: copied whole, which a known size makes cheap, and cut.
    let mut any = [0; 16];
    let text: &[u8] = match value {
        Value::String(text) if text.len() < 0x70 => {
            any[..4].copy_from_slice(&[VALUE, text.len() as u8 + 2, STRING, text.len() as u8]);
            text.as_bytes()
        }
        Value::Int(number @ 0..0x80) => {
            any[..4].copy_from_slice(&[VALUE, 2, INT, *number as u8]);
            &[]
        }
        Value::Int(number @ 0x80..0x4000) => {
            let (low, high) = (*number as u8 | 0x80, (number >> 7) as u8);
            any[..5].copy_from_slice(&[VALUE, 3, INT, low, high]);
            &[]
        }
        Value::Bool(truth) => {
            any[..4].copy_from_slice(&[VALUE, 2, BOOL, u8::from(*truth)]);
            &[]
        }
        other => return put_key_value(out, tag, key, other),
    };
    // The value's own length says how much of `any` there is, less the text.
    let used = usize::from(any[1]) + 2 - text.len();
    let len = field_len(key.len()) + used + text.len();
    if len >= 0x80 {
        return put_key_value(out, tag, key, value);
    }
    out.extend_from_slice(&[tag, len as u8, KEY, key.len() as u8]);
    out.extend_from_slice(key.as_bytes());
    let end = out.len() + used;
    out.extend_from_slice(&any);
    out.truncate(end);
    if !text.is_empty() {
        out.extend_from_slice(text);
    }
}

/// Appends the fields of an `AnyValue` that lies `depth` deep.
#[inline]
pub(super) fn put_any_value(out: &mut Vec<u8>, value: ValueRef<'_>, depth: usize) {
    match value {
        ValueRef::String(v) => varint::put_bytes(out, STRING, v.as_bytes()),
        ValueRef::Bool(v) => out.extend_from_slice(&[BOOL, u8::from(v)]),
        ValueRef::Int(v) => {
            out.push(INT);
            varint::put(out, v as u64);
        }
        ValueRef::Double(v) => {
            out.push(DOUBLE);
            out.extend_from_slice(&v.to_le_bytes());
        }
        ValueRef::Bytes(v) => varint::put_bytes(out, BYTES, v),
        ValueRef::Array(values) => put_array(out, values, depth),
    }
}

fn put_array(out: &mut Vec<u8>, values: &[Value], depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    out.push(ARRAY);
    varint::put(out, elements_len(values, depth) as u64);
    for value in values {
        out.push(VALUES);
        varint::put(out, any_value_len(value.into(), depth + 1) as u64);
        put_any_value(out, value.into(), depth + 1);
    }
}

/// The number of bytes that [`put_any_value`] appends.
#[inline]
pub(super) fn any_value_len(value: ValueRef<'_>, depth: usize) -> usize {
    match value {
        ValueRef::String(v) => field_len(v.len()),
        ValueRef::Bool(_) => 2,
        ValueRef::Int(v) => 1 + varint::len(v as u64),
        ValueRef::Double(_) => 9,
        ValueRef::Bytes(v) => field_len(v.len()),
        ValueRef::Array(_) if depth > MAX_DEPTH => 0,
        ValueRef::Array(values) => field_len(elements_len(values, depth)),
    }
}

fn elements_len(values: &[Value], depth: usize) -> usize {
    values
        .iter()
        .map(|v| field_len(any_value_len(v.into(), depth + 1)))
        .sum()
}

/// The length of a field with a one-byte tag and `len` bytes.
#[inline]
const fn field_len(len: usize) -> usize {
    1 + varint::len(len as u64) + len
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    #[inline]
    fn from(value: &'a Value) -> Self {
        match value {
            Value::String(v) => Self::String(v),
            Value::Bool(v) => Self::Bool(*v),
            Value::Int(v) => Self::Int(*v),
            Value::Double(v) => Self::Double(*v),
            Value::Bytes(v) => Self::Bytes(v),
            Value::Array(v) => Self::Array(v),
        }
    }
}

impl<'a> From<&'a str> for ValueRef<'a> {
    #[inline]
    fn from(value: &'a str) -> Self {
        Self::String(value)
    }
}

#[cfg(all(test, not(tracing_otlp_loom)))]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{
        AnyValue, ArrayValue, KeyValue, any_value::Value as Decoded,
    };
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    /// What a peer reads: a message whose field 9 is one `KeyValue`.
    fn decode(key: &str, value: &Value) -> KeyValue {
        let mut out = Vec::new();
        put_key_value(&mut out, tag(9, LEN), key, value);
        let mut rest = &out[1..];
        assert_eq!(out[0], tag(9, LEN));
        let len = varint::take(&mut rest).unwrap();
        assert_eq!(rest.len() as u64, len, "{value:?}");
        KeyValue::decode(rest).unwrap()
    }

    fn expected(value: &Value) -> AnyValue {
        let value = match value {
            Value::String(v) => Decoded::StringValue(v.to_string()),
            Value::Bool(v) => Decoded::BoolValue(*v),
            Value::Int(v) => Decoded::IntValue(*v),
            Value::Double(v) => Decoded::DoubleValue(*v),
            Value::Bytes(v) => Decoded::BytesValue(v.clone()),
            Value::Array(v) => Decoded::ArrayValue(ArrayValue {
                values: v.iter().map(expected).collect(),
            }),
        };
        AnyValue { value: Some(value) }
    }

    #[test]
    fn empty_and_zero_values_arrive() {
        // TR-8
        for value in [
            Value::from(""),
            Value::from(false),
            Value::from(0i64),
            Value::from(0.0),
            Value::from(-0.0),
            Value::Bytes(Vec::new()),
            Value::Array(Vec::new()),
            Value::Array(vec![Value::from(""), Value::Array(Vec::new())]),
        ] {
            let decoded = decode("k", &value);
            assert_eq!(decoded.value, Some(expected(&value)));
        }
    }

    #[test]
    fn extremes_arrive() {
        for value in [
            Value::from(i64::MIN),
            Value::from(i64::MAX),
            Value::from(-1i64),
            Value::from(u64::MAX),
            Value::from(f64::INFINITY),
            Value::from(f64::MIN_POSITIVE),
            Value::from("x".repeat(200_000)),
            Value::Bytes(vec![0xff; 128]),
        ] {
            assert_eq!(decode("k", &value).value, Some(expected(&value)));
        }
        let nan = decode("k", &Value::from(f64::NAN)).value.unwrap();
        assert!(matches!(nan.value, Some(Decoded::DoubleValue(v)) if v.is_nan()));
    }

    #[test]
    fn arrays_nested_too_deep_become_empty() {
        // LIM-4: an array at depth 64 is kept, one at 65 is an empty value.
        let nest = |levels: usize| {
            (0..levels).fold(Value::Array(vec![]), |inner, _| Value::Array(vec![inner]))
        };
        let encode = |value: &Value| {
            let mut out = Vec::new();
            put_key_value(&mut out, tag(9, LEN), "", value);
            out
        };
        // prost refuses to read so deep, so bytes are compared: the innermost array of 64 has
        // length zero, and at 65 its one element is an `AnyValue` without a value.
        assert!(encode(&nest(63)).ends_with(&[VALUES, 2, ARRAY, 0]));
        assert!(encode(&nest(64)).ends_with(&[VALUES, 4, ARRAY, 2, VALUES, 0]));
        assert_eq!(encode(&nest(64)), encode(&nest(1000)));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            ".*".prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // No NaN, which equals nothing.
            (-1e300..1e300).prop_map(Value::from),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 8, |inner| {
            proptest::collection::vec(inner, 0..8).prop_map(Value::from)
        })
    }

    proptest! {
        #[test]
        fn every_value_round_trips(key in ".*", value in any_value()) {
            let decoded = decode(&key, &value);
            prop_assert_eq!(decoded.value, Some(expected(&value)));
            prop_assert_eq!(decoded.key, key);
        }
    }
}
