//! The `with_*` methods for what the layer records beside a span's own fields.

use std::time::Duration;

use super::OtlpBuilder;

/// The attributes that the layer records beside a span's own fields. Names as in
/// tracing-opentelemetry.
impl OtlpBuilder {
    /// `code.file.path` and `code.line.number` of spans and events: see
    /// [`CaptureConfig::location`](crate::config::CaptureConfig::location).
    pub fn with_location(self, on: bool) -> Self {
        self.configure(move |c| c.capture.location = on)
    }

    /// `target` of spans and events: see
    /// [`CaptureConfig::target`](crate::config::CaptureConfig::target).
    pub fn with_target(self, on: bool) -> Self {
        self.configure(move |c| c.capture.target = on)
    }

    /// `target` of the spans that the [middleware](crate::middleware) makes: see
    /// [`CaptureConfig::middleware_target`](crate::config::CaptureConfig::middleware_target).
    pub fn with_middleware_target(self, on: bool) -> Self {
        self.configure(move |c| c.capture.middleware_target = on)
    }

    /// `thread.id` and `thread.name` of spans: see
    /// [`CaptureConfig::threads`](crate::config::CaptureConfig::threads).
    pub fn with_threads(self, on: bool) -> Self {
        self.configure(move |c| c.capture.threads = on)
    }

    /// `level` of spans: see [`CaptureConfig::level`](crate::config::CaptureConfig::level).
    pub fn with_level(self, on: bool) -> Self {
        self.configure(move |c| c.capture.level = on)
    }

    /// `level` of span events: see
    /// [`CaptureConfig::event_level`](crate::config::CaptureConfig::event_level).
    pub fn with_event_level(self, on: bool) -> Self {
        self.configure(move |c| c.capture.event_level = on)
    }

    /// `busy_ns` and `idle_ns` of spans: see
    /// [`CaptureConfig::tracked_inactivity`](crate::config::CaptureConfig::tracked_inactivity).
    pub fn with_tracked_inactivity(self, on: bool) -> Self {
        self.configure(move |c| c.capture.tracked_inactivity = on)
    }

    /// Whether a `&dyn Error` field also sets `exception.*`: see
    /// [`CaptureConfig::error_fields_to_exceptions`](crate::config::CaptureConfig::error_fields_to_exceptions).
    pub fn with_error_fields_to_exceptions(self, on: bool) -> Self {
        self.configure(move |c| c.capture.error_fields_to_exceptions = on)
    }

    /// Whether an event with a field `error` sets the span's status: see
    /// [`CaptureConfig::error_events_to_status`](crate::config::CaptureConfig::error_events_to_status).
    pub fn with_error_events_to_status(self, on: bool) -> Self {
        self.configure(move |c| c.capture.error_events_to_status = on)
    }

    /// Whether an event with a field `error` is named `exception`: see
    /// [`CaptureConfig::error_events_to_exceptions`](crate::config::CaptureConfig::error_events_to_exceptions).
    pub fn with_error_events_to_exceptions(self, on: bool) -> Self {
        self.configure(move |c| c.capture.error_events_to_exceptions = on)
    }

    /// Whether a `&dyn Error` field of an event also sets the span's `exception.*`: see
    /// [`CaptureConfig::error_records_to_exceptions`](crate::config::CaptureConfig::error_records_to_exceptions).
    pub fn with_error_records_to_exceptions(self, on: bool) -> Self {
        self.configure(move |c| c.capture.error_records_to_exceptions = on)
    }

    /// Whether an entered span ends when it closes: see
    /// [`CaptureConfig::end_on_close`](crate::config::CaptureConfig::end_on_close).
    pub fn with_end_on_close(self, on: bool) -> Self {
        self.configure(move |c| c.capture.end_on_close = on)
    }

    /// Shows spans to the exporter that are open for longer than this: see
    /// [`CaptureConfig::open_spans_after`](crate::config::CaptureConfig::open_spans_after).
    pub fn with_open_spans_after(self, time: Duration) -> Self {
        self.configure(move |c| c.capture.open_spans_after = Some(time))
    }

    /// The instrumentation scope of all spans; an empty version is none. Default this crate's name
    /// and version.
    pub fn with_instrumentation_scope(
        self,
        name: impl Into<String>,
        version: impl Into<String>,
    ) -> Self {
        let (name, version) = (name.into(), version.into());
        self.configure(move |c| {
            c.capture.scope_name = name;
            c.capture.scope_version = Some(version).filter(|v| !v.is_empty());
        })
    }

    /// One instrumentation scope for each target: see
    /// [`CaptureConfig::scope_per_target`](crate::config::CaptureConfig::scope_per_target).
    pub fn with_scope_per_target(self, on: bool) -> Self {
        self.configure(move |c| c.capture.scope_per_target = on)
    }
}
