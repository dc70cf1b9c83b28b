//! What the process really has, as the system tells it: the bound of the pipeline, and what is not the
//! pipeline's.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/child.rs"]
mod child;
#[path = "../support/gate.rs"]
mod gate;

use gate::Gate;
use tracing::{Dispatch, Span, info_span};
use tracing_otlp::SpanExt as _;

const MIB: usize = 1 << 20;
/// The default.
const MEMORY: usize = 64 * MIB;
/// Code, threads, the runtime, and what the allocator keeps between its blocks.
const SLACK: usize = 24 * MIB;

/// The most that this process ever had resident.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn tell(peak: usize) {
    println!("peak={peak}");
}

fn open(n: usize) -> Vec<Span> {
    (0..n)
        .map(|n| info_span!("open", n, user = "user-4711"))
        .collect()
}

/// What a child says of its peak.
#[track_caller]
fn said(test: &str, role: &str) -> usize {
    let output = child::run(test, role).well();
    let said = output.lines().find_map(|l| l.split_once("peak=")).unwrap();
    said.1.trim().parse().unwrap()
}

/// A million open spans, of which there is memory for some 40,000; beside what the registry takes for them.
#[test]
fn a_million_open_spans() {
    const MANY: usize = 1_000_000;
    const TEST: &str = "a_million_open_spans";
    match child::role().as_deref() {
        None => {
            let (bare, ours) = (said(TEST, "bare"), said(TEST, "ours"));
            let most = bare + MEMORY + SLACK;
            assert!(ours < most, "{} MiB, {} without", ours / MIB, bare / MIB);
        }
        Some("bare") => {
            let dispatch = Dispatch::new(tracing_subscriber::registry());
            let spans = tracing::dispatcher::with_default(&dispatch, || open(MANY));
            tell(peak());
            assert_eq!(spans.len(), MANY);
        }
        Some(_) => {
            let gate = Gate::shut(|b| b);
            let spans = gate.within(|| open(MANY));
            tell(peak());
            let stats = gate.stats();
            assert_eq!((stats.started, stats.unaccounted()), (MANY as u64, 0));
            assert!((40_000..60_000).contains(&stats.open), "{stats}");
            assert!(stats.memory_used <= stats.memory_limit);
            drop(spans);
            gate.set_open();
            let error = gate.flush().unwrap_err().to_string();
            assert!(error.contains("memory_full 9"), "{error}");
            gate.settle();
        }
    }
}

/// 300 open spans with a name and a description of 1 MB each, and as many values of 1 MB.
#[test]
fn three_hundred_spans_with_large_texts() {
    const TEST: &str = "three_hundred_spans_with_large_texts";
    if child::role().is_none() {
        let ours = said(TEST, "ours");
        assert!(ours < MEMORY + SLACK, "{} MiB", ours / MIB);
        return;
    }
    let gate = Gate::shut(|b| b);
    let long = "n".repeat(1_000_000);
    gate.within(|| {
        let open: Vec<_> = (0..300)
            .map(|n| {
                let span = info_span!("x", n, otel.name = long.as_str(), value = long.as_str());
                span.set_status(tracing_otlp::Status::error(long.clone()));
                span.add_event(&long, &[]);
                span
            })
            .collect();
        let stats = gate.stats();
        assert!(stats.memory_used <= stats.memory_limit);
        // They close, and wait.
        drop(open);
    });
    tell(peak());
    gate.set_open();
    assert!(gate.flush().is_err());
}
