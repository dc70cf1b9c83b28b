//! The part of the handle for new traces while traces are shed.

use super::BatchProcessor;
use crate::sampler::{SamplingInput, SamplingResult, SheddingClass, SheddingLevel, shed_at_start};
use crate::sync::Ordering;

impl BatchProcessor {
    /// Applies shedding to a sampler's decision. A trace is not recorded only if every exporter would shed all of
    /// it. `is_certain`: the sampler keeps every root.
    #[cold]
    pub(crate) fn shed_at_start(
        &self,
        input: &SamplingInput<'_>,
        result: &mut SamplingResult,
        is_certain: bool,
    ) {
        // In a fork no worker ends shedding.
        if self.shared.home.is_left() {
            return;
        }
        let additional = self.additional.iter().map(|a| &a.processor);
        let levels = std::iter::once(self).chain(additional);
        let levels = levels.map(|processor| processor.shared.spans.shedding.level());
        let level = levels.min().unwrap_or(SheddingLevel::NONE);
        let threshold = level.threshold(SheddingClass::Last);
        let counters = &self.shared.spans.counters;
        if level != SheddingLevel::NONE && shed_at_start(result, input, threshold, is_certain) {
            counters.shed_traces.fetch_add(1, Ordering::Relaxed);
        }
    }
}
