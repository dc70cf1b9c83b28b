//! Beside the `opentelemetry` crates.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;
#[path = "../support/life.rs"]
mod life;
#[path = "../support/meters.rs"]
mod meters;
#[path = "../support/pace.rs"]
mod pace;

mod both_apis_share_a_trace;
mod log_records_join_the_pipeline;
mod migrants_find_their_trait;
mod migrants_leave_the_appender;
mod observed;
mod otel_exporters_can_stand_at_the_end;
mod otlp_exporters_come_from_the_settings;
mod the_pipeline_measures_its_logs;
mod the_pipeline_measures_itself;
