//! What an exporter or the application's end may do to the worker, and what is left of the spans
//! (PAIN 9, 32; EH-1).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/child.rs"]
mod child;
#[path = "../support/life.rs"]
mod life;
#[path = "../support/pace.rs"]
mod pace;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use life::pace::SLACK;
use life::{LONG, PROTOCOLS, Pipeline, pipeline, quiet, ten_spans};
use tracing_otlp::export::{Batch, Exporter, Outcome};
use tracing_otlp::testing::Collector;
use tracing_otlp::{DropReason, OtlpBuilder};

/// Where an exporter panics, so many times.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bad {
    Ready,
    ReadyLate,
    SendCall,
    Send,
    SendLate,
    Trouble,
    Shutdown,
}

#[derive(Clone)]
struct Bomb {
    bad: Bad,
    left: Arc<AtomicUsize>,
}

impl Bomb {
    fn new(bad: Bad, times: usize) -> Self {
        let left = Arc::new(AtomicUsize::new(times));
        Self { bad, left }
    }

    fn go_off(&self, at: Bad) {
        let less = |left: usize| left.checked_sub(1);
        if self.bad == at
            && self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
                .is_ok()
        {
            panic!("a bomb in {at:?}");
        }
    }
}

impl Exporter for Bomb {
    type Permit = ();

    async fn ready(&self) {
        self.go_off(Bad::Ready);
        if self.bad == Bad::Trouble && self.left.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        tokio::task::yield_now().await;
        self.go_off(Bad::ReadyLate);
    }

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        self.go_off(Bad::SendCall);
        let (bomb, spans) = (self.clone(), batch.item_count() as u64);
        async move {
            bomb.go_off(Bad::Send);
            tokio::task::yield_now().await;
            bomb.go_off(Bad::SendLate);
            Outcome::delivered(spans)
        }
    }

    fn last_error(&self) -> Option<String> {
        self.go_off(Bad::Trouble);
        None
    }

    fn shutdown(&self) {
        self.go_off(Bad::Shutdown);
    }
}

fn with(bomb: &Bomb, threads: Option<usize>) -> OtlpBuilder {
    tracing_otlp::builder()
        .without_env()
        .with_worker_threads(threads)
        .with_exporter(bomb.clone())
}

/// One panic costs the batch at hand, or nothing; the next spans go out as if it had not been.
#[test]
fn an_exporter_that_panics_once() {
    for threads in [None, Some(2)] {
        for bad in [
            Bad::Ready,
            Bad::ReadyLate,
            Bad::SendCall,
            Bad::Send,
            Bad::SendLate,
            Bad::Trouble,
            Bad::Shutdown,
        ] {
            let Pipeline {
                dispatch,
                guard,
                ear,
            } = pipeline(with(&Bomb::new(bad, 1), threads));
            ten_spans(&dispatch);
            let first = guard.force_flush_blocking(LONG);
            ten_spans(&dispatch);
            guard.force_flush_blocking(LONG).unwrap();
            guard.shutdown_blocking(LONG).unwrap();
            let stats = guard.stats();
            let costs = matches!(bad, Bad::SendCall | Bad::Send | Bad::SendLate);
            let lost = if costs { 10 } else { 0 };
            assert_eq!(
                stats.dropped(DropReason::Internal),
                lost,
                "{bad:?}: {stats}"
            );
            assert_eq!(
                (stats.delivered, stats.unaccounted()),
                (20 - lost, 0),
                "{bad:?}: {stats}"
            );
            let restarts = matches!(bad, Bad::Ready | Bad::ReadyLate);
            assert_eq!(stats.worker_restarts, u64::from(restarts), "{bad:?}");
            match costs {
                true => {
                    let error = first.unwrap_err().to_string();
                    assert!(error.contains(&format!("a bomb in {bad:?}")), "{error}");
                    assert!(ear.has_heard("a bomb"), "{:?}", ear.diagnostics());
                }
                false => first.unwrap(),
            }
        }
    }
}

/// Nothing gets through, nothing is lost uncounted, and the end comes in time.
#[test]
fn an_exporter_that_always_panics() {
    for bad in [Bad::Ready, Bad::ReadyLate, Bad::SendCall, Bad::SendLate] {
        let Pipeline {
            dispatch,
            guard,
            ear,
        } = pipeline(with(&Bomb::new(bad, usize::MAX), None));
        for _ in 0..5 {
            ten_spans(&dispatch);
            assert!(
                guard
                    .force_flush_blocking(Duration::from_millis(50))
                    .is_err()
            );
        }
        let begun = std::time::Instant::now();
        let _ = guard.shutdown_blocking(Duration::from_millis(100));
        assert!(begun.elapsed() < SLACK);
        // It is so already, unless the panics' backtraces hold the worker's thread.
        life::until("settled", || guard.stats().queued == 0);
        let stats = guard.stats();
        assert_eq!(
            (stats.delivered, stats.dropped_total()),
            (0, 50),
            "{bad:?}: {stats}"
        );
        assert_eq!(stats.unaccounted(), 0, "{bad:?}: {stats}");
        let said = ear.diagnostics();
        assert!((1..=5).contains(&said.len()), "{bad:?}: {said:#?}");
    }
}

/// No guard is dropped, the worker is in the middle of its work: the process ends all the same,
/// with its own code, and quietly. What was flushed before is safe.
#[test]
fn the_process_exits_without_a_guard() {
    match child::role() {
        None => {
            for (number, protocol) in PROTOCOLS.into_iter().enumerate() {
                let collector = Collector::start();
                let role = format!("{number} {}", collector.endpoint(protocol));
                let ended = child::run("the_process_exits_without_a_guard", &role);
                assert_eq!(ended.status.code(), Some(7), "{}", ended.output);
                assert!(!ended.output.contains("panicked"), "{}", ended.output);
                let spans = collector.span_count();
                assert!((10..=30).contains(&spans), "{spans}");
            }
        }
        Some(role) => {
            let (number, endpoint) = role.split_once(' ').unwrap();
            let protocol = PROTOCOLS[number.parse::<usize>().unwrap()];
            let Pipeline {
                dispatch, guard, ..
            } = pipeline(quiet(endpoint, protocol));
            tracing::dispatcher::set_global_default(dispatch.clone()).unwrap();
            ten_spans(&dispatch);
            guard.force_flush_blocking(LONG).unwrap();
            ten_spans(&dispatch);
            drop(guard.force_flush(LONG));
            std::mem::forget(guard);
            ten_spans(&dispatch);
            std::process::exit(7);
        }
    }
}

/// PAIN 6: `main` panics, and the guard is dropped as its stack unwinds.
#[test]
fn the_application_panics() {
    match child::role() {
        None => {
            let collector = Collector::start();
            let ended = child::run("the_application_panics", &collector.grpc_endpoint());
            assert_eq!(ended.status.code(), Some(101), "{}", ended.output);
            assert!(ended.output.contains("the application's fault"));
            assert_eq!(collector.span_count(), 11);
        }
        Some(endpoint) => {
            let Pipeline {
                dispatch,
                guard: _guard,
                ..
            } = pipeline(quiet(&endpoint, PROTOCOLS[0]));
            tracing::dispatcher::set_global_default(dispatch.clone()).unwrap();
            ten_spans(&dispatch);
            let _open = tracing::info_span!("open when it happened").entered();
            panic!("the application's fault");
        }
    }
}
