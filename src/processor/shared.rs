//! [`Shared`]: what the handles of a processor and its worker have in common.

use super::after_fork::{Forked, ForkedCell};
use super::component::Components;
use super::flush::{FlushError, RequestQueue};
use super::queue::Queue;
use super::scopes::Scopes;
use super::watch::Watch;
use crate::diagnostics::EventSink;
use crate::fork::Home;
use crate::pool::Memory;
use crate::stats::DropReason;
use crate::sync::Arc;

/// The part of a processor that its handles and its worker share.
pub(crate) struct Shared {
    pub(crate) spans: Arc<Queue>,
    /// `None`: the pipeline has no logs.
    pub(crate) logs: Option<Arc<Queue>>,
    pub(crate) requests: RequestQueue,
    /// Of the requests that tasks wait for.
    pub(super) watch: Watch,
    /// Of spans and of logs: `ScopeSpans` and `ScopeLogs` have the same layout.
    pub(crate) scopes: Arc<Scopes>,
    pub(crate) event_sink: Arc<EventSink>,
    pub(super) components: Components,
    pub(super) log_components: Option<Components>,
    pub(super) memory: Arc<Memory>,
    pub(super) home: Home,
    pub(super) forked: ForkedCell,
}

impl Shared {
    /// In a fork of the worker's process: the counters and answers of the fork.
    pub(super) fn forked(&self) -> Option<&Forked> {
        let is_forked = self.home.is_surely_left();
        is_forked.then(|| self.forked.of(&self.home))
    }

    /// Refuses further spans and records, and counts those that the worker has not drained as lost.
    pub(crate) fn close_queue(&self, reason: DropReason) {
        self.spans.close(reason);
        if let Some(logs) = &self.logs {
            logs.close(reason);
        }
    }
}

/// Closes queues and requests when the worker's thread ends, also by a panic: waiting callers get an error, and
/// later spans are counted as dropped.
pub(super) struct CloseOnExit(pub(super) Arc<Shared>);

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        self.0.close_queue(DropReason::Internal);
        self.0
            .requests
            .close(Err(FlushError::Worker("the worker has ended")));
    }
}
