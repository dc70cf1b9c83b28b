//! [`Trace`]: the spans of one trace as a tree.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::log::ReceivedLog;
use super::received::ReceivedSpan;
use super::render::TraceDrawing;

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
    id: [u8; 16],
    /// In the order of the drawing: each parent before its children, these by start time.
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) span: ReceivedSpan,
    /// The place of the parent in the list; always smaller than the node's own.
    pub(super) parent: Option<usize>,
    pub(super) depth: usize,
    /// Whether no sister follows.
    pub(super) last: bool,
    pub(super) origin: Origin,
    /// What was logged in it, by time.
    pub(super) logs: Vec<ReceivedLog>,
}

/// Why a node stands where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It has no parent, or is drawn under it.
    Plain,
    /// Its parent is not among the spans.
    Orphan,
    /// Its parents go in a circle, which is cut here.
    Circle,
}

impl Trace {
    /// Sorts spans into traces, in order of their first start. A span that came twice stands twice.
    pub fn all(spans: &[ReceivedSpan]) -> Vec<Self> {
        let mut traces: BTreeMap<[u8; 16], Vec<&ReceivedSpan>> = BTreeMap::new();
        for span in spans {
            traces.entry(span.trace_id).or_default().push(span);
        }
        let mut traces: Vec<_> = traces
            .into_iter()
            .map(|(id, spans)| Self {
                id,
                nodes: arrange(spans),
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
                let name = log.message();
                let mut events = node.span.events.iter();
                events.any(|e| e.unix_nanos == log.unix_nanos && e.name == name)
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
    pub fn id(&self) -> [u8; 16] {
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
        let roots = self.nodes.iter().filter(|n| n.parent.is_none());
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
            .filter(|n| parent.is_some() && n.parent == parent)
            .map(|n| &n.span)
            .collect()
    }

    /// The trace as text, to be printed with settings of its own: attributes, columns, colours.
    pub fn drawing(&self) -> TraceDrawing<'_> {
        TraceDrawing::new(self)
    }

    /// The drawing with the choice of attributes: those of `keys`, in that order. Without it a few
    /// that matter most are shown.
    ///
    /// ```no_run
    /// # let trace: tracing_otlp::testing::Trace = unimplemented!();
    /// println!("{}", trace.with_attributes(["http.route", "user.id"]));
    /// ```
    pub fn with_attributes<'a>(
        &'a self,
        keys: impl IntoIterator<Item = &'a str>,
    ) -> TraceDrawing<'a> {
        self.drawing().with_attributes(keys)
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    fn start(&self) -> u64 {
        let starts = self.spans().map(|s| s.start_unix_nanos);
        starts.min().unwrap_or(0)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.drawing().fmt(f)
    }
}

/// Puts spans in the order of the drawing. Without recursion: a trace may be deeper than a stack.
fn arrange(mut spans: Vec<&ReceivedSpan>) -> Vec<Node> {
    spans.sort_by_key(|s| s.start_unix_nanos);
    let mut by_id = HashMap::new();
    for (i, span) in spans.iter().enumerate() {
        by_id.entry(span.span_id).or_insert(i);
    }
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    let mut roots = Vec::new();
    for (i, span) in spans.iter().enumerate() {
        match span.parent_span_id {
            None => roots.push((i, Origin::Plain)),
            Some(parent) => match by_id.get(&parent) {
                Some(&parent) => children[parent].push(i),
                None => roots.push((i, Origin::Orphan)),
            },
        }
    }

    let mut nodes: Vec<Node> = Vec::with_capacity(spans.len());
    let mut seen = vec![false; spans.len()];
    let mut grow = |root: usize, origin, seen: &mut Vec<bool>| {
        let mut stack = vec![(root, None::<usize>, true, origin)];
        while let Some((i, parent, last, origin)) = stack.pop() {
            if std::mem::replace(&mut seen[i], true) {
                continue;
            }
            let at = nodes.len();
            let depth = parent.map_or(0, |p| nodes[p].depth + 1);
            let span = spans[i].clone();
            nodes.push(Node {
                span,
                parent,
                depth,
                last,
                origin,
                logs: Vec::new(),
            });
            // The child that closes a circle was drawn already, and must not count as the last.
            let open: Vec<_> = children[i].iter().filter(|&&c| !seen[c]).collect();
            let count = open.len();
            for (n, &&child) in open.iter().enumerate().rev() {
                stack.push((child, Some(at), n + 1 == count, Origin::Plain));
            }
        }
    };
    for (root, origin) in roots {
        grow(root, origin, &mut seen);
    }
    // What no root reaches hangs on a circle: cut it at a member, not at what hangs below it.
    for start in 0..spans.len() {
        if !seen[start] {
            let on_circle = circle_above(start, &spans, &by_id);
            grow(on_circle, Origin::Circle, &mut seen);
        }
    }
    nodes
}

/// The earliest span of the circle that the parents of `start` end in.
fn circle_above(start: usize, spans: &[&ReceivedSpan], by_id: &HashMap<[u8; 8], usize>) -> usize {
    let parent = |i: usize| {
        let id = spans[i].parent_span_id?;
        by_id.get(&id).copied()
    };
    // After as many steps as there are spans, the walk is within the circle.
    let mut at = start;
    for _ in 0..spans.len() {
        at = parent(at).unwrap_or(at);
    }
    let (mut earliest, mut next) = (at, parent(at).unwrap_or(at));
    while next != at {
        earliest = earliest.min(next);
        next = parent(next).unwrap_or(at);
    }
    earliest
}
