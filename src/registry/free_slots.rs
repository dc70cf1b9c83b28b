//! [`FreeSlots`]: the slots of a registry that no span has.
//!
//! A thread keeps a few of those that it freed last, without a lock. The others are in lists, of which each
//! thread prefers one.

use std::cell::{Cell, RefCell};

use crate::fork::Home;
use crate::pool::preferred_shard;
use crate::sync::{Arc, CachePadded, Mutex, MutexGuard, lock, try_lock};

/// Lists of free slots; each thread prefers one.
const SHARDS: usize = 16;

/// Free slots that a thread without any takes from another list.
const TAKEN: usize = 32;

/// Free slots that a thread keeps.
const KEPT: usize = 8;

/// Stands for no registry.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct FreeSlots {
    /// `None` where no fork can be noticed.
    home: Option<Home>,
    lists: [FreeList; SHARDS],
}

type FreeList = CachePadded<Mutex<Vec<u32>>>;

/// Locks, unless this is a fork of the process and the lock's holder did not come along: after some time the
/// lock counts as one of those.
#[inline(always)]
pub(super) fn lock_here<'a, T>(
    home: &Option<Home>,
    mutex: &'a Mutex<T>,
) -> Option<MutexGuard<'a, T>> {
    #[cold]
    #[inline(never)]
    fn wait<'a, T>(home: &Option<Home>, mutex: &'a Mutex<T>) -> Option<MutexGuard<'a, T>> {
        const TRIES: usize = 100;
        if !home.as_ref().is_some_and(Home::is_left) {
            return Some(lock(mutex));
        }
        (0..TRIES).find_map(|_| {
            std::thread::yield_now();
            try_lock(mutex)
        })
    }
    try_lock(mutex).or_else(|| wait(home, mutex))
}

/// The slots that a thread keeps, of one registry.
struct KeptSlots {
    registry: Cell<u32>,
    count: Cell<usize>,
    slots: [Cell<u32>; KEPT],
    /// Where they go when the thread ends.
    lists: RefCell<Option<Arc<FreeSlots>>>,
}

thread_local! {
    static KEPT_SLOTS: KeptSlots = const {
        KeptSlots {
            registry: Cell::new(NONE),
            count: Cell::new(0),
            slots: [const { Cell::new(0) }; KEPT],
            lists: RefCell::new(None),
        }
    };
}

impl KeptSlots {
    #[inline(always)]
    fn take(&self, registry: u32) -> Option<u32> {
        if self.registry.get() != registry {
            return None;
        }
        let last = self.count.get().checked_sub(1)?;
        let slot = self.slots.get(last)?.get();
        self.count.set(last);
        Some(slot)
    }

    #[inline(always)]
    fn keep(&self, registry: u32, slot: u32) -> bool {
        let count = self.count.get();
        match self.slots.get(count) {
            Some(place) if self.registry.get() == registry => {
                place.set(slot);
                self.count.set(count + 1);
                true
            }
            _ => false,
        }
    }

    /// From now on keeps slots of this registry.
    fn change_to(&self, lists: &Arc<FreeSlots>, registry: u32) {
        self.give_all();
        self.registry.set(registry);
        *self.lists.borrow_mut() = Some(Arc::clone(lists));
    }

    fn give_all(&self) {
        if let Some(lists) = self.lists.take() {
            let slots = self.slots.iter().take(self.count.take());
            slots.for_each(|slot| lists.give(slot.get()));
        }
    }
}

impl Drop for KeptSlots {
    fn drop(&mut self) {
        self.give_all();
    }
}

/// A slot of this registry that the thread keeps.
#[inline(always)]
pub(super) fn take_kept(registry: u32) -> Option<u32> {
    let kept = KEPT_SLOTS.try_with(|kept| kept.take(registry));
    kept.ok().flatten()
}

/// Keeps a free slot for this thread; false if it has enough, or keeps those of another registry.
#[inline(always)]
pub(super) fn keep(registry: u32, slot: u32) -> bool {
    let kept = KEPT_SLOTS.try_with(|kept| kept.keep(registry, slot));
    kept.unwrap_or(false)
}

/// Adds a free slot to a list, unless the thread keeps it from now on.
pub(super) fn give(lists: &Arc<FreeSlots>, registry: u32, slot: u32) {
    let kept = KEPT_SLOTS.try_with(|kept| {
        let is_other = kept.registry.get() != registry;
        if is_other {
            kept.change_to(lists, registry);
        }
        is_other && kept.keep(registry, slot)
    });
    if !kept.unwrap_or(false) {
        lists.give(slot);
    }
}

impl FreeSlots {
    pub(super) fn new(home: Option<Home>) -> Self {
        let lists = Default::default();
        Self { home, lists }
    }

    fn lock<'a>(&self, list: &'a FreeList) -> Option<MutexGuard<'a, Vec<u32>>> {
        lock_here(&self.home, &list.0)
    }

    fn lock_preferred(&self) -> Option<MutexGuard<'_, Vec<u32>>> {
        self.lock(&self.lists[preferred_shard() % SHARDS])
    }

    /// A slot of the thread's list, else of another one.
    pub(super) fn take(&self) -> Option<u32> {
        let found = self.lock_preferred().and_then(|mut list| list.pop());
        found.or_else(|| self.take_elsewhere())
    }

    #[cold]
    #[inline(never)]
    fn take_elsewhere(&self) -> Option<u32> {
        for list in &self.lists {
            let mut taken = [0; TAKEN];
            let count = {
                let Some(mut free) = self.lock(list) else {
                    continue;
                };
                let rest = free.len() - free.len().div_ceil(2).min(TAKEN);
                let count = free.len() - rest;
                taken[..count].copy_from_slice(&free[rest..]);
                free.truncate(rest);
                count
            };
            if let Some((slot, more)) = taken[..count].split_first() {
                more.iter().for_each(|slot| self.give(*slot));
                return Some(*slot);
            }
        }
        None
    }

    fn give(&self, slot: u32) {
        if let Some(mut list) = self.lock_preferred() {
            list.push(slot);
        }
    }
}

#[cfg(all(test, not(tracing_otlp_loom)))]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    fn give_here(lists: &Arc<FreeSlots>, registry: u32, slot: u32) {
        if !keep(registry, slot) {
            give(lists, registry, slot);
        }
    }

    fn count(lists: &FreeSlots) -> usize {
        lists.lists.iter().map(|list| lock(&list.0).len()).sum()
    }

    #[test]
    fn a_thread_keeps_a_few_slots_of_one_registry_until_it_ends() {
        let (one, other) = (
            Arc::new(FreeSlots::new(None)),
            Arc::new(FreeSlots::new(None)),
        );
        let thread = std::thread::spawn({
            let (one, other) = (Arc::clone(&one), Arc::clone(&other));
            move || {
                assert_eq!(take_kept(1), None);
                (0..20).for_each(|slot| give_here(&one, 1, slot));
                assert_eq!((count(&one), take_kept(2)), (20 - KEPT, None));
                assert_eq!(take_kept(1), Some(KEPT as u32 - 1));
                give_here(&other, 2, 5);
                assert_eq!(
                    (count(&one), count(&other)),
                    (19, 0),
                    "it keeps the other's"
                );
                assert_eq!(take_kept(1), None);
                give_here(&other, 2, 6);
                assert_eq!(take_kept(2), Some(6));
            }
        });
        thread.join().unwrap();
        assert_eq!((count(&one), count(&other)), (19, 1));
        assert_eq!(Arc::strong_count(&other), 1);
    }
}
