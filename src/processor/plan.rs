//! [`PipelineParts`] and [`Plan`]: the start values of a processor, derived from the settings.

use std::time::Duration;

use super::buffer::QueueBounds;
use super::component::Components;
use super::lane::LaneSettings;
use super::queue::Queue;
use super::scopes::Scopes;
use super::shedding::SheddingSwitch;
use super::wake::Wake;
use super::worker::{EverySecond, OpenSpanSource};
use crate::config::BatchConfig;
use crate::diagnostics::{EventSink, Hint};
use crate::export::{ErasedExporter, Exporter};
use crate::pool::{Budget, Memory, cores};
use crate::signal::Signal;
use crate::stats::Counters;
use crate::sync::Arc;

/// The parts that a pipeline passes to its processor.
pub(crate) struct PipelineParts {
    pub(crate) counters: Arc<Counters>,
    pub(crate) memory: Arc<Memory>,
    /// The receivers of the worker's reports.
    pub(crate) event_sink: Arc<EventSink>,
    /// The scopes, if several processors share them; `None`: those of this processor alone.
    pub(super) scopes: Option<Arc<Scopes>>,
    /// Reported once, as soon as a subscriber takes them.
    pub(crate) warnings: Vec<String>,
    /// Each reported once, when it is due.
    pub(crate) hints: &'static [&'static Hint],
    /// Called by the worker about once a second.
    pub(crate) every_second: Option<EverySecond>,
    /// Polled by the worker about once a second.
    pub(crate) open_spans: Option<OpenSpanSource>,
    /// Turns shedding on and off while the pipeline runs.
    pub(crate) shedding: Option<Arc<dyn SheddingSwitch>>,
    /// `None`: the pipeline has no logs.
    pub(crate) logs: Option<LogsRoute>,
    /// The exporter, for reports, if it is not the pipeline's own.
    pub(super) place: Option<String>,
}

/// The exporter and the settings of a pipeline's logs.
pub(crate) struct LogsRoute {
    pub(crate) exporter: ErasedExporter,
    pub(crate) components: Components,
    /// The settings of the queue and its batches. Those of the whole pipeline (memory, shutdown) are not
    /// read.
    pub(crate) batch: BatchConfig,
}

impl LogsRoute {
    pub(crate) fn new(exporter: impl Exporter, batch: BatchConfig) -> Self {
        Self {
            components: Components::of(Signal::Logs, &exporter),
            exporter: ErasedExporter::new(exporter),
            batch,
        }
    }
}

impl PipelineParts {
    pub(crate) fn new(batch: &BatchConfig) -> Self {
        Self {
            counters: Counters::new(),
            memory: Memory::new(batch.max_memory),
            event_sink: Arc::default(),
            scopes: None,
            warnings: Vec::new(),
            hints: &[],
            every_second: None,
            open_spans: None,
            shedding: None,
            logs: None,
            place: None,
        }
    }
}

impl PipelineParts {
    /// The parts of an additional exporter's processor: with a bound of its own, and the same scopes and
    /// receivers of reports.
    pub(crate) fn for_additional(
        &mut self,
        name: &str,
        batch: &BatchConfig,
        logs: Option<LogsRoute>,
    ) -> Self {
        let memory = &self.memory.queue;
        let make = || Arc::new(Scopes::new(Arc::clone(memory)));
        let scopes = self.scopes.get_or_insert_with(make);
        Self {
            memory: match &logs {
                Some(_) => Memory::with_logs(batch.max_memory),
                None => Memory::new(batch.max_memory),
            },
            event_sink: Arc::clone(&self.event_sink),
            scopes: Some(Arc::clone(scopes)),
            shedding: self.shedding.clone(),
            logs,
            place: Some(place_of(name)),
            ..Self::new(batch)
        }
    }
}

/// An additional exporter in errors and reports.
pub(crate) fn place_of(name: &str) -> String {
    format!("additional exporter {name:?}")
}

/// The numbers of one signal, from its settings.
pub(super) struct Plan {
    pub(super) settings: LaneSettings,
    bounds: QueueBounds,
}

impl Plan {
    pub(super) fn new(batch: &BatchConfig, max_bytes: usize) -> Self {
        let queue = batch.max_queue_size.max(1);
        let max_spans = batch.max_export_batch_size.clamp(1, queue);
        let at_once = batch.schedule_delay.is_zero();
        // No delay: the first span completes a batch, and the tick is only a fallback.
        let due = if at_once { 1 } else { max_spans };
        let delay = match at_once {
            true => Duration::from_secs(1),
            false => batch.schedule_delay,
        };
        Self {
            settings: LaneSettings {
                max_items: max_spans,
                max_bytes,
                due,
                delay,
                export_timeout: batch.export_timeout,
            },
            bounds: QueueBounds {
                spans: queue,
                batch: due,
                batch_bytes: max_bytes,
            },
        }
    }

    pub(super) fn queue(
        &self,
        signal: Signal,
        budget: &Arc<Budget>,
        wake: Wake,
        counters: Arc<Counters>,
    ) -> Arc<Queue> {
        Queue::new(signal, self.bounds, cores(), budget, wake, counters)
    }
}
