//! A trace as text: tree, times, bars, and the most important attributes of each span. The console and the
//! tests each give spans of their own type.

mod layout;
#[cfg(any(feature = "testing", feature = "viewer"))]
mod same_event;
mod tree;

use std::fmt;

pub(crate) use self::layout::Layout;
use self::layout::Line;
#[cfg(any(feature = "testing", feature = "viewer"))]
pub(crate) use self::same_event::RecordName;
pub(crate) use self::tree::{Key, ParentOrigin, TreePlace, arrange};
use crate::text;

/// A span of a drawing. Its texts are foreign; the drawing escapes them.
#[derive(Debug)]
pub(crate) struct DrawnSpan {
    pub(crate) name: String,
    /// Empty for an internal span, as most are.
    pub(crate) kind: String,
    /// The parent's id in hex.
    pub(crate) parent: Option<String>,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) status: DrawnStatus,
    pub(crate) links: usize,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) events: Vec<DrawnEvent>,
    pub(crate) service: Option<String>,
}

#[derive(Debug)]
pub(crate) enum DrawnStatus {
    Unset,
    Ok,
    Error(String),
}

#[derive(Debug)]
pub(crate) struct Attribute {
    pub(crate) key: String,
    pub(crate) value: String,
    /// Whether the value is a string.
    pub(crate) is_text: bool,
}

/// An event or a log record within a span.
#[derive(Debug)]
pub(crate) struct DrawnEvent {
    pub(crate) mark: Mark,
    pub(crate) name: String,
    pub(crate) at: u64,
    pub(crate) attributes: Vec<Attribute>,
}

#[derive(Debug)]
pub(crate) enum Mark {
    Event,
    /// A log record; its severity comes before its attributes.
    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "for tests"))]
    Log {
        severity: String,
    },
}

/// One trace.
#[derive(Debug)]
pub(crate) struct Drawing<'a> {
    pub(crate) id: [u8; 16],
    /// In the order of [`arrange`].
    pub(crate) spans: Vec<(TreePlace, DrawnSpan)>,
    /// The keys of the attributes to show; `None`: a few important ones.
    pub(crate) keys: Option<&'a [&'a str]>,
    pub(crate) layout: &'a Layout,
    /// Whether an empty line follows the title.
    pub(crate) is_airy: bool,
}

impl fmt::Display for Drawing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = Window::of(&self.spans);
        let gap = if self.is_airy { "\n" } else { "" };
        writeln!(f, "{}{gap}", self.layout.join(&self.title(&window)))?;
        self.layout
            .write(f, &lines(&self.spans, &window, self.keys))
    }
}

/// From the first start to the last end.
struct Window {
    start: u64,
    end: u64,
}

impl Window {
    fn of(spans: &[(TreePlace, DrawnSpan)]) -> Self {
        let start = spans.iter().map(|(_, s)| s.start).min();
        let end = spans.iter().map(|(_, s)| s.end).max();
        let start = start.unwrap_or(0);
        Self {
            start,
            end: end.unwrap_or(0).max(start),
        }
    }

    /// The part of the window that `span` took.
    fn part(&self, span: &DrawnSpan) -> (f64, f64) {
        (self.share(span.start), self.share(span.end))
    }

    /// The part of the window that has passed at this time: 0 to 1.
    fn share(&self, at: u64) -> f64 {
        let length = (self.end - self.start).max(1);
        let passed = at.clamp(self.start, self.end) - self.start;
        passed as f64 / length as f64
    }
}

impl Drawing<'_> {
    fn title(&self, window: &Window) -> Vec<String> {
        let mut parts = vec![format!("trace {}", text::hex(&self.id))];
        let mut services: Vec<&str> = Vec::new();
        let names = self.spans.iter().filter_map(|(_, s)| s.service.as_deref());
        for name in names {
            if !services.contains(&name) {
                services.push(name);
            }
        }
        if !services.is_empty() {
            parts.push(text::line(&services.join(", "), 60, false));
        }
        let n = self.spans.len();
        parts.push(format!("{n} {}", if n == 1 { "span" } else { "spans" }));
        let is_error = |s: &&(TreePlace, DrawnSpan)| matches!(s.1.status, DrawnStatus::Error(_));
        let errors = self.spans.iter().filter(is_error).count();
        if errors > 0 {
            parts.push(format!(
                "{errors} {}",
                if errors == 1 { "error" } else { "errors" }
            ));
        }
        parts.push(text::duration(window.end - window.start));
        parts
    }
}

fn lines(nodes: &[(TreePlace, DrawnSpan)], window: &Window, keys: Option<&[&str]>) -> Vec<Line> {
    let mut lines = Vec::new();
    // For each depth, the branches before the names of the spans below.
    let mut margins: Vec<String> = Vec::new();
    for (i, (node, span)) in nodes.iter().enumerate() {
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
        // The branch to the first child passes the events.
        let has_child = nodes.get(i + 1).is_some_and(|(n, _)| n.parent == Some(i));
        let stem = if has_child && !deep { "│  " } else { "   " };
        lines.push(Line {
            before: format!("{above}{branch}"),
            name: text::line(&span.name, MOST_NAME, false),
            below: format!("{margin}{stem}"),
            kind: span.kind.clone(),
            time: text::duration(span.end.saturating_sub(span.start)),
            part: window.part(span),
            is_event: false,
            error: error(span),
            rest: rest(node.origin, span, keys),
        });
        for event in &span.events {
            let margin = format!("{margin}{stem}");
            lines.push(event_line(event, span, &margin, window, keys));
        }
        margins.push(margin);
    }
    lines
}

fn event_line(
    event: &DrawnEvent,
    span: &DrawnSpan,
    margin: &str,
    window: &Window,
    keys: Option<&[&str]>,
) -> Line {
    let at = window.share(event.at);
    let (mark, mut rest) = match &event.mark {
        Mark::Event => ("•", Vec::new()),
        Mark::Log { severity } => ("▪", vec![text::line(severity, MOST_VALUE, false)]),
    };
    rest.retain(|severity| !severity.is_empty());
    rest.extend(attributes(&event.name, &event.attributes, keys));
    let time = match event.at.checked_sub(span.start) {
        Some(after) => format!("+{}", text::duration(after)),
        None => format!("-{}", text::duration(span.start - event.at)),
    };
    Line {
        before: format!("{margin}{mark} "),
        name: text::line(&event.name, MOST_NAME, false),
        below: format!("{margin}  "),
        kind: String::new(),
        time,
        part: (at, at),
        is_event: true,
        error: None,
        rest,
    }
}

/// The message of a failed span.
fn error(span: &DrawnSpan) -> Option<String> {
    let DrawnStatus::Error(message) = &span.status else {
        return None;
    };
    let message = text::line(message, MOST_VALUE * 2, false);
    Some(format!("ERROR {message}").trim_end().to_owned())
}

/// The texts of a span beside its times.
fn rest(origin: ParentOrigin, span: &DrawnSpan, keys: Option<&[&str]>) -> Vec<String> {
    let mut parts = Vec::new();
    if matches!(span.status, DrawnStatus::Ok) {
        parts.push("OK".to_owned());
    }
    match (origin, &span.parent) {
        (ParentOrigin::Orphan, Some(parent)) => {
            parts.push(format!("(parent {parent} not received)"))
        }
        (ParentOrigin::Circle, Some(parent)) => {
            parts.push(format!("(parent {parent} in a circle)"))
        }
        _ => {}
    }
    match span.links {
        0 => {}
        1 => parts.push("1 link".to_owned()),
        n => parts.push(format!("{n} links")),
    }
    parts.extend(attributes(&span.name, &span.attributes, keys));
    parts
}

/// The chosen attributes, or a few that are not noise and not part of the name.
fn attributes(name: &str, attributes: &[Attribute], keys: Option<&[&str]>) -> Vec<String> {
    let pair = |a: &Attribute| {
        let value = text::line(&a.value, MOST_VALUE, true);
        format!("{}={value}", text::line(&a.key, MOST_VALUE, true))
    };
    if let Some(keys) = keys {
        let chosen = keys.iter().flat_map(|key| {
            let found = attributes.iter();
            found.filter(move |a| a.key == **key)
        });
        return chosen.map(pair).collect();
    }
    let said = |a: &Attribute| a.is_text && name.contains(&*a.value);
    let telling = attributes.iter().filter(|a| !is_noise(&a.key) && !said(a));
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

/// The place in the code, and values that all spans share, do not help in a drawing.
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

/// The number of levels that are indented; deeper ones stand in one column.
const MOST_DEPTH: usize = 16;

const MOST_NAME: usize = 48;
const MOST_VALUE: usize = 40;
const MOST_ATTRIBUTES: usize = 4;
