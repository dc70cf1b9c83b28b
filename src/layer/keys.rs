//! [`Keys`]: where the attributes of a span with very many fields stand, so that one more costs no
//! look at all of them.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::wire::span::{SPAN_ATTRIBUTE, fields, key_of};
use crate::wire::varint::{LEN, tag};

/// From so many fields on a span has such a table: more than the specification's limits allow.
pub(super) const MANY: u32 = 384;

/// What an entry takes, empty places included.
const ENTRY: usize = 40;

/// The tag of an attribute that was replaced: of no field of `Span`, and gone before it is sealed.
const DEAD: u8 = tag(7, LEN);

/// Places of attributes in a body, by their keys' hashes.
#[derive(Debug, Default)]
pub(super) struct Keys {
    places: HashMap<u64, usize>,
    hasher: RandomState,
    /// Bytes of attributes that were replaced.
    dead: usize,
}

impl Keys {
    /// The table of a body.
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

    /// An attribute with this key begins at `at`.
    pub(super) fn note(&mut self, key: &[u8], at: usize) {
        self.places.insert(self.hasher.hash_one(key), at);
    }

    /// Marks the attribute with this key as replaced; false if there is none. Where two keys share
    /// a hash, which is not to be expected, only the later can be found.
    pub(super) fn bury(&mut self, key: &[u8], body: &mut [u8]) -> bool {
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

    /// Whether what was replaced takes more than what is there.
    pub(super) fn is_wasteful(&self, body: &[u8]) -> bool {
        self.dead > body.len() / 2
    }

    /// Takes what was replaced out of the body; the table does not fit it any more.
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

    /// What it takes.
    pub(super) fn size(&self) -> usize {
        self.places.capacity() * ENTRY
    }
}

fn first_field(body: &[u8]) -> Option<(u8, usize)> {
    fields(body)
        .next()
        .map(|(tag, _, whole)| (tag, whole.len()))
}
