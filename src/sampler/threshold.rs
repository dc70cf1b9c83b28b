//! [`Threshold`]: a probability in the form of consistent sampling.

use std::fmt;

use crate::context::TraceId;

/// The upper bound of randomness and thresholds: 2⁵⁶.
pub(super) const RANGE: u64 = 1 << 56;
/// Their number of hexadecimal digits.
pub(super) const DIGITS: u32 = 14;

/// The rejection threshold of a probability: a trace is kept if its randomness, 56 bits that all its
/// spans share, is at least this.
///
/// A trace that reaches a threshold reaches every lower one, so samplers with different probabilities
/// agree as far as possible. The trace state has it as `th`; a backend derives from it the number of
/// spans that a kept one represents.
///
/// ```
/// use tracing_otlp::sampler::Threshold;
///
/// let quarter = Threshold::from_probability(0.25).unwrap();
/// assert_eq!(quarter.to_string(), "c");
/// assert_eq!(quarter.adjusted_count(), 4.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Threshold(u64);

impl Threshold {
    /// Every trace: 0.
    pub const ALWAYS: Self = Self(0);

    /// The threshold of a probability, with four hexadecimal digits and one more for each leading `f`.
    /// `None` for a probability below 2⁻⁵⁶, which keeps no trace; above 1 counts as 1.
    pub fn from_probability(probability: f64) -> Option<Self> {
        Self::with_precision(probability, 4)
    }

    /// As [`from_probability`](Self::from_probability), with `digits` digits, from 1 to 14, instead
    /// of four. More digits are more precise, and longer in the trace state.
    pub fn with_precision(probability: f64, digits: u8) -> Option<Self> {
        let Self(exact) = Self::exactly(clamp(probability))?;
        // The number of leading `f`s of the 56 bits, shifted to the left end of the 64.
        let leading = (!(exact << 8)).leading_zeros() / 4;
        let digits = (u32::from(digits.max(1)) + leading).min(DIGITS);
        let unit = 1 << (4 * (DIGITS - digits));
        // Cannot reach 2⁵⁶: the first digit after the `f`s is kept and is no `f`.
        Some(Self((exact + unit / 2) / unit * unit))
    }

    /// A threshold from 0 to 2⁵⁶ − 1; `None` above.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if bits < RANGE { Some(Self(bits)) } else { None }
    }

    /// From 0 to 2⁵⁶ − 1.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Reads `th`: 1 to 14 lowercase hexadecimal digits; missing ones at the end are zeros. `None` for
    /// any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let missing = DIGITS.checked_sub(text.len() as u32)?;
        Some(Self(hex(text)? << (4 * missing)))
    }

    /// The part of all traces that is kept: from 2⁻⁵⁶ to 1.
    pub fn probability(self) -> f64 {
        (RANGE - self.0) as f64 / RANGE as f64
    }

    /// The number of spans that a kept span represents: from 1 to 2⁵⁶.
    pub fn adjusted_count(self) -> f64 {
        RANGE as f64 / (RANGE - self.0) as f64
    }

    /// The threshold of a probability from 0 to 1 with all digits; `None` if no trace is kept.
    pub(super) fn exactly(probability: f64) -> Option<Self> {
        // Exact: a power of two moves the exponent alone. Subtracting from 1.0 would round first.
        let kept = probability * RANGE as f64;
        (kept >= 1.0).then_some(Self(RANGE.saturating_sub(kept.round() as u64)))
    }

    /// Whether traces with this randomness are kept.
    #[inline]
    pub(super) fn admits(self, randomness: u64) -> bool {
        randomness >= self.0
    }
}

impl fmt::Display for Threshold {
    /// The text of `th`: hexadecimal digits without trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:014x}", self.0);
        match digits.trim_end_matches('0') {
            "" => f.pad("0"),
            digits => f.pad(digits),
        }
    }
}

/// Clamps a probability to 0 to 1; NaN becomes 0.
pub(super) fn clamp(probability: f64) -> f64 {
    if probability.is_nan() {
        0.0
    } else {
        probability.clamp(0.0, 1.0)
    }
}

/// The randomness of a trace without `rv`: the rightmost 56 bits of its id, which count as random
/// whatever its flags are (SMP-6).
#[inline]
pub(super) fn randomness_of(trace_id: TraceId) -> u64 {
    u128::from_be_bytes(trace_id.to_bytes()) as u64 & (RANGE - 1)
}

/// 1 to 14 lowercase hexadecimal digits.
pub(super) fn hex(text: &str) -> Option<u64> {
    let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if text.len() > DIGITS as usize || !text.bytes().all(is_hex) {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples_of_the_specification_smp_8() {
        for (probability, th) in [
            (1.0, "0"),
            (0.5, "8"),
            (1.0 / 3.0, "aaab"),
            (0.25, "c"),
            (0.1, "e666"),
            (0.01, "fd70a"),
            (0.001, "ffbe77"),
            (1e-6, "ffffef39"),
            (2f64.powi(-56), "ffffffffffffff"),
            (3.0 * 2f64.powi(-56), "fffffffffffffd"),
            (f64::INFINITY, "0"),
        ] {
            let threshold = Threshold::from_probability(probability).unwrap();
            assert_eq!(threshold.to_string(), th, "{probability}");
        }
        for none in [0.0, -0.0, -1.0, f64::NAN, f64::MIN_POSITIVE, 2f64.powi(-57)] {
            assert_eq!(Threshold::from_probability(none), None, "{none}");
        }
    }

    #[test]
    fn adjusted_counts_are_exact_at_the_ends_smp_8() {
        for (th, count) in [("0", 1.0), ("8", 2.0), ("c", 4.0), ("f", 16.0)] {
            let threshold = Threshold::parse(th).unwrap();
            assert_eq!(threshold.adjusted_count(), count);
            assert_eq!(threshold.probability(), 1.0 / count);
        }
        let last = Threshold::from_bits(RANGE - 1).unwrap();
        assert_eq!(last.adjusted_count(), RANGE as f64);
        assert_eq!(Threshold::from_bits(RANGE), None);
    }

    #[test]
    fn precision_is_what_was_asked_for() {
        for (digits, th) in [
            (0, "b"),
            (1, "b"),
            (3, "aab"),
            (5, "aaaab"),
            (14, "aaaaaaaaaaaaac"),
            (255, "aaaaaaaaaaaaac"),
        ] {
            let threshold = Threshold::with_precision(1.0 / 3.0, digits).unwrap();
            assert_eq!(threshold.to_string(), th, "{digits}");
        }
    }

    #[test]
    fn only_lowercase_digits_are_a_threshold_smp_7() {
        for bad in ["", "C", "+1", "0x8", " 8", "g", "000000000000000", "8é"] {
            assert_eq!(Threshold::parse(bad), None, "{bad:?}");
        }
        assert_eq!(Threshold::parse("80"), Threshold::parse("8"));
        assert_eq!(Threshold::parse("00000000000000"), Some(Threshold::ALWAYS));
    }

    /// Probabilities of every size, down to the least.
    fn probabilities() -> impl Strategy<Value = f64> {
        (0.5f64..=1.0, 0i32..58).prop_map(|(p, halvings)| p * 2f64.powi(-halvings))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_smp_8(bits in 0..RANGE) {
            let threshold = Threshold::from_bits(bits).unwrap();
            let text = threshold.to_string();
            prop_assert!(text == "0" || !text.ends_with('0'));
            prop_assert_eq!(Threshold::parse(&text), Some(threshold));
        }

        #[test]
        fn a_larger_probability_keeps_all_that_a_smaller_one_does_smp_6(
            a in probabilities(),
            b in probabilities(),
            digits in 1u8..=14,
            randomness in 0..RANGE,
        ) {
            let (small, large) = (a.min(b), a.max(b));
            let keeps = |p| Threshold::with_precision(p, digits).is_some_and(|t| t.admits(randomness));
            prop_assert!(keeps(large) || !keeps(small));
        }

        #[test]
        fn rounding_costs_little_smp_8(p in probabilities()) {
            if let Some(threshold) = Threshold::from_probability(p) {
                let error = (threshold.probability() - p).abs() / p;
                // Four digits below the first that is no `f`; in the last bits, one trace.
                prop_assert!(error <= 2f64.powi(-13) + 0.5 / (p * RANGE as f64), "{error}");
                let product = threshold.adjusted_count() * threshold.probability();
                prop_assert!((product - 1.0).abs() < 1e-12);
            }
        }
    }
}
