//! Two signals beside each other: one worker, one flush, and sums of each.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::time::Duration;

use bytes::Bytes;

use super::fake::{Answer, Fake, push, quiet, until};
use super::{LONG, SCOPE, ms};
use crate::config::{BatchConfig, WorkerConfig};
use crate::processor::{BatchProcessor, LogsRoute, PipelineParts, TelemetryData};
use crate::stats::DropReason;

fn start(spans: &Fake, logs: &Fake, batch: &BatchConfig) -> BatchProcessor {
    let mut pipeline = PipelineParts::new(batch);
    pipeline.memory = crate::pool::Memory::with_logs(batch.max_memory);
    pipeline.logs = Some(LogsRoute::new(logs.clone(), batch.clone()));
    let worker = WorkerConfig::default();
    BatchProcessor::start_within(spans.clone(), batch, &worker, Bytes::new(), pipeline).unwrap()
}

fn push_logs(processor: &BatchProcessor, records: usize) {
    for _ in 0..records {
        processor.push_log(TelemetryData {
            scope: SCOPE,
            item: b"a record of a few bytes",
        });
    }
}

/// `emitted` is the layer's to count.
#[track_caller]
fn balanced(processor: &BatchProcessor, spans: u64, logs: u64) {
    let mut stats = processor.stats();
    (stats.started, stats.counts_started) = (spans, true);
    (stats.logs.emitted, stats.logs.counts_emitted) = (logs, true);
    let off = (stats.unaccounted(), stats.logs.unaccounted());
    assert_eq!(off, (0, 0), "{stats}");
}

#[test]
fn a_flush_waits_for_both_and_tells_of_both() {
    let (spans, logs) = (Fake::new(4, Answer::Deliver), Fake::new(4, Answer::Refuse));
    let processor = start(&spans, &logs, &quiet(100, 10));
    push(&processor, SCOPE, 3);
    push_logs(&processor, 5);
    let error = processor
        .force_flush_blocking(LONG)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("5 log records could not be delivered"),
        "{error}"
    );
    assert_eq!((spans.spans(), logs.spans()), (3, 5));
    spans.answer(Answer::Refuse);
    push(&processor, SCOPE, 2);
    push_logs(&processor, 1);
    let error = processor
        .force_flush_blocking(LONG)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("2 spans and 1 log records could not"),
        "{error}"
    );
    balanced(&processor, 5, 6);
    processor.shutdown_blocking(LONG).unwrap();
    assert_eq!((spans.shutdowns(), logs.shutdowns()), (1, 1));
}

/// An exporter of one signal that gives no permit, or answers nothing, holds up its own alone.
#[test]
fn a_signal_that_waits_holds_up_no_other() {
    for stuck in [Fake::new(0, Answer::Deliver), Fake::new(2, Answer::Never)] {
        let free = Fake::new(4, Answer::Deliver);
        let processor = start(&free, &stuck, &quiet(1_000, 10));
        push_logs(&processor, 100);
        push(&processor, SCOPE, 10);
        until("a full batch of spans", || {
            processor.stats().delivered == 10
        });
        let ended = processor.shutdown_blocking(ms(50));
        assert!(ended.unwrap_err().is_timeout());
        balanced(&processor, 10, 100);

        let processor = start(&stuck, &free, &quiet(1_000, 10));
        push(&processor, SCOPE, 100);
        push_logs(&processor, 10);
        until("a full batch of logs", || {
            processor.stats().logs.delivered == 10
        });
        let _ = processor.shutdown_blocking(ms(50));
        balanced(&processor, 100, 10);
    }
}

/// Each has its own delay.
#[test]
fn schedules_are_each_signal_s_own() {
    let (spans, logs) = (Fake::new(4, Answer::Deliver), Fake::new(4, Answer::Deliver));
    let batch = quiet(100, 10);
    let mut pipeline = PipelineParts::new(&batch);
    let soon = BatchConfig {
        schedule_delay: Duration::from_millis(20),
        ..batch.clone()
    };
    pipeline.logs = Some(LogsRoute::new(logs.clone(), soon));
    let worker = WorkerConfig::default();
    let processor =
        BatchProcessor::start_within(spans.clone(), &batch, &worker, Bytes::new(), pipeline)
            .unwrap();
    push(&processor, SCOPE, 1);
    push_logs(&processor, 1);
    until("the delay of logs", || {
        processor.stats().logs.delivered == 1
    });
    assert_eq!(spans.spans(), 0);
    processor.shutdown_blocking(LONG).unwrap();
    balanced(&processor, 1, 1);
}

/// A panic in one exporter's `ready` costs a pause.
#[test]
fn a_panic_in_ready_of_logs_loses_nothing() {
    let (spans, logs) = (Fake::new(4, Answer::Deliver), Fake::new(4, Answer::Deliver));
    logs.panic_in_ready(2);
    let processor = start(&spans, &logs, &quiet(100, 10));
    push(&processor, SCOPE, 3);
    push_logs(&processor, 3);
    processor.force_flush_blocking(LONG).unwrap();
    assert_eq!(processor.stats().worker_restarts, 2);
    balanced(&processor, 3, 3);
}

/// What an endpoint does not take is dropped at once, and after that not even made.
#[test]
fn a_signal_that_is_not_supported_is_dropped_without_delay() {
    let (spans, logs) = (
        Fake::new(4, Answer::Deliver),
        Fake::new(1, Answer::Unsupported),
    );
    let processor = start(&spans, &logs, &quiet(1_000, 10));
    assert!(!processor.refuses_logs());
    push_logs(&processor, 500);
    until("no more", || processor.stats().logs.queued == 0);
    until("settled", || processor.stats().logs.in_flight == 0);
    let dropped = || processor.stats().logs.dropped(DropReason::Unsupported);
    assert_eq!(dropped(), 500);
    assert!(logs.batches().len() <= 2, "{:?}", logs.batches().len());
    assert!(processor.refuses_logs(), "and counts the record that asks");
    assert_eq!(dropped(), 501);
    push(&processor, SCOPE, 3);
    let _ = processor.force_flush_blocking(LONG);
    processor.force_flush_blocking(LONG).unwrap();
    assert_eq!(processor.stats().delivered, 3);
    balanced(&processor, 3, 501);
}
