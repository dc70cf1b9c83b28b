//! Spans that are open for long show before they end, and only where that is asked for.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::Value as Json;
use tracing::Dispatch;
use tracing_otlp::export::{Batch, Exporter, Outcome};
use tracing_otlp::testing::Collector;
use tracing_otlp::viewer::ViewerExporter;
use tracing_otlp::{OtlpBuilder, Protocol, ShutdownGuard};
use tracing_subscriber::layer::SubscriberExt as _;

const PATIENCE: Duration = Duration::from_secs(60);
const AFTER: Duration = Duration::from_millis(1);

/// Keeps the requests that show open spans, and how many spans ended.
#[derive(Clone, Default)]
struct Watcher {
    open: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    ended: Arc<Mutex<usize>>,
}

impl Exporter for Watcher {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        *self.ended.lock().unwrap() += batch.item_count();
        std::future::ready(Outcome::delivered(batch.item_count() as u64))
    }

    fn show_open(&self, batch: Batch) -> impl Future<Output = ()> + Send + 'static {
        let request = ExportTraceServiceRequest::decode(batch.to_bytes()).unwrap();
        self.open.lock().unwrap().push(request);
        std::future::ready(())
    }
}

impl Watcher {
    /// Every showing of a span so far, in order.
    fn shown(&self) -> Vec<opentelemetry_proto::tonic::trace::v1::Span> {
        let requests = self.open.lock().unwrap();
        let resources = requests.iter().flat_map(|r| &r.resource_spans);
        let scopes = resources.flat_map(|r| &r.scope_spans);
        scopes.flat_map(|s| s.spans.clone()).collect()
    }
}

fn start(builder: OtlpBuilder) -> (Dispatch, ShutdownGuard) {
    let (layer, guard) = builder.build().unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    (Dispatch::new(subscriber), guard)
}

#[track_caller]
fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_open_span_shows_as_it_is_by_now_and_again_when_it_changes() {
    let watcher = Watcher::default();
    let builder = tracing_otlp::builder().without_env();
    let (dispatch, guard) = start(
        builder
            .with_exporter(watcher.clone())
            .with_open_spans_after(AFTER),
    );
    tracing::dispatcher::with_default(&dispatch, || {
        let span = tracing::info_span!("job", step = tracing::field::Empty, size = 7);
        let _in = span.enter();
        let first = until(|| watcher.shown().first().cloned());
        assert_eq!((&*first.name, first.end_time_unix_nano), ("job", 0));
        assert!(first.start_time_unix_nano > 0 && first.span_id.len() == 8);
        assert!(first.attributes.iter().any(|a| a.key == "size"));
        let _child = tracing::info_span!("part").entered();
        span.record("step", 2);
        tracing::info!("half of it");
        let later = until(|| {
            let has_step = |s: &opentelemetry_proto::tonic::trace::v1::Span| {
                s.attributes.iter().any(|a| a.key == "step")
            };
            watcher.shown().into_iter().rfind(has_step)
        });
        assert_eq!(later.span_id, first.span_id);
        let part = until(|| watcher.shown().into_iter().rfind(|s| s.events.len() == 1));
        assert_eq!(part.parent_span_id, first.span_id);
    });
    // Showing is no delivery.
    guard.shutdown_blocking(PATIENCE).unwrap();
    let stats = guard.stats();
    assert_eq!((stats.started, stats.delivered, stats.open), (2, 2, 0));
    assert_eq!(*watcher.ended.lock().unwrap(), 2);
    let shown = watcher.shown().len();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(watcher.shown().len(), shown, "after the end");
}

#[test]
fn without_the_setting_and_before_its_time_nothing_shows() {
    for after in [None, Some(Duration::from_secs(3600))] {
        let watcher = Watcher::default();
        let mut builder = tracing_otlp::builder()
            .without_env()
            .with_exporter(watcher.clone());
        if let Some(after) = after {
            builder = builder.with_open_spans_after(after);
        }
        let (dispatch, guard) = start(builder);
        tracing::dispatcher::with_default(&dispatch, || {
            let _span = tracing::info_span!("job").entered();
            std::thread::sleep(Duration::from_millis(1500));
        });
        guard.shutdown_blocking(PATIENCE).unwrap();
        assert!(watcher.shown().is_empty());
    }
}

#[test]
fn a_backend_sees_no_span_before_its_end_and_one_then() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let collector = Collector::start();
        let (dispatch, guard) = start(
            tracing_otlp::builder()
                .without_env()
                .with_protocol(protocol)
                .with_endpoint(collector.endpoint(protocol))
                .with_open_spans_after(AFTER),
        );
        tracing::dispatcher::with_default(&dispatch, || {
            let _span = tracing::info_span!("job").entered();
            // The request that shows it has come, and holds no span for who knows OTLP alone.
            until(|| (!collector.requests().is_empty()).then_some(()));
            assert!(collector.spans().is_empty());
        });
        guard.shutdown_blocking(PATIENCE).unwrap();
        assert_eq!(collector.spans().len(), 1);
        let stats = guard.stats();
        assert_eq!(
            (stats.delivered, stats.rejected, stats.dropped_total()),
            (1, 0, 0)
        );
    }
}

fn api(viewer: &ViewerExporter, path: &str) -> Json {
    let (page, token): (SocketAddr, _) = (viewer.address().unwrap(), viewer.token().unwrap());
    let mut stream = TcpStream::connect(page).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {page}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The only trace that a viewer shows, once it fits.
fn trace(viewer: &ViewerExporter, fits: impl Fn(&Json) -> bool) -> Json {
    until(|| {
        let list = api(viewer, "/api/traces");
        let id = list["traces"].get(0)?["trace_id"].as_str()?.to_owned();
        let trace = api(viewer, &format!("/api/traces/{id}"));
        fits(&trace).then_some(trace)
    })
}

#[test]
fn a_viewer_shows_open_spans_until_they_end_in_its_own_process_and_behind_an_endpoint() {
    let other = || {
        let viewer = tracing_otlp::viewer().with_port(0).with_announcement(false);
        let viewer = viewer.with_otlp_address("127.0.0.1:0".parse().unwrap());
        viewer.build().unwrap()
    };
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let viewer = other();
        let endpoint = format!("http://{}", viewer.otlp_addresses()[0]);
        let builder = tracing_otlp::builder().without_env();
        let builder = builder.with_protocol(protocol).with_endpoint(endpoint);
        let (dispatch, guard) = start(builder.with_open_spans_after(AFTER));
        tracing::dispatcher::with_default(&dispatch, || {
            let _job = tracing::info_span!("job", n = 1).entered();
            tracing::info_span!("part").in_scope(|| {});
            let open = trace(&viewer, |t| t["open_spans"] == 1);
            let spans = open["spans"].as_array().unwrap();
            let job = spans.iter().find(|s| s["name"] == "job").unwrap();
            assert_eq!(
                (&job["is_open"], &job["attributes"]["n"]),
                (&true.into(), &1.into())
            );
            assert!(job["last_heard_unix_nanos"].is_string());
            // It grows.
            let was = job["duration_nanos"].as_u64().unwrap();
            trace(&viewer, |t| t["duration_nanos"].as_u64().unwrap() > was);
        });
        guard.shutdown_blocking(PATIENCE).unwrap();
        let ended = trace(&viewer, |t| t["open_spans"] == 0);
        assert_eq!(ended["spans"].as_array().unwrap().len(), 2);
        assert_eq!(ended["has_root"], true);
    }
}

#[test]
fn a_field_that_otlp_does_not_have_is_skipped_by_others() {
    // Field 20316, a `ResourceSpans`, as the guide says: prost skips it, ours reads it.
    let mut request = vec![0xe2, 0xf5, 0x09, 2, 0x12, 0];
    assert_eq!(
        ExportTraceServiceRequest::decode(Bytes::from(request.clone())).unwrap(),
        ExportTraceServiceRequest::default()
    );
    request.truncate(3);
    assert!(ExportTraceServiceRequest::decode(Bytes::from(request)).is_err());
}
