//! Open spans, queue and what lies idle: whichever is filled, the others lose nothing, and whatever is
//! left out is told on the wire, in the figures and by the flush.

use std::sync::{Arc, Barrier};

use crate::gate::{Gate, attribute, expect_whole, short_spans};
use crate::pace::cpu_time;
use tracing::{Span, info, info_span};
use tracing_otlp::config::SpanLimits;
use tracing_otlp::context::TraceFlags;
use tracing_otlp::{DropReason, KeyValue, SpanExt as _, TraceContext, context};

const MIB: usize = 1 << 20;

fn job() -> Span {
    let job = info_span!("job", kind = "batch");
    let text = "x".repeat(150);
    job.in_scope(|| (0..128).for_each(|n| info!(n, text = text.as_str(), "a step of the job")));
    job
}

/// 300 jobs with 128 events each, on an endpoint that is well, with default settings.
#[test]
fn short_spans_beside_many_events_arrive_whole_and_so_do_the_events() {
    let gate = Gate::open(|b| b);
    gate.within(|| {
        let jobs: Vec<_> = (0..300).map(|_| job()).collect();
        short_spans(1000);
        drop(jobs);
    });
    gate.flush().unwrap();
    let spans = gate.spans();
    expect_whole(&spans, 1000);
    let jobs: Vec<_> = spans.iter().filter(|s| s.name == "job").collect();
    assert_eq!(jobs.len(), 300);
    assert!(jobs.iter().all(|job| job.events.len() == 128));
    let stats = gate.settle();
    assert_eq!((stats.dropped_total(), stats.truncated), (0, 0));
}

/// Ten times as many as there is memory for: the jobs lose events, and the short spans nothing.
#[test]
fn spans_with_much_data_yield_to_short_ones() {
    let gate = Gate::open(|b| b.with_max_memory(8 * MIB));
    gate.within(|| {
        let jobs: Vec<_> = (0..600).map(|_| job()).collect();
        assert!(gate.stats().memory_used <= 8 << 20);
        short_spans(1000);
        drop(jobs);
    });
    let error = gate.flush().unwrap_err().to_string();
    assert!(error.contains("with_max_memory"), "{error}");
    let spans = gate.spans();
    expect_whole(&spans, 1000);
    let jobs: Vec<_> = spans.iter().filter(|s| s.name == "job").collect();
    assert_eq!(jobs.len(), 600);
    for job in &jobs {
        let all = job.events.len() + job.dropped_events_count as usize;
        assert_eq!(all, 128, "each event arrives or is counted");
        assert!(attribute(job, "kind").is_some());
    }
    let lost: u64 = jobs
        .iter()
        .map(|job| u64::from(job.dropped_events_count))
        .sum();
    let stats = gate.settle();
    assert!(lost > 0);
    assert_eq!((stats.truncated, stats.truncated_for_memory), (lost, lost));
    assert_eq!(stats.dropped_total(), 0);
}

/// 40,000 open spans of 7 attributes, with default settings: they arrive, and what comes beside them.
#[test]
fn forty_thousand_open_spans_are_recorded_whole() {
    let gate = Gate::open(|b| b);
    gate.within(|| {
        let open: Vec<_> = (0..40_000u64)
            .map(|n| {
                info_span!(
                    "open",
                    n,
                    user = "user-4711",
                    path = "/api/v1/users/4711/orders",
                    method = "GET",
                    status = 200,
                    cached = true,
                    ratio = 0.5
                )
            })
            .collect();
        assert_eq!(gate.stats().open, 40_000);
        short_spans(1000);
        drop(open);
    });
    gate.flush().unwrap();
    let spans = gate.spans();
    expect_whole(&spans, 1000);
    let open: Vec<_> = spans.iter().filter(|s| s.name == "open").collect();
    assert_eq!(open.len(), 40_000);
    assert!(open.iter().all(|s| s.attributes.len() == 7 + 3));
    let stats = gate.settle();
    assert_eq!((stats.dropped_total(), stats.truncated), (0, 0));
}

/// 520 threads that have closed 32 spans each, and live on.
#[test]
fn idle_threads_hold_no_memory() {
    let gate = Gate::open(|b| b.with_max_memory(16 * MIB));
    let (begin, end) = (Arc::new(Barrier::new(521)), Arc::new(Barrier::new(521)));
    let threads: Vec<_> = (0..520)
        .map(|_| {
            let (begin, end, dispatch) = (begin.clone(), end.clone(), gate.dispatch());
            std::thread::Builder::new()
                .stack_size(128 << 10)
                .spawn(move || {
                    tracing::dispatcher::with_default(&dispatch, || {
                        drop((0..32).map(|_| info_span!("burst")).collect::<Vec<_>>());
                    });
                    begin.wait();
                    end.wait();
                })
                .unwrap()
        })
        .collect();
    begin.wait();
    gate.flush().unwrap();
    assert!(
        gate.stats().memory_used < 4 << 20,
        "{}",
        gate.stats().memory_used
    );
    gate.within(|| {
        let open: Vec<_> = (0..1000).map(|n| info_span!("held", n)).collect();
        short_spans(1000);
        drop(open);
    });
    end.wait();
    threads.into_iter().for_each(|t| t.join().unwrap());
    gate.flush().unwrap();
    expect_whole(&gate.spans(), 1000);
    let stats = gate.settle();
    assert_eq!((stats.dropped_total(), stats.truncated), (0, 0));
}

/// The queue is filled while the endpoint is away: what is open loses nothing, and what is idle is no
/// reason to lose anything.
#[test]
fn a_full_queue_takes_nothing_from_open_spans() {
    let gate = Gate::shut(|b| b.with_max_memory(4 * MIB));
    let text = "x".repeat(1000);
    gate.within(|| {
        while gate.stats().dropped(DropReason::QueueFull) == 0 {
            drop(info_span!("queued", text = text.as_str()));
        }
        let open: Vec<_> = (0..1000)
            .map(|n| info_span!("held", n, kind = "open"))
            .collect();
        let stats = gate.stats();
        assert_eq!(
            (stats.open, stats.dropped(DropReason::MemoryFull)),
            (1000, 0)
        );
        assert!(stats.memory_used <= 4 << 20);
        gate.set_open();
        let error = gate.flush().unwrap_err().to_string();
        assert!(error.contains("queue_full 1"), "{error}");
        drop(open);
    });
    gate.flush().unwrap();
    let spans = gate.spans();
    let held: Vec<_> = spans.iter().filter(|s| s.name == "held").collect();
    assert_eq!(held.len(), 1000);
    assert!(held.iter().all(|s| s.attributes.len() == 2 + 3));
    let stats = gate.settle();
    assert_eq!((stats.dropped_total(), stats.truncated), (1, 0));
}

/// Open spans take all that they may: the queue loses nothing, and what could not be kept is counted
/// under its own reason, with its children at the nearest ancestor that is there.
#[test]
fn too_many_open_spans_take_nothing_from_the_queue() {
    let gate = Gate::shut(|b| b.with_max_memory(4 * MIB));
    let remote = TraceContext::new(
        tracing_otlp::TraceId::from_bytes([7; 16]),
        tracing_otlp::SpanId::from_bytes([8; 8]),
        TraceFlags::SAMPLED,
    );
    gate.within(|| {
        let first = info_span!("first");
        let closes: Vec<_> = (0..500).map(|n| info_span!("closes", n)).collect();
        let mut open = Vec::new();
        while gate.stats().dropped(DropReason::MemoryFull) == 0 {
            open.push(info_span!("open"));
        }
        assert!(open.len() > 2000, "{}", open.len());
        let refused = info_span!(parent: &first, "refused");
        assert!(!refused.is_recording());
        context::sync_scope(remote.clone(), || {
            let _refused = info_span!("refused too").entered();
            // Room for one again.
            open.truncate(open.len() - 50);
            drop(info_span!("child of the scope"));
        });
        drop(info_span!(parent: &refused, "child of the first"));
        refused.record("otel.name", "ignored");
        assert_eq!(gate.stats().dropped(DropReason::MemoryFull), 3);
        drop(closes);
        assert_eq!(gate.stats().dropped(DropReason::QueueFull), 0);
    });
    gate.set_open();
    let error = gate.flush().unwrap_err().to_string();
    assert!(
        error.starts_with("3 spans") && error.contains("memory_full 3"),
        "{error}"
    );
    gate.flush().expect("it was told once");
    let spans = gate.spans();
    let named = |name: &str| spans.iter().find(|s| s.name == name).unwrap();
    let child = named("child of the first");
    assert_eq!(child.parent_span_id, named("first").span_id);
    assert_eq!(named("child of the scope").parent_span_id, [8; 8]);
    let closed: Vec<_> = spans.iter().filter(|s| s.name == "closes").collect();
    assert_eq!(closed.len(), 500);
    assert!(closed.iter().all(|s| attribute(s, "n").is_some()));
    let stats = gate.settle();
    assert_eq!(stats.dropped_total(), 3);
}

/// All at once: the bound holds, the sums are exact, and all goes on when there is memory again.
#[test]
fn all_classes_are_filled_at_once() {
    let gate = Gate::shut(|b| b.with_max_memory(4 * MIB));
    let text = "x".repeat(3000);
    gate.within(|| {
        let jobs: Vec<_> = (0..200).map(|_| job()).collect();
        while gate.stats().dropped(DropReason::QueueFull) == 0 {
            drop(info_span!("queued", text = text.as_str()));
        }
        let mut open = Vec::new();
        while gate.stats().dropped(DropReason::MemoryFull) == 0 {
            open.push(info_span!("open", n = 1));
        }
        let stats = gate.stats();
        assert!(stats.memory_used <= stats.memory_limit, "{stats:?}");
        assert_eq!(stats.unaccounted(), 0);
        assert!(stats.memory_used > 3 << 20, "{stats:?}");
        gate.set_open();
        let _ = gate.flush();
        let before = gate.stats().dropped_total();
        drop(open);
        gate.flush().unwrap();
        short_spans(100);
        drop(jobs);
        assert!(gate.flush().is_err(), "the jobs lost events");
        assert_eq!(gate.stats().dropped_total(), before);
    });
    expect_whole(&gate.spans(), 100);
    gate.settle();
}

/// 884 spans with 100 kB each while the endpoint is away: only what does not fit is lost.
#[test]
fn large_attributes_in_an_outage_take_no_small_ones_along() {
    let gate = Gate::shut(|b| b);
    let large = "x".repeat(100_000);
    gate.within(|| {
        for n in 0..884 {
            drop(info_span!("large", n, large = large.as_str(), after = true));
            drop(info_span!("small", n, kind = "small"));
        }
    });
    gate.set_open();
    assert!(gate.flush().is_err(), "something was left out");
    let spans = gate.spans();
    let (large, small): (Vec<_>, Vec<_>) = spans.iter().partition(|s| s.name == "large");
    assert_eq!((large.len(), small.len()), (884, 884));
    let mut lost = 0;
    for span in &large {
        assert!(attribute(span, "n").is_some() && attribute(span, "after").is_some());
        let is_lost = attribute(span, "large").is_none();
        assert_eq!(span.dropped_attributes_count, u32::from(is_lost));
        lost += u64::from(is_lost);
    }
    assert!((1..700).contains(&lost), "{lost}");
    assert!(small.iter().all(|s| s.attributes.len() == 2 + 3));
    let stats = gate.settle();
    assert_eq!((stats.truncated, stats.truncated_for_memory), (lost, lost));
    assert_eq!(stats.dropped_total(), 0);
}

/// What no request could carry is refused when it is looked at, and counted one by one.
#[test]
fn a_giant_value_takes_no_siblings_along() {
    let gate = Gate::open(|b| b);
    let (giant, large) = ("x".repeat(20 << 20), "y".repeat(7 << 20));
    gate.within(|| {
        drop(info_span!("str", a = 1, giant = giant.as_str(), b = "two"));
        drop(info_span!("display", a = 1, giant = %giant, b = "two"));
        drop(info_span!(
            "bytes",
            a = 1,
            giant = giant.as_bytes(),
            b = "two"
        ));
        drop(info_span!(
            "large",
            a = 1,
            large = large.as_str(),
            b = "two"
        ));
        let four = info_span!(
            "four",
            a = 1,
            giant = giant.as_str(),
            large = %large,
            b = "two",
            third = large.as_bytes(),
            late = tracing::field::Empty
        );
        four.record("late", large.as_str());
        four.set_attribute("status", 200);
        four.add_event("event", &[KeyValue::new("giant", giant.clone())]);
        four.in_scope(|| info!(giant = giant.as_str(), n = 1, "told"));
    });
    assert!(gate.flush().is_err());
    let spans = gate.spans();
    assert_eq!(spans.len(), 5);
    for span in &spans {
        let lost = if span.name == "four" { 4 } else { 1 };
        assert_eq!(span.dropped_attributes_count, lost, "{}", span.name);
        assert!(attribute(span, "a").is_some() && attribute(span, "b").is_some());
    }
    let four = spans.iter().find(|s| s.name == "four").unwrap();
    assert!(attribute(four, "status").is_some());
    assert_eq!((four.events.len(), four.dropped_events_count), (2, 0));
    assert!(four.events.iter().all(|e| e.dropped_attributes_count == 1));
    let stats = gate.settle();
    assert_eq!((stats.dropped_total(), stats.truncated), (0, 8));
    assert_eq!(stats.truncated_for_memory, 10);
}

/// A span that has taken its share keeps what is small and says what it lost.
#[test]
fn a_span_loses_its_own_largest_data_first() {
    let gate = Gate::open(|b| b.with_max_memory(MIB));
    gate.within(|| {
        let span = info_span!("span", first = "kept");
        // 63 KiB are the most of a span.
        for n in 0..10 {
            span.set_attribute(format!("large.{n}"), "x".repeat(10 << 10));
        }
        for n in 0..60 {
            span.set_attribute(format!("small.{n}"), "y".repeat(100));
        }
        span.update_name("named");
    });
    assert!(gate.flush().is_err());
    let spans = gate.spans();
    let span = &spans[0];
    assert_eq!(span.name, "named");
    let small = (0..60).filter(|n| attribute(span, &format!("small.{n}")).is_some());
    assert_eq!(small.count(), 60);
    assert!(attribute(span, "first").is_some());
    let kept = span.attributes.len() + span.dropped_attributes_count as usize;
    assert_eq!(kept, 1 + 10 + 60 + 3);
    let large = (0..10).filter(|n| attribute(span, &format!("large.{n}")).is_some());
    assert!((4..=6).contains(&large.count()));
    gate.settle();
}

/// Names and descriptions are paid for too, and cut where there is no memory for them.
#[test]
fn texts_are_bounded_and_short_ones_stay_whole() {
    let gate = Gate::open(|b| b.with_max_memory(4 * MIB));
    let long = "n".repeat(1_000_000);
    gate.within(|| {
        let open: Vec<_> = (0..50)
            .map(|n| {
                let span = info_span!("x", n, otel.name = long.as_str());
                span.set_status(tracing_otlp::Status::error(long.clone()));
                span
            })
            .collect();
        let used = gate.stats().memory_used;
        assert!(used < 4 << 20, "{used}");
        let span = info_span!("short", otel.name = "a short name");
        span.set_status(tracing_otlp::Status::error("a short description"));
        drop((span, open));
    });
    assert!(gate.flush().is_err());
    let spans = gate.spans();
    assert_eq!(spans.len(), 51);
    let short = spans.iter().find(|s| s.name == "a short name").unwrap();
    assert_eq!(
        short.status.as_ref().unwrap().message,
        "a short description"
    );
    let cut = spans.iter().filter(|s| s.name == long[..64]).count();
    assert!(cut >= 45, "{cut}");
    let stats = gate.settle();
    assert_eq!(stats.truncated, 0);
    assert!(stats.truncated_for_memory >= 90);
}

/// Where the limits are raised the work is not that of a square.
#[test]
fn many_attributes_and_events_take_time_in_proportion() {
    let mut limits = SpanLimits::default();
    limits.attribute_count_limit = 100_000;
    limits.event_count_limit = 100_000;
    let gate = Gate::open(|b| b.with_span_limits(limits).with_max_memory(512 * MIB));
    let took = |n: usize| {
        let began = cpu_time();
        gate.within(|| {
            let span = info_span!("many");
            for n in 0..n {
                span.set_attribute(format!("key.{n}"), n as i64);
                span.in_scope(|| info!(n, "event"));
            }
            // Each again, with another value.
            for n in 0..n {
                span.set_attribute(format!("key.{n}"), -1);
            }
        });
        cpu_time() - began
    };
    took(1000);
    let (few, many) = (took(2000), took(32_000));
    assert!(many < few * 64, "{few:?} {many:?}");
    gate.flush().unwrap();
    let spans = gate.spans();
    let most = spans.iter().max_by_key(|s| s.attributes.len()).unwrap();
    assert_eq!(
        (most.attributes.len(), most.events.len()),
        (32_000 + 3, 32_000)
    );
    assert_eq!(crate::gate::int(most, "key.31999"), Some(-1));
    gate.settle();
}
