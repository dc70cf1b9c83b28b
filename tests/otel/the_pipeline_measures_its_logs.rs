//! The `otel.sdk.*` metrics of log records say what `Stats::logs` says (LOG-26).

use tracing::{dispatcher, info};
use tracing_otlp::config::Events;
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, Protocol};

use crate::life::{LONG, PROTOCOLS};
use crate::meters::{are, find, is_monotonic};
use crate::observed::{Pipeline, said};

fn start(collector: &Collector, protocol: Protocol) -> Pipeline {
    let builder = crate::life::quiet(&collector.endpoint(protocol), protocol);
    Pipeline::start(builder.with_logs(Events::AsLogs))
}

impl Pipeline {
    fn log(&self, records: usize) {
        dispatcher::with_default(&self.dispatch, || {
            for _ in 0..records {
                info!("work");
            }
        });
    }
}

#[test]
fn names_units_and_kinds_are_the_conventions() {
    let collector = Collector::start();
    for protocol in PROTOCOLS {
        let pipeline = start(&collector, protocol);
        pipeline.log(3);
        pipeline.guard.force_flush_blocking(LONG).unwrap();
        let metrics = pipeline.meters.collect();
        for (name, grows) in [
            ("otel.sdk.log.created", true),
            ("otel.sdk.processor.log.queue.size", false),
            ("otel.sdk.processor.log.queue.capacity", false),
            ("otel.sdk.processor.log.processed", true),
            ("otel.sdk.exporter.log.inflight", false),
            ("otel.sdk.exporter.log.exported", true),
        ] {
            let metric = find(&metrics, name).unwrap();
            assert_eq!(
                (metric.unit.as_str(), is_monotonic(metric)),
                ("{log_record}", grows),
                "{name}"
            );
        }
        let processor = pipeline.attributes("otel.sdk.processor.log.queue.size");
        let (type_key, name_key) = ("otel.component.type", "otel.component.name");
        assert_eq!(processor[type_key], "batching_log_processor");
        let number = processor[name_key].strip_prefix("batching_log_processor/");
        let component_type = match protocol {
            Protocol::Grpc => "otlp_grpc_log_exporter",
            _ => "otlp_http_log_exporter",
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
        let exported = pipeline.attributes("otel.sdk.exporter.log.exported");
        assert_eq!(exported, exporter);
        // No span was exported, so the duration is the records' alone.
        let (attributes, point) = pipeline.meters.one("otel.sdk.exporter.operation.duration");
        assert_eq!((attributes, point.count), (exporter, 1));
    }
}

#[test]
fn each_signal_has_its_own_durations() {
    let collector = Collector::start();
    let pipeline = start(&collector, Protocol::HttpProtobuf);
    pipeline.record(2);
    pipeline.log(3);
    pipeline.guard.force_flush_blocking(LONG).unwrap();
    let durations = pipeline
        .meters
        .histogram("otel.sdk.exporter.operation.duration");
    let of = |component: &str| {
        let of_it = |(attributes, _): &&(_, _)| {
            let attributes: &crate::meters::Attributes = attributes;
            attributes["otel.component.type"] == component
        };
        let all = durations.iter().filter(of_it);
        all.map(|(_, point)| point.count).collect::<Vec<_>>()
    };
    assert_eq!(of("otlp_http_span_exporter"), [1]);
    assert_eq!(of("otlp_http_log_exporter"), [1]);
}

#[test]
fn every_end_of_a_record_has_its_name() {
    let collector = Collector::start();
    let pipeline = start(&collector, Protocol::HttpProtobuf);
    collector.script([
        Answer::ok(),
        Answer::partial(2, "too old"),
        Answer::http(400),
    ]);
    for _ in 0..3 {
        pipeline.log(5);
        let _ = pipeline.guard.force_flush_blocking(LONG);
    }
    let stats = pipeline.stats().logs;
    assert_eq!((stats.emitted, stats.delivered, stats.rejected), (15, 8, 2));
    assert_eq!(stats.dropped(DropReason::Refused), 5);
    assert_eq!(pipeline.one("otel.sdk.log.created"), 15);
    assert_eq!(
        pipeline.outcomes("otel.sdk.exporter.log.exported"),
        said([("", 8), ("refused", 5), ("rejected", 2)])
    );
    assert_eq!(
        pipeline.outcomes("otel.sdk.processor.log.processed"),
        said([("", 15)])
    );
    let durations = pipeline
        .meters
        .histogram("otel.sdk.exporter.operation.duration");
    let mut errors: Vec<_> = durations
        .into_iter()
        .map(|(attributes, _)| attributes.get("error.type").cloned().unwrap_or_default())
        .collect();
    errors.sort();
    assert_eq!(errors, ["", "refused", "rejected"]);
}
