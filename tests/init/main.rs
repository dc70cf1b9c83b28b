//! `init()` and the lines of a log.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;

mod log_lines_have_trace_ids;
