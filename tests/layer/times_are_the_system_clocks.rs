//! Recorded times against `SystemTime`, in a program whose work lies under one early root and in one
//! with many roots.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use capture::{Span, named, record};
use tracing::{info, info_span};

/// What recorded times may be off by.
const TOLERANCE: u64 = 50_000;

/// Long enough for a rate that is wrong by 100 ppm to show.
const LONG: Duration = Duration::from_millis(1_500);

/// Between two of many readings.
const TICK: Duration = Duration::from_millis(10);

/// A moment of the wall clock in nanoseconds, between two readings of it.
type Bracket = (u64, u64);

fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// The bracket in which `record` runs.
fn bracket(record: impl FnOnce()) -> Bracket {
    let before = wall();
    record();
    (before, wall())
}

/// How far a time lies outside of its bracket. A thread that loses its core widens the bracket and so
/// never adds to that.
fn error((before, after): Bracket, time: u64) -> u64 {
    before.saturating_sub(time).max(time.saturating_sub(after))
}

/// One in ten may be off: somebody else may set the clock of a test machine.
#[track_caller]
fn nearly_all_are_within(mut errors: Vec<u64>, tolerance: u64) {
    errors.sort_unstable();
    let almost_worst = errors[errors.len() * 9 / 10];
    assert!(
        almost_worst <= tolerance,
        "{almost_worst} ns; all: {errors:?}"
    );
}

fn steps(mut step: impl FnMut()) {
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        step();
        thread::sleep(TICK);
    }
}

#[test]
fn events_and_children_under_one_root_have_the_time_of_the_system_clock() {
    let (mut events, mut children) = (Vec::new(), Vec::new());
    let spans = record(|| {
        let root = info_span!("root").entered();
        steps(|| {
            events.push(bracket(|| info!("now")));
            children.push(bracket(|| drop(info_span!("child"))));
        });
        drop(root);
    });
    let root = named(&spans, "root");
    let times = root.events.iter().map(|event| event.time_unix_nano);
    let errors = events.iter().zip(times).map(|(b, t)| error(*b, t));
    nearly_all_are_within(errors.collect(), TOLERANCE);
    let times = spans.iter().filter(|s| s.name == "child");
    let errors = children
        .iter()
        .zip(times)
        .map(|(b, s)| error(*b, s.start_time_unix_nano).max(error(*b, s.end_time_unix_nano)));
    nearly_all_are_within(errors.collect(), TOLERANCE);
}

#[test]
fn many_roots_have_the_time_of_the_system_clock() {
    let mut brackets = Vec::new();
    let spans = record(|| steps(|| brackets.push(bracket(|| drop(info_span!("root").entered())))));
    let errors = brackets
        .iter()
        .zip(&spans)
        .map(|(b, s)| error(*b, s.start_time_unix_nano).max(error(*b, s.end_time_unix_nano)));
    nearly_all_are_within(errors.collect(), TOLERANCE);
}

#[test]
fn a_long_span_lasts_as_long_as_the_system_clock_says() {
    let (mut start, mut end) = ((0, 0), (0, 0));
    let spans = record(|| {
        let mut span = None;
        start = bracket(|| span = Some(info_span!("long").entered()));
        steps(|| ());
        end = bracket(|| drop(span.take()));
    });
    let span = &spans[0];
    let errors = vec![
        error(start, span.start_time_unix_nano),
        error(end, span.end_time_unix_nano),
    ];
    assert!(errors.iter().all(|e| *e <= TOLERANCE), "{errors:?}");
}

/// Another local trace begins meanwhile, which is when a clock may learn something.
#[test]
fn no_event_lies_before_the_start_of_its_span_or_after_its_end() {
    let spans = record(|| {
        let root = info_span!("root").entered();
        thread::sleep(LONG);
        for _ in 0..5 {
            let child = info_span!("child").entered();
            info!("first thing");
            info_span!(parent: None, "other root").in_scope(|| thread::sleep(TICK));
            info!("last thing");
            drop(child);
        }
        drop(root);
    });
    let root = named(&spans, "root");
    let mut before = root.start_time_unix_nano;
    for child in spans.iter().filter(|s| s.name == "child") {
        before = follow(before, child);
    }
    assert!(before <= root.end_time_unix_nano);
}

/// Start, events and end are in order, and after `before`; the end.
fn follow(before: u64, span: &Span) -> u64 {
    let events = span.events.iter().map(|event| event.time_unix_nano);
    let times = [before, span.start_time_unix_nano].into_iter();
    let times: Vec<_> = times
        .chain(events)
        .chain([span.end_time_unix_nano])
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    span.end_time_unix_nano
}
