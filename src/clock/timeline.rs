//! [`Timeline`]: the time in nanoseconds, from a counter and a rate that is renewed every 10 ms.
//!
//! A [`Segment`] converts ticks in a window of at most 10 ms. A thread that reads a tick beyond it takes
//! readings of all clocks and publishes the next segment, which starts no earlier than the last one
//! ends. So an error lasts for two windows at most. Each thread has a copy of the latest segment.
//!
//! Time goes back in two cases: by less than 50 µs between two threads, if one reads the monotonic
//! clock during a renewal, and once if the counter itself jumps back within a segment.

use std::cell::Cell;
use std::process;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use super::discipline::{self, Discipline, LONGEST, Pace, Reading, SHORTEST, WORDS};

/// The clocks of a machine.
pub(super) trait Clocks {
    /// Ticks of a counter, cheap to read.
    fn tick(&self) -> u64;
    /// The same without checking the counter; only with a cached segment.
    fn next_tick(&self) -> u64;
    /// Whether a segment may be cached: [`next_tick`](Self::next_tick) reads the counter that it is of.
    fn may_be_cached(&self) -> bool;
    /// Nanoseconds, never going back and never zero.
    fn monotonic(&self) -> u64;
    /// Nanoseconds since 1970; may be set at any time.
    fn wall(&self) -> u64;
}

/// Readings further apart than this are repeated, up to so many attempts.
const NEAR: u64 = 2_000;
const ATTEMPTS: usize = 4;

/// Readings further apart than this are not used.
const COARSE: u64 = 40_000;

/// A time without a segment is earlier by this: the next segment may be wrong by half of [`COARSE`],
/// and must not be behind.
const CAUTION: u64 = COARSE / 2;

/// A deviation of the wall clock up to this is its resolution.
const RESOLUTION: u64 = 1_000;

/// Bounds of the wall clock's reading: one hour into 1970, and the year 2261.
const EARLIEST: u64 = 3_600_000_000_000;
const LATEST: u64 = i64::MAX as u64 - 365 * 86_400_000_000_000;

/// The offset before the first reading of the wall clock.
const UNKNOWN: u64 = i64::MIN as u64;

/// A stretch of time on which the counter has one rate.
#[derive(Debug, Clone, Copy)]
struct Segment {
    /// The first tick, and the time at it.
    tick: u64,
    at: u64,
    rate: u64,
    /// Number of ticks for which it holds. Zero: the counter is not usable now.
    window: u64,
}

/// A thread's copy of the latest segment. The copy is valid while the shared count equals its own: a
/// reading costs one load of shared memory, where the slots cost seven.
#[derive(Debug)]
pub(super) struct CachedSegment {
    count: Cell<usize>,
    segment: Cell<Segment>,
}

#[derive(Debug)]
struct SegmentSlot {
    tick: AtomicU64,
    at: AtomicU64,
    rate: AtomicU64,
    window: AtomicU64,
}

/// The process' timeline. The segments, which all threads read, lie on a cache line of their own, apart
/// from the state of renewals.
#[derive(Debug)]
pub(super) struct Timeline {
    segments: Segments,
    /// Wall clock less timeline: an `i64`.
    offset: AtomicU64,
    /// Timeline less monotonic clock: an `i64`.
    bias: AtomicU64,
    /// The lock of renewals: the id of the process whose thread renews, or zero.
    holder: AtomicU32,
    /// Without a valid segment: the monotonic time of the next attempt.
    retry_at: AtomicU64,
    /// The monotonic time of the last reading of the wall clock.
    wall_read_at: AtomicU64,
    discipline: [AtomicU64; WORDS],
    /// By how much the wall clock may run faster or slower than the monotonic one, in ppm.
    slew: u64,
}

/// A seqlock of two slots: readers use the slot `count % 2` while a writer fills the other, then
/// increments the count. A reader repeats if the count changed during its read.
#[derive(Debug)]
#[repr(align(128))]
struct Segments {
    count: AtomicUsize,
    slots: [SegmentSlot; 2],
}

/// Readings of all clocks.
#[derive(Debug, Clone, Copy)]
struct Sample {
    tick: u64,
    /// The monotonic clock at the tick, and the uncertainty of that.
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

    /// The same; a tick shortly before the segment, as of a core that lags, gets the segment's start.
    fn at_or_before(&self, tick: u64) -> Option<u64> {
        let is_before = self.tick.wrapping_sub(tick) < self.window;
        self.at(tick).or(is_before.then_some(self.at))
    }

    /// No time of the segment is later.
    fn end(&self) -> u64 {
        self.at + discipline::nanos(self.window, self.rate)
    }

    /// An invalid segment that starts at the end of this one.
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
        // If the last segment ran ahead, this one is slower, by half at most.
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

impl CachedSegment {
    /// Empty: the count never gets as high as this one.
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

impl SegmentSlot {
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
            slots: [SegmentSlot::new(), SegmentSlot::new()],
        }
    }

    /// The latest segment, and its count.
    fn latest(&self) -> (usize, Segment) {
        loop {
            let count = self.count.load(Ordering::Acquire);
            let segment = self.slots[count % 2].load();
            // Orders the slot's reads before the second read of the count. With the fence in `publish`,
            // a reader that sees a value of a newer segment also sees a newer count, and repeats.
            fence(Ordering::Acquire);
            if self.count.load(Ordering::Relaxed) == count {
                return (count, segment);
            }
        }
    }

    /// Publishes a segment; called by one thread at a time, the holder of the renewal lock.
    fn publish(&self, segment: Segment) {
        let count = self.count.load(Ordering::Relaxed).wrapping_add(1);
        let slot = &self.slots[count % 2];
        // Orders the store of the previous count before the writes below. A reader that still uses this
        // slot under an older count and sees one of them also sees the newer count, by the fence in
        // `latest`.
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

    /// The time by the thread's segment, if it is the latest and the tick lies in its window.
    #[inline(always)]
    pub(super) fn now_cached(&self, cached: &CachedSegment, clocks: &impl Clocks) -> Option<u64> {
        // Relaxed is enough: the segment's data is the thread's own copy.
        if cached.count.get() != self.segments.count.load(Ordering::Relaxed) {
            return None;
        }
        let tick = clocks.next_tick();
        cached.segment.get().at(tick)
    }

    /// The offset to Unix time; `None` before the first reading of the wall clock.
    #[inline(always)]
    pub(super) fn offset(&self) -> Option<i64> {
        let offset = self.offset.load(Ordering::Relaxed);
        (offset != UNKNOWN).then_some(offset as i64)
    }

    /// The time if the thread's copy is old or missing: by the latest segment, or a new one.
    pub(super) fn now_uncached(&self, cached: &CachedSegment, clocks: &impl Clocks) -> u64 {
        let (count, segment) = self.segments.latest();
        // Another thread may have published it.
        if let Some(now) = segment.at_or_before(clocks.tick()) {
            if clocks.may_be_cached() {
                cached.count.set(count);
                cached.segment.set(segment);
            }
            return now;
        }
        let is_too_early =
            segment.window == 0 && clocks.monotonic() < self.retry_at.load(Ordering::Relaxed);
        if is_too_early || !self.lock_renewal() {
            return self.now_without(&segment, clocks);
        }
        let (_, segment) = self.segments.latest();
        let now = segment
            .at_or_before(clocks.tick())
            .unwrap_or_else(|| self.renew(&segment, clocks));
        self.holder.store(0, Ordering::Release);
        now
    }

    /// The time by the monotonic clock, while another thread renews or the counter is not usable.
    fn now_without(&self, segment: &Segment, clocks: &impl Clocks) -> u64 {
        let now = self.follow_wall(clocks.monotonic());
        now.saturating_sub(CAUTION).max(segment.end())
    }

    /// Takes the lock of renewals. In a fork the lock may still have the parent's id, whose thread does
    /// not exist here: the child takes the lock over and discards the state, which may be half written.
    fn lock_renewal(&self) -> bool {
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

    /// Takes readings of all clocks and publishes the next segment; returns the time.
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

    /// Converts a time of the monotonic clock to the timeline.
    fn follow_wall(&self, monotonic: u64) -> u64 {
        monotonic.saturating_add_signed(self.bias.load(Ordering::Relaxed) as i64)
    }

    /// Compares the wall clock with the timeline. The timeline follows a difference within the possible
    /// slew; a larger one means that the clock was set, and changes the offset of later local traces.
    fn observe_wall(&self, wall: &Wall) {
        // Keeps Unix times in 1970 to 2262 whatever the wall clock reads: an anchor adds without a check.
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
    /// The closest readings of several attempts.
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

    /// Reads each clock between two readings of the monotonic one.
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
