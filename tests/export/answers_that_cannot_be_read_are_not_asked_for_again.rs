//! Long answers are read as far as the limit of answers reaches. What is beyond it, or no HTTP, would be the same for
//! each attempt; and an answer without an end keeps nobody from deadlines (OTLP-13).

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::frames::{HEAD, Reply, data, frame, headers, ok, serve, settings};
use crate::support::DEADLINE;
use crate::support::pace::fit;
use crate::support::pipeline::{Pipeline, builder, last_error, told};
use tracing_otlp::{DropReason, Protocol};

/// The URL of a server of HTTP/1.1 that reads each request, counts it, and answers by `answer`.
fn http1(
    requests: &Arc<AtomicUsize>,
    answer: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (requests, answer) = (Arc::clone(requests), Arc::new(answer));
    std::thread::spawn(move || {
        for peer in listener.incoming().map_while(Result::ok) {
            let (requests, answer) = (Arc::clone(&requests), Arc::clone(&answer));
            std::thread::spawn(move || talk(peer, &requests, &*answer));
        }
    });
    url
}

fn talk(
    mut peer: TcpStream,
    requests: &AtomicUsize,
    answer: &dyn Fn(&mut TcpStream) -> std::io::Result<()>,
) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            peer.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let len = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "));
        peer.read_exact(&mut vec![0; len.unwrap().parse().unwrap()])?;
        requests.fetch_add(1, Ordering::SeqCst);
        answer(&mut peer)?;
    }
}

/// A server of gRPC that counts its requests.
fn grpc(
    requests: &Arc<AtomicUsize>,
    answer: impl Fn(usize, u32) -> Vec<u8> + Send + Sync + 'static,
) -> String {
    let requests = Arc::clone(requests);
    serve(settings(&[]), move |_, stream| {
        Reply::Send(answer(requests.fetch_add(1, Ordering::SeqCst), stream))
    })
}

fn refusal(code: &str, stream: u32) -> Vec<u8> {
    let words = "why not, ".repeat(12_000);
    let status = [
        HEAD[0],
        HEAD[1],
        ("grpc-status", code),
        ("grpc-message", &words),
    ];
    headers(stream, true, &status)
}

/// hyper's bound is 16 KiB: the words of a refusal would hide it, and the endpoint would be asked five times.
#[test]
fn a_refusal_with_many_words_is_heard() {
    let requests = Arc::default();
    let url = grpc(&requests, |_, stream| refusal("3", stream));
    let pipeline = Pipeline::start(builder(Protocol::Grpc, &url));
    pipeline.spans(3, 10);
    let error = pipeline.flush().unwrap_err().to_string();
    assert!(error.contains("INVALID_ARGUMENT: why not"), "{error}");
    let stats = pipeline.settle(0);
    assert_eq!(stats.dropped(DropReason::Refused), 3, "{}", told(&stats));
    assert_eq!(requests.load(Ordering::SeqCst), 1);

    let requests = Arc::default();
    let url = grpc(&requests, |n, stream| match n {
        0..9 => refusal("14", stream),
        _ => ok(stream),
    });
    let pipeline = Pipeline::start(builder(Protocol::Grpc, &url));
    pipeline.spans(3, 10);
    pipeline.flush().unwrap();
    let stats = pipeline.settle(3);
    assert_eq!(stats.possible_duplicates, 0, "{}", told(&stats));
}

#[test]
fn what_is_too_long_or_no_http_is_asked_for_once() {
    let many = "x-some-name: some value\r\n".repeat(150);
    let long = format!("x-long: {}\r\n", "x".repeat(1 << 20));
    let ended = |head: &str| format!("HTTP/1.1 {head}content-length: 0\r\n\r\n");
    for answer in [
        ended(&format!("200 OK\r\n{many}")),
        ended(&format!("503 Later\r\n{long}")),
        ended("000 What\r\n"),
        ended("200 OK\r\nno header\r\n"),
    ] {
        let requests = Arc::default();
        let url = http1(&requests, move |peer| peer.write_all(answer.as_bytes()));
        once(Protocol::HttpProtobuf, &url, &requests);
    }
    let requests = Arc::default();
    let url = grpc(&requests, |_, stream| refusal("14", stream));
    once(Protocol::Grpc, &url, &requests);
}

#[track_caller]
fn once(protocol: Protocol, url: &str, requests: &AtomicUsize) {
    let pipeline = Pipeline::start(
        builder(protocol, url).configure(|c| c.connection.max_response_size = 4096),
    );
    pipeline.spans(3, 10);
    let error = pipeline.flush().unwrap_err().to_string();
    for part in ["an answer that cannot be read", "is that an OTLP endpoint?"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let stats = pipeline.settle(0);
    let unconfirmed = stats.dropped(DropReason::Unconfirmed);
    assert_eq!(unconfirmed, 3, "{}", told(&stats));
    assert_eq!(requests.load(Ordering::SeqCst), 1, "asked once");
}

/// Some servers write the status before the message.
#[test]
fn rejected_spans_are_counted_wherever_the_status_stands() {
    let requests = Arc::default();
    let url = grpc(&requests, |_, stream| {
        let head = [HEAD[0], HEAD[1], ("grpc-status", "0")];
        // Two rejected spans.
        let message = [0, 0, 0, 0, 4, 0x0a, 2, 8, 2];
        [headers(stream, false, &head), data(stream, true, &message)].concat()
    });
    let pipeline = Pipeline::start(builder(Protocol::Grpc, &url));
    pipeline.spans(3, 10);
    let error = pipeline.flush().unwrap_err().to_string();
    assert!(
        error.contains("rejected 2 of 3 spans: it does not say why"),
        "{error}"
    );
    // What it rejected has arrived, too.
    let stats = pipeline.settle(3);
    assert_eq!(
        (stats.delivered, stats.rejected),
        (1, 2),
        "{}",
        told(&stats)
    );
}

/// What tonic keeps of an error is written for programmers.
#[test]
fn an_answer_that_breaks_off_is_told_in_words() {
    const RESET: u8 = 3;
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let requests = Arc::default();
    let url = grpc(&requests, |_, stream| {
        let parts = [
            headers(stream, false, &HEAD),
            data(stream, false, &[0]),
            frame(RESET, 0, stream, &CANCEL),
        ];
        parts.concat()
    });
    let pipeline = Pipeline::start(builder(Protocol::Grpc, &url));
    pipeline.spans(3, 10);
    pipeline.flush().unwrap_err();
    let stats = pipeline.settle(0);
    let said = last_error(&stats);
    assert!(said.contains("stream no longer needed"), "{said}");
    for form in ["Error {", "Error(", "code: '"] {
        assert!(!said.contains(form), "{form}: {said}");
    }
}

/// hyper passes over interim responses while there are any. The request's deadline ends it nevertheless, and the
/// worker goes on.
#[test]
fn a_flood_of_interim_responses_keeps_nobody() {
    let requests = Arc::default();
    let of_http1 = http1(&requests, |peer| {
        let flood = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(3000);
        loop {
            peer.write_all(&flood)?;
        }
    });
    let of_grpc = grpc(&requests, |_, stream| {
        let early = [(":status", "103"), ("link", "x")];
        headers(stream, false, &early).repeat(300_000)
    });
    for (protocol, url) in [
        (Protocol::HttpProtobuf, of_http1),
        (Protocol::Grpc, of_grpc),
    ] {
        let timeout = fit(Duration::from_millis(300));
        let pipeline = Pipeline::start(builder(protocol, &url).with_timeout(timeout));
        pipeline.spans(3, 10);
        let error = pipeline.guard.force_flush_blocking(DEADLINE).unwrap_err();
        assert!(error.is_export(), "{protocol:?}: {error}");
        let stats = pipeline.settle(0);
        let unconfirmed = stats.dropped(DropReason::Unconfirmed);
        assert_eq!(unconfirmed, 3, "{protocol:?}: {}", told(&stats));
    }
}
