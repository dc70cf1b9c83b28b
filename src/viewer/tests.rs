use std::time::Duration;

use super::*;
use crate::builder::builder;
use crate::config::Events;
use crate::export::Exporter as _;
use tracing_subscriber::layer::SubscriberExt as _;

fn quiet() -> Viewer {
    viewer().with_port(0).with_announcement(false)
}

/// Records a span in a pipeline of its own, to its end.
fn record(exporter: ViewerExporter, name: &'static str) {
    let pipeline = builder()
        .with_service_name("joined")
        .with_exporter(exporter);
    let (layer, guard) = pipeline.build().unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("work", otel.name = name).in_scope(|| ());
    });
    guard.shutdown_blocking(Duration::from_secs(60)).unwrap();
}

fn names(exporter: &ViewerExporter) -> Vec<String> {
    let store = exporter.store().unwrap();
    let newest = |before| store.newest_before(before);
    let traces = std::iter::successors(newest(u64::MAX), |t| newest(t.number));
    traces.map(|t| t.summary.name.to_string()).collect()
}

#[test]
fn a_second_process_sends_to_the_viewer_that_runs() {
    let loopback = (Ipv4Addr::LOCALHOST, 0).into();
    let first = quiet().with_otlp_address(loopback).build().unwrap();
    let second = quiet().join(first.address().unwrap()).unwrap();
    assert_eq!((second.url(), second.address()), (None, None));
    record(second, "from afar");
    assert_eq!(names(&first), ["from afar"]);
}

#[test]
fn its_log_records_go_there_too() {
    let loopback = (Ipv4Addr::LOCALHOST, 0).into();
    let first = quiet().with_otlp_address(loopback).build().unwrap();
    let second = quiet().join(first.address().unwrap()).unwrap();
    let pipeline = builder().with_exporter(second).with_logs(Events::AsLogs);
    let (layer, guard) = pipeline.build().unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("work").in_scope(|| tracing::info!("of the work"));
        tracing::info!("of nothing");
    });
    guard.shutdown_blocking(Duration::from_secs(60)).unwrap();
    let stats = guard.stats();
    assert_eq!((stats.delivered, stats.logs.delivered), (1, 2), "{stats}");
    let held = first.store().unwrap().held();
    assert_eq!((held.spans, held.records, held.loose_records), (1, 1, 1));
}

/// An event that is a span event and a log record shows once: as the record, which has more.
#[test]
fn an_event_that_came_as_both_shows_once() {
    let loopback = (Ipv4Addr::LOCALHOST, 0).into();
    let shown = quiet().with_otlp_address(loopback).build().unwrap();
    let sender = quiet().join(shown.address().unwrap()).unwrap();
    let pipeline = builder().with_exporter(sender);
    let pipeline = pipeline.with_logs(Events::AsBoth).configure(|config| {
        let debug = tracing::level_filters::LevelFilter::DEBUG;
        let rules = &mut config.logs.event_rules;
        rules.push(crate::config::EventRule::new(
            "spans",
            debug,
            Events::AsSpanEvents,
        ));
        rules.push(crate::config::EventRule::new("logs", debug, Events::AsLogs));
    });
    let (layer, guard) = pipeline.build().unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("work").in_scope(|| {
            tracing::info!(n = 1, "paid");
            tracing::info!(n = 2, "paid");
            tracing::info!(n = 3);
            tracing::info!(name: "payment", n = 4);
            tracing::error!(error = &std::io::Error::other("broken") as &dyn std::error::Error);
            tracing::info!(target: "spans", "a span event");
            tracing::info!(target: "logs", "a record");
        });
    });
    guard.shutdown_blocking(Duration::from_secs(60)).unwrap();
    let store = shown.store().unwrap();
    let trace = json::trace(&store.newest_before(u64::MAX).unwrap());
    let events = trace["spans"][0]["events"].as_array().unwrap();
    let names: Vec<_> = events.iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a span event"], "{events:#?}");
    let logs = trace["logs"].as_array().unwrap();
    let both: Vec<_> = logs
        .iter()
        .map(|log| log["is_span_event"] == true)
        .collect();
    assert_eq!(both, [true, true, true, true, true, false], "{logs:#?}");
    assert_eq!(logs[5]["body"], "a record");
}

#[test]
fn what_takes_no_spans_or_is_no_viewer_is_not_joined() {
    let viewer = quiet().build().unwrap();
    assert!(quiet().join(viewer.address().unwrap()).is_none());
    // Takes connections and says nothing.
    let mute = bind_free().unwrap();
    assert!(quiet().join(local(&mute).unwrap()).is_none());
}

#[test]
fn a_viewer_hands_on_what_it_shows() {
    let loopback = (Ipv4Addr::LOCALHOST, 0).into();
    let next = quiet().with_otlp_address(loopback).build().unwrap();
    let shown = quiet().with_otlp_address(loopback).build().unwrap();
    let shown_at = quiet().join(shown.address().unwrap()).unwrap();
    let next_at = quiet().join(next.address().unwrap()).unwrap();
    let pipeline = builder().with_exporter(shown_at.forward_to(next_at));
    let (layer, guard) = pipeline.build().unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || drop(tracing::info_span!("both")));
    guard.shutdown_blocking(Duration::from_secs(60)).unwrap();
    assert_eq!(
        (names(&shown), names(&next)),
        (vec!["both".to_owned()], vec!["both".to_owned()])
    );
}

#[test]
fn a_pipeline_with_a_viewer_does_not_wait_for_its_batch() {
    let viewer = quiet().build().unwrap();
    assert!(viewer.max_schedule_delay() <= Some(Duration::from_millis(100)));
}
