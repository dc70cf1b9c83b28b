//! [`Trace`]: the spans of one trace as a tree.

use std::collections::BTreeMap;

use super::log::ReceivedLog;
use super::received::ReceivedSpan;
use crate::context::{SpanId, TraceId};
use crate::drawing::{Key, RecordName, TreePlace, arrange};

/// The spans of one trace as a tree. Its `Display` draws it:
///
/// ```text
/// trace 0af7651916cd43dd8448eb211c80319c · shop · 4 spans · 1 error · 152 ms
///
/// POST /checkout      server    152 ms  ▕████████████████████▏  http.response.status_code=500
/// ├─ load cart                 13.0 ms  ▕██                  ▏
/// │  │  • cache miss          +2.00 ms  ▕•                   ▏  key=cart:7
/// │  └─ SELECT cart   client   8.00 ms  ▕██                  ▏
/// └─ charge card      client    130 ms  ▕  ██████████████████▏  ERROR card declined
///       • exception            +129 ms  ▕                   •▏  exception.message="card declined"
/// ```
///
/// Any set of spans makes a tree: a span whose parent did not arrive, or whose parents go in a
/// circle, is a root and marked as such.
#[derive(Debug, Clone)]
pub struct Trace {
    id: TraceId,
    /// In the order of the drawing: each parent before its children, these by start time.
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) span: ReceivedSpan,
    pub(super) place: TreePlace,
    /// What was logged in it, by time.
    pub(super) logs: Vec<ReceivedLog>,
}

impl Trace {
    /// Sorts spans into traces, in order of their first start. A span that came twice stands twice.
    pub fn all(spans: &[ReceivedSpan]) -> Vec<Self> {
        let mut traces: BTreeMap<TraceId, Vec<&ReceivedSpan>> = BTreeMap::new();
        for span in spans {
            traces.entry(span.trace_id).or_default().push(span);
        }
        let mut traces: Vec<_> = traces
            .into_iter()
            .map(|(id, spans)| Self {
                id,
                nodes: nodes(&spans),
            })
            .collect();
        traces.sort_by_key(Self::start);
        traces
    }

    /// With the log records of its trace, which are drawn under their spans; those of none of them, under
    /// the first root. One that is an event of its span too is drawn once.
    #[must_use]
    pub fn with_logs(mut self, logs: &[ReceivedLog]) -> Self {
        let of_trace = logs.iter().filter(|log| log.trace_id == Some(self.id));
        for log in of_trace {
            let at = self.nodes.iter().position(|node| log.is_of(&node.span));
            let Some(node) = self.nodes.get_mut(at.unwrap_or(0)) else {
                continue;
            };
            let is_event = |log: &ReceivedLog| {
                let body = log.body.as_ref().map(|body| match body.as_str() {
                    Some(text) => text.into(),
                    None => body.to_string().into(),
                });
                let keys = log.attributes.iter().map(|(key, _)| &key[..]);
                let name = RecordName::new(body, &log.event_name, keys);
                let mut events = node.span.events.iter();
                events.any(|e| e.unix_nanos == log.unix_nanos && name.fits(&e.name))
            };
            if !is_event(log) {
                node.logs.push(log.clone());
            }
        }
        for node in &mut self.nodes {
            node.logs.sort_by_key(|log| log.unix_nanos);
        }
        self
    }

    /// The trace id.
    pub fn id(&self) -> TraceId {
        self.id
    }

    /// How many spans it has.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has none, which no trace of [`all`](Self::all) is.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All spans, each parent before its children, these by start time.
    pub fn spans(&self) -> impl Iterator<Item = &ReceivedSpan> {
        self.nodes.iter().map(|n| &n.span)
    }

    /// The spans under which the others hang.
    pub fn roots(&self) -> impl Iterator<Item = &ReceivedSpan> {
        let roots = self.nodes.iter().filter(|n| n.place.parent.is_none());
        roots.map(|n| &n.span)
    }

    /// The one span under which all others hang.
    ///
    /// # Panics
    ///
    /// If there are several; the message draws the trace.
    #[track_caller]
    pub fn root(&self) -> &ReceivedSpan {
        let mut roots = self.roots();
        match (roots.next(), roots.next()) {
            (Some(root), None) => root,
            _ => panic!("expected one root:\n{self}"),
        }
    }

    /// The first span of that name, in the order of the drawing.
    pub fn find(&self, name: &str) -> Option<&ReceivedSpan> {
        self.spans().find(|s| s.name == name)
    }

    /// The spans directly under `span`, by start time.
    pub fn children(&self, span: &ReceivedSpan) -> Vec<&ReceivedSpan> {
        let parent = self.nodes.iter().position(|n| n.span == *span);
        let nodes = self.nodes.iter();
        nodes
            .filter(|n| parent.is_some() && n.place.parent == parent)
            .map(|n| &n.span)
            .collect()
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    fn start(&self) -> u64 {
        let starts = self.spans().map(|s| s.start_unix_nanos);
        starts.min().unwrap_or(0)
    }
}

/// Spans in the order of the drawing.
fn nodes(spans: &[&ReceivedSpan]) -> Vec<Node> {
    let key = |span: &&ReceivedSpan| Key {
        id: span.span_id.to_bytes(),
        parent: span.parent_span_id.map(SpanId::to_bytes),
        start: span.start_unix_nanos,
    };
    let keys: Vec<_> = spans.iter().map(key).collect();
    let node = |place: TreePlace| Node {
        span: spans[place.span].clone(),
        place,
        logs: Vec::new(),
    };
    arrange(&keys).into_iter().map(node).collect()
}
