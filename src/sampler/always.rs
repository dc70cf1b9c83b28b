//! Samplers with a constant decision: [`AlwaysOn`], [`AlwaysOff`], [`AlwaysRecord`].

use super::composite::{ComposableSampler, SamplingIntent};
use super::input::SamplingInput;
use super::otel_state;
use super::threshold::Threshold;
use super::{Sampler, SamplingDecision, SamplingResult};

/// Records every span.
///
/// Alone it ignores the parent, so a threshold in the parent's trace state does not apply to the span and
/// is erased. In [`ParentBased`](super::ParentBased), below a sampled parent, the threshold stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysOn;

impl Sampler for AlwaysOn {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        SamplingResult {
            trace_state: otel_state::forget_threshold(input.trace_state()),
            ..SamplingResult::RECORD_AND_SAMPLE
        }
    }

    fn follows_local_parent(&self) -> bool {
        // Parent and child have the same decision, so the layer need not call the sampler.
        true
    }

    fn description(&self) -> String {
        "AlwaysOnSampler".to_owned()
    }
}

/// Every span represents itself: threshold 0 (SMP-10).
impl ComposableSampler for AlwaysOn {
    fn intent<'a>(&'a self, _: &'a SamplingInput<'_>) -> SamplingIntent<'a> {
        SamplingIntent::sample(Threshold::ALWAYS)
    }

    fn describe(&self) -> String {
        "AlwaysOn".to_owned()
    }
}

/// Records no span. Spans still have contexts, which are propagated.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysOff;

impl Sampler for AlwaysOff {
    fn should_sample(&self, _: &SamplingInput<'_>) -> SamplingResult {
        SamplingResult::DROP
    }

    fn follows_local_parent(&self) -> bool {
        // Parent and child have the same decision, so the layer need not call the sampler.
        true
    }

    fn description(&self) -> String {
        "AlwaysOffSampler".to_owned()
    }
}

/// No span: no threshold (SMP-10).
impl ComposableSampler for AlwaysOff {
    fn intent<'a>(&'a self, _: &'a SamplingInput<'_>) -> SamplingIntent<'a> {
        SamplingIntent::never()
    }

    fn describe(&self) -> String {
        "AlwaysOff".to_owned()
    }
}

/// Records every span in the process and exports those that another sampler samples, so that metrics
/// can count all spans.
///
/// ```
/// use tracing_otlp::sampler::{AlwaysRecord, ParentBased, TraceIdRatio};
///
/// let sampler = AlwaysRecord::new(ParentBased::new(TraceIdRatio::new(0.1)));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysRecord<S> {
    root: S,
}

impl<S: Sampler> AlwaysRecord<S> {
    /// `root` decides which spans are exported.
    pub fn new(root: S) -> Self {
        Self { root }
    }
}

impl<S: Sampler> Sampler for AlwaysRecord<S> {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        let mut result = self.root.should_sample(input);
        if result.decision == SamplingDecision::Drop {
            result.decision = SamplingDecision::RecordOnly;
        }
        result
    }

    fn description(&self) -> String {
        format!("AlwaysRecord{{root:{}}}", self.root.description())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::KeyValue;
    use crate::context::{TraceId, TraceState};

    /// Returns a given result.
    struct Says(SamplingResult);

    impl Sampler for Says {
        fn should_sample(&self, _: &SamplingInput<'_>) -> SamplingResult {
            self.0.clone()
        }

        fn description(&self) -> String {
            "Says".to_owned()
        }
    }

    #[test]
    fn what_is_dropped_is_recorded_and_all_else_unchanged_smp_5() {
        use SamplingDecision::{Drop, RecordAndSample, RecordOnly};
        let input = SamplingInput::new(TraceId::from_bytes([1; 16]), "s");
        for (said, expected) in [
            (Drop, RecordOnly),
            (RecordOnly, RecordOnly),
            (RecordAndSample, RecordAndSample),
        ] {
            let said = SamplingResult {
                decision: said,
                attributes: vec![KeyValue::new("a", 1)],
                trace_state: Some(TraceState::EMPTY),
            };
            let expected = SamplingResult {
                decision: expected,
                ..said.clone()
            };
            let sampler = AlwaysRecord::new(Says(said));
            assert_eq!(sampler.should_sample(&input), expected);
            assert_eq!(sampler.description(), "AlwaysRecord{root:Says}");
        }
    }

    #[test]
    fn descriptions_are_the_specification_s_smp_2() {
        assert_eq!(AlwaysOn.description(), "AlwaysOnSampler");
        assert_eq!(AlwaysOff.description(), "AlwaysOffSampler");
    }
}
