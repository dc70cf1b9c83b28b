//! Counters of a pipeline: [`Stats`], [`LogStats`] and [`DropReason`].
//!
//! For health checks, alerts and tests: [`ShutdownGuard::stats`](crate::ShutdownGuard::stats) and
//! [`PipelineHandle::stats`](crate::guard::PipelineHandle::stats) return a reading. It shows where each span is,
//! why spans were dropped, and the last error with its cure.
//!
//! While no span is being recorded or sent,
//! `started = open + held + queued + in_flight + delivered + rejected + dropped` holds exactly.
//!
//! # How it works inside
//!
//! Layer, queue, worker and exporter count with relaxed atomics. `open`, `held` and `queued` are counted
//! where the spans are, not derived from the other counters, so that the equation can show a defect.

mod endpoints;
mod logs;
mod reason;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use crate::sync::{Arc, AtomicU64, Mutex, Ordering, lock};
use crate::text;

pub use self::reason::DropReason;
use self::reason::write_reasons;
pub use endpoints::EndpointStats;
pub use logs::LogStats;

/// The `error.type` of spans that the endpoint rejected.
pub(crate) const REJECTED: &str = "rejected";

/// A reading of the pipeline's counters, from [`ShutdownGuard::stats`](crate::ShutdownGuard::stats).
///
/// All span counters are of sampled spans since the pipeline was built. The counters are read one after
/// the other: while spans are recorded or sent, their sum may be off by those spans.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Sampled spans that were created.
    pub started: u64,
    /// Spans that were created unsampled: they carry context and are never exported.
    pub started_unsampled: u64,
    /// Sampled spans that have not closed yet.
    pub open: u64,
    /// Spans that closed and wait for the tail decision on their trace
    /// ([`TailConfig`](crate::config::TailConfig)).
    pub held: u64,
    /// Spans that closed and wait to be sent.
    pub queued: u64,
    /// The bound of [`queued`](Self::queued), in spans.
    pub queue_limit: u64,
    /// Spans in a request that is being sent or retried, or waits for its answer.
    pub in_flight: u64,
    /// Spans whose arrival the endpoint acknowledged.
    pub delivered: u64,
    /// Spans that the endpoint received and rejected in a partial success.
    pub rejected: u64,
    /// Attributes, events and links that spans left out because of a limit or for want of memory; counted
    /// when a span ends.
    pub truncated: u64,
    /// Data that spans left out for want of memory
    /// ([`BatchConfig::max_memory`](crate::config::BatchConfig::max_memory)): the part of
    /// [`truncated`](Self::truncated) that is not due to a limit, attributes of events and links, and names
    /// and descriptions that were cut.
    pub truncated_for_memory: u64,
    /// Calls on a span after its end, which were ignored.
    pub after_end: u64,
    /// Requests that ended well, partial successes included.
    pub requests_ok: u64,
    /// Requests that failed after all their attempts.
    pub requests_failed: u64,
    /// Attempts beyond each request's first.
    pub retries: u64,
    /// Of the spans delivered or rejected, those that the endpoint may have twice: an earlier attempt
    /// got no answer, or one that does not say that nothing was taken, as of a gateway that gave up (502, 504,
    /// `DEADLINE_EXCEEDED`).
    pub possible_duplicates: u64,
    /// Restarts of the worker after a panic.
    pub worker_restarts: u64,
    /// Bytes held by open and held spans, queue, requests in flight and buffers kept for reuse.
    pub memory_used: u64,
    /// The bound of [`memory_used`](Self::memory_used), in bytes.
    pub memory_limit: u64,
    /// The part of all traces that is shed now, from 0 (none) to 1
    /// ([`BatchConfig::shedding`](crate::config::BatchConfig::shedding)).
    pub shed_ratio: f64,
    /// Traces that were not recorded here because they would have been shed. Their spans are a part of
    /// [`started_unsampled`](Self::started_unsampled); spans of traces that began before are counted as
    /// [`DropReason::Shed`].
    pub shed_traces: u64,
    /// The last error of a request or connection with its cure, and its time.
    pub last_error: Option<(SystemTime, String)>,
    /// The last warning of the endpoint about spans that it took, and its time.
    pub last_warning: Option<(SystemTime, String)>,
    /// What each address of the endpoint got; empty unless the exporter is an
    /// [`OtlpClient`](crate::export::OtlpClient). The sums of `delivered` and `rejected` are those of the whole.
    pub endpoints: Vec<EndpointStats>,
    /// What the additional exporters got
    /// ([`with_additional_endpoint`](crate::OtlpBuilder::with_additional_endpoint)). The other counters are those
    /// of the pipeline's own exporter.
    pub additional: Vec<AdditionalStats>,
    /// The counters of log records; all zero in a pipeline without logs.
    pub logs: LogStats,
    pub(crate) warnings: u64,
    dropped: [u64; DropReason::ALL.len()],
    /// Of those, the spans that an exporter had received.
    dropped_by_exporter: [u64; DropReason::ALL.len()],
    /// Spans that an exporter received.
    #[cfg_attr(
        not(feature = "metrics"),
        allow(dead_code, reason = "only metrics tell them")
    )]
    pub(crate) handed_over: u64,
    /// Of `started_unsampled`, the spans that are recorded without being sampled.
    pub(crate) started_recorded: u64,
    /// Of those, the spans that have not closed yet.
    pub(crate) open_recorded: u64,
    /// A layer counted `started` and `open`.
    pub(crate) counts_started: bool,
}

impl Stats {
    /// Spans dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Of them, those that no exporter had received.
    pub(crate) fn dropped_early(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize] - self.dropped_by_exporter[reason as usize]
    }

    /// Of them, those that an exporter had received.
    #[cfg(feature = "metrics")]
    pub(crate) fn dropped_by_exporter(&self, reason: DropReason) -> u64 {
        self.dropped_by_exporter[reason as usize]
    }

    /// Spans dropped, for whatever reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// The reading of counters that count log records.
    pub(crate) fn into_logs(self) -> LogStats {
        LogStats {
            emitted: 0,
            queued: self.queued,
            queue_limit: self.queue_limit,
            in_flight: self.in_flight,
            delivered: self.delivered,
            rejected: self.rejected,
            truncated: self.truncated,
            truncated_for_memory: self.truncated_for_memory,
            requests_ok: self.requests_ok,
            requests_failed: self.requests_failed,
            retries: self.retries,
            possible_duplicates: self.possible_duplicates,
            last_error: self.last_error,
            last_warning: self.last_warning,
            endpoints: self.endpoints,
            dropped: self.dropped,
            dropped_by_exporter: self.dropped_by_exporter,
            handed_over: self.handed_over,
            counts_emitted: false,
        }
    }

    /// Spans dropped for any reason other than those that the settings ask for: tail sampling and shedding.
    pub(crate) fn lost(&self) -> u64 {
        let asked_for =
            [DropReason::TailDropped, DropReason::Shed].map(|reason| self.dropped(reason));
        self.dropped_total() - asked_for.iter().sum::<u64>()
    }

    /// `started` less all the counters above: zero while no span is being recorded or sent. Another value
    /// then is a defect of this crate.
    ///
    /// Zero in the reading of an [additional exporter](Self::additional) and of a
    /// [`BatchProcessor`](crate::processor::BatchProcessor): nobody counts spans as started there, so there is
    /// nothing to compare.
    pub fn unaccounted(&self) -> i64 {
        if !self.counts_started {
            return 0;
        }
        let known = self.open
            + self.held
            + self.queued
            + self.in_flight
            + self.delivered
            + self.rejected
            + self.dropped_total();
        self.started as i64 - known as i64
    }
}

impl fmt::Display for Stats {
    /// One line: `started 10, open 0, queued 0, in flight 0, delivered 10, rejected 0, dropped 0`;
    /// after `open`, with tail sampling, `held 3`; at the end, with logs, [`LogStats`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "started {}, open {}", self.started, self.open)?;
        if self.held > 0 {
            write!(f, ", held {}", self.held)?;
        }
        write!(
            f,
            ", queued {}, in flight {}, delivered {}, rejected {}, dropped {}",
            self.queued,
            self.in_flight,
            self.delivered,
            self.rejected,
            self.dropped_total()
        )?;
        write_reasons(f, |reason| self.dropped(reason))?;
        if self.logs.queue_limit > 0 {
            write!(f, "; logs: {}", self.logs)?;
        }
        for additional in &self.additional {
            write!(f, "; {additional}")?;
        }
        Ok(())
    }
}

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

/// Adds the layer's counters to a reading: [`Stats::started`], [`Stats::open`].
pub(crate) type StatsSource = Arc<dyn Fn(&mut Stats) + Send + Sync>;

/// Called after each batch, with the duration of its export and, if it failed, the `error.type`.
pub(crate) type OnExport = Arc<dyn Fn(Duration, Option<&'static str>) + Send + Sync>;

/// The counters behind [`Stats`], shared by the layer, the processor and the exporter.
/// `started` and `open` are kept by the layer's span table, `held` by the tail sampler, `queued` by
/// the queue.
pub(crate) struct Counters {
    pub(crate) in_flight: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) truncated: AtomicU64,
    /// Of the data left out, the part for want of memory.
    pub(crate) truncated_for_memory: AtomicU64,
    /// Traces that were not recorded, because they would have been shed.
    pub(crate) shed_traces: AtomicU64,
    pub(crate) requests_ok: AtomicU64,
    pub(crate) requests_failed: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) possible_duplicates: AtomicU64,
    pub(crate) worker_restarts: AtomicU64,
    /// Spans that an exporter received.
    pub(crate) handed_over: AtomicU64,
    /// Dropped before an exporter received them; `dropped_by_exporter`: after.
    dropped: [AtomicU64; DropReason::ALL.len()],
    dropped_by_exporter: [AtomicU64; DropReason::ALL.len()],
    last_error: Mutex<Option<(SystemTime, String)>>,
    /// Warnings of the endpoint about spans that it took; `last_warning`: the last of them.
    warnings: AtomicU64,
    last_warning: Mutex<Option<(SystemTime, String)>>,
    on_export: Mutex<Vec<OnExport>>,
}

impl Counters {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            in_flight: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            truncated: AtomicU64::new(0),
            truncated_for_memory: AtomicU64::new(0),
            shed_traces: AtomicU64::new(0),
            requests_ok: AtomicU64::new(0),
            requests_failed: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            possible_duplicates: AtomicU64::new(0),
            worker_restarts: AtomicU64::new(0),
            handed_over: AtomicU64::new(0),
            dropped: std::array::from_fn(|_| AtomicU64::new(0)),
            dropped_by_exporter: std::array::from_fn(|_| AtomicU64::new(0)),
            last_error: Mutex::new(None),
            warnings: AtomicU64::new(0),
            last_warning: Mutex::new(None),
            on_export: Mutex::new(Vec::new()),
        })
    }

    /// Counts `spans` as dropped for `reason`.
    pub(crate) fn drop_spans(&self, reason: DropReason, spans: u64) {
        self.dropped[reason as usize].fetch_add(spans, Ordering::Relaxed);
    }

    /// Spans dropped for `reason` that no exporter had received.
    pub(crate) fn dropped_early(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }

    /// The same, of spans that an exporter had received.
    pub(crate) fn drop_exported(&self, reason: DropReason, spans: u64) {
        self.dropped_by_exporter[reason as usize].fetch_add(spans, Ordering::Relaxed);
    }

    /// Calls `hook` after each batch from now on, on the worker's threads.
    #[cfg(feature = "metrics")]
    pub(crate) fn on_export(&self, hook: OnExport) {
        lock(&self.on_export).push(hook);
    }

    /// Calls the hooks after a batch.
    pub(crate) fn exported(&self, took: Duration, error: Option<&'static str>) {
        // Not under the lock: a hook is foreign code.
        let hooks = lock(&self.on_export).clone();
        for hook in hooks {
            let _ = catch_unwind(AssertUnwindSafe(|| hook(took, error)));
        }
    }

    /// Sets [`Stats::last_error`].
    pub(crate) fn set_last_error(&self, message: String) {
        // The message may contain text of an endpoint or of foreign code.
        let message = text::shown(&message).into_owned();
        *lock(&self.last_error) = Some((SystemTime::now(), message));
    }

    /// Sets [`Stats::last_warning`].
    pub(crate) fn set_last_warning(&self, message: String) {
        let message = text::shown(&message).into_owned();
        *lock(&self.last_warning) = Some((SystemTime::now(), message));
        self.warnings.fetch_add(1, Ordering::Relaxed);
    }

    /// A reading of these counters; the caller adds those of the layer and of the queue.
    pub(crate) fn snapshot(&self) -> Stats {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let dropped_by_exporter: [_; DropReason::ALL.len()] =
            std::array::from_fn(|i| get(&self.dropped_by_exporter[i]));
        Stats {
            in_flight: get(&self.in_flight),
            delivered: get(&self.delivered),
            rejected: get(&self.rejected),
            truncated: get(&self.truncated),
            truncated_for_memory: get(&self.truncated_for_memory),
            shed_traces: get(&self.shed_traces),
            requests_ok: get(&self.requests_ok),
            requests_failed: get(&self.requests_failed),
            retries: get(&self.retries),
            possible_duplicates: get(&self.possible_duplicates),
            worker_restarts: get(&self.worker_restarts),
            last_error: lock(&self.last_error).clone(),
            last_warning: lock(&self.last_warning).clone(),
            warnings: get(&self.warnings),
            handed_over: get(&self.handed_over),
            dropped: std::array::from_fn(|i| get(&self.dropped[i]) + dropped_by_exporter[i]),
            dropped_by_exporter,
            ..Stats::default()
        }
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counters").field(&self.snapshot()).finish()
    }
}
