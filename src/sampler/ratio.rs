//! [`TraceIdRatio`]: a part of all traces, by the trace id.

use super::input::SamplingInput;
use super::otel_state;
use super::threshold::{self, Threshold};
use super::{Sampler, SamplingResult};
use crate::context::TraceId;
use crate::diagnostics::RATIO_BELOW_PARENT;

/// Records a ratio of all traces, by the trace id alone: services with the same ratio agree, and the
/// traces of a lower ratio are among those of a higher one.
///
/// It ignores the parent, so use it for roots, in [`ParentBased`](super::ParentBased). Below a parent
/// whose service samples by another algorithm, only parts of traces are kept, which a single warning
/// reports; a threshold in the parent's trace state is erased.
/// [`ProbabilitySampler`](super::ProbabilitySampler) keeps the same traces (except for the last digits
/// of the ratio), by a specified algorithm, and gives the backend the threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceIdRatio {
    ratio: f64,
    /// `None`: no trace.
    threshold: Option<Threshold>,
}

impl TraceIdRatio {
    /// `ratio` from 0 to 1; a value outside is clamped.
    pub fn new(ratio: f64) -> Self {
        let ratio = threshold::clamp(ratio);
        Self {
            ratio,
            threshold: Threshold::exactly(ratio),
        }
    }

    /// Whether the ratio includes the trace of this id.
    #[inline]
    pub(crate) fn includes(&self, trace_id: TraceId) -> bool {
        let randomness = threshold::randomness_of(trace_id);
        self.threshold.is_some_and(|t| t.admits(randomness))
    }
}

impl Sampler for TraceIdRatio {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        if input.parent.is_some() && !matches!(self.ratio, 0.0 | 1.0) {
            RATIO_BELOW_PARENT.notice();
        }
        SamplingResult {
            trace_state: otel_state::forget_threshold(input.trace_state()),
            ..SamplingResult::sampled_if(self.includes(input.trace_id))
        }
    }

    fn follows_local_parent(&self) -> bool {
        // Parent and child have the same trace id.
        true
    }

    fn description(&self) -> String {
        format!("TraceIdRatioBased{{{}}}", self.ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::threshold::RANGE;

    fn keeps(sampler: TraceIdRatio, trace_id: u128) -> bool {
        let trace_id = TraceId::from_bytes(trace_id.to_be_bytes());
        let input = SamplingInput::new(trace_id, "s");
        sampler.should_sample(&input).is_sampled()
    }

    #[test]
    fn a_lower_ratio_s_traces_are_among_a_higher_one_s_smp_4() {
        let ratios = [0.0, 0.001, 0.25, 0.5, 0.75, 1.0].map(TraceIdRatio::new);
        let mut kept = [0; 6];
        for i in 0..10_000u128 {
            let id = i.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) ^ i << 64;
            let decisions = ratios.map(|r| keeps(r, id));
            assert!(decisions.is_sorted(), "{id:x}: {decisions:?}");
            for (n, d) in kept.iter_mut().zip(decisions) {
                *n += usize::from(d);
            }
        }
        assert_eq!((kept[0], kept[5]), (0, 10_000));
        assert!((2_300..2_700).contains(&kept[2]), "{kept:?}");
    }

    #[test]
    fn nothing_is_rounded_at_the_ends() {
        let last = u128::from(RANGE - 1);
        let least = 2f64.powi(-56);
        for (ratio, first, at_last) in [
            (0.0, false, false),
            (-1.0, false, false),
            (f64::NAN, false, false),
            (f64::MIN_POSITIVE, false, false),
            (least, false, true),
            (1.0 - f64::EPSILON / 2.0, false, true),
            (1.0, true, true),
            (f64::INFINITY, true, true),
        ] {
            let sampler = TraceIdRatio::new(ratio);
            assert_eq!(keeps(sampler, 1 << 64), first, "{ratio}");
            assert_eq!(keeps(sampler, last), at_last, "{ratio}");
        }
        assert!(!keeps(TraceIdRatio::new(least), last - 1));
        assert!(keeps(TraceIdRatio::new(2.0 * least), last - 1));
    }

    #[test]
    fn the_description_is_the_specification_s_smp_2() {
        let quarter = TraceIdRatio::new(0.25);
        assert_eq!(quarter.description(), "TraceIdRatioBased{0.25}");
    }
}
