//! Ten spans and a shutdown: all ten arrive, at once, wherever the call is made (PAIN 1, 3, 5, 6,
//! 10; BSP-6, BSP-7).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::life::pace::SLACK;
use crate::life::{FLAVOURS, LONG, PROTOCOLS, Pipeline, connected, ten_arrived, ten_spans};
use tracing_otlp::{Error, Stats};

/// Runs `end` with ten spans queued; they have arrived when it returns, and it did not take long.
#[track_caller]
fn ends_well(what: &str, end: impl Fn(Pipeline) -> Stats) {
    for protocol in PROTOCOLS {
        let what = format!("{what}, {protocol:?}");
        let (collector, pipeline) = connected(protocol);
        ten_spans(&pipeline.dispatch);
        let begun = Instant::now();
        let stats = end(pipeline);
        assert!(begun.elapsed() < SLACK, "{what}: {:?}", begun.elapsed());
        ten_arrived(&collector, &stats, &what);
    }
}

#[test]
fn from_async_code_on_every_runtime() {
    for flavour in FLAVOURS {
        let runtime = flavour.build();
        ends_well(&format!("{flavour:?}, block_on"), |pipeline| {
            runtime.block_on(pipeline.guard.shutdown(LONG)).unwrap();
            pipeline.guard.stats()
        });
        ends_well(&format!("{flavour:?}, task"), |pipeline| {
            let task = runtime.spawn(async move {
                pipeline.guard.shutdown(LONG).await.unwrap();
                pipeline.guard.stats()
            });
            runtime.block_on(task).unwrap()
        });
    }
}

/// PAIN 1: the call blocks the one thread that the application has.
#[test]
fn from_sync_code_inside_every_runtime() {
    for flavour in FLAVOURS {
        let runtime = flavour.build();
        ends_well(&format!("{flavour:?}, block_on"), |pipeline| {
            runtime.block_on(async {
                pipeline.guard.shutdown_blocking(LONG).unwrap();
                pipeline.guard.stats()
            })
        });
        ends_well(&format!("{flavour:?}, task"), |pipeline| {
            let task = runtime.spawn(async move {
                pipeline.guard.shutdown_blocking(LONG).unwrap();
                pipeline.guard.stats()
            });
            runtime.block_on(task).unwrap()
        });
        ends_well(&format!("{flavour:?}, drop in a task"), |pipeline| {
            let handle = pipeline.guard.handle();
            let task = runtime.spawn(async move { drop(pipeline.guard) });
            runtime.block_on(task).unwrap();
            handle.stats()
        });
    }
}

#[test]
fn without_any_runtime() {
    ends_well("blocking", |pipeline| {
        pipeline.guard.shutdown_blocking(LONG).unwrap();
        pipeline.guard.stats()
    });
    ends_well("an executor that is not tokio's", |pipeline| {
        let mut shutdown = tokio_test::task::spawn(pipeline.guard.shutdown(LONG));
        crate::life::until("the shutdown", || shutdown.poll().is_ready());
        pipeline.guard.stats()
    });
}

/// PAIN 6: the end of `main`, `?`, and a panic all drop the guard.
#[test]
fn when_the_guard_goes_out_of_scope() {
    ends_well("the end", |pipeline| {
        let handle = pipeline.guard.handle();
        drop(pipeline);
        handle.stats()
    });
    ends_well("an early return", |pipeline| {
        fn application(pipeline: Pipeline) -> Result<(), std::num::ParseIntError> {
            let _guard = pipeline.guard;
            "not a number".parse::<u8>()?;
            Ok(())
        }
        let handle = pipeline.guard.handle();
        assert!(application(pipeline).is_err());
        handle.stats()
    });
    ends_well("a panic", |pipeline| {
        let handle = pipeline.guard.handle();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _guard = pipeline.guard;
            std::panic::resume_unwind(Box::new("the application's own"));
        }));
        assert_eq!(
            panicked.unwrap_err().downcast_ref(),
            Some(&"the application's own")
        );
        handle.stats()
    });
    ends_well("a panic in a task", |pipeline| {
        let handle = pipeline.guard.handle();
        let runtime = FLAVOURS[0].build();
        let task = runtime.spawn(async move {
            let _guard = pipeline.guard;
            std::panic::resume_unwind(Box::new("a task's"));
        });
        assert!(runtime.block_on(task).unwrap_err().is_panic());
        handle.stats()
    });
}

/// PAIN 5: the runtime whose tasks recorded the spans is gone.
#[test]
fn after_the_applications_runtime_was_dropped() {
    for flavour in FLAVOURS {
        for protocol in PROTOCOLS {
            let what = format!("{flavour:?}, {protocol:?}");
            let (collector, pipeline) = connected(protocol);
            let runtime = flavour.build();
            // The connection is made while the runtime lives.
            runtime
                .block_on(pipeline.guard.force_flush(LONG))
                .unwrap_or_else(|e| panic!("{what}: {e}"));
            let dispatch = pipeline.dispatch.clone();
            runtime
                .block_on(runtime.spawn(async move { ten_spans(&dispatch) }))
                .unwrap();
            drop(runtime);
            pipeline.guard.shutdown_blocking(LONG).unwrap();
            ten_arrived(&collector, &pipeline.guard.stats(), &what);
        }
    }
}

/// BSP-7: whoever comes second gets the first outcome, at once; nothing is sent twice.
#[test]
fn a_second_shutdown_returns_what_the_first_did() {
    ends_well("twice", |pipeline| {
        let guard = Arc::new(pipeline.guard);
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let guard = Arc::clone(&guard);
                std::thread::spawn(move || guard.shutdown_blocking(LONG))
            })
            .collect();
        for caller in callers {
            caller.join().unwrap().unwrap();
        }
        guard.shutdown_blocking(Duration::ZERO).unwrap();
        guard.force_flush_blocking(Duration::ZERO).unwrap();
        guard.stats()
    });
}

/// A future that nobody polls has begun all the same.
#[test]
fn a_shutdown_that_is_not_awaited() {
    let (collector, pipeline) = connected(PROTOCOLS[0]);
    ten_spans(&pipeline.dispatch);
    drop(pipeline.guard.shutdown(LONG));
    collector.wait_for_spans(10, LONG).unwrap();
    drop(pipeline.guard);
}

/// PAIN 3, 10: a flush from a task returns when its spans have arrived, each time.
#[test]
fn a_flush_from_inside_a_task_on_every_runtime() {
    async fn flush(pipeline: &Pipeline, blocking: bool) -> Result<(), Error> {
        match blocking {
            true => pipeline.guard.force_flush_blocking(LONG),
            false => pipeline.guard.force_flush(LONG).await,
        }
    }
    for flavour in FLAVOURS {
        for protocol in PROTOCOLS {
            let runtime = flavour.build();
            let (collector, pipeline) = connected(protocol);
            let collector = Arc::new(collector);
            let theirs = Arc::clone(&collector);
            let task = runtime.spawn(async move {
                for round in 0..6 {
                    ten_spans(&pipeline.dispatch);
                    let begun = Instant::now();
                    flush(&pipeline, round % 2 == 0).await.unwrap();
                    assert!(begun.elapsed() < SLACK);
                    assert_eq!(theirs.span_count(), 10 * (round + 1));
                }
                pipeline.guard.stats()
            });
            let stats = runtime.block_on(task).unwrap();
            assert_eq!((stats.delivered, stats.unaccounted()), (60, 0), "{stats}");
            assert_eq!(collector.connections(), 1, "{flavour:?}, {protocol:?}");
        }
    }
}
