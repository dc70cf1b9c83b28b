//! What a panic, a signal or an exit leaves of spans that are open; each in a process of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may panic"
)]

#[path = "../support/child.rs"]
mod child;

use std::process::Command;
use std::time::{Duration, Instant};

use tracing_otlp::ShutdownGuard;
use tracing_otlp::testing::{Collector, ReceivedSpan};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const ENDPOINT: &str = "CRASH_ENDPOINT";
/// Longer than anything here takes that does not hang.
const LONG: Duration = Duration::from_secs(30);

/// A pipeline of the child's that sends nothing by itself.
fn pipeline() -> ShutdownGuard {
    // The builder's default.
    pipeline_with(Duration::from_secs(5))
}

fn pipeline_with(shutdown_timeout: Duration) -> ShutdownGuard {
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_endpoint(std::env::var(ENDPOINT).unwrap())
        .with_schedule_delay(Duration::from_secs(3600))
        .with_shutdown_timeout(shutdown_timeout)
        .build()
        .unwrap();
    tracing_subscriber::registry()
        .with(tracing_subscriber::filter::LevelFilter::INFO)
        .with(layer)
        .init();
    guard
}

fn run(test: &str, role: &str, collector: &Collector) -> child::Ended {
    child::run_with(test, role, &[(ENDPOINT, &collector.http_endpoint())])
}

#[track_caller]
fn named<'a>(spans: &'a [ReceivedSpan], name: &str) -> &'a ReceivedSpan {
    let found: Vec<_> = spans.iter().filter(|s| s.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {spans:#?}");
    found[0]
}

fn is_unfinished(span: &ReceivedSpan) -> bool {
    span.attr("tracing_otlp.unfinished").is_some()
}

#[track_caller]
fn assert_panicked(span: &ReceivedSpan, message: &str) {
    let event = span.events.iter().find(|e| e.name == "exception").unwrap();
    let text = |key: &str| event.attr(key).and_then(|v| v.as_str().map(str::to_owned));
    assert_eq!(text("exception.type").as_deref(), Some("panic"));
    assert_eq!(text("exception.message").as_deref(), Some(message));
    assert!(text("code.file.path").unwrap().ends_with(".rs"));
    assert!(span.status.is_error(), "{span:?}");
    assert_eq!(span.status.message, message);
}

/// What the process ends by, on a thread of its own: a panic that may not unwind.
fn abort_by_panic() {
    extern "C" fn may_not_unwind() {
        panic!("no way out");
    }
    may_not_unwind();
}

#[test]
fn a_panic_that_aborts_leaves_all_open_spans_from_any_thread() {
    const TEST: &str = "a_panic_that_aborts_leaves_all_open_spans_from_any_thread";
    if child::role().is_some() {
        // The hook that was there before still runs, after ours.
        std::panic::set_hook(Box::new(|info| eprintln!("previous hook: {info}")));
        let guard = pipeline();
        guard.panic_hook().with_every_panic_fatal(true).install();
        let outer = tracing::info_span!("elsewhere", n = 1);
        let _outer = outer.entered();
        tracing::info_span!("closed").in_scope(|| {});
        let crashing = std::thread::spawn(|| {
            let _work = tracing::info_span!("work").entered();
            abort_by_panic();
        });
        let _ = crashing.join();
        unreachable!("it outlived an abort");
    }
    let collector = Collector::start();
    let ended = run(TEST, "abort", &collector);
    assert!(!ended.status.success());
    assert!(ended.output.contains("previous hook"), "{}", ended.output);
    assert!(!ended.output.contains("outlived"), "{}", ended.output);
    let spans = collector.spans();
    assert_eq!(spans.len(), 3, "{spans:#?}");
    assert!(!is_unfinished(named(&spans, "closed")));
    assert!(is_unfinished(named(&spans, "elsewhere")));
    let work = named(&spans, "work");
    assert!(is_unfinished(work));
    assert_panicked(work, "no way out");
}

#[test]
fn a_panic_that_is_caught_is_on_its_span_and_ends_no_other() {
    const TEST: &str = "a_panic_that_is_caught_is_on_its_span_and_ends_no_other";
    if child::role().is_some() {
        let guard = pipeline();
        guard.panic_hook().install();
        let server = tracing::info_span!("server");
        // A span that a filter hides is not the one that is meant.
        let crashed = std::thread::spawn(|| {
            let _request = tracing::info_span!("request").entered();
            let _hidden = tracing::debug_span!("hidden").entered();
            panic!("one request of many");
        });
        assert!(crashed.join().is_err());
        let stats = guard.stats();
        assert_eq!((stats.open, stats.queued), (1, 1), "{stats}");
        drop(server);
        guard.shutdown_blocking(LONG).unwrap();
        return;
    }
    let collector = Collector::start();
    run(TEST, "caught", &collector).well();
    let spans = collector.spans();
    assert_eq!(spans.len(), 2);
    assert!(!spans.iter().any(is_unfinished));
    assert_panicked(named(&spans, "request"), "one request of many");
    assert!(named(&spans, "server").events.is_empty());
}

#[test]
fn a_panic_waits_for_a_dead_endpoint_to_its_deadline_and_a_second_one_does_not_hang() {
    const TEST: &str =
        "a_panic_waits_for_a_dead_endpoint_to_its_deadline_and_a_second_one_does_not_hang";
    if child::role().is_some() {
        let guard = pipeline();
        let hook = guard.panic_hook().with_every_panic_fatal(true);
        hook.with_timeout(Duration::from_millis(500)).install();
        let begin = Instant::now();
        let crash = |i: u64| {
            std::thread::spawn(move || {
                let _work = tracing::info_span!("work", i).entered();
                panic!("number {i}");
            })
        };
        let threads: Vec<_> = (0..8).map(crash).collect();
        for thread in threads {
            assert!(thread.join().is_err());
        }
        let passed = begin.elapsed();
        assert!(passed >= Duration::from_millis(400), "{passed:?}");
        assert!(passed < LONG, "{passed:?}");
        // A drop that panics while a panic unwinds aborts: the hook runs twice on one thread.
        struct Worse;
        impl Drop for Worse {
            fn drop(&mut self) {
                panic!("worse");
            }
        }
        let _work = tracing::info_span!("twice").entered();
        let _worse = Worse;
        panic!("bad");
    }
    // Connections are made, and nobody answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let begin = Instant::now();
    let ended = child::run_with(TEST, "dead", &[(ENDPOINT, &endpoint)]);
    assert!(!ended.status.success());
    assert!(ended.output.contains("worse"), "{}", ended.output);
    assert!(begin.elapsed() < LONG);
}

/// As `#[tokio::main(flavor = "current_thread")]` does on the main thread.
#[test]
fn a_panic_of_a_task_on_the_main_thread_ends_no_other_span() {
    const TEST: &str = "a_panic_of_a_task_on_the_main_thread_ends_no_other_span";
    if child::role().is_some() {
        let guard = pipeline();
        guard.panic_hook().install();
        let server = tracing::info_span!("server");
        let main = std::thread::Builder::new().name("main".to_owned());
        let main = main.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async {
                let crashed = tokio::spawn(async {
                    let _request = tracing::info_span!("request").entered();
                    panic!("one request of many");
                });
                assert!(crashed.await.is_err());
            });
        });
        main.unwrap().join().unwrap();
        let stats = guard.stats();
        assert_eq!((stats.open, stats.queued), (1, 1), "{stats}");
        drop(server);
        guard.shutdown_blocking(LONG).unwrap();
        return;
    }
    let collector = Collector::start();
    run(TEST, "task", &collector).well();
    let spans = collector.spans();
    assert!(!spans.iter().any(is_unfinished), "{spans:#?}");
    assert_panicked(named(&spans, "request"), "one request of many");
}

/// Without a collector a program that panics ends as soon as one that does not.
#[test]
fn a_panic_gives_up_on_an_endpoint_that_is_not_there() {
    const TEST: &str = "a_panic_gives_up_on_an_endpoint_that_is_not_there";
    if child::role().is_some() {
        let guard = pipeline();
        guard.panic_hook().with_timeout(LONG).install();
        let main = std::thread::Builder::new().name("main".to_owned());
        let began = Instant::now();
        let main = main.spawn(|| {
            let _work = tracing::info_span!("startup").entered();
            panic!("no database");
        });
        assert!(main.unwrap().join().is_err());
        assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
        return;
    }
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    child::run_with(TEST, "refused", &[(ENDPOINT, &nobody)]).well();
}

/// The hook waits for the endpoint, then the guard's drop must not wait for it once more.
#[test]
fn a_panic_and_the_drop_of_its_guard_wait_for_a_silent_endpoint_once() {
    const TEST: &str = "a_panic_and_the_drop_of_its_guard_wait_for_a_silent_endpoint_once";
    if child::role().is_some() {
        let main = std::thread::Builder::new().name("main".to_owned());
        let began = Instant::now();
        let main = main.spawn(|| {
            let guard = pipeline_with(LONG);
            let hook = guard.panic_hook();
            hook.with_timeout(Duration::from_millis(500)).install();
            let _work = tracing::info_span!("startup").entered();
            panic!("no answer");
        });
        assert!(main.unwrap().join().is_err());
        let passed = began.elapsed();
        assert!(passed >= Duration::from_millis(500), "{passed:?}");
        assert!(passed < LONG, "{passed:?}");
        return;
    }
    // Connections are made, and nobody answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    child::run_with(TEST, "silent", &[(ENDPOINT, &endpoint)]).well();
}

#[test]
fn init_records_panics_unless_told_otherwise() {
    const TEST: &str = "init_records_panics_unless_told_otherwise";
    if let Some(role) = child::role() {
        let subscriber = match &*role {
            "init" => tracing_otlp::subscriber(),
            _ => tracing_otlp::subscriber().with_panic_hook(false),
        };
        let endpoint = std::env::var(ENDPOINT).unwrap();
        let subscriber = subscriber.with_otlp(|otlp| otlp.with_endpoint(endpoint));
        let guard = subscriber.init().unwrap();
        let crashed = std::thread::spawn(|| {
            let _work = tracing::info_span!("work").entered();
            panic!("seen");
        });
        assert!(crashed.join().is_err());
        guard.shutdown_blocking(LONG).unwrap();
        return;
    }
    let collector = Collector::start();
    run(TEST, "init", &collector).well();
    assert_panicked(named(&collector.spans(), "work"), "seen");
    let collector = Collector::start();
    run(TEST, "off", &collector).well();
    assert!(named(&collector.spans(), "work").events.is_empty());
}

#[test]
fn without_a_hook_nothing_of_the_process_changes() {
    const TEST: &str = "without_a_hook_nothing_of_the_process_changes";
    if child::role().is_some() {
        let guard = pipeline();
        let crashed = std::thread::spawn(|| {
            let _work = tracing::info_span!("work").entered();
            panic!("unseen");
        });
        assert!(crashed.join().is_err());
        guard.shutdown_blocking(LONG).unwrap();
        return;
    }
    let collector = Collector::start();
    run(TEST, "none", &collector).well();
    let spans = collector.spans();
    assert!(named(&spans, "work").events.is_empty());
    assert!(!named(&spans, "work").status.is_error());
}

#[test]
fn open_spans_end_before_an_exit_that_runs_no_destructor() {
    const TEST: &str = "open_spans_end_before_an_exit_that_runs_no_destructor";
    if child::role().is_some() {
        let guard = pipeline();
        let open = tracing::info_span!("open").entered();
        assert_eq!(guard.end_open_spans(), 1);
        assert_eq!(guard.end_open_spans(), 0);
        let child = tracing::info_span!("child").entered();
        drop((child, open));
        guard.shutdown_blocking(LONG).unwrap();
        let stats = guard.stats();
        assert_eq!((stats.started, stats.delivered), (2, 2), "{stats}");
        assert_eq!(stats.unaccounted(), 0);
        std::process::exit(7);
    }
    let collector = Collector::start();
    let ended = run(TEST, "exit", &collector);
    assert_eq!(ended.status.code(), Some(7), "{}", ended.output);
    let spans = collector.spans();
    let open = named(&spans, "open");
    assert!(is_unfinished(open) && open.end_unix_nanos >= open.start_unix_nanos);
    let child = named(&spans, "child");
    assert!(!is_unfinished(child));
    assert_eq!(child.parent_span_id, Some(open.span_id));
}

#[cfg(unix)]
#[test]
fn a_signal_ends_what_a_server_leaves_open() {
    const TEST: &str = "a_signal_ends_what_a_server_leaves_open";
    if let Some(signal) = child::role() {
        let guard = pipeline();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _job = tracing::info_span!("background job").entered();
        let ended = runtime.block_on(guard.graceful(Duration::from_secs(5)).serve(|stop| async {
            let id = std::process::id().to_string();
            let sent = Command::new("kill").args(["-s", &signal, &id]).status();
            assert!(sent.unwrap().success());
            stop.await;
        }));
        ended.pipeline.unwrap();
        return;
    }
    for signal in ["INT", "TERM"] {
        let collector = Collector::start();
        run(TEST, signal, &collector).well();
        assert!(is_unfinished(named(&collector.spans(), "background job")));
    }
}

/// `main` of a program, as a program has it: the example that ends by a panic.
#[test]
fn a_panic_of_main_leaves_what_is_open_on_other_threads() {
    const TEST: &str = "a_panic_of_main_leaves_what_is_open_on_other_threads";
    if child::role().is_some() {
        let guard = pipeline();
        guard.panic_hook().install();
        // The guard lives on: its drop is not what sends.
        let guard: &'static _ = Box::leak(Box::new(guard));
        let (opened, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _job = tracing::info_span!("job").entered();
            opened.send(()).unwrap();
            loop {
                std::thread::park();
            }
        });
        wait.recv().unwrap();
        let main = std::thread::Builder::new().name("main".to_owned());
        let main = main.spawn(|| {
            let _work = tracing::info_span!("startup").entered();
            panic!("no database");
        });
        assert!(main.unwrap().join().is_err());
        let stats = guard.stats();
        assert_eq!(stats.delivered, 2, "{stats}");
        return;
    }
    let collector = Collector::start();
    run(TEST, "main", &collector).well();
    let spans = collector.spans();
    assert!(is_unfinished(named(&spans, "job")));
    assert_panicked(named(&spans, "startup"), "no database");
}
