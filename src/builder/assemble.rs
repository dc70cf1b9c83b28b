//! Settings become a layer, a processor, an exporter and a guard: the one place that knows them all.

use bytes::Bytes;

use crate::config::{OtlpConfig, SamplerConfig, TracesExporter};
use crate::context::IdGenerator;
use crate::error::Error;
use crate::export::{ConsoleExporter, Exporter, OtlpClient};
use crate::guard::ShutdownGuard;
use crate::layer::{Fate, Ids, OtlpLayer, Outlet, Sampling, Settings};
use crate::pool::Budget;
use crate::processor::{BatchProcessor, Surroundings};
use crate::propagation::{self, Propagator};
use crate::resource::Resource;
use crate::sampler::{AlwaysOff, AlwaysOn, ParentBased, Sampler, TraceIdRatio};
use crate::semconv;

/// Starts a processor on an exporter whose type is no longer known.
pub(super) type Start =
    Box<dyn FnOnce(&OtlpConfig, Bytes, Surroundings) -> Result<BatchProcessor, Error> + Send>;

/// What code gives beside settings.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) exporter: Option<Start>,
    pub(super) sampler: Option<Box<dyn Sampler>>,
    pub(super) propagator: Option<Box<dyn Propagator>>,
    pub(super) ids: Option<Box<dyn IdGenerator>>,
}

/// Starts a processor on `exporter`.
pub(super) fn start_on(exporter: impl Exporter) -> Start {
    Box::new(move |config, resource, surroundings| {
        BatchProcessor::start_within(
            exporter,
            &config.batch,
            &config.worker,
            resource,
            surroundings,
        )
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
    let sampling = match parts.sampler {
        Some(sampler) => Sampling::Sampler(sampler),
        None => sampling(config.sampler),
    };
    let ids = match parts.ids {
        Some(ids) => Ids::Generator(ids),
        None => Ids::Random,
    };
    let settings = |fate| {
        // A value as large as the whole budget could never be kept.
        let max_value = config.batch.max_memory;
        Settings::new(config.capture.clone(), &config.limits, max_value, fate)
    };
    // An exporter given in code is meant; only the variable for all of OpenTelemetry is above it.
    let start = match (config.disabled, parts.exporter, config.traces_exporter) {
        (true, _, _) => Err(Fate::Disabled),
        (false, Some(start), _) => Ok(start),
        (false, None, TracesExporter::None) => Err(Fate::Unseen),
        (false, None, TracesExporter::Otlp) => Ok(otlp(config)?),
        (false, None, TracesExporter::Console) => Ok(start_on(ConsoleExporter::new())),
    };
    let start = match start {
        Ok(start) => start,
        Err(fate) => {
            let budget = Budget::new(config.batch.max_memory);
            let layer = OtlpLayer::new(settings(fate), sampling, ids, budget, None);
            return Ok((layer, ShutdownGuard::disabled()));
        }
    };
    let mut surroundings = Surroundings::new(&config.batch);
    surroundings.warnings = config.warnings.iter().map(ToString::to_string).collect();
    let budget = surroundings.budget.clone();
    let resource = Resource::resolve(&config.resource).encode();
    let processor = start(config, resource, surroundings)?;
    let outlet = Outlet::new(
        processor.clone(),
        &config.capture.scope_name,
        config.capture.scope_version.as_deref().unwrap_or_default(),
        config.capture.scope_per_target,
        semconv::SCHEMA_URL,
    );
    let layer = OtlpLayer::new(
        settings(Fate::Exported),
        sampling,
        ids,
        budget,
        Some(outlet),
    );
    let guard = ShutdownGuard::new(processor, config.batch.shutdown_timeout, layer.stats());
    Ok((layer, guard))
}

/// The sampler that the settings name.
fn sampling(config: SamplerConfig) -> Sampling {
    Sampling::Sampler(match config {
        SamplerConfig::ParentBasedAlwaysOn => return Sampling::ParentOrAlways,
        SamplerConfig::ParentBasedAlwaysOff => Box::new(ParentBased::new(AlwaysOff)),
        SamplerConfig::ParentBasedTraceIdRatio(ratio) => {
            Box::new(ParentBased::new(TraceIdRatio::new(ratio)))
        }
        SamplerConfig::AlwaysOn => Box::new(AlwaysOn),
        SamplerConfig::AlwaysOff => Box::new(AlwaysOff),
        SamplerConfig::TraceIdRatio(ratio) => Box::new(TraceIdRatio::new(ratio)),
    })
}

/// The client that the settings describe.
fn otlp(config: &OtlpConfig) -> Result<Start, Error> {
    let client = OtlpClient::with_cap(config.exporter.clone(), config.batch.export_timeout)?;
    Ok(start_on(client))
}
