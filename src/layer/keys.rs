//! [`AttributeIndex`]: the offsets of attributes by key, for a span with very many of them: a search for
//! each new attribute would take quadratic time.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::wire::span::{SPAN_ATTRIBUTE, fields, key_of};
use crate::wire::varint::{LEN, tag};

/// A span with so many attributes, events and links has an index: the sum of the default limits.
pub(super) const MANY: u32 = 384;

/// Bytes of an entry, including its share of empty places.
const ENTRY: usize = 40;

/// The tag of a replaced attribute: no field of `Span` has it. Such bytes are removed at once for all,
/// at the latest before the span is sealed, because each removal moves the bytes behind it.
const DEAD: u8 = tag(7, LEN);

/// Offsets of attributes in a body, by the hashes of their keys.
#[derive(Debug, Default)]
pub(super) struct AttributeIndex {
    places: HashMap<u64, usize>,
    hasher: RandomState,
    /// Bytes of replaced attributes.
    dead: usize,
}

impl AttributeIndex {
    /// The index of a body.
    pub(super) fn of(body: &[u8]) -> Self {
        let mut keys = Self::default();
        let mut at = 0;
        for (tag, content, whole) in fields(body) {
            if let Some(key) = key_of(content).filter(|_| tag == SPAN_ATTRIBUTE) {
                keys.note(key, at);
            }
            at += whole.len();
        }
        keys
    }

    /// Notes that the attribute with this key begins at `at`.
    pub(super) fn note(&mut self, key: &[u8], at: usize) {
        self.places.insert(self.hasher.hash_one(key), at);
    }

    /// Marks the attribute with this key as replaced; false if there is none. If two keys share a 64-bit
    /// hash, only the later is found.
    pub(super) fn mark_replaced(&mut self, key: &[u8], body: &mut [u8]) -> bool {
        let hash = self.hasher.hash_one(key);
        let Some(rest) = self.places.get(&hash).and_then(|at| body.get_mut(*at..)) else {
            return false;
        };
        let len = match fields(rest).next() {
            Some((SPAN_ATTRIBUTE, content, whole)) if key_of(content) == Some(key) => whole.len(),
            _ => return false,
        };
        if let Some(tag) = rest.first_mut() {
            *tag = DEAD;
        }
        self.places.remove(&hash);
        self.dead += len;
        true
    }

    /// Whether replaced attributes take more than half of the body.
    pub(super) fn is_wasteful(&self, body: &[u8]) -> bool {
        self.dead > body.len() / 2
    }

    /// Removes replaced attributes from the body; the offsets become invalid, so the index is consumed.
    pub(super) fn clean(self, body: &mut Vec<u8>) {
        if self.dead == 0 {
            return;
        }
        let (mut from, mut to) = (0, 0);
        while let Some((tag, len)) = first_field(body.get(from..).unwrap_or_default()) {
            if tag != DEAD {
                body.copy_within(from..from + len, to);
                to += len;
            }
            from += len;
        }
        body.truncate(to);
    }

    /// Bytes of the index.
    pub(super) fn size(&self) -> usize {
        self.places.capacity() * ENTRY
    }
}

fn first_field(body: &[u8]) -> Option<(u8, usize)> {
    fields(body)
        .next()
        .map(|(tag, _, whole)| (tag, whole.len()))
}
