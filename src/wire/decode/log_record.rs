//! [`LogRecord`]: a log record read back from its bytes.

use super::{Attributes, DecodedValue, id, key_value};
use crate::wire::reader::each_field;

/// A log record, borrowed from its encoded message.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct LogRecord<'a> {
    /// Zero: unknown.
    pub(crate) unix_nanos: u64,
    pub(crate) observed_unix_nanos: u64,
    /// Zero: unspecified.
    pub(crate) severity_number: i32,
    pub(crate) severity_text: &'a str,
    pub(crate) body: Option<DecodedValue<'a>>,
    pub(crate) attributes: Attributes<'a>,
    pub(crate) dropped_attributes: u32,
    pub(crate) flags: u32,
    pub(crate) trace_id: Option<[u8; 16]>,
    pub(crate) span_id: Option<[u8; 8]>,
    /// Empty: the record is no event.
    pub(crate) event_name: &'a str,
}

impl<'a> LogRecord<'a> {
    /// Decodes a `LogRecord` message; `None` as for [`Span::decode`](super::Span::decode).
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut r = Self::default();
        each_field(bytes, |number, field| {
            match number {
                1 => r.unix_nanos = field.fixed64()?,
                2 => r.severity_number = field.varint()? as i32,
                3 => r.severity_text = field.text()?,
                5 => r
                    .body
                    .get_or_insert(DecodedValue::Empty)
                    .merge(field.bytes()?, 1)?,
                6 => r.attributes.push(key_value(field.bytes()?, 1)?),
                7 => r.dropped_attributes = field.varint()? as u32,
                8 => r.flags = field.fixed32()?,
                9 => r.trace_id = id(field)?,
                10 => r.span_id = id(field)?,
                11 => r.observed_unix_nanos = field.fixed64()?,
                12 => r.event_name = field.text()?,
                _ => {}
            }
            Some(())
        })?;
        Some(r)
    }
}
