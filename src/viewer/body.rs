//! The body of an answer: in one piece, or events for as long as somebody listens.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

use super::connections::Busy;

#[derive(Debug)]
pub(super) enum Body {
    Whole(Option<Bytes>),
    /// gRPC ends with trailers.
    WithTrailers(Option<Bytes>, Option<HeaderMap>),
    /// Its connection is busy while somebody listens.
    Events(
        mpsc::Receiver<Bytes>,
        #[allow(dead_code, reason = "it is held, and not read")] Option<Busy>,
    ),
}

impl Body {
    /// Holds `busy` for as long as events go out.
    pub(super) fn keeping(self, busy: Busy) -> Self {
        match self {
            Self::Events(events, _) => Self::Events(events, Some(busy)),
            whole => whole,
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::Whole(Some(bytes.into()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.get_mut() {
            Self::Whole(bytes) => bytes.take().map(Frame::data),
            Self::WithTrailers(bytes, trailers) => match bytes.take() {
                Some(bytes) => Some(Frame::data(bytes)),
                None => trailers.take().map(Frame::trailers),
            },
            Self::Events(events, _) => {
                return events.poll_recv(cx).map(|e| e.map(|e| Ok(Frame::data(e))));
            }
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None) | Self::WithTrailers(None, None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::WithTrailers(..) | Self::Events(..) => SizeHint::default(),
        }
    }
}
