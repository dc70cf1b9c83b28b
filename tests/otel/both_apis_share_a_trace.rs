//! `tracing` and the OpenTelemetry API in one trace, in either order, with context activation.
//!
//! Activation is the whole process's, so this binary has it on and another has it off.

use std::time::{Duration, UNIX_EPOCH};

use crate::capture::{Capture, ScopeSpans, Span, int, layer_with, named, text, value};
use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::trace::{
    Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
    get_active_span,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use tracing::{Instrument as _, info_span};
use tracing_otlp::config::TailConfig;
use tracing_otlp::context::{Baggage, SetParentError, TraceFlags};
use tracing_otlp::otel::{OpenTelemetrySpanExt, Tracer, TracerProvider, from_context};
use tracing_otlp::sampler::{AlwaysOff, ParentBased};
use tracing_otlp::{ConfigStore, OtlpBuilder, SpanExt, SpanId, TraceContext, TraceId, context};
use tracing_subscriber::layer::SubscriberExt as _;

fn record_with(
    edit: impl FnOnce(OtlpBuilder) -> OtlpBuilder,
    f: impl FnOnce(Tracer),
) -> (Vec<Span>, Capture) {
    let (layer, capture) = layer_with(|builder| edit(builder.with_context_activation(true)));
    let tracer = TracerProvider::new(&layer).tracer("library");
    crate::capture::under(tracing_subscriber::registry().with(layer), || f(tracer));
    assert!(!Context::current().has_active_span(), "all is detached");
    let spans = capture.spans();
    let stats = capture.stats();
    assert_eq!((stats.open, stats.unaccounted()), (0, 0), "{stats}");
    (spans, capture)
}

fn record(f: impl FnOnce(Tracer)) -> Vec<Span> {
    record_with(|builder| builder, f).0
}

#[track_caller]
fn assert_child(spans: &[Span], child: &str, parent: &str) {
    let (child, parent) = (named(spans, child), named(spans, parent));
    assert_eq!(child.parent_span_id, parent.span_id);
    assert_eq!(child.trace_id, parent.trace_id);
}

#[test]
fn spans_of_either_api_are_children_of_the_other() {
    let spans = record(|tracer| {
        let handler = info_span!("handler").entered();
        tracer.in_span("library", |_cx| {
            let inner = info_span!("inner").entered();
            tracer.in_span("innermost", |_cx| {
                assert_ne!(context::current(), inner.trace_context());
            });
            drop(inner);
        });
        drop(info_span!("sibling"));
        assert_eq!(context::current(), handler.trace_context());
        drop(handler);
        drop(tracer.start("apart"));
    });
    assert_child(&spans, "library", "handler");
    assert_child(&spans, "inner", "library");
    assert_child(&spans, "innermost", "inner");
    assert_child(&spans, "sibling", "handler");
    assert!(named(&spans, "apart").parent_span_id.is_empty());
    // All of them are local.
    assert!(spans.iter().all(|s| s.flags == 0x103), "{spans:?}");
}

#[test]
fn a_scope_is_seen_by_the_other_api_and_a_span_within_it_too() {
    let spans = record(|tracer| {
        let outer = info_span!("outer").entered();
        let cx = outer.trace_context().with_remote(true);
        drop(info_span!("beside"));
        context::sync_scope(cx.clone(), || {
            assert_eq!(from_context(&Context::current()), cx);
            drop(tracer.start("in scope"));
        });
        context::sync_scope(tracing_otlp::TraceContext::default(), || {
            drop(tracer.start("apart"));
            drop(info_span!("apart too"));
        });
        drop(outer);
    });
    assert_child(&spans, "in scope", "outer");
    assert_eq!(named(&spans, "in scope").flags, 0x303, "of a remote parent");
    assert!(named(&spans, "apart").parent_span_id.is_empty());
    assert!(named(&spans, "apart too").parent_span_id.is_empty());
}

#[test]
fn what_is_said_of_the_active_span_reaches_it() {
    let spans = record(|_| {
        let span = info_span!("span").entered();
        get_active_span(|active| {
            assert!(active.is_recording());
            active.set_attribute(KeyValue::new("key", 5));
            active.add_event("happened", vec![KeyValue::new("n", 1)]);
            active.set_status(Status::error("broken"));
            active.update_name("renamed");
        });
        let cx = span.context();
        drop(span);
        // It is closed: nobody else's span is meant.
        let other = info_span!("other");
        cx.span().set_attribute(KeyValue::new("late", true));
        drop(other);
    });
    let span = named(&spans, "renamed");
    assert_eq!(value(&span.attributes, "key"), int(5).as_ref());
    assert_eq!(span.events[0].name, "happened");
    assert_eq!(span.status.as_ref().unwrap().message, "broken");
    assert_eq!(value(&named(&spans, "other").attributes, "late"), None);
}

#[test]
fn everything_that_the_api_says_of_its_span_arrives() {
    let at = |nanos| UNIX_EPOCH + Duration::from_nanos(nanos);
    let spans = record(|tracer| {
        let other = tracer.start("other");
        let mut span = tracer
            .span_builder("query")
            .with_kind(SpanKind::Client)
            .with_start_time(at(1_000_000_000_000_000_001))
            .with_attributes([
                KeyValue::new("db.system.name", "sqlite"),
                KeyValue::new("n", 1),
            ])
            .start(&tracer);
        span.set_attribute(KeyValue::new("n", 2));
        span.add_event("row", vec![KeyValue::new("i", 1)]);
        span.add_link(other.span_context().clone(), vec![]);
        span.record_error(&std::io::Error::other("broken"));
        span.set_status(Status::Ok);
        span.end_with_timestamp(at(1_000_000_000_000_000_009));
        span.set_attribute(KeyValue::new("late", 1));
        assert!(!span.is_recording());
    });
    let span = named(&spans, "query");
    assert_eq!(span.kind, 3);
    assert_eq!(span.start_time_unix_nano, 1_000_000_000_000_000_001);
    // Its event happened long after the end that was given, and a span contains its events.
    assert!(span.end_time_unix_nano >= 1_000_000_000_000_000_009);
    assert_eq!(value(&span.attributes, "n"), int(2).as_ref());
    assert_eq!(
        value(&span.attributes, "db.system.name"),
        text("sqlite").as_ref()
    );
    assert_eq!(value(&span.attributes, "late"), None);
    assert_eq!((span.events.len(), span.links.len()), (2, 1));
    assert_eq!(span.links[0].span_id, named(&spans, "other").span_id);
    assert_eq!(span.status.as_ref().unwrap().code, 1);
}

#[test]
fn a_library_has_its_own_instrumentation_scope_tr_13() {
    let (layer, capture) = layer_with(|builder| builder);
    let provider = TracerProvider::new(&layer);
    let scope = InstrumentationScope::builder("library")
        .with_version("1.2")
        .with_schema_url("https://opentelemetry.io/schemas/1.30.0")
        .with_attributes([KeyValue::new("pool", 3)])
        .build();
    drop(provider.tracer_with_scope(scope).start("query"));
    drop(provider.tracer("other").start("query"));
    let scopes = capture.scopes();
    let of = |name: &str| {
        let is_it = |s: &&ScopeSpans| s.scope.as_ref().is_some_and(|scope| scope.name == name);
        scopes.iter().find(is_it).unwrap()
    };
    let library = of("library").scope.as_ref().unwrap();
    assert_eq!(library.version, "1.2");
    assert_eq!(value(&library.attributes, "pool"), int(3).as_ref());
    assert_eq!(
        of("library").schema_url,
        "https://opentelemetry.io/schemas/1.30.0"
    );
    // Which conventions it follows, only itself could say.
    assert_eq!(of("other").schema_url, "");
}

#[test]
fn baggage_is_shared() {
    let spans = record(|_| {
        let carried = Context::current().with_baggage([KeyValue::new("user", "7")]);
        let guard = carried.attach();
        let span = info_span!("span").entered();
        assert_eq!(context::current().baggage().get("user"), Some("7"));
        assert_eq!(span.trace_context().baggage().get("user"), Some("7"));
        drop(span);
        drop(guard);
        let cx = tracing_otlp::TraceContext::default()
            .with_baggage(Baggage::EMPTY.with("tenant", "gold"));
        context::sync_scope(cx, || {
            let tenant = |cx: &Context| cx.baggage().get("tenant").map(ToString::to_string);
            let span = info_span!("tenant").entered();
            assert_eq!(tenant(&Context::current()).as_deref(), Some("gold"));
            drop(span);
        });
    });
    assert_eq!(spans.len(), 2);
}

#[test]
fn the_sampler_decides_for_both_and_tail_decisions_take_both() {
    let (spans, capture) = record_with(
        |builder| builder.with_sampler(ParentBased::new(AlwaysOff)),
        |tracer| {
            let span = tracer.start("dropped");
            assert!(!span.is_recording());
            let cx = Context::current_with_span(span);
            let guard = cx.attach();
            drop(info_span!("child of dropped"));
            drop(guard);
        },
    );
    assert!(spans.is_empty());
    assert_eq!(capture.stats().started_unsampled, 2);
    let (spans, _) = record_with(
        |builder| builder.with_tail_sampling(TailConfig::default()),
        |tracer| {
            for fails in [false, true] {
                let root = info_span!("root").entered();
                tracer.in_span("library", |cx| {
                    if fails {
                        cx.span().set_status(Status::error("broken"));
                    }
                });
                drop(root);
            }
        },
    );
    assert_eq!(spans.len(), 2, "one whole trace: {spans:?}");
}

#[test]
fn what_is_made_below_a_span_s_context_is_of_its_local_trace() {
    let (spans, _) = record_with(
        |builder| builder.with_tail_sampling(TailConfig::default()),
        |tracer| {
            for fails in [false, true] {
                // Nowhere entered: only its context says where it is.
                let root = info_span!("root");
                let child = info_span!("child");
                OpenTelemetrySpanExt::set_parent(&child, root.context()).unwrap();
                tracer.start_with_context("library", &root.context()).end();
                if fails {
                    child.in_scope(|| tracing::error!("broken"));
                }
            }
        },
    );
    assert_eq!(spans.len(), 3, "one whole trace: {spans:?}");
    assert_child(&spans, "child", "root");
    assert_child(&spans, "library", "root");
}

fn remote(flags: TraceFlags) -> TraceContext {
    let (trace, span) = (TraceId::from_bytes([9; 16]), SpanId::from_bytes([9; 8]));
    TraceContext::new(trace, span, flags).with_remote(true)
}

#[test]
fn a_parent_that_is_set_after_enter_takes_all_that_follows_along() {
    for flags in [
        TraceFlags::SAMPLED,
        TraceFlags::SAMPLED.with(TraceFlags::RANDOM),
    ] {
        let spans = record(|tracer| {
            let span = info_span!("server").entered();
            SpanExt::set_parent(&*span, remote(flags)).unwrap();
            assert_eq!(context::current(), span.trace_context());
            // What the other API's propagators would send.
            let theirs = Context::current().span().span_context().clone();
            assert_eq!(theirs.trace_id(), TraceId::from_bytes([9; 16]).into());
            drop(info_span!("child"));
            drop(tracer.start("library"));
        });
        assert_child(&spans, "child", "server");
        assert_child(&spans, "library", "server");
        assert_eq!(named(&spans, "server").trace_id, [9; 16]);
    }
}

#[test]
fn what_the_other_api_does_not_know_is_not_lost() {
    let state = "a@a-vendor-of-a-long-name=1,rojo=2";
    record(|_| {
        let cx = remote(TraceFlags::DEBUG).with_trace_state(state.parse().unwrap());
        let carried = cx.clone().with_baggage(Baggage::EMPTY.with("user", "7"));
        context::sync_scope(carried, || {
            let span = info_span!("span").entered();
            assert!(context::current().flags().is_debug());
            assert_eq!(span.trace_context().trace_state().as_str(), state);
            assert_eq!(context::current().baggage().get("user"), Some("7"));
            // The context of a scope wins, also where it has less.
            context::sync_scope(cx, || {
                assert!(context::current().baggage().is_empty());
                assert!(info_span!("bare").trace_context().baggage().is_empty());
            });
        });
    });
}

#[test]
fn what_is_taken_to_another_thread_is_of_the_local_trace() {
    let (spans, _) = record_with(
        |builder| builder.with_tail_sampling(TailConfig::default()),
        |_| {
            let root = info_span!("root").entered();
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            let work = context::in_current_trace_context(move || {
                tracing::dispatcher::with_default(&dispatch, || {
                    info_span!("elsewhere").in_scope(|| tracing::error!("broken"));
                });
            });
            std::thread::spawn(work).join().unwrap();
            let late = SpanExt::set_parent(&*root, remote(TraceFlags::SAMPLED));
            assert_eq!(late, Err(SetParentError::HasChildren));
        },
    );
    assert_child(&spans, "elsewhere", "root");
}

/// A thread's locals go in an order of their own; asking for what is current aborts nothing.
#[test]
fn what_is_current_may_be_asked_for_when_a_thread_ends() {
    struct Asks;

    impl Drop for Asks {
        fn drop(&mut self) {
            assert!(!context::current().is_valid());
            context::sync_scope(remote(TraceFlags::SAMPLED), || ());
        }
    }

    thread_local!(static ASKS: Asks = const { Asks });
    record(|_| {
        let thread = std::thread::spawn(|| {
            ASKS.with(|_| ());
            context::sync_scope(remote(TraceFlags::SAMPLED), || {
                assert!(context::current().is_valid());
            });
        });
        thread.join().unwrap();
    });
}

#[test]
fn the_level_of_detail_is_for_both() {
    let store = ConfigStore::default();
    store.set_span_filter("trace,library=off".parse().unwrap());
    let (spans, _) = record_with(
        |builder| builder.with_config_store(store),
        |tracer| {
            let _handler = info_span!("handler").entered();
            tracer.in_span("hushed", |_| drop(info_span!("inner")));
        },
    );
    assert_eq!(spans.len(), 2, "{spans:?}");
    assert_child(&spans, "inner", "handler");
}

#[test]
fn contexts_nest_out_of_order_and_across_awaits() {
    let spans = record(|tracer| {
        let (a, b) = (info_span!("a"), info_span!("b"));
        let (in_a, in_b) = (a.clone().entered(), b.clone().entered());
        drop(in_a);
        assert_eq!(context::current(), b.trace_context());
        drop(in_b);
        assert!(!context::current().is_valid());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let work = |name: &'static str| {
                let tracer = tracer.clone();
                async move {
                    tokio::task::yield_now().await;
                    drop(tracer.start(name));
                }
            };
            let one = work("of one").instrument(info_span!("one"));
            let two = work("of two").instrument(info_span!("two"));
            tokio::join!(one, two);
        });
    });
    assert_child(&spans, "of one", "one");
    assert_child(&spans, "of two", "two");
}
