//! [`Retryability`]: the meaning of an answer's status, as pure functions (OTLP-6, OTLP-7).

use crate::semconv::GRPC_CODES;

/// The action after an answer that is no success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retryability {
    /// Try again later. `maybe_taken`: the answer is no proof that the request was not taken.
    Retry { maybe_taken: bool },
    /// The request is too large: halve it.
    Split,
    /// The credentials are invalid: try once more with new ones, if there are any.
    Unauthenticated,
    /// Do not try again.
    Refused,
    /// The endpoint does not know the method or the path: it may not take the signal (LOG-32).
    Unknown,
}

const RESOURCE_EXHAUSTED: u32 = 8;
const UNIMPLEMENTED: u32 = 12;
const UNAUTHENTICATED: u32 = 16;

/// The name of a gRPC code.
pub(crate) fn grpc_name(code: u32) -> &'static str {
    usize::try_from(code)
        .ok()
        .and_then(|i| GRPC_CODES.get(i))
        .copied()
        .unwrap_or("an unknown code")
}

const NOT_TAKEN: Retryability = Retryability::Retry { maybe_taken: false };
const MAYBE_TAKEN: Retryability = Retryability::Retry { maybe_taken: true };

/// The retryability of a gRPC code other than `OK` (OTLP-6).
///
/// `DEADLINE_EXCEEDED` may be returned for an operation that has succeeded, `CANCELLED` comes from a proxy that
/// gave up its own call, and `DATA_LOSS` says nothing about the rest of the data. `ABORTED`, `OUT_OF_RANGE` and
/// `UNAVAILABLE` say that nothing was done.
///
/// `RESOURCE_EXHAUSTED` is retried if the endpoint names a wait. Otherwise it must not be retried: servers
/// with a limit of the message size use it for a request that is too large, so the batch is split, and a
/// batch of one span is dropped.
pub(crate) fn of_grpc(code: u32, has_retry_info: bool) -> Retryability {
    match code {
        1 | 4 | 15 => MAYBE_TAKEN,
        10 | 11 | 14 => NOT_TAKEN,
        RESOURCE_EXHAUSTED if has_retry_info => NOT_TAKEN,
        RESOURCE_EXHAUSTED => Retryability::Split,
        UNIMPLEMENTED => Retryability::Unknown,
        UNAUTHENTICATED => Retryability::Unauthenticated,
        _ => Retryability::Refused,
    }
}

/// The retryability of an HTTP status other than 2xx (OTLP-7).
///
/// 502 and 504 are a gateway's words: the server behind it had the request, and gave no valid answer, or none in
/// time. 429 and 503 are the endpoint's own.
///
/// `is_about_size`: the body says that the request is too large. The Collector answers 400 then.
pub(crate) fn of_http(status: u16, is_about_size: bool) -> Retryability {
    match status {
        429 | 503 => NOT_TAKEN,
        502 | 504 => MAYBE_TAKEN,
        401 => Retryability::Unauthenticated,
        413 => Retryability::Split,
        400 if is_about_size => Retryability::Split,
        404 => Retryability::Unknown,
        _ => Retryability::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grpc_code_otlp_6() {
        for code in 1..=17 {
            let expected = match code {
                8 => Retryability::Split,
                12 => Retryability::Unknown,
                16 => Retryability::Unauthenticated,
                1 | 4 | 15 => Retryability::Retry { maybe_taken: true },
                10 | 11 | 14 => Retryability::Retry { maybe_taken: false },
                _ => Retryability::Refused,
            };
            assert_eq!(of_grpc(code, false), expected, "{}", grpc_name(code));
        }
        assert_eq!(of_grpc(8, true), NOT_TAKEN);
        assert_eq!(of_grpc(3, true), Retryability::Refused);
        assert_eq!(grpc_name(14), "UNAVAILABLE");
        assert_eq!(grpc_name(u32::MAX), "an unknown code");
    }

    #[test]
    fn every_http_status_otlp_7() {
        for status in (100..200).chain(300..600) {
            let expected = match status {
                429 | 503 => Retryability::Retry { maybe_taken: false },
                502 | 504 => Retryability::Retry { maybe_taken: true },
                401 => Retryability::Unauthenticated,
                413 => Retryability::Split,
                404 => Retryability::Unknown,
                _ => Retryability::Refused,
            };
            assert_eq!(of_http(status, false), expected, "{status}");
        }
        assert_eq!(of_http(400, true), Retryability::Split);
        assert_eq!(of_http(500, true), Retryability::Refused);
    }
}
