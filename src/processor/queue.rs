//! [`Queue`]: the waiting items of one signal, and its counters.

use super::buffer::{QueueBounds, TelemetryBuffer};
use super::record::TelemetryData;
use super::shedding::{Shedding, SheddingFacts};
use super::wake::Wake;
use crate::pool::{Budget, preferred_shard};
use crate::signal::Signal;
use crate::stats::{Counters, DropReason};
use crate::sync::{Arc, AtomicBool, Ordering};

/// The queue of one signal. Each queue has its own bound, share of the memory and counters, so that a
/// flood of one signal drops nothing of the other. The queues of a pipeline share the worker and its wake
/// signal.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) signal: Signal,
    pub(crate) buffer: TelemetryBuffer,
    pub(crate) wake: Arc<Wake>,
    pub(crate) counters: Arc<Counters>,
    /// Of spans; records are not shed.
    pub(super) shedding: Shedding,
    /// The endpoint has answered that it does not take the signal.
    is_unsupported: AtomicBool,
}

impl Queue {
    pub(super) fn new(
        signal: Signal,
        bounds: QueueBounds,
        parallelism: usize,
        budget: &Arc<Budget>,
        wake: Wake,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        let wake = Arc::new(wake);
        Arc::new(Self {
            signal,
            buffer: TelemetryBuffer::new(
                signal,
                bounds,
                parallelism,
                budget,
                Arc::clone(&wake),
                Arc::clone(&counters),
            ),
            wake,
            counters,
            shedding: Shedding::default(),
            is_unsupported: AtomicBool::new(false),
        })
    }

    #[inline]
    pub(super) fn push(&self, data: TelemetryData<'_>) {
        self.push_to(preferred_shard(), data);
    }

    /// The same with a preferred shard.
    #[inline(always)]
    pub(super) fn push_to(&self, shard: usize, data: TelemetryData<'_>) {
        self.buffer.push(shard, data);
    }

    /// [`push_to`](Self::push_to) for a span, which may be shed; `facts` are asked for only while traces are.
    #[inline(always)]
    pub(super) fn push_span(
        &self,
        shard: usize,
        data: TelemetryData<'_>,
        facts: impl FnOnce() -> SheddingFacts,
    ) {
        if self.shedding.is_active() {
            let target = (&self.buffer, &*self.counters);
            return self.shedding.push(target, shard, data, &facts());
        }
        self.buffer.push(shard, data);
    }

    /// Whether the endpoint does not take the signal, by its last answer: the caller then encodes nothing.
    #[inline]
    pub(super) fn is_unsupported(&self) -> bool {
        self.is_unsupported.load(Ordering::Relaxed)
    }

    /// The same, and counts the item that is not pushed.
    pub(super) fn refuses_one(&self) -> bool {
        let refuses = self.is_unsupported();
        if refuses {
            self.counters.drop_spans(DropReason::Unsupported, 1);
        }
        refuses
    }

    pub(super) fn set_unsupported(&self, is_unsupported: bool) {
        self.is_unsupported.store(is_unsupported, Ordering::Relaxed);
    }

    /// Refuses further items, and counts those that the worker has not drained as lost.
    pub(super) fn close(&self, reason: DropReason) {
        let mut rest = Vec::new();
        self.buffer.drain(true, &mut rest);
        for chunk in rest {
            let items = chunk.items();
            self.counters.drop_spans(reason, u64::from(items));
            self.buffer.release(items as usize);
            chunk.recycle(self.buffer.pool());
        }
    }
}
