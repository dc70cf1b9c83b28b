//! The answer to a request over gRPC: its status in head or trailers, and the message between them.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tonic::body::Body;

use super::super::attempt::{AttemptResult, Request, SendFailure, leads_to};
use super::super::cause::{Cause, tell};
use super::super::endpoint::ExportSignal;
use super::super::retry;
use super::super::size::Said;
use super::super::status::{self, Retryability};
use super::Grpc;
use super::outcome::{read_status, unreadable, why};
use crate::text::clean;
use crate::wire::response::PartialSuccess;

impl Grpc {
    pub(super) async fn read(&self, response: Response<Body>, request: &Request) -> AttemptResult {
        let address = self.dialer.address();
        let (head, body) = response.into_parts();
        let refused = |retryability, what: &str, cause| AttemptResult::NotTaken {
            retryability,
            message: tell(what, cause),
            wait: retry::asked_by(&head.headers),
            size: match retryability {
                Retryability::Split => Said::TooLarge,
                _ => Said::Nothing,
            },
            location: None,
        };
        if !head.status.is_success() {
            // Not gRPC: a proxy in between.
            let code = head.status.as_u16();
            // An unknown path says nothing about the signal: the server speaks no gRPC.
            let retryability = match status::of_http(code, false) {
                Retryability::Unknown => Retryability::Refused,
                retryability => retryability,
            };
            let to = leads_to(&head.headers);
            let what = format!("{address} answered HTTP {}{to}", head.status);
            return refused(retryability, &what, Cause::HttpOverGrpc(code));
        }
        let early = self.status(&head.headers, &[], request);
        let is_taken = matches!(early, Some(AttemptResult::Taken { .. }));
        match early {
            // The message that follows names the rejected spans.
            Some(_) if is_taken && !http_body::Body::is_end_stream(&body) => request.sent.take(),
            Some(answer) => return answer,
            None => {}
        }
        let content_type = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_grpc = content_type.is_some_and(|t| t.starts_with(b"application/grpc"));
        let body = match Limited::new(body, self.max_response).collect().await {
            Ok(body) => body,
            Err(e) if e.is::<LengthLimitError>() => {
                let what = format!("{address} answered more than {} bytes", self.max_response);
                return AttemptResult::Unclear {
                    message: tell(&what, Cause::LongAnswer),
                };
            }
            Err(_) if is_taken => return AttemptResult::taken_without_words(&address),
            Err(e) => {
                if let Some(answer) = unreadable(&address, e.as_ref()) {
                    return answer;
                }
                let what = format!("{address}: {}", why(e.as_ref()));
                return AttemptResult::None {
                    message: tell(&what, Cause::Broken),
                    lost: SendFailure::Cut,
                };
            }
        };
        let trailers = body.trailers().cloned().unwrap_or_default();
        let message = body.to_bytes();
        if is_taken {
            return taken(&message);
        }
        self.status(&trailers, &message, request)
            .unwrap_or_else(|| {
                let what = format!("{address} answered without a grpc-status");
                match is_grpc {
                    true => AttemptResult::Unclear {
                        message: tell(&what, Cause::NoGrpcStatus),
                    },
                    false => refused(Retryability::Refused, &what, Cause::HttpOverGrpc(200)),
                }
            })
    }

    /// The answer in headers or trailers with a `grpc-status`.
    fn status(
        &self,
        headers: &HeaderMap,
        message: &[u8],
        request: &Request,
    ) -> Option<AttemptResult> {
        let (code, text, details) = read_status(headers)?;
        if code == 0 {
            return Some(taken(message));
        }
        let address = self.dialer.address();
        let wait = details.retry_delay;
        let retryability = status::of_grpc(code, wait.is_some());
        let said = match retryability {
            Retryability::Split => Said::of(&text, request.plain_len),
            _ => Said::Nothing,
        };
        let cause = match said {
            Said::Nothing
                if retryability == Retryability::Unknown
                    && request.signal == ExportSignal::Logs =>
            {
                Cause::NoLogs
            }
            Said::Nothing => Cause::Grpc(code),
            _ => Cause::TooLarge,
        };
        let asks = wait.filter(|wait| wait.as_secs() > 0);
        let asks = asks.map_or_else(String::new, |wait| format!(" (later, in {wait:?})"));
        let name = status::grpc_name(code);
        Some(AttemptResult::NotTaken {
            retryability,
            message: tell(&format!("{address} answered {name}{asks}: {text}"), cause),
            wait,
            size: said,
            location: None,
        })
    }
}

/// The answer for an `OK` with this framed message. The `OK` counts even if the message cannot be read.
fn taken(framed: &[u8]) -> AttemptResult {
    let message = match framed {
        [0, _, _, _, _, message @ ..] => message,
        _ => &[],
    };
    let partial = PartialSuccess::decode(message).unwrap_or_default();
    AttemptResult::Taken {
        rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
        message: clean(&partial.error_message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ok_whose_message_cannot_be_read_is_an_ok() {
        for framed in [
            &b""[..],
            b"\x00\x00\x00\x00\x02\xff\xff",
            b"\x01\x00\x00\x00\x01x",
        ] {
            assert!(matches!(
                taken(framed),
                AttemptResult::Taken { rejected: 0, .. }
            ));
        }
        let rejected = b"\x00\x00\x00\x00\x04\x0a\x02\x08\x05";
        assert!(matches!(
            taken(rejected),
            AttemptResult::Taken { rejected: 5, .. }
        ));
    }
}
