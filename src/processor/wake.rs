//! Who wakes the worker, and when.
//!
//! A wake-up is a system call, so the worker says how much must have come together before it wants
//! to hear of it, and only the thread that completes that amount rings. Whoever hands in a ticket
//! rings always. Each signal's queue has amounts of its own, and all ring the same bell.

use crate::sync::{Arc, AtomicUsize, CachePadded, Ordering};

/// What lies in the shards, as far as published, and the amount at which to ring.
#[derive(Debug)]
pub(crate) struct Wake {
    state: CachePadded<State>,
    signal: Arc<WakeSignal>,
}

#[derive(Debug)]
struct State {
    /// In spans, or their equivalent in bytes. Producers add, the worker subtracts.
    load: AtomicUsize,
    /// The worker stores an amount and goes to sleep; the one producer that puts `NEVER` back rings.
    threshold: AtomicUsize,
}

/// No amount is awaited: the worker is up, or waits for something else.
const NEVER: usize = usize::MAX;

impl Wake {
    pub(crate) fn new() -> Self {
        Self::ringing(Arc::new(WakeSignal::new()))
    }

    /// One for another queue, that wakes the same worker.
    #[cfg(not(tracing_otlp_loom))]
    pub(crate) fn with_same_bell(&self) -> Self {
        Self::ringing(Arc::clone(&self.signal))
    }

    fn ringing(signal: Arc<WakeSignal>) -> Self {
        Self {
            state: CachePadded(State {
                load: AtomicUsize::new(0),
                threshold: AtomicUsize::new(NEVER),
            }),
            signal,
        }
    }

    /// Publishes `load` more; true if the caller must [`ring`](Self::notify), which it does after it
    /// has let go of its locks.
    #[must_use]
    pub(crate) fn add(&self, load: usize) -> bool {
        let State {
            load: total,
            threshold,
        } = &self.state.0;
        // All changes of `load` are read-modify-writes, so they stand in one order and each sees
        // what was written before those ahead of it. If `arm`'s own comes first, this one (Acquire)
        // sees the threshold that `arm` stored before (Release); if this one comes first, `arm`
        // sees this load. Either way somebody notices.
        let now = total.fetch_add(load, Ordering::AcqRel).wrapping_add(load);
        let awaited = threshold.load(Ordering::Relaxed);
        now >= awaited
            && threshold
                .compare_exchange(awaited, NEVER, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Takes back what was published of spans that have been drained.
    pub(crate) fn subtract(&self, load: usize) {
        self.state.0.load.fetch_sub(load, Ordering::AcqRel);
    }

    /// Asks to be rung for as soon as `threshold` is reached; false if it already is, and nobody
    /// will ring. For the worker only.
    #[must_use]
    pub(crate) fn arm(&self, threshold: usize) -> bool {
        let State {
            load,
            threshold: awaited,
        } = &self.state.0;
        awaited.store(threshold, Ordering::Relaxed);
        // A read that takes part in the order of changes: see `add`.
        if load.fetch_add(0, Ordering::AcqRel) < threshold {
            return true;
        }
        self.disarm();
        false
    }

    /// Asks not to be rung for. A ring that is under way may still come.
    pub(crate) fn disarm(&self) {
        self.state.0.threshold.store(NEVER, Ordering::Relaxed);
    }

    pub(crate) fn notify(&self) {
        self.signal.notify();
    }
}

#[cfg(not(tracing_otlp_loom))]
mod signal {
    /// Remembers one ring, so none is lost between two waits.
    #[derive(Debug)]
    pub(crate) struct WakeSignal(tokio::sync::Notify);

    impl WakeSignal {
        pub(super) fn new() -> Self {
            Self(tokio::sync::Notify::new())
        }

        pub(super) fn notify(&self) {
            self.0.notify_one();
        }
    }

    impl super::Wake {
        /// Waits for a ring. Cancel safe: a ring that was not heard is heard by the next call.
        pub(crate) async fn notified(&self) {
            self.signal.0.notified().await;
        }
    }
}

/// Stands in for tokio's `Notify`, whose own models are tokio's: remembers one ring.
#[cfg(tracing_otlp_loom)]
mod signal {
    use crate::sync::{Condvar, Mutex, lock, wait};

    #[derive(Debug)]
    pub(crate) struct WakeSignal(Mutex<bool>, Condvar);

    impl WakeSignal {
        pub(super) fn new() -> Self {
            Self(Mutex::new(false), Condvar::new())
        }

        pub(super) fn notify(&self) {
            *lock(&self.0) = true;
            self.1.notify_one();
        }
    }

    impl super::Wake {
        pub(crate) fn wait_blocking(&self) {
            let mut rung = lock(&self.signal.0);
            while !*rung {
                rung = wait(&self.signal.1, rung);
            }
            *rung = false;
        }
    }
}

use signal::WakeSignal;

#[cfg(all(test, not(tracing_otlp_loom)))]
mod tests {
    use super::*;

    /// BSP-4: one signal for each awaited batch, from the one that completes it.
    #[test]
    fn only_the_push_that_reaches_the_threshold_rings() {
        let wake = Wake::new();
        assert!(!wake.add(5), "nobody waits");
        assert!(wake.arm(8));
        assert!(!wake.add(2));
        assert!(wake.add(1));
        assert!(!wake.add(1), "rung once");
        assert!(!wake.arm(9), "already there");
        assert!(!wake.add(1), "and not armed");
        wake.subtract(10);
        assert!(wake.arm(1));
        wake.disarm();
        assert!(!wake.add(1));
    }

    #[test]
    fn a_ring_before_the_wait_is_heard() {
        let wake = Wake::new();
        wake.notify();
        assert!(tokio_test::task::spawn(wake.notified()).poll().is_ready());
        assert!(tokio_test::task::spawn(wake.notified()).poll().is_pending());
    }
}
