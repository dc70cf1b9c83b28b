//! [`Grpc`]: OTLP over gRPC, with tonic's channel and encoded bodies.

mod outcome;

use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Response, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint as Transport};
use tower_service::Service;

use self::outcome::{CallOutcome, is_silent, is_timeout, outcome_of, read_status, unreadable, why};
use super::attempt::{AttemptResult, Request, SendFailure, leads_to, no_stream};
use super::cause::{Cause, tell};
use super::dial::Dialer;
use super::endpoint::{Endpoint, ExportSignal, RequestTarget};
use super::http2_preface::{Preface, SettingsProbe};
use super::retry;
use super::size::Said;
use super::status::{self, Retryability};
use crate::error::explain;
use crate::sync::{Mutex, lock};
use crate::text::clean;
use crate::wire::response::PartialSuccess;

/// Pings during requests detect a dead connection: one is sent with the first request after a silence, and
/// one after each further silence of [`ping_every`].
const PONG_WITHIN: Duration = Duration::from_millis(1500);

/// Servers count pings without data in between, and grpc-go closes the connection at the fourth
/// (`too_many_pings`). So at most three fit into the time that a slow endpoint may need for its answer.
fn ping_every(timeout: Option<Duration>) -> Duration {
    const LEAST: Duration = Duration::from_millis(3400);
    const MOST: Duration = Duration::from_secs(20);
    timeout.map_or(MOST, |timeout| timeout.mul_f64(0.34).clamp(LEAST, MOST))
}

/// The longest head or end of an answer, for which hyper's own bound is 16 KiB. The words of a refusal stand in
/// one header (`grpc-message`), and an answer whose headers are refused has no status.
fn longest_head(max_response: usize) -> u32 {
    const LEAST: usize = 16 << 10;
    u32::try_from(max_response.max(LEAST)).unwrap_or(u32::MAX)
}

#[derive(Debug)]
pub(crate) struct Grpc {
    dialer: Dialer,
    headers: HeaderMap,
    user_agent: HeaderValue,
    max_response: usize,
    /// The connection that requests share, and its number.
    channel: Mutex<(u64, Option<Channel>)>,
    /// Held while a connection is made: requests that wait for it share the connection.
    dialling: tokio::sync::Mutex<()>,
}

/// A connection as a request sees it.
struct Current {
    channel: Channel,
    number: u64,
    /// The connection was made for this request.
    is_new: bool,
}

impl Grpc {
    pub(crate) fn new(
        dialer: Dialer,
        headers: HeaderMap,
        user_agent: HeaderValue,
        max_response: usize,
    ) -> Self {
        Self {
            dialer,
            headers,
            user_agent,
            max_response,
            channel: Mutex::new((0, None)),
            dialling: tokio::sync::Mutex::new(()),
        }
    }

    fn channel(&self) -> (u64, Option<Channel>) {
        lock(&self.channel).clone()
    }

    /// The target of requests to `endpoint`.
    #[expect(clippy::unused_self, reason = "as with HTTP/1.1")]
    pub(crate) fn target_of(&self, endpoint: &Endpoint) -> RequestTarget {
        RequestTarget(endpoint.uri.clone())
    }

    pub(crate) fn has_new_tls(&self) -> bool {
        self.dialer.has_new_tls()
    }

    pub(crate) fn address(&self) -> String {
        self.dialer.address()
    }

    pub(crate) fn is_connected(&self) -> bool {
        // A connection whose runtime has ended fails here.
        let mut cx = Context::from_waker(Waker::noop());
        let channel = self.channel().1;
        channel.is_some_and(|mut c| !matches!(c.poll_ready(&mut cx), Poll::Ready(Err(_))))
    }

    pub(crate) async fn connect(&self) -> Result<(), String> {
        self.current().await.map(drop)
    }

    /// The current connection, or a new one.
    async fn current(&self) -> Result<Current, String> {
        let present = || match self.channel() {
            (number, Some(channel)) => Some(Current {
                channel,
                number,
                is_new: false,
            }),
            _ => None,
        };
        if let Some(current) = present() {
            return Ok(current);
        }
        let _turn = self.dialling.lock().await;
        match present() {
            Some(current) => Ok(current),
            None => self.dial().await,
        }
    }

    /// Connects, with the handshake of HTTP/2.
    async fn dial(&self) -> Result<Current, String> {
        let io = self.dialer.dial().await?;
        let (io, first) = SettingsProbe::new(io);
        let address = self.dialer.address();
        let no_http2 = |why: &str, cause| tell(&format!("no HTTP/2 with {address}: {why}"), cause);
        // The connector hands over a connection that is encrypted already where it should be, so
        // tonic gets the scheme `http`; the endpoint sees the origin.
        let origin = self.dialer.endpoint.uri.clone();
        let transport = Uri::builder()
            .scheme("http")
            .authority(self.dialer.endpoint.authority())
            .path_and_query("/")
            .build()
            .map_err(|e| explain(&e))?;
        let channel = Transport::from(transport)
            .origin(origin)
            .user_agent(self.user_agent.clone())
            .map_err(|e| explain(&e))?
            .http2_keep_alive_interval(ping_every(self.dialer.answer_within))
            .keep_alive_timeout(PONG_WITHIN)
            .keep_alive_while_idle(false)
            .http2_max_header_list_size(longest_head(self.max_response))
            .connect_with_connector(Once(Some(io)))
            .await
            .map_err(|e| no_http2(&explain(&e), Cause::ClosedAtOnce))?;
        // Before its first frame the endpoint may be a proxy with no server behind it, or not speak HTTP/2:
        // a request sent until then may be lost.
        let first = match tokio::time::timeout(self.dialer.timeout, first).await {
            Ok(Ok(first)) => first,
            Ok(Err(_)) => {
                let closed = "it closed the connection at once";
                return Err(no_http2(closed, Cause::ClosedAtOnce));
            }
            Err(_) => {
                let silent = format!("it says nothing within {:?}", self.dialer.timeout);
                return Err(no_http2(&silent, Cause::Mute));
            }
        };
        if let Some(cause) = first.cause(&Preface::Http2) {
            return Err(match &first {
                Preface::Failed { why, .. } if cause == Cause::ClosedAtOnce => {
                    let why = format!("it closed the connection at once ({why})");
                    no_http2(&why, cause)
                }
                Preface::Failed { why, .. } => no_http2(why, cause),
                _ => no_http2("it answers in another protocol", cause),
            });
        }
        let mut current = lock(&self.channel);
        let number = current.0 + 1;
        *current = (number, Some(channel.clone()));
        Ok(Current {
            channel,
            number,
            is_new: true,
        })
    }

    /// Drops a connection, unless it was replaced already.
    fn disconnect(&self, number: u64) {
        let mut current = lock(&self.channel);
        if current.0 == number {
            current.1 = None;
        }
    }

    pub(crate) fn disconnect_current(&self) {
        self.disconnect(self.channel().0);
    }

    /// One attempt, on the shared connection; connects if there is none.
    pub(crate) async fn exchange(
        &self,
        request: &Request,
        timeout: Option<Duration>,
    ) -> AttemptResult {
        loop {
            let mut current = match self.current().await {
                Ok(current) => current,
                Err(message) => {
                    let lost = SendFailure::Unreached;
                    return AttemptResult::None { message, lost };
                }
            };
            match self.call(&mut current.channel, request, timeout).await {
                Err(gone) => {
                    self.disconnect(current.number);
                    // That an old connection ended meanwhile says nothing of the endpoint. The
                    // next one is new, at the latest when all those at hand are used up.
                    let again = !current.is_new && gone.is_unsent();
                    if !again {
                        return gone;
                    }
                }
                Ok(answer) => return answer,
            }
        }
    }

    /// The answer; as an error, if the connection cannot be used any more.
    async fn call(
        &self,
        channel: &mut Channel,
        request: &Request,
        timeout: Option<Duration>,
    ) -> Result<AttemptResult, AttemptResult> {
        let address = self.dialer.address();
        if let Err(e) = std::future::poll_fn(|cx| channel.poll_ready(cx)).await {
            let what = format!("{address}: {}", explain(&e));
            return Err(AttemptResult::None {
                message: tell(&what, Cause::Broken),
                lost: SendFailure::Unreached,
            });
        }
        match channel.call(self.request(request, timeout)).await {
            Ok(response) => Ok(self.read(response, request).await),
            Err(e) => {
                if let Some(answer) = unreadable(&address, &e) {
                    return Err(answer);
                }
                let broken = format!("{address}: {}", explain(&e));
                match (outcome_of(&e, request), timeout) {
                    // Only the stream was refused; the connection stays usable.
                    (CallOutcome::Refused, _) => Ok(AttemptResult::None {
                        message: tell(&broken, Cause::TurnedAway),
                        lost: SendFailure::Unread,
                    }),
                    (CallOutcome::Gone(lost), Some(timeout)) if is_timeout(&e) => {
                        let message = match lost {
                            SendFailure::Unknown => request.unanswered(&address, timeout),
                            _ => no_stream(&address, timeout),
                        };
                        Err(AttemptResult::None { message, lost })
                    }
                    (CallOutcome::Gone(SendFailure::Unknown), _) if is_silent(&e) => {
                        let what = format!("the connection to {address} fell silent");
                        Err(AttemptResult::None {
                            message: tell(&what, Cause::Silent),
                            lost: SendFailure::Unknown,
                        })
                    }
                    (CallOutcome::Gone(lost), _) => Err(AttemptResult::None {
                        message: tell(
                            &broken,
                            match lost {
                                SendFailure::Unread => Cause::TurnedAway,
                                _ => Cause::Broken,
                            },
                        ),
                        lost: match lost {
                            SendFailure::Unknown => SendFailure::Cut,
                            lost => lost,
                        },
                    }),
                }
            }
        }
    }

    fn request(&self, request: &Request, timeout: Option<Duration>) -> http::Request<Body> {
        let mut head = BytesMut::with_capacity(5);
        head.put_u8(u8::from(request.encoding.is_some()));
        // The limit of a request's size is far below 4 GiB.
        head.put_u32(u32::try_from(request.len).unwrap_or(u32::MAX));
        let mut out = http::Request::new(Body::new(request.body(head.freeze())));
        *out.method_mut() = Method::POST;
        *out.uri_mut() = request.target.0.clone();
        *out.version_mut() = http::Version::HTTP_2;
        let headers = out.headers_mut();
        *headers = self.headers.clone();
        request.credentials.write_to(headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if let Some(encoding) = request.encoding {
            headers.insert("grpc-encoding", HeaderValue::from_static(encoding));
        }
        if let Some(value) = timeout.and_then(timeout_header) {
            headers.insert("grpc-timeout", value);
        }
        out
    }

    async fn read(&self, response: Response<Body>, request: &Request) -> AttemptResult {
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

/// `grpc-timeout`: at most eight digits and a unit.
fn timeout_header(timeout: Duration) -> Option<HeaderValue> {
    let millis = timeout.as_millis().max(1);
    let text = match millis {
        0..100_000_000 => format!("{millis}m"),
        _ => format!("{}S", (millis / 1000).min(99_999_999)),
    };
    HeaderValue::from_str(&text).ok()
}

const CLOSED: &str = "it closed the connection before the request";

/// A connector with one finished connection. tonic must not connect by itself: then a request that was
/// never sent could not be distinguished.
struct Once(Option<SettingsProbe>);

impl Service<Uri> for Once {
    type Response = TokioIo<SettingsProbe>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<SettingsProbe>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let gone = || io::Error::new(io::ErrorKind::NotConnected, CLOSED);
        ready(self.0.take().map(TokioIo::new).ok_or_else(gone))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn three_pings_at_most_go_out_before_a_slow_answer() {
        for seconds in [1, 10, 20, 50] {
            let every = ping_every(Some(Duration::from_secs(seconds)));
            // The first may go out with the request.
            assert!(3 * every > Duration::from_secs(seconds), "{every:?}");
        }
        let (longest, none) = (ping_every(Some(Duration::MAX)), ping_every(None));
        assert_eq!((longest, none), (none, Duration::from_secs(20)));
    }

    #[test]
    fn a_timeout_has_at_most_eight_digits() {
        let text = |d| timeout_header(d).unwrap().to_str().unwrap().to_owned();
        assert_eq!(text(Duration::from_secs(10)), "10000m");
        assert_eq!(text(Duration::ZERO), "1m");
        assert_eq!(text(Duration::from_secs(1_000_000)), "1000000S");
        assert_eq!(text(Duration::MAX), "99999999S");
    }

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
