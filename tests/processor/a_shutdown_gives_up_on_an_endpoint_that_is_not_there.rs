//! A shutdown tries an endpoint that refuses connections a few times, and does not wait for its deadline:
//! a program without a collector ends soon, with an exit code of its own (BSP-7, EH-2).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/child.rs"]
mod child;
#[path = "../support/life.rs"]
mod life;
#[path = "../support/pace.rs"]
mod pace;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use life::{LONG, PROTOCOLS, connected, pipeline, quiet, ten_arrived, ten_spans, until};
use tracing_otlp::testing::Collector;
use tracing_otlp::{DropReason, ShutdownGuard};

/// What no call that is checked here may come near, and all would without giving up.
const DEADLINE: Duration = Duration::from_secs(30);

/// The endpoint of a port at which nobody listens.
fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Runs the shutdown, which must end long before [`DEADLINE`] and name the cause.
#[track_caller]
fn gives_up(what: &str, guard: &ShutdownGuard) {
    let begun = Instant::now();
    let error = guard.shutdown_blocking(DEADLINE).expect_err(what);
    let took = begun.elapsed();
    assert!(took < DEADLINE / 3, "{what}: {took:?}");
    assert!(error.is_export(), "{what}: {error}");
    let text = error.to_string();
    for part in ["refused", "nobody listens", "OTEL_EXPORTER_OTLP_ENDPOINT"] {
        assert!(text.contains(part), "{what}: {part}: {text}");
    }
}

#[test]
fn spans_that_were_never_tried_are_counted_as_unsent() {
    for protocol in PROTOCOLS {
        let what = format!("{protocol:?}");
        let pipeline = pipeline(quiet(&refusing(), protocol).with_max_export_batch_size(7));
        for _ in 0..50 {
            ten_spans(&pipeline.dispatch);
        }
        gives_up(&what, &pipeline.guard);
        let stats = pipeline.guard.stats();
        assert_eq!(stats.dropped(DropReason::Unsent), 500, "{what}: {stats}");
        assert_eq!((stats.dropped_total(), stats.unaccounted()), (500, 0));
        // Later calls have the same answer.
        gives_up(&what, &pipeline.guard);
    }
}

/// Requests that wait for their turn, and spans behind them: an outage that began long ago.
#[test]
fn an_outage_that_goes_on_is_not_waited_out() {
    for protocol in PROTOCOLS {
        let (collector, pipeline) = connected(protocol);
        ten_spans(&pipeline.dispatch);
        pipeline.guard.force_flush_blocking(LONG).unwrap();
        ten_arrived(&collector, &pipeline.guard.stats(), "before");
        collector.go_offline();
        ten_spans(&pipeline.dispatch);
        let flush = pipeline
            .guard
            .force_flush_blocking(Duration::from_millis(700));
        assert!(flush.unwrap_err().is_timeout(), "a flush waits");
        ten_spans(&pipeline.dispatch);
        gives_up(&format!("{protocol:?}"), &pipeline.guard);
        let stats = pipeline.guard.stats();
        assert_eq!(
            (stats.delivered, stats.dropped_total()),
            (10, 20),
            "{stats}"
        );
        assert_eq!(stats.unaccounted(), 0, "{stats}");
    }
}

#[test]
fn a_drop_of_the_guard_gives_up_as_well() {
    for protocol in PROTOCOLS {
        let builder = quiet(&refusing(), protocol).with_shutdown_timeout(DEADLINE);
        let life::Pipeline {
            dispatch, guard, ..
        } = pipeline(builder);
        ten_spans(&dispatch);
        let handle = guard.handle();
        let begun = Instant::now();
        drop(guard);
        assert!(begun.elapsed() < DEADLINE / 3, "{:?}", begun.elapsed());
        let stats = handle.stats();
        assert_eq!(stats.dropped(DropReason::Unsent), 10, "{stats}");
    }
}

/// The application runs on: an endpoint that comes up later gets everything, and a flush waits for it.
#[test]
fn without_a_shutdown_nothing_is_given_up() {
    for protocol in PROTOCOLS {
        let collector = Collector::start();
        let endpoint = collector.endpoint(protocol);
        collector.go_offline();
        let pipeline = pipeline(quiet(&endpoint, protocol));
        ten_spans(&pipeline.dispatch);
        let flush = pipeline.guard.force_flush_blocking(Duration::from_secs(2));
        assert!(flush.unwrap_err().is_timeout());
        assert_eq!(pipeline.guard.stats().dropped_total(), 0);
        collector.go_online().unwrap();
        pipeline.guard.force_flush_blocking(LONG).unwrap();
        ten_arrived(&collector, &pipeline.guard.stats(), "afterwards");
        pipeline.guard.shutdown_blocking(LONG).unwrap();
    }
}

/// A pause that the endpoint asked for is no reason to call it gone.
#[test]
fn an_endpoint_that_answers_later_is_waited_for() {
    use tracing_otlp::testing::Answer;
    for protocol in PROTOCOLS {
        let (collector, pipeline) = connected(protocol);
        collector.script(vec![Answer::unavailable(); 6]);
        ten_spans(&pipeline.dispatch);
        pipeline.guard.shutdown_blocking(DEADLINE).unwrap();
        ten_arrived(&collector, &pipeline.guard.stats(), "after six refusals");
    }
}

/// A command line tool as the README has it: one line about the spans, and the code that it chose.
#[test]
fn a_tool_without_a_collector_ends_soon_with_its_own_code() {
    if child::role().is_some() {
        let guard = tracing_otlp::subscriber()
            .with_otlp(|otlp| otlp.with_shutdown_timeout(DEADLINE))
            .init()
            .unwrap();
        tracing::info_span!("work").in_scope(|| tracing::info!("working"));
        until("recorded", || guard.stats().queued == 1);
        drop(guard);
        std::process::exit(7);
    }
    let begun = Instant::now();
    let ended = child::run_with(
        "a_tool_without_a_collector_ends_soon_with_its_own_code",
        "tool",
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &refusing())],
    );
    assert!(begun.elapsed() < DEADLINE / 3, "{:?}", begun.elapsed());
    assert_eq!(ended.status.code(), Some(7), "{}", ended.output);
    let said = ended.output.matches("spans were lost").count();
    assert_eq!(said, 1, "{}", ended.output);
    assert!(ended.output.contains("refused"), "{}", ended.output);
}
