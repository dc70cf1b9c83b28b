//! What Ctrl-C and SIGTERM do once `graceful().serve()` has ended, or while it ends.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/child.rs"]
mod child;

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tracing_otlp::ShutdownGuard;
use tracing_otlp::testing::{Answer, Collector};
use tracing_subscriber::prelude::*;

/// Longer than a test that passes ever waits.
const LONG: Duration = Duration::from_secs(40);

/// Sends a signal to this process.
fn raise(name: &str) {
    let id = std::process::id().to_string();
    let sent = Command::new("kill").args(["-s", name, &id]).status();
    assert!(sent.unwrap().success());
}

/// Sends a signal again and again; a process that outlives that fails.
fn raise_until_dead(name: &str) {
    let deadline = Instant::now() + LONG;
    while Instant::now() < deadline {
        raise(name);
        thread::sleep(Duration::from_millis(50));
    }
    std::process::exit(3);
}

/// Whether this process was started with Ctrl-C ignored, as `nohup` and the shell's `&` do. Its children are too,
/// and nothing of this crate changes that.
fn is_interrupt_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let ignored = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    ignored.is_some_and(|bits| bits >> (libc::SIGINT - 1) & 1 == 1)
}

fn number(name: &str) -> i32 {
    match name {
        "INT" => libc::SIGINT,
        _ => libc::SIGTERM,
    }
}

fn guard_of(collector: &Collector) -> ShutdownGuard {
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_endpoint(collector.http_endpoint())
        .with_schedule_delay(Duration::from_secs(3600))
        .build()
        .unwrap();
    tracing_subscriber::registry()
        .with(tracing_subscriber::filter::LevelFilter::INFO)
        .with(layer)
        .init();
    guard
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn after_serve_has_ended_a_signal_ends_the_process() {
    const TEST: &str = "after_serve_has_ended_a_signal_ends_the_process";
    let Some(role) = child::role() else {
        for role in ["INT", "TERM"] {
            if role == "INT" && is_interrupt_ignored() {
                continue;
            }
            let ended = child::run(TEST, role);
            let output = &ended.output;
            assert_eq!(ended.status.signal(), Some(number(role)), "{output}");
        }
        return;
    };
    let collector = Collector::start();
    let guard = guard_of(&collector);
    runtime().block_on(async {
        // Twice: the second one listens too.
        for _ in 0..2 {
            let graceful = guard.graceful(Duration::from_secs(20));
            let ended = graceful
                .serve(|stop| async {
                    raise(&role);
                    stop.await;
                })
                .await;
            assert_eq!(ended.server, Some(()));
            ended.pipeline.unwrap();
        }
    });
    raise_until_dead(&role);
}

#[test]
fn a_serve_that_is_given_up_leaves_nothing_behind() {
    const TEST: &str = "a_serve_that_is_given_up_leaves_nothing_behind";
    if child::role().is_none() {
        let ended = child::run(TEST, "TERM");
        let output = &ended.output;
        assert_eq!(ended.status.signal(), Some(libc::SIGTERM), "{output}");
        return;
    }
    let guard = ShutdownGuard::disabled();
    runtime().block_on(async {
        let serve = guard.graceful(LONG).serve(|_| std::future::pending::<()>());
        tokio::time::timeout(Duration::from_millis(1), serve)
            .await
            .unwrap_err();
    });
    raise_until_dead("TERM");
}

/// Whoever presses Ctrl-C again and again wants it to end.
#[test]
fn signals_during_a_slow_shutdown_end_the_process_at_once() {
    const TEST: &str = "signals_during_a_slow_shutdown_end_the_process_at_once";
    if child::role().is_none() {
        if is_interrupt_ignored() {
            return;
        }
        let ended = child::run(TEST, "INT");
        let output = &ended.output;
        assert_eq!(ended.status.signal(), Some(libc::SIGINT), "{output}");
        return;
    }
    let collector = Collector::start();
    collector.always(Answer::never());
    let guard = guard_of(&collector);
    tracing::info_span!("work").in_scope(|| {});
    runtime().block_on(async {
        let graceful = guard.graceful(Duration::from_secs(3600));
        graceful
            .serve(|_| async {
                thread::spawn(|| raise_until_dead("INT"));
                std::future::pending::<()>().await;
            })
            .await;
    });
    panic!("the shutdown waits for an endpoint that never answers");
}

/// One that was there first, and one that came when the server had ended.
#[test]
fn a_listener_of_the_application_s_own_still_gets_its_signal() {
    const TEST: &str = "a_listener_of_the_application_s_own_still_gets_its_signal";
    let Some(role) = child::role() else {
        for role in ["before", "during", "after"] {
            child::run(TEST, role).well();
        }
        return;
    };
    let collector = Collector::start();
    let guard = guard_of(&collector);
    runtime().block_on(async {
        let listen = || signal(SignalKind::terminate()).unwrap();
        let mut own = (role == "before").then(listen);
        guard
            .graceful(Duration::from_secs(20))
            .serve(|stop| {
                if role == "during" {
                    own = Some(listen());
                }
                async {
                    raise("TERM");
                    stop.await;
                }
            })
            .await;
        let mut own = match own {
            Some(mut own) => {
                own.recv().await;
                own
            }
            None => listen(),
        };
        for _ in 0..3 {
            // Long after the last one.
            tokio::time::sleep(Duration::from_millis(700)).await;
            raise("TERM");
            tokio::time::timeout(LONG, own.recv()).await.unwrap();
        }
    });
}
