//! Whether a span is recorded: decided when it is made, before a field is looked at.

use tracing_core::Level;

use crate::context::{TraceFlags, TraceId};

/// What is known when a span is made.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SamplingInput<'a> {
    /// The flags of the parent; `None` for a root.
    pub parent: Option<ParentFlags>,
    /// The trace that the span belongs to.
    pub trace_id: TraceId,
    /// The span's name as its callsite has it (`otel.name` is a field and not looked at yet).
    pub name: &'a str,
    /// The callsite's target.
    pub target: &'a str,
    /// The callsite's level.
    pub level: Level,
}

/// What a sampler sees of a parent.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ParentFlags {
    /// Its trace flags.
    pub flags: TraceFlags,
    /// Whether it came from another process.
    pub is_remote: bool,
}

impl ParentFlags {
    pub(crate) fn new(flags: TraceFlags, is_remote: bool) -> Self {
        Self { flags, is_remote }
    }
}

/// Decides for each span whether it is recorded (SMP-1). Called on the thread that records the
/// span, with no lock held.
pub trait Sampler: Send + Sync + 'static {
    /// Whether the span is recorded and exported.
    fn should_sample(&self, input: &SamplingInput<'_>) -> bool;

    /// What it is and does, such as `AlwaysOnSampler` (SMP-2).
    fn description(&self) -> String;
}

impl Sampler for Box<dyn Sampler> {
    fn should_sample(&self, input: &SamplingInput<'_>) -> bool {
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
    fn should_sample(&self, _: &SamplingInput<'_>) -> bool {
        true
    }

    fn description(&self) -> String {
        "AlwaysOnSampler".to_owned()
    }
}

/// Records no span; context is still made and propagated.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysOff;

impl Sampler for AlwaysOff {
    fn should_sample(&self, _: &SamplingInput<'_>) -> bool {
        false
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
}

impl Sampler for TraceIdRatio {
    fn should_sample(&self, input: &SamplingInput<'_>) -> bool {
        let id = u128::from_be_bytes(input.trace_id.to_bytes());
        (id as u64 & ((1 << 56) - 1)) >= self.threshold
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
    fn should_sample(&self, input: &SamplingInput<'_>) -> bool {
        match input.parent {
            Some(parent) => parent.flags.is_sampled(),
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

    fn input(trace_id: u128) -> SamplingInput<'static> {
        SamplingInput {
            parent: None,
            trace_id: TraceId::from_bytes(trace_id.to_be_bytes()),
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
            let decisions = ratios.map(|r| r.should_sample(&input(id)));
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
            assert_eq!(sampler.should_sample(&input), root);
            input.parent = Some(ParentFlags::new(flags, true));
            assert_eq!(sampler.should_sample(&input), flags.is_sampled());
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
