//! [`ExportTarget`]: an exporter, as the assembly takes it.

use std::time::Duration;

use crate::export::{ErasedExporter, Exporter};
use crate::processor::Components;
use crate::signal::Signal;

/// An exporter with its type erased, and its properties.
pub(super) struct ExportTarget {
    pub(super) exporter: ErasedExporter,
    pub(super) components: Components,
    /// The same for logs, if the exporter supports them.
    pub(super) of_logs: Option<Components>,
    pub(super) max_schedule_delay: Option<Duration>,
}

impl ExportTarget {
    pub(super) fn new(exporter: impl Exporter) -> Self {
        Self {
            components: Components::of(Signal::Traces, &exporter),
            of_logs: exporter
                .supports(Signal::Logs)
                .then(|| Components::of(Signal::Logs, &exporter)),
            max_schedule_delay: exporter.max_schedule_delay(),
            exporter: ErasedExporter::new(exporter),
        }
    }
}
