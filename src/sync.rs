//! The one file that names `loom`: the concurrent core imports from here, so that its models run the
//! code that ships (`RUSTFLAGS="--cfg tracing_otlp_loom"`). Locks are parking_lot's: without the
//! check for poison at either end they take 12 to 15 instructions less.

#[cfg(not(tracing_otlp_loom))]
pub(crate) use {
    parking_lot::{Condvar, Mutex, MutexGuard},
    std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    },
};

#[cfg(tracing_otlp_loom)]
pub(crate) use loom::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
};

pub(crate) use locks::{lock, try_lock, wait, wait_timeout};

/// A panic elsewhere does not matter: what our locks guard is valid between any two
/// statements, and an application must not go down because another thread did.
#[cfg(not(tracing_otlp_loom))]
mod locks {
    use super::{Condvar, Mutex, MutexGuard};

    #[inline]
    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        #[cfg(test)]
        super::watch::note(std::ptr::from_ref(mutex) as *const () as usize);
        mutex.lock()
    }

    /// Locks if nobody else holds the lock.
    #[inline]
    pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        #[cfg(test)]
        super::watch::note(std::ptr::from_ref(mutex) as *const () as usize);
        mutex.try_lock()
    }

    pub(crate) fn wait<'a, T>(
        condvar: &Condvar,
        mut guard: MutexGuard<'a, T>,
    ) -> MutexGuard<'a, T> {
        condvar.wait(&mut guard);
        guard
    }

    /// Waits for at most `timeout`, or less: the caller looks at its clock.
    pub(crate) fn wait_timeout<'a, T>(
        condvar: &Condvar,
        mut guard: MutexGuard<'a, T>,
        timeout: std::time::Duration,
    ) -> MutexGuard<'a, T> {
        // An instant that the clock cannot tell is waited for as if without a timeout.
        condvar.wait_for(&mut guard, timeout);
        guard
    }
}

/// Which locks a thread takes, for tests of what threads share.
#[cfg(all(test, not(tracing_otlp_loom)))]
pub(crate) mod watch {
    use std::cell::RefCell;
    use std::collections::HashMap;

    thread_local! {
        static TAKEN: RefCell<Option<HashMap<usize, usize>>> = const { RefCell::new(None) };
    }

    pub(super) fn note(lock: usize) {
        let _ = TAKEN.try_with(|taken| {
            if let Some(taken) = &mut *taken.borrow_mut() {
                *taken.entry(lock).or_default() += 1;
            }
        });
    }

    /// How often `f` takes each lock on this thread, by its address.
    pub(crate) fn locks_of(f: impl FnOnce()) -> HashMap<usize, usize> {
        TAKEN.set(Some(HashMap::new()));
        f();
        TAKEN.take().unwrap_or_default()
    }
}

/// The same in a model, where a panic ends all and no time passes.
#[cfg(tracing_otlp_loom)]
mod locks {
    use std::sync::PoisonError;

    use super::{Condvar, Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        mutex.try_lock().ok()
    }

    pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait_timeout<'a, T>(
        condvar: &Condvar,
        guard: MutexGuard<'a, T>,
        timeout: std::time::Duration,
    ) -> MutexGuard<'a, T> {
        let waited = condvar.wait_timeout(guard, timeout);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A value alone on its cache lines (two, because the neighbour is prefetched with it), so that
/// threads that use different values do not slow each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct CachePadded<T>(pub(crate) T);
