//! Runs a call to the end of its response's body, as a server does.

use std::fmt::Debug;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower_service::Service;

/// A response's body; what it is made of does not matter.
pub(crate) trait Driven: Body<Error: Debug> {}

impl<B: Body<Error: Debug>> Driven for B {}

/// A request's body.
pub(crate) trait Sent {
    fn empty() -> Self;
}

impl Sent for Full<Bytes> {
    fn empty() -> Self {
        Self::default()
    }
}

impl Sent for axum::body::Body {
    fn empty() -> Self {
        Self::empty()
    }
}

/// The number of frames. Nothing here waits for anything: what is pending is polled again.
pub(crate) fn drive<S, B, R>(service: &mut S, request: Request<B>) -> usize
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Debug,
    R: Driven,
{
    let mut cx = Context::from_waker(Waker::noop());
    while service.poll_ready(&mut cx).is_pending() {}
    let response = {
        let mut future = pin!(service.call(request));
        loop {
            if let Poll::Ready(response) = future.as_mut().poll(&mut cx) {
                break response.expect("a response");
            }
        }
    };
    let mut body = pin!(response.into_body());
    let mut frames = 0;
    while !body.is_end_stream() {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(frame)) => drop(frame.expect("a frame")),
            Poll::Ready(None) => break,
            Poll::Pending => continue,
        }
        frames += 1;
    }
    frames
}
