//! [`AttributeWriter`]: encodes attributes, each key once.

use std::error::Error;
use std::fmt;

use super::callsite::StaticAttributes;
use super::keys::AttributeIndex;
use crate::attribute::{KeyValue, Value};
use crate::error::chain;
use crate::semconv;
use crate::wire::bounded::{AsFarAsItGoes, Room, Unwritten, ValueLimit, truncate};
use crate::wire::field::EncodedKey;
use crate::wire::span::{fields, find_attribute, key_of};
use crate::wire::value::{ValueRef, put_key_value};

/// Writes attributes to the end of a buffer, each key once.
#[derive(Debug)]
pub(crate) struct AttributeWriter<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    /// The offset of this writer's attributes in `out`.
    base: usize,
    pub(super) tag: u8,
    pub(super) limit: &'a ValueLimit,
    /// Counts the memory of `out`.
    pub(super) room: &'a mut dyn Room,
    count_limit: u32,
    /// Up to this count, a field whose bit is not set is admitted without a search for its key. Zero once
    /// [`dynamic`](Self::dynamic): then a key may be present without its bit.
    quick_limit: u32,
    /// The bits of the written fields.
    pub(crate) recorded: u64,
    /// Whether a key was written that is no field's: then any key may be present.
    dynamic: bool,
    pub(crate) count: u32,
    pub(crate) dropped: u32,
}

impl<'a> AttributeWriter<'a> {
    #[inline]
    pub(crate) fn new(
        (out, room): (&'a mut Vec<u8>, &'a mut dyn Room),
        tag: u8,
        limit: &'a ValueLimit,
        count_limit: u32,
    ) -> Self {
        Self {
            base: out.len(),
            out,
            tag,
            limit,
            room,
            count_limit,
            quick_limit: count_limit,
            recorded: 0,
            dynamic: false,
            count: 0,
            dropped: 0,
        }
    }

    /// Counts a field's attribute and removes an earlier one of its key; false at the limit.
    #[inline]
    pub(super) fn admit(&mut self, bit: u64, key: &EncodedKey) -> bool {
        if self.recorded & bit == 0 && self.count < self.quick_limit {
            self.recorded |= bit;
            self.count += 1;
            return true;
        }
        self.admit_rare(bit, key.key())
    }

    pub(super) fn set_dynamic(&mut self) {
        self.dynamic = true;
        self.quick_limit = 0;
    }

    pub(super) fn is_dynamic(&self) -> bool {
        self.dynamic
    }

    #[cold]
    #[inline(never)]
    fn admit_rare(&mut self, bit: u64, key: &[u8]) -> bool {
        self.remove(key);
        if self.count >= self.count_limit {
            self.dropped += 1;
            return false;
        }
        self.recorded |= bit;
        self.count += 1;
        true
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(at) = find_attribute(self.mine(), self.tag, key) {
            self.cut(at);
        }
    }

    /// Undoes [`admit`](Self::admit) for a value that could not be written.
    #[cold]
    pub(super) fn give_back(&mut self, why: Unwritten) {
        self.count -= 1;
        self.dropped += 1;
        if why == Unwritten::NoRoom {
            self.room.leave_out();
        }
    }

    /// Writes an attribute whose key is no field's; `put` returns false without room.
    pub(crate) fn put_dynamic(
        &mut self,
        key: &str,
        put: impl FnOnce(&EncodedKey, &mut Vec<u8>, &mut dyn Room) -> bool,
    ) {
        let key = EncodedKey::new(self.tag, key);
        if self.admit_rare(0, key.key()) {
            self.set_dynamic();
            if !put(&key, self.out, self.room) {
                self.give_back(Unwritten::NoRoom);
            }
        }
    }

    /// Writes an attribute that code sets.
    pub(crate) fn put_value(&mut self, key: &str, value: &Value) {
        // An empty key is invalid (TR-8).
        if key.is_empty() {
            self.dropped += 1;
        } else if self.admit_rare(0, key.as_bytes()) {
            self.set_dynamic();
            self.write_value(key, value);
        }
    }

    /// As [`put_value`](Self::put_value) for many attributes.
    #[cold]
    #[inline(never)]
    pub(super) fn put_many(&mut self, attributes: &[KeyValue]) {
        let mut keys = AttributeIndex::take();
        keys.begin_with(self.mine(), self.tag, self.count);
        self.set_dynamic();
        for attribute in attributes {
            let key = attribute.key.as_bytes();
            let mine = self.out.get_mut(self.base..).unwrap_or_default();
            let replaced = keys.replace(key, self.tag, mine);
            self.count -= u32::from(replaced.was_there);
            if key.is_empty() || self.count >= self.count_limit {
                self.dropped += 1;
                continue;
            }
            self.count += 1;
            let (at, written) = (mine.len(), self.count);
            self.write_value(&attribute.key, &attribute.value);
            if self.count == written {
                keys.fill(replaced.vacancy, at);
            }
        }
        keys.clean(self.out, self.base);
        keys.give();
    }

    /// Writes the value of an admitted attribute.
    fn write_value(&mut self, key: &str, value: &Value) {
        let length = self.limit.length;
        // Short values are not counted.
        let more = key.len() + 32 + size_of(value, length);
        if more > 256 && !self.room.make_room(self.out, more) {
            return self.give_back(Unwritten::NoRoom);
        }
        match value {
            Value::String(v) => put_key_value(self.out, self.tag, key, truncate(v, length)),
            Value::Array(_) if length != usize::MAX => {
                put_key_value(self.out, self.tag, key, &truncated(value, length));
            }
            Value::Bytes(v) => {
                let kept = v.get(..length).unwrap_or(v);
                put_key_value(self.out, self.tag, key, ValueRef::Bytes(kept));
            }
            other => put_key_value(self.out, self.tag, key, other),
        }
    }

    /// Adds encoded attributes whose keys are no field's.
    #[inline]
    pub(crate) fn put_static(&mut self, extra: &StaticAttributes) {
        if self.count + extra.count <= self.quick_limit {
            self.out.extend_from_slice(&extra.bytes);
            self.count += extra.count;
        } else {
            self.put_where_absent(extra, |_| false);
        }
    }

    /// Adds encoded attributes, except those whose key is present or is going to be.
    #[cold]
    pub(crate) fn put_where_absent(
        &mut self,
        extra: &StaticAttributes,
        will_be: impl Fn(&[u8]) -> bool,
    ) {
        for (_, content, whole) in fields(&extra.bytes) {
            let is_present = key_of(content).is_some_and(|key| {
                will_be(key) || find_attribute(self.mine(), self.tag, key).is_some()
            });
            if is_present {
                // The application's value wins.
            } else if self.count < self.count_limit {
                self.out.extend_from_slice(whole);
                self.count += 1;
            } else {
                self.dropped += 1;
            }
        }
    }

    /// Adds an encoded attribute under this writer's tag; its key must not be present.
    pub(super) fn put_copy(&mut self, attribute: &[u8]) {
        if self.count >= self.count_limit {
            self.dropped += 1;
            return;
        }
        let more = attribute.len();
        if self.out.capacity() - self.out.len() < more && !self.room.make_room(self.out, more) {
            self.dropped += 1;
            return self.room.leave_out();
        }
        let at = self.out.len();
        self.out.extend_from_slice(attribute);
        if let Some(tag) = self.out.get_mut(at) {
            *tag = self.tag;
        }
        self.count += 1;
    }

    /// The counts of this writer, with empty bytes.
    #[inline]
    pub(crate) fn written(&self) -> EncodedAttributes<'static> {
        EncodedAttributes {
            bytes: &[],
            recorded: self.recorded,
            dynamic: self.dynamic,
            count: self.count,
            dropped: self.dropped,
        }
    }

    /// The bytes of this writer.
    pub(super) fn mine(&self) -> &[u8] {
        self.out.get(self.base..).unwrap_or_default()
    }

    /// Removes an attribute by its range in [`mine`](Self::mine).
    pub(super) fn cut(&mut self, at: std::ops::Range<usize>) {
        self.out.drain(self.base + at.start..self.base + at.end);
        self.count -= 1;
    }

    pub(super) fn put_error(
        &mut self,
        name: &str,
        key: &EncodedKey,
        error: &(dyn Error + 'static),
    ) {
        if let Err(why) = key.put_fmt(self.out, self.limit, self.room, format_args!("{error}")) {
            self.give_back(why);
        }
        let limit = self.limit;
        self.put_dynamic(&format!("{name}.chain"), |key, out, room| {
            let causes = chain(error).skip(1).map(AsFarAsItGoes);
            key.put_list(out, limit, room, causes).is_ok()
        });
    }

    /// `exception.message` and, where there are causes, `exception.stacktrace` as a string (ERR-2).
    pub(crate) fn put_exception(&mut self, error: &(dyn Error + 'static)) {
        let limit = self.limit;
        self.put_dynamic(semconv::EXCEPTION_MESSAGE, |key, out, room| {
            let message = AsFarAsItGoes(error);
            key.put_fmt(out, limit, room, format_args!("{message}"))
                .is_ok()
        });
        if error.source().is_some() {
            self.put_dynamic(semconv::EXCEPTION_STACKTRACE, |key, out, room| {
                let trace = ErrorChain(error);
                key.put_fmt(out, limit, room, format_args!("{trace}"))
                    .is_ok()
            });
        }
    }
}

/// Formats an error with its causes.
struct ErrorChain<'e>(&'e (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", AsFarAsItGoes(self.0))?;
        chain(self.0).skip(1).try_for_each(|cause| {
            // Fails once the limit is reached.
            f.write_str("\ncaused by: ")?;
            write!(f, "{}", AsFarAsItGoes(cause))
        })
    }
}

/// An upper estimate of a value's encoded size, with strings and bytes cut to `length`.
fn size_of(value: &Value, length: usize) -> usize {
    match value {
        Value::String(v) => truncate(v, length).len(),
        Value::Bytes(v) => v.len().min(length),
        Value::Array(v) => v.iter().map(|v| 16 + size_of(v, length)).sum(),
        _ => 16,
    }
}

/// The value with strings and bytes cut to `length` (LIM-2).
#[cold]
fn truncated(value: &Value, length: usize) -> Value {
    match value {
        Value::String(v) => truncate(v, length).to_owned().into(),
        Value::Bytes(v) => v.get(..length).unwrap_or(v).to_vec().into(),
        Value::Array(v) => Value::Array(v.iter().map(|v| truncated(v, length)).collect()),
        other => other.clone(),
    }
}

/// Encoded attributes in a buffer of their own, with their counts.
#[derive(Debug)]
pub(crate) struct EncodedAttributes<'a> {
    /// Encoded as `Span.attributes`.
    pub(crate) bytes: &'a [u8],
    pub(crate) recorded: u64,
    pub(crate) dynamic: bool,
    pub(crate) count: u32,
    pub(crate) dropped: u32,
}
