use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::context::{SpanId, TraceContext, TraceFlags, TraceId, TraceState};

fn taken(bucket: &TokenBucket, now: Duration, tries: usize) -> usize {
    (0..tries).filter(|_| bucket.take(now)).count()
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_burst_then_the_rate() {
    let bucket = TokenBucket::new(10.0, 3);
    assert_eq!(taken(&bucket, Duration::ZERO, 10), 3);
    assert_eq!(taken(&bucket, 99 * MS, 10), 0);
    assert_eq!(taken(&bucket, 100 * MS, 10), 1);
    assert_eq!(taken(&bucket, 300 * MS, 10), 2);
    // However long nothing comes, no more than a burst.
    assert_eq!(taken(&bucket, Duration::from_secs(3600), 10), 3);
    // A clock that lags finds nothing.
    assert_eq!(taken(&bucket, Duration::from_secs(3599), 10), 0);
}

#[test]
fn any_rate_works_and_what_is_none_keeps_nothing() {
    for none in [0.0, -0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
        let limiter = RateLimiter::new(none).with_burst(5);
        assert_eq!(
            taken(&limiter.bucket, Duration::from_secs(9), 10),
            0,
            "{none}"
        );
    }
    // One in three years.
    let rare = TokenBucket::new(1e-8, 1);
    assert_eq!(taken(&rare, Duration::ZERO, 10), 1);
    assert_eq!(taken(&rare, Duration::from_secs(99_999_999), 10), 0);
    assert_eq!(taken(&rare, Duration::from_secs(100_000_001), 10), 1);
    for extreme in [f64::MIN_POSITIVE, 1e-300] {
        let bucket = TokenBucket::new(extreme, u32::MAX);
        assert!(taken(&bucket, Duration::ZERO, 100) <= 2, "{extreme}");
        assert!(
            taken(&bucket, Duration::from_secs(1 << 28), 100) <= 1,
            "{extreme}"
        );
    }
    let all = RateLimiter::new(f64::INFINITY);
    assert_eq!(taken(&all.bucket, MS, 1000), 1000);
    assert_eq!(all.burst, u32::MAX);
}

#[test]
fn the_rate_is_kept_for_long() {
    for rate in [0.3, 1.0, 7.0, 1000.0, 999_999.0, 3e6] {
        let bucket = TokenBucket::new(rate, 1);
        // A try every half interval, for a thousand intervals.
        let step = Duration::from_secs_f64(0.5 / rate);
        let kept = (0..2000u32).filter(|i| bucket.take(step * *i)).count();
        assert!((660..=1001).contains(&kept), "{rate}: {kept}");
    }
}

#[test]
fn threads_together_get_no_more_than_one_would() {
    const THREADS: usize = 4;
    let bucket = TokenBucket::new(1000.0, 50);
    let barrier = Barrier::new(THREADS);
    // Each thread's clock goes through the same second, at its own pace.
    let thread = || {
        barrier.wait();
        (0..=1000u32)
            .map(|ms| taken(&bucket, MS * ms, 3))
            .sum::<usize>()
    };
    let kept: usize = thread::scope(|s| {
        let threads = [(); THREADS].map(|()| s.spawn(thread));
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_default())
            .sum()
    });
    assert!((1000..=1050).contains(&kept), "{kept}");
}

#[test]
fn threads_by_the_real_clock_get_no_more_than_burst_and_rate() {
    let limiter = RateLimiter::new(100_000.0).with_burst(10);
    let input = SamplingInput::new(TraceId::from_bytes([1; 16]), "s");
    let begun = Instant::now();
    let decide = || {
        let input = SamplingInput::new(TraceId::from_bytes([1; 16]), "s");
        (0..20_000)
            .filter(|_| limiter.should_sample(&input).is_sampled())
            .count()
    };
    let kept: usize = thread::scope(|s| {
        let threads = [(); 4].map(|()| s.spawn(decide));
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_default())
            .sum()
    });
    let most = 10.0 + 100_000.0 * begun.elapsed().as_secs_f64();
    assert!((10.0..=most).contains(&(kept as f64)), "{kept} of {most}");
    // `begun` is later than the limiter's birth, when the bucket was as full as now.
    assert_eq!(limiter.should_sample(&input).trace_state, None);
}

#[test]
fn a_threshold_is_erased_as_it_is_not_known_any_more_smp_9() {
    let trace_state = TraceState::EMPTY.with("ot", "th:8;rv:00000000000001");
    let parent = TraceContext::new(
        TraceId::from_bytes([1; 16]),
        SpanId::from_bytes([1; 8]),
        TraceFlags::SAMPLED,
    )
    .with_trace_state(trace_state.unwrap_or_default());
    let input = SamplingInput::new(parent.trace_id(), "s").with_parent(&parent);
    for rate in [0.0, 1e9] {
        let result = RateLimiter::new(rate).should_sample(&input);
        let state = result.trace_state.unwrap_or_default();
        assert_eq!(state.as_str(), "ot=rv:00000000000001");
    }
}

#[test]
fn the_description_says_what_is_allowed() {
    let limiter = RateLimiter::new(0.5);
    assert_eq!(
        limiter.description(),
        "RateLimiter{spansPerSecond:0.5,burst:1}"
    );
    let limiter = RateLimiter::new(100.0).with_burst(0);
    assert_eq!(
        limiter.description(),
        "RateLimiter{spansPerSecond:100,burst:1}"
    );
}

proptest! {
    #[test]
    fn never_more_than_burst_and_rate_whatever_the_clock_does(
        rate in 0.01f64..1e7,
        burst in 1u32..100,
        times in proptest::collection::vec(0u64..2_000_000_000, 1..300),
    ) {
        let bucket = TokenBucket::new(rate, burst);
        let kept = times.iter().filter(|t| bucket.take(Duration::from_nanos(**t))).count();
        let last = times.iter().copied().max().unwrap_or_default() as f64 / 1e9;
        prop_assert!(kept as f64 <= f64::from(burst) + rate * last + 1e-6);
    }
}
