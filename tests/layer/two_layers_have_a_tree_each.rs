//! tracing-opentelemetry's layer beside ours, with context activation on: each has its own tree, whole
//! and without a span of the other's, in whichever order the layers stand.

use std::collections::BTreeMap;

use crate::capture::layer_with;
use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use tracing::{Instrument as _, info_span};
use tracing_otlp::otel::TracerProvider;
use tracing_otlp::{TraceContext, context};
use tracing_subscriber::layer::SubscriberExt as _;

/// Each span's parent by name, `-` for none, `?` for one that is not there; all of one trace as a rule.
type Tree = BTreeMap<String, String>;

fn tree(spans: &[(Vec<u8>, Vec<u8>, String)]) -> Tree {
    let name = |id: &[u8]| {
        let found = spans.iter().find(|(own, ..)| own == id);
        found.map_or("?", |(.., name)| name)
    };
    let is_none = |id: &[u8]| id.iter().all(|b| *b == 0);
    let parent = |id: &[u8]| if is_none(id) { "-" } else { name(id) };
    let spans = spans.iter();
    spans
        .map(|(_, up, name)| (name.clone(), parent(up).to_owned()))
        .collect()
}

struct Both {
    ours: Tree,
    theirs: Tree,
}

/// Runs `f` under both layers, with a tracer of each pipeline.
fn record<F>(is_ours_first: bool, f: F) -> Both
where
    F: FnOnce(&tracing_otlp::otel::Tracer, &opentelemetry_sdk::trace::SdkTracer),
{
    let exporter = InMemorySpanExporter::default();
    let sdk = SdkTracerProvider::builder().with_simple_exporter(exporter.clone());
    let sdk = sdk.build();
    let tracer = sdk.tracer("theirs");
    let (ours, capture) = layer_with(|builder| builder.with_context_activation(true));
    let own = TracerProvider::new(&ours).tracer("ours");
    if is_ours_first {
        let theirs = tracing_opentelemetry::layer().with_tracer(tracer.clone());
        let subscriber = tracing_subscriber::registry().with(ours).with(theirs);
        crate::capture::under(subscriber, || f(&own, &tracer));
    } else {
        let theirs = tracing_opentelemetry::layer().with_tracer(tracer.clone());
        let subscriber = tracing_subscriber::registry().with(theirs).with(ours);
        crate::capture::under(subscriber, || f(&own, &tracer));
    }
    let finished = exporter.get_finished_spans().unwrap();
    let theirs: Vec<_> = finished
        .iter()
        .map(|span| {
            let id = span.span_context.span_id().to_bytes().to_vec();
            let parent = span.parent_span_id.to_bytes().to_vec();
            (id, parent, span.name.to_string())
        })
        .collect();
    let ours: Vec<_> = capture
        .spans()
        .into_iter()
        .map(|span| (span.span_id, span.parent_span_id, span.name))
        .collect();
    Both {
        ours: tree(&ours),
        theirs: tree(&theirs),
    }
}

fn is<const N: usize>(pairs: [(&str, &str); N]) -> Tree {
    let pairs = pairs.into_iter();
    pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

#[test]
fn nested_spans_have_the_same_tree_in_both() {
    let expected = is([("a", "-"), ("b", "a"), ("c", "b"), ("d", "a"), ("e", "-")]);
    for is_ours_first in [true, false] {
        let both = record(is_ours_first, |_, _| {
            info_span!("a").in_scope(|| {
                info_span!("b").in_scope(|| drop(info_span!("c")));
                info_span!("d").in_scope(|| {});
            });
            info_span!("e").in_scope(|| {});
        });
        assert_eq!(both.ours, expected, "ours first: {is_ours_first}");
        assert_eq!(both.theirs, expected, "ours first: {is_ours_first}");
    }
}

#[test]
fn tasks_that_take_turns_have_the_same_tree_in_both() {
    async fn task(name: &'static str) {
        let leaf = || match name {
            "x" => info_span!("x leaf"),
            _ => info_span!("y leaf"),
        };
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        async { tokio::task::yield_now().await }
            .instrument(leaf())
            .await;
    }
    let expected = is([
        ("root", "-"),
        ("x", "root"),
        ("y", "root"),
        ("x leaf", "x"),
        ("y leaf", "y"),
    ]);
    for is_ours_first in [true, false] {
        let both = record(is_ours_first, |_, _| {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.build().unwrap();
            let work = async {
                let x = tokio::spawn(task("x").instrument(info_span!("x")));
                let y = tokio::spawn(task("y").instrument(info_span!("y")));
                x.await.unwrap();
                y.await.unwrap();
            };
            runtime.block_on(work.instrument(info_span!("root")));
        });
        assert_eq!(both.ours, expected, "ours first: {is_ours_first}");
        assert_eq!(both.theirs, expected, "ours first: {is_ours_first}");
    }
}

#[test]
fn a_caller_s_context_is_the_parent_in_both() {
    let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let caller = TraceContext::from_traceparent(caller).unwrap();
    let expected = is([("served", "?"), ("inner", "served"), ("leaf", "inner")]);
    for is_ours_first in [true, false] {
        let both = record(is_ours_first, |_, _| {
            let served = context::sync_scope(caller.clone(), || info_span!("served"));
            served.in_scope(|| {
                info_span!("inner").in_scope(|| drop(info_span!("leaf")));
            });
        });
        assert_eq!(both.ours, expected, "ours first: {is_ours_first}");
        assert_eq!(both.theirs, expected, "ours first: {is_ours_first}");
    }
}

#[test]
fn spans_of_the_api_are_in_the_tree_of_their_pipeline() {
    for is_ours_first in [true, false] {
        let both = record(is_ours_first, |ours, theirs| {
            info_span!("a").in_scope(|| {
                ours.in_span("by our tracer", |_| {
                    info_span!("b").in_scope(|| {});
                });
                theirs.in_span("by theirs", |_| {
                    info_span!("c").in_scope(|| {});
                });
                info_span!("d").in_scope(|| {});
            });
        });
        let parents = |tree: &Tree, names: &[&str]| {
            let parents = names.iter().map(|name| tree[*name].clone());
            parents.collect::<Vec<_>>()
        };
        let ours = parents(&both.ours, &["a", "by our tracer", "b", "d"]);
        assert_eq!(ours, ["-", "a", "by our tracer", "a"], "{is_ours_first}");
        let theirs = parents(&both.theirs, &["a", "by theirs", "c", "d"]);
        assert_eq!(theirs, ["-", "a", "by theirs", "a"], "{is_ours_first}");
    }
}
