//! The limits of the specification, with what they cost counted on the wire (LIM-1 to LIM-3, PAIN 20).

use crate::capture::{Value, int, layer_with, record_with, text, under, value};
use tracing::{info, info_span};
use tracing_otlp::config::SpanLimits;
use tracing_subscriber::layer::SubscriberExt as _;

fn limits(
    edit: impl Fn(&mut SpanLimits),
) -> impl FnOnce(tracing_otlp::OtlpBuilder) -> tracing_otlp::OtlpBuilder {
    let mut limits = SpanLimits::default();
    edit(&mut limits);
    move |builder| {
        builder
            .with_span_limits(limits)
            .with_target(false)
            .with_location(false)
    }
}

#[test]
fn attributes_beyond_the_limit_are_dropped_and_counted_lim_3() {
    let spans = record_with(limits(|l| l.attribute_count_limit = 2), || {
        let span = info_span!("s", a = 1, b = 2, c = 3, d = 4);
        // Overwriting is no drop; a new key is.
        span.record("b", 20);
        span.record("d", 5);
    });
    let span = &spans[0];
    assert_eq!(span.attributes.len(), 2);
    assert_eq!(value(&span.attributes, "b").cloned(), int(20));
    assert_eq!(span.dropped_attributes_count, 3);
}

#[test]
fn what_was_left_out_is_told_lim_5() {
    let (layer, capture) = layer_with(limits(|l| l.attribute_count_limit = 1));
    under(tracing_subscriber::registry().with(layer), || {
        drop(info_span!("cut", a = 1, b = 2, c = 3));
        drop(info_span!("whole", a = 1));
    });
    assert_eq!(capture.spans().len(), 2);
    assert_eq!(capture.stats().truncated, 2);
}

/// Only attributes have a length limit; what names a span, its kind and its status has none.
#[test]
fn names_kinds_and_statuses_are_never_cut_lim_2() {
    let spans = record_with(limits(|l| l.attribute_value_length_limit = Some(2)), || {
        let name = "a long name";
        drop(
            info_span!("s", otel.name = %name, otel.kind = ?"server", otel.status_code = %"ERROR"),
        );
        drop(info_span!("named by nothing", otel.name = ""));
    });
    let status = spans[0].status.as_ref().map(|status| status.code);
    assert_eq!((spans[0].name.as_str(), status), ("a long name", Some(2)));
    assert_eq!(spans[1].name, "named by nothing");
}

#[test]
fn our_own_attributes_give_way_first() {
    let spans = record_with(
        |b| limits(|l| l.attribute_count_limit = 2)(b).with_target(true),
        || drop(info_span!("s", a = 1, b = 2)),
    );
    assert!(value(&spans[0].attributes, "b").is_some());
    assert_eq!(spans[0].dropped_attributes_count, 1);
}

#[test]
fn values_are_cut_in_spans_and_events_lim_2() {
    let spans = record_with(limits(|l| l.attribute_value_length_limit = Some(4)), || {
        let bytes: &[u8] = b"123456";
        let _s = info_span!("s", text = "ääääää", bytes, debug = ?"abcdef", n = 123_456).entered();
        info!(shown = %"abcdef", "a long message stays whole");
    });
    let attributes = &spans[0].attributes;
    assert_eq!(value(attributes, "text").cloned(), text("ääää"));
    assert_eq!(
        value(attributes, "bytes").cloned(),
        Some(Value::BytesValue(b"1234".to_vec()))
    );
    assert_eq!(value(attributes, "debug").cloned(), text("\"abc"));
    assert_eq!(value(attributes, "n").cloned(), int(123_456));
    let event = &spans[0].events[0];
    assert_eq!(event.name, "a long message stays whole");
    assert_eq!(value(&event.attributes, "shown").cloned(), text("abcd"));
}

#[test]
fn events_and_links_beyond_the_limit_are_dropped_and_counted_lim_1() {
    let edit = limits(|l| {
        l.event_count_limit = 3;
        l.link_count_limit = 2;
        l.attributes_per_event_limit = 2;
    });
    let spans = record_with(edit, || {
        let others: Vec<_> = (0..5).map(|_| info_span!("other")).collect();
        let span = info_span!("s");
        others.iter().for_each(|o| {
            span.follows_from(o);
        });
        let _s = span.entered();
        for n in 0..10 {
            info!(n, more = 1, most = 2, "event");
        }
        tracing::error!("dropped too, but heard");
    });
    let span = crate::capture::named(&spans, "s");
    assert_eq!((span.events.len(), span.dropped_events_count), (3, 8));
    assert_eq!((span.links.len(), span.dropped_links_count), (2, 3));
    assert_eq!(span.status.clone().unwrap().code, 2);
    // `level` is the event's third; it gives way.
    assert_eq!(span.events[0].attributes.len(), 2);
    assert_eq!(span.events[0].dropped_attributes_count, 2);
}

/// What says how the span fared is heard, though it is not kept: as an error event is.
#[test]
fn an_error_field_past_the_limit_still_sets_the_status_evt_4() {
    #[tracing::instrument(err(level = "warn"))]
    fn fails() -> Result<(), std::num::ParseIntError> {
        info!("the one that is kept");
        "x".parse::<i32>().map(|_| ())
    }

    let edit = limits(|l| l.event_count_limit = 1);
    let spans = record_with(edit, || assert!(fails().is_err()));
    assert_eq!(
        (spans[0].events.len(), spans[0].dropped_events_count),
        (1, 1)
    );
    let status = spans[0].status.clone().unwrap();
    assert_eq!(
        (status.code, status.message.as_str()),
        (2, "invalid digit found in string")
    );
}

#[test]
fn a_limit_of_zero_keeps_nothing() {
    let edit = limits(|l| {
        l.attribute_count_limit = 0;
        l.event_count_limit = 0;
        l.link_count_limit = 0;
    });
    let spans = record_with(edit, || {
        let _s = info_span!("s", a = 1).entered();
        info!("event");
    });
    let span = &spans[0];
    assert_eq!((span.attributes.len(), span.events.len()), (0, 0));
    assert_eq!(
        (span.dropped_attributes_count, span.dropped_events_count),
        (1, 1)
    );
}

#[test]
fn ten_million_events_in_one_span_do_not_grow_it_pain_20() {
    let (layer, capture) = crate::capture::layer_with(|b| b);
    use tracing_subscriber::layer::SubscriberExt as _;
    crate::capture::under(tracing_subscriber::registry().with(layer), || {
        let _s = info_span!("long").entered();
        for n in 0..10_000_000u64 {
            info!(n, "tick");
        }
        assert!(
            capture.stats().memory_used < 1 << 20,
            "{}",
            capture.stats().memory_used
        );
    });
    let spans = capture.spans();
    assert_eq!(
        (spans[0].events.len(), spans[0].dropped_events_count),
        (128, 9_999_872)
    );
}

#[test]
fn attributes_beyond_the_memory_are_dropped_and_counted() {
    let (layer, capture) = crate::capture::layer_with(|b| b.with_max_memory(8 << 20));
    use tracing_subscriber::layer::SubscriberExt as _;
    crate::capture::under(tracing_subscriber::registry().with(layer), || {
        let big = "x".repeat(300 << 10);
        let open: Vec<_> = (0..16)
            .map(|_| info_span!("big", big = big.as_str(), n = 1))
            .collect();
        let used = capture.stats().memory_used;
        assert!(used <= 8 << 20, "{used}");
        drop(open);
    });
    let spans = capture.spans_but_for_losses();
    assert_eq!(capture.stats().unaccounted(), 0);
    let whole = spans
        .iter()
        .filter(|s| value(&s.attributes, "big").is_some())
        .count();
    let bare = spans
        .iter()
        .filter(|s| s.dropped_attributes_count > 0)
        .count();
    assert!(whole >= 1 && bare >= 1, "{whole} {bare}");
}

/// What is written beside an event, for its span, is paid for and given back.
#[test]
fn a_long_error_beside_an_event_holds_no_memory_afterwards() {
    let (layer, capture) = layer_with(|b| b.configure(|c| c.limits.attributes_per_event_limit = 1));
    let error: Box<dyn std::error::Error> = "long ".repeat(4 << 10).into();
    let mut used = Vec::new();
    under(tracing_subscriber::registry().with(layer), || {
        for _ in 0..20 {
            info_span!("span").in_scope(|| tracing::error!(code = 1, error = &*error));
            let _ = capture
                .guard()
                .force_flush_blocking(std::time::Duration::from_secs(20));
            used.push(capture.stats().memory_used);
        }
    });
    // Chunks and spans are kept for the next; what is lost would add up.
    assert_eq!(used[19], used[5], "{used:?}");
}

/// A late parent takes back what the sampler added, also where the span has very many fields.
#[test]
fn what_a_sampler_added_goes_from_a_span_of_very_many_fields() {
    use tracing_otlp::context::TraceFlags;
    use tracing_otlp::sampler::{Sampler, SamplingInput, SamplingResult};
    use tracing_otlp::{KeyValue, SpanExt as _, SpanId, TraceContext, TraceId};

    #[derive(Debug)]
    struct Adds;

    impl Sampler for Adds {
        fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
            let attributes = match input.parent {
                Some(_) => Vec::new(),
                None => vec![KeyValue::new("one", 1_i64), KeyValue::new("two", 2_i64)],
            };
            SamplingResult::RECORD_AND_SAMPLE.with_attributes(attributes)
        }

        fn description(&self) -> String {
            "Adds".to_owned()
        }
    }

    for attributes in 380..386 {
        let (layer, capture) = layer_with(|b| {
            b.with_sampler(Adds)
                .configure(|c| c.limits.attribute_count_limit = 1000)
        });
        under(tracing_subscriber::registry().with(layer), || {
            let span = info_span!("many");
            for n in 0..attributes {
                span.set_attribute(format!("key {n}"), n as i64);
            }
            let parent = TraceContext::new(
                TraceId::from_bytes([9; 16]),
                SpanId::from_bytes([9; 8]),
                TraceFlags::SAMPLED,
            );
            span.set_parent(parent.with_remote(true)).unwrap();
        });
        let spans = capture.spans();
        assert_eq!(
            spans[0]
                .attributes
                .iter()
                .filter(|a| a.key.starts_with("key "))
                .count(),
            attributes
        );
        assert!(
            !spans[0]
                .attributes
                .iter()
                .any(|a| a.key == "one" || a.key == "two")
        );
    }
}
