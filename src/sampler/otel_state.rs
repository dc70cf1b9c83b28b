//! [`OtelState`]: OpenTelemetry's own member of the trace state, `ot` (SMP-7).

use super::input::SamplingInput;
use super::threshold::{self, Threshold};
use crate::context::{TraceId, TraceState};
use crate::diagnostics::PRESUMED_RANDOM;

const KEY: &str = "ot";
/// The longest value.
const MAX_LEN: usize = 256;

/// The value of `ot`: `th:<threshold>;rv:<randomness>` and entries of later versions. An invalid entry
/// counts as absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OtelState<'a> {
    /// `th`: the threshold of the decisions so far.
    pub(crate) threshold: Option<Threshold>,
    /// `rv`: the trace's randomness, if its id is not random.
    pub(crate) randomness: Option<u64>,
    text: &'a str,
}

impl<'a> OtelState<'a> {
    /// The randomness that all spans of the trace share: `rv`, else 56 bits of its id, which count as
    /// random also without the `random` flag (SMP-6).
    pub(super) fn randomness_of(&self, input: &SamplingInput<'_>) -> u64 {
        self.randomness.unwrap_or_else(|| {
            if input.parent.is_some() && !input.flags.is_random() {
                PRESUMED_RANDOM.notice();
            }
            threshold::randomness_of(input.trace_id)
        })
    }

    /// Whether a threshold keeps the trace. [`Threshold::ALWAYS`] needs no randomness.
    pub(super) fn is_kept_by(&self, threshold: Threshold, input: &SamplingInput<'_>) -> bool {
        threshold == Threshold::ALWAYS || threshold.admits(self.randomness_of(input))
    }

    pub(super) fn of(trace_state: &'a TraceState) -> Self {
        if trace_state.is_empty() {
            return Self::default();
        }
        Self::parse(trace_state.get(KEY).unwrap_or_default())
    }

    pub(crate) fn parse(text: &'a str) -> Self {
        if text.is_empty() || text.len() > MAX_LEN {
            return Self::default();
        }
        let value = |wanted| {
            let found = entries(text).find(|(key, _)| *key == wanted);
            found.map(|(_, value)| value)
        };
        Self {
            threshold: value("th").and_then(Threshold::parse),
            randomness: value("rv").and_then(randomness),
            text,
        }
    }

    /// `trace_state`, from which `self` was read, with this threshold in place of any other; `None` if
    /// nothing changes.
    ///
    /// Other entries stay (SMP-7, SMP-9). If the threshold does not fit, none is written: an unknown
    /// threshold is better than a wrong one.
    pub(super) fn update(
        &self,
        trace_state: &TraceState,
        threshold: Option<Threshold>,
    ) -> Option<TraceState> {
        let has_entry = entries(self.text).any(|(key, _)| key == "th");
        if self.threshold == threshold && has_entry == threshold.is_some() {
            return None;
        }
        let mut value = self.with(threshold);
        let mut updated = trace_state.with(KEY, &value);
        if value.len() > MAX_LEN || updated.is_err() {
            if !has_entry {
                return None;
            }
            value = self.with(None);
            updated = trace_state.with(KEY, &value);
        }
        match updated {
            Ok(updated) if !value.is_empty() => Some(updated),
            _ => Some(trace_state.without(KEY)),
        }
    }

    /// The value with this threshold; empty without entries.
    pub(crate) fn with(&self, threshold: Option<Threshold>) -> String {
        let mut value = String::new();
        if let Some(threshold) = threshold {
            value = format!("th:{threshold}");
        }
        for (at, (key, text)) in entries(self.text).enumerate() {
            let is_first = !entries(self.text).take(at).any(|(k, _)| k == key);
            if key != "th" && is_first {
                let separator = if value.is_empty() { "" } else { ";" };
                value.extend([separator, key, ":", text]);
            }
        }
        value
    }
}

/// A trace state with this threshold alone.
pub(super) fn only(threshold: Threshold) -> TraceState {
    let alone = OtelState::default().update(&TraceState::EMPTY, Some(threshold));
    alone.unwrap_or_default()
}

/// `trace_state` without its threshold, which is no longer valid; `None` if it has none.
pub(super) fn forget_threshold(trace_state: &TraceState) -> Option<TraceState> {
    OtelState::of(trace_state).update(trace_state, None)
}

/// `trace_state` without a threshold that contradicts the span's decision (SMP-9); `None` if it has
/// none.
#[cold]
pub(crate) fn without_contradiction(
    trace_state: &TraceState,
    trace_id: TraceId,
    sampled: bool,
) -> Option<TraceState> {
    let state = OtelState::of(trace_state);
    let randomness = state.randomness;
    let randomness = randomness.unwrap_or_else(|| threshold::randomness_of(trace_id));
    let contradicts = state.threshold?.admits(randomness) != sampled;
    contradicts
        .then(|| state.update(trace_state, None))
        .flatten()
}

/// The valid entries; the first of a key counts.
fn entries(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let entry = |entry: &'_ str| -> Option<(usize, usize)> {
        let (key, value) = entry.split_once(':')?;
        let is_key = key.starts_with(|c: char| c.is_ascii_lowercase())
            && key
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let is_value = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        (is_key && value.bytes().all(is_value)).then_some((key.len(), key.len() + 1))
    };
    text.split(';').filter_map(move |text| {
        let (key, value) = entry(text)?;
        Some((text.get(..key)?, text.get(value..)?))
    })
}

/// `rv`: exactly 14 digits.
fn randomness(text: &str) -> Option<u64> {
    (text.len() == threshold::DIGITS as usize)
        .then(|| threshold::hex(text))
        .flatten()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state(ot: &str) -> TraceState {
        TraceState::parse(&format!("rojo=1,ot={ot},congo=2")).unwrap()
    }

    #[test]
    fn entries_are_read_and_what_is_none_is_not_there_smp_7() {
        let rv = Some(0x123456789abcde);
        let th = |text| Threshold::parse(text);
        for (text, threshold, randomness) in [
            ("", None, None),
            ("th:c", th("c"), None),
            ("rv:123456789abcde", None, rv),
            ("th:0;rv:123456789abcde", th("0"), rv),
            ("rv:123456789abcde;x:y.Z_-9;th:8", th("8"), rv),
            ("x:;th:8", th("8"), None),
            // Neither digits of the right kind nor as many as there must be.
            ("th:C", None, None),
            ("th:", None, None),
            ("th:123456789abcdef", None, None),
            ("rv:123456789abcd", None, None),
            ("rv:123456789abcdef", None, None),
            ("rv:123456789ABCDE", None, None),
            // No entries.
            ("th", None, None),
            ("TH:8", None, None),
            (" th:8", None, None),
            ("9th:8;;:;th:8 ;rv=1", None, None),
            // Of two, the first.
            ("th:c;th:8", th("c"), None),
            ("th:x;th:8", None, None),
        ] {
            let read = OtelState::parse(text);
            assert_eq!(
                (read.threshold, read.randomness),
                (threshold, randomness),
                "{text}"
            );
        }
        let long = format!("th:8;x:{}", "a".repeat(250));
        assert_eq!(OtelState::parse(&long), OtelState::default());
    }

    #[test]
    fn other_entries_and_members_survive_smp_7() {
        for (before, th, after) in [
            ("th:8", Some("c"), Some("ot=th:c,rojo=1,congo=2")),
            ("th:8", None, Some("rojo=1,congo=2")),
            ("th:8", Some("8"), None),
            ("rv:123456789abcde", None, None),
            ("th:oops", None, Some("rojo=1,congo=2")),
            (
                "rv:oops;x:y",
                Some("c"),
                Some("ot=th:c;rv:oops;x:y,rojo=1,congo=2"),
            ),
            (
                "x:y;rv:123456789abcde;th:8;z:",
                Some("c"),
                Some("ot=th:c;x:y;rv:123456789abcde;z:,rojo=1,congo=2"),
            ),
            ("x:y;th:8", None, Some("ot=x:y,rojo=1,congo=2")),
        ] {
            let before = state(before);
            let after = after.map(|text| TraceState::parse(text).unwrap());
            let threshold = th.and_then(Threshold::parse);
            let updated = OtelState::of(&before).update(&before, threshold);
            assert_eq!(updated, after, "{before:?}");
        }
    }

    #[test]
    fn a_list_that_would_be_too_long_gets_no_threshold_smp_7() {
        let threshold = Threshold::parse("fd70a");
        let full = format!("x:{}", "a".repeat(250));
        let before = state(&full);
        assert_eq!(OtelState::of(&before).update(&before, threshold), None);
        // One that is there would be wrong.
        let before = state(&format!("th:8;x:{}", "a".repeat(249)));
        let updated = OtelState::of(&before).update(&before, threshold).unwrap();
        assert_eq!(updated.get("ot"), Some(full.get(..251).unwrap()));
        // 256 characters are not too many.
        let before = state(&format!("x:{}", "a".repeat(245)));
        let updated = OtelState::of(&before).update(&before, threshold).unwrap();
        assert_eq!(updated.get("ot").unwrap().len(), 256);
    }

    #[test]
    fn a_threshold_that_the_decision_contradicts_is_erased_smp_9() {
        let low = TraceId::from_bytes([1; 16]);
        let high = TraceId::from_bytes([0xf0; 16]);
        for (id, ot, sampled, contradicts) in [
            (high, "th:8", true, false),
            (high, "th:8", false, true),
            (low, "th:8", true, true),
            (low, "th:8", false, false),
            // Its own randomness counts before the id's.
            (low, "th:8;rv:ffffffffffffff", true, false),
            (high, "th:8;rv:00000000000000", true, true),
            (low, "rv:00000000000000", true, false),
        ] {
            let before = state(ot);
            let after = without_contradiction(&before, id, sampled);
            assert_eq!(after.is_some(), contradicts, "{ot}");
            if let Some(after) = after {
                assert_eq!(OtelState::of(&after).threshold, None);
                assert_eq!(after.get("rojo"), Some("1"));
            }
        }
    }

    proptest! {
        #[test]
        fn any_value_is_read_and_updated_to_a_valid_one_smp_7(
            text in "([a-z][a-z0-9]{0,2}:[A-Za-z0-9._-]{0,40}|th:[0-9a-g]{0,16}|rv:[0-9a-g]{12,15}|[ -+\\--<>-~]{0,9}|;){0,9}",
            bits in 0u64..1 << 56,
            forget: bool,
        ) {
            let threshold = Threshold::from_bits(bits).filter(|_| !forget);
            let Ok(before) = TraceState::EMPTY.with("ot", &text) else {
                OtelState::parse(&text);
                return Ok(());
            };
            let before = before.with("other", "member").unwrap();
            let read = OtelState::of(&before);
            let updated = read.update(&before, threshold).unwrap_or_else(|| before.clone());
            let reread = TraceState::parse(updated.as_str());
            prop_assert_eq!(reread.as_ref(), Ok(&updated));
            prop_assert_eq!(updated.get("other"), Some("member"));
            let after = OtelState::of(&updated);
            // Known and right, or unknown.
            prop_assert!(after.threshold == threshold || after.threshold.is_none());
            prop_assert!(after.threshold == threshold || read.with(threshold).len() > MAX_LEN);
            prop_assert_eq!(after.randomness, read.randomness);
            prop_assert_eq!(after.update(&updated, after.threshold), None);
        }
    }
}
