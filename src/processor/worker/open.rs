//! [`Showing`]: passes open spans to the exporter, about once a second.

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::super::lane::Lane;
use super::super::scopes::Scopes;
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

    /// Passes the open spans to the exporter of `lane`, unless its last call still runs. A panic of the
    /// exporter ends only that task.
    pub(super) fn show(
        &mut self,
        lane: &Lane,
        scopes: &Scopes,
        resource: &Bytes,
        runtime: &Handle,
    ) {
        if self.under_way.as_ref().is_some_and(|t| !t.is_finished()) {
            return;
        }
        let spans = (self.source)();
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
                        scope: scopes.encoded(scope),
                        items: vec![span],
                    },
                )),
            }
        }
        let groups = groups.into_iter().map(|(_, group)| group).collect();
        let batch = Batch::new(Signal::Traces, resource.clone(), groups, count);
        let exporter = lane.exporter.clone();
        let show = async move { exporter.show_open(batch).await };
        self.under_way = Some(runtime.spawn(show));
    }
}
