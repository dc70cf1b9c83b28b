//! The time that spans are recorded with, and its way to Unix time.
//!
//! [`now`] is the monotonic clock in nanoseconds, read from the cheapest counter that can be trusted
//! ([`ticks`]) by a rate that follows that clock all the time ([`timeline`], [`discipline`]). What is
//! read is final: nothing that the crate learns later moves it, so times that were read one after
//! the other stay in order. Unix time is that plus an [`Anchor`], which a local root takes for its
//! whole local trace: a wall clock that is set meanwhile neither tears a trace apart nor ends a span
//! before it began.

mod discipline;
mod ticks;
mod timeline;

#[cfg(test)]
mod tests;

use std::time::{SystemTime, UNIX_EPOCH};

use self::timeline::{Clocks, Held, Timeline};

/// Linux slews its two clocks alike, so that a difference between them is a clock that was set.
/// Elsewhere the wall clock alone is slewed.
const SLEW: u64 = if cfg!(target_os = "linux") { 0 } else { 1_000 };

static TIMELINE: Timeline = Timeline::new(SLEW);

thread_local! {
    /// Without `Drop`, so it works as long as its thread does.
    static HELD: Held = const { Held::new() };
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

    fn may_be_held(&self) -> bool {
        ticks::may_be_read_again()
    }

    fn monotonic(&self) -> u64 {
        ticks::monotonic()
    }

    fn wall(&self) -> u64 {
        // A wall clock before 1970 is as good as one at 1970.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64)
    }
}

/// Nanoseconds of the process' timeline. Never zero; their difference is a duration.
#[inline]
pub(crate) fn now() -> u64 {
    match HELD.with(|held| TIMELINE.now_held(held, &System)) {
        Some(now) => now,
        None => beyond(),
    }
}

#[cold]
#[inline(never)]
fn beyond() -> u64 {
    HELD.with(|held| TIMELINE.now_beyond(held, &System))
}

/// What leads from the timeline to Unix time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Anchor(i64);

impl Anchor {
    /// For a local trace that begins at a time that was read just now.
    #[inline]
    pub(crate) fn current() -> Self {
        Self(TIMELINE.offset().unwrap_or_default())
    }

    /// Of a clock that shows so much more.
    #[cfg(test)]
    pub(crate) fn of(offset: i64) -> Self {
        Self(offset)
    }

    /// Nanoseconds since 1970.
    #[inline]
    pub(crate) fn unix_nanos(self, at: u64) -> u64 {
        // It does not leave the range: see `Timeline::observe_wall`.
        at.wrapping_add_signed(self.0)
    }
}

/// Does before the first span what takes long: asks whether the counter can be trusted, and reads
/// the wall clock.
pub(crate) fn prepare() {
    now();
    while TIMELINE.offset().is_none() {
        // Another thread is at it.
        std::thread::yield_now();
        now();
    }
}
