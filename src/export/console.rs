//! [`ConsoleExporter`]: spans and log records as text, without a collector (LOG-76).

mod block;
mod logs;
mod tree;

use std::future::Future;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use self::block::no_span;
use self::tree::LiveTree;
use super::{Batch, BatchItem, Exporter, Outcome};
use crate::config::wants_no_color;
use crate::drawing::Layout;
use crate::signal::Signal;
use crate::stats::DropReason;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, lock};
use crate::wire::decode::{LogRecord, Scope, Span};

/// Prints spans as text (`OTEL_TRACES_EXPORTER=console`), and each log record as a line with its ids
/// (`OTEL_LOGS_EXPORTER=console`).
///
/// On a terminal each trace is printed as a tree when its local root has ended, within the terminal's width
/// and with colours unless `NO_COLOR` is set:
///
/// ```text
/// trace 0af7651916cd43dd8448eb211c80319c · shop · 3 spans · 1 error · 152 ms
/// POST /checkout      server    152 ms  ▕████████████████████▏  http.response.status_code=500
/// ├─ load cart                 13.0 ms  ▕██                  ▏
/// └─ charge card      client    130 ms  ▕  ██████████████████▏  ERROR card declined
/// ```
///
/// Spans whose root does not end within a second are printed without it. In a file or a pipe each span is
/// a block of its own, in the order of arrival:
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
/// The format is for people: no standard defines it, and it may change in any version. Control characters
/// in names and values are escaped. The exporter writes from the worker's thread: a pipe whose reader does
/// not read blocks that thread, never the application. Spans that could not be written are counted as
/// [`DropReason::Internal`](crate::DropReason::Internal).
#[derive(Debug)]
pub struct ConsoleExporter<W = io::Stdout> {
    out: Arc<Mutex<W>>,
    /// `None`: blocks.
    tree: Option<Arc<LiveTree>>,
    color: bool,
    columns: Columns,
    closed: Arc<AtomicBool>,
}

/// The width of a tree.
#[derive(Debug, Clone, Copy)]
enum Columns {
    /// The terminal's width at the time of printing.
    Terminal,
    Fixed(usize),
}

/// The width if that of the terminal is unknown.
const COLUMNS: usize = 100;

/// The longest delay before a span is printed in a tree.
const SOON: Duration = Duration::from_millis(100);

impl ConsoleExporter {
    /// Prints to standard output: trees on a terminal, else blocks.
    pub fn new() -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self::with_writer(io::stdout())
            .with_tree(is_terminal)
            .with_color(is_terminal && !wants_no_color())
    }
}

impl Default for ConsoleExporter {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Write + Send + 'static> ConsoleExporter<W> {
    /// Prints to `out`: a file, standard error, a buffer. Default: blocks without colours.
    pub fn with_writer(out: W) -> Self {
        Self {
            out: Arc::new(Mutex::new(out)),
            tree: None,
            color: false,
            columns: Columns::Terminal,
            closed: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Whether each trace is printed as a tree. Default: if standard output is a terminal.
    #[must_use]
    pub fn with_tree(mut self, is_tree: bool) -> Self {
        self.tree = is_tree.then(Arc::default);
        self
    }

    /// Whether trees have colours. Default: if standard output is a terminal, `NO_COLOR` is not set and
    /// `TERM` is not `dumb`.
    #[must_use]
    pub fn with_color(mut self, color: bool) -> Self {
        self.color = color;
        self
    }

    /// The width of a tree in columns, at least 40. Default: the terminal's width, or 100 if that is
    /// unknown.
    #[must_use]
    pub fn with_columns(mut self, columns: usize) -> Self {
        self.columns = Columns::Fixed(columns);
        self
    }
}

impl Columns {
    fn now(self) -> usize {
        match self {
            Self::Fixed(columns) => columns,
            Self::Terminal => terminal_columns().unwrap_or(COLUMNS),
        }
    }
}

#[cfg(feature = "init")]
fn terminal_columns() -> Option<usize> {
    let (terminal_size::Width(columns), _) = terminal_size::terminal_size()?;
    (columns > 0).then_some(usize::from(columns))
}

#[cfg(not(feature = "init"))]
fn terminal_columns() -> Option<usize> {
    None
}

impl<W: Write + Send + 'static> Exporter for ConsoleExporter<W> {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let is_closed = self.closed.load(Ordering::Relaxed);
        let (out, tree, closed) = (
            Arc::clone(&self.out),
            self.tree.clone(),
            Arc::clone(&self.closed),
        );
        let (color, columns) = (self.color, self.columns);
        async move {
            if is_closed {
                let spans = batch.item_count() as u64;
                return Outcome::dropped(DropReason::AlreadyShutdown, spans, "console: shut down");
            }
            let Some(tree) = tree else {
                return print(&batch, &mut *lock(&out));
            };
            let write = |text: &str| put(&mut *lock(&out), text);
            let layout = || Layout {
                columns: Some(columns.now()),
                color,
            };
            tree.send(&batch, &closed, layout, write).await
        }
    }

    fn supports(&self, _: Signal) -> bool {
        true
    }

    fn shutdown(&self) {
        self.closed.store(true, Ordering::Relaxed);
        if let Some(tree) = &self.tree {
            tree.wake();
        }
    }

    fn max_schedule_delay(&self) -> Option<Duration> {
        self.tree.is_some().then_some(SOON)
    }
}

/// Writes a batch in one piece, so that other output stands between batches, not within.
fn print(batch: &Batch, out: &mut impl Write) -> Outcome {
    let mut text = String::new();
    let mut printed = 0;
    for BatchItem {
        scope,
        message: item,
    } in batch.items()
    {
        let Some(scope) = Scope::decode(scope) else {
            continue;
        };
        let is_printed = match batch.signal() {
            Signal::Traces => Span::decode(item).map(|span| block::block(&mut text, &scope, &span)),
            Signal::Logs => {
                LogRecord::decode(item).map(|record| logs::block(&mut text, &scope, &record))
            }
        };
        printed += u64::from(is_printed.is_some());
    }
    let unreadable = (batch.item_count() as u64).saturating_sub(printed);
    let outcome = match put(out, &text) {
        Ok(()) => Outcome::delivered(printed),
        Err(e) => Outcome::dropped(DropReason::Internal, printed, format!("console: {e}")),
    };
    match unreadable {
        0 => outcome,
        _ => outcome.merge(no_span(unreadable)),
    }
}

fn put(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

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
            items: spans.chunks(2).map(run).collect(),
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
        let exporter = ConsoleExporter::with_writer(Vec::new());
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
            .items()
            .map(|item| {
                assert_eq!(Scope::decode(item.scope).unwrap().name, "shop");
                proto::Span::decode(item.message).unwrap()
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
            items: vec![run.into()],
        };
        let exporter = ConsoleExporter::with_writer(Vec::new());
        let batch = Batch::new(Signal::Traces, Bytes::new(), vec![group], 2);
        let outcome = tokio_test::block_on(exporter.send((), batch));
        assert_eq!((outcome.delivered, outcome.items()), (1, 2));
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
        let exporter = ConsoleExporter::with_writer(Broken);
        let spans = vec![proto::Span::default(); 3];
        let outcome = tokio_test::block_on(exporter.send((), batch(&spans)));
        assert_eq!(outcome.dropped, [(DropReason::Internal, 3)]);
        assert_eq!(outcome.error.as_deref(), Some("console: broken pipe"));

        exporter.shutdown();
        let outcome = tokio_test::block_on(exporter.send((), batch(&spans)));
        assert_eq!(outcome.dropped, [(DropReason::AlreadyShutdown, 3)]);
    }
}
