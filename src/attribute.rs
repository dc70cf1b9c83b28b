//! Attributes that code sets: OpenTelemetry's keys and values (TR-8, TR-9).

use std::borrow::Cow;

/// The value of an attribute, one of OTLP's kinds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A string.
    String(Cow<'static, str>),
    /// A boolean.
    Bool(bool),
    /// A signed 64-bit integer.
    Int(i64),
    /// A 64-bit floating point number.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list of values.
    Array(Vec<Value>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyValue {
    /// The key: case-sensitive. An attribute with an empty key is dropped and counted.
    pub key: Cow<'static, str>,
    /// The value.
    pub value: Value,
}

impl Value {
    /// Bytes on the heap.
    pub(crate) fn heap_size(&self) -> usize {
        match self {
            Self::String(v) => v.len(),
            Self::Bytes(v) => v.capacity(),
            Self::Array(v) => {
                let inner: usize = v.iter().map(Self::heap_size).sum();
                inner + v.capacity() * size_of::<Self>()
            }
            _ => 0,
        }
    }
}

impl KeyValue {
    /// Bytes on the heap.
    pub(crate) fn heap_size(&self) -> usize {
        self.key.len() + self.value.heap_size()
    }

    /// An attribute of a key and a value.
    ///
    /// ```
    /// use tracing_otlp::KeyValue;
    /// let deployed = KeyValue::new("deployment.environment.name", "staging");
    /// ```
    pub fn new(key: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
        }
    }
}

impl From<&'static str> for Value {
    fn from(v: &'static str) -> Self {
        Self::String(Cow::Borrowed(v))
    }
}

impl From<String> for Value {
    fn from(v: String) -> Self {
        Self::String(Cow::Owned(v))
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}

impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}

impl From<i32> for Value {
    fn from(v: i32) -> Self {
        Self::Int(v.into())
    }
}

impl From<u32> for Value {
    fn from(v: u32) -> Self {
        Self::Int(v.into())
    }
}

impl From<u64> for Value {
    /// An integer if it fits 64 signed bits, else a string of decimal digits.
    fn from(v: u64) -> Self {
        match i64::try_from(v) {
            Ok(v) => Self::Int(v),
            Err(_) => Self::String(v.to_string().into()),
        }
    }
}

impl From<usize> for Value {
    /// As of a [`u64`].
    fn from(v: usize) -> Self {
        Self::from(v as u64)
    }
}

impl From<Cow<'static, str>> for Value {
    fn from(v: Cow<'static, str>) -> Self {
        Self::String(v)
    }
}

impl From<f32> for Value {
    fn from(v: f32) -> Self {
        Self::Double(v.into())
    }
}

impl From<f64> for Value {
    fn from(v: f64) -> Self {
        Self::Double(v)
    }
}

impl From<Vec<u8>> for Value {
    fn from(v: Vec<u8>) -> Self {
        Self::Bytes(v)
    }
}

impl From<Vec<Value>> for Value {
    fn from(v: Vec<Value>) -> Self {
        Self::Array(v)
    }
}
