//! What the machine says about a thread or the process.
#![allow(
    unsafe_code,
    reason = "the standard library has no CPU clocks and libc has no safe face"
)]

use std::fs;

/// A clock that advances only while its thread, or the process, is on a processor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuClock(libc::clockid_t);

impl CpuClock {
    /// All threads of the process, user and kernel time.
    pub(crate) const PROCESS: Self = Self(libc::CLOCK_PROCESS_CPUTIME_ID);

    /// The calling thread's clock, which other threads may read while this one lives.
    pub(crate) fn of_this_thread() -> Self {
        let mut id = 0;
        // SAFETY: pthread_self is always valid in the thread itself; `id` outlives the call.
        let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut id) };
        assert_eq!(failed, 0, "this system has no thread CPU clock");
        Self(id)
    }

    pub(crate) fn nanos(self) -> u64 {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is a valid place for the answer and outlives the call.
        let failed = unsafe { libc::clock_gettime(self.0, &mut time) };
        assert_eq!(failed, 0, "a CPU clock was read after its thread had ended");
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

/// The most memory the process ever had resident, in KiB; 0 where the kernel does not tell.
pub(crate) fn peak_rss_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}
