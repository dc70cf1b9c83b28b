//! [`ResponseBody`]: a response's body, with whose last frame the call is over.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf as _;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::call::Call;
use super::verdict::Ending;

pin_project! {
    /// The body of a response: the inner one, which runs in the request's span.
    ///
    /// The span ends with the last frame, trailers included, or when this is dropped before.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        // An option, so that it can be dropped in the span.
        #[pin]
        inner: Option<B>,
        call: Option<Call>,
    }

    impl<B> PinnedDrop for ResponseBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(call) = this.call.as_ref().filter(|call| !call.is_over()) {
                call.run(|| this.inner.set(None));
            }
        }
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn of(inner: B, call: Call) -> Self {
        Self {
            inner: Some(inner),
            call: Some(call),
        }
    }

    /// A body that no call waits for.
    pub(super) fn plain(inner: B) -> Self {
        Self {
            inner: Some(inner),
            call: None,
        }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::plain(B::default())
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Error: fmt::Display + 'static,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(mut inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let Some(call) = this.call else {
            return inner.poll_frame(cx);
        };
        let polled = catch_unwind(AssertUnwindSafe(|| {
            call.run(|| inner.as_mut().poll_frame(cx))
        }));
        let frame = match polled {
            Ok(polled) => ready!(polled),
            Err(payload) => {
                call.panicked(&*payload);
                resume_unwind(payload)
            }
        };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    call.data(data.remaining());
                } else if let Some(trailers) = frame.trailers_ref() {
                    call.trailers(trailers);
                }
                if frame.is_trailers() || inner.is_end_stream() {
                    call.end(Ending::Complete);
                }
            }
            Some(Err(error)) => call.failed(error),
            None => call.end(Ending::Complete),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.as_ref();
        inner.map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
