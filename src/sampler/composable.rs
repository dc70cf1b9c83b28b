//! Samplers made of others: [`ParentThreshold`], [`Annotating`].

use super::composite::{ComposableSampler, SamplingIntent};
use super::input::SamplingInput;
use super::otel_state::OtelState;
use super::threshold::Threshold;
use crate::attribute::KeyValue;

/// Follows the parent's decision with the parent's threshold; another sampler decides on roots.
///
/// It also follows a sampled parent without a threshold, or with one that contradicts the parent's
/// decision. The number of spans that a kept one represents is then unknown, so no threshold is
/// written.
#[derive(Debug, Clone, Copy, Default)]
pub struct ParentThreshold<S> {
    root: S,
}

impl<S: ComposableSampler> ParentThreshold<S> {
    /// `root` decides on spans without a parent.
    pub fn new(root: S) -> Self {
        Self { root }
    }
}

impl<S: ComposableSampler> ComposableSampler for ParentThreshold<S> {
    fn intent<'a>(&'a self, input: &'a SamplingInput<'_>) -> SamplingIntent<'a> {
        let Some(parent) = input.parent else {
            return self.root.intent(input);
        };
        let state = OtelState::of(parent.trace_state());
        let is_consistent =
            |t: &Threshold| t.admits(state.randomness_of(input)) == parent.is_sampled();
        match state.threshold.filter(is_consistent) {
            Some(threshold) => SamplingIntent::sample(threshold),
            None if parent.is_sampled() => SamplingIntent::sample(Threshold::ALWAYS).unreliable(),
            None => SamplingIntent::never(),
        }
    }

    fn describe(&self) -> String {
        format!("ParentThreshold{{root:{}}}", self.root.describe())
    }
}

/// Adds attributes to the spans that another sampler keeps.
///
/// ```
/// use tracing_otlp::KeyValue;
/// use tracing_otlp::sampler::{Annotating, ProbabilitySampler};
///
/// let sampler = Annotating::new(
///     ProbabilitySampler::new(0.1),
///     [KeyValue::new("sampling.rule", "roots")],
/// );
/// ```
#[derive(Debug, Clone, Default)]
pub struct Annotating<S> {
    sampler: S,
    attributes: Vec<KeyValue>,
}

impl<S: ComposableSampler> Annotating<S> {
    /// `sampler` decides.
    pub fn new(sampler: S, attributes: impl IntoIterator<Item = KeyValue>) -> Self {
        Self {
            sampler,
            attributes: attributes.into_iter().collect(),
        }
    }
}

impl<S: ComposableSampler> ComposableSampler for Annotating<S> {
    fn intent<'a>(&'a self, input: &'a SamplingInput<'_>) -> SamplingIntent<'a> {
        let intent = self.sampler.intent(input);
        intent.with_attributes(|list| list.extend_from_slice(&self.attributes))
    }

    fn describe(&self) -> String {
        let keys: Vec<_> = self.attributes.iter().map(|a| a.key.as_ref()).collect();
        let inner = self.sampler.describe();
        format!("Annotating{{{inner},attributes:[{}]}}", keys.join(","))
    }
}
