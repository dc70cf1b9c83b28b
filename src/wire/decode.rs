//! Decodes spans from their bytes, for exporters that need structure.
//!
//! Any input is safe: invalid bytes give `None`, and memory is bounded by a small multiple of the input.
//! Unknown fields are skipped; groups, which OTLP does not use, are rejected.

use super::reader::{Delimited, FieldValue, each_field};
use super::span::find_attribute;
use crate::attribute;

/// A span, borrowed from its encoded message.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Span<'a> {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) parent_span_id: Option<[u8; 8]>,
    pub(crate) trace_state: &'a str,
    pub(crate) flags: u32,
    pub(crate) name: &'a str,
    pub(crate) kind: i32,
    pub(crate) start_unix_nanos: u64,
    pub(crate) end_unix_nanos: u64,
    pub(crate) attributes: Attributes<'a>,
    pub(crate) dropped_attributes: u32,
    pub(crate) events: Vec<Event<'a>>,
    pub(crate) dropped_events: u32,
    pub(crate) links: Vec<Link<'a>>,
    pub(crate) dropped_links: u32,
    pub(crate) status: SpanStatus<'a>,
}

/// Keys and values in order of writing, duplicates kept.
pub(crate) type Attributes<'a> = Vec<(&'a str, DecodedValue<'a>)>;

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Event<'a> {
    pub(crate) unix_nanos: u64,
    pub(crate) name: &'a str,
    pub(crate) attributes: Attributes<'a>,
    pub(crate) dropped_attributes: u32,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Link<'a> {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) trace_state: &'a str,
    pub(crate) attributes: Attributes<'a>,
    pub(crate) dropped_attributes: u32,
    pub(crate) flags: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SpanStatus<'a> {
    pub(crate) message: &'a str,
    /// UNSET 0, OK 1, ERROR 2.
    pub(crate) code: i32,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum DecodedValue<'a> {
    #[default]
    Empty,
    String(&'a str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
    Array(Vec<DecodedValue<'a>>),
    Map(Attributes<'a>),
}

/// The scope of a row of spans, from the encoded fields of `ScopeSpans` other than `spans`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Scope<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) attributes: Attributes<'a>,
    pub(crate) dropped_attributes: u32,
    pub(crate) schema_url: &'a str,
}

impl<'a> Span<'a> {
    /// Decodes a `Span` message. An id of another length than its own (or none at all), text that
    /// is not UTF-8, a known field of the wrong type: all give `None`.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut s = Self::default();
        each_field(bytes, |number, field| {
            match number {
                1 => s.trace_id = id(field)?.unwrap_or_default(),
                2 => s.span_id = id(field)?.unwrap_or_default(),
                3 => s.trace_state = field.text()?,
                4 => s.parent_span_id = id(field)?,
                5 => s.name = field.text()?,
                6 => s.kind = field.varint()? as i32,
                7 => s.start_unix_nanos = field.fixed64()?,
                8 => s.end_unix_nanos = field.fixed64()?,
                9 => s.attributes.push(key_value(field.bytes()?, 1)?),
                10 => s.dropped_attributes = field.varint()? as u32,
                11 => s.events.push(Event::decode(field.bytes()?)?),
                12 => s.dropped_events = field.varint()? as u32,
                13 => s.links.push(Link::decode(field.bytes()?)?),
                14 => s.dropped_links = field.varint()? as u32,
                15 => s.status.merge(field.bytes()?)?,
                16 => s.flags = field.fixed32()?,
                _ => {}
            }
            Some(())
        })?;
        Some(s)
    }
}

impl<'a> Event<'a> {
    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut e = Self::default();
        each_field(bytes, |number, field| {
            match number {
                1 => e.unix_nanos = field.fixed64()?,
                2 => e.name = field.text()?,
                3 => e.attributes.push(key_value(field.bytes()?, 1)?),
                4 => e.dropped_attributes = field.varint()? as u32,
                _ => {}
            }
            Some(())
        })?;
        Some(e)
    }
}

impl<'a> Link<'a> {
    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut l = Self::default();
        each_field(bytes, |number, field| {
            match number {
                1 => l.trace_id = id(field)?.unwrap_or_default(),
                2 => l.span_id = id(field)?.unwrap_or_default(),
                3 => l.trace_state = field.text()?,
                4 => l.attributes.push(key_value(field.bytes()?, 1)?),
                5 => l.dropped_attributes = field.varint()? as u32,
                6 => l.flags = field.fixed32()?,
                _ => {}
            }
            Some(())
        })?;
        Some(l)
    }
}

impl<'a> SpanStatus<'a> {
    /// A repeated message merges into one, by protobuf's rule.
    fn merge(&mut self, bytes: &'a [u8]) -> Option<()> {
        each_field(bytes, |number, field| {
            match number {
                2 => self.message = field.text()?,
                3 => self.code = field.varint()? as i32,
                _ => {}
            }
            Some(())
        })
    }
}

impl<'a> Scope<'a> {
    /// Decodes `ScopeSpans` without its spans, which are skipped.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut s = Self::default();
        each_field(bytes, |number, field| {
            match number {
                1 => each_field(field.bytes()?, |number, field| {
                    match number {
                        1 => s.name = field.text()?,
                        2 => s.version = field.text()?,
                        3 => s.attributes.push(key_value(field.bytes()?, 1)?),
                        4 => s.dropped_attributes = field.varint()? as u32,
                        _ => {}
                    }
                    Some(())
                })?,
                3 => s.schema_url = field.text()?,
                _ => {}
            }
            Some(())
        })?;
        Some(s)
    }
}

/// The resource of a request, from the encoded fields of `ResourceSpans` other than `scope_spans`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct DecodedResource<'a> {
    pub(crate) attributes: Attributes<'a>,
    pub(crate) schema_url: &'a str,
}

impl<'a> DecodedResource<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut r = Self::default();
        each_field(bytes, |number, field| {
            match number {
                1 => each_field(field.bytes()?, |number, field| {
                    if number == 1 {
                        r.attributes.push(key_value(field.bytes()?, 1)?);
                    }
                    Some(())
                })?,
                3 => r.schema_url = field.text()?,
                _ => {}
            }
            Some(())
        })?;
        Some(r)
    }
}

/// The value of the attribute with this key in a row of repeated fields of `Span`.
pub(crate) fn attribute_value(row: &[u8], tag: u8, key: &str) -> Option<attribute::Value> {
    let at = find_attribute(row, tag, key.as_bytes())?;
    let (_, field) = Delimited::new(row.get(at)?).next()?;
    key_value(field, 1)?.1.into_owned()
}

fn key_value(bytes: &[u8], depth: usize) -> Option<(&str, DecodedValue<'_>)> {
    let mut out = ("", DecodedValue::Empty);
    each_field(bytes, |number, field| {
        match number {
            1 => out.0 = field.text()?,
            2 => out.1.merge(field.bytes()?, depth)?,
            // An index into a string table, which traces do not have.
            3 => drop(field.varint()?),
            _ => {}
        }
        Some(())
    })?;
    Some(out)
}

impl<'a> DecodedValue<'a> {
    /// The value of our API; `None` if the API has no such value.
    fn into_owned(self) -> Option<attribute::Value> {
        Some(match self {
            Self::String(v) => v.to_owned().into(),
            Self::Bool(v) => v.into(),
            Self::Int(v) => v.into(),
            Self::Double(v) => v.into(),
            Self::Bytes(v) => v.to_vec().into(),
            Self::Array(v) => {
                let values: Option<Vec<_>> = v.into_iter().map(Self::into_owned).collect();
                values?.into()
            }
            Self::Empty | Self::Map(_) => return None,
        })
    }

    /// The last kind wins; a repeated list is appended, by protobuf's rule.
    fn merge(&mut self, bytes: &'a [u8], depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        each_field(bytes, |number, field| {
            match number {
                1 => *self = Self::String(field.text()?),
                2 => *self = Self::Bool(field.varint()? != 0),
                3 => *self = Self::Int(field.varint()? as i64),
                4 => *self = Self::Double(f64::from_bits(field.fixed64()?)),
                5 => {
                    let mut list = match std::mem::take(self) {
                        Self::Array(list) => list,
                        _ => Vec::new(),
                    };
                    each_field(field.bytes()?, |number, field| {
                        if number == 1 {
                            let mut value = Self::Empty;
                            value.merge(field.bytes()?, depth + 1)?;
                            list.push(value);
                        }
                        Some(())
                    })?;
                    *self = Self::Array(list);
                }
                6 => {
                    let mut list = match std::mem::take(self) {
                        Self::Map(list) => list,
                        _ => Vec::new(),
                    };
                    each_field(field.bytes()?, |number, field| {
                        if number == 1 {
                            list.push(key_value(field.bytes()?, depth + 1)?);
                        }
                        Some(())
                    })?;
                    *self = Self::Map(list);
                }
                7 => *self = Self::Bytes(field.bytes()?),
                // As in `key_value`.
                8 => drop(field.varint()?),
                _ => {}
            }
            Some(())
        })
    }
}

/// An id; `Some(None)` if the field is empty.
fn id<const N: usize>(field: FieldValue<'_>) -> Option<Option<[u8; N]>> {
    match field.bytes()? {
        [] => Some(None),
        bytes => Some(Some(bytes.try_into().ok()?)),
    }
}

/// The bytes of a message's field; `None` if it has none, or is no message.
pub(crate) fn bytes_of(message: &[u8], number: u32) -> Option<&[u8]> {
    let mut found = None;
    each_field(message, |field, value| {
        if field == number {
            found = Some(value.bytes()?);
        }
        Some(())
    })?;
    found
}

/// Deeper lists are rejected, because decoding recurses; our own end at 64 (LIM-1).
const MAX_DEPTH: usize = 80;

#[cfg(feature = "viewer")]
pub(crate) mod export_request;
mod log_record;

pub(crate) use log_record::LogRecord;

#[cfg(all(test, not(tracing_otlp_loom)))]
mod tests;
