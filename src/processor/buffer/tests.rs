//! The bounds are exact, and so are the counts.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;
use crate::pool::Reclaim as _;
use crate::processor::record::ScopeId;
use crate::sync::{AtomicBool, Ordering};

const SCOPE: ScopeId = ScopeId(0);

struct Rig {
    buffer: TelemetryBuffer,
    counters: Arc<Counters>,
    budget: Arc<Budget>,
    wake: Arc<Wake>,
}

fn rig(spans: usize, batch: usize, memory: usize, shards: usize) -> Rig {
    let (counters, wake) = (Counters::new(), Arc::new(Wake::new()));
    let budget = Budget::new(memory);
    let bounds = QueueBounds {
        spans,
        batch,
        batch_bytes: 1 << 20,
    };
    Rig {
        buffer: TelemetryBuffer::new(
            crate::signal::Signal::Traces,
            bounds,
            shards,
            &budget,
            Arc::clone(&wake),
            Arc::clone(&counters),
        ),
        counters,
        budget,
        wake,
    }
}

impl Rig {
    fn push(&self, preferred: usize, span: &[u8]) {
        self.buffer.push(
            preferred,
            TelemetryData {
                scope: SCOPE,
                item: span,
            },
        );
    }

    /// Takes everything as the worker does: spans, bytes.
    fn take(&self, close: bool) -> (u64, usize) {
        let (mut chunks, mut spans, mut bytes) = (Vec::new(), 0, 0);
        self.buffer.drain(close, &mut chunks);
        for chunk in chunks {
            spans += u64::from(chunk.items());
            bytes += chunk.len();
            chunk.recycle(self.buffer.pool());
        }
        self.buffer.release(spans as usize);
        (spans, bytes)
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.snapshot().dropped(reason)
    }
}

/// BSP-5: a span is refused only when really so many wait, however few that is and wherever the
/// unused credits lie.
#[test]
fn exactly_the_bound_of_spans_may_wait() {
    for bound in [1, 2, 10, 100, 1000] {
        let rig = rig(bound, 1, 16 << 20, 8);
        for round in 0..3 {
            let rig = &rig;
            std::thread::scope(|s| {
                for thread in 0..8 {
                    s.spawn(move || (0..bound).for_each(|_| rig.push(thread, b"x")));
                }
            });
            assert_eq!(rig.buffer.queued(), bound);
            let refused = 7 * bound as u64;
            assert_eq!(rig.dropped(DropReason::QueueFull), (round + 1) * refused);
            assert_eq!(rig.take(false).0, bound as u64);
            assert_eq!(rig.buffer.queued(), 0);
        }
    }
}

#[test]
fn one_thread_may_use_credits_that_other_shards_hold() {
    // A grain of 12 credits: seven other shards take theirs and use one each.
    let rig = rig(800, 1, 16 << 20, 8);
    (1..8).for_each(|shard| rig.push(shard, b"x"));
    (0..800).for_each(|_| rig.push(0, b"x"));
    assert_eq!(rig.buffer.queued(), 800);
    assert_eq!(rig.dropped(DropReason::QueueFull), 7);
}

/// PAIN 26, 31: unpaced threads against a worker that drains: every span is taken or counted.
#[test]
fn nothing_is_lost_or_doubled_under_eight_threads() {
    const EACH: u64 = 31_250;
    let rig = rig(2048, 512, 1 << 20, 8);
    let done = AtomicBool::new(false);
    let taken = std::thread::scope(|s| {
        let worker = s.spawn(|| {
            let mut taken = 0;
            while !done.load(Ordering::Acquire) {
                taken += rig.take(false).0;
                std::thread::yield_now();
            }
            taken + rig.take(true).0
        });
        std::thread::scope(|s| {
            for thread in 0..8 {
                let rig = &rig;
                let span = vec![b'x'; 17 * (thread + 1)];
                s.spawn(move || (0..EACH).for_each(|_| rig.push(thread, &span)));
            }
        });
        done.store(true, Ordering::Release);
        worker.join().unwrap()
    });
    assert_eq!(taken + rig.dropped(DropReason::QueueFull), 8 * EACH);
    assert!(taken > 0);
    assert_eq!(rig.buffer.queued(), 0);
    (0..20).for_each(|_| rig.buffer.pool().trim());
    assert_eq!(rig.budget.used(), 0, "all memory came back");
}

/// EH-2: memory is bounded by capacity, whatever the spans' sizes.
#[test]
fn bytes_are_bounded_too() {
    let rig = rig(1 << 20, 512, 1 << 20, 4);
    let sizes = [10, 3000, 20_000, 40_000, 100_000];
    let pushed = (0..2000)
        .inspect(|i| rig.push(*i, &vec![b'x'; sizes[i % 5]]))
        .count() as u64;
    assert!(rig.budget.used() <= 1 << 20);
    let full = rig.dropped(DropReason::QueueFull);
    assert!(full > 0);
    let (spans, bytes) = rig.take(false);
    assert_eq!(spans + full, pushed);
    assert!(
        bytes > 700 << 10,
        "most of the memory was put to use: {bytes}"
    );
    rig.push(0, &vec![b'x'; 100_000]);
    assert_eq!(rig.take(false).0, 1, "there is room again");
    rig.push(0, &vec![b'x'; 1 << 20]);
    assert_eq!(rig.dropped(DropReason::TooLarge), 1);
    assert_eq!(rig.buffer.queued(), 0);
}

#[test]
fn a_small_budget_means_small_chunks() {
    let rig = rig(1000, 10, 64 << 10, 16);
    (0..16).for_each(|shard| rig.push(shard, b"x"));
    assert_eq!(rig.dropped(DropReason::QueueFull), 0);
    assert!(rig.budget.used() <= 32 << 10, "open chunks leave room");
}

/// BSP-7
#[test]
fn after_close_spans_are_counted_as_late() {
    let rig = rig(10, 1, 1 << 20, 4);
    rig.push(0, b"x");
    assert_eq!(rig.take(true).0, 1);
    (0..4).for_each(|shard| rig.push(shard, b"x"));
    rig.push(0, &vec![b'x'; 50_000]);
    assert_eq!(rig.dropped(DropReason::AlreadyShutdown), 5);
    assert_eq!(rig.take(false).0, 0);
    assert_eq!(rig.buffer.queued(), 0);
}

/// BSP-7
#[test]
fn after_close_spans_are_late_though_the_queue_was_full() {
    let rig = rig(2, 1, 1 << 20, 4);
    (0..4).for_each(|shard| rig.push(shard, b"x"));
    assert_eq!(rig.dropped(DropReason::QueueFull), 2);
    // The worker still has what it drained: no credit is free.
    let mut chunks = Vec::new();
    rig.buffer.drain(true, &mut chunks);
    (0..4).for_each(|shard| rig.push(shard, b"x"));
    let dropped = [DropReason::QueueFull, DropReason::AlreadyShutdown].map(|why| rig.dropped(why));
    assert_eq!(dropped, [2, 4]);
}

/// BSP-4
#[test]
fn a_batch_by_spans_rings_once() {
    let rig = rig(1000, 20, 1 << 20, 2);
    assert!(rig.wake.arm(20));
    let heard = || {
        tokio_test::task::spawn(rig.wake.notified())
            .poll()
            .is_ready()
    };
    (0..18).for_each(|i| rig.push(i, b"x"));
    assert!(!heard(), "published in steps of two");
    (0..2).for_each(|i| rig.push(i, b"x"));
    assert!(heard());
    (0..100).for_each(|i| rig.push(i, b"x"));
    assert!(!heard(), "nobody asked again");
    assert!(!rig.wake.arm(20));
    rig.take(false);
    assert!(rig.wake.arm(1), "a drain takes back what was published");
}

/// PAIN 28: large spans make a batch long before their number does.
#[test]
fn a_batch_by_bytes_rings_too() {
    let rig = rig(1000, 500, 16 << 20, 2);
    assert!(rig.wake.arm(500));
    let heard = || {
        tokio_test::task::spawn(rig.wake.notified())
            .poll()
            .is_ready()
    };
    (0..50).for_each(|_| rig.push(0, &[b'x'; 20_000]));
    assert!(!heard());
    (0..10).for_each(|_| rig.push(0, &[b'x'; 20_000]));
    assert!(heard(), "60 spans, 1.2 MB");
    rig.take(false);
    assert!(rig.wake.arm(500));
    rig.push(0, &vec![b'x'; 2 << 20]);
    assert!(heard(), "one span of 2 MiB");
}

/// The memory of one round is the memory of the next.
#[test]
fn the_steady_state_takes_no_new_memory() {
    let rig = rig(10_000, 512, 16 << 20, 2);
    let round = |n: usize| {
        (0..n).for_each(|i| rig.push(i, &[b'x'; 280]));
        rig.take(false);
        rig.budget.used()
    };
    let first = round(5000);
    for _ in 0..20 {
        assert_eq!(round(5000), first);
    }
    assert!((0..10).map(|_| round(1)).all(|used| used == first));
}
