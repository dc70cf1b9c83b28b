//! Handing a closed span over allocates nothing in the steady state.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[path = "../support/allocations.rs"]
mod allocations;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing_otlp::config::{BatchConfig, WorkerConfig};
use tracing_otlp::export::{Batch, Exporter, Outcome};
use tracing_otlp::processor::{BatchProcessor, ScopeId, TelemetryData};

/// Takes nothing before it is opened.
struct Sink(Arc<Semaphore>);

impl Exporter for Sink {
    type Permit = ();

    async fn ready(&self) {
        self.0.acquire().await.unwrap().forget();
    }

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let spans = batch.to_bytes().len().min(1) * batch.item_count();
        async move { Outcome::delivered(spans as u64) }
    }
}

#[test]
fn pushing_a_span_allocates_nothing() {
    let (batch, worker) = (BatchConfig::default(), WorkerConfig::default());
    let gate = Arc::new(Semaphore::new(0));
    let sink = Sink(Arc::clone(&gate));
    let processor = BatchProcessor::start(sink, &batch, &worker, Default::default()).unwrap();
    let scope = processor.register_scope(Default::default());
    // The pool is warm when as much has waited as will ever wait, however slow the worker is.
    assert!(burst(&processor, scope, 15_000) > 0, "the count counts");
    gate.add_permits(1 << 20);
    processor.force_flush_blocking(LONG).unwrap();
    let count = burst(&processor, scope, 10_000);
    assert_eq!(count, 0, "in 10,000 pushes of 280 bytes");
    processor.force_flush_blocking(LONG).unwrap();
    assert_eq!(processor.stats().delivered, 25_000);
}

const LONG: Duration = Duration::from_secs(120);

fn burst(processor: &BatchProcessor, scope: ScopeId, spans: usize) -> usize {
    let before = allocations::so_far();
    for _ in 0..spans {
        processor.push(TelemetryData {
            scope,
            item: &[7; 280],
        });
    }
    allocations::so_far() - before
}
