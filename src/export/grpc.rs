//! [`Grpc`]: OTLP over gRPC, with tonic's channel and encoded bodies.

mod answer;
mod outcome;

use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Uri};
use hyper_util::rt::TokioIo;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint as Transport};
use tower_service::Service;

use self::outcome::{CallOutcome, is_silent, is_timeout, outcome_of, unreadable};
use super::attempt::{AttemptResult, Request, SendFailure, no_stream};
use super::cause::{Cause, tell};
use super::dial::Dialer;
use super::endpoint::{Endpoint, RequestTarget};
use super::http2_preface::{Preface, SettingsProbe};
use crate::error::explain;
use crate::sync::{Mutex, lock};

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
}
