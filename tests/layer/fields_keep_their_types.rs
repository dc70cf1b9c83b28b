//! Every kind of value that `tracing` has arrives as what it is (TR-9, MIG-1, PAIN 34), each key
//! once (TR-8, MIG-2).

use std::fmt;

use crate::capture::{Value, int, record, text, value};
use tracing::field::Empty;
use tracing::{info_span, span};

#[test]
fn every_primitive_keeps_its_type() {
    let bytes: &[u8] = &[1, 2, 0xff];
    let spans = record(|| {
        let _ = info_span!(
            "types",
            boolean = true,
            i8 = -1i8,
            i64 = i64::MIN,
            u16 = 404u16,
            usize = 7usize,
            u64_small = i64::MAX as u64,
            u64_large = u64::MAX,
            i128_small = -5i128,
            i128_large = i128::MIN,
            u128_small = 5u128,
            u128_large = u128::MAX,
            f32 = 0.5f32,
            f64 = 0.1,
            string = "text",
            bytes,
            display = %"shown",
            debug = ?Some(1),
            empty = "",
            zero = 0,
            no = false,
        );
    });
    let attributes = &spans[0].attributes;
    let get = |key| value(attributes, key).cloned();
    assert_eq!(get("boolean"), Some(Value::BoolValue(true)));
    assert_eq!(get("i8"), int(-1));
    assert_eq!(get("i64"), int(i64::MIN));
    assert_eq!(get("u16"), int(404));
    assert_eq!(get("usize"), int(7));
    assert_eq!(get("u64_small"), int(i64::MAX));
    assert_eq!(get("u64_large"), text("18446744073709551615"));
    assert_eq!(get("i128_small"), int(-5));
    assert_eq!(
        get("i128_large"),
        text("-170141183460469231731687303715884105728")
    );
    assert_eq!(get("u128_small"), int(5));
    assert_eq!(
        get("u128_large"),
        text("340282366920938463463374607431768211455")
    );
    assert_eq!(get("f32"), Some(Value::DoubleValue(0.5)));
    assert_eq!(get("f64"), Some(Value::DoubleValue(0.1)));
    assert_eq!(get("string"), text("text"));
    assert_eq!(get("bytes"), Some(Value::BytesValue(bytes.to_vec())));
    assert_eq!(get("display"), text("shown"));
    assert_eq!(get("debug"), text("Some(1)"));
    // Empty and zero values are meaningful (TR-8).
    assert_eq!(get("empty"), text(""));
    assert_eq!(get("zero"), int(0));
    assert_eq!(get("no"), Some(Value::BoolValue(false)));
}

#[test]
fn recording_a_field_again_replaces_its_value_tr_8() {
    let spans = record(|| {
        let span = info_span!(
            "again",
            before = 1,
            status = Empty,
            after = 2,
            long = "short"
        );
        span.record("status", 200);
        span.record("status", "x".repeat(300));
        span.record("before", "now text");
        span.record("long", "y".repeat(1000));
        span.record("status", 404);
    });
    let attributes = &spans[0].attributes;
    assert_eq!(value(attributes, "status").cloned(), int(404));
    assert_eq!(value(attributes, "before").cloned(), text("now text"));
    assert_eq!(value(attributes, "after").cloned(), int(2));
    assert_eq!(value(attributes, "long").cloned(), text(&"y".repeat(1000)));
    assert_eq!(spans[0].dropped_attributes_count, 0);
}

#[test]
fn a_field_named_twice_in_one_callsite_is_there_once() {
    let spans = record(|| {
        let _ = info_span!("twice", key = 1, other = 2, key = 3);
    });
    assert_eq!(value(&spans[0].attributes, "key").cloned(), int(3));
    assert_eq!(value(&spans[0].attributes, "other").cloned(), int(2));
}

#[derive(Debug)]
struct Outer(Inner);
#[derive(Debug)]
struct Inner;
impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shop is closed")
    }
}
impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no key")
    }
}
impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}
impl std::error::Error for Inner {}

#[test]
fn an_error_brings_its_chain_mig_3() {
    let error = Outer(Inner);
    let error: &(dyn std::error::Error + 'static) = &error;
    let spans = record(|| {
        let span = info_span!("failing", cause = error);
        span.record("cause", error);
    });
    let attributes = &spans[0].attributes;
    assert_eq!(
        value(attributes, "cause").cloned(),
        text("the shop is closed")
    );
    match value(attributes, "cause.chain") {
        Some(Value::ArrayValue(list)) => {
            assert_eq!(list.values[0].value, text("no key"));
            assert_eq!(list.values.len(), 1);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        value(attributes, "exception.message").cloned(),
        text("the shop is closed")
    );
    // A string if it is there at all (ERR-2).
    assert_eq!(
        value(attributes, "exception.stacktrace").cloned(),
        text("the shop is closed\ncaused by: no key")
    );
}

#[test]
fn an_error_without_exceptions_is_only_itself() {
    let error = Outer(Inner);
    let error: &(dyn std::error::Error + 'static) = &error;
    let spans = crate::capture::record_with(
        |b| b.with_error_fields_to_exceptions(false),
        || drop(info_span!("failing", cause = error)),
    );
    assert_eq!(value(&spans[0].attributes, "exception.message"), None);
    assert!(value(&spans[0].attributes, "cause.chain").is_some());
}

#[test]
fn keys_of_fields_win_over_our_own() {
    let spans = crate::capture::record_with(
        |b| b.with_level(true).with_threads(true),
        || {
            let span = info_span!(
                "mine",
                target = "t",
                level = 3,
                thread.name = tracing::field::Empty
            );
            span.record("thread.name", "weaver");
        },
    );
    let keys = spans[0].attributes.iter();
    assert_eq!(keys.filter(|a| a.key == "thread.name").count(), 1);
    let attributes = &spans[0].attributes;
    assert_eq!(value(attributes, "target").cloned(), text("t"));
    assert_eq!(value(attributes, "level").cloned(), int(3));
    assert_eq!(value(attributes, "thread.name").cloned(), text("weaver"));
    assert!(value(attributes, "thread.id").is_some());
}

/// THR-1: both keys of a thread, where they are asked for.
#[test]
fn the_switches_of_the_migrants_mig_4() {
    let one = || drop(span!(target: "shop::till", tracing::Level::WARN, "switch"));
    let spans = record(one);
    let default = &spans[0].attributes;
    assert_eq!(value(default, "target").cloned(), text("shop::till"));
    assert!(
        matches!(value(default, "code.file.path"), Some(Value::StringValue(p)) if p.ends_with("fields_keep_their_types.rs"))
    );
    assert!(matches!(value(default, "code.line.number"), Some(Value::IntValue(n)) if *n > 100));
    assert_eq!(default.len(), 3);

    let spans = crate::capture::record_with(|b| b.with_target(false).with_location(false), one);
    assert_eq!(spans[0].attributes, []);

    let spans = crate::capture::record_with(
        |b| {
            b.with_level(true)
                .with_threads(true)
                .with_tracked_inactivity(true)
        },
        one,
    );
    let all = &spans[0].attributes;
    assert_eq!(value(all, "level").cloned(), text("WARN"));
    assert!(matches!(value(all, "thread.id"), Some(Value::IntValue(_))));
    assert_eq!(
        value(all, "thread.name").cloned(),
        text(std::thread::current().name().unwrap())
    );
    assert_eq!(value(all, "busy_ns").cloned(), int(0));
    assert!(matches!(value(all, "idle_ns"), Some(Value::IntValue(_))));
}

#[test]
fn busy_and_idle_time_add_up() {
    let spans = crate::capture::record_with(
        |b| b.with_tracked_inactivity(true),
        || {
            let span = info_span!("busy");
            for _ in 0..3 {
                let _entered = span.enter();
                std::hint::black_box((0..10_000).sum::<u64>());
            }
            drop(span.entered());
        },
    );
    let span = &spans[0];
    let get = |key| match value(&span.attributes, key) {
        Some(Value::IntValue(n)) => *n as u64,
        other => panic!("{key}: {other:?}"),
    };
    let lasted = span.end_time_unix_nano - span.start_time_unix_nano;
    let (busy, idle) = (get("busy_ns"), get("idle_ns"));
    assert!(
        busy > 0 && busy + idle >= lasted - lasted / 100,
        "{busy} {idle} {lasted}"
    );
    assert!(
        busy + idle <= lasted + lasted / 100 + 100,
        "{busy} {idle} {lasted}"
    );
}

/// `to_string` panics where a value fails to format; nothing of ours does.
#[test]
fn a_value_that_fails_to_format_takes_nothing_down_eh_1() {
    struct Fails;
    impl std::fmt::Debug for Fails {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Err(std::fmt::Error)
        }
    }
    impl std::fmt::Display for Fails {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Err(std::fmt::Error)
        }
    }
    impl std::error::Error for Fails {}
    let spans = record(|| {
        let error: &(dyn std::error::Error + 'static) = &Fails;
        let _span = tracing::info_span!("span", value = ?Fails, error, after = 1).entered();
        tracing::error!(error = ?Fails);
        tracing::error!(error);
        tracing::info!(value = %Fails, "said");
    });
    assert_eq!((spans.len(), spans[0].events.len()), (1, 3));
    assert!(value(&spans[0].attributes, "after").is_some());
}

/// TR-8: as an attribute that code sets.
#[test]
fn a_field_without_a_name_is_left_out() {
    let spans = record(|| {
        let span = info_span!("nameless", "" = 1, a = 1);
        let _entered = span.enter();
        let error: &(dyn std::error::Error + 'static) = &fmt::Error;
        tracing::info!("" = ?2, b = 2, "event");
        tracing::info!("" = error, b = 3, "event with an error");
        span.record("", "later");
    });
    let keys = |attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]| {
        let keys = attributes.iter().map(|a| a.key.clone());
        keys.filter(|key| key.len() < 2).collect::<Vec<_>>()
    };
    let span = &spans[0];
    assert_eq!(keys(&span.attributes), ["a"]);
    assert_eq!(span.dropped_attributes_count, 2);
    for event in &span.events {
        assert_eq!(keys(&event.attributes), ["b"]);
        assert_eq!(event.dropped_attributes_count, 1);
    }
    assert_eq!(span.events.len(), 2);
}
