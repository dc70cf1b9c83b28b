//! What the benchmarks share: where spans go, and spans to send.
#![allow(dead_code, unreachable_pub, reason = "each benchmark uses its part")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::{Dispatch, dispatcher, info, info_span};
use tracing_otlp::export::{Batch, Exporter, Outcome};
use tracing_otlp::{OtlpBuilder, ShutdownGuard};
use tracing_subscriber::layer::SubscriberExt as _;

/// Counts and discards, so that no queue fills.
pub struct Discard;

impl Exporter for Discard {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        std::future::ready(Outcome::delivered(batch.item_count() as u64))
    }
}

/// Keeps the last batch.
struct Keep(Arc<Mutex<Option<Batch>>>);

impl Exporter for Keep {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let outcome = Outcome::delivered(batch.item_count() as u64);
        *self.0.lock().expect("nobody panicked") = Some(batch);
        std::future::ready(outcome)
    }
}

/// A registry with this crate's layer, and what ends its pipeline.
pub fn pipeline(builder: OtlpBuilder, exporter: impl Exporter) -> (Dispatch, ShutdownGuard) {
    let builder = builder.without_env().with_exporter(exporter);
    let (layer, guard) = builder.build().expect("a pipeline");
    let subscriber = tracing_subscriber::registry().with(layer);
    (Dispatch::new(subscriber), guard)
}

/// A span of four attributes and one event, opened and closed.
pub fn record_span() {
    let span = info_span!(
        "GET /cart",
        http.request.method = "GET",
        url.path = "/cart/4711",
        http.response.status_code = 200,
        server.address = "shop.example"
    );
    let _entered = span.entered();
    info!(attempt = 1, "cache miss");
}

/// 512 such spans, ready to be sent.
pub fn batch_of_512() -> Batch {
    let kept = Arc::new(Mutex::new(None));
    let builder = tracing_otlp::builder().with_max_export_batch_size(512);
    let (dispatch, guard) = pipeline(builder, Keep(Arc::clone(&kept)));
    dispatcher::with_default(&dispatch, || (0..512).for_each(|_| record_span()));
    guard
        .shutdown_blocking(Duration::from_secs(10))
        .expect("all spans leave");
    let batch: Option<Batch> = kept.lock().expect("nobody panicked").take();
    let batch = batch.expect("a batch");
    assert_eq!(batch.item_count(), 512);
    batch
}
