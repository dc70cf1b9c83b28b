//! Whose child a span is: explicit, current, hidden by a filter, or nobody's (MIG-5).

use std::sync::{Arc, Mutex};

use crate::capture::{Span, layer, named, record, record_with, under};
use tracing::{Span as Tracing, info_span, trace_span};
use tracing_otlp::context::IdGenerator;
use tracing_otlp::sampler::{Sampler, SamplingInput, SamplingResult};
use tracing_otlp::{OtlpBuilder, SpanId, TraceId, context};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

#[track_caller]
fn assert_child(spans: &[Span], child: &str, parent: &str) {
    let (child, parent) = (named(spans, child), named(spans, parent));
    assert_eq!(
        child.parent_span_id, parent.span_id,
        "{} of {}",
        child.name, parent.name
    );
    assert_eq!(child.trace_id, parent.trace_id);
}

#[track_caller]
fn assert_root(spans: &[Span], name: &str) {
    assert_eq!(named(spans, name).parent_span_id, [0u8; 0]);
}

/// Notes in which order it is asked.
#[derive(Clone, Default)]
struct Order(Arc<Mutex<Vec<&'static str>>>);

impl IdGenerator for Order {
    fn new_trace_id(&self) -> TraceId {
        self.0.lock().unwrap().push("trace id");
        TraceId::from_bytes([7; 16])
    }

    fn new_span_id(&self) -> SpanId {
        self.0.lock().unwrap().push("span id");
        SpanId::from_bytes([8; 8])
    }
}

impl Sampler for Order {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        assert_eq!(input.trace_id, TraceId::from_bytes([7; 16]));
        self.0.lock().unwrap().push("sampler");
        SamplingResult::DROP
    }

    fn description(&self) -> String {
        "Order".to_owned()
    }
}

/// TR-1: the sampler is asked about the trace id that the trace has, and a span that it drops has ids too.
#[test]
fn a_span_has_its_ids_whatever_the_sampler_decides() {
    let order = Order::default();
    let edit = |builder: OtlpBuilder| {
        let builder = builder.with_id_generator(order.clone());
        builder.with_sampler(order.clone())
    };
    let spans = record_with(edit, || {
        let context = info_span!("dropped").in_scope(context::current);
        let ids = (context.trace_id().to_bytes(), context.span_id().to_bytes());
        assert_eq!(ids, ([7; 16], [8; 8]));
        assert!(!context.is_sampled());
    });
    assert_eq!(spans.len(), 0);
    assert_eq!(*order.0.lock().unwrap(), ["trace id", "span id", "sampler"]);
}

#[test]
fn current_explicit_and_none() {
    let spans = record(|| {
        let a = info_span!("a").entered();
        let b = info_span!("b");
        drop(info_span!("of a"));
        drop(info_span!(parent: &b, "of b"));
        drop(info_span!(parent: None, "root"));
        b.in_scope(|| drop(info_span!("in b")));
        drop(a);
        drop(info_span!("later root"));
    });
    assert_root(&spans, "a");
    assert_child(&spans, "b", "a");
    assert_child(&spans, "of a", "a");
    assert_child(&spans, "of b", "b");
    assert_child(&spans, "in b", "b");
    assert_root(&spans, "root");
    assert_root(&spans, "later root");
    assert_ne!(named(&spans, "root").trace_id, named(&spans, "a").trace_id);
    // TR-3, TR-5, and the flags on the wire: sampled, random, known not to be remote.
    assert!(spans.iter().all(|s| s.flags == 0x103));
}

#[test]
fn a_child_of_a_closed_span_s_id_keeps_the_trace_tr_10() {
    let spans = record(|| {
        let parent = info_span!("parent");
        let child = info_span!(parent: &parent, "child");
        drop(parent);
        drop(info_span!(parent: &child, "grandchild"));
    });
    assert_child(&spans, "child", "parent");
    assert_child(&spans, "grandchild", "child");
}

#[test]
fn a_parent_hidden_by_a_per_layer_filter_is_passed_over() {
    let (layer, capture) = layer();
    let hidden = filter_fn(|metadata| *metadata.level() <= tracing::Level::INFO);
    let subscriber = tracing_subscriber::registry()
        .with(layer.with_filter(hidden))
        // Somebody wants the hidden ones.
        .with(tracing_subscriber::layer::Identity::new().with_filter(LevelFilter::TRACE));
    under(subscriber, || {
        let outer = info_span!("outer");
        let elsewhere = info_span!("elsewhere").entered();
        // Not current here, and hidden: only the registry knows whose child it is.
        let hidden = trace_span!(parent: &outer, "hidden").entered();
        drop(info_span!("current is hidden"));
        drop(info_span!(parent: hidden.id(), "explicit is hidden"));
        let twice = trace_span!("hidden too").entered();
        drop(info_span!("behind two"));
        drop((twice, hidden, elsewhere));
        let lost = trace_span!(parent: None, "hidden root").entered();
        drop(info_span!("root after all"));
        drop(lost);
    });
    let spans = capture.spans();
    assert_child(&spans, "current is hidden", "outer");
    assert_child(&spans, "explicit is hidden", "outer");
    assert_child(&spans, "behind two", "outer");
    assert_root(&spans, "root after all");
    assert!(!spans.iter().any(|s| s.name.starts_with("hidden")));
}

#[test]
fn events_in_a_hidden_span_go_to_the_recorded_one() {
    let (layer, capture) = layer();
    let subscriber = tracing_subscriber::registry()
        .with(layer.with_filter(LevelFilter::INFO))
        .with(tracing_subscriber::layer::Identity::new().with_filter(LevelFilter::TRACE));
    under(subscriber, || {
        let _outer = info_span!("outer").entered();
        let _hidden = trace_span!("hidden").entered();
        tracing::info!("kept");
        tracing::trace!("not wanted");
    });
    let spans = capture.spans();
    assert_eq!(spans[0].events.len(), 1);
}

#[test]
fn follows_from_is_a_link_at_any_time_mig_7_pain_13() {
    let spans = record(|| {
        let cause = info_span!("cause");
        let late = info_span!("late").entered();
        late.follows_from(&cause);
        let id = cause.id();
        drop(cause);
        // Closed, disabled and unknown spans are no links, and no panic.
        late.follows_from(id);
        late.follows_from(Tracing::none().id());
        late.follows_from(tracing::span::Id::from_u64(u64::MAX - 1));
    });
    let (cause, late) = (named(&spans, "cause"), named(&spans, "late"));
    assert_eq!(late.links.len(), 1);
    let link = &late.links[0];
    assert_eq!(
        (&link.trace_id, &link.span_id),
        (&cause.trace_id, &cause.span_id)
    );
    assert_eq!(link.flags, 0x103);
}

#[test]
fn guards_dropped_out_of_order_merge_no_traces_pain_18() {
    let spans = record(|| {
        let (a, b) = (info_span!("a"), info_span!(parent: None, "b"));
        let in_a = a.enter();
        let in_b = b.enter();
        drop(in_a);
        drop(info_span!("of b"));
        drop(in_b);
        drop(info_span!("nobody's"));
    });
    assert_child(&spans, "of b", "b");
    assert_root(&spans, "nobody's");
}

#[test]
fn a_span_entered_again_within_another_is_not_current_again() {
    // With a per-layer filter somewhere the registry is asked, without one it is not: alike.
    for filtered in [false, true] {
        let (layer, capture) = layer();
        let none = tracing_subscriber::layer::Identity::new();
        let subscriber = tracing_subscriber::registry()
            .with(layer)
            .with(filtered.then(|| none.with_filter(LevelFilter::TRACE)));
        under(subscriber, || {
            let (a, b) = (info_span!("a"), info_span!("b"));
            let _in_a = a.enter();
            let _in_b = b.enter();
            let _in_a_again = a.enter();
            drop(info_span!("child"));
        });
        assert_child(&capture.spans(), "child", "b");
    }
}
