//! Tail decisions: a local trace is held until its local root ends, and then kept or dropped whole.
//! Under the usual registry that is when the root closes, after all that descends from it; spans that
//! end later are those of traces that were decided early.
//!
//! ```text
//!  span ends ─▶ Membership: the local trace that its parent passed on
//!    a child: copied into the trace's chain of blocks    (store: credits and bytes; full? decide the oldest)
//!    the local root: Facts ─▶ Rules ─▶ Verdict ─▶ all to the processor, or all counted as dropped
//!    after the verdict: follows it; an error is kept in any case
//!  the worker, about once a second ─▶ sweep: what was held too long is decided
//! ```
//!
//! - `trace` is what the spans of a local trace share: it lives as long as one of them is open, so
//!   a late span finds the verdict, and no table of verdicts has to be bounded.
//! - `store` and `block_list` are the memory, `age_queue` says who was held longest, `quantile` what is slow
//!   for a name, `decision` decides.
//!
//! Everything runs on the thread whose span ended. No lock is taken while another is held, and none
//! is held over foreign code or a push.

mod age_queue;
mod block_list;
mod decision;
mod quantile;
mod store;
mod trace;

#[cfg(test)]
mod tests;

use std::time::Duration;

use self::age_queue::{AgeQueue, Entry};
use self::decision::{Facts, Rules, TailDecision};
use self::quantile::Quantiles;
use self::store::Store;
pub(crate) use self::trace::TraceRef;
use self::trace::{Held, Holding, LocalTrace, Slot};
use crate::clock;
use crate::config::TailConfig;
use crate::pool::{Budget, Memory};
use crate::processor::{BatchProcessor, TelemetryData};
use crate::stats::DropReason;
use crate::sync::Arc;

/// Stands before the processor and decides what it gets.
#[derive(Debug)]
pub(crate) struct TailSampler {
    rules: Rules,
    max_hold: Duration,
    quantiles: Option<Quantiles>,
    store: Store,
    age_queue: AgeQueue,
    processor: BatchProcessor,
    /// The pipeline's.
    memory: Arc<Memory>,
}

/// A span that ended, as far as it matters for a verdict. Times are nanoseconds of the clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended<'a> {
    pub(crate) trace_id: [u8; 16],
    pub(crate) trace_ref: &'a TraceRef,
    pub(crate) name: &'a str,
    pub(crate) is_error: bool,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) data: TelemetryData<'a>,
}

/// How often room for one span is looked for while others take it: nobody waits for ever.
const ATTEMPTS: usize = 16;

impl TailSampler {
    pub(crate) fn new(config: &TailConfig, processor: BatchProcessor, memory: Arc<Memory>) -> Self {
        let quantile = config.slower_than_quantile;
        Self {
            rules: Rules::new(config),
            max_hold: config.max_hold,
            quantiles: quantile.map(|q| Quantiles::new(q, Arc::clone(&memory.growth))),
            store: Store::new(config.max_spans, config.max_bytes, &memory.growth),
            age_queue: AgeQueue::default(),
            processor,
            memory,
        }
    }

    /// The local trace that begins with a new local root.
    #[inline]
    pub(crate) fn begin(&self, trace_id: [u8; 16]) -> TraceRef {
        TraceRef::of_root(LocalTrace::new(trace_id, &self.memory.spans))
    }

    /// Takes an ended span: holds it, or decides.
    pub(crate) fn ended(&self, span: &Ended<'_>) {
        match span.trace_ref.trace() {
            Some(trace) if span.trace_ref.is_root() => self.conclude(trace, span),
            Some(trace) => self.hold(trace, span),
            None => {
                let duration = span.end.saturating_sub(span.start);
                let decision = self.verdict_alone(span, duration, None);
                self.settle(None, decision, Some(span));
            }
        }
    }

    /// The local root has ended.
    fn conclude(&self, trace: &Arc<LocalTrace>, span: &Ended<'_>) {
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
    fn hold(&self, trace: &Arc<LocalTrace>, span: &Ended<'_>) {
        if !self.store.has_place_for(span.data.span.len()) {
            return self.decide_early(trace, Some(span));
        }
        let mut room = Slot {
            credit: self.store.take_credit(),
            block: None,
        };
        for _ in 0..ATTEMPTS {
            let holding = trace.hold(span.data, span.start, span.is_error, &mut room);
            let has_room = match holding {
                Holding::Done { first } => {
                    self.give_room(room);
                    if first {
                        self.enter(trace);
                    }
                    return;
                }
                Holding::Decided(decision) => {
                    self.give_room(room);
                    return self.follow(decision, span, 0, None);
                }
                Holding::NeedsCredit => {
                    room.credit = self.store.take_credit();
                    room.credit
                }
                Holding::NeedsBlock => {
                    room.block = self.store.take_block(span.data.span.len());
                    room.block.is_some()
                }
            };
            if has_room {
                continue;
            }
            match self.age_queue.oldest(AgeQueue::shard_of(trace)) {
                // Its own turn: it is decided below, with this span.
                Some(oldest) if Arc::ptr_eq(&oldest, trace) => break,
                Some(oldest) => self.decide_early(&oldest, None),
                None => break,
            }
        }
        self.give_room(room);
        self.decide_early(trace, Some(span));
    }

    /// Gives a trace that begins to hold spans its place among the others.
    fn enter(&self, trace: &Arc<LocalTrace>) {
        let now = clock::now();
        match self.age_queue.enter(Arc::clone(trace), now) {
            // It may have been decided before it had a place to be taken from.
            Entry::At(place) if !trace.set_place(place) => self.age_queue.leave(place, trace),
            Entry::At(_) => {}
            Entry::Closed => self.decide_early(trace, None),
        }
        // One comes, one goes: so the worker has little to sweep.
        self.expire(AgeQueue::shard_of(trace), now);
    }

    fn leave(&self, held: &Held, trace: &Arc<LocalTrace>) {
        if let Some(place) = held.place {
            self.age_queue.leave(place, trace);
        }
    }

    /// Decides the oldest trace of a shard if it was held too long; false if not.
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

    /// Decides what was held too long. The worker calls it about once a second.
    pub(crate) fn sweep(&self) {
        let now = clock::now();
        for shard in AgeQueue::shards() {
            while self.expire(shard, now) {}
        }
        if self.held().used() == 0 {
            self.store.trim();
        }
    }

    /// Decides all that is held, and holds nothing from now on.
    pub(crate) fn close(&self) {
        self.age_queue.close();
        while let Some(oldest) = self.age_queue.oldest(0) {
            self.decide_early(&oldest, None);
        }
    }

    /// Decides by what is known so far, `last` included, which is not held.
    #[cold]
    fn decide_early(&self, trace: &Arc<LocalTrace>, last: Option<&Ended<'_>>) {
        let now = clock::now();
        let (held, decision) = trace.decide(&self.rules, |held, facts| {
            facts.has_error |= last.is_some_and(|span| span.is_error);
            // The root began no later than what it holds, and goes on.
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

    /// A span that ends after the verdict. One that would have kept its trace is kept itself.
    fn follow(&self, decision: TailDecision, span: &Ended<'_>, duration: u64, usual: Option<u64>) {
        let decision = match decision {
            TailDecision::Keep => TailDecision::Keep,
            TailDecision::Drop => self.verdict_alone(span, duration, usual),
        };
        self.settle(None, decision, Some(span));
    }

    fn verdict_alone(&self, span: &Ended<'_>, duration: u64, usual: Option<u64>) -> TailDecision {
        self.rules.decide(&Facts {
            trace_id: span.trace_id,
            has_error: span.is_error,
            duration,
            usual,
        })
    }

    /// Does as the verdict says, and gives back what the held spans took.
    fn settle(&self, held: Option<Held>, decision: TailDecision, last: Option<&Ended<'_>>) {
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
                self.store.give_chain(block_list);
                let dropped = spans + usize::from(last.is_some());
                let counters = self.processor.counters();
                counters.drop_spans(DropReason::TailDropped, dropped as u64);
            }
        }
        // After they are counted elsewhere: nothing is missing at any moment.
        self.store.give_credits(spans);
    }

    fn give_room(&self, room: Slot) {
        self.store.give_credits(usize::from(room.credit));
        if let Some(block) = room.block {
            self.store.give_block(block);
        }
    }

    /// Counts the spans that are held; it outlives this.
    pub(crate) fn held(&self) -> &Arc<Budget> {
        self.store.credits()
    }
}
