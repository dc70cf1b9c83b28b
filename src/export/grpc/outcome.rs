//! The outcome of a failed call: whether its error proves that nothing arrived, and its status.

use std::error::Error;

use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use tonic::Code;
use tonic::metadata::MetadataMap;

use super::super::attempt::{AttemptResult, Request, SendFailure};
use crate::error::{chain, explain};
use crate::wire::response::RpcStatus;

pub(super) enum CallOutcome {
    Refused,
    Gone(SendFailure),
}

/// tonic also keeps `grpc-timeout`, and may be a little earlier than our deadline.
pub(super) fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| error.is::<tonic::TimeoutExpired>())
}

/// Whether the connection was closed because a ping got no answer.
pub(super) fn is_silent(error: &(dyn Error + 'static)) -> bool {
    chain(error)
        .filter_map(|error| error.downcast_ref::<hyper::Error>())
        .any(hyper::Error::is_timeout)
}

/// How far the request got, by the error that ended it.
pub(super) fn outcome_of(error: &(dyn Error + 'static), request: &Request) -> CallOutcome {
    let of_h2 = chain(error).filter_map(|error| error.downcast_ref::<h2::Error>());
    for error in of_h2.filter(|error| error.is_remote()) {
        if error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM) {
            return CallOutcome::Refused;
        }
        // Only streams above the last one that the endpoint processed end so.
        if error.is_go_away() {
            return CallOutcome::Gone(SendFailure::Unread);
        }
    }
    CallOutcome::Gone(match request.sent.maybe() {
        true => SendFailure::Unknown,
        false => SendFailure::Unreached,
    })
}

/// The answer for an error that lies in the answer itself: headers above the bound, or others than HTTP/2 has.
/// It would be the same for each attempt (OTLP-13).
///
/// An error of the connection may be another request's; but for the excess that h2 calls so, those are not meant.
pub(super) fn unreadable(address: &str, error: &(dyn Error + 'static)) -> Option<AttemptResult> {
    let of_h2 = chain(error).filter_map(|error| error.downcast_ref::<h2::Error>());
    let is_excess = |error: &h2::Error| error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
    of_h2
        .filter(|error| error.is_library())
        .find(|error| error.is_reset() || is_excess(error))
        .map(|error| AttemptResult::unreadable(address, &explain(error)))
}

/// An error and its causes, without the words of tonic's status, which has its source in the form of `Debug`.
pub(super) fn why(error: &(dyn Error + 'static)) -> String {
    let inner = chain(error).find(|error| !error.is::<tonic::Status>());
    explain(inner.unwrap_or(error))
}

/// The code, message and details from headers with a `grpc-status`.
///
/// tonic's own parser panics on details that are not Base64, and replaces the code if the message is not
/// UTF-8.
pub(super) fn read_status(headers: &HeaderMap) -> Option<(u32, String, RpcStatus)> {
    let code = Code::from_bytes(headers.get("grpc-status")?.as_bytes());
    let metadata = MetadataMap::from_headers(headers.clone());
    let details = metadata.get_bin("grpc-status-details-bin");
    let details = details.and_then(|details| details.to_bytes().ok());
    let details = details.and_then(|details| RpcStatus::decode(&details));
    let details = details.unwrap_or_default();
    let text = headers.get("grpc-message").map(HeaderValue::as_bytes);
    let text = percent_decode(text.unwrap_or_default()).decode_utf8_lossy();
    let text = match &*text {
        "" => details.message.clone(),
        text => text.to_owned(),
    };
    Some((i32::from(code).unsigned_abs(), text, details))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_beside_a_status_changes_no_code_otlp_6() {
        for (name, value, text) in [
            ("grpc-status-details-bin", "!", ""),
            ("grpc-status-details-bin", "AA==,AA==", ""),
            ("grpc-message", "%FF", "\u{fffd}"),
            ("grpc-message", "not%20now", "not now"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", HeaderValue::from_static("14"));
            headers.insert(name, HeaderValue::from_static(value));
            let (code, said, details) = read_status(&headers).unwrap();
            assert_eq!((code, &*said, details.retry_delay), (14, text, None));
        }
        assert!(read_status(&HeaderMap::new()).is_none());
    }
}
