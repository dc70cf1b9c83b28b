//! [`Retryability`]: the meaning of an answer's status, as pure functions (OTLP-6, OTLP-7).

use crate::semconv::GRPC_CODES;

/// The action after an answer that is no success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retryability {
    /// Try again later.
    Retry,
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

/// The retryability of a gRPC code other than `OK` (OTLP-6).
///
/// `RESOURCE_EXHAUSTED` is retried if the endpoint names a wait. Otherwise it must not be retried: servers
/// with a limit of the message size use it for a request that is too large, so the batch is split, and a
/// batch of one span is dropped.
pub(crate) fn of_grpc(code: u32, has_retry_info: bool) -> Retryability {
    match code {
        1 | 4 | 10 | 11 | 14 | 15 => Retryability::Retry,
        RESOURCE_EXHAUSTED if has_retry_info => Retryability::Retry,
        RESOURCE_EXHAUSTED => Retryability::Split,
        UNIMPLEMENTED => Retryability::Unknown,
        UNAUTHENTICATED => Retryability::Unauthenticated,
        _ => Retryability::Refused,
    }
}

/// The retryability of an HTTP status other than 2xx (OTLP-7).
///
/// `is_about_size`: the body says that the request is too large. The Collector answers 400 then.
pub(crate) fn of_http(status: u16, is_about_size: bool) -> Retryability {
    match status {
        429 | 502 | 503 | 504 => Retryability::Retry,
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
        let retryable = [1, 4, 10, 11, 14, 15];
        for code in 1..=17 {
            let expected = match code {
                8 => Retryability::Split,
                12 => Retryability::Unknown,
                16 => Retryability::Unauthenticated,
                c if retryable.contains(&c) => Retryability::Retry,
                _ => Retryability::Refused,
            };
            assert_eq!(of_grpc(code, false), expected, "{}", grpc_name(code));
        }
        assert_eq!(of_grpc(8, true), Retryability::Retry);
        assert_eq!(of_grpc(3, true), Retryability::Refused);
        assert_eq!(grpc_name(14), "UNAVAILABLE");
        assert_eq!(grpc_name(u32::MAX), "an unknown code");
    }

    #[test]
    fn every_http_status_otlp_7() {
        for status in (100..200).chain(300..600) {
            let expected = match status {
                429 | 502 | 503 | 504 => Retryability::Retry,
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
