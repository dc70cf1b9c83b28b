//! One request, from its headers to its answer: route, read, decode, record, answer.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::answer::What;
use super::convert::Decoded;
use super::received_request::ReceivedRequest;
use super::reply::{
    self, INTERNAL, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, ReplyBody, RequestRefusal, UNIMPLEMENTED,
};
use super::reply_json::JSON;
use super::store::{Malformed, RequestStore};
use crate::config::Protocol;
use crate::signal::Signal;
use crate::wire::json::{JsonRequest, request_of_json};

/// What holds for all requests at one of the collector's two ports.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) protocol: Protocol,
    pub(super) http_path: String,
    /// Whether logs are taken.
    pub(super) takes_logs: bool,
    pub(super) max_message_size: usize,
    pub(super) count_only: bool,
    pub(super) store: Arc<RequestStore>,
}

/// What a request may ask of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerCommand {
    Close,
    GoAway,
    Freeze,
}

/// The connection that a request came on.
#[derive(Debug)]
pub(super) struct CollectorConnection {
    pub(super) port: Arc<Port>,
    pub(super) number: u64,
    pub(super) commands: mpsc::UnboundedSender<ServerCommand>,
}

impl CollectorConnection {
    /// Answers `request`. An error resets the stream (HTTP/2) or closes the connection (HTTP/1).
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<ReplyBody>, h2::Error> {
        let store = &self.port.store;
        let attempt = store.add_attempt();
        let (head, body) = request.into_parts();
        let protocol = self.port.protocol_of(&head.headers);
        let signal = match self.port.route(&head) {
            Ok(signal) => signal,
            Err(refused) => {
                // Read to its end, so that no client fails in the middle of writing.
                let _ = read(body, 0).await?;
                return Ok(*refused);
            }
        };
        let answer = store.next_answer();
        match answer.what {
            What::Close => return self.command(ServerCommand::Close, answer.delay).await,
            What::GoAway => return self.command(ServerCommand::GoAway, answer.delay).await,
            What::Freeze => return self.command(ServerCommand::Freeze, answer.delay).await,
            What::RefuseStream => {
                pause(answer.delay).await;
                return Err(h2::Reason::REFUSED_STREAM.into());
            }
            _ => {}
        }

        let body = read(body, self.port.max_message_size.saturating_add(HEAD)).await?;
        let at = Instant::now();
        let outcome = self
            .port
            .open(&head.headers, &body)
            .and_then(|opened| match protocol {
                Protocol::HttpJson => opened.of_json(signal),
                _ => Ok(opened),
            })
            .and_then(|opened| self.port.decode(signal, opened));
        let recorded = match outcome {
            Ok((message, decoded)) => Some(store.add_request(ReceivedRequest {
                attempt,
                connection: self.number,
                protocol,
                version: head.version,
                at,
                wire_len: body.len,
                compressed: message.compressed,
                message: message.bytes,
                resource_count: decoded.resource_count,
                scope_count: decoded.scope_count,
                signal,
                span_count: decoded.span_count,
                spans: decoded.spans,
                log_count: decoded.log_count,
                logs: decoded.logs,
                accepted: false,
                headers: head.headers,
            })),
            Err(refusal) => {
                store.add_malformed(Malformed {
                    attempt,
                    protocol,
                    headers: head.headers,
                    body: body.bytes,
                    error: refusal.message.clone(),
                });
                if answer.what == What::Ok {
                    return Ok(refusal.response(protocol));
                }
                None
            }
        };

        pause(answer.delay).await;
        match answer.what {
            What::Never => std::future::pending().await,
            What::CloseAfterBody => self.command(ServerCommand::Close, Duration::ZERO).await,
            _ => {
                if let Some(recorded) = recorded
                    && answer.accepts()
                {
                    store.accept(recorded);
                }
                Ok(reply::response(&answer, protocol, signal))
            }
        }
    }

    /// Hands the connection its command and answers no more.
    async fn command<T>(&self, command: ServerCommand, delay: Duration) -> T {
        pause(delay).await;
        // A connection that is gone already needs no command.
        let _ = self.commands.send(command);
        std::future::pending().await
    }
}

/// A message out of its framing and compression.
struct Opened {
    bytes: Bytes,
    compressed: bool,
}

impl Opened {
    /// The message in JSON as one of protobuf. The key of a signal may be missing: the message is empty then.
    fn of_json(self, signal: Signal) -> Result<Self, RequestRefusal> {
        let text = std::str::from_utf8(&self.bytes).map_err(|_| invalid("no UTF-8".to_owned()))?;
        let of_signal = |request: JsonRequest| match signal {
            Signal::Traces => request.spans,
            Signal::Logs => request.logs,
        };
        let message = request_of_json(text).map(of_signal).map_err(invalid)?;
        Ok(Self {
            bytes: message.unwrap_or_default().into(),
            ..self
        })
    }
}

impl Port {
    /// What an export request brings, by its line and headers, or the answer to what is none.
    fn route(&self, head: &http::request::Parts) -> Result<Signal, Box<Response<ReplyBody>>> {
        let signal = self.signal(head.uri.path());
        match self.turn_away(head, signal) {
            Some(refused) => Err(Box::new(refused)),
            None => Ok(signal.unwrap_or(Signal::Traces)),
        }
    }

    /// The protocol of a request: its content type tells JSON from protobuf.
    fn protocol_of(&self, headers: &HeaderMap) -> Protocol {
        match self.protocol {
            Protocol::HttpProtobuf if content_type(headers) == JSON => Protocol::HttpJson,
            protocol => protocol,
        }
    }

    /// What is sent to this path, if anything.
    fn signal(&self, path: &str) -> Option<Signal> {
        let (traces, logs) = match self.protocol {
            Protocol::Grpc => (GRPC_PATH, GRPC_LOGS_PATH),
            Protocol::HttpProtobuf | Protocol::HttpJson => (&*self.http_path, "/v1/logs"),
        };
        match path {
            path if path == traces => Some(Signal::Traces),
            path if path == logs && self.takes_logs => Some(Signal::Logs),
            _ => None,
        }
    }

    fn turn_away(
        &self,
        head: &http::request::Parts,
        signal: Option<Signal>,
    ) -> Option<Response<ReplyBody>> {
        let content_type = content_type(&head.headers);
        let path = head.uri.path();
        let (status, message) = match self.protocol {
            Protocol::Grpc => {
                if content_type != "application/grpc" && content_type != "application/grpc+proto" {
                    return Some(reply::bare(
                        StatusCode::UNSUPPORTED_MEDIA_TYPE,
                        "text/plain",
                        "this port speaks gRPC: content-type must be application/grpc\n",
                    ));
                }
                if head.method == Method::POST && signal.is_some() {
                    return None;
                }
                let message = format!("unknown method {} {path}", head.method);
                (StatusCode::NOT_FOUND, message)
            }
            Protocol::HttpProtobuf | Protocol::HttpJson if signal.is_none() => {
                (StatusCode::NOT_FOUND, format!("nothing at {path}"))
            }
            Protocol::HttpProtobuf | Protocol::HttpJson if head.method != Method::POST => {
                let message = format!("{} instead of POST", head.method);
                (StatusCode::METHOD_NOT_ALLOWED, message)
            }
            Protocol::HttpProtobuf | Protocol::HttpJson
                if content_type != "application/x-protobuf" && content_type != JSON =>
            {
                let message = format!("content-type {content_type:?} is not supported");
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
            }
            Protocol::HttpProtobuf | Protocol::HttpJson => return None,
        };
        let refusal = RequestRefusal::new(UNIMPLEMENTED, status, message);
        Some(refusal.response(self.protocol_of(&head.headers)))
    }

    /// Takes the message out of its framing and compression.
    fn open(&self, headers: &HeaderMap, body: &Received) -> Result<Opened, RequestRefusal> {
        let (encoding, compressed, bytes) = match self.protocol {
            Protocol::Grpc => {
                let encoding = header(headers, "grpc-encoding");
                let (compressed, bytes) = self.unframe(body)?;
                if compressed && matches!(encoding, "" | "identity") {
                    return Err(RequestRefusal::new(
                        INTERNAL,
                        StatusCode::BAD_REQUEST,
                        "the message is flagged as compressed and grpc-encoding does not say how",
                    ));
                }
                (encoding, compressed, bytes)
            }
            Protocol::HttpProtobuf | Protocol::HttpJson => {
                let encoding = header(headers, CONTENT_ENCODING.as_str());
                if body.len > self.max_message_size {
                    return Err(self.too_large(body.len));
                }
                let compressed = !matches!(encoding, "" | "identity");
                (encoding, compressed, body.bytes.clone())
            }
        };
        let bytes = match (compressed, encoding) {
            (false, _) => bytes,
            (true, "gzip") => self.gunzip(&bytes)?,
            #[cfg(feature = "zstd")]
            (true, "zstd") => {
                let decoder = zstd::stream::read::Decoder::new(&bytes[..]);
                self.unpack("zstd", decoder.map_err(|e| invalid(format!("zstd: {e}")))?)?
            }
            (true, other) => {
                return Err(RequestRefusal::new(
                    UNIMPLEMENTED,
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    format!("compression {other:?} is not supported"),
                ));
            }
        };
        Ok(Opened { bytes, compressed })
    }

    /// One length-prefixed message of gRPC, and whether it is compressed.
    fn unframe(&self, body: &Received) -> Result<(bool, Bytes), RequestRefusal> {
        let mut bytes = body.bytes.clone();
        if bytes.len() < HEAD {
            return Err(invalid(format!(
                "{} bytes are too few for a gRPC message",
                body.len
            )));
        }
        let flag = bytes.get_u8();
        let len = bytes.get_u32() as usize;
        if len > self.max_message_size {
            return Err(self.too_large(len));
        }
        if flag > 1 || len != body.len - HEAD {
            return Err(invalid(format!(
                "gRPC framing says flag {flag} and {len} bytes, {} follow",
                body.len - HEAD
            )));
        }
        Ok((flag == 1, bytes))
    }

    fn gunzip(&self, bytes: &[u8]) -> Result<Bytes, RequestRefusal> {
        self.unpack("gzip", flate2::read::MultiGzDecoder::new(bytes))
    }

    fn unpack(&self, encoding: &str, decoder: impl Read) -> Result<Bytes, RequestRefusal> {
        let mut out = Vec::new();
        let limit = self.max_message_size as u64 + 1;
        decoder
            .take(limit)
            .read_to_end(&mut out)
            .map_err(|e| invalid(format!("{encoding}: {e}")))?;
        if out.len() > self.max_message_size {
            return Err(self.too_large(out.len()));
        }
        Ok(out.into())
    }

    /// The message's content, and what is to be kept of the message itself.
    fn decode(
        &self,
        signal: Signal,
        mut opened: Opened,
    ) -> Result<(Opened, Decoded), RequestRefusal> {
        let decoded = if self.count_only {
            Decoded::count(signal, &std::mem::take(&mut opened.bytes))
        } else {
            Decoded::all(signal, opened.bytes.clone())
        };
        match decoded {
            Ok(decoded) => Ok((opened, decoded)),
            Err(e) => Err(invalid(format!("protobuf: {e}"))),
        }
    }

    fn too_large(&self, len: usize) -> RequestRefusal {
        RequestRefusal::new(
            RESOURCE_EXHAUSTED,
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "received message larger than max ({len} vs. {})",
                self.max_message_size
            ),
        )
    }
}

fn invalid(message: String) -> RequestRefusal {
    RequestRefusal::new(INVALID_ARGUMENT, StatusCode::BAD_REQUEST, message)
}

/// Sleeps, and does not even yield if there is nothing to sleep for: a timer takes a millisecond.
async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// A body that was read to its end.
struct Received {
    /// At most as much as was asked for.
    bytes: Bytes,
    /// All that came.
    len: usize,
}

/// Reads `body` to its end and keeps its first `keep` bytes.
async fn read(mut body: Incoming, keep: usize) -> Result<Received, h2::Error> {
    let mut bytes = BytesMut::new();
    let mut len = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            // The client gave up: nobody waits for what we answer.
            return Err(h2::Reason::CANCEL.into());
        };
        if let Ok(data) = frame.into_data() {
            len += data.len();
            let room = keep.saturating_sub(bytes.len()).min(data.len());
            bytes.extend_from_slice(&data[..room]);
        }
    }
    Ok(Received {
        bytes: bytes.freeze(),
        len,
    })
}

/// The header's text; empty if there is none.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("")
}

/// The media type without its parameters.
fn content_type(headers: &HeaderMap) -> &str {
    let value = header(headers, CONTENT_TYPE.as_str());
    value.split(';').next().unwrap_or("").trim()
}

/// Bytes of framing before a gRPC message: a flag and the length.
const HEAD: usize = 5;

const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const GRPC_LOGS_PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
