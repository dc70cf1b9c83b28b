//! [`Discipline`]: estimates the rate of the counter, and how long the estimate holds.
//!
//! Pure: takes readings, returns a [`Pace`], and reads no clock.

/// A rate is nanoseconds a tick, times 2^32.
pub(super) const RATE_BITS: u32 = 32;

/// The first window of a rate, and the shortest time over which one is measured.
pub(super) const SHORTEST: u64 = 1_000_000;

/// The longest window. Bounds the error of a time when the counter's rate changes or the monotonic clock
/// is slewed: 5 us at the 500 ppm of NTP, 3.3 ms if the rate changes by a third.
pub(super) const LONGEST: u64 = 10_000_000;

/// The rate is measured over this time, and up to twice it.
const BASELINE: u64 = 500_000_000;

/// A deviation by more than one part in so many is a change of the rate: 1,000 ppm; NTP steers by 500.
const TOLERANCE: u64 = 1_000;

/// A rate is measured over a time so many times as long as the uncertainty of its ends.
const CERTAIN: u64 = 256;

/// A change of the rate adds `STRIKE`, a good reading subtracts one. Above `STRIKES` the counter is not
/// used for a pause.
const STRIKE: u64 = 8;
const STRIKES: u64 = 32;
const SHORTEST_PAUSE: u64 = 1_000_000_000;
const LONGEST_PAUSE: u64 = 64_000_000_000;

/// A reading of the counter and of the clock that it follows, taken together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) tick: u64,
    /// Nanoseconds.
    pub(super) at: u64,
    /// The most time between the two, in nanoseconds.
    pub(super) width: u64,
}

/// The rate of the counter, and for how many nanoseconds it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) rate: u64,
    pub(super) window: u64,
}

/// The state of the estimate; NTP calls this a clock discipline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Discipline {
    /// Zero: unknown.
    rate: u64,
    /// A rate measured once and not confirmed; zero if none.
    candidate: u64,
    /// The rate is measured from here.
    first: Reading,
    /// The next `first`.
    middle: Reading,
    last: Reading,
    window: u64,
    strikes: u64,
    /// The end of the pause.
    resume_at: u64,
    pause: u64,
}

/// Words that hold a [`Discipline`].
pub(super) const WORDS: usize = 15;

impl Discipline {
    /// Takes a reading. `None`: the counter is not usable now.
    pub(super) fn observe(&mut self, now: Reading) -> Option<Pace> {
        if now.at < self.resume_at {
            return None;
        }
        if self.rate == 0 {
            self.learn(now);
        } else {
            self.follow(now);
        }
        (self.rate > 0).then_some(Pace {
            rate: self.rate,
            window: self.window,
        })
    }

    /// Measures an unknown rate. Two measurements in a row must agree, because the machine may have slept
    /// during one.
    fn learn(&mut self, now: Reading) {
        if self.first.at == 0 {
            self.first = now;
        }
        let passed = now.at.saturating_sub(self.first.at);
        if passed < SHORTEST.max(CERTAIN * (self.first.width + now.width)) {
            return;
        }
        if self.candidate > 0 && is_expected(self.first, now, self.candidate) {
            self.rate = self.candidate;
            self.restart(now);
        } else {
            self.candidate = rate_between(self.first, now).unwrap_or(0);
        }
        self.first = now;
    }

    fn follow(&mut self, now: Reading) {
        let last = std::mem::replace(&mut self.last, now);
        if !is_expected(last, now, self.rate) {
            return self.strike(last, now);
        }
        self.strikes = self.strikes.saturating_sub(1);
        self.window = (self.window * 2).min(LONGEST);
        let passed = now.at.saturating_sub(self.first.at);
        if passed >= CERTAIN * (self.first.width + now.width) {
            self.rate = rate_between(self.first, now).unwrap_or(self.rate);
        }
        if now.at.saturating_sub(self.middle.at) >= BASELINE {
            self.first = self.middle;
            self.middle = now;
            self.pause /= 2;
        }
    }

    /// Handles a change of the rate or a jump of a clock: the machine slept or moved to another host, or
    /// the counters of two cores differ.
    fn strike(&mut self, last: Reading, now: Reading) {
        self.strikes += STRIKE;
        if self.strikes > STRIKES {
            let pause = (self.pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
            *self = Self {
                pause,
                resume_at: now.at.saturating_add(pause),
                ..Self::default()
            };
            return;
        }
        // A changed rate is taken only from a short measurement, without sleep, and within a factor of
        // two; anything else is a jump.
        let is_short = now.at.saturating_sub(last.at) <= BASELINE;
        let rates = self.rate / 2..=self.rate.saturating_mul(2);
        if let Some(rate) = rate_between(last, now).filter(|rate| is_short && rates.contains(rate))
        {
            self.rate = rate;
        }
        self.restart(now);
    }

    /// Restarts the measurement at this reading.
    fn restart(&mut self, now: Reading) {
        (self.first, self.middle, self.last) = (now, now, now);
        self.candidate = 0;
        self.window = SHORTEST;
    }

    /// Whether the counter is in a pause.
    pub(super) fn is_paused(&self, now: u64) -> bool {
        now < self.resume_at
    }

    pub(super) fn to_words(self) -> [u64; WORDS] {
        let Self {
            rate,
            candidate,
            first,
            middle,
            last,
            window,
            strikes,
            resume_at,
            pause,
        } = self;
        let [first, middle, last] = [first, middle, last].map(|r| [r.tick, r.at, r.width]);
        [
            rate, candidate, first[0], first[1], first[2], middle[0], middle[1], middle[2],
            last[0], last[1], last[2], window, strikes, resume_at, pause,
        ]
    }

    pub(super) fn from_words(words: [u64; WORDS]) -> Self {
        let [
            rate,
            candidate,
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
            i,
            window,
            strikes,
            resume_at,
            pause,
        ] = words;
        let [first, middle, last] =
            [[a, b, c], [d, e, f], [g, h, i]].map(|[tick, at, width]| Reading { tick, at, width });
        Self {
            rate,
            candidate,
            first,
            middle,
            last,
            window,
            strikes,
            resume_at,
            pause,
        }
    }
}

/// Converts ticks to nanoseconds.
#[inline(always)]
pub(super) fn nanos(ticks: u64, rate: u64) -> u64 {
    ((u128::from(ticks) * u128::from(rate)) >> RATE_BITS) as u64
}

/// Converts nanoseconds to ticks.
pub(super) fn ticks(nanos: u64, rate: u64) -> u64 {
    let ticks = (u128::from(nanos) << RATE_BITS) / u128::from(rate.max(1));
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Whether the counter advanced between two readings as this rate predicts.
fn is_expected(from: Reading, to: Reading, rate: u64) -> bool {
    let passed = to.at.saturating_sub(from.at);
    let (Some(ticks), true) = (to.tick.checked_sub(from.tick), to.at >= from.at) else {
        return false;
    };
    nanos(ticks, rate).abs_diff(passed) <= passed / TOLERANCE + from.width + to.width
}

/// The rate between two readings; `None` if counter or clock did not advance.
fn rate_between(from: Reading, to: Reading) -> Option<u64> {
    let ticks = to.tick.checked_sub(from.tick).filter(|ticks| *ticks > 0)?;
    let nanos = to.at.checked_sub(from.at)?;
    let rate = (u128::from(nanos) << RATE_BITS) / u128::from(ticks);
    u64::try_from(rate).ok().filter(|rate| *rate > 0)
}
