//! [`Answer`]: what the collector does with a request, faults included.

use std::time::Duration;

/// What the collector does with one request. Without a script it is always [`Answer::ok`].
///
/// ```no_run
/// use std::time::Duration;
/// use tracing_otlp::testing::{Answer, Collector};
///
/// let collector = Collector::start();
/// collector.script([
///     Answer::unavailable().retry_info(Duration::from_millis(20)),
///     Answer::close(),
///     Answer::ok().after(Duration::from_millis(50)),
/// ]);
/// // The first two attempts fail, the third succeeds late, all later ones at once.
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "an answer does nothing until it is given to Collector::script or Collector::always"]
pub struct Answer {
    pub(super) what: What,
    pub(super) delay: Duration,
    pub(super) gzip: bool,
    pub(super) retry_after: Option<String>,
    pub(super) retry_info: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    Ok,
    Partial { rejected: i64, message: String },
    Grpc { code: u32, message: String },
    Http { status: u16 },
    Oversize { len: usize },
    Garbage,
    Never,
    CloseAfterBody,
    Close,
    RefuseStream,
    GoAway,
    Freeze,
}

impl Answer {
    const fn new(what: What) -> Self {
        Self {
            what,
            delay: Duration::ZERO,
            gzip: false,
            retry_after: None,
            retry_info: None,
        }
    }

    /// Takes the spans and says so.
    pub const fn ok() -> Self {
        Self::new(What::Ok)
    }

    /// Takes the request and answers with a partial success. All its spans are recorded,
    /// since OTLP does not say which of them were rejected.
    pub fn partial(rejected: i64, message: impl Into<String>) -> Self {
        Self::new(What::Partial {
            rejected,
            message: message.into(),
        })
    }

    /// Refuses with this gRPC status code, such as 14 for `UNAVAILABLE`. Over HTTP: with the
    /// status that stands for it (8: 429, 14: 503, 4: 504, 3: 400, 7: 403, 16: 401, 12: 404, any
    /// other: 500) and a `google.rpc.Status` as its body.
    pub fn grpc(code: u32, message: impl Into<String>) -> Self {
        Self::new(What::Grpc {
            code,
            message: message.into(),
        })
    }

    /// Refuses with this HTTP status, 200 to 599. Over gRPC: with the plain HTTP response of a
    /// proxy, without a `grpc-status`.
    ///
    /// # Panics
    ///
    /// If the status is not one of a final response.
    pub const fn http(status: u16) -> Self {
        assert!(
            200 <= status && status < 600,
            "an answer's HTTP status must be between 200 and 599"
        );
        Self::new(What::Http { status })
    }

    /// Refuses for now: `UNAVAILABLE` over gRPC, 503 over HTTP.
    pub fn unavailable() -> Self {
        Self::grpc(14, "scripted to be unavailable")
    }

    /// Takes the spans and answers with a valid message of `len` bytes or a little more.
    pub const fn oversize(len: usize) -> Self {
        Self::new(What::Oversize { len })
    }

    /// Takes the spans and answers with success and bytes that are no message.
    pub const fn garbage() -> Self {
        Self::new(What::Garbage)
    }

    /// Reads the request and never answers.
    pub const fn never() -> Self {
        Self::new(What::Never)
    }

    /// Closes the connection without reading the body.
    pub const fn close() -> Self {
        Self::new(What::Close)
    }

    /// Reads the request, then closes the connection without an answer.
    pub const fn close_after_body() -> Self {
        Self::new(What::CloseAfterBody)
    }

    /// HTTP/2: resets the stream with `REFUSED_STREAM`, the proof that nothing was processed; the
    /// connection lives on. HTTP/1: closes the connection.
    pub const fn refuse_stream() -> Self {
        Self::new(What::RefuseStream)
    }

    /// HTTP/2: sends `GOAWAY` with last stream 0, the proof that nothing was processed, and closes
    /// the connection. HTTP/1: closes the connection.
    pub const fn go_away() -> Self {
        Self::new(What::GoAway)
    }

    /// Stops serving the connection without closing it: nothing is read, no ping answered, as if
    /// the network were gone. New connections are served.
    pub const fn freeze() -> Self {
        Self::new(What::Freeze)
    }

    /// Does so only when `delay` has passed since the body arrived; for [`close`](Self::close),
    /// [`refuse_stream`](Self::refuse_stream), [`go_away`](Self::go_away) and
    /// [`freeze`](Self::freeze): since the headers did. If the client gives up before, the spans
    /// are not taken.
    pub const fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Compresses the answer's body with gzip, whether the client asked for it or not.
    pub const fn gzip(mut self) -> Self {
        self.gzip = true;
        self
    }

    /// Adds a `Retry-After` header as it stands: seconds or an HTTP date. Only over HTTP.
    ///
    /// # Panics
    ///
    /// If it cannot stand in a header.
    pub fn retry_after(mut self, value: impl Into<String>) -> Self {
        let value = value.into();
        assert!(
            http::HeaderValue::from_str(&value).is_ok(),
            "{value:?} cannot stand in a Retry-After header"
        );
        self.retry_after = Some(value);
        self
    }

    /// Adds a `google.rpc.RetryInfo`: over gRPC in `grpc-status-details-bin`,
    /// over HTTP in the `google.rpc.Status` that is the body. Only with a refusal.
    pub const fn retry_info(mut self, delay: Duration) -> Self {
        self.retry_info = Some(delay);
        self
    }

    /// Whether the spans count as received.
    pub(super) fn accepts(&self) -> bool {
        match self.what {
            What::Ok | What::Partial { .. } | What::Oversize { .. } | What::Garbage => true,
            What::Http { status } => status == 200,
            What::Grpc { code, .. } => code == 0,
            What::Never
            | What::CloseAfterBody
            | What::Close
            | What::RefuseStream
            | What::GoAway
            | What::Freeze => false,
        }
    }
}

impl Default for Answer {
    fn default() -> Self {
        Self::ok()
    }
}
