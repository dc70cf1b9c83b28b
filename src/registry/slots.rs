//! [`Slots`]: the open spans of a registry, each in a slot that its id names.
//!
//! A slot's lock is held for a few loads and stores. A slot that is free is used again at once, under an id
//! of another generation, so an id that was kept too long finds nothing.

use once_cell::race::OnceBox;
use tracing_core::Metadata;

use crate::fork::Home;
use crate::pool::preferred_shard;
use crate::sync::{AtomicU64, CachePadded, Mutex, MutexGuard, Ordering, lock, try_lock};

/// Slots of the first page; each further page has as many as all before it.
const FIRST: usize = 64;

/// Pages for more spans than memory has room for.
const PAGES: usize = 26;

/// Lists of free slots; each thread prefers one.
const SHARDS: usize = 16;

/// Free slots that a thread without any takes from another list.
const TAKEN: usize = 32;

const GENERATION: u64 = 1 << 32;

type FreeList = CachePadded<Mutex<Vec<u32>>>;

#[derive(Debug)]
pub(super) struct Slots {
    /// `None` where no fork can be noticed.
    home: Option<Home>,
    pages: [OnceBox<Page>; PAGES],
    /// The generation of a slot's first span, in the high half of the id. Another in each registry, so that a
    /// span of one is not taken for a span of another, as an explicit parent or a link.
    first_generation: u64,
    /// The number of slots that were ever used.
    used: AtomicU64,
    free: [FreeList; SHARDS],
}

type Page = Box<[SpanSlot]>;

/// On its own cache line: two threads rarely use one span.
#[derive(Debug, Default)]
#[repr(align(64))]
struct SpanSlot(Mutex<SlotSpan>);

#[derive(Debug, Default)]
struct SlotSpan {
    /// Of the span, or of the last one before.
    id: u64,
    /// `None`: the slot is free.
    metadata: Option<&'static Metadata<'static>>,
    parent: u64,
    twin: u64,
    references: u32,
}

/// What is known of an open span. Ids are zero for none.
#[derive(Debug, Clone, Copy)]
pub(super) struct RegisteredSpan {
    pub(super) id: u64,
    pub(super) metadata: &'static Metadata<'static>,
    pub(super) parent: u64,
    /// The span that stands for it in the registry of tracing-subscriber.
    pub(super) twin: u64,
}

/// What the release of a reference leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Released {
    /// There are more references, or no such span.
    Open,
    /// It was the last one.
    Last,
}

/// Page and offset of a slot.
#[inline(always)]
fn place(index: u32) -> (usize, usize) {
    let at = index as usize + FIRST;
    let page = at.ilog2() - FIRST.ilog2();
    (page as usize, at - (FIRST << page))
}

impl Slots {
    pub(super) fn new(registry: u32) -> Self {
        // Odd, and so its multiples are far apart.
        const APART: u32 = 0x9e37_79b9;
        Self {
            first_generation: u64::from(registry.wrapping_mul(APART)) << 32,
            home: Home::here().ok(),
            pages: std::array::from_fn(|_| OnceBox::new()),
            used: AtomicU64::new(0),
            free: Default::default(),
        }
    }

    #[inline(always)]
    fn slot(&self, id: u64) -> Option<MutexGuard<'_, SlotSpan>> {
        let (page, at) = place((id as u32).wrapping_sub(1));
        let slot = self.pages.get(page)?.get()?.get(at)?;
        try_lock(&slot.0).or_else(|| self.wait(&slot.0))
    }

    /// In a fork of the process the holder of a lock may not have come along: after some time the lock
    /// counts as one of those.
    #[cold]
    #[inline(never)]
    fn wait<'a, T>(&self, mutex: &'a Mutex<T>) -> Option<MutexGuard<'a, T>> {
        const TRIES: usize = 100;
        if !self.home.as_ref().is_some_and(Home::is_left) {
            return Some(lock(mutex));
        }
        (0..TRIES).find_map(|_| {
            std::thread::yield_now();
            try_lock(mutex)
        })
    }

    /// The slot of an open span.
    #[inline(always)]
    fn open_slot(&self, id: u64) -> Option<MutexGuard<'_, SlotSpan>> {
        let slot = self.slot(id)?;
        (slot.id == id && slot.metadata.is_some()).then_some(slot)
    }

    /// Opens a span with one reference, and returns its id.
    #[inline]
    pub(super) fn open(&self, metadata: &'static Metadata<'static>, parent: u64, twin: u64) -> u64 {
        let index = self.take();
        let first = u64::from(index) + 1;
        let Some(mut slot) = self.slot(first) else {
            return first;
        };
        let id = match slot.id {
            0 => first | self.first_generation,
            older => older.wrapping_add(GENERATION),
        };
        *slot = SlotSpan {
            id,
            metadata: Some(metadata),
            parent,
            twin,
            references: 1,
        };
        id
    }

    /// Adds a reference; false for a span that is not open, or closes.
    #[inline]
    pub(super) fn retain(&self, id: u64) -> bool {
        let Some(mut slot) = self.open_slot(id) else {
            return false;
        };
        let is_open = slot.references > 0;
        if is_open {
            slot.references = slot.references.saturating_add(1);
        }
        is_open
    }

    /// Releases a reference.
    #[inline]
    pub(super) fn release(&self, id: u64) -> Released {
        let Some(mut slot) = self.open_slot(id) else {
            return Released::Open;
        };
        match slot.references {
            // It closes already.
            0 => Released::Open,
            1 => {
                slot.references = 0;
                Released::Last
            }
            _ => {
                slot.references -= 1;
                Released::Open
            }
        }
    }

    /// Frees the slot of a closed span.
    #[inline]
    pub(super) fn free(&self, id: u64) -> Option<RegisteredSpan> {
        let mut slot = self.open_slot(id)?;
        let known = RegisteredSpan {
            id,
            metadata: slot.metadata.take()?,
            parent: slot.parent,
            twin: slot.twin,
        };
        drop(slot);
        self.give((id as u32).wrapping_sub(1));
        Some(known)
    }

    #[inline]
    pub(super) fn known(&self, id: u64) -> Option<RegisteredSpan> {
        let slot = self.open_slot(id)?;
        Some(RegisteredSpan {
            id,
            metadata: slot.metadata?,
            parent: slot.parent,
            twin: slot.twin,
        })
    }

    /// Gives an open span this twin, unless it has one; returns the twin that it has then.
    pub(super) fn set_twin(&self, id: u64, twin: u64) -> Option<u64> {
        let mut slot = self.open_slot(id)?;
        if slot.twin == 0 {
            slot.twin = twin;
        }
        Some(slot.twin)
    }

    /// A free slot.
    #[inline]
    fn take(&self) -> u32 {
        let shard = &self.free[preferred_shard() % SHARDS].0;
        let free = try_lock(shard).or_else(|| self.wait(shard));
        match free.and_then(|mut free| free.pop()) {
            Some(index) => index,
            None => self.take_elsewhere(),
        }
    }

    /// Takes some that another thread freed, else a new one.
    #[cold]
    #[inline(never)]
    fn take_elsewhere(&self) -> u32 {
        for shard in &self.free {
            let mut taken = [0; TAKEN];
            let count = {
                let Some(mut free) = try_lock(&shard.0).or_else(|| self.wait(&shard.0)) else {
                    continue;
                };
                let rest = free.len() - free.len().div_ceil(2).min(TAKEN);
                let count = free.len() - rest;
                taken[..count].copy_from_slice(&free[rest..]);
                free.truncate(rest);
                count
            };
            if let Some((index, more)) = taken[..count].split_first() {
                more.iter().for_each(|index| self.give(*index));
                return *index;
            }
        }
        self.make()
    }

    #[cold]
    fn make(&self) -> u32 {
        let index = self.used.fetch_add(1, Ordering::Relaxed) as u32;
        let (page, _) = place(index);
        if let Some(page_of) = self.pages.get(page) {
            page_of.get_or_init(|| {
                let slots = (0..FIRST << page).map(|_| SpanSlot::default());
                Box::new(slots.collect())
            });
        }
        index
    }

    #[inline]
    fn give(&self, index: u32) {
        let shard = &self.free[preferred_shard() % SHARDS].0;
        if let Some(mut free) = try_lock(shard).or_else(|| self.wait(shard)) {
            free.push(index);
        }
    }
}

#[cfg(all(test, not(tracing_otlp_loom)))]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    fn metadata() -> &'static Metadata<'static> {
        static CALLSITE: tracing_core::callsite::DefaultCallsite =
            tracing_core::callsite::DefaultCallsite::new(&METADATA);
        static METADATA: Metadata<'static> = tracing_core::metadata! {
            name: "span",
            target: "target",
            level: tracing_core::Level::INFO,
            fields: &[],
            callsite: &CALLSITE,
            kind: tracing_core::metadata::Kind::SPAN,
        };
        &METADATA
    }

    #[test]
    fn pages_hold_all_indices_once() {
        let mut expected = (0, 0);
        for index in 0..10_000 {
            let at = place(index);
            assert_eq!(at, expected, "{index}");
            expected = match at.1 + 1 == FIRST << at.0 {
                true => (at.0 + 1, 0),
                false => (at.0, at.1 + 1),
            };
        }
        assert!(place(u32::MAX - FIRST as u32).0 <= PAGES);
    }

    #[test]
    fn a_slot_is_used_again_under_another_id() {
        let slots = Slots::new(0);
        let first = slots.open(metadata(), 0, 0);
        assert!(slots.retain(first));
        assert_eq!(slots.release(first), Released::Open);
        assert_eq!(slots.release(first), Released::Last);
        assert!(!slots.retain(first), "it closes");
        assert_eq!(slots.release(first), Released::Open);
        assert_eq!(slots.known(first).unwrap().id, first);
        assert!(slots.free(first).is_some() && slots.free(first).is_none());
        let second = slots.open(metadata(), 7, 0);
        assert_eq!((second as u32, second >> 32), (first as u32, 1));
        assert!(slots.known(first).is_none() && !slots.retain(first));
        assert_eq!(slots.known(second).unwrap().parent, 7);
        for id in [0, u64::MAX, 64, 65, 1 << 31] {
            assert!(slots.known(id).is_none());
            assert_eq!(slots.release(id), Released::Open);
        }
    }

    #[test]
    fn slots_that_another_thread_frees_are_used_again() {
        let slots = Slots::new(0);
        for _ in 0..100 {
            let ids: Vec<_> = (0..50).map(|_| slots.open(metadata(), 0, 0)).collect();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for id in ids {
                        assert_eq!(slots.release(id), Released::Last);
                        slots.free(id).unwrap();
                    }
                });
            });
        }
        assert!(slots.used.load(Ordering::Relaxed) <= 50);
    }
}
