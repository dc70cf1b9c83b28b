//! Where log records differ from those of opentelemetry-appender-tracing: both take the same events, and
//! an exporter of the SDK shows what became of them.

use std::time::Duration;

use opentelemetry::logs::AnyValue;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::in_memory_exporter::LogDataWithResource;
use opentelemetry_sdk::logs::{InMemoryLogExporter, LogBatch, LogExporter, SdkLoggerProvider};
use tracing::{error, info, info_span, warn};
use tracing_otlp::Events;
use tracing_otlp::otel::LogExporterAdapter;
use tracing_subscriber::layer::SubscriberExt as _;

const LONG: Duration = Duration::from_secs(120);

/// Forgets nothing when it is shut down.
#[derive(Debug, Clone, Default)]
struct Kept(InMemoryLogExporter);

impl LogExporter for Kept {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.0.export(batch).await
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// What the same events become there and here.
fn there_and_here(f: impl Fn()) -> (Vec<LogDataWithResource>, Vec<LogDataWithResource>) {
    let (there, here) = (Kept::default(), Kept::default());
    let provider = SdkLoggerProvider::builder()
        .with_simple_exporter(there.clone())
        .build();
    let bridge = OpenTelemetryTracingBridge::new(&provider);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(bridge), &f);
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_traces_exporter_kind(tracing_otlp::config::TracesExporterKind::None)
        .with_logs(Events::AsLogs)
        .with_logs_exporter(LogExporterAdapter::new(here.clone()))
        .build()
        .unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), &f);
    guard.shutdown_blocking(LONG).unwrap();
    (
        there.0.get_emitted_logs().unwrap(),
        here.0.get_emitted_logs().unwrap(),
    )
}

fn value(log: &LogDataWithResource, key: &str) -> Vec<AnyValue> {
    let all = log.record.attributes_iter();
    let fitting = all.filter(|(k, _)| k.as_str() == key);
    fitting.map(|(_, v)| v.clone()).collect()
}

fn text(text: &str) -> AnyValue {
    AnyValue::String(text.to_owned().into())
}

#[test]
fn message_severity_and_typed_fields_are_the_same() {
    let (there, here) =
        there_and_here(|| warn!(n = -1, f = 0.5, yes = true, s = "x", d = ?"q", "m {}", 1));
    for log in [&there[0], &here[0]] {
        assert_eq!(log.record.body(), Some(&text("m 1")));
        assert_eq!(log.record.severity_text(), Some("WARN"));
        assert_eq!(value(log, "n"), [AnyValue::Int(-1)]);
        assert_eq!(value(log, "f"), [AnyValue::Double(0.5)]);
        assert_eq!(value(log, "yes"), [AnyValue::Boolean(true)]);
        assert_eq!(value(log, "s"), [text("x")]);
        assert_eq!(value(log, "d"), [text("\"q\"")]);
    }
}

#[test]
fn only_a_name_that_code_gives_is_an_event_name() {
    let (there, here) = there_and_here(|| {
        info!("plain");
        info!(name: "cart.emptied", "named");
    });
    let name = |log: &LogDataWithResource| log.record.event_name();
    assert!(name(&there[0]).unwrap().starts_with("event tests/otel/"));
    assert_eq!(name(&here[0]), None);
    assert_eq!(name(&there[1]), Some("cart.emptied"));
    assert_eq!(name(&here[1]), Some("cart.emptied"));
}

#[test]
fn a_record_has_both_times() {
    let (there, here) = there_and_here(|| info!("now"));
    assert!(
        there[0].record.timestamp().is_none() && there[0].record.observed_timestamp().is_some()
    );
    assert_eq!(
        here[0].record.timestamp(),
        here[0].record.observed_timestamp()
    );
    assert!(here[0].record.timestamp().is_some());
}

#[test]
fn ids_are_those_of_the_tracing_span_also_of_an_explicit_parent() {
    let (there, here) = there_and_here(|| {
        let span = info_span!("work");
        span.in_scope(|| info!("inside"));
        info!(parent: &span, "by parent");
        span.in_scope(|| info!(parent: None, "outside"));
    });
    // There they come from tracing-opentelemetry's context, if it is beside it.
    assert!(there.iter().all(|log| log.record.trace_context().is_none()));
    let ids =
        |log: &LogDataWithResource| log.record.trace_context().map(|c| (c.trace_id, c.span_id));
    assert!(ids(&here[0]).is_some());
    assert_eq!(ids(&here[0]), ids(&here[1]));
    assert_eq!(ids(&here[2]), None);
}

#[test]
fn the_place_in_the_source_is_an_attribute() {
    let (there, here) = there_and_here(|| info!("here"));
    assert!(value(&there[0], "code.file.path").is_empty());
    assert_eq!(value(&here[0], "code.file.path"), [text(file!())]);
    assert_eq!(value(&here[0], "code.line.number").len(), 1);
}

#[test]
fn an_error_keeps_its_field_and_its_sources() {
    #[derive(Debug)]
    struct Outer(std::fmt::Error);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("outer")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let (there, here) = there_and_here(|| {
        let failed = Outer(std::fmt::Error);
        error!(
            cause = &failed as &(dyn std::error::Error + 'static),
            "it broke"
        );
    });
    assert_eq!(value(&there[0], "exception.message"), [text("outer")]);
    assert!(value(&there[0], "cause").is_empty());
    assert_eq!(value(&here[0], "exception.message"), [text("outer")]);
    assert_eq!(value(&here[0], "cause"), [text("outer")]);
    assert_eq!(value(&here[0], "cause.chain").len(), 1);
    assert_eq!(value(&here[0], "exception.stacktrace").len(), 1);
}

#[test]
fn a_key_comes_once() {
    let (there, here) = there_and_here(|| info!(exception.message = "mine", n = 1, n = 2, "twice"));
    assert_eq!(value(&there[0], "n").len(), 2);
    assert_eq!(value(&here[0], "n"), [AnyValue::Int(2)]);
}

#[test]
fn a_message_of_any_kind_is_the_body() {
    let (there, here) = there_and_here(|| info!(message = 42));
    assert_eq!(there[0].record.body(), None);
    assert_eq!(value(&there[0], "message"), [AnyValue::Int(42)]);
    assert_eq!(here[0].record.body(), Some(&AnyValue::Int(42)));
}

/// There the target stands beside the scope, which is empty, until the OTLP exporter puts them together.
#[test]
fn the_scope_is_the_target() {
    let (there, here) = there_and_here(|| info!(target: "shop::cart", "m"));
    assert_eq!(there[0].record.target().map(|t| &**t), Some("shop::cart"));
    assert_eq!(there[0].instrumentation.name(), "");
    assert_eq!(here[0].instrumentation.name(), "shop::cart");
}
