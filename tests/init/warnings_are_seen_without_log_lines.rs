//! A program without log lines, or with a filter that hides those of this crate, hears of a dead endpoint
//! and of a bad setting all the same: on standard error, once (EH-2).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/child.rs"]
mod child;

use std::net::TcpListener;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tracing_otlp::OtlpBuilder;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

/// What stands before each line on standard error.
const PREFIX: &str = "tracing-otlp: ";

fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A span, and the end: with the subscriber that the role names.
fn application(role: &str, builder: OtlpBuilder) {
    let (layer, guard) = builder.build().unwrap();
    let registry = tracing_subscriber::registry();
    let fmt = || tracing_subscriber::fmt::layer().with_ansi(false);
    match role {
        "spans only" => registry.with(layer).init(),
        "a filter that hides" => {
            let filter = EnvFilter::new("my_app=info,warnings_are_seen_without_log_lines=info");
            registry.with(fmt().with_filter(filter)).with(layer).init();
        }
        "a filter for all" => {
            let filter = EnvFilter::new("my_app=info,warnings_are_seen_without_log_lines=info");
            registry.with(fmt()).with(layer).with(filter).init();
        }
        "lines" => registry.with(fmt()).with(layer).init(),
        "nobody" => drop(layer),
        other => panic!("{other}"),
    }
    tracing::info_span!("work").in_scope(|| {});
    let _ = guard.shutdown_blocking(Duration::from_secs(10));
}

/// The lines that a child of this binary writes about its pipeline.
#[track_caller]
fn said(test: &str, role: &str, variables: &[(&str, &str)]) -> (Vec<String>, String) {
    let output = child::run_with(test, role, variables).well();
    let lines = output.lines().filter_map(|line| line.split_once(PREFIX));
    (lines.map(|(_, line)| line.to_owned()).collect(), output)
}

#[test]
fn a_dead_endpoint_is_told_on_standard_error() {
    const TEST: &str = "a_dead_endpoint_is_told_on_standard_error";
    if let Some(role) = child::role() {
        return application(&role, tracing_otlp::builder());
    }
    let endpoint = refusing();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint)];
    for role in ["spans only", "a filter that hides", "a filter for all"] {
        let (lines, output) = said(TEST, role, &variables);
        assert_eq!(lines.len(), 1, "{role}: {output}");
        for part in ["WARN", "refused", "nobody listens", "spans=1"] {
            assert!(lines[0].contains(part), "{role}: {part}: {output}");
        }
    }
}

#[test]
fn a_bad_setting_is_told_on_standard_error() {
    const TEST: &str = "a_bad_setting_is_told_on_standard_error";
    if let Some(role) = child::role() {
        return application(&role, tracing_otlp::builder());
    }
    let variables = [
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "plenty"),
    ];
    for role in [
        "spans only",
        "a filter that hides",
        "a filter for all",
        "nobody",
    ] {
        let (lines, output) = said(TEST, role, &variables);
        assert_eq!(lines.len(), 1, "{role}: {output}");
        assert!(lines[0].contains("OTEL_BSP_MAX_QUEUE_SIZE"), "{output}");
    }
}

/// Who sees the lines reads nothing twice.
#[test]
fn a_line_that_is_shown_is_not_written_again() {
    const TEST: &str = "a_line_that_is_shown_is_not_written_again";
    if let Some(role) = child::role() {
        return application(&role, tracing_otlp::builder());
    }
    let endpoint = refusing();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint)];
    let (lines, output) = said(TEST, "lines", &variables);
    assert!(lines.is_empty(), "{output}");
    assert_eq!(output.matches("refused").count(), 1, "{output}");
}

#[test]
fn standard_error_can_be_switched_off() {
    const TEST: &str = "standard_error_can_be_switched_off";
    if let Some(role) = child::role() {
        let builder = tracing_otlp::builder();
        return application(
            "spans only",
            match &*role {
                "by code" => builder.with_stderr_level(LevelFilter::OFF),
                _ => builder,
            },
        );
    }
    let endpoint = refusing();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint);
    for (role, level) in [
        ("by code", "info"),
        ("by variable", "none"),
        ("by variable", "ERROR"),
    ] {
        let (lines, output) = said(TEST, role, &[endpoint, ("OTEL_LOG_LEVEL", level)]);
        assert!(lines.is_empty(), "{role}, {level}: {output}");
    }
}

/// A filter for the lines of `init` that speaks of this crate decides about standard error, too.
#[test]
fn init_writes_what_no_line_shows_unless_that_is_meant() {
    const TEST: &str = "init_writes_what_no_line_shows_unless_that_is_meant";
    if let Some(role) = child::role() {
        let subscriber = tracing_otlp::subscriber();
        let guard = match &*role {
            "without lines" => subscriber.without_lines(),
            _ => subscriber,
        }
        .init()
        .unwrap();
        tracing::info_span!("work").in_scope(|| {});
        drop(guard);
        return;
    }
    let endpoint = refusing();
    for (role, filter, expected) in [
        ("lines", "my_app=info", 0),
        ("lines", "info,tracing_otlp=off", 0),
        ("lines", "off", 0),
        ("without lines", "info", 1),
    ] {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
            ("RUST_LOG", filter),
        ];
        let (lines, output) = said(TEST, role, &variables);
        assert_eq!(lines.len(), expected, "{role}, {filter}: {output}");
    }
}

/// It is foreign code: it may panic, record spans, wait for the pipeline and take its time.
#[test]
fn a_handler_gets_everything_and_does_no_harm() {
    const TEST: &str = "a_handler_gets_everything_and_does_no_harm";
    if child::role().is_some() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let handle = Arc::new(OnceLock::<tracing_otlp::guard::PipelineHandle>::new());
        let (layer, guard) = {
            let (heard, handle) = (Arc::clone(&heard), Arc::clone(&handle));
            tracing_otlp::builder()
                .with_diagnostic_handler(move |diagnostic| {
                    tracing::info_span!("from the handler").in_scope(|| tracing::info!("heard"));
                    if let Some(handle) = handle.get() {
                        handle.force_flush_blocking(Duration::MAX).unwrap_err();
                    }
                    let line = format!("{} {diagnostic}", diagnostic.level());
                    heard.lock().unwrap().push(line);
                    panic!("boom");
                })
                .build()
                .unwrap()
        };
        tracing_subscriber::registry().with(layer).init();
        handle.set(guard.handle()).unwrap();
        tracing::info_span!("work").in_scope(|| {});
        guard
            .shutdown_blocking(Duration::from_secs(10))
            .unwrap_err();
        let heard = heard.lock().unwrap().clone();
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert!(heard[0].starts_with("WARN ") && heard[0].contains("OTEL_BSP_MAX_QUEUE_SIZE"));
        assert!(heard[1].starts_with("WARN ") && heard[1].contains("refused"));
        let stats = guard.stats();
        assert_eq!((stats.started, stats.unaccounted()), (1, 0), "{stats}");
        return;
    }
    let endpoint = refusing();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "plenty"),
    ];
    let (lines, output) = said(TEST, "application", &variables);
    assert!(lines.is_empty(), "{output}");
}
