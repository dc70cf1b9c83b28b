//! [`Budget`]: used and allowed bytes of one class of holders; [`Memory`]: all classes of a pipeline.
//!
//! Each class has a share that other classes cannot use. The rest of the memory is common: a class
//! borrows from it beyond its share, and returns that part first. Idle memory is counted in its class,
//! and is freed before a request is refused.

use std::fmt;

use crate::sync::{Arc, AtomicUsize, Ordering};

/// The used bytes and the limit of a class (EH-2). Counts capacities, not contents.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    /// Bytes that no other class can use.
    share: usize,
    /// The share and all common bytes.
    limit: usize,
    common: Arc<Common>,
    /// The budget that this is a part of, and the grade up to which it grants.
    whole: Option<(Arc<Budget>, Grade)>,
}

/// The part of a class, in sixteenths, up to which a kind of request is granted. Large holders have a
/// lower grade, so that they stop growing while memory is left for small ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grade(u8);

impl Grade {
    /// The whole class.
    pub(crate) const ALL: Self = Self(16);
    /// For spans of a trace that a tail sampler holds until its end.
    pub(crate) const HELD: Self = Self(12);

    /// For a buffer that grows to `capacity` bytes.
    pub(crate) fn of(capacity: usize) -> Self {
        const KIB: usize = 1 << 10;
        match capacity / KIB {
            0 => Self::ALL,
            1..4 => Self(15),
            4..64 => Self(14),
            _ => Self(12),
        }
    }
}

/// The bytes outside all shares, and the holders of idle memory.
#[derive(Debug)]
struct Common {
    used: AtomicUsize,
    limit: usize,
    idle: IdleHolders,
}

impl Budget {
    /// A budget without classes beside it.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self::of(limit, &Common::new(0)))
    }

    fn of(share: usize, common: &Arc<Common>) -> Self {
        Self {
            used: AtomicUsize::new(0),
            share,
            limit: share + common.limit,
            common: Arc::clone(common),
            whole: None,
        }
    }

    /// A budget whose bytes also count in `whole`, which grants up to `grade`.
    pub(crate) fn part_of(whole: &Arc<Self>, limit: usize, grade: Grade) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            share: limit,
            limit,
            common: Arc::clone(&whole.common),
            whole: Some((Arc::clone(whole), grade)),
        })
    }

    /// Reserves `bytes`, if need be after idle memory is freed; false, and nothing reserved, at the limit.
    #[must_use]
    pub(crate) fn reserve(&self, bytes: usize) -> bool {
        self.reserve_up_to(bytes, Grade::ALL)
    }

    /// The same, up to `grade` of the class.
    #[must_use]
    pub(crate) fn reserve_up_to(&self, bytes: usize, grade: Grade) -> bool {
        self.take(bytes, grade) || self.take_from_idle(bytes, grade)
    }

    fn take(&self, bytes: usize, grade: Grade) -> bool {
        if !self.take_own(bytes, grade) {
            return false;
        }
        let Some((whole, grade)) = &self.whole else {
            return true;
        };
        let granted = whole.take(bytes, *grade);
        if !granted {
            self.release_own(bytes);
        }
        granted
    }

    fn take_own(&self, bytes: usize, grade: Grade) -> bool {
        // Relaxed: the number protects no other memory.
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let Some(sum) = used.checked_add(bytes).filter(|sum| *sum <= self.limit) else {
                return false;
            };
            if grade != Grade::ALL && sum > self.reachable(used) / 16 * usize::from(grade.0) {
                return false;
            }
            // Borrows before the exchange, and returns it if that fails: common bytes are never granted
            // twice.
            let borrowed = self.beyond_share(sum) - self.beyond_share(used);
            if !self.common.borrow(borrowed) {
                return false;
            }
            match self
                .used
                .compare_exchange_weak(used, sum, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => {
                    self.common.give_back(borrowed);
                    used = now;
                }
            }
        }
    }

    /// The bytes that this class could use at present.
    pub(super) fn reachable(&self, used: usize) -> usize {
        let free = self.common.limit - self.common.used.load(Ordering::Relaxed);
        self.share + self.beyond_share(used) + free
    }

    fn beyond_share(&self, bytes: usize) -> usize {
        bytes.saturating_sub(self.share)
    }

    #[cold]
    #[inline(never)]
    fn take_from_idle(&self, bytes: usize, grade: Grade) -> bool {
        bytes <= self.limit
            && self
                .common
                .idle
                .free_until(bytes, &mut || self.take(bytes, grade))
    }

    /// Returns `bytes` that [`reserve`](Self::reserve) granted.
    pub(crate) fn release(&self, bytes: usize) {
        self.release_own(bytes);
        if let Some((whole, _)) = &self.whole {
            whole.release(bytes);
        }
    }

    fn release_own(&self, bytes: usize) {
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let rest = used.saturating_sub(bytes);
            match self
                .used
                .compare_exchange_weak(used, rest, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(now) => used = now,
            }
        }
        let rest = used.saturating_sub(bytes);
        self.common
            .give_back(self.beyond_share(used) - self.beyond_share(rest));
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that no other class can use.
    pub(crate) fn share(&self) -> usize {
        self.share
    }

    /// The share and all common bytes.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Registers a holder of idle memory, which is asked to free it before a request is refused.
    #[cfg(not(tracing_otlp_loom))]
    pub(crate) fn lends(&self, idle: std::sync::Weak<dyn Reclaim>) {
        self.common.idle.add(idle);
    }
}

impl Common {
    fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            limit,
            idle: IdleHolders::default(),
        })
    }

    fn borrow(&self, bytes: usize) -> bool {
        bytes == 0
            || self
                .used
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                    used.checked_add(bytes).filter(|sum| *sum <= self.limit)
                })
                .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// A holder of idle objects, which frees them when their memory is needed elsewhere.
pub(crate) trait Reclaim: Send + Sync {
    /// Frees idle objects of at least `bytes`, or all; returns the freed bytes. Waits for no lock, because
    /// the caller may hold one.
    fn reclaim(&self, bytes: usize) -> usize;

    /// Frees a part of the idle objects. Called at intervals while the pipeline is idle, so that the memory
    /// of a burst does not stay for the life of the process.
    fn trim(&self);
}

/// All holders of idle memory.
#[derive(Default)]
struct IdleHolders {
    #[cfg(not(tracing_otlp_loom))]
    all: arc_swap::ArcSwap<Vec<std::sync::Weak<dyn Reclaim>>>,
}

impl IdleHolders {
    #[cfg(not(tracing_otlp_loom))]
    fn add(&self, idle: std::sync::Weak<dyn Reclaim>) {
        self.all.rcu(|all| {
            let mut all = Vec::clone(all);
            all.push(idle.clone());
            all
        });
    }

    /// Frees idle memory until `is_enough` returns true; false if it never does.
    fn free_until(&self, bytes: usize, is_enough: &mut dyn FnMut() -> bool) -> bool {
        #[cfg(not(tracing_otlp_loom))]
        for idle in self.all.load().iter().filter_map(std::sync::Weak::upgrade) {
            if idle.reclaim(bytes) > 0 && is_enough() {
                return true;
            }
        }
        let _ = (bytes, is_enough);
        false
    }

    fn trim(&self) {
        #[cfg(not(tracing_otlp_loom))]
        for idle in self.all.load().iter().filter_map(std::sync::Weak::upgrade) {
            idle.trim();
        }
    }
}

impl fmt::Debug for IdleHolders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdleHolders")
    }
}

/// A pipeline's memory, by classes of holders.
#[derive(Debug)]
pub(crate) struct Memory {
    /// The fixed size of open spans.
    pub(crate) spans: Arc<Budget>,
    /// The growth of open spans, and the spans that a tail sampler holds.
    pub(crate) growth: Arc<Budget>,
    /// The queue of spans, and the batches in flight.
    pub(crate) queue: Arc<Budget>,
    /// The same for log records.
    pub(crate) logs: Arc<Budget>,
    common: Arc<Common>,
    limit: usize,
}

impl Memory {
    /// Shares: a quarter for open spans, an eighth for their growth, a quarter for the queue; the rest is
    /// common.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Self::of(limit, 0)
    }

    /// The same, with an eighth of the common part for log records.
    pub(crate) fn with_logs(limit: usize) -> Arc<Self> {
        Self::of(limit, limit / 8)
    }

    fn of(limit: usize, logs: usize) -> Arc<Self> {
        let (quarter, eighth) = (limit / 4, limit / 8);
        let common = Common::new(limit - 2 * quarter - eighth - logs);
        let class = |share| Arc::new(Budget::of(share, &common));
        Arc::new(Self {
            spans: class(quarter),
            growth: class(eighth),
            queue: class(quarter),
            logs: class(logs),
            common,
            limit,
        })
    }

    /// The most bytes of one span: with the default memory a little less than 4 MiB, the largest message
    /// that gRPC servers accept by default.
    pub(crate) fn most_of_one_span(&self) -> usize {
        (self.limit / 16 - self.limit / 1024).min(i32::MAX as usize)
    }

    pub(crate) fn used(&self) -> usize {
        self.spans.used() + self.growth.used() + self.queue.used() + self.logs.used()
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Frees a part of the idle memory.
    pub(crate) fn trim(&self) {
        self.common.idle.trim();
    }
}

#[cfg(all(test, not(tracing_otlp_loom)))]
mod tests {
    use std::sync::{Mutex, Weak};

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
        let part = Budget::part_of(&whole, 60, Grade::ALL);
        assert!(!part.reserve(61));
        assert!(part.reserve(50));
        assert_eq!((part.used(), whole.used()), (50, 50));
        assert!(whole.reserve(45));
        assert!(!part.reserve(10), "the whole has 5 left");
        assert_eq!((part.used(), whole.used()), (50, 95));
        part.release(50);
        assert_eq!((part.used(), whole.used()), (0, 45));
    }

    /// The first class may use all common bytes, and no other class's share.
    #[test]
    fn a_class_keeps_its_share_whatever_the_others_take() {
        let memory = Memory::new(1600);
        let classes = [&memory.spans, &memory.growth, &memory.queue];
        assert_eq!(classes.map(|class| class.share()), [400, 200, 400]);
        for greedy in classes {
            assert!(greedy.reserve(greedy.limit()));
            assert!(!greedy.reserve(1));
            for other in classes.into_iter().filter(|o| !Arc::ptr_eq(o, greedy)) {
                assert!(other.reserve(other.share()));
                assert!(!other.reserve(1));
            }
            assert_eq!(memory.used(), 1600);
            for class in classes {
                class.release(class.used());
            }
            assert_eq!(
                (memory.used(), memory.common.used.load(Ordering::Relaxed)),
                (0, 0)
            );
        }
    }

    #[test]
    fn large_holders_stop_before_small_ones() {
        let memory = Memory::new(16 << 20);
        let growth = &memory.growth;
        let fill = |capacity: usize| {
            while growth.reserve_up_to(capacity, Grade::of(capacity)) {}
            growth.used()
        };
        let used = [128 << 10, 16 << 10, 2 << 10, 512].map(fill);
        assert!(used.is_sorted_by(|a, b| a < b), "{used:?}");
        assert_eq!(used[3], growth.limit());
    }

    #[test]
    fn borrowing_threads_leave_exact_sums() {
        let memory = Memory::new(4096);
        std::thread::scope(|s| {
            for class in [&memory.spans, &memory.growth, &memory.queue, &memory.queue] {
                s.spawn(|| {
                    for round in 0..20_000 {
                        let bytes = 100 + round % 900;
                        if class.reserve(bytes) {
                            class.release(bytes);
                        }
                    }
                });
            }
        });
        assert_eq!(
            (memory.used(), memory.common.used.load(Ordering::Relaxed)),
            (0, 0)
        );
    }

    /// Things of ten bytes.
    struct Lazy(Arc<Budget>, Mutex<usize>);

    impl Reclaim for Lazy {
        fn reclaim(&self, bytes: usize) -> usize {
            let mut idle = self.1.lock().unwrap_or_else(|e| e.into_inner());
            let freed = bytes.div_ceil(10).min(*idle);
            *idle -= freed;
            self.0.release(freed * 10);
            freed * 10
        }

        fn trim(&self) {
            self.reclaim(10);
        }
    }

    #[test]
    fn what_lies_idle_yields_to_any_class() {
        let memory = Memory::new(1600);
        assert!(memory.queue.reserve(1000), "all that is common");
        let lazy = Arc::new(Lazy(Arc::clone(&memory.queue), Mutex::new(50)));
        let weak: Weak<Lazy> = Arc::downgrade(&lazy);
        memory.queue.lends(weak);
        assert!(memory.spans.reserve(400));
        assert!(memory.spans.reserve(95), "ten of them were freed");
        assert_eq!((memory.spans.used(), memory.queue.used()), (495, 900));
        memory.trim();
        assert_eq!(memory.queue.used(), 890);
        assert!(!memory.spans.reserve(600), "there are not so many");
    }
}
