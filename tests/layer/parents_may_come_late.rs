//! A parent that is set after a span's creation: the trace, the decision and the children follow it.

use crate::capture::{int, layer, layer_with, named, record, record_with, text, under, value};
use tracing::info_span;
use tracing_otlp::context::{SetParentError, TraceFlags};
use tracing_otlp::sampler::{AlwaysOff, ParentBased, Sampler, SamplingInput, SamplingResult};
use tracing_otlp::{KeyValue, SpanExt as _, SpanId, TraceContext, TraceId, Value, context};
use tracing_subscriber::layer::SubscriberExt as _;

fn remote(id: u8, flags: TraceFlags) -> TraceContext {
    TraceContext::new(
        TraceId::from_bytes([id; 16]),
        SpanId::from_bytes([id; 8]),
        flags,
    )
    .with_remote(true)
}

#[test]
fn a_parent_from_elsewhere_takes_the_span_into_its_trace() {
    let parent = remote(9, TraceFlags::SAMPLED);
    let spans = record(|| {
        let span = info_span!("server", field = 1);
        assert!(span.set_parent(parent.clone()).is_ok());
        assert_eq!(span.trace_context().trace_id(), parent.trace_id());
        let child = info_span!(parent: &span, "child");
        assert_eq!(
            span.set_parent(remote(8, TraceFlags::SAMPLED)),
            Err(SetParentError::HasChildren)
        );
        drop(child);
    });
    let server = named(&spans, "server");
    assert_eq!(server.trace_id, [9; 16]);
    assert_eq!(server.parent_span_id, [9; 8]);
    assert_eq!(server.flags, 0x301);
    assert_eq!(value(&server.attributes, "field"), int(1).as_ref());
    assert_eq!(named(&spans, "child").parent_span_id, server.span_id);
}

#[test]
fn a_parent_decides_sampling_again_and_no_field_is_lost() {
    // Its own sampler drops the root; the caller sampled the trace (DESIGN §2).
    let (layer, capture) = layer_with(|builder| builder.with_sampler(ParentBased::new(AlwaysOff)));
    under(tracing_subscriber::registry().with(layer), || {
        let span = info_span!(
            "server",
            field = 1,
            otel.kind = "server",
            late = tracing::field::Empty
        );
        span.record("late", 2);
        assert!(span.set_parent(remote(9, TraceFlags::SAMPLED)).is_ok());
        assert!(span.is_recording());
        drop(info_span!(parent: &span, "child"));
        drop(info_span!("a root that stays dropped", field = 1));
    });
    let spans = capture.spans();
    let server = named(&spans, "server");
    assert_eq!(value(&server.attributes, "field"), int(1).as_ref());
    assert_eq!(value(&server.attributes, "late"), int(2).as_ref());
    assert_eq!(server.kind, 2);
    assert_eq!(named(&spans, "child").parent_span_id, server.span_id);
    assert_eq!(spans.len(), 2);
    let stats = capture.stats();
    assert_eq!(
        (stats.started, stats.started_unsampled),
        (2, 1),
        "{stats:?}"
    );
    assert_eq!(stats.unaccounted(), 0);
}

#[test]
fn a_callsite_whose_roots_get_no_parent_stops_keeping_their_fields() {
    let (layer, capture) = layer_with(|builder| builder.with_sampler(ParentBased::new(AlwaysOff)));
    under(tracing_subscriber::registry().with(layer), || {
        let mut parent = None;
        for i in 0..1_000 {
            let span = info_span!("job", i);
            if i >= 997 {
                parent = Some(span.set_parent(remote(9, TraceFlags::SAMPLED)));
            }
        }
        assert_eq!(parent, Some(Ok(())));
    });
    let fields: Vec<_> = capture
        .spans()
        .iter()
        .map(|s| value(&s.attributes, "i").cloned())
        .collect();
    // The first comes as a surprise.
    assert_eq!(fields, [None, int(998), int(999)]);
}

#[test]
fn a_parent_that_is_not_sampled_drops_the_span_and_another_brings_it_back() {
    let (layer, capture) = layer();
    under(tracing_subscriber::registry().with(layer), || {
        let dropped = info_span!("dropped", field = 1);
        assert!(dropped.set_parent(remote(1, TraceFlags::default())).is_ok());
        drop(info_span!(parent: &dropped, "child of dropped"));
        let back = info_span!("back", field = 1);
        assert!(back.set_parent(remote(2, TraceFlags::default())).is_ok());
        assert!(back.set_parent(remote(3, TraceFlags::SAMPLED)).is_ok());
    });
    let spans = capture.spans();
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert_eq!(named(&spans, "back").trace_id, [3; 16]);
    assert_eq!(value(&spans[0].attributes, "field"), int(1).as_ref());
    let stats = capture.stats();
    assert_eq!(
        (stats.started, stats.started_unsampled),
        (1, 2),
        "{stats:?}"
    );
}

#[test]
fn a_span_unsampled_by_its_local_parent_is_recorded_from_the_new_parent_on() {
    let (layer, capture) = layer_with(|builder| builder.with_sampler(ParentBased::new(AlwaysOff)));
    under(tracing_subscriber::registry().with(layer), || {
        let consumer = info_span!("loop").entered();
        let message = info_span!("message");
        assert!(message.set_parent(remote(9, TraceFlags::SAMPLED)).is_ok());
        message.set_attribute("late", 1_i64);
        drop(message);
        drop(consumer);
    });
    let spans = capture.spans();
    let message = named(&spans, "message");
    assert_eq!(value(&message.attributes, "late"), int(1).as_ref());
    assert_eq!(
        value(&message.attributes, "target"),
        text(module_path!()).as_ref()
    );
    assert!(message.start_time_unix_nano > 1_700_000_000_000_000_000);
    assert_eq!(capture.stats().unaccounted(), 0);
}

#[test]
fn an_unsampled_span_that_has_ended_takes_no_parent() {
    let (layer, capture) = layer_with(|builder| builder.with_sampler(ParentBased::new(AlwaysOff)));
    under(tracing_subscriber::registry().with(layer), || {
        let root = info_span!("loop").entered();
        let message = info_span!("message");
        let context = message.trace_context();
        message.end();
        assert_eq!(message.trace_context(), context);
        assert!(message.set_parent(remote(9, TraceFlags::SAMPLED)).is_err());
        let child = info_span!(parent: &message, "step");
        assert_eq!(child.trace_context().trace_id(), context.trace_id());
        drop((child, message, root));
    });
    assert!(capture.spans().is_empty());
    let stats = capture.stats();
    assert_eq!((stats.started, stats.started_unsampled), (0, 3));
    assert_eq!(stats.unaccounted(), 0);
}

/// Samples by an attribute, and says which it saw.
struct ByTenant;

impl Sampler for ByTenant {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        match input.attribute("tenant") {
            Some(Value::String(tenant)) if tenant == "gold" => SamplingResult::RECORD_AND_SAMPLE
                .with_attributes([KeyValue::new("sampled.because", "gold")]),
            _ => SamplingResult::DROP,
        }
    }

    fn description(&self) -> String {
        "ByTenant".into()
    }
}

#[test]
fn a_sampler_sees_the_fields_again_when_the_parent_changes() {
    let spans = record_with(
        |builder| builder.with_sampler(ByTenant),
        || {
            for tenant in ["gold", "tin"] {
                let span = info_span!("span", tenant);
                assert!(span.set_parent(remote(4, TraceFlags::default())).is_ok());
            }
        },
    );
    assert_eq!(spans.len(), 1);
    let attributes = &spans[0].attributes;
    assert_eq!(value(attributes, "sampled.because"), text("gold").as_ref());
    assert_eq!(value(attributes, "tenant"), text("gold").as_ref());
}

#[test]
fn what_a_sampler_added_goes_with_its_decision() {
    /// Says of whom it decided.
    struct Says;

    impl Sampler for Says {
        fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
            let attribute = match input.parent {
                None => KeyValue::new("sampled.root", true),
                Some(_) => KeyValue::new("sampled.child", true),
            };
            SamplingResult::RECORD_AND_SAMPLE.with_attributes([attribute])
        }

        fn description(&self) -> String {
            "Says".into()
        }
    }

    let spans = record_with(
        |builder| builder.with_sampler(Says),
        || {
            let span = info_span!("span", field = 1);
            for id in 1..3 {
                span.set_parent(remote(id, TraceFlags::SAMPLED)).unwrap();
            }
            drop(info_span!("root"));
        },
    );
    let has = |name, key| value(&named(&spans, name).attributes, key).is_some();
    assert!(has("span", "sampled.child") && has("span", "field"));
    assert!(!has("span", "sampled.root"));
    assert!(has("root", "sampled.root"));
}

#[test]
fn a_span_that_is_open_here_may_be_the_parent_and_is_one_from_then_on() {
    let spans = record(|| {
        let parent = info_span!("parent");
        let child = info_span!("child");
        child.set_parent(parent.trace_context()).unwrap();
        let own = child.trace_context();
        assert_eq!(child.set_parent(own), Err(SetParentError::OwnContext));
        assert_eq!(
            parent.set_parent(remote(1, TraceFlags::SAMPLED)),
            Err(SetParentError::HasChildren)
        );
        let other = info_span!("other");
        context::sync_scope(other.trace_context(), || drop(info_span!("in scope")));
        assert_eq!(
            other.set_parent(parent.trace_context()),
            Err(SetParentError::HasChildren)
        );
    });
    let (parent, child) = (named(&spans, "parent"), named(&spans, "child"));
    assert_eq!(child.parent_span_id, parent.span_id);
    assert_eq!(child.trace_id, parent.trace_id);
    // Not remote.
    assert_eq!(child.flags, 0x103);
    let other = named(&spans, "other");
    assert_eq!(named(&spans, "in scope").parent_span_id, other.span_id);
}

#[test]
fn what_is_said_of_a_context_holds_below_it() {
    let (layer, capture) = layer_with(|builder| builder.with_sampler(ParentBased::new(AlwaysOff)));
    under(tracing_subscriber::registry().with(layer), || {
        let dropped = info_span!("dropped").entered();
        let own = dropped.trace_context();
        // Who wants one part of a trace that is not sampled says so.
        let wanted = own
            .clone()
            .with_flags(own.flags().with(TraceFlags::SAMPLED));
        context::sync_scope(wanted, || drop(info_span!("wanted")));
        let state = "vendor=1".parse().unwrap();
        let stated = own.clone().with_trace_state(state);
        // Open, and current no more: its context says where it is.
        let dropped = dropped.exit();
        context::sync_scope(stated, || {
            let span = info_span!("stated");
            assert_eq!(span.trace_context().trace_state().as_str(), "vendor=1");
            assert!(!span.trace_context().is_sampled());
        });
        let late = dropped.set_parent(remote(1, TraceFlags::SAMPLED));
        assert_eq!(late, Err(SetParentError::HasChildren));
    });
    let spans = capture.spans();
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert_eq!(spans[0].name, "wanted");
}

#[test]
fn a_context_from_before_the_parent_still_means_the_span() {
    for flags in [
        TraceFlags::SAMPLED,
        TraceFlags::SAMPLED.with(TraceFlags::RANDOM),
        TraceFlags::default(),
    ] {
        let spans = record(|| {
            let span = info_span!("span");
            let before = span.trace_context();
            span.set_parent(remote(9, flags)).unwrap();
            context::sync_scope(before, || {
                let child = info_span!("child");
                assert_eq!(
                    child.trace_context().trace_id(),
                    span.trace_context().trace_id()
                );
                assert_eq!(child.trace_context().is_sampled(), flags.is_sampled());
            });
            assert_eq!(
                span.set_parent(remote(8, TraceFlags::SAMPLED)),
                Err(SetParentError::HasChildren)
            );
        });
        assert_eq!(spans.len(), if flags.is_sampled() { 2 } else { 0 });
    }
}

#[test]
fn a_sampler_s_attribute_gives_back_what_it_replaced() {
    /// Knows no tenant of a root.
    struct Guesses;

    impl Sampler for Guesses {
        fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
            let seen = |key| input.attribute(key).is_some();
            let attributes = match input.parent {
                None => vec![KeyValue::new("tenant", "unknown")],
                Some(_) => vec![
                    KeyValue::new("saw.tenant", input.attribute("tenant").unwrap()),
                    KeyValue::new("saw.target", seen("target")),
                ],
            };
            SamplingResult::RECORD_AND_SAMPLE.with_attributes(attributes)
        }

        fn description(&self) -> String {
            "Guesses".into()
        }
    }

    let spans = record_with(
        |builder| builder.with_sampler(Guesses),
        || {
            let given = info_span!("given", tenant = "gold");
            given.set_parent(remote(1, TraceFlags::SAMPLED)).unwrap();
            let said = info_span!("said", tenant = tracing::field::Empty);
            said.record("tenant", "gold");
            said.set_parent(remote(1, TraceFlags::SAMPLED)).unwrap();
        },
    );
    for name in ["given", "said"] {
        let attributes = &named(&spans, name).attributes;
        for key in ["tenant", "saw.tenant"] {
            assert_eq!(
                value(attributes, key),
                text("gold").as_ref(),
                "{name} {key}"
            );
        }
        // What the layer adds no sampler sees, the second time as the first.
        let saw = value(attributes, "saw.target");
        assert_eq!(saw, Some(&crate::capture::Value::BoolValue(false)));
    }
}

#[test]
fn idle_time_is_counted_from_the_start_whenever_the_parent_comes() {
    let dropped = |builder: tracing_otlp::OtlpBuilder| {
        let builder = builder.with_tracked_inactivity(true);
        builder.with_sampler(ParentBased::new(AlwaysOff))
    };
    let spans = record_with(dropped, || {
        let consumer = info_span!("loop").entered();
        let message = info_span!("message");
        message.in_scope(|| ());
        message.set_parent(remote(9, TraceFlags::SAMPLED)).unwrap();
        drop((message, consumer));
    });
    let span = &spans[0];
    let lasted = span.end_time_unix_nano - span.start_time_unix_nano;
    let Some(crate::capture::Value::IntValue(idle)) = value(&span.attributes, "idle_ns") else {
        panic!("{span:?}");
    };
    // Ticks become nanoseconds one by one, so the sum may be off by some.
    assert!((*idle as u64) <= lasted + 1_000, "{idle} of {lasted}");
}

#[test]
fn what_a_decision_had_no_room_for_is_counted_once_lim_1() {
    /// Adds one attribute to all.
    struct Adds;

    impl Sampler for Adds {
        fn should_sample(&self, _: &SamplingInput<'_>) -> SamplingResult {
            SamplingResult::RECORD_AND_SAMPLE.with_attributes([KeyValue::new("added", true)])
        }

        fn description(&self) -> String {
            "Adds".into()
        }
    }

    let mut limits = tracing_otlp::config::SpanLimits::default();
    limits.attribute_count_limit = 1;
    let lean = |builder: tracing_otlp::OtlpBuilder| {
        let builder = builder.with_target(false).with_location(false);
        builder.with_span_limits(limits).with_sampler(Adds)
    };
    let spans = record_with(lean, || {
        let span = info_span!("span", field = 1);
        for id in 1..4 {
            span.set_parent(remote(id, TraceFlags::SAMPLED)).unwrap();
        }
    });
    assert_eq!(spans[0].dropped_attributes_count, 1);
    assert_eq!(value(&spans[0].attributes, "field"), int(1).as_ref());
}
