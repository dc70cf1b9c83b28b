//! [`CodeOverrides`]: what code gives a builder beside the settings.

use tracing_subscriber::filter::Targets;

use super::additional::AdditionalExporter;
use super::target::ExportTarget;
use crate::context::IdGenerator;
use crate::diagnostics::Handler;
use crate::propagation::Propagator;
use crate::resource::Resource;
use crate::runtime_config::ConfigStore;
use crate::sampler::Sampler;

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
