//! Answers, failures and silence of an endpoint, over gRPC and HTTP: what may be retried is, what is
//! too large is halved, deadlines are kept, and each span ends under one named outcome.

use std::time::{Duration, Instant};

use crate::pace::{SLACK, answered, fit};
use tracing::{Dispatch, dispatcher, info_span};
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, OtlpBuilder, OtlpLayer, Protocol, ShutdownGuard, Stats};
use tracing_subscriber::layer::SubscriberExt as _;

const LONG: Duration = crate::pace::PATIENCE;
const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

fn pipeline(
    collector: &Collector,
    protocol: Protocol,
    edit: impl FnOnce(OtlpBuilder) -> OtlpBuilder,
) -> (OtlpLayer, ShutdownGuard) {
    let builder = tracing_otlp::builder()
        .without_env()
        .with_endpoint(collector.endpoint(protocol))
        .with_protocol(protocol)
        .with_timeout(LONG)
        .with_export_timeout(2 * LONG)
        .with_connect_timeout(LONG)
        .configure(|c| {
            c.connection.retry.initial_backoff = Duration::from_millis(10);
            c.connection.retry.max_backoff = Duration::from_millis(50);
        });
    edit(builder).build().unwrap()
}

/// Records `count` spans whose attribute has `size` bytes.
fn record(layer: OtlpLayer, count: usize, size: usize) {
    let value = "x".repeat(size);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        for _ in 0..count {
            drop(info_span!("one", value = value.as_str()));
        }
    });
}

/// Nothing is uncounted, and the counts agree with what arrived:
/// `dropped − unconfirmed ≤ produced − received ≤ dropped`.
#[track_caller]
fn account(guard: &ShutdownGuard, collector: &Collector) -> Stats {
    let stats = guard.stats();
    assert_eq!(stats.unaccounted(), 0, "{stats}");
    let missing = stats.started as i64 - collector.span_count() as i64 - stats.rejected as i64;
    let dropped = stats.dropped_total() as i64;
    let unconfirmed = stats.dropped(DropReason::Unconfirmed) as i64;
    assert!(
        missing <= dropped && missing >= dropped - unconfirmed,
        "{missing} missing: {stats}"
    );
    stats
}

fn failure(protocol: Protocol, grpc: u32, http: u16) -> Answer {
    match protocol {
        Protocol::Grpc => Answer::grpc(grpc, "as the script says"),
        _ => Answer::http(http),
    }
}

#[test]
fn a_busy_endpoint_is_asked_again_and_nothing_is_lost_otlp_6_7_8_pain_27() {
    for protocol in BOTH {
        let collector = Collector::start();
        let busy = || match protocol {
            Protocol::Grpc => failure(protocol, 14, 0).retry_info(Duration::from_millis(200)),
            _ => failure(protocol, 0, 503).retry_after("1"),
        };
        collector.script([
            busy(),
            failure(protocol, 14, 429),
            failure(protocol, 1, 504),
        ]);
        let (layer, guard) = pipeline(&collector, protocol, |b| b);
        record(layer, 10, 1);
        let began = Instant::now();
        guard.force_flush_blocking(LONG).unwrap();
        let asked = Duration::from_millis(200);
        assert!(
            began.elapsed() >= asked,
            "{protocol:?}: what the endpoint asks is the least"
        );
        assert_eq!(collector.received_attempts(), 4, "{protocol:?}");
        let stats = account(&guard, &collector);
        assert_eq!(
            (stats.delivered, stats.retries, stats.possible_duplicates),
            (10, 3, 10),
            "{protocol:?}: the last of them may have taken it: {stats}"
        );
    }
}

#[test]
fn a_refusal_is_final_otlp_6_7() {
    for protocol in BOTH {
        for (grpc, http) in [(3, 400), (16, 401), (12, 404), (13, 500), (2, 501)] {
            let collector = Collector::start();
            collector.script([failure(protocol, grpc, http)]);
            let (layer, guard) = pipeline(&collector, protocol, |b| b);
            record(layer, 3, 1);
            let error = guard.force_flush_blocking(LONG).unwrap_err();
            assert!(error.is_export(), "{error}");
            assert_eq!(
                collector.received_attempts(),
                1,
                "{protocol:?} {grpc} {http}"
            );
            let stats = account(&guard, &collector);
            assert_eq!(
                stats.dropped(DropReason::Refused),
                3,
                "{protocol:?}: {stats}"
            );
            let said = stats.last_error.unwrap().1;
            let code = if protocol == Protocol::Grpc {
                "as the script says".into()
            } else {
                http.to_string()
            };
            assert!(said.contains(&code), "{said}");
        }
    }
}

#[test]
fn a_partial_success_is_counted_and_never_retried_otlp_5() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.script([
            Answer::partial(2, "two were ugly"),
            Answer::partial(0, "mind the gap"),
        ]);
        let (layer, guard) = pipeline(&collector, protocol, |b| b.with_max_export_batch_size(5));
        record(layer, 10, 1);
        let _ = guard.force_flush_blocking(LONG);
        assert_eq!(collector.received_attempts(), 2, "{protocol:?}");
        let stats = guard.stats();
        assert_eq!(
            (stats.delivered, stats.rejected, stats.retries),
            (8, 2, 0),
            "{stats}"
        );
        assert_eq!(stats.unaccounted(), 0);
    }
}

#[test]
fn what_is_too_large_for_the_endpoint_arrives_in_parts_pain_28() {
    for protocol in BOTH {
        let collector = Collector::builder()
            .max_message_size(1 << 20)
            .start()
            .unwrap();
        let (layer, guard) = pipeline(&collector, protocol, |b| b.with_max_memory(64 << 20));
        // One of 3 MiB among many of 20 kB.
        let value = "x".repeat(20 << 10);
        let huge = "x".repeat(3 << 20);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for n in 0..256 {
                let value = if n == 100 { &huge } else { &value };
                drop(info_span!("one", value = value.as_str()));
            }
        });
        let _ = guard.force_flush_blocking(LONG);
        let stats = account(&guard, &collector);
        assert_eq!(
            stats.dropped(DropReason::TooLarge),
            1,
            "{protocol:?}: {stats}"
        );
        assert_eq!(stats.delivered, 255, "{protocol:?}: {stats}");
    }
}

#[test]
fn an_endpoint_that_finds_everything_too_large_is_not_asked_for_ever() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.always(failure(protocol, 8, 413));
        let (layer, guard) = pipeline(&collector, protocol, |b| b);
        record(layer, 512, 1);
        let _ = guard.force_flush_blocking(LONG);
        let stats = account(&guard, &collector);
        assert_eq!(stats.dropped_total(), 512, "{protocol:?}: {stats}");
        assert!(
            collector.received_attempts() <= 12,
            "{}",
            collector.received_attempts()
        );
    }
}

#[test]
fn a_request_stays_below_its_own_limit_otlp_12() {
    for protocol in BOTH {
        let collector = Collector::start();
        let (layer, guard) = pipeline(&collector, protocol, |b| {
            b.configure(|c| c.connection.max_request_size = 64 << 10)
        });
        record(layer, 100, 4 << 10);
        guard.force_flush_blocking(LONG).unwrap();
        assert_eq!(account(&guard, &collector).delivered, 100, "{protocol:?}");
        let largest = collector.requests().iter().map(|r| r.message.len()).max();
        assert!(largest <= Some(64 << 10), "{largest:?}");
    }
}

#[test]
fn an_endless_or_senseless_answer_does_no_harm_otlp_13() {
    for protocol in BOTH {
        for answer in [Answer::oversize(1 << 20), Answer::garbage()] {
            let collector = Collector::start();
            collector.script([answer]);
            let (layer, guard) = pipeline(&collector, protocol, |b| {
                b.configure(|c| c.connection.max_response_size = 64 << 10)
            });
            record(layer, 3, 1);
            let _ = guard.force_flush_blocking(LONG);
            account(&guard, &collector);
        }
    }
}

#[test]
fn a_connection_that_breaks_is_made_again() {
    for protocol in BOTH {
        for answer in [
            Answer::close(),
            Answer::close_after_body(),
            Answer::refuse_stream(),
        ] {
            let name = format!("{protocol:?} {answer:?}");
            let collector = Collector::start();
            collector.script([answer]);
            let (layer, guard) = pipeline(&collector, protocol, |b| b);
            record(layer, 7, 1);
            guard.force_flush_blocking(LONG).expect(&name);
            assert_eq!(account(&guard, &collector).delivered, 7, "{name}");
        }
    }
}

#[test]
fn an_endpoint_that_never_answers_keeps_nobody_pain_29() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.script([Answer::never()]);
        let (layer, guard) = pipeline(&collector, protocol, |b| {
            // Nothing is sent before the flush, so that it covers the loss.
            b.with_timeout(fit(Duration::from_millis(300)))
                .with_schedule_delay(LONG)
        });
        let subscriber = Dispatch::new(tracing_subscriber::registry().with(layer));
        let record = |count: usize| {
            dispatcher::with_default(&subscriber, || {
                (0..count).for_each(|_| drop(info_span!("one")));
            });
        };
        record(5);
        // The flush has waited for the end of the export, and not for its own deadline.
        let error = guard.force_flush_blocking(LONG).unwrap_err();
        assert!(error.is_export(), "{protocol:?}: {error}");
        // It may have arrived; what follows does.
        record(5);
        guard.force_flush_blocking(LONG).unwrap();
        let stats = account(&guard, &collector);
        assert_eq!(
            stats.dropped(DropReason::Unconfirmed),
            5,
            "{protocol:?}: {stats}"
        );
        assert_eq!(stats.delivered, 5, "{protocol:?}: {stats}");
    }
}

#[test]
fn what_was_never_sent_is_known_as_such_and_waits_for_the_endpoint() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.go_offline();
        let (layer, guard) = pipeline(&collector, protocol, |b| b);
        record(layer, 10, 1);
        let began = Instant::now();
        let error = guard
            .force_flush_blocking(Duration::from_millis(200))
            .unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert!(began.elapsed() < SLACK);
        collector.go_online().unwrap();
        guard.force_flush_blocking(LONG).unwrap();
        assert_eq!(account(&guard, &collector).delivered, 10, "{protocol:?}");

        collector.go_offline();
        let (layer, guard) = pipeline(&collector, protocol, |b| b);
        record(layer, 10, 1);
        let began = Instant::now();
        let _ = answered(guard.shutdown(Duration::from_millis(300)));
        assert!(began.elapsed() < SLACK, "{protocol:?}");
        let stats = guard.stats();
        assert_eq!(
            (stats.delivered, stats.dropped(DropReason::Unconfirmed)),
            (0, 0),
            "{stats}"
        );
        assert_eq!(
            (stats.dropped_total(), stats.unaccounted()),
            (10, 0),
            "{stats}"
        );
    }
}

#[test]
fn a_request_says_who_it_is_and_what_it_holds_otlp_2_3() {
    for protocol in BOTH {
        for gzip in [false, true] {
            let collector = Collector::start();
            let (layer, guard) = pipeline(&collector, protocol, |b| {
                let b = b
                    .with_header("x-tenant", "shop")
                    .with_user_agent_prefix("shop/1.2");
                match gzip {
                    true => b.with_compression(tracing_otlp::config::Compression::Gzip),
                    false => b,
                }
            });
            record(layer, 100, 100);
            guard.force_flush_blocking(LONG).unwrap();
            let requests = collector.requests();
            let request = &requests[0];
            assert_eq!(request.header("x-tenant"), Some("shop"), "{protocol:?}");
            let agent = request.header("user-agent").unwrap();
            let own = concat!("shop/1.2 tracing-otlp/", env!("CARGO_PKG_VERSION"));
            assert!(agent.starts_with(own), "{agent}");
            let content = match protocol {
                Protocol::Grpc => "application/grpc",
                _ => "application/x-protobuf",
            };
            assert_eq!(request.header("content-type"), Some(content));
            assert_eq!(request.compressed, gzip, "{protocol:?}");
            assert_eq!(collector.span_count(), 100);
        }
    }
}

#[test]
fn requests_share_a_connection_otlp_2() {
    for protocol in BOTH {
        let collector = Collector::start();
        let (layer, guard) = pipeline(&collector, protocol, |b| {
            b.with_max_export_batch_size(10)
                .with_max_concurrent_exports(1)
        });
        record(layer, 200, 1);
        guard.force_flush_blocking(LONG).unwrap();
        assert_eq!(account(&guard, &collector).delivered, 200);
        assert!(collector.requests().len() >= 20);
        assert_eq!(collector.connections(), 1, "{protocol:?}");
    }
}
