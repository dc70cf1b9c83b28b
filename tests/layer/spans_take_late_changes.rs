//! What is said of a span after its creation arrives, whatever the subscriber is made of.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::capture::{Span, int, layer, named, record, record_with, text, under, value};
use tracing::{Level, info, info_span, trace_span};
use tracing_otlp::context::{SetParentError, TraceFlags};
use tracing_otlp::{KeyValue, SpanExt as _, SpanId, Status, TraceContext, TraceId, Value, context};
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
        Some(crate::capture::Value::ArrayValue(list)) if list.values.len() == 2
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

/// TR-12: a link keeps its place, and one without ids is kept for what it says.
#[test]
fn a_link_without_ids_is_kept_for_its_attributes() {
    let spans = record(|| {
        let span = info_span!("span");
        let nowhere = TraceContext::default;
        span.add_link(remote(1, TraceFlags::SAMPLED));
        span.add_link(nowhere());
        span.add_link_with_attributes(nowhere(), &[KeyValue::new("why", "lost")]);
        span.add_link(nowhere().with_trace_state("a=b".parse().unwrap()));
    });
    let links = &named(&spans, "span").links;
    assert_eq!(links.len(), 3, "nothing was said by the second");
    assert_eq!(links[0].trace_id, [1; 16]);
    assert_eq!(value(&links[1].attributes, "why"), text("lost").as_ref());
    assert_eq!(links[2].trace_state, "a=b");
}

/// TR-16: a pipeline that is disabled has no spans, and still passes on the context that it was given.
#[test]
fn a_disabled_pipeline_passes_the_context_on() {
    let builder = tracing_otlp::builder().without_env();
    let (layer, _guard) = builder
        .configure(|config| config.disabled = true)
        .build()
        .unwrap();
    let given = remote(1, TraceFlags::SAMPLED);
    under(Registry::default().with(layer), || {
        context::sync_scope(given.clone(), || {
            let _span = info_span!("span").entered();
            let passed = context::current();
            let ids = (passed.trace_id(), passed.span_id(), passed.is_sampled());
            assert_eq!(ids, (given.trace_id(), given.span_id(), true));
        });
    });
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

#[test]
fn an_error_without_a_description_takes_back_the_one_before_tr_7() {
    let spans = record(|| {
        let span = info_span!("span");
        span.set_status(Status::error("card declined"));
        span.set_status(Status::error(""));
    });
    let status = spans[0].status.clone().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, ""));
}

/// An `Option` and a `Vec` pass on no registry, and ids of two registries are alike.
#[test]
fn layers_in_an_option_or_a_vec_are_not_taken_for_one_another() {
    let (one, one_s) = layer();
    let (two, two_s) = layer();
    let one = tracing::Dispatch::new(Registry::default().with(Some(one)));
    let two = tracing::Dispatch::new(Registry::default().with(vec![two]));
    let make = |dispatch| tracing::dispatcher::with_default(dispatch, || info_span!("request"));
    let spans = [make(&one), make(&two)];
    assert_eq!(spans[0].id(), spans[1].id());
    spans[1].set_parent(remote(7, TraceFlags::SAMPLED)).unwrap();
    spans[1].set_attribute("tenant", "b");
    spans[0].set_attribute("tenant", "a");
    assert!(spans[0].trace_context().is_valid());
    drop(spans);
    for (capture, tenant, is_remote) in [(one_s, "a", false), (two_s, "b", true)] {
        let span = capture.spans().remove(0);
        assert_eq!(value(&span.attributes, "tenant"), text(tenant).as_ref());
        assert_eq!(span.trace_id == [7; 16], is_remote);
    }
}
