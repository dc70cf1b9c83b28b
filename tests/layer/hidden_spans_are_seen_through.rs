//! Work in a span that is hidden from the layer belongs to the nearest recorded ancestor, on whatever
//! thread: its context, its spans, its events, and what it takes along.
//!
//! One subscriber for the whole process: other threads see only a global default.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;

use std::sync::OnceLock;
use std::thread;

use capture::{Capture, Span, layer_with, named};
use tracing::{Instrument as _, debug_span, info, info_span, trace_span};
use tracing_otlp::context::{self, FutureExt as _};
use tracing_otlp::{ConfigStore, SpanExt as _, TraceContext};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Identity, Layer as _, SubscriberExt as _};

/// Hidden by the layer's own filter.
const FILTERED: &str = "filtered";
/// Too detailed by the level of their target.
const HUSHED: &str = "hushed";

struct Rig {
    capture: Capture,
    store: ConfigStore,
}

fn rig() -> &'static Rig {
    static RIG: OnceLock<Rig> = OnceLock::new();
    RIG.get_or_init(|| {
        let store = ConfigStore::default();
        store.set_span_filter(format!("trace,{HUSHED}=warn").parse().unwrap());
        let (layer, capture) = layer_with(|builder| builder.with_config_store(store.clone()));
        let is_seen = filter_fn(|metadata| metadata.target() != FILTERED);
        let subscriber = tracing_subscriber::registry()
            .with(layer.with_filter(is_seen))
            // Somebody wants the hidden ones.
            .with(Identity::new());
        tracing::subscriber::set_global_default(subscriber).unwrap();
        Rig { capture, store }
    })
}

/// One hidden span of either kind, a child of the current one.
fn hidden() -> [tracing::Span; 2] {
    [
        trace_span!(target: FILTERED, "hidden"),
        trace_span!(target: HUSHED, "hidden"),
    ]
}

fn spans_of(trace: &TraceContext) -> Vec<Span> {
    let mut spans = rig().capture.spans();
    spans.retain(|span| span.trace_id == trace.trace_id().to_bytes());
    spans
}

#[test]
fn another_thread_in_a_hidden_span_sees_the_recorded_one() {
    let rig = rig();
    let outer = info_span!("outer");
    let own = outer.trace_context();
    for hidden in outer.in_scope(hidden) {
        let own = own.clone();
        let work = move || {
            let _entered = hidden.entered();
            assert_eq!(context::current(), own);
            drop(info_span!("made there"));
            info!("said there");
            // Goes one thread further, and is still no other trace.
            let further = context::in_current_trace_context(|| drop(info_span!("further")));
            thread::spawn(further).join().unwrap();
        };
        thread::spawn(work).join().unwrap();
    }
    drop(outer);
    let spans = spans_of(&own);
    assert_eq!(named(&spans, "outer").events.len(), 2);
    let children = |name| spans.iter().filter(move |span| span.name == name);
    for name in ["made there", "further"] {
        assert_eq!(children(name).count(), 2, "{name}: {spans:?}");
        assert!(children(name).all(|span| span.parent_span_id == own.span_id().to_bytes()));
    }
    assert_eq!(rig.capture.stats().unaccounted(), 0);
}

#[tokio::test]
async fn a_task_in_a_hidden_span_takes_the_recorded_one_along() {
    rig();
    let outer = info_span!("outer");
    let own = outer.trace_context();
    for hidden in outer.in_scope(hidden) {
        let inner = async { drop(info_span!("task")) };
        // The span around is left behind: only the registry knows whose child the hidden one is.
        let task = async { tokio::spawn(inner.in_current_trace_context()).await };
        tokio::spawn(task.instrument(hidden))
            .await
            .unwrap()
            .unwrap();
    }
    drop(outer);
    let spans = spans_of(&own);
    assert_eq!(spans.len(), 3, "{spans:?}");
    let mut tasks = spans.iter().filter(|span| span.name == "task");
    assert!(tasks.all(|span| span.parent_span_id == own.span_id().to_bytes()));
}

#[test]
fn a_hidden_span_counts_before_what_is_entered_around_it() {
    rig();
    let parent = info_span!(parent: None, "parent");
    let own = parent.trace_context();
    let around = info_span!(parent: None, "around").entered();
    for hidden in parent.in_scope(hidden) {
        let _entered = hidden.entered();
        assert_eq!(context::current(), own);
        info!("said there");
    }
    assert_eq!(context::current(), around.trace_context());
    let around_context = around.trace_context();
    // A scope that is opened last wins.
    context::sync_scope(own.clone(), || assert_eq!(context::current(), own));
    drop((around, parent));
    assert_eq!(named(&spans_of(&own), "parent").events.len(), 2);
    assert!(
        named(&spans_of(&around_context), "around")
            .events
            .is_empty()
    );
}

#[test]
fn an_event_may_name_a_hidden_parent() {
    rig();
    let outer = info_span!(parent: None, "outer");
    let own = outer.trace_context();
    for hidden in outer.in_scope(hidden) {
        info!(parent: &hidden, "said of it");
    }
    let nobody_s = trace_span!(target: HUSHED, parent: None, "hidden root");
    info!(parent: &nobody_s, "nobody's");
    // What has no recorded ancestor belongs to what is around it, as other layers have it.
    outer.in_scope(|| nobody_s.in_scope(|| info!("said around")));
    drop(outer);
    assert_eq!(named(&spans_of(&own), "outer").events.len(), 3);
}

#[test]
fn what_was_hushed_stays_so_when_the_detail_changes() {
    // A pipeline of its own, for its settings change.
    let store = ConfigStore::default();
    store.set_span_filter("info".parse().unwrap());
    let (layer, capture) = layer_with(|builder| builder.with_config_store(store.clone()));
    capture::under(tracing_subscriber::registry().with(layer), || {
        let outer = info_span!("outer");
        let around = info_span!("around").entered();
        let hushed = debug_span!(parent: &outer, "hushed").entered();
        store.set_span_filter("trace".parse().unwrap());
        info!("said there");
        assert_eq!(context::current(), outer.trace_context());
        drop(info_span!("made there"));
        drop((hushed, around));
    });
    let spans = capture.spans();
    let outer = named(&spans, "outer");
    assert_eq!(outer.events.len(), 1);
    assert_eq!(named(&spans, "made there").parent_span_id, outer.span_id);
}

#[test]
fn where_nothing_is_current_nothing_is_parted() {
    assert!(rig().store.span_filter().default_level().is_some());
    let nothing = context::in_current_trace_context(|| drop(info_span!("closure")));
    let future = async { drop(info_span!("future")) }.in_current_trace_context();
    assert!(!future.trace_context().is_valid());
    let outer = info_span!(parent: None, "outer");
    let own = outer.trace_context();
    outer.in_scope(nothing);
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    runtime.block_on(future.instrument(outer));
    let spans = spans_of(&own);
    for name in ["closure", "future"] {
        assert_eq!(named(&spans, name).parent_span_id, own.span_id().to_bytes());
    }
}
