//! Pushing, sending, flushing and shutting down, against exporters of every temper.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::time::Instant;

use super::*;
use crate::processor::fake::{Answer, Fake, account, push, quiet, until};

const SCOPE: ScopeId = ScopeId(0);
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// PAIN 26, 31: every one of 250,000 spans of 8 threads is delivered or counted.
#[test]
fn counts_are_exact_under_eight_threads() {
    for threads in [None, Some(2)] {
        let fake = Fake::new(4, Answer::Deliver);
        let worker = WorkerConfig {
            threads,
            ..WorkerConfig::default()
        };
        let processor = fake.start_on(&BatchConfig::default(), &worker);
        thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| push(&processor, SCOPE, 31_250));
            }
        });
        processor.shutdown_blocking(LONG).unwrap();
        let stats = account(&processor, 250_000);
        assert_eq!((stats.queued, stats.in_flight), (0, 0));
        assert_eq!(stats.delivered, fake.spans() as u64);
        let full = stats.dropped(DropReason::QueueFull);
        assert_eq!(stats.delivered + full, 250_000, "{stats}");
        let largest = fake.batches().iter().map(|b| b.spans).max();
        assert!(largest <= Some(512));
    }
}

/// BSP-4: the batch is full.
#[test]
fn a_full_batch_goes_out_at_once() {
    let fake = Fake::new(4, Answer::Deliver);
    let processor = fake.start(&quiet(1000, 5));
    push(&processor, SCOPE, 4);
    let before = processor.stats();
    assert_eq!((before.queued, fake.spans()), (4, 0));
    push(&processor, SCOPE, 3);
    until("a batch of five", || processor.stats().delivered >= 5);
    processor.force_flush_blocking(LONG).unwrap();
    assert_eq!(account(&processor, 7).delivered, 7);
}

/// BSP-4: the delay is over.
#[test]
fn a_lone_span_goes_out_after_the_delay() {
    let fake = Fake::new(4, Answer::Deliver);
    let processor = fake.start(&BatchConfig {
        schedule_delay: ms(40),
        ..quiet(1000, 512)
    });
    for sent in 1..4 {
        let pushed = Instant::now();
        push(&processor, SCOPE, 1);
        until("the delay", || fake.spans() == sent);
        let waited = fake.batches()[sent - 1].at - pushed;
        assert!(waited < ms(2000), "{waited:?}");
    }
    until("settled", || processor.stats().in_flight == 0);
    account(&processor, 3);
}

#[test]
fn without_a_delay_every_span_goes_out_at_once() {
    let fake = Fake::new(4, Answer::Deliver);
    let processor = fake.start(&BatchConfig {
        schedule_delay: Duration::ZERO,
        max_export_batch_size: 1,
        ..quiet(1000, 1)
    });
    push(&processor, SCOPE, 20);
    until("all", || processor.stats().delivered == 20);
}

/// OTLP-9, BSP-3: as many requests are under way as the exporter permits, and no more.
#[test]
fn several_requests_are_in_flight() {
    let fake = Fake::new(3, Answer::AtGate);
    let processor = fake.start(&quiet(100, 2));
    push(&processor, SCOPE, 20);
    until("three requests", || fake.batches().len() == 3);
    let stats = account(&processor, 20);
    assert_eq!((stats.in_flight, stats.queued), (6, 14));
    fake.open_gate(1);
    until("a fourth", || fake.batches().len() == 4);
    fake.open_gate(100);
    until("all", || processor.stats().delivered == 20);
    account(&processor, 20);
}

/// PAIN 28: requests stay below 1 MiB, a giant goes alone, and all arrive.
#[test]
fn large_spans_make_small_batches() {
    let fake = Fake::new(1, Answer::Deliver);
    let processor = fake.start(&BatchConfig {
        max_memory: 64 << 20,
        ..quiet(1000, 512)
    });
    let span = vec![b'x'; 20_000];
    let data = |span| TelemetryData { scope: SCOPE, span };
    (0..512).for_each(|_| processor.push(data(&span)));
    processor.push(data(&vec![b'y'; 10_000_000]));
    processor.force_flush_blocking(LONG).unwrap();
    assert_eq!(account(&processor, 513).delivered, 513);
    for batch in fake.batches() {
        assert!(batch.bytes.len() < (1 << 20) + 100 || batch.spans == 1);
    }
}

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

/// BSP-6: the timeout is kept; what was asked for goes on.
#[test]
fn a_flush_keeps_its_deadline() {
    let fake = Fake::new(0, Answer::Deliver);
    let processor = fake.start(&quiet(100, 512));
    push(&processor, SCOPE, 3);
    let begun = Instant::now();
    let error = processor.force_flush_blocking(SHORT).unwrap_err();
    assert!(error.is_timeout() && begun.elapsed() >= SHORT, "{error}");
    assert!(begun.elapsed() < SHORT * 5);
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
        assert!(begun.elapsed() < ms(1000));
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
    assert_eq!(stats.dropped(DropReason::AfterShutdown), 5);
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
            let begun = Instant::now();
            let error = processor.shutdown_blocking(SHORT).unwrap_err();
            assert!(error.is_timeout(), "{error}");
            assert!(begun.elapsed() >= SHORT && begun.elapsed() < SHORT * 4);
            let stats = account(&processor, 7);
            assert_eq!(
                (stats.queued, stats.in_flight),
                (0, 0),
                "{answer:?} {stats}"
            );
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
    let fake = Fake::new(1, Answer::Block(ms(1500)));
    let processor = fake.start(&quiet(100, 2));
    push(&processor, SCOPE, 2);
    until("stuck", || fake.batches().len() == 1);
    push(&processor, SCOPE, 3);
    let begun = Instant::now();
    assert!(
        processor
            .force_flush_blocking(SHORT)
            .unwrap_err()
            .is_timeout()
    );
    assert!(processor.shutdown_blocking(SHORT).unwrap_err().is_timeout());
    assert!(begun.elapsed() < ms(1000));
    let stats = account(&processor, 5);
    assert_eq!(stats.dropped(DropReason::ShutdownTimeout), 3);
    until("the worker's end", || processor.stats().in_flight == 0);
    assert!(
        processor.shutdown_blocking(SHORT).unwrap_err().is_timeout(),
        "the first verdict"
    );
    account(&processor, 5);
}

#[test]
fn an_export_that_takes_too_long_is_cancelled() {
    let fake = Fake::new(1, Answer::Never);
    let processor = fake.start(&BatchConfig {
        export_timeout: Some(ms(30)),
        ..quiet(100, 2)
    });
    push(&processor, SCOPE, 2);
    let error = processor
        .force_flush_blocking(LONG)
        .unwrap_err()
        .to_string();
    assert!(error.contains("OTEL_BSP_EXPORT_TIMEOUT"), "{error}");
    assert_eq!(account(&processor, 2).dropped(DropReason::Unconfirmed), 2);
    fake.answer(Answer::Deliver);
    push(&processor, SCOPE, 2);
    processor.force_flush_blocking(LONG).unwrap();
}

/// EH-1, PAIN 32: a panic in an exporter costs its batch, or a pause, and nothing else.
#[test]
fn panics_of_an_exporter_are_survived() {
    let fake = Fake::new(1, Answer::Panic);
    let processor = fake.start(&quiet(100, 2));
    push(&processor, SCOPE, 2);
    let error = processor
        .force_flush_blocking(LONG)
        .unwrap_err()
        .to_string();
    assert!(error.contains("out of paper"), "{error}");
    assert_eq!(account(&processor, 2).dropped(DropReason::Internal), 2);
    assert_eq!(
        processor.stats().worker_restarts,
        0,
        "one task is not the worker"
    );

    fake.answer(Answer::Deliver);
    fake.panic_in_ready(3);
    push(&processor, SCOPE, 5);
    processor.force_flush_blocking(LONG).unwrap();
    let stats = account(&processor, 7);
    assert_eq!((stats.delivered, stats.worker_restarts), (5, 3));
    processor.shutdown_blocking(LONG).unwrap();
}

/// EH-1: an exporter that always panics cannot keep a shutdown from ending.
#[test]
fn shutdown_ends_although_the_exporter_always_panics() {
    let fake = Fake::new(1, Answer::Deliver);
    fake.panic_in_ready(usize::MAX);
    let processor = fake.start(&quiet(100, 2));
    push(&processor, SCOPE, 2);
    assert!(processor.shutdown_blocking(SHORT).unwrap_err().is_timeout());
    assert_eq!(
        account(&processor, 2).dropped(DropReason::ShutdownTimeout),
        2
    );
}

/// EH-3: what the worker's threads record is theirs; and they must not wait for themselves.
#[test]
fn the_workers_threads_are_marked_and_refuse_to_wait_for_themselves() {
    struct Nosy(
        std::sync::mpsc::Sender<bool>,
        Arc<Mutex<Option<BatchProcessor>>>,
    );
    impl Exporter for Nosy {
        type Permit = ();
        async fn ready(&self) {}
        fn send(
            &self,
            (): (),
            batch: crate::export::Batch,
        ) -> impl Future<Output = crate::export::Outcome> + Send + 'static {
            let (sender, processor) = (self.0.clone(), Arc::clone(&self.1));
            async move {
                let here = suppress::is_suppressed();
                let there = tokio::task::spawn_blocking(suppress::is_suppressed).await;
                let processor = lock(&processor).clone().unwrap();
                let refused = processor
                    .force_flush_blocking(LONG)
                    .unwrap_err()
                    .is_worker();
                let _ = sender.send(here && there.unwrap_or(false) && refused);
                crate::export::Outcome::delivered(batch.span_count() as u64)
            }
        }
    }
    for threads in [None, Some(2)] {
        let (sender, receiver) = std::sync::mpsc::channel();
        let slot = Arc::new(Mutex::new(None));
        let worker = WorkerConfig {
            threads,
            stack_size: Some(512 << 10),
            ..WorkerConfig::default()
        };
        let nosy = Nosy(sender, Arc::clone(&slot));
        let config = quiet(10, 1);
        let processor = BatchProcessor::start(nosy, &config, &worker, Bytes::new()).unwrap();
        *lock(&slot) = Some(processor.clone());
        push(&processor, SCOPE, 1);
        assert!(receiver.recv_timeout(LONG).unwrap());
        lock(&slot).take();
    }
    assert!(!suppress::is_suppressed());
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

/// What arrives is what was pushed, under its resource and scope.
#[test]
fn requests_are_what_was_pushed() {
    use crate::wire::varint::put_bytes;
    let fake = Fake::new(1, Answer::Deliver);
    let resource = Bytes::from_static(b"\x1a\x01r");
    let config = quiet(100, 512);
    let worker = WorkerConfig::default();
    let processor = BatchProcessor::start(fake.clone(), &config, &worker, resource).unwrap();
    let scopes = [b"\x1a\x01a", b"\x1a\x01b"];
    let scopes = scopes.map(|scope| processor.register_scope(Bytes::from_static(scope)));
    for (scope, span) in [(0, b"1"), (1, b"2"), (0, b"3")] {
        processor.push(TelemetryData {
            scope: scopes[scope],
            span,
        });
    }
    processor.force_flush_blocking(LONG).unwrap();
    let mut resource_spans = b"\x1a\x01r".to_vec();
    put_bytes(&mut resource_spans, 0x12, b"\x1a\x01a\x12\x011\x12\x013");
    put_bytes(&mut resource_spans, 0x12, b"\x1a\x01b\x12\x012");
    let mut request = Vec::new();
    put_bytes(&mut request, 0x0a, &resource_spans);
    assert_eq!(fake.batches()[0].bytes, request);
}
