//! The decision on a local trace, a pure function of its [`Facts`]: no clock, no lock.

use crate::config::TailConfig;
use crate::context::TraceId;
use crate::sampler::TraceIdRatio;

/// The facts of a local trace at its decision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) trace_id: [u8; 16],
    pub(super) has_error: bool,
    /// The duration of its root in nanoseconds; a lower bound if the root is still open.
    pub(super) duration: u64,
    /// The quantile of the durations of roots of its name; `None` if unknown.
    pub(super) usual: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TailDecision {
    Keep,
    Drop,
}

/// The settings of the decision.
#[derive(Debug)]
pub(super) struct TailRules {
    errors: bool,
    /// In nanoseconds.
    slower_than: Option<u64>,
    ratio: TraceIdRatio,
}

impl TailRules {
    pub(super) fn new(config: &TailConfig) -> Self {
        let nanos = |d: std::time::Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        Self {
            errors: config.keep_errors,
            slower_than: config.slower_than.map(nanos),
            ratio: TraceIdRatio::new(config.ratio),
        }
    }

    /// Any one rule keeps the trace.
    pub(super) fn decide(&self, facts: &Facts) -> TailDecision {
        let exceeds = |limit: Option<u64>| limit.is_some_and(|limit| facts.duration > limit);
        let keep = (self.errors && facts.has_error)
            || exceeds(self.slower_than)
            || exceeds(facts.usual)
            || self.ratio.includes(TraceId::from_bytes(facts.trace_id));
        if keep {
            TailDecision::Keep
        } else {
            TailDecision::Drop
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const QUIET: Facts = Facts {
        trace_id: [0; 16],
        has_error: false,
        duration: 0,
        usual: None,
    };

    fn rules(edit: impl FnOnce(&mut TailConfig)) -> TailRules {
        let mut config = TailConfig::default();
        edit(&mut config);
        TailRules::new(&config)
    }

    #[test]
    fn each_reason_is_enough_and_without_one_a_trace_is_dropped() {
        use TailDecision::{Drop, Keep};
        let all = rules(|c| c.slower_than = Some(Duration::from_nanos(100)));
        let deaf = rules(|c| c.keep_errors = false);
        let error = Facts {
            has_error: true,
            ..QUIET
        };
        let lasting = |duration, usual| Facts {
            duration,
            usual,
            ..QUIET
        };
        let cases = [
            (&all, QUIET, Drop),
            (&all, error, Keep),
            (&deaf, error, Drop),
            (&all, lasting(100, None), Drop),
            (&all, lasting(101, None), Keep),
            (&deaf, lasting(101, None), Drop),
            (&deaf, lasting(101, Some(101)), Drop),
            (&deaf, lasting(101, Some(100)), Keep),
            (&all, lasting(101, Some(u64::MAX)), Keep),
        ];
        for (rules, facts, decision) in cases {
            assert_eq!(rules.decide(&facts), decision, "{facts:?} by {rules:?}");
        }
    }

    /// SMP-4: by the rightmost 56 bits, as the sampler of that name.
    #[test]
    fn the_ratio_goes_by_the_trace_id() {
        let half = rules(|c| c.ratio = 0.5);
        let id = |byte| {
            let mut trace_id = [0xff; 16];
            trace_id[9] = byte;
            Facts { trace_id, ..QUIET }
        };
        assert_eq!(half.decide(&id(0x7f)), TailDecision::Drop);
        assert_eq!(half.decide(&id(0x80)), TailDecision::Keep);
        let (none, all) = (rules(|c| c.ratio = 0.0), rules(|c| c.ratio = 1.0));
        assert_eq!(none.decide(&id(0xff)), TailDecision::Drop);
        assert_eq!(all.decide(&id(0)), TailDecision::Keep);
    }
}
