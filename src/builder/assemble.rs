//! Assembles a pipeline from settings: layer, processor, exporter and guard.

use std::sync::{OnceLock, Weak};

use tracing_subscriber::filter::Targets;

use super::additional::{self, AdditionalExporter};
use super::target::ExportTarget;
use crate::config::{
    BatchConfig, Events, LogsExporterKind, OtlpConfig, SamplerConfig, TracesExporterKind,
};
use crate::context::IdGenerator;
use crate::context::otel_context::ContextObserver;
use crate::diagnostics::{EventSink, HINTS, Handler};
use crate::error::Error;
use crate::export::{Batch, ConsoleExporter, Exporter, OtlpClient, Outcome};
use crate::fork::Home;
use crate::guard::{GuardedSpans, Release, ShutdownGuard};
use crate::layer::{ExportMode, Ids, InProgress, LogSink, OtlpLayer, Settings, SpanSink};
use crate::pool::Memory;
use crate::processor::{BatchProcessor, LogsRoute, PipelineParts, SheddingSwitch};
use crate::propagation::{self, Propagator};
use crate::resource::Resource;
use crate::runtime_config::ConfigStore;
use crate::sampler::{AlwaysOff, AlwaysOn, ParentBased, Sampler, TraceIdRatio};
use crate::semconv;
use crate::stats::StatsSource;
use crate::sync::{Arc, Mutex, lock};
use crate::tail::TailSampler;

/// The pipeline's own exporter where it is `none`: takes each span at once.
struct Nothing;

impl Exporter for Nothing {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let spans = batch.item_count() as u64;
        async move { Outcome::delivered(spans) }
    }
}

/// The parts from code that are no plain settings.
#[derive(Default)]
pub(super) struct CodeOverrides {
    pub(super) exporter: Option<ExportTarget>,
    pub(super) logs_exporter: Option<ExportTarget>,
    /// Exporters beside the pipeline's own.
    pub(super) additional: Vec<AdditionalExporter>,
    pub(super) log_filter: Option<Targets>,
    pub(super) sampler: Option<Box<dyn Sampler>>,
    pub(super) store: Option<ConfigStore>,
    /// Whether `opentelemetry::Context` follows the spans entered.
    pub(super) activates: bool,
    pub(super) propagator: Option<Box<dyn Propagator>>,
    pub(super) ids: Option<Box<dyn IdGenerator>>,
    pub(super) diagnostics: Option<Handler>,
    /// Already resolved, because metrics share it.
    pub(super) resource: Option<Resource>,
}

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
    parts: CodeOverrides,
) -> Result<(OtlpLayer, ShutdownGuard), Error> {
    let store = store(config, parts.store, parts.sampler, parts.log_filter);
    let ids = match parts.ids {
        Some(ids) => Ids::Generator(ids.into()),
        None => Ids::Random,
    };
    let bridge = parts.activates.then(bridge).flatten();
    let settings =
        |export_mode| Settings::new(config.capture.clone(), &config.limits, export_mode, bridge);
    if !config.disabled {
        additional::validate(&parts.additional)?;
    }
    let home = Home::here()?;
    let mut client = None;
    let is_given = parts.exporter.is_some();
    let has_additional = !parts.additional.is_empty();
    let target = own_target(config, parts.exporter, has_additional, &mut client)?;
    let logs = match &target {
        Err(ExportMode::Disabled) => None,
        target => logs_route(
            config,
            parts.logs_exporter,
            target.as_ref().ok().filter(|_| is_given),
            client.as_ref(),
        )?,
    };
    let has_logs = logs.is_some();
    let (target, export_mode) = match target {
        Ok(target) => (target, ExportMode::Exported),
        // Logs alone.
        Err(export_mode) if has_logs => (ExportTarget::new(Nothing), export_mode),
        Err(export_mode) => {
            let memory = Memory::new(config.batch.max_memory);
            let layer = OtlpLayer::new(home, settings(export_mode), store, ids, memory, None, None);
            return Ok((layer, ShutdownGuard::disabled()));
        }
    };
    let mut pipeline = PipelineParts::new(&config.batch);
    if has_logs {
        pipeline.memory = Memory::with_logs(config.batch.max_memory);
    }
    pipeline.logs = logs;
    pipeline.hints = HINTS;
    pipeline.event_sink = Arc::new(EventSink::new(parts.diagnostics, config.stderr_level));
    let warnings = config.warnings.iter().map(ToString::to_string);
    pipeline.warnings = warnings.chain(lost_exceptions(config, has_logs)).collect();
    let memory = Arc::clone(&pipeline.memory);
    let resource = parts.resource;
    let resource = resource.unwrap_or_else(|| Resource::resolve(&config.resource));
    let sweeper = Sweeper::default();
    if config.tail.is_some() {
        pipeline.every_second = Some(Box::new(sweep(&sweeper)));
    }
    // The processor needs the layer, which is made after it.
    let in_progress = Arc::new(Mutex::new(None::<InProgress>));
    if config.capture.open_spans_after.is_some() {
        let in_progress = Arc::clone(&in_progress);
        pipeline.open_spans = Some(Box::new(move || {
            lock(&in_progress)
                .as_mut()
                .map(InProgress::look)
                .unwrap_or_default()
        }));
    }
    let mut batch = config.batch.clone();
    if let Some(delay) = target.max_schedule_delay {
        batch.schedule_delay = batch.schedule_delay.min(delay);
    }
    pipeline.shedding = Some(Arc::new(StoreSwitch(store.clone())));
    let mut additional = Vec::new();
    for exporter in parts.additional {
        additional.push(exporter.start(config, &resource, &mut pipeline)?);
    }
    let processor = BatchProcessor::start_erased(
        (target.exporter, target.components),
        additional,
        &batch,
        &config.worker,
        resource.encode(),
        pipeline,
    )?;
    let logs = has_logs.then(|| {
        let processor = processor.clone();
        LogSink::new(processor, config, semconv::SCHEMA_URL)
    });
    let tail = config.tail.as_ref().map(|config| {
        let tail = TailSampler::new(config, processor.clone(), Arc::clone(&memory));
        let tail = Arc::new(tail);
        // Succeeds: no other code has this cell.
        let _ = sweeper.set(Arc::downgrade(&tail));
        tail
    });
    let sink = SpanSink::new(
        processor.clone(),
        &config.capture.scope_name,
        config.capture.scope_version.as_deref().unwrap_or_default(),
        config.capture.scope_per_target,
        semconv::SCHEMA_URL,
    )
    .behind(tail.clone());
    let layer = OtlpLayer::new(
        home.clone(),
        settings(export_mode),
        store,
        ids,
        memory,
        (export_mode == ExportMode::Exported).then_some(sink),
        logs,
    );
    if let Some(after) = config.capture.open_spans_after {
        *lock(&in_progress) = Some(layer.in_progress(after));
    }
    let stats = with_held(layer.stats(), tail.as_deref(), home);
    let release = tail.map(|tail| Arc::new(move || tail.close()) as Release);
    let guard = ShutdownGuard::new(processor, config.batch.shutdown_timeout, stats);
    let (of_end, of_panic) = (layer.last_words(), layer.last_words());
    let open_spans = GuardedSpans {
        end_all: Arc::new(move || of_end.end_all()),
        note_panic: Arc::new(move |exception| of_panic.note_panic(exception)),
        is_unreachable: Arc::new(move || client.as_ref().is_some_and(OtlpClient::is_unreachable)),
    };
    Ok((layer, guard.releasing(release).with_open_spans(open_spans)))
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

/// The pipeline's own exporter of spans, or why it has none. One from code wins over
/// `OTEL_TRACES_EXPORTER`, and so do additional ones; only `OTEL_SDK_DISABLED` disables them.
fn own_target(
    config: &OtlpConfig,
    given: Option<ExportTarget>,
    has_additional: bool,
    client: &mut Option<OtlpClient>,
) -> Result<Result<ExportTarget, ExportMode>, Error> {
    if config.disabled {
        return Ok(Err(ExportMode::Disabled));
    }
    if let Some(target) = given {
        return Ok(Ok(target));
    }
    Ok(Ok(match config.traces_exporter {
        TracesExporterKind::None if has_additional => ExportTarget::new(Nothing),
        TracesExporterKind::None => return Ok(Err(ExportMode::Unseen)),
        TracesExporterKind::Otlp => otlp(config, client)?,
        TracesExporterKind::Console => ExportTarget::new(ConsoleExporter::new()),
        #[cfg(feature = "file")]
        TracesExporterKind::OtlpStdout => {
            ExportTarget::new(crate::export::OtlpFileExporter::stdout())
        }
        #[cfg(feature = "viewer")]
        TracesExporterKind::Viewer => ExportTarget::new(crate::viewer::viewer().build()?),
    }))
}

/// The tail sampler, once it is there. Weak, because the worker must not keep its own processor alive.
type Sweeper = Arc<OnceLock<Weak<TailSampler>>>;

/// Sweeps the tail sampler.
fn sweep(sweeper: &Sweeper) -> impl Fn() + Send + use<> {
    let sweeper = Arc::clone(sweeper);
    move || {
        if let Some(tail) = sweeper.get().and_then(Weak::upgrade) {
            tail.sweep();
        }
    }
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

/// The other API whose context follows ours.
fn bridge() -> Option<&'static dyn ContextObserver> {
    #[cfg(feature = "opentelemetry")]
    return Some(crate::otel::activation());
    #[cfg(not(feature = "opentelemetry"))]
    None
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

/// The client that the settings describe; `known` keeps a handle of it.
fn otlp(config: &OtlpConfig, known: &mut Option<OtlpClient>) -> Result<ExportTarget, Error> {
    #[cfg(all(feature = "opentelemetry-otlp", not(feature = "http-json")))]
    if is_json(&config.connection) {
        let exporter = crate::otel::otlp_span_exporter(config)?;
        return Ok(ExportTarget::new(exporter));
    }
    let client = OtlpClient::with_cap(config.connection.clone(), config.batch.export_timeout)?;
    *known = Some(client.clone());
    Ok(ExportTarget::new(client))
}

/// Whether only opentelemetry-otlp's exporter writes what this connection takes.
#[cfg(all(feature = "opentelemetry-otlp", not(feature = "http-json")))]
fn is_json(connection: &crate::config::ConnectionConfig) -> bool {
    connection.protocol == Some(crate::config::Protocol::HttpJson)
}

/// The exporter of logs, if any: that from code, else that of the spans if it comes from code and
/// supports logs, else that of the settings.
fn logs_route(
    config: &OtlpConfig,
    given: Option<ExportTarget>,
    spans: Option<&ExportTarget>,
    client: Option<&OtlpClient>,
) -> Result<Option<LogsRoute>, Error> {
    let logs = &config.logs;
    // What would be in both signals otherwise is a span event already.
    if !logs.has_records() {
        return Ok(None);
    }
    let exporter = match logs.exporter {
        None | Some(LogsExporterKind::None) => return Ok(None),
        Some(exporter) => exporter,
    };
    let batch = BatchConfig {
        schedule_delay: logs.batch.schedule_delay,
        export_timeout: logs.batch.export_timeout,
        max_queue_size: logs.batch.max_queue_size,
        max_export_batch_size: logs.batch.max_export_batch_size,
        ..config.batch.clone()
    };
    if let Some(ExportTarget {
        exporter,
        of_logs: Some(components),
        ..
    }) = given
    {
        return Ok(Some(LogsRoute {
            exporter,
            components,
            batch,
        }));
    }
    if let Some(ExportTarget {
        exporter,
        of_logs: Some(components),
        ..
    }) = spans
    {
        return Ok(Some(LogsRoute {
            components: components.clone(),
            exporter: exporter.clone(),
            batch,
        }));
    }
    Ok(Some(match exporter {
        LogsExporterKind::Console => LogsRoute::new(ConsoleExporter::new(), batch),
        #[cfg(all(feature = "opentelemetry-otlp", not(feature = "http-json")))]
        _ if is_json(config.logs_connection()) => {
            LogsRoute::new(crate::otel::otlp_log_exporter(config)?, batch)
        }
        _ => {
            let connection = config.logs_connection().clone();
            let client = OtlpClient::for_logs(connection, batch.export_timeout, client)?;
            LogsRoute::new(client, batch)
        }
    }))
}
