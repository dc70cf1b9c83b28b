//! Whether a span is recorded: decided when it is made, before a field is looked at.
//!
//! | Sampler | Records |
//! | --- | --- |
//! | [`AlwaysOn`], [`AlwaysOff`] | every span, none |
//! | [`ParentBased`] | what the parent's decision says; another sampler decides for roots. The default, with [`AlwaysOn`] |
//! | [`TraceIdRatio`] | a part of all traces, by the trace id |
//! | [`ProbabilitySampler`] | the same, and says in the trace state how large a part |
//! | [`CompositeSampler`] | what [`ComposableSampler`]s make of it: by rules, by the parent's threshold |
//! | [`RateLimiter`] | so many spans a second and no more |
//! | [`Rules`] | what the first rule that fits says: by name, target, kind, level, attribute |
//! | [`AlwaysRecord`] | what another sampler records; the rest for this process alone |
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
mod threshold;
mod when;

use std::sync::Arc;

use crate::attribute::KeyValue;
use crate::context::TraceState;

pub use self::always::{AlwaysOff, AlwaysOn, AlwaysRecord};
pub use self::composable::{Annotating, ParentThreshold, RuleBased};
pub use self::composite::{ComposableSampler, CompositeSampler, SamplingIntent};
pub(crate) use self::input::Fields;
pub use self::input::SamplingInput;
pub use self::limiter::RateLimiter;
#[cfg(any(test, fuzzing))]
pub(crate) use self::otel_state::OtelState;
pub(crate) use self::otel_state::without_contradiction;
pub use self::parent_based::ParentBased;
pub use self::probability::ProbabilitySampler;
pub use self::ratio::TraceIdRatio;
pub use self::rules::Rules;
pub use self::threshold::Threshold;
pub use self::when::When;

/// Decides for each span whether it is recorded (SMP-1). Called on the thread that records the
/// span, with no lock held.
pub trait Sampler: Send + Sync + 'static {
    /// What becomes of the span.
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult;

    /// What it is and does, such as `AlwaysOnSampler` (SMP-2).
    fn description(&self) -> String;

    /// Whether a child of a span in this process is always decided as its parent was, with nothing
    /// to add: then this sampler is not asked for it, also where another sampler has decided for the
    /// parent, so that a trace goes on as it began when samplers are exchanged. Default: it is asked.
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
        Self::of(decision)
    }
}

impl SamplingResult {
    /// Recorded and exported, with nothing to add.
    pub const RECORD_AND_SAMPLE: Self = Self::of(SamplingDecision::RecordAndSample);
    /// Not recorded.
    pub const DROP: Self = Self::of(SamplingDecision::Drop);

    /// Whether the span is recorded and exported.
    pub fn is_sampled(&self) -> bool {
        self.decision == SamplingDecision::RecordAndSample
    }

    const fn of(decision: SamplingDecision) -> Self {
        Self {
            decision,
            attributes: Vec::new(),
            trace_state: None,
        }
    }

    const fn sampled_if(sampled: bool) -> Self {
        if sampled {
            Self::RECORD_AND_SAMPLE
        } else {
            Self::DROP
        }
    }
}
