//! Whatever is wrong with an endpoint, errors and log lines name it, and the variable that cures it;
//! what another protocol's server got is not counted as if it might have arrived (EH-2, PAIN 30, 33).

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use crate::life::pace::{answered, fit};
use crate::life::{LONG, Pipeline, pipeline, quiet, ten_spans, until};
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, Protocol, Stats};
use tracing_subscriber::prelude::*;

const MS: Duration = Duration::from_millis(1);
const GRPC: Protocol = Protocol::Grpc;
const HTTP: Protocol = Protocol::HttpProtobuf;

/// What was said of ten spans for an endpoint, and what became of them.
struct Said {
    /// The deadline of the flush, as it is shown.
    within: String,
    flush: String,
    /// When the flush was over.
    then: Stats,
    shutdown: Option<String>,
    log: String,
    stats: Stats,
}

fn say(endpoint: &str, protocol: Protocol) -> Said {
    say_within(endpoint, protocol, fit(300 * MS))
}

fn say_within(endpoint: &str, protocol: Protocol, connect_timeout: Duration) -> Said {
    let builder = quiet(endpoint, protocol)
        .with_connect_timeout(connect_timeout)
        .configure(|c| {
            c.connection.retry.initial_backoff = 5 * MS;
            c.connection.retry.max_backoff = 50 * MS;
        });
    let Pipeline {
        dispatch,
        guard,
        ear,
    } = pipeline(builder);
    ten_spans(&dispatch);
    // Connecting has failed by then, if it fails.
    let patience = (2 * fit(400 * MS)).max(1000 * MS);
    let flush = answered(guard.force_flush(patience)).unwrap_err();
    let then = guard.stats();
    until("the first word", || !ear.diagnostics().is_empty());
    let shutdown = answered(guard.shutdown(200 * MS)).err();
    Said {
        within: format!("{patience:?}"),
        flush: flush.to_string(),
        then,
        shutdown: shutdown.map(|error| error.to_string()),
        log: ear.diagnostics().join("\n"),
        stats: guard.stats(),
    }
}

/// Spans wait, so flush and shutdown time out, and all say why.
#[track_caller]
fn waits(what: &str, endpoint: &str, protocol: Protocol, parts: &[&str]) {
    let said = say(endpoint, protocol);
    let shutdown = said.shutdown.expect("a timeout");
    for part in parts {
        for (whose, text) in [
            ("flush", &said.flush),
            ("shutdown", &shutdown),
            ("log", &said.log),
        ] {
            assert!(text.contains(part), "{what}, {whose}: {part}: {text}");
        }
    }
    let over = format!("flush did not finish within {}", said.within);
    assert!(said.flush.contains(&over), "{}", said.flush);
    assert!(said.log.contains("the endpoint takes no spans now"));
    untrue(what, &said.log);
    let Said { then, stats, .. } = said;
    assert_eq!((then.dropped_total(), then.delivered), (0, 0), "{then}");
    assert_eq!((stats.dropped_total(), stats.unaccounted()), (10, 0));
    // Over HTTP the shutdown may cut short a request that is under way: nobody knows what became of it.
    if protocol == GRPC {
        assert_eq!(stats.dropped(DropReason::Unconfirmed), 0, "{what}: {stats}");
    }
}

/// Spans are refused, and flush and log say why.
#[track_caller]
fn refuses(what: &str, endpoint: &str, protocol: Protocol, parts: &[&str]) {
    let said = say(endpoint, protocol);
    for part in parts {
        assert!(said.flush.contains(part), "{what}: {part}: {}", said.flush);
        assert!(said.log.contains(part), "{what}: {part}: {}", said.log);
    }
    assert!(said.log.contains("exporting spans fails"), "{}", said.log);
    untrue(what, &said.log);
    let stats = said.stats;
    assert_eq!(stats.dropped(DropReason::Refused), 10, "{what}: {stats}");
}

/// What is wrong about every endpoint here.
#[track_caller]
fn untrue(what: &str, log: &str) {
    for words in [
        "not answer",
        "raise shutdown_timeout",
        "slower than",
        "be reached",
    ] {
        assert!(!log.contains(words), "{what}: {words}: {log}");
    }
}

/// A server that says these bytes on each connection, `at_once` or when it has heard something.
fn server(words: &'static [u8], at_once: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                if !at_once {
                    let _ = stream.read(&mut bytes);
                }
                let _ = stream.write_all(words);
                if words.starts_with(b"HTTP") {
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                }
                // Until the other side has enough.
                while stream.read(&mut bytes).is_ok_and(|read| read > 0) {}
            });
        }
    });
    format!("http://{address}")
}

const HTTP1: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const GO_HTTPS: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\n\
    Client sent an HTTP request to an HTTPS server.\n";
const SETTINGS: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 255, 255];
const GO_AWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ALERT: &[u8] = &[21, 3, 1, 0, 2, 2, 70];

#[test]
fn another_protocol_is_recognised() {
    let to_http: &[&str] = &["speaks HTTP/1", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"];
    let to_grpc: &[&str] = &["speaks HTTP/2: gRPC?", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"];
    let to_https: &[&str] = &["speaks TLS", "https://", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    waits("HTTP/1 for gRPC", &server(HTTP1, false), GRPC, to_http);
    for at_once in [true, false] {
        waits("HTTP/2 for HTTP", &server(SETTINGS, at_once), HTTP, to_grpc);
    }
    waits(
        "a farewell for HTTP",
        &server(GO_AWAY, false),
        HTTP,
        to_grpc,
    );
    waits("TLS for gRPC", &server(ALERT, false), GRPC, to_https);
    waits("TLS for HTTP", &server(ALERT, false), HTTP, to_https);
    waits("Go's HTTPS, gRPC", &server(GO_HTTPS, false), GRPC, to_https);
    refuses(
        "Go's HTTPS, HTTP",
        &server(GO_HTTPS, false),
        HTTP,
        &to_https[..2],
    );
    let other: &[&str] = &["no OTLP is spoken there", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    waits("SSH for gRPC", &server(b"SSH-2.0-x\r\n", true), GRPC, other);
    waits("SSH for HTTP", &server(b"SSH-2.0-x\r\n", true), HTTP, other);
}

#[test]
fn a_real_server_of_grpc_is_recognised_over_http() {
    // It speaks HTTP/2 only, as tonic's and grpc-go's do.
    let runtime = crate::life::Flavour::OneWorker.build();
    let endpoint = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let router = tonic::service::Routes::default();
        let server = tonic::transport::Server::builder().add_routes(router);
        tokio::spawn(server.serve_with_incoming(incoming));
        endpoint
    });
    let to_grpc: &[&str] = &["speaks HTTP/2: gRPC?", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"];
    waits("tonic", &endpoint, HTTP, to_grpc);
    let no_service: &[&str] = &["UNIMPLEMENTED", "receiver of OTLP traces"];
    refuses("tonic", &endpoint, GRPC, no_service);
}

#[test]
fn no_connection_says_why() {
    for protocol in [GRPC, HTTP] {
        let nobody = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            format!("http://{}", listener.local_addr().unwrap())
        };
        let refused: &[&str] = &["refused", "nobody listens", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        waits("nobody", &nobody, protocol, refused);
        // It has no address, or its look-up is not over yet: how long that takes is the machine's affair.
        let no_name: &[&str] = &["no-such-host.invalid", "the DNS"];
        waits(
            "no name",
            "http://no-such-host.invalid:4317",
            protocol,
            no_name,
        );
        // Accepts and closes, as a proxy with nothing behind it.
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", proxy.local_addr().unwrap());
        std::thread::spawn(move || proxy.incoming().for_each(drop));
        if protocol == GRPC {
            waits(
                "a proxy",
                &endpoint,
                protocol,
                &["at once", "a proxy with nothing"],
            );
        }
        let plain = server(HTTP1, false).replace("http://", "https://");
        let no_tls: &[&str] = &["no TLS", "use http://"];
        waits("no TLS", &plain, protocol, no_tls);
    }
    // Takes connections, and says nothing on them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let said = say_within(&endpoint, GRPC, 300 * MS);
    for part in ["says nothing", "300ms"] {
        assert!(said.flush.contains(part), "{part}: {}", said.flush);
        assert!(said.log.contains(part), "{part}: {}", said.log);
    }
    untrue("mute", &said.log);
}

#[test]
fn each_status_has_its_cure() {
    for (status, parts) in [
        (301, &["301", "last URL"][..]),
        (400, &["400", "log"]),
        (401, &["401", "OTEL_EXPORTER_OTLP_HEADERS"]),
        (403, &["403", "OTEL_EXPORTER_OTLP_HEADERS"]),
        (404, &["404", "POST /v1/traces", "TRACES_ENDPOINT"]),
        (405, &["405", "POST /v1/traces", "TRACES_ENDPOINT"]),
        (415, &["415", "OTEL_EXPORTER_OTLP_COMPRESSION"]),
        (500, &["500", "log"]),
    ] {
        let collector = Collector::start();
        collector.always(Answer::http(status));
        refuses("HTTP", &collector.http_endpoint(), HTTP, parts);
    }
    for (status, parts) in [
        (
            404,
            &["404", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"][..],
        ),
        (401, &["401", "OTEL_EXPORTER_OTLP_HEADERS"]),
    ] {
        let collector = Collector::start();
        collector.always(Answer::http(status));
        refuses("HTTP over gRPC", &collector.grpc_endpoint(), GRPC, parts);
    }
    for (code, parts) in [
        (3, &["INVALID_ARGUMENT", "log"][..]),
        (7, &["PERMISSION_DENIED", "OTEL_EXPORTER_OTLP_HEADERS"]),
        (12, &["UNIMPLEMENTED", "receiver of OTLP traces"]),
        (13, &["INTERNAL", "log"]),
        (16, &["UNAUTHENTICATED", "OTEL_EXPORTER_OTLP_HEADERS"]),
    ] {
        let collector = Collector::start();
        collector.always(Answer::grpc(code, "no"));
        refuses("gRPC", &collector.grpc_endpoint(), GRPC, parts);
    }
    // The query may hold a secret.
    let collector = Collector::start();
    collector.always(Answer::http(404));
    let endpoint = format!("{}/base?api_key=SECRET", collector.http_endpoint());
    let said = say(&endpoint, HTTP);
    assert!(
        said.flush.contains("POST /base/v1/traces"),
        "{}",
        said.flush
    );
    assert!(!format!("{}{}", said.flush, said.log).contains("SECRET"));
}

/// It answers, so nobody says that it does not.
#[test]
fn an_endpoint_that_answers_later_is_not_called_unreachable() {
    for (answer, protocol, parts) in [
        (Answer::http(503), HTTP, &["503", "overloaded"][..]),
        (Answer::http(502), HTTP, &["502", "proxy"]),
        (Answer::http(429), HTTP, &["429", "OTEL_TRACES_SAMPLER"]),
        (Answer::http(503), GRPC, &["503", "overloaded"]),
        (Answer::unavailable(), GRPC, &["UNAVAILABLE", "overloaded"]),
    ] {
        let collector = Collector::start();
        collector.always(answer);
        let endpoint = collector.endpoint(protocol);
        let said = say(&endpoint, protocol);
        let shutdown = said.shutdown.expect("a timeout");
        for part in parts {
            assert!(said.flush.contains(part), "{part}: {}", said.flush);
            assert!(shutdown.contains(part), "{part}: {shutdown}");
            assert!(said.log.contains(part), "{part}: {}", said.log);
        }
        untrue("later", &said.log);
    }
}

/// A queue that is full during an outage is not too small for an endpoint that is too slow.
#[test]
fn a_queue_that_fills_up_says_why() {
    let collector = Collector::start();
    collector.always(Answer::http(503));
    let builder = quiet(&collector.http_endpoint(), HTTP)
        .with_max_queue_size(100)
        .with_max_export_batch_size(50)
        .with_max_concurrent_exports(1)
        .with_schedule_delay(10 * MS);
    let Pipeline {
        dispatch,
        guard,
        ear,
    } = pipeline(builder);
    ten_spans(&dispatch);
    until("the outage", || ear.has_heard("takes no spans now"));
    for _ in 0..30 {
        ten_spans(&dispatch);
    }
    until("the loss", || ear.has_heard("queue_full"));
    let log = ear.diagnostics().join("\n");
    let loss = log
        .lines()
        .find(|line| line.contains("queue_full"))
        .unwrap();
    for part in ["503", "took no spans", "OTEL_BSP_MAX_QUEUE_SIZE"] {
        assert!(loss.contains(part), "{part}: {loss}");
    }
    untrue("a full queue", &log);
    let _ = guard.shutdown_blocking(200 * MS);
}

/// OTLP-5: a request that was taken has not failed.
#[test]
fn rejected_spans_are_not_a_failed_export() {
    for protocol in [GRPC, HTTP] {
        let collector = Collector::start();
        collector.script([Answer::partial(3, "too old")]);
        let Pipeline {
            dispatch,
            guard,
            ear,
        } = pipeline(quiet(&collector.endpoint(protocol), protocol));
        ten_spans(&dispatch);
        let error = guard.force_flush_blocking(LONG).unwrap_err().to_string();
        assert!(error.contains("rejected 3 of 10 spans: too old"), "{error}");
        until("the word", || ear.has_heard("the endpoint rejects spans"));
        let log = ear.diagnostics().join("\n");
        assert!(
            log.contains("rejected=3") && !log.contains("fails"),
            "{log}"
        );
        guard.shutdown_blocking(LONG).unwrap();
    }
}

/// A gRPC endpoint on a port that says nothing, given without a protocol.
#[test]
fn a_protocol_that_was_forgotten_is_named_with_the_method_that_sets_it() {
    let collector = Collector::start();
    let builder = tracing_otlp::builder()
        .without_env()
        .with_endpoint(collector.grpc_endpoint());
    let (layer, guard) = builder.build().unwrap();
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer));
    tracing::dispatcher::with_default(&dispatch, || drop(tracing::info_span!("work")));
    let began = std::time::Instant::now();
    let error = guard
        .shutdown_blocking(Duration::from_secs(30))
        .unwrap_err()
        .to_string();
    assert!(began.elapsed() < Duration::from_secs(10));
    for part in ["HTTP/2", "PROTOCOL=grpc", "with_protocol"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}
