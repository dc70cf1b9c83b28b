//! [`AttributeIndex`]: the offsets of attributes by key, for a buffer with many of them: a search for each
//! new attribute would take quadratic time.
//!
//! A table with open addressing of eight bytes a place, whose memory a thread keeps for the next span.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire::span::{fields, find_attribute, key_of};
use crate::wire::varint::{LEN, tag};

/// A buffer with more attributes, events and links is searched by an index: below this a walk over the
/// fields is as fast.
pub(super) const MANY: u32 = 16;

/// The tag of a replaced attribute: no field of `Span` has it. Such bytes are removed at once for all,
/// at the latest before the span is sealed, because each removal moves the bytes behind it.
const DEAD: u8 = tag(7, LEN);

/// The most indexes that a thread keeps.
const MOST_IDLE: usize = 4;

/// The least number of places, and the most that are kept for reuse.
const LEAST: usize = 64;
const MOST_KEPT: usize = 1024;

/// Offsets of attributes in a body, by the hashes of their keys. Used after [`begin`](Self::begin).
#[derive(Debug, Default)]
pub(super) struct AttributeIndex {
    /// A power of two of them, of which at least half are free.
    places: Vec<IndexSlot>,
    /// Places that are not free, with those of removed keys.
    used: usize,
    /// Bytes of replaced attributes.
    dead: usize,
    /// The bytes that the span with this index counts for it.
    pub(super) counted: usize,
}

#[derive(Debug, Clone, Copy)]
struct IndexSlot {
    hash: u32,
    /// The offset, [`FREE`] or [`REMOVED`].
    at: u32,
}

const FREE: u32 = u32::MAX;
const REMOVED: u32 = u32::MAX - 1;

const EMPTY: IndexSlot = IndexSlot { hash: 0, at: FREE };

thread_local! {
    /// Indexes that are not in use, so that in the steady state none is allocated.
    #[allow(clippy::vec_box, reason = "an index moves by its pointer")]
    static IDLE: Cell<Vec<Box<AttributeIndex>>> = const { Cell::new(Vec::new()) };
}

impl AttributeIndex {
    /// An idle index of the thread, or a new one.
    pub(super) fn take() -> Box<Self> {
        let idle = IDLE.try_with(|idle| {
            let mut all = idle.take();
            let last = all.pop();
            idle.set(all);
            last
        });
        idle.ok().flatten().unwrap_or_default()
    }

    /// Takes back an index for the thread's next user.
    pub(super) fn give(self: Box<Self>) {
        // After the thread's locals are destroyed, the index is dropped.
        let _ = IDLE.try_with(|idle| {
            let mut all = idle.take();
            if all.len() < MOST_IDLE && self.places.capacity() <= MOST_KEPT {
                all.push(self);
            }
            idle.set(all);
        });
    }

    /// Begins an empty index for `count` attributes, in the memory that it has.
    pub(super) fn begin(&mut self, count: usize) {
        let wanted = (2 * count + 2).next_power_of_two().max(LEAST);
        // What was enough for the last buffer is probably enough for this one.
        let kept = (self.places.capacity() + 1).next_power_of_two() / 2;
        self.places.clear();
        self.places.resize(wanted.max(kept), EMPTY);
        (self.used, self.dead) = (0, 0);
    }

    /// Begins an index of the attributes with this tag in a body.
    pub(super) fn begin_with(&mut self, body: &[u8], tag: u8, count: u32) {
        self.begin(count as usize);
        let mut at = 0;
        for (found, content, whole) in fields(body) {
            if let Some(key) = key_of(content).filter(|_| found == tag) {
                self.note(hash_of(key), at);
            }
            at += whole.len();
        }
    }

    /// Notes that the attribute of a key that is not in the index begins at `at`.
    #[inline]
    fn note(&mut self, hash: u32, at: usize) {
        self.make_place();
        let mask = self.places.len().wrapping_sub(1);
        let mut next = hash as usize & mask;
        while self
            .places
            .get(next)
            .is_some_and(|place| place.at < REMOVED)
        {
            next = (next + 1) & mask;
        }
        self.fill(Vacancy { hash, place: next }, at);
    }

    /// Makes sure that half of the places are free after one more key.
    #[inline(always)]
    fn make_place(&mut self) {
        if 2 * (self.used + 1) > self.places.len() {
            self.grow();
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        let len = (2 * self.places.len()).max(LEAST);
        let old = std::mem::replace(&mut self.places, vec![EMPTY; len]);
        self.used = 0;
        old.into_iter()
            .filter(|place| place.at < REMOVED)
            .for_each(|place| self.note(place.hash, place.at as usize));
    }

    /// Marks the attribute of this key as replaced, if there is one, and returns the key's place.
    #[inline]
    pub(super) fn replace(&mut self, key: &[u8], tag: u8, body: &mut [u8]) -> Replaced {
        self.make_place();
        let hash = hash_of(key);
        let mask = self.places.len().wrapping_sub(1);
        let mut next = hash as usize & mask;
        let mut place = None;
        while let Some(known) = self.places.get(next) {
            if known.at == FREE {
                break;
            }
            if known.at == REMOVED {
                place = place.or(Some(next));
            } else if known.hash == hash
                && let Some(len) = len_of(body, known.at as usize, tag, key)
            {
                self.mark(next, len, body);
                return Replaced {
                    was_there: true,
                    vacancy: Vacancy { hash, place: next },
                };
            }
            next = (next + 1) & mask;
        }
        let place = place.unwrap_or(next);
        Replaced {
            was_there: false,
            vacancy: Vacancy { hash, place },
        }
    }

    #[cold]
    fn mark(&mut self, place: usize, len: usize, body: &mut [u8]) {
        let Some(place) = self.places.get_mut(place) else {
            return;
        };
        if let Some(tag) = body.get_mut(place.at as usize) {
            *tag = DEAD;
        }
        place.at = REMOVED;
        self.dead += len;
    }

    /// Notes that the attribute of a key begins at `at`. The vacancy is of the last [`replace`](Self::replace).
    #[inline(always)]
    pub(super) fn fill(&mut self, Vacancy { hash, place }: Vacancy, at: usize) {
        // A span has less than 2 GiB; without an offset the key is only not found.
        let Some(at) = u32::try_from(at).ok().filter(|at| *at < REMOVED) else {
            return;
        };
        if let Some(place) = self.places.get_mut(place) {
            self.used += usize::from(place.at == FREE);
            *place = IndexSlot { hash, at };
        }
    }

    /// Whether replaced attributes take more than half of the body.
    pub(super) fn is_wasteful(&self, body: &[u8]) -> bool {
        self.dead > body.len() / 2
    }

    /// Removes replaced attributes from the body from `base` on. The offsets become invalid: the index
    /// is given back.
    pub(super) fn clean(&self, body: &mut Vec<u8>, base: usize) {
        if self.dead == 0 {
            return;
        }
        let (mut from, mut to) = (base, base);
        while let Some(field) = body.get(from..).and_then(first_field) {
            let (len, is_dead) = (field.len(), field.first() == Some(&DEAD));
            if !is_dead {
                body.copy_within(from..from + len, to);
                to += len;
            }
            from += len;
        }
        body.truncate(to);
    }

    /// Bytes of the index.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.places.capacity() * size_of::<IndexSlot>()
    }
}

/// The place of a key that is not in the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vacancy {
    hash: u32,
    place: usize,
}

/// The result of [`AttributeIndex::replace`].
#[derive(Debug)]
pub(super) struct Replaced {
    /// Whether an attribute was marked.
    pub(super) was_there: bool,
    pub(super) vacancy: Vacancy,
}

/// The first field with tag and length.
#[inline]
fn first_field(body: &[u8]) -> Option<&[u8]> {
    fields(body).next().map(|(_, _, whole)| whole)
}

/// The length of the attribute at `at`, if it has this key.
#[cold]
#[inline(never)]
fn len_of(body: &[u8], at: usize, tag: u8, key: &[u8]) -> Option<usize> {
    let first = first_field(body.get(at..)?)?;
    find_attribute(first, tag, key).map(|_| first.len())
}

/// The hash of a key. Keys may come from outside the process, so it depends on a number that the process
/// draws: who does not know it cannot choose keys that collide.
#[inline]
fn hash_of(key: &[u8]) -> u32 {
    #[inline(always)]
    fn word(bytes: &[u8]) -> Option<u64> {
        bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }
    #[inline(always)]
    fn mixed(hash: u64, word: u64) -> u64 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(hash ^ word) * u128::from(ODD);
        product as u64 ^ (product >> 64) as u64
    }
    let mut hash = seed() ^ key.len() as u64;
    let mut rest = key;
    while let (Some(first), true) = (word(rest), rest.len() > 8) {
        hash = mixed(hash, first);
        rest = rest.get(8..).unwrap_or_default();
    }
    // The last eight bytes, some of them again; of a short key its bytes one by one.
    let last = key.len().checked_sub(8).and_then(|at| word(key.get(at..)?));
    let last = last.unwrap_or_else(|| {
        let bytes = key.iter();
        bytes.fold(0, |word, byte| word << 8 | u64::from(*byte))
    });
    hash = mixed(hash, last);
    (hash >> 32) as u32 ^ hash as u32
}

/// A random number of the process, never zero.
#[inline]
fn seed() -> u64 {
    static SEED: AtomicU64 = AtomicU64::new(0);
    #[cold]
    fn draw() -> u64 {
        use std::hash::BuildHasher as _;
        let new = std::hash::RandomState::new().hash_one(0) | 1;
        // Of two threads one is first, and both take its number.
        let drawn = SEED.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed);
        drawn.err().unwrap_or(new)
    }
    match SEED.load(Ordering::Relaxed) {
        0 => draw(),
        seed => seed,
    }
}
