//! An outage makes a handful of lines, and the worker speaks where the layer lives.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fmt::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::*;
use crate::stats::DropReason;
use crate::sync::{Mutex, Ordering, lock};

/// Keeps what is said, as `WARN spans=3 message`.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct Line(String, String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    let _ = write!(self.1, "{value:?}");
                } else {
                    let _ = write!(self.0, " {}={value:?}", field.name());
                }
            }
        }
        let meta = event.metadata();
        assert_eq!(meta.target(), TARGET);
        let mut line = Line(meta.level().to_string(), String::new());
        event.record(&mut line);
        lock(&self.0).push(format!("{} {}", line.0, line.1));
    }
}

struct Rig {
    diagnostics: Diagnostics,
    counters: Arc<Counters>,
    event_sink: Arc<EventSink>,
    ear: Ear,
    dispatch: Dispatch,
    begun: Instant,
}

impl Rig {
    fn new(warnings: &[&str]) -> Self {
        let (ear, event_sink, counters) = (
            Ear::default(),
            Arc::new(EventSink::default()),
            Counters::new(),
        );
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(ear.clone()));
        let warnings = warnings.iter().map(|w| (*w).to_owned()).collect();
        Self {
            diagnostics: Diagnostics::new(
                Arc::clone(&event_sink),
                Arc::clone(&counters),
                warnings,
                &[],
            ),
            counters,
            event_sink,
            ear,
            dispatch,
            begun: Instant::now(),
        }
    }

    fn listening(warnings: &[&str]) -> Self {
        let rig = Self::new(warnings);
        rig.event_sink.set_dispatch(rig.dispatch.downgrade());
        rig
    }

    /// Observes at so many seconds; what was said.
    fn at(&mut self, seconds: u64) -> Vec<String> {
        self.diagnostics
            .observe(self.begun + Duration::from_secs(seconds), false);
        std::mem::take(&mut *lock(&self.ear.0))
    }
}

/// EH-2: it is said when loss begins and when it ends.
#[test]
fn loss_is_told_when_it_begins_goes_on_and_ends() {
    let mut rig = Rig::listening(&[]);
    assert!(rig.at(0).is_empty());
    rig.counters.drop_spans(DropReason::QueueFull, 3);
    let said = rig.at(1);
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("WARN spans=3 reasons=queue_full 3 "),
        "{said:?}"
    );
    assert!(said[0].contains("OTEL_BSP_MAX_QUEUE_SIZE"), "{said:?}");
    for second in 2..61 {
        rig.counters.drop_spans(DropReason::QueueFull, 1);
        rig.counters.drop_spans(DropReason::Refused, 10);
        assert!(rig.at(second).is_empty());
    }
    let said = rig.at(61);
    assert!(
        said[0].contains("spans=649 reasons=queue_full 59, refused 590"),
        "{said:?}"
    );
    assert!(said[0].contains("still"), "{said:?}");
    assert!(rig.at(89).is_empty());
    assert_eq!(rig.at(91), ["INFO spans=652 no more spans are being lost"]);
    assert!(rig.at(200).is_empty());
    rig.counters.drop_spans(DropReason::Internal, 1);
    assert!(rig.at(201)[0].contains("spans=1 reasons=internal 1"));
}

/// What open spans take is no fault of the endpoint's.
#[test]
fn want_of_memory_is_told_with_its_cure() {
    let mut rig = Rig::listening(&[]);
    rig.counters.drop_spans(DropReason::MemoryFull, 2);
    rig.counters
        .truncated_for_memory
        .fetch_add(7, Ordering::Relaxed);
    let said = rig.at(1);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("WARN left_out=7 "), "{said:?}");
    assert!(said[1].starts_with("WARN spans=2 reasons=memory_full 2 "));
    for line in &said {
        assert!(line.contains("with_max_memory"), "{line}");
        assert!(!line.contains("endpoint"), "{line}");
    }
    rig.counters
        .truncated_for_memory
        .fetch_add(1, Ordering::Relaxed);
    assert!(rig.at(2).is_empty());
    rig.diagnostics.finish();
    assert!(lock(&rig.ear.0)[0].starts_with("WARN left_out=1 "));
}

/// OTLP-5: all was taken, so nothing fails and nothing is over.
#[test]
fn a_warning_of_the_endpoint_is_told_and_is_no_failure() {
    let mut rig = Rig::listening(&[]);
    for second in 1..62 {
        rig.counters.requests_ok.fetch_add(1, Ordering::Relaxed);
        rig.counters.set_last_warning("an old schema".to_owned());
        let said = rig.at(second);
        let times = match second {
            1 => 1,
            61 => 60,
            _ => {
                assert!(said.is_empty(), "{said:?}");
                continue;
            }
        };
        assert_eq!(said.len(), 1);
        let start = format!("WARN times={times} warning=\"an old schema\"");
        assert!(said[0].starts_with(&start), "{said:?}");
    }
    assert!(rig.at(200).is_empty());
    assert_eq!(rig.counters.snapshot().last_error, None);
}

/// What tail sampling drops was asked for.
#[test]
fn tail_decisions_are_no_loss() {
    let mut rig = Rig::listening(&[]);
    rig.counters.drop_spans(DropReason::TailDropped, 1000);
    assert!(rig.at(1).is_empty());
    rig.counters.drop_spans(DropReason::TailDropped, 1000);
    rig.counters.drop_spans(DropReason::Refused, 1);
    let said = rig.at(2);
    assert!(
        said[0].starts_with("WARN spans=1 reasons=refused 1 "),
        "{said:?}"
    );
}

/// PAIN 30: an outage of a minute makes a handful of lines.
#[test]
fn an_outage_makes_a_handful_of_lines() {
    let mut rig = Rig::listening(&[]);
    let mut said = Vec::new();
    for second in 0..60 {
        rig.counters
            .set_last_error(format!("connection refused {second}"));
        rig.counters.drop_spans(DropReason::Unsent, 100);
        rig.counters
            .requests_failed
            .fetch_add(1, crate::sync::Ordering::Relaxed);
        said.extend(rig.at(second));
    }
    for second in 60..200 {
        rig.counters
            .requests_ok
            .fetch_add(1, crate::sync::Ordering::Relaxed);
        said.extend(rig.at(second));
    }
    assert!(said.len() <= 6, "{said:#?}");
    assert!(said[0].contains("connection refused 0"), "{said:#?}");
    assert_eq!(
        said.iter().filter(|line| line.starts_with("INFO")).count(),
        2
    );
    assert!(said.iter().any(|line| line.contains("works again")));
}

#[test]
fn an_outage_is_not_over_before_something_got_through() {
    let mut rig = Rig::listening(&[]);
    rig.counters.set_last_error("refused".into());
    assert_eq!(rig.at(0).len(), 1);
    assert!(rig.at(100).is_empty(), "silence is not success");
    rig.counters
        .requests_ok
        .fetch_add(1, crate::sync::Ordering::Relaxed);
    assert_eq!(rig.at(101), ["INFO failed=0 exporting spans works again"]);
}

/// What was taken and rejected is no failure of requests (OTLP-5).
#[test]
fn rejected_spans_are_told_as_such() {
    let mut rig = Rig::listening(&[]);
    let partial = |rig: &Rig| {
        rig.counters.requests_ok.fetch_add(1, Ordering::Relaxed);
        rig.counters.rejected.fetch_add(2, Ordering::Relaxed);
        rig.counters.set_last_error("rejected 2 of 5 spans".into());
    };
    partial(&rig);
    let said = rig.at(0);
    assert_eq!(
        said,
        ["WARN error=\"rejected 2 of 5 spans\" rejected=2 the endpoint rejects spans"]
    );
    partial(&rig);
    let said = rig.at(61);
    assert!(said[0].contains("rejected=4 the endpoint still rejects"));
    rig.counters.requests_ok.fetch_add(1, Ordering::Relaxed);
    let said = rig.at(100);
    assert_eq!(said, ["INFO rejected=4 the endpoint rejects no more spans"]);
    rig.counters.requests_failed.fetch_add(1, Ordering::Relaxed);
    rig.counters.set_last_error("HTTP 400".into());
    let said = rig.at(101);
    assert_eq!(
        said,
        ["WARN error=\"HTTP 400\" failed=1 exporting spans fails"]
    );
}

/// A loss has the cause beside it that it has, and no older one.
#[test]
fn losses_are_told_with_their_own_cause() {
    let mut rig = Rig::listening(&[]);
    rig.counters.set_last_error("HTTP 400".into());
    assert_eq!(rig.at(0).len(), 1);
    rig.counters.drop_spans(DropReason::QueueFull, 1);
    let said = rig.at(1);
    assert!(said[0].contains("HTTP 400"), "not told of yet: {said:?}");
    rig.counters.drop_spans(DropReason::QueueFull, 1);
    let said = rig.at(62);
    assert!(!said[0].contains("HTTP 400"), "{said:?}");
    assert!(said[0].contains("slower than the spans come"), "{said:?}");
    rig.diagnostics
        .note_health(Signal::Traces, Some("HTTP 503; overloaded".into()));
    rig.counters.drop_spans(DropReason::QueueFull, 1);
    let said = rig.at(123);
    let loss = said.iter().find(|line| line.contains("queue_full 1"));
    let loss = loss.unwrap();
    assert!(loss.contains("503") && !loss.contains("slower"), "{loss}");
    rig.counters.drop_spans(DropReason::ShutdownTimeout, 1);
    rig.diagnostics.finish();
    let said = std::mem::take(&mut *lock(&rig.ear.0)).concat();
    assert!(said.contains("503") && !said.contains("raise"), "{said}");
}

/// A wrong endpoint is told once, then once a minute, whatever the reading of requests says.
#[test]
fn an_endpoint_that_cannot_be_reached_is_told_once_a_minute() {
    let mut rig = Rig::listening(&[]);
    let trouble = || Some("cannot connect to 127.0.0.1:9: refused".to_owned());
    let mut said = Vec::new();
    for second in 0..150 {
        rig.diagnostics.note_health(Signal::Traces, trouble());
        said.extend(rig.at(second));
    }
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(said[0].starts_with("WARN error="), "{said:#?}");
    assert!(said[0].contains("127.0.0.1:9: refused") && said[0].contains("takes no spans now"));
    assert!(said[1].contains("still") && said[2].contains("still"));
    let (_, error) = rig.counters.snapshot().last_error.unwrap();
    assert!(error.contains("127.0.0.1:9"));
    rig.diagnostics.note_health(Signal::Traces, None);
    assert_eq!(rig.at(150), ["INFO the endpoint takes spans again"]);
    assert!(rig.at(151).is_empty());
    rig.diagnostics.note_health(Signal::Traces, trouble());
    assert_eq!(rig.at(300).len(), 1);
    assert!(rig.at(400).is_empty(), "nobody asked");
}

/// One that comes and goes each second says no more.
#[test]
fn an_endpoint_that_flaps_makes_two_lines_a_minute() {
    let mut rig = Rig::listening(&[]);
    let mut said = Vec::new();
    for second in 0..180 {
        let lost = second % 2 == 0;
        rig.diagnostics
            .note_health(Signal::Traces, lost.then(|| "refused".to_owned()));
        said.extend(rig.at(second));
    }
    assert_eq!(said.len(), 6, "{said:#?}");
}

/// What a request had to say is not lost among troubles of the endpoint.
#[test]
fn trouble_does_not_hide_a_failed_request() {
    let mut rig = Rig::listening(&[]);
    rig.counters.set_last_error("status 400".into());
    rig.diagnostics
        .note_health(Signal::Traces, Some("refused".into()));
    let said = rig.at(0);
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[0].contains("takes no spans now"), "{said:#?}");
    assert!(said[1].contains("exporting spans fails"), "{said:#?}");
}

/// They are there before the subscriber is: kept, then said once.
#[test]
fn what_there_is_to_say_waits_for_a_listener() {
    let mut rig = Rig::new(&["OTEL_X is odd", "OTEL_Y too"]);
    rig.counters.drop_spans(DropReason::Internal, 7);
    assert!(rig.at(0).is_empty());
    rig.event_sink.set_dispatch(rig.dispatch.downgrade());
    let said = rig.at(0);
    assert_eq!(said[..2], ["WARN OTEL_X is odd", "WARN OTEL_Y too"]);
    assert!(said[2].contains("spans=7"), "{said:?}");
    assert!(rig.at(2).is_empty());
}

#[test]
fn the_last_words_tell_what_was_not_told() {
    let mut rig = Rig::listening(&[]);
    rig.counters.drop_spans(DropReason::Unconfirmed, 2);
    assert_eq!(rig.at(0).len(), 1);
    rig.counters.drop_spans(DropReason::ShutdownTimeout, 5);
    rig.diagnostics.finish();
    let said = lock(&rig.ear.0).clone();
    assert!(
        said[0].contains("spans=5 reasons=shutdown_timeout 5"),
        "{said:?}"
    );
    rig.diagnostics.finish();
    assert_eq!(lock(&rig.ear.0).len(), 1);
}

/// EH-1
#[test]
fn a_subscriber_that_panics_is_survived() {
    struct Bomb;
    impl<S: Subscriber> Layer<S> for Bomb {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            panic!("boom");
        }
    }
    let mut rig = Rig::new(&["a warning"]);
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(Bomb));
    rig.event_sink.set_dispatch(dispatch.downgrade());
    rig.counters.drop_spans(DropReason::Internal, 1);
    rig.at(0);
    assert!(
        rig.diagnostics.warnings.is_empty(),
        "said, as far as we can tell"
    );
}

#[test]
fn shedding_is_said_when_it_begins_and_when_it_ends() {
    let mut rig = Rig::listening(&[]);
    assert!(rig.at(0).is_empty());
    rig.counters.drop_spans(DropReason::Shed, 30);
    rig.counters.shed_traces.fetch_add(2, Ordering::Relaxed);
    rig.diagnostics.note_shed_ratio(0.75);
    let said = rig.at(1);
    assert_eq!(said.len(), 1, "no report of a loss beside it: {said:?}");
    assert!(said[0].starts_with(
        "WARN spans=30 traces=2 traces are being shed: 25 % of them are kept whole; "
    ));
    rig.counters.drop_spans(DropReason::Shed, 5);
    rig.diagnostics.note_shed_ratio(0.98);
    assert!(rig.at(30).is_empty(), "at most once a minute");
    let said = rig.at(62);
    assert!(
        said[0].starts_with("WARN spans=5 traces=0 traces are still being shed: 2.00 % "),
        "{said:?}"
    );
    assert!(
        rig.at(120).is_empty(),
        "the threshold is up, though nothing is shed"
    );
    rig.diagnostics.note_shed_ratio(0.0);
    assert_eq!(
        rig.at(121),
        ["INFO spans=35 traces=2 no more traces are being shed"]
    );
    assert!(rig.at(200).is_empty());
}
