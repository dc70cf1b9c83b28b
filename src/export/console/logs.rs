//! Log records as lines of text.

use super::block::{INDENT, MOST, pairs, put, text};
use crate::text;
use crate::wire::decode::{DecodedValue, LogRecord, Scope};

/// Appends the lines of one log record:
///
/// ```text
/// 2026-11-23T08:15:00.123456Z  WARN  shop::stock  only one left  key=42
///   trace 0af7651916cd43dd8448eb211c80319c  span b7ad6b7169203331
/// ```
pub(super) fn block(out: &mut String, scope: &Scope<'_>, record: &LogRecord<'_>) {
    let time = match record.unix_nanos {
        0 => record.observed_unix_nanos,
        time => time,
    };
    let mut head = vec![text::time(time)];
    if !record.severity_text.is_empty() {
        head.push(text::line(record.severity_text, MOST, false));
    } else if record.severity_number > 0 {
        head.push(format!("severity {}", record.severity_number));
    }
    if !scope.name.is_empty() {
        head.push(text::line(scope.name, MOST, false));
    }
    if !record.event_name.is_empty() {
        let name = text::line(record.event_name, MOST, false);
        head.push(format!("[{name}]"));
    }
    match &record.body {
        // The message is for people: no quotes.
        Some(DecodedValue::String(body)) => head.push(text::line(body, MOST, false)),
        Some(body) => head.push(text(body)),
        None => {}
    }
    head.extend(pairs(&record.attributes));
    put(out, "", &head);
    let mut ids = Vec::new();
    if let Some(trace) = record.trace_id {
        ids.push(format!("trace {}", text::hex(&trace)));
    }
    if let Some(span) = record.span_id {
        ids.push(format!("span {}", text::hex(&span)));
    }
    if record.dropped_attributes > 0 {
        ids.push(format!("{} attributes left out", record.dropped_attributes));
    }
    put(out, INDENT, &ids);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_line_and_its_ids() {
        let record = LogRecord {
            unix_nanos: 1_000_000_000,
            severity_text: "WARN",
            body: Some(DecodedValue::String("only one\nleft")),
            attributes: vec![("key", DecodedValue::Int(42))],
            trace_id: Some([0xab; 16]),
            event_name: "stock.low",
            ..LogRecord::default()
        };
        let scope = Scope {
            name: "shop",
            ..Scope::default()
        };
        let mut out = String::new();
        block(&mut out, &scope, &record);
        let expected = format!(
            "{}  WARN  shop  [stock.low]  only one\\nleft  key=42\n  trace {}\n",
            text::time(1_000_000_000),
            "ab".repeat(16)
        );
        assert_eq!(out, expected);
    }
}
