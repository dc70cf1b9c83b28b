//! Events become span events, and errors among them set status and exception.

use crate::capture::{Value, int, record, record_with, text, value};
use tracing::{Level, error, event, info, info_span, instrument};

#[test]
fn an_event_has_name_time_and_attributes_evt_1() {
    let spans = record(|| {
        let _span = info_span!("span").entered();
        info!(rows = 3, ratio = 0.5, who = %"me", "rows {}", "fetched");
        event!(name: "named", Level::DEBUG, found = true);
        info!("last");
    });
    let span = &spans[0];
    let names: Vec<_> = span.events.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["rows fetched", "named", "last"]);
    let first = &span.events[0];
    assert_eq!(value(&first.attributes, "rows").cloned(), int(3));
    assert_eq!(
        value(&first.attributes, "ratio").cloned(),
        Some(Value::DoubleValue(0.5))
    );
    assert_eq!(value(&first.attributes, "who").cloned(), text("me"));
    assert_eq!(value(&first.attributes, "level").cloned(), text("INFO"));
    assert_eq!(
        value(&first.attributes, "target").cloned(),
        text(module_path!())
    );
    assert!(value(&first.attributes, "code.line.number").is_some());
    assert_eq!(value(&first.attributes, "message"), None);
    let times: Vec<_> = span.events.iter().map(|e| e.time_unix_nano).collect();
    assert!(times.is_sorted());
    assert!(span.start_time_unix_nano <= times[0] && times[2] <= span.end_time_unix_nano);
    assert_eq!(span.status, None);
}

#[test]
fn an_event_outside_of_spans_is_nobody_s_evt_1() {
    let spans = record(|| {
        info!("alone");
        let span = info_span!("span").entered();
        info!(parent: None, "root");
        drop(span);
        info!("after");
    });
    assert_eq!(spans[0].events, []);
}

#[test]
fn an_event_goes_to_its_explicit_parent() {
    let spans = record(|| {
        let parent = info_span!("parent");
        let _other = info_span!("other").entered();
        info!(parent: &parent, "here");
    });
    assert_eq!(crate::capture::named(&spans, "parent").events.len(), 1);
    assert_eq!(crate::capture::named(&spans, "other").events.len(), 0);
}

#[test]
fn an_error_event_makes_the_status_an_error_evt_3() {
    let spans = record(|| {
        let _span = info_span!("span").entered();
        error!(code = 5, "it broke");
    });
    let status = spans[0].status.clone().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, ""));
    assert_eq!(spans[0].events[0].name, "it broke");
}

#[instrument(err, fields(otel.kind = "server"))]
fn fails() -> Result<(), std::num::ParseIntError> {
    "x".parse::<i32>().map(|_| ())
}

#[test]
fn instrument_err_sets_status_and_exception_evt_4() {
    let spans = record(|| assert!(fails().is_err()));
    let span = crate::capture::named(&spans, "fails");
    let status = span.status.clone().unwrap();
    assert_eq!(
        (status.code, status.message.as_str()),
        (2, "invalid digit found in string")
    );
    let event = &span.events[0];
    assert_eq!(event.name, "exception");
    assert_eq!(
        value(&event.attributes, "exception.message").cloned(),
        text("invalid digit found in string")
    );
    assert_eq!(value(&event.attributes, "error"), None);
}

#[test]
fn the_switches_turn_that_off_evt_4() {
    let off = |b: tracing_otlp::OtlpBuilder| {
        b.with_error_events_to_exceptions(false)
            .with_error_events_to_status(false)
    };
    let spans = record_with(off, || assert!(fails().is_err()));
    let span = crate::capture::named(&spans, "fails");
    // Still an ERROR event (EVT-3).
    assert_eq!(span.status.clone().unwrap().message, "");
    assert_ne!(span.events[0].name, "exception");
    assert_eq!(
        value(&span.events[0].attributes, "error").cloned(),
        text("invalid digit found in string")
    );
}

#[test]
fn a_message_beside_an_error_is_the_name_whatever_their_order_evt_4() {
    let spans = record(|| {
        let _span = info_span!("span").entered();
        info!(error = "late", "message first");
        info!(error = "early", message = "message last");
    });
    let events = &spans[0].events;
    assert_eq!(events[0].name, "message first");
    assert_eq!(events[1].name, "message last");
    assert_eq!(
        value(&events[1].attributes, "error").cloned(),
        text("early")
    );
    assert_eq!(spans[0].status, None);
}

#[test]
fn an_error_value_goes_to_event_and_span_evt_5() {
    let error = "x".parse::<i32>().unwrap_err();
    let error: &(dyn std::error::Error + 'static) = &error;
    let spans = record(|| {
        let _span = info_span!("span", exception.message = "older").entered();
        info!(cause = error, "retrying");
    });
    let event = &spans[0].events[0];
    assert_eq!(event.name, "retrying");
    for attributes in [&event.attributes, &spans[0].attributes] {
        assert_eq!(
            value(attributes, "exception.message").cloned(),
            text("invalid digit found in string")
        );
    }
    assert!(value(&event.attributes, "cause.chain").is_some());
}

#[test]
fn events_do_not_stretch_a_name_of_any_length() {
    let long = "é".repeat(5_000);
    let spans = record(|| {
        let _span = info_span!("span").entered();
        info!("{long}");
        info!("");
    });
    assert_eq!(spans[0].events[0].name, long);
    assert_eq!(spans[0].events[1].name, "");
}

#[test]
fn an_error_that_is_no_text_is_an_attribute_and_nothing_more_evt_4() {
    let spans = record(|| {
        let _span = info_span!("span").entered();
        info!(error = false);
        info!(error = true);
        info!(error = 0);
        info!(error = 7u64);
        info!(error = u64::MAX);
        info!(error = i128::MAX);
        info!(error = 0.5);
        info!(error = &b"raw"[..]);
    });
    let span = &spans[0];
    assert_eq!(span.status, None);
    let values: Vec<_> = span
        .events
        .iter()
        .map(|event| {
            assert_ne!(event.name, "exception");
            value(&event.attributes, "error").cloned().unwrap()
        })
        .collect();
    let expected = [
        Value::BoolValue(false),
        Value::BoolValue(true),
        Value::IntValue(0),
        Value::IntValue(7),
        Value::StringValue(u64::MAX.to_string()),
        Value::StringValue(i128::MAX.to_string()),
        Value::DoubleValue(0.5),
        Value::BytesValue(b"raw".to_vec()),
    ];
    assert_eq!(values, expected);
}

#[test]
fn an_error_as_text_in_any_form_fails_the_span_evt_4() {
    let error = "x".parse::<i32>().unwrap_err();
    let dynamic: &(dyn std::error::Error + 'static) = &error;
    type Emit<'a> = Box<dyn Fn() + 'a>;
    let texts: [(&str, Emit<'_>); 4] = [
        ("text", Box::new(|| info!(error = "text"))),
        (
            "invalid digit found in string",
            Box::new(|| info!(error = %error)),
        ),
        (
            "ParseIntError { kind: InvalidDigit }",
            Box::new(|| info!(error = ?error)),
        ),
        (
            "invalid digit found in string",
            Box::new(|| info!(error = dynamic)),
        ),
    ];
    for (expected, emit) in texts {
        let spans = record(|| {
            let _span = info_span!("span").entered();
            emit();
        });
        let status = spans[0].status.clone().unwrap();
        assert_eq!((status.code, status.message.as_str()), (2, expected));
        assert_eq!(spans[0].events[0].name, "exception");
    }
}
