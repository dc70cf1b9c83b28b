//! [`CallEnd`]: what is known of a call when it is over.

use std::time::Duration;

use http::StatusCode;

/// How a call ended, as the hook `on_end` is told.
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

    /// Until the response's headers were there; none if they never were.
    pub fn time_to_first_byte(&self) -> Option<Duration> {
        self.time_to_first_byte
    }

    /// The status code, if there was a response.
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Bytes of the response's body that passed, trailers not counted.
    pub fn body_size(&self) -> u64 {
        self.body_size
    }

    /// What the span's `error.type` says.
    pub fn error_type(&self) -> Option<&'a str> {
        self.error_type
    }

    /// Whether it came to its own end: it did not panic or fail, and nobody gave it up.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }
}
