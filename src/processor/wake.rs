//! [`Wake`]: which push wakes the worker.
//!
//! A wake-up is a system call. So the worker stores a threshold before it sleeps, and only the push that
//! reaches the threshold notifies it. A flush request notifies always. Each queue has its own load and
//! threshold; all queues share one [`WakeSignal`].

use crate::sync::{Arc, AtomicUsize, CachePadded, Ordering};

/// The published load of a queue's shards, and the threshold for the wake-up.
#[derive(Debug)]
pub(crate) struct Wake {
    state: CachePadded<LoadAndThreshold>,
    signal: Arc<WakeSignal>,
}

#[derive(Debug)]
struct LoadAndThreshold {
    /// In spans, or their equivalent in bytes. Producers add, the worker subtracts.
    load: AtomicUsize,
    /// The worker stores an amount before it sleeps; the one producer that puts `NEVER` back notifies.
    threshold: AtomicUsize,
}

/// No amount is awaited: the worker is awake, or waits for an exporter.
const NEVER: usize = usize::MAX;

impl Wake {
    pub(crate) fn new() -> Self {
        Self::with_signal(Arc::new(WakeSignal::new()))
    }

    /// The `Wake` of another queue of the same worker.
    #[cfg(not(tracing_otlp_loom))]
    pub(crate) fn for_same_worker(&self) -> Self {
        Self::with_signal(Arc::clone(&self.signal))
    }

    fn with_signal(signal: Arc<WakeSignal>) -> Self {
        Self {
            state: CachePadded(LoadAndThreshold {
                load: AtomicUsize::new(0),
                threshold: AtomicUsize::new(NEVER),
            }),
            signal,
        }
    }

    /// Publishes `load` more. True: the caller must [`notify`](Self::notify), after it has released its
    /// locks.
    #[must_use]
    pub(crate) fn add(&self, load: usize) -> bool {
        let LoadAndThreshold {
            load: total,
            threshold,
        } = &self.state.0;
        // All changes of `load` are read-modify-writes, so they have one total order, and each sees
        // the writes before the changes ahead of it. If the one of `arm` comes first, this one (Acquire)
        // sees the threshold that `arm` stored before (Release); if this one comes first, `arm`
        // sees this load. Either way the threshold is noticed.
        let now = total.fetch_add(load, Ordering::AcqRel).wrapping_add(load);
        let awaited = threshold.load(Ordering::Relaxed);
        now >= awaited
            && threshold
                .compare_exchange(awaited, NEVER, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Takes back the published load of drained spans.
    pub(crate) fn subtract(&self, load: usize) {
        self.state.0.load.fetch_sub(load, Ordering::AcqRel);
    }

    /// Sets the threshold for the next wake-up. False: it is already reached, and no push will notify. For
    /// the worker only.
    #[must_use]
    pub(crate) fn arm(&self, threshold: usize) -> bool {
        let LoadAndThreshold {
            load,
            threshold: awaited,
        } = &self.state.0;
        awaited.store(threshold, Ordering::Relaxed);
        // A read-modify-write, so that it takes part in the order of changes: see `add`.
        if load.fetch_add(0, Ordering::AcqRel) < threshold {
            return true;
        }
        self.disarm();
        false
    }

    /// Removes the threshold. A push that has reached it already may still notify.
    pub(crate) fn disarm(&self) {
        self.state.0.threshold.store(NEVER, Ordering::Relaxed);
    }

    pub(crate) fn notify(&self) {
        self.signal.notify();
    }
}

#[cfg(not(tracing_otlp_loom))]
mod signal {
    /// Remembers one notification, so that none is lost between two waits.
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
        /// Waits for a notification. Cancel safe: the next call gets one that this call has not taken.
        pub(crate) async fn notified(&self) {
            self.signal.0.notified().await;
        }
    }
}

/// Replaces tokio's `Notify` under loom, which tokio models itself: remembers one notification.
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
            let mut notified = lock(&self.signal.0);
            while !*notified {
                notified = wait(&self.signal.1, notified);
            }
            *notified = false;
        }
    }
}

use signal::WakeSignal;

#[cfg(all(test, not(tracing_otlp_loom)))]
mod tests {
    use super::*;

    /// BSP-4: one signal for each awaited batch, from the one that completes it.
    #[test]
    fn only_the_push_that_reaches_the_threshold_notifies() {
        let wake = Wake::new();
        assert!(!wake.add(5), "not armed yet");
        assert!(wake.arm(8));
        assert!(!wake.add(2));
        assert!(wake.add(1));
        assert!(!wake.add(1), "notified once");
        assert!(!wake.arm(9), "already there");
        assert!(!wake.add(1), "and not armed");
        wake.subtract(10);
        assert!(wake.arm(1));
        wake.disarm();
        assert!(!wake.add(1));
    }

    #[test]
    fn a_notification_before_the_wait_is_kept() {
        let wake = Wake::new();
        wake.notify();
        assert!(tokio_test::task::spawn(wake.notified()).poll().is_ready());
        assert!(tokio_test::task::spawn(wake.notified()).poll().is_pending());
    }
}
