//! A logger of the OpenTelemetry API whose records enter this pipeline.

use std::borrow::Cow;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::logs::{self as otel, AnyValue, Severity};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::{Context, InstrumentationScope, Key, SpanId, TraceFlags, TraceId};
use tracing_core::Level;

use super::activation::parent_in;
use super::convert::key_values;
use super::log_record;
use crate::context::{self, TraceContext};
use crate::layer::{ManualLogs, NewRecord, OtlpLayer};
use crate::processor::ScopeId;
use crate::wire::log_record as wire;
use crate::wire::request::ScopeFields;

/// Makes loggers for code that logs through the OpenTelemetry API, and for bridges from other log libraries.
///
/// Their records go through the log filter, the limits, the queue and the exporter of the pipeline, as the
/// events of `tracing` do that become log records. A record without a trace context of its own gets that
/// of the active OpenTelemetry span, or else of the current `tracing` span. A pipeline without logs takes no
/// record. Works after the layer was dropped, until the pipeline is shut down.
///
/// Do not put `opentelemetry-appender-tracing` in front of it: the layer takes the events of `tracing` itself,
/// and each would go out twice.
///
/// ```
/// use opentelemetry::logs::{LogRecord as _, Logger as _, LoggerProvider as _, Severity};
/// use tracing_otlp::Events;
/// use tracing_otlp::otel::LoggerProvider;
///
/// # fn main() -> Result<(), tracing_otlp::Error> {
/// # let builder = tracing_otlp::builder().without_env();
/// let (layer, _guard) = builder.with_logs(Events::AsLogs).build()?;
/// let logger = LoggerProvider::new(&layer).logger("some.library");
/// let mut record = logger.create_log_record();
/// record.set_severity_number(Severity::Warn);
/// record.set_body("disk is nearly full".into());
/// logger.emit(record);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LoggerProvider {
    logs: ManualLogs,
}

impl LoggerProvider {
    /// For the pipeline of this layer.
    pub fn new(layer: &OtlpLayer) -> Self {
        Self {
            logs: layer.free_logs(),
        }
    }
}

impl fmt::Debug for LoggerProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoggerProvider").finish_non_exhaustive()
    }
}

/// A pipeline keeps up to 1,000 instrumentation scopes apart. Records of further loggers go out under a scope
/// without a name.
impl otel::LoggerProvider for LoggerProvider {
    type Logger = Logger;

    fn logger_with_scope(&self, scope: InstrumentationScope) -> Logger {
        let attributes = key_values(scope.attributes().cloned());
        Logger {
            scope: self.logs.register_scope(ScopeFields {
                name: scope.name(),
                version: scope.version().unwrap_or_default(),
                attributes: &attributes,
                schema_url: scope.schema_url().unwrap_or_default(),
            }),
            name: scope.name().to_owned().into(),
            logs: self.logs.clone(),
        }
    }
}

/// Emits log records; from [`LoggerProvider`].
#[derive(Clone)]
pub struct Logger {
    logs: ManualLogs,
    scope: ScopeId,
    name: std::sync::Arc<str>,
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl otel::Logger for Logger {
    type LogRecord = LoggerRecord;

    fn create_log_record(&self) -> LoggerRecord {
        LoggerRecord::default()
    }

    fn emit(&self, record: LoggerRecord) {
        let current = Context::current();
        let level = record.severity.map_or(Level::ERROR, level);
        let target = record.target.as_deref();
        let is_wanted = !current.is_telemetry_suppressed()
            && self.logs.admits(target.unwrap_or(&self.name), level);
        if !is_wanted {
            return;
        }
        let of_place = || match current.has_active_span() || self.logs.follows_context() {
            true => parent_in(&current),
            false => context::current(),
        };
        let context = record.context.clone().unwrap_or_else(of_place);
        let limit = self.logs.length_limit();
        let attributes = record.attributes.iter();
        let attributes = attributes.map(|(k, v)| log_record::attribute(k.as_str(), v, limit));
        self.logs.emit(&NewRecord {
            scope: self.scope,
            target,
            level,
            time: record.time.map_or(0, unix_nanos),
            observed: record.observed.map_or(0, unix_nanos),
            is_sampled: (!record.lacks_flags).then(|| context.is_sampled()),
            context: &context,
            fields: &record.fields(),
            attributes: &attributes.collect::<Vec<_>>(),
        });
    }

    fn event_enabled(&self, severity: Severity, target: &str, _: Option<&str>) -> bool {
        let target = if target.is_empty() {
            &self.name
        } else {
            target
        };
        !Context::current().is_telemetry_suppressed() && self.logs.admits(target, level(severity))
    }
}

/// A log record that is being made; from [`Logger`].
#[derive(Debug, Clone, Default)]
pub struct LoggerRecord {
    event_name: &'static str,
    target: Option<Cow<'static, str>>,
    time: Option<SystemTime>,
    observed: Option<SystemTime>,
    severity: Option<Severity>,
    severity_text: &'static str,
    body: Option<AnyValue>,
    /// Each key once.
    attributes: Vec<(Key, AnyValue)>,
    context: Option<TraceContext>,
    /// Whether `context` was given without its flags.
    lacks_flags: bool,
}

impl LoggerRecord {
    /// Encoded severity, body and event name.
    fn fields(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let number = self.severity.map_or(0, |severity| severity as u8);
        wire::put_severity(&mut out, number, self.severity_text);
        if let Some(body) = &self.body {
            log_record::put_body(&mut out, body);
        }
        if !self.event_name.is_empty() {
            wire::put_event_name(&mut out, self.event_name);
        }
        out
    }
}

impl otel::LogRecord for LoggerRecord {
    fn set_event_name(&mut self, name: &'static str) {
        self.event_name = name;
    }

    /// Instead of the logger's name, the name of the record's instrumentation scope.
    fn set_target<T: Into<Cow<'static, str>>>(&mut self, target: T) {
        self.target = Some(target.into());
    }

    fn set_timestamp(&mut self, timestamp: SystemTime) {
        self.time = Some(timestamp);
    }

    fn set_observed_timestamp(&mut self, timestamp: SystemTime) {
        self.observed = Some(timestamp);
    }

    fn set_severity_text(&mut self, text: &'static str) {
        self.severity_text = text;
    }

    fn set_severity_number(&mut self, number: Severity) {
        self.severity = Some(number);
    }

    fn set_body(&mut self, body: AnyValue) {
        self.body = Some(body);
    }

    fn add_attributes<I, K, V>(&mut self, attributes: I)
    where
        I: IntoIterator<Item = (K, V)>,
        K: Into<Key>,
        V: Into<AnyValue>,
    {
        for (key, value) in attributes {
            self.add_attribute(key, value);
        }
    }

    /// Of two values of one key the later one stays.
    fn add_attribute<K: Into<Key>, V: Into<AnyValue>>(&mut self, key: K, value: V) {
        let (key, value) = (key.into(), value.into());
        match self.attributes.iter_mut().find(|(k, _)| *k == key) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((key, value)),
        }
    }

    /// Without flags nothing says that the trace is not sampled, so the record is taken.
    fn set_trace_context(&mut self, trace_id: TraceId, span_id: SpanId, flags: Option<TraceFlags>) {
        self.lacks_flags = flags.is_none();
        let flags = flags.unwrap_or_default();
        self.context = Some(TraceContext::new(
            trace_id.into(),
            span_id.into(),
            flags.into(),
        ));
    }
}

fn level(severity: Severity) -> Level {
    match severity as u8 {
        1..=4 => Level::TRACE,
        5..=8 => Level::DEBUG,
        9..=12 => Level::INFO,
        13..=16 => Level::WARN,
        _ => Level::ERROR,
    }
}

fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}
