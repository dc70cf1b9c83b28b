//! The layer: what a span and an event become.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;
#[path = "../support/gate.rs"]
mod gate;
#[path = "../support/life.rs"]
mod life;
#[path = "../support/pace.rs"]
mod pace;
#[path = "../support/mod.rs"]
mod support;

mod behaves_in_every_wrapper;
mod context_is_paid_for_however_it_comes;
mod events_become_log_records;
mod events_tell_how_the_span_fared;
mod fields_keep_their_types;
mod foreign_texts_are_cut_while_they_are_formatted;
mod limits_are_kept_and_counted;
mod otel_fields_work_until_close;
mod parents_are_found;
mod parents_may_come_late;
mod settings_change_while_spans_are_recorded;
mod spans_end_when_left;
mod spans_take_late_changes;
mod two_layers_have_a_tree_each;
