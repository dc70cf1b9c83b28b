//! [`Discipline`]: what the rate of the counter is, and for how long to rely on it.
//!
//! Pure: readings in, a [`Pace`] out. Nothing here reads a clock.

/// A rate is nanoseconds a tick, times 2^32.
pub(super) const RATE_BITS: u32 = 32;

/// The first stretch for which a rate is relied on, and the shortest over which one is measured.
pub(super) const SHORTEST: u64 = 1_000_000;

/// The longest stretch. It bounds what a counter that changes its rate, and a monotonic clock that is
/// slewed, can do to a time: 5 us at the 500 ppm of NTP, 3.3 ms at a third.
pub(super) const LONGEST: u64 = 10_000_000;

/// Over so much, and up to twice that, the rate is measured.
const BASELINE: u64 = 500_000_000;

/// A deviation by more than this part is a change of the rate: 1,000 ppm, where NTP steers by 500.
const TOLERANCE: u64 = 1_000;

/// A stretch is measured over if it is so many times as long as its ends are uncertain.
const CERTAIN: u64 = 256;

/// A change of the rate counts so many good readings. Above the limit the counter is left alone.
const STRIKE: u64 = 8;
const STRIKES: u64 = 32;
const SHORTEST_PAUSE: u64 = 1_000_000_000;
const LONGEST_PAUSE: u64 = 64_000_000_000;

/// A reading of the counter and of the clock that it follows, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) tick: u64,
    /// Nanoseconds.
    pub(super) at: u64,
    /// How far the two readings may lie apart, in nanoseconds.
    pub(super) width: u64,
}

/// How fast the counter runs, and for how many nanoseconds to believe that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) rate: u64,
    pub(super) window: u64,
}

/// The state of the estimate: NTP calls the same a clock discipline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Discipline {
    /// Zero: unknown.
    rate: u64,
    /// Measured once, and not confirmed; zero if none.
    candidate: u64,
    /// The rate is measured from here.
    first: Reading,
    /// The next `first`.
    middle: Reading,
    last: Reading,
    window: u64,
    strikes: u64,
    /// The counter is left alone until then.
    resume_at: u64,
    pause: u64,
}

/// Words that hold a [`Discipline`].
pub(super) const WORDS: usize = 15;

impl Discipline {
    /// Takes a reading. `None`: the counter cannot be relied on now.
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

    /// Learns an unknown rate: two stretches in a row must agree, for a machine may have slept
    /// through one.
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

    /// The rate has changed, or one of the clocks has jumped: a machine slept or was moved to
    /// another host, or the counters of two cores differ.
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
        // No machine slept through a short stretch, and no rate doubles: that was a jump.
        let is_short = now.at.saturating_sub(last.at) <= BASELINE;
        let rates = self.rate / 2..=self.rate.saturating_mul(2);
        if let Some(rate) = rate_between(last, now).filter(|rate| is_short && rates.contains(rate))
        {
            self.rate = rate;
        }
        self.restart(now);
    }

    /// Measures from here on.
    fn restart(&mut self, now: Reading) {
        (self.first, self.middle, self.last) = (now, now, now);
        self.candidate = 0;
        self.window = SHORTEST;
    }

    /// Whether the counter is left alone.
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

/// Nanoseconds of a number of ticks.
#[inline(always)]
pub(super) fn nanos(ticks: u64, rate: u64) -> u64 {
    ((u128::from(ticks) * u128::from(rate)) >> RATE_BITS) as u64
}

/// Ticks of a number of nanoseconds.
pub(super) fn ticks(nanos: u64, rate: u64) -> u64 {
    let ticks = (u128::from(nanos) << RATE_BITS) / u128::from(rate.max(1));
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Whether the counter went on from one reading to the other as this rate has it.
fn is_expected(from: Reading, to: Reading, rate: u64) -> bool {
    let passed = to.at.saturating_sub(from.at);
    let (Some(ticks), true) = (to.tick.checked_sub(from.tick), to.at >= from.at) else {
        return false;
    };
    nanos(ticks, rate).abs_diff(passed) <= passed / TOLERANCE + from.width + to.width
}

/// `None`: one of the two did not go on.
fn rate_between(from: Reading, to: Reading) -> Option<u64> {
    let ticks = to.tick.checked_sub(from.tick).filter(|ticks| *ticks > 0)?;
    let nanos = to.at.checked_sub(from.at)?;
    let rate = (u128::from(nanos) << RATE_BITS) / u128::from(ticks);
    u64::try_from(rate).ok().filter(|rate| *rate > 0)
}
