//! [`Credits`]: how many more spans may wait.
//!
//! One credit is the right of one span to wait in the queue. Shards take some in advance, so that
//! most pushes touch no shared counter; before a span is refused, all shards have been asked.

use crate::sync::{AtomicUsize, CachePadded, Ordering};

#[derive(Debug)]
pub(crate) struct Credits {
    state: CachePadded<State>,
    limit: usize,
}

#[derive(Debug)]
struct State {
    free: AtomicUsize,
    /// Counts releases. Only by a release can credits turn up where a search has found none.
    epoch: AtomicUsize,
    /// The epoch, plus one, in which a search of all shards found nothing; zero: none did.
    full_in: AtomicUsize,
}

impl Credits {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            state: CachePadded(State {
                free: AtomicUsize::new(limit),
                epoch: AtomicUsize::new(0),
                full_in: AtomicUsize::new(0),
            }),
            limit,
        }
    }

    /// Takes up to `count` credits: how many it got.
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

    /// Gives credits back: their spans wait no longer.
    pub(crate) fn release(&self, count: usize) {
        // Release: who sees the epoch also sees the credits. In this order, a search that began
        // before the credits were there cannot declare the later epoch full.
        self.state.0.free.fetch_add(count, Ordering::Relaxed);
        self.state.0.epoch.fetch_add(1, Ordering::Release);
    }

    /// To be read before a search, for [`declare_full`](Self::declare_full).
    pub(crate) fn epoch(&self) -> usize {
        self.state.0.epoch.load(Ordering::Acquire)
    }

    /// Whether a search in this `epoch` has found nothing: then another would find nothing either.
    pub(crate) fn is_full(&self, epoch: usize) -> bool {
        self.state.0.full_in.load(Ordering::Relaxed) == epoch.wrapping_add(1)
    }

    /// After a search through all shards that began in `epoch` and found nothing: true if that
    /// still holds, false if credits have come back meanwhile and another search is worth it.
    pub(crate) fn declare_full(&self, epoch: usize) -> bool {
        if self.free() > 0 || self.epoch() != epoch {
            return false;
        }
        // A release may come between: then the epoch declared here is over already.
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
