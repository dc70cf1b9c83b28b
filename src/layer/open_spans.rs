//! The table of open spans, outside of the registry's extensions: those cost a boxed value and a
//! hash map a span, and their lock is shared with foreign layers.

use super::span::OpenSpan;
use crate::sync::{Mutex, MutexGuard, lock, try_lock};

/// Small enough to be cheap for a short-lived process, and with ten thousand open spans there are
/// ten to a bucket.
pub(super) const BUCKETS: usize = 1024;

/// Moves the number of the thread that made a span, which `sharded_slab` under the usual registry
/// keeps from bit 38 on, to bit 5: threads get buckets 32 apart.
const THREAD_SHIFT: u32 = 33;

#[derive(Debug)]
pub(crate) struct OpenSpans {
    buckets: Box<[Bucket; BUCKETS]>,
}

/// On a cache line of its own: spans of two threads fall into different buckets as a rule.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket(Mutex<Spans>);

#[derive(Debug, Default)]
struct Spans {
    open: Vec<Entry>,
    started: u64,
    started_unsampled: u64,
    /// Of the unsampled ones.
    started_recorded: u64,
}

impl Spans {
    #[inline(always)]
    fn find(&mut self, id: u64) -> Option<&mut Entry> {
        /// Among those behind the first, which nearly always is the only one.
        #[cold]
        #[inline(never)]
        fn find_behind(rest: &mut [Entry], id: u64) -> Option<&mut Entry> {
            rest.iter_mut().find(|entry| entry.id == id)
        }
        let (first, rest) = self.open.split_first_mut()?;
        match first.id == id {
            true => Some(first),
            false => find_behind(rest, id),
        }
    }
}

#[derive(Debug)]
struct Entry {
    id: u64,
    span: Box<OpenSpan>,
}

/// How many spans were made, and how many of the sampled ones are open.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) started: u64,
    pub(crate) started_unsampled: u64,
    pub(crate) open: u64,
    /// Of the unsampled ones, those that are recorded; and of these, the open ones.
    pub(crate) started_recorded: u64,
    pub(crate) open_recorded: u64,
}

impl OpenSpans {
    pub(crate) fn new() -> Self {
        Self {
            buckets: Box::new(std::array::from_fn(|_| Bucket::default())),
        }
    }

    /// The low bits of a slab's index are dense and used again at once, so the same few buckets
    /// stay warm; its generation, in the highest bits, is left out for that. Any other registry's
    /// ids are spread by their low bits too.
    #[inline(always)]
    fn place(id: u64) -> usize {
        id.wrapping_add(id >> THREAD_SHIFT) as usize % BUCKETS
    }

    #[inline(always)]
    fn bucket(&self, id: u64) -> MutexGuard<'_, Spans> {
        lock(&self.buckets[Self::place(id)].0)
    }

    /// Adds a span. Should its id be taken, the older span is gone without a close: it comes back.
    #[inline]
    pub(crate) fn insert(&self, id: u64, span: Box<OpenSpan>) -> Option<Box<OpenSpan>> {
        let mut bucket = self.bucket(id);
        if span.identity.is_exported() {
            bucket.started += 1;
        } else {
            bucket.started_unsampled += 1;
            bucket.started_recorded += u64::from(span.identity.is_recorded_only());
        }
        if let Some(entry) = bucket.find(id) {
            return Some(std::mem::replace(&mut entry.span, span));
        }
        bucket.open.push(Entry { id, span });
        None
    }

    /// Works on a span under its bucket's lock: nothing foreign may run in `f`.
    #[inline(always)]
    pub(crate) fn with<R>(&self, id: u64, f: impl FnOnce(&mut OpenSpan) -> R) -> Option<R> {
        let mut bucket = self.bucket(id);
        let entry = bucket.find(id)?;
        Some(f(&mut entry.span))
    }

    /// Counts a span that is not kept here for want of memory.
    #[cold]
    pub(crate) fn count_refused(&self, id: u64, is_exported: bool) {
        let mut bucket = self.bucket(id);
        match is_exported {
            true => bucket.started += 1,
            false => bucket.started_unsampled += 1,
        }
    }

    /// Works on a span, unless another thread has its bucket's lock.
    #[inline(always)]
    pub(crate) fn try_with<R>(&self, id: u64, f: impl FnOnce(&mut OpenSpan) -> R) -> Option<R> {
        let mut bucket = try_lock(&self.buckets[Self::place(id)].0)?;
        let entry = bucket.find(id)?;
        Some(f(&mut entry.span))
    }

    /// Whether a span is here; `None` where another thread, or this one, has its bucket's lock.
    pub(crate) fn try_has(&self, id: u64) -> Option<bool> {
        let bucket = try_lock(&self.buckets[Self::place(id)].0)?;
        Some(bucket.open.iter().any(|e| e.id == id))
    }

    /// Counts a span that is not kept here.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn count_unsampled(&self, id: u64) {
        self.bucket(id).started_unsampled += 1;
    }

    pub(crate) fn has(&self, id: u64) -> bool {
        self.with(id, |_| ()).is_some()
    }

    /// Works on a span, and on its decision, as [`with`](Self::with) does on the rest.
    pub(crate) fn decide<R>(&self, id: u64, f: impl FnOnce(&mut OpenSpan) -> R) -> Option<R> {
        let mut bucket = self.bucket(id);
        let Spans {
            open,
            started,
            started_unsampled,
            started_recorded,
        } = &mut *bucket;
        let span = &mut open.iter_mut().find(|e| e.id == id)?.span;
        let was = span.identity.is_exported();
        let was_recorded = span.identity.is_recorded_only();
        let result = f(span);
        *started_recorded += u64::from(span.identity.is_recorded_only());
        *started_recorded -= u64::from(was_recorded);
        // Each span is counted once, as what it is.
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

    /// Puts `other` in the place of a span, if `f` agrees: the span comes back.
    pub(crate) fn replace(
        &self,
        id: u64,
        f: impl FnOnce(&OpenSpan) -> Option<Box<OpenSpan>>,
    ) -> Option<Box<OpenSpan>> {
        let mut bucket = self.bucket(id);
        let entry = bucket.find(id)?;
        let other = f(&entry.span)?;
        Some(std::mem::replace(&mut entry.span, other))
    }

    /// Takes a span out.
    #[inline]
    pub(crate) fn remove(&self, id: u64) -> Option<Box<OpenSpan>> {
        let mut bucket = self.bucket(id);
        let at = match bucket.open.first()?.id == id {
            true => 0,
            false => bucket.open.iter().position(|e| e.id == id)?,
        };
        let span = bucket.open.swap_remove(at).span;
        // A burst's memory is given back.
        if bucket.open.is_empty() && bucket.open.capacity() > 64 {
            bucket.open = Vec::new();
        }
        Some(span)
    }

    /// Ids of exported spans in a bucket that began by this time, as far as `ids` has room: nothing
    /// is allocated under the lock.
    pub(crate) fn open_since(&self, bucket: usize, time: u64, ids: &mut Vec<u64>) {
        let Some(bucket) = self.buckets.get(bucket) else {
            return;
        };
        let bucket = lock(&bucket.0);
        let is_meant = |e: &&Entry| e.span.identity.is_exported() && e.span.state.start <= time;
        let room = ids.capacity() - ids.len();
        ids.extend(bucket.open.iter().filter(is_meant).map(|e| e.id).take(room));
    }

    /// Takes all spans out.
    #[expect(clippy::vec_box, reason = "a span moves by its pointer")]
    pub(crate) fn drain(&self) -> Vec<Box<OpenSpan>> {
        let mut all = Vec::new();
        for bucket in self.buckets.iter() {
            all.extend(lock(&bucket.0).open.drain(..).map(|e| e.span));
        }
        all
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for bucket in self.buckets.iter() {
            let bucket = lock(&bucket.0);
            counts.started += bucket.started;
            counts.started_unsampled += bucket.started_unsampled;
            counts.started_recorded += bucket.started_recorded;
            for entry in &bucket.open {
                counts.open += u64::from(entry.span.identity.is_exported());
                counts.open_recorded += u64::from(entry.span.identity.is_recorded_only());
            }
        }
        counts
    }
}
