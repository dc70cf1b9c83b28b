//! The `otel.sdk.*` metrics of log records.

use super::{Observed, Outcomes, component, exporter_of, signed};
use crate::processor::Components;
use crate::stats::DropReason;

impl Observed<'_> {
    pub(super) fn logs(&self, components: &Components) {
        if self.additional.is_none() {
            self.counter(
                "otel.sdk.log.created",
                "The number of logs submitted to enabled SDK Loggers.",
                |stats, out| out.observe(stats.logs.emitted, &[]),
            );
        }
        let attributes = component(components, Components::LOG_PROCESSOR);
        let all = attributes.clone();
        self.up_down_counter(
            "otel.sdk.processor.log.queue.size",
            "The number of log records in the queue of a given instance of an SDK log processor.",
            move |stats, out| out.observe(signed(stats.logs.queued), &all),
        );
        let all = attributes.clone();
        self.up_down_counter(
            "otel.sdk.processor.log.queue.capacity",
            "The maximum number of log records the queue of a given instance of an SDK Log Record \
             processor can hold.",
            move |stats, out| out.observe(signed(stats.logs.queue_limit), &all),
        );
        let outcomes = Outcomes::new(attributes);
        self.counter(
            "otel.sdk.processor.log.processed",
            "The number of log records for which the processing has finished, either successful or \
             failed.",
            move |stats, out| {
                outcomes.with(None, |all| out.observe(stats.logs.handed_over, all));
                for reason in DropReason::ALL.iter().copied() {
                    outcomes.failed(stats.logs.dropped_early(reason), reason.as_str(), out);
                }
            },
        );
        let attributes = exporter_of(components);
        let all = attributes.clone();
        self.up_down_counter(
            "otel.sdk.exporter.log.inflight",
            "The number of log records which were passed to the exporter, but that have not been \
             exported yet (neither successful, nor failed).",
            move |stats, out| out.observe(signed(stats.logs.in_flight), &all),
        );
        let outcomes = Outcomes::new(attributes);
        self.counter(
            "otel.sdk.exporter.log.exported",
            "The number of log records for which the export has finished, either successful or \
             failed.",
            move |stats, out| {
                let whole = (stats.logs.delivered, stats.logs.rejected);
                outcomes.taken(whole, &stats.logs.endpoints, out);
                for &reason in DropReason::ALL {
                    outcomes.failed(stats.logs.dropped_by_exporter(reason), reason.as_str(), out);
                }
            },
        );
    }
}
