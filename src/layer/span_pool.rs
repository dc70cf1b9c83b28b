//! [`SpanPool`]: closed spans for reuse, so that in the steady state no span allocates.
//!
//! The pool has a shard or more for each core and each thread prefers one. So its size does not depend on the
//! number of threads, and a budget can reclaim its memory from any thread.

use super::memory::{FIRST, Reservation, SPAN};
use super::span::OpenSpan;
use crate::pool::{Memory, Reclaim, preferred_shard, shard_count};
use crate::sync::{Arc, AtomicUsize, CachePadded, Mutex, Ordering, lock, try_lock};

/// The most spans in all shards together, and of each, where there are many shards.
const KEPT: usize = 1024;
const KEPT_OF_SHARD: usize = 16;
/// Spans that a trim leaves in each shard.
const LEAST_KEPT: usize = 8;
/// A search looks into so many other shards.
const SEARCHED: usize = 16;
/// A span with a larger buffer, or larger texts, is not kept.
const LARGEST_KEPT: usize = 4096;
const LARGEST_TEXTS: usize = 512;

type Shard = CachePadded<Mutex<Vec<Box<OpenSpan>>>>;

#[derive(Debug)]
pub(crate) struct SpanPool {
    memory: Arc<Memory>,
    idle: Arc<IdleSpans>,
    /// Where the next search begins, so that searches in turn look into all shards.
    next: AtomicUsize,
}

/// Cleared spans; the reservation of each stays counted.
#[derive(Debug)]
struct IdleSpans {
    /// A power of two of them.
    shards: Box<[Shard]>,
    /// The most spans in a shard.
    most: usize,
}

impl SpanPool {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        // At most a quarter of the share of open spans lies idle.
        let shards = shard_count();
        let kept = KEPT.max(KEPT_OF_SHARD * shards);
        let kept = kept.min(memory.spans.share() / 4 / (SPAN + FIRST));
        let idle = Arc::new(IdleSpans {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            most: (kept / shards).max(1),
        });
        let reclaim: Arc<dyn Reclaim> = Arc::clone(&idle) as _;
        memory.spans.lends(Arc::downgrade(&reclaim));
        let next = AtomicUsize::new(0);
        Self { memory, idle, next }
    }

    /// A cleared span; `None` without memory for a new one.
    #[inline]
    pub(crate) fn take(&self) -> Option<Box<OpenSpan>> {
        match self.idle.pop(preferred_shard()) {
            None => self.take_elsewhere(),
            some => some,
        }
    }

    #[cold]
    #[inline(never)]
    fn take_elsewhere(&self) -> Option<Box<OpenSpan>> {
        let found = self.shards_in_turn().find_map(|shard| self.idle.pop(shard));
        found.or_else(|| {
            let reservation = Reservation::first(&self.memory)?;
            Some(Box::new(OpenSpan::new(reservation)))
        })
    }

    /// Some shards, from where the last call stopped: as many as a search should lock, and in turn all.
    fn shards_in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let searched = self.idle.shards.len().min(SEARCHED);
        // Relaxed: any order of shards is correct.
        let first = self.next.fetch_add(searched, Ordering::Relaxed);
        (0..searched).map(move |offset| first.wrapping_add(offset))
    }

    /// A cleared span, uncounted without memory: it replaces a counted one.
    #[cold]
    pub(crate) fn take_anyway(&self) -> Box<OpenSpan> {
        self.take().unwrap_or_default()
    }

    /// Takes a span back; `shard` is the calling thread's.
    #[inline(always)]
    pub(crate) fn give(&self, mut span: Box<OpenSpan>, shard: usize) {
        if !span.reservation.is_first(&span.body) && !Self::is_worth_keeping(&mut span) {
            return;
        }
        span.clear();
        if let Some(span) = self.idle.push(shard, span) {
            self.give_elsewhere(span);
        }
    }

    /// Whether the span has its first buffer and not too much more.
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
        for shard in self.shards_in_turn() {
            left = left.and_then(|span| self.idle.push(shard, span));
        }
    }

    /// Number of idle spans.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.idle.shards.iter().map(|s| lock(&s.0).len()).sum()
    }
}

impl IdleSpans {
    #[inline(always)]
    fn shard(&self, preferred: usize) -> Option<&Shard> {
        self.shards.get(preferred & (self.shards.len() - 1))
    }

    #[inline]
    fn pop(&self, shard: usize) -> Option<Box<OpenSpan>> {
        try_lock(&self.shard(shard)?.0)?.pop()
    }

    /// Returns the span if the shard is locked or full.
    #[inline]
    fn push(&self, shard: usize, span: Box<OpenSpan>) -> Option<Box<OpenSpan>> {
        let Some(mut idle) = self.shard(shard).and_then(|shard| try_lock(&shard.0)) else {
            return Some(span);
        };
        if idle.len() >= self.most {
            return Some(span);
        }
        idle.push(span);
        None
    }
}

impl Reclaim for IdleSpans {
    fn reclaim(&self, bytes: usize) -> usize {
        let wanted = bytes.div_ceil(SPAN + FIRST);
        let mut freed = 0;
        for shard in self.shards.iter() {
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

    /// Frees half of the spans above [`LEAST_KEPT`].
    fn trim(&self) {
        for shard in self.shards.iter() {
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
    use crate::pool::tests_cores;

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
        let most = KEPT.max(KEPT_OF_SHARD * shard_count());
        assert!((40..=most).contains(&kept), "{kept}");
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
        assert!(
            (1..=(LEAST_KEPT + 1) * shard_count()).contains(&left),
            "{left}"
        );
    }

    /// On a machine of 256 cores.
    #[test]
    fn searches_in_turn_find_a_span_anywhere_and_lock_few_shards_each() {
        let span_pool = tests_cores::with(256, || SpanPool::new(Memory::new(64 << 20)));
        let shards = span_pool.idle.shards.len();
        assert_eq!(shards, 256);
        let span = span_pool.take().unwrap();
        span_pool.give(span, preferred_shard().wrapping_add(shards / 2));
        let mut searched = 0;
        let found = (0..shards / SEARCHED).any(|_| {
            let tried: Vec<_> = span_pool.shards_in_turn().collect();
            searched += tried.len();
            tried
                .into_iter()
                .any(|shard| span_pool.idle.pop(shard).is_some())
        });
        assert!(found && searched <= shards, "{searched}");
    }
}
