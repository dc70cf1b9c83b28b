//! Attributes whose key is encoded once and written many times.
//!
//! Lengths come before contents in protobuf. Nearly all attributes are shorter than 128 bytes, for
//! which each length is one byte: those are written first, and the rare longer attribute is moved
//! apart afterwards. So every encoding is the shortest one.

use std::fmt::{self, Write as _};

use super::value::{ARRAY, BOOL, BYTES, DOUBLE, INT, KEY, STRING, VALUE, VALUES};
use super::varint;

/// The longest length that one byte can tell.
const SHORT: usize = 127;

/// How much of a value is kept (LIM-2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct ValueLimit {
    /// Characters of a string, bytes of a byte array.
    pub(crate) length: usize,
}

impl ValueLimit {
    pub(crate) const NONE: Self = Self { length: usize::MAX };

    /// Where a text that begins at `start` is surely longer: a character has four bytes at most.
    #[inline(always)]
    fn end(&self, start: usize) -> usize {
        match self.length {
            usize::MAX => usize::MAX,
            length => start.saturating_add(length.saturating_add(1).saturating_mul(4)),
        }
    }
}

/// Who pays for the memory that a buffer takes beyond what it has.
pub(crate) trait Room: std::fmt::Debug {
    /// Lets `out` take `more` bytes; false if there is no memory for so many.
    fn make_room(&mut self, out: &mut Vec<u8>, more: usize) -> bool;

    /// Lets a text that is kept beside the buffer grow from `was` to `now` bytes.
    fn keep_text(&mut self, was: usize, now: usize) -> bool;

    /// Counts what is left out because there was none.
    fn leave_out(&mut self);
}

/// As much as there is.
#[cfg(any(test, fuzzing))]
#[derive(Debug)]
pub(crate) struct Unbounded;

#[cfg(any(test, fuzzing))]
impl Room for Unbounded {
    fn make_room(&mut self, _: &mut Vec<u8>, _: usize) -> bool {
        true
    }

    fn keep_text(&mut self, _: usize, _: usize) -> bool {
        true
    }

    fn leave_out(&mut self) {}
}

/// Bytes that are copied in one go, without a call: an encoded key, and what comes before a value.
const PADDED: usize = 56;

/// The longest key, encoded, that leaves room for any short value.
const LONGEST: usize = PADDED - 12;

/// A key with the tag of the field that its attributes are written to.
#[derive(Debug)]
pub(crate) struct EncodedKey {
    /// Tag, a byte for the attribute's length, the key's field, the value's tag; zeros up to the
    /// end. Copying a fixed number of bytes and cutting off what is too much costs a few
    /// instructions, copying as many as there are costs a call.
    padded: [u8; PADDED],
    /// How much of `padded` counts; zero for a key that does not fit.
    len: u8,
    /// The same, for a key of any length.
    prefix: Box<[u8]>,
    /// Where the key's bytes begin in `prefix`.
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

    /// Appends a string value; false, and nothing appended, if there is no room for it.
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

    /// Appends a value of few bytes, their number before them.
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

    /// Appends bytes; false, and nothing appended, if there is no room for them.
    pub(crate) fn put_bytes(
        &self,
        out: &mut Vec<u8>,
        limit: &ValueLimit,
        room: &mut dyn Room,
        value: &[u8],
    ) -> bool {
        self.put_slice(out, room, BYTES, &value[..value.len().min(limit.length)])
    }

    /// Appends what `value` formats to as a string; or nothing, and says why.
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

    /// Gives the formatted text at `text` the longer lengths that it turned out to need.
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

    /// Appends a list of what `values` format to; or nothing, and says why.
    pub(crate) fn put_list(
        &self,
        out: &mut Vec<u8>,
        limit: &ValueLimit,
        room: &mut dyn Room,
        values: impl Iterator<Item = impl fmt::Display>,
    ) -> Result<(), Unwritten> {
        let start = out.len();
        // Lengths come before what they are of, which is moved apart.
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

/// Why a value was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwritten {
    /// It failed to format.
    Failed,
    /// There is no room for it.
    NoRoom,
}

/// Appends what `value` formats to; if that fails, or there is no room for it, part of it may be
/// there. It is stopped where no more of it is taken.
#[inline(always)]
pub(crate) fn format_into(
    out: &mut Vec<u8>,
    limit: &ValueLimit,
    room: &mut dyn Room,
    value: fmt::Arguments<'_>,
) -> Result<(), Unwritten> {
    let start = out.len();
    let mut bounded = Bounded {
        end: out.capacity().min(limit.end(start)),
        limit: limit.end(start),
        out,
        room,
        is_over: None,
    };
    let formatted = bounded.write_fmt(value);
    if let Some(over) = bounded.is_over {
        return not_all(out, start, limit, over);
    }
    if formatted.is_err() {
        return Err(Unwritten::Failed);
    }
    if limit.length != usize::MAX {
        // Whole `str`s were appended, so this never fails.
        let text = std::str::from_utf8(&out[start..]).unwrap_or_default();
        let kept = truncate(text, limit.length).len();
        out.truncate(start + kept);
    }
    Ok(())
}

/// What is there of a value may be all that the limit lets through.
#[cold]
#[inline(never)]
fn not_all(
    out: &mut Vec<u8>,
    start: usize,
    limit: &ValueLimit,
    over: Over,
) -> Result<(), Unwritten> {
    let text = std::str::from_utf8(&out[start..]).unwrap_or_default();
    match (text.char_indices().nth(limit.length), over) {
        (Some((at, _)), _) => {
            out.truncate(start + at);
            Ok(())
        }
        // It was cut between two characters.
        (None, Over::Limit) => Ok(()),
        (None, Over::Room) => Err(Unwritten::NoRoom),
    }
}

/// What a foreign value formats to, as far as it does and there is room for it; that it was cut is
/// counted.
#[cold]
pub(crate) fn text_within(room: &mut dyn Room, value: fmt::Arguments<'_>) -> String {
    let mut text = Vec::new();
    if let Err(Unwritten::NoRoom) = format_into(&mut text, &ValueLimit::NONE, room, value) {
        room.leave_out();
    }
    String::from_utf8(text).unwrap_or_default()
}

/// Formats as far as a foreign value does: one that fails is cut, and no reason to lose the rest.
pub(crate) struct AsFarAsItGoes<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for AsFarAsItGoes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever takes no more knows that.
        let _ = write!(f, "{}", self.0);
        Ok(())
    }
}

/// The first `limit` characters.
#[inline(always)]
pub(crate) fn truncate(value: &str, limit: usize) -> &str {
    if value.len() <= limit {
        return value;
    }
    match value.char_indices().nth(limit) {
        Some((at, _)) => &value[..at],
        None => value,
    }
}

/// The beginning of a text, of so many bytes at most.
pub(crate) fn beginning(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Appends to a buffer while there is room, and no more than a limit asks for.
struct Bounded<'a> {
    out: &'a mut Vec<u8>,
    room: &'a mut dyn Room,
    /// Where the next question is due: the end of the capacity, or the limit.
    end: usize,
    limit: usize,
    /// Why nothing more is taken.
    is_over: Option<Over>,
}

#[derive(Debug, Clone, Copy)]
enum Over {
    Limit,
    Room,
}

impl Bounded<'_> {
    /// Makes room for `s`; without that, appends as much of it as is taken.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self, s: &str) -> fmt::Result {
        if self.is_over.is_some() {
            return Err(fmt::Error);
        }
        let len = self.out.len();
        let part = beginning(s, self.limit - len);
        if self.room.make_room(self.out, part.len()) {
            self.end = self.limit.min(self.out.capacity().max(len + part.len()));
            if part.len() == s.len() {
                return Ok(());
            }
            self.out.extend_from_slice(part.as_bytes());
            return self.stop(Over::Limit);
        }
        let left = self.out.capacity() - len;
        self.out.extend_from_slice(beginning(part, left).as_bytes());
        self.stop(Over::Room)
    }

    /// Who does not hear that nothing more is taken is not heard either: a text has no holes.
    fn stop(&mut self, over: Over) -> fmt::Result {
        self.is_over = Some(over);
        self.end = 0;
        Err(fmt::Error)
    }
}

impl fmt::Write for Bounded<'_> {
    #[inline]
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if self.out.len() + s.len() > self.end {
            self.make_room(s)?;
        }
        self.out.extend_from_slice(s.as_bytes());
        Ok(())
    }
}
