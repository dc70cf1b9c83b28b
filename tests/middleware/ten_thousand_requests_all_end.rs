//! Ten thousand requests at once, many of them given up at some point: each has one span, all of
//! them end, nothing stays counted as in flight (PAIN 39).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;
#[path = "../support/meters.rs"]
mod meters;
#[path = "../support/web.rs"]
mod web;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use bytes::Bytes;
use capture::{Span, layer_with, value};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meters::Meters;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing_otlp::middleware::{InFlight, ServerLayer};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;

const CONNECTIONS: u64 = 60;
const REQUESTS: u64 = 10_000;

/// A different number of milliseconds for each request, in no order.
fn pause(id: u64, salt: u64) -> Duration {
    let mixed = (id ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60;
    Duration::from_millis(mixed)
}

#[tracing::instrument]
async fn handler(Path(id): Path<u64>) -> Body {
    sleep(pause(id, 1)).await;
    assert!(id % 97 != 0, "on purpose");
    Body::new(StreamBody::new(pieces(id)))
}

/// Three pieces with pauses between.
fn pieces(
    id: u64,
) -> impl tokio_stream::Stream<Item = Result<http_body::Frame<Bytes>, Infallible>> {
    use tokio_stream::StreamExt as _;
    let pieces = tokio_stream::iter(0..3_u64);
    pieces.then(move |i| async move {
        sleep(pause(id, 2 + i)).await;
        Ok(http_body::Frame::data(Bytes::from_static(b"piece")))
    })
}

/// Sends every n-th request over one connection, all at once, and gives up as each is meant to.
async fn client(address: SocketAddr, first: u64) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut calls = tokio::task::JoinSet::new();
    for id in (first..REQUESTS).step_by(CONNECTIONS as usize) {
        let mut sender = sender.clone();
        calls.spawn(async move {
            let request = http::Request::get(format!("http://shop/items/{id}"));
            let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap());
            let patience = match id % 5 {
                // Before there is an answer, or in the midst of it.
                0 => pause(id, 7),
                1 => pause(id, 8) * 2,
                _ => Duration::from_secs(60),
            };
            let whole = async { response.await?.into_body().collect().await };
            let _ = timeout(patience, whole).await;
        });
    }
    while calls.join_next().await.is_some() {}
}

#[test]
fn ten_thousand_requests_all_end() {
    let (layer, capture) =
        layer_with(|builder| builder.configure(|config| config.batch.max_queue_size = 100_000));
    let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO);
    tracing::subscriber::set_global_default(subscriber.with(layer)).unwrap();
    std::panic::set_hook(Box::new(|_| {}));

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let in_flight = InFlight::new();
    let meters = Meters::new();
    let served = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        let count = Arc::clone(&served);
        let counting = from_fn(move |request: Request, next: Next| {
            count.fetch_add(1, Ordering::Relaxed);
            next.run(request)
        });
        let app = Router::new()
            .route("/items/{id}", get(handler))
            .layer(
                ServerLayer::new()
                    .with_in_flight(in_flight.clone())
                    .with_meter_provider(&meters.provider),
            )
            .layer(counting);
        let address = web::serve(app).await;
        let mut clients = tokio::task::JoinSet::new();
        for first in 0..CONNECTIONS {
            clients.spawn(client(address, first));
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        timeout(web::DEADLINE, in_flight.wait()).await.unwrap();
        web::until(|| capture.stats().open == 0).await;
    });
    let _ = std::panic::take_hook();
    assert!(in_flight.is_empty());

    for (attributes, active) in meters.sum("http.server.active_requests") {
        assert_eq!(active, 0, "{attributes:?}");
    }
    let measured = meters.histogram("http.server.request.duration");
    let measured: u64 = measured.iter().map(|(_, point)| point.count).sum();
    assert_eq!(measured, served.load(Ordering::Relaxed));

    let spans = capture.spans();
    let is_request = |span: &&Span| span.kind == 2;
    let requests = spans.iter().filter(is_request).count() as u64;
    assert_eq!(requests, served.load(Ordering::Relaxed));
    let ended_by = |error: &str| {
        let is = |span: &&Span| match value(&span.attributes, "error.type") {
            Some(capture::Value::StringValue(kind)) => kind == error,
            _ => false,
        };
        spans.iter().filter(is_request).filter(is).count()
    };
    assert!(ended_by("cancelled") > 100, "{}", ended_by("cancelled"));
    assert!(ended_by("panic") > 50, "{}", ended_by("panic"));
    let stats = capture.stats();
    assert_eq!((stats.open, stats.dropped_total()), (0, 0));
    assert_eq!(stats.started, spans.len() as u64);
}
