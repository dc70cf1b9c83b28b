//! A trace as text: tree, times, bars and what matters most about each span.

mod layout;

use std::fmt;

use self::layout::{Layout, Line};
use super::log::ReceivedLog;
use super::received::{ReceivedKind, ReceivedSpan, ReceivedStatusCode};
use super::trace::{Node, Origin, Trace};
use super::value::ReceivedValue;
use crate::human;

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

impl fmt::Display for TraceDrawing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = Window::of(self.trace);
        writeln!(f, "{}\n", title(self.trace, &window))?;
        let lines = lines(self.trace, &window, self.keys.as_deref());
        self.layout.write(f, &lines)
    }
}

/// From the first start to the last end.
struct Window {
    start: u64,
    end: u64,
}

impl Window {
    fn of(trace: &Trace) -> Self {
        let start = trace.spans().map(|s| s.start_unix_nanos).min();
        let end = trace.spans().map(|s| s.end_unix_nanos).max();
        let start = start.unwrap_or(0);
        Self {
            start,
            end: end.unwrap_or(0).max(start),
        }
    }

    /// Which part of the window `span` took.
    fn part(&self, span: &ReceivedSpan) -> (f64, f64) {
        (
            self.share(span.start_unix_nanos),
            self.share(span.end_unix_nanos),
        )
    }

    /// How much of the window has passed at this time: 0 to 1.
    fn share(&self, at: u64) -> f64 {
        let length = (self.end - self.start).max(1);
        let passed = at.clamp(self.start, self.end) - self.start;
        passed as f64 / length as f64
    }
}

fn title(trace: &Trace, window: &Window) -> String {
    let mut parts = vec![format!("trace {}", human::hex(&trace.id()))];
    let mut services: Vec<&str> = Vec::new();
    for span in trace.spans() {
        if let Some(name) = span.resource.attr("service.name")
            && let Some(name) = name.as_str()
            && !services.contains(&name)
        {
            services.push(name);
        }
    }
    if !services.is_empty() {
        parts.push(human::line(&services.join(", "), 60, false));
    }
    let n = trace.len();
    parts.push(format!("{n} {}", if n == 1 { "span" } else { "spans" }));
    let errors = trace.spans().filter(|s| s.status.is_error()).count();
    if errors > 0 {
        parts.push(format!(
            "{errors} {}",
            if errors == 1 { "error" } else { "errors" }
        ));
    }
    parts.push(human::duration(window.end - window.start));
    parts.join(" · ")
}

fn lines(trace: &Trace, window: &Window, keys: Option<&[&str]>) -> Vec<Line> {
    let nodes = trace.nodes();
    let mut lines = Vec::new();
    // For each depth, what stands before the names of those below.
    let mut margins: Vec<String> = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        margins.truncate(node.depth);
        let above = margins.last().map_or("", String::as_str);
        let (branch, below) = match (node.depth, node.last) {
            (0, _) => ("", ""),
            (_, true) => ("└─ ", "   "),
            (_, false) => ("├─ ", "│  "),
        };
        let deep = node.depth > MOST_DEPTH;
        let (branch, margin) = if deep {
            ("… ", above.to_owned())
        } else {
            (branch, format!("{above}{below}"))
        };
        let span = &node.span;
        // The stem that leads to the first child passes by the events.
        let has_child = nodes.get(i + 1).is_some_and(|n| n.parent == Some(i));
        let stem = if has_child && !deep { "│  " } else { "   " };
        lines.push(Line {
            before: format!("{above}{branch}"),
            name: human::line(&span.name, MOST_NAME, false),
            below: format!("{margin}{stem}"),
            kind: match span.kind {
                // Most spans are internal, and need not say so.
                ReceivedKind::Internal => String::new(),
                kind => kind.to_string(),
            },
            time: human::duration(span.duration().as_nanos() as u64),
            part: window.part(span),
            is_event: false,
            error: error(span),
            rest: rest(node, keys),
        });
        for event in &span.events {
            let margin = format!("{margin}{stem}");
            let moment = Moment {
                mark: "•",
                name: &event.name,
                unix_nanos: event.unix_nanos,
                rest: attributes(&event.name, &event.attributes, keys),
            };
            lines.push(event_line(moment, span, &margin, window));
        }
        for log in &node.logs {
            let margin = format!("{margin}{stem}");
            lines.push(event_line(log_of(log, keys), span, &margin, window));
        }
        margins.push(margin);
    }
    lines
}

/// An event of a span, or a log record.
struct Moment<'a> {
    mark: &'static str,
    name: &'a str,
    unix_nanos: u64,
    rest: Vec<String>,
}

fn log_of<'a>(log: &'a ReceivedLog, keys: Option<&[&str]>) -> Moment<'a> {
    let mut rest = vec![human::line(&log.severity_text, MOST_VALUE, false)];
    rest.retain(|severity| !severity.is_empty());
    rest.extend(attributes(log.message(), &log.attributes, keys));
    Moment {
        mark: "▪",
        name: log.message(),
        unix_nanos: log.unix_nanos,
        rest,
    }
}

fn event_line(event: Moment<'_>, span: &ReceivedSpan, margin: &str, window: &Window) -> Line {
    let at = window.share(event.unix_nanos);
    let time = match event.unix_nanos.checked_sub(span.start_unix_nanos) {
        Some(after) => format!("+{}", human::duration(after)),
        None => format!(
            "-{}",
            human::duration(span.start_unix_nanos - event.unix_nanos)
        ),
    };
    Line {
        before: format!("{margin}{} ", event.mark),
        name: human::line(event.name, MOST_NAME, false),
        below: format!("{margin}  "),
        kind: String::new(),
        time,
        part: (at, at),
        is_event: true,
        error: None,
        rest: event.rest,
    }
}

/// What a failed span says of its failure.
fn error(span: &ReceivedSpan) -> Option<String> {
    (span.status.code == ReceivedStatusCode::Error).then(|| {
        let message = human::line(&span.status.message, MOST_VALUE * 2, false);
        format!("ERROR {message}").trim_end().to_owned()
    })
}

/// What else a span says beside its times.
fn rest(node: &Node, keys: Option<&[&str]>) -> Vec<String> {
    let span = &node.span;
    let mut parts = Vec::new();
    if span.status.code == ReceivedStatusCode::Ok {
        parts.push("OK".to_owned());
    }
    match (node.origin, span.parent_span_id_hex()) {
        (Origin::Orphan, Some(parent)) => parts.push(format!("(parent {parent} not received)")),
        (Origin::Circle, Some(parent)) => parts.push(format!("(parent {parent} in a circle)")),
        _ => {}
    }
    match span.links.len() {
        0 => {}
        1 => parts.push("1 link".to_owned()),
        n => parts.push(format!("{n} links")),
    }
    parts.extend(attributes(&span.name, &span.attributes, keys));
    parts
}

/// The chosen attributes, or a few that are not noise and not in the name already.
fn attributes(
    name: &str,
    attributes: &[(String, ReceivedValue)],
    keys: Option<&[&str]>,
) -> Vec<String> {
    let pair = |(key, value): &(String, ReceivedValue)| {
        let value = human::line(&value.to_string(), MOST_VALUE, true);
        format!("{}={value}", human::line(key, MOST_VALUE, true))
    };
    if let Some(keys) = keys {
        let chosen = keys.iter().flat_map(|key| {
            let found = attributes.iter();
            found.filter(move |(k, _)| k == key)
        });
        return chosen.map(pair).collect();
    }
    let said = |value: &ReceivedValue| value.as_str().is_some_and(|v| name.contains(v));
    let telling = attributes.iter().filter(|(k, v)| !is_noise(k) && !said(v));
    let telling: Vec<_> = telling.collect();
    let mut parts: Vec<_> = telling
        .iter()
        .take(MOST_ATTRIBUTES)
        .map(|a| pair(a))
        .collect();
    if telling.len() > MOST_ATTRIBUTES {
        parts.push(format!("+{} more", telling.len() - MOST_ATTRIBUTES));
    }
    parts
}

/// Where the code stands and what is the same on every span tells nothing in a drawing.
fn is_noise(key: &str) -> bool {
    const KEYS: [&str; 8] = [
        "target",
        "level",
        "busy_ns",
        "idle_ns",
        "url.scheme",
        "user_agent.original",
        "exception.stacktrace",
        "http.request.method_original",
    ];
    const PREFIXES: [&str; 6] = [
        "code.",
        "thread.",
        "network.",
        "client.",
        "server.",
        "telemetry.",
    ];
    KEYS.contains(&key) || PREFIXES.iter().any(|p| key.starts_with(p))
}

/// Levels that are indented; those below stand in one column.
const MOST_DEPTH: usize = 16;

const MOST_NAME: usize = 48;
const MOST_VALUE: usize = 40;
const MOST_ATTRIBUTES: usize = 4;

#[cfg(test)]
mod tests;
