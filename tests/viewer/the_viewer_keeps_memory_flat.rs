//! A million spans through the viewer: what it holds is what it says, and that is bounded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may panic"
)]
#![allow(unsafe_code, reason = "an allocator can be written in no other way")]

#[path = "../support/shop.rs"]
mod shop;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicIsize, Ordering};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

/// Bytes that are allocated now.
static LIVE: AtomicIsize = AtomicIsize::new(0);

struct Counting;

// SAFETY: every call is the system allocator's own, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size as isize - layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BOUND: usize = 16 << 20;
const SPANS: u64 = 2_000;
const A_TRACE: u64 = 5;

/// A request of 400 traces; `marks` are where each span's trace id stands in it.
fn request() -> (Vec<u8>, Vec<usize>) {
    let spans = (0..SPANS).map(|i| Span {
        trace_id: b"the trace's id..".to_vec(),
        span_id: (i % A_TRACE + 1).to_be_bytes().to_vec(),
        parent_span_id: if i % A_TRACE == 0 {
            Vec::new()
        } else {
            1_u64.to_be_bytes().to_vec()
        },
        name: format!("span {}", i % A_TRACE),
        start_time_unix_nano: 1_000_000 + i,
        end_time_unix_nano: 2_000_000 + i,
        attributes: vec![
            shop::pair("http.route", "/orders/{id}"),
            shop::pair("n", "7"),
        ],
        ..Default::default()
    });
    let resource = Resource {
        attributes: vec![shop::pair("service.name", "shop")],
        ..Default::default()
    };
    let scope_spans = vec![ScopeSpans {
        spans: spans.collect(),
        ..Default::default()
    }];
    let resource_spans = vec![ResourceSpans {
        resource: Some(resource),
        scope_spans,
        ..Default::default()
    }];
    let bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    let marks = bytes
        .windows(16)
        .enumerate()
        .filter(|(_, w)| *w == b"the trace's id..");
    let marks: Vec<usize> = marks.map(|(at, _)| at).collect();
    assert_eq!(marks.len() as u64, SPANS);
    (bytes, marks)
}

fn held(page: SocketAddr, token: &str) -> (usize, usize) {
    let mut stream = TcpStream::connect(page).unwrap();
    let request = format!(
        "GET /api/traces?limit=1 HTTP/1.1\r\nHost: {page}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body: serde_json::Value =
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let number = |name: &str| body["held"][name].as_u64().unwrap() as usize;
    (number("bytes"), number("spans"))
}

#[test]
fn a_million_spans_leave_memory_flat() {
    let (mut body, marks) = request();
    let before = LIVE.load(Ordering::Relaxed);
    let viewer = tracing_otlp::viewer()
        .with_port(0)
        .with_max_memory(BOUND)
        .with_otlp_address("127.0.0.1:0".parse().unwrap())
        .with_announcement(false)
        .build()
        .unwrap();
    let (page, otlp) = (viewer.address().unwrap(), viewer.otlp_addresses()[0]);
    let token = viewer.token().unwrap().to_owned();
    // The most at the end of a request, over some of them: what is in flight differs.
    let (mut early, mut late) = (0, 0);
    for round in 0..1_000_000 / SPANS {
        for (i, at) in marks.iter().enumerate() {
            let trace = round * SPANS + i as u64 / A_TRACE + 1;
            body[at + 8..at + 16].copy_from_slice(&trace.to_be_bytes());
        }
        let answer = shop::post(otlp, &[("Content-Type", "application/x-protobuf")], &body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        if round % 10 == 0 {
            // A list makes the summaries, which are kept.
            held(page, &token);
        }
        let live = LIVE.load(Ordering::Relaxed) - before;
        match round {
            100..150 => early = early.max(live),
            450.. => late = late.max(live),
            _ => {}
        }
    }
    let (charged, spans) = held(page, &token);
    println!(
        "{spans} spans held, {charged} bytes charged, {late} allocated (after 200,000 to 300,000 spans {early})"
    );
    assert!(charged <= BOUND && charged > BOUND / 10 * 9, "{charged}");
    assert!(late < early + (1 << 20), "it grows: {early}, then {late}");
    // What is charged includes the allocator's own words, which are not counted here.
    assert!(
        late < BOUND as isize + (2 << 20),
        "{late} for {charged} charged"
    );
    assert!(late > charged as isize / 2, "{late} for {charged} charged");
}
