//! Sampler and level of detail change while spans are recorded; other layers notice nothing.

use crate::capture::{layer, layer_with, named, under};
use tracing::{Metadata, Subscriber, debug, debug_span, info, info_span, span};
use tracing_otlp::context::TraceFlags;
use tracing_otlp::sampler::{
    AlwaysOff, AlwaysOn, AlwaysRecord, ParentBased, Sampler, TraceIdRatio,
};
use tracing_otlp::{ConfigStore, SpanExt as _, SpanId, TraceContext, TraceId, context};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

fn remote(flags: TraceFlags) -> TraceContext {
    TraceContext::new(
        TraceId::from_bytes([9; 16]),
        SpanId::from_bytes([9; 8]),
        flags,
    )
    .with_remote(true)
}

#[test]
fn a_sampler_that_is_exchanged_decides_the_next_root_and_a_trace_goes_on() {
    let store = ConfigStore::default();
    let (layer, capture) = layer_with(|builder| builder.with_config_store(store.clone()));
    under(tracing_subscriber::registry().with(layer), || {
        let begun = info_span!("begun").entered();
        store.set_sampler(ParentBased::new(AlwaysOff));
        drop(info_span!("goes on"));
        drop(info_span!(parent: None, "not kept"));
        drop(begun);
        store.set_sampler(ParentBased::new(AlwaysOn));
        drop(info_span!("kept again"));
    });
    let mut names: Vec<_> = capture.spans().into_iter().map(|s| s.name).collect();
    names.sort();
    assert_eq!(names, ["begun", "goes on", "kept again"]);
}

#[test]
fn a_branch_for_remote_parents_is_asked_and_local_children_follow_smp_3() {
    let distrust = ParentBased::new(AlwaysOn).with_remote_parent_sampled(AlwaysOff);
    let (layer, capture) = layer_with(|builder| builder.with_sampler(distrust));
    under(tracing_subscriber::registry().with(layer), || {
        context::sync_scope(remote(TraceFlags::SAMPLED), || {
            let span = info_span!("from outside").entered();
            assert!(!span.trace_context().is_sampled());
            drop(info_span!("child"));
        });
        let own = info_span!("own").entered();
        // A context of this process is no remote parent.
        let local = own.trace_context();
        std::thread::scope(|s| {
            s.spawn(|| context::sync_scope(local, || assert!(!context::current().is_remote())));
        });
        drop(info_span!("own child"));
    });
    let spans = capture.spans();
    assert_eq!(spans.len(), 2);
    assert_eq!(
        named(&spans, "own child").parent_span_id,
        named(&spans, "own").span_id
    );
}

#[test]
fn a_threshold_goes_on_only_where_it_holds_smp_9() {
    // The id has the randomness 0x09090909090909: below 8, above 08.
    let (below, above) = ("ot=th:8;x:y", "ot=th:08;x:y");
    let (kept, cleared) = (Some("th:08;x:y"), Some("x:y"));
    let followed = || Box::new(ParentBased::new(AlwaysOff)) as Box<dyn Sampler>;
    for (sampler, state, sampled, expected) in [
        (None, above, true, kept),
        (None, below, true, cleared),
        (None, above, false, cleared),
        (None, below, false, Some("th:8;x:y")),
        (Some(followed()), above, true, kept),
        (Some(followed()), below, true, cleared),
        // These have asked no parent.
        (Some(Box::new(AlwaysOn) as _), above, true, cleared),
        (Some(Box::new(AlwaysOff) as _), above, true, cleared),
        (
            Some(Box::new(TraceIdRatio::new(1.0)) as _),
            above,
            true,
            cleared,
        ),
    ] {
        let (layer, _capture) = layer_with(|builder| match sampler {
            Some(sampler) => builder.with_sampler(sampler),
            None => builder,
        });
        let flags = TraceFlags::default().with(match sampled {
            true => TraceFlags::SAMPLED,
            false => TraceFlags::default(),
        });
        let parent = remote(flags).with_trace_state(state.parse().unwrap());
        under(tracing_subscriber::registry().with(layer), || {
            let span = context::sync_scope(parent, || info_span!("span"));
            let own = span.trace_context();
            assert_eq!(own.trace_state().get("ot"), expected, "{state} {sampled}");
            let child = info_span!(parent: &span, "child");
            assert_eq!(child.trace_context().trace_state(), own.trace_state());
        });
    }
}

#[test]
fn what_is_recorded_only_is_not_exported_tr_2() {
    let sampler = AlwaysRecord::new(ParentBased::new(AlwaysOff));
    let (layer, capture) = layer_with(|builder| builder.with_sampler(sampler));
    under(tracing_subscriber::registry().with(layer), || {
        let span = info_span!("recorded", field = 1);
        assert!(span.is_recording());
        assert!(!span.trace_context().is_sampled());
        span.in_scope(|| {
            info!("event");
            assert!(info_span!("child").is_recording());
        });
    });
    assert!(capture.spans().is_empty());
    let stats = capture.stats();
    assert_eq!((stats.started, stats.started_unsampled), (0, 2));
    assert_eq!((stats.open, stats.unaccounted()), (0, 0));
}

/// Counts what it is shown.
#[derive(Default, Clone)]
struct Seen(std::sync::Arc<std::sync::Mutex<Vec<&'static str>>>);

impl<S: Subscriber> Layer<S> for Seen {
    fn enabled(&self, _: &Metadata<'_>, _: Context<'_, S>) -> bool {
        true
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        self.0.lock().unwrap().push(attributes.metadata().name());
    }
}

#[test]
fn what_is_too_detailed_is_left_out_and_its_children_join_the_nearest_ancestor() {
    let store = ConfigStore::default();
    let seen = Seen::default();
    let (layer, capture) = layer_with(|builder| builder.with_config_store(store.clone()));
    let subscriber = tracing_subscriber::registry()
        .with(layer)
        .with(seen.clone());
    under(subscriber, || {
        store.set_span_filter("info,chatty=warn".parse().unwrap());
        let outer = info_span!("outer").entered();
        let hushed = debug_span!("hushed").entered();
        let by_target = info_span!(target: "chatty::inner", "hushed by its target").entered();
        assert_eq!(context::current(), outer.trace_context());
        let inner = info_span!("inner").entered();
        drop(inner);
        info!("of the outer one");
        debug!("hushed");
        context::sync_scope(remote(TraceFlags::SAMPLED), || {
            let _hushed = debug_span!("hushed in a scope").entered();
            drop(info_span!("of the scope"));
        });
        store.set_span_filter("trace".parse().unwrap());
        drop(debug_span!("no longer hushed"));
        drop(by_target);
        drop(hushed);
        drop(outer);
    });
    let spans = capture.spans();
    let outer = named(&spans, "outer");
    assert_eq!(named(&spans, "inner").parent_span_id, outer.span_id);
    assert_eq!(
        named(&spans, "no longer hushed").parent_span_id,
        outer.span_id
    );
    let events: Vec<_> = outer.events.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(events, ["of the outer one"]);
    assert_eq!(named(&spans, "of the scope").parent_span_id, [9; 8]);
    assert_eq!(spans.len(), 4);
    // Another layer is not blinded.
    assert_eq!(seen.0.lock().unwrap().len(), 7);
    assert_eq!(capture.stats().unaccounted(), 0);
}

#[test]
fn a_layer_without_a_store_keeps_everything() {
    let (layer, capture) = layer();
    under(tracing_subscriber::registry().with(layer), || {
        drop(debug_span!("span"));
    });
    assert_eq!(capture.spans().len(), 1);
}
