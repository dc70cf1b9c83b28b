//! [`Showing`]: passes open spans to the exporter, about once a second.

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::Worker;
use crate::export::Batch;
use crate::processor::ScopeId;
use crate::signal::Signal;
use crate::wire::request::{ScopeGroup, item_field};

/// Returns the open spans to show: the scope of each, and the encoded span.
pub(crate) type OpenSpanSource = Box<dyn FnMut() -> Vec<(ScopeId, Bytes)> + Send>;

pub(super) struct Showing {
    source: OpenSpanSource,
    /// The last call of `show_open`, until it ends.
    under_way: Option<JoinHandle<()>>,
}

impl Showing {
    pub(super) fn new(source: OpenSpanSource) -> Self {
        Self {
            source,
            under_way: None,
        }
    }
}

impl Worker {
    /// Passes the open spans to the exporter, unless its last call still runs. A panic of the exporter ends
    /// only that task.
    pub(super) fn show_open(&mut self) {
        let Some(showing) = &mut self.open_spans else {
            return;
        };
        if showing.under_way.as_ref().is_some_and(|t| !t.is_finished()) {
            return;
        }
        let spans = (showing.source)();
        if spans.is_empty() {
            return;
        }
        let count = spans.len();
        let mut groups: Vec<(ScopeId, ScopeGroup)> = Vec::new();
        for (scope, span) in spans {
            let span = item_field(&span);
            match groups.iter_mut().rfind(|(id, _)| *id == scope) {
                Some((_, group)) => group.items.push(span),
                None => groups.push((
                    scope,
                    ScopeGroup {
                        scope: self.shared.scopes.encoded(scope),
                        items: vec![span],
                    },
                )),
            }
        }
        let groups = groups.into_iter().map(|(_, group)| group).collect();
        let batch = Batch::new(Signal::Traces, self.resource.clone(), groups, count);
        let lane = self.lanes.iter().find(|l| l.signal() == Signal::Traces);
        let Some(exporter) = lane.map(|lane| lane.exporter.clone()) else {
            return;
        };
        let show = async move { exporter.show_open(batch).await };
        showing.under_way = Some(self.runtime.spawn(show));
    }
}
