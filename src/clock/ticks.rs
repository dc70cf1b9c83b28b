//! The counters that times are read from: the one module with `unsafe`.
//!
//! A span reads the time at least twice. `Instant::now()` takes 28 ns on a virtual machine, the
//! processor's time stamp counter 11 ns (`benches/README.md`), which is a tenth of what a whole
//! span costs. The counter is used where the kernel itself keeps time by it, that is, has found
//! that it runs evenly and alike on all cores; everywhere else, and under Miri, `Instant` is.

use std::time::Instant;

use once_cell::race::OnceBox;

/// What the monotonic clock reads first. No reading is zero, and an hour can be taken from any.
const FIRST: u64 = 3_600_000_000_000;

/// Ticks of a counter whose rate and zero are unknown.
#[inline]
pub(super) fn read() -> u64 {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    if tsc::is_trusted() {
        return tsc::read();
    }
    monotonic()
}

/// The same where [`may_be_read_again`] has said so: nothing is asked.
#[inline(always)]
pub(super) fn read_again() -> u64 {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    return tsc::read();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
    monotonic()
}

/// Whether [`read_again`] reads what [`read`] does. Once it does it always does.
pub(super) fn may_be_read_again() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    return tsc::is_trusted();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
    true
}

/// Nanoseconds of the monotonic clock, from [`FIRST`] at the first call on.
pub(super) fn monotonic() -> u64 {
    // A fork may leave the thread behind that comes first: it is not waited for.
    static BEGIN: OnceBox<Instant> = OnceBox::new();
    // Never more than 2^64 ns: a process does not live for 584 years.
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

    /// Whether the kernel keeps time by the counter. The process asks once, so that all ticks are
    /// of one counter; from then on every renewal of a segment checks the counter's rate.
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
        // Two threads that ask at once must not end with different answers.
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
        // (`prctl(PR_SET_TSC)`), and then the kernel's own `clock_gettime` faults too.
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
