//! Every event that passes the log filter becomes a log record with the ids of where it happened,
//! inside a span or not.

use std::fmt;

use crate::support::DEADLINE;
use crate::support::pipeline::{self, Pipeline};
use tracing::level_filters::LevelFilter;
use tracing::{debug, error, info, info_span, trace, warn};
use tracing_otlp::config::SpanFields;
use tracing_otlp::context::TraceFlags;
use tracing_otlp::sampler::AlwaysOff;
use tracing_otlp::testing::{Collector, ReceivedLog, ReceivedSpan, ReceivedValue};
use tracing_otlp::{
    Events, OtlpBuilder, Protocol, SpanExt as _, SpanId, TraceContext, TraceId, context,
};

/// Spans and log records of what `f` does, and that nothing is unaccounted for.
fn recorded(
    edit: impl FnOnce(OtlpBuilder) -> OtlpBuilder,
    f: impl FnOnce(),
) -> (Vec<ReceivedSpan>, Vec<ReceivedLog>) {
    let collector = Collector::start();
    let protocol = Protocol::Grpc;
    let builder = pipeline::builder(protocol, &collector.endpoint(protocol));
    let pipeline = Pipeline::start(edit(builder.with_logs(Events::AsBoth)));
    pipeline.within(f);
    pipeline.guard.shutdown_blocking(DEADLINE).unwrap();
    let stats = pipeline.stats();
    assert_eq!(
        (stats.unaccounted(), stats.logs.unaccounted()),
        (0, 0),
        "{stats}"
    );
    assert_eq!(
        stats.logs.delivered,
        collector.log_count() as u64,
        "{stats}"
    );
    // A request holds the records of one scope after those of another.
    let mut logs = collector.logs();
    logs.sort_by_key(|log| log.unix_nanos);
    (collector.spans(), logs)
}

fn logs(edit: impl FnOnce(OtlpBuilder) -> OtlpBuilder, f: impl FnOnce()) -> Vec<ReceivedLog> {
    recorded(edit, f).1
}

fn same(builder: OtlpBuilder) -> OtlpBuilder {
    builder
}

fn messages(logs: &[ReceivedLog]) -> Vec<&str> {
    logs.iter().map(ReceivedLog::message).collect()
}

fn keys(log: &ReceivedLog) -> Vec<&str> {
    log.attributes.iter().map(|(key, _)| key.as_str()).collect()
}

fn context_of(id: u8, flags: TraceFlags) -> TraceContext {
    TraceContext::new(
        TraceId::from_bytes([id; 16]),
        SpanId::from_bytes([id; 8]),
        flags,
    )
}

#[test]
fn events_go_where_the_first_rule_that_fits_says() {
    use tracing_otlp::config::EventRule;
    let rules = |builder: OtlpBuilder| {
        builder.with_logs(Events::AsSpanEvents).configure(|config| {
            config.logs.event_rules = vec![
                EventRule::new("shop::cart", LevelFilter::TRACE, Events::AsLogs),
                EventRule::new("", LevelFilter::WARN, Events::AsBoth),
            ];
        })
    };
    let (spans, logs) = recorded(rules, || {
        let _span = info_span!("checkout").entered();
        debug!("a span event");
        warn!("both");
        debug!(target: "shop::cart::add", "a record");
        error!(target: "shop::cart", "an error");
    });
    let names: Vec<_> = spans[0].events.iter().map(|event| &*event.name).collect();
    assert_eq!(names, ["a span event", "both"]);
    assert_eq!(messages(&logs), ["both", "a record", "an error"]);
    assert!(spans[0].status.is_error(), "it does not depend on the rule");
}

#[test]
fn of_a_trace_that_may_be_dropped_only_what_is_wanted_becomes_a_record() {
    use tracing_otlp::config::TailConfig;
    let tail = |builder: OtlpBuilder| {
        let builder = builder.with_tail_sampling(TailConfig::default());
        builder.configure(|config| {
            config.logs.undecided = LevelFilter::WARN;
        })
    };
    let write = || {
        info!("outside");
        let _span = info_span!("held").entered();
        info!("of no matter");
        warn!("matters");
    };
    assert_eq!(messages(&logs(tail, write)), ["outside", "matters"]);
    // Without tail sampling nothing is undecided.
    let without = |builder: OtlpBuilder| tail(builder).with_tail_sampling(None);
    let all = ["outside", "of no matter", "matters"];
    assert_eq!(messages(&logs(without, write)), all);
}

/// LOG-1, LOG-2, LOG-53, LOG-55 to LOG-57. LOG-5: attributes and resource are those of the trace. LOG-6:
/// both times are one reading.
#[test]
fn a_record_says_what_the_event_said() {
    let (spans, logs) = recorded(same, || {
        let _span = info_span!("checkout").entered();
        warn!(target: "shop::stock", article = 4711, price = 9.5, "only {} left", 1);
    });
    let [log] = &logs[..] else { panic!("{logs:?}") };
    assert_eq!(log.message(), "only 1 left");
    assert_eq!(
        (log.severity_number, log.severity_text.as_str()),
        (13, "WARN")
    );
    assert_eq!(
        (&log["article"], &log["price"]),
        (&4711.into_value(), &9.5.into_value())
    );
    assert!(log.is_of(&spans[0]) && log.flags & 1 == 1);
    assert_eq!(
        (log.scope.name.as_str(), log.scope.version.as_str()),
        ("shop::stock", "")
    );
    assert!(
        log["code.file.path"]
            .as_str()
            .unwrap()
            .ends_with("log_records.rs")
    );
    assert_eq!(log.event_name, "", "tracing's own name is none (LOG-54)");
    assert_eq!(
        keys(log),
        ["article", "price", "code.file.path", "code.line.number"],
        "neither level nor target (LOG-55, LOG-56)"
    );
    assert_eq!(log.unix_nanos, log.observed_unix_nanos);
    // One clock reading for both (LOG-66).
    let event = &spans[0].events[0];
    assert_eq!(
        (event.name.as_str(), event.unix_nanos),
        ("only 1 left", log.unix_nanos)
    );
    assert_eq!(
        (&event["article"], &event["price"]),
        (&log["article"], &log["price"])
    );
    assert_eq!(
        (&event["level"], &event["target"]),
        (&"WARN".into_value(), &"shop::stock".into_value())
    );
    assert_eq!(event["code.line.number"], log["code.line.number"]);
    assert_eq!(log.resource, spans[0].resource);
}

trait IntoValue {
    fn into_value(self) -> ReceivedValue;
}

impl IntoValue for i64 {
    fn into_value(self) -> ReceivedValue {
        ReceivedValue::Int(self)
    }
}

impl IntoValue for f64 {
    fn into_value(self) -> ReceivedValue {
        ReceivedValue::Double(self)
    }
}

impl IntoValue for &str {
    fn into_value(self) -> ReceivedValue {
        ReceivedValue::String(self.to_owned())
    }
}

/// LOG-51: the context that a span made in the same place would have as its parent. LOG-11: ids of both kinds
/// or none.
#[test]
fn a_record_has_the_ids_of_where_it_happened() {
    let (spans, logs) = recorded(same, || {
        info!("outside");
        let remote = context_of(7, TraceFlags::SAMPLED);
        context::sync_scope(remote, || info!("in a scope"));
        let outer = info_span!("outer");
        let _entered = outer.enter();
        info!("inside");
        info!(parent: None, "under nobody");
        let other = info_span!(parent: None, "other");
        info!(parent: &other, "explicit");
        let inner = context_of(8, TraceFlags::SAMPLED);
        context::sync_scope(inner, || info!("in a scope inside"));
    });
    let span = |name: &str| spans.iter().find(|s| s.name == name).unwrap();
    let log = |message: &str| logs.iter().find(|l| l.message() == message).unwrap();
    for message in ["outside", "under nobody"] {
        let log = log(message);
        assert_eq!(
            (log.trace_id, log.span_id, log.flags),
            (None, None, 0),
            "{message}"
        );
    }
    assert_eq!(
        log("in a scope").trace_id,
        Some(TraceId::from_bytes([7; 16]))
    );
    assert_eq!(log("in a scope").span_id, Some(SpanId::from_bytes([7; 8])));
    assert_eq!(
        log("in a scope inside").trace_id,
        Some(TraceId::from_bytes([8; 16]))
    );
    assert!(log("inside").is_of(span("outer")));
    assert!(log("explicit").is_of(span("other")));
    // Span events are as they are without logs.
    let events = |name| -> Vec<&str> { span(name).events.iter().map(|e| &*e.name).collect() };
    assert_eq!(events("outer"), ["inside", "in a scope inside"]);
    assert_eq!(events("other"), ["explicit"]);
}

/// LOG-63: a log is kept whatever becomes of its trace, unless asked otherwise.
#[test]
fn records_of_unsampled_spans_are_kept_and_say_so() {
    let in_unsampled = || {
        let _span = info_span!("unsampled").entered();
        info!("small");
        warn!("large");
        drop(_span);
        info!("outside");
    };
    let unsampled = |unsampled: LevelFilter| {
        let logs = logs(
            |b| {
                b.with_sampler(AlwaysOff)
                    .configure(move |c| c.logs.unsampled = unsampled)
            },
            in_unsampled,
        );
        assert!(logs.iter().all(|l| l.flags & 1 == 0));
        assert!(
            logs.iter()
                .all(|l| l.trace_id.is_some() == (l.message() != "outside"))
        );
        messages(&logs)
            .iter()
            .map(|m| (*m).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(unsampled(LevelFilter::TRACE), ["small", "large", "outside"]);
    assert_eq!(unsampled(LevelFilter::WARN), ["large", "outside"]);
    assert_eq!(unsampled(LevelFilter::OFF), ["outside"]);
}

/// LOG-58: told by its shape; its target is the scope, none of its fields is left.
#[test]
fn a_line_of_the_log_crate_is_a_record_of_its_target() {
    let _ = tracing_log::LogTracer::init();
    let (spans, logs) = recorded(same, || {
        let _span = info_span!("work").entered();
        log::warn!(target: "hyper::proto", "connection {}", "closed");
    });
    let [log] = &logs[..] else { panic!("{logs:?}") };
    assert_eq!(
        (log.message(), log.scope.name.as_str()),
        ("connection closed", "hyper::proto")
    );
    assert_eq!(keys(log), ["code.file.path", "code.line.number"]);
    assert_eq!(log.event_name, "");
    let event = &spans[0].events[0];
    assert_eq!(event["target"], "hyper::proto");
    assert_eq!(event.name, "connection closed");
    assert_eq!(event["code.line.number"], log["code.line.number"]);
}

/// LOG-52: one filter for logs, one for spans.
#[test]
fn the_log_filter_says_nothing_of_spans_and_changes_while_running() {
    let store = tracing_otlp::ConfigStore::default();
    let handle = store.clone();
    let (spans, logs) = recorded(
        |b| {
            b.with_config_store(store)
                .with_log_filter("warn,shop=debug".parse().unwrap())
        },
        || {
            let _span = info_span!("work").entered();
            info!("a span event");
            warn!("both");
            debug!(target: "shop", "both, by its target");
            trace!(target: "shop", "a span event too");
            handle.set_log_filter("off".parse().unwrap());
            error!("a span event now");
            handle.set_log_filter("trace".parse().unwrap());
            handle.set_span_filter("error".parse().unwrap());
            info!("a log only");
        },
    );
    assert_eq!(
        messages(&logs),
        ["both", "both, by its target", "a log only"]
    );
    let events: Vec<_> = spans[0].events.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(
        events,
        [
            "a span event",
            "both",
            "both, by its target",
            "a span event too",
            "a span event now"
        ]
    );
    assert!(logs[2].is_of(&spans[0]));
}

/// LOG-37: status does not depend on where events go.
#[test]
fn as_logs_leaves_no_span_events_and_every_status() {
    #[tracing::instrument(err)]
    fn fails() -> Result<(), std::io::Error> {
        Err(std::io::Error::other("no stock"))
    }
    let (spans, logs) = recorded(
        |b| {
            b.with_logs(Events::AsLogs)
                .with_log_filter("error".parse().unwrap())
        },
        || {
            let _ = fails();
            let _span = info_span!("quiet").entered();
            info!("neither");
            error!("broken");
        },
    );
    let [fails, quiet] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert!(fails.events.is_empty() && quiet.events.is_empty());
    assert!(fails.status.is_error() && quiet.status.is_error());
    assert_eq!(fails.status.message, "no stock");
    // EVT-4's shape (LOG-61).
    let [exception, broken] = &logs[..] else {
        panic!("{logs:?}")
    };
    assert_eq!(exception.event_name, "exception");
    assert_eq!(
        (exception.message(), &exception["exception.message"]),
        ("no stock", &"no stock".into_value())
    );
    assert!(exception.attr("error").is_none() && exception.is_of(fails));
    assert_eq!(
        (broken.message(), broken.event_name.as_str()),
        ("broken", "")
    );
}

/// The same of one visit for both.
#[test]
fn an_exception_is_a_record_and_a_span_event() {
    #[tracing::instrument(err)]
    fn fails() -> Result<(), std::io::Error> {
        Err(std::io::Error::other("no stock"))
    }
    let (spans, logs) = recorded(same, || drop(fails()));
    let event = &spans[0].events[0];
    assert_eq!(
        (event.name.as_str(), &event["exception.message"]),
        ("exception", &"no stock".into_value())
    );
    assert_eq!(logs[0].message(), "no stock");
    assert_eq!(logs[0]["exception.message"], "no stock");
    assert_eq!(spans[0].status.message, "no stock");
}

/// LOG-60: a chain of errors, and what the application says itself wins.
#[test]
fn error_fields_follow_the_conventions_of_exceptions() {
    #[derive(Debug)]
    struct Outer(std::io::Error);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let logs = logs(same, || {
        let error = Outer(std::io::Error::other("inner"));
        let error: &(dyn std::error::Error + 'static) = &error;
        error!(cause = error, "failed");
        error!(cause = error, exception.message = "mine", "failed");
        error!(exception.message = "mine", cause = error, "failed");
    });
    assert_eq!(logs[0]["cause"], "outer");
    assert_eq!(logs[0]["exception.message"], "outer");
    assert_eq!(logs[0]["exception.stacktrace"], "outer\ncaused by: inner");
    assert_eq!(logs[0]["cause.chain"].to_string(), "[inner]");
    assert_eq!(logs[1]["exception.message"], "mine");
    assert_eq!(logs[2]["exception.message"], "mine");
}

/// LOG-54: only where code gave one. LOG-12: such a record is an event.
#[test]
fn an_event_name_is_what_code_gave() {
    let (spans, logs) = recorded(same, || {
        let _span = info_span!("work").entered();
        tracing::event!(name: "cart.emptied", tracing::Level::INFO, n = 3);
        info!(event.name = "old", "by field");
        info!(otel.event.name = "new", event.name = "old", "by both");
        info!(event.name = "old", otel.event.name = "new", "by both again");
        tracing::event!(name: "static", tracing::Level::INFO, otel.event.name = %"dynamic", "the field wins");
        info!("none");
    });
    let names: Vec<_> = logs.iter().map(|l| l.event_name.as_str()).collect();
    assert_eq!(names, ["cart.emptied", "old", "new", "new", "dynamic", ""]);
    assert_eq!(logs[0].body, None, "no message, no body (LOG-53)");
    assert!(
        logs.iter()
            .all(|l| l.attr("event.name").is_none() && l.attr("otel.event.name").is_none())
    );
    assert_eq!(spans[0].events[1]["event.name"], "old");
    assert_eq!(spans[0].events[0].name, "cart.emptied");
}

/// LOG-53: a message in its own type; LOG-59: fields in theirs. LOG-8: an empty text is a body.
#[test]
fn bodies_and_attributes_keep_their_types() {
    let (spans, logs) = recorded(same, || {
        let _span = info_span!("work").entered();
        info!(message = 42);
        info!(message = true);
        info!(message = "");
        info!(
            wide = u128::MAX, fits = 7u64, bytes = &b"\xff\x00"[..], shown = %"a\"b", debug = ?Some(1),
            none = None::<i64>, "fields"
        );
    });
    assert_eq!(logs[0].body, Some(ReceivedValue::Int(42)));
    assert_eq!(logs[1].body, Some(ReceivedValue::Bool(true)));
    assert_eq!(logs[2].body, Some(ReceivedValue::String(String::new())));
    let log = &logs[3];
    assert_eq!(log["wide"], u128::MAX.to_string().as_str());
    assert_eq!(log["fits"], 7);
    assert_eq!(log["bytes"], ReceivedValue::Bytes(vec![0xff, 0]));
    assert_eq!(
        (&log["shown"], &log["debug"]),
        (&"a\"b".into_value(), &"Some(1)".into_value())
    );
    assert!(log.attr("none").is_none());
    let names: Vec<_> = spans[0].events.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["42", "true", "", "fields"]);
    assert_eq!(
        spans[0].events[3]["bytes"],
        ReceivedValue::Bytes(vec![0xff, 0])
    );
}

/// LOG-10: what is left out is counted in the record; LOG-3: a body has no limit.
#[test]
fn limits_are_for_attributes_and_counted() {
    let (spans, logs) = recorded(
        |b| {
            b.configure(|c| {
                c.logs.limits.attribute_value_length_limit = Some(4);
                c.logs.limits.attribute_count_limit = 2;
            })
        },
        || {
            let _span = info_span!("work").entered();
            info!(a = "123456", b = "x", c = 1, "a message of more than four");
        },
    );
    let log = &logs[0];
    assert_eq!(log.message(), "a message of more than four");
    assert_eq!(
        (keys(log), &log["a"]),
        (vec!["a", "b"], &"1234".into_value())
    );
    assert_eq!(
        log.dropped_attributes, 3,
        "one field, and two of the location"
    );
    // The limits of spans are others, and hold for span events.
    assert_eq!(spans[0].events[0]["a"], "123456");
    assert_eq!(spans[0].events[0].dropped_attributes, 0);
}

/// LOG-65: a value that cannot be shown costs itself alone.
#[test]
fn a_value_that_fails_to_format_is_counted_as_dropped() {
    struct Fails;
    impl fmt::Debug for Fails {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }
    let (spans, logs) = recorded(same, || {
        let _span = info_span!("work").entered();
        info!(value = ?Fails, "fails");
    });
    assert_eq!(
        (logs[0].attr("value"), logs[0].dropped_attributes),
        (None, 1)
    );
    assert_eq!(spans[0].events[0].dropped_attributes, 1);
}

/// LOG-51: an ended span still gives its ids.
#[test]
fn a_record_after_the_end_of_its_span_has_its_ids() {
    let (spans, logs) = recorded(same, || {
        let span = info_span!("work");
        let _entered = span.enter();
        info!("before");
        span.end();
        info!("after");
    });
    assert_eq!(messages(&logs), ["before", "after"]);
    assert!(logs.iter().all(|log| log.is_of(&spans[0])));
    assert_eq!(spans[0].events.len(), 1);
}

/// LOG-62: from root to leaf with the innermost winning, as recorded until then.
#[test]
fn fields_of_spans_are_on_records_where_asked_for() {
    let work = || {
        let outer = info_span!(
            "outer",
            user = "ada",
            n = 1,
            late = tracing::field::Empty,
            otel.kind = "server"
        );
        let _outer = outer.enter();
        let _inner = info_span!("inner", n = 2, own = "span").entered();
        outer.record("late", true);
        info!(own = "event", "inside");
    };
    let fields = |fields: SpanFields| {
        let (_, logs) = recorded(
            |b| {
                b.with_location(false)
                    .configure(move |c| c.logs.span_fields = fields)
            },
            work,
        );
        let pairs = logs[0].attributes.iter();
        pairs
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(fields(SpanFields::None), ["own=event"]);
    assert_eq!(
        fields(SpanFields::All),
        ["own=event", "n=2", "user=ada", "late=true"]
    );
    let named = SpanFields::Named(vec!["user".to_owned(), "own".to_owned()]);
    assert_eq!(fields(named), ["own=event", "user=ada"]);
}

/// Threads, and no location, by the switches that spans have.
#[test]
fn location_and_threads_are_as_for_spans() {
    let logs = logs(
        |b| b.with_location(false).with_threads(true),
        || info!("bare"),
    );
    assert_eq!(keys(&logs[0]), ["thread.id", "thread.name"]);
}

/// LOG-15, LOG-16: the signal exists only where it is asked for.
#[test]
fn without_being_asked_for_there_are_no_logs() {
    let collector = Collector::start();
    let protocol = Protocol::HttpProtobuf;
    let none = |b: OtlpBuilder| {
        b.configure(|c| c.logs.exporter = Some(tracing_otlp::config::LogsExporterKind::None))
    };
    let builder = || pipeline::builder(protocol, &collector.endpoint(protocol));
    for builder in [builder(), none(builder()).with_logs(Events::AsLogs)] {
        let pipeline = Pipeline::start(builder);
        pipeline.within(|| {
            let _span = info_span!("work").entered();
            info!("a span event");
        });
        pipeline.guard.shutdown_blocking(DEADLINE).unwrap();
        assert_eq!(pipeline.stats().logs.emitted, 0);
    }
    assert_eq!(collector.log_count(), 0);
    let spans = collector.spans();
    assert!(
        spans.iter().all(|span| span.events.len() == 1),
        "nothing is lost by a setting"
    );
}
