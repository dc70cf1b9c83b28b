//! [`ReceivedValue`]: an attribute's value as it arrived.

use std::fmt;

use opentelemetry_proto::tonic::common::v1 as proto;

use crate::text;

/// The value of an attribute, as it arrived.
///
/// Compares with plain values, so that tests read well:
///
/// ```
/// use tracing_otlp::testing::ReceivedValue;
/// assert_eq!(ReceivedValue::Int(200), 200);
/// assert_eq!(ReceivedValue::String("GET".into()), "GET");
/// assert_ne!(ReceivedValue::String("200".into()), 200);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum ReceivedValue {
    /// No value at all, which OTLP allows.
    #[default]
    Empty,
    /// A string.
    String(String),
    /// A boolean.
    Bool(bool),
    /// A signed integer of 64 bits.
    Int(i64),
    /// A floating point number.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    Array(Vec<ReceivedValue>),
    /// Keys and values, in order of arrival, duplicates kept.
    Map(Vec<(String, ReceivedValue)>),
}

impl ReceivedValue {
    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(v) => Some(v),
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(v) => Some(*v),
            _ => None,
        }
    }

    /// The number, if it is a floating point one.
    pub fn as_double(&self) -> Option<f64> {
        match self {
            Self::Double(v) => Some(*v),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(v) => Some(*v),
            _ => None,
        }
    }

    pub(super) fn from_proto(value: Option<proto::AnyValue>) -> Self {
        use proto::any_value::Value;
        match value.and_then(|v| v.value) {
            None => Self::Empty,
            Some(Value::StringValue(v)) => Self::String(v),
            Some(Value::BoolValue(v)) => Self::Bool(v),
            Some(Value::IntValue(v)) => Self::Int(v),
            Some(Value::DoubleValue(v)) => Self::Double(v),
            Some(Value::BytesValue(v)) => Self::Bytes(v),
            Some(Value::ArrayValue(list)) => Self::Array(
                list.values
                    .into_iter()
                    .map(|v| Self::from_proto(Some(v)))
                    .collect(),
            ),
            Some(Value::KvlistValue(list)) => Self::Map(pairs(list.values)),
            // A reference into a table that trace requests do not have; never set by ours.
            Some(Value::StringValueStrindex(_)) => Self::Empty,
        }
    }
}

/// Keys and values in order of arrival.
pub(super) fn pairs(list: Vec<proto::KeyValue>) -> Vec<(String, ReceivedValue)> {
    list.into_iter()
        .map(|kv| (kv.key, ReceivedValue::from_proto(kv.value)))
        .collect()
}

/// The first value under `key`.
pub(super) fn find<'a>(
    attributes: &'a [(String, ReceivedValue)],
    key: &str,
) -> Option<&'a ReceivedValue> {
    attributes.iter().find(|(k, _)| k == key).map(|(_, v)| v)
}

impl fmt::Display for ReceivedValue {
    /// As a person would write it: strings bare, bytes in hex, lists in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("(empty)"),
            Self::String(v) => f.write_str(&text::shown(v)),
            Self::Bool(v) => write!(f, "{v}"),
            Self::Int(v) => write!(f, "{v}"),
            Self::Double(v) => write!(f, "{v}"),
            Self::Bytes(v) => f.write_str(&text::hex(v)),
            Self::Array(list) => write!(f, "[{}]", text::join(list, ", ")),
            Self::Map(list) => {
                let pairs = list.iter();
                let pairs = pairs.map(|(k, v)| format!("{}={v}", text::shown(k)));
                write!(f, "{{{}}}", text::join(pairs, ", "))
            }
        }
    }
}

impl PartialEq<str> for ReceivedValue {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for ReceivedValue {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<i64> for ReceivedValue {
    fn eq(&self, other: &i64) -> bool {
        self.as_int() == Some(*other)
    }
}

impl PartialEq<f64> for ReceivedValue {
    fn eq(&self, other: &f64) -> bool {
        self.as_double() == Some(*other)
    }
}

impl PartialEq<bool> for ReceivedValue {
    fn eq(&self, other: &bool) -> bool {
        self.as_bool() == Some(*other)
    }
}

impl From<&str> for ReceivedValue {
    fn from(v: &str) -> Self {
        Self::String(v.to_owned())
    }
}

impl From<i64> for ReceivedValue {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}

impl From<f64> for ReceivedValue {
    fn from(v: f64) -> Self {
        Self::Double(v)
    }
}

impl From<bool> for ReceivedValue {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}
