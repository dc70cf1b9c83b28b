//! What the exporter's own libraries trace, and what the exporter says, never comes out at the other
//! end, though the subscriber enables everything (PAIN 19, EH-3).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/child.rs"]
mod child;
#[path = "../support/life.rs"]
mod life;
#[path = "../support/pace.rs"]
mod pace;

use std::time::Duration;

use life::{Ear, LONG, until};
use tracing::{info, info_span};
use tracing_otlp::Protocol;
use tracing_otlp::export::{Batch, Exporter, Outcome};
use tracing_otlp::testing::{Answer, Collector};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;

#[test]
fn over_grpc_from_one_thread() {
    in_child("over_grpc_from_one_thread", Protocol::Grpc, None);
}

#[test]
fn over_grpc_from_a_multi_thread_worker() {
    in_child(
        "over_grpc_from_a_multi_thread_worker",
        Protocol::Grpc,
        Some(2),
    );
}

#[test]
fn over_http_from_one_thread() {
    in_child("over_http_from_one_thread", Protocol::HttpProtobuf, None);
}

#[test]
fn over_http_from_a_multi_thread_worker() {
    in_child(
        "over_http_from_a_multi_thread_worker",
        Protocol::HttpProtobuf,
        Some(2),
    );
}

/// Only a global default reaches the worker's threads.
fn in_child(test: &str, protocol: Protocol, threads: Option<usize>) {
    match child::role() {
        None => drop(child::run(test, "the application").well()),
        Some(_) => application(protocol, threads),
    }
}

fn application(protocol: Protocol, threads: Option<usize>) {
    let collector = Collector::start();
    let (layer, guard) = life::quiet(&collector.endpoint(protocol), protocol)
        .with_worker_threads(threads)
        .build()
        .unwrap();
    let ear = Ear::default();
    let subscriber = tracing_subscriber::registry()
        .with(LevelFilter::TRACE)
        .with(layer)
        .with(ear.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let mine = |name: &'static str| {
        info_span!("mine", name).in_scope(|| info!("my event"));
    };
    let flush = || guard.force_flush_blocking(LONG);
    mine("first");
    flush().unwrap();
    // Nothing came of the first flush that a later one could carry.
    for _ in 0..3 {
        flush().unwrap();
    }
    assert_eq!(collector.received_attempts(), 1);

    // A span that is current all the while takes up nobody else's events.
    let open = info_span!("open all the while").entered();
    collector.script([Answer::unavailable().retry_info(Duration::from_millis(10))]);
    mine("second");
    flush().unwrap();

    collector.go_offline();
    mine("lost on a broken connection, or late");
    let _ = guard.force_flush_blocking(Duration::from_millis(200));
    mine("late");
    let _ = guard.force_flush_blocking(Duration::from_millis(200));
    until("what is said of an outage", || {
        ear.has_heard("takes no spans now")
    });
    collector.go_online().unwrap();
    let _ = flush();
    until("what is said of its end", || {
        ear.has_heard("takes spans again")
    });
    drop(open);
    guard.shutdown_blocking(LONG).unwrap();

    let stats = guard.stats();
    assert_eq!(stats.started, 5, "nothing else was recorded: {stats}");
    assert_eq!((stats.open, stats.unaccounted()), (0, 0), "{stats}");
    assert_eq!(collector.span_count() as u64, stats.delivered);
    assert!(stats.delivered >= 4, "{stats}");
    for span in collector.spans() {
        let events: Vec<_> = span.events.iter().map(|e| e.name.as_str()).collect();
        match span.name.as_str() {
            "mine" => assert_eq!(events, ["my event"]),
            "open all the while" => assert!(events.is_empty(), "{events:?}"),
            other => panic!("a foreign span: {other}"),
        }
    }
    // The other layer saw what was traced on the worker's threads: h2 and tonic trace a lot, hyper
    // alone nothing, so then it is what the worker itself said.
    let least = match protocol {
        Protocol::Grpc => 20,
        _ => 2,
    };
    assert!(ear.count_on_worker() >= least, "{}", ear.count_on_worker());
}

/// Whatever it does, on whichever thread of its runtime.
#[test]
fn of_an_exporter_that_traces_all_it_does() {
    match child::role() {
        None => {
            for threads in ["", "2"] {
                child::run("of_an_exporter_that_traces_all_it_does", threads).well();
            }
        }
        Some(threads) => talkative(threads.parse().ok()),
    }
}

fn talkative(threads: Option<usize>) {
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_worker_threads(threads)
        .with_schedule_delay(Duration::ZERO)
        .with_exporter(Talker)
        .build()
        .unwrap();
    let ear = Ear::default();
    let subscriber = tracing_subscriber::registry().with(layer).with(ear.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    for done in 1..=20 {
        info_span!("mine").in_scope(|| info!("my event"));
        until("exported", || guard.stats().delivered == done);
    }
    guard.shutdown_blocking(LONG).unwrap();
    let stats = guard.stats();
    assert_eq!((stats.started, stats.delivered), (20, 20), "{stats}");
    assert!(ear.count_on_worker() >= 20 * 6, "{}", ear.count_on_worker());
}

struct Talker;

impl Exporter for Talker {
    type Permit = ();

    async fn ready(&self) {
        info_span!("theirs: ready").in_scope(|| info!("is it?"));
    }

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let spans = batch.item_count() as u64;
        async move {
            let talk = || info_span!("theirs: send").in_scope(|| info!("sending"));
            talk();
            tokio::spawn(async move { talk() }).await.unwrap();
            tokio::task::spawn_blocking(talk).await.unwrap();
            Outcome::delivered(spans)
        }
    }
}
