//! An OTLP receiver that counts and keeps nothing. One port serves gRPC (HTTP/2 without TLS),
//! OTLP over HTTP, `GET /counts` and `POST /reset`.
//!
//! It shares two cores with what is measured, so it decodes nothing: it steps over the fields of
//! a request and counts the spans and log records. With `--detail` it also looks into each.
//!
//! `sink --address-file PATH [--listen 127.0.0.1:0] [--detail]`

mod count;

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

use crate::count::{Counts, Signal};

static COUNTS: Mutex<Counts> = Mutex::new(Counts::ZERO);

const GRPC_LOGS_PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// A frame that is not compressed and holds an empty message: complete success.
const GRPC_SUCCESS: &[u8] = &[0; 5];
const OK: &str = "0";
const INVALID_ARGUMENT: &str = "3";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let options = Options::from_args();
    let listener = TcpListener::bind(&options.listen)
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("a bound socket").to_string();
    fs::write(&options.address_file, address).expect("a writable address file");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a live socket");
        tokio::spawn(async move {
            let answer = service_fn(move |request| answer(request, options.detail));
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http2().adaptive_window(true);
            // A peer that goes away in the middle has nothing to be told.
            let _ = server.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

struct Options {
    listen: String,
    address_file: String,
    detail: bool,
}

impl Options {
    fn from_args() -> Self {
        let mut options = Self {
            listen: "127.0.0.1:0".to_owned(),
            address_file: String::new(),
            detail: false,
        };
        let mut args = env::args().skip(1);
        while let Some(name) = args.next() {
            match name.as_str() {
                "--listen" => options.listen = args.next().expect("--listen needs an address"),
                "--address-file" => options.address_file = args.next().expect("a path"),
                "--detail" => options.detail = true,
                _ => panic!("{name} is not an option"),
            }
        }
        assert!(!options.address_file.is_empty(), "--address-file is needed");
        options
    }
}

type Body = Either<Full<Bytes>, GrpcBody>;
type GrpcBody = http_body_util::combinators::WithTrailers<Full<Bytes>, Trailers>;
type Trailers = std::future::Ready<Option<Result<HeaderMap, Infallible>>>;

async fn answer(request: Request<Incoming>, detail: bool) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(match (head.method, head.uri.path()) {
        (Method::POST, GRPC_PATH) => over_grpc(&body, Signal::Spans, detail),
        (Method::POST, GRPC_LOGS_PATH) => over_grpc(&body, Signal::Records, detail),
        (Method::POST, "/v1/traces") => over_http(&body, Signal::Spans, detail),
        (Method::POST, "/v1/logs") => over_http(&body, Signal::Records, detail),
        (Method::GET, "/counts") => {
            let seen = counts(|counts| counts.to_json());
            plain(StatusCode::OK, "application/json", seen.into())
        }
        (Method::POST, "/reset") => {
            counts(|counts| *counts = Counts::ZERO);
            plain(StatusCode::OK, "text/plain", Bytes::new())
        }
        _ => plain(StatusCode::NOT_FOUND, "text/plain", Bytes::new()),
    })
}

fn over_grpc(body: &[u8], signal: Signal, detail: bool) -> Response<Body> {
    match grpc_message(body).and_then(|message| note(message, signal, detail)) {
        Some(()) => grpc(GRPC_SUCCESS, OK),
        None => grpc(&[], INVALID_ARGUMENT),
    }
}

fn over_http(body: &[u8], signal: Signal, detail: bool) -> Response<Body> {
    let status = match note(body, signal, detail) {
        Some(()) => StatusCode::OK,
        None => StatusCode::BAD_REQUEST,
    };
    plain(status, "application/x-protobuf", Bytes::new())
}

/// The one message of a unary call. Compressed ones are refused: nobody here was told to compress.
fn grpc_message(body: &[u8]) -> Option<&[u8]> {
    let (frame, message) = body.split_first_chunk::<5>()?;
    let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
    (frame[0] == 0 && length as usize == message.len()).then_some(message)
}

/// Adds what `message` holds to the counts; `None` if it is no OTLP request.
fn note(message: &[u8], signal: Signal, detail: bool) -> Option<()> {
    let found = Counts::of_request(message, signal, detail);
    counts(|counts| match &found {
        Some(found) => counts.add(found),
        None => counts.malformed += 1,
    });
    found.map(drop)
}

fn counts<T>(look: impl FnOnce(&mut Counts) -> T) -> T {
    look(&mut COUNTS.lock().unwrap_or_else(PoisonError::into_inner))
}

fn plain(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn grpc(message: &'static [u8], status: &'static str) -> Response<Body> {
    let trailers = HeaderMap::from_iter([(
        HeaderName::from_static("grpc-status"),
        HeaderValue::from_static(status),
    )]);
    let body = Full::new(Bytes::from_static(message))
        .with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Either::Right(body));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
