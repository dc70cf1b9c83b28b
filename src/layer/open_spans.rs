//! [`OpenSpans`]: the table of open spans. The registry's extensions would cost a boxed value and a
//! hash map for each span, and a lock shared with foreign layers.

mod table;

use self::table::{OpenEntry, SpanTable};
use super::span::OpenSpan;
use crate::sync::{Mutex, MutexGuard, lock, try_lock};

/// Few enough for a short-lived process, and enough that threads seldom meet at one lock.
pub(super) const BUCKETS: usize = 1024;

/// `sharded_slab` under the usual registry keeps the number of the creating thread from bit 38 on. The
/// shift moves it to bit 5, so that threads use buckets 32 apart.
const THREAD_SHIFT: u32 = 33;

#[derive(Debug)]
pub(crate) struct OpenSpans {
    buckets: Box<[Bucket; BUCKETS]>,
}

/// On its own cache line: spans of two threads usually are in different buckets.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket(Mutex<BucketSpans>);

#[derive(Debug, Default)]
struct BucketSpans {
    open: SpanTable,
    started: u64,
    started_unsampled: u64,
    /// The recorded ones among the unsampled.
    started_recorded: u64,
    /// Of the started ones and of the recorded ones those that are not open any more. Kept, because a count of
    /// the open ones would hold the lock for as long as there are many.
    gone: u64,
    gone_recorded: u64,
}

impl BucketSpans {
    /// Counts a span that is no longer in the table.
    #[inline(always)]
    fn note_gone(&mut self, span: &OpenSpan) {
        if span.identity.is_exported() {
            self.gone += 1;
        } else {
            self.gone_recorded += u64::from(span.identity.is_recorded_only());
        }
    }
}

/// Numbers of started and of open spans.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct SpanCounts {
    pub(crate) started: u64,
    pub(crate) started_unsampled: u64,
    pub(crate) open: u64,
    /// The recorded ones among the unsampled, and of these the open ones.
    pub(crate) started_recorded: u64,
    pub(crate) open_recorded: u64,
}

impl OpenSpans {
    pub(crate) fn new() -> Self {
        Self {
            buckets: Box::new(std::array::from_fn(|_| Bucket::default())),
        }
    }

    /// The low bits of a slab's index are dense and soon reused, so the same few buckets stay in the
    /// cache. The generation, in the highest bits, is left out for that. Ids of other registries are
    /// spread by their low bits too.
    #[inline(always)]
    fn place(id: u64) -> usize {
        id.wrapping_add(id >> THREAD_SHIFT) as usize % BUCKETS
    }

    #[inline(always)]
    fn bucket(&self, id: u64) -> MutexGuard<'_, BucketSpans> {
        lock(&self.buckets[Self::place(id)].0)
    }

    /// Adds a span. An older span with this id was never closed; it is returned.
    #[inline(always)]
    pub(crate) fn insert(&self, id: u64, span: Box<OpenSpan>) -> Option<Box<OpenSpan>> {
        let mut bucket = self.bucket(id);
        if span.identity.is_exported() {
            bucket.started += 1;
        } else {
            bucket.started_unsampled += 1;
            bucket.started_recorded += u64::from(span.identity.is_recorded_only());
        }
        let older = bucket.open.insert(id, span);
        if let Some(older) = &older {
            bucket.note_gone(older);
        }
        older
    }

    /// Calls `f` with a span under its bucket's lock: no foreign code may run in `f`.
    #[inline(always)]
    pub(crate) fn with<R>(&self, id: u64, f: impl FnOnce(&mut OpenSpan) -> R) -> Option<R> {
        let mut bucket = self.bucket(id);
        Some(f(bucket.open.find(id)?))
    }

    /// Counts a span that was dropped because the memory is full.
    #[cold]
    pub(crate) fn count_refused(&self, id: u64, is_exported: bool) {
        let mut bucket = self.bucket(id);
        match is_exported {
            true => (bucket.started, bucket.gone) = (bucket.started + 1, bucket.gone + 1),
            false => bucket.started_unsampled += 1,
        }
    }

    /// As [`with`](Self::with); `None` also if the bucket is locked.
    #[inline(always)]
    pub(crate) fn try_with<R>(&self, id: u64, f: impl FnOnce(&mut OpenSpan) -> R) -> Option<R> {
        let mut bucket = try_lock(&self.buckets[Self::place(id)].0)?;
        Some(f(bucket.open.find(id)?))
    }

    /// Whether a span is open; `None` if the bucket is locked, by another thread or by this one.
    pub(crate) fn try_has(&self, id: u64) -> Option<bool> {
        let mut bucket = try_lock(&self.buckets[Self::place(id)].0)?;
        Some(bucket.open.find(id).is_some())
    }

    /// Counts an unsampled span that is not in the table.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn count_unsampled(&self, id: u64) {
        self.bucket(id).started_unsampled += 1;
    }

    pub(crate) fn has(&self, id: u64) -> bool {
        self.with(id, |_| ()).is_some()
    }

    /// As [`with`](Self::with) where `f` may change the decision: moves the span between the counters.
    pub(crate) fn decide<R>(&self, id: u64, f: impl FnOnce(&mut OpenSpan) -> R) -> Option<R> {
        let mut bucket = self.bucket(id);
        let BucketSpans {
            open,
            started,
            started_unsampled,
            started_recorded,
            ..
        } = &mut *bucket;
        let span = open.find(id)?;
        let was = span.identity.is_exported();
        let was_recorded = span.identity.is_recorded_only();
        let result = f(span);
        *started_recorded += u64::from(span.identity.is_recorded_only());
        *started_recorded -= u64::from(was_recorded);
        // Each span is counted once, by its last decision.
        match (was, span.identity.is_exported()) {
            (true, false) => {
                (*started, *started_unsampled) = (*started - 1, *started_unsampled + 1)
            }
            (false, true) => {
                (*started, *started_unsampled) = (*started + 1, *started_unsampled - 1)
            }
            _ => {}
        }
        Some(result)
    }

    /// Replaces a span by the result of `f` and returns it; `None` from `f` leaves it in place.
    pub(crate) fn replace(
        &self,
        id: u64,
        f: impl FnOnce(&OpenSpan) -> Option<Box<OpenSpan>>,
    ) -> Option<Box<OpenSpan>> {
        let mut bucket = self.bucket(id);
        let span = bucket.open.find(id)?;
        let other = f(span)?;
        let span = std::mem::replace(span, other);
        bucket.note_gone(&span);
        Some(span)
    }

    /// Takes a span out.
    #[inline(always)]
    pub(crate) fn remove(&self, id: u64) -> Option<Box<OpenSpan>> {
        let mut bucket = self.bucket(id);
        let span = bucket.open.remove(id)?;
        bucket.note_gone(&span);
        Some(span)
    }

    /// Appends the ids of a bucket's exported spans that started by `time`. Stops at the capacity of
    /// `ids`: nothing is allocated under the lock.
    pub(crate) fn open_since(&self, bucket: usize, time: u64, ids: &mut Vec<u64>) {
        let Some(bucket) = self.buckets.get(bucket) else {
            return;
        };
        let bucket = lock(&bucket.0);
        let is_meant = |e: &&OpenEntry| e.span.identity.is_exported() && e.span.state.start <= time;
        let room = ids.capacity() - ids.len();
        ids.extend(bucket.open.iter().filter(is_meant).map(|e| e.id).take(room));
    }

    /// Takes all spans out.
    #[expect(clippy::vec_box, reason = "a span moves by its pointer")]
    pub(crate) fn drain(&self) -> Vec<Box<OpenSpan>> {
        let mut all = Vec::new();
        for bucket in self.buckets.iter() {
            let mut bucket = lock(&bucket.0);
            let open = std::mem::take(&mut bucket.open);
            for span in open.into_spans() {
                bucket.note_gone(&span);
                all.push(span);
            }
        }
        all
    }

    pub(crate) fn counts(&self) -> SpanCounts {
        let mut counts = SpanCounts::default();
        for bucket in self.buckets.iter() {
            let bucket = lock(&bucket.0);
            counts.started += bucket.started;
            counts.started_unsampled += bucket.started_unsampled;
            counts.started_recorded += bucket.started_recorded;
            counts.open += bucket.started.saturating_sub(bucket.gone);
            let recorded = bucket.started_recorded;
            counts.open_recorded += recorded.saturating_sub(bucket.gone_recorded);
        }
        counts
    }
}
