//! What a trace id and a trace state say of shedding, and traffic that goes on until it shows.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use tracing_otlp::Stats;

use crate::support::DEADLINE;
use crate::support::pipeline::told;

/// The low 56 bits of a trace id.
pub(crate) fn randomness(trace_id: &[u8]) -> u64 {
    let bytes = trace_id[9..].iter();
    bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The threshold of a trace state.
pub(crate) fn threshold(trace_state: &str) -> Option<u64> {
    let text = trace_state.strip_prefix("ot=th:")?;
    let digits = u64::from_str_radix(text, 16).unwrap();
    Some(digits << (4 * (14 - text.len())))
}

/// Records by `record` until `condition` holds for the figures.
#[track_caller]
pub(crate) fn record_until(
    stats: impl Fn() -> Stats,
    condition: impl Fn(&Stats) -> bool,
    record: impl Fn(),
) -> Stats {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let stats = stats();
        if condition(&stats) {
            return stats;
        }
        assert!(Instant::now() < deadline, "in vain: {}", told(&stats));
        record();
        std::thread::sleep(Duration::from_millis(2));
    }
}
