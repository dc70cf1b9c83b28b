//! Memory that comes back: one [`Budget`] in bytes for the whole pipeline, and a [`Pool`] of
//! things that are too dear to make for each use.

use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, lock};

/// How many bytes the pipeline holds, and how many it may (EH-2).
///
/// Counts capacities, not contents: open spans, chunks that are open, full, in flight or idle.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
    /// What this is a part of: pays too.
    whole: Option<Arc<Budget>>,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            limit,
            whole: None,
        })
    }

    /// A budget whose bytes are taken out of `whole` too.
    pub(crate) fn part_of(whole: &Arc<Self>, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            limit,
            whole: Some(Arc::clone(whole)),
        })
    }

    /// Takes `bytes` out of the budget, or nothing if so many are not left.
    #[must_use]
    pub(crate) fn reserve(&self, bytes: usize) -> bool {
        // Relaxed: the number guards no other memory. A loop rather than add-and-undo, which would
        // let one hopeless request refuse others that fit.
        let granted = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.limit)
            })
            .is_ok();
        let Some(whole) = self.whole.as_ref().filter(|_| granted) else {
            return granted;
        };
        let granted = whole.reserve(bytes);
        if !granted {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        granted
    }

    /// Gives `bytes` back that [`reserve`](Self::reserve) had granted.
    pub(crate) fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.release(bytes);
        }
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}

/// Equal things of `cost` bytes each, kept for the next use.
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
            // An absurd budget is no reason to ask for memory at once.
            idle: Mutex::new(Vec::with_capacity(max_idle.min(4096))),
            max_idle,
            cost,
            budget,
        }
    }

    /// An idle thing, else a new one if the budget has room for it.
    pub(crate) fn take(&self, make: impl FnOnce() -> T) -> Option<T> {
        if let Some(thing) = lock(&self.idle).pop() {
            return Some(thing);
        }
        // Made outside the lock: the allocator may take its time.
        self.budget.reserve(self.cost).then(make)
    }

    /// Takes a thing back, which must be as good as new.
    pub(crate) fn give(&self, thing: T) {
        {
            let mut idle = lock(&self.idle);
            if idle.len() < self.max_idle {
                idle.push(thing);
                return;
            }
        }
        drop(thing);
        self.budget.release(self.cost);
    }

    /// Frees half of what lies idle: called now and then while nothing happens, so that a burst is
    /// not paid for until the process ends.
    pub(crate) fn trim(&self) {
        let surplus = {
            let mut idle = lock(&self.idle);
            let keep = idle.len() / 2;
            idle.split_off(keep)
        };
        self.budget.release(surplus.len() * self.cost);
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(crate) fn cost(&self) -> usize {
        self.cost
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
    fn a_budget_grants_up_to_its_limit_and_refuses_overflow() {
        let budget = Budget::new(10);
        assert!(budget.reserve(6));
        assert!(!budget.reserve(5));
        assert!(!budget.reserve(usize::MAX));
        assert!(budget.reserve(4));
        budget.release(10);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_part_is_bounded_by_itself_and_by_the_whole() {
        let whole = Budget::new(100);
        let part = Budget::part_of(&whole, 60);
        assert!(!part.reserve(61));
        assert!(part.reserve(50));
        assert_eq!((part.used(), whole.used()), (50, 50));
        assert!(whole.reserve(45));
        assert!(!part.reserve(10), "the whole has 5 left");
        assert_eq!((part.used(), whole.used()), (50, 95));
        part.release(50);
        assert_eq!((part.used(), whole.used()), (0, 45));
    }

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
