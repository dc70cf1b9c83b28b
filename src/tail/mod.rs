//! Tail sampling: a local trace is held until its local root ends, and then kept or dropped whole.
//! With `tracing_subscriber::Registry` the root closes after all its descendants; a span ends later only
//! if its trace was decided early.
//!
//! ```text
//!  span ends ─▶ TraceRef: the local trace, inherited from the parent
//!    a child: copied into the trace's BlockList    (store: credits and bytes; full? decide the oldest)
//!    the local root: Facts ─▶ TailRules ─▶ TailDecision ─▶ all to the processor, or all counted as dropped
//!    after the decision: follows it; an error is kept in any case
//!  the worker, about once a second ─▶ sweep: decides the traces that were held too long
//! ```
//!
//! - `trace`: the state that the spans of a local trace share. It lives as long as one of them is open,
//!   so a late span finds the decision there, and no table of decisions needs a bound.
//! - `store` and `block_list`: the memory. `age_queue`: the traces in the order of their age. `quantile`:
//!   the usual durations of a name. `decision`: the rules.
//!
//! All of it runs on the thread whose span ended. No thread takes a lock while it holds another, and none
//! holds one during foreign code or a push.

mod age_queue;
mod block_list;
mod decision;
mod quantile;
mod store;
mod trace;

#[cfg(test)]
mod tests;

use std::time::Duration;

use self::age_queue::{AgeQueue, QueuePlace};
use self::decision::{Facts, TailDecision, TailRules};
use self::quantile::Quantiles;
use self::store::HoldingStore;
pub(crate) use self::trace::TraceRef;
use self::trace::{HeldSpans, Holding, HoldingSlot, LocalTrace};
use crate::clock;
use crate::config::TailConfig;
use crate::pool::{Budget, Memory};
use crate::processor::{BatchProcessor, TelemetryData};
use crate::stats::DropReason;
use crate::sync::Arc;

/// Holds ended spans before the processor, and passes on those of the traces that it keeps.
#[derive(Debug)]
pub(crate) struct TailSampler {
    rules: TailRules,
    max_hold: Duration,
    quantiles: Option<Quantiles>,
    store: HoldingStore,
    age_queue: AgeQueue,
    processor: BatchProcessor,
    /// The pipeline's.
    memory: Arc<Memory>,
}

/// An ended span: its bytes, and the facts for the decision. Times are nanoseconds of the clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndedSpan<'a> {
    pub(crate) trace_id: [u8; 16],
    pub(crate) trace_ref: &'a TraceRef,
    pub(crate) name: &'a str,
    pub(crate) is_error: bool,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) data: TelemetryData<'a>,
}

/// The most attempts to find memory for one span while other threads take it. After them, its trace is
/// decided early, so that no thread loops without a bound.
const ATTEMPTS: usize = 16;

impl TailSampler {
    pub(crate) fn new(config: &TailConfig, processor: BatchProcessor, memory: Arc<Memory>) -> Self {
        let quantile = config.slower_than_quantile;
        Self {
            rules: TailRules::new(config),
            max_hold: config.max_hold,
            quantiles: quantile.map(|q| Quantiles::new(q, Arc::clone(&memory.growth))),
            store: HoldingStore::new(config.max_spans, config.max_bytes, &memory.growth),
            age_queue: AgeQueue::default(),
            processor,
            memory,
        }
    }

    /// Makes the local trace of a new local root.
    #[inline]
    pub(crate) fn begin(&self, trace_id: [u8; 16]) -> TraceRef {
        TraceRef::of_root(LocalTrace::new(trace_id, &self.memory.spans))
    }

    /// Takes an ended span: holds it, or decides.
    pub(crate) fn ended(&self, span: &EndedSpan<'_>) {
        match span.trace_ref.trace() {
            Some(trace) if span.trace_ref.is_root() => self.conclude(trace, span),
            Some(trace) => self.hold(trace, span),
            None => {
                let duration = span.end.saturating_sub(span.start);
                let decision = self.decide_alone(span, duration, None);
                self.settle(None, decision, Some(span));
            }
        }
    }

    /// Decides a trace whose local root has ended.
    fn conclude(&self, trace: &Arc<LocalTrace>, span: &EndedSpan<'_>) {
        let duration = span.end.saturating_sub(span.start);
        let usual = self.quantiles.as_ref();
        let usual = usual.and_then(|quantiles| quantiles.observe(span.name, duration));
        let (held, decision) = trace.decide(&self.rules, |_, facts| {
            facts.has_error |= span.is_error;
            (facts.duration, facts.usual) = (duration, usual);
        });
        let Some(held) = held else {
            return self.follow(decision, span, duration, usual);
        };
        self.leave(&held, trace);
        self.settle(Some(held), decision, Some(span));
    }

    /// Holds a span until its local root ends.
    fn hold(&self, trace: &Arc<LocalTrace>, span: &EndedSpan<'_>) {
        if !self.store.can_hold(span.data.item.len()) {
            return self.decide_early(trace, Some(span));
        }
        let mut slot = HoldingSlot {
            credit: self.store.take_credit(),
            block: None,
        };
        for _ in 0..ATTEMPTS {
            let holding = trace.hold(span.data, span.start, span.is_error, &mut slot);
            let is_supplied = match holding {
                Holding::Done { first } => {
                    self.give_slot(slot);
                    if first {
                        self.enter(trace);
                    }
                    return;
                }
                Holding::Decided(decision) => {
                    self.give_slot(slot);
                    return self.follow(decision, span, 0, None);
                }
                Holding::NeedsCredit => {
                    slot.credit = self.store.take_credit();
                    slot.credit
                }
                Holding::NeedsBlock => {
                    slot.block = self.store.take_block(span.data.item.len());
                    slot.block.is_some()
                }
            };
            if is_supplied {
                continue;
            }
            match self.age_queue.oldest(AgeQueue::shard_of(trace)) {
                // The trace itself is the oldest: it is decided below, with this span.
                Some(oldest) if Arc::ptr_eq(&oldest, trace) => break,
                Some(oldest) => self.decide_early(&oldest, None),
                None => break,
            }
        }
        self.give_slot(slot);
        self.decide_early(trace, Some(span));
    }

    /// Puts a trace with its first held span into the age queue.
    fn enter(&self, trace: &Arc<LocalTrace>) {
        let now = clock::now();
        match self.age_queue.enter(Arc::clone(trace), now) {
            // Another thread may have decided the trace between `hold` and `enter`. It found no place to
            // leave, so the trace leaves here.
            QueuePlace::At(place) if !trace.set_place(place) => self.age_queue.leave(place, trace),
            QueuePlace::At(_) => {}
            QueuePlace::Closed => self.decide_early(trace, None),
        }
        // For each new trace one expired trace goes, so that the worker's sweep stays short.
        self.expire(AgeQueue::shard_of(trace), now);
    }

    fn leave(&self, held: &HeldSpans, trace: &Arc<LocalTrace>) {
        if let Some(place) = held.place {
            self.age_queue.leave(place, trace);
        }
    }

    /// Decides the oldest trace of a shard if it was held too long; returns whether it was.
    fn expire(&self, shard: usize, now: u64) -> bool {
        let max_hold = u64::try_from(self.max_hold.as_nanos()).unwrap_or(u64::MAX);
        let is_over = |since| now.saturating_sub(since) > max_hold;
        match self.age_queue.expired(shard, is_over) {
            Some(trace) => {
                self.decide_early(&trace, None);
                true
            }
            None => false,
        }
    }

    /// Decides the traces that were held too long. The worker calls it about once a second.
    pub(crate) fn sweep(&self) {
        let now = clock::now();
        for shard in AgeQueue::shards() {
            while self.expire(shard, now) {}
        }
        if self.held().used() == 0 {
            self.store.trim();
        }
    }

    /// Decides all held traces, and holds no more from now on. The queue closes first, so no trace enters
    /// behind the loop.
    pub(crate) fn close(&self) {
        self.age_queue.close();
        while let Some(oldest) = self.age_queue.oldest(0) {
            self.decide_early(&oldest, None);
        }
    }

    /// Decides a trace by its spans so far and by `last`, a span that is not held.
    #[cold]
    fn decide_early(&self, trace: &Arc<LocalTrace>, last: Option<&EndedSpan<'_>>) {
        let now = clock::now();
        let (held, decision) = trace.decide(&self.rules, |held, facts| {
            facts.has_error |= last.is_some_and(|span| span.is_error);
            // The root is still open and began no later than its earliest held span.
            let earliest = (held.spans > 0).then_some(held.earliest);
            let earliest = earliest
                .into_iter()
                .chain(last.map(|span| span.start))
                .min();
            facts.duration = earliest.map_or(0, |start| now.saturating_sub(start));
        });
        match (held, last) {
            (Some(held), last) => {
                self.leave(&held, trace);
                self.settle(Some(held), decision, last);
            }
            (None, Some(span)) => self.follow(decision, span, 0, None),
            (None, None) => {}
        }
    }

    /// Settles a span that ends after the decision: a span that would have kept its trace is kept.
    fn follow(
        &self,
        decision: TailDecision,
        span: &EndedSpan<'_>,
        duration: u64,
        usual: Option<u64>,
    ) {
        let decision = match decision {
            TailDecision::Keep => TailDecision::Keep,
            TailDecision::Drop => self.decide_alone(span, duration, usual),
        };
        self.settle(None, decision, Some(span));
    }

    fn decide_alone(
        &self,
        span: &EndedSpan<'_>,
        duration: u64,
        usual: Option<u64>,
    ) -> TailDecision {
        self.rules.decide(&Facts {
            trace_id: span.trace_id,
            has_error: span.is_error,
            duration,
            usual,
        })
    }

    /// Pushes or drops the spans, and returns their credits and blocks.
    fn settle(
        &self,
        held: Option<HeldSpans>,
        decision: TailDecision,
        last: Option<&EndedSpan<'_>>,
    ) {
        let (block_list, spans) = held
            .map(|held| (held.block_list, held.spans))
            .unwrap_or_default();
        match decision {
            TailDecision::Keep => {
                for block in block_list.into_blocks() {
                    block.spans().for_each(|data| self.processor.push(data));
                    self.store.give_block(block);
                }
                if let Some(span) = last {
                    self.processor.push(span.data);
                }
            }
            TailDecision::Drop => {
                self.store.discard(block_list);
                let dropped = spans + usize::from(last.is_some());
                let counters = self.processor.counters();
                counters.drop_spans(DropReason::TailDropped, dropped as u64);
            }
        }
        // After the processor or the drop counter has them, so that `Stats` never misses a span.
        self.store.give_credits(spans);
    }

    fn give_slot(&self, slot: HoldingSlot) {
        self.store.give_credits(usize::from(slot.credit));
        if let Some(block) = slot.block {
            self.store.give_block(block);
        }
    }

    /// The count of held spans. It outlives the sampler.
    pub(crate) fn held(&self) -> &Arc<Budget> {
        self.store.credits()
    }
}
