//! Whether a span is recorded: decided when it is made, before a field is looked at.

use std::fmt;

use tracing_core::Level;

use crate::attribute::{KeyValue, Value};
use crate::context::{TraceContext, TraceFlags, TraceId, TraceState};
use crate::span_data::SpanKind;

/// What is known when a span is made.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct SamplingInput<'a> {
    /// The parent; `None` for a root.
    pub parent: Option<&'a TraceContext>,
    /// The trace that the span belongs to.
    pub trace_id: TraceId,
    /// The flags of the trace so far: the parent's, or a new trace's, which may be random.
    pub flags: TraceFlags,
    /// The span's name as its callsite has it (`otel.name` is a field and not looked at yet).
    pub name: &'a str,
    /// The callsite's target.
    pub target: &'a str,
    /// The callsite's level.
    pub level: Level,
    /// What the span is created with.
    pub(crate) fields: &'a dyn Fields,
}

/// The fields that a span is created with, none of them formatted yet.
pub(crate) trait Fields {
    /// The value of this field alone.
    fn value(&self, key: &str) -> Option<Value>;
}

impl SamplingInput<'_> {
    /// The value that the span is created with under this key. Only this field is visited, and a
    /// `Debug` or `Display` value is formatted for that.
    pub fn attribute(&self, key: &str) -> Option<Value> {
        self.fields.value(key)
    }

    /// The kind that the span is created with (`otel.kind`).
    pub fn kind(&self) -> SpanKind {
        match self.attribute("otel.kind") {
            Some(Value::String(kind)) => SpanKind::from_name(&kind),
            _ => SpanKind::Internal,
        }
    }
}

impl fmt::Debug for SamplingInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SamplingInput")
            .field("parent", &self.parent)
            .field("trace_id", &self.trace_id)
            .field("flags", &self.flags)
            .field("name", &self.name)
            .field("target", &self.target)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

/// What becomes of a span (SMP-1, TR-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplingDecision {
    /// It has an identity, so that its trace goes on, and that is all.
    Drop,
    /// It is recorded in the process, and not exported.
    RecordOnly,
    /// It is recorded and exported.
    RecordAndSample,
}

/// What a sampler says of a span (SMP-1).
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingResult {
    /// What becomes of the span.
    pub decision: SamplingDecision,
    /// Attributes to add to it.
    pub attributes: Vec<KeyValue>,
    /// Its trace state; `None` leaves the parent's as it is.
    pub trace_state: Option<TraceState>,
}

impl From<SamplingDecision> for SamplingResult {
    fn from(decision: SamplingDecision) -> Self {
        Self {
            decision,
            attributes: Vec::new(),
            trace_state: None,
        }
    }
}

impl SamplingResult {
    /// Recorded and exported, with nothing to add.
    pub const RECORD_AND_SAMPLE: Self = Self::of(SamplingDecision::RecordAndSample);
    /// Not recorded.
    pub const DROP: Self = Self::of(SamplingDecision::Drop);

    const fn of(decision: SamplingDecision) -> Self {
        Self {
            decision,
            attributes: Vec::new(),
            trace_state: None,
        }
    }

    fn sampled_if(sampled: bool) -> Self {
        if sampled {
            Self::RECORD_AND_SAMPLE
        } else {
            Self::DROP
        }
    }
}

/// Decides for each span whether it is recorded (SMP-1). Called on the thread that records the
/// span, with no lock held.
pub trait Sampler: Send + Sync + 'static {
    /// What becomes of the span.
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult;

    /// What it is and does, such as `AlwaysOnSampler` (SMP-2).
    fn description(&self) -> String;
}

impl Sampler for Box<dyn Sampler> {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        (**self).should_sample(input)
    }

    fn description(&self) -> String {
        (**self).description()
    }
}

/// Records every span.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysOn;

impl Sampler for AlwaysOn {
    fn should_sample(&self, _: &SamplingInput<'_>) -> SamplingResult {
        SamplingResult::RECORD_AND_SAMPLE
    }

    fn description(&self) -> String {
        "AlwaysOnSampler".to_owned()
    }
}

/// Records no span; context is still made and propagated.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysOff;

impl Sampler for AlwaysOff {
    fn should_sample(&self, _: &SamplingInput<'_>) -> SamplingResult {
        SamplingResult::DROP
    }

    fn description(&self) -> String {
        "AlwaysOffSampler".to_owned()
    }
}

/// Records the part of all traces that a ratio names, by the trace id alone (SMP-4): all services
/// that use a ratio agree, and a lower ratio's traces are among a higher one's.
#[derive(Debug, Clone, Copy)]
pub struct TraceIdRatio {
    ratio: f64,
    /// Traces with the rightmost 56 bits of their id at or above it are recorded.
    threshold: u64,
}

impl TraceIdRatio {
    /// `ratio` between 0 and 1; what lies outside, or is no number, counts as the nearest end.
    pub fn new(ratio: f64) -> Self {
        let ratio = if ratio.is_nan() {
            0.0
        } else {
            ratio.clamp(0.0, 1.0)
        };
        Self {
            ratio,
            threshold: ((1.0 - ratio) * (1u64 << 56) as f64) as u64,
        }
    }

    /// Whether the trace of this id is among those of the ratio.
    #[inline]
    pub(crate) fn includes(&self, trace_id: [u8; 16]) -> bool {
        (u128::from_be_bytes(trace_id) as u64 & ((1 << 56) - 1)) >= self.threshold
    }
}

impl Sampler for TraceIdRatio {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        SamplingResult::sampled_if(self.includes(input.trace_id.to_bytes()))
    }

    fn description(&self) -> String {
        format!("TraceIdRatioBased{{{}}}", self.ratio)
    }
}

/// Follows the parent's decision, and asks another sampler for roots (SMP-3).
#[derive(Debug, Clone, Copy, Default)]
pub struct ParentBased<R = AlwaysOn> {
    root: R,
}

impl<R: Sampler> ParentBased<R> {
    /// `root` decides for spans without a parent.
    pub fn new(root: R) -> Self {
        Self { root }
    }
}

impl<R: Sampler> Sampler for ParentBased<R> {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        match input.parent {
            Some(parent) => SamplingResult::sampled_if(parent.is_sampled()),
            None => self.root.should_sample(input),
        }
    }

    fn description(&self) -> String {
        format!("ParentBased{{root:{}}}", self.root.description())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoFields;

    impl Fields for NoFields {
        fn value(&self, _: &str) -> Option<Value> {
            None
        }
    }

    fn is_sampled(sampler: &dyn Sampler, input: &SamplingInput<'_>) -> bool {
        sampler.should_sample(input).decision == SamplingDecision::RecordAndSample
    }

    fn input(trace_id: u128) -> SamplingInput<'static> {
        SamplingInput {
            parent: None,
            trace_id: TraceId::from_bytes(trace_id.to_be_bytes()),
            flags: TraceFlags::default(),
            fields: &NoFields,
            name: "",
            target: "",
            level: Level::INFO,
        }
    }

    #[test]
    fn a_lower_ratio_s_traces_are_among_a_higher_one_s_smp_4() {
        let ratios = [0.0, 0.001, 0.25, 0.5, 0.75, 1.0].map(TraceIdRatio::new);
        let mut kept = [0; 6];
        for i in 0..10_000u128 {
            let id = i.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) ^ i << 64;
            let decisions = ratios.map(|r| is_sampled(&r, &input(id)));
            assert!(decisions.is_sorted(), "{id:x}: {decisions:?}");
            for (n, d) in kept.iter_mut().zip(decisions) {
                *n += usize::from(d);
            }
        }
        assert_eq!((kept[0], kept[5]), (0, 10_000));
        assert!((2_300..2_700).contains(&kept[2]), "{kept:?}");
    }

    #[test]
    fn a_child_follows_its_parent_whatever_the_root_sampler_says_smp_3() {
        let mut input = input(1);
        for (root, flags) in [(true, TraceFlags::default()), (false, TraceFlags::SAMPLED)] {
            let sampler: Box<dyn Sampler> = match root {
                true => Box::new(ParentBased::new(AlwaysOn)),
                false => Box::new(ParentBased::new(AlwaysOff)),
            };
            input.parent = None;
            assert_eq!(is_sampled(&sampler, &input), root);
            let parent = TraceContext::default().with_flags(flags).with_remote(true);
            let input = SamplingInput {
                parent: Some(&parent),
                ..input
            };
            assert_eq!(is_sampled(&sampler, &input), flags.is_sampled());
        }
    }

    #[test]
    fn descriptions_are_the_specification_s_smp_2() {
        assert_eq!(AlwaysOn.description(), "AlwaysOnSampler");
        assert_eq!(AlwaysOff.description(), "AlwaysOffSampler");
        assert_eq!(
            TraceIdRatio::new(0.25).description(),
            "TraceIdRatioBased{0.25}"
        );
    }
}
