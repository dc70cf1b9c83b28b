//! [`Refusal`]: why the OTLP receiver does not take a request.

use http::StatusCode;

/// Bytes of a request, and of what it unpacks to.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// Why a request is refused: as HTTP has it, as gRPC has it, and in words.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) u8, pub(super) String);

pub(super) const INVALID_ARGUMENT: u8 = 3;
pub(super) const PERMISSION_DENIED: u8 = 7;
pub(super) const RESOURCE_EXHAUSTED: u8 = 8;
pub(super) const UNIMPLEMENTED: u8 = 12;
pub(super) const UNAVAILABLE: u8 = 14;

pub(super) fn invalid(message: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, message.into())
}

pub(super) fn too_large() -> Refusal {
    let message = format!("a request may have {MOST_BYTES} bytes");
    Refusal(StatusCode::PAYLOAD_TOO_LARGE, RESOURCE_EXHAUSTED, message)
}
