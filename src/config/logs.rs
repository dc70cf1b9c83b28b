//! Settings of logs.

use std::borrow::Cow;
use std::time::Duration;

use tracing_core::LevelFilter;

use super::connection::ConnectionConfig;

/// The export of `tracing` events as log records.
///
/// Logs exist if [`exporter`](Self::exporter) is set: by
/// [`OtlpBuilder::with_logs`](crate::OtlpBuilder::with_logs), or by `OTEL_LOGS_EXPORTER` alone. The log
/// filter ([`ConfigStore::set_log_filter`](crate::ConfigStore::set_log_filter)) selects the events.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LogsConfig {
    /// The destination of log records. Default `None`: no logs; `OTEL_LOGS_EXPORTER`.
    pub exporter: Option<LogsExporterKind>,
    /// The handling of an event in a pipeline with logs. Default [`Events::AsBoth`];
    /// `OTEL_RUST_TRACING_EVENTS`.
    pub events: Events,
    /// What [`events`](Self::events) does not say of all events: by level and target. The first rule that
    /// fits an event counts. Default none; `OTEL_RUST_TRACING_EVENTS`.
    pub event_rules: Vec<EventRule>,
    /// The handling of exceptions that this crate records itself: panics, by its middleware and its panic hook.
    /// Default [`Events::AsSpanEvents`]; `OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN`: `logs` or `logs/dup`. A pipeline
    /// without logs keeps them as span events. Events of the application are not concerned: see
    /// [`events`](Self::events).
    pub exceptions: Events,
    /// The connection of logs. `None`: that of traces, the default; `OTEL_EXPORTER_OTLP_LOGS_*`.
    pub connection: Option<ConnectionConfig>,
    /// The queue of log records and the batches made of it.
    pub batch: LogBatchConfig,
    /// The limits of one record.
    pub limits: LogLimits,
    /// Events of unsampled spans become records from this level on. Default [`LevelFilter::TRACE`], all: logs
    /// are independent of sampling. [`LevelFilter::OFF`]: logs are sampled as the traces.
    pub unsampled: LevelFilter,
    /// Events of traces that tail sampling has yet to decide on become records from this level on. Default
    /// [`LevelFilter::TRACE`], all: records do not wait for the decision, so those of a trace that is dropped name a trace that the
    /// backend does not have. No effect without tail sampling.
    pub undecided: LevelFilter,
    /// The fields of the spans around an event that its record includes. Default none. Only fields of
    /// sampled spans that are recorded before the event are copied; an inner span wins over an outer one,
    /// and the event over both. They count against the limit of attributes, after the event's own.
    pub span_fields: SpanFields,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self {
            exporter: None,
            events: Events::default(),
            event_rules: Vec::new(),
            exceptions: Events::AsSpanEvents,
            connection: None,
            batch: LogBatchConfig::default(),
            limits: LogLimits::default(),
            unsampled: LevelFilter::TRACE,
            undecided: LevelFilter::TRACE,
            span_fields: SpanFields::default(),
        }
    }
}

/// Fields of spans on the log records of events in them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SpanFields {
    /// No field: a record has the id of its span.
    #[default]
    None,
    /// Fields of these names.
    Named(Vec<String>),
    /// All of them.
    All,
}

/// The handling of `tracing` events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Events {
    /// Events of their span, as without logs.
    AsSpanEvents,
    /// Log records with the ids of their span. An event still sets the span's status.
    AsLogs,
    /// Both: the event is visited once and written twice.
    #[default]
    AsBoth,
}

/// The handling of the events of some targets and levels.
///
/// ```
/// use tracing::level_filters::LevelFilter;
/// use tracing_otlp::Events;
/// use tracing_otlp::config::EventRule;
///
/// // All events are span events, as without logs; warnings and errors are log records too.
/// let warnings = EventRule::new("", LevelFilter::WARN, Events::AsBoth);
/// let builder = tracing_otlp::builder()
///     .with_logs(Events::AsSpanEvents)
///     .configure(|config| config.logs.event_rules.push(warnings));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRule {
    target: Cow<'static, str>,
    level: LevelFilter,
    events: Events,
}

impl EventRule {
    /// Of targets that begin with `target` (empty: all), events of this level and more severe ones.
    pub fn new(target: impl Into<Cow<'static, str>>, level: LevelFilter, events: Events) -> Self {
        Self {
            target: target.into(),
            level,
            events,
        }
    }

    /// Its handling of an event, if it fits.
    pub(crate) fn events_of(&self, target: &str, level: tracing_core::Level) -> Option<Events> {
        let fits = level <= self.level && target.starts_with(self.target.as_ref());
        fits.then_some(self.events)
    }
}

impl LogsConfig {
    /// Whether some event becomes a log record.
    pub(crate) fn has_records(&self) -> bool {
        let mut rules = self.event_rules.iter();
        self.events != Events::AsSpanEvents || rules.any(|r| r.events != Events::AsSpanEvents)
    }
}

/// The destination of log records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogsExporterKind {
    /// To an OTLP endpoint.
    Otlp,
    /// To standard output.
    Console,
    /// To standard output, as lines of JSON; `otlp/stdout`.
    #[cfg(feature = "file")]
    OtlpStdout,
    /// No logs, also if code asks for them.
    None,
}

/// The queue of log records and the batches made of it (`OTEL_BLRP_*`). Memory and shutdown are the
/// pipeline's: [`BatchConfig`](crate::config::BatchConfig).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogBatchConfig {
    /// The longest a record waits for its batch to fill. Default 1 s; `OTEL_BLRP_SCHEDULE_DELAY`.
    pub schedule_delay: Duration,
    /// The longest one export may take before it is cancelled, without the time in which the endpoint
    /// is down; `None`: no limit. Default 30 s; `OTEL_BLRP_EXPORT_TIMEOUT`.
    pub export_timeout: Option<Duration>,
    /// The most records that wait to be sent. Default 65,536, where the specification has 2,048, as
    /// [that of spans](crate::config::BatchConfig::max_queue_size); `OTEL_BLRP_MAX_QUEUE_SIZE`.
    pub max_queue_size: usize,
    /// Records in one request, and how many waiting records start one; at most
    /// [`max_queue_size`](Self::max_queue_size). Default the lesser of that and 2,048, where the specification
    /// has 512, as [that of spans](crate::config::BatchConfig::max_export_batch_size);
    /// `OTEL_BLRP_MAX_EXPORT_BATCH_SIZE`.
    pub max_export_batch_size: usize,
}

impl Default for LogBatchConfig {
    fn default() -> Self {
        Self {
            schedule_delay: Duration::from_secs(1),
            export_timeout: Some(Duration::from_secs(30)),
            max_queue_size: 65_536,
            max_export_batch_size: 2048,
        }
    }
}

/// The limits of one log record. What exceeds them is dropped, and the record carries the count. Only
/// memory limits its body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogLimits {
    /// Characters of a string value, bytes of a byte array; `None`: no limit (the default).
    /// `OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT`, `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`.
    pub attribute_value_length_limit: Option<usize>,
    /// Attributes of a record. Default 128; `OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT`,
    /// `OTEL_ATTRIBUTE_COUNT_LIMIT`.
    pub attribute_count_limit: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            attribute_value_length_limit: None,
            attribute_count_limit: 128,
        }
    }
}
