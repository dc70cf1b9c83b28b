//! Handing a closed span over allocates nothing in the steady state.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(
    unsafe_code,
    reason = "an allocator that counts can be written in no other way"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing_otlp::{
    Batch, BatchConfig, BatchProcessor, Exporter, Outcome, ScopeId, TelemetryData, WorkerConfig,
};

/// Counts the allocations of each thread by itself.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is the system allocator's; counting touches no memory of its own making, as
// the thread-local is initialised without an allocation and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Takes nothing before it is opened.
struct Sink(Arc<Semaphore>);

impl Exporter for Sink {
    type Permit = ();

    async fn ready(&self) {
        self.0.acquire().await.unwrap().forget();
    }

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let spans = batch.to_bytes().len().min(1) * batch.span_count();
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

const LONG: Duration = Duration::from_secs(20);

fn burst(processor: &BatchProcessor, scope: ScopeId, spans: usize) -> u64 {
    let before = ALLOCATIONS.get();
    for _ in 0..spans {
        processor.push(TelemetryData {
            scope,
            span: &[7; 280],
        });
    }
    ALLOCATIONS.get() - before
}
