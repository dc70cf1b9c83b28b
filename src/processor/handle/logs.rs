//! The part of the handle for log records.

use super::BatchProcessor;
#[cfg(feature = "metrics")]
use crate::processor::component::Components;
use crate::processor::queue::Queue;
use crate::processor::record::TelemetryData;
use crate::stats::{Counters, DropReason};
use crate::sync::Arc;

impl BatchProcessor {
    /// [`push`](Self::push) for a log record: an encoded `opentelemetry.proto.logs.v1.LogRecord`.
    #[inline]
    pub(crate) fn push_log(&self, data: TelemetryData<'_>) {
        if self.shared.home.is_left() {
            return self.push_log_in_a_fork();
        }
        let has_additional = !self.additional.is_empty();
        match &self.shared.logs {
            // The record was encoded for the others.
            Some(logs) if has_additional && logs.refuses_one() => {}
            Some(logs) => logs.push(data),
            None => {}
        }
        if has_additional {
            self.push_log_to_additional(data);
        }
    }

    #[cold]
    fn push_log_in_a_fork(&self) {
        if let Some(forked) = self.shared.forked() {
            forked.push_log();
        }
    }

    /// True if the endpoint does not take log records: the caller encodes none, and one is counted as
    /// dropped.
    #[inline]
    pub(crate) fn refuses_logs(&self) -> bool {
        let logs = self.shared.logs.as_ref();
        logs.is_some_and(|logs| logs.is_unsupported()) && self.count_refused_log()
    }

    /// Whether no additional exporter takes log records either.
    fn additional_refuse_logs(&self) -> bool {
        let takes = |logs: &Arc<Queue>| !logs.is_unsupported();
        let mut queues = self.additional.iter().map(|a| &a.processor.shared.logs);
        !queues.any(|logs| logs.as_ref().is_some_and(takes))
    }

    #[cold]
    fn count_refused_log(&self) -> bool {
        let is_refused = !self.shared.home.is_left() && self.additional_refuse_logs();
        if is_refused {
            let additional = self.additional.iter().map(|a| &a.processor.shared);
            for shared in additional.chain([&self.shared]) {
                if let Some(logs) = &shared.logs {
                    logs.counters.drop_spans(DropReason::Unsupported, 1);
                }
            }
        }
        is_refused
    }

    /// The counters of logs, if the pipeline has logs.
    pub(crate) fn log_counters(&self) -> Option<&Arc<Counters>> {
        match self.shared.home.is_left() {
            true => Some(self.shared.forked.of(&self.shared.home).log_counters()),
            false => self.shared.logs.as_ref().map(|logs| &logs.counters),
        }
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn log_components(&self) -> Option<&Components> {
        self.shared.log_components.as_ref()
    }
}
