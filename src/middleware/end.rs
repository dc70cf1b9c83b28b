//! [`CallEnd`]: the facts of a finished call, for the hook `on_end`.

use std::time::Duration;

use http::StatusCode;

/// How a call ended, for the hook `on_end`.
#[derive(Debug, Clone, Copy)]
pub struct CallEnd<'a> {
    pub(super) duration: Duration,
    pub(super) time_to_first_byte: Option<Duration>,
    pub(super) status: Option<StatusCode>,
    pub(super) body_size: u64,
    pub(super) error_type: Option<&'a str>,
    pub(super) is_complete: bool,
}

impl<'a> CallEnd<'a> {
    /// From the first byte of the request to the end of the response.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// From the beginning to the response's headers; `None` without a response.
    pub fn time_to_first_byte(&self) -> Option<Duration> {
        self.time_to_first_byte
    }

    /// The status code; `None` without a response.
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Bytes of the response's body that were sent or received, without trailers.
    pub fn body_size(&self) -> u64 {
        self.body_size
    }

    /// The span's `error.type`; `None` without an error.
    pub fn error_type(&self) -> Option<&'a str> {
        self.error_type
    }

    /// Whether the call ran to its end: no panic, no failure, no cancellation.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }
}
