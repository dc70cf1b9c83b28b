//! What the integration tests share: requests made with `opentelemetry-proto`, and plain HTTP and
//! gRPC clients that know nothing of this crate.

// Each test file uses its part.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tokio::net::TcpStream;

pub(crate) use crate::pace;
pub mod pipeline;

/// Long enough for a loaded machine; a test that passes never waits for it.
pub const DEADLINE: Duration = pace::PATIENCE;

pub const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// An attribute with a string.
pub fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

/// A span of that name, with ids that are valid and derived from it.
pub fn span(name: &str) -> Span {
    let seed = name.bytes().fold(1u8, |a, b| a.wrapping_mul(31) ^ b) | 1;
    Span {
        trace_id: vec![seed; 16],
        span_id: vec![seed; 8],
        name: name.to_owned(),
        kind: 1,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_001_500_000,
        ..Span::default()
    }
}

/// An encoded request of these spans.
pub fn request_of(spans: Vec<Span>) -> Vec<u8> {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", "shop")],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "shop::checkout".to_owned(),
                    version: "1.2.3".to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans,
                schema_url: "https://example.org/scope".to_owned(),
            }],
            schema_url: "https://example.org/resource".to_owned(),
        }],
    }
    .encode_to_vec()
}

/// An encoded request of spans with these names.
pub fn request(names: &[&str]) -> Vec<u8> {
    request_of(names.iter().map(|name| span(name)).collect())
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// gRPC's framing: a flag and the length.
pub fn framed(compressed: bool, message: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::from(compressed)];
    out.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    out.extend_from_slice(message);
    out
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Reply {
    async fn read(response: Response<Incoming>) -> hyper::Result<Self> {
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_bytes(),
            trailers,
        })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name).or(self.trailers.get(name));
        value.map(|v| v.to_str().unwrap())
    }

    /// `grpc-status` and the decoded `grpc-message`.
    pub fn grpc(&self) -> (u32, String) {
        let status = self.header("grpc-status").expect("a grpc-status");
        let message = self.header("grpc-message").unwrap_or("");
        let message = percent_encoding::percent_decode_str(message).decode_utf8();
        (status.parse().unwrap(), message.unwrap().into_owned())
    }
}

pub fn address(endpoint: &str) -> SocketAddr {
    let (_, address) = endpoint.split_once("://").unwrap();
    address.parse().unwrap()
}

async fn connect(endpoint: &str) -> TcpStream {
    let stream = TcpStream::connect(address(endpoint)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// One HTTP/2 connection that speaks gRPC, framed by hand.
pub struct GrpcClient(hyper::client::conn::http2::SendRequest<Full<Bytes>>);

impl GrpcClient {
    pub async fn connect(endpoint: &str) -> Self {
        let stream = connect(endpoint).await;
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Sends a body that is framed already.
    pub async fn send(&mut self, body: Vec<u8>, headers: &[(&str, &str)]) -> hyper::Result<Reply> {
        let mut request = Request::post(format!("http://127.0.0.1{GRPC_PATH}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send_request(request.body(Full::from(body)).unwrap())
            .await
    }

    pub async fn send_request(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Reply> {
        self.0.ready().await?;
        Reply::read(self.0.send_request(request).await?).await
    }

    /// Sends a message without compression.
    pub async fn export(&mut self, message: &[u8]) -> hyper::Result<Reply> {
        self.send(framed(false, message), &[]).await
    }
}

/// One HTTP/1.1 connection.
pub struct HttpClient(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl HttpClient {
    pub async fn connect(endpoint: &str) -> Self {
        let stream = connect(endpoint).await;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> hyper::Result<Reply> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "collector");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.0.ready().await?;
        let request = request.body(Full::from(body)).unwrap();
        Reply::read(self.0.send_request(request).await?).await
    }

    /// Posts a message without compression.
    pub async fn export(&mut self, message: &[u8]) -> hyper::Result<Reply> {
        let headers = [("content-type", "application/x-protobuf")];
        self.send("POST", "/v1/traces", &headers, message.to_vec())
            .await
    }
}
