//! [`AgeQueue`]: the traces with held spans, in the order of their first one.
//!
//! A trace enters once. The thread that removes it decides it, and the thread that decides it removes it.

use super::trace::LocalTrace;
use crate::sync::{Arc, CachePadded, Mutex, lock};

/// A power of two.
const SHARDS: usize = 16;

/// Stands for no place.
const NONE: usize = usize::MAX;

/// An empty shard keeps memory for this many places.
const KEPT: usize = 64;

#[derive(Debug, Default)]
pub(super) struct AgeQueue {
    shards: [CachePadded<Mutex<List>>; SHARDS],
}

/// The result of [`AgeQueue::enter`].
pub(super) enum QueuePlace {
    At(usize),
    /// The queue is closed, so the trace must not hold spans.
    Closed,
}

/// A doubly linked list in a vector, oldest first: a removal from the middle needs no search.
#[derive(Debug)]
struct List {
    places: Vec<QueueEntry>,
    /// Free places, linked by `after`.
    free: usize,
    first: usize,
    last: usize,
    held: usize,
    closed: bool,
}

#[derive(Debug)]
struct QueueEntry {
    /// `None` if the place is free.
    trace: Option<Arc<LocalTrace>>,
    /// When it entered, by the clock.
    since: u64,
    before: usize,
    after: usize,
}

impl AgeQueue {
    /// The shard of a trace, by a byte of its id.
    pub(super) fn shard_of(trace: &LocalTrace) -> usize {
        usize::from(trace.id()[15]) % SHARDS
    }

    fn list(&self, shard: usize) -> &Mutex<List> {
        &self.shards[shard % SHARDS].0
    }

    pub(super) fn enter(&self, trace: Arc<LocalTrace>, since: u64) -> QueuePlace {
        let shard = Self::shard_of(&trace);
        let mut list = lock(self.list(shard));
        match list.closed {
            true => QueuePlace::Closed,
            false => QueuePlace::At(list.push(trace, since)),
        }
    }

    /// Removes `trace` if it is still at this place. The comparison is needed because another trace may
    /// have the place by now.
    pub(super) fn leave(&self, at: usize, trace: &Arc<LocalTrace>) {
        let shard = Self::shard_of(trace);
        // The trace is dropped after the lock is released.
        let _out = lock(self.list(shard)).remove(at, |held, _| Arc::ptr_eq(held, trace));
    }

    /// Removes the oldest trace of this shard, or of the next shard with one.
    pub(super) fn oldest(&self, shard: usize) -> Option<Arc<LocalTrace>> {
        (0..SHARDS).find_map(|offset| {
            let mut list = lock(self.list(shard + offset));
            let first = list.first;
            list.remove(first, |_, _| true)
        })
    }

    /// Removes the oldest trace of a shard if `is_over` is true for the time of its entry.
    pub(super) fn expired(
        &self,
        shard: usize,
        is_over: impl Fn(u64) -> bool,
    ) -> Option<Arc<LocalTrace>> {
        let mut list = lock(self.list(shard));
        let first = list.first;
        list.remove(first, |_, since| is_over(since))
    }

    pub(super) fn shards() -> std::ops::Range<usize> {
        0..SHARDS
    }

    /// No trace enters from now on.
    pub(super) fn close(&self) {
        for shard in &self.shards {
            lock(&shard.0).closed = true;
        }
    }
}

impl Default for List {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: NONE,
            first: NONE,
            last: NONE,
            held: 0,
            closed: false,
        }
    }
}

impl List {
    fn push(&mut self, trace: Arc<LocalTrace>, since: u64) -> usize {
        let place = QueueEntry {
            trace: Some(trace),
            since,
            before: self.last,
            after: NONE,
        };
        let at = self.free;
        let at = match self.places.get_mut(at) {
            Some(free) => {
                self.free = std::mem::replace(free, place).after;
                at
            }
            None => {
                self.places.push(place);
                self.places.len() - 1
            }
        };
        match self.places.get_mut(self.last) {
            Some(last) => last.after = at,
            None => self.first = at,
        }
        self.last = at;
        self.held += 1;
        at
    }

    /// Removes the trace at this place if `is_meant` is true for it.
    fn remove(
        &mut self,
        at: usize,
        is_meant: impl FnOnce(&Arc<LocalTrace>, u64) -> bool,
    ) -> Option<Arc<LocalTrace>> {
        let place = self.places.get_mut(at)?;
        let trace = place.trace.take_if(|trace| is_meant(trace, place.since))?;
        let (before, after) = (place.before, place.after);
        place.after = self.free;
        self.free = at;
        match self.places.get_mut(before) {
            Some(place) => place.after = after,
            None => self.first = after,
        }
        match self.places.get_mut(after) {
            Some(place) => place.before = before,
            None => self.last = before,
        }
        self.held -= 1;
        // Frees the memory of a burst.
        if self.held == 0 && self.places.capacity() > KEPT {
            let closed = self.closed;
            *self = Self {
                closed,
                ..Self::default()
            };
        }
        Some(trace)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::pool::Budget;

    fn trace() -> Arc<LocalTrace> {
        LocalTrace::new([0; 16], &Budget::new(1 << 20)).unwrap()
    }

    proptest! {
        /// Compares with a deque: the oldest trace is the same after any sequence of entries and removals.
        #[test]
        fn the_list_is_a_queue_from_which_anyone_may_leave(
            steps in prop::collection::vec((0..4u8, any::<prop::sample::Index>()), 0..400)
        ) {
            let age_queue = AgeQueue::default();
            let mut model = VecDeque::new();
            for (since, (step, index)) in steps.into_iter().enumerate() {
                match step {
                    0 | 1 => {
                        let trace = trace();
                        let QueuePlace::At(at) = age_queue.enter(Arc::clone(&trace), since as u64) else {
                            panic!("closed");
                        };
                        model.push_back((at, trace));
                    }
                    2 if !model.is_empty() => {
                        let (at, trace) = model.remove(index.index(model.len())).unwrap();
                        age_queue.leave(at, &trace);
                        // Again, when another may be there: no effect.
                        age_queue.leave(at, &trace);
                        prop_assert_eq!(Arc::strong_count(&trace), 1);
                    }
                    _ => {
                        let oldest = age_queue.oldest(5);
                        let expected = model.pop_front().map(|(_, trace)| trace);
                        prop_assert_eq!(
                            oldest.as_ref().map(Arc::as_ptr),
                            expected.as_ref().map(Arc::as_ptr)
                        );
                    }
                }
                prop_assert_eq!(lock(age_queue.list(0)).held, model.len());
            }
        }
    }

    #[test]
    fn only_what_is_over_expires_and_nothing_enters_once_closed() {
        let age_queue = AgeQueue::default();
        age_queue.enter(trace(), 10);
        age_queue.enter(trace(), 20);
        assert!(age_queue.expired(0, |since| since < 10).is_none());
        assert!(age_queue.expired(0, |since| since < 15).is_some());
        assert!(age_queue.expired(0, |since| since < 15).is_none());
        age_queue.close();
        assert!(matches!(age_queue.enter(trace(), 30), QueuePlace::Closed));
        assert!(age_queue.oldest(0).is_some());
        assert!(age_queue.oldest(0).is_none());
    }

    #[test]
    fn a_burst_s_memory_is_given_back() {
        let age_queue = AgeQueue::default();
        let traces: Vec<_> = (0..1000).map(|_| trace()).collect();
        for trace in &traces {
            age_queue.enter(Arc::clone(trace), 0);
        }
        while age_queue.oldest(0).is_some() {}
        assert_eq!(lock(age_queue.list(0)).places.capacity(), 0);
        assert!(traces.iter().all(|trace| Arc::strong_count(trace) == 1));
    }
}
