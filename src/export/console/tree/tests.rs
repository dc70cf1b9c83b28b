use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message as _;

use super::*;
use crate::export::{ConsoleExporter, Exporter as _};
use crate::wire::request::ScopeGroup;

const MS: u64 = 1_000_000;

fn string(key: &str, value: &str) -> common::KeyValue {
    let value = common::any_value::Value::StringValue(value.to_owned());
    common::KeyValue {
        key: key.to_owned(),
        value: Some(common::AnyValue { value: Some(value) }),
        ..Default::default()
    }
}

fn span(trace: u8, id: u8, parent: u8, name: &str, from: u64, to: u64) -> proto::Span {
    proto::Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        parent_span_id: if parent == 0 { vec![] } else { vec![parent; 8] },
        name: name.to_owned(),
        kind: 1,
        start_time_unix_nano: 1_000_000_000 + from * MS,
        end_time_unix_nano: 1_000_000_000 + to * MS,
        ..Default::default()
    }
}

fn batch(spans: &[proto::Span]) -> Batch {
    let resource = proto::ResourceSpans {
        resource: Some(ProtoResource {
            attributes: vec![string("service.name", "shop")],
            ..Default::default()
        }),
        ..Default::default()
    };
    let run = proto::ScopeSpans {
        spans: spans.to_vec(),
        ..Default::default()
    };
    let group = ScopeGroup {
        scope: Bytes::new(),
        items: vec![run.encode_to_vec().into()],
    };
    Batch::new(
        crate::signal::Signal::Traces,
        resource.encode_to_vec().into(),
        vec![group],
        spans.len(),
    )
}

/// What an exporter has written, for a test to look at while it writes.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(lock(&self.0).clone()).unwrap()
    }
}

fn exporter() -> (ConsoleExporter<Paper>, Paper) {
    let paper = Paper::default();
    let exporter = ConsoleExporter::with_writer(paper.clone());
    (exporter.with_tree(true).with_columns(90), paper)
}

#[tokio::test(start_paused = true)]
async fn children_wait_for_their_root_and_stand_below_it() {
    let (exporter, paper) = exporter();
    let mut charge = span(1, 3, 1, "charge", 20, 100);
    charge.status = Some(proto::Status {
        code: 2,
        message: "declined".to_owned(),
    });
    let early = exporter.send((), batch(&[span(1, 2, 1, "load", 1, 14), charge]));
    let early = tokio::spawn(early);
    tokio::time::sleep(HOLD / 2).await;
    assert_eq!(paper.text(), "");
    let root = exporter.send((), batch(&[span(1, 1, 0, "POST /checkout", 0, 120)]));
    assert_eq!(root.await, Outcome::delivered(1));
    assert_eq!(early.await.unwrap(), Outcome::delivered(2));
    let expected = "\
trace 01010101010101010101010101010101 · shop · 3 spans · 1 error · 120 ms
POST /checkout   120 ms  ▕████████████████████▏
├─ load         13.0 ms  ▕██                  ▏
└─ charge       80.0 ms  ▕   ██████████████   ▏  ERROR declined

";
    assert_eq!(paper.text(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_root_that_does_not_come_is_waited_for_a_second_and_a_remote_parent_not_at_all() {
    let (exporter, paper) = exporter();
    let begin = Instant::now();
    let mut local_root = span(2, 5, 9, "GET /", 0, 5);
    local_root.flags = 0x300;
    let outcome = exporter.send((), batch(&[local_root, span(1, 2, 1, "part", 1, 14)]));
    let outcome = tokio::spawn(outcome);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(paper.text().contains("GET /") && !paper.text().contains("part"));
    assert_eq!(outcome.await.unwrap(), Outcome::delivered(2));
    assert_eq!(begin.elapsed(), HOLD);
    let text = paper.text();
    assert!(
        text.contains("(parent 0101010101010101 not received)"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_bounded_and_printed_at_the_shutdown() {
    let (exporter, paper) = exporter();
    let begin = Instant::now();
    let spans: Vec<_> = (0..=MOST_SPANS)
        .map(|i| {
            let mut span = span(1, 2, 1, "part", 0, 1);
            span.span_id = (i as u64 + 10).to_be_bytes().to_vec();
            span
        })
        .collect();
    let outcome = exporter.send((), batch(&spans)).await;
    assert_eq!(outcome, Outcome::delivered(spans.len() as u64));
    assert_eq!(begin.elapsed(), Duration::ZERO);

    let waits = exporter.send((), batch(&[span(3, 2, 1, "last words", 0, 1)]));
    let waits = tokio::spawn(waits);
    tokio::time::sleep(HOLD / 4).await;
    exporter.shutdown();
    assert_eq!(waits.await.unwrap(), Outcome::delivered(1));
    assert_eq!(begin.elapsed(), HOLD / 4);
    assert!(paper.text().contains("last words"));
    let late = exporter
        .send((), batch(&[span(3, 2, 1, "late", 0, 1)]))
        .await;
    assert_eq!(late.dropped, [(DropReason::AlreadyShutdown, 1)]);
}

#[tokio::test(start_paused = true)]
async fn foreign_text_moves_no_cursor_and_lines_keep_to_the_width() {
    const EVIL: &str = "a\u{1b}[2J\u{1b}]0;title\u{7}\r\n\u{202e}b\u{9b}1m";
    for color in [false, true] {
        let (exporter, paper) = exporter();
        let exporter = exporter.with_color(color).with_columns(60);
        let mut evil = span(1, 1, 0, EVIL, 0, 5);
        evil.attributes = (0..4)
            .map(|i| string(&format!("{EVIL}{i}"), EVIL))
            .collect();
        evil.events = vec![proto::span::Event {
            name: EVIL.to_owned(),
            attributes: vec![string(EVIL, EVIL)],
            ..Default::default()
        }];
        evil.status = Some(proto::Status {
            code: 2,
            message: EVIL.to_owned(),
        });
        let mut batch = batch(&[evil]);
        let resource = proto::ResourceSpans {
            resource: Some(ProtoResource {
                attributes: vec![string("service.name", EVIL)],
                ..Default::default()
            }),
            ..Default::default()
        };
        let group = ScopeGroup {
            scope: Bytes::new(),
            items: batch
                .items()
                .map(|item| crate::wire::request::item_field(item.message))
                .collect(),
        };
        batch = Batch::new(
            crate::signal::Signal::Traces,
            resource.encode_to_vec().into(),
            vec![group],
            1,
        );
        exporter.send((), batch).await;
        let mut text = paper.text();
        if color {
            // Our own colours are all that is left.
            for ours in ["2", "31", "36", "0"] {
                text = text.replace(&format!("\u{1b}[{ours}m"), "");
            }
        }
        let is_harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(text.chars().all(is_harmless), "{text:?}");
        let widths = text.lines().map(|l| l.chars().count());
        assert!(widths.max().unwrap() <= 60, "{text}");
    }
}
