//! A span as a small block of lines.

use std::fmt::Write as _;

use crate::export::Outcome;
use crate::stats::DropReason;
use crate::text;
use crate::wire::decode::{Attributes, DecodedValue, Event, Scope, Span};

/// Appends the lines of one span.
pub(super) fn block(out: &mut String, scope: &Scope<'_>, span: &Span<'_>) {
    let duration = span.end_unix_nanos.saturating_sub(span.start_unix_nanos);
    let mut head = vec![text::time(span.start_unix_nanos)];
    head.extend(kind(span.kind).map(str::to_owned));
    head.push(text::line(span.name, MOST, false));
    head.push(text::duration(duration));
    match span.status.code {
        1 => head.push("OK".to_owned()),
        2 => {
            let message = text::line(span.status.message, MOST, false);
            head.push(format!("ERROR {message}").trim_end().to_owned());
        }
        _ => {}
    }
    put(out, "", &head);

    let mut ids = vec![
        format!("trace {}", text::hex(&span.trace_id)),
        format!("span {}", text::hex(&span.span_id)),
    ];
    if let Some(parent) = span.parent_span_id {
        ids.push(format!("parent {}", text::hex(&parent)));
    }
    if !span.trace_state.is_empty() {
        let state = text::line(span.trace_state, MOST, false);
        ids.push(format!("tracestate {state}"));
    }
    if !scope.name.is_empty() {
        let scope = format!("scope {} {}", scope.name, scope.version);
        ids.push(text::line(scope.trim_end(), MOST, false));
    }
    put(out, INDENT, &ids);
    put(out, INDENT, &pairs(&span.attributes));

    for event in &span.events {
        put(out, INDENT, &event_line(event, span.start_unix_nanos));
    }
    for link in &span.links {
        let (trace, to) = (text::hex(&link.trace_id), text::hex(&link.span_id));
        let mut line = vec![format!("link to trace {trace} span {to}")];
        line.extend(pairs(&link.attributes));
        put(out, INDENT, &line);
    }
    let dropped: Vec<_> = [
        (span.dropped_attributes, "attributes"),
        (span.dropped_events, "events"),
        (span.dropped_links, "links"),
    ]
    .into_iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, what)| format!("{n} {what} left out"))
    .collect();
    put(out, INDENT, &dropped);
}

fn event_line(event: &Event<'_>, start: u64) -> Vec<String> {
    let after = match event.unix_nanos.checked_sub(start) {
        Some(after) => format!("+{}", text::duration(after)),
        None => format!("-{}", text::duration(start - event.unix_nanos)),
    };
    let mut line = vec![after, text::line(event.name, MOST, false)];
    line.extend(pairs(&event.attributes));
    line
}

/// A line of parts; none if there are no parts.
pub(super) fn put(out: &mut String, indent: &str, parts: &[String]) {
    if !parts.is_empty() {
        // Writing to a String does not fail.
        let _ = writeln!(out, "{indent}{}", parts.join("  "));
    }
}

pub(super) fn pairs(attributes: &Attributes<'_>) -> Vec<String> {
    attributes
        .iter()
        .map(|(key, value)| format!("{}={}", text::line(key, MOST, true), text(value)))
        .collect()
}

pub(super) fn text(value: &DecodedValue<'_>) -> String {
    match value {
        DecodedValue::Empty => "(empty)".to_owned(),
        DecodedValue::String(v) => text::line(v, MOST, true),
        DecodedValue::Bool(v) => v.to_string(),
        DecodedValue::Int(v) => v.to_string(),
        DecodedValue::Double(v) => v.to_string(),
        DecodedValue::Bytes(v) => text::line(&text::hex(v), MOST, false),
        DecodedValue::Array(list) => format!("[{}]", text::join(list.iter().map(text), ", ")),
        DecodedValue::Map(list) => format!("{{{}}}", pairs(list).join(", ")),
    }
}

/// Most spans are internal, and need not say so.
pub(super) fn kind(number: i32) -> Option<&'static str> {
    match number {
        2 => Some("server"),
        3 => Some("client"),
        4 => Some("producer"),
        5 => Some("consumer"),
        _ => None,
    }
}

/// Characters of one text; stack traces and SQL do not belong on a console whole.
pub(super) const MOST: usize = 200;

pub(super) const INDENT: &str = "  ";

/// The outcome for bytes that are no span.
pub(super) fn no_span(count: u64) -> Outcome {
    let why = "console: a span's bytes are no span";
    Outcome::dropped(DropReason::Internal, count, why)
}
