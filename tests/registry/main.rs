//! The registry in the place of tracing-subscriber's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;
#[path = "../support/lines.rs"]
mod lines;

mod layers_find_what_they_look_for;
mod random_calls_agree_with_tracing_subscriber;
mod spans_close_in_order;
