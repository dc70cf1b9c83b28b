//! [`ConsoleExporter`]: spans as text, for a look without a collector.

mod logs;

use std::fmt::Write as _;
use std::future::Future;
use std::io::{self, Write};

use super::{Batch, Exporter, Outcome};
use crate::human;
use crate::signal::Signal;
use crate::stats::DropReason;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, lock};
use crate::wire::decode::{Attributes, Event, LogRecord, Scope, Span, Value};

/// Prints each span as a small block of text, `OTEL_TRACES_EXPORTER=console`, and each log record as a line
/// and its ids, `OTEL_LOGS_EXPORTER=console`.
///
/// ```text
/// 2026-11-23T08:15:00.123456Z  server  GET /users/{id}  12.3 ms  ERROR no stock
///   trace 0af7651916cd43dd8448eb211c80319c  span b7ad6b7169203331  parent 00f067aa0ba902b7  scope shop 1.2.3
///   http.route=/users/{id}  http.response.status_code=500
///   +1.20 ms  cache miss  key=user:1
/// 2026-11-23T08:15:00.124656Z  WARN  shop::stock  only one left  key=42
///   trace 0af7651916cd43dd8448eb211c80319c  span b7ad6b7169203331
/// ```
///
/// For people: the format may change in any version. It writes from the worker's thread, and a
/// reader of the pipe that does not read holds that thread up, though never the application. Spans
/// that could not be written are counted as dropped for
/// [`DropReason::Internal`](crate::DropReason::Internal).
#[derive(Debug)]
pub struct ConsoleExporter<W = io::Stdout> {
    out: Arc<Mutex<W>>,
    closed: AtomicBool,
}

impl ConsoleExporter {
    /// Prints to standard output.
    pub fn new() -> Self {
        Self::to(io::stdout())
    }
}

impl Default for ConsoleExporter {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Write + Send + 'static> ConsoleExporter<W> {
    /// Prints to `out`: a file, standard error, a buffer.
    pub fn to(out: W) -> Self {
        Self {
            out: Arc::new(Mutex::new(out)),
            closed: AtomicBool::new(false),
        }
    }
}

impl<W: Write + Send + 'static> Exporter for ConsoleExporter<W> {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let closed = self.closed.load(Ordering::Relaxed);
        let out = self.out.clone();
        async move {
            if closed {
                let spans = batch.span_count() as u64;
                return Outcome::dropped(DropReason::AfterShutdown, spans, "console: shut down");
            }
            print(&batch, &mut *lock(&out))
        }
    }

    fn supports(&self, _: Signal) -> bool {
        true
    }

    fn shutdown(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

/// Writes a batch in one piece, so that what others print stands between batches, not within.
fn print(batch: &Batch, out: &mut impl Write) -> Outcome {
    let mut text = String::new();
    let mut printed = 0;
    for (scope, item) in batch.spans() {
        let Some(scope) = Scope::decode(scope) else {
            continue;
        };
        let is_printed = match batch.signal() {
            Signal::Traces => Span::decode(item).map(|span| block(&mut text, &scope, &span)),
            Signal::Logs => {
                LogRecord::decode(item).map(|record| logs::block(&mut text, &scope, &record))
            }
        };
        printed += u64::from(is_printed.is_some());
    }
    let unreadable = (batch.span_count() as u64).saturating_sub(printed);
    let mut outcome = match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Outcome::delivered(printed),
        Err(e) => Outcome::dropped(DropReason::Internal, printed, format!("console: {e}")),
    };
    if unreadable > 0 {
        outcome = outcome.merge(Outcome::dropped(
            DropReason::Internal,
            unreadable,
            "console: a span's bytes are no span",
        ));
    }
    outcome
}

/// Appends the lines of one span.
fn block(out: &mut String, scope: &Scope<'_>, span: &Span<'_>) {
    let duration = span.end_unix_nanos.saturating_sub(span.start_unix_nanos);
    let mut head = vec![human::time(span.start_unix_nanos)];
    head.extend(kind(span.kind).map(str::to_owned));
    head.push(human::line(span.name, MOST, false));
    head.push(human::duration(duration));
    match span.status.code {
        1 => head.push("OK".to_owned()),
        2 => {
            let message = human::line(span.status.message, MOST, false);
            head.push(format!("ERROR {message}").trim_end().to_owned());
        }
        _ => {}
    }
    put(out, "", &head);

    let mut ids = vec![
        format!("trace {}", human::hex(&span.trace_id)),
        format!("span {}", human::hex(&span.span_id)),
    ];
    if let Some(parent) = span.parent_span_id {
        ids.push(format!("parent {}", human::hex(&parent)));
    }
    if !span.trace_state.is_empty() {
        let state = human::line(span.trace_state, MOST, false);
        ids.push(format!("tracestate {state}"));
    }
    if !scope.name.is_empty() {
        let scope = format!("scope {} {}", scope.name, scope.version);
        ids.push(human::line(scope.trim_end(), MOST, false));
    }
    put(out, INDENT, &ids);
    put(out, INDENT, &pairs(&span.attributes));

    for event in &span.events {
        put(out, INDENT, &event_line(event, span.start_unix_nanos));
    }
    for link in &span.links {
        let (trace, to) = (human::hex(&link.trace_id), human::hex(&link.span_id));
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
        Some(after) => format!("+{}", human::duration(after)),
        None => format!("-{}", human::duration(start - event.unix_nanos)),
    };
    let mut line = vec![after, human::line(event.name, MOST, false)];
    line.extend(pairs(&event.attributes));
    line
}

/// A line of parts; none if there are no parts.
fn put(out: &mut String, indent: &str, parts: &[String]) {
    if !parts.is_empty() {
        // Writing to a String does not fail.
        let _ = writeln!(out, "{indent}{}", parts.join("  "));
    }
}

fn pairs(attributes: &Attributes<'_>) -> Vec<String> {
    attributes
        .iter()
        .map(|(key, value)| format!("{}={}", human::line(key, MOST, true), text(value)))
        .collect()
}

fn text(value: &Value<'_>) -> String {
    match value {
        Value::Empty => "(empty)".to_owned(),
        Value::String(v) => human::line(v, MOST, true),
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::Double(v) => v.to_string(),
        Value::Bytes(v) => human::line(&human::hex(v), MOST, false),
        Value::Array(list) => format!("[{}]", human::join(list.iter().map(text), ", ")),
        Value::Map(list) => format!("{{{}}}", pairs(list).join(", ")),
    }
}

/// Most spans are internal, and need not say so.
fn kind(number: i32) -> Option<&'static str> {
    match number {
        2 => Some("server"),
        3 => Some("client"),
        4 => Some("producer"),
        5 => Some("consumer"),
        _ => None,
    }
}

/// Characters of one text; stack traces and SQL do not belong on a console whole.
const MOST: usize = 200;

const INDENT: &str = "  ";

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]
mod tests {
    use bytes::Bytes;
    use opentelemetry_proto::tonic::common::v1 as common;
    use opentelemetry_proto::tonic::trace::v1 as proto;
    use prost::Message;

    use super::*;
    use crate::wire::request::ScopeGroup;

    /// A batch of these spans, all in the scope `shop 1.2.3`, in runs of two.
    fn batch(spans: &[proto::Span]) -> Batch {
        let scope = proto::ScopeSpans {
            scope: Some(common::InstrumentationScope {
                name: "shop".to_owned(),
                version: "1.2.3".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let run = |spans: &[proto::Span]| {
            let spans = spans.to_vec();
            let message = proto::ScopeSpans {
                spans,
                ..Default::default()
            };
            Bytes::from(message.encode_to_vec())
        };
        let group = ScopeGroup {
            scope: scope.encode_to_vec().into(),
            spans: spans.chunks(2).map(run).collect(),
        };
        Batch::new(Signal::Traces, Bytes::new(), vec![group], spans.len())
    }

    fn attribute(key: &str, value: common::any_value::Value) -> common::KeyValue {
        common::KeyValue {
            key: key.to_owned(),
            value: Some(common::AnyValue { value: Some(value) }),
            ..Default::default()
        }
    }

    fn string(key: &str, value: &str) -> common::KeyValue {
        attribute(key, common::any_value::Value::StringValue(value.to_owned()))
    }

    fn exported(spans: &[proto::Span]) -> String {
        let exporter = ConsoleExporter::to(Vec::new());
        let outcome = tokio_test::block_on(exporter.send((), batch(spans)));
        assert_eq!(outcome, Outcome::delivered(spans.len() as u64));
        String::from_utf8(std::mem::take(&mut *lock(&exporter.out))).unwrap()
    }

    #[test]
    fn a_span_is_a_readable_block() {
        let start = 1_795_421_700_123_456_000;
        let span = proto::Span {
            trace_id: vec![0x0a; 16],
            span_id: vec![0xb7; 8],
            parent_span_id: vec![0x0f; 8],
            trace_state: "v=1".to_owned(),
            name: "GET /users/{id}".to_owned(),
            kind: 2,
            start_time_unix_nano: start,
            end_time_unix_nano: start + 12_300_000,
            attributes: vec![
                string("http.route", "/users/{id}"),
                string("who", "Ann Lee\n"),
                attribute("n", common::any_value::Value::IntValue(500)),
                attribute("raw", common::any_value::Value::BytesValue(vec![1, 255])),
            ],
            events: vec![proto::span::Event {
                time_unix_nano: start + 1_200_000,
                name: "cache miss".to_owned(),
                attributes: vec![string("key", "user:1")],
                ..Default::default()
            }],
            links: vec![proto::span::Link {
                trace_id: vec![1; 16],
                span_id: vec![2; 8],
                ..Default::default()
            }],
            dropped_events_count: 3,
            status: Some(proto::Status {
                message: "no stock".to_owned(),
                code: 2,
            }),
            ..Default::default()
        };
        let expected = "\
2026-11-23T08:15:00.123456Z  server  GET /users/{id}  12.3 ms  ERROR no stock
  trace 0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a  span b7b7b7b7b7b7b7b7  parent 0f0f0f0f0f0f0f0f  tracestate v=1  scope shop 1.2.3
  http.route=/users/{id}  who=\"Ann Lee\\n\"  n=500  raw=01ff
  +1.20 ms  cache miss  key=user:1
  link to trace 01010101010101010101010101010101 span 0202020202020202
  3 events left out
";
        assert_eq!(exported(&[span]), expected);
    }

    #[test]
    fn a_plain_span_takes_two_lines_and_all_spans_are_printed() {
        let spans: Vec<_> = (0..5)
            .map(|i| proto::Span {
                name: format!("span-{i}"),
                kind: 1,
                ..Default::default()
            })
            .collect();
        let text = exported(&spans);
        let heads: Vec<_> = text.lines().step_by(2).collect();
        for (i, head) in heads.iter().enumerate() {
            let expected = format!("1970-01-01T00:00:00.000000Z  span-{i}  0 ns");
            assert_eq!(*head, expected);
        }
        assert_eq!(heads.len(), 5);
    }

    #[test]
    fn a_batch_gives_its_spans_in_order_with_their_scope() {
        let spans: Vec<_> = (1..=3)
            .map(|i| proto::Span {
                name: "x".repeat(i * 100),
                ..Default::default()
            })
            .collect();
        let batch = batch(&spans);
        let read: Vec<_> = batch
            .spans()
            .map(|(scope, span)| {
                assert_eq!(Scope::decode(scope).unwrap().name, "shop");
                proto::Span::decode(span).unwrap()
            })
            .collect();
        assert_eq!(read, spans);
    }

    #[test]
    fn bytes_that_are_no_span_are_counted_and_the_rest_printed() {
        let good = proto::Span::default().encode_to_vec();
        let mut run = vec![0x12, good.len() as u8];
        run.extend(good);
        run.extend([0x12, 2, 0x2a, 9]);
        let group = ScopeGroup {
            scope: Bytes::new(),
            spans: vec![run.into()],
        };
        let exporter = ConsoleExporter::to(Vec::new());
        let batch = Batch::new(Signal::Traces, Bytes::new(), vec![group], 2);
        let outcome = tokio_test::block_on(exporter.send((), batch));
        assert_eq!((outcome.delivered, outcome.spans()), (1, 2));
        assert_eq!(outcome.dropped, [(DropReason::Internal, 1)]);
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let exporter = ConsoleExporter::to(Broken);
        let spans = vec![proto::Span::default(); 3];
        let outcome = tokio_test::block_on(exporter.send((), batch(&spans)));
        assert_eq!(outcome.dropped, [(DropReason::Internal, 3)]);
        assert_eq!(outcome.error.as_deref(), Some("console: broken pipe"));

        exporter.shutdown();
        let outcome = tokio_test::block_on(exporter.send((), batch(&spans)));
        assert_eq!(outcome.dropped, [(DropReason::AfterShutdown, 3)]);
    }
}
