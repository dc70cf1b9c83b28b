//! How much a span may hold, and what the layer records beside its fields.

use std::time::Duration;

/// The limits of one span. What exceeds them is dropped, and the span carries the count.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpanLimits {
    /// Characters of a string value, bytes of a byte array; `None`: no limit (the default).
    /// `OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT`, `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`.
    pub attribute_value_length_limit: Option<usize>,
    /// Attributes of a span. Default 128; `OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT`,
    /// `OTEL_ATTRIBUTE_COUNT_LIMIT`.
    pub attribute_count_limit: usize,
    /// Events of a span. Default 128; `OTEL_SPAN_EVENT_COUNT_LIMIT`.
    pub event_count_limit: usize,
    /// Links of a span. Default 128; `OTEL_SPAN_LINK_COUNT_LIMIT`.
    pub link_count_limit: usize,
    /// Attributes of an event. Default 128; `OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT`,
    /// `OTEL_ATTRIBUTE_COUNT_LIMIT`.
    pub attributes_per_event_limit: usize,
    /// Attributes of a link. Default 128; `OTEL_LINK_ATTRIBUTE_COUNT_LIMIT`,
    /// `OTEL_ATTRIBUTE_COUNT_LIMIT`.
    pub attributes_per_link_limit: usize,
}

impl Default for SpanLimits {
    fn default() -> Self {
        Self {
            attribute_value_length_limit: None,
            attribute_count_limit: 128,
            event_count_limit: 128,
            link_count_limit: 128,
            attributes_per_event_limit: 128,
            attributes_per_link_limit: 128,
        }
    }
}

/// The attributes that the layer records beside a span's own fields. Names as in
/// tracing-opentelemetry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureConfig {
    /// `code.file.path` and `code.line.number` of spans and events. Default on.
    pub location: bool,
    /// `target` of spans and events. Default on.
    ///
    /// OpenTelemetry's conventions do not define this attribute, nor `level`, `busy_ns` and `idle_ns`. To
    /// write only attributes of the conventions, turn off this and [`event_level`](Self::event_level).
    pub target: bool,
    /// `thread.id` and `thread.name` of the thread that made the span. Default off.
    pub threads: bool,
    /// `target` of the spans that the middleware makes, which is `tracing_otlp::server` or
    /// `tracing_otlp::client`, if [`target`](Self::target) is on.
    /// Default on.
    pub middleware_target: bool,
    /// `level` of spans. Default off.
    pub level: bool,
    /// `level` of span events. Default on.
    pub event_level: bool,
    /// `busy_ns` and `idle_ns`: time entered and time between. Default off.
    pub tracked_inactivity: bool,
    /// A `&dyn Error` field also sets `exception.message` and `exception.stacktrace`. Default on.
    pub error_fields_to_exceptions: bool,
    /// An event with a field `error` and no message sets the span's status. Default on.
    pub error_events_to_status: bool,
    /// An event with a field `error` and no message is named `exception`. Default on.
    pub error_events_to_exceptions: bool,
    /// A `&dyn Error` field of an event also sets the span's `exception.*`. Default on.
    pub error_records_to_exceptions: bool,
    /// An entered span ends when it closes, not at its last exit. Default off.
    pub end_on_close: bool,
    /// Spans that are open for longer than this are shown to the exporter about once a second, before
    /// they end: see [`Exporter::show_open`](crate::export::Exporter::show_open). Default `None`: never.
    pub open_spans_after: Option<Duration>,
    /// The layer asks the registry for the current span of each new span, as if per-layer filters might
    /// hide spans from it, which costs 160 instructions a span. Default off: it asks only if the registry
    /// has such filters. The registry says so in its `Debug` text alone, so this is the remedy if a version
    /// of tracing-subscriber words that text differently and a filtered span becomes a parent.
    pub expect_filters: bool,
    /// One instrumentation scope for each target instead of one for all. Default off.
    pub scope_per_target: bool,
    /// The name of the instrumentation scope. Default `tracing-otlp`.
    pub scope_name: String,
    /// The version of the instrumentation scope. Default this crate's.
    pub scope_version: Option<String>,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            location: true,
            target: true,
            middleware_target: true,
            threads: false,
            level: false,
            event_level: true,
            tracked_inactivity: false,
            error_fields_to_exceptions: true,
            error_events_to_status: true,
            error_events_to_exceptions: true,
            error_records_to_exceptions: true,
            end_on_close: false,
            open_spans_after: None,
            expect_filters: false,
            scope_per_target: false,
            scope_name: env!("CARGO_PKG_NAME").to_owned(),
            scope_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        }
    }
}
