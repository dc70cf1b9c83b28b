//! The walk through the fields of an encoded message; every reader of protobuf uses it.
//!
//! [`MessageFields`] reads any message. [`Delimited`] reads the rows that this crate writes itself, on the
//! recording thread: each field has a tag of one byte and a length.

use super::varint::{self, FIXED32, FIXED64, LEN, VARINT};

/// The content of a field, by its wire type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FieldValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> FieldValue<'a> {
    pub(crate) fn varint(self) -> Option<u64> {
        match self {
            Self::Varint(v) => Some(v),
            _ => None,
        }
    }

    pub(crate) fn fixed64(self) -> Option<u64> {
        match self {
            Self::Fixed64(v) => Some(v),
            _ => None,
        }
    }

    pub(crate) fn fixed32(self) -> Option<u32> {
        match self {
            Self::Fixed32(v) => Some(v),
            _ => None,
        }
    }

    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(v) => Some(v),
            _ => None,
        }
    }

    pub(crate) fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

/// The fields of a message, by number. The item of a malformed field is `None`, and the last one.
/// Groups, which OTLP does not use, are malformed.
#[derive(Debug, Clone)]
pub(crate) struct MessageFields<'a>(&'a [u8]);

impl<'a> MessageFields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The bytes behind the fields read so far.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    fn field(&mut self) -> Option<(u32, FieldValue<'a>)> {
        let tag = u32::try_from(varint::take(&mut self.0)?).ok()?;
        let field = match (tag & 7) as u8 {
            VARINT => FieldValue::Varint(varint::take(&mut self.0)?),
            FIXED64 => FieldValue::Fixed64(u64::from_le_bytes(self.fixed()?)),
            FIXED32 => FieldValue::Fixed32(u32::from_le_bytes(self.fixed()?)),
            LEN => FieldValue::Bytes(take_delimited(&mut self.0)?),
            _ => return None,
        };
        match tag >> 3 {
            0 => None,
            number => Some((number, field)),
        }
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (value, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*value)
    }
}

impl<'a> Iterator for MessageFields<'a> {
    type Item = Option<(u32, FieldValue<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Calls `f` with the number and content of each field; `None` if a field is malformed or `f` fails.
pub(crate) fn each_field<'a>(
    message: &'a [u8],
    mut f: impl FnMut(u32, FieldValue<'a>) -> Option<()>,
) -> Option<()> {
    for field in MessageFields::new(message) {
        let (number, field) = field?;
        f(number, field)?;
    }
    Some(())
}

/// The fields of a row in which each has a tag of one byte and a length: tag and content. The walk
/// ends before the first field that is malformed.
#[derive(Debug, Clone)]
pub(crate) struct Delimited<'a>(&'a [u8]);

impl<'a> Delimited<'a> {
    #[inline]
    pub(crate) fn new(row: &'a [u8]) -> Self {
        Self(row)
    }

    /// The bytes behind the fields read so far.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Delimited<'a> {
    type Item = (u8, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, len], rest) = self.0.split_first_chunk()?;
        // Nearly all fields are short.
        if len < 0x80 {
            let (content, behind) = rest.split_at_checked(usize::from(len))?;
            self.0 = behind;
            return Some((tag, content));
        }
        self.next_long()
    }
}

impl<'a> Delimited<'a> {
    #[cold]
    #[inline(never)]
    fn next_long(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, mut rest) = self.0.split_first()?;
        let content = take_delimited(&mut rest)?;
        self.0 = rest;
        Some((tag, content))
    }
}

/// Cuts a length and as many bytes from the front of `rest`.
#[inline]
fn take_delimited<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint::take(rest)?).ok()?;
    let (content, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(content)
}

#[cfg(all(test, not(tracing_otlp_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_field_ends_the_walk() {
        // A varint of field 1, then each kind of fault: cut, number zero, a group, a tag too long.
        for fault in [
            &[0x12, 5, b'a'][..],
            &[0x0d, 1, 2],
            &[0x09, 1, 2],
            &[0x00, 1],
            &[0x0b],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 1, 1],
        ] {
            let message = [&[0x08, 7][..], fault].concat();
            let mut fields = MessageFields::new(&message);
            assert!(matches!(
                fields.next(),
                Some(Some((1, FieldValue::Varint(7))))
            ));
            assert!(matches!(fields.next(), Some(None)), "{fault:?}");
            assert!(fields.next().is_none());
        }
    }

    #[test]
    fn a_row_ends_before_a_malformed_field() {
        let row = [0x0a, 1, b'a', 0x12, 0, 0x1a, 9, b'b'];
        let mut fields = Delimited::new(&row);
        assert_eq!(fields.next(), Some((0x0a, &b"a"[..])));
        assert_eq!(fields.next(), Some((0x12, &b""[..])));
        assert_eq!(fields.next(), None);
        assert_eq!(fields.rest(), [0x1a, 9, b'b']);
    }
}
