//! Waiting for spans ends when they come or when the deadline does, in threads and tasks, with and
//! without a runtime; and a collector's life leaves nothing behind.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::pace::scaled;
use crate::support::{DEADLINE, GrpcClient, HttpClient, address, request};
use tracing_otlp::testing::Collector;

const SHORT: Duration = Duration::from_millis(50);

/// An export without a runtime or a library: one request on one connection.
fn post(endpoint: &str, names: &[&str]) {
    let body = request(names);
    let mut stream = TcpStream::connect(address(endpoint)).unwrap();
    write!(
        stream,
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    stream.write_all(&body).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
}

#[test]
fn without_any_runtime() {
    let collector = Collector::start();
    let endpoint = collector.http_endpoint();
    let sender = std::thread::spawn(move || {
        post(&endpoint, &["a"]);
        post(&endpoint, &["b"]);
    });
    let spans = collector
        .wait_for(DEADLINE, |spans| spans.iter().any(|s| s.name == "b"))
        .unwrap();
    assert_eq!(spans.len(), 2);
    sender.join().unwrap();
}

#[test]
fn a_future_needs_no_runtime_of_ours() {
    let collector = Collector::start();
    let endpoint = collector.http_endpoint();
    let sender = std::thread::spawn(move || post(&endpoint, &["a"]));
    // Polled by hand, with a waker that unparks.
    let waker = std::task::Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut cx = std::task::Context::from_waker(&waker);
    let mut waiting = std::pin::pin!(collector.wait_for_spans_async(1, DEADLINE));
    let spans = loop {
        match waiting.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(spans) => break spans.unwrap(),
            std::task::Poll::Pending => std::thread::park(),
        }
    };
    assert_eq!(spans[0].name, "a");
    sender.join().unwrap();

    let mut waiting = std::pin::pin!(collector.wait_for_spans_async(2, SHORT));
    let began = Instant::now();
    let timeout = loop {
        match waiting.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(result) => break result.unwrap_err(),
            std::task::Poll::Pending => std::thread::park(),
        }
    };
    assert!(began.elapsed() >= SHORT && timeout.spans.len() == 1);
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

#[tokio::test(flavor = "current_thread")]
async fn in_a_current_thread_runtime() {
    let collector = Collector::start();
    let mut client = GrpcClient::connect(&collector.grpc_endpoint()).await;
    // The sender is a task of the same thread: it runs only while we wait.
    let sender = tokio::spawn(async move {
        client.export(&request(&["a"])).await.unwrap();
        client.export(&request(&["b"])).await.unwrap();
    });
    let spans = collector
        .wait_for_async(DEADLINE, |spans| spans.len() == 2)
        .await
        .unwrap();
    assert_eq!(spans[1].name, "b");
    sender.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_does_not_shorten_the_deadline() {
    let collector = Collector::start();
    let endpoint = collector.http_endpoint();
    let sender = std::thread::spawn(move || post(&endpoint, &["a"]));
    collector.wait_for_spans_async(1, DEADLINE).await.unwrap();
    sender.join().unwrap();
}

#[test]
fn a_deadline_that_passes_says_what_arrived() {
    let collector = Collector::start();
    let nothing = collector.wait_for_spans(1, SHORT).unwrap_err();
    assert_eq!(
        nothing.to_string(),
        "waited 50ms in vain; 0 spans arrived in 0 requests: none"
    );
    post(&collector.http_endpoint(), &["a", "b", "a"]);
    let began = Instant::now();
    let late = collector
        .wait_for(SHORT, |spans| spans.len() > 3)
        .unwrap_err();
    assert!(began.elapsed() >= SHORT);
    assert_eq!(
        late.to_string(),
        "waited 50ms in vain; 3 spans arrived in 1 request: \"a\" ×2, \"b\""
    );
    assert_eq!(format!("{late:?}"), late.to_string());
    assert_eq!((late.spans.len(), late.attempts), (3, 1));
}

#[test]
fn a_condition_may_ask_the_collector() {
    let collector = Collector::start();
    post(&collector.http_endpoint(), &["a"]);
    collector
        .wait_for(DEADLINE, |_| {
            collector.requests().len() == 1 && collector.spans().len() == 1
        })
        .unwrap();
}

#[test]
fn clear_forgets() {
    let collector = Collector::start();
    post(&collector.http_endpoint(), &["a"]);
    collector.clear();
    assert!(collector.spans().is_empty() && collector.requests().is_empty());
    assert_eq!(collector.received_attempts(), 0);
    post(&collector.http_endpoint(), &["b"]);
    assert_eq!(collector.spans()[0].name, "b");
    assert_eq!(collector.requests()[0].attempt, 1);
}

#[test]
fn offline_refuses_and_online_serves_at_the_same_ports() {
    let collector = Collector::start();
    let endpoints = [collector.grpc_endpoint(), collector.http_endpoint()];
    let mut idle = TcpStream::connect(address(&endpoints[0])).unwrap();
    post(&endpoints[1], &["a"]);

    collector.go_offline();
    for endpoint in &endpoints {
        let refused = TcpStream::connect(address(endpoint)).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    idle.set_read_timeout(Some(DEADLINE)).unwrap();
    let closed = idle.read_to_end(&mut Vec::new());
    assert!(closed.is_ok() || closed.unwrap_err().kind() == std::io::ErrorKind::ConnectionReset);
    collector.go_offline();

    collector.go_online().unwrap();
    collector.go_online().unwrap();
    assert_eq!(
        [collector.grpc_endpoint(), collector.http_endpoint()],
        endpoints
    );
    post(&endpoints[1], &["b"]);
    assert_eq!(collector.span_count(), 2);
}

#[test]
fn dropping_it_is_quick_and_closes_the_ports() {
    let at_once = scaled(Duration::from_secs(1));
    let collector = Collector::start();
    let addresses = [
        address(&collector.grpc_endpoint()),
        address(&collector.http_endpoint()),
    ];
    let _open = TcpStream::connect(addresses[1]).unwrap();
    let began = Instant::now();
    drop(collector);
    assert!(began.elapsed() < at_once, "{:?}", began.elapsed());
    for address in addresses {
        TcpStream::connect(address).unwrap_err();
    }
}

#[tokio::test]
async fn it_may_be_dropped_in_a_task_with_a_request_under_way() {
    let collector = Collector::start();
    collector.always(tracing_otlp::testing::Answer::never());
    let mut client = HttpClient::connect(&collector.http_endpoint()).await;
    let sent = tokio::spawn(async move { client.export(&request(&["a"])).await.is_err() });
    collector
        .wait_until_async(DEADLINE, |c| c.requests().len() == 1)
        .await
        .unwrap();
    drop(collector);
    assert!(sent.await.unwrap());
}

/// Each thing that a condition may ask about wakes those who wait for it.
#[test]
fn every_change_wakes() {
    let collector = Collector::start();
    for round in 0..20 {
        collector.script([tracing_otlp::testing::Answer::ok()]);
        let endpoint = collector.http_endpoint();
        let sender = std::thread::spawn(move || post(&endpoint, &["a"]));
        collector
            .wait_until(DEADLINE, |c| c.script_left() == 0)
            .unwrap();
        collector
            .wait_until(DEADLINE, |c| c.requests().len() == round + 1)
            .unwrap();
        collector.wait_for_spans(round + 1, DEADLINE).unwrap();
        sender.join().unwrap();
    }
}
