//! The counters behind the clock: the one module with `unsafe`.
//!
//! A span reads the time at least twice. `Instant::now()` takes 28 ns on a virtual machine, the
//! processor's time stamp counter 11 ns (`benches/README.md`), which is a tenth of what a whole
//! span costs. The counter is used if the kernel keeps time by it: then the kernel has checked that it
//! runs evenly and alike on all cores. Otherwise, and under Miri, `Instant` is used.

use std::time::Instant;

use once_cell::race::OnceBox;

/// The first reading of the monotonic clock: no reading is zero, and an hour can be subtracted from any.
const FIRST: u64 = 3_600_000_000_000;

/// Ticks of a counter with unknown rate and origin.
#[inline]
pub(super) fn read() -> u64 {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    if tsc::is_trusted() {
        return tsc::read();
    }
    monotonic()
}

/// As [`read`] without its check; allowed once [`may_be_read_again`] is true.
#[inline(always)]
pub(super) fn read_again() -> u64 {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    return tsc::read();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
    monotonic()
}

/// Whether [`read_again`] reads the counter of [`read`]. Once true, stays true.
pub(super) fn may_be_read_again() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    return tsc::is_trusted();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
    true
}

/// Nanoseconds of the monotonic clock, from [`FIRST`] at the first call on.
pub(super) fn monotonic() -> u64 {
    // A `OnceBox` never waits: at a fork, the initialising thread may not exist in the child.
    static BEGIN: OnceBox<Instant> = OnceBox::new();
    // Fits 64 bits for 584 years.
    FIRST
        + BEGIN
            .get_or_init(|| Box::new(Instant::now()))
            .elapsed()
            .as_nanos() as u64
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
mod tsc {
    use std::sync::atomic::{AtomicU8, Ordering};

    const UNKNOWN: u8 = 0;
    const TRUSTED: u8 = 1;
    const NOT_TRUSTED: u8 = 2;

    static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

    /// Whether the kernel keeps time by the counter. Checked once per process, so that all ticks are of
    /// one counter; afterwards each new segment checks the counter's rate.
    #[inline]
    pub(super) fn is_trusted() -> bool {
        STATE.load(Ordering::Relaxed) == TRUSTED || is_found_trusted()
    }

    #[cold]
    fn is_found_trusted() -> bool {
        STATE.load(Ordering::Relaxed) == UNKNOWN && ask()
    }

    fn ask() -> bool {
        const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        let trusted = std::fs::read_to_string(SOURCE).is_ok_and(|s| s.trim() == "tsc");
        let state = if trusted { TRUSTED } else { NOT_TRUSTED };
        // The first result wins: two threads must not use different counters.
        match STATE.compare_exchange(UNKNOWN, state, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => trusted,
            Err(first) => first == TRUSTED,
        }
    }

    #[inline(always)]
    #[allow(
        unsafe_code,
        reason = "the counter has no safe intrinsic; see the module's docs"
    )]
    pub(super) fn read() -> u64 {
        // SAFETY: RDTSC is an instruction of every x86-64 processor; it reads a register and
        // touches no memory. It faults only where a process forbade it to itself
        // (`prctl(PR_SET_TSC)`), and then the kernel's `clock_gettime` faults too.
        unsafe { std::arch::x86_64::_rdtsc() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_never_go_back_on_a_thread() {
        for counter in [read, monotonic] {
            let mut last = counter();
            for _ in 0..10_000 {
                let next = counter();
                assert!(next >= last);
                last = next;
            }
        }
    }
}
