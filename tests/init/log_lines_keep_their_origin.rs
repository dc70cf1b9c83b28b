//! Lines of the `log` crate arrive with the target, file and line that wrote them (EVT-2, LOG-58).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;

use std::sync::Once;

use capture::{Span, Value, int, record_with, text, value};
use tracing::{info, info_span};
use tracing_otlp::{ConfigStore, OtlpBuilder};

/// The process's logger; it speaks to the subscriber that the test's thread has.
fn recorded(edit: impl FnOnce(OtlpBuilder) -> OtlpBuilder, f: impl FnOnce()) -> Span {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing_log::LogTracer::init().unwrap());
    let mut spans = record_with(edit, || {
        let _span = info_span!("span").entered();
        f();
    });
    spans.remove(0)
}

fn keys(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> Vec<&str> {
    let mut keys: Vec<_> = attributes.iter().map(|a| a.key.as_str()).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_log_line_has_its_own_target_file_and_line_log_58() {
    let line = line!() + 4;
    let span = recorded(
        |b| b,
        || {
            log::warn!(target: "storage::disk", "{} % full", 97);
        },
    );
    let event = &span.events[0];
    assert_eq!(event.name, "97 % full");
    let get = |key| value(&event.attributes, key).cloned();
    assert_eq!(get("target"), text("storage::disk"));
    assert_eq!(get("code.file.path"), text(file!()));
    assert_eq!(get("code.line.number"), int(i64::from(line)));
    assert_eq!(get("level"), text("WARN"));
    let expected = ["code.file.path", "code.line.number", "level", "target"];
    assert_eq!(keys(&event.attributes), expected);
}

#[test]
fn each_of_its_levels_says_so_and_an_error_fails_the_span_evt_3() {
    let span = recorded(
        |b| b,
        || {
            log::error!("e");
            log::warn!("w");
            log::info!("i");
            log::debug!("d");
            log::trace!("t");
        },
    );
    let levels: Vec<_> = span
        .events
        .iter()
        .map(|event| value(&event.attributes, "level").cloned())
        .collect();
    let expected = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].map(text);
    assert_eq!(levels, expected);
    assert_eq!(span.status.unwrap().code, 2);
}

#[test]
fn the_switches_of_target_and_location_are_for_log_lines_too() {
    let span = recorded(
        |b| b.with_target(false).with_location(false),
        || log::info!("bare"),
    );
    assert_eq!(keys(&span.events[0].attributes), ["level"]);
}

#[test]
fn a_detail_hushes_log_lines_by_their_own_target() {
    let store = ConfigStore::default();
    store.set_span_filter("info,hyper=warn".parse().unwrap());
    let span = recorded(
        |b| b.with_config_store(store),
        || {
            log::info!(target: "hyper::proto", "hushed");
            log::warn!(target: "hyper::proto", "loud");
            log::debug!(target: "shop", "hushed");
            log::info!(target: "shop", "said");
        },
    );
    let names: Vec<_> = span.events.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["loud", "said"]);
}

#[test]
fn fields_named_log_on_ordinary_events_are_attributes_evt_2() {
    let span = recorded(
        |b| b,
        || {
            info!(
                log.iostream = "stdout",
                log.file.name = "a.log",
                log.line = 3,
                "read"
            );
            tracing::event!(target: "log", tracing::Level::INFO, { log.target = "mine" }, "almost");
        },
    );
    let get = |event: usize, key| value(&span.events[event].attributes, key).cloned();
    assert_eq!(get(0, "log.iostream"), text("stdout"));
    assert_eq!(get(0, "log.file.name"), text("a.log"));
    assert_eq!(get(0, "log.line"), int(3));
    assert_eq!(get(1, "log.target"), text("mine"));
    assert_eq!(get(1, "target"), text("log"));
    assert!(matches!(
        get(0, "code.line.number"),
        Some(Value::IntValue(_))
    ));
}
