//! Thresholds of shedding: [`SheddingLevel`], and what they do to a sampler's decision and to a trace state.
//!
//! A level is a step of pressure. Every process has the same levels, so processes under the same pressure keep
//! the same traces, and those under less pressure keep these and more.

use super::input::SamplingInput;
use super::otel_state::OtelState;
use super::threshold::{RANGE, Threshold, randomness_of};
use super::{SamplingDecision, SamplingResult};
use crate::context::{TraceContext, TraceId, TraceState};

/// A step of shedding, from none (0) to [`MAX`](Self::MAX). Four steps halve the traces that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct SheddingLevel(u8);

/// Which spans of a trace go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SheddingClass {
    Common,
    /// Spans with an error, and local roots.
    Last,
}

/// The steps by which spans that go last are behind the common ones.
const BEHIND: usize = 8;

/// The thresholds of all levels.
const THRESHOLDS: [u64; SheddingLevel::MAX as usize + 1] = {
    let mut thresholds = [0; SheddingLevel::MAX as usize + 1];
    let mut level = 1;
    while level < thresholds.len() {
        thresholds[level] = threshold_of(level);
        level += 1;
    }
    thresholds
};

/// The threshold that keeps 2^(−level/4) of all traces. Three hexadecimal digits of the kept part, so that `th`
/// stays short.
const fn threshold_of(level: usize) -> u64 {
    /// 2⁵⁶ · 2^(−n/4).
    const QUARTERS: [u64; 4] = [
        RANGE,
        60_592_972_518_301_032,
        50_952_413_380_206_184,
        42_845_701_759_940_776,
    ];
    let kept = QUARTERS[level % 4] >> (level / 4);
    let digits = (kept.ilog2() / 4) as usize;
    let unit = 1 << (4 * (digits - 2));
    RANGE - (kept + unit / 2) / unit * unit
}

impl SheddingLevel {
    pub(crate) const NONE: Self = Self(0);
    /// One common span in 16,384 is left, and one local root in 4,096.
    pub(crate) const MAX: u8 = 56;

    pub(crate) fn new(level: u8) -> Self {
        Self(level.min(Self::MAX))
    }

    pub(crate) fn get(self) -> u8 {
        self.0
    }

    /// The threshold of a span's class.
    #[inline]
    pub(crate) fn threshold(self, class: SheddingClass) -> Threshold {
        let behind = match class {
            SheddingClass::Common => 0,
            SheddingClass::Last => BEHIND,
        };
        let level = usize::from(self.0).saturating_sub(behind);
        let bits = THRESHOLDS.get(level).copied().unwrap_or_default();
        Threshold::from_bits(bits).unwrap_or(Threshold::ALWAYS)
    }

    /// The part of all traces that goes whole.
    pub(crate) fn shed_ratio(self) -> f64 {
        1.0 - self.threshold(SheddingClass::Common).probability()
    }
}

/// The randomness of a trace: `rv` in its trace state, else 56 bits of its id.
pub(crate) fn trace_randomness(trace_id: TraceId, trace_state: &TraceState) -> u64 {
    let of_state = OtelState::of(trace_state).randomness;
    of_state.unwrap_or_else(|| randomness_of(trace_id))
}

/// Whether `threshold` keeps a trace of this randomness.
#[inline]
pub(crate) fn keeps(threshold: Threshold, randomness: u64) -> bool {
    threshold.admits(randomness)
}

/// Applies shedding to a sampler's decision on a local root. True: the sampler keeps the trace and shedding does not.
///
/// A trace that would be shed to its last span is not recorded at all, and its context says so, so that services
/// called from here decide alike. Of a trace that is kept the threshold is the higher of both, where the probability
/// is known: the trace state has a threshold, or `is_certain`, because the sampler keeps every root.
pub(crate) fn shed_at_start(
    result: &mut SamplingResult,
    input: &SamplingInput<'_>,
    threshold: Threshold,
    is_certain: bool,
) -> bool {
    let is_local_root = input.parent.is_none_or(TraceContext::is_remote);
    if result.decision != SamplingDecision::RecordAndSample || !is_local_root {
        return false;
    }
    let before = result.trace_state.as_ref().unwrap_or(input.trace_state());
    let state = OtelState::of(before);
    let randomness = state.randomness;
    let randomness = randomness.unwrap_or_else(|| randomness_of(input.trace_id));
    if !threshold.admits(randomness) {
        let trace_state = state.update(before, None);
        *result = SamplingResult {
            trace_state: trace_state.or(result.trace_state.take()),
            ..SamplingDecision::Drop.into()
        };
        return true;
    }
    let known = state.threshold.or(is_certain.then_some(Threshold::ALWAYS));
    if let Some(known) = known
        && threshold > known
        && let Some(updated) = state.update(before, Some(threshold))
    {
        result.trace_state = Some(updated);
    }
    false
}

/// The text of a span's trace state with a threshold of at least `threshold`; `None`: it stays as it is. Without a
/// threshold the probability is not known, and nothing is pretended.
pub(crate) fn raised(trace_state: &str, threshold: Threshold) -> Option<TraceState> {
    let before = TraceState::parse(trace_state).ok()?;
    let state = OtelState::of(&before);
    let is_lower = state.threshold.is_some_and(|known| known < threshold);
    is_lower.then(|| state.update(&before, Some(threshold)))?
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::context::{SpanId, TraceFlags};
    use crate::sampler::{ParentBased, ProbabilitySampler, Sampler};
    use proptest::prelude::*;

    #[test]
    fn levels_are_those_of_every_process() {
        // Whoever changes these divides traces between processes of two versions.
        for (level, th) in [
            (0, "0"),
            (1, "28c"),
            (2, "4b"),
            (4, "8"),
            (8, "c"),
            (9, "ca3"),
            (16, "f"),
            (32, "ff"),
            (56, "fffc"),
        ] {
            let level = SheddingLevel::new(level);
            assert_eq!(level.threshold(SheddingClass::Common).to_string(), th);
        }
        let over = SheddingLevel::new(200);
        assert_eq!(over.get(), SheddingLevel::MAX);
    }

    #[test]
    fn each_level_keeps_a_sixth_less_and_the_last_ones_go_later() {
        for level in 1..=SheddingLevel::MAX {
            let kept = |level: u8, class| SheddingLevel::new(level).threshold(class).probability();
            let ratio = kept(level, SheddingClass::Common) / kept(level - 1, SheddingClass::Common);
            assert!((ratio - 0.8409).abs() < 0.003, "{level}: {ratio}");
            let last = kept(level, SheddingClass::Last);
            let expected = kept(level.saturating_sub(8), SheddingClass::Common);
            assert_eq!(last, expected, "{level}");
        }
    }

    fn with_randomness(randomness: u64) -> TraceId {
        TraceId::from_bytes((u128::from(randomness) | 7 << 100).to_be_bytes())
    }

    #[test]
    fn a_root_that_would_be_shed_is_not_recorded_and_its_context_says_so() {
        let half = Threshold::parse("8").unwrap();
        let decide = |sampler: &dyn Sampler, input: &SamplingInput<'_>, is_certain| {
            let mut result = sampler.should_sample(input);
            let is_shed = shed_at_start(&mut result, input, half, is_certain);
            let state = result.trace_state.clone();
            let state = state.unwrap_or_else(|| input.trace_state().clone());
            (is_shed, result.is_sampled(), state.as_str().to_owned())
        };
        let (low, high) = (with_randomness(1), with_randomness(RANGE - 1));
        let default = ParentBased::default();
        let quarter = ProbabilitySampler::new(0.25);
        let most = ProbabilitySampler::new(0.75);
        let root = |id| SamplingInput::new(id, "root");
        // Every root is kept by the sampler: the probability is known.
        assert_eq!(
            decide(&default, &root(low), true),
            (true, false, String::new())
        );
        assert_eq!(
            decide(&default, &root(high), true),
            (false, true, "ot=th:8".to_owned())
        );
        // A sampler of unknown probability: nothing is pretended.
        assert_eq!(
            decide(&default, &root(high), false),
            (false, true, String::new())
        );
        // The higher threshold counts.
        assert_eq!(
            decide(&quarter, &root(high), false),
            (false, true, "ot=th:c".to_owned())
        );
        assert_eq!(
            decide(&most, &root(high), false),
            (false, true, "ot=th:8".to_owned())
        );
        assert_eq!(
            decide(&quarter, &root(low), false),
            (false, false, String::new())
        );
        // A trace from elsewhere: its caller's threshold is raised, or erased with the decision.
        let parent = |id, state: &str, remote| {
            TraceContext::new(id, SpanId::from_bytes([2; 8]), TraceFlags::SAMPLED)
                .with_trace_state(TraceState::parse(state).unwrap())
                .with_remote(remote)
        };
        for (id, state, remote, expected) in [
            (high, "ot=th:4,a=1", true, (false, true, "ot=th:8,a=1")),
            (high, "a=1", true, (false, true, "a=1")),
            (low, "ot=th:0,a=1", true, (true, false, "a=1")),
            (
                low,
                "ot=rv:ffffffffffffff;th:0",
                true,
                (false, true, "ot=th:8;rv:ffffffffffffff"),
            ),
            // Children follow their local root.
            (low, "a=1", false, (false, true, "a=1")),
        ] {
            let parent = parent(id, state, remote);
            let input = SamplingInput::new(id, "call").with_parent(&parent);
            let (is_shed, sampled, after) = decide(&default, &input, false);
            assert_eq!((is_shed, sampled, &after[..]), expected, "{state}");
        }
    }

    #[test]
    fn a_threshold_is_raised_where_there_is_one() {
        let half = Threshold::parse("8").unwrap();
        for (before, after) in [
            ("ot=th:0", Some("ot=th:8")),
            ("a=1,ot=th:4;x:y", Some("ot=th:8;x:y,a=1")),
            ("ot=th:c", None),
            ("ot=th:8", None),
            ("ot=rv:ffffffffffffff", None),
            ("a=1", None),
            ("", None),
            ("no trace state", None),
        ] {
            let raised = raised(before, half);
            assert_eq!(raised.as_ref().map(TraceState::as_str), after, "{before}");
        }
    }

    proptest! {
        #[test]
        fn who_is_under_less_pressure_keeps_all_that_others_keep(
            a in 0..=SheddingLevel::MAX, b in 0..=SheddingLevel::MAX, randomness in 0..RANGE,
        ) {
            let kept = |level, class| keeps(SheddingLevel::new(level).threshold(class), randomness);
            for class in [SheddingClass::Common, SheddingClass::Last] {
                prop_assert!(kept(a.min(b), class) || !kept(a.max(b), class));
            }
            // A trace whose common spans are kept is whole.
            prop_assert!(kept(a, SheddingClass::Last) || !kept(a, SheddingClass::Common));
        }
    }
}
