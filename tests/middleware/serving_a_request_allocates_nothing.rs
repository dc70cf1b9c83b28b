//! The middleware allocates nothing for a request that it serves, sampled or not, with or without a
//! caller's trace; nor does a client's, beyond the header and the URL.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/allocations.rs"]
mod allocations;
#[path = "../support/capture.rs"]
mod capture;

use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::Full;
use tower::{Layer as _, Service, service_fn};
use tracing_otlp::middleware::{ClientLayer, InFlight, ServerLayer};
use tracing_otlp::sampler::AlwaysOff;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;

type Answer = Response<Full<Bytes>>;

async fn answer(_: Request<()>) -> Result<Answer, Infallible> {
    Ok(Response::new(Full::from(Bytes::from_static(b"well"))))
}

/// Serves one request whole, without a runtime; what that allocated.
fn serve<S, B>(service: &mut S, request: Request<()>) -> usize
where
    S: Service<Request<()>, Response = Response<B>, Error: std::fmt::Debug>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let before = allocations::so_far();
    let cx = &mut Context::from_waker(Waker::noop());
    let future = pin!(service.call(request));
    let std::task::Poll::Ready(Ok(response)) = future.poll(cx) else {
        panic!("it is ready at once")
    };
    let mut body = pin!(response.into_body());
    while !body.is_end_stream() {
        assert!(body.as_mut().poll_frame(cx).is_ready());
    }
    allocations::so_far() - before
}

fn request(traced: bool) -> Request<()> {
    let request = Request::get("http://shop.example:8080/api/users/4711?page=2")
        .header("user-agent", "test/1")
        .header("content-length", "0");
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = match traced {
        true => request.header("traceparent", traceparent),
        false => request,
    };
    request.body(()).unwrap()
}

/// What most requests take once all is warm: in a while the pipeline takes a chunk for many spans.
fn usual(sampled: bool, mut one: impl FnMut(bool) -> usize) -> usize {
    let (layer, _capture) = capture::layer_with(|builder| match sampled {
        true => builder,
        false => builder.with_sampler(AlwaysOff),
    });
    let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
    let mut taken = Vec::new();
    capture::under(registry.with(layer), || {
        taken.extend((0..400).map(|i| one(i % 2 == 0)).skip(200));
    });
    taken.sort_unstable();
    taken[taken.len() * 9 / 10]
}

#[test]
fn serving_a_request_allocates_nothing() {
    for sampled in [true, false] {
        let layer = ServerLayer::new()
            .with_in_flight(InFlight::new())
            .with_time_to_first_byte(true);
        let mut service = layer.layer(service_fn(answer));
        let taken = usual(sampled, |traced| serve(&mut service, request(traced)));
        assert_eq!(taken, 0, "sampled: {sampled}");
    }
}

#[test]
fn a_client_s_request_takes_its_url_and_its_header() {
    let mut service = ClientLayer::new().layer(service_fn(answer));
    let taken = usual(true, |traced| serve(&mut service, request(traced)));
    // The text of `url.full`, the header's value, and room for it among the others.
    assert!((2..=3).contains(&taken), "{taken}");
}
