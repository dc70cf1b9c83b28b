//! Shedding: whole traces go when spans come faster than the endpoint takes them.
//!
//! ```text
//!  worker, a few times a second            application threads
//!  Controller: fill, in, out ─▶ level ─▶   a new local root: not recorded if its last span would go (`at_start`)
//!    (`law`: a pure function)     │        an ended span: `Shedding::judge` by its trace's randomness
//!                                 └──────  one atomic; zero: a load and a comparison
//! ```
//!
//! - [`Shedding`] is the level of one queue, and its judgement of spans.
//! - [`law`] is the step from one level to the next, [`control`] feeds it with readings of the queue.

pub(super) mod control;
pub(super) mod law;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use super::buffer::TelemetryBuffer;
use super::record::TelemetryData;
use crate::context::{TraceId, TraceState};
use crate::sampler::{SheddingClass, SheddingLevel, Threshold, keeps, raised, trace_randomness};
use crate::stats::{Counters, DropReason};
use crate::sync::{AtomicUsize, Ordering};
use crate::wire::outline::{SpanOutline, trace_state_of, with_trace_state};

/// Turns shedding on and off while the pipeline runs, and receives its begin and end.
pub(crate) trait SheddingSwitch: Send + Sync {
    /// Whether shedding is on; `None`: as the settings say.
    fn is_on(&self) -> Option<bool>;
    /// Traces are shed from now on, or no more.
    fn set_active(&self, is_active: bool);
}

/// The facts of an ended span by which it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SheddingFacts {
    /// 56 bits that all spans of its trace share.
    pub(crate) randomness: u64,
    /// It is a local root, or has an error.
    pub(crate) goes_last: bool,
    pub(crate) has_trace_state: bool,
}

impl SheddingFacts {
    /// The facts of an encoded span. Bytes without a trace are kept.
    #[cold]
    pub(crate) fn of(span: &[u8]) -> Self {
        let Some(outline) = SpanOutline::of(span) else {
            return Self {
                randomness: u64::MAX,
                goes_last: true,
                has_trace_state: false,
            };
        };
        let trace_id = TraceId::from_bytes(outline.trace_id);
        let state = TraceState::parse(outline.trace_state).unwrap_or_default();
        Self {
            randomness: trace_randomness(trace_id, &state),
            goes_last: outline.is_local_root || outline.is_error,
            has_trace_state: !outline.trace_state.is_empty(),
        }
    }
}

/// The level of one queue.
#[derive(Debug, Default)]
pub(super) struct Shedding {
    level: AtomicUsize,
}

impl Shedding {
    /// Relaxed: the level guards no other memory, and a thread that sees it late judges by the former one.
    #[inline(always)]
    pub(super) fn is_active(&self) -> bool {
        self.level.load(Ordering::Relaxed) != 0
    }

    pub(super) fn level(&self) -> SheddingLevel {
        let level = self.level.load(Ordering::Relaxed);
        SheddingLevel::new(u8::try_from(level).unwrap_or(SheddingLevel::MAX))
    }

    pub(super) fn set(&self, level: SheddingLevel) {
        self.level
            .store(usize::from(level.get()), Ordering::Relaxed);
    }

    /// The threshold that has kept the span; `None`: it is shed.
    #[inline]
    fn judge(&self, facts: &SheddingFacts) -> Option<Threshold> {
        let class = match facts.goes_last {
            true => SheddingClass::Last,
            false => SheddingClass::Common,
        };
        let threshold = self.level().threshold(class);
        keeps(threshold, facts.randomness).then_some(threshold)
    }

    /// Pushes a span that is kept, with the threshold that has kept it, and counts another one.
    #[cold]
    #[inline(never)]
    pub(super) fn push(
        &self,
        (buffer, counters): (&TelemetryBuffer, &Counters),
        shard: usize,
        data: TelemetryData<'_>,
        facts: &SheddingFacts,
    ) {
        let Some(threshold) = self.judge(facts) else {
            return counters.drop_spans(DropReason::Shed, 1);
        };
        if !facts.has_trace_state {
            return buffer.push(shard, data);
        }
        let span = weighed(data.item, threshold);
        buffer.push(
            shard,
            TelemetryData {
                item: &span,
                ..data
            },
        );
    }
}

/// The span with a threshold of at least `threshold` in its trace state, if it has one.
fn weighed(span: &[u8], threshold: Threshold) -> Cow<'_, [u8]> {
    let state = trace_state_of(span).and_then(|state| raised(state, threshold));
    let changed = state.and_then(|state| with_trace_state(span, state.as_str()));
    changed.map_or(Cow::Borrowed(span), Cow::Owned)
}
