//! Flush and shutdown: what they cover, and that they end.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::thread;
use std::time::Instant;

use super::fake::{Answer, Fake, account, push, quiet, until};
use super::{LONG, SCOPE, SHORT, SLACK, ms};
use crate::config::WorkerConfig;
use crate::error::Error;
use crate::processor::BatchProcessor;
use crate::stats::DropReason;

/// BSP-6, PAIN 8: a flush covers what was pushed before, wherever it is; and no more.
#[test]
fn a_flush_waits_for_what_was_pushed_before_it() {
    let fake = Fake::new(2, Answer::AtGate);
    let processor = fake.start(&quiet(100, 4));
    push(&processor, SCOPE, 4);
    until("in flight", || fake.batches().len() == 1);
    push(&processor, SCOPE, 1);
    let mut flush = tokio_test::task::spawn(processor.force_flush(LONG));
    until("the part batch", || fake.batches().len() == 2);
    assert!(flush.poll().is_pending());
    push(&processor, SCOPE, 4);
    fake.open_gate(1);
    until("one done", || processor.stats().delivered > 0);
    assert!(flush.poll().is_pending(), "one is still in flight");
    fake.open_gate(1);
    until("woken", || flush.is_woken());
    assert!(matches!(flush.poll(), std::task::Poll::Ready(Ok(()))));
    assert_eq!(
        account(&processor, 9).delivered,
        5,
        "the later four were not waited for"
    );
    fake.open_gate(9);
    processor.force_flush_blocking(LONG).unwrap();
    assert_eq!(account(&processor, 9).delivered, 9);
}

/// Whoever waits in vain is told what for.
#[test]
fn a_deadline_that_passes_says_what_stood_in_the_way() {
    let fake = Fake::new(0, Answer::Deliver);
    fake.have_trouble("the line is dead");
    let processor = fake.start(&quiet(100, 512));
    push(&processor, SCOPE, 3);
    // A call that blocks gives up on a worker that is late, and knows no more than that.
    let error = answered(processor.force_flush(SHORT));
    assert!(error.to_string().ends_with(": the line is dead"), "{error}");
    let error = answered(processor.shutdown(SHORT));
    assert!(error.is_timeout(), "{error}");
    assert!(error.to_string().ends_with(": the line is dead"), "{error}");

    let fake = Fake::new(2, Answer::Never);
    let processor = fake.start(&quiet(100, 512));
    push(&processor, SCOPE, 3);
    drop(processor.force_flush(LONG));
    until("in flight", || fake.batches().len() == 1);
    let error = answered(processor.force_flush(SHORT));
    assert!(error.to_string().contains("not answered yet"), "{error}");
}

/// BSP-6: the timeout is kept; what was asked for goes on.
#[test]
fn a_flush_keeps_its_deadline() {
    let fake = Fake::new(0, Answer::Deliver);
    let processor = fake.start(&quiet(100, 512));
    push(&processor, SCOPE, 3);
    let begun = Instant::now();
    let error = processor.force_flush_blocking(SHORT).unwrap_err();
    assert!(error.is_timeout() && begun.elapsed() >= SHORT, "{error}");
    assert!(begun.elapsed() < SLACK);
    assert_eq!(
        account(&processor, 3).queued,
        3,
        "spans wait for a permit in the queue"
    );
    fake.give_permits(1);
    until("sent without another call", || {
        processor.stats().delivered == 3
    });
}

#[test]
fn a_flush_says_what_was_lost() {
    let fake = Fake::new(4, Answer::Refuse);
    let processor = fake.start(&quiet(100, 512));
    push(&processor, SCOPE, 3);
    let error = processor.force_flush_blocking(LONG).unwrap_err();
    assert_eq!(
        error.to_string(),
        "3 spans could not be delivered: not wanted"
    );
    assert!(error.is_export());
    let stats = account(&processor, 3);
    assert_eq!(stats.dropped(DropReason::Refused), 3);
    assert_eq!(stats.last_error.unwrap().1, "not wanted");
    fake.answer(Answer::Deliver);
    push(&processor, SCOPE, 1);
    processor.force_flush_blocking(LONG).unwrap();
}

#[test]
fn an_idle_flush_is_immediate_and_flushes_may_overlap() {
    let processor = Fake::new(4, Answer::Deliver).start(&quiet(10_000, 512));
    processor.force_flush_blocking(LONG).unwrap();
    thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| {
                for _ in 0..50 {
                    push(&processor, SCOPE, 3);
                    processor.force_flush_blocking(LONG).unwrap();
                }
            });
        }
    });
    assert_eq!(account(&processor, 1200).delivered, 1200);
}

/// PAIN 1, 3, 5: no runtime of the application is needed, wanted or harmed.
#[test]
fn flush_and_shutdown_work_on_every_runtime() {
    let run = |how: &dyn Fn(&BatchProcessor)| {
        let fake = Fake::new(1, Answer::Deliver);
        let processor = fake.start(&quiet(100, 512));
        push(&processor, SCOPE, 10);
        let begun = Instant::now();
        how(&processor);
        assert!(begun.elapsed() < SLACK);
        assert_eq!((fake.spans(), fake.shutdowns()), (10, 1));
    };
    let current = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    };
    let one = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).build().unwrap()
    };
    run(&|p| p.shutdown_blocking(LONG).unwrap());
    run(&|p| current().block_on(async { p.shutdown_blocking(LONG).unwrap() }));
    run(&|p| current().block_on(p.shutdown(LONG)).unwrap());
    run(&|p| {
        one()
            .block_on(one().spawn(p.shutdown(LONG)))
            .unwrap()
            .unwrap()
    });
    run(&|p| {
        let p = p.clone();
        let blocking = async move { p.shutdown_blocking(LONG).unwrap() };
        let runtime = one();
        runtime.block_on(runtime.spawn(blocking)).unwrap();
    });
    // An executor that is not tokio's.
    run(&|p| {
        let mut flush = tokio_test::task::spawn(p.force_flush(LONG));
        until_ready(&mut flush).unwrap();
        let mut shutdown = tokio_test::task::spawn(p.shutdown(LONG));
        until_ready(&mut shutdown).unwrap();
    });
}

/// Why a call ended that waits for the worker's word.
fn answered(end: impl Future<Output = Result<(), Error>> + Unpin) -> Error {
    until_ready(&mut tokio_test::task::spawn(end)).unwrap_err()
}

fn until_ready<F: Future + Unpin>(task: &mut tokio_test::task::Spawn<F>) -> F::Output {
    let deadline = Instant::now() + LONG;
    loop {
        if let std::task::Poll::Ready(output) = task.poll() {
            return output;
        }
        assert!(Instant::now() < deadline);
        thread::sleep(ms(1));
    }
}

/// BSP-7
#[test]
fn shutdown_is_once_and_later_calls_return_its_outcome() {
    let fake = Fake::new(4, Answer::Refuse);
    let processor = fake.start(&quiet(100, 512));
    push(&processor, SCOPE, 2);
    let both = [processor.shutdown(LONG), processor.shutdown(LONG)];
    let expected = "2 spans could not be delivered: not wanted";
    for shutdown in both {
        let mut shutdown = tokio_test::task::spawn(shutdown);
        assert_eq!(
            until_ready(&mut shutdown).unwrap_err().to_string(),
            expected
        );
    }
    let late = processor.shutdown_blocking(SHORT).unwrap_err();
    assert_eq!(late.to_string(), expected);
    processor.force_flush_blocking(SHORT).unwrap();
    push(&processor, SCOPE, 5);
    let stats = account(&processor, 7);
    assert_eq!(stats.dropped(DropReason::AlreadyShutdown), 5);
    assert_eq!(fake.shutdowns(), 1);
}

/// PAIN 2, 29: whatever the exporter does, a shutdown keeps its deadline and settles everything.
#[test]
fn shutdown_keeps_its_deadline_and_settles_everything() {
    use DropReason::{ShutdownTimeout, Unconfirmed, Unsent};
    for threads in [None, Some(2)] {
        let worker = WorkerConfig {
            threads,
            ..WorkerConfig::default()
        };
        for (permits, answer, reasons) in [
            (0, Answer::Deliver, [(ShutdownTimeout, 7), (Unconfirmed, 0)]),
            (1, Answer::Never, [(ShutdownTimeout, 3), (Unconfirmed, 4)]),
            (
                1,
                Answer::UntilShutdown,
                [(ShutdownTimeout, 3), (Unsent, 4)],
            ),
            (2, Answer::Never, [(ShutdownTimeout, 0), (Unconfirmed, 7)]),
        ] {
            let fake = Fake::new(permits, answer);
            let processor = fake.start_on(&quiet(100, 4), &worker);
            push(&processor, SCOPE, 7);
            drop(processor.force_flush(LONG));
            until("sent", || fake.batches().len() == permits);
            let begun = Instant::now();
            let error = processor.shutdown_blocking(SHORT).unwrap_err();
            assert!(error.is_timeout(), "{error}");
            assert!(begun.elapsed() >= SHORT && begun.elapsed() < SLACK);
            // It is so already, unless this machine gave the worker no time at all.
            until("settled", || {
                let stats = processor.stats();
                (stats.queued, stats.in_flight) == (0, 0)
            });
            let stats = account(&processor, 7);
            for (reason, count) in reasons {
                assert_eq!(stats.dropped(reason), count, "{answer:?} {stats}");
            }
            assert!(processor.is_shut_down());
        }
    }
}

/// PAIN 2: the deadline is the caller's own even if an exporter holds the worker's thread.
#[test]
fn blocking_calls_return_although_the_worker_is_stuck() {
    let fake = Fake::new(1, Answer::Block);
    let processor = fake.start(&quiet(100, 2));
    push(&processor, SCOPE, 2);
    until("stuck", || fake.batches().len() == 1);
    push(&processor, SCOPE, 3);
    // Both return before it is let go.
    let flushed = processor.force_flush_blocking(SHORT).unwrap_err();
    assert!(flushed.is_timeout(), "{flushed}");
    // Nobody here knows which of the two it is.
    for part in [
        "an exporter holds the worker's thread",
        "the machine has no time",
    ] {
        assert!(flushed.to_string().contains(part), "{flushed}");
    }
    assert!(processor.shutdown_blocking(SHORT).unwrap_err().is_timeout());
    let stats = account(&processor, 5);
    assert_eq!(stats.dropped(DropReason::ShutdownTimeout), 3);
    fake.open_gate(1);
    until("the worker's end", || fake.shutdowns() == 1);
    until("settled", || processor.stats().in_flight == 0);
    assert!(
        processor.shutdown_blocking(SHORT).unwrap_err().is_timeout(),
        "the first result"
    );
    account(&processor, 5);
}

/// EH-1: an exporter that always panics cannot keep a shutdown from ending.
#[test]
fn shutdown_ends_although_the_exporter_always_panics() {
    let fake = Fake::new(1, Answer::Deliver);
    fake.panic_in_ready(usize::MAX);
    let processor = fake.start(&quiet(100, 2));
    push(&processor, SCOPE, 2);
    assert!(processor.shutdown_blocking(SHORT).unwrap_err().is_timeout());
    until("settled", || processor.stats().queued == 0);
    assert_eq!(
        account(&processor, 2).dropped(DropReason::ShutdownTimeout),
        2
    );
}

#[test]
fn the_worker_ends_with_the_last_handle() {
    let fake = Fake::new(1, Answer::Deliver);
    let processor = fake.start(&quiet(100, 512));
    let other = processor.clone();
    push(&processor, SCOPE, 3);
    drop(processor);
    push(&other, SCOPE, 3);
    assert_eq!(fake.shutdowns(), 0);
    drop(other);
    until("the last shutdown", || fake.shutdowns() == 1);
    assert_eq!(fake.spans(), 6);
}
