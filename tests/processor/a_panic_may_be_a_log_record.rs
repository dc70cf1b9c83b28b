//! Exceptions that this crate records itself are span events, log records or both (LOG-38 to LOG-40); each case in a
//! process of its own, because a panic hook is the process'.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/child.rs"]
mod child;

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tracing_otlp::middleware::ServerLayer;
use tracing_otlp::testing::{Collector, ReceivedLog};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const LONG: Duration = Duration::from_secs(60);
const OPT_IN: &str = "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN";

async fn panics(_: Request<Body>) -> Result<http::Response<Body>, std::convert::Infallible> {
    panic!("no such luck")
}

/// A request whose service panics, a panic outside of any span, and one that ends the process.
fn panic_three_times() {
    let (layer, guard) = tracing_otlp::builder().build().unwrap();
    tracing_subscriber::registry().with(layer).init();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let request = Request::builder().uri("/a").body(Body::empty()).unwrap();
    let service = ServerLayer::new().layer(service_fn(panics));
    let call = std::panic::AssertUnwindSafe(|| runtime.unwrap().block_on(service.oneshot(request)));
    assert!(std::panic::catch_unwind(call).is_err());
    guard.panic_hook().install();
    let elsewhere = std::thread::spawn(|| panic!("outside"));
    assert!(elsewhere.join().is_err());
    guard.panic_hook().with_every_panic_fatal(true).install();
    let last = std::thread::spawn(|| {
        let _work = tracing::info_span!("work").entered();
        panic!("the last one")
    });
    assert!(last.join().is_err());
    guard.shutdown_blocking(LONG).unwrap();
}

fn run(test: &str, variables: &[(&str, &str)]) -> (Collector, String) {
    let collector = Collector::start();
    let endpoint = collector.grpc_endpoint();
    let mut all = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    all.extend(variables);
    let said = child::run_with(test, "panics", &all).well();
    (collector, said)
}

/// The name, text and message of each record of an exception.
fn exceptions(logs: &[ReceivedLog]) -> Vec<(&str, &str, &str)> {
    let of = |log: &ReceivedLog| log.attr("exception.type").is_some();
    let all = logs.iter().filter(|log| of(log));
    let mut all: Vec<_> = all
        .map(|log| (&*log.event_name, &*log.severity_text, log.message()))
        .collect();
    all.sort_unstable();
    all
}

/// By name, severity and message. The hook that ends the process runs first and ends its span; the one before it then
/// tells the same panic without a span.
const RECORDS: [(&str, &str, &str); 4] = [
    ("exception", "ERROR", "outside"),
    ("exception", "ERROR", "the last one"),
    ("exception", "FATAL", "the last one"),
    ("http.server.request.exception", "ERROR", "no such luck"),
];

fn span_events(collector: &Collector) -> usize {
    let spans = collector.spans();
    let events = spans.iter().flat_map(|span| &span.events);
    events.filter(|event| event.name == "exception").count()
}

#[test]
fn logs_alone() {
    if child::role().is_some() {
        return panic_three_times();
    }
    let (collector, _) = run(
        "logs_alone",
        &[("OTEL_LOGS_EXPORTER", "otlp"), (OPT_IN, "logs")],
    );
    let logs = collector.logs();
    assert_eq!(exceptions(&logs), RECORDS);
    assert_eq!(span_events(&collector), 0);
    // Of the span of the operation.
    let spans = collector.spans();
    let record = logs.iter().find(|log| log.event_name.starts_with("http."));
    let span = spans.iter().find(|span| span.name == "GET").unwrap();
    assert!(record.unwrap().is_of(span), "{logs:?}");
    assert!(span.status.is_error());
    let outside = logs.iter().find(|log| log.message() == "outside").unwrap();
    assert_eq!(outside.trace_id, None);
}

#[test]
fn both() {
    if child::role().is_some() {
        return panic_three_times();
    }
    let (collector, _) = run(
        "both",
        &[("OTEL_LOGS_EXPORTER", "otlp"), (OPT_IN, "http,logs/dup")],
    );
    assert_eq!(exceptions(&collector.logs()), RECORDS);
    assert_eq!(span_events(&collector), 2);
}

/// LOG-39.
#[test]
fn span_events_by_default_and_without_logs() {
    if child::role().is_some() {
        return panic_three_times();
    }
    let test = "span_events_by_default_and_without_logs";
    let (collector, said) = run(test, &[("OTEL_LOGS_EXPORTER", "otlp")]);
    assert_eq!(exceptions(&collector.logs()), []);
    assert_eq!(span_events(&collector), 2);
    assert!(!said.contains(OPT_IN), "{said}");
    // Nothing is lost by a variable, and it is told once.
    let (collector, said) = run(test, &[(OPT_IN, "logs")]);
    assert_eq!((collector.log_count(), span_events(&collector)), (0, 2));
    assert_eq!(said.matches(OPT_IN).count(), 1, "{said}");
}
