//! [`CompositeSampler`]: decides by the threshold of a [`ComposableSampler`].

use std::fmt;

use super::input::SamplingInput;
use super::otel_state::OtelState;
use super::threshold::{RANGE, Threshold};
use super::{Sampler, SamplingDecision, SamplingResult};
use crate::attribute::KeyValue;
use crate::context::{IdGenerator as _, RandomIds, TraceState};

/// Returns a threshold and leaves the decision to a [`CompositeSampler`], so that samplers can be
/// combined and thresholds stay correct.
///
/// [`AlwaysOn`](super::AlwaysOn), [`AlwaysOff`](super::AlwaysOff),
/// [`ProbabilitySampler`](super::ProbabilitySampler), [`ParentThreshold`](super::ParentThreshold),
/// [`RuleBased`](super::RuleBased) and [`Annotating`](super::Annotating) implement it.
pub trait ComposableSampler: Send + Sync + 'static {
    /// The intent for a span. Called on the thread that records the span, without a lock.
    fn intent<'a>(&'a self, input: &'a SamplingInput<'_>) -> SamplingIntent<'a>;

    /// Its name and parameters, such as `Probability{0.1}`.
    fn describe(&self) -> String;
}

impl<S: ComposableSampler + ?Sized> ComposableSampler for Box<S> {
    fn intent<'a>(&'a self, input: &'a SamplingInput<'_>) -> SamplingIntent<'a> {
        (**self).intent(input)
    }

    fn describe(&self) -> String {
        (**self).describe()
    }
}

/// A [`ComposableSampler`]'s intent for a span.
pub struct SamplingIntent<'a> {
    threshold: Option<Threshold>,
    is_reliable: bool,
    attributes: Option<Annotate<'a>>,
    trace_state: Option<TraceStateChange<'a>>,
}

type Annotate<'a> = Box<dyn FnOnce(&mut Vec<KeyValue>) + 'a>;
type TraceStateChange<'a> = Box<dyn FnOnce(TraceState) -> TraceState + 'a>;

impl<'a> SamplingIntent<'a> {
    /// Keeps the traces at or above this threshold; each kept span represents
    /// [`Threshold::adjusted_count`] spans.
    pub fn sample(threshold: Threshold) -> Self {
        Self {
            threshold: Some(threshold),
            is_reliable: true,
            attributes: None,
            trace_state: None,
        }
    }

    /// Keeps nothing.
    pub fn never() -> Self {
        Self {
            threshold: None,
            ..Self::sample(Threshold::ALWAYS)
        }
    }

    /// Marks the threshold as unreliable: it does not give the number of spans that a kept one
    /// represents. The span then has a randomness of its own, and no threshold is written.
    #[must_use]
    pub fn unreliable(mut self) -> Self {
        self.is_reliable = false;
        self
    }

    /// Adds the attributes that `attributes` appends to the list, if the span is kept.
    #[must_use]
    pub fn with_attributes(mut self, attributes: impl FnOnce(&mut Vec<KeyValue>) + 'a) -> Self {
        self.attributes = Some(match self.attributes {
            None => Box::new(attributes),
            Some(inner) => Box::new(|list: &mut Vec<KeyValue>| {
                inner(list);
                attributes(list);
            }),
        });
        self
    }

    /// Changes the trace state of the span, if it is kept. Changes of the member `ot` are undone.
    #[must_use]
    pub fn with_trace_state(
        mut self,
        trace_state: impl FnOnce(TraceState) -> TraceState + 'a,
    ) -> Self {
        self.trace_state = Some(match self.trace_state {
            None => Box::new(trace_state),
            Some(inner) => Box::new(|state| trace_state(inner(state))),
        });
        self
    }

    /// The threshold; `None` keeps nothing.
    pub fn threshold(&self) -> Option<Threshold> {
        self.threshold
    }

    /// Whether the threshold gives the number of spans that a kept one represents.
    pub fn is_adjusted_count_reliable(&self) -> bool {
        self.is_reliable
    }
}

impl fmt::Debug for SamplingIntent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SamplingIntent")
            .field("threshold", &self.threshold)
            .field("is_reliable", &self.is_reliable)
            .finish_non_exhaustive()
    }
}

/// Decides by a [`ComposableSampler`]'s intent, and keeps the trace state correct.
///
/// A tenth of the traces that begin here; remote traces by their callers' decision and threshold:
///
/// ```
/// use tracing_otlp::sampler::{CompositeSampler, ParentThreshold, ProbabilitySampler};
///
/// let sampler = CompositeSampler::new(ParentThreshold::new(ProbabilitySampler::new(0.1)));
/// let builder = tracing_otlp::builder().with_sampler(sampler);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct CompositeSampler<S> {
    root: S,
}

impl<S: ComposableSampler> CompositeSampler<S> {
    /// `sampler` provides the threshold.
    pub fn new(sampler: S) -> Self {
        Self { root: sampler }
    }
}

impl<S: ComposableSampler> Sampler for CompositeSampler<S> {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        let before = input.trace_state();
        let state = OtelState::of(before);
        let intent = self.root.intent(input);
        let is_kept = |threshold: &Threshold| match intent.is_reliable {
            true => state.is_kept_by(*threshold, input),
            false => threshold.admits(fresh_randomness()),
        };
        let threshold = intent.threshold.filter(is_kept);
        if threshold.is_none() {
            return SamplingResult {
                trace_state: state.update(before, None),
                ..SamplingDecision::Drop.into()
            };
        }
        let mut attributes = Vec::new();
        if let Some(add) = intent.attributes {
            add(&mut attributes);
        }
        let threshold = threshold.filter(|_| intent.is_reliable);
        let trace_state = match intent.trace_state {
            None => state.update(before, threshold),
            Some(change) => Some(restore(change(before.clone()), before, threshold)),
        };
        SamplingResult {
            decision: SamplingDecision::RecordAndSample,
            attributes,
            trace_state,
        }
    }

    fn description(&self) -> String {
        format!("CompositeSampler{{{}}}", self.root.describe())
    }
}

/// `changed` with the `ot` of `before`, which only OpenTelemetry may write (SMP-7), and this threshold.
fn restore(changed: TraceState, before: &TraceState, threshold: Option<Threshold>) -> TraceState {
    let restored = match (changed.get("ot"), before.get("ot")) {
        (theirs, ours) if theirs == ours => changed,
        (_, None) => changed.without("ot"),
        (_, Some(ours)) => changed.with("ot", ours).unwrap_or(changed),
    };
    let updated = OtelState::of(&restored).update(&restored, threshold);
    updated.unwrap_or(restored)
}

/// Randomness for a single span.
fn fresh_randomness() -> u64 {
    u64::from_be_bytes(RandomIds.new_span_id().to_bytes()) & (RANGE - 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
