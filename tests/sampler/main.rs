//! Sampling, at the head and at the tail.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;
#[path = "../support/life.rs"]
mod life;
#[path = "../support/pace.rs"]
mod pace;

mod tail_decisions_keep_what_matters;
