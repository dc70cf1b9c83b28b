//! The trace viewer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it skips"
)]

#[path = "../support/shop.rs"]
mod shop;

mod is_for_its_owner_only;
mod silent_peers_leave_places_to_others;
mod takes_spans_of_other_programs;
