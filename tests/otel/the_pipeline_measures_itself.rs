//! The `otel.sdk.*` metrics of a pipeline say what its `Stats` say (PAIN 31).

use std::sync::Arc;
use std::time::Duration;

use crate::life::{LONG, PROTOCOLS, until};
use crate::meters::{Attributes, are, find, is_monotonic};
use crate::observed::{Pipeline, said};
use tokio::sync::Semaphore;
use tracing::{dispatcher, info_span};
use tracing_otlp::config::TailConfig;
use tracing_otlp::export::{Batch, ConcurrencyLimiter, ConcurrencyPermit, Exporter, Outcome};
use tracing_otlp::sampler::{AlwaysOn, AlwaysRecord, ParentBased, Rules, TraceIdRatio, When};
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, OtlpBuilder, Protocol};

const RESULT: &str = "otel.span.sampling_result";

/// Takes one batch at a time and holds it until it is let go; then it has arrived.
#[derive(Clone)]
struct Gate {
    opens: Arc<Semaphore>,
    limiter: ConcurrencyLimiter,
}

impl Gate {
    fn closed() -> Self {
        Self {
            opens: Arc::new(Semaphore::new(0)),
            limiter: ConcurrencyLimiter::new(1),
        }
    }

    fn open(&self) {
        self.opens.add_permits(100);
    }
}

impl Exporter for Gate {
    type Permit = ConcurrencyPermit;

    async fn ready(&self) -> ConcurrencyPermit {
        self.limiter.acquire().await
    }

    fn send(
        &self,
        permit: ConcurrencyPermit,
        batch: Batch,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let opens = Arc::clone(&self.opens);
        async move {
            opens.acquire().await.unwrap().forget();
            drop(permit);
            Outcome::delivered(batch.item_count() as u64)
        }
    }
}

fn quiet() -> OtlpBuilder {
    let builder = tracing_otlp::builder().without_env();
    builder.with_schedule_delay(Duration::from_secs(3600))
}

#[test]
fn names_units_and_kinds_are_the_conventions() {
    let collector = Collector::start();
    for protocol in PROTOCOLS {
        let pipeline = Pipeline::start(crate::life::quiet(&collector.endpoint(protocol), protocol));
        pipeline.record(3);
        pipeline.guard.force_flush_blocking(LONG).unwrap();
        let metrics = pipeline.meters.collect();
        for (name, grows) in [
            ("otel.sdk.span.started", true),
            ("otel.sdk.span.live", false),
            ("otel.sdk.processor.span.queue.size", false),
            ("otel.sdk.processor.span.queue.capacity", false),
            ("otel.sdk.processor.span.processed", true),
            ("otel.sdk.exporter.span.inflight", false),
            ("otel.sdk.exporter.span.exported", true),
        ] {
            let metric = find(&metrics, name).unwrap();
            assert_eq!(
                (metric.unit.as_str(), is_monotonic(metric)),
                ("{span}", grows)
            );
        }
        let duration = find(&metrics, "otel.sdk.exporter.operation.duration").unwrap();
        assert_eq!(duration.unit, "s");
        assert_eq!(metrics.len(), 8, "and nothing else");

        let processor = pipeline.attributes("otel.sdk.processor.span.queue.size");
        let (type_key, name_key) = ("otel.component.type", "otel.component.name");
        assert_eq!(processor[type_key], "batching_span_processor");
        let number = processor[name_key].strip_prefix("batching_span_processor/");
        assert!(number.unwrap().parse::<u32>().is_ok(), "{number:?}");
        let component_type = match protocol {
            Protocol::Grpc => "otlp_grpc_span_exporter",
            _ => "otlp_http_span_exporter",
        };
        let name = format!("{component_type}/{}", number.unwrap());
        let endpoint = collector.endpoint(protocol);
        let port = endpoint.rsplit_once(':').unwrap().1.trim_end_matches('/');
        let exporter = are([
            (type_key, component_type),
            (name_key, &name),
            ("server.address", "127.0.0.1"),
            ("server.port", port),
        ]);
        assert_eq!(
            pipeline.attributes("otel.sdk.exporter.span.inflight"),
            exporter
        );
        assert_eq!(
            pipeline.attributes("otel.sdk.exporter.span.exported"),
            exporter
        );
        let (attributes, point) = pipeline.meters.one("otel.sdk.exporter.operation.duration");
        assert_eq!((attributes, point.count), (exporter, 1));
        assert!(point.sum.unwrap() > 0.0);
        // Buckets for seconds: an export on loopback lies far below the last one.
        assert_eq!(point.explicit_bounds.first(), Some(&0.005));
    }
}

#[test]
fn spans_are_counted_by_what_the_sampler_said() {
    let rules = Rules::new(AlwaysRecord::new(TraceIdRatio::new(0.0)))
        .with_rule(When::name("kept"), AlwaysOn);
    let gate = Gate::closed();
    gate.open();
    let pipeline = Pipeline::start(quiet().with_exporter(gate).with_sampler(rules));
    let open = dispatcher::with_default(&pipeline.dispatch, || {
        drop(info_span!("kept"));
        drop(info_span!("watched"));
        drop(info_span!("watched"));
        (info_span!("kept"), info_span!("watched"))
    });
    let stats = pipeline.stats();
    assert_eq!((stats.started, stats.started_unsampled), (2, 3));
    let results = said([("DROP", 0), ("RECORD_AND_SAMPLE", 2), ("RECORD_ONLY", 3)]);
    assert_eq!(pipeline.by("otel.sdk.span.started", RESULT), results);
    let live = said([("RECORD_AND_SAMPLE", 1), ("RECORD_ONLY", 1)]);
    assert_eq!(pipeline.by("otel.sdk.span.live", RESULT), live);
    drop(open);
    let live = said([("RECORD_AND_SAMPLE", 0), ("RECORD_ONLY", 0)]);
    assert_eq!(pipeline.by("otel.sdk.span.live", RESULT), live);
}

#[test]
fn spans_that_nobody_records_are_counted_too() {
    let sampler = ParentBased::new(TraceIdRatio::new(0.0));
    let pipeline = Pipeline::start(quiet().with_exporter(Gate::closed()).with_sampler(sampler));
    pipeline.record(5);
    let results = said([("DROP", 5), ("RECORD_AND_SAMPLE", 0), ("RECORD_ONLY", 0)]);
    assert_eq!(pipeline.by("otel.sdk.span.started", RESULT), results);
}

#[test]
fn the_queue_fills_flies_and_overflows() {
    let gate = Gate::closed();
    let builder = quiet().with_exporter(gate.clone()).with_max_queue_size(10);
    let pipeline = Pipeline::start(builder.with_max_export_batch_size(10));
    pipeline.record(4);
    assert_eq!(pipeline.one("otel.sdk.processor.span.queue.size"), 4);
    assert_eq!(pipeline.one("otel.sdk.processor.span.queue.capacity"), 10);
    assert_eq!(pipeline.one("otel.sdk.exporter.span.inflight"), 0);
    let processed = "otel.sdk.processor.span.processed";
    assert_eq!(pipeline.outcomes(processed), said([("", 0)]));

    pipeline.record(6);
    until("in flight", || pipeline.stats().in_flight == 10);
    assert_eq!(pipeline.one("otel.sdk.exporter.span.inflight"), 10);
    // Nobody else's exporter has a type of the conventions, or an address.
    let exporter = pipeline.attributes("otel.sdk.exporter.span.inflight");
    assert!(exporter["otel.component.type"].ends_with("::Gate"));
    assert!(!exporter.contains_key("server.address"));
    // Handed over, whatever becomes of them.
    assert_eq!(pipeline.outcomes(processed), said([("", 10)]));
    let exported = "otel.sdk.exporter.span.exported";
    assert_eq!(pipeline.outcomes(exported), said([("", 0)]));

    pipeline.record(14);
    assert_eq!(pipeline.one("otel.sdk.processor.span.queue.size"), 10);
    gate.open();
    pipeline.guard.force_flush_blocking(LONG).unwrap_err();
    pipeline.guard.shutdown_blocking(LONG).unwrap();
    pipeline.record(2);
    let stats = pipeline.stats();
    let full = stats.dropped(DropReason::QueueFull);
    assert_eq!((stats.delivered, full), (20, 4), "{stats}");
    assert_eq!(
        pipeline.outcomes(processed),
        said([("", 20), ("already_shutdown", 2), ("queue_full", 4)])
    );
    assert_eq!(pipeline.outcomes(exported), said([("", 20)]));
    assert_eq!(pipeline.one("otel.sdk.processor.span.queue.size"), 0);
    assert_eq!(pipeline.one("otel.sdk.exporter.span.inflight"), 0);
}

#[test]
fn every_end_of_an_export_has_its_name() {
    let collector = Collector::start();
    let builder = crate::life::quiet(&collector.http_endpoint(), Protocol::HttpProtobuf);
    let pipeline = Pipeline::start(builder);
    collector.script([
        Answer::ok(),
        Answer::partial(2, "too old"),
        Answer::http(400),
    ]);
    for _ in 0..3 {
        pipeline.record(5);
        let _ = pipeline.guard.force_flush_blocking(LONG);
    }
    let stats = pipeline.stats();
    assert_eq!((stats.delivered, stats.rejected), (8, 2));
    assert_eq!(stats.dropped(DropReason::Refused), 5);
    assert_eq!(
        pipeline.outcomes("otel.sdk.exporter.span.exported"),
        said([("", 8), ("refused", 5), ("rejected", 2)])
    );
    assert_eq!(
        pipeline.outcomes("otel.sdk.processor.span.processed"),
        said([("", 15)])
    );
    let durations = pipeline
        .meters
        .histogram("otel.sdk.exporter.operation.duration");
    let mut durations: Vec<_> = durations
        .into_iter()
        .map(|(attributes, point)| {
            let error = attributes.get("error.type").cloned().unwrap_or_default();
            (error, point.count)
        })
        .collect();
    durations.sort();
    let of = |error: &str| (error.to_owned(), 1);
    assert_eq!(durations, [of(""), of("refused"), of("rejected")]);
}

#[test]
fn what_never_reached_the_exporter_is_the_processor_s() {
    let pipeline = Pipeline::start(quiet().with_exporter(Stuck));
    pipeline.record(7);
    pipeline
        .guard
        .shutdown_blocking(Duration::from_millis(50))
        .unwrap_err();
    let stats = pipeline.stats();
    assert_eq!(stats.dropped(DropReason::ShutdownTimeout), 7);
    assert_eq!(
        pipeline.outcomes("otel.sdk.processor.span.processed"),
        said([("", 0), ("shutdown_timeout", 7)])
    );
    let exported = pipeline.outcomes("otel.sdk.exporter.span.exported");
    assert_eq!(exported, said([("", 0)]));
}

/// Is never ready.
struct Stuck;

impl Exporter for Stuck {
    type Permit = ();

    async fn ready(&self) {
        std::future::pending().await
    }

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        std::future::ready(Outcome::delivered(batch.item_count() as u64))
    }
}

#[test]
fn what_tail_sampling_drops_is_no_failure() {
    let gate = Gate::closed();
    gate.open();
    let mut tail = TailConfig::default();
    tail.ratio = 0.0;
    let builder = quiet().with_exporter(gate).with_tail_sampling(tail);
    let pipeline = Pipeline::start(builder);
    pipeline.record(3);
    until("dropped", || {
        pipeline.stats().dropped(DropReason::TailDropped) == 3
    });
    let processed = pipeline.outcomes("otel.sdk.processor.span.processed");
    assert_eq!(processed, said([("", 0)]));
}

#[test]
fn a_pipeline_that_is_disabled_has_no_metrics() {
    let builder = quiet().configure(|config| config.disabled = true);
    let pipeline = Pipeline::start(builder);
    pipeline.record(1);
    assert!(pipeline.meters.names().is_empty());
}

#[test]
fn an_observed_pipeline_ends_with_its_guard() {
    let collector = Collector::start();
    let protocol = Protocol::HttpProtobuf;
    let pipeline = Pipeline::start(crate::life::quiet(&collector.endpoint(protocol), protocol));
    pipeline.record(3);
    let Pipeline {
        dispatch,
        guard,
        meters,
    } = pipeline;
    drop(guard);
    assert_eq!(collector.span_count(), 3);
    drop(dispatch);
    // The last figures stay.
    let started = meters.sum("otel.sdk.span.started");
    assert_eq!(started.iter().map(|(_, count)| count).sum::<i64>(), 3);
}

#[test]
fn each_of_several_endpoints_has_its_count() {
    let collectors = [(); 2].map(|()| Collector::start());
    let urls = collectors.each_ref().map(|c| c.endpoint(Protocol::Grpc));
    let gate = Gate::closed();
    gate.open();
    let builder = quiet()
        .with_protocol(Protocol::Grpc)
        .with_endpoint(urls.join(","))
        .with_max_export_batch_size(1)
        .with_additional_exporter("gate", gate, Default::default());
    let pipeline = Pipeline::start(builder);
    pipeline.record(40);
    until("delivered", || pipeline.stats().delivered == 40);
    let exported = pipeline.meters.sum("otel.sdk.exporter.span.exported");
    let mut sum = 0;
    for (url, collector) in urls.iter().zip(&collectors) {
        let port = url.rsplit_once(':').unwrap().1.trim_end_matches('/');
        let is_of = |a: &&(Attributes, i64)| a.0.get("server.port").is_some_and(|p| p == port);
        let (attributes, count) = exported.iter().find(is_of).unwrap();
        assert_eq!(attributes["server.address"], "127.0.0.1");
        assert_eq!(*count, collector.span_count() as i64);
        sum += count;
    }
    assert_eq!(sum, 40);
    // The additional exporter has a name of its own.
    let is_gate = |a: &&(Attributes, i64)| a.0["otel.component.type"].ends_with("::Gate");
    assert_eq!(exported.iter().filter(is_gate).count(), 1);
    let queues = pipeline
        .meters
        .sum("otel.sdk.processor.span.queue.capacity");
    assert_eq!(queues.len(), 2);
}
