//! Samplers: decide whether a span is recorded, when it is made and before its fields are visited.
//!
//! | Sampler | Records |
//! | --- | --- |
//! | [`AlwaysOn`], [`AlwaysOff`] | every span, none |
//! | [`ParentBased`] | what the parent's decision says; another sampler decides for roots. The default, with [`AlwaysOn`] |
//! | [`TraceIdRatio`] | a part of all traces, by the trace id |
//! | [`ProbabilitySampler`] | the same, and writes the probability into the trace state |
//! | [`CompositeSampler`] | by the threshold of [`ComposableSampler`]s: by rules, by the parent's threshold |
//! | [`RateLimiter`] | at most a number of spans a second |
//! | [`Rules`] | by the sampler of the first matching rule: name, target, kind, level, attribute |
//! | [`AlwaysRecord`] | every span; exports those of another sampler |
//!
//! They nest, and most are used for roots only:
//!
//! ```
//! use tracing_otlp::sampler::{AlwaysOff, ParentBased, ProbabilitySampler, Rules, When};
//!
//! let roots = Rules::new(ProbabilitySampler::new(0.1))
//!     .with_rule(When::attribute("url.path", "/health"), AlwaysOff);
//! let builder = tracing_otlp::builder().with_sampler(ParentBased::new(roots));
//! ```

mod always;
mod composable;
mod composite;
mod input;
mod limiter;
mod otel_state;
mod parent_based;
mod probability;
mod ratio;
mod rules;
mod shedding;
mod threshold;
mod when;

use std::sync::Arc;

use crate::attribute::KeyValue;
use crate::context::TraceState;

pub use self::always::{AlwaysOff, AlwaysOn, AlwaysRecord};
pub use self::composable::{Annotating, ParentThreshold};
pub use self::composite::{ComposableSampler, CompositeSampler, SamplingIntent};
pub use self::input::SamplingInput;
pub(crate) use self::input::{FieldSource, Fields};
pub use self::limiter::RateLimiter;
#[cfg(any(test, fuzzing))]
pub(crate) use self::otel_state::OtelState;
pub(crate) use self::otel_state::without_contradiction;
pub use self::parent_based::ParentBased;
pub use self::probability::ProbabilitySampler;
pub use self::ratio::TraceIdRatio;
pub use self::rules::{RuleBased, Rules};
pub(crate) use self::shedding::{
    SheddingClass, SheddingLevel, keeps, raised, shed_at_start, trace_randomness,
};
pub use self::threshold::Threshold;
pub use self::when::When;

/// Decides for each span whether it is recorded. Called on the thread that records the span, without
/// a lock.
pub trait Sampler: Send + Sync + 'static {
    /// Decides on a span.
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult;

    /// Its name and parameters, such as `AlwaysOnSampler`.
    fn description(&self) -> String;

    /// Whether a child of a local span always has its parent's decision, without attributes. If true, the
    /// layer does not call this sampler for such a child, also if another sampler decided on the parent:
    /// a trace keeps its decision when the sampler changes. Default: false.
    fn follows_local_parent(&self) -> bool {
        false
    }
}

impl<S: Sampler + ?Sized> Sampler for Box<S> {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        (**self).should_sample(input)
    }

    fn description(&self) -> String {
        (**self).description()
    }

    fn follows_local_parent(&self) -> bool {
        (**self).follows_local_parent()
    }
}

impl<S: Sampler + ?Sized> Sampler for Arc<S> {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        (**self).should_sample(input)
    }

    fn description(&self) -> String {
        (**self).description()
    }

    fn follows_local_parent(&self) -> bool {
        (**self).follows_local_parent()
    }
}

/// The decision on a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplingDecision {
    /// The span is not recorded. It has an id, so that its trace continues.
    Drop,
    /// The span is recorded in the process, and not exported.
    RecordOnly,
    /// The span is recorded and exported.
    RecordAndSample,
}

/// A sampler's result for a span.
///
/// ```
/// use tracing_otlp::KeyValue;
/// use tracing_otlp::sampler::SamplingResult;
///
/// let kept = SamplingResult::RECORD_AND_SAMPLE.with_attributes([KeyValue::new("sampler", "vip")]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SamplingResult {
    /// The decision.
    pub decision: SamplingDecision,
    /// Attributes to add to the span.
    pub attributes: Vec<KeyValue>,
    /// The span's trace state; `None` keeps the parent's.
    pub trace_state: Option<TraceState>,
}

impl From<SamplingDecision> for SamplingResult {
    fn from(decision: SamplingDecision) -> Self {
        Self::new(decision)
    }
}

impl SamplingResult {
    /// Recorded and exported, without attributes.
    pub const RECORD_AND_SAMPLE: Self = Self::new(SamplingDecision::RecordAndSample);
    /// Recorded in the process and not exported, without attributes.
    pub const RECORD_ONLY: Self = Self::new(SamplingDecision::RecordOnly);
    /// Not recorded.
    pub const DROP: Self = Self::new(SamplingDecision::Drop);

    /// This decision, without attributes, and with the parent's trace state.
    pub const fn new(decision: SamplingDecision) -> Self {
        Self {
            decision,
            attributes: Vec::new(),
            trace_state: None,
        }
    }

    /// Adds these attributes to the span.
    #[must_use]
    pub fn with_attributes(mut self, attributes: impl IntoIterator<Item = KeyValue>) -> Self {
        self.attributes.extend(attributes);
        self
    }

    /// With this trace state in place of the parent's.
    #[must_use]
    pub fn with_trace_state(mut self, trace_state: TraceState) -> Self {
        self.trace_state = Some(trace_state);
        self
    }

    /// Whether the span is recorded and exported.
    pub fn is_sampled(&self) -> bool {
        self.decision == SamplingDecision::RecordAndSample
    }

    const fn sampled_if(sampled: bool) -> Self {
        if sampled {
            Self::RECORD_AND_SAMPLE
        } else {
            Self::DROP
        }
    }
}
