//! [`Rules`]: the sampler of the first matching rule.

use std::fmt;

use super::input::SamplingInput;
use super::when::When;
use super::{Sampler, SamplingResult};

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
    rules: Vec<(When, Box<dyn Sampler>)>,
    otherwise: Box<dyn Sampler>,
}

impl Rules {
    /// `otherwise` decides on spans without a matching rule.
    pub fn new(otherwise: impl Sampler) -> Self {
        Self {
            rules: Vec::new(),
            otherwise: Box::new(otherwise),
        }
    }

    /// Adds a last rule: `sampler` decides on matching spans.
    #[must_use]
    pub fn with_rule(mut self, when: When, sampler: impl Sampler) -> Self {
        self.rules.push((when, Box::new(sampler)));
        self
    }
}

impl Sampler for Rules {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        let rule = self.rules.iter().find(|(when, _)| when.fits(input));
        rule.map_or(&self.otherwise, |(_, sampler)| sampler)
            .should_sample(input)
    }

    fn description(&self) -> String {
        let mut text = "Rules{".to_owned();
        for (when, sampler) in &self.rules {
            text += &format!("{when}:{},", sampler.description());
        }
        text + &format!("otherwise:{}}}", self.otherwise.description())
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description())
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
