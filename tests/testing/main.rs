//! The collector that tests use.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/pace.rs"]
mod pace;
#[path = "../support/mod.rs"]
mod support;

mod collector_answers_by_script;
mod collector_expectations_fail_readably;
mod collector_serves_tls;
mod collector_takes_json;
mod collector_takes_spans_over_grpc_and_http;
mod collector_waits_with_a_deadline;
