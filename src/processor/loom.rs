//! Models of the races between pushes, the worker and callers, run through all interleavings:
//!
//! ```text
//! RUSTFLAGS="--cfg tracing_otlp_loom" cargo test --lib --release loom
//! ```
//!
//! The tested code is the shipped code, except tokio's `Notify`: a flag and a condvar replace it
//! (`wake.rs`).

use loom::thread;

use super::buffer::{QueueBounds, TelemetryBuffer};
use super::flush::{Command, RequestQueue};
use super::record::{ScopeId, TelemetryData};
use super::wake::Wake;
use crate::pool::Budget;
use crate::signal::Signal;
use crate::stats::{Counters, DropReason};
use crate::sync::Arc;

struct Rig {
    buffer: TelemetryBuffer,
    counters: Arc<Counters>,
    wake: Arc<Wake>,
    requests: RequestQueue,
}

fn rig(spans: usize, batch: usize, shards: usize) -> Arc<Rig> {
    let (counters, wake) = (Counters::new(), Arc::new(Wake::new()));
    let bounds = QueueBounds {
        spans,
        batch,
        batch_bytes: 1 << 20,
    };
    let budget = Budget::new(64 << 10);
    let buffer = TelemetryBuffer::new(
        Signal::Traces,
        bounds,
        shards,
        &budget,
        Arc::clone(&wake),
        Arc::clone(&counters),
    );
    Arc::new(Rig {
        buffer,
        counters,
        wake,
        requests: RequestQueue::default(),
    })
}

impl Rig {
    fn push(&self, preferred: usize) {
        let data = TelemetryData {
            scope: ScopeId(0),
            item: b"x",
        };
        self.buffer.push(preferred, data);
    }

    fn take(&self, close: bool) -> u64 {
        let mut chunks = Vec::new();
        self.buffer.drain(close, &mut chunks);
        let mut spans = 0;
        for chunk in chunks {
            spans += u64::from(chunk.items());
            chunk.recycle(self.buffer.pool());
        }
        if spans > 0 {
            // Releasing none would hide a queue that was wrongly declared full.
            self.buffer.release(spans as usize);
        }
        spans
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.snapshot().dropped(reason)
    }
}

fn spawn<T: 'static>(
    rig: &Arc<Rig>,
    run: impl FnOnce(&Rig) -> T + 'static,
) -> thread::JoinHandle<T> {
    let rig = Arc::clone(rig);
    thread::spawn(move || run(&rig))
}

fn model(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

/// Nothing is lost or doubled between a push and a drain, and the credit comes back.
#[test]
fn push_against_drain() {
    model(3, || {
        let rig = rig(2, 9, 1);
        let pusher = spawn(&rig, |rig| {
            rig.push(0);
            rig.push(0);
        });
        let early = rig.take(false);
        pusher.join().unwrap();
        assert_eq!(early + rig.take(false), 2);
        assert_eq!(rig.dropped(DropReason::QueueFull), 0);
        assert_eq!(rig.buffer.queued(), 0);
    });
}

/// BSP-5: of two that want the last place one gets it, and only one.
#[test]
fn two_pushes_on_the_last_place() {
    model(3, || {
        let rig = rig(1, 9, 2);
        let other = spawn(&rig, |rig| rig.push(1));
        rig.push(0);
        other.join().unwrap();
        assert_eq!(rig.dropped(DropReason::QueueFull), 1);
        assert_eq!(rig.take(false), 1);
        // A place that has become free is found, though the queue had been declared full.
        rig.push(1);
        assert_eq!(rig.take(false), 1);
    });
}

/// A search that finds nothing while the place is being given back must not leave the queue
/// declared full.
#[test]
fn full_is_declared_against_release() {
    model(3, || {
        let rig = rig(1, 9, 2);
        rig.push(0);
        let worker = spawn(&rig, |rig| rig.take(false));
        rig.push(1);
        let taken = worker.join().unwrap() + rig.take(false);
        assert_eq!(taken + rig.dropped(DropReason::QueueFull), 2);
        rig.push(1);
        assert_eq!(rig.take(false), 1, "an empty queue is not full");
    });
}

/// BSP-4: the push that completes a batch is never missed by a worker that goes to sleep. A lost
/// wake-up would leave the model waiting for ever, which loom reports.
#[test]
fn a_wake_up_is_never_lost() {
    model(3, || {
        let rig = rig(8, 2, 2);
        let first = spawn(&rig, |rig| rig.push(0));
        let second = spawn(&rig, |rig| rig.push(1));
        if rig.wake.arm(2) {
            rig.wake.wait_blocking();
        }
        assert_eq!(rig.take(false), 2);
        first.join().unwrap();
        second.join().unwrap();
    });
}

/// BSP-6, PAIN 8: whatever was pushed before the flush was asked for is drained for it.
#[test]
fn a_flush_covers_what_was_pushed_before() {
    model(3, || {
        let rig = rig(8, 8, 2);
        let caller = spawn(&rig, |rig| {
            rig.push(0);
            let request = rig
                .requests
                .submit(Command::Flush, std::time::Duration::MAX, &rig.wake);
            assert_eq!(request.wait(), Some(Ok(())));
        });
        let mut sent = 0;
        let flush_requests = loop {
            let flush_requests = rig.requests.collect();
            sent += rig.take(false);
            if !flush_requests.is_empty() {
                break flush_requests;
            }
            rig.wake.wait_blocking();
        };
        assert_eq!(sent, 1);
        flush_requests
            .iter()
            .for_each(|request| request.resolve(Ok(())));
        caller.join().unwrap();
    });
}

/// BSP-7: a span that closes while the queue does is taken or counted, never both or neither.
#[test]
fn push_against_close() {
    model(3, || {
        let rig = rig(8, 8, 2);
        let pushers = [0, 1].map(|shard| spawn(&rig, move |rig| rig.push(shard)));
        let taken = rig.take(true);
        for pusher in pushers {
            pusher.join().unwrap();
        }
        assert_eq!(taken + rig.dropped(DropReason::AlreadyShutdown), 2);
        assert_eq!(rig.take(true), 0);
    });
}

/// BSP-7: a request that is submitted while the queue of requests closes is answered.
#[test]
fn a_request_against_the_closing_queue() {
    model(3, || {
        let rig = rig(1, 1, 1);
        let caller = spawn(&rig, |rig| {
            rig.requests
                .submit(Command::Shutdown, std::time::Duration::MAX, &rig.wake)
                .wait()
        });
        rig.requests.close(Ok(()));
        assert_eq!(caller.join().unwrap(), Some(Ok(())));
    });
}
