//! Log records of the OpenTelemetry API enter this pipeline, and exporters of its SDK take them at the end.

use std::collections::HashMap;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::{Context, InstrumentationScope, Key, KeyValue, SpanId, TraceFlags, TraceId};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{InMemoryLogExporter, LogBatch, LogExporter};
use tracing::level_filters::LevelFilter;
use tracing::{info, info_span, warn};
use tracing_otlp::config::TailConfig;
use tracing_otlp::otel::{LogExporterAdapter, LoggerProvider};
use tracing_otlp::sampler::AlwaysOff;
use tracing_otlp::testing::{Collector, ReceivedValue};
use tracing_otlp::{DropReason, Events, OtlpBuilder, Protocol, Stats};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

const LONG: Duration = Duration::from_secs(120);

/// Forgets nothing when it is shut down.
#[derive(Debug, Clone, Default)]
struct Kept(InMemoryLogExporter);

impl LogExporter for Kept {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.0.export(batch).await
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// Runs `f` in a pipeline with logs, and gives the figures after its shutdown.
fn run(builder: OtlpBuilder, f: impl FnOnce(&LoggerProvider)) -> Stats {
    let (layer, guard) = builder.build().unwrap();
    let provider = LoggerProvider::new(&layer);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || f(&provider));
    let _ = guard.shutdown_blocking(LONG);
    let stats = guard.stats();
    assert_eq!(
        (stats.unaccounted(), stats.logs.unaccounted()),
        (0, 0),
        "{stats}"
    );
    stats
}

fn to(collector: &Collector) -> OtlpBuilder {
    tracing_otlp::builder()
        .without_env()
        .with_service_name("shop")
        .with_protocol(Protocol::Grpc)
        .with_endpoint(collector.grpc_endpoint())
        .with_logs(Events::AsLogs)
}

#[test]
fn a_record_arrives_with_all_that_was_set() {
    let collector = Collector::start();
    let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_790_000_000_000_000_001);
    run(to(&collector), |provider| {
        let scope = InstrumentationScope::builder("some.library")
            .with_version("1.2")
            .with_schema_url("https://schema.example")
            .with_attributes([KeyValue::new("part", "a")])
            .build();
        let logger = provider.logger_with_scope(scope);
        let mut record = logger.create_log_record();
        record.set_event_name("disk.full");
        record.set_timestamp(at);
        record.set_severity_number(Severity::Warn2);
        record.set_severity_text("notice");
        record.set_body(AnyValue::Map(Box::new(HashMap::from([(
            Key::new("free"),
            AnyValue::Int(5),
        )]))));
        record.add_attribute("n", 1);
        record.add_attribute("n", 2);
        record.add_attribute("list", [1_i64, 2].into_iter().collect::<AnyValue>());
        record.add_attributes([("yes", true), ("no", false)]);
        record.add_attribute("bytes", &b"\xff"[..]);
        logger.emit(record);
    });
    let [log] = &collector.logs()[..] else {
        panic!()
    };
    assert_eq!(log.event_name, "disk.full");
    assert_eq!(log.unix_nanos, 1_790_000_000_000_000_001);
    assert!(log.observed_unix_nanos > log.unix_nanos / 2);
    assert_eq!((log.severity_number, &*log.severity_text), (14, "notice"));
    assert!(
        matches!(&log.body, Some(ReceivedValue::Map(pairs)) if pairs.len() == 1),
        "{log:?}"
    );
    assert_eq!((&log["n"], &log["yes"]), (&2.into(), &true.into()));
    assert_eq!(log.attributes.len(), 5, "{log:?}");
    let scope = &log.scope;
    assert_eq!((&*scope.name, &*scope.version), ("some.library", "1.2"));
    assert_eq!(scope.schema_url, "https://schema.example");
    assert_eq!(log.trace_id, None);
}

#[test]
fn a_record_has_the_context_it_is_given_or_that_of_its_place() {
    let collector = Collector::start();
    run(to(&collector), |provider| {
        let logger = provider.logger("library");
        let _span = info_span!("work").entered();
        logger.emit(logger.create_log_record());
        let mut record = logger.create_log_record();
        let (trace, span) = (TraceId::from_bytes([7; 16]), SpanId::from_bytes([7; 8]));
        record.set_trace_context(trace, span, Some(TraceFlags::SAMPLED));
        logger.emit(record);
    });
    let span = collector.expect_span("work");
    let logs = collector.logs();
    assert_eq!(logs.len(), 2);
    assert!(logs.iter().any(|log| log.is_of(&span)));
    assert!(logs.iter().any(|log| log.trace_id
        == Some(tracing_otlp::TraceId::from_bytes([7; 16]))
        && log.flags == 1));
}

#[test]
fn filters_limits_and_suppression_hold_as_for_events() {
    let collector = Collector::start();
    let builder = to(&collector)
        .configure(|config| {
            config.logs.limits.attribute_count_limit = 2;
            config.logs.limits.attribute_value_length_limit = Some(3);
            config.logs.unsampled = tracing::level_filters::LevelFilter::WARN;
        })
        .with_sampler(AlwaysOff)
        .with_log_filter(Targets::new().with_default(LevelFilter::INFO));
    let stats = run(builder, |provider| {
        let logger = provider.logger("library");
        let emit = |severity: Severity| {
            let mut record = logger.create_log_record();
            record.set_severity_number(severity);
            record.add_attributes([("a", "abcdef"), ("b", "b"), ("c", "c")]);
            logger.emit(record);
        };
        assert!(logger.event_enabled(Severity::Info, "", None));
        assert!(!logger.event_enabled(Severity::Debug4, "", None));
        emit(Severity::Debug);
        emit(Severity::Info);
        {
            let _suppressed = Context::enter_telemetry_suppressed_scope();
            assert!(!logger.event_enabled(Severity::Error, "", None));
            emit(Severity::Error);
        }
        // Of an unsampled trace only from WARN on.
        let _span = info_span!("unsampled").entered();
        emit(Severity::Info);
        emit(Severity::Warn);
    });
    let logs = collector.logs();
    assert_eq!(logs.len(), 2, "{logs:?}");
    assert_eq!((stats.logs.emitted, stats.logs.truncated), (2, 2));
    for log in &logs {
        assert_eq!((log.attributes.len(), log.dropped_attributes), (2, 1));
        assert_eq!(log["a"], "abc");
    }
    assert_eq!(logs.iter().filter(|log| log.trace_id.is_some()).count(), 1);
}

/// A record of a trace that tail sampling may drop, and one whose flags nobody said.
#[test]
fn the_choices_by_sampling_hold_for_the_records_of_the_api() {
    let ids = (TraceId::from_bytes([7; 16]), SpanId::from_bytes([8; 8]));
    let emitted = |builder: OtlpBuilder, flags: Option<TraceFlags>| {
        let stats = run(builder, |provider| {
            let logger = provider.logger("library");
            for severity in [Severity::Info, Severity::Warn] {
                let mut record = logger.create_log_record();
                record.set_severity_number(severity);
                record.set_trace_context(ids.0, ids.1, flags);
                logger.emit(record);
            }
        });
        stats.logs.emitted
    };
    let collector = Collector::start();
    let from_warn = LevelFilter::WARN;
    let undecided = || {
        let builder = to(&collector).configure(move |config| config.logs.undecided = from_warn);
        builder.with_tail_sampling(TailConfig::default())
    };
    assert_eq!(emitted(undecided(), Some(TraceFlags::SAMPLED)), 1);
    assert_eq!(emitted(undecided(), None), 2);
    let unsampled = || to(&collector).configure(move |config| config.logs.unsampled = from_warn);
    assert_eq!(emitted(unsampled(), Some(TraceFlags::SAMPLED)), 2);
    assert_eq!(emitted(unsampled(), Some(TraceFlags::default())), 1);
    assert_eq!(emitted(unsampled(), None), 2);
}

#[test]
fn a_pipeline_without_logs_takes_no_record() {
    let collector = Collector::start();
    let builder = tracing_otlp::builder()
        .without_env()
        .with_endpoint(collector.grpc_endpoint());
    let stats = run(builder, |provider| {
        let logger = provider.logger("library");
        assert!(!logger.event_enabled(Severity::Error, "x", None));
        logger.emit(logger.create_log_record());
    });
    assert_eq!((stats.logs.emitted, collector.log_count()), (0, 0));
}

#[test]
fn a_record_after_shutdown_is_counted() {
    let collector = Collector::start();
    let (layer, guard) = to(&collector).build().unwrap();
    let logger = LoggerProvider::new(&layer).logger("library");
    guard.shutdown_blocking(LONG).unwrap();
    logger.emit(logger.create_log_record());
    let stats = guard.stats().logs;
    assert_eq!(
        (stats.emitted, stats.dropped(DropReason::AlreadyShutdown)),
        (1, 1)
    );
    assert_eq!(stats.unaccounted(), 0);
}

fn into_exporter<E: LogExporter + 'static>(exporter: E) -> OtlpBuilder {
    tracing_otlp::builder()
        .without_env()
        .with_service_name("shop")
        .with_traces_exporter_kind(tracing_otlp::config::TracesExporterKind::None)
        .with_logs(Events::AsLogs)
        .with_logs_exporter(LogExporterAdapter::new(exporter))
}

#[test]
fn an_exporter_of_the_sdk_gets_everything() {
    let memory = Kept::default();
    let stats = run(into_exporter(memory.clone()), |_| {
        warn!(target: "shop::stock", article = 4711, price = 9.5, list = ?[1], "only {} left", 1);
        info!(name: "cart.emptied", target: "shop::cart", n = 1, "gone");
    });
    assert_eq!(stats.logs.delivered, 2);
    let logs = memory.0.get_emitted_logs().unwrap();
    let of = |scope: &str| {
        let mut logs = logs.iter();
        logs.find(|log| log.instrumentation.name() == scope)
            .unwrap()
    };
    let log = of("shop::stock");
    let record = &log.record;
    assert_eq!(record.body(), Some(&AnyValue::String("only 1 left".into())));
    assert_eq!(record.severity_number(), Some(Severity::Warn));
    assert_eq!(record.severity_text(), Some("WARN"));
    assert!(record.timestamp().is_some() && record.observed_timestamp().is_some());
    let value = |key: &str| {
        let mut all = record.attributes_iter();
        all.find(|(k, _)| k.as_str() == key).map(|(_, v)| v.clone())
    };
    assert_eq!(value("article"), Some(AnyValue::Int(4711)));
    assert_eq!(value("price"), Some(AnyValue::Double(9.5)));
    assert_eq!(value("list"), Some(AnyValue::String("[1]".into())));
    assert_eq!(record.event_name(), None);
    assert_eq!(of("shop::cart").record.event_name(), Some("cart.emptied"));
    let service = log.resource.get(&Key::new("service.name"));
    assert_eq!(service, Some("shop".into()));
}

#[derive(Debug)]
struct Fails;

impl LogExporter for Fails {
    async fn export(&self, _: LogBatch<'_>) -> OTelSdkResult {
        Err(OTelSdkError::InternalFailure("it is full".to_owned()))
    }
}

#[derive(Debug)]
struct Hangs;

impl LogExporter for Hangs {
    async fn export(&self, _: LogBatch<'_>) -> OTelSdkResult {
        pending().await
    }
}

#[derive(Debug)]
struct Panics;

impl LogExporter for Panics {
    async fn export(&self, _: LogBatch<'_>) -> OTelSdkResult {
        panic!("on purpose")
    }
}

#[test]
fn what_an_exporter_fails_to_take_is_counted_and_holds_nobody_up() {
    let stats = run(into_exporter(Fails), |_| info!("lost"));
    assert_eq!(stats.logs.dropped(DropReason::Unconfirmed), 1, "{stats}");
    assert!(stats.logs.last_error.unwrap().1.contains("it is full"));
    let stats = run(into_exporter(Panics), |_| info!("lost"));
    assert_eq!(stats.logs.dropped_total(), 1, "{stats}");
    let builder = into_exporter(Hangs)
        .configure(|config| config.logs.batch.export_timeout = Some(Duration::from_millis(200)));
    let stats = run(builder, |_| info!("lost"));
    assert_eq!(stats.logs.dropped(DropReason::Unconfirmed), 1, "{stats}");
}

/// Sends what it holds only when it is shut down, which takes as long as somebody wants.
#[derive(Debug, Clone)]
struct HoldsBack {
    may_end: Arc<Mutex<mpsc::Receiver<()>>>,
    has_ended: Arc<AtomicBool>,
}

impl LogExporter for HoldsBack {
    async fn export(&self, _: LogBatch<'_>) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        let _ = self.may_end.lock().unwrap().recv();
        // Long enough for a process that does not wait to be gone.
        std::thread::sleep(Duration::from_millis(50));
        self.has_ended.store(true, Ordering::Release);
        Ok(())
    }
}

/// That API has no flush, so the exporter's shutdown is where records of its own leave it.
#[test]
fn the_shutdown_waits_for_that_of_the_exporter() {
    let started = || {
        let (end, may_end) = mpsc::channel();
        let exporter = HoldsBack {
            may_end: Arc::new(Mutex::new(may_end)),
            has_ended: Arc::default(),
        };
        let has_ended = Arc::clone(&exporter.has_ended);
        let (layer, guard) = into_exporter(exporter).build().unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || info!("held back"));
        (guard, end, has_ended)
    };
    let (guard, end, has_ended) = started();
    end.send(()).unwrap();
    guard.shutdown_blocking(LONG).unwrap();
    assert!(has_ended.load(Ordering::Acquire));

    let (guard, end, _) = started();
    guard.force_flush_blocking(LONG).unwrap();
    let error = guard.shutdown_blocking(Duration::from_secs(1)).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(error.to_string().contains("had not ended"), "{error}");
    assert_eq!(guard.stats().logs.delivered, 1);
    drop(end);
}
