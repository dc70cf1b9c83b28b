//! The queue, the worker, flush and shutdown.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/gate.rs"]
mod gate;
#[path = "../support/life.rs"]
mod life;
#[path = "../support/pace.rs"]
mod pace;
#[path = "../support/shedding.rs"]
mod shedding;
#[path = "../support/mod.rs"]
mod support;

mod a_blocked_exporter_holds_up_no_deadline;
mod a_dead_endpoint_keeps_every_deadline;
mod logs_and_spans_share_a_pipeline;
mod memory_has_a_share_for_each_holder;
mod several_exporters_get_the_same;
mod shedding_meets_other_settings;
mod spans_show_while_they_are_open;
mod ten_spans_then_shutdown_arrive;
mod whole_traces_go_when_more_comes_than_is_taken;
