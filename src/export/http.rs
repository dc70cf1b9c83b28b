//! OTLP over HTTP/1.1 with protobuf bodies, connections kept for the next request.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Response, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::dial::Dialer;
use super::exchange::{Answer, Frames, Lost, Request, clean, explain};
use super::{retry, status};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::wire::response::{PartialSuccess, RpcStatus};

pub(crate) struct Http {
    dialer: Dialer,
    headers: HeaderMap,
    path: Uri,
    max_response: usize,
    idle: Mutex<Vec<SendRequest<Frames>>>,
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

/// How an exchange on one connection went.
enum Ended {
    With(Answer),
    /// The connection turned out to be closed before anything was sent on it.
    Stale,
}

impl Http {
    pub(crate) fn new(
        dialer: Dialer,
        mut headers: HeaderMap,
        user_agent: HeaderValue,
        max_response: usize,
    ) -> Self {
        if let Ok(host) = HeaderValue::from_str(&dialer.endpoint.address()) {
            headers.entry(HOST).or_insert(host);
        }
        headers.insert(USER_AGENT, user_agent);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        let path = dialer.endpoint.uri.path_and_query().cloned();
        Self {
            path: path.map(Uri::from).unwrap_or_default(),
            dialer,
            headers,
            max_response,
            idle: Mutex::default(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<SendRequest<Frames>>> {
        lock(&self.idle)
    }

    pub(crate) fn address(&self) -> String {
        self.dialer.endpoint.address()
    }

    pub(crate) fn is_connected(&self) -> bool {
        let mut idle = self.idle();
        idle.retain(|connection| !connection.is_closed());
        !idle.is_empty()
    }

    /// Makes a connection and keeps it for the next request.
    pub(crate) async fn connect(&self) -> Result<(), String> {
        let connection = self.dial().await?;
        self.keep(connection);
        Ok(())
    }

    /// For the next request; those that were closed meanwhile go.
    fn keep(&self, connection: SendRequest<Frames>) {
        let mut idle = self.idle();
        idle.retain(|kept| !kept.is_closed());
        idle.push(connection);
    }

    pub(crate) fn disconnect_current(&self) {
        self.idle().clear();
    }

    async fn dial(&self) -> Result<SendRequest<Frames>, String> {
        let io = TokioIo::new(self.dialer.dial().await?);
        let (sender, connection) = http1::handshake(io)
            .await
            .map_err(|e| format!("no HTTP: {}", explain(&e)))?;
        // Ends when the sender is dropped or the endpoint closes it.
        tokio::spawn(async {
            let _ = connection.await;
        });
        Ok(sender)
    }

    /// One attempt, on a kept connection if there is one that is still open.
    pub(crate) async fn exchange(&self, request: &Request, _: Option<Duration>) -> Answer {
        loop {
            let kept = self.idle().pop();
            let is_kept = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                None => match self.dial().await {
                    Ok(connection) => connection,
                    Err(message) => {
                        let lost = Lost::Unreached;
                        return Answer::None { message, lost };
                    }
                },
            };
            match self.send(connection, request).await {
                Ended::With(answer) => return answer,
                Ended::Stale if is_kept => {}
                Ended::Stale => {
                    let address = self.dialer.endpoint.address();
                    let message = format!("{address} closed the connection at once");
                    let lost = Lost::Unreached;
                    return Answer::None { message, lost };
                }
            }
        }
    }

    async fn send(&self, mut connection: SendRequest<Frames>, request: &Request) -> Ended {
        if connection.ready().await.is_err() {
            return Ended::Stale;
        }
        let response = match connection.send_request(self.request(request)).await {
            Ok(response) => response,
            Err(_) if !request.sent.maybe() => return Ended::Stale,
            Err(e) => {
                let message = format!("{}: {}", self.dialer.endpoint.address(), explain(&e));
                let lost = Lost::Unknown;
                return Ended::With(Answer::None { message, lost });
            }
        };
        let answer = self.read(response).await;
        if matches!(answer, Answer::Taken { .. } | Answer::NotTaken { .. })
            && !connection.is_closed()
        {
            self.keep(connection);
        }
        Ended::With(answer)
    }

    fn request(&self, request: &Request) -> http::Request<Frames> {
        let mut out = http::Request::new(request.body(Bytes::new()));
        *out.method_mut() = Method::POST;
        *out.uri_mut() = self.path.clone();
        *out.headers_mut() = self.headers.clone();
        if request.is_gzip {
            out.headers_mut()
                .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        out
    }

    async fn read(&self, response: Response<Incoming>) -> Answer {
        let address = self.dialer.endpoint.address();
        let (head, body) = response.into_parts();
        let wait = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|v| retry::retry_after(v.to_str().ok()?, SystemTime::now()));
        let body = match Limited::new(body, self.max_response).collect().await {
            Ok(body) => body.to_bytes(),
            Err(e) if e.is::<LengthLimitError>() => {
                return Answer::TooLong {
                    message: format!("{address} answered more than {} bytes", self.max_response),
                };
            }
            // The status was read: what it says stands, whatever happened to its words.
            Err(_) => Bytes::new(),
        };
        if head.status.is_success() {
            let partial = PartialSuccess::decode(&body).unwrap_or_default();
            return Answer::Taken {
                rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
                message: clean(&partial.error_message),
            };
        }
        let is_protobuf = head
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|v| v.as_bytes().starts_with(b"application/x-protobuf"));
        let words = match is_protobuf {
            true => RpcStatus::decode(&body).unwrap_or_default().message,
            false => String::from_utf8_lossy(&body).into_owned(),
        };
        Answer::NotTaken {
            verdict: status::of_http(head.status.as_u16()),
            message: clean(format!("{address} answered HTTP {} {words}", head.status).trim_end()),
            wait,
        }
    }
}
