//! One attempt: what is sent, and what can come of it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body::{Body, Frame, SizeHint};

use super::cause::{Cause, tell};
use super::endpoint::Signal;
use super::size::Said;
use super::status::Verdict;
use crate::human;

/// A request's bytes, as often as they are needed.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) signal: Signal,
    /// What it is sent to: with HTTP a path.
    pub(crate) target: Uri,
    pub(crate) frames: Vec<Bytes>,
    pub(crate) len: usize,
    /// The same before compression.
    pub(crate) plain_len: usize,
    pub(crate) is_gzip: bool,
    /// Set as soon as the first byte may have left.
    pub(crate) sent: Sent,
}

/// Whether anything of a request may have been written, and whether on two connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent(Arc<Marks>);

#[derive(Debug, Default)]
struct Marks {
    once: AtomicBool,
    twice: AtomicBool,
}

impl Sent {
    pub(crate) fn maybe(&self) -> bool {
        self.0.once.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.once.store(true, Ordering::Relaxed);
    }

    /// It went out on a second connection, too.
    pub(crate) fn is_doubled(&self) -> bool {
        self.0.twice.load(Ordering::Relaxed)
    }

    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "HTTP/2 has pings"))]
    pub(crate) fn double(&self) {
        self.0.twice.store(true, Ordering::Relaxed);
    }
}

/// What came of an attempt.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The endpoint took it, save `rejected` spans (OTLP-5).
    Taken { rejected: u64, message: String },
    /// The endpoint answered that it did not take it.
    NotTaken {
        verdict: Verdict,
        message: String,
        /// What the endpoint asks to wait at least.
        wait: Option<Duration>,
        /// What it says of the request's size.
        size: Said,
    },
    /// No answer.
    None { message: String, lost: Lost },
    /// An answer larger than the limit (OTLP-13): unread, so unknown, and not to be tried again.
    TooLong { message: String },
}

/// How far a request came that got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
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
    /// Whether the endpoint answered anything that could be read.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "HTTP asks"))]
    pub(crate) fn is_some(&self) -> bool {
        matches!(self, Self::Taken { .. } | Self::NotTaken { .. })
    }
}

impl Request {
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

/// That no answer came in time.
pub(crate) fn no_answer(address: &str, within: Duration) -> String {
    let what = format!("no answer from {address} within {within:.1?}");
    tell(&what, Cause::NoAnswer)
}

/// A foreign text, fit for a log line: short, and what cannot be seen in it is escaped.
pub(crate) fn clean(text: &str) -> String {
    human::line(text, 200, false)
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
