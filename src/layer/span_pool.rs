//! Spans that closed, kept for those to come: in the steady state no span allocates.
//!
//! They lie in a few shards, and a thread prefers one: what is kept is bounded by shards, not by
//! threads, and whoever needs the memory may take it, whichever thread brought it here.

use super::memory::{FIRST, Reservation, SPAN};
use super::span::OpenSpan;
use crate::pool::{Memory, Reclaim, preferred_shard};
use crate::sync::{Arc, CachePadded, Mutex, lock, try_lock};

const SHARDS: usize = 16;
/// Spans that may lie in all shards together.
const KEPT: usize = 1024;
/// Of each shard, what a trim leaves.
const LEAST_KEPT: usize = 8;
/// A buffer that grew beyond this is not kept, nor are texts.
const LARGEST_KEPT: usize = 4096;
const LARGEST_TEXTS: usize = 512;

type Shard = CachePadded<Mutex<Vec<Box<OpenSpan>>>>;

#[derive(Debug)]
pub(crate) struct SpanPool {
    memory: Arc<Memory>,
    shelves: Arc<Shelves>,
}

/// Cleared spans. Each pays for itself.
#[derive(Debug)]
struct Shelves {
    shards: [Shard; SHARDS],
    /// Spans that may lie in one.
    most: usize,
}

impl SpanPool {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        // A small budget is for other things.
        let kept = KEPT.min(memory.spans.share() / 4 / (SPAN + FIRST));
        let shelves = Arc::new(Shelves {
            shards: Default::default(),
            most: (kept / SHARDS).max(1),
        });
        let idle: Arc<dyn Reclaim> = Arc::clone(&shelves) as _;
        memory.spans.lends(Arc::downgrade(&idle));
        Self { memory, shelves }
    }

    /// A cleared span; `None` if there is no memory for one.
    #[inline]
    pub(crate) fn take(&self) -> Option<Box<OpenSpan>> {
        match self.shelves.pop(preferred_shard()) {
            None => self.take_elsewhere(),
            some => some,
        }
    }

    #[cold]
    #[inline(never)]
    fn take_elsewhere(&self) -> Option<Box<OpenSpan>> {
        let found = (0..SHARDS).find_map(|shard| self.shelves.pop(shard));
        found.or_else(|| {
            let reservation = Reservation::first(&self.memory)?;
            Some(Box::new(OpenSpan::new(reservation)))
        })
    }

    /// A span that is counted by another, whose place it takes.
    #[cold]
    pub(crate) fn take_anyway(&self) -> Box<OpenSpan> {
        self.take().unwrap_or_default()
    }

    /// Takes a span back; `shard` is the caller's.
    #[inline(always)]
    pub(crate) fn give(&self, mut span: Box<OpenSpan>, shard: usize) {
        if !span.reservation.is_first(&span.body) && !Self::is_worth_keeping(&mut span) {
            return;
        }
        span.clear();
        if let Some(span) = self.shelves.push(shard, span) {
            self.give_elsewhere(span);
        }
    }

    /// One without its first room, or with too much, is let go.
    fn is_worth_keeping(span: &mut OpenSpan) -> bool {
        if span.has_rare() {
            span.forget_rare();
        }
        (FIRST..=LARGEST_KEPT).contains(&span.body.capacity())
            && span.reservation.beside() <= LARGEST_TEXTS
            && span.reservation.covers(&span.body)
    }

    #[cold]
    #[inline(never)]
    fn give_elsewhere(&self, span: Box<OpenSpan>) {
        let mut left = Some(span);
        for shard in 0..SHARDS {
            left = left.and_then(|span| self.shelves.push(shard, span));
        }
    }

    /// Cleared spans that wait.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.shelves.shards.iter().map(|s| lock(&s.0).len()).sum()
    }
}

impl Shelves {
    #[inline]
    fn pop(&self, shard: usize) -> Option<Box<OpenSpan>> {
        try_lock(&self.shards[shard % SHARDS].0)?.pop()
    }

    /// `None`: it was taken.
    #[inline]
    fn push(&self, shard: usize, span: Box<OpenSpan>) -> Option<Box<OpenSpan>> {
        let Some(mut idle) = try_lock(&self.shards[shard % SHARDS].0) else {
            return Some(span);
        };
        if idle.len() >= self.most {
            return Some(span);
        }
        idle.push(span);
        None
    }
}

impl Reclaim for Shelves {
    fn reclaim(&self, bytes: usize) -> usize {
        let wanted = bytes.div_ceil(SPAN + FIRST);
        let mut freed = 0;
        for shard in &self.shards {
            let surplus = {
                let Some(mut idle) = try_lock(&shard.0) else {
                    continue;
                };
                let keep = idle.len().saturating_sub(wanted - freed);
                idle.split_off(keep)
            };
            freed += surplus.len();
            if freed >= wanted {
                break;
            }
        }
        freed * (SPAN + FIRST)
    }

    /// Frees half of what is more than a few.
    fn trim(&self) {
        for shard in &self.shards {
            let _surplus = {
                let mut idle = lock(&shard.0);
                let keep = LEAST_KEPT + idle.len().saturating_sub(LEAST_KEPT) / 2;
                match keep < idle.len() {
                    true => idle.split_off(keep),
                    false => Vec::new(),
                }
            };
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    /// Idle spans are bounded whatever threads did, are found by every thread, and yield.
    #[test]
    fn what_threads_leave_behind_is_bounded_shared_and_given_back() {
        let memory = Memory::new(64 << 20);
        let span_pool = SpanPool::new(Arc::clone(&memory));
        std::thread::scope(|s| {
            for _ in 0..100 {
                s.spawn(|| {
                    let open: Vec<_> = (0..40).map(|_| span_pool.take().unwrap()).collect();
                    open.into_iter()
                        .for_each(|span| span_pool.give(span, preferred_shard()));
                });
            }
        });
        let kept = span_pool.len();
        assert!((40..=KEPT).contains(&kept), "{kept}");
        assert_eq!(memory.used(), kept * (SPAN + FIRST));
        let before = memory.used();
        let open: Vec<_> = (0..kept).map(|_| span_pool.take().unwrap()).collect();
        assert_eq!(memory.used(), before, "none was made anew");
        open.into_iter()
            .for_each(|span| span_pool.give(span, preferred_shard()));
        assert!(
            memory.spans.reserve(memory.spans.limit()),
            "all of it yields"
        );
        assert_eq!(span_pool.len(), 0);
        assert!(span_pool.take().is_none());
        memory.spans.release(memory.spans.limit());
        drop(span_pool);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_trim_leaves_a_few() {
        let memory = Memory::new(64 << 20);
        let span_pool = SpanPool::new(Arc::clone(&memory));
        let open: Vec<_> = (0..500).map(|_| span_pool.take().unwrap()).collect();
        open.into_iter()
            .for_each(|span| span_pool.give(span, preferred_shard()));
        (0..20).for_each(|_| memory.trim());
        let left = span_pool.len();
        assert!((1..=(LEAST_KEPT + 1) * SHARDS).contains(&left), "{left}");
    }
}
