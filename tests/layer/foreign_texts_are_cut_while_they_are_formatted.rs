//! A value of foreign code is asked for no more text than there is room for: it is stopped, whichever way
//! it comes.

use std::cell::Cell;
use std::error::Error;
use std::fmt;

use crate::gate::{Gate, attribute};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Found;
use tracing::{error, info, info_span};
use tracing_otlp::config::SpanLimits;
use tracing_otlp::sampler::{Sampler, SamplingInput, SamplingResult};
use tracing_otlp::{OtlpBuilder, SpanExt as _};

const PIECE: usize = 16 << 10;

/// Far more than a span may hold.
const PIECES: usize = 4096;

thread_local! {
    /// Pieces that were taken.
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

fn taken() -> usize {
    TAKEN.take()
}

/// 64 MiB of text.
struct Endless;

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let piece = "x".repeat(PIECE);
        (0..PIECES).try_for_each(|_| {
            f.write_str(&piece)?;
            TAKEN.set(TAKEN.get() + 1);
            Ok(())
        })
    }
}

impl fmt::Debug for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Endless {}

/// An error of few words, whose causes never end.
#[derive(Debug)]
struct Caused(Endless);

impl fmt::Display for Caused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("caused")
    }
}

impl Error for Caused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// What is said of a span.
type Way = (&'static str, fn());

const WAYS: &[Way] = &[
    ("a field", || drop(info_span!("span", field = %Endless))),
    ("a name", || drop(info_span!("span", otel.name = %Endless))),
    ("an error of a span", || {
        drop(info_span!("span", failed = &Endless as &dyn Error));
    }),
    ("the causes of an error of a span", || {
        drop(info_span!("span", failed = &Caused(Endless) as &dyn Error));
    }),
    ("a recorded error", || {
        info_span!("span").record_error(&Endless)
    }),
    ("a recorded error's causes", || {
        info_span!("span").record_error(&Caused(Endless));
    }),
    ("a message", || {
        info_span!("span").in_scope(|| info!("{Endless}"))
    }),
    ("a field of an event", || {
        info_span!("span").in_scope(|| info!(field = ?Endless, "event"));
    }),
    ("what an event says of an error", || {
        info_span!("span").in_scope(|| error!(error = %Endless));
    }),
    ("what it says by Debug", || {
        info_span!("span").in_scope(|| error!(error = ?Endless, "event"));
    }),
    ("an error of an event", || {
        info_span!("span").in_scope(|| error!(error = &Endless as &dyn Error, "event"));
    }),
    ("the causes of an error of an event", || {
        info_span!("span").in_scope(|| error!(failed = &Caused(Endless) as &dyn Error));
    }),
];

fn exceptions(builder: OtlpBuilder) -> OtlpBuilder {
    builder
        .with_error_fields_to_exceptions(true)
        .with_error_records_to_exceptions(true)
}

#[test]
fn no_value_is_formatted_beyond_what_a_span_may_hold() {
    for (name, way) in WAYS {
        let gate = Gate::open(exceptions);
        taken();
        gate.within(way);
        // Less than 4 MiB each time that it is asked: an error is asked for some attributes.
        let pieces = taken();
        assert!(pieces <= 6 * (4 << 20) / PIECE, "{name}: {pieces}");
        let _ = gate.flush();
        assert_eq!(gate.spans().len(), 1, "{name}");
        let stats = gate.settle();
        assert!(stats.truncated_for_memory >= 1, "{name}: {stats}");
    }
}

#[test]
fn no_value_is_formatted_beyond_the_limit_of_lengths() {
    let mut limits = SpanLimits::default();
    limits.attribute_value_length_limit = Some(100);
    for (name, way) in WAYS {
        if matches!(*name, "a name" | "a message") {
            // The limit is for attributes.
            continue;
        }
        let gate = Gate::open(|b| exceptions(b).with_span_limits(limits.clone()));
        taken();
        gate.within(way);
        let pieces = taken();
        // The description of a status has no such limit.
        let most = if name.contains("event") || name.contains("says") {
            (4 << 20) / PIECE
        } else {
            0
        };
        assert!(pieces <= most, "{name}: {pieces}");
        let _ = gate.flush();
        let spans = gate.spans();
        let events = spans[0].events.iter().flat_map(|e| &e.attributes);
        for attribute in spans[0].attributes.iter().chain(events) {
            if let Some(Found::StringValue(text)) = &attribute.value.as_ref().unwrap().value {
                assert!(text.chars().count() <= 100, "{name}: {}", attribute.key);
            }
        }
        assert_eq!(spans[0].dropped_attributes_count, 0, "{name}");
        gate.settle();
    }
}

/// A value that does not hear that nothing more is taken.
struct Deaf;

impl fmt::Display for Deaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f.write_str("begin ");
        let _ = f.write_str(&"x".repeat(8 << 20));
        let _ = f.write_str(" end");
        Ok(())
    }
}

#[test]
fn a_text_has_no_hole_where_nothing_was_taken() {
    let gate = Gate::open(|b| b);
    gate.within(|| drop(info_span!("span", a = 1, deaf = %Deaf)));
    gate.within(|| drop(info_span!("span", a = 1, otel.name = %Deaf)));
    gate.within(|| info_span!("span").in_scope(|| error!(error = %Deaf)));
    gate.flush().unwrap_err();
    let spans = gate.spans();
    assert!(attribute(&spans[0], "deaf").is_none() && attribute(&spans[0], "a").is_some());
    assert_eq!(spans[0].dropped_attributes_count, 1);
    assert!(spans[1].name.starts_with("begin"), "{}", spans[1].name);
    let status = spans[2].status.as_ref().unwrap();
    assert!(status.message.starts_with("begin"), "{}", status.message);
    for text in [&spans[1].name, &status.message] {
        assert!(!text.contains("end") && text.len() < 8 << 20);
    }
    gate.settle();
}

/// Asks for a field.
struct Asks;

impl Sampler for Asks {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        let value = input.attribute("field");
        assert!(value.is_some());
        SamplingResult::DROP
    }

    fn description(&self) -> String {
        "Asks".to_owned()
    }
}

#[test]
fn a_sampler_is_told_the_beginning_of_a_value() {
    let gate = Gate::open(|b| b.with_sampler(Asks));
    taken();
    gate.within(|| drop(info_span!("span", field = ?Endless)));
    let pieces = taken();
    // Once for the sampler, and once because a parent may come late.
    assert!(
        pieces <= 2 * (64 << 10) / PIECE + (4 << 20) / PIECE,
        "{pieces}"
    );
    gate.settle();
}
