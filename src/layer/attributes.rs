//! [`AttributeWriter`]: a row of encoded attributes in the making, each key once.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;

use super::callsite::StaticAttributes;
use crate::attribute::{KeyValue, Value};
use crate::semconv;
use crate::wire::field::{AsFarAsItGoes, EncodedKey, Room, Unwritten, ValueLimit, truncate};
use crate::wire::span::{fields, find_attribute, key_of};
use crate::wire::value::{ValueRef, put_key_value};

/// Writes attributes to the end of a buffer, each key once.
#[derive(Debug)]
pub(crate) struct AttributeWriter<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    /// Where this visitor's attributes begin in `out`.
    base: usize,
    pub(super) tag: u8,
    pub(super) limit: &'a ValueLimit,
    /// Who pays for what `out` takes.
    pub(super) room: &'a mut dyn Room,
    count_limit: u32,
    /// Up to so many a field's attribute is admitted without a look at the others: zero once
    /// [`dynamic`](Self::dynamic).
    quick_limit: u32,
    /// Bits of the fields written.
    pub(crate) recorded: u64,
    /// Whether a key that is no field's was written: then any key may be there already.
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

    /// Makes room for a field's attribute; says whether it may be written.
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

    /// Takes back what [`admit`](Self::admit) gave: the value could not be written.
    #[cold]
    pub(super) fn give_back(&mut self, why: Unwritten) {
        self.count -= 1;
        self.dropped += 1;
        if why == Unwritten::NoRoom {
            self.room.leave_out();
        }
    }

    /// Writes an attribute whose key is no field's; `put` says whether there was room for it.
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

    /// Writes an attribute that code gave.
    pub(crate) fn put_value(&mut self, key: &str, value: &Value) {
        // Keys are not empty (TR-8).
        if key.is_empty() {
            self.dropped += 1;
        } else if self.admit_rare(0, key.as_bytes()) {
            self.set_dynamic();
            self.write_value(key, value);
        }
    }

    /// The same for very many, the first of this row.
    #[cold]
    pub(crate) fn put_many(&mut self, attributes: &[KeyValue]) {
        let mut kept: Vec<Option<&KeyValue>> = Vec::new();
        let mut places = HashMap::new();
        for attribute in attributes.iter().filter(|a| !a.key.is_empty()) {
            let is_known = places.contains_key(&*attribute.key);
            if !is_known && self.count >= self.count_limit {
                self.dropped += 1;
                continue;
            }
            // As one by one: who comes again stands at its later place.
            if let Some(earlier) = places.insert(&*attribute.key, kept.len()) {
                kept[earlier] = None;
            } else {
                self.count += 1;
            }
            kept.push(Some(attribute));
        }
        self.dropped += attributes.iter().filter(|a| a.key.is_empty()).count() as u32;
        self.set_dynamic();
        for attribute in kept.into_iter().flatten() {
            self.write_value(&attribute.key, &attribute.value);
        }
    }

    /// Writes the value of an attribute that was admitted.
    fn write_value(&mut self, key: &str, value: &Value) {
        let length = self.limit.length;
        // What is short needs no permission.
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

    /// Adds attributes that are encoded already and whose keys are no field's.
    #[inline]
    pub(crate) fn put_static(&mut self, extra: &StaticAttributes) {
        if self.count + extra.count <= self.quick_limit {
            self.out.extend_from_slice(&extra.bytes);
            self.count += extra.count;
        } else {
            self.put_where_absent(extra, |_| false);
        }
    }

    /// Adds attributes that are encoded already, save those whose key is there or will be.
    #[cold]
    pub(crate) fn put_where_absent(
        &mut self,
        extra: &StaticAttributes,
        will_be: impl Fn(&[u8]) -> bool,
    ) {
        for (_, content, whole) in fields(&extra.bytes) {
            let known = key_of(content).is_some_and(|key| {
                will_be(key) || find_attribute(self.mine(), self.tag, key).is_some()
            });
            if known {
                // What the application recorded wins.
            } else if self.count < self.count_limit {
                self.out.extend_from_slice(whole);
                self.count += 1;
            } else {
                self.dropped += 1;
            }
        }
    }

    /// Adds an attribute that is encoded already, under a tag of the same length, and whose key is not
    /// there.
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

    /// What was written so far, but for the bytes.
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

    /// The bytes that this visitor wrote.
    pub(super) fn mine(&self) -> &[u8] {
        self.out.get(self.base..).unwrap_or_default()
    }

    /// Removes an attribute by its place among [`mine`](Self::mine).
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
            let causes = sources(error).map(AsFarAsItGoes);
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
                let trace = Trace(error);
                key.put_fmt(out, limit, room, format_args!("{trace}"))
                    .is_ok()
            });
        }
    }
}

/// An error with its causes.
struct Trace<'e>(&'e (dyn Error + 'static));

impl fmt::Display for Trace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", AsFarAsItGoes(self.0))?;
        sources(self.0).try_for_each(|cause| {
            // Fails where nothing more is taken.
            f.write_str("\ncaused by: ")?;
            write!(f, "{}", AsFarAsItGoes(cause))
        })
    }
}

/// Bytes that a value takes, strings and bytes in it cut to `length`; a little more rather than less.
fn size_of(value: &Value, length: usize) -> usize {
    match value {
        Value::String(v) => truncate(v, length).len(),
        Value::Bytes(v) => v.len().min(length),
        Value::Array(v) => v.iter().map(|v| 16 + size_of(v, length)).sum(),
        _ => 16,
    }
}

/// With the strings and bytes in it no longer than `length` (LIM-2).
#[cold]
fn truncated(value: &Value, length: usize) -> Value {
    match value {
        Value::String(v) => truncate(v, length).to_owned().into(),
        Value::Bytes(v) => v.get(..length).unwrap_or(v).to_vec().into(),
        Value::Array(v) => Value::Array(v.iter().map(|v| truncated(v, length)).collect()),
        other => other.clone(),
    }
}

/// Attributes that were visited into a buffer of their own.
#[derive(Debug)]
pub(crate) struct EncodedAttributes<'a> {
    /// Encoded as `Span.attributes`.
    pub(crate) bytes: &'a [u8],
    pub(crate) recorded: u64,
    pub(crate) dynamic: bool,
    pub(crate) count: u32,
    pub(crate) dropped: u32,
}

/// The causes of an error, outermost first; bounded, because a foreign chain may be a ring.
fn sources<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
    .take(64)
}
