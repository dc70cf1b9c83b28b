//! [`ProbabilitySampler`]: a part of all traces, with the probability in the trace state.

use super::composite::{ComposableSampler, SamplingIntent};
use super::input::SamplingInput;
use super::otel_state::{self, OtelState};
use super::threshold::{self, Threshold};
use super::{Sampler, SamplingDecision, SamplingResult};
use crate::context::TraceState;

/// Records a part of all traces by probability, and writes the threshold into the trace state
/// (`ot=th:…`), so that a backend can estimate the number of unsampled spans.
///
/// All spans of a trace share their randomness: `rv` in the trace state, else the last 56 bits of
/// the trace id (presumed random; a warning reports once if the `random` flag is missing). So
/// services with different probabilities agree as far as possible: a trace that is kept at one
/// probability is kept at every larger one. The sampler ignores the parent's decision. Use it for
/// roots, in [`ParentBased`](super::ParentBased) or, to follow the parent's threshold, as a
/// [`ComposableSampler`] in [`ParentThreshold`](super::ParentThreshold).
///
/// ```
/// use tracing_otlp::TraceId;
/// use tracing_otlp::sampler::{ProbabilitySampler, Sampler, SamplingInput};
///
/// let sampler = ProbabilitySampler::new(0.25);
/// let kept = SamplingInput::new(TraceId::from_bytes([0xff; 16]), "request");
/// let state = sampler.should_sample(&kept).trace_state.unwrap();
/// assert_eq!(state.as_str(), "ot=th:c");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ProbabilitySampler {
    probability: f64,
    /// `None`: no trace.
    threshold: Option<Threshold>,
    /// The trace state of each kept root.
    root: TraceState,
}

impl ProbabilitySampler {
    /// `probability` from 2⁻⁵⁶ to 1; a smaller one, or NaN, keeps nothing, a larger one everything. It
    /// is rounded by 1/8192 at most, see [`Threshold::from_probability`].
    pub fn new(probability: f64) -> Self {
        Self::with_threshold(probability, Threshold::from_probability(probability))
    }

    /// The number of hexadecimal digits of the threshold, from 1 to 14. Default four; see
    /// [`Threshold::with_precision`].
    #[must_use]
    pub fn with_precision(self, digits: u8) -> Self {
        let threshold = Threshold::with_precision(self.probability, digits);
        Self::with_threshold(self.probability, threshold)
    }

    fn with_threshold(probability: f64, threshold: Option<Threshold>) -> Self {
        Self {
            probability: threshold::clamp(probability),
            threshold,
            root: threshold.map(otel_state::only).unwrap_or_default(),
        }
    }
}

impl Sampler for ProbabilitySampler {
    /// Corrects the trace state: a kept span gets the threshold, a dropped one loses it (SMP-9).
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        let before = input.trace_state();
        let state = OtelState::of(before);
        let threshold = self
            .threshold
            .filter(|threshold| state.is_kept_by(*threshold, input));
        let trace_state = match threshold {
            Some(_) if before.is_empty() => Some(self.root.clone()),
            threshold => state.update(before, threshold),
        };
        SamplingResult {
            trace_state,
            ..match threshold {
                Some(_) => SamplingDecision::RecordAndSample.into(),
                None => SamplingDecision::Drop.into(),
            }
        }
    }

    fn description(&self) -> String {
        format!("ProbabilitySampler{{{}}}", self.probability)
    }
}

/// The threshold of the probability (SMP-10).
impl ComposableSampler for ProbabilitySampler {
    fn intent<'a>(&'a self, _: &'a SamplingInput<'_>) -> SamplingIntent<'a> {
        match self.threshold {
            Some(threshold) => SamplingIntent::sample(threshold),
            None => SamplingIntent::never(),
        }
    }

    fn describe(&self) -> String {
        format!("Probability{{{}}}", self.probability)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::context::{SpanId, TraceContext, TraceFlags, TraceId};
    use proptest::prelude::*;

    fn trace(randomness: u64) -> TraceId {
        TraceId::from_bytes((1u128 << 64 | u128::from(randomness)).to_be_bytes())
    }

    fn child_of(randomness: u64, state: &str) -> TraceContext {
        let span = SpanId::from_bytes([2; 8]);
        TraceContext::new(trace(randomness), span, TraceFlags::default())
            .with_trace_state(TraceState::parse(state).unwrap())
    }

    const HIGH: u64 = 0xfd70a000000000;
    const LOW: u64 = 0xfd709fffffffff;

    #[test]
    fn what_is_kept_says_how_many_it_stands_for_smp_6_smp_9() {
        let sampler = ProbabilitySampler::new(0.01);
        for (randomness, before, sampled, after) in [
            (HIGH, "", true, Some("ot=th:fd70a")),
            (LOW, "", false, None),
            // Right already, so unchanged.
            (HIGH, "a=1,ot=th:fd70a", true, None),
            (HIGH, "a=1,ot=th:8", true, Some("ot=th:fd70a,a=1")),
            // Dropped, so what is said of kept ones goes.
            (LOW, "a=1,ot=th:8", false, Some("a=1")),
            (LOW, "a=1", false, None),
            // `rv` is what counts, and it stays (SMP-9).
            (
                LOW,
                "ot=rv:fd70a000000000",
                true,
                Some("ot=th:fd70a;rv:fd70a000000000"),
            ),
            (HIGH, "ot=rv:fd709fffffffff", false, None),
            (
                HIGH,
                "ot=th:8;rv:fd709fffffffff",
                false,
                Some("ot=rv:fd709fffffffff"),
            ),
            (HIGH, "ot=rv:short", true, Some("ot=th:fd70a;rv:short")),
        ] {
            let parent = child_of(randomness, before);
            let input = SamplingInput::new(trace(randomness), "s").with_parent(&parent);
            let result = sampler.should_sample(&input);
            assert_eq!(result.is_sampled(), sampled, "{randomness:x} {before}");
            let state = result.trace_state.as_ref().map(TraceState::as_str);
            assert_eq!(state, after, "{randomness:x} {before}");
        }
        let root = sampler.should_sample(&SamplingInput::new(trace(HIGH), "s"));
        assert_eq!(root.trace_state.unwrap().as_str(), "ot=th:fd70a");
        assert_eq!(Sampler::description(&sampler), "ProbabilitySampler{0.01}");
    }

    #[test]
    fn nothing_is_rounded_at_the_ends_smp_6() {
        let least = 2f64.powi(-56);
        let last = (1 << 56) - 1;
        for (probability, first, at_last, th) in [
            (0.0, false, false, None),
            (f64::NAN, false, false, None),
            (least, false, true, Some("ot=th:ffffffffffffff")),
            (1.0, true, true, Some("ot=th:0")),
            (2.0, true, true, Some("ot=th:0")),
        ] {
            let sampler = ProbabilitySampler::new(probability);
            let decide = |r| sampler.should_sample(&SamplingInput::new(trace(r), "s"));
            assert_eq!(decide(0).is_sampled(), first, "{probability}");
            let result = decide(last);
            assert_eq!(result.is_sampled(), at_last, "{probability}");
            assert_eq!(result.trace_state.as_ref().map(TraceState::as_str), th);
            assert!(!decide(last - 1).is_sampled() || probability > least);
        }
    }

    #[test]
    fn adjusted_counts_add_up_to_what_was_there_smp_8() {
        let sampler = ProbabilitySampler::new(0.1);
        let traces = 100_000;
        let mut counted = 0.0;
        for i in 0..traces {
            // Evenly spread, so that the sum is right and not only likely.
            let input = SamplingInput::new(trace((1 << 56) / traces * i), "s");
            if let Some(state) = sampler.should_sample(&input).trace_state {
                counted += OtelState::of(&state).threshold.unwrap().adjusted_count();
            }
        }
        assert!((counted - traces as f64).abs() < 20.0, "{counted}");
    }

    proptest! {
        #[test]
        fn a_larger_probability_keeps_all_that_a_smaller_one_does_smp_6(
            a in 0f64..=1.0,
            b in 0f64..=1.0,
            id in 1u128..,
        ) {
            let trace_id = TraceId::from_bytes(id.to_be_bytes());
            let input = SamplingInput::new(trace_id, "s");
            let keeps = |p| ProbabilitySampler::new(p).should_sample(&input).is_sampled();
            prop_assert!(keeps(a.max(b)) || !keeps(a.min(b)));
        }
    }
}
