//! [`RateLimiter`]: at most a number of spans a second.

use std::fmt;
use std::time::{Duration, Instant};

use super::input::SamplingInput;
use super::{Sampler, SamplingDecision, SamplingResult, otel_state};
use crate::sync::{AtomicU64, Ordering};

/// Limits the rate of spans: at most `burst + rate × seconds` in any period.
///
/// Usually for roots, in [`ParentBased`](super::ParentBased): then it limits traces. A decision
/// never blocks. The number of spans that a kept one represents is unknown, so a threshold in the
/// trace state is erased.
///
/// ```
/// use tracing_otlp::sampler::{ParentBased, RateLimiter};
///
/// let sampler = ParentBased::new(RateLimiter::new(100.0).with_burst(500));
/// ```
pub struct RateLimiter {
    rate: f64,
    burst: u32,
    bucket: TokenBucket,
    born: Instant,
}

impl RateLimiter {
    /// `spans_per_second` may be a fraction; NaN, 0 or less keeps nothing. The burst is the spans of one
    /// second, at least one.
    pub fn new(spans_per_second: f64) -> Self {
        let rate = match spans_per_second {
            rate if rate > 0.0 => rate,
            _ => 0.0,
        };
        // `as` saturates.
        Self::of(rate, (rate.ceil() as u32).max(1))
    }

    /// The number of spans kept at once after a period without spans; 0 counts as 1. Default: the spans of
    /// one second.
    #[must_use]
    pub fn with_burst(self, spans: u32) -> Self {
        Self::of(self.rate, spans.max(1))
    }

    fn of(rate: f64, burst: u32) -> Self {
        Self {
            rate,
            burst,
            bucket: TokenBucket::new(rate, burst),
            born: Instant::now(),
        }
    }
}

impl Sampler for RateLimiter {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        let decision = match self.bucket.take(self.born.elapsed()) {
            true => SamplingDecision::RecordAndSample,
            false => SamplingDecision::Drop,
        };
        SamplingResult {
            trace_state: otel_state::forget_threshold(input.trace_state()),
            ..decision.into()
        }
    }

    fn description(&self) -> String {
        let Self { rate, burst, .. } = self;
        format!("RateLimiter{{spansPerSecond:{rate},burst:{burst}}}")
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description())
    }
}

/// A token bucket in one atomic: the time at which it will be full (the generic cell rate algorithm).
/// Taking a token moves that time by one interval.
#[derive(Debug)]
struct TokenBucket {
    full_at: AtomicU64,
    /// The time between two tokens; `None`: there are no tokens.
    interval: Option<u64>,
    /// A token is left while the bucket will be full within this time.
    ahead: u64,
}

/// Times are in sixteenths of a nanosecond, so that a rate is exact to 1/1000 up to 16 million
/// spans a second.
const UNITS: f64 = 16.0;
/// The longest interval: two of them and 18 years do not overflow when added.
const LONGEST: u64 = u64::MAX / 4;

impl TokenBucket {
    fn new(rate: f64, burst: u32) -> Self {
        // Rounded up, so that the rate is never exceeded.
        let interval = ((1e9 * UNITS / rate).ceil() as u64).clamp(1, LONGEST);
        let ahead = interval.saturating_mul(u64::from(burst.saturating_sub(1)));
        Self {
            full_at: AtomicU64::new(0),
            interval: (rate > 0.0).then_some(interval),
            ahead: ahead.min(LONGEST),
        }
    }

    /// Takes a token if one is left at `now`, the time since the bucket was made. A thread with an older
    /// `now` finds fewer tokens, never more.
    fn take(&self, now: Duration) -> bool {
        let Some(interval) = self.interval else {
            return false;
        };
        let now = now.as_nanos().saturating_mul(UNITS as u128);
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let latest = now.saturating_add(self.ahead);
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        while full_at <= latest {
            let next = full_at.max(now).saturating_add(interval);
            // Relaxed: no other memory depends on this number.
            match self.full_at.compare_exchange_weak(
                full_at,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(current) => full_at = current,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
