//! Calls over HTTP and gRPC.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;
#[path = "../support/grpc.rs"]
mod grpc;
#[path = "../support/meters.rs"]
mod meters;
#[path = "../support/pace.rs"]
mod pace;
#[path = "../support/web.rs"]
mod web;

mod a_span_lasts_as_long_as_its_response;
mod calls_become_client_spans;
mod futures_are_polled_as_their_services_want;
mod grpc_calls_become_spans;
mod requests_are_measured;
mod requests_become_server_spans;
mod reqwest_calls_become_spans;
mod trace_context_passes_through_a_service;
