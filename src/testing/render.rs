//! [`TraceDrawing`]: a trace that was received, as text.

use std::fmt;

use super::log::ReceivedLog;
use super::received::{ReceivedEvent, ReceivedKind, ReceivedStatusCode};
use super::trace::{Node, Trace};
use super::value::ReceivedValue;
use crate::drawing::{Attribute, Drawing, DrawnEvent, DrawnSpan, DrawnStatus, Layout, Mark};

/// A [`Trace`] as text, from [`Trace::drawing`].
///
/// ```no_run
/// # let trace: tracing_otlp::testing::Trace = unimplemented!();
/// println!("{}", trace.drawing().with_columns(80).with_color(true));
/// ```
#[derive(Debug, Clone)]
#[must_use = "a drawing does nothing until it is printed"]
pub struct TraceDrawing<'a> {
    trace: &'a Trace,
    keys: Option<Vec<&'a str>>,
    layout: Layout,
}

impl<'a> TraceDrawing<'a> {
    pub(super) fn new(trace: &'a Trace) -> Self {
        Self {
            trace,
            keys: None,
            layout: Layout::default(),
        }
    }

    /// Shows the attributes of these keys, in this order. Default: a few that matter most.
    pub fn with_attributes(mut self, keys: impl IntoIterator<Item = &'a str>) -> Self {
        self.keys = Some(keys.into_iter().collect());
        self
    }

    /// Keeps each line within this many columns: attributes that do not fit continue on lines of
    /// their own, inside the tree. Default: no limit. Fewer than 40 count as 40.
    pub fn with_columns(mut self, columns: usize) -> Self {
        self.layout.columns = Some(columns);
        self
    }

    /// Colours the text with ANSI escape sequences, for a terminal. Default: off.
    pub fn with_color(mut self, color: bool) -> Self {
        self.layout.color = color;
        self
    }
}

impl Trace {
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
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.drawing().fmt(f)
    }
}

impl fmt::Display for TraceDrawing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.trace.nodes().iter();
        let drawing = Drawing {
            id: self.trace.id().to_bytes(),
            spans: nodes.map(|n| (n.place, drawn(n))).collect(),
            keys: self.keys.as_deref(),
            layout: &self.layout,
            is_airy: true,
        };
        drawing.fmt(f)
    }
}

fn drawn(node: &Node) -> DrawnSpan {
    let span = &node.span;
    let events = span.events.iter().map(event);
    let logs = node.logs.iter().map(log);
    let service = span.resource.attr("service.name");
    DrawnSpan {
        name: span.name.clone(),
        kind: match span.kind {
            ReceivedKind::Internal => String::new(),
            kind => kind.to_string(),
        },
        parent: span.parent_span_id.map(|id| id.to_string()),
        start: span.start_unix_nanos,
        end: span.end_unix_nanos,
        status: match span.status.code {
            ReceivedStatusCode::Error => DrawnStatus::Error(span.status.message.clone()),
            ReceivedStatusCode::Ok => DrawnStatus::Ok,
            _ => DrawnStatus::Unset,
        },
        links: span.links.len(),
        attributes: attributes(&span.attributes),
        events: events.chain(logs).collect(),
        service: service.and_then(|s| s.as_str().map(str::to_owned)),
    }
}

fn event(event: &ReceivedEvent) -> DrawnEvent {
    DrawnEvent {
        mark: Mark::Event,
        name: event.name.clone(),
        at: event.unix_nanos,
        attributes: attributes(&event.attributes),
    }
}

fn log(log: &ReceivedLog) -> DrawnEvent {
    DrawnEvent {
        mark: Mark::Log {
            severity: log.severity_text.clone(),
        },
        name: log.message().to_owned(),
        at: log.unix_nanos,
        attributes: attributes(&log.attributes),
    }
}

fn attributes(list: &[(String, ReceivedValue)]) -> Vec<Attribute> {
    let attribute = |(key, value): &(String, ReceivedValue)| Attribute {
        key: key.clone(),
        value: match value.as_str() {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        },
        is_text: value.as_str().is_some(),
    };
    list.iter().map(attribute).collect()
}

#[cfg(test)]
mod tests;
