//! Additional exporters get each span and record that the pipeline's own gets, from one encoding, and none
//! of them can hold up another.

use std::time::{Duration, Instant};

use crate::support::DEADLINE;
use crate::support::pace::{answered, fit};
use crate::support::pipeline::{self, BOTH, Pipeline, told};
use bytes::Bytes;
use tracing::{info, info_span};
use tracing_otlp::config::{BatchConfig, ConnectionConfig, LogsExporterKind, TracesExporterKind};
use tracing_otlp::export::{Batch, Exporter, Outcome, Signal};
use tracing_otlp::stats::AdditionalStats;
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, Events, Protocol, SpanId, Stats};

const MS: Duration = Duration::from_millis(1);

fn connection(protocol: Protocol, collector: &Collector) -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    config.protocol = Some(protocol);
    config.endpoint = Some(collector.endpoint(protocol));
    config.timeout = Some(DEADLINE);
    config.retry.initial_backoff = 5 * MS;
    config.retry.max_backoff = 50 * MS;
    config
}

fn batch() -> BatchConfig {
    let mut batch = BatchConfig::default();
    batch.schedule_delay = Duration::from_secs(3600);
    batch.export_timeout = Some(2 * DEADLINE);
    batch.max_memory = 8 << 20;
    batch
}

/// The spans that came to the queue: an additional exporter has got as many.
#[track_caller]
fn agrees(stats: &Stats, additional: &AdditionalStats) {
    let queued = stats.queued + stats.in_flight + stats.delivered + stats.rejected;
    let queued = queued + stats.dropped_total();
    assert_eq!(additional.received(), queued, "{stats}");
}

/// What the bytes of a request are, whoever got them.
fn spans_of(collector: &Collector) -> Vec<(String, SpanId, String)> {
    let spans = collector.spans();
    let shown = |s: &tracing_otlp::testing::ReceivedSpan| {
        (s.name.clone(), s.span_id, format!("{:?}", s.attributes))
    };
    let mut spans: Vec<_> = spans.iter().map(shown).collect();
    spans.sort();
    spans
}

#[test]
fn each_gets_everything_by_its_own_way() {
    for (own, other) in [(0, 1), (1, 0)] {
        let (own, other) = (BOTH[own], BOTH[other]);
        let [first, second] = [(); 2].map(|()| Collector::start());
        let mut vendor = connection(other, &second);
        vendor
            .headers
            .push(("x-vendor-key".parse().unwrap(), "secret".parse().unwrap()));
        let pipeline = Pipeline::start(
            pipeline::builder(own, &first.endpoint(own))
                .with_logs(Events::AsLogs)
                .configure(|c| c.logs.batch.schedule_delay = Duration::from_secs(3600))
                .with_additional_endpoint("vendor", vendor, batch()),
        );
        pipeline.within(|| {
            for n in 0..1000 {
                let _span = info_span!(target: "shop", "work", n, user = %"user 7").entered();
                info!(n, "a record");
            }
        });
        pipeline.flush().unwrap();
        assert_eq!(spans_of(&first), spans_of(&second));
        assert_eq!((first.span_count(), second.span_count()), (1000, 1000));
        assert_eq!((first.log_count(), second.log_count()), (1000, 1000));
        let has_key = |c: &Collector| {
            c.requests()
                .iter()
                .any(|r| r.header("x-vendor-key").is_some())
        };
        assert!(has_key(&second) && !has_key(&first));
        let stats = pipeline.settle(1000);
        let [vendor] = &stats.additional[..] else {
            panic!("{stats}");
        };
        assert_eq!(
            (vendor.name.as_str(), vendor.stats.delivered),
            ("vendor", 1000)
        );
        assert_eq!(vendor.stats.logs.delivered, 1000);
        assert_eq!(vendor.stats.endpoints.len(), 1);
        agrees(&stats, vendor);
        assert!(stats.to_string().contains("; vendor: queued 0"), "{stats}");
    }
}

/// Whichever of the two is down: the other gets all, and only the one that is down loses what exceeds its
/// bound.
#[test]
fn one_that_is_down_costs_the_other_nothing() {
    for protocol in BOTH {
        for is_own_down in [false, true] {
            let [first, second] = [(); 2].map(|()| Collector::start());
            let (down, up) = match is_own_down {
                true => (&first, &second),
                false => (&second, &first),
            };
            down.always(Answer::unavailable());
            let mut batch = batch();
            batch.schedule_delay = 10 * MS;
            batch.max_queue_size = 500;
            batch.max_export_batch_size = 100;
            let pipeline = Pipeline::start(
                pipeline::builder(protocol, &first.endpoint(protocol))
                    .with_schedule_delay(10 * MS)
                    .with_max_queue_size(500)
                    .with_max_export_batch_size(100)
                    .with_additional_endpoint("second", connection(protocol, &second), batch),
            );
            for round in 1..=20 {
                pipeline.spans(100, 10);
                let arrived = || up.span_count() == round * 100;
                let until = Instant::now() + DEADLINE;
                while !arrived() && Instant::now() < until {
                    std::thread::sleep(MS);
                }
                assert!(arrived(), "{} of {}", up.span_count(), round * 100);
            }
            let error = pipeline.guard.force_flush_blocking(200 * MS).unwrap_err();
            assert!(error.is_timeout(), "{error}");
            let stats = pipeline.stats();
            agrees(&stats, &stats.additional[0]);
            let (of_down, of_up) = match is_own_down {
                true => (&stats, &stats.additional[0].stats),
                false => (&stats.additional[0].stats, &stats),
            };
            assert_eq!(
                (of_up.delivered, of_up.dropped_total()),
                (2000, 0),
                "{stats}"
            );
            assert!(of_down.dropped(DropReason::QueueFull) > 0, "{stats}");
            assert_eq!(
                of_down.dropped_total(),
                of_down.dropped(DropReason::QueueFull)
            );
            // It keeps what its bound holds, and sends it when it can.
            down.always(Answer::ok());
            let _ = pipeline.flush();
            let stats =
                pipeline.until(|s| s.additional[0].stats.in_flight == 0 && s.in_flight == 0);
            agrees(&stats, &stats.additional[0]);
            assert_eq!(
                down.span_count() as u64 + of_down.dropped_total(),
                2000,
                "{stats}"
            );
        }
    }
}

/// Blocks the thread that it is called on.
struct Blocks;

impl Exporter for Blocks {
    type Permit = ();

    async fn ready(&self) {}

    #[allow(
        clippy::manual_async_fn,
        reason = "an `async fn` would borrow the exporter"
    )]
    fn send(&self, (): (), _: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        async {
            std::thread::sleep(Duration::from_secs(5));
            Outcome::default()
        }
    }
}

#[test]
fn one_that_blocks_its_thread_keeps_no_deadline_from_the_others() {
    let collector = Collector::start();
    let protocol = Protocol::Grpc;
    let pipeline = Pipeline::start(
        pipeline::builder(protocol, &collector.endpoint(protocol)).with_additional_exporter(
            "blocks",
            Blocks,
            batch(),
        ),
    );
    pipeline.spans(10, 10);
    let began = Instant::now();
    let timeout = fit(300 * MS);
    let error = pipeline.guard.force_flush_blocking(timeout).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    collector.wait_for_spans(10, DEADLINE).unwrap();
    let _ = pipeline.guard.shutdown_blocking(timeout);
    assert!(began.elapsed() < 2 * timeout + crate::support::pace::SLACK);
    let stats = pipeline.until(|s| s.in_flight == 0);
    assert_eq!(stats.delivered, 10, "{}", told(&stats));
    agrees(&stats, &stats.additional[0]);
}

/// An exporter of spans alone gets no logs, and each has its scopes.
struct Keeps(std::sync::Arc<std::sync::Mutex<Vec<Bytes>>>);

impl Exporter for Keeps {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        assert_eq!(batch.signal(), Signal::Traces);
        self.0.lock().unwrap().push(batch.to_bytes());
        std::future::ready(Outcome::delivered(batch.item_count() as u64))
    }
}

#[test]
fn scopes_are_the_same_for_all() {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message as _;
    let collector = Collector::start();
    let kept = std::sync::Arc::default();
    let pipeline = Pipeline::start(
        pipeline::builder(Protocol::Grpc, &collector.endpoint(Protocol::Grpc))
            .with_logs(Events::AsLogs)
            .configure(|c| c.capture.scope_per_target = true)
            .with_additional_exporter("kept", Keeps(std::sync::Arc::clone(&kept)), batch()),
    );
    pipeline.within(|| {
        drop(info_span!(target: "a", "of a"));
        drop(info_span!(target: "b", "of b"));
        info!("a record");
    });
    pipeline.flush().unwrap();
    let mut scopes = Vec::new();
    for bytes in kept.lock().unwrap().iter() {
        let request = ExportTraceServiceRequest::decode(bytes.clone()).unwrap();
        for scope in request
            .resource_spans
            .into_iter()
            .flat_map(|r| r.scope_spans)
        {
            let name = scope.scope.unwrap_or_default().name;
            scopes.extend(scope.spans.into_iter().map(|s| (s.name, name.clone())));
        }
    }
    scopes.sort();
    let expected = [("of a", "a"), ("of b", "b")];
    assert_eq!(scopes, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

/// `OTEL_TRACES_EXPORTER=none` turns off the pipeline's own exporter, not those beside it.
#[test]
fn they_get_everything_beside_an_own_exporter_of_none() {
    for with_logs in [false, true] {
        let collector = Collector::start();
        let protocol = Protocol::HttpProtobuf;
        let mut builder = pipeline::builder(protocol, "http://127.0.0.1:9")
            .with_traces_exporter_kind(TracesExporterKind::None)
            .with_additional_endpoint("second", connection(protocol, &collector), batch());
        if with_logs {
            builder = builder
                .with_logs(Events::AsLogs)
                .configure(|c| c.logs.exporter = Some(LogsExporterKind::Console));
        }
        let pipeline = Pipeline::start(builder);
        pipeline.within(|| info_span!("work").in_scope(|| info!("a record")));
        pipeline.flush().unwrap();
        assert_eq!(collector.span_count(), 1, "logs: {with_logs}");
        assert_eq!(collector.log_count(), usize::from(with_logs));
        let stats = pipeline.settle(1);
        assert_eq!(stats.additional[0].stats.delivered, 1, "{stats}");
    }
}

/// What an error and a report say, they say of one of them.
#[test]
fn each_has_its_name_in_errors_and_reports() {
    let [first, second] = [(); 2].map(|()| Collector::start());
    first.always(Answer::grpc(3, "the own one"));
    second.always(Answer::grpc(3, "the other one"));
    let (told, reports) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let builder = pipeline::builder(Protocol::Grpc, &first.grpc_endpoint())
        .with_additional_endpoint("vendor", connection(Protocol::Grpc, &second), batch())
        .with_diagnostic_handler(move |report| {
            let report = (report.message().to_owned(), report.to_string());
            let _ = told.lock().unwrap().send(report);
        });
    let pipeline = Pipeline::start(builder);
    let check = |error: tracing_otlp::Error| {
        assert!(error.is_export(), "{error}");
        let error = error.to_string();
        let (own, other) = error
            .split_once("; additional exporter \"vendor\": ")
            .unwrap();
        assert!(
            own.starts_with("1 spans") && own.contains("the own one"),
            "{error}"
        );
        assert!(
            other.starts_with("1 spans") && other.contains("the other one"),
            "{error}"
        );
    };
    pipeline.spans(1, 10);
    check(pipeline.flush().unwrap_err());
    pipeline.spans(1, 10);
    check(answered(pipeline.guard.force_flush(DEADLINE)).unwrap_err());
    // One that is well says nothing.
    first.always(Answer::ok());
    pipeline.spans(1, 10);
    let error = pipeline
        .guard
        .shutdown_blocking(DEADLINE)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("additional exporter \"vendor\": 1 spans"),
        "{error}"
    );
    let reports: Vec<_> = reports.try_iter().collect();
    let of_vendor = |message: &str| message.starts_with("additional exporter \"vendor\": ");
    assert!(
        reports.iter().any(|(message, _)| of_vendor(message)),
        "{reports:?}"
    );
    for (message, report) in &reports {
        assert!(
            of_vendor(message) || !report.contains("the other one"),
            "{report}"
        );
        assert!(
            !of_vendor(message) || !report.contains("the own one"),
            "{report}"
        );
    }
}

#[test]
fn names_are_needed_and_settings_are_checked() {
    let build = |names: [&str; 2], batch: &BatchConfig| {
        let mut builder = tracing_otlp::builder().without_env();
        for name in names {
            builder = builder.with_additional_exporter(name, Blocks, batch.clone());
        }
        builder.build().map(drop).unwrap_err()
    };
    for names in [["a", "a"], ["a", " "]] {
        let error = build(names, &batch());
        assert!(
            error.is_config() && error.to_string().contains("name of its own"),
            "{error}"
        );
    }
    let mut wrong = batch();
    wrong.max_queue_size = 0;
    let error = build(["a", "b"], &wrong);
    let begin = "additional exporter \"a\": batch.max_queue_size";
    assert!(
        error.is_config() && error.to_string().starts_with(begin),
        "{error}"
    );
    let mut wrong = ConnectionConfig::default();
    wrong.endpoint = Some("ftp://vendor.test".to_owned());
    let builder = tracing_otlp::builder()
        .without_env()
        .with_additional_endpoint("vendor", wrong, batch());
    let error = builder.build().map(drop).unwrap_err();
    let begin = "additional exporter \"vendor\": endpoint";
    assert!(
        error.is_config() && error.to_string().starts_with(begin),
        "{error}"
    );
}
