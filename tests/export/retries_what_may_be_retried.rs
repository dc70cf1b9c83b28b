//! What the endpoint may take later is sent again, as late as it asks; what it refuses is not; and
//! every span ends under one name (OTLP-5 to OTLP-8, PAIN 27, PAIN 31).

use std::time::{Duration, Instant};

use crate::support::pace::fit;
use crate::support::pipeline::{BOTH, Pipeline, builder, distinct, last_error, told};
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, Protocol};

const MS: Duration = Duration::from_millis(1);

#[test]
fn three_refusals_for_now_lose_nothing_and_the_wait_is_honoured_pain_27() {
    for protocol in BOTH {
        let collector = Collector::start();
        let busy = match protocol {
            Protocol::Grpc => Answer::unavailable().retry_info(400 * MS),
            _ => Answer::http(503).retry_after("1"),
        };
        let asked = if protocol == Protocol::Grpc {
            400
        } else {
            1000
        };
        let soon = Answer::unavailable();
        collector.script([busy, soon.clone(), soon]);
        let pipeline = Pipeline::of(protocol, &collector);
        let began = Instant::now();
        pipeline.spans(10, 10);
        pipeline.flush().unwrap();
        assert!(began.elapsed() >= asked * MS, "{:?}", began.elapsed());
        assert_eq!(collector.received_attempts(), 4);
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(
            (stats.delivered, stats.retries),
            (10, 3),
            "{}",
            told(&stats)
        );
    }
}

#[test]
fn a_refusal_that_may_not_be_retried_costs_one_attempt_otlp_6_otlp_7() {
    let grpc = [2, 3, 5, 6, 7, 9, 12, 13, 16].map(|code| Answer::grpc(code, "no"));
    let http = [400, 401, 403, 404, 405, 500, 501, 505].map(Answer::http);
    let cases = (grpc.iter().map(|a| (Protocol::Grpc, a)))
        .chain(http.iter().map(|a| (Protocol::HttpProtobuf, a)));
    for (protocol, answer) in cases {
        let collector = Collector::start();
        collector.script([answer.clone()]);
        let pipeline = Pipeline::of(protocol, &collector);
        pipeline.spans(3, 10);
        let error = pipeline.flush().unwrap_err();
        assert!(error.is_export(), "{error}");
        assert_eq!(collector.received_attempts(), 1, "{answer:?}");
        // The next batch is not held back.
        pipeline.spans(1, 10);
        pipeline.flush().unwrap();
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.dropped(DropReason::Refused), 3, "{}", told(&stats));
        assert_eq!((stats.delivered, stats.retries), (1, 0));
        assert!(
            last_error(&stats).contains("127.0.0.1:"),
            "{}",
            told(&stats)
        );
    }
}

#[test]
fn what_may_be_retried_is_until_the_attempts_are_used_up() {
    use DropReason::{Unconfirmed, Unsent};
    // After a deadline, a cancellation or the words of a gateway the spans may be there.
    let grpc = [
        (1, Unconfirmed),
        (4, Unconfirmed),
        (10, Unsent),
        (11, Unsent),
        (14, Unsent),
        (15, Unconfirmed),
    ];
    let grpc = grpc.map(|(code, lost)| (Protocol::Grpc, Answer::grpc(code, "later"), lost));
    let http = [
        (429, Unsent),
        (502, Unconfirmed),
        (503, Unsent),
        (504, Unconfirmed),
    ];
    let http = http.map(|(status, lost)| (Protocol::HttpProtobuf, Answer::http(status), lost));
    for (protocol, answer, lost) in grpc.into_iter().chain(http) {
        let collector = Collector::start();
        collector.always(answer.clone());
        let endpoint = collector.endpoint(protocol);
        let pipeline = Pipeline::start(
            builder(protocol, &endpoint).configure(|c| c.connection.retry.max_attempts = 3),
        );
        pipeline.spans(2, 10);
        let error = pipeline.flush().unwrap_err().to_string();
        assert!(error.contains("3 attempts"), "{error}");
        assert_eq!(collector.received_attempts(), 3, "{answer:?}");
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.dropped(lost), 2, "{answer:?}: {}", told(&stats));
    }
}

#[test]
fn exhausted_resources_are_retried_only_when_the_endpoint_says_when_otlp_6() {
    let collector = Collector::start();
    collector.script([Answer::grpc(8, "slow down").retry_info(10 * MS)]);
    let pipeline = Pipeline::of(Protocol::Grpc, &collector);
    pipeline.spans(2, 10);
    pipeline.flush().unwrap();
    let stats = pipeline.settle(distinct(&collector));
    assert_eq!((stats.delivered, stats.retries), (2, 1), "{}", told(&stats));
}

#[test]
fn a_partial_success_is_counted_and_never_retried_otlp_5() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.script([
            Answer::partial(2, "too old"),
            Answer::partial(0, "deprecated"),
            // More than it got, and fewer than none.
            Answer::partial(99, "all"),
            Answer::partial(-7, ""),
        ]);
        let pipeline = Pipeline::of(protocol, &collector);
        pipeline.spans(5, 10);
        let error = pipeline.flush().unwrap_err();
        assert!(error.to_string().contains("too old"), "{error}");
        let stats = pipeline.until(|s| s.delivered == 3);
        assert_eq!(stats.rejected, 2);
        assert!(last_error(&stats).contains("too old"), "{}", told(&stats));
        pipeline.spans(1, 10);
        pipeline.flush().unwrap();
        let stats = pipeline.stats();
        // Nothing has failed.
        let warning = stats.last_warning.as_ref().map(|(_, text)| text.as_str());
        assert_eq!(warning, Some("deprecated"), "{}", told(&stats));
        assert!(last_error(&stats).contains("too old"), "{}", told(&stats));
        pipeline.spans(1, 10);
        pipeline.flush().unwrap_err();
        pipeline.spans(1, 10);
        pipeline.flush().unwrap();
        assert_eq!(collector.received_attempts(), 4);
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(
            (stats.delivered, stats.rejected),
            (5, 3),
            "{}",
            told(&stats)
        );
        assert_eq!((stats.requests_ok, stats.requests_failed), (4, 0));
    }
}

/// Also where the pause is longer than an export may take: nothing was kept, so nothing is lost.
#[test]
fn an_endpoint_that_asks_for_quiet_gets_it_from_all_otlp_8() {
    for protocol in BOTH {
        let collector = Collector::start();
        let (busy, asked) = match protocol {
            Protocol::Grpc => (Answer::unavailable().retry_info(1500 * MS), 1500 * MS),
            _ => (Answer::http(429).retry_after("2"), 2000 * MS),
        };
        collector.script([busy]);
        let builder = builder(protocol, &collector.endpoint(protocol)).with_timeout(fit(1000 * MS));
        let pipeline = Pipeline::start(builder);
        pipeline.spans(1, 10);
        let began = Instant::now();
        pipeline.flush().unwrap();
        assert!(began.elapsed() >= asked, "{:?}", began.elapsed());
        for _ in 0..3 {
            pipeline.spans(1, 10);
            pipeline.flush().unwrap();
            assert!(began.elapsed() >= asked, "{:?}", began.elapsed());
        }
        assert_eq!(collector.received_attempts(), 5, "{protocol:?}");
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.delivered, 4, "{}", told(&stats));
    }
}

#[test]
fn an_absurd_wait_is_no_panic_and_no_wait() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.script([match protocol {
            Protocol::Grpc => Answer::unavailable().retry_info(Duration::from_secs(u64::MAX >> 2)),
            _ => Answer::http(503).retry_after(u64::MAX.to_string()),
        }]);
        let pipeline = Pipeline::of(protocol, &collector);
        pipeline.spans(2, 10);
        pipeline.flush().unwrap();
        assert_eq!(collector.received_attempts(), 2, "{protocol:?}");
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!((stats.delivered, stats.worker_restarts), (2, 0));
    }
}

#[test]
fn a_connection_that_breaks_is_made_again_and_nothing_is_lost() {
    for protocol in BOTH {
        let collector = Collector::start();
        for broken in [
            Answer::close(),
            Answer::close_after_body(),
            Answer::close().after(10 * MS),
        ] {
            collector.clear();
            collector.script([broken.clone(), broken.clone()]);
            let pipeline = Pipeline::of(protocol, &collector);
            pipeline.spans(20, 100);
            pipeline.flush().unwrap();
            assert_eq!(collector.received_attempts(), 3, "{broken:?}");
            let stats = pipeline.settle(distinct(&collector));
            assert_eq!(stats.delivered, 20, "{broken:?}: {}", told(&stats));
        }
    }
}

#[test]
fn what_was_closed_after_the_body_may_have_arrived() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.always(Answer::close_after_body());
        let endpoint = collector.endpoint(protocol);
        let pipeline = Pipeline::start(
            builder(protocol, &endpoint).configure(|c| c.connection.retry.max_attempts = 2),
        );
        pipeline.spans(4, 100);
        pipeline.flush().unwrap_err();
        assert_eq!(collector.received_attempts(), 2);
        let stats = pipeline.settle(0);
        assert_eq!(
            stats.dropped(DropReason::Unconfirmed),
            4,
            "{}",
            told(&stats)
        );
    }
}

#[test]
fn a_stream_refused_or_a_farewell_costs_no_attempt() {
    for answer in [Answer::refuse_stream(), Answer::go_away()] {
        let collector = Collector::start();
        collector.script(vec![answer.clone(); 5]);
        let pipeline = Pipeline::start(
            builder(Protocol::Grpc, &collector.grpc_endpoint())
                .configure(|c| c.connection.retry.max_attempts = 1),
        );
        pipeline.spans(50, 100);
        pipeline.flush().unwrap();
        assert_eq!(collector.received_attempts(), 6, "{answer:?}");
        // A refused stream leaves its connection alone.
        let connections = if answer == Answer::refuse_stream() {
            1
        } else {
            6
        };
        assert_eq!(collector.connections(), connections, "{answer:?}");
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.delivered, 50, "{}", told(&stats));
    }
}

/// It is down as any that answers "later".
#[test]
fn an_endpoint_that_always_refuses_streams_has_seen_nothing() {
    let collector = Collector::start();
    collector.always(Answer::refuse_stream());
    let pipeline = Pipeline::start(
        builder(Protocol::Grpc, &collector.grpc_endpoint())
            .with_schedule_delay(MS)
            .with_export_timeout(fit(300 * MS)),
    );
    let began = Instant::now();
    pipeline.spans(2, 100);
    collector
        .wait_until(crate::support::DEADLINE, |c| c.received_attempts() >= 12)
        .unwrap();
    // Half of 5 to 50 ms between them at the very least.
    assert!(began.elapsed() >= 100 * MS, "{:?}", began.elapsed());
    let error = pipeline.guard.force_flush_blocking(600 * MS).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(pipeline.stats().dropped_total(), 0);
    pipeline.guard.shutdown_blocking(100 * MS).unwrap_err();
    let stats = pipeline.settle(0);
    let unsent = stats.dropped(DropReason::Unsent) + stats.dropped(DropReason::Unconfirmed);
    assert_eq!(unsent, 2, "{}", told(&stats));
}

#[test]
fn an_answer_that_is_too_long_or_nonsense_is_not_asked_for_again_otlp_13() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.script([Answer::oversize(5000), Answer::garbage()]);
        let endpoint = collector.endpoint(protocol);
        let pipeline = Pipeline::start(
            builder(protocol, &endpoint).configure(|c| c.connection.max_response_size = 4096),
        );
        pipeline.spans(2, 10);
        pipeline.flush().unwrap_err();
        let stats = pipeline.stats();
        assert!(
            last_error(&stats).contains("4096 bytes"),
            "{}",
            told(&stats)
        );
        // Success is said by status, not by words.
        pipeline.spans(3, 10);
        pipeline.flush().unwrap();
        assert_eq!(collector.received_attempts(), 2);
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(
            stats.dropped(DropReason::Unconfirmed),
            2,
            "{}",
            told(&stats)
        );
        assert_eq!(stats.delivered, 3);
    }
}
