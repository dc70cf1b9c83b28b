//! [`Http`]: OTLP over HTTP/1.1 with kept connections; bodies in protobuf or JSON.
//!
//! HTTP/1.1 has no pings: only a second connection shows whether a silent connection is dead or the endpoint
//! is slow. So a request without an answer for much longer than usual is sent a second time, on a new
//! connection, and the first answer counts. One request at a time does that; if it did not help, none does
//! until the endpoint is fast again.

use std::fmt;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HOST, LOCATION, PROXY_AUTHORIZATION, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::attempt::{AttemptResult, Frames, Request, SendFailure, leads_to};
use super::cause::{Cause, tell};
use super::dial::Dialer;
use super::endpoint::{Endpoint, ExportSignal, RequestTarget};
use super::http2_preface::{Preface, SettingsProbe, says_https};
use super::proxy::Proxy;
use super::size::Said;
use super::status::Retryability;
use super::tls::wants_a_certificate;
use super::{json, retry, status};
use crate::config::Protocol;
use crate::error::explain;
use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, lock};
use crate::text::clean;
use crate::wire::response::{PartialSuccess, RpcStatus};

/// The silence after which a request is sent on a second connection.
const SILENCE: Duration = Duration::from_secs(3);

/// The longest wait for a connection to finish its last request.
const READY_WITHIN: Duration = Duration::from_millis(250);
/// The longest wait for the body of an answer: its head has the status already.
const WORDS_WITHIN: Duration = Duration::from_secs(1);

pub(crate) struct Http {
    dialer: Dialer,
    headers: HeaderMap,
    max_response: usize,
    idle: Mutex<Vec<Connection>>,
    /// How often all connections were dropped. A connection that was busy then is not kept afterwards.
    given_up: AtomicU64,
    /// Whether the last answer came well before [`SILENCE`] was over.
    is_quick: AtomicBool,
    /// Held by the request that is sent on a second connection.
    second: tokio::sync::Mutex<()>,
    /// Notified when a second connection has answered: the silent ones are dead.
    fell_silent: Notify,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Frames>,
    /// The value of [`Http::given_up`] at the time of connecting.
    since: u64,
    /// The protocol of the endpoint's first bytes, until it was checked.
    first: Option<oneshot::Receiver<Preface>>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.keys().collect();
        f.debug_struct("Http")
            .field("dialer", &self.dialer)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

/// The end of an exchange on one connection.
enum ExchangeEnd {
    With(AttemptResult),
    /// The connection was closed before anything was sent on it.
    Stale(Option<Cause>),
}

impl Connection {
    /// The protocol of the endpoint, if its first bytes are not HTTP/1.
    fn misfit(&mut self) -> Option<Cause> {
        let first = self.first.take()?.try_recv().ok()?;
        first.cause(&Preface::Http1)
    }
}

impl Http {
    pub(crate) fn new(
        dialer: Dialer,
        mut headers: HeaderMap,
        user_agent: HeaderValue,
        max_response: usize,
    ) -> Self {
        if let Ok(host) = HeaderValue::from_str(dialer.endpoint.authority()) {
            headers.entry(HOST).or_insert(host);
        }
        headers.insert(USER_AGENT, user_agent);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(match dialer.endpoint.protocol {
                Protocol::HttpJson => "application/json",
                _ => "application/x-protobuf",
            }),
        );
        if let Some(authorization) = dialer.forward_proxy().and_then(Proxy::authorization) {
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        Self {
            dialer,
            headers,
            max_response,
            idle: Mutex::default(),
            given_up: AtomicU64::new(0),
            is_quick: AtomicBool::new(false),
            second: tokio::sync::Mutex::default(),
            fell_silent: Notify::new(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        lock(&self.idle)
    }

    #[cfg(test)]
    pub(crate) fn sends_header(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.dialer.endpoint
    }

    /// The target of requests to the endpoint.
    pub(crate) fn target(&self) -> RequestTarget {
        self.dialer.target_of(&self.dialer.endpoint)
    }

    pub(crate) fn has_new_tls(&self) -> bool {
        self.dialer.has_new_tls()
    }

    pub(crate) fn address(&self) -> String {
        self.dialer.address()
    }

    pub(crate) fn is_connected(&self) -> bool {
        let mut idle = self.idle();
        idle.retain(|connection| !connection.sender.is_closed());
        !idle.is_empty()
    }

    /// Connects, and keeps the connection for the next request.
    pub(crate) async fn connect(&self) -> Result<(), String> {
        let connection = self.dial().await?;
        self.keep(connection);
        Ok(())
    }

    /// Keeps a connection for the next request, and drops those that were closed meanwhile.
    fn keep(&self, connection: Connection) {
        let mut idle = self.idle();
        idle.retain(|kept| !kept.sender.is_closed());
        if connection.since == self.given_up.load(Ordering::Relaxed) {
            idle.push(connection);
        }
    }

    pub(crate) fn disconnect_current(&self) {
        let mut idle = self.idle();
        self.given_up.fetch_add(1, Ordering::Relaxed);
        idle.clear();
    }

    async fn dial(&self) -> Result<Connection, String> {
        let since = self.given_up.load(Ordering::Relaxed);
        let (io, first) = SettingsProbe::new(self.dialer.dial().await?);
        let (sender, connection) = http1::handshake(TokioIo::new(io))
            .await
            .map_err(|e| format!("no HTTP: {}", explain(&e)))?;
        // Ends when the sender is dropped or the endpoint closes it.
        tokio::spawn(async {
            let _ = connection.await;
        });
        Ok(Connection {
            sender,
            since,
            first: Some(first),
        })
    }

    /// One attempt, on a kept connection if one is still open.
    pub(crate) async fn exchange(
        &self,
        request: &Request,
        within: Option<Duration>,
    ) -> AttemptResult {
        let until = within.and_then(|within| Instant::now().checked_add(within));
        loop {
            let kept = self.idle().pop();
            let is_kept = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                None => match self.dial().await {
                    Ok(connection) => connection,
                    Err(message) => return unreached(message),
                },
            };
            match self.send_watched(connection, request, until).await {
                ExchangeEnd::With(answer) => return answer,
                ExchangeEnd::Stale(None) if is_kept => {}
                ExchangeEnd::Stale(cause) => return self.closed_at_once(cause),
            }
        }
    }

    fn closed_at_once(&self, cause: Option<Cause>) -> AttemptResult {
        let address = self.dialer.address();
        unreached(match cause {
            Some(cause @ (Cause::SpeaksHttp2 | Cause::SpeaksTls | Cause::OtherProtocol)) => {
                let what = format!("{address} does not speak HTTP/1.1");
                tell(&what, cause)
            }
            cause => {
                let what = format!("{address} closed the connection at once");
                tell(&what, cause.unwrap_or(Cause::ClosedAtOnce))
            }
        })
    }

    /// Sends, and tries a second connection after [`SILENCE`].
    async fn send_watched(
        &self,
        connection: Connection,
        request: &Request,
        until: Option<Instant>,
    ) -> ExchangeEnd {
        let began = Instant::now();
        let mut first = pin!(self.send(connection, request, until));
        if let Ok(ended) = timeout(SILENCE, &mut first).await {
            if matches!(ended, ExchangeEnd::With(ref answer) if answer.is_some()) {
                let is_quick = began.elapsed() < SILENCE / 2;
                self.is_quick.store(is_quick, Ordering::Relaxed);
            }
            return ended;
        }
        // Not silent: the rest of the answer arrives slowly.
        if request.sent.is_taken() {
            return first.await;
        }
        let mut fell_silent = pin!(self.fell_silent.notified());
        // Registered before `second` is tried, so that no notification of another request is missed.
        fell_silent.as_mut().enable();
        let Ok(turn) = self.second.try_lock() else {
            return tokio::select! {
                biased;
                ended = &mut first => ended,
                () = fell_silent => self.silent(),
            };
        };
        // An endpoint that is slow, or has not answered yet, gets no second request.
        if !self.is_quick.load(Ordering::Relaxed) {
            drop(turn);
            return first.await;
        }
        self.is_quick.store(false, Ordering::Relaxed);
        let again = async {
            let connection = self.dial().await.ok()?;
            request.sent.double();
            let began = Instant::now();
            match self.send(connection, request, until).await {
                ExchangeEnd::With(answer) if answer.is_some() => Some((answer, began.elapsed())),
                _ => None,
            }
        };
        let second = tokio::select! {
            biased;
            // Slow, and alive.
            ended = &mut first => return ended,
            second = again => second,
        };
        drop(turn);
        match second {
            Some((answer, took)) => {
                if took < SILENCE {
                    self.disconnect_current();
                    self.is_quick.store(took < SILENCE / 2, Ordering::Relaxed);
                    self.fell_silent.notify_waiters();
                }
                ExchangeEnd::With(answer)
            }
            None => first.await,
        }
    }

    fn silent(&self) -> ExchangeEnd {
        let address = self.dialer.address();
        let what = format!("the connection to {address} fell silent");
        ExchangeEnd::With(AttemptResult::None {
            message: tell(&what, Cause::Silent),
            lost: SendFailure::Unknown,
        })
    }

    async fn send(
        &self,
        mut connection: Connection,
        request: &Request,
        until: Option<Instant>,
    ) -> ExchangeEnd {
        // A connection whose last request was answered before its body was read may never be ready again.
        let ready = timeout(READY_WITHIN, connection.sender.ready()).await;
        if !matches!(ready, Ok(Ok(()))) {
            return ExchangeEnd::Stale(connection.misfit());
        }
        let response = match connection.sender.send_request(self.request(request)).await {
            Ok(response) => response,
            Err(_) if !request.sent.maybe() => return ExchangeEnd::Stale(connection.misfit()),
            Err(e) => {
                if let Some(cause) = connection.misfit()
                    && cause != Cause::ClosedAtOnce
                {
                    // A server of another protocol has not understood the request.
                    return ExchangeEnd::Stale(Some(cause));
                }
                if wants_a_certificate(&e) {
                    return ExchangeEnd::Stale(Some(Cause::ClientCertificate));
                }
                let address = self.dialer.address();
                if e.is_parse() {
                    // The same for each attempt (OTLP-13).
                    return ExchangeEnd::With(AttemptResult::unreadable(&address, &explain(&e)));
                }
                let what = format!("{address}: {}", explain(&e));
                return ExchangeEnd::With(AttemptResult::None {
                    message: tell(&what, Cause::Broken),
                    lost: SendFailure::Cut,
                });
            }
        };
        let answer = self.read(response, request, until).await;
        if answer.is_some() && !connection.sender.is_closed() {
            self.keep(connection);
        }
        ExchangeEnd::With(answer)
    }

    fn request(&self, request: &Request) -> http::Request<Frames> {
        let mut out = http::Request::new(request.body(Bytes::new()));
        *out.method_mut() = Method::POST;
        *out.uri_mut() = request.target.0.clone();
        *out.headers_mut() = self.headers.clone();
        request.credentials.write_to(out.headers_mut());
        if let Some(encoding) = request.encoding {
            out.headers_mut()
                .insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        out
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        request: &Request,
        until: Option<Instant>,
    ) -> AttemptResult {
        let address = self.dialer.address();
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            // The status is the same for a full and a partial success, and neither may be sent again
            // (OTLP-5). The body only names the rejected spans.
            request.sent.take();
        }
        // The status is known, and the body is not worth a deadline, which would hide that status.
        let left = until.map(|until| until.saturating_duration_since(Instant::now()) / 2);
        let patience = left.map_or(WORDS_WITHIN, |left| WORDS_WITHIN.min(left));
        let body = Limited::new(body, self.max_response).collect();
        let Ok(body) = timeout(patience, body).await else {
            return match head.status.is_success() {
                true => AttemptResult::taken_without_words(&address),
                false => self.not_taken(&head, "", None, request),
            };
        };
        let body = match body {
            Ok(body) => body.to_bytes(),
            Err(e) if e.is::<LengthLimitError>() => {
                let what = format!("{address} answered more than {} bytes", self.max_response);
                return AttemptResult::Unclear {
                    message: tell(&what, Cause::LongAnswer),
                };
            }
            // The status was read and counts, even if the body is lost.
            Err(_) => Bytes::new(),
        };
        if head.status.is_success() {
            let partial = match self.dialer.endpoint.protocol {
                Protocol::HttpJson => json::partial(&body),
                _ => PartialSuccess::decode(&body).unwrap_or_default(),
            };
            let is_page = has_type(&head.headers, b"text/html") && !body.is_empty();
            return AttemptResult::Taken {
                rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
                message: match is_page {
                    // A page to log in, or the user interface of a backend: no status says so.
                    true => tell(
                        &format!(
                            "{address} answered HTTP {} with a page of HTML",
                            head.status
                        ),
                        Cause::NoReceiver,
                    ),
                    false => clean(&partial.error_message),
                },
            };
        }
        let details = match has_type(&head.headers, b"application/x-protobuf") {
            true => RpcStatus::decode(&body).unwrap_or_default(),
            false => RpcStatus {
                message: String::from_utf8_lossy(&body).into_owned(),
                ..RpcStatus::default()
            },
        };
        self.not_taken(&head, &details.message, details.retry_delay, request)
    }

    fn not_taken(
        &self,
        head: &response::Parts,
        words: &str,
        wait: Option<Duration>,
        request: &Request,
    ) -> AttemptResult {
        let status = head.status;
        let wait = retry::asked_by(&head.headers).or(wait);
        let address = self.dialer.address();
        let code = status.as_u16();
        let said = Said::of(words, request.plain_len);
        let retryability = status::of_http(code, said != Said::Nothing);
        let cause = match retryability {
            Retryability::Split => Cause::TooLarge,
            _ if says_https(words.as_bytes()) => Cause::SpeaksTls,
            Retryability::Unknown if request.signal == ExportSignal::Logs => Cause::NoLogs,
            _ => Cause::Http(code),
        };
        // The message names the URL without its query, which may hold a secret.
        let to = match code {
            413 | 429 => String::new(),
            300..400 => {
                let path = request.target.0.path();
                format!(" to POST {path}{}", leads_to(&head.headers))
            }
            400..500 => format!(" to POST {}", request.target.0.path()),
            _ => String::new(),
        };
        let asks = wait.filter(|wait| wait.as_secs() > 0);
        let asks = asks.map_or_else(String::new, |wait| format!(" (later, in {wait:?})"));
        AttemptResult::NotTaken {
            retryability,
            message: tell(
                &format!("{address} answered HTTP {status}{to}{asks} {words}"),
                cause,
            ),
            wait,
            size: match retryability {
                Retryability::Split => said.at_least_too_large(),
                _ => Said::Nothing,
            },
            location: match status {
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
                    let location = head.headers.get(LOCATION);
                    location.and_then(|l| l.to_str().ok()).map(str::to_owned)
                }
                _ => None,
            },
        }
    }
}

fn has_type(headers: &HeaderMap, content_type: &[u8]) -> bool {
    let given = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    given.is_some_and(|given| given.starts_with(content_type))
}

fn unreached(message: String) -> AttemptResult {
    let lost = SendFailure::Unreached;
    AttemptResult::None { message, lost }
}
