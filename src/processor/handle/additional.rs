//! [`Additional`]: the processors of exporters beside the pipeline's own.
//!
//! It gets each span and record that the pipeline's queue gets, as the same bytes, in a queue of its own with
//! a worker of its own. So one that is slow, down or blocks its thread costs the others nothing.

use super::{Additional, BatchProcessor};
use crate::processor::record::TelemetryData;
use crate::processor::shedding::SheddingFacts;
use crate::stats::AdditionalStats;

impl BatchProcessor {
    /// Copies a closed span into the queues of the additional exporters.
    #[cold]
    pub(super) fn push_to_additional(
        &self,
        shard: usize,
        data: TelemetryData<'_>,
        facts: &impl Fn() -> SheddingFacts,
    ) {
        for Additional { processor, .. } in self.additional.iter() {
            processor.shared.spans.push_span(shard, data, facts);
        }
    }

    /// The same for a log record, of which the pipeline's own endpoint may take none.
    #[cold]
    pub(super) fn push_log_to_additional(&self, data: TelemetryData<'_>) {
        for Additional { processor, .. } in self.additional.iter() {
            match &processor.shared.logs {
                Some(logs) if !logs.refuses_one() => logs.push(data),
                _ => {}
            }
        }
    }

    pub(super) fn additional_stats(&self) -> Vec<AdditionalStats> {
        let of = |a: &Additional| AdditionalStats::new(a.name.clone(), a.processor.stats());
        self.additional.iter().map(of).collect()
    }

    /// The processors of additional exporters.
    #[cfg(feature = "metrics")]
    pub(crate) fn additional(&self) -> impl Iterator<Item = &Self> {
        self.additional.iter().map(|a| &a.processor)
    }
}
