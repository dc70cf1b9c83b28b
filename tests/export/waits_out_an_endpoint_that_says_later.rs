//! An endpoint that answers "later" again and again is down, as one that refuses connections: spans
//! wait in the bounded queue, one batch at a time asks, no deadline burns, and nothing is lost
//! (OTLP-6, OTLP-7, OTLP-8, BSP-3).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::pace::{SLACK, answered, fit};
use crate::support::pipeline::{BOTH, Pipeline, balanced, builder, distinct, last_error, told};
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, Protocol};

const MS: Duration = Duration::from_millis(1);

/// The outage lasts longer than an export may, and than all attempts of one batch take.
#[test]
fn an_outage_that_answers_loses_nothing_within_the_queue_s_bound() {
    for protocol in BOTH {
        for later in [Answer::unavailable(), Answer::http(502)] {
            let collector = Collector::start();
            collector.always(later.clone());
            let endpoint = collector.endpoint(protocol);
            let timeout = fit(200 * MS);
            let pipeline = Pipeline::start(
                builder(protocol, &endpoint)
                    .with_schedule_delay(20 * MS)
                    .with_timeout(timeout)
                    .with_export_timeout(timeout + 200 * MS)
                    .with_max_export_batch_size(100),
            );
            for _ in 0..30 {
                pipeline.spans(50, 10);
                std::thread::sleep(timeout / 12);
            }
            let stats = pipeline.stats();
            assert_eq!(stats.dropped_total(), 0, "{later:?}: {}", told(&stats));
            // At most so many requests wait for their turn; all other spans are in the queue.
            assert!(stats.in_flight <= 400, "{}", told(&stats));
            assert!(last_error(&stats).contains("answered"), "{}", told(&stats));
            collector.always(Answer::ok());
            pipeline.flush().unwrap();
            let stats = pipeline.settle(distinct(&collector));
            assert_eq!(stats.delivered, 1500, "{later:?}: {}", told(&stats));
        }
    }
}

/// The same client, put at the end of the pipeline by code.
#[test]
fn nor_does_a_client_given_as_the_exporter() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.always(Answer::unavailable());
        let mut config = tracing_otlp::config::ConnectionConfig::default();
        config.protocol = Some(protocol);
        config.endpoint = Some(collector.endpoint(protocol));
        let timeout = fit(200 * MS);
        config.timeout = Some(timeout);
        config.retry.initial_backoff = 5 * MS;
        config.retry.max_backoff = 50 * MS;
        let client = tracing_otlp::export::OtlpClient::new(config).unwrap();
        let pipeline = Pipeline::start(
            tracing_otlp::builder()
                .without_env()
                .with_exporter(client)
                .with_schedule_delay(20 * MS)
                .with_export_timeout(timeout + 200 * MS)
                .with_max_export_batch_size(100),
        );
        for _ in 0..30 {
            pipeline.spans(50, 10);
            std::thread::sleep(timeout / 12);
        }
        let stats = pipeline.stats();
        assert_eq!(stats.dropped_total(), 0, "{}", told(&stats));
        collector.always(Answer::ok());
        pipeline.flush().unwrap();
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.delivered, 1500, "{}", told(&stats));
    }
}

/// Five spans wait in each of four batches, and still one request a step goes out.
#[test]
fn one_batch_at_a_time_asks_with_growing_waits() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.always(Answer::unavailable());
        let endpoint = collector.endpoint(protocol);
        let pipeline = Pipeline::start(
            builder(protocol, &endpoint)
                .with_max_export_batch_size(5)
                .configure(|c| {
                    c.connection.retry.initial_backoff = 100 * MS;
                    c.connection.retry.max_backoff = 400 * MS;
                }),
        );
        let began = Instant::now();
        pipeline.spans(200, 10);
        collector
            .wait_until(crate::support::DEADLINE, |c| c.received_attempts() >= 12)
            .unwrap();
        // Four first attempts, and waits between the other eight: half of 100, 150, 225, 338 and 400 ms
        // at the very least. Eight that do not grow take 800 ms at most.
        let took = began.elapsed();
        assert!(took > 1000 * MS, "{protocol:?}: {took:?}");
        collector.always(Answer::ok());
        pipeline.flush().unwrap();
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.delivered, 200, "{}", told(&stats));
    }
}

/// It holds off every batch, and keeps no deadline of a caller.
#[test]
fn a_pause_of_an_hour_is_kept_by_all_and_callers_are_told() {
    for protocol in BOTH {
        let collector = Collector::start();
        let hour = Duration::from_secs(3600);
        collector.script([match protocol {
            Protocol::Grpc => Answer::unavailable().retry_info(hour),
            _ => Answer::http(503).retry_after("3600"),
        }]);
        let pipeline = Pipeline::of(protocol, &collector);
        pipeline.spans(10, 10);
        let patience = fit(300 * MS);
        let within = format!("{patience:?}");
        for _ in 0..3 {
            let began = Instant::now();
            let error = answered(pipeline.guard.force_flush(patience)).unwrap_err();
            assert!(began.elapsed() < patience + SLACK, "{:?}", began.elapsed());
            let text = error.to_string();
            assert!(error.is_timeout(), "{text}");
            for part in ["flush", &within, "127.0.0.1:", "3600s"] {
                assert!(text.contains(part), "{part}: {text}");
            }
            pipeline.spans(1000, 10);
        }
        assert_eq!(collector.received_attempts(), 1, "{protocol:?}");
        let stats = pipeline.stats();
        assert_eq!(stats.dropped_total(), 0, "{}", told(&stats));
        let began = Instant::now();
        let error = answered(pipeline.guard.shutdown(300 * MS)).unwrap_err();
        assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
        assert!(error.to_string().contains("3600s"), "{error}");
        let stats = pipeline.stats();
        balanced(&stats, 0);
        assert_eq!(
            (
                stats.dropped_total(),
                stats.dropped(DropReason::Unconfirmed)
            ),
            (3010, 0),
            "{}",
            told(&stats)
        );
    }
}

/// Said by the header over HTTP, or in the details of a status over either.
#[test]
fn a_pause_is_read_wherever_it_is_said() {
    let second = Duration::from_secs(1);
    for (protocol, answer) in [
        (Protocol::HttpProtobuf, Answer::http(503).retry_after("1")),
        (Protocol::HttpProtobuf, Answer::http(429).retry_info(second)),
        (Protocol::Grpc, Answer::unavailable().retry_info(second)),
        (Protocol::Grpc, Answer::grpc(8, "rate").retry_info(second)),
    ] {
        let collector = Collector::start();
        collector.script([answer.clone()]);
        let pipeline = Pipeline::of(protocol, &collector);
        let began = Instant::now();
        pipeline.spans(1, 10);
        pipeline.flush().unwrap();
        assert!(began.elapsed() >= second, "{answer:?}");
        assert_eq!(collector.received_attempts(), 2, "{answer:?}");
        pipeline.settle(distinct(&collector));
    }
}

/// A server that answers 503 to what holds `poison`, and takes all else; how much it took.
fn picky() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let count = Arc::clone(&count);
            std::thread::spawn(move || serve(stream, &count));
        }
    });
    (endpoint, taken)
}

fn serve(stream: TcpStream, taken: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let line = line.to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let is_poison = body.windows(6).any(|bytes| bytes == b"poison");
        let status = match is_poison {
            true => "503 Service Unavailable",
            false => "200 OK",
        };
        taken.fetch_add(usize::from(!is_poison), Ordering::Relaxed);
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        reader.get_mut().write_all(answer.as_bytes()).ok()?;
    }
}

/// It is the batch and not the endpoint: all others pass, and it ends.
#[test]
fn a_batch_that_is_never_taken_stops_no_other_and_ends() {
    let (endpoint, taken) = picky();
    let builder = builder(Protocol::HttpProtobuf, &endpoint).with_max_export_batch_size(10);
    let pipeline = Pipeline::start(builder);
    pipeline.within(|| drop(tracing::info_span!("poison")));
    // Alone it cannot be told from an outage.
    pipeline.guard.force_flush_blocking(500 * MS).unwrap_err();
    assert_eq!(pipeline.stats().in_flight, 1);
    // Its attempts count while others pass.
    let began = Instant::now();
    let mut rounds = 0;
    let stats = loop {
        rounds += 1;
        pipeline.spans(10, 10);
        let stats = pipeline.until(|s| s.delivered == 10 * rounds);
        if stats.in_flight == 0 {
            break stats;
        }
        assert!(
            began.elapsed() < crate::support::DEADLINE,
            "{}",
            told(&stats)
        );
    };
    assert_eq!(taken.load(Ordering::Relaxed) as u64, rounds);
    assert_eq!(stats.dropped(DropReason::Unsent), 1, "{}", told(&stats));
    let error = pipeline.flush().unwrap_err().to_string();
    assert!(error.contains("attempts"), "{error}");
    pipeline.settle(10 * rounds as usize);
}

/// Nobody waits for an answer that a shutdown has cut off, and nothing of it can have been kept.
#[test]
fn a_shutdown_during_such_an_outage_counts_nothing_as_unconfirmed() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.always(Answer::unavailable());
        let pipeline = Pipeline::of(protocol, &collector);
        pipeline.spans(2000, 10);
        // The first requests have their answers by then, and one at a time asks.
        collector
            .wait_until(crate::support::DEADLINE, |c| c.received_attempts() >= 16)
            .unwrap();
        let began = Instant::now();
        let error = answered(pipeline.guard.shutdown(300 * MS)).unwrap_err();
        assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
        let text = error.to_string();
        assert!(text.contains("answered"), "{text}");
        let stats = pipeline.stats();
        balanced(&stats, 0);
        let unconfirmed = stats.dropped(DropReason::Unconfirmed);
        assert!(unconfirmed <= 512, "one may be under way: {}", told(&stats));
        assert_eq!(stats.dropped_total(), 2000, "{}", told(&stats));
    }
}
