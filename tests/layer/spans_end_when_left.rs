//! When a span ends: at its last exit, not before its last event, else at its close (MIG-7, PAIN 38).

use std::time::{Duration, Instant};

use crate::capture::{named, record, record_with};
use tracing::{info, info_span};

/// Long enough to tell, without trusting a sleep: waits until the clock has moved.
fn pass(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::thread::sleep(Duration::from_millis(1));
    }
}

const LONG: Duration = Duration::from_millis(60);

fn lasted(span: &crate::capture::Span) -> Duration {
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano)
}

/// The wall clock, in nanoseconds.
fn wall() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    since.as_nanos() as u64
}

/// Recorded times are exact to well below this.
const TOLERANCE: u64 = 1_000_000;

#[track_caller]
fn ended_by(span: &crate::capture::Span, time: u64) {
    let end = span.end_time_unix_nano;
    assert!(end <= time + TOLERANCE, "{} ns late", end - time);
}

#[test]
fn at_its_last_exit_though_it_stays_open() {
    let mut left = 0;
    let spans = record(|| {
        let span = info_span!("left early");
        drop(span.enter());
        left = wall();
        pass(LONG);
    });
    ended_by(&spans[0], left);
}

#[test]
fn at_its_close_if_it_was_never_entered() {
    let spans = record(|| {
        let _span = info_span!("never entered");
        pass(LONG);
    });
    assert!(lasted(&spans[0]) >= LONG);
}

#[test]
fn not_before_its_last_event() {
    let spans = record(|| {
        let span = info_span!("spoken to");
        drop(span.enter());
        pass(LONG);
        info!(parent: &span, "late");
    });
    let span = &spans[0];
    assert_eq!(span.events[0].time_unix_nano, span.end_time_unix_nano);
    assert!(lasted(span) >= LONG);
}

#[test]
fn at_its_close_where_that_is_asked_for() {
    let spans = record_with(
        |b| b.with_end_on_close(true),
        || {
            let span = info_span!("kept");
            drop(span.enter());
            pass(LONG);
        },
    );
    assert!(lasted(&spans[0]) >= LONG);
}

#[test]
fn a_child_that_outlives_its_parent_does_not_stretch_it() {
    let mut left = 0;
    let spans = record(|| {
        let parent = info_span!("parent").entered();
        let child = info_span!("child");
        drop(parent);
        left = wall();
        pass(LONG);
        drop(child);
    });
    ended_by(named(&spans, "parent"), left);
    assert!(lasted(named(&spans, "child")) >= LONG);
}

#[test]
fn times_are_the_wall_clock_s_and_children_lie_within() {
    let before = wall();
    let spans = record(|| {
        let _root = info_span!("root").entered();
        for _ in 0..100 {
            let _child = info_span!("child").entered();
        }
    });
    let after = wall();
    let root = named(&spans, "root");
    assert!(root.start_time_unix_nano + TOLERANCE >= before);
    assert!(root.end_time_unix_nano <= after + TOLERANCE);
    for child in spans.iter().filter(|s| s.name == "child") {
        assert!(child.start_time_unix_nano >= root.start_time_unix_nano);
        assert!(child.end_time_unix_nano <= root.end_time_unix_nano);
    }
}
