//! Where the system starts no thread, a look-up of a name is an error that is retried, and no panic.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/child.rs"]
mod child;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tracing_otlp::testing::Collector;
use tracing_subscriber::prelude::*;

const LONG: Duration = Duration::from_secs(120);

/// Leaves so little address space that no thread's stack fits in; `None` lifts the limit.
#[allow(unsafe_code, reason = "nothing safe sets limits")]
fn limit_memory(room: Option<u64>) {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls read and write the struct alone.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &mut limit), 0);
        limit.rlim_cur = room.map_or(limit.rlim_max, |room| pages * 4096 + room);
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &limit), 0);
    }
}

#[test]
fn a_look_up_that_gets_no_thread_is_an_error_that_is_retried() {
    const TEST: &str = "a_look_up_that_gets_no_thread_is_an_error_that_is_retried";
    if child::role().is_none() {
        let collector = Collector::start();
        let endpoint = collector.http_endpoint().replace("127.0.0.1", "localhost");
        child::run_with(TEST, "starved", &[("STARVED_ENDPOINT", &endpoint)]).well();
        assert_eq!(collector.span_count(), 10);
        return;
    }
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    std::panic::set_hook(Box::new(|_| {
        PANICS.fetch_add(1, Ordering::SeqCst);
    }));
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_endpoint(std::env::var("STARVED_ENDPOINT").unwrap())
        .with_schedule_delay(Duration::from_millis(20))
        .build()
        .unwrap();
    let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    // The worker has its thread and its buffers when it has answered.
    guard.force_flush_blocking(LONG).unwrap();
    limit_memory(Some(1 << 20));
    assert!(
        std::thread::Builder::new().spawn(|| {}).is_err(),
        "no thread starts"
    );
    for _ in 0..10 {
        tracing::info_span!("work").in_scope(|| {});
    }
    let deadline = Instant::now() + LONG;
    let mut times = Vec::new();
    // Twice, so that it was tried again.
    while times.len() < 2 {
        assert!(Instant::now() < deadline, "{}", guard.stats());
        if let Some((at, error)) = guard.stats().last_error
            && times.last() != Some(&at)
        {
            assert!(error.contains("no thread can be started"), "{error}");
            times.push(at);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
    let stats = guard.stats();
    assert_eq!(stats.worker_restarts, 0);
    assert_eq!(
        (stats.dropped_total(), stats.unaccounted()),
        (0, 0),
        "{stats}"
    );
    limit_memory(None);
    guard.force_flush_blocking(LONG).unwrap();
    assert_eq!(guard.stats().delivered, 10);
}
