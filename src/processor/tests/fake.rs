//! An exporter for tests, that does as it is told.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::future::pending;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{BatchConfig, WorkerConfig};
use crate::export::{Batch, Exporter, Outcome};
use crate::processor::{BatchProcessor, ScopeId, TelemetryData};
use crate::signal::Signal;
use crate::stats::{DropReason, Stats};
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, lock};

/// What a send does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Deliver,
    Refuse,
    /// Does not take the signal.
    Unsupported,
    /// Delivers when [`Fake::open_gate`] lets it.
    AtGate,
    Never,
    /// Waits for [`Exporter::shutdown`], then proves that nothing was sent.
    UntilShutdown,
    Panic,
    /// Holds its thread until [`Fake::open_gate`] lets go of it.
    Block,
}

#[derive(Debug, Clone)]
pub(crate) struct Fake(Arc<State>);

#[derive(Debug)]
struct State {
    permits: Arc<Semaphore>,
    gate: Semaphore,
    shut: Semaphore,
    answer: Mutex<Answer>,
    panics_in_ready: AtomicUsize,
    trouble: Mutex<Option<String>>,
    keeps_timeout: AtomicBool,
    batches: Mutex<Vec<Seen>>,
    shutdowns: AtomicUsize,
}

/// A batch that came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) spans: usize,
    pub(crate) bytes: Bytes,
}

impl Fake {
    pub(crate) fn new(permits: usize, answer: Answer) -> Self {
        Self(Arc::new(State {
            permits: Arc::new(Semaphore::new(permits)),
            gate: Semaphore::new(0),
            shut: Semaphore::new(0),
            answer: Mutex::new(answer),
            panics_in_ready: AtomicUsize::new(0),
            trouble: Mutex::default(),
            keeps_timeout: AtomicBool::new(false),
            batches: Mutex::default(),
            shutdowns: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn start(&self, config: &BatchConfig) -> BatchProcessor {
        self.start_on(config, &WorkerConfig::default())
    }

    pub(crate) fn start_on(&self, config: &BatchConfig, worker: &WorkerConfig) -> BatchProcessor {
        BatchProcessor::start(self.clone(), config, worker, Bytes::new()).unwrap()
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *lock(&self.0.answer) = answer;
    }

    pub(crate) fn give_permits(&self, count: usize) {
        self.0.permits.add_permits(count);
    }

    /// Lets `count` sends go on.
    pub(crate) fn open_gate(&self, count: usize) {
        self.0.gate.add_permits(count);
    }

    pub(crate) fn panic_in_ready(&self, times: usize) {
        self.0.panics_in_ready.store(times, Ordering::Relaxed);
    }

    pub(crate) fn keep_timeout(&self) {
        self.0.keeps_timeout.store(true, Ordering::Relaxed);
    }

    pub(crate) fn have_trouble(&self, trouble: &str) {
        *lock(&self.0.trouble) = Some(trouble.to_owned());
    }

    pub(crate) fn batches(&self) -> Vec<Seen> {
        lock(&self.0.batches).clone()
    }

    pub(crate) fn spans(&self) -> usize {
        self.batches().iter().map(|batch| batch.spans).sum()
    }

    pub(crate) fn shutdowns(&self) -> usize {
        self.0.shutdowns.load(Ordering::Relaxed)
    }
}

impl Exporter for Fake {
    type Permit = OwnedSemaphorePermit;

    async fn ready(&self) -> Self::Permit {
        let less = |times: usize| times.checked_sub(1);
        let left = &self.0.panics_in_ready;
        if left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
        {
            panic!("not ready at all");
        }
        Arc::clone(&self.0.permits).acquire_owned().await.unwrap()
    }

    fn send(
        &self,
        permit: Self::Permit,
        batch: Batch,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let state = Arc::clone(&self.0);
        async move {
            let _permit = permit;
            let spans = batch.item_count();
            lock(&state.batches).push(Seen {
                spans,
                bytes: batch.to_bytes(),
            });
            let answer = *lock(&state.answer);
            match answer {
                Answer::Deliver => {}
                Answer::Refuse => {
                    return Outcome::dropped(DropReason::Refused, spans as u64, "not wanted");
                }
                Answer::Unsupported => {
                    return Outcome::dropped(DropReason::Unsupported, spans as u64, "no such path");
                }
                Answer::AtGate => state.gate.acquire().await.unwrap().forget(),
                Answer::Never => pending().await,
                Answer::UntilShutdown => {
                    state.shut.acquire().await.unwrap().forget();
                    return Outcome::dropped(DropReason::Unsent, spans as u64, "shut down");
                }
                Answer::Panic => panic!("out of paper"),
                Answer::Block => {
                    let permit = loop {
                        match state.gate.try_acquire() {
                            Ok(permit) => break permit,
                            Err(_) => std::thread::sleep(Duration::from_millis(1)),
                        }
                    };
                    permit.forget();
                }
            }
            Outcome::delivered(spans as u64)
        }
    }

    fn shutdown(&self) {
        self.0.shutdowns.fetch_add(1, Ordering::Relaxed);
        self.0.shut.add_permits(1 << 20);
    }

    fn last_error(&self) -> Option<String> {
        lock(&self.0.trouble).clone()
    }

    fn supports(&self, _: Signal) -> bool {
        true
    }

    fn keeps_export_timeout(&self) -> bool {
        self.0.keeps_timeout.load(Ordering::Relaxed)
    }
}

/// A quiet processor: nothing but its batch size, a flush or a shutdown makes it send.
pub(crate) fn quiet(queue: usize, batch: usize) -> BatchConfig {
    BatchConfig {
        schedule_delay: Duration::from_secs(3600),
        max_queue_size: queue,
        max_export_batch_size: batch,
        ..BatchConfig::default()
    }
}

pub(crate) fn push(processor: &BatchProcessor, scope: ScopeId, spans: usize) {
    for _ in 0..spans {
        processor.push(TelemetryData {
            scope,
            item: b"a span of a few bytes",
        });
    }
}

/// Waits for `condition`; fails if it does not come true.
#[track_caller]
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + super::LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Asserts that every one of `pushed` spans is accounted for, and gives the reading.
#[track_caller]
pub(crate) fn account(processor: &BatchProcessor, pushed: u64) -> Stats {
    let mut stats = processor.stats();
    (stats.started, stats.counts_started) = (pushed, true);
    assert_eq!(stats.unaccounted(), 0, "{stats}");
    stats
}
