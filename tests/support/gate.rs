//! A pipeline whose exporter takes everything, once it is let.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
pub use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::sync::Semaphore;
use tracing::{Dispatch, info_span};
use tracing_otlp::export::{Batch, Exporter, Outcome};
use tracing_otlp::{Error, OtlpBuilder, ShutdownGuard, Stats};
use tracing_subscriber::layer::SubscriberExt as _;

/// Reading back large requests takes a loaded machine minutes; a test that passes never waits for it.
const LONG: Duration = Duration::from_secs(600);

#[derive(Clone)]
struct Taker {
    may: Arc<Semaphore>,
    taken: Arc<Mutex<Vec<Span>>>,
}

impl Exporter for Taker {
    type Permit = ();

    async fn ready(&self) {
        let _ = self.may.acquire().await;
    }

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let request = ExportTraceServiceRequest::decode(batch.to_bytes()).expect("valid OTLP");
        let spans = request.resource_spans.into_iter();
        let spans = spans.flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
        self.taken.lock().unwrap().extend(spans);
        std::future::ready(Outcome::delivered(batch.item_count() as u64))
    }
}

pub struct Gate {
    taker: Taker,
    guard: ShutdownGuard,
    dispatch: Dispatch,
}

impl Gate {
    /// The exporter takes all at once.
    pub fn open(edit: impl FnOnce(OtlpBuilder) -> OtlpBuilder) -> Self {
        let gate = Self::shut(edit);
        gate.set_open();
        gate
    }

    /// It takes nothing.
    pub fn shut(edit: impl FnOnce(OtlpBuilder) -> OtlpBuilder) -> Self {
        let taker = Taker {
            may: Arc::new(Semaphore::new(0)),
            taken: Arc::default(),
        };
        let builder = edit(tracing_otlp::builder().without_env());
        let (layer, guard) = builder.with_exporter(taker.clone()).build().unwrap();
        Self {
            taker,
            guard,
            dispatch: Dispatch::new(tracing_subscriber::registry().with(layer)),
        }
    }

    pub fn set_open(&self) {
        self.taker.may.add_permits(1);
    }

    pub fn dispatch(&self) -> Dispatch {
        self.dispatch.clone()
    }

    pub fn within<R>(&self, f: impl FnOnce() -> R) -> R {
        tracing::dispatcher::with_default(&self.dispatch, f)
    }

    pub fn flush(&self) -> Result<(), Error> {
        let flushed = self.guard.force_flush_blocking(LONG);
        assert!(
            !flushed.as_ref().is_err_and(Error::is_timeout),
            "{flushed:?}"
        );
        flushed
    }

    pub fn spans(&self) -> Vec<Span> {
        self.taker.taken.lock().unwrap().clone()
    }

    pub fn stats(&self) -> Stats {
        self.guard.stats()
    }

    /// Ends the pipeline: every span is accounted for.
    #[track_caller]
    pub fn settle(self) -> Stats {
        let _ = self.guard.shutdown_blocking(LONG);
        let stats = self.guard.stats();
        assert_eq!((stats.unaccounted(), stats.open), (0, 0), "{stats}");
        assert_eq!(stats.delivered as usize, self.spans().len(), "{stats}");
        stats
    }
}

/// Records `n` spans as most are, three open at a time.
pub fn short_spans(n: usize) {
    for n in 0..n {
        let short = info_span!("short", n, user = %"user-4711", path = "/api/v1/orders");
        let _entered = short.enter();
        let inner = info_span!("inner", note = "of the short one").entered();
        tracing::info!(hit = true, "cache");
        drop(inner);
    }
}

/// That so many arrived with all that they had.
#[track_caller]
pub fn expect_whole(spans: &[Span], n: usize) {
    for (name, attributes, events) in [("short", 3, 0), ("inner", 1, 1)] {
        let found: Vec<_> = spans.iter().filter(|s| s.name == name).collect();
        assert_eq!(found.len(), n, "{name}");
        let is_whole = |s: &&&Span| {
            // The layer adds three.
            (s.attributes.len(), s.events.len()) == (attributes + 3, events)
                && s.dropped_attributes_count == 0
        };
        assert_eq!(found.iter().filter(is_whole).count(), n, "{name}");
    }
}

pub fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    let found = span.attributes.iter().find(|a| a.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

pub fn int(span: &Span, key: &str) -> Option<i64> {
    match attribute(span, key)? {
        Value::IntValue(value) => Some(*value),
        _ => None,
    }
}
