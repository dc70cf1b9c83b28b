//! [`Credits`]: the free places of the queue.
//!
//! One credit is the right of one span to wait in the queue. Shards take credits in advance, so that most
//! pushes touch no shared counter; a span is refused only after a search of all shards for an unused credit.

use crate::sync::{AtomicUsize, CachePadded, Ordering};

#[derive(Debug)]
pub(crate) struct Credits {
    state: CachePadded<CreditCounters>,
    limit: usize,
}

#[derive(Debug)]
struct CreditCounters {
    free: AtomicUsize,
    /// Counts releases. After a search has found no credit, only a release can bring one.
    epoch: AtomicUsize,
    /// The epoch, plus one, of a search of all shards that found nothing; zero: no such search.
    full_in: AtomicUsize,
}

impl Credits {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            state: CachePadded(CreditCounters {
                free: AtomicUsize::new(limit),
                epoch: AtomicUsize::new(0),
                full_in: AtomicUsize::new(0),
            }),
            limit,
        }
    }

    /// Takes up to `count` credits, and returns how many.
    pub(crate) fn take(&self, count: usize) -> usize {
        // Relaxed: a credit guards no memory; what is in a shard is guarded by its lock.
        let mut free = self.state.0.free.load(Ordering::Relaxed);
        loop {
            let got = free.min(count);
            if got == 0 {
                return 0;
            }
            match self.state.0.free.compare_exchange_weak(
                free,
                free - got,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return got,
                Err(now) => free = now,
            }
        }
    }

    /// Gives back the credits of spans that have left the queue.
    pub(crate) fn release(&self, count: usize) {
        // Release: a thread that sees the epoch also sees the credits. In this order, a search that began
        // before the credits were free cannot declare the later epoch full.
        self.state.0.free.fetch_add(count, Ordering::Relaxed);
        self.state.0.epoch.fetch_add(1, Ordering::Release);
    }

    /// To be read before a search, for [`declare_full`](Self::declare_full).
    pub(crate) fn epoch(&self) -> usize {
        self.state.0.epoch.load(Ordering::Acquire)
    }

    /// Whether a search in this `epoch` has found nothing: another search would find nothing either.
    pub(crate) fn is_full(&self, epoch: usize) -> bool {
        self.state.0.full_in.load(Ordering::Relaxed) == epoch.wrapping_add(1)
    }

    /// After a search of all shards that began in `epoch` and found nothing. True: the queue is still full.
    /// False: credits were released meanwhile, and another search may find one.
    pub(crate) fn declare_full(&self, epoch: usize) -> bool {
        if self.free() > 0 || self.epoch() != epoch {
            return false;
        }
        // A release may come in between: then the epoch declared full is already past, and no push reads it
        // as the current one.
        let full_in = epoch.wrapping_add(1);
        self.state.0.full_in.store(full_in, Ordering::Relaxed);
        true
    }

    pub(crate) fn free(&self) -> usize {
        self.state.0.free.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}

#[cfg(all(test, not(tracing_otlp_loom)))]
mod tests {
    use super::*;

    #[test]
    fn full_is_full_until_the_next_release() {
        let credits = Credits::new(3);
        let epoch = credits.epoch();
        assert!(!credits.is_full(epoch));
        assert!(!credits.declare_full(epoch), "credits are left");
        assert_eq!(
            (credits.take(2), credits.take(2), credits.take(2)),
            (2, 1, 0)
        );
        assert!(credits.declare_full(epoch));
        assert!(credits.is_full(credits.epoch()));
        credits.release(1);
        assert!(!credits.is_full(credits.epoch()));
        assert_eq!(credits.take(9), 1);
        assert!(!credits.declare_full(epoch), "that search is out of date");
    }
}
