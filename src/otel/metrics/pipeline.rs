//! The `otel.sdk.*` metrics of a pipeline, read from its [`Stats`].

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider};

mod logs;

use super::DURATION_BOUNDARIES;
use crate::guard::PipelineHandle;
use crate::processor::{BatchProcessor, Components};
use crate::stats::{Counters, DropReason, EndpointStats, REJECTED, Stats};
use crate::sync::Arc;

/// Lets `provider` collect the `otel.sdk.*` metrics of a pipeline: spans started and open, the queue,
/// spans that the exporter received, spans delivered, and spans lost by reason.
///
/// The figures are those of [`PipelineHandle::stats`], read when metrics are collected: spans pay
/// nothing for it. `otel.sdk.exporter.operation.duration` is measured once for each batch. Call it once
/// for a pipeline and provider. It does not keep the pipeline alive; after its end the last figures
/// stay. A disabled pipeline has none.
///
/// The conventions of these metrics are in development: their names may still change.
///
/// ```
/// use opentelemetry_sdk::metrics::SdkMeterProvider;
/// use tracing_otlp::otel::metrics::observe_pipeline;
///
/// # fn main() -> Result<(), tracing_otlp::Error> {
/// # let builder = tracing_otlp::builder().without_env();
/// let meters = SdkMeterProvider::builder().build();
/// let (layer, guard) = builder.build()?;
/// observe_pipeline(&guard.handle(), &meters);
/// # drop((layer, guard));
/// # Ok(()) }
/// ```
pub fn observe_pipeline(pipeline: &PipelineHandle, provider: &impl MeterProvider) {
    let Some(processor) = pipeline.processor() else {
        return;
    };
    let observed = Observed {
        meter: super::meter(provider),
        pipeline,
        additional: None,
    };
    observed.spans();
    observed.all_of(processor);
    for (index, processor) in processor.additional().enumerate() {
        let observed = Observed {
            meter: super::meter(provider),
            pipeline,
            additional: Some(index),
        };
        observed.all_of(processor);
    }
}

fn exporter_of(components: &Components) -> Vec<KeyValue> {
    let mut attributes = component(components, components.exporter);
    if let Some((host, port)) = &components.server {
        attributes.extend(server(host.clone(), *port));
    }
    attributes
}

const SERVER_ADDRESS: &str = "server.address";

fn server(host: String, port: u16) -> [KeyValue; 2] {
    [
        KeyValue::new(SERVER_ADDRESS, host),
        KeyValue::new("server.port", i64::from(port)),
    ]
}

fn component(components: &Components, component_type: &'static str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("otel.component.name", components.name(component_type)),
        KeyValue::new("otel.component.type", component_type),
    ]
}

struct Observed<'a> {
    meter: Meter,
    pipeline: &'a PipelineHandle,
    /// Which of the additional exporters; `None`: the pipeline's own.
    additional: Option<usize>,
}

impl Observed<'_> {
    /// The metrics of one processor and its exporters.
    fn all_of(&self, processor: &BatchProcessor) {
        let components = processor.components();
        if let Some(components) = processor.log_components() {
            self.logs(components);
            if let Some(counters) = processor.log_counters() {
                self.export_duration(counters, exporter_of(components));
            }
        }
        self.processor(component(components, Components::PROCESSOR));
        let attributes = exporter_of(components);
        self.exporter(&attributes);
        self.export_duration(processor.counters(), attributes);
    }

    /// The duration of each export of one signal.
    fn export_duration(&self, counters: &Counters, attributes: Vec<KeyValue>) {
        let duration = self
            .meter
            .f64_histogram("otel.sdk.exporter.operation.duration")
            .with_unit("s")
            .with_description("The duration of exporting a batch of telemetry records.")
            // The conventions name none, and the SDK's defaults are made for milliseconds.
            .with_boundaries(DURATION_BOUNDARIES.to_vec())
            .build();
        let attributes = Outcomes::new(attributes);
        counters.on_export(Arc::new(move |took, error| {
            attributes.with(error, |all| duration.record(took.as_secs_f64(), all));
        }));
    }

    fn spans(&self) {
        const RESULT: &str = "otel.span.sampling_result";
        let sampled = [KeyValue::new(RESULT, "RECORD_AND_SAMPLE")];
        let recorded = [KeyValue::new(RESULT, "RECORD_ONLY")];
        let dropped = [KeyValue::new(RESULT, "DROP")];
        let (live_sampled, live_recorded) = (sampled.clone(), recorded.clone());
        self.counter(
            "otel.sdk.span.started",
            "The number of created spans.",
            move |stats, out| {
                let unrecorded = stats
                    .started_unsampled
                    .saturating_sub(stats.started_recorded);
                out.observe(stats.started, &sampled);
                out.observe(stats.started_recorded, &recorded);
                out.observe(unrecorded, &dropped);
            },
        );
        self.up_down_counter(
            "otel.sdk.span.live",
            "The number of created spans with recording=true for which the end operation has not \
             been called yet.",
            move |stats, out| {
                out.observe(signed(stats.open), &live_sampled);
                out.observe(signed(stats.open_recorded), &live_recorded);
            },
        );
    }

    fn processor(&self, attributes: Vec<KeyValue>) {
        let all = attributes.clone();
        self.up_down_counter(
            "otel.sdk.processor.span.queue.size",
            "The number of spans in the queue of a given instance of an SDK span processor.",
            move |stats, out| out.observe(signed(stats.queued), &all),
        );
        let all = attributes.clone();
        self.up_down_counter(
            "otel.sdk.processor.span.queue.capacity",
            "The maximum number of spans the queue of a given instance of an SDK span processor can \
             hold.",
            move |stats, out| out.observe(signed(stats.queue_limit), &all),
        );
        let attributes = Outcomes::new(attributes);
        self.counter(
            "otel.sdk.processor.span.processed",
            "The number of spans for which the processing has finished, either successful or failed.",
            move |stats, out| {
                attributes.with(None, |all| out.observe(stats.handed_over, all));
                // Tail sampling loses no span: a setting drops its trace.
                let is_loss = |reason: &DropReason| *reason != DropReason::TailDropped;
                for reason in DropReason::ALL.iter().copied().filter(is_loss) {
                    let all = stats.dropped(reason);
                    let lost = all.saturating_sub(stats.dropped_by_exporter(reason));
                    attributes.failed(lost, reason.as_str(), out);
                }
            },
        );
    }

    fn exporter(&self, attributes: &[KeyValue]) {
        let all = attributes.to_vec();
        self.up_down_counter(
            "otel.sdk.exporter.span.inflight",
            "The number of spans which were passed to the exporter, but that have not been exported \
             yet (neither successful, nor failed).",
            move |stats, out| out.observe(signed(stats.in_flight), &all),
        );
        let attributes = Outcomes::new(attributes.to_vec());
        self.counter(
            "otel.sdk.exporter.span.exported",
            "The number of spans for which the export has finished, either successful or failed.",
            move |stats, out| {
                let whole = (stats.delivered, stats.rejected);
                attributes.taken(whole, &stats.endpoints, out);
                for &reason in DropReason::ALL {
                    attributes.failed(stats.dropped_by_exporter(reason), reason.as_str(), out);
                }
            },
        );
    }

    fn counter(
        &self,
        name: &'static str,
        description: &'static str,
        observe: impl Fn(&Stats, &dyn AsyncInstrument<u64>) + Send + Sync + 'static,
    ) {
        let (pipeline, additional) = (self.pipeline.clone(), self.additional);
        self.meter
            .u64_observable_counter(name)
            .with_unit(unit_of(name))
            .with_description(description)
            .with_callback(move |out| read(&pipeline, additional, |stats| observe(stats, out)))
            .build();
    }

    fn up_down_counter(
        &self,
        name: &'static str,
        description: &'static str,
        observe: impl Fn(&Stats, &dyn AsyncInstrument<i64>) + Send + Sync + 'static,
    ) {
        let (pipeline, additional) = (self.pipeline.clone(), self.additional);
        self.meter
            .i64_observable_up_down_counter(name)
            .with_unit(unit_of(name))
            .with_description(description)
            .with_callback(move |out| read(&pipeline, additional, |stats| observe(stats, out)))
            .build();
    }
}

/// Reads the counters of the pipeline's own exporter, or of an additional one.
fn read(pipeline: &PipelineHandle, additional: Option<usize>, f: impl FnOnce(&Stats)) {
    let stats = pipeline.stats();
    match additional {
        None => f(&stats),
        Some(index) => {
            if let Some(additional) = stats.additional.get(index) {
                f(&additional.stats);
            }
        }
    }
}

fn unit_of(name: &str) -> &'static str {
    match name.contains(".log.") {
        true => "{log_record}",
        false => "{span}",
    }
}

/// A component's attributes, with and without an `error.type`.
struct Outcomes(Vec<KeyValue>);

impl Outcomes {
    fn new(attributes: Vec<KeyValue>) -> Self {
        Self(attributes)
    }

    fn with(&self, error: Option<&'static str>, f: impl FnOnce(&[KeyValue])) {
        let Some(error) = error else {
            return f(&self.0);
        };
        let mut all = self.0.clone();
        all.push(KeyValue::new("error.type", error));
        f(&all);
    }

    /// What endpoints took and rejected: by endpoint if there are several, because the
    /// attributes of a single one name it already.
    fn taken(
        &self,
        (delivered, rejected): (u64, u64),
        endpoints: &[EndpointStats],
        out: &dyn AsyncInstrument<u64>,
    ) {
        let is_single = self.0.iter().any(|a| a.key.as_str() == SERVER_ADDRESS);
        if is_single || endpoints.is_empty() {
            self.with(None, |all| out.observe(delivered, all));
            return self.failed(rejected, REJECTED, out);
        }
        for endpoint in endpoints {
            let mut attributes = self.0.clone();
            if !endpoint.address.is_empty() {
                attributes.extend(server(endpoint.address.clone(), endpoint.port));
            }
            let attributes = Self(attributes);
            attributes.with(None, |all| out.observe(endpoint.delivered, all));
            attributes.failed(endpoint.rejected, REJECTED, out);
        }
    }

    /// A kind of failure has a series from its first failure on.
    fn failed(&self, spans: u64, error: &'static str, out: &dyn AsyncInstrument<u64>) {
        if spans > 0 {
            self.with(Some(error), |all| out.observe(spans, all));
        }
    }
}

fn signed(spans: u64) -> i64 {
    i64::try_from(spans).unwrap_or(i64::MAX)
}
