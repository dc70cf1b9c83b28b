//! Requests on their way to an endpoint.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/frames.rs"]
mod frames;
#[path = "../support/life.rs"]
mod life;
#[path = "../support/pace.rs"]
mod pace;
#[path = "../support/mod.rs"]
mod support;

mod answers_that_cannot_be_read_are_not_asked_for_again;
mod brings_every_batch_home_or_says_why;
mod certificates_are_read_again;
mod credentials_are_renewed;
mod hears_what_http2_says;
mod keeps_its_deadlines;
mod learns_the_size_that_an_endpoint_takes;
mod names_the_true_cause;
mod notices_a_connection_that_fell_silent;
mod reaches_any_endpoint;
mod requests_may_be_json;
mod retries_what_may_be_retried;
mod says_who_it_is;
mod secrets_are_never_shown;
mod speaks_tls;
mod splits_what_is_too_large;
mod spreads_over_several_endpoints;
mod waits_out_an_endpoint_that_says_later;
