//! Eight threads record spans and log records without pause, and values that log themselves; all of both
//! is delivered or counted under a reason, exactly.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::{info, info_span, warn};
use tracing_otlp::testing::Collector;
use tracing_otlp::{DropReason, Events};
use tracing_subscriber::layer::SubscriberExt as _;

const THREADS: u64 = 8;
const ROUNDS: u64 = 4_000;
/// Long enough for a machine that has no time: collector and worker take 160,000 items of this.
const LONG: Duration = Duration::from_secs(900);

/// A value that records an event and a span while it is shown (LOG-65).
struct Loud;

impl fmt::Debug for Loud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _span = info_span!("within").entered();
        info!("inner");
        f.write_str("loud")
    }
}

#[test]
fn eight_threads_log_and_trace_without_loss() {
    let collector = Collector::builder().with_patience(LONG).start().unwrap();
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_endpoint(collector.grpc_endpoint())
        .with_protocol(tracing_otlp::Protocol::Grpc)
        .with_logs(Events::AsLogs)
        .with_timeout(LONG)
        .with_export_timeout(LONG)
        // The collector shares the machine with eight busy threads: without time it falls silent again and again.
        .configure(|c| {
            c.connection.retry.max_attempts = 100;
            c.logs.batch.export_timeout = Some(LONG);
        })
        .build()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::set_global_default(subscriber).expect("the first");
    // A value's own event comes before that of which it is a part, and is of its own span.
    {
        let _span = info_span!("outer span").entered();
        info!(value = ?Loud, "outer");
    }
    guard.force_flush_blocking(LONG).unwrap();
    let [within, outer_span] = collector.expect_names(["within", "outer span"]);
    let logs = collector.expect_logs(2);
    let messages: Vec<_> = logs.iter().map(|log| log.message()).collect();
    assert_eq!(messages, ["inner", "outer"]);
    assert!(logs[0].is_of(&within) && logs[1].is_of(&outer_span));
    assert_eq!(logs[1]["value"], "loud");

    let (spans, records) = (AtomicU64::new(2), AtomicU64::new(2));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (spans, records) = (&spans, &records);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    info!(thread, round, "outside");
                    let _root = info_span!("root", thread, round).entered();
                    warn!(round, "inside");
                    let child = info_span!("child");
                    child.in_scope(|| info!(target: "shop::stock", round, "in the child"));
                    spans.fetch_add(2, Ordering::Relaxed);
                    records.fetch_add(3, Ordering::Relaxed);
                }
            });
        }
    });
    let ended = guard.shutdown_blocking(LONG);
    let stats = guard.stats();
    let (spans, records) = (spans.into_inner(), records.into_inner());
    assert_eq!(
        (stats.started, stats.logs.emitted),
        (spans, records),
        "{stats}"
    );
    assert_eq!(
        (stats.unaccounted(), stats.logs.unaccounted()),
        (0, 0),
        "{stats}"
    );
    assert_eq!(
        (stats.queued, stats.in_flight, stats.open),
        (0, 0, 0),
        "{stats}"
    );
    assert_eq!((stats.logs.queued, stats.logs.in_flight), (0, 0), "{stats}");
    // Nothing is lost but for want of a place in the queue, and that is counted.
    assert_eq!(
        stats.dropped_total(),
        stats.dropped(DropReason::QueueFull),
        "{stats}"
    );
    let lost = stats.logs.dropped(DropReason::QueueFull);
    assert_eq!(stats.logs.dropped_total(), lost, "{stats}");
    assert_eq!(
        ended.is_ok(),
        stats.dropped_total() + lost == 0,
        "{ended:?}"
    );
    // What was sent again after a silence may be there twice, and is counted as such.
    let twice = collector.span_count() as u64 - stats.delivered;
    assert!(twice <= stats.possible_duplicates, "{twice}: {stats}");
    let twice = collector.log_count() as u64 - stats.logs.delivered;
    assert!(twice <= stats.logs.possible_duplicates, "{twice}: {stats}");
    assert!(stats.memory_used <= stats.memory_limit);
    // Each record in a span names one that was recorded.
    let ids: std::collections::HashSet<_> = collector
        .spans()
        .iter()
        .map(|s| (s.trace_id, s.span_id))
        .collect();
    if stats.dropped_total() == 0 {
        for log in collector.logs() {
            match (log.trace_id, log.span_id) {
                (Some(trace), Some(span)) => assert!(ids.contains(&(trace, span))),
                (None, None) => assert_eq!(log.message(), "outside"),
                other => panic!("{other:?}"),
            }
        }
    }
}
