//! A real server and plain clients on loopback, on one thread, under a pipeline whose spans are kept.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tower::BoxError;
use tracing::Subscriber;
use tracing_otlp::OtlpBuilder;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;

use crate::capture::{Capture, Span, layer_with, under};

/// Long enough for a loaded machine; a test that passes never waits for it.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A pipeline that is not told of what hyper and h2 trace themselves.
pub fn pipeline_with(
    edit: impl FnOnce(OtlpBuilder) -> OtlpBuilder,
) -> (impl tracing::Subscriber + Send + Sync, Capture) {
    let (layer, capture) = layer_with(edit);
    let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
    (registry.with(layer), capture)
}

pub fn pipeline() -> (impl tracing::Subscriber + Send + Sync, Capture) {
    pipeline_with(|builder| builder)
}

/// Runs `f` on a runtime of one thread, with that pipeline; what it recorded.
pub fn recorded_with<F: Future>(
    edit: impl FnOnce(OtlpBuilder) -> OtlpBuilder,
    f: impl FnOnce() -> F,
) -> (Vec<Span>, F::Output) {
    let (subscriber, capture) = pipeline_with(edit);
    let mut output = None;
    under(subscriber, || {
        output = Some(block_on(f));
    });
    (capture.spans(), output.unwrap())
}

pub fn recorded<F: Future>(f: impl FnOnce() -> F) -> (Vec<Span>, F::Output) {
    recorded_with(|builder| builder, f)
}

/// A registry that does not see what h2 and hyper trace.
pub fn at_info() -> impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync {
    tracing_subscriber::registry().with(LevelFilter::INFO)
}

pub fn recorded_at_info<F: Future>(f: impl FnOnce() -> F) -> (Vec<Span>, F::Output) {
    let (layer, capture) = layer_with(|builder| builder);
    let mut output = None;
    under(at_info().with(layer), || output = Some(block_on(f)));
    (capture.spans(), output.unwrap())
}

pub fn block_on<F: Future>(f: impl FnOnce() -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let output = runtime.block_on(async { f().await });
    // What is left of servers and connections ends here, in the pipeline.
    drop(runtime);
    output
}

/// Serves `app` on a port of its own until the runtime ends.
pub async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// One request over a connection of its own, read to its end.
pub async fn get(address: SocketAddr, path: &str) -> (http::response::Parts, Bytes) {
    send(address, request("GET", path)).await
}

pub fn request(method: &str, path: &str) -> Request<Empty<Bytes>> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("host", "shop.example:8080");
    request.body(Empty::new()).unwrap()
}

pub async fn send(
    address: SocketAddr,
    request: Request<Empty<Bytes>>,
) -> (http::response::Parts, Bytes) {
    let (parts, body) = open(address, request).await.unwrap().into_parts();
    (parts, body.collect().await.unwrap().to_bytes())
}

/// The head of a response over HTTP/1.1; its body is still to come, and cut when dropped.
pub async fn open(
    address: SocketAddr,
    request: Request<Empty<Bytes>>,
) -> hyper::Result<Response<Incoming>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// The same over HTTP/2.
pub async fn open_h2<B>(
    address: SocketAddr,
    request: Request<B>,
) -> hyper::Result<Response<Incoming>>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// Reads a response whole: its data and its trailers.
pub async fn read(response: Response<Incoming>) -> (Bytes, HeaderMap) {
    let body = response.into_body().collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    (body.to_bytes(), trailers)
}

/// Waits until `is_so`.
#[track_caller]
pub fn until(is_so: impl Fn() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + DEADLINE;
        while !is_so() {
            assert!(Instant::now() < deadline, "waited in vain at {caller}");
            sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Waits until so many spans have started and none is open.
pub async fn until_closed(capture: &Capture, spans: u64) {
    until(|| {
        let stats = capture.stats();
        stats.started >= spans && stats.open == 0
    })
    .await;
}
