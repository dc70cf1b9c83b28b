//! Attributes whose key is encoded once and written many times.
//!
//! Lengths come before contents in protobuf. Nearly all attributes are shorter than 128 bytes, for
//! which each length is one byte: those are written first, and the rare longer attribute is moved
//! apart afterwards. So every encoding is the shortest one.

use std::fmt;

use super::bounded::{Room, Unwritten, ValueLimit, format_into, truncate};
use super::value::{ARRAY, BOOL, BYTES, DOUBLE, INT, KEY, STRING, VALUE, VALUES};
use super::varint;

/// The longest length that a one-byte varint holds.
const SHORT: usize = 127;

/// The size of a copy without a call: an encoded key, and the bytes before a value.
const PADDED: usize = 56;

/// The longest encoded key that fits with any short value.
const LONGEST: usize = PADDED - 12;

/// A key with the tag of the field that its attributes are written to.
#[derive(Debug)]
pub(crate) struct EncodedKey {
    /// Tag, a byte for the attribute's length, the key's field, the value's tag; then zeros. A copy of
    /// a fixed size, truncated afterwards, takes a few instructions; a copy of a variable size takes
    /// a call.
    padded: [u8; PADDED],
    /// The used length of `padded`; zero for a key that does not fit.
    len: u8,
    /// The same bytes, for a key of any length.
    prefix: Box<[u8]>,
    /// The index of the key's first byte in `prefix`.
    key_at: usize,
}

impl EncodedKey {
    /// `tag` is that of `Span.attributes`, `Event.attributes` or another field of `KeyValue`s.
    pub(crate) fn new(tag: u8, key: &str) -> Self {
        let mut prefix = vec![tag, 0, KEY];
        varint::put(&mut prefix, key.len() as u64);
        let key_at = prefix.len();
        prefix.extend_from_slice(key.as_bytes());
        prefix.push(VALUE);
        let mut padded = [0; PADDED];
        let mut len = 0;
        if prefix.len() <= LONGEST {
            padded[..prefix.len()].copy_from_slice(&prefix);
            len = prefix.len() as u8;
        }
        Self {
            padded,
            len,
            prefix: prefix.into(),
            key_at,
        }
    }

    /// The key's bytes.
    pub(crate) fn key(&self) -> &[u8] {
        &self.prefix[self.key_at..self.prefix.len() - 1]
    }

    /// Appends the key of an attribute and the first `used` bytes of its `any`, a length and an
    /// `AnyValue` to which `more` bytes are still to be appended; false, and nothing appended, if a
    /// length is not short.
    #[inline(always)]
    fn put_short<const N: usize>(
        &self,
        out: &mut Vec<u8>,
        any: [u8; N],
        used: usize,
        more: usize,
    ) -> bool {
        const { assert!(N <= PADDED - LONGEST, "not the room that a key leaves") };
        let head = usize::from(self.len) + used;
        let len = head + more - 2;
        if self.len == 0 || len > SHORT {
            return false;
        }
        let start = out.len();
        out.extend_from_slice(&self.padded);
        if let Some(attribute) = out.get_mut(start..start + PADDED) {
            attribute[1] = len as u8;
            let value = attribute.get_mut(usize::from(self.len)..);
            if let Some(place) = value.and_then(<[u8]>::first_chunk_mut) {
                *place = any;
            }
        }
        out.truncate(start + head);
        true
    }

    #[cold]
    #[inline(never)]
    fn put_long(&self, out: &mut Vec<u8>, any: &[u8], tail: &[u8]) {
        let any_len = any.len() + tail.len();
        let len = self.prefix.len() - 2 + varint::len(any_len as u64) + any_len;
        out.push(self.prefix[0]);
        varint::put(out, len as u64);
        out.extend_from_slice(&self.prefix[2..]);
        varint::put(out, any_len as u64);
        out.extend_from_slice(any);
        out.extend_from_slice(tail);
    }

    /// Appends a string value; false, and nothing appended, if the budget is used up.
    #[inline(always)]
    pub(crate) fn put_str(
        &self,
        out: &mut Vec<u8>,
        limit: &ValueLimit,
        room: &mut dyn Room,
        value: &str,
    ) -> bool {
        self.put_slice(out, room, STRING, truncate(value, limit.length).as_bytes())
    }

    #[inline(always)]
    fn put_slice(&self, out: &mut Vec<u8>, room: &mut dyn Room, kind: u8, value: &[u8]) -> bool {
        let len = value.len();
        if len < SHORT && self.put_short(out, [len as u8 + 2, kind, len as u8], 3, len) {
            out.extend_from_slice(value);
            true
        } else {
            self.put_long_slice(out, room, kind, value)
        }
    }

    #[cold]
    #[inline(never)]
    fn put_long_slice(
        &self,
        out: &mut Vec<u8>,
        room: &mut dyn Room,
        kind: u8,
        value: &[u8],
    ) -> bool {
        let more = value.len().saturating_add(self.prefix.len() + 2 * MAX_LEN);
        if out.capacity() - out.len() < more && !room.make_room(out, more) {
            return false;
        }
        let mut any = Vec::with_capacity(11);
        any.push(kind);
        varint::put(&mut any, value.len() as u64);
        self.put_long(out, &any, value);
        true
    }

    /// Appends a boolean.
    #[inline]
    pub(crate) fn put_bool(&self, out: &mut Vec<u8>, value: bool) {
        self.put_fixed(out, [2, BOOL, u8::from(value)]);
    }

    /// Appends a short value after its length.
    #[inline(always)]
    fn put_fixed<const N: usize>(&self, out: &mut Vec<u8>, any: [u8; N]) {
        if !self.put_short(out, any, N, 0) {
            self.put_long(out, &any[1..], &[]);
        }
    }

    /// Appends an integer.
    #[inline(always)]
    pub(crate) fn put_int(&self, out: &mut Vec<u8>, value: i64) {
        match value {
            0..0x80 => self.put_fixed(out, [2, INT, value as u8]),
            0x80..0x4000 => {
                self.put_fixed(out, [3, INT, value as u8 | 0x80, (value >> 7) as u8]);
            }
            _ => self.put_wide_int(out, value),
        }
    }

    fn put_wide_int(&self, out: &mut Vec<u8>, value: i64) {
        let mut any = [INT; 12];
        let mut rest = value as u64;
        let mut len = 2;
        for byte in &mut any[2..] {
            *byte = rest as u8 | 0x80;
            rest >>= 7;
            len += 1;
            if rest == 0 {
                *byte &= 0x7f;
                break;
            }
        }
        any[0] = len as u8 - 1;
        if !self.put_short(out, any, len, 0) {
            self.put_long(out, &any[1..len], &[]);
        }
    }

    /// Appends a floating point number.
    #[inline]
    pub(crate) fn put_double(&self, out: &mut Vec<u8>, value: f64) {
        let mut any = [DOUBLE; 10];
        any[0] = 9;
        any[2..].copy_from_slice(&value.to_le_bytes());
        self.put_fixed(out, any);
    }

    /// Appends bytes; false, and nothing appended, if the budget is used up.
    pub(crate) fn put_bytes(
        &self,
        out: &mut Vec<u8>,
        limit: &ValueLimit,
        room: &mut dyn Room,
        value: &[u8],
    ) -> bool {
        self.put_slice(out, room, BYTES, &value[..value.len().min(limit.length)])
    }

    /// Appends the formatted `value` as a string; on an error, appends nothing.
    #[inline(always)]
    pub(crate) fn put_fmt(
        &self,
        out: &mut Vec<u8>,
        limit: &ValueLimit,
        room: &mut dyn Room,
        value: fmt::Arguments<'_>,
    ) -> Result<(), Unwritten> {
        let start = out.len();
        if !self.put_short(out, [0, STRING, 0], 3, 0) {
            out.extend_from_slice(&self.prefix);
            out.extend_from_slice(&[0, STRING, 0]);
        }
        let text = out.len();
        if let Err(why) = format_into(out, limit, room, value) {
            out.truncate(start);
            return Err(why);
        }
        let len = out.len() - text;
        let attribute = self.prefix.len() + 1 + len;
        match out.get_mut(start..text) {
            Some([_, attribute_len, .., any_len, _, text_len]) if attribute <= SHORT => {
                *attribute_len = attribute as u8;
                *any_len = len as u8 + 2;
                *text_len = len as u8;
            }
            _ => self.widen(out, start, text),
        }
        Ok(())
    }

    /// Makes space for longer lengths before the formatted text at `text`, which exceeds the short form.
    #[cold]
    #[inline(never)]
    fn widen(&self, out: &mut Vec<u8>, start: usize, text: usize) {
        let len = out.len() - text;
        let any_len = 1 + varint::len(len as u64) + len;
        let attribute = self.prefix.len() - 2 + varint::len(any_len as u64) + any_len;
        let mut head = Vec::with_capacity(self.prefix.len() + 24);
        head.push(self.prefix[0]);
        varint::put(&mut head, attribute as u64);
        head.extend_from_slice(&self.prefix[2..]);
        varint::put(&mut head, any_len as u64);
        head.push(STRING);
        varint::put(&mut head, len as u64);
        out.splice(start..text, head);
    }

    /// Appends the formatted `values` as a list; on an error, appends nothing.
    pub(crate) fn put_list(
        &self,
        out: &mut Vec<u8>,
        limit: &ValueLimit,
        room: &mut dyn Room,
        values: impl Iterator<Item = impl fmt::Display>,
    ) -> Result<(), Unwritten> {
        let start = out.len();
        // Lengths precede their content, so the content is moved.
        let put = |out: &mut Vec<u8>, room: &mut dyn Room, at: usize, head: Vec<u8>| {
            let has_room = room.make_room(out, head.len());
            if has_room {
                out.splice(at..at, head);
            } else {
                out.truncate(start);
            }
            has_room.then_some(()).ok_or(Unwritten::NoRoom)
        };
        for value in values {
            let at = out.len();
            if let Err(why) = format_into(out, limit, room, format_args!("{value}")) {
                out.truncate(start);
                return Err(why);
            }
            let len = out.len() - at;
            let mut head = vec![VALUES];
            varint::put(&mut head, (1 + varint::len(len as u64) + len) as u64);
            head.push(STRING);
            varint::put(&mut head, len as u64);
            put(out, room, at, head)?;
        }
        let len = out.len() - start;
        let any_len = 1 + varint::len(len as u64) + len;
        let attribute = self.prefix.len() - 2 + varint::len(any_len as u64) + any_len;
        let mut head = vec![self.prefix[0]];
        varint::put(&mut head, attribute as u64);
        head.extend_from_slice(&self.prefix[2..]);
        varint::put(&mut head, any_len as u64);
        head.push(ARRAY);
        varint::put(&mut head, len as u64);
        put(out, room, start, head)
    }
}

/// The longest varint.
const MAX_LEN: usize = 10;
