//! Requests look as the protocol has them, few connections carry them, and a client can be used by
//! itself, from sync and async code (OTLP-1 to OTLP-4).

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::pace::SLACK;
use crate::support::pipeline::{BOTH, Pipeline, builder, distinct, told};
use tracing_otlp::config::{Compression, ConnectionConfig};
use tracing_otlp::export::{Batch, Exporter, OtlpClient, Outcome};
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, Protocol};

const MS: Duration = Duration::from_millis(1);

#[test]
fn requests_look_as_the_protocol_has_them_otlp_1_otlp_2_otlp_3() {
    for protocol in BOTH {
        for compression in [Compression::None, Compression::Gzip] {
            let collector = Collector::start();
            let endpoint = collector.endpoint(protocol);
            let pipeline = Pipeline::start(
                builder(protocol, &endpoint)
                    .with_compression(compression)
                    .with_header("authorization", "Bearer let-me-in")
                    .with_header("x-tenant", "blue")
                    .with_user_agent_prefix("shop/1.2"),
            );
            pipeline.spans(50, 200);
            pipeline.flush().unwrap();
            let requests = collector.requests();
            let [request] = &requests[..] else {
                panic!("{requests:?}")
            };
            let header = |name| request.header(name).unwrap_or_default().to_owned();
            assert_eq!(header("authorization"), "Bearer let-me-in");
            assert_eq!(header("x-tenant"), "blue");
            let agent = header("user-agent");
            let own = concat!("shop/1.2 tracing-otlp/", env!("CARGO_PKG_VERSION"));
            assert!(agent.starts_with(own), "{agent}");
            let gzip = compression == Compression::Gzip;
            let encoding = if gzip { "gzip" } else { "" };
            assert_eq!(request.compressed, gzip);
            if gzip {
                assert!(request.wire_len < request.message.len());
            }
            assert_eq!(header("content-length"), request.wire_len.to_string());
            match protocol {
                Protocol::Grpc => {
                    assert_eq!(request.version, http::Version::HTTP_2);
                    assert_eq!(header("content-type"), "application/grpc");
                    assert_eq!(header("te"), "trailers");
                    assert_eq!(header("grpc-encoding"), encoding);
                    let timeout = header("grpc-timeout");
                    let millis: u32 = timeout.trim_end_matches('m').parse().unwrap();
                    // What is left of it when the request goes out.
                    let whole = crate::support::DEADLINE.as_millis() as u32;
                    assert!((whole / 2..=whole).contains(&millis), "{timeout}");
                }
                _ => {
                    assert_eq!(request.version, http::Version::HTTP_11);
                    assert_eq!(header("content-type"), "application/x-protobuf");
                    assert_eq!(header("content-encoding"), encoding);
                    let host = crate::support::address(&endpoint).to_string();
                    assert_eq!(header("host"), host);
                }
            }
            let stats = pipeline.settle(distinct(&collector));
            assert_eq!(stats.delivered, 50, "{}", told(&stats));
        }
    }
}

#[test]
fn many_requests_share_few_connections_otlp_2() {
    for protocol in BOTH {
        let collector = Collector::start();
        let endpoint = collector.endpoint(protocol);
        let one = Pipeline::start(builder(protocol, &endpoint).with_max_concurrent_exports(1));
        for _ in 0..5 {
            one.spans(3 * 512, 10);
            one.flush().unwrap();
        }
        assert!(collector.received_attempts() >= 15);
        assert_eq!(collector.connections(), 1, "{protocol:?}");
        one.settle(distinct(&collector));

        let collector = Collector::start();
        collector.always(Answer::ok().after(5 * MS));
        let endpoint = collector.endpoint(protocol);
        let four = Pipeline::start(builder(protocol, &endpoint).with_max_concurrent_exports(4));
        four.spans(40 * 512, 10);
        four.flush().unwrap();
        let most = if protocol == Protocol::Grpc { 1 } else { 5 };
        let made = collector.connections();
        assert!(made <= most, "{protocol:?}: {made}");
        four.settle(distinct(&collector));
    }
}

/// Keeps batches instead of sending them.
struct Keep(Arc<Mutex<Vec<Batch>>>);

impl Exporter for Keep {
    type Permit = ();
    async fn ready(&self) {}
    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let spans = batch.item_count() as u64;
        self.0.lock().unwrap().push(batch);
        std::future::ready(Outcome::delivered(spans))
    }
}

/// A batch of `n` spans.
fn batch(n: usize) -> Batch {
    let kept = Arc::default();
    let keep = tracing_otlp::builder()
        .without_env()
        .with_schedule_delay(Duration::from_secs(60))
        .with_exporter(Keep(Arc::clone(&kept)));
    let pipeline = Pipeline::start(keep);
    pipeline.spans(n, 10);
    pipeline.flush().unwrap();
    kept.lock().unwrap().pop().unwrap()
}

fn client(protocol: Protocol, endpoint: &str, timeout: Duration) -> OtlpClient {
    let mut config = ConnectionConfig::default();
    config.protocol = Some(protocol);
    config.endpoint = Some(endpoint.to_owned());
    config.timeout = Some(timeout);
    OtlpClient::new(config).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_client_by_itself_connects_sends_and_is_shut_down_from_sync_code() {
    for protocol in BOTH {
        let collector = Collector::start();
        let client = client(
            protocol,
            &collector.endpoint(protocol),
            crate::support::DEADLINE,
        );
        let runtime = runtime();
        runtime.block_on(client.initialize()).unwrap();
        runtime.block_on(client.initialize()).unwrap();
        collector
            .wait_until(crate::support::DEADLINE, |c| c.connections() == 1)
            .unwrap();
        assert_eq!(collector.received_attempts(), 0);
        let outcome = runtime.block_on(client.deliver(batch(7)));
        assert_eq!(outcome, Outcome::delivered(7));
        assert_eq!(collector.connections(), 1);
        client.close(100 * MS).unwrap();
        let outcome = runtime.block_on(client.deliver(batch(7)));
        assert_eq!(outcome.dropped, [(DropReason::Unsent, 7)], "{outcome:?}");
        assert_eq!(collector.span_count(), 7);
    }
}

#[test]
fn connections_are_made_again_where_their_runtime_is_gone() {
    for protocol in BOTH {
        let collector = Collector::start();
        let client = client(
            protocol,
            &collector.endpoint(protocol),
            crate::support::DEADLINE,
        );
        for round in 1..=3 {
            let runtime = runtime();
            if round == 2 {
                runtime.block_on(client.initialize()).unwrap();
            }
            let outcome = runtime.block_on(client.deliver(batch(1)));
            assert_eq!(outcome, Outcome::delivered(1), "{protocol:?}");
            assert_eq!(collector.connections(), round);
        }
    }
}

#[test]
fn a_shutdown_waits_for_what_is_under_way_and_no_longer_than_it_may() {
    for protocol in BOTH {
        let collector = Collector::start();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for (answer, arrives) in [
            (Answer::ok().after(200 * MS), true),
            (Answer::never(), false),
        ] {
            collector.clear();
            collector.script([answer]);
            let client = client(
                protocol,
                &collector.endpoint(protocol),
                crate::support::DEADLINE,
            );
            let sending = client.clone();
            let batch = batch(3);
            let sent = runtime.spawn(async move { sending.deliver(batch).await });
            collector
                .wait_until(crate::support::DEADLINE, |c| c.received_attempts() == 1)
                .unwrap();
            // From async code; not on a thread of the runtime, for the send may be waiting for that one.
            let stopping = client.clone();
            let limit = if arrives {
                crate::support::DEADLINE
            } else {
                300 * MS
            };
            let stopped = runtime.spawn_blocking(move || stopping.close(limit));
            let began = Instant::now();
            let stopped = runtime.block_on(stopped).unwrap();
            assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
            let outcome = runtime.block_on(sent).unwrap();
            if arrives {
                stopped.unwrap();
                assert_eq!(outcome, Outcome::delivered(3));
            } else {
                assert!(stopped.unwrap_err().is_timeout());
                assert_eq!(
                    outcome.dropped,
                    [(DropReason::Unconfirmed, 3)],
                    "{outcome:?}"
                );
            }
        }
    }
}

#[test]
fn a_client_by_itself_gives_up_in_time_where_nobody_listens_exp_1() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.go_offline();
        let client = client(protocol, &collector.endpoint(protocol), 400 * MS);
        let runtime = runtime();
        let error = runtime.block_on(client.initialize()).unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
        let began = Instant::now();
        let outcome = runtime.block_on(client.deliver(batch(2)));
        assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
        assert_eq!(outcome.dropped, [(DropReason::Unsent, 2)], "{outcome:?}");
    }
}

#[test]
fn secrets_show_nowhere() {
    let mut config = ConnectionConfig::default();
    let key = http::HeaderName::from_static("api-key");
    config.headers = vec![(key, http::HeaderValue::from_static("let-me-in"))];
    for protocol in BOTH {
        config.protocol = Some(protocol);
        let client = OtlpClient::new(config.clone()).unwrap();
        assert!(!format!("{client:?}").contains("let-me-in"));
    }
}

#[test]
fn a_client_checks_all_its_settings() {
    let mut config = ConnectionConfig::default();
    config.retry.max_attempts = 0;
    assert!(OtlpClient::new(config).unwrap_err().is_config());
    let mut config = ConnectionConfig::default();
    let reserved = http::header::CONTENT_LENGTH;
    config.headers = vec![(reserved, http::HeaderValue::from_static("7"))];
    assert!(OtlpClient::new(config).unwrap_err().is_config());
}

#[test]
fn another_server_s_port_is_told_at_the_start() {
    let runtime = runtime();
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for connection in plain.incoming().flatten().take(1) {
            let _ = (&connection).write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            // Until the client has heard enough.
            let _ = (&connection).read_to_end(&mut Vec::new());
        }
    });
    let client = client(
        Protocol::Grpc,
        &format!("http://{address}"),
        crate::support::DEADLINE,
    );
    let error = runtime.block_on(client.initialize()).unwrap_err();
    assert!(error.to_string().contains("HTTP/2"), "{error}");
}
