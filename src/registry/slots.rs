//! [`Slots`]: the open spans of a registry, each in a slot that its id names.
//!
//! A slot's state is one word: the generation of its span, and the references. So a reference is taken and
//! released by one exchange, which an id of another generation fails: an id that was kept too long finds
//! nothing. A slot that is free is used again at once.
//!
//! What is read of a span beside its state is valid if the state is the span's before and after the reading.
//! The slot is written while its state says that it is free, and belongs to the thread that took it.

use once_cell::race::OnceBox;
use tracing_core::Metadata;

use super::free_slots::{self, FreeSlots, lock_here};
use crate::fork::Home;
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, fence};

/// Slots of the first page, which is there from the start and found without a search; each further page has
/// as many as all before it.
const FIRST: usize = 256;

/// Further pages, for more spans than memory has room for.
const PAGES: usize = 24;

/// The high half of a state is the generation, as in the span's id; that of the next span if the slot is free.
const GENERATION: u64 = 1 << 32;

/// The low half of a state: the references, and two flags. All zero for a slot that is free.
const REFERENCES: u64 = TWIN - 1;
/// The span has a twin.
const TWIN: u64 = 1 << 30;
/// The last reference is gone, and the layers are being told.
const CLOSING: u64 = 1 << 31;

#[derive(Debug)]
pub(super) struct Slots {
    /// `None` where no fork can be noticed.
    home: Option<Home>,
    registry: u32,
    first: Box<[SpanSlot; FIRST]>,
    pages: [OnceBox<Page>; PAGES],
    /// The generation of a slot's first span, in the high half of the id. Another in each registry, so that a
    /// span of one is not taken for a span of another, as an explicit parent or a link.
    first_generation: u64,
    /// The number of slots that were ever used.
    used: AtomicU64,
    free: Arc<FreeSlots>,
}

type Page = Box<[SpanSlot]>;

/// On its own cache line: two threads rarely use one span.
#[derive(Debug)]
#[repr(align(64))]
struct SpanSlot {
    state: AtomicU64,
    parent: AtomicU64,
    description: Mutex<Description>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Description {
    metadata: Option<&'static Metadata<'static>>,
    /// Zero unless the state has [`TWIN`].
    twin: u64,
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

/// What a closed span leaves to release. Ids are zero for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FreedSpan {
    pub(super) parent: u64,
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

/// Page and offset of a slot that is not in the first page.
#[inline(always)]
fn place(index: u32) -> (usize, usize) {
    let at = index as usize;
    let page = (at | FIRST).ilog2() - FIRST.ilog2();
    (page as usize, at - (FIRST << page))
}

/// The generation after one. The table of a layer spreads its spans by the bits above the lowest one of the
/// generation (`layer/open_spans`): those change last, so the spans of one slot stay in one place of it, and
/// those of two slots in two.
#[inline(always)]
fn next(generation: u64) -> u64 {
    const STEP: u64 = GENERATION << 11;
    match generation.checked_add(STEP) {
        Some(next) => next,
        None => generation.wrapping_add(STEP).wrapping_add(GENERATION),
    }
}

/// Whether a slot in this state has the span of the id, open or closing.
#[inline(always)]
fn has(state: u64, id: u64) -> bool {
    (state ^ id) >> 32 == 0 && state & (REFERENCES | CLOSING) != 0
}

impl SpanSlot {
    fn new(generation: u64) -> Self {
        Self {
            state: AtomicU64::new(generation),
            parent: AtomicU64::new(0),
            description: Mutex::default(),
        }
    }
}

impl Slots {
    pub(super) fn new(registry: u32) -> Self {
        // Odd, and so its multiples are far apart.
        const APART: u32 = 0x9e37_79b9;
        let home = Home::here().ok();
        let first_generation = u64::from(registry.wrapping_mul(APART)) << 32;
        Self {
            first: Box::new(std::array::from_fn(|_| SpanSlot::new(first_generation))),
            first_generation,
            registry,
            pages: std::array::from_fn(|_| OnceBox::new()),
            used: AtomicU64::new(0),
            free: Arc::new(FreeSlots::new(home.clone())),
            home,
        }
    }

    #[inline(always)]
    fn slot(&self, id: u64) -> Option<&SpanSlot> {
        let index = (id as u32).wrapping_sub(1);
        match self.first.get(index as usize) {
            None => self.slot_of_page(index),
            some => some,
        }
    }

    #[inline(never)]
    fn slot_of_page(&self, index: u32) -> Option<&SpanSlot> {
        let (page, at) = place(index);
        self.pages.get(page)?.get()?.get(at)
    }

    #[inline(always)]
    fn description<'a>(&self, slot: &'a SpanSlot) -> Option<MutexGuard<'a, Description>> {
        lock_here(&self.home, &slot.description)
    }

    /// Opens a span with one reference, and returns its id.
    #[inline]
    pub(super) fn open(&self, metadata: &'static Metadata<'static>, parent: u64, twin: u64) -> u64 {
        let index = self.take();
        let first = u64::from(index) + 1;
        let Some(slot) = self.slot(first) else {
            return first;
        };
        let generation = slot.state.load(Ordering::Relaxed);
        // Who reads what is written now sees that the slot was free, see `known`.
        fence(Ordering::Release);
        slot.parent.store(parent, Ordering::Relaxed);
        if let Some(mut description) = self.description(slot) {
            *description = Description {
                metadata: Some(metadata),
                twin,
            };
        }
        let flags = if twin == 0 { 0 } else { TWIN };
        slot.state.store(generation | flags | 1, Ordering::Release);
        generation | first
    }

    /// Adds a reference; false for a span that is not open, or closes.
    #[inline]
    pub(super) fn retain(&self, id: u64) -> bool {
        let Some(slot) = self.slot(id) else {
            return false;
        };
        let mut state = slot.state.load(Ordering::Relaxed);
        loop {
            if !has(state, id) || state & CLOSING != 0 {
                return false;
            }
            // A span with more references than are counted stays open for ever.
            if state & REFERENCES == REFERENCES {
                return true;
            }
            // Relaxed: the caller has the id from where a reference is held.
            let (order, failed) = (Ordering::Relaxed, Ordering::Relaxed);
            match (slot.state).compare_exchange_weak(state, state + 1, order, failed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    /// Releases a reference.
    #[inline]
    pub(super) fn release(&self, id: u64) -> Released {
        let Some(slot) = self.slot(id) else {
            return Released::Open;
        };
        let mut state = slot.state.load(Ordering::Relaxed);
        loop {
            if !has(state, id) {
                return Released::Open;
            }
            let (next, released) = match state & REFERENCES {
                // It closes already, or stays open for ever.
                0 | REFERENCES => return Released::Open,
                1 => ((state - 1) | CLOSING, Released::Last),
                _ => (state - 1, Released::Open),
            };
            // The thread with the last reference sees what others did with theirs.
            let (order, failed) = (Ordering::AcqRel, Ordering::Relaxed);
            match (slot.state).compare_exchange_weak(state, next, order, failed) {
                Ok(_) => return released,
                Err(now) => state = now,
            }
        }
    }

    /// Frees the slot of a closed span.
    #[inline]
    pub(super) fn free(&self, id: u64) -> Option<FreedSpan> {
        let slot = self.slot(id)?;
        let parent = slot.parent.load(Ordering::Relaxed);
        let mut state = slot.state.load(Ordering::Relaxed);
        loop {
            if !has(state, id) {
                return None;
            }
            let free = next(state & !(GENERATION - 1));
            let (order, failed) = (Ordering::AcqRel, Ordering::Relaxed);
            match (slot.state).compare_exchange_weak(state, free, order, failed) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        // From here on no twin is set, and the one that is being set is waited for.
        let twin = match state & TWIN {
            0 => 0,
            _ => self.description(slot).map_or(0, |d| d.twin),
        };
        self.give((id as u32).wrapping_sub(1));
        Some(FreedSpan { parent, twin })
    }

    #[inline]
    pub(super) fn known(&self, id: u64) -> Option<RegisteredSpan> {
        let slot = self.slot(id)?;
        if !has(slot.state.load(Ordering::Acquire), id) {
            return None;
        }
        let Description { metadata, twin } = *self.description(slot)?;
        let parent = slot.parent.load(Ordering::Relaxed);
        // If one of these is of a later span, its slot was free meanwhile, and the state shows that.
        fence(Ordering::Acquire);
        if !has(slot.state.load(Ordering::Relaxed), id) {
            return None;
        }
        Some(RegisteredSpan {
            id,
            metadata: metadata?,
            parent,
            twin,
        })
    }

    /// Gives an open span this twin, unless it has one; returns the twin that it has then.
    pub(super) fn set_twin(&self, id: u64, twin: u64) -> Option<u64> {
        let slot = self.slot(id)?;
        let mut description = self.description(slot)?;
        // The flag is set under the lock, so who frees the span waits for its twin.
        let add = |state| (has(state, id) && state & TWIN == 0).then_some(state | TWIN);
        let (order, failed) = (Ordering::AcqRel, Ordering::Acquire);
        match slot.state.fetch_update(order, failed, add) {
            Ok(_) => description.twin = twin,
            Err(state) if !has(state, id) => return None,
            Err(_) => {}
        }
        Some(description.twin)
    }

    /// A free slot.
    #[inline]
    fn take(&self) -> u32 {
        match free_slots::take_kept(self.registry) {
            Some(index) => index,
            None => self.take_elsewhere(),
        }
    }

    #[inline(never)]
    fn take_elsewhere(&self) -> u32 {
        self.free.take().unwrap_or_else(|| self.make())
    }

    #[cold]
    fn make(&self) -> u32 {
        let index = self.used.fetch_add(1, Ordering::Relaxed) as u32;
        if index as usize >= FIRST {
            let (page, _) = place(index);
            let slot = |_| SpanSlot::new(self.first_generation);
            let make = || Box::new((0..FIRST << page).map(slot).collect());
            let _made = self.pages.get(page).map(|page| page.get_or_init(make));
        }
        index
    }

    #[inline]
    fn give(&self, index: u32) {
        if !free_slots::keep(self.registry, index) {
            self.give_elsewhere(index);
        }
    }

    #[inline(never)]
    fn give_elsewhere(&self, index: u32) {
        free_slots::give(&self.free, self.registry, index);
    }
}

#[cfg(all(test, not(tracing_otlp_loom)))]
mod tests;
