//! [`Receiver`]: takes spans of other processes, by OTLP over gRPC and HTTP, both at each port.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, ORIGIN};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::body::Body;
use super::gate;
use super::store::Store;
use crate::wire::decode::export_request;
use crate::wire::varint::{self, LEN, VARINT, tag};

/// Bytes of a request, and of what it unpacks to.
const MOST_BYTES: usize = 16 << 20;
/// A span that is larger is not taken, nor one with a larger resource and scope.
pub(super) const MOST_SPAN: usize = 1 << 20;
pub(super) const MOST_ORIGIN: usize = 64 << 10;
/// Bytes of all bodies that are being read: a request that has no room beside the others comes again.
const MOST_UNREAD: usize = 64 << 20;
/// What they are counted in.
const GRAIN: usize = 1 << 10;
/// The longest that a request's body may take.
const BODY_TIME: Duration = Duration::from_secs(30);
/// And the longest that it may stand still.
const FRAME_TIME: Duration = Duration::from_secs(10);

const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const HTTP_PATH: &str = "/v1/traces";

#[derive(Debug)]
pub(super) struct Receiver {
    store: Arc<Store>,
    is_local: bool,
    room: Semaphore,
}

/// Why a request is refused: as HTTP has it, as gRPC has it, and in words.
struct Refusal(StatusCode, u8, String);

const INVALID_ARGUMENT: u8 = 3;
const PERMISSION_DENIED: u8 = 7;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const UNAVAILABLE: u8 = 14;

impl Receiver {
    pub(super) fn new(store: Arc<Store>, is_local: bool) -> Self {
        Self {
            store,
            is_local,
            room: Semaphore::new(MOST_UNREAD / GRAIN),
        }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let is_grpc = content_type(&head.headers).starts_with("application/grpc");
        let outcome = match self.admit(&head, is_grpc) {
            Ok(()) => self.take(&head.headers, body, is_grpc).await,
            Err(refusal) => Err(refusal),
        };
        match (outcome, is_grpc) {
            (Ok(rejected), true) => grpc(0, "", Some(response(rejected))),
            (Ok(rejected), false) => {
                plain(StatusCode::OK, "application/x-protobuf", response(rejected))
            }
            (Err(Refusal(_, code, message)), true) => grpc(code, &message, None),
            (Err(Refusal(status, _, message)), false) => plain(
                status,
                "text/plain; charset=utf-8",
                format!("{message}\n").into(),
            ),
        }
    }

    fn admit(&self, head: &http::request::Parts, is_grpc: bool) -> Result<(), Refusal> {
        let refuse = |status, code, message: &str| Err(Refusal(status, code, message.to_owned()));
        if let Err((status, message)) = gate::check_host(head, self.is_local) {
            return refuse(status, PERMISSION_DENIED, message.trim_end());
        }
        if head.headers.contains_key(ORIGIN) {
            let message = "pages of other sites may not send spans here";
            return refuse(StatusCode::FORBIDDEN, PERMISSION_DENIED, message);
        }
        let path = if is_grpc { GRPC_PATH } else { HTTP_PATH };
        if head.uri.path() != path {
            let message = format!("nothing at {}: spans go to {path}", head.uri.path());
            return refuse(StatusCode::NOT_FOUND, UNIMPLEMENTED, &message);
        }
        if head.method != Method::POST {
            return refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                UNIMPLEMENTED,
                "spans come by POST",
            );
        }
        if !is_grpc && content_type(&head.headers) != "application/x-protobuf" {
            let message = "only application/x-protobuf is read: set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf or grpc";
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, UNIMPLEMENTED, message);
        }
        Ok(())
    }

    /// Stores the spans of a request; how many of them were none.
    async fn take(
        &self,
        headers: &HeaderMap,
        body: Incoming,
        is_grpc: bool,
    ) -> Result<u64, Refusal> {
        let read = tokio::time::timeout(BODY_TIME, read(body, &self.room)).await;
        // No other body is waited for from here on: what follows never yields.
        let bytes = read.unwrap_or_else(|_| Err(too_slow()))?;
        let encoding = if is_grpc {
            "grpc-encoding"
        } else {
            CONTENT_ENCODING.as_str()
        };
        let encoding = headers
            .get(encoding)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("");
        let (bytes, is_packed) = match is_grpc {
            true => unframe(bytes)?,
            false => (bytes, !matches!(encoding, "" | "identity")),
        };
        let bytes = match (is_packed, encoding) {
            (false, _) => bytes,
            (true, "gzip") => unpack(&bytes)?,
            (true, other) => {
                let message = format!("compression {other:?} is not read: use gzip or none");
                return Err(Refusal(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    UNIMPLEMENTED,
                    message,
                ));
            }
        };
        let mut writer = self.store.writer();
        let mut rejected = 0;
        let read = export_request::each_span(&bytes, |resource, scope, span| {
            let fits = span.len() <= MOST_SPAN && resource.len() + scope.len() <= MOST_ORIGIN;
            rejected += u64::from(!(fits && writer.add(resource, scope, span)));
        });
        let open = export_request::each_open_span(&bytes, |resource, scope, span| {
            let fits = span.len() <= MOST_SPAN && resource.len() + scope.len() <= MOST_ORIGIN;
            // One that does not fit comes again when it ends, and is counted then.
            let _ = fits && writer.add_open(resource, scope, span);
        });
        read.and(open)
            .ok_or_else(|| invalid("the body is no ExportTraceServiceRequest"))?;
        Ok(rejected)
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, message.into())
}

fn too_large() -> Refusal {
    let message = format!("a request may have {MOST_BYTES} bytes");
    Refusal(StatusCode::PAYLOAD_TOO_LARGE, RESOURCE_EXHAUSTED, message)
}

fn too_slow() -> Refusal {
    let message = "the body took too long".to_owned();
    Refusal(StatusCode::REQUEST_TIMEOUT, INVALID_ARGUMENT, message)
}

/// Reads a body. What it holds meanwhile counts in `room`.
async fn read(mut body: Incoming, room: &Semaphore) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::new();
    let mut held: Option<SemaphorePermit<'_>> = None;
    loop {
        let frame = tokio::time::timeout(FRAME_TIME, body.frame()).await;
        let Some(frame) = frame.map_err(|_| too_slow())? else {
            return Ok(bytes.freeze());
        };
        let frame = frame.map_err(|e| invalid(format!("the body broke off: {e}")))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > MOST_BYTES {
            return Err(too_large());
        }
        let has = held.as_ref().map_or(0, SemaphorePermit::num_permits);
        let needs = (bytes.len() + data.len()).div_ceil(GRAIN);
        if needs > has {
            let more = u32::try_from(needs - has).unwrap_or(u32::MAX);
            let more = room.try_acquire_many(more).map_err(|_| {
                let message = "others send too much at this moment: send it again".to_owned();
                Refusal(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, message)
            })?;
            match &mut held {
                Some(held) => held.merge(more),
                None => held = Some(more),
            }
        }
        bytes.extend_from_slice(&data);
    }
}

/// A message of gRPC out of its frame, and whether it is compressed.
fn unframe(mut bytes: Bytes) -> Result<(Bytes, bool), Refusal> {
    if bytes.len() < 5 {
        return Err(invalid("the frame of a gRPC message has 5 bytes"));
    }
    let flag = bytes.get_u8();
    let len = bytes.get_u32() as usize;
    if flag > 1 || len != bytes.len() {
        return Err(invalid("the frame of the gRPC message does not fit it"));
    }
    Ok((bytes, flag == 1))
}

fn unpack(bytes: &[u8]) -> Result<Bytes, Refusal> {
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes)
        .take(MOST_BYTES as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|e| invalid(format!("gzip: {e}")))?;
    match out.len() > MOST_BYTES {
        true => Err(too_large()),
        false => Ok(out.into()),
    }
}

/// An `ExportTraceServiceResponse`, with a partial success if some spans were none.
fn response(rejected: u64) -> Bytes {
    let mut out = Vec::new();
    if rejected > 0 {
        let mut partial = vec![tag(1, VARINT)];
        varint::put(&mut partial, rejected);
        let why = "spans without ids, that are no spans, or that are too large";
        varint::put_bytes(&mut partial, tag(2, LEN), why.as_bytes());
        varint::put_bytes(&mut out, tag(1, LEN), &partial);
    }
    out.into()
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    value.unwrap_or("").split(';').next().unwrap_or("").trim()
}

fn plain(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// gRPC's own status: in the trailers, or without a message at once in the headers.
fn grpc(code: u8, message: &str, body: Option<Bytes>) -> Response<Body> {
    let mut status = HeaderMap::new();
    status.insert("grpc-status", HeaderValue::from(u16::from(code)));
    // Our own words are plain ASCII; what a client sent and is not would need escapes.
    if let Ok(message) = HeaderValue::from_str(&message.replace('%', "%25")) {
        status.insert("grpc-message", message);
    }
    let mut response = match body {
        None => {
            let mut response = Response::new(Body::Whole(None));
            *response.headers_mut() = status;
            response
        }
        Some(body) => {
            let mut frame = BytesMut::with_capacity(5 + body.len());
            frame.extend_from_slice(&[0]);
            frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
            frame.extend_from_slice(&body);
            Response::new(Body::WithTrailers(Some(frame.freeze()), Some(status)))
        }
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
