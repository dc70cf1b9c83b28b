//! [`Timeline`]: the time in nanoseconds, from a counter, by a rate that is renewed every 10 ms.
//!
//! A [`Segment`] converts ticks for a window of 10 ms at most. Whoever reads a tick beyond it takes
//! readings of all clocks and publishes the next segment, which begins no earlier than the last one
//! ends: so no error lives longer than a window or two. Each thread has a copy of the latest segment. Time goes back in two cases: by less than
//! 50 µs from one thread to another that reads the monotonic clock while a segment is renewed, and
//! once where the counter itself jumps back within a segment.

use std::cell::Cell;
use std::process;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use super::discipline::{self, Discipline, LONGEST, Pace, Reading, SHORTEST, WORDS};

/// The clocks of a machine.
pub(super) trait Clocks {
    /// Ticks of a counter, cheap to read.
    fn tick(&self) -> u64;
    /// The same, without the question which counter that is. Only for who holds a segment.
    fn next_tick(&self) -> u64;
    /// Whether a segment may be held: [`next_tick`](Self::next_tick) reads the counter that it is of.
    fn may_be_held(&self) -> bool;
    /// Nanoseconds, never going back and never zero.
    fn monotonic(&self) -> u64;
    /// Nanoseconds since 1970, as set by whoever may.
    fn wall(&self) -> u64;
}

/// Readings that lie further apart are taken again, so many times.
const NEAR: u64 = 2_000;
const ATTEMPTS: usize = 4;

/// Readings that lie further apart say nothing.
const COARSE: u64 = 40_000;

/// A time without a segment is earlier by this: the next segment may be wrong by half of [`COARSE`],
/// and must not be behind.
const CAUTION: u64 = COARSE / 2;

/// The wall clock may say so much that is not meant.
const RESOLUTION: u64 = 1_000;

/// A wall clock that shows less, or more, shows this: an hour of 1970, and the year 2262 less one.
const EARLIEST: u64 = 3_600_000_000_000;
const LATEST: u64 = i64::MAX as u64 - 365 * 86_400_000_000_000;

/// No wall clock was read yet.
const UNKNOWN: u64 = i64::MIN as u64;

/// A stretch of time on which the counter has one rate.
#[derive(Debug, Clone, Copy)]
struct Segment {
    /// The tick it begins at, and the time then.
    tick: u64,
    at: u64,
    rate: u64,
    /// For how many ticks it holds. Zero: the counter is of no use for now.
    window: u64,
}

/// A thread's copy of the latest segment. A reading takes the copy while the count is the one that it was
/// made with: one load of what threads share, where a look at the slots takes seven.
#[derive(Debug)]
pub(super) struct Held {
    count: Cell<usize>,
    segment: Cell<Segment>,
}

#[derive(Debug)]
struct Slot {
    tick: AtomicU64,
    at: AtomicU64,
    rate: AtomicU64,
    window: AtomicU64,
}

/// One for the process. A cache line of segments, which all threads read, and one of what only
/// renewals touch.
#[derive(Debug)]
pub(super) struct Timeline {
    segments: Segments,
    /// Wall clock less timeline: an `i64`.
    offset: AtomicU64,
    /// Timeline less monotonic clock: an `i64`.
    bias: AtomicU64,
    /// The process whose thread renews; zero: none does.
    holder: AtomicU32,
    /// While no segment holds: when, by the monotonic clock, to try again.
    retry_at: AtomicU64,
    /// When the wall clock was last read, by the monotonic one.
    wall_read_at: AtomicU64,
    discipline: [AtomicU64; WORDS],
    /// By how much the wall clock may run faster or slower than the monotonic one, in ppm.
    slew: u64,
}

/// Readers use one slot while the other is written. The lowest bit of the count says which.
#[derive(Debug)]
#[repr(align(128))]
struct Segments {
    count: AtomicUsize,
    slots: [Slot; 2],
}

/// Readings of all clocks.
#[derive(Debug, Clone, Copy)]
struct Sample {
    tick: u64,
    /// The monotonic clock at the tick, and how wrong that can be.
    monotonic: u64,
    width: u64,
    wall: Wall,
}

#[derive(Debug, Clone, Copy)]
struct Wall {
    unix: u64,
    /// The same for this reading.
    monotonic: u64,
    width: u64,
}

impl Segment {
    #[inline(always)]
    fn at(&self, tick: u64) -> Option<u64> {
        let ticks = tick.wrapping_sub(self.tick);
        (ticks < self.window).then(|| self.at + discipline::nanos(ticks, self.rate))
    }

    /// The same for a tick that was read before the segment began, or on a core that lags.
    fn at_or_before(&self, tick: u64) -> Option<u64> {
        let is_before = self.tick.wrapping_sub(tick) < self.window;
        self.at(tick).or(is_before.then_some(self.at))
    }

    /// No time of the segment is later.
    fn end(&self) -> u64 {
        self.at + discipline::nanos(self.window, self.rate)
    }

    /// No segment, after this one.
    fn ended(&self) -> Self {
        Self {
            at: self.end(),
            window: 0,
            ..*self
        }
    }

    /// The segment after this one.
    fn next(&self, now: Reading, pace: Pace) -> Self {
        let at = now.at.max(self.end());
        // Where the last one went too far, this one is slower, by half at most.
        let ahead = (at - now.at).min(pace.window / 2);
        let rate = u128::from(pace.rate) * u128::from(pace.window - ahead);
        Self {
            tick: now.tick,
            at,
            rate: (rate / u128::from(pace.window.max(1))) as u64,
            window: discipline::ticks(pace.window, pace.rate),
        }
    }
}

impl Held {
    /// None yet. So many segments never were.
    pub(super) const fn new() -> Self {
        Self {
            count: Cell::new(usize::MAX),
            segment: Cell::new(Segment {
                tick: 0,
                at: 0,
                rate: 0,
                window: 0,
            }),
        }
    }
}

impl Slot {
    const fn new() -> Self {
        Self {
            tick: AtomicU64::new(0),
            at: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            window: AtomicU64::new(0),
        }
    }

    fn load(&self) -> Segment {
        Segment {
            tick: self.tick.load(Ordering::Relaxed),
            at: self.at.load(Ordering::Relaxed),
            rate: self.rate.load(Ordering::Relaxed),
            window: self.window.load(Ordering::Relaxed),
        }
    }
}

impl Segments {
    const fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            slots: [Slot::new(), Slot::new()],
        }
    }

    /// The latest segment, and its count.
    fn latest(&self) -> (usize, Segment) {
        loop {
            let count = self.count.load(Ordering::Acquire);
            let segment = self.slots[count % 2].load();
            // What was read above was read before the count is read again: a slot that was written
            // meanwhile shows in the count, by the writer's fence. Once in 10 ms at most it has changed.
            fence(Ordering::Acquire);
            if self.count.load(Ordering::Relaxed) == count {
                return (count, segment);
            }
        }
    }

    /// One thread at a time.
    fn publish(&self, segment: Segment) {
        let count = self.count.load(Ordering::Relaxed).wrapping_add(1);
        let slot = &self.slots[count % 2];
        // Who sees what is written below sees the count of before.
        fence(Ordering::Release);
        slot.tick.store(segment.tick, Ordering::Relaxed);
        slot.at.store(segment.at, Ordering::Relaxed);
        slot.rate.store(segment.rate, Ordering::Relaxed);
        slot.window.store(segment.window, Ordering::Relaxed);
        self.count.store(count, Ordering::Release);
    }
}

impl Timeline {
    /// `slew`: by how much the wall clock may run faster or slower than the monotonic one, in ppm.
    /// Any other difference is a wall clock that was set.
    pub(super) const fn new(slew: u64) -> Self {
        Self {
            segments: Segments::new(),
            offset: AtomicU64::new(UNKNOWN),
            bias: AtomicU64::new(0),
            holder: AtomicU32::new(0),
            retry_at: AtomicU64::new(0),
            wall_read_at: AtomicU64::new(0),
            discipline: [const { AtomicU64::new(0) }; WORDS],
            slew,
        }
    }

    /// The time by the segment that the thread holds, if it is the latest and holds.
    #[inline(always)]
    pub(super) fn now_held(&self, held: &Held, clocks: &impl Clocks) -> Option<u64> {
        // Relaxed: what the segment says lies with the thread.
        if held.count.get() != self.segments.count.load(Ordering::Relaxed) {
            return None;
        }
        let tick = clocks.next_tick();
        held.segment.get().at(tick)
    }

    /// What to add for Unix time, for who read the time just now; `None` if nobody ever did.
    #[inline(always)]
    pub(super) fn offset(&self) -> Option<i64> {
        let offset = self.offset.load(Ordering::Relaxed);
        (offset != UNKNOWN).then_some(offset as i64)
    }

    /// The time where the thread holds no segment, or none holds.
    pub(super) fn now_beyond(&self, held: &Held, clocks: &impl Clocks) -> u64 {
        let (count, segment) = self.segments.latest();
        // Another thread may have been faster.
        if let Some(now) = segment.at_or_before(clocks.tick()) {
            if clocks.may_be_held() {
                held.count.set(count);
                held.segment.set(segment);
            }
            return now;
        }
        let is_hopeless =
            segment.window == 0 && clocks.monotonic() < self.retry_at.load(Ordering::Relaxed);
        if is_hopeless || !self.take_hold() {
            return self.now_without(&segment, clocks);
        }
        let (_, segment) = self.segments.latest();
        let now = segment
            .at_or_before(clocks.tick())
            .unwrap_or_else(|| self.renew(&segment, clocks));
        self.holder.store(0, Ordering::Release);
        now
    }

    /// The time by the monotonic clock: no thread waits for the one that renews.
    fn now_without(&self, segment: &Segment, clocks: &impl Clocks) -> u64 {
        let now = self.follow_wall(clocks.monotonic());
        now.saturating_sub(CAUTION).max(segment.end())
    }

    /// Becomes the thread that renews. A process that was forked while another thread renewed has no
    /// such thread any more; what that left is forgotten.
    fn take_hold(&self) -> bool {
        let own = process::id();
        let take = |from| {
            self.holder
                .compare_exchange(from, own, Ordering::Acquire, Ordering::Relaxed)
        };
        match take(0) {
            Ok(_) => true,
            Err(other) if other != own && take(other).is_ok() => {
                self.store(Discipline::default());
                true
            }
            Err(_) => false,
        }
    }

    /// Takes readings of all clocks, and publishes what follows.
    fn renew(&self, last: &Segment, clocks: &impl Clocks) -> u64 {
        let sample = Sample::take(clocks);
        self.observe_wall(&sample.wall);
        let now = Reading {
            tick: sample.tick,
            at: self.follow_wall(sample.monotonic),
            width: sample.width,
        };
        if now.width > COARSE {
            return self.now_without(last, clocks);
        }
        let mut discipline = Discipline::from_words(std::array::from_fn(|word| {
            self.discipline[word].load(Ordering::Relaxed)
        }));
        let pace = discipline.observe(now);
        self.store(discipline);
        match pace {
            Some(pace) => {
                let next = last.next(now, pace);
                self.segments.publish(next);
                next.at
            }
            None => {
                if last.window > 0 {
                    self.segments.publish(last.ended());
                }
                let wait = if discipline.is_paused(now.at) {
                    LONGEST
                } else {
                    SHORTEST
                };
                let retry_at = sample.monotonic.saturating_add(wait);
                self.retry_at.store(retry_at, Ordering::Relaxed);
                self.now_without(last, clocks)
            }
        }
    }

    #[cfg(test)]
    pub(super) fn hold_as(&self, process: u32) {
        self.holder.store(process, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn is_free(&self) -> bool {
        self.holder.load(Ordering::Relaxed) == 0
    }

    fn store(&self, discipline: Discipline) {
        for (word, value) in self.discipline.iter().zip(discipline.to_words()) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// What a time of the monotonic clock is on the timeline.
    fn follow_wall(&self, monotonic: u64) -> u64 {
        monotonic.saturating_add_signed(self.bias.load(Ordering::Relaxed) as i64)
    }

    /// Compares the wall clock with the timeline. What it may have been slewed by, the timeline
    /// follows; what it was set by is for local traces that are yet to come.
    fn observe_wall(&self, wall: &Wall) {
        // So that no time of the timeline is before 1970 or has more than 64 bits, whatever the wall
        // clock shows: an anchor adds without a question.
        let unix = wall.unix.clamp(EARLIEST, LATEST) as i64;
        let Some(offset) = self.offset() else {
            let offset = unix.saturating_sub_unsigned(wall.monotonic);
            self.offset.store(offset as u64, Ordering::Relaxed);
            self.wall_read_at.store(wall.monotonic, Ordering::Relaxed);
            return;
        };
        let expected = self
            .follow_wall(wall.monotonic)
            .saturating_add_signed(offset);
        let change = unix.saturating_sub_unsigned(expected);
        let is_same = change.unsigned_abs() <= wall.width / 2 + RESOLUTION;
        if !is_same && wall.width > COARSE {
            return;
        }
        let read_at = self.wall_read_at.swap(wall.monotonic, Ordering::Relaxed);
        let passed = wall.monotonic.saturating_sub(read_at);
        let slewed = u128::from(passed) * u128::from(self.slew) / 1_000_000;
        let target = if is_same {
            return;
        } else if u128::from(change.unsigned_abs()) <= slewed {
            &self.bias
        } else {
            &self.offset
        };
        let was = target.load(Ordering::Relaxed) as i64;
        target.store(was.saturating_add(change) as u64, Ordering::Relaxed);
    }
}

impl Sample {
    /// The tightest of several.
    fn take(clocks: &impl Clocks) -> Self {
        let mut best = Self::read(clocks);
        for _ in 1..ATTEMPTS {
            if best.width <= NEAR && best.wall.width <= NEAR {
                break;
            }
            let other = Self::read(clocks);
            if other.wall.width < best.wall.width {
                best.wall = other.wall;
            }
            if other.width < best.width {
                let wall = best.wall;
                best = Self { wall, ..other };
            }
        }
        best
    }

    /// Each clock between two readings of the monotonic one.
    fn read(clocks: &impl Clocks) -> Self {
        let before = clocks.monotonic();
        let tick = clocks.tick();
        let between = clocks.monotonic();
        let unix = clocks.wall();
        let after = clocks.monotonic();
        let (width, wall_width) = (between - before, after - between);
        Self {
            tick,
            monotonic: before + width / 2,
            width,
            wall: Wall {
                unix,
                monotonic: between + wall_width / 2,
                width: wall_width,
            },
        }
    }
}
