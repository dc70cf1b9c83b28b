//! [`ResponseFuture`]: runs the inner service's future within the call, then moves the call into the
//! response's body.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::body::ResponseBody;
use super::call::Call;
use super::call_status::Ending;

pin_project! {
    /// The future of [`ServerService`](super::Server) and [`ClientService`](super::Client).
    ///
    /// It runs the inner future in the request's span, or in its caller's context where there is no
    /// span; so does dropping it. A panic is recorded and goes on.
    #[derive(Debug)]
    #[must_use = "a future does nothing unless it is polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: InCall<F>,
    }
}

impl<F> ResponseFuture<F> {
    /// Calls the service within the call.
    pub(super) fn start(call: Call, service: impl FnOnce() -> F) -> Self {
        Self {
            inner: InCall::start(call, service),
        }
    }

    /// The future of a request without a call.
    pub(super) fn untraced(inner: F) -> Self {
        Self {
            inner: InCall {
                inner: Some(inner),
                call: None,
            },
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    E: fmt::Display + 'static,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut in_call = self.project().inner;
        let result = ready!(in_call.as_mut().poll_output(cx));
        let Some(mut call) = in_call.project().call.take() else {
            return Poll::Ready(result.map(|response| response.map(ResponseBody::plain)));
        };
        let mut response = match result {
            Ok(response) => response,
            Err(error) => {
                call.failed(&error);
                return Poll::Ready(Err(error));
            }
        };
        if call.responded(&mut response) {
            // Drops the span now: else its parents stay open until the body is dropped.
            call.end(Ending::Complete);
            return Poll::Ready(Ok(response.map(ResponseBody::plain)));
        }
        Poll::Ready(Ok(response.map(|body| ResponseBody::of(body, call))))
    }
}

pin_project! {
    /// A future that runs within its call, and returns the call with its output.
    #[derive(Debug)]
    pub(super) struct InCall<F> {
        // An option, so that it can be dropped in its span.
        #[pin]
        inner: Option<F>,
        // `None`: the request has no call, or the future is done.
        call: Option<Call>,
    }

    impl<F> PinnedDrop for InCall<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(call) = &*this.call {
                call.run(|| this.inner.set(None));
            }
        }
    }
}

impl<F> InCall<F> {
    /// Runs `begin` within the call as well.
    pub(super) fn start(mut call: Call, begin: impl FnOnce() -> F) -> Self {
        match catch_unwind(AssertUnwindSafe(|| call.run(begin))) {
            Ok(inner) => Self {
                inner: Some(inner),
                call: Some(call),
            },
            Err(payload) => {
                call.panicked(&*payload);
                resume_unwind(payload)
            }
        }
    }
}

impl<F: Future> InCall<F> {
    /// Polls the inner future within the call, which stays in its place.
    fn poll_output(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let mut poll = || {
            // `None` only after its end, or while it is dropped.
            let inner = this.inner.as_mut().as_pin_mut();
            let polled = inner.map_or(Poll::Pending, |inner| inner.poll(cx));
            if polled.is_ready() {
                // The inner future is dropped within the span, before the span may end.
                this.inner.set(None);
            }
            polled
        };
        let Some(call) = this.call else {
            return poll();
        };
        // Unwind safe: after a panic the inner future is only dropped.
        match catch_unwind(AssertUnwindSafe(|| call.run(poll))) {
            Ok(polled) => polled,
            Err(payload) => {
                call.panicked(&*payload);
                resume_unwind(payload)
            }
        }
    }
}

impl<F: Future> Future for InCall<F> {
    type Output = (F::Output, Option<Call>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let output = ready!(self.as_mut().poll_output(cx));
        Poll::Ready((output, self.project().call.take()))
    }
}
