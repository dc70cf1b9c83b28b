//! A pipeline whose exporter keeps what it is given, read back by opentelemetry-proto.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
pub use opentelemetry_proto::tonic::trace::v1::ScopeSpans;
pub use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tracing::Subscriber;
use tracing_otlp::export::{Batch, Exporter, Outcome};
use tracing_otlp::{OtlpBuilder, OtlpLayer, ShutdownGuard, Stats};
use tracing_subscriber::layer::SubscriberExt as _;

/// Long enough for a loaded machine; a test that passes never waits for it.
const LONG: Duration = Duration::from_secs(120);

pub use any_value::Value;

#[derive(Clone, Default)]
struct Keep(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Exporter for Keep {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let request = ExportTraceServiceRequest::decode(batch.to_bytes()).expect("valid OTLP");
        self.0.lock().unwrap().push(request);
        std::future::ready(Outcome::delivered(batch.item_count() as u64))
    }
}

/// What arrived.
pub struct Capture {
    requests: Keep,
    guard: ShutdownGuard,
}

/// A layer, and what its spans become.
pub fn layer_with(edit: impl FnOnce(OtlpBuilder) -> OtlpBuilder) -> (OtlpLayer, Capture) {
    let requests = Keep::default();
    let builder = edit(tracing_otlp::builder().without_env());
    let (layer, guard) = builder.with_exporter(requests.clone()).build().unwrap();
    (layer, Capture { requests, guard })
}

pub fn layer() -> (OtlpLayer, Capture) {
    layer_with(|builder| builder)
}

/// Whether pipelines of tests stand on this crate's registry: `.ci/run tests` runs them on both.
pub fn has_own_registry() -> bool {
    std::env::var("TESTS_ON_OWN_REGISTRY").is_ok_and(|value| value == "1")
}

/// Runs `f` under a registry with such a layer; what arrived, in the order in which spans closed.
pub fn record_with(edit: impl FnOnce(OtlpBuilder) -> OtlpBuilder, f: impl FnOnce()) -> Vec<Span> {
    let (layer, capture) = layer_with(edit);
    match has_own_registry() {
        true => under(tracing_otlp::registry().with(layer), f),
        false => under(tracing_subscriber::registry().with(layer), f),
    }
    capture.spans()
}

pub fn record(f: impl FnOnce()) -> Vec<Span> {
    record_with(|builder| builder, f)
}

pub fn under(subscriber: impl Subscriber + Send + Sync, f: impl FnOnce()) {
    tracing::subscriber::with_default(subscriber, f);
}

impl Capture {
    pub fn scopes(&self) -> Vec<ScopeSpans> {
        self.guard.force_flush_blocking(LONG).unwrap();
        let requests = self.requests.0.lock().unwrap();
        requests
            .iter()
            .flat_map(|r| &r.resource_spans)
            .flat_map(|r| r.scope_spans.clone())
            .collect()
    }

    pub fn spans(&self) -> Vec<Span> {
        self.scopes().into_iter().flat_map(|s| s.spans).collect()
    }

    /// The same where something was lost, of which the first flush tells.
    pub fn spans_but_for_losses(&self) -> Vec<Span> {
        let flushed = self.guard.force_flush_blocking(LONG);
        assert!(flushed.is_err());
        self.spans()
    }

    /// The same where something may have been lost.
    pub fn spans_that_arrived(&self) -> Vec<Span> {
        let _ = self.guard.force_flush_blocking(LONG);
        self.spans()
    }

    pub fn stats(&self) -> Stats {
        self.guard.stats()
    }

    pub fn guard(&self) -> &ShutdownGuard {
        &self.guard
    }
}

/// The one span of that name.
#[track_caller]
pub fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|s| s.name == name).collect();
    let names: Vec<_> = spans.iter().map(|s| &s.name).collect();
    assert_eq!(found.len(), 1, "one span {name:?} among {names:?}");
    found[0]
}

/// The value under `key`; a key that is there twice is an error (TR-8).
#[track_caller]
pub fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found: Vec<_> = attributes.iter().filter(|a| a.key == key).collect();
    assert!(found.len() <= 1, "{key} is there {} times", found.len());
    found.first()?.value.as_ref()?.value.as_ref()
}

pub fn text(s: &str) -> Option<Value> {
    Some(Value::StringValue(s.to_owned()))
}

pub fn int(i: i64) -> Option<Value> {
    Some(Value::IntValue(i))
}
