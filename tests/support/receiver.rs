//! An OTLP receiver of any signal, on one port for gRPC and HTTP.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What came in one request.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    /// Without gRPC's frame.
    pub body: Bytes,
}

/// What is answered instead of an acceptance.
#[derive(Debug, Clone, Copy)]
pub enum Instead {
    Unavailable,
    Rejected(i64),
}

#[derive(Clone, Default)]
struct Shared {
    received: Arc<Mutex<Vec<Received>>>,
    script: Arc<Mutex<VecDeque<Instead>>>,
}

pub struct Receiver {
    address: SocketAddr,
    shared: Shared,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared::default();
        let theirs = shared.clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            // What h2 traces on this side is nobody's concern.
            let quiet = tracing::subscriber::NoSubscriber::new();
            let _quiet = tracing::subscriber::set_default(quiet);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, theirs) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn script(&self, answers: impl IntoIterator<Item = Instead>) {
        self.shared.script.lock().unwrap().extend(answers);
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub fn metrics(&self) -> Vec<ExportMetricsServiceRequest> {
        let received = self.received().into_iter();
        let metrics = received.filter(|r| r.is_metrics());
        metrics
            .map(|r| ExportMetricsServiceRequest::decode(r.body).unwrap())
            .collect()
    }

    pub fn traces(&self) -> Vec<ExportTraceServiceRequest> {
        let received = self.received().into_iter();
        let traces = received.filter(|r| !r.is_metrics());
        traces
            .map(|r| ExportTraceServiceRequest::decode(r.body).unwrap())
            .collect()
    }
}

impl Received {
    pub fn is_metrics(&self) -> bool {
        [
            "/v1/metrics",
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        ]
        .contains(&&*self.path)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, shared: Shared) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, shared.clone()));
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(request: Request<Incoming>, shared: Shared) -> Result<Answer, hyper::Error> {
    let (head, body) = request.into_parts();
    let mut body = body.collect().await?.to_bytes();
    let kind = head.headers.get("content-type").map(|v| v.as_bytes());
    let is_grpc = kind == Some(b"application/grpc");
    if is_grpc {
        body = body.slice(5..);
    }
    shared.received.lock().unwrap().push(Received {
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body,
    });
    let instead = shared.script.lock().unwrap().pop_front();
    let message = match instead {
        Some(Instead::Rejected(rejected_data_points)) => {
            let partial_success = Some(ExportMetricsPartialSuccess {
                rejected_data_points,
                error_message: "too old".to_owned(),
            });
            ExportMetricsServiceResponse { partial_success }.encode_to_vec()
        }
        _ => Vec::new(),
    };
    let is_down = matches!(instead, Some(Instead::Unavailable));
    let response = Response::builder();
    Ok(match is_grpc {
        true => {
            let mut trailers = HeaderMap::new();
            let status = if is_down { "14" } else { "0" };
            trailers.insert("grpc-status", status.parse().unwrap());
            let mut frame = vec![0];
            frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
            frame.extend_from_slice(&message);
            let body = Full::new(Bytes::from(frame));
            let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
            let response = response.header("content-type", "application/grpc");
            response.body(body.boxed()).unwrap()
        }
        false => {
            let status = match is_down {
                true => StatusCode::SERVICE_UNAVAILABLE,
                false => StatusCode::OK,
            };
            let response = response.status(status);
            let response = response.header("content-type", "application/x-protobuf");
            let body = Full::new(Bytes::from(message)).boxed();
            response.body(body).unwrap()
        }
    })
}
