//! What is said of a span after its creation arrives, whatever the subscriber is made of.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod capture;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use capture::{Span, int, layer, layer_with, named, record, record_with, text, under, value};
use tracing::{Level, info, info_span, trace_span};
use tracing_otlp::sampler::{AlwaysOff, ParentBased, Sampler, SamplingInput, SamplingResult};
use tracing_otlp::{
    KeyValue, SetParentError, SpanExt as _, SpanId, Status, TraceContext, TraceFlags, TraceId,
    Value, context,
};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::{Registry, reload};

fn remote(id: u8, flags: TraceFlags) -> TraceContext {
    TraceContext::new(
        TraceId::from_bytes([id; 16]),
        SpanId::from_bytes([id; 8]),
        flags,
    )
    .with_remote(true)
}

/// Says everything that can be said.
fn say_all(span: &tracing::Span) {
    span.set_attribute("declared", 2_i64);
    span.set_attribute(String::from("undeclared"), "x");
    span.set_attribute("list", vec![Value::from(1_i64), Value::from("two")]);
    span.add_link_with_attributes(
        remote(7, TraceFlags::SAMPLED),
        &[KeyValue::new("why", "retry")],
    );
    span.add_event("happened", &[KeyValue::new("n", 5_i64)]);
    span.record_error(&std::io::Error::other("broken"));
    span.set_status(Status::error("it broke"));
    span.update_name("renamed");
}

#[track_caller]
fn assert_all_said(spans: &[Span]) {
    let span = named(spans, "renamed");
    let attributes = &span.attributes;
    assert_eq!(value(attributes, "declared"), int(2).as_ref());
    assert_eq!(value(attributes, "undeclared"), text("x").as_ref());
    assert!(matches!(
        value(attributes, "list"),
        Some(capture::Value::ArrayValue(list)) if list.values.len() == 2
    ));
    let link = &span.links[0];
    assert_eq!((&link.trace_id[..], link.flags), (&[7; 16][..], 0x301));
    assert_eq!(value(&link.attributes, "why"), text("retry").as_ref());
    assert_eq!(span.events[0].name, "happened");
    assert_eq!(value(&span.events[0].attributes, "n"), int(5).as_ref());
    // TR-14, ERR-2.
    assert_eq!(span.events[1].name, "exception");
    let exception = &span.events[1].attributes;
    assert_eq!(
        value(exception, "exception.message"),
        text("broken").as_ref()
    );
    let status = span.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "it broke"));
}

#[test]
fn everything_arrives_before_and_after_enter() {
    for entered in [false, true] {
        let spans = record(|| {
            let span = info_span!("span", declared = 1);
            if entered {
                span.in_scope(|| {});
            }
            say_all(&span);
        });
        assert_all_said(&spans);
    }
}

#[test]
fn everything_arrives_behind_filters_boxes_and_reload() {
    type Boxed = Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync>;
    let wraps: [fn(tracing_otlp::OtlpLayer) -> Boxed; 5] = [
        |layer| Box::new(layer),
        |layer| Box::new(Some(layer)),
        |layer| Box::new(layer.with_filter(LevelFilter::INFO)),
        |layer| Box::new(reload::Layer::new(layer).0),
        |layer| {
            Box::new(
                reload::Layer::new(Box::new(layer) as Boxed)
                    .0
                    .with_filter(LevelFilter::INFO),
            )
        },
    ];
    for wrap in wraps {
        let (layer, capture) = layer();
        under(tracing_subscriber::registry().with(wrap(layer)), || {
            say_all(&info_span!("span", declared = 1));
        });
        assert_all_said(&capture.spans());
    }
}

#[test]
fn a_layer_that_came_by_a_reload_is_found() {
    let (first, _gone) = layer();
    let (second, capture) = layer();
    let (layer, handle) = reload::Layer::new(first);
    under(tracing_subscriber::registry().with(layer), || {
        handle.reload(second).unwrap();
        let span = info_span!("span", declared = 1);
        say_all(&span);
        assert!(span.trace_context().is_valid());
    });
    assert_all_said(&capture.spans());
}

#[test]
fn two_layers_are_both_told() {
    let (one, first) = layer();
    let (two, second) = layer();
    under(tracing_subscriber::registry().with(one).with(two), || {
        say_all(&info_span!("span", declared = 1));
    });
    assert_all_said(&first.spans());
    assert_all_said(&second.spans());
}

#[test]
fn late_attributes_keep_the_limits_lim_1_to_3() {
    let edit = |builder: tracing_otlp::OtlpBuilder| {
        builder.configure(|config| {
            config.limits.attribute_count_limit = 2;
            config.limits.attribute_value_length_limit = Some(3);
            config.limits.attributes_per_link_limit = 1;
            config.capture.target = false;
            config.capture.location = false;
        })
    };
    let spans = record_with(edit, || {
        let span = info_span!("span", a = 1);
        span.set_attribute("b", vec![Value::from("long enough")]);
        span.set_attribute("a", "äöüß");
        span.set_attribute("c", 1_i64);
        let two = [KeyValue::new("x", 1_i64), KeyValue::new("y", 2_i64)];
        span.add_link_with_attributes(remote(1, TraceFlags::default()), &two);
    });
    let span = named(&spans, "span");
    assert_eq!(value(&span.attributes, "a"), text("äöü").as_ref());
    assert!(format!("{:?}", value(&span.attributes, "b")).contains("\"lon\""));
    assert_eq!(
        (span.attributes.len(), span.dropped_attributes_count),
        (2, 1)
    );
    assert_eq!(span.links[0].dropped_attributes_count, 1);
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

/// Samples by an attribute, and says which it saw.
struct ByTenant;

impl Sampler for ByTenant {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        match input.attribute("tenant") {
            Some(Value::String(tenant)) if tenant == "gold" => SamplingResult {
                attributes: vec![KeyValue::new("sampled.because", "gold")],
                ..SamplingResult::RECORD_AND_SAMPLE
            },
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
fn spans_that_are_not_recorded_say_so() {
    let nowhere = tracing::Span::none();
    assert_eq!(
        nowhere.set_parent(remote(1, TraceFlags::SAMPLED)),
        Err(SetParentError::SpanDisabled)
    );
    assert!(!nowhere.is_recording());
    under(tracing_subscriber::registry(), || {
        let span = info_span!("nobody listens");
        assert!(!span.trace_context().is_valid());
        // Other pipelines of this process may have been set up behind a reload, so it is either.
        assert!(span.set_parent(remote(1, TraceFlags::SAMPLED)).is_err());
    });
    let (layer, _capture) = layer();
    let visible = layer.with_filter(filter_fn(|metadata| *metadata.level() <= Level::INFO));
    under(tracing_subscriber::registry().with(visible), || {
        let outer = info_span!("outer").entered();
        let hidden = trace_span!("hidden");
        assert_eq!(hidden.trace_context(), outer.trace_context());
        assert_eq!(
            hidden.set_parent(remote(1, TraceFlags::SAMPLED)),
            Err(SetParentError::SpanDisabled)
        );
        say_all(&hidden);
    });
}

#[test]
fn an_end_seals_and_what_comes_later_is_counted_tr_10() {
    let (layer, capture) = layer();
    under(tracing_subscriber::registry().with(layer), || {
        let span = info_span!("ended", late = tracing::field::Empty);
        let entered = span.clone().entered();
        let open = info_span!("open child");
        span.end();
        assert_eq!(capture.spans().len(), 1, "handed on at once");
        assert!(!span.is_recording());
        say_all(&span);
        span.record("late", 1);
        info!("late");
        span.end();
        assert_eq!(
            span.set_parent(remote(1, TraceFlags::SAMPLED)),
            Err(SetParentError::Ended)
        );
        // It still works as a parent.
        drop(info_span!("late child"));
        assert_eq!(context::current(), span.trace_context());
        drop(entered);
        drop(open);
    });
    let spans = capture.spans();
    assert_eq!(spans.len(), 3);
    let ended = named(&spans, "ended");
    assert!(ended.events.is_empty() && value(&ended.attributes, "late").is_none());
    assert_eq!(named(&spans, "late child").parent_span_id, ended.span_id);
    let stats = capture.stats();
    assert_eq!((stats.started, stats.open, stats.unaccounted()), (3, 0, 0));
    // Eight that `say_all` said, `record`, the event, the second end.
    assert_eq!(stats.after_end, 11, "{stats:?}");
}

#[test]
fn given_times_are_kept_to_the_nanosecond() {
    let at = |nanos| UNIX_EPOCH + Duration::from_nanos(nanos);
    let far = SystemTime::now() + Duration::from_secs(7200);
    let spans = record(|| {
        let span = info_span!("span");
        span.add_event_with_time("then", at(1_234_567_890_123_456_789), &[]);
        span.end_with_time(far);
        let before = info_span!("ends before it starts");
        before.end_with_time(at(5));
    });
    let span = named(&spans, "span");
    assert_eq!(span.events[0].time_unix_nano, 1_234_567_890_123_456_789);
    let far = far.duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    assert_eq!(span.end_time_unix_nano, far);
    let before = named(&spans, "ends before it starts");
    assert_eq!(before.end_time_unix_nano, before.start_time_unix_nano);
}
