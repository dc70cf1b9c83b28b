//! Settings become a layer, a processor, an exporter and a guard: the one place that knows them all.

use std::sync::{OnceLock, Weak};

use bytes::Bytes;

use crate::config::{OtlpConfig, SamplerConfig, TracesExporter};
use crate::context::IdGenerator;
use crate::context::bridge::Bridge;
use crate::diagnostics::{HINTS, Handler, Voice};
use crate::error::Error;
use crate::export::{ConsoleExporter, Exporter, OtlpClient};
use crate::fork::Home;
use crate::guard::{OpenSpans, Release, ShutdownGuard};
use crate::layer::{Fate, Ids, InProgress, OtlpLayer, Outlet, Settings};
use crate::live::ConfigStore;
use crate::pool::Memory;
use crate::processor::{BatchProcessor, Surroundings};
use crate::propagation::{self, Propagator};
use crate::resource::Resource;
use crate::sampler::{AlwaysOff, AlwaysOn, ParentBased, Sampler, TraceIdRatio};
use crate::semconv;
use crate::stats::StatsSource;
use crate::sync::{Arc, Mutex, lock};
use crate::tail::TailSampler;

/// Starts a processor on an exporter whose type is no longer known.
pub(super) type Start =
    Box<dyn FnOnce(&OtlpConfig, Bytes, Surroundings) -> Result<BatchProcessor, Error> + Send>;

/// What code gives beside settings.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) exporter: Option<Start>,
    pub(super) sampler: Option<Box<dyn Sampler>>,
    pub(super) store: Option<ConfigStore>,
    /// Whether `opentelemetry::Context` follows the spans entered.
    pub(super) activates: bool,
    pub(super) propagator: Option<Box<dyn Propagator>>,
    pub(super) ids: Option<Box<dyn IdGenerator>>,
    pub(super) diagnostics: Option<Handler>,
    /// Resolved already, because others speak for it too.
    pub(super) resource: Option<Resource>,
}

/// Starts a processor on `exporter`.
pub(super) fn start_on(exporter: impl Exporter) -> Start {
    Box::new(move |config, resource, surroundings| {
        let mut batch = config.batch.clone();
        if let Some(delay) = exporter.max_schedule_delay() {
            batch.schedule_delay = batch.schedule_delay.min(delay);
        }
        BatchProcessor::start_within(exporter, &batch, &config.worker, resource, surroundings)
    })
}

pub(super) fn assemble(
    config: &OtlpConfig,
    mut parts: Parts,
) -> Result<(OtlpLayer, ShutdownGuard), Error> {
    let propagator = parts.propagator.take();
    let pipeline = pipeline(config, parts)?;
    // Also of a disabled one, and not of one that could not be built (PROP-2).
    propagation::set_by_pipeline(propagator, config.propagators.as_deref());
    Ok(pipeline)
}

fn pipeline(config: &OtlpConfig, parts: Parts) -> Result<(OtlpLayer, ShutdownGuard), Error> {
    let store = match (parts.store, parts.sampler) {
        (Some(store), None) => store,
        (Some(store), Some(sampler)) => {
            store.set_sampler(sampler);
            store
        }
        (None, Some(sampler)) => ConfigStore::new(sampler),
        (None, None) => store_of(config.sampler),
    };
    let ids = match parts.ids {
        Some(ids) => Ids::Generator(ids.into()),
        None => Ids::Random,
    };
    let bridge = parts.activates.then(bridge).flatten();
    let settings = |fate| Settings::new(config.capture.clone(), &config.limits, fate, bridge);
    // An exporter given in code is meant; only the variable for all of OpenTelemetry is above it.
    let home = Home::here()?;
    let start = match (config.disabled, parts.exporter, config.traces_exporter) {
        (true, _, _) => Err(Fate::Disabled),
        (false, Some(start), _) => Ok(start),
        (false, None, TracesExporter::None) => Err(Fate::Unseen),
        (false, None, TracesExporter::Otlp) => Ok(otlp(config)?),
        (false, None, TracesExporter::Console) => Ok(start_on(ConsoleExporter::new())),
        #[cfg(feature = "file")]
        (false, None, TracesExporter::OtlpStdout) => {
            Ok(start_on(crate::export::OtlpFileExporter::stdout()))
        }
        #[cfg(feature = "viewer")]
        (false, None, TracesExporter::Viewer) => Ok(start_on(crate::viewer::viewer().build()?)),
    };
    let start = match start {
        Ok(start) => start,
        Err(fate) => {
            let memory = Memory::new(config.batch.max_memory);
            let layer = OtlpLayer::new(home, settings(fate), store, ids, memory, None);
            return Ok((layer, ShutdownGuard::disabled()));
        }
    };
    let mut surroundings = Surroundings::new(&config.batch);
    surroundings.hints = HINTS;
    surroundings.voice = Voice::new(parts.diagnostics, config.stderr_level);
    surroundings.warnings = config.warnings.iter().map(ToString::to_string).collect();
    let memory = Arc::clone(&surroundings.memory);
    let resource = parts.resource;
    let resource = resource.unwrap_or_else(|| Resource::resolve(&config.resource));
    let sweeper = Arc::new(OnceLock::<Weak<TailSampler>>::new());
    if config.tail.is_some() {
        let sweeper = Arc::clone(&sweeper);
        // Weak: the worker must not keep the processor alive that it works for.
        surroundings.every_second = Some(Box::new(move || {
            if let Some(tail) = sweeper.get().and_then(Weak::upgrade) {
                tail.sweep();
            }
        }));
    }
    // The layer is made after the processor, which asks it.
    let in_progress = Arc::new(Mutex::new(None::<InProgress>));
    if config.capture.show_open_after.is_some() {
        let in_progress = Arc::clone(&in_progress);
        surroundings.open_spans = Some(Box::new(move || {
            lock(&in_progress)
                .as_mut()
                .map(InProgress::look)
                .unwrap_or_default()
        }));
    }
    let processor = start(config, resource.encode(), surroundings)?;
    let tail = config.tail.as_ref().map(|config| {
        let tail = TailSampler::new(config, processor.clone(), Arc::clone(&memory));
        let tail = Arc::new(tail);
        // Set once: nobody else has it.
        let _ = sweeper.set(Arc::downgrade(&tail));
        tail
    });
    let outlet = Outlet::new(
        processor.clone(),
        &config.capture.scope_name,
        config.capture.scope_version.as_deref().unwrap_or_default(),
        config.capture.scope_per_target,
        semconv::SCHEMA_URL,
    )
    .behind(tail.clone());
    let layer = OtlpLayer::new(
        home.clone(),
        settings(Fate::Exported),
        store,
        ids,
        memory,
        Some(outlet),
    );
    if let Some(after) = config.capture.show_open_after {
        *lock(&in_progress) = Some(layer.in_progress(after));
    }
    let stats = with_held(layer.stats(), tail.as_deref(), home);
    let release = tail.map(|tail| Arc::new(move || tail.close()) as Release);
    let guard = ShutdownGuard::new(processor, config.batch.shutdown_timeout, stats);
    let (of_end, of_panic) = (layer.last_words(), layer.last_words());
    let open_spans = OpenSpans {
        end_all: Arc::new(move || of_end.end_all()),
        note_panic: Arc::new(move |message, attributes| of_panic.note_panic(message, attributes)),
    };
    Ok((layer, guard.releasing(release).with_open_spans(open_spans)))
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
fn bridge() -> Option<&'static dyn Bridge> {
    #[cfg(feature = "opentelemetry")]
    return Some(crate::otel::activation());
    #[cfg(not(feature = "opentelemetry"))]
    None
}

/// A store with the sampler that the settings name.
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

/// The client that the settings describe.
fn otlp(config: &OtlpConfig) -> Result<Start, Error> {
    let client = OtlpClient::with_cap(config.exporter.clone(), config.batch.export_timeout)?;
    Ok(start_on(client))
}
