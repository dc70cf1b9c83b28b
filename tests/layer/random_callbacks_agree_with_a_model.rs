//! Random calls on several threads: what arrives is what a plain model of them says, and no time is
//! outside of the call that noted it.
//!
//! ```text
//! cargo test --all-features --test random_callbacks_agree_with_a_model
//! MODEL_SECONDS=60 …       goes on for a minute, with other seeds
//! MODEL_SEED=123 …         one round, of this seed
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test may panic, and its modules are its own"
)]

#[path = "../differential/mod.rs"]
mod differential;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use differential::model::{self, Parent, When};
use differential::round::Round;
use differential::threads::Threads;
use tracing_otlp::testing::{Collector, ReceivedSpan, ReceivedStatusCode, ReceivedValue};
use tracing_otlp::{SpanId, Status};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const LONG: Duration = Duration::from_secs(120);

/// How far the crate's clock may be from the system's. A machine under load takes its time between two
/// readings, which is within the call and needs no allowance.
const ALLOWANCE: Duration = Duration::from_millis(5);

/// How far the times of two threads may differ, in nanoseconds.
const THREADS_DIFFER_BY: u64 = 100_000;

#[test]
fn what_arrives_is_what_the_model_says() {
    let collector = Collector::start();
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_endpoint(collector.http_endpoint())
        .with_location(false)
        .with_target(false)
        .with_event_level(false)
        .configure(|c| c.limits.attribute_count_limit = model::ATTRIBUTES)
        .configure(|c| c.limits.event_count_limit = model::EVENTS)
        .configure(|c| c.limits.link_count_limit = model::LINKS)
        .configure(|c| c.limits.attributes_per_event_limit = model::EVENT_ATTRIBUTES)
        .with_max_attribute_value_length(model::CHARACTERS)
        .build()
        .unwrap();
    // `.ci/run tests` runs the model on both registries.
    let is_own = std::env::var("TESTS_ON_OWN_REGISTRY").is_ok_and(|value| value == "1");
    match is_own {
        true => tracing_otlp::registry().with(layer).init(),
        false => tracing_subscriber::registry().with(layer).init(),
    }

    let threads = Threads::start(3);
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let until = number("MODEL_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
    let seeds: Vec<u64> = match (number("MODEL_SEED"), until) {
        (Some(seed), _) => vec![seed],
        (None, None) => (0..150).collect(),
        (None, Some(_)) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            (0..1_000_000).map(|n| (now.as_secs() << 20) + n).collect()
        }
    };
    let mut rounds = 0;
    for seed in seeds {
        if until.is_some_and(|until| Instant::now() > until) {
            break;
        }
        collector.clear();
        let mut round = Round::new(seed, &threads);
        round.run(120);
        guard.force_flush_blocking(LONG).unwrap();
        let wrong = compare(&round.spans, &collector.spans());
        let calls = round.calls.join("\n");
        assert!(wrong.is_empty(), "MODEL_SEED={seed}: {wrong:#?}\n{calls}");
        let stats = guard.stats();
        assert_eq!(
            (stats.unaccounted(), stats.open),
            (0, 0),
            "MODEL_SEED={seed}: {stats}"
        );
        assert_eq!(stats.dropped_total(), 0, "MODEL_SEED={seed}: {stats}");
        rounds += 1;
    }
    println!("{rounds} rounds agree");
    guard.shutdown_blocking(LONG).unwrap();
}

/// What is wrong with what arrived.
fn compare(expected: &[model::Span], received: &[ReceivedSpan]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut by_id: HashMap<SpanId, &ReceivedSpan> = HashMap::new();
    for span in received {
        if by_id.insert(span.span_id, span).is_some() {
            wrong.push(format!("{} came twice", span.name));
        }
    }
    for (i, model) in expected.iter().enumerate() {
        match (by_id.remove(&model.span_id), model.is_sampled) {
            (None, true) => wrong.push(format!("span {i} is missing: {model:?}")),
            (Some(span), false) => wrong.push(format!("span {i} is not sampled: {span:?}")),
            (None, false) => {}
            (Some(span), true) => {
                let mut differs = |what: &str, is: String, must: String| {
                    if is != must {
                        wrong.push(format!("span {i}, {what}: {is}, must be {must}"));
                    }
                };
                compare_span(model, span, expected, &mut differs);
            }
        }
        let parent = match model.parent {
            Parent::Local(parent) if model.is_sampled => &expected[parent],
            _ => continue,
        };
        let start = |model: &model::Span| {
            let of_it = received.iter().find(|s| s.span_id == model.span_id);
            of_it.map(|s| s.start_unix_nanos)
        };
        let (parent, own) = (start(parent).unwrap_or(0), start(model).unwrap_or(0));
        if parent > own + THREADS_DIFFER_BY {
            wrong.push(format!(
                "span {i} starts {} ns before its parent",
                parent - own
            ));
        }
    }
    wrong.extend(by_id.values().map(|s| format!("nobody made {s:?}")));
    wrong
}

fn compare_span(
    model: &model::Span,
    span: &ReceivedSpan,
    all: &[model::Span],
    differs: &mut dyn FnMut(&str, String, String),
) {
    differs("name", span.name.clone(), model.name.clone());
    differs(
        "trace",
        span.trace_id.to_string(),
        model.trace_id.to_string(),
    );
    let parent = match model.parent {
        Parent::None => None,
        Parent::Local(parent) => Some(all[parent].span_id),
        Parent::Remote(id) => Some(id),
    };
    differs(
        "parent",
        format!("{:?}", span.parent_span_id),
        format!("{:?}", parent),
    );
    differs(
        "attributes",
        format!("{:?}", texts(&span.attributes)),
        format!("{:?}", model.attributes),
    );
    let counts = |a: u32, e: u32, l: u32| format!("{a} attributes, {e} events, {l} links");
    differs(
        "dropped",
        counts(
            span.dropped_attributes,
            span.dropped_events,
            span.dropped_links,
        ),
        counts(
            model.dropped_attributes,
            model.dropped_events,
            model.dropped_links,
        ),
    );
    let links: Vec<_> = span.links.iter().map(|link| link.span_id).collect();
    differs("links", format!("{links:?}"), format!("{:?}", model.links));
    let (code, message) = match &model.status {
        Status::Unset => (ReceivedStatusCode::Unset, ""),
        Status::Ok => (ReceivedStatusCode::Ok, ""),
        Status::Error { description } => (ReceivedStatusCode::Error, &**description),
    };
    differs(
        "status",
        format!("{:?} {}", span.status.code, span.status.message),
        format!("{code:?} {message}"),
    );
    compare_events(model, span, differs);
    differs(
        "start",
        late(span.start_unix_nanos, model.started),
        String::new(),
    );
    let in_order = span.start_unix_nanos <= span.end_unix_nanos;
    differs("end after start", in_order.to_string(), true.to_string());
}

fn compare_events(
    model: &model::Span,
    span: &ReceivedSpan,
    differs: &mut dyn FnMut(&str, String, String),
) {
    let names: Vec<_> = span.events.iter().map(|e| e.name.as_str()).collect();
    let must: Vec<_> = model.events.iter().map(|e| e.name).collect();
    differs("events", format!("{names:?}"), format!("{must:?}"));
    let mut last = span.start_unix_nanos;
    for (event, model) in span.events.iter().zip(&model.events) {
        differs(
            "an event's attributes",
            format!(
                "{:?} and {}",
                texts(&event.attributes),
                event.dropped_attributes
            ),
            format!("{:?} and {}", model.attributes, model.dropped),
        );
        differs(
            "an event",
            late(event.unix_nanos, model.when),
            String::new(),
        );
        let is_within = (span.start_unix_nanos..=span.end_unix_nanos).contains(&event.unix_nanos);
        differs(
            "an event within its span",
            is_within.to_string(),
            true.to_string(),
        );
        let in_order = last <= event.unix_nanos + THREADS_DIFFER_BY;
        differs("events in order", in_order.to_string(), true.to_string());
        last = event.unix_nanos;
    }
}

/// How far a time is from the call that noted it; empty if it is not.
fn late(unix_nanos: u64, (before, after): When) -> String {
    let at = UNIX_EPOCH + Duration::from_nanos(unix_nanos);
    let early = before.duration_since(at).unwrap_or_default();
    let late = at.duration_since(after).unwrap_or_default();
    if early.max(late) <= ALLOWANCE {
        return String::new();
    }
    format!("{early:?} early, {late:?} late")
}

/// Attributes by key; one that is there twice is marked.
fn texts(attributes: &[(String, ReceivedValue)]) -> BTreeMap<String, String> {
    let mut seen = BTreeSet::new();
    let text = |value: &ReceivedValue| match value {
        ReceivedValue::String(text) => format!("s {text}"),
        ReceivedValue::Int(n) => format!("i {n}"),
        other => format!("{other:?}"),
    };
    attributes
        .iter()
        .map(|(key, value)| match seen.insert(key) {
            true => (key.clone(), text(value)),
            false => (format!("{key} twice"), text(value)),
        })
        .collect()
}
