//! Bounded memory: a [`Budget`] in bytes for each class of holders, and a [`Pool`] of objects that are too
//! expensive to make for each use.

mod budget;

use std::cell::Cell;

pub(crate) use self::budget::{Budget, Grade, Memory, Reclaim};
use crate::sync::{Arc, Mutex, lock, try_lock};

/// The calling thread's number, for the choice of a shard. Threads get numbers in turn, so shards are
/// used evenly.
#[inline]
pub(crate) fn preferred_shard() -> usize {
    thread_local! {
        static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    #[cold]
    fn assign(shard: &Cell<usize>) -> usize {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        shard.set(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) & (usize::MAX >> 1));
        shard.get()
    }
    // A span may close in a destructor after the thread's locals are gone: any shard is correct.
    SHARD
        .try_with(|shard| match shard.get() {
            usize::MAX => assign(shard),
            assigned => assigned,
        })
        .unwrap_or(0)
}

/// Shards for state that threads use on a span's way: a power of two, at least one for each core, so that
/// threads that run at the same moment rarely share one.
pub(crate) fn shard_count() -> usize {
    const LEAST: usize = 16;
    const MOST: usize = 256;
    cores().next_power_of_two().clamp(LEAST, MOST)
}

/// How many threads run at the same moment.
pub(crate) fn cores() -> usize {
    #[cfg(test)]
    if let Some(cores) = tests_cores::given() {
        return cores;
    }
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The cores of another machine, for tests of what it would do.
#[cfg(test)]
pub(crate) mod tests_cores {
    use std::cell::Cell;

    thread_local! {
        static CORES: Cell<Option<usize>> = const { Cell::new(None) };
    }

    pub(super) fn given() -> Option<usize> {
        CORES.get()
    }

    /// Runs `f` on this thread as on a machine with so many cores.
    pub(crate) fn with<R>(cores: usize, f: impl FnOnce() -> R) -> R {
        CORES.set(Some(cores));
        let result = f();
        CORES.set(None);
        result
    }
}

/// Objects of `cost` bytes each, kept for reuse.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    idle: Mutex<Vec<T>>,
    max_idle: usize,
    cost: usize,
    budget: Arc<Budget>,
}

impl<T> Pool<T> {
    pub(crate) fn new(budget: Arc<Budget>, cost: usize, max_idle: usize) -> Self {
        Self {
            // A huge budget must not allocate a huge list at once.
            idle: Mutex::new(Vec::with_capacity(max_idle.min(4096))),
            max_idle,
            cost,
            budget,
        }
    }

    /// An idle object, else a new one if the budget has room for it.
    pub(crate) fn take(&self, make: impl FnOnce() -> T) -> Option<T> {
        if let Some(object) = lock(&self.idle).pop() {
            return Some(object);
        }
        // Made outside the lock, because allocation may be slow.
        self.budget.reserve(self.cost).then(make)
    }

    /// Takes an object back, which must be reset.
    pub(crate) fn give(&self, object: T) {
        {
            let mut idle = lock(&self.idle);
            if idle.len() < self.max_idle {
                idle.push(object);
                return;
            }
        }
        drop(object);
        self.budget.release(self.cost);
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// The part of the budget that holders use at present, without what lies idle here: from 0 to 1.
    pub(crate) fn fill(&self) -> f64 {
        let idle = lock(&self.idle).len() * self.cost;
        let used = self.budget.used();
        let reachable = self.budget.reachable(used).max(1);
        used.saturating_sub(idle) as f64 / reachable as f64
    }
}

impl<T: Send> Reclaim for Pool<T> {
    fn reclaim(&self, bytes: usize) -> usize {
        let surplus = {
            let Some(mut idle) = try_lock(&self.idle) else {
                return 0;
            };
            let keep = idle.len().saturating_sub(bytes.div_ceil(self.cost.max(1)));
            idle.split_off(keep)
        };
        let freed = surplus.len() * self.cost;
        drop(surplus);
        self.budget.release(freed);
        freed
    }

    /// Frees half of the idle objects.
    fn trim(&self) {
        let surplus = {
            let mut idle = lock(&self.idle);
            let keep = idle.len() / 2;
            idle.split_off(keep)
        };
        self.budget.release(surplus.len() * self.cost);
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        let idle = lock(&self.idle).len();
        self.budget.release(idle * self.cost);
    }
}

#[cfg(all(test, not(tracing_otlp_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_pool_reuses_bounds_trims_and_pays_back() {
        let budget = Budget::new(5 * 8);
        let pool = Pool::new(Arc::clone(&budget), 8, 4);
        let made: Vec<_> = (0..6).filter_map(|i| pool.take(|| i)).collect();
        assert_eq!(made, [0, 1, 2, 3, 4], "the sixth is over budget");
        for thing in made {
            pool.give(thing);
        }
        assert_eq!(budget.used(), 4 * 8, "one more than may lie idle");
        assert!(pool.take(|| 9).is_some_and(|thing| thing < 9), "reused");
        pool.give(0);
        pool.trim();
        assert_eq!(budget.used(), 2 * 8);
        pool.trim();
        pool.trim();
        assert_eq!(budget.used(), 0);
        assert!(pool.take(|| 0).is_some());
        pool.give(0);
        drop(pool);
        assert_eq!(budget.used(), 0);
    }
}
