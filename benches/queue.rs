//! What does it cost a thread to hand over a closed span of 280 bytes?
//!
//! ```text
//! cargo bench --bench queue
//! ```
//!
//! `processor` is ours: a copy into a shared chunk. `array_queue` is the choice we rejected: a
//! lock-free queue of one buffer per span, and a second one through which buffers come back. In
//! both another thread drains while bursts of 2,000 spans are pushed; between bursts, outside the
//! clock, the queue is let run empty, so that nothing is dropped.
#![allow(clippy::unwrap_used, reason = "a benchmark may fail by panicking")]
#![allow(missing_docs, reason = "nobody imports it")]

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use tracing_otlp::config::{BatchConfig, WorkerConfig};
use tracing_otlp::export::{Batch, Exporter, Outcome};
use tracing_otlp::processor::{BatchProcessor, TelemetryData};

const SPAN: [u8; 280] = [b'x'; 280];
const BURST: u64 = 2000;

/// Takes everything at once.
struct Sink;

impl Exporter for Sink {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let spans = black_box(batch.frames()).len().min(1) * batch.item_count();
        async move { Outcome::delivered(spans as u64) }
    }
}

/// The time `threads` threads need for `pushes` pushes each, on average.
fn bursts(
    threads: usize,
    pushes: u64,
    push: impl Fn() + Sync,
    settle: impl Fn() + Sync,
) -> Duration {
    let barrier = Barrier::new(threads);
    let (barrier, push, settle) = (&barrier, &push, &settle);
    thread::scope(|s| {
        let run = move |leads: bool| {
            let (mut left, mut time) = (pushes, Duration::ZERO);
            while left > 0 {
                let burst = left.min(BURST);
                barrier.wait();
                let begun = Instant::now();
                (0..burst).for_each(|_| push());
                time += begun.elapsed();
                barrier.wait();
                if leads {
                    settle();
                }
                left -= burst;
            }
            time
        };
        let threads: Vec<_> = (0..threads).map(|i| s.spawn(move || run(i == 0))).collect();
        let count = threads.len() as u32;
        let total: Duration = threads.into_iter().filter_map(|t| t.join().ok()).sum();
        total / count
    })
}

fn processor(threads: usize, pushes: u64) -> Duration {
    let (batch, worker) = (BatchConfig::default(), WorkerConfig::default());
    let processor = BatchProcessor::start(Sink, &batch, &worker, Bytes::new()).unwrap();
    let scope = processor.register_scope(Bytes::from_static(b"\x0a\x03\x0a\x01s"));
    let time = bursts(
        threads,
        pushes,
        || {
            processor.push(TelemetryData {
                scope,
                item: black_box(&SPAN),
            });
        },
        || {
            processor
                .force_flush_blocking(Duration::from_secs(10))
                .unwrap()
        },
    );
    assert_eq!(processor.stats().dropped_total(), 0);
    time
}

fn array_queue(threads: usize, pushes: u64) -> Duration {
    let queue: ArrayQueue<Vec<u8>> = ArrayQueue::new(65_536);
    // As many buffers as a burst needs: more would only miss the cache.
    let idle: ArrayQueue<Vec<u8>> = ArrayQueue::new(4 * BURST as usize);
    while idle.push(Vec::with_capacity(512)).is_ok() {}
    let (waiting, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|s| {
        let worker = s.spawn(|| {
            let mut request: Vec<u8> = Vec::with_capacity(1 << 20);
            while !over.load(Ordering::Relaxed) {
                thread::park_timeout(Duration::from_millis(1));
                while let Some(mut span) = queue.pop() {
                    request.extend_from_slice(&span);
                    if request.len() > 512 * 280 {
                        black_box(&mut request).clear();
                    }
                    span.clear();
                    let _ = idle.push(span);
                }
            }
        });
        let time = bursts(
            threads,
            pushes,
            || {
                let mut span = idle.pop().unwrap();
                span.extend_from_slice(black_box(&SPAN));
                queue.push(span).unwrap();
                if waiting.fetch_add(1, Ordering::AcqRel) % 512 == 511 {
                    worker.thread().unpark();
                }
            },
            || {
                while !queue.is_empty() {
                    thread::yield_now();
                }
            },
        );
        over.store(true, Ordering::Relaxed);
        time
    })
}

fn push(c: &mut Criterion) {
    for threads in [1, 2, 4] {
        let mut group = c.benchmark_group(format!("push/{threads}_threads"));
        group.throughput(Throughput::Elements(1));
        group.bench_function("processor", |b| b.iter_custom(|n| processor(threads, n)));
        group.bench_function("array_queue", |b| {
            b.iter_custom(|n| array_queue(threads, n))
        });
        group.finish();
    }
}

criterion_group!(benches, push);
criterion_main!(benches);
