//! How long a tick is: measured against the monotonic clock, for as long as the two run alike.
//!
//! While a machine sleeps, the monotonic clock stands still; the counter may go on, or begin anew.
//! Whoever measured over that would take every later duration for another than it is.

use std::time::Duration;

/// A length of a tick is in nanoseconds times 2^32.
pub(super) const FRACTION_BITS: u32 = 32;

/// A length that was measured over less is not believed against a new one.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

/// A step that differs by more than this part was none of an awake machine: some 2,000 ppm, where
/// clocks are steered by 500 at most.
const TOLERANCE: u64 = 512;

#[derive(Debug)]
pub(super) struct Measure {
    /// Where both clocks stood when it began.
    since: Reading,
    last: Reading,
    tick_len: u64,
    is_settled: bool,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    tick: u64,
    age: Duration,
}

impl Measure {
    /// Begins at this tick, when the monotonic clock is at zero.
    pub(super) fn new(tick: u64) -> Self {
        let age = Duration::ZERO;
        let start = Reading { tick, age };
        Self {
            since: start,
            last: start,
            tick_len: 1 << FRACTION_BITS,
            is_settled: false,
        }
    }

    /// Takes a reading of both clocks; says how long a tick is, as far as is known.
    pub(super) fn read(&mut self, tick: u64, age: Duration) -> u64 {
        let now = Reading { tick, age };
        let slept = match len_between(self.last, now) {
            Some(step) => {
                self.is_settled && step.abs_diff(self.tick_len) > self.tick_len / TOLERANCE
            }
            None => true,
        };
        self.last = now;
        if slept {
            self.since = now;
            return self.tick_len;
        }
        let is_long = age.saturating_sub(self.since.age) >= LONG_ENOUGH;
        if is_long || !self.is_settled {
            self.tick_len = len_between(self.since, now).unwrap_or(self.tick_len);
            self.is_settled |= is_long;
        }
        self.tick_len
    }
}

/// `None`: the counter did not go on.
fn len_between(from: Reading, to: Reading) -> Option<u64> {
    let ticks = to.tick.checked_sub(from.tick).filter(|ticks| *ticks > 0)?;
    let nanos = to.age.saturating_sub(from.age).as_nanos();
    u64::try_from((nanos << FRACTION_BITS) / u128::from(ticks)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks a third of a nanosecond long.
    const LEN: u64 = (1 << FRACTION_BITS) / 3;

    fn is_right(len: u64) -> bool {
        len.abs_diff(LEN) <= LEN / 100_000
    }

    /// A measure that has seen ten seconds, and where both clocks stand then.
    fn settled() -> (Measure, u64, Duration) {
        let begin = 7_000_000_000;
        let mut measure = Measure::new(begin);
        // The first readings are as rough as they are early.
        measure.read(begin + 61_000, Duration::from_micros(20));
        for s in 1..=10 {
            assert!(is_right(
                measure.read(begin + s * 3_000_000_000, Duration::from_secs(s))
            ));
        }
        (measure, begin + 30_000_000_000, Duration::from_secs(10))
    }

    #[test]
    fn it_gets_better_with_time() {
        let (mut measure, tick, age) = settled();
        // Read late by a microsecond.
        let late = measure.read(tick + 3_000_003_000, age + Duration::from_secs(1));
        assert!(is_right(late), "{late}");
    }

    #[test]
    fn a_sleep_through_which_the_counter_went_on_is_not_measured() {
        let (mut measure, mut tick, mut age) = settled();
        // An hour asleep, a second awake.
        tick += 3_601 * 3_000_000_000;
        for second in 0..100 {
            age += Duration::from_secs(1);
            let len = measure.read(tick, age);
            assert!(is_right(len), "{len} after {second} s");
            tick += 3_000_000_000;
        }
    }

    #[test]
    fn a_counter_that_began_anew_is_measured_from_there() {
        let (mut measure, _, age) = settled();
        for (tick, seconds) in [(1_000, 1), (3_000_001_000, 2), (6_000_001_000, 3)] {
            let len = measure.read(tick, age + Duration::from_secs(seconds));
            assert!(is_right(len), "{len} after {seconds} s");
        }
    }

    #[test]
    fn readings_of_one_moment_say_nothing() {
        let mut measure = Measure::new(5);
        assert_eq!(measure.read(5, Duration::ZERO), 1 << FRACTION_BITS);
        assert_eq!(measure.read(4, Duration::from_nanos(9)), 1 << FRACTION_BITS);
    }
}
