//! [`AdditionalStats`]: the counters of an additional exporter.

use std::fmt;

use super::{Stats, write_reasons};

/// The counters of one additional exporter: an item of [`Stats::additional`].
///
/// It gets each span that the pipeline's own queue gets. `queued + in_flight + delivered + rejected + dropped`
/// of its [`stats`](Self::stats) is the number of these spans; `started`, `open` and `held` are zero.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AdditionalStats {
    /// Its name.
    pub name: String,
    /// Its counters: queue, requests, losses, memory, endpoints, log records.
    pub stats: Stats,
}

impl AdditionalStats {
    pub(crate) fn new(name: String, stats: Stats) -> Self {
        Self { name, stats }
    }

    /// The spans that it got: those in its queue, those that were sent, and those that it lost.
    pub fn received(&self) -> u64 {
        let stats = &self.stats;
        let sent = stats.in_flight + stats.delivered + stats.rejected;
        stats.queued + sent + stats.dropped_total()
    }
}

impl fmt::Display for AdditionalStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, stats } = self;
        write!(
            f,
            "{name}: queued {}, in flight {}, delivered {}, rejected {}, dropped {}",
            stats.queued,
            stats.in_flight,
            stats.delivered,
            stats.rejected,
            stats.dropped_total()
        )?;
        write_reasons(f, |reason| stats.dropped(reason))
    }
}
