//! Shedding beside what else decides about a trace: affinity to a collector, log records, and other processes.

use std::collections::HashMap;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{info, info_span, warn};
use tracing_otlp::context::scope;
use tracing_otlp::propagation::{Propagator as _, TraceContextPropagator};
use tracing_otlp::sampler::{ParentBased, ProbabilitySampler};
use tracing_otlp::testing::{Answer, Collector, ReceivedLog};
use tracing_otlp::{DropReason, Events, Protocol, SpanExt as _, Stats, TraceContext};

use crate::gate::Gate;
use crate::shedding::{randomness, record_until, threshold};
use crate::support::pipeline::{BOTH, Pipeline, builder};

/// 2⁵⁶.
const RANGE: f64 = (1_u64 << 56) as f64;

/// A pipeline whose exporter takes nothing, and which sheds more than `least` of all traces.
fn pressed(least: f64) -> Gate {
    let gate = Gate::shut(|builder| {
        builder
            .with_shedding(true)
            .with_sampler(ParentBased::new(ProbabilitySampler::new(1.0)))
            .with_max_queue_size(60_000)
            .with_max_export_batch_size(1_000)
    });
    press(&gate, least);
    gate
}

fn press(gate: &Gate, least: f64) {
    let fill = |spans: usize| {
        gate.within(|| (0..spans).for_each(|_| drop(info_span!("filling"))));
    };
    fill(50_000);
    record_until(|| gate.stats(), |s| s.shed_ratio > least, || fill(100));
}

/// The call of another service, by the headers of a request.
fn called_by(caller: &TraceContext) -> TraceContext {
    let mut headers = HashMap::<String, String>::new();
    TraceContextPropagator.inject(caller, &mut headers);
    TraceContextPropagator.extract(TraceContext::default(), &headers)
}

#[test]
fn what_is_left_of_a_trace_is_at_one_collector() {
    for protocol in BOTH {
        let collectors = [(); 3].map(|()| Collector::start());
        for collector in &collectors {
            collector.always(Answer::ok().after(Duration::from_millis(20)));
        }
        let urls: Vec<_> = collectors.iter().map(|c| c.endpoint(protocol)).collect();
        let pipeline = Pipeline::start(
            builder(protocol, &urls.join(","))
                .with_trace_affinity(true)
                .with_shedding(true)
                .with_max_queue_size(4_000)
                .with_max_export_batch_size(100)
                .with_max_concurrent_exports(1),
        );
        let many = || {
            pipeline.within(|| {
                for _ in 0..100 {
                    let _root = info_span!("root").entered();
                    (0..4).for_each(|_| drop(info_span!("inner")));
                }
            });
        };
        let sheds = |s: &Stats| s.dropped(DropReason::Shed) > 500 && s.shed_traces > 0;
        record_until(|| pipeline.stats(), sheds, many);
        for collector in &collectors {
            collector.always(Answer::ok());
        }
        pipeline.until(|s| s.shed_ratio == 0.0);
        let error = pipeline.flush().unwrap_err().to_string();
        assert!(error.contains("shed"), "{error}");
        let mut places = HashMap::new();
        let mut received = 0;
        for (index, collector) in collectors.iter().enumerate() {
            let spans = collector.spans();
            assert!(spans.len() > 100, "each gets its part: {}", spans.len());
            for span in &spans {
                let place = *places.entry(span.trace_id).or_insert(index);
                assert_eq!(place, index, "a trace is at one collector");
                let least = threshold(&span.trace_state).unwrap_or(0);
                assert!(randomness(&span.trace_id.to_bytes()) >= least, "{span:?}");
            }
            received += spans.len();
        }
        let stats = pipeline.settle(received);
        assert_eq!(
            stats.dropped_total(),
            stats.dropped(DropReason::Shed) + stats.dropped(DropReason::QueueFull),
            "{stats}"
        );
    }
}

/// A local root and a span in it, each with a record.
fn logged() -> TraceContext {
    let root = info_span!("root").entered();
    info!("in the root");
    info_span!("inner").in_scope(|| warn!("inside"));
    root.trace_context()
}

/// Log records are not shed: all arrive, with the ids of their span, whether it is kept or not. Those of a trace that
/// is not recorded are records of an unsampled trace.
#[test]
fn records_of_a_shed_trace_arrive_as_those_of_any_unsampled_trace() {
    for (unsampled, of_unrecorded) in [
        (LevelFilter::TRACE, &["in the root", "inside"][..]),
        (LevelFilter::WARN, &["inside"]),
        (LevelFilter::OFF, &[]),
    ] {
        let protocol = Protocol::HttpProtobuf;
        let (traces, logs) = (Collector::start(), Collector::start());
        traces.always(Answer::ok().after(Duration::from_millis(20)));
        let url = format!("{}/v1/logs", logs.http_endpoint());
        let pipeline = Pipeline::start(
            builder(protocol, &traces.endpoint(protocol))
                .with_shedding(true)
                .with_max_queue_size(4_000)
                .with_max_export_batch_size(100)
                .with_max_concurrent_exports(1)
                .with_logs(Events::AsLogs)
                .with_logs_endpoint(url)
                .configure(move |c| {
                    c.logs.unsampled = unsampled;
                    c.logs.batch.max_queue_size = 1 << 20;
                }),
        );
        let contexts = std::cell::RefCell::new(Vec::new());
        let many = || {
            pipeline.within(|| {
                let traces = (0..50).map(|_| logged());
                contexts.borrow_mut().extend(traces);
            });
        };
        let sheds = |s: &Stats| s.dropped(DropReason::Shed) > 100 && s.shed_traces > 50;
        record_until(|| pipeline.stats(), sheds, many);
        traces.always(Answer::ok());
        let stats = pipeline.until(|s| s.shed_ratio == 0.0);
        let _ = pipeline.flush();
        assert_eq!(stats.logs.dropped_total(), 0, "{stats}");
        let mut found = HashMap::<_, Vec<ReceivedLog>>::new();
        for log in logs.logs() {
            found.entry(log.trace_id).or_default().push(log);
        }
        let kept: std::collections::HashSet<_> =
            traces.spans().iter().map(|span| span.span_id).collect();
        let (mut unrecorded, mut shed) = (0, 0);
        for context in contexts.borrow().iter() {
            let id = Some(context.trace_id());
            let mut records = found.remove(&id).unwrap_or_default();
            records.sort_by(|a, b| a.message().cmp(b.message()));
            let messages: Vec<_> = records.iter().map(|r| r.message()).collect();
            let flags: Vec<_> = records.iter().map(|r| r.flags & 1).collect();
            if context.is_sampled() {
                assert_eq!(messages, ["in the root", "inside"]);
                assert_eq!(flags, [1, 1], "it was sampled when they were made");
                let has_span = |log: &ReceivedLog| log.span_id.is_some_and(|id| kept.contains(&id));
                shed += records.iter().filter(|log| !has_span(log)).count();
            } else {
                assert_eq!(messages, of_unrecorded, "{unsampled}");
                assert!(flags.iter().all(|flag| *flag == 0), "{flags:?}");
                unrecorded += 1;
            }
        }
        assert!(unrecorded > 50 && shed > 100, "{unrecorded}, {shed}");
        assert!(found.is_empty(), "no record of another trace: {found:?}");
        let stats = pipeline.settle(traces.span_count());
        let emitted = logs.log_count() as u64;
        assert_eq!(
            (
                stats.logs.unaccounted(),
                stats.logs.emitted,
                stats.logs.delivered
            ),
            (0, emitted, emitted),
            "{stats}"
        );
    }
}

/// One process began a trace and sheds its part at its end; the part of another process stays, and says what it stands
/// for. A process under more pressure than that one does not record its part, and says so to those it calls.
#[test]
fn each_process_sheds_its_own_part_of_a_trace() {
    let first = Gate::shut(|builder| {
        builder
            .with_shedding(true)
            .with_sampler(ParentBased::new(ProbabilitySampler::new(1.0)))
            .with_max_queue_size(60_000)
            .with_max_export_batch_size(1_000)
    });
    let calm = Gate::open(|builder| builder.with_shedding(true));
    let busy = pressed(0.7);

    // Begun while nothing is shed.
    let roots: Vec<_> = first.within(|| (0..300).map(|_| info_span!("root")).collect());
    let callers: Vec<_> = roots.iter().map(|root| root.trace_context()).collect();
    assert!(
        callers
            .iter()
            .all(|c| c.trace_state().as_str() == "ot=th:0")
    );
    let serve = |gate: &Gate, caller: &TraceContext| {
        gate.within(|| {
            let call = scope(called_by(caller), async { info_span!("call") });
            let mut call = std::pin::pin!(call);
            let mut cx = Context::from_waker(Waker::noop());
            let Poll::Ready(span) = call.as_mut().poll(&mut cx) else {
                panic!("it waits for nothing");
            };
            span.trace_context()
        })
    };
    for caller in &callers {
        let context = serve(&calm, caller);
        assert!(context.is_sampled());
        assert_eq!(context.trace_state().as_str(), "ot=th:0");
    }
    // Under pressure, which changes seldom: taken again until the level stays.
    let (ratio, contexts) = loop {
        let ratio = busy.stats().shed_ratio;
        let contexts: Vec<_> = callers.iter().map(|c| serve(&busy, c)).collect();
        if busy.stats().shed_ratio == ratio {
            break (ratio, contexts);
        }
    };
    // Those of local roots are eight steps behind.
    let last = (1.0 - 4.0 * (1.0 - ratio)).max(0.0) * RANGE;
    let (mut kept, mut gone) = (0, 0);
    for context in &contexts {
        let randomness = randomness(&context.trace_id().to_bytes());
        match context.is_sampled() {
            true => {
                kept += 1;
                let th = threshold(context.trace_state().as_str()).unwrap();
                assert!(randomness >= th && (th as f64 - last).abs() < RANGE / 100.0);
            }
            false => {
                gone += 1;
                assert!((randomness as f64) < last + RANGE / 100.0);
                assert_eq!(
                    context.trace_state().as_str(),
                    "",
                    "no threshold without a decision"
                );
                let below = serve(&calm, context);
                assert!(!below.is_sampled(), "services below decide alike");
            }
        }
    }
    assert!(kept > 0 && (gone > 0 || last == 0.0), "{kept}, {gone}");

    // The roots end under pressure, and most of them go.
    press(&first, 0.97);
    drop(roots);
    first.set_open();
    let _ = first.flush();
    let left = first.spans().iter().filter(|s| s.name == "root").count();
    assert!(left < 150, "{left} of 300");
    // Some of them come while the queue is full.
    let stats = first.settle();
    assert!(stats.dropped(DropReason::Shed) > 150, "{left}: {stats}");
    // What another process has of them stands as it was recorded.
    let _ = calm.flush();
    let spans = calm.spans();
    let of_calls = spans.iter().filter(|s| s.name == "call");
    assert_eq!(of_calls.clone().count(), 300);
    assert!(
        of_calls
            .clone()
            .all(|s| s.trace_state == "ot=th:0" && !s.parent_span_id.is_empty())
    );
    assert_eq!(calm.settle().dropped_total(), 0);
    busy.set_open();
    busy.settle();
}
