//! Eight threads record without pause, spans cross threads and are closed elsewhere; every span is
//! delivered or counted under a reason, exactly (PAIN 26, 31).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use tracing::{Span, info, info_span};
use tracing_otlp::DropReason;
use tracing_subscriber::layer::SubscriberExt as _;

const THREADS: u64 = 8;
const ROUNDS: u64 = 20_000;

#[test]
fn eight_threads_lose_nothing_uncounted() {
    let (layer, capture) = capture::layer();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::set_global_default(subscriber).expect("the first");
    let made = AtomicU64::new(0);
    let (send, receive) = mpsc::channel::<Span>();
    std::thread::scope(|scope| {
        // Closes what others opened.
        scope.spawn(move || {
            for span in receive {
                span.in_scope(|| info!("closed elsewhere"));
            }
        });
        for thread in 0..THREADS {
            let (made, send) = (&made, send.clone());
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let root = info_span!("root", thread, round).entered();
                    let child = info_span!("child", text = %"shown");
                    child.in_scope(|| info!(round, "working"));
                    made.fetch_add(2, Ordering::Relaxed);
                    if round % 16 == 0 {
                        made.fetch_add(1, Ordering::Relaxed);
                        let _ = send.send(info_span!("sent away"));
                    }
                    drop((child, root));
                }
            });
        }
        drop(send);
    });
    let spans = capture.spans_that_arrived();
    let stats = capture.stats();
    let made = made.into_inner();
    assert_eq!(stats.started, made, "{stats}");
    assert_eq!(
        (stats.open, stats.queued, stats.in_flight),
        (0, 0, 0),
        "{stats}"
    );
    assert_eq!(stats.unaccounted(), 0, "{stats}");
    assert_eq!(stats.delivered, spans.len() as u64, "{stats}");
    assert_eq!(
        stats.dropped_total(),
        stats.dropped(DropReason::QueueFull),
        "{stats}"
    );
    assert!(stats.memory_used <= stats.memory_limit);
    // Nothing was mixed up: each child has its own root.
    let roots: std::collections::HashMap<_, _> = spans
        .iter()
        .filter(|s| s.name == "root")
        .map(|s| (&s.span_id, &s.trace_id))
        .collect();
    for span in spans.iter().filter(|s| s.name != "root") {
        if let Some(trace) = roots.get(&span.parent_span_id) {
            assert_eq!(*trace, &span.trace_id);
        }
    }
}
