//! While more comes than the endpoint takes, whole traces go, and what is left says what it stands for. It ends by
//! itself.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::info_span;
use tracing_otlp::config::BatchConfig;
use tracing_otlp::export::{Batch, Exporter, Outcome};
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{ConfigStore, DropReason, Protocol, SpanExt as _, Stats, TraceContext};

use crate::gate::Gate;
use crate::shedding::{randomness, record_until, threshold};
use crate::support::pipeline::{BOTH, Pipeline, builder, distinct, told};

/// A local root with two spans and one that fails; its context.
fn trace() -> TraceContext {
    let root = info_span!("root").entered();
    drop(info_span!("inner"));
    drop(info_span!("failed", otel.status_code = "ERROR"));
    drop(info_span!("inner"));
    root.trace_context()
}

#[test]
fn an_endpoint_that_is_too_slow_gets_whole_traces_and_then_all_again() {
    for protocol in BOTH {
        let collector = Collector::start();
        // 5,000 spans a second at most.
        collector.always(Answer::ok().after(Duration::from_millis(20)));
        let pipeline = Pipeline::start(
            builder(protocol, &collector.endpoint(protocol))
                .with_shedding(true)
                .with_max_queue_size(4_000)
                .with_max_export_batch_size(100)
                .with_max_concurrent_exports(1),
        );
        assert_eq!(pipeline.stats().shed_ratio, 0.0);
        let shed = |s: &Stats| s.dropped(DropReason::Shed) > 0 && s.shed_traces > 0;
        let many = || {
            pipeline.within(|| {
                for _ in 0..50 {
                    trace();
                }
            });
        };
        let stats = record_until(|| pipeline.stats(), shed, many);
        assert!(stats.shed_ratio > 0.5, "{}", told(&stats));
        // The endpoint is quick again.
        collector.always(Answer::ok());
        let stats = pipeline.until(|s| s.shed_ratio == 0.0);
        let error = pipeline.flush().unwrap_err().to_string();
        assert!(
            error.contains("shed"),
            "a flush says what was shed: {error}"
        );
        let unsampled = stats.started_unsampled;
        many();
        let stats = pipeline.stats();
        assert_eq!(stats.started_unsampled, unsampled, "all are recorded");
        pipeline.flush().expect("nothing is lost any more");
        for span in collector.spans() {
            let least = threshold(&span.trace_state).unwrap_or(0);
            assert!(randomness(&span.trace_id.to_bytes()) >= least, "{span:?}");
        }
        let received = distinct(&collector);
        pipeline.settle(received);
    }
}

#[test]
fn a_trace_is_left_whole_or_its_local_root_and_errors_or_nothing_of_it() {
    let gate = Gate::shut(|builder| {
        builder
            .with_shedding(true)
            .with_max_queue_size(60_000)
            .with_max_export_batch_size(1_000)
    });
    let fill = |spans: usize| {
        gate.within(|| (0..spans).for_each(|_| drop(info_span!("filling"))));
    };
    // Much is left for what comes until the worker has the time to look.
    fill(50_000);
    // One in sixteen is kept whole, or fewer.
    record_until(|| gate.stats(), |s| s.shed_ratio > 0.9, || fill(1));
    // Until the threshold stays for as long as these are recorded.
    let (ratio, contexts) = loop {
        let ratio = gate.stats().shed_ratio;
        let contexts: Vec<_> = gate.within(|| (0..400).map(|_| trace()).collect());
        if gate.stats().shed_ratio == ratio {
            break (ratio, contexts);
        }
    };
    gate.set_open();
    record_until(|| gate.stats(), |s| s.shed_ratio == 0.0, || {});
    let error = gate.flush().unwrap_err().to_string();
    assert!(error.contains("shed"), "{error}");
    let mut spans = HashMap::<_, Vec<_>>::new();
    for span in gate.spans() {
        spans.entry(span.trace_id.clone()).or_default().push(span);
    }
    let common = (ratio * (1_u64 << 56) as f64) as u64;
    let (mut lasts, mut kept) = (BTreeSet::new(), [0; 3]);
    for context in &contexts {
        let randomness = randomness(&context.trace_id().to_bytes());
        let mut found = spans
            .remove(&context.trace_id().to_bytes()[..])
            .unwrap_or_default();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let names: Vec<_> = found.iter().map(|s| &s.name[..]).collect();
        let weights: Vec<_> = found.iter().map(|s| threshold(&s.trace_state)).collect();
        if !context.is_sampled() {
            assert!(names.is_empty(), "its context says that it is not recorded");
            assert_eq!(context.trace_state().as_str(), "");
            kept[0] += 1;
        } else if randomness < common {
            assert_eq!(names, ["failed", "root"], "the last to go");
            assert_eq!(weights[0], weights[1]);
            kept[1] += 1;
        } else {
            assert_eq!(names, ["failed", "inner", "inner", "root"], "whole");
            let last = weights[0];
            assert_eq!(weights, [last, Some(common), Some(common), last]);
            kept[2] += 1;
        }
        if let Some(last) = weights.first() {
            let last =
                last.expect("the default sampler keeps every root: the probability is known");
            assert!(randomness >= last && last < common);
            lasts.insert(last);
        }
    }
    assert!(lasts.len() <= 1, "one threshold for all: {lasts:?}");
    if let (Some(last), true) = (lasts.first(), ratio < 0.99) {
        assert!(kept.iter().all(|n| *n > 0), "{kept:?} above {last:x}");
    }
    let stats = gate.settle();
    assert!(stats.shed_traces >= kept[0]);
    assert_eq!(
        stats.dropped_total(),
        stats.dropped(DropReason::Shed),
        "{stats}"
    );
}

/// Takes nothing until it is let.
struct Stuck(Arc<Semaphore>);

impl Exporter for Stuck {
    type Permit = ();

    async fn ready(&self) {
        let _ = self.0.acquire().await;
    }

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        std::future::ready(Outcome::delivered(batch.item_count() as u64))
    }
}

#[test]
fn each_destination_sheds_by_its_own_queue_until_it_is_switched_off() {
    let (collector, may, store) = (
        Collector::start(),
        Arc::new(Semaphore::new(0)),
        ConfigStore::default(),
    );
    let mut batch = BatchConfig::default();
    batch.shedding = true;
    batch.max_queue_size = 2_000;
    batch.max_export_batch_size = 100;
    batch.schedule_delay = Duration::from_secs(3600);
    let pipeline = Pipeline::start(
        builder(Protocol::Grpc, &collector.grpc_endpoint())
            .with_config_store(store.clone())
            .with_additional_exporter("stuck", Stuck(Arc::clone(&may)), batch),
    );
    let many = || {
        pipeline.within(|| {
            for _ in 0..50 {
                // The own queue sheds nothing, so all are recorded.
                assert!(trace().is_sampled());
            }
        });
    };
    let of_stuck = |s: &Stats| s.additional[0].stats.clone();
    let sheds =
        |s: &Stats| of_stuck(s).dropped(DropReason::Shed) > 0 && of_stuck(s).shed_ratio > 0.9;
    let stats = record_until(|| pipeline.stats(), sheds, many);
    assert_eq!((stats.shed_ratio, stats.shed_traces), (0.0, 0), "{stats}");
    assert_eq!(store.shedding(), None);
    store.set_shedding(false);
    let stats = record_until(
        || pipeline.stats(),
        |s| of_stuck(s).shed_ratio == 0.0,
        || {},
    );
    let shed = of_stuck(&stats).dropped(DropReason::Shed);
    record_until(
        || pipeline.stats(),
        |s| of_stuck(s).dropped(DropReason::QueueFull) > 0,
        many,
    );
    may.add_permits(1);
    let received = {
        let _ = pipeline.flush();
        distinct(&collector)
    };
    let stats = pipeline.settle(received);
    assert_eq!(
        (stats.dropped_total(), stats.shed_traces),
        (0, 0),
        "{stats}"
    );
    let stuck = &stats.additional[0];
    assert_eq!(stuck.stats.dropped(DropReason::Shed), shed, "{stats}");
    assert_eq!(stuck.received(), stats.started, "{stats}");
}
