//! One attempt: its [`Request`] and its [`AttemptResult`].

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use super::cause::{Cause, tell};
use super::credentials::Credentials;
use super::endpoint::{ExportSignal, RequestTarget};
use super::size::Said;
use super::status::Retryability;
use crate::text;

/// The bytes and headers of a request, for any number of attempts.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) signal: ExportSignal,
    /// The request's target; for HTTP a path.
    pub(crate) target: RequestTarget,
    pub(crate) frames: Vec<Bytes>,
    pub(crate) len: usize,
    /// The length before compression.
    pub(crate) plain_len: usize,
    /// The compression, as `Content-Encoding` names it.
    pub(crate) encoding: Option<&'static str>,
    /// Headers of the header provider.
    pub(crate) credentials: Credentials,
    /// Set before the first byte of the body is written.
    pub(crate) sent: Sent,
}

/// Whether a part of a request may have been written, and whether on two connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    once: Arc<AtomicBool>,
    marks: Arc<SentMarks>,
}

#[derive(Debug, Default)]
struct SentMarks {
    twice: AtomicBool,
    whole: AtomicBool,
    taken: AtomicBool,
}

impl Sent {
    /// The same request for another place, with nothing written yet.
    #[cfg(feature = "http")]
    pub(crate) fn next_place(&self) -> Self {
        Self {
            once: Arc::default(),
            marks: Arc::clone(&self.marks),
        }
    }

    pub(crate) fn maybe(&self) -> bool {
        self.once.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.once.store(true, Ordering::Relaxed);
    }

    /// Whether the last bytes of the body may have been written. An endpoint does not process a part of it.
    pub(crate) fn is_whole(&self) -> bool {
        self.marks.whole.load(Ordering::Relaxed)
    }

    /// The request was also sent on a second connection.
    pub(crate) fn is_doubled(&self) -> bool {
        self.marks.twice.load(Ordering::Relaxed)
    }

    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "HTTP/2 has pings"))]
    pub(crate) fn double(&self) {
        self.marks.twice.store(true, Ordering::Relaxed);
    }

    /// The head of an answer has reported success, even if the rest never arrives.
    pub(crate) fn is_taken(&self) -> bool {
        self.marks.taken.load(Ordering::Relaxed)
    }

    #[cfg_attr(
        not(any(feature = "grpc", feature = "http")),
        expect(dead_code, reason = "there is no answer")
    )]
    pub(crate) fn take(&self) {
        self.marks.taken.store(true, Ordering::Relaxed);
    }
}

/// The result of an attempt.
#[derive(Debug)]
pub(crate) enum AttemptResult {
    /// The endpoint took the request, except `rejected` spans (OTLP-5).
    Taken { rejected: u64, message: String },
    /// The endpoint, or a gateway, answered otherwise than with success.
    NotTaken {
        retryability: Retryability,
        message: String,
        /// The shortest wait that the endpoint asks for.
        wait: Option<Duration>,
        /// What the answer says about the request's size.
        size: Said,
        /// The `Location` of a redirect.
        location: Option<String>,
    },
    /// No answer.
    None { message: String, lost: SendFailure },
    /// An answer whose meaning is unknown, because it is larger than the limit (OTLP-13), or without its end:
    /// the request must not be retried.
    Unclear { message: String },
}

/// How far a request without an answer got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendFailure {
    /// No connection could be made.
    Unreached,
    /// The rest of the deadline was too short to connect.
    NoTime,
    /// The endpoint reported that it did not process the request (`GOAWAY`, `REFUSED_STREAM`).
    Unread,
    /// The request may have arrived.
    Unknown,
    /// The request may have arrived, and the endpoint cut the connection.
    Cut,
}

impl AttemptResult {
    /// Taken, but without the body that names rejected spans.
    pub(crate) fn taken_without_words(address: &str) -> Self {
        Self::Taken {
            rejected: 0,
            message: format!("{address} took it and did not end its answer"),
        }
    }

    /// An answer whose head, or end, breaks HTTP or a limit.
    #[cfg_attr(
        not(any(feature = "grpc", feature = "http")),
        expect(dead_code, reason = "there is no answer")
    )]
    pub(crate) fn unreadable(address: &str, why: &str) -> Self {
        let what = format!("{address} gave an answer that cannot be read: {why}");
        Self::Unclear {
            message: tell(&what, Cause::LongAnswer),
        }
    }

    /// Whether the endpoint certainly did not process the request.
    #[cfg_attr(not(feature = "grpc"), expect(dead_code, reason = "gRPC asks"))]
    pub(crate) fn is_unsent(&self) -> bool {
        use SendFailure::{Unreached, Unread};
        let Self::None { lost, .. } = self else {
            return false;
        };
        matches!(lost, Unreached | Unread)
    }

    /// The words of the endpoint, or the error.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Taken { message, .. }
            | Self::NotTaken { message, .. }
            | Self::None { message, .. }
            | Self::Unclear { message } => message,
        }
    }

    /// Adds words to the message of an answer that is no success.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "HTTP redirects"))]
    pub(crate) fn add_words(&mut self, words: &str) {
        match self {
            Self::Taken { .. } => {}
            Self::NotTaken { message, .. }
            | Self::None { message, .. }
            | Self::Unclear { message } => message.push_str(words),
        }
    }

    /// Whether the endpoint gave an answer that could be read.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "HTTP asks"))]
    pub(crate) fn is_some(&self) -> bool {
        matches!(self, Self::Taken { .. } | Self::NotTaken { .. })
    }
}

impl Request {
    /// The same for another place.
    #[cfg(feature = "http")]
    pub(crate) fn for_next_place(&self, target: RequestTarget) -> Self {
        Self {
            target,
            sent: self.sent.next_place(),
            ..self.clone()
        }
    }

    /// The same request without credentials, for another host.
    #[cfg(feature = "http")]
    pub(crate) fn without_credentials(self) -> Self {
        Self {
            credentials: Credentials::default(),
            ..self
        }
    }

    /// The message where no answer came in time.
    pub(crate) fn unanswered(&self, address: &str, within: Duration) -> String {
        let what = match self.sent.is_whole() {
            true => format!("no answer from {address} within {within:.1?}"),
            false => format!("{address} read only a part of the request within {within:.1?}"),
        };
        tell(&what, Cause::NoAnswer)
    }

    /// A body of these bytes, after `head`.
    pub(crate) fn body(&self, head: Bytes) -> Frames {
        let mut frames = self.frames.clone();
        let mut left = self.len;
        if !head.is_empty() {
            left += head.len();
            frames.insert(0, head);
        }
        Frames {
            left: left as u64,
            frames: frames.into_iter(),
            sent: self.sent.clone(),
        }
    }
}

/// A body of slices that are not copied.
#[derive(Debug)]
pub(crate) struct Frames {
    frames: std::vec::IntoIter<Bytes>,
    left: u64,
    sent: Sent,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // Until now only headers were written, and an endpoint does not process a request without its body.
        self.sent.set();
        let next = self.frames.next();
        self.left -= next.as_ref().map_or(0, |b| b.len() as u64).min(self.left);
        if self.left == 0 {
            self.sent.marks.whole.store(true, Ordering::Relaxed);
        }
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The target of a redirect, for messages.
pub(crate) fn leads_to(headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).map(HeaderValue::as_bytes);
    match location.map(String::from_utf8_lossy) {
        Some(location) => {
            let location = text::line(&text::url(&location), 120, false);
            format!(" (Location: {location})")
        }
        None => String::new(),
    }
}

/// The message for a connection on which no request could begin in time.
pub(crate) fn no_stream(address: &str, within: Duration) -> String {
    let what = format!("{address} lets no request begin within {within:.1?}");
    tell(&what, Cause::NoStream)
}
