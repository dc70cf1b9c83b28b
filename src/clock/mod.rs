//! Ticks of a monotonic counter, and their way to Unix time.
//!
//! Recording a time reads one counter, the cheapest one that can be trusted ([`ticks`]). It becomes
//! Unix time when it is written, by an [`Anchor`] (a tick and the wall clock's time at it) and the
//! length of a tick, which is measured over the clock's whole life and so gets better by itself
//! ([`measure`]).
//! A local root takes an anchor, renewed when older than a second, for its whole local trace: a
//! wall clock that is set meanwhile neither tears a trace apart nor ends a span before it began.

mod measure;
mod ticks;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::measure::{FRACTION_BITS, Measure};
pub(crate) use self::ticks::now;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// The oldest anchor that a new local root takes.
const RENEW_AFTER: Duration = Duration::from_secs(1);

/// How long the first measurement of a tick takes; the next ones follow as the clock's age doubles.
const FIRST_MEASUREMENT: Duration = Duration::from_micros(20);

/// A moment by counter and by wall clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Anchor {
    tick: u64,
    /// Nanoseconds since 1970.
    unix: u64,
}

#[derive(Debug)]
pub(crate) struct Clock {
    born: Instant,
    tick_len: AtomicU64,
    /// The tick of the anchor, and after how many it is due to be renewed.
    renewed: AtomicU64,
    renew_after: AtomicU64,
    readings: Mutex<Readings>,
}

/// What was read from the wall clock and the monotonic one.
#[derive(Debug)]
struct Readings {
    anchor: Anchor,
    measure: Measure,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let (tick, born) = (now(), Instant::now());
        let clock = Self {
            born,
            tick_len: AtomicU64::new(1 << FRACTION_BITS),
            renewed: AtomicU64::new(0),
            renew_after: AtomicU64::new(0),
            readings: Mutex::new(Readings {
                anchor: Anchor::default(),
                measure: Measure::new(tick),
            }),
        };
        while born.elapsed() < FIRST_MEASUREMENT {
            std::hint::spin_loop();
        }
        clock.renew();
        clock
    }

    /// An anchor for a local root that starts at `tick`.
    #[inline]
    pub(crate) fn anchor(&self, tick: u64) -> Anchor {
        // A counter that began anew is as far ahead as one can be.
        let age = tick.wrapping_sub(self.renewed.load(Ordering::Relaxed));
        if age >= self.renew_after.load(Ordering::Relaxed) {
            self.renew();
        }
        lock(&self.readings).anchor
    }

    /// Takes a new anchor and measures a tick again.
    #[cold]
    fn renew(&self) {
        let mut readings = lock(&self.readings);
        let tick = now();
        let age = self.born.elapsed();
        // A wall clock before 1970 is as good as one at 1970.
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64);
        readings.anchor = Anchor { tick, unix };
        let tick_len = readings.measure.read(tick, age);
        self.tick_len.store(tick_len, Ordering::Relaxed);
        let wait = age.min(RENEW_AFTER).as_nanos() << FRACTION_BITS;
        let wait = wait / u128::from(tick_len.max(1));
        self.renewed.store(tick, Ordering::Relaxed);
        self.renew_after.store(wait as u64, Ordering::Relaxed);
    }

    /// Nanoseconds of a number of ticks.
    #[inline]
    pub(crate) fn nanos(&self, ticks: u64) -> u64 {
        let len = u128::from(self.tick_len.load(Ordering::Relaxed));
        ((u128::from(ticks) * len) >> FRACTION_BITS) as u64
    }

    /// Unix nanoseconds of `tick`; one from before the anchor counts back from it.
    #[inline]
    pub(crate) fn unix_nanos(&self, anchor: Anchor, tick: u64) -> u64 {
        if tick >= anchor.tick {
            anchor.unix.wrapping_add(self.nanos(tick - anchor.tick))
        } else {
            anchor.unix.saturating_sub(self.nanos(anchor.tick - tick))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall() -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64)
    }

    #[test]
    fn unix_time_is_the_wall_clock_s() {
        let clock = Clock::new();
        let before = wall();
        let tick = now();
        let ours = clock.unix_nanos(clock.anchor(tick), tick);
        let after = wall();
        let slack = 1_000_000;
        assert!(
            (before - slack..after + slack).contains(&ours),
            "{before} {ours} {after}"
        );
    }

    #[test]
    fn a_duration_is_the_monotonic_clock_s() {
        let clock = Clock::new();
        let (tick, instant) = (now(), Instant::now());
        while instant.elapsed() < Duration::from_millis(5) {}
        clock.renew();
        let ours = clock.nanos(now() - tick) as i128;
        let theirs = instant.elapsed().as_nanos() as i128;
        // Generous: the thread may lose its core between the two readings.
        assert!((ours - theirs).abs() < theirs / 5, "{ours} {theirs}");
    }

    #[test]
    fn an_anchor_is_kept_until_it_is_due() {
        let clock = Clock::new();
        clock.renew_after.store(u64::MAX, Ordering::Relaxed);
        let kept = clock.anchor(now());
        assert_eq!(clock.anchor(now()), kept);
        clock.renew_after.store(0, Ordering::Relaxed);
        let renewed = clock.anchor(now());
        assert_ne!(renewed, kept);
        // A counter that went back, as after a suspend, makes it due whatever was to come.
        clock.renew_after.store(u64::MAX / 2, Ordering::Relaxed);
        assert_eq!(clock.anchor(now()), renewed);
        assert_ne!(clock.anchor(kept.tick), renewed);
    }

    #[test]
    fn a_tick_before_the_anchor_counts_back() {
        let clock = Clock::new();
        clock.tick_len.store(1 << FRACTION_BITS, Ordering::Relaxed);
        let anchor = Anchor {
            tick: 1_000,
            unix: 5_000,
        };
        assert_eq!(clock.unix_nanos(anchor, 1_010), 5_010);
        assert_eq!(clock.unix_nanos(anchor, 990), 4_990);
    }
}
