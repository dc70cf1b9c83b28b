//! Answers as bytes: gRPC framing and trailers, HTTP statuses, `google.rpc.Status`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::answer::{Answer, What};
use super::reply_json::{self, JSON};
use crate::config::Protocol;
use crate::signal::Signal;

/// The codes of gRPC that the collector itself answers with.
pub(super) const INVALID_ARGUMENT: u32 = 3;
pub(super) const RESOURCE_EXHAUSTED: u32 = 8;
pub(super) const UNIMPLEMENTED: u32 = 12;
pub(super) const INTERNAL: u32 = 13;

/// Why the collector refuses a request on its own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestRefusal {
    pub(super) grpc: u32,
    pub(super) http: StatusCode,
    pub(super) message: String,
}

impl RequestRefusal {
    pub(super) fn new(grpc: u32, http: StatusCode, message: impl Into<String>) -> Self {
        Self {
            grpc,
            http,
            message: message.into(),
        }
    }

    pub(super) fn response(&self, protocol: Protocol) -> Response<ReplyBody> {
        match protocol {
            Protocol::Grpc => grpc_refusal(self.grpc, &self.message, None),
            Protocol::HttpProtobuf | Protocol::HttpJson => {
                let refusal = (self.grpc, &self.message[..], None);
                let mut response = http_refusal(self.http, refusal, protocol);
                if self.http == StatusCode::METHOD_NOT_ALLOWED {
                    let allow = HeaderValue::from_static("POST");
                    response.headers_mut().insert(ALLOW, allow);
                }
                response
            }
        }
    }
}

/// A plain response without a protocol's dressing.
pub(super) fn bare(
    status: StatusCode,
    content_type: &'static str,
    body: &'static str,
) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    let value = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, value);
    response
}

/// The response that `answer` asks for. Those that answer nothing never come here; if one does, it
/// is an internal error for all to see.
pub(super) fn response(answer: &Answer, protocol: Protocol, signal: Signal) -> Response<ReplyBody> {
    let mut response = match (&answer.what, protocol) {
        (
            What::Ok | What::Partial { .. } | What::Oversize { .. } | What::Garbage,
            Protocol::HttpJson,
        )
        | (What::Http { status: 200 }, Protocol::HttpJson) => {
            success(reply_json::success(&answer.what, signal), answer, protocol)
        }
        (What::Ok, _) => success(Vec::new(), answer, protocol),
        (What::Partial { rejected, message }, _) => {
            success(partial(*rejected, message.clone()), answer, protocol)
        }
        (What::Oversize { len }, _) => success(partial(0, "x".repeat(*len)), answer, protocol),
        // A length-delimited field that runs past the end.
        (What::Garbage, _) => success(vec![0x0a, 0xff, 0xff, 0x03, 0x00], answer, protocol),
        (What::Grpc { code, message }, Protocol::Grpc) => {
            grpc_refusal(*code, message, answer.retry_info)
        }
        (What::Grpc { code, message }, Protocol::HttpProtobuf | Protocol::HttpJson) => {
            let refusal = (*code, &message[..], answer.retry_info);
            http_refusal(http_status_of(*code), refusal, protocol)
        }
        (What::Http { status }, Protocol::Grpc) => bare(
            final_status(*status),
            "text/plain",
            "scripted by the test\n",
        ),
        (What::Http { status: 200 }, Protocol::HttpProtobuf) => {
            success(Vec::new(), answer, protocol)
        }
        (What::Http { status }, Protocol::HttpProtobuf | Protocol::HttpJson) => {
            let refusal = (2, "scripted by the test", answer.retry_info);
            http_refusal(final_status(*status), refusal, protocol)
        }
        (_, _) => RequestRefusal::new(
            INTERNAL,
            StatusCode::INTERNAL_SERVER_ERROR,
            "this answer has no response",
        )
        .response(protocol),
    };
    if let (Protocol::HttpProtobuf | Protocol::HttpJson, Some(value)) =
        (protocol, &answer.retry_after)
        && let Ok(value) = HeaderValue::from_str(value)
    {
        response.headers_mut().insert(RETRY_AFTER, value);
    }
    response
}

fn partial(rejected: i64, error_message: String) -> Vec<u8> {
    ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: rejected,
            error_message,
        }),
    }
    .encode_to_vec()
}

fn success(message: Vec<u8>, answer: &Answer, protocol: Protocol) -> Response<ReplyBody> {
    let message = if answer.gzip { gzip(&message) } else { message };
    match protocol {
        Protocol::Grpc => {
            let mut framed = Vec::with_capacity(5 + message.len());
            framed.push(u8::from(answer.gzip));
            framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
            framed.extend_from_slice(&message);
            let mut trailers = HeaderMap::new();
            trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
            let mut response = Response::new(ReplyBody::new(framed.into()).with_trailers(trailers));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            if answer.gzip {
                headers.insert(GRPC_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        }
        Protocol::HttpProtobuf | Protocol::HttpJson => {
            let mut response = Response::new(ReplyBody::new(message.into()));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type(protocol)));
            if answer.gzip {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        }
    }
}

/// A response of headers alone, as gRPC servers refuse.
fn grpc_refusal(code: u32, message: &str, retry: Option<Duration>) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(code));
    let text = percent_encoding::utf8_percent_encode(message, GRPC_MESSAGE_ESCAPES).to_string();
    if let Ok(text) = HeaderValue::from_str(&text) {
        headers.insert(GRPC_MESSAGE, text);
    }
    if code == UNIMPLEMENTED {
        let encodings = HeaderValue::from_static(match cfg!(feature = "zstd") {
            true => "identity, gzip, zstd",
            false => "identity, gzip",
        });
        headers.insert("grpc-accept-encoding", encodings);
    }
    if let Some(delay) = retry {
        // Without padding, as binary metadata of gRPC requires.
        let details = STANDARD_NO_PAD.encode(rpc_status(code, message, Some(delay)));
        if let Ok(details) = HeaderValue::from_str(&details) {
            headers.insert(GRPC_STATUS_DETAILS, details);
        }
    }
    response
}

fn http_refusal(
    status: StatusCode,
    (code, message, retry): (u32, &str, Option<Duration>),
    protocol: Protocol,
) -> Response<ReplyBody> {
    let body = match protocol {
        Protocol::HttpJson => reply_json::rpc_status(code, message, retry),
        _ => rpc_status(code, message, retry),
    };
    let mut response = Response::new(ReplyBody::new(body.into()));
    *response.status_mut() = status;
    let value = HeaderValue::from_static(media_type(protocol));
    response.headers_mut().insert(CONTENT_TYPE, value);
    response
}

fn media_type(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::HttpJson => JSON,
        _ => PROTOBUF,
    }
}

/// The HTTP status that OTLP/HTTP servers use for a code of gRPC.
fn http_status_of(code: u32) -> StatusCode {
    match code {
        0 => StatusCode::OK,
        3 => StatusCode::BAD_REQUEST,
        4 => StatusCode::GATEWAY_TIMEOUT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        12 => StatusCode::NOT_FOUND,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn final_status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// `google.rpc.Status { code = 1, message = 2, details = 3: Any { type_url = 1, value = 2 } }` with
/// `RetryInfo { retry_delay = 1: Duration { seconds = 1, nanos = 2 } }`.
fn rpc_status(code: u32, message: &str, retry: Option<Duration>) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(1, code.into(), &mut out);
    put_bytes(2, message.as_bytes(), &mut out);
    if let Some(delay) = retry {
        let mut duration = Vec::new();
        put_varint(1, delay.as_secs(), &mut duration);
        put_varint(2, delay.subsec_nanos().into(), &mut duration);
        let mut info = Vec::new();
        put_bytes(1, &duration, &mut info);
        let mut any = Vec::new();
        put_bytes(1, b"type.googleapis.com/google.rpc.RetryInfo", &mut any);
        put_bytes(2, &info, &mut any);
        put_bytes(3, &any, &mut out);
    }
    out
}

fn put_varint(field: u32, value: u64, out: &mut Vec<u8>) {
    encode_key(field, WireType::Varint, out);
    encode_varint(value, out);
}

fn put_bytes(field: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to a Vec does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// A response's body: at most one piece of data, then perhaps trailers.
#[derive(Debug, Default)]
pub(super) struct ReplyBody(VecDeque<Frame<Bytes>>);

impl ReplyBody {
    fn new(data: Bytes) -> Self {
        let mut frames = VecDeque::new();
        if !data.is_empty() {
            frames.push_back(Frame::data(data));
        }
        Self(frames)
    }

    fn with_trailers(mut self, trailers: HeaderMap) -> Self {
        self.0.push_back(Frame::trailers(trailers));
        self
    }
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.0.iter().filter_map(Frame::data_ref);
        SizeHint::with_exact(data.map(|d| d.len() as u64).sum())
    }
}

const PROTOBUF: &str = "application/x-protobuf";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// All but printable ASCII, and `%` itself.
const GRPC_MESSAGE_ESCAPES: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');
