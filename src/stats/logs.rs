//! [`LogStats`]: the counters of log records.

use std::fmt;
use std::time::SystemTime;

use super::endpoints::EndpointStats;
use super::reason::{DropReason, write_reasons};

/// The counters of a pipeline's log records: [`Stats::logs`](super::Stats::logs). All zero in a pipeline
/// without logs.
///
/// While no record is being emitted or sent,
/// `emitted = queued + in_flight + delivered + rejected + dropped` holds exactly.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LogStats {
    /// Log records that were emitted: events that the log filter let through.
    pub emitted: u64,
    /// Those that wait to be sent.
    pub queued: u64,
    /// The bound of [`queued`](Self::queued), in records.
    pub queue_limit: u64,
    /// Those in a request that is being sent or retried, or waits for its answer.
    pub in_flight: u64,
    /// Those whose arrival the endpoint acknowledged.
    pub delivered: u64,
    /// Those that the endpoint received and rejected in a partial success.
    pub rejected: u64,
    /// Attributes that records left out because of a limit or for want of memory.
    pub truncated: u64,
    /// Of these, and of bodies that were cut, those for want of memory.
    pub truncated_for_memory: u64,
    /// Requests that ended well, partial successes included.
    pub requests_ok: u64,
    /// Requests that failed after all their attempts.
    pub requests_failed: u64,
    /// Attempts beyond each request's first.
    pub retries: u64,
    /// Of the records delivered or rejected, those that the endpoint may have twice: an earlier attempt got no
    /// answer, or that of a gateway that gave up.
    pub possible_duplicates: u64,
    /// The last error of a request of log records with its cure, and its time.
    pub last_error: Option<(SystemTime, String)>,
    /// The last warning of the endpoint about records that it took, and its time.
    pub last_warning: Option<(SystemTime, String)>,
    /// What each address of the endpoint got.
    pub endpoints: Vec<EndpointStats>,
    pub(super) dropped: [u64; DropReason::ALL.len()],
    #[cfg_attr(
        not(feature = "metrics"),
        allow(dead_code, reason = "only metrics tell them")
    )]
    pub(super) dropped_by_exporter: [u64; DropReason::ALL.len()],
    #[cfg_attr(
        not(feature = "metrics"),
        allow(dead_code, reason = "only metrics tell them")
    )]
    pub(crate) handed_over: u64,
    /// A layer counted `emitted`.
    pub(crate) counts_emitted: bool,
}

impl LogStats {
    /// Log records dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Of them, those that an exporter had been given.
    #[cfg(feature = "metrics")]
    pub(crate) fn dropped_by_exporter(&self, reason: DropReason) -> u64 {
        self.dropped_by_exporter[reason as usize]
    }

    /// Of them, those that no exporter had been given.
    #[cfg(feature = "metrics")]
    pub(crate) fn dropped_early(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize] - self.dropped_by_exporter[reason as usize]
    }

    /// Log records dropped, for whatever reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// The records that are neither counted as delivered, rejected or dropped, nor queued or in flight:
    /// zero at any quiet moment, and where nobody counts the records emitted
    /// ([`Stats::unaccounted`](super::Stats::unaccounted)).
    pub fn unaccounted(&self) -> i64 {
        if !self.counts_emitted {
            return 0;
        }
        let known =
            self.queued + self.in_flight + self.delivered + self.rejected + self.dropped_total();
        self.emitted as i64 - known as i64
    }
}

impl fmt::Display for LogStats {
    /// One line: `emitted 10, queued 0, in flight 0, delivered 10, rejected 0, dropped 0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "emitted {}, queued {}, in flight {}, delivered {}, rejected {}, dropped {}",
            self.emitted,
            self.queued,
            self.in_flight,
            self.delivered,
            self.rejected,
            self.dropped_total()
        )?;
        write_reasons(f, |reason| self.dropped(reason))
    }
}
