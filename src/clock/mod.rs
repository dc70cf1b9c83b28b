//! The clock of spans, and its conversion to Unix time.
//!
//! [`now`] is the monotonic clock in nanoseconds, read from the cheapest trusted counter ([`ticks`]) with
//! a rate that follows that clock continuously ([`timeline`], [`discipline`]). A reading is final:
//! later corrections do not move it, so successive readings stay in order. Unix time is the reading
//! plus an [`Anchor`], which a local root takes for its whole local trace. So setting the wall clock
//! neither separates the spans of a trace nor ends a span before its start.

mod discipline;
mod ticks;
mod timeline;

#[cfg(test)]
mod tests;

use std::time::{SystemTime, UNIX_EPOCH};

use self::timeline::{CachedSegment, Clocks, Timeline};

/// The wall clock's slew against the monotonic clock, in ppm. Linux slews both alike, so a difference
/// between them means that the wall clock was set; elsewhere the wall clock alone is slewed.
const SLEW: u64 = if cfg!(target_os = "linux") { 0 } else { 1_000 };

static TIMELINE: Timeline = Timeline::new(SLEW);

thread_local! {
    /// Without `Drop`, so it works until its thread ends.
    static CACHED: CachedSegment = const { CachedSegment::new() };
}

/// The clocks of this machine.
struct System;

impl Clocks for System {
    fn tick(&self) -> u64 {
        ticks::read()
    }

    #[inline(always)]
    fn next_tick(&self) -> u64 {
        ticks::read_again()
    }

    fn may_be_cached(&self) -> bool {
        ticks::may_be_read_again()
    }

    fn monotonic(&self) -> u64 {
        ticks::monotonic()
    }

    fn wall(&self) -> u64 {
        // A wall clock before 1970 reads as 1970.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64)
    }
}

/// Nanoseconds of the process' timeline. Never zero; the difference of two readings is a duration.
#[inline]
pub(crate) fn now() -> u64 {
    match CACHED.with(|cached| TIMELINE.now_cached(cached, &System)) {
        Some(now) => now,
        None => now_uncached(),
    }
}

#[cold]
#[inline(never)]
fn now_uncached() -> u64 {
    CACHED.with(|cached| TIMELINE.now_uncached(cached, &System))
}

/// The offset from the timeline to Unix time, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Anchor(i64);

impl Anchor {
    /// For a local trace that starts at a reading taken just now.
    #[inline]
    pub(crate) fn current() -> Self {
        Self(TIMELINE.offset().unwrap_or_default())
    }

    /// An anchor of this offset.
    #[cfg(test)]
    pub(crate) fn of(offset: i64) -> Self {
        Self(offset)
    }

    /// Nanoseconds since 1970.
    #[inline]
    pub(crate) fn unix_nanos(self, at: u64) -> u64 {
        // Cannot overflow: `Timeline::observe_wall` bounds the offset.
        at.wrapping_add_signed(self.0)
    }
}

/// Does the slow work before the first span: checks the counter, and reads the wall clock.
pub(crate) fn prepare() {
    now();
    while TIMELINE.offset().is_none() {
        // Another thread reads it now.
        std::thread::yield_now();
        now();
    }
}
