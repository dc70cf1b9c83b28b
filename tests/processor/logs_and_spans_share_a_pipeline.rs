//! One queue, worker and connection for both signals: exact sums of each, deadlines kept, and neither
//! signal in the other's way (LOG-21, LOG-33).

use std::time::{Duration, Instant};

use crate::support::DEADLINE;
use crate::support::pipeline::{self, BOTH, Pipeline, told};
use tracing::{info, info_span};
use tracing_otlp::export::Signal;
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, Events, OtlpBuilder, Protocol, Stats};

fn builder(protocol: Protocol, collector: &Collector) -> OtlpBuilder {
    pipeline::builder(protocol, &collector.endpoint(protocol))
        .with_logs(Events::AsLogs)
        .configure(|c| c.logs.batch.schedule_delay = Duration::from_secs(60))
}

#[track_caller]
fn balanced(stats: &Stats) {
    assert_eq!(stats.unaccounted(), 0, "{}", told(stats));
    assert_eq!(stats.logs.unaccounted(), 0, "{}", told(stats));
    assert_eq!(
        (stats.logs.queued, stats.logs.in_flight),
        (0, 0),
        "{}",
        told(stats)
    );
}

fn one_of_each() {
    let _span = info_span!("work").entered();
    info!("a record");
}

#[test]
fn a_flush_covers_both_signals_on_one_connection() {
    for protocol in BOTH {
        let collector = Collector::start();
        // With one request under way at a time, both share the one connection of HTTP/1 too.
        let pipeline = Pipeline::start(builder(protocol, &collector));
        pipeline.within(one_of_each);
        pipeline.flush().unwrap();
        collector.expect_spans(1);
        collector.expect_log("a record");
        let signals: Vec<_> = collector.requests().iter().map(|r| r.signal).collect();
        assert_eq!(signals.len(), 2);
        assert!(signals.contains(&Signal::Logs), "{signals:?}");
        if protocol == Protocol::Grpc {
            assert_eq!(collector.connections(), 1);
        }
        let stats = pipeline.settle(1);
        balanced(&stats);
        assert_eq!((stats.logs.emitted, stats.logs.delivered), (1, 1));
        assert_eq!((stats.requests_ok, stats.logs.requests_ok), (1, 1));
    }
}

/// LOG-18: a URL of its own is used as it is; headers of traces and logs stay apart.
#[test]
fn logs_may_go_elsewhere() {
    let (traces, logs) = (Collector::start(), Collector::start());
    let protocol = Protocol::HttpProtobuf;
    let url = format!("{}/v1/logs", logs.http_endpoint());
    let pipeline = Pipeline::start(builder(protocol, &traces).with_logs_endpoint(url));
    pipeline.within(one_of_each);
    pipeline.flush().unwrap();
    assert_eq!((traces.span_count(), traces.log_count()), (1, 0));
    assert_eq!((logs.span_count(), logs.log_count()), (0, 1));
}

/// LOG-32, LOG-33: one line, then quiet; spans are not touched, and nothing is tried for ever.
#[test]
fn an_endpoint_without_logs_takes_the_spans() {
    for protocol in BOTH {
        let collector = Collector::builder().without_logs().start().unwrap();
        let pipeline = Pipeline::start(builder(protocol, &collector));
        pipeline.within(one_of_each);
        let error = pipeline.flush().unwrap_err().to_string();
        assert!(
            error.contains("1 log records could not be delivered"),
            "{error}"
        );
        assert!(error.contains("takes no logs"), "{error}");
        assert!(!error.contains("v1/traces"), "{error}");
        collector.expect_spans(1);
        let attempts = collector.received_attempts();
        pipeline.within(|| (0..100).for_each(|_| one_of_each()));
        pipeline
            .flush()
            .expect("what is not sent is no loss any more");
        assert_eq!(collector.span_count(), 101);
        // No further request of logs.
        assert_eq!(collector.received_attempts(), attempts + 1);
        let stats = pipeline.settle(101);
        balanced(&stats);
        assert_eq!(stats.logs.emitted, 101);
        assert_eq!(
            stats.logs.dropped(DropReason::Unsupported),
            101,
            "{}",
            told(&stats)
        );
        assert_eq!(stats.dropped_total(), 0);
        assert_eq!(stats.last_error, None, "spans have no error");
    }
}

/// A shutdown keeps its one deadline over both.
#[test]
fn a_blackholed_endpoint_keeps_the_deadline_of_both() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.always(Answer::never());
        let pipeline = Pipeline::start(builder(protocol, &collector));
        pipeline.within(|| (0..50).for_each(|_| one_of_each()));
        let began = Instant::now();
        let limit = Duration::from_millis(300);
        let error = pipeline.guard.shutdown_blocking(limit).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert!(began.elapsed() < limit + Duration::from_secs(3));
        let stats = pipeline.stats();
        balanced(&stats);
        assert_eq!(stats.dropped_total(), 50);
        assert_eq!(stats.logs.dropped_total(), 50);
    }
}

/// LOG-21: a flood of one signal pushes nothing of the other out, and does not keep it from being sent.
#[test]
fn a_flood_of_records_leaves_the_spans_their_place() {
    let collector = Collector::builder().count_only().start().unwrap();
    let protocol = Protocol::Grpc;
    // Logs are not answered for a while: their queue fills up.
    let pipeline = Pipeline::start(
        builder(protocol, &collector)
            .with_max_memory(4 << 20)
            .configure(|c| c.logs.batch.max_queue_size = 1_000),
    );
    collector.go_offline();
    pipeline.within(|| {
        for i in 0..50_000 {
            info!(i, "flood {}", "x".repeat(100));
        }
        for _ in 0..500 {
            drop(info_span!("work"));
        }
    });
    let stats = pipeline.stats();
    assert_eq!(stats.dropped_total(), 0, "{}", told(&stats));
    assert!(
        stats.logs.dropped(DropReason::QueueFull) >= 48_000,
        "{}",
        told(&stats)
    );
    collector.go_online().unwrap();
    let _ = pipeline.flush();
    let stats = pipeline.stats();
    assert_eq!(stats.delivered, 500, "{}", told(&stats));
    balanced(&stats);
    assert_eq!(stats.logs.delivered, collector.log_count() as u64);
}

/// The same where the endpoint holds up every request of one signal: permits are each signal's own.
#[test]
fn requests_of_logs_that_hang_hold_up_no_span() {
    let (traces, logs) = (Collector::start(), Collector::start());
    logs.always(Answer::never());
    let protocol = Protocol::Grpc;
    let pipeline = Pipeline::start(
        builder(protocol, &traces)
            .with_logs_endpoint(logs.grpc_endpoint())
            .configure(|c| c.logs.batch.max_export_batch_size = 10),
    );
    pipeline.within(|| (0..200).for_each(|_| info!("hangs")));
    logs.wait_until(DEADLINE, |c| c.received_attempts() >= 4)
        .unwrap();
    pipeline.within(|| drop(info_span!("work")));
    let _ = pipeline
        .guard
        .force_flush_blocking(Duration::from_millis(200));
    traces.expect_span("work");
    assert_eq!(logs.received_attempts(), 4, "no more than may be under way");
}

/// LOG-31: a partial success is no failure and no retry; the rest is delivered.
#[test]
fn a_partial_success_of_logs_is_counted_as_theirs() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.script([Answer::partial(2, "too old")]);
        let pipeline = Pipeline::start(builder(protocol, &collector));
        pipeline.within(|| (0..5).for_each(|_| info!("a record")));
        let error = pipeline.flush().unwrap_err().to_string();
        assert!(error.contains("2 of 5 log records: too old"), "{error}");
        let stats = pipeline.settle(0);
        balanced(&stats);
        assert_eq!((stats.logs.delivered, stats.logs.rejected), (3, 2));
    }
}

/// LOG-30: retried as spans are.
#[test]
fn requests_of_logs_are_retried() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.script([Answer::grpc(14, "busy"), Answer::grpc(14, "busy")]);
        let pipeline = Pipeline::start(builder(protocol, &collector));
        pipeline.within(|| info!("a record"));
        pipeline.flush().unwrap();
        let stats = pipeline.settle(0);
        balanced(&stats);
        assert_eq!((stats.logs.retries, stats.logs.delivered), (2, 1));
    }
}

/// LOG-67, OTLP-12: a request is halved; a record that is too large alone is lost alone.
#[test]
fn what_is_too_large_is_split() {
    for protocol in BOTH {
        let collector = Collector::builder()
            .max_message_size(20_000)
            .start()
            .unwrap();
        let pipeline = Pipeline::start(builder(protocol, &collector));
        pipeline.within(|| {
            for i in 0..60 {
                info!(i, "{}", "x".repeat(1_000));
            }
            info!("{}", "x".repeat(100_000));
        });
        let error = pipeline.flush().unwrap_err().to_string();
        assert!(error.contains("1 log records"), "{error}");
        let stats = pipeline.settle(0);
        balanced(&stats);
        assert_eq!((stats.logs.delivered, collector.log_count()), (60, 60));
        assert_eq!(
            stats.logs.dropped(DropReason::TooLarge),
            1,
            "{}",
            told(&stats)
        );
    }
}

/// Logs alone: without spans, and without an exporter for them.
#[test]
fn there_may_be_logs_without_spans() {
    let collector = Collector::start();
    let pipeline = Pipeline::start(
        builder(Protocol::Grpc, &collector)
            .with_traces_exporter_kind(tracing_otlp::config::TracesExporterKind::None),
    );
    pipeline.within(one_of_each);
    pipeline.flush().unwrap();
    let log = collector.expect_log("a record");
    assert!(log.trace_id.is_some(), "context is made as ever");
    assert_eq!(collector.span_count(), 0);
    balanced(&pipeline.settle(0));
}

/// Records that come after the shutdown are counted, and nothing waits.
#[test]
fn records_after_the_shutdown_are_counted() {
    let collector = Collector::start();
    let pipeline = Pipeline::start(builder(Protocol::Grpc, &collector));
    pipeline.guard.shutdown_blocking(DEADLINE).unwrap();
    pipeline.within(one_of_each);
    let stats = pipeline.stats();
    balanced(&stats);
    assert_eq!(stats.logs.dropped(DropReason::AlreadyShutdown), 1);
}

/// The trace draws what was logged in it.
#[test]
fn a_trace_draws_its_records_under_their_spans() {
    let collector = Collector::start();
    let pipeline = Pipeline::start(builder(Protocol::Grpc, &collector));
    pipeline.within(|| {
        let _root = info_span!("checkout").entered();
        info!(cart = 7, "cart loaded");
        let _child = info_span!("charge card").entered();
        tracing::warn!("card is slow");
    });
    pipeline.flush().unwrap();
    collector.expect_logs(2);
    let drawing = collector.expect_trace(2).to_string();
    let lines: Vec<_> = drawing.lines().collect();
    let at = |text: &str| lines.iter().position(|l| l.contains(text)).expect(text);
    assert!(
        at("checkout") < at("▪ cart loaded") && at("cart loaded") < at("charge card"),
        "{drawing}"
    );
    assert!(at("charge card") < at("▪ card is slow"), "{drawing}");
    assert!(lines[at("card is slow")].contains("WARN"), "{drawing}");
    assert!(lines[at("cart loaded")].contains("cart=7"), "{drawing}");
}
