//! [`ManualLogs`]: log records of the OpenTelemetry API, which are no events of `tracing`.

use tracing_core::Level;

use super::LogSink;
use crate::clock::{self, Anchor};
use crate::context::TraceContext;
use crate::layer::OtlpLayer;
use crate::layer::recorder::Recorder;
use crate::processor::ScopeId;
use crate::suppress::is_suppressed;
use crate::sync::Arc;
use crate::wire::log_record;
use crate::wire::request::ScopeFields;

/// Takes encoded log records into a pipeline.
#[derive(Clone)]
pub(crate) struct ManualLogs(Arc<Recorder>);

/// A log record of the OpenTelemetry API.
pub(crate) struct NewRecord<'a> {
    /// Of the logger.
    pub(crate) scope: ScopeId,
    /// Instead of the scope's name.
    pub(crate) target: Option<&'a str>,
    pub(crate) level: Level,
    /// Unix nanoseconds; zero: unknown, and for the observed time now.
    pub(crate) time: u64,
    pub(crate) observed: u64,
    /// Not valid: no trace.
    pub(crate) context: &'a TraceContext,
    /// Whether the trace is sampled; `None`: nobody said.
    pub(crate) is_sampled: Option<bool>,
    /// Encoded fields other than times, context and attributes.
    pub(crate) fields: &'a [u8],
    /// Encoded attributes, each key once.
    pub(crate) attributes: &'a [Vec<u8>],
}

impl OtlpLayer {
    /// A handle for records without an event of `tracing`.
    pub(crate) fn free_logs(&self) -> ManualLogs {
        ManualLogs(Arc::clone(&self.recorder))
    }
}

impl ManualLogs {
    /// An instrumentation scope for records; the common one where there are too many.
    pub(crate) fn register_scope(&self, scope: ScopeFields<'_>) -> ScopeId {
        let sink = self.0.here().logs.as_ref();
        sink.map_or_else(ScopeId::default, |sink| sink.register_scope(scope))
    }

    /// The length limit of strings and byte arrays in attributes.
    pub(crate) fn length_limit(&self) -> usize {
        let sink = self.0.here().logs.as_ref();
        sink.map_or(usize::MAX, |sink| sink.value_limit.length)
    }

    /// Whether entering a span changes the OpenTelemetry context.
    pub(crate) fn follows_context(&self) -> bool {
        self.0.settings.observer.is_some()
    }

    /// Whether a record of this target and level would be taken.
    pub(crate) fn admits(&self, target: &str, level: Level) -> bool {
        let recorder = self.0.here();
        recorder.logs.is_some() && !is_suppressed() && recorder.config.admits_log(target, level)
    }

    /// Hands a record to the pipeline, if its filter and the choices for the trace's sampling admit it.
    pub(crate) fn emit(&self, new: &NewRecord<'_>) {
        let recorder = self.0.here();
        let Some(sink) = &recorder.logs else {
            return;
        };
        let is_sampled = new.is_sampled.filter(|_| new.context.is_valid());
        if is_sampled.is_some_and(|is_sampled| !sink.takes(new.level, is_sampled)) {
            return;
        }
        sink.emitted.count();
        if sink.processor.refuses_logs() {
            return;
        }
        sink.push_manual(new);
    }
}

impl LogSink {
    fn register_scope(&self, scope: ScopeFields<'_>) -> ScopeId {
        let registered = match self.processor.is_forked() {
            true => None,
            false => self.processor.try_register_scope(scope.encode()),
        };
        registered.unwrap_or(self.common)
    }

    fn push_manual(&self, new: &NewRecord<'_>) {
        let mut out = Vec::with_capacity(128 + new.fields.len());
        let observed = match new.observed {
            0 => Anchor::current().unix_nanos(clock::now()),
            observed => observed,
        };
        log_record::put_time_and_observed(&mut out, new.time, observed);
        if let Some((trace_id, span_id, flags)) = new.context.ids() {
            log_record::put_context(&mut out, trace_id, span_id, flags);
        }
        out.extend_from_slice(new.fields);
        let kept = usize::try_from(self.attributes).unwrap_or(usize::MAX);
        let attributes = new.attributes.iter().take(kept);
        attributes.for_each(|attribute| out.extend_from_slice(attribute));
        let dropped = new.attributes.len().saturating_sub(kept);
        let dropped = u32::try_from(dropped).unwrap_or(u32::MAX);
        log_record::put_dropped(&mut out, dropped);
        let scope = match new.target {
            Some(target) => self.scope_of_target(target).0,
            None => new.scope,
        };
        self.push(scope, &out, dropped, 0);
    }
}
