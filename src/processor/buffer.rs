//! [`TelemetryBuffer`]: the closed spans that wait, bounded by their number and their bytes.
//!
//! A closing span is copied into a chunk that many spans share; each shard has one open chunk. Under a
//! shard's lock a push does nothing but that copy. A thread that finds its shard locked takes another one,
//! so that it does not wait for a thread that was preempted under the lock. A thread holds one lock at a
//! time.

use super::chunk::{Chunk, ChunkPool, encoded_len};
use super::credits::Credits;
use super::record::TelemetryData;
use super::wake::Wake;
use crate::pool::{Budget, Grade, Pool};
use crate::signal::Signal;
use crate::stats::{Counters, DropReason};
use crate::sync::{Arc, CachePadded, Mutex, MutexGuard, Ordering, lock, try_lock};
use crate::wire::shed::slimmed;

/// The bounds of the buffer, and the size of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueBounds {
    /// Spans that may wait.
    pub(crate) spans: usize,
    /// Spans of a batch.
    pub(crate) batch: usize,
    /// Bytes of a batch.
    pub(crate) batch_bytes: usize,
}

#[derive(Debug)]
pub(crate) struct TelemetryBuffer {
    /// A power of two of them.
    shards: Box<[CachePadded<Mutex<QueueShard>>]>,
    layout: ShardLayout,
    signal: Signal,
    credits: Credits,
    pool: Arc<ChunkPool>,
    wake: Arc<Wake>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct QueueShard {
    open: Chunk,
    full: Vec<Chunk>,
    /// Set at the last drain: later spans are counted as `AlreadyShutdown`.
    closed: bool,
    /// Spans that this shard may still take before it needs more credits.
    credits: usize,
    /// Spans of this shard that are not in `Wake`'s load yet.
    unpublished: usize,
    /// The part of `Wake`'s load that belongs to spans of this shard.
    published: usize,
}

/// Sizes that follow from the bounds.
#[derive(Debug, Clone, Copy)]
struct ShardLayout {
    bounds: QueueBounds,
    /// Bytes of a common chunk.
    chunk: usize,
    /// Credits that a shard takes at once.
    grain: usize,
    /// Spans after which a shard publishes its load, in a count that all threads share. With n shards the
    /// worker may notice a batch `(step - 1) * n` spans late: half a batch at most.
    step: usize,
}

/// The result of a push under a shard's lock.
enum Attempt {
    Done { notify: bool },
    NeedsChunk,
    NeedsCredit,
    Closed,
}

const MAX_CHUNK: usize = 64 << 10;
const MIN_CHUNK: usize = 4 << 10;
/// All open chunks together, unless there are more than 64 shards.
const OPEN_CHUNKS: usize = 1 << 20;
const LEAST_ON_MANY_CORES: usize = 16 << 10;
const MAX_SHARDS: usize = 256;

/// The bound of a push's searches of all shards: credits may be released again and again and each time
/// taken by other threads.
const SEARCHES: usize = 4;

impl TelemetryBuffer {
    /// `parallelism`: how many threads may push at the same moment.
    pub(crate) fn new(
        signal: Signal,
        bounds: QueueBounds,
        parallelism: usize,
        budget: &Arc<Budget>,
        wake: Arc<Wake>,
        counters: Arc<Counters>,
    ) -> Self {
        let memory = budget.share();
        let mut shards = parallelism.next_power_of_two().clamp(1, MAX_SHARDS);
        // Open chunks must not use up a small budget.
        while shards > 1 && memory / (4 * shards) < MIN_CHUNK {
            shards /= 2;
        }
        // A batch takes the open chunk of each shard, however full. So on many cores chunks are smaller, else
        // a burst would fill the memory with empty space.
        let share = (OPEN_CHUNKS / shards).max(LEAST_ON_MANY_CORES);
        let chunk = (memory / (4 * shards)).min(share);
        let chunk = chunk.clamp(MIN_CHUNK, MAX_CHUNK);
        let layout = ShardLayout {
            bounds,
            chunk,
            grain: (bounds.spans / (8 * shards)).clamp(1, 256),
            step: (bounds.batch / (2 * shards)).clamp(1, 16),
        };
        let cost = Chunk::cost_of(chunk);
        Self {
            shards: (0..shards).map(|_| CachePadded::default()).collect(),
            layout,
            signal,
            credits: Credits::new(bounds.spans),
            pool: Self::pool_of(budget, cost),
            wake,
            counters,
        }
    }

    fn pool_of(budget: &Arc<Budget>, cost: usize) -> Arc<ChunkPool> {
        let pool = Arc::new(Pool::new(
            Arc::clone(budget),
            cost,
            budget.limit() / 4 / cost,
        ));
        #[cfg(not(tracing_otlp_loom))]
        {
            let pool: Arc<dyn crate::pool::Reclaim> = Arc::clone(&pool) as _;
            budget.lends(Arc::downgrade(&pool));
        }
        pool
    }

    /// Takes a closed span, or counts it as dropped. Waits at most for another thread's copy of a span;
    /// `preferred` is the caller's shard, any number.
    #[inline(always)]
    pub(crate) fn push(&self, preferred: usize, data: TelemetryData<'_>) {
        if !self.push_here(preferred, data) {
            self.push_anywhere(preferred, data);
        }
    }

    /// The path of nearly every push: the preferred shard is unlocked, and has a credit and space.
    #[inline(always)]
    fn push_here(&self, preferred: usize, data: TelemetryData<'_>) -> bool {
        let shard = self.shards.get(preferred & (self.shards.len() - 1));
        let Some(mut shard) = shard.and_then(|shard| try_lock(&shard.0)) else {
            return false;
        };
        if shard.closed
            || shard.credits == 0
            || !shard.open.fits(data.scope, encoded_len(data.item))
        {
            return false;
        }
        shard.open.append(data);
        let notify = shard.count(&self.layout, &self.wake, 0);
        drop(shard);
        if notify {
            self.wake.notify();
        }
        true
    }

    #[cold]
    #[inline(never)]
    fn push_anywhere(&self, preferred: usize, data: TelemetryData<'_>) {
        let len = encoded_len(data.item);
        let placed = if len > self.layout.chunk / 2 {
            self.push_alone(preferred, data, len)
        } else {
            self.push_among_others(preferred, data, len)
        };
        if let Err(reason) = placed {
            self.counters.drop_spans(reason, 1);
        }
    }

    fn push_among_others(
        &self,
        preferred: usize,
        data: TelemetryData<'_>,
        len: usize,
    ) -> Result<(), DropReason> {
        let mut empty = None;
        let placed = self.place(preferred, &mut empty, &mut |shard, empty| {
            shard.append(&self.layout, &self.wake, data, len, empty)
        });
        if let Some(chunk) = empty {
            chunk.recycle(&self.pool);
        }
        placed
    }

    /// A span that would waste much of a common chunk gets one of its own, copied outside the lock.
    #[cold]
    fn push_alone(
        &self,
        preferred: usize,
        data: TelemetryData<'_>,
        len: usize,
    ) -> Result<(), DropReason> {
        let budget = self.pool.budget();
        let cost = Chunk::cost_alone(len);
        // Protobuf's lengths end at 2 GiB.
        if cost > budget.limit().min(i32::MAX as usize) {
            return self.push_slimmed(preferred, data, DropReason::TooLarge);
        }
        if !budget.reserve_up_to(cost, Grade::of(cost)) {
            return self.push_slimmed(preferred, data, DropReason::QueueFull);
        }
        let mut alone = Some(Chunk::alone(data));
        let placed = self.place(preferred, &mut alone, &mut |shard, alone| {
            shard.admit(&self.layout, &self.wake, alone)
        });
        if let Some(chunk) = alone {
            chunk.recycle(&self.pool);
        }
        placed
    }

    /// A large span for which there is no memory: it leaves out its largest parts.
    #[cold]
    fn push_slimmed(
        &self,
        preferred: usize,
        data: TelemetryData<'_>,
        reason: DropReason,
    ) -> Result<(), DropReason> {
        /// The longest tag and length in front of a span in a chunk.
        const HEAD: usize = 11;
        let goal = self.layout.chunk / 2 - HEAD;
        let slim = match self.signal {
            Signal::Traces => slimmed(data.item, goal),
            // A large record has a large body: without it the record says nothing.
            Signal::Logs => None,
        };
        let Some((span, shed)) = slim else {
            return Err(reason);
        };
        let span = &span[..];
        let data = TelemetryData { item: span, ..data };
        self.push_among_others(preferred, data, encoded_len(span))?;
        let left_out = u64::from(shed.total());
        self.counters
            .truncated
            .fetch_add(left_out, Ordering::Relaxed);
        self.counters
            .truncated_for_memory
            .fetch_add(left_out, Ordering::Relaxed);
        Ok(())
    }

    /// Calls `put` for one shard after the other until one takes the span.
    fn place(
        &self,
        preferred: usize,
        chunk: &mut Option<Chunk>,
        put: &mut impl FnMut(&mut QueueShard, &mut Option<Chunk>) -> Attempt,
    ) -> Result<(), DropReason> {
        let epoch = self.credits.epoch();
        if self.credits.is_full(epoch) {
            return Err(DropReason::QueueFull);
        }
        loop {
            let attempt = self.attempt(self.any_shard(preferred), chunk, put);
            match attempt {
                Attempt::Done { notify } => {
                    if notify {
                        self.wake.notify();
                    }
                    return Ok(());
                }
                Attempt::NeedsChunk => match self.pool.take(|| self.layout.make_chunk()) {
                    Some(new) => *chunk = Some(new),
                    None => return Err(DropReason::QueueFull),
                },
                Attempt::NeedsCredit => return self.search(epoch, chunk, put),
                Attempt::Closed => return Err(DropReason::AlreadyShutdown),
            }
        }
    }

    /// Searches all shards for an unused credit.
    #[cold]
    fn search(
        &self,
        mut epoch: usize,
        chunk: &mut Option<Chunk>,
        put: &mut impl FnMut(&mut QueueShard, &mut Option<Chunk>) -> Attempt,
    ) -> Result<(), DropReason> {
        for _ in 0..SEARCHES {
            let mut index = 0;
            while let Some(shard) = self.shards.get(index) {
                match self.attempt(lock(&shard.0), chunk, put) {
                    Attempt::Done { notify } => {
                        if notify {
                            self.wake.notify();
                        }
                        return Ok(());
                    }
                    Attempt::NeedsChunk => match self.pool.take(|| self.layout.make_chunk()) {
                        Some(new) => *chunk = Some(new),
                        None => return Err(DropReason::QueueFull),
                    },
                    Attempt::NeedsCredit => index += 1,
                    Attempt::Closed => return Err(DropReason::AlreadyShutdown),
                }
            }
            if self.credits.declare_full(epoch) {
                break;
            }
            epoch = self.credits.epoch();
        }
        Err(DropReason::QueueFull)
    }

    /// One attempt, under the lock.
    fn attempt(
        &self,
        mut shard: MutexGuard<'_, QueueShard>,
        chunk: &mut Option<Chunk>,
        put: &mut impl FnMut(&mut QueueShard, &mut Option<Chunk>) -> Attempt,
    ) -> Attempt {
        if shard.closed {
            return Attempt::Closed;
        }
        if shard.credits == 0 {
            shard.credits = self.credits.take(self.layout.grain);
            if shard.credits == 0 {
                return Attempt::NeedsCredit;
            }
        }
        put(&mut shard, chunk)
    }

    /// The preferred shard, or the next one that is unlocked.
    #[inline]
    fn any_shard(&self, preferred: usize) -> MutexGuard<'_, QueueShard> {
        let mask = self.shards.len() - 1;
        for offset in 0..self.shards.len() {
            let shard = &self.shards[preferred.wrapping_add(offset) & mask];
            if let Some(guard) = try_lock(&shard.0) {
                return guard;
            }
        }
        lock(&self.shards[preferred & mask].0)
    }

    /// Moves all waiting spans into `out`, in the order of each shard. With `close`, later pushes are
    /// counted as [`AlreadyShutdown`](DropReason::AlreadyShutdown): the flag is set under the shard's lock, so
    /// each span is either drained or counted. The spans keep their credits until
    /// [`release`](Self::release).
    pub(crate) fn drain(&self, close: bool, out: &mut Vec<Chunk>) {
        for shard in &self.shards {
            let mut shard = lock(&shard.0);
            shard.closed |= close;
            out.append(&mut shard.full);
            if shard.open.items() > 0 {
                out.push(std::mem::take(&mut shard.open));
            }
            shard.unpublished = 0;
            let published = std::mem::take(&mut shard.published);
            drop(shard);
            if published > 0 {
                self.wake.subtract(published);
            }
        }
        if close {
            // A queue that was found full looks at its shards again, and finds them closed.
            self.credits.release(0);
        }
    }

    /// Releases the credits of `spans` that have left the queue.
    pub(crate) fn release(&self, spans: usize) {
        self.credits.release(spans);
    }

    pub(crate) fn bounds(&self) -> &QueueBounds {
        &self.layout.bounds
    }

    /// Waiting spans, with drained ones whose credits are not released yet.
    pub(crate) fn queued(&self) -> usize {
        let unused: usize = self.shards.iter().map(|s| lock(&s.0).credits).sum();
        self.credits
            .limit()
            .saturating_sub(self.credits.free())
            .saturating_sub(unused)
    }

    pub(crate) fn pool(&self) -> &Arc<ChunkPool> {
        &self.pool
    }

    /// The load of `spans` with `bytes`, in spans of a batch.
    pub(crate) fn load_of(&self, spans: usize, bytes: usize) -> usize {
        self.layout.load_of(spans, bytes)
    }
}

impl ShardLayout {
    fn make_chunk(&self) -> Chunk {
        Chunk::with_capacity(self.chunk)
    }

    /// A batch is full by spans or by bytes: bytes count as the equivalent number of spans.
    fn load_of(&self, spans: usize, bytes: usize) -> usize {
        let QueueBounds {
            batch, batch_bytes, ..
        } = self.bounds;
        spans.max(bytes.saturating_mul(batch) / batch_bytes.max(1))
    }
}

impl QueueShard {
    /// Copies a span into the open chunk. If that is full, `empty` replaces it; without `empty`, the caller
    /// has to bring one.
    #[inline]
    fn append(
        &mut self,
        layout: &ShardLayout,
        wake: &Wake,
        data: TelemetryData<'_>,
        len: usize,
        empty: &mut Option<Chunk>,
    ) -> Attempt {
        let mut heavy = 0;
        if !self.open.fits(data.scope, len) {
            let Some(empty) = empty.take() else {
                return Attempt::NeedsChunk;
            };
            let filled = std::mem::replace(&mut self.open, empty);
            if filled.items() > 0 {
                heavy = layout.surplus(&filled);
                self.full.push(filled);
            }
        }
        self.open.append(data);
        Attempt::Done {
            notify: self.count(layout, wake, heavy),
        }
    }

    /// Takes a chunk with one large span.
    fn admit(&mut self, layout: &ShardLayout, wake: &Wake, alone: &mut Option<Chunk>) -> Attempt {
        let Some(chunk) = alone.take() else {
            return Attempt::Done { notify: false };
        };
        let heavy = layout.surplus(&chunk);
        self.full.push(chunk);
        Attempt::Done {
            notify: self.count(layout, wake, heavy),
        }
    }

    /// Counts one more span; `heavy` is load beyond the number of spans. True: the caller notifies the
    /// worker.
    #[inline]
    fn count(&mut self, layout: &ShardLayout, wake: &Wake, heavy: usize) -> bool {
        self.credits -= 1;
        self.unpublished += 1;
        if self.unpublished < layout.step && heavy == 0 {
            return false;
        }
        let load = std::mem::take(&mut self.unpublished) + heavy;
        self.published += load;
        // Under the lock, so that a drain never subtracts load that is not added yet.
        wake.add(load)
    }
}

impl ShardLayout {
    /// The load of a closed chunk beyond its number of spans, if they are large.
    fn surplus(&self, chunk: &Chunk) -> usize {
        let spans = chunk.items() as usize;
        self.load_of(spans, chunk.len()) - spans
    }
}

#[cfg(all(test, not(tracing_otlp_loom)))]
mod tests;
