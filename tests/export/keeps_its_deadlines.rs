//! Nothing hangs: an endpoint that is silent, gone, or not there yet costs no more time than it may,
//! and nothing that could still arrive is lost (OTLP-10, PAIN 29, PAIN 30).

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::frames::{Reply, ok, serve, settings};
use crate::support::pace::{SLACK, answered, fit};
use crate::support::pipeline::{BOTH, Pipeline, balanced, builder, distinct, last_error, told};
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, Protocol};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_black_hole_costs_its_deadline_and_the_next_batch_goes_on_pain_29() {
    for protocol in BOTH {
        for silent in [Answer::never(), Answer::freeze()] {
            let collector = Collector::start();
            collector.always(silent.clone());
            let endpoint = collector.endpoint(protocol);
            let timeout = fit(300 * MS);
            let pipeline = Pipeline::start(
                builder(protocol, &endpoint)
                    .with_timeout(timeout)
                    .with_max_concurrent_exports(1),
            );
            let began = Instant::now();
            pipeline.spans(3, 10);
            let error = pipeline.flush().unwrap_err();
            let took = began.elapsed();
            // The export's deadline, and not that of the flush.
            assert!(error.is_export(), "{silent:?}: {error}");
            assert!(
                took >= timeout * 5 / 6 && took < timeout + SLACK,
                "{silent:?}: {took:?} for {timeout:?}"
            );
            let stats = pipeline.stats();
            assert_eq!(
                stats.dropped(DropReason::Unconfirmed),
                3,
                "{}",
                told(&stats)
            );
            assert!(last_error(&stats).contains("no answer"), "{}", told(&stats));
            collector.always(Answer::ok());
            let before = collector.connections();
            pipeline.spans(2, 10);
            pipeline.flush().unwrap();
            // A connection that fell silent is not trusted again.
            let made = collector.connections() - before;
            assert_eq!(made, 1, "{protocol:?} {silent:?}");
            let stats = pipeline.settle(distinct(&collector));
            assert_eq!(stats.delivered, 2, "{}", told(&stats));
        }
    }
}

/// An endpoint does not process a part of a request, so nothing of it has arrived.
#[test]
fn a_request_that_is_read_in_part_is_not_delivered() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let narrow = settings(&[(INITIAL_WINDOW_SIZE, 1000)]);
    let url = serve(narrow, |_, stream| Reply::Send(ok(stream)));
    let timeout = fit(500 * MS);
    let pipeline = Pipeline::start(builder(Protocol::Grpc, &url).with_timeout(timeout));
    pipeline.spans(30, 30_000);
    let error = pipeline.flush().unwrap_err().to_string();
    assert!(error.contains("read only a part of the request"), "{error}");
    let stats = pipeline.settle(0);
    assert_eq!(stats.dropped(DropReason::Unsent), 30, "{}", told(&stats));
}

#[test]
fn one_silent_request_does_not_hold_back_others() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.script([Answer::never()]);
        let pipeline = Pipeline::of(protocol, &collector);
        pipeline.spans(512, 10);
        collector
            .wait_until(crate::support::DEADLINE, |c| c.received_attempts() == 1)
            .unwrap();
        pipeline.spans(512, 10);
        collector
            .wait_for_spans(512, crate::support::DEADLINE)
            .unwrap();
        pipeline.until(|s| s.delivered == 512);
        let began = Instant::now();
        let error = pipeline.guard.shutdown_blocking(200 * MS).unwrap_err();
        // Its own deadline, and not that of the silent request.
        assert!(error.is_timeout(), "{error}");
        assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(
            stats.dropped(DropReason::Unconfirmed),
            512,
            "{}",
            told(&stats)
        );
    }
}

#[test]
fn the_export_timeout_counts_before_the_exporter_s_own() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.always(Answer::never());
        let endpoint = collector.endpoint(protocol);
        let pipeline = Pipeline::start(
            builder(protocol, &endpoint)
                .with_timeout(None)
                .with_export_timeout(fit(300 * MS)),
        );
        pipeline.spans(1, 10);
        let error = pipeline.flush().unwrap_err();
        // The flush has waited for the export's end, and not for its own deadline.
        assert!(error.is_export(), "{error}");
        let stats = pipeline.settle(0);
        assert_eq!(
            stats.dropped(DropReason::Unconfirmed),
            1,
            "{}",
            told(&stats)
        );
    }
}

/// An address of this machine at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn a_shutdown_with_nobody_listening_ends_in_time_and_says_why() {
    for protocol in BOTH {
        let pipeline = Pipeline::start(builder(protocol, &nobody()));
        pipeline.spans(600, 10);
        let patience = fit(1000 * MS);
        let began = Instant::now();
        let error = answered(pipeline.guard.shutdown(patience)).unwrap_err();
        let took = began.elapsed();
        assert!(took < patience + SLACK, "{took:?}");
        assert!(error.is_timeout() || error.is_export(), "{error}");
        let stats = pipeline.stats();
        balanced(&stats, 0);
        assert_eq!(stats.dropped_total(), 600);
        assert_eq!(
            stats.dropped(DropReason::Unconfirmed),
            0,
            "{}",
            told(&stats)
        );
        let said = last_error(&stats).to_lowercase();
        assert!(
            said.contains("refused") && said.contains("127.0.0.1"),
            "{said}"
        );
    }
}

#[test]
fn an_endpoint_that_comes_up_later_gets_everything() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.go_offline();
        let endpoint = collector.endpoint(protocol);
        // Its deadlines do not burn meanwhile.
        let timeout = fit(1000 * MS);
        let pipeline = Pipeline::start(builder(protocol, &endpoint).with_timeout(timeout));
        pipeline.spans(2000, 10);
        // While all wait, the figures say why.
        let stats = pipeline.until(|s| s.last_error.is_some());
        assert!(
            last_error(&stats).contains("cannot connect"),
            "{}",
            told(&stats)
        );
        std::thread::sleep(timeout * 5 / 2);
        collector.go_online().unwrap();
        pipeline.flush().unwrap();
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.delivered, 2000, "{}", told(&stats));
    }
}

#[test]
fn an_outage_loses_nothing_within_the_queue_s_bound() {
    for protocol in BOTH {
        let collector = Collector::start();
        let endpoint = collector.endpoint(protocol);
        let pipeline = Pipeline::start(builder(protocol, &endpoint).with_max_queue_size(4096));
        pipeline.spans(600, 10);
        pipeline.flush().unwrap();
        collector.go_offline();
        pipeline.spans(2000, 10);
        pipeline.until(|s| last_error(s).contains("refused"));
        let before = collector.connections();
        collector.go_online().unwrap();
        pipeline.flush().unwrap();
        let made = collector.connections() - before;
        // One for each of the requests that wait, and not one for each time that they ask.
        assert!(made < 12, "{made} connections");
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.delivered, 2600, "{protocol:?}: {}", told(&stats));
    }
}

#[test]
fn a_proxy_with_nothing_behind_it_is_asked_seldom_and_sent_nothing_pain_30() {
    let collector = Collector::start();
    collector.go_offline();
    let endpoint = collector.grpc_endpoint();
    // Accepts, and closes at once.
    let proxy = TcpListener::bind(crate::support::address(&endpoint)).unwrap();
    let began = Instant::now();
    let pipeline = Pipeline::start(builder(Protocol::Grpc, &endpoint));
    pipeline.spans(2000, 10);
    for _ in 0..9 {
        drop(proxy.accept().unwrap());
    }
    // Half of the first wait, which is 100 ms, at the very least between two of them.
    let took = began.elapsed();
    assert!(took >= 8 * 45 * MS, "asked nine times in {took:?}");
    assert_eq!(pipeline.stats().dropped_total(), 0);
    drop(proxy);
    collector.go_online().unwrap();
    pipeline.flush().unwrap();
    let stats = pipeline.settle(distinct(&collector));
    assert_eq!(stats.delivered, 2000, "{}", told(&stats));
}

#[test]
fn beyond_the_queue_s_bound_spans_are_counted() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.go_offline();
        let endpoint = collector.endpoint(protocol);
        let pipeline = Pipeline::start(builder(protocol, &endpoint).with_max_queue_size(1024));
        pipeline.spans(5000, 10);
        collector.go_online().unwrap();
        let _ = pipeline.flush();
        let stats = pipeline.settle(distinct(&collector));
        let full = stats.dropped(DropReason::QueueFull);
        assert!(full >= 1000, "{}", told(&stats));
        assert_eq!(stats.delivered + full, 5000, "{}", told(&stats));
    }
}

#[test]
fn connecting_has_a_deadline_of_its_own() {
    // A backlog of one that is full: the kernel leaves further handshakes unanswered.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(async { socket.listen(1).unwrap() });
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, 100 * MS) {
        held.push(stream);
        assert!(held.len() < 64, "the backlog does not fill");
    }
    for protocol in BOTH {
        let mut config = tracing_otlp::config::ConnectionConfig::default();
        config.protocol = Some(protocol);
        config.endpoint = Some(format!("http://{address}"));
        config.connect_timeout = 150 * MS;
        let client = tracing_otlp::export::OtlpClient::new(config).unwrap();
        let began = Instant::now();
        let error = runtime.block_on(client.initialize()).unwrap_err();
        assert!(
            error.is_export() && error.to_string().contains("150ms"),
            "{error}"
        );
        assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());

        // The exporter's timeout may be the shorter one: still nothing was sent.
        let pipeline = Pipeline::start(
            builder(protocol, &format!("http://{address}"))
                .with_schedule_delay(MS)
                .with_connect_timeout(150 * MS)
                .with_export_timeout(400 * MS),
        );
        pipeline.spans(3, 10);
        let stats = pipeline.until(|s| s.last_error.is_some());
        assert!(last_error(&stats).contains("150ms"), "{}", told(&stats));
        pipeline.guard.shutdown_blocking(100 * MS).unwrap_err();
        let stats = pipeline.settle(0);
        assert_eq!(
            stats.dropped(DropReason::Unconfirmed),
            0,
            "{}",
            told(&stats)
        );
    }
}

#[test]
fn a_name_that_does_not_resolve_is_said() {
    for protocol in BOTH {
        let pipeline = Pipeline::start(
            builder(protocol, "http://no-such-host.invalid:4317")
                .with_schedule_delay(MS)
                .with_connect_timeout(500 * MS),
        );
        pipeline.spans(1, 10);
        let stats = pipeline.until(|s| s.last_error.is_some());
        assert!(
            last_error(&stats).contains("no-such-host.invalid:4317"),
            "{}",
            told(&stats)
        );
        let began = Instant::now();
        pipeline.guard.shutdown_blocking(100 * MS).unwrap_err();
        assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
        pipeline.settle(0);
    }
}

#[test]
fn a_server_that_restarts_between_batches_is_not_noticed() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let collector = Collector::start();
        let pipeline = Pipeline::of(protocol, &collector);
        for _ in 1..=3 {
            pipeline.spans(10, 10);
            pipeline.flush().unwrap();
            collector.go_offline();
            collector.go_online().unwrap();
        }
        let stats = pipeline.settle(distinct(&collector));
        // Whether the first attempt meets the old connection is a matter of microseconds. Else its
        // idle connection is gone, and a new one is made at once.
        assert!(stats.retries <= 2, "{}", told(&stats));
        assert_eq!(stats.delivered, 30, "{}", told(&stats));
    }
}
