//! From a push to the exporter, and what exporters may do to the worker.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::fake::{Answer, Fake, account, push, quiet, until};
use super::{LONG, SCOPE, ms};
use crate::config::{BatchConfig, WorkerConfig};
use crate::export::{Batch, Exporter, Outcome};
use crate::processor::{BatchProcessor, PipelineParts, TelemetryData};
use crate::stats::DropReason;
use crate::suppress;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, lock};

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
        let ended = processor.shutdown_blocking(LONG);
        let stats = account(&processor, 250_000);
        assert_eq!(ended.is_ok(), stats.dropped_total() == 0, "{ended:?}");
        assert_eq!((stats.queued, stats.in_flight), (0, 0));
        assert_eq!(stats.delivered, fake.spans() as u64);
        let full = stats.dropped(DropReason::QueueFull);
        assert_eq!(stats.delivered + full, 250_000, "{stats}");
        let largest = fake.batches().iter().map(|b| b.spans).max();
        assert!(largest <= Some(BatchConfig::default().max_export_batch_size));
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
        push(&processor, SCOPE, 1);
        until("the delay", || fake.spans() == sent);
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
    let data = |span| TelemetryData {
        scope: SCOPE,
        item: span,
    };
    (0..512).for_each(|_| processor.push(data(&span)));
    processor.push(data(&vec![b'y'; 10_000_000]));
    processor.force_flush_blocking(LONG).unwrap();
    assert_eq!(account(&processor, 513).delivered, 513);
    for batch in fake.batches() {
        assert!(batch.bytes.len() < (1 << 20) + 100 || batch.spans == 1);
    }
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
            item: span,
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
        fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
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
                Outcome::delivered(batch.item_count() as u64)
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

/// A system that has no more threads is an error at the start, not a panic.
#[test]
fn a_worker_that_cannot_start_is_an_error() {
    for threads in [None, Some(1)] {
        let worker = WorkerConfig {
            threads,
            stack_size: Some(1 << 46),
            ..WorkerConfig::default()
        };
        let fake = Fake::new(1, Answer::Deliver);
        let started = BatchProcessor::start(fake, &quiet(10, 1), &worker, Bytes::new());
        let error = started.err().unwrap();
        assert!(error.is_worker(), "{error}");
    }
}

#[test]
fn the_worker_calls_its_housekeeper_and_speaks_where_it_is_told() {
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    impl MakeWriter<'_> for Paper {
        type Writer = Self;
        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let mut pipeline = PipelineParts::new(&BatchConfig::default());
    pipeline.warnings.push("OTEL_X is odd".into());
    pipeline.every_second = Some(Box::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    }));
    let processor = BatchProcessor::start_within(
        Fake::new(0, Answer::Deliver),
        &quiet(1, 1),
        &WorkerConfig::default(),
        Bytes::new(),
        pipeline,
    )
    .unwrap();
    push(&processor, SCOPE, 4);
    let paper = Paper::default();
    let fmt = tracing_subscriber::fmt::layer().with_writer(paper.clone());
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(fmt));
    processor.set_dispatch(dispatch.downgrade());
    let said = || String::from_utf8(lock(&paper.0).clone()).unwrap();
    until("warnings and losses are told", || {
        said().contains("OTEL_X is odd") && said().contains("queue_full")
    });
    assert!(said().contains("tracing_otlp"), "{}", said());
    until("two calls", || calls.load(Ordering::Relaxed) >= 2);
}

/// Without a delay the first span is a batch: neither a flush nor the clock has to come first.
#[test]
fn without_a_delay_each_span_goes_at_once() {
    let fake = Fake::new(4, Answer::Deliver);
    let processor = fake.start(&BatchConfig {
        schedule_delay: Duration::ZERO,
        ..quiet(1000, 512)
    });
    // The clock would be no faster than a second a span. One of many goes at once also where this
    // machine has no time for the others.
    let mut quickest = LONG;
    for sent in 1..=10 {
        let begun = Instant::now();
        push(&processor, SCOPE, 1);
        until("sent at once", || fake.spans() == sent);
        quickest = quickest.min(begun.elapsed());
    }
    assert!(quickest < ms(500), "{quickest:?}");
    // What comes while no permit is free still goes in batches.
    let slow = Fake::new(0, Answer::Deliver);
    let processor = slow.start(&BatchConfig {
        schedule_delay: Duration::ZERO,
        ..quiet(1000, 512)
    });
    push(&processor, SCOPE, 700);
    slow.give_permits(1);
    until("all", || slow.spans() == 700);
    assert!(slow.batches().len() <= 3, "{}", slow.batches().len());
}

/// No outcome tells why no permit comes: the exporter is asked.
#[test]
fn what_keeps_an_exporter_from_being_ready_is_known() {
    let fake = Fake::new(0, Answer::Deliver);
    fake.have_trouble("the line is dead");
    let processor = fake.start(&quiet(100, 1));
    push(&processor, SCOPE, 1);
    until("the last error", || {
        let error = processor.stats().last_error;
        error.is_some_and(|(_, error)| error == "the line is dead")
    });
    assert_eq!(account(&processor, 1).queued, 1);
}

/// An export that is under way may be in trouble, too.
#[test]
fn what_holds_up_an_export_is_known() {
    let fake = Fake::new(2, Answer::AtGate);
    fake.have_trouble("the line is dead");
    let processor = fake.start(&quiet(100, 1));
    push(&processor, SCOPE, 1);
    until("the last error", || {
        let error = processor.stats().last_error;
        error.is_some_and(|(_, error)| error == "the line is dead")
    });
    assert_eq!(account(&processor, 1).in_flight, 1);
    fake.open_gate(1);
    until("sent", || processor.stats().delivered == 1);
}

/// What waits for an endpoint that is down may take longer: the exporter knows.
#[test]
fn an_exporter_that_keeps_the_export_timeout_is_not_cut_short() {
    let fake = Fake::new(2, Answer::AtGate);
    fake.keep_timeout();
    let processor = fake.start(&BatchConfig {
        export_timeout: Some(Duration::from_millis(20)),
        ..quiet(100, 1)
    });
    push(&processor, SCOPE, 1);
    until("sent", || fake.spans() == 1);
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(account(&processor, 1).in_flight, 1);
    fake.open_gate(1);
    until("its end", || processor.stats().delivered == 1);
}
