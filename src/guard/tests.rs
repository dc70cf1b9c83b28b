//! The guard brings the last span home, and never stands in the way.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::config::BatchConfig;
use crate::processor::ScopeId;
use crate::processor::tests::fake::{Answer, Fake, push, quiet, until};
use crate::stats::DropReason;

const LONG: Duration = Duration::from_secs(120);
const SHORT: Duration = Duration::from_millis(100);

fn guard(fake: &Fake, spans: usize, timeout: Duration) -> ShutdownGuard {
    let processor = fake.start(&BatchConfig {
        shutdown_timeout: timeout,
        ..quiet(100, 512)
    });
    // Registered anew by nobody: spans without a scope will do here.
    let scope: ScopeId = processor.register_scope(bytes::Bytes::new());
    push(&processor, scope, spans);
    let started = spans as u64;
    ShutdownGuard::new(processor, timeout, Arc::new(move |s| s.started = started))
}

/// PAIN 6: at the end of a scope, by an early return, and while a panic unwinds.
#[test]
fn dropping_the_guard_brings_the_last_span_home() {
    let fake = Fake::new(1, Answer::Deliver);
    drop(guard(&fake, 1, LONG));
    assert_eq!((fake.spans(), fake.shutdowns()), (1, 1));

    let fake = Fake::new(1, Answer::Deliver);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _guard = guard(&fake, 1, LONG);
        panic!("the application's own");
    }));
    assert!(unwound.is_err());
    assert_eq!((fake.spans(), fake.shutdowns()), (1, 1));

    // PAIN 1: inside async code on a runtime with a single thread.
    let fake = Fake::new(1, Answer::Deliver);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async { drop(guard(&fake, 1, LONG)) });
    assert_eq!((fake.spans(), fake.shutdowns()), (1, 1));
}

/// PAIN 7: all calls together keep to one deadline.
#[test]
fn a_drop_uses_what_an_earlier_shutdown_has_left() {
    let mut quickest = LONG;
    for _ in 0..10 {
        let fake = Fake::new(0, Answer::Deliver);
        let guard = guard(&fake, 3, SHORT);
        let handle = guard.handle();
        assert!(guard.shutdown_blocking(SHORT).unwrap_err().is_timeout());
        let begun = Instant::now();
        drop(guard);
        quickest = quickest.min(begun.elapsed());
        until("settled", || handle.stats().queued == 0);
        let stats = handle.stats();
        assert_eq!(stats.dropped(DropReason::ShutdownTimeout), 3);
        assert_eq!(stats.unaccounted(), 0);
        if quickest < SHORT / 2 {
            return;
        }
    }
    panic!("the drop had nothing left to wait for: {quickest:?}");
}

#[test]
fn dropping_the_guard_keeps_its_deadline() {
    let fake = Fake::new(1, Answer::Never);
    let guard = guard(&fake, 3, SHORT);
    let handle = guard.handle();
    drop(guard.force_flush(LONG));
    until("in flight", || fake.batches().len() == 1);
    let begun = Instant::now();
    drop(guard);
    assert!(begun.elapsed() < LONG / 2);
    until("settled", || handle.stats().in_flight == 0);
    assert_eq!(handle.stats().dropped(DropReason::Unconfirmed), 3);
}

/// A shutdown whose future was dropped goes on, and the guard's drop waits for it.
#[test]
fn a_shutdown_needs_no_polling() {
    let fake = Fake::new(1, Answer::Deliver);
    let guard = guard(&fake, 2, LONG);
    drop(guard.shutdown(LONG));
    until("shut down", || fake.shutdowns() == 1);
    assert_eq!(fake.spans(), 2);
    drop(guard);
    assert_eq!(fake.shutdowns(), 1);
}

#[test]
fn a_handle_flushes_and_reads_but_does_not_keep_the_pipeline() {
    let fake = Fake::new(1, Answer::Deliver);
    let guard = guard(&fake, 2, LONG);
    let handle = guard.handle();
    handle.clone().force_flush_blocking(LONG).unwrap();
    assert_eq!((handle.stats().delivered, handle.stats().started), (2, 2));
    drop(guard);
    assert_eq!(fake.shutdowns(), 1);
    handle.force_flush_blocking(LONG).unwrap();
}

#[test]
fn a_disabled_pipeline_has_a_guard_too() {
    let guard = ShutdownGuard::disabled();
    guard.force_flush_blocking(SHORT).unwrap();
    let mut shutdown = tokio_test::task::spawn(Box::pin(guard.shutdown(SHORT)));
    assert!(matches!(shutdown.poll(), std::task::Poll::Ready(Ok(()))));
    assert_eq!(guard.stats().unaccounted(), 0);
    drop(guard);
}
