//! A fork of a process that records makes ids of its own, hangs nowhere, and is told that it has no
//! pipeline; it may build one, and the parent's goes on.
#![cfg(unix)]
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may panic"
)]

#[path = "../support/child.rs"]
mod child;

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{Dispatch, info, info_span};
use tracing_otlp::testing::Collector;
use tracing_otlp::{DropReason, OtlpBuilder, ShutdownGuard, SpanExt as _, context};
use tracing_subscriber::prelude::*;

/// A deadline that a call in a fork never comes near.
const LONG: Duration = Duration::from_secs(600);

fn builder(collector: &Collector) -> OtlpBuilder {
    tracing_otlp::builder()
        .without_env()
        .with_endpoint(collector.http_endpoint())
        .with_timeout(LONG)
        .with_export_timeout(LONG)
        .with_shutdown_timeout(LONG)
}

fn pipeline(builder: OtlpBuilder) -> (Dispatch, ShutdownGuard) {
    let (layer, guard) = builder.build().unwrap();
    (
        Dispatch::new(tracing_subscriber::registry().with(layer)),
        guard,
    )
}

/// Runs `f` in a fork of this process; what it returns comes back, also if it panics. A fork that does
/// not end is killed, and the test fails.
#[allow(unsafe_code, reason = "nothing safe forks")]
fn fork(f: impl FnOnce() -> String) -> String {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    // SAFETY: the child runs the code under test, as an application that forks does, and ends by
    // `_exit`, so that nothing of the parent's runs twice.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let said = catch_unwind(AssertUnwindSafe(f));
        let said = said.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            format!("panicked: {}", text.unwrap_or_default())
        });
        let _ = theirs.write_all(said.as_bytes());
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) };
    }
    drop(theirs);
    ours.set_read_timeout(Some(LONG / 5)).unwrap();
    let mut said = String::new();
    let read = ours.read_to_string(&mut said);
    let mut status = 0;
    // SAFETY: both calls concern our own child, which was not waited for yet.
    unsafe {
        if read.is_err() {
            libc::kill(pid, libc::SIGKILL);
        }
        libc::waitpid(pid, &mut status, 0);
    }
    assert!(read.is_ok(), "a fork hangs: {read:?}, {said:?}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// Records on some threads, and on this one while `f` runs.
fn while_others_record<R>(dispatch: &Dispatch, f: impl FnOnce() -> R) -> R {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                tracing::dispatcher::with_default(dispatch, || {
                    while !is_over.load(Ordering::Relaxed) {
                        let span = info_span!("parent's", n = 1);
                        span.in_scope(|| {
                            info!("an event");
                            info_span!("child of the parent's").in_scope(|| {});
                        });
                    }
                });
            });
        }
        let result = catch_unwind(AssertUnwindSafe(f));
        is_over.store(true, Ordering::Relaxed);
        result
    })
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The ids of a span and of its child.
fn record() -> String {
    let span = info_span!("fork's", n = 1);
    let id =
        |context: context::TraceContext| format!("{} {}\n", context.trace_id(), context.span_id());
    let mut ids = id(span.trace_context());
    span.in_scope(|| {
        info!("an event");
        let inner = info_span!("child of the fork's");
        inner.record("n", 2);
        ids += &id(inner.trace_context());
    });
    ids
}

fn in_a_child_process(test: &str, role: impl FnOnce()) {
    match child::role() {
        None => {
            child::run(test, "forks").well();
        }
        Some(_) => role(),
    }
}

#[test]
fn forks_of_a_recording_process_answer_at_once_with_ids_of_their_own() {
    in_a_child_process(
        "forks_of_a_recording_process_answer_at_once_with_ids_of_their_own",
        || {
            let collector = Collector::start();
            let (dispatch, guard) = pipeline(builder(&collector));
            let parent = std::process::id().to_string();
            let mut said = Vec::new();
            tracing::dispatcher::with_default(&dispatch, || {
                record();
                while_others_record(&dispatch, || {
                    for _ in 0..60 {
                        said.push(fork(|| check_fork(&guard, &parent)));
                    }
                });
                said.push(record());
            });
            let all: Vec<_> = said.iter().flat_map(|ids| ids.lines()).collect();
            let spans: HashSet<_> = all.iter().map(|id| id.split_once(' ').unwrap().1).collect();
            let traces: HashSet<_> = all.iter().map(|id| id.split_once(' ').unwrap().0).collect();
            assert_eq!(all.len(), 61 * 2);
            assert_eq!(spans.len(), 61 * 2, "span ids differ");
            assert_eq!(traces.len(), 61, "trace ids differ");
            // The parent's pipeline is as it was. Threads that record without pause overrun it, which
            // is told here.
            let _ = guard.shutdown_blocking(LONG);
            let stats = guard.stats();
            assert_eq!(stats.unaccounted(), 0, "{stats}");
            assert_eq!(stats.dropped(DropReason::Forked), 0, "{stats}");
            assert_eq!(
                stats.delivered,
                stats.started - stats.dropped_total(),
                "{stats}"
            );
            let is_fork_s = |name: &str| name == "fork's" || name == "child of the fork's";
            let of_forks = collector
                .spans()
                .iter()
                .filter(|s| is_fork_s(&s.name))
                .count();
            assert!(of_forks <= 4, "not only the parent's own: {of_forks}");
        },
    );
}

fn check_fork(guard: &ShutdownGuard, parent: &str) -> String {
    let began = Instant::now();
    let ids = record();
    let open = info_span!("open").entered();
    let stats = guard.stats();
    assert_eq!((stats.started, stats.open), (3, 1), "{stats}");
    assert_eq!(stats.dropped(DropReason::Forked), 2, "{stats}");
    assert_eq!(stats.unaccounted(), 0, "{stats}");
    let flushed = guard.force_flush_blocking(LONG).unwrap_err();
    let text = flushed.to_string();
    assert!(flushed.is_worker(), "{text}");
    let me = std::process::id().to_string();
    for part in [me.as_str(), parent, "fork", "2 so far", "after the fork"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (_, last) = guard.stats().last_error.unwrap();
    assert!(last.contains(parent), "{last}");
    drop(open);
    guard.shutdown_blocking(LONG).unwrap_err();
    assert!(began.elapsed() < LONG / 10);
    ids
}

/// A fork has no worker that would end shedding, so it sheds nothing: its spans are counted as a fork's are. The parent
/// sheds on.
#[test]
fn a_fork_of_a_process_that_sheds_sheds_nothing() {
    in_a_child_process("a_fork_of_a_process_that_sheds_sheds_nothing", || {
        let collector = Collector::start();
        collector.go_offline();
        let builder = builder(&collector)
            .with_shedding(true)
            .with_max_queue_size(2_000)
            .with_max_export_batch_size(100);
        let (dispatch, guard) = pipeline(builder);
        tracing::dispatcher::with_default(&dispatch, || {
            let began = Instant::now();
            let is_shed = |stats: &tracing_otlp::Stats| {
                stats.shed_traces > 0 && stats.dropped(DropReason::Shed) > 0
            };
            while !is_shed(&guard.stats()) {
                assert!(began.elapsed() < LONG / 10, "{}", guard.stats());
                (0..50).for_each(|_| drop(record()));
                thread::sleep(Duration::from_millis(2));
            }
            let said = fork(|| {
                for _ in 0..200 {
                    let root = info_span!("fork's");
                    assert!(root.trace_context().is_sampled());
                    root.in_scope(|| drop(info_span!("child of the fork's")));
                }
                let stats = guard.stats();
                assert_eq!(stats.dropped(DropReason::Forked), 400, "{stats}");
                assert_eq!(
                    (stats.started, stats.dropped_total()),
                    (400, 400),
                    "{stats}"
                );
                assert_eq!((stats.unaccounted(), stats.shed_traces), (0, 0), "{stats}");
                assert_eq!(stats.shed_ratio, 0.0, "nothing goes by a threshold here");
                let (own, guard) = pipeline(self::builder(&collector).with_shedding(true));
                tracing::dispatcher::with_default(&own, record);
                let stats = guard.stats();
                assert_eq!((stats.queued, stats.shed_ratio), (2, 0.0), "{stats}");
                // It would wait for the endpoint, as its settings say.
                std::mem::forget(guard);
                "well".to_owned()
            });
            assert_eq!(said, "well");
            let stats = guard.stats();
            assert!(stats.shed_ratio > 0.0, "{stats}");
            assert_eq!(stats.dropped(DropReason::Forked), 0, "{stats}");
        });
        collector.go_online().unwrap();
        let _ = guard.shutdown_blocking(LONG);
        let stats = guard.stats();
        assert_eq!((stats.unaccounted(), stats.open), (0, 0), "{stats}");
        assert_eq!(stats.delivered as usize, collector.span_count(), "{stats}");
    });
}

/// Also where the guard and the subscriber are dropped in the fork, and in a fork of a fork.
#[test]
fn what_a_fork_drops_hangs_nowhere() {
    in_a_child_process("what_a_fork_drops_hangs_nowhere", || {
        let collector = Collector::start();
        let mut tail = tracing_otlp::config::TailConfig::default();
        tail.keep_errors = true;
        let (dispatch, guard) = pipeline(builder(&collector).with_tail_sampling(tail));
        let (mut dispatch, mut guard) = (Some(dispatch), Some(guard));
        let recording = dispatch.clone().unwrap();
        while_others_record(&recording, || {
            for _ in 0..20 {
                fork(|| {
                    let dispatch = dispatch.take().unwrap();
                    let guard = guard.take().unwrap();
                    tracing::dispatcher::with_default(&dispatch, || {
                        record();
                        let grandchild = fork(|| {
                            record();
                            let stats = guard.stats();
                            assert_eq!(stats.dropped(DropReason::Forked), 2, "{stats}");
                            assert_eq!(stats.unaccounted(), 0, "{stats}");
                            drop(guard.handle());
                            "well".to_owned()
                        });
                        assert_eq!(grandchild, "well");
                    });
                    let began = Instant::now();
                    drop(guard);
                    drop(dispatch);
                    let took = began.elapsed();
                    assert!(took < LONG / 10, "a drop waits for nothing: {took:?}");
                    String::new()
                });
            }
        });
    });
}

#[test]
fn a_fork_is_told_by_an_event_and_continues_the_trace_it_was_made_in() {
    in_a_child_process(
        "a_fork_is_told_by_an_event_and_continues_the_trace_it_was_made_in",
        || {
            let collector = Collector::start();
            let (layer, guard) = builder(&collector).build().unwrap();
            let (lines, out) = (
                tracing_lines::Lines::default(),
                tracing_subscriber::fmt::layer(),
            );
            let subscriber = tracing_subscriber::registry()
                .with(layer)
                .with(out.with_writer(lines.clone()).with_ansi(false));
            tracing::subscriber::set_global_default(subscriber).unwrap();
            let span = info_span!("around the fork").entered();
            let outer = span.trace_context();
            let guard = std::cell::Cell::new(Some(guard));
            fork(|| {
                assert_eq!(context::current().span_id(), outer.span_id());
                let inner = info_span!("in the fork").trace_context();
                assert_eq!(inner.trace_id(), outer.trace_id());
                drop(guard.take());
                let told = lines.text();
                assert!(told.contains("is a fork of"), "{told}");
                assert!(told.contains("1 so far"), "{told}");
                String::new()
            });
        },
    );
}

#[test]
fn a_pipeline_that_a_fork_builds_works() {
    in_a_child_process("a_pipeline_that_a_fork_builds_works", || {
        let collector = Collector::start();
        let (dispatch, guard) = pipeline(builder(&collector));
        tracing::dispatcher::with_default(&dispatch, || {
            record();
            while_others_record(&dispatch, || {
                for _ in 0..10 {
                    fork(|| {
                        let (own, guard) = pipeline(builder(&collector).with_service_name("fork"));
                        tracing::dispatcher::with_default(&own, record);
                        guard.shutdown_blocking(LONG).unwrap();
                        assert_eq!(guard.stats().delivered, 2);
                        String::new()
                    });
                }
            });
        });
        let _ = guard.shutdown_blocking(LONG);
        let spans = collector.spans();
        let theirs: Vec<_> = spans.iter().filter(|s| s.name == "fork's").collect();
        assert_eq!(theirs.len(), 11);
        let traces: HashSet<_> = theirs.iter().map(|s| s.trace_id).collect();
        assert_eq!(traces.len(), 11, "trace ids differ");
    });
}

/// Callsites that this thread knows and another one is about to use for the first time.
#[test]
fn a_fork_waits_for_no_thread_that_prepares_a_callsite() {
    in_a_child_process(
        "a_fork_waits_for_no_thread_that_prepares_a_callsite",
        || {
            let collector = Collector::start();
            let (dispatch, _guard) = pipeline(builder(&collector));
            let (send, receive) = std::sync::mpsc::channel::<Vec<callsites::Made>>();
            let other = dispatch.clone();
            let user = thread::spawn(move || {
                tracing::dispatcher::with_default(&other, || {
                    for made in receive {
                        made.iter().for_each(|made| drop(made.span()));
                    }
                });
            });
            tracing::dispatcher::with_default(&dispatch, || {
                for round in 0..150 {
                    let made: Vec<_> = (0..40).map(|_| callsites::make(&dispatch)).collect();
                    send.send(made.clone()).unwrap();
                    // At another moment of its work each time.
                    (0..round * 40).for_each(|_| std::hint::spin_loop());
                    fork(|| {
                        made.iter().for_each(|made| drop(made.span()));
                        String::new()
                    });
                }
            });
            drop(send);
            user.join().unwrap();
        },
    );
}

mod callsites {
    //! Callsites that are made by hand.

    use tracing::callsite::{Callsite, Identifier};
    use tracing::field::FieldSet;
    use tracing::{Dispatch, Level, Metadata, Span, subscriber::Interest};

    #[derive(Clone, Copy)]
    pub(super) struct Made(&'static Metadata<'static>);

    struct Place;

    impl Callsite for Place {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("it was never registered")
        }
    }

    static PLACE: Place = Place;

    /// A callsite that the calling thread's layers know.
    pub(super) fn make(dispatch: &Dispatch) -> Made {
        let metadata = Metadata::new(
            "made",
            "made",
            Level::INFO,
            Some("made.rs"),
            Some(1),
            None,
            FieldSet::new(&[], Identifier(&PLACE)),
            tracing::metadata::Kind::SPAN,
        );
        let metadata = Box::leak(Box::new(metadata));
        let _ = dispatch.register_callsite(metadata);
        Made(metadata)
    }

    impl Made {
        pub(super) fn span(self) -> Span {
            Span::new(self.0, &self.0.fields().value_set(&[]))
        }
    }
}

mod tracing_lines {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    pub(super) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        pub(super) fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }
}
