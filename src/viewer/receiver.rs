//! [`Receiver`]: takes spans and log records of other processes, by OTLP over gRPC and HTTP, both at each
//! port.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, ORIGIN};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::body::Body;
use super::gate;
use super::refusal::{
    INVALID_ARGUMENT, MOST_BYTES, PERMISSION_DENIED, RESOURCE_EXHAUSTED, Refusal, UNAVAILABLE,
    UNIMPLEMENTED, invalid, too_large,
};
use super::store::{Store, Writer};
use super::unpack::{unframe, unpack};
use crate::signal::Signal;
use crate::wire::decode::export_request;
use crate::wire::json::{JsonRequest, request_of_json};
use crate::wire::varint::{self, LEN, VARINT, tag};

/// Bytes of a request in JSON, whose tree of values takes many times its text.
const MOST_JSON: usize = 4 << 20;
/// A span or log record that is larger is not taken, nor one with a larger resource and scope.
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

/// Where each signal is taken, over gRPC and over HTTP.
const PATHS: [(Signal, &str, &str); 2] = [
    (
        Signal::Traces,
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "/v1/traces",
    ),
    (
        Signal::Logs,
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        "/v1/logs",
    ),
];

/// How a request is written, and how it is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Grpc,
    Protobuf,
    Json,
}

impl Format {
    fn of(headers: &HeaderMap) -> Option<Self> {
        match content_type(headers) {
            grpc if grpc.starts_with("application/grpc") => Some(Self::Grpc),
            "application/x-protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Receiver {
    store: Arc<Store>,
    is_local: bool,
    room: Semaphore,
}

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
        let format = Format::of(&head.headers);
        let outcome = match self.admit(&head, format) {
            Ok((signal, format)) => {
                let taken = self.take(&head.headers, body, signal, format).await;
                taken.map(|rejected| (rejected, signal))
            }
            Err(refusal) => Err(refusal),
        };
        match (outcome, format) {
            (Ok((rejected, signal)), Some(Format::Grpc)) => {
                grpc(0, "", Some(response(rejected, signal)))
            }
            (Ok((rejected, signal)), Some(Format::Json)) => plain(
                StatusCode::OK,
                "application/json",
                json_response(rejected, signal),
            ),
            (Ok((rejected, signal)), _) => plain(
                StatusCode::OK,
                "application/x-protobuf",
                response(rejected, signal),
            ),
            (Err(Refusal(_, code, message)), Some(Format::Grpc)) => grpc(code, &message, None),
            (Err(Refusal(status, _, message)), _) => plain(
                status,
                "text/plain; charset=utf-8",
                format!("{message}\n").into(),
            ),
        }
    }

    /// The signal and the format of a request that may be taken.
    fn admit(
        &self,
        head: &http::request::Parts,
        format: Option<Format>,
    ) -> Result<(Signal, Format), Refusal> {
        let refuse = |status, code, message: &str| Err(Refusal(status, code, message.to_owned()));
        // Other machines ask by any name; pages that a name was pointed at are refused by their `Origin`.
        if self.is_local
            && let Err((status, message)) = gate::check_host(head, self.is_local)
        {
            return refuse(status, PERMISSION_DENIED, message.trim_end());
        }
        if head.headers.contains_key(ORIGIN) {
            let message = "pages of other sites may not send spans here";
            return refuse(StatusCode::FORBIDDEN, PERMISSION_DENIED, message);
        }
        let is_grpc = format == Some(Format::Grpc);
        let here = |(_, grpc, http): &&(Signal, &str, &str)| {
            head.uri.path() == if is_grpc { *grpc } else { *http }
        };
        let Some((signal, ..)) = PATHS.iter().find(here) else {
            let paths = PATHS.map(|(_, grpc, http)| if is_grpc { grpc } else { http });
            let [spans, logs] = paths;
            let path = head.uri.path();
            let message = format!("nothing at {path}: spans go to {spans}, logs to {logs}");
            return refuse(StatusCode::NOT_FOUND, UNIMPLEMENTED, &message);
        };
        if head.method != Method::POST {
            return refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                UNIMPLEMENTED,
                "spans come by POST",
            );
        }
        let Some(format) = format else {
            let message = "only application/x-protobuf and application/json are read: set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf, http/json or grpc";
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, UNIMPLEMENTED, message);
        };
        Ok((*signal, format))
    }

    /// Stores the spans or log records of a request; how many of them were none.
    async fn take(
        &self,
        headers: &HeaderMap,
        body: Incoming,
        signal: Signal,
        format: Format,
    ) -> Result<u64, Refusal> {
        let read = tokio::time::timeout(BODY_TIME, read(body, &self.room)).await;
        // No other body is waited for from here on: what follows never yields.
        let bytes = read.unwrap_or_else(|_| Err(too_slow()))?;
        let encoding = match format {
            Format::Grpc => "grpc-encoding",
            _ => CONTENT_ENCODING.as_str(),
        };
        let encoding = headers
            .get(encoding)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("");
        let (bytes, is_packed) = match format {
            Format::Grpc => unframe(bytes)?,
            _ => (bytes, !matches!(encoding, "" | "identity")),
        };
        let bytes = match is_packed {
            false => bytes,
            true => unpack(&bytes, encoding)?,
        };
        let bytes = match format {
            Format::Json => of_json(&bytes, signal)?,
            _ => bytes,
        };
        let mut writer = self.store.writer();
        let rejected = match signal {
            Signal::Logs => keep_logs(&mut writer, &bytes),
            Signal::Traces => keep_spans(&mut writer, &bytes),
        };
        rejected.ok_or_else(|| invalid(format!("the body is no request of {signal}")))
    }
}

/// A request in JSON as protobuf.
fn of_json(bytes: &[u8], signal: Signal) -> Result<Bytes, Refusal> {
    if bytes.len() > MOST_JSON {
        let message = format!("a request in JSON may have {MOST_JSON} bytes");
        return Err(Refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            RESOURCE_EXHAUSTED,
            message,
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("the body is no UTF-8"))?;
    let of_signal = |request: JsonRequest| match signal {
        Signal::Logs => request.logs,
        Signal::Traces => request.spans,
    };
    match request_of_json(text).map(of_signal) {
        // Without the key it is empty.
        Ok(request) => Ok(request.unwrap_or_default().into()),
        Err(why) => Err(invalid(crate::text::line(&why, 200, false))),
    }
}

/// Whether a span or log record, and where it comes from, are small enough.
pub(super) fn fits(resource: &[u8], scope: &[u8], item: &[u8]) -> bool {
    item.len() <= MOST_SPAN && resource.len() + scope.len() <= MOST_ORIGIN
}

/// Keeps the spans of a request; how many were none, `None` where it is no request.
fn keep_spans(writer: &mut Writer<'_>, request: &[u8]) -> Option<u64> {
    let mut rejected = 0;
    let read = export_request::each_span(request, |resource, scope, span| {
        let is_kept = fits(resource, scope, span) && writer.add(resource, scope, span);
        rejected += u64::from(!is_kept);
    });
    let open = export_request::each_open_span(request, |resource, scope, span| {
        // One that does not fit comes again when it ends, and is counted then.
        let _ = fits(resource, scope, span) && writer.add_open(resource, scope, span);
    });
    read.and(open).map(|()| rejected)
}

/// The same of log records.
fn keep_logs(writer: &mut Writer<'_>, request: &[u8]) -> Option<u64> {
    let mut rejected = 0;
    export_request::each_record(request, |resource, scope, record| {
        let is_kept = fits(resource, scope, record) && writer.add_record(resource, scope, record);
        rejected += u64::from(!is_kept);
    })?;
    Some(rejected)
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

/// Why some are rejected.
fn why(signal: Signal) -> &'static str {
    match signal {
        Signal::Logs => "bytes that are no log records, or that are too large",
        Signal::Traces => "spans without ids, that are no spans, or that are too large",
    }
}

/// The response to an export, with a partial success if some were rejected. Both signals have the same
/// fields.
fn response(rejected: u64, signal: Signal) -> Bytes {
    let mut out = Vec::new();
    if rejected > 0 {
        let mut partial = vec![tag(1, VARINT)];
        varint::put(&mut partial, rejected);
        varint::put_bytes(&mut partial, tag(2, LEN), why(signal).as_bytes());
        varint::put_bytes(&mut out, tag(1, LEN), &partial);
    }
    out.into()
}

fn json_response(rejected: u64, signal: Signal) -> Bytes {
    let key = match signal {
        Signal::Logs => "rejectedLogRecords",
        Signal::Traces => "rejectedSpans",
    };
    let response = match rejected {
        0 => json!({}),
        _ => {
            json!({ "partialSuccess": { key: rejected.to_string(), "errorMessage": why(signal) } })
        }
    };
    response.to_string().into()
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
