#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as proto;
use proptest::prelude::*;

use super::*;
use crate::testing::convert::Decoded;
use crate::testing::received::ReceivedSpan;

const MS: u64 = 1_000_000;
const START: u64 = 1_795_421_700_000_000_000;

/// A span of one trace; `parent` 0 is none, times are in milliseconds.
fn span(id: u8, parent: u8, name: &str, kind: i32, from: u64, to: u64) -> proto::Span {
    proto::Span {
        trace_id: (0xa0..0xb0).collect(),
        span_id: vec![id; 8],
        parent_span_id: if parent == 0 { vec![] } else { vec![parent; 8] },
        name: name.to_owned(),
        kind,
        start_time_unix_nano: START + from * MS,
        end_time_unix_nano: START + to * MS,
        ..Default::default()
    }
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

fn int(key: &str, value: i64) -> common::KeyValue {
    attribute(key, common::any_value::Value::IntValue(value))
}

fn received(spans: Vec<proto::Span>) -> Vec<ReceivedSpan> {
    let scope_spans = vec![proto::ScopeSpans {
        spans,
        ..Default::default()
    }];
    let request = ExportTraceServiceRequest {
        resource_spans: vec![proto::ResourceSpans {
            resource: Some(Resource {
                attributes: vec![string("service.name", "shop")],
                ..Default::default()
            }),
            scope_spans,
            ..Default::default()
        }],
    };
    Decoded::new(request).spans
}

fn trace(spans: Vec<proto::Span>) -> Trace {
    let mut traces = Trace::all(&received(spans));
    assert_eq!(traces.len(), 1);
    traces.remove(0)
}

/// A request with all that a drawing shows, children arriving before their parents.
fn checkout() -> Vec<proto::Span> {
    let mut root = span(1, 0, "POST /checkout", 2, 0, 152);
    root.attributes = vec![
        string("code.file.path", "src/main.rs"),
        string("http.request.method", "POST"),
        string("http.route", "/checkout"),
        string("server.address", "shop.example"),
        int("http.response.status_code", 500),
        string("user", "Ann Lee"),
        int("cart.items", 3),
        int("cart.total", 40),
        int("cart.points", 4),
    ];
    let mut load = span(2, 1, "load cart", 1, 1, 14);
    load.events = vec![proto::span::Event {
        time_unix_nano: START + 3 * MS,
        name: "cache miss".to_owned(),
        attributes: vec![string("key", "cart:7"), string("level", "INFO")],
        ..Default::default()
    }];
    let query = span(3, 2, "SELECT cart", 3, 4, 12);
    let mut charge = span(4, 1, "charge card", 3, 20, 150);
    charge.status = Some(proto::Status {
        message: "card declined".to_owned(),
        code: 2,
    });
    charge.events = vec![proto::span::Event {
        time_unix_nano: START + 149 * MS,
        name: "exception".to_owned(),
        attributes: vec![
            string("exception.message", "card declined"),
            string("exception.stacktrace", "a\nb\nc"),
        ],
        ..Default::default()
    }];
    charge.links = vec![proto::span::Link::default()];
    vec![charge, query, load, root]
}

#[test]
fn a_trace_is_drawn() {
    let expected = "\
trace a0a1a2a3a4a5a6a7a8a9aaabacadaeaf · shop · 4 spans · 1 error · 152 ms

POST /checkout      server    152 ms  ▕████████████████████▏  http.response.status_code=500  user=\"Ann Lee\"  cart.items=3  cart.total=40  +1 more
├─ load cart                 13.0 ms  ▕██                  ▏
│  │  • cache miss          +2.00 ms  ▕•                   ▏  key=cart:7
│  └─ SELECT cart   client   8.00 ms  ▕██                  ▏
└─ charge card      client    130 ms  ▕  ██████████████████▏  ERROR card declined  1 link
      • exception            +129 ms  ▕                   •▏  exception.message=\"card declined\"
";
    let drawn = trace(checkout()).to_string();
    assert_eq!(drawn, expected, "\n{drawn}");
}

#[test]
fn what_does_not_fit_continues_inside_the_tree() {
    let expected = "\
trace a0a1a2a3a4a5a6a7a8a9aaabacadaeaf · shop · 4 spans · 1 error · 152 ms

POST /checkout      server    152 ms  ▕████████████████████▏
│    http.response.status_code=500  user=\"Ann Lee\"  cart.items=3  cart.total=40
│    +1 more
├─ load cart                 13.0 ms  ▕██                  ▏
│  │  • cache miss          +2.00 ms  ▕•                   ▏  key=cart:7
│  └─ SELECT cart   client   8.00 ms  ▕██                  ▏
└─ charge card      client    130 ms  ▕  ██████████████████▏
        ERROR card declined  1 link
      • exception            +129 ms  ▕                   •▏
          exception.message=\"card declined\"
";
    let drawn = trace(checkout()).drawing().with_columns(80).to_string();
    assert_eq!(drawn, expected, "\n{drawn}");
}

#[test]
fn no_line_is_wider_than_asked() {
    let mut spans = checkout();
    spans[0].name = "n".repeat(40);
    spans[0].attributes = vec![string("k", &"v".repeat(90)), int("i", 1)];
    let trace = trace(spans);
    for columns in [0, 40, 60, 80, 100, 200] {
        let drawn = trace.drawing().with_columns(columns).to_string();
        // The title is for copying the trace id, and stays whole.
        for line in drawn.lines().skip(1) {
            assert!(
                line.chars().count() <= columns.max(40),
                "{columns}:\n{drawn}"
            );
        }
    }
}

#[test]
fn a_title_that_does_not_fit_goes_on_in_the_next_line() {
    let drawn = trace(checkout()).drawing().with_columns(60).to_string();
    let mut lines = drawn.lines();
    let first = "trace a0a1a2a3a4a5a6a7a8a9aaabacadaeaf · shop · 4 spans";
    assert_eq!(lines.next(), Some(first), "{drawn}");
    assert_eq!(lines.next(), Some("  1 error · 152 ms"), "{drawn}");
}

#[test]
fn colours_change_nothing_but_the_colours() {
    let trace = trace(checkout());
    let drawing = trace.drawing().with_columns(80);
    let plain = drawing.to_string();
    let coloured = drawing.with_color(true).to_string();
    assert!(!plain.contains('\u{1b}'), "{plain}");
    assert!(
        coloured.contains("\u{1b}[31mERROR card declined\u{1b}[0m"),
        "{coloured}"
    );
    let mut bare = coloured;
    for code in ["[2m", "[31m", "[36m", "[0m"] {
        bare = bare.replace(&format!("\u{1b}{code}"), "");
    }
    assert_eq!(bare, plain);
}

#[test]
fn attributes_may_be_chosen() {
    let trace = trace(checkout());
    let drawn = trace.with_attributes(["cart.items", "key"]).to_string();
    let lines: Vec<_> = drawn.lines().collect();
    assert!(lines[2].ends_with("▏  cart.items=3"), "{drawn}");
    assert!(lines[4].ends_with("  key=cart:7"), "{drawn}");
}

#[test]
fn names_cannot_break_the_lines() {
    let mut root = span(1, 0, &"x\n".repeat(60), 1, 0, 1);
    root.attributes = vec![string("a", "two\nlines"), string("b", &"y".repeat(500))];
    let drawn = trace(vec![root]).to_string();
    assert_eq!(drawn.lines().count(), 3, "{drawn}");
    assert!(drawn.lines().all(|l| l.chars().count() < 250), "{drawn}");
}

#[test]
fn orphans_and_several_roots_are_all_drawn() {
    let drawn = trace(vec![
        span(1, 0, "first", 1, 0, 10),
        span(2, 0, "second", 1, 5, 20),
        span(3, 9, "orphan", 1, 6, 7),
        span(4, 3, "its child", 1, 6, 7),
    ])
    .to_string();
    let names: Vec<_> = drawn.lines().skip(2).collect();
    assert_eq!(names.len(), 4, "{drawn}");
    assert!(names[0].starts_with("first ") && names[1].starts_with("second "));
    assert!(names[2].starts_with("orphan ") && names[3].starts_with("└─ its child "));
    assert!(
        names[2].ends_with("(parent 0909090909090909 not received)"),
        "{drawn}"
    );
}

#[test]
fn circles_are_cut_and_marked() {
    let itself = trace(vec![span(1, 1, "itself", 1, 0, 1)]).to_string();
    assert!(
        itself.ends_with("(parent 0101010101010101 in a circle)\n"),
        "{itself}"
    );

    let trace = trace(vec![
        span(5, 2, "below", 1, 0, 1),
        span(1, 3, "a", 1, 1, 9),
        span(2, 1, "b", 1, 2, 9),
        span(3, 2, "c", 1, 3, 9),
        span(7, 0, "root", 1, 4, 9),
    ]);
    let names: Vec<_> = trace.spans().map(|s| &*s.name).collect();
    assert_eq!(names, ["root", "a", "b", "below", "c"]);
    let drawn = trace.to_string();
    let a = drawn.lines().find(|l| l.starts_with("a ")).expect(&drawn);
    assert!(
        a.ends_with("(parent 0303030303030303 in a circle)"),
        "{drawn}"
    );
}

#[test]
fn a_span_that_came_twice_stands_twice() {
    let trace = trace(vec![
        span(1, 0, "root", 1, 0, 9),
        span(2, 1, "child", 1, 1, 2),
        span(2, 1, "child", 1, 1, 2),
        span(3, 2, "grandchild", 1, 1, 2),
    ]);
    let names: Vec<_> = trace.spans().map(|s| &*s.name).collect();
    assert_eq!(names, ["root", "child", "grandchild", "child"]);
}

#[test]
fn a_trace_deeper_than_any_stack_is_drawn() {
    let spans = (1..=50_000u64).map(|i| proto::Span {
        span_id: i.to_be_bytes().to_vec(),
        parent_span_id: if i == 1 {
            vec![]
        } else {
            (i - 1).to_be_bytes().to_vec()
        },
        ..span(0, 0, "n", 1, i, i + 1)
    });
    let trace = trace(spans.collect());
    let drawn = trace.to_string();
    assert_eq!(drawn.lines().count(), 50_002);
    assert!(drawn.lines().all(|l| l.chars().count() < 150));
}

#[test]
fn a_trace_answers_questions() {
    let trace = trace(checkout());
    assert_eq!((trace.len(), trace.is_empty()), (4, false));
    let root = trace.root();
    assert_eq!(root.name, "POST /checkout");
    let children: Vec<_> = trace.children(root).iter().map(|s| &*s.name).collect();
    assert_eq!(children, ["load cart", "charge card"]);
    let load = trace.find("load cart").unwrap();
    assert!(load.is_child_of(root) && !root.is_child_of(load));
    assert!(trace.find("nothing").is_none());
}

#[test]
fn traces_are_told_apart_and_sorted_by_time() {
    let mut late = span(1, 0, "late", 1, 50, 60);
    late.trace_id = vec![1; 16];
    let traces = Trace::all(&received(vec![late, span(1, 0, "early", 1, 0, 1)]));
    let names: Vec<_> = traces.iter().map(|t| &*t.root().name).collect();
    assert_eq!(names, ["early", "late"]);
}

#[test]
#[should_panic(expected = "expected one root:\ntrace a0a1a2a3")]
fn several_roots_are_no_root() {
    trace(vec![span(1, 0, "a", 1, 0, 1), span(2, 0, "b", 1, 0, 1)]).root();
}

proptest! {
    /// Whatever parents and times: each span is drawn once, after its parent, and nothing panics.
    #[test]
    fn any_spans_make_a_drawing(
        spans in proptest::collection::vec((0u8..12, 0u8..12, any::<u64>(), any::<u64>()), 1..24),
    ) {
        let count = spans.len();
        let spans = spans.into_iter().map(|(id, parent, from, to)| proto::Span {
            start_time_unix_nano: from,
            end_time_unix_nano: to,
            ..span(id + 1, parent, "n", 1, 0, 0)
        });
        let trace = trace(spans.collect());
        prop_assert_eq!(trace.len(), count);
        prop_assert_eq!(trace.to_string().lines().count(), count + 2);
        for (i, node) in trace.nodes().iter().enumerate() {
            match node.place.parent {
                None => prop_assert_eq!(node.place.depth, 0),
                Some(p) => {
                    prop_assert!(p < i);
                    prop_assert_eq!(node.place.depth, trace.nodes()[p].place.depth + 1);
                    let parent = &trace.nodes()[p].span;
                    prop_assert_eq!(Some(parent.span_id), node.span.parent_span_id);
                }
            }
        }
    }
}
