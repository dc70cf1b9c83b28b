//! A trace as text: tree, times, bars and what matters most about each span.

use std::fmt;

use super::received::{ReceivedEvent, ReceivedKind, ReceivedSpan, ReceivedStatusCode};
use super::trace::{Node, Origin, Trace};
use super::value::ReceivedValue;
use crate::human;

/// A [`Trace`] to be drawn with chosen attributes.
pub(super) struct TraceText<'a> {
    pub(super) trace: &'a Trace,
    pub(super) keys: Option<Vec<&'a str>>,
}

impl fmt::Display for TraceText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.trace, self.keys.as_deref())
    }
}

/// One line of the drawing, in columns.
struct Line {
    name: String,
    kind: String,
    time: String,
    bar: String,
    rest: String,
}

pub(super) fn write(
    f: &mut fmt::Formatter<'_>,
    trace: &Trace,
    keys: Option<&[&str]>,
) -> fmt::Result {
    let window = Window::of(trace);
    writeln!(f, "{}\n", title(trace, &window))?;
    let lines = lines(trace, &window, keys);
    let width = |column: fn(&Line) -> &str| {
        let widths = lines.iter().map(|l| column(l).chars().count());
        widths.max().unwrap_or(0)
    };
    let name = width(|l| &l.name);
    let kind = width(|l| &l.kind);
    let time = width(|l| &l.time);
    for line in &lines {
        let mut text = format!("{:name$}", line.name);
        if kind > 0 {
            text += &format!("  {:kind$}", line.kind);
        }
        text += &format!("  {:>time$}", line.time);
        text += &format!("  {}  {}", line.bar, line.rest);
        writeln!(f, "{}", text.trim_end())?;
    }
    Ok(())
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

    /// Where in the window `span` took place; every span shows.
    fn bar(&self, span: &ReceivedSpan) -> String {
        let from = (self.half_cells(span.start_unix_nanos) / 2).min(BAR - 1);
        let to = self.half_cells(span.end_unix_nanos).div_ceil(2);
        self.row(from, to.clamp(from + 1, BAR), "█")
    }

    /// When in the window something happened.
    fn mark(&self, at: u64) -> String {
        let at = (self.half_cells(at) / 2).min(BAR - 1);
        self.row(at, at + 1, "•")
    }

    fn row(&self, from: usize, to: usize, fill: &str) -> String {
        let (before, after) = (" ".repeat(from), " ".repeat(BAR - to));
        format!("▕{before}{}{after}▏", fill.repeat(to - from))
    }

    /// From the window's start to `at`.
    fn half_cells(&self, at: u64) -> usize {
        let length = u128::from((self.end - self.start).max(1));
        let from_start = u128::from(at.clamp(self.start, self.end) - self.start);
        (from_start * 2 * BAR as u128 / length) as usize
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
        let name = human::line(&span.name, MOST_NAME, false);
        lines.push(Line {
            name: format!("{above}{branch}{name}"),
            kind: match span.kind {
                // Most spans are internal, and need not say so.
                ReceivedKind::Internal => String::new(),
                kind => kind.to_string(),
            },
            time: human::duration(span.duration().as_nanos() as u64),
            bar: window.bar(span),
            rest: rest(node, keys),
        });
        // The stem that leads to the first child passes by the events.
        let has_child = nodes.get(i + 1).is_some_and(|n| n.parent == Some(i));
        let stem = if has_child && !deep { "│  " } else { "   " };
        for event in &span.events {
            let margin = format!("{margin}{stem}");
            lines.push(event_line(event, span, &margin, window, keys));
        }
        margins.push(margin);
    }
    lines
}

fn event_line(
    event: &ReceivedEvent,
    span: &ReceivedSpan,
    margin: &str,
    window: &Window,
    keys: Option<&[&str]>,
) -> Line {
    let name = human::line(&event.name, MOST_NAME, false);
    let time = match event.unix_nanos.checked_sub(span.start_unix_nanos) {
        Some(after) => format!("+{}", human::duration(after)),
        None => format!(
            "-{}",
            human::duration(span.start_unix_nanos - event.unix_nanos)
        ),
    };
    Line {
        name: format!("{margin}• {name}"),
        kind: String::new(),
        time,
        bar: window.mark(event.unix_nanos),
        rest: attributes(&event.name, &event.attributes, keys),
    }
}

/// What is to be said of a span beside its times: trouble first.
fn rest(node: &Node, keys: Option<&[&str]>) -> String {
    let span = &node.span;
    let mut parts = Vec::new();
    match span.status.code {
        ReceivedStatusCode::Error => {
            let message = human::line(&span.status.message, MOST_VALUE * 2, false);
            parts.push(format!("ERROR {message}").trim_end().to_owned());
        }
        ReceivedStatusCode::Ok => parts.push("OK".to_owned()),
        _ => {}
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
    let attributes = attributes(&span.name, &span.attributes, keys);
    if !attributes.is_empty() {
        parts.push(attributes);
    }
    parts.join("  ")
}

/// The chosen attributes, or a few that are not noise and not in the name already.
fn attributes(name: &str, attributes: &[(String, ReceivedValue)], keys: Option<&[&str]>) -> String {
    let pair = |(key, value): &(String, ReceivedValue)| {
        let value = human::line(&value.to_string(), MOST_VALUE, true);
        format!("{}={value}", human::line(key, MOST_VALUE, true))
    };
    if let Some(keys) = keys {
        let chosen = keys.iter().flat_map(|key| {
            let found = attributes.iter();
            found.filter(move |(k, _)| k == key)
        });
        return human::join(chosen.map(pair), "  ");
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
    parts.join("  ")
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

/// Cells of a bar.
const BAR: usize = 20;

/// Levels that are indented; those below stand in one column.
const MOST_DEPTH: usize = 16;

const MOST_NAME: usize = 48;
const MOST_VALUE: usize = 40;
const MOST_ATTRIBUTES: usize = 4;

#[cfg(test)]
mod tests;
