//! The variables of logs (LOG-15, LOG-16, LOG-18).

use std::time::Duration;

use super::{read, warned_settings};
use crate::config::{EventRule, Events, LogsExporterKind, Protocol};

#[test]
fn there_are_logs_only_where_the_variable_says_so_log_16() {
    for (text, expected, warns) in [
        ("otlp", Some(LogsExporterKind::Otlp), false),
        (" Console ", Some(LogsExporterKind::Console), false),
        ("NONE", Some(LogsExporterKind::None), false),
        #[cfg(feature = "file")]
        ("otlp/stdout", Some(LogsExporterKind::OtlpStdout), false),
        ("logging", None, true),
        ("zipkin,otlp", Some(LogsExporterKind::Otlp), false),
    ] {
        let config = read(&[("OTEL_LOGS_EXPORTER", text)]);
        assert_eq!(config.logs.exporter, expected, "{text}");
        assert_eq!(!config.warnings.is_empty(), warns, "{text}");
    }
    assert_eq!(read(&[]).logs.exporter, None);
}

/// LOG-38: a list, in which names of other choices may stand.
#[test]
fn exceptions_are_span_events_unless_the_variable_says_so() {
    const V: &str = "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN";
    for (text, expected) in [
        ("logs", Events::AsLogs),
        ("LOGS", Events::AsLogs),
        ("logs/dup", Events::AsBoth),
        ("logs,logs/dup", Events::AsBoth),
        (" http , logs ", Events::AsLogs),
    ] {
        let config = read(&[(V, text)]);
        assert_eq!(config.logs.exceptions, expected, "{text}");
        assert!(config.warnings.is_empty(), "{text}");
    }
    assert_eq!(read(&[]).logs.exceptions, Events::AsSpanEvents);
    let config = read(&[(V, "traces")]);
    assert_eq!(config.logs.exceptions, Events::AsSpanEvents);
    assert_eq!(warned_settings(&config.warnings), [V]);
}

#[test]
fn events_go_where_the_variable_says() {
    const V: &str = "OTEL_RUST_TRACING_EVENTS";
    for (text, expected) in [
        ("logs", Events::AsLogs),
        ("BOTH", Events::AsBoth),
        ("span_events", Events::AsSpanEvents),
    ] {
        assert_eq!(read(&[(V, text)]).logs.events, expected);
    }
    let config = read(&[(V, "everything")]);
    assert_eq!(config.logs.events, Events::AsBoth);
    assert_eq!(warned_settings(&config.warnings), [V]);
}

#[test]
fn events_of_a_target_or_level_go_where_the_variable_says() {
    use tracing_core::{Level, LevelFilter};
    const V: &str = "OTEL_RUST_TRACING_EVENTS";
    let logs = read(&[(
        V,
        "span_events, info=logs,warn=both , shop::cart=debug=logs",
    )])
    .logs;
    assert_eq!(logs.events, Events::AsSpanEvents);
    assert!(logs.has_records());
    let of = |target: &str, level| {
        let mut rules = logs.event_rules.iter();
        rules.find_map(|rule| rule.events_of(target, level))
    };
    assert_eq!(of("db", Level::ERROR), Some(Events::AsBoth));
    assert_eq!(of("db", Level::INFO), Some(Events::AsLogs));
    assert_eq!(of("db", Level::DEBUG), None);
    assert_eq!(of("shop::cart::add", Level::ERROR), Some(Events::AsLogs));
    assert_eq!(of("shop::cart", Level::TRACE), None);
    assert_eq!(logs.event_rules.len(), 3);
    assert_eq!(
        logs.event_rules[1],
        EventRule::new("", LevelFilter::WARN, Events::AsBoth)
    );
    for wrong in ["loud=both", "=both", "warn=some", "warn=", "a=b=both", ""] {
        let config = read(&[(V, wrong)]);
        assert_eq!(config.logs.events, Events::AsBoth, "{wrong}");
        assert!(config.logs.event_rules.is_empty(), "{wrong}");
    }
}

/// `OTEL_BSP_*` never apply to records.
#[test]
fn the_queue_of_logs_has_variables_of_its_own() {
    let config = read(&[
        ("OTEL_BLRP_SCHEDULE_DELAY", "7"),
        ("OTEL_BLRP_EXPORT_TIMEOUT", "0"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "50"),
        ("OTEL_BSP_SCHEDULE_DELAY", "9"),
    ]);
    let batch = &config.logs.batch;
    assert_eq!(batch.schedule_delay, Duration::from_millis(7));
    assert_eq!(batch.export_timeout, None);
    assert_eq!(
        (batch.max_queue_size, batch.max_export_batch_size),
        (100, 100)
    );
    assert_eq!(config.batch.max_queue_size, 50);
    let too_large = read(&[
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "101"),
    ]);
    assert_eq!(too_large.logs.batch.max_export_batch_size, 100);
    let warned = warned_settings(&too_large.warnings);
    assert_eq!(warned, ["OTEL_BLRP_MAX_EXPORT_BATCH_SIZE"]);
}

#[test]
fn limits_of_records_come_before_the_general_ones() {
    let general = [
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "6"),
    ];
    let limits = read(&general).logs.limits;
    assert_eq!(limits.attribute_value_length_limit, Some(5));
    assert_eq!(limits.attribute_count_limit, 6);
    let own = [
        general[0],
        general[1],
        ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "7"),
        ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "8"),
    ];
    let config = read(&own);
    assert_eq!(config.logs.limits.attribute_value_length_limit, Some(7));
    assert_eq!(config.logs.limits.attribute_count_limit, 8);
    assert_eq!(config.limits.attribute_count_limit, 6);
}

/// Equal settings, one connection; a URL of its own is only another path of it.
#[test]
fn a_connection_of_their_own_is_only_where_settings_differ_log_18() {
    let config = read(&[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs/x")]);
    assert_eq!(config.logs.connection, None);
    let logs = config.logs_connection();
    assert_eq!(logs.logs_endpoint.as_deref(), Some("http://logs/x"));
    let config = read(&[
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "3"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
    ]);
    let logs = config.logs.connection.unwrap();
    assert_eq!(logs.protocol, Some(Protocol::Grpc));
    assert_eq!(logs.timeout, Some(Duration::from_secs(10)));
    assert_eq!(logs.headers.len(), 1);
    assert_eq!(config.connection.protocol, None);
}
