//! Exceptions that this crate records itself become span events, log records, or both (LOG-38 to LOG-40).

use tracing_core::Level;

use super::{ContextIds, LogSink};
use crate::clock::{self, Anchor};
use crate::config::Events;
use crate::context::layer_registry::{Exception, ExceptionSeverity};
use crate::layer::attributes::AttributeWriter;
use crate::layer::edit::{SpanEditor, put_all};
use crate::layer::recorder::Recorder;
use crate::layer::scratch::Scratch;
use crate::semconv;
use crate::wire::log_record::{self, LOG_ATTRIBUTE};

impl ExceptionSeverity {
    /// The level for filters, the number and its text.
    fn parts(self) -> (Level, u8, &'static str) {
        match self {
            Self::Warn => (Level::WARN, 13, "WARN"),
            Self::Error => (Level::ERROR, 17, "ERROR"),
            Self::Fatal => (Level::ERROR, 21, "FATAL"),
        }
    }
}

impl SpanEditor<'_> {
    pub(in crate::layer) fn add_exception(self, span: u64, exception: &Exception<'_>) {
        let logs = self.recorder.logs.as_ref();
        if logs.is_none_or(|logs| logs.exceptions != Events::AsLogs) {
            let put = |row: &mut AttributeWriter<'_>| put_all(row, exception.attributes);
            self.add_event(span, semconv::EXCEPTION_EVENT, None, put);
        }
        let context = self.context(span);
        let ids = context.and_then(|context| context.ids());
        self.recorder.log_exception(exception, ids);
    }
}

impl Recorder {
    /// Writes the record of an exception, where exceptions are records.
    pub(in crate::layer) fn log_exception(
        &self,
        exception: &Exception<'_>,
        ids: Option<ContextIds>,
    ) {
        let Some(sink) = self.logs.as_ref() else {
            return;
        };
        let (level, number, severity) = exception.severity.parts();
        let is_wanted = sink.exceptions != Events::AsSpanEvents
            && self.config.admits_log(exception.target, level)
            && ids.is_none_or(|(_, _, flags)| sink.takes(level, flags & 1 == 1));
        if !is_wanted {
            return;
        }
        sink.emitted.count();
        if sink.processor.refuses_logs() {
            return;
        }
        let mut scratch = Scratch::take(&self.memory);
        let out = scratch.buffer();
        log_record::put_times(out, Anchor::current().unix_nanos(clock::now()));
        log_record::put_severity(out, number, severity);
        log_record::put_event_name(out, exception.name);
        if let Some((trace_id, span_id, flags)) = ids {
            log_record::put_context(out, trace_id, span_id, flags);
        }
        let (out, room) = scratch.parts();
        log_record::put_body_str(out, room, exception.message);
        let (out, room) = scratch.parts();
        let limits = (&sink.value_limit, sink.attributes);
        let mut row = AttributeWriter::new((out, room), LOG_ATTRIBUTE, limits.0, limits.1);
        put_all(&mut row, exception.attributes);
        let dropped = row.dropped;
        log_record::put_dropped(scratch.buffer(), dropped);
        let scope = LogSink::scope_of_target(sink, exception.target).0;
        sink.push(scope, scratch.bytes(), dropped, scratch.left_out());
    }
}
