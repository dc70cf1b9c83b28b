//! [`ResponseBody`]: the body of a response; its last frame ends the call.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf as _;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::call::Call;
use super::call_status::Ending;

pin_project! {
    /// The body of a response: the inner one, which runs in the request's span.
    ///
    /// The span ends with the last frame, trailers included, or when the body is dropped before.
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
            if let Some(call) = &*this.call {
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

    /// A body without a call.
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
        let mut poll_inner = |inner: Pin<&mut Option<B>>| {
            let inner = inner.as_pin_mut();
            inner.map_or(Poll::Ready(None), |inner| inner.poll_frame(cx))
        };
        let Some(call) = this.call.as_mut() else {
            return poll_inner(this.inner);
        };
        let poll = || {
            let polled = poll_inner(this.inner.as_mut());
            let is_end = || {
                this.inner
                    .as_ref()
                    .get_ref()
                    .as_ref()
                    .is_none_or(B::is_end_stream)
            };
            let is_last = match &polled {
                Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || is_end(),
                Poll::Ready(Some(Err(_)) | None) => true,
                Poll::Pending => false,
            };
            if is_last {
                // The inner body is dropped within the span, before the span ends and may be flushed.
                this.inner.set(None);
            }
            polled.map(|frame| (frame, is_last))
        };
        let (frame, is_last) = match catch_unwind(AssertUnwindSafe(|| call.run(poll))) {
            Ok(polled) => ready!(polled),
            Err(payload) => {
                call.panicked(&*payload);
                *this.call = None;
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
            }
            Some(Err(error)) => call.failed(error),
            None => {}
        }
        if is_last {
            call.end(Ending::Complete);
            // Drops the span too: its parents stay open as long as it lives.
            *this.call = None;
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
