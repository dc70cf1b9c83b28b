//! Rules of this repository, and its examples.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod quickstart_serves_a_person;
mod rooms_know_only_what_is_below;
mod rules_are_defined;
