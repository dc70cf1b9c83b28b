//! One attempt: what is sent, and what can come of it.

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
use super::endpoint::{Signal, Target};
use super::size::Said;
use super::status::Retryability;
use crate::text;

/// A request's bytes, as often as they are needed.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) signal: Signal,
    /// What it is sent to: with HTTP a path.
    pub(crate) target: Target,
    pub(crate) frames: Vec<Bytes>,
    pub(crate) len: usize,
    /// The same before compression.
    pub(crate) plain_len: usize,
    /// How it is compressed.
    pub(crate) encoding: Option<&'static str>,
    /// Headers beside those of the settings.
    pub(crate) credentials: Credentials,
    /// Set as soon as the first byte may have left.
    pub(crate) sent: Sent,
}

/// Whether anything of a request may have been written, and whether on two connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    once: Arc<AtomicBool>,
    marks: Arc<Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    twice: AtomicBool,
    taken: AtomicBool,
}

impl Sent {
    /// The same request, of which nothing went to the next place yet.
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

    /// It went out on a second connection, too.
    pub(crate) fn is_doubled(&self) -> bool {
        self.marks.twice.load(Ordering::Relaxed)
    }

    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "HTTP/2 has pings"))]
    pub(crate) fn double(&self) {
        self.marks.twice.store(true, Ordering::Relaxed);
    }

    /// The head of an answer has said that it was taken, whatever becomes of the rest.
    pub(crate) fn is_taken(&self) -> bool {
        self.marks.taken.load(Ordering::Relaxed)
    }

    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "gRPC says it last"))]
    pub(crate) fn take(&self) {
        self.marks.taken.store(true, Ordering::Relaxed);
    }
}

/// What came of an attempt.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The endpoint took it, save `rejected` spans (OTLP-5).
    Taken { rejected: u64, message: String },
    /// The endpoint answered that it did not take it.
    NotTaken {
        retryability: Retryability,
        message: String,
        /// What the endpoint asks to wait at least.
        wait: Option<Duration>,
        /// What it says of the request's size.
        size: Said,
        /// Where else the same request may be taken.
        location: Option<String>,
    },
    /// No answer.
    None { message: String, lost: SendFailure },
    /// An answer larger than the limit (OTLP-13): unread, so unknown, and not to be tried again.
    TooLong { message: String },
}

/// How far a request came that got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendFailure {
    /// There was no connection to send it on.
    Unreached,
    /// The time that was left for it was over before it could be known whether there is one.
    NoTime,
    /// The endpoint said that it looked at nothing of it (`GOAWAY`, `REFUSED_STREAM`).
    #[cfg_attr(
        not(feature = "grpc"),
        expect(dead_code, reason = "HTTP/1 has no such word")
    )]
    Unread,
    /// It may have arrived.
    Unknown,
    /// It may have arrived, and the endpoint cut the connection.
    Cut,
}

impl Answer {
    /// Taken, and no word of what was rejected.
    pub(crate) fn taken_without_words(address: &str) -> Self {
        Self::Taken {
            rejected: 0,
            message: format!("{address} took it and did not end its answer"),
        }
    }

    /// Whether the endpoint answered anything that could be read.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "HTTP asks"))]
    pub(crate) fn is_some(&self) -> bool {
        matches!(self, Self::Taken { .. } | Self::NotTaken { .. })
    }
}

impl Request {
    /// The same for another place.
    #[cfg(feature = "http")]
    pub(crate) fn for_next_place(&self, target: Target) -> Self {
        Self {
            target,
            sent: self.sent.next_place(),
            ..self.clone()
        }
    }

    /// Without what is said to the endpoint only.
    #[cfg(feature = "http")]
    pub(crate) fn without_credentials(self) -> Self {
        Self {
            credentials: Credentials::default(),
            ..self
        }
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
        // Before this nothing but headers went out, and nobody handles a request without its body.
        self.sent.set();
        let next = self.frames.next();
        self.left -= next.as_ref().map_or(0, |b| b.len() as u64).min(self.left);
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// What an answer says of where it leads, for messages.
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

/// That no answer came in time.
pub(crate) fn no_answer(address: &str, within: Duration) -> String {
    let what = format!("no answer from {address} within {within:.1?}");
    tell(&what, Cause::NoAnswer)
}

/// A foreign text, fit for a log line: short, and what cannot be seen in it is escaped.
pub(crate) fn clean(text: &str) -> String {
    text::line(text, 200, false)
}

/// An error and its causes in one line.
pub(crate) fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    let mut depth = 0;
    while let Some(error) = cause.filter(|_| depth < 8) {
        let line = error.to_string();
        if !text.contains(&line) {
            text = format!("{text}: {line}");
        }
        cause = error.source();
        depth += 1;
    }
    clean(&text)
}
