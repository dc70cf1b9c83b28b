//! [`Rules`] and [`RuleBased`]: the sampler of the first matching rule.

use std::fmt;

use super::composite::{ComposableSampler, SamplingIntent};
use super::input::SamplingInput;
use super::when::When;
use super::{Sampler, SamplingResult};

/// Conditions and their samplers, of either kind, in order.
struct RuleList<S: ?Sized>(Vec<(When, Box<S>)>);

impl<S: ?Sized> RuleList<S> {
    /// The sampler of the first rule that matches.
    fn find(&self, input: &SamplingInput<'_>) -> Option<&S> {
        let rule = self.0.iter().find(|(when, _)| when.fits(input));
        rule.map(|(_, sampler)| &**sampler)
    }

    /// The rules as text, separated by commas.
    fn describe(&self, describe: impl Fn(&S) -> String) -> String {
        let rules = self.0.iter();
        let rules: Vec<_> = rules
            .map(|(when, sampler)| format!("{when}:{}", describe(sampler)))
            .collect();
        rules.join(",")
    }
}

/// Decides by the sampler of the first matching rule, else by a default sampler.
///
/// Usually for roots, in [`ParentBased`](super::ParentBased), so that traces stay whole. A rule by
/// attribute visits that field alone, and only if no rule before it matches.
///
/// ```
/// use tracing_otlp::sampler::{AlwaysOff, AlwaysOn, ParentBased, RateLimiter, Rules, When};
///
/// let roots = Rules::new(RateLimiter::new(100.0))
///     .with_rule(When::name("health"), AlwaysOff)
///     .with_rule(When::target("shop::checkout"), AlwaysOn);
/// let builder = tracing_otlp::builder().with_sampler(ParentBased::new(roots));
/// ```
pub struct Rules {
    rules: RuleList<dyn Sampler>,
    otherwise: Box<dyn Sampler>,
}

impl Rules {
    /// `otherwise` decides on spans without a matching rule.
    pub fn new(otherwise: impl Sampler) -> Self {
        Self {
            rules: RuleList(Vec::new()),
            otherwise: Box::new(otherwise),
        }
    }

    /// Adds a last rule: `sampler` decides on matching spans.
    #[must_use]
    pub fn with_rule(mut self, when: When, sampler: impl Sampler) -> Self {
        self.rules.0.push((when, Box::new(sampler)));
        self
    }
}

impl Sampler for Rules {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        self.rules
            .find(input)
            .unwrap_or(&*self.otherwise)
            .should_sample(input)
    }

    fn description(&self) -> String {
        let rules = self.rules.describe(Sampler::description);
        let comma = if rules.is_empty() { "" } else { "," };
        let otherwise = self.otherwise.description();
        format!("Rules{{{rules}{comma}otherwise:{otherwise}}}")
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description())
    }
}

/// Decides by the sampler of the first matching rule; keeps nothing without a match.
///
/// ```
/// use tracing_otlp::sampler::{AlwaysOff, AlwaysOn, ProbabilitySampler, RuleBased, When};
///
/// let sampler = RuleBased::new()
///     .with_rule(When::attribute("url.path", "/health"), AlwaysOff)
///     .with_rule(When::target("shop::checkout"), AlwaysOn)
///     .with_rule(When::any(), ProbabilitySampler::new(0.1));
/// ```
pub struct RuleBased {
    rules: RuleList<dyn ComposableSampler>,
}

impl RuleBased {
    /// Without a rule: keeps nothing.
    pub fn new() -> Self {
        Self {
            rules: RuleList(Vec::new()),
        }
    }

    /// Adds a last rule.
    #[must_use]
    pub fn with_rule(mut self, when: When, sampler: impl ComposableSampler) -> Self {
        self.rules.0.push((when, Box::new(sampler)));
        self
    }
}

impl Default for RuleBased {
    fn default() -> Self {
        Self::new()
    }
}

impl ComposableSampler for RuleBased {
    fn intent<'a>(&'a self, input: &'a SamplingInput<'_>) -> SamplingIntent<'a> {
        match self.rules.find(input) {
            Some(sampler) => sampler.intent(input),
            None => SamplingIntent::never(),
        }
    }

    fn describe(&self) -> String {
        let rules = self.rules.describe(ComposableSampler::describe);
        format!("RuleBased{{{rules}}}")
    }
}

impl fmt::Debug for RuleBased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::KeyValue;
    use crate::context::TraceId;
    use crate::sampler::{AlwaysOff, AlwaysOn};

    #[test]
    fn the_first_rule_that_fits_decides_else_the_last_sampler() {
        let rules = Rules::new(AlwaysOff)
            .with_rule(When::attribute("keep", false), AlwaysOff)
            .with_rule(When::target("shop"), AlwaysOn)
            .with_rule(When::target("shop::cart"), AlwaysOff);
        let drop = [KeyValue::new("keep", false)];
        let input = SamplingInput::new(TraceId::from_bytes([1; 16]), "s");
        let shop = input.with_target("shop::cart");
        for (input, sampled) in [
            (input, false),
            (shop, true),
            (shop.with_attributes(&drop), false),
        ] {
            assert_eq!(rules.should_sample(&input).is_sampled(), sampled);
        }
        assert_eq!(
            rules.description(),
            "Rules{keep=Bool(false):AlwaysOffSampler,target=shop*:AlwaysOnSampler,\
             target=shop::cart*:AlwaysOffSampler,otherwise:AlwaysOffSampler}"
        );
    }
}
