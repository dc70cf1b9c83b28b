//! Assembles a pipeline from settings: layer, processor, exporter and guard.

use std::sync::{OnceLock, Weak};

use tracing_subscriber::filter::Targets;

use super::additional::{self, AdditionalExporter};
use super::exporters::{Exporters, Nothing};
use super::overrides::CodeOverrides;
use super::target::ExportTarget;
use crate::config::{Events, OtlpConfig, SamplerConfig};
use crate::context::otel_context::ContextObserver;
use crate::diagnostics::{EventSink, HINTS, Handler};
use crate::error::Error;
use crate::export::OtlpClient;
use crate::fork::Home;
use crate::guard::{GuardedSpans, Release, ShutdownGuard};
use crate::layer::{ExportMode, Ids, InProgress, LogSink, OtlpLayer, Settings, SpanSink};
use crate::pool::Memory;
use crate::processor::{BatchProcessor, PipelineParts, SheddingSwitch};
use crate::propagation;
use crate::resource::Resource;
use crate::runtime_config::ConfigStore;
use crate::sampler::{AlwaysOff, AlwaysOn, ParentBased, Sampler, TraceIdRatio};
use crate::semconv;
use crate::stats::StatsSource;
use crate::sync::{Arc, Mutex, lock};
use crate::tail::TailSampler;

pub(super) fn assemble(
    config: &OtlpConfig,
    mut parts: CodeOverrides,
) -> Result<(OtlpLayer, ShutdownGuard), Error> {
    let propagator = parts.propagator.take();
    let pipeline = pipeline(config, parts)?;
    // Also for a disabled pipeline, but not for a failed build (PROP-2).
    propagation::set_by_pipeline(propagator, config.propagators.as_deref());
    Ok(pipeline)
}

fn pipeline(
    config: &OtlpConfig,
    mut parts: CodeOverrides,
) -> Result<(OtlpLayer, ShutdownGuard), Error> {
    let layer_parts = LayerParts::new(config, &mut parts);
    if !config.disabled {
        additional::validate(&parts.additional)?;
    }
    let home = Home::here()?;
    let Exporters {
        spans,
        logs,
        client,
    } = Exporters::choose(config, &mut parts)?;
    let has_logs = logs.is_some();
    let memory = match has_logs {
        true => Memory::with_logs(config.batch.max_memory),
        false => Memory::new(config.batch.max_memory),
    };
    let (target, export_mode) = match spans {
        Ok(target) => (target, ExportMode::Exported),
        // Logs alone.
        Err(export_mode) if has_logs => (ExportTarget::new(Nothing), export_mode),
        Err(export_mode) => {
            let layer = layer_parts.layer(config, home, export_mode, memory, None, None);
            return Ok((layer, ShutdownGuard::disabled()));
        }
    };
    let late = LateParts::default();
    let mut pipeline = PipelineParts::new(&config.batch);
    pipeline.logs = logs;
    pipeline.memory = Arc::clone(&memory);
    pipeline.shedding = Some(Arc::new(StoreSwitch(layer_parts.store.clone())));
    report(config, parts.diagnostics, &mut pipeline);
    late.promise(config, &mut pipeline);
    let processor = start(config, target, parts.additional, parts.resource, pipeline)?;
    let logs = has_logs.then(|| LogSink::new(processor.clone(), config, semconv::SCHEMA_URL));
    let tail = late.tail(config, &processor, &memory);
    let sink = span_sink(config, &processor).behind(tail.clone());
    let sink = (export_mode == ExportMode::Exported).then_some(sink);
    let layer = layer_parts.layer(config, home.clone(), export_mode, memory, sink, logs);
    late.keep(config, &layer);
    let stats = with_held(layer.stats(), tail.as_deref(), home);
    let release = tail.map(|tail| Arc::new(move || tail.close()) as Release);
    let guard =
        ShutdownGuard::new(processor, config.batch.shutdown_timeout, stats).releasing(release);
    let open_spans = guarded_spans(&layer, client);
    Ok((layer, guard.with_open_spans(open_spans)))
}

/// What a layer is made of before there is a processor.
struct LayerParts {
    store: ConfigStore,
    ids: Ids,
    observer: Option<&'static dyn ContextObserver>,
}

impl LayerParts {
    fn new(config: &OtlpConfig, parts: &mut CodeOverrides) -> Self {
        Self {
            store: store(
                config,
                parts.store.take(),
                parts.sampler.take(),
                parts.log_filter.take(),
            ),
            ids: match parts.ids.take() {
                Some(ids) => Ids::Generator(ids.into()),
                None => Ids::Random,
            },
            observer: parts.activates.then(context_observer).flatten(),
        }
    }

    fn layer(
        self,
        config: &OtlpConfig,
        home: Home,
        export_mode: ExportMode,
        memory: Arc<Memory>,
        spans: Option<SpanSink>,
        logs: Option<Arc<LogSink>>,
    ) -> OtlpLayer {
        let settings = Settings::new(
            config.capture.clone(),
            &config.limits,
            export_mode,
            self.observer,
        );
        OtlpLayer::new(home, settings, self.store, self.ids, memory, spans, logs)
    }
}

/// The context of another API that follows the spans entered.
fn context_observer() -> Option<&'static dyn ContextObserver> {
    #[cfg(feature = "opentelemetry")]
    return Some(crate::otel::context_observer());
    #[cfg(not(feature = "opentelemetry"))]
    None
}

/// What the worker asks for and what is made after it: the layer's open spans and the tail sampler.
#[derive(Default)]
struct LateParts {
    in_progress: Arc<Mutex<Option<InProgress>>>,
    tail: TailCell,
}

/// Weak, because the worker must not keep its own processor alive.
type TailCell = Arc<OnceLock<Weak<TailSampler>>>;

impl LateParts {
    /// Lets the worker call what is not there yet.
    fn promise(&self, config: &OtlpConfig, pipeline: &mut PipelineParts) {
        if config.tail.is_some() {
            let tail = Arc::clone(&self.tail);
            pipeline.every_second = Some(Box::new(move || {
                if let Some(tail) = tail.get().and_then(Weak::upgrade) {
                    tail.sweep();
                }
            }));
        }
        if config.capture.open_spans_after.is_some() {
            let in_progress = Arc::clone(&self.in_progress);
            pipeline.open_spans = Some(Box::new(move || {
                // Taken out, because a look takes the locks of spans.
                let taken = lock(&in_progress).take();
                let Some(mut source) = taken else {
                    return Vec::new();
                };
                let spans = source.look();
                *lock(&in_progress) = Some(source);
                spans
            }));
        }
    }

    /// The tail sampler of the settings, if there is one.
    fn tail(
        &self,
        config: &OtlpConfig,
        processor: &BatchProcessor,
        memory: &Arc<Memory>,
    ) -> Option<Arc<TailSampler>> {
        let config = config.tail.as_ref()?;
        let tail = TailSampler::new(config, processor.clone(), Arc::clone(memory));
        let tail = Arc::new(tail);
        // Succeeds: no other code has this cell.
        let _ = self.tail.set(Arc::downgrade(&tail));
        Some(tail)
    }

    fn keep(&self, config: &OtlpConfig, layer: &OtlpLayer) {
        if let Some(after) = config.capture.open_spans_after {
            *lock(&self.in_progress) = Some(layer.in_progress(after));
        }
    }
}

/// Sets what the pipeline reports, and to whom.
fn report(config: &OtlpConfig, diagnostics: Option<Handler>, pipeline: &mut PipelineParts) {
    let warnings = config.warnings.iter().map(ToString::to_string);
    let lost_exceptions = lost_exceptions(config, pipeline.logs.is_some());
    pipeline.warnings = warnings.chain(lost_exceptions).collect();
    pipeline.hints = HINTS;
    pipeline.event_sink = Arc::new(EventSink::new(diagnostics, config.stderr_level));
}

/// Starts the processors of the additional exporters, and the pipeline's own.
fn start(
    config: &OtlpConfig,
    target: ExportTarget,
    exporters: Vec<AdditionalExporter>,
    resource: Option<Resource>,
    mut pipeline: PipelineParts,
) -> Result<BatchProcessor, Error> {
    let resource = resource.unwrap_or_else(|| Resource::resolve(&config.resource));
    let mut batch = config.batch.clone();
    if let Some(delay) = target.max_schedule_delay {
        batch.schedule_delay = batch.schedule_delay.min(delay);
    }
    let mut additional = Vec::new();
    for exporter in exporters {
        additional.push(exporter.start(config, &resource, &mut pipeline)?);
    }
    BatchProcessor::start_erased(
        (target.exporter, target.components),
        additional,
        &batch,
        &config.worker,
        resource.encode(),
        pipeline,
    )
}

fn span_sink(config: &OtlpConfig, processor: &BatchProcessor) -> SpanSink {
    SpanSink::new(
        processor.clone(),
        &config.capture.scope_name,
        config.capture.scope_version.as_deref().unwrap_or_default(),
        config.capture.scope_per_target,
        semconv::SCHEMA_URL,
    )
}

/// What the guard and the panic hook do with open spans.
fn guarded_spans(layer: &OtlpLayer, client: Option<OtlpClient>) -> GuardedSpans {
    let (of_end, of_panic) = (layer.last_words(), layer.last_words());
    GuardedSpans {
        end_all: Arc::new(move || of_end.end_all()),
        note_panic: Arc::new(move |exception| of_panic.note_panic(exception)),
        is_unreachable: Arc::new(move || client.as_ref().is_some_and(OtlpClient::is_unreachable)),
    }
}

/// Shedding, as the settings say that may change while the pipeline runs.
struct StoreSwitch(ConfigStore);

impl SheddingSwitch for StoreSwitch {
    fn is_on(&self) -> Option<bool> {
        self.0.shedding()
    }

    fn set_active(&self, is_active: bool) {
        self.0.count_shedding(is_active);
    }
}

/// The warning where exceptions are to be log records, and there are none (LOG-39).
fn lost_exceptions(config: &OtlpConfig, has_logs: bool) -> Option<String> {
    let is_in_vain = !has_logs && config.logs.exceptions != Events::AsSpanEvents;
    is_in_vain.then(|| {
        "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN (logs.exceptions) has no effect in a pipeline without logs: \
         exceptions stay span events; set OTEL_LOGS_EXPORTER=otlp, or call with_logs"
            .to_owned()
    })
}

/// The settings that may change while the pipeline runs: those from code, else those of the settings.
fn store(
    config: &OtlpConfig,
    store: Option<ConfigStore>,
    sampler: Option<Box<dyn Sampler>>,
    log_filter: Option<Targets>,
) -> ConfigStore {
    let store = match (store, sampler) {
        (Some(store), None) => store,
        (Some(store), Some(sampler)) => {
            store.set_sampler(sampler);
            store
        }
        (None, Some(sampler)) => ConfigStore::new(sampler),
        (None, None) => store_of(config.sampler),
    };
    if let Some(filter) = log_filter {
        store.set_log_filter(filter);
    }
    store
}

/// Adds the spans that are held; in a fork, which holds none, those are the parent's.
fn with_held(stats: StatsSource, tail: Option<&TailSampler>, home: Home) -> StatsSource {
    let Some(held) = tail.map(|tail| Arc::clone(tail.held())) else {
        return stats;
    };
    Arc::new(move |reading| {
        stats(reading);
        if !home.is_left() {
            reading.held = held.used() as u64;
        }
    })
}

/// A store with the sampler of the settings.
fn store_of(config: SamplerConfig) -> ConfigStore {
    match config {
        SamplerConfig::ParentBasedAlwaysOn => ConfigStore::default(),
        SamplerConfig::ParentBasedAlwaysOff => ConfigStore::new(ParentBased::new(AlwaysOff)),
        SamplerConfig::ParentBasedTraceIdRatio(ratio) => {
            ConfigStore::new(ParentBased::new(TraceIdRatio::new(ratio)))
        }
        SamplerConfig::AlwaysOn => ConfigStore::new(AlwaysOn),
        SamplerConfig::AlwaysOff => ConfigStore::new(AlwaysOff),
        SamplerConfig::TraceIdRatio(ratio) => ConfigStore::new(TraceIdRatio::new(ratio)),
    }
}
