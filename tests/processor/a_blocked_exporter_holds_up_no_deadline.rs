//! An exporter may hold the worker's thread: standard output is a pipe that nobody reads, a disk stands still.
//! Whoever waits for a flush or a shutdown is answered in time all the same, in async code too.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::life::pace::answered;
use crate::life::{FLAVOURS, LONG};
use crate::support::pipeline::{Pipeline, balanced};
use tracing_otlp::export::{Batch, Exporter, Outcome};
use tracing_otlp::{DropReason, Error};

const SHORT: Duration = Duration::from_millis(200);

/// Blocks each send until the other end of the channel is dropped.
struct Blocks(Arc<Mutex<mpsc::Receiver<()>>>);

impl Exporter for Blocks {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let blocked = Arc::clone(&self.0);
        async move {
            let _ = blocked.lock().unwrap().recv();
            Outcome::delivered(batch.item_count() as u64)
        }
    }
}

/// A pipeline whose worker is blocked with one span, another one waiting; and what frees it.
fn blocked() -> (Pipeline, mpsc::Sender<()>) {
    let (free, blocked) = mpsc::channel();
    let builder = tracing_otlp::builder()
        .without_env()
        .with_schedule_delay(Duration::ZERO)
        .with_exporter(Blocks(Arc::new(Mutex::new(blocked))));
    let pipeline = Pipeline::start(builder);
    pipeline.spans(1, 10);
    pipeline.until(|stats| stats.in_flight == 1);
    pipeline.spans(1, 10);
    (pipeline, free)
}

#[track_caller]
fn is_in_time(answer: Result<(), Error>, began: Instant) {
    let error = answer.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(
        error.to_string().contains("holds the worker's thread"),
        "{error}"
    );
    let took = began.elapsed();
    assert!((SHORT..LONG / 2).contains(&took), "{took:?}");
}

#[test]
fn in_async_code_on_every_runtime() {
    for flavour in FLAVOURS {
        let (pipeline, free) = blocked();
        flavour.build().block_on(async {
            let began = Instant::now();
            is_in_time(pipeline.guard.force_flush(SHORT).await, began);
            let began = Instant::now();
            is_in_time(pipeline.guard.shutdown(SHORT).await, began);
            // The first call decides, and nobody waits for the worker any more.
            let began = Instant::now();
            assert!(
                pipeline
                    .guard
                    .shutdown(LONG)
                    .await
                    .unwrap_err()
                    .is_timeout()
            );
            assert!(began.elapsed() < LONG / 2, "{flavour:?}");
        });
        let stats = pipeline.stats();
        assert_eq!(stats.dropped(DropReason::ShutdownTimeout), 1, "{stats}");
        assert_eq!((stats.in_flight, stats.unaccounted()), (1, 0), "{stats}");
        drop(free);
        balanced(&pipeline.until(|stats| stats.in_flight == 0), 1);
    }
}

#[test]
fn where_a_server_ends() {
    let (pipeline, free) = blocked();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let began = Instant::now();
    let ended = runtime.block_on(async {
        let graceful = pipeline.guard.graceful(SHORT);
        graceful.serve(|_| std::future::ready(7)).await
    });
    assert_eq!(ended.server, Some(7));
    assert!(ended.pipeline.unwrap_err().is_timeout());
    assert!(began.elapsed() < LONG / 2);
    drop(free);
    balanced(&pipeline.until(|stats| stats.in_flight == 0), 1);
}

/// The pipeline's own exporter is well, and has delivered; the additional one is not.
#[test]
fn of_an_additional_exporter() {
    let (free, blocked) = mpsc::channel();
    let collector = tracing_otlp::testing::Collector::start();
    let builder =
        crate::support::pipeline::builder(tracing_otlp::Protocol::Grpc, &collector.grpc_endpoint())
            .with_additional_exporter(
                "blocks",
                Blocks(Arc::new(Mutex::new(blocked))),
                tracing_otlp::config::BatchConfig::default(),
            );
    let pipeline = Pipeline::start(builder);
    pipeline.spans(1, 10);
    let began = Instant::now();
    is_in_time(answered(pipeline.guard.force_flush(SHORT)), began);
    collector.wait_for_spans(1, LONG).unwrap();
    drop(free);
    let stats = pipeline.settle(1);
    assert_eq!(stats.additional[0].stats.delivered, 1, "{stats}");
}
