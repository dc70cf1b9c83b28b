//! Flush, shutdown and health of a pipeline: [`ShutdownGuard`], [`PipelineHandle`] and [`PanicHook`].
//!
//! Every program with a pipeline needs the first of them:
//!
//! | Type | Use |
//! | --- | --- |
//! | [`ShutdownGuard`] | ends the pipeline: `main` keeps it until the end, so that the queued spans are sent |
//! | [`PipelineHandle`] | flushes and reads the counters, from any thread; [`ShutdownGuard::handle`] returns one |
//! | [`PanicHook`] | records panics on the current span; in a process that aborts on a panic, also flushes |
//!
//! # How it works inside
//!
//! The guard holds a [`BatchProcessor`] and passes each call to its worker. A shutdown first releases the
//! spans that tail sampling holds, so that they are in the queue when the worker drains it.

mod panic_hook;

pub use panic_hook::PanicHook;

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::context::layer_registry::Exception;
use crate::error::Error;
use crate::processor::BatchProcessor;
use crate::stats::{Stats, StatsSource};
use crate::sync::{Arc, Mutex, lock};

/// Ends the pipeline and sends the queued spans: on [`shutdown`](Self::shutdown), or on drop, at the end
/// of `main` or while a panic unwinds.
///
/// ```
/// # fn pipeline() -> Result<tracing_otlp::ShutdownGuard, tracing_otlp::Error> {
/// #     Ok(tracing_otlp::ShutdownGuard::disabled())
/// # }
/// # fn main() -> Result<(), tracing_otlp::Error> {
/// let _guard = pipeline()?; // lives until the end of `main`
/// // let _ = pipeline()?;   // wrong: `_` drops the guard here and now
/// # Ok(()) }
/// ```
///
/// The drop blocks for at most [`shutdown_timeout`](crate::config::BatchConfig::shutdown_timeout) (default
/// 5 s), minus the time since an earlier call of `shutdown`; after a panic that ends the process, for what the
/// [`PanicHook`] has left of its own time, if that is less. The drop works on every kind of
/// runtime, because the worker has its own; async code can await [`shutdown`](Self::shutdown) instead.
///
/// In a fork of the process all calls return an error at once: a fork has no worker thread. Spans of the
/// fork are counted as [`DropReason::Forked`](crate::DropReason::Forked). A child process builds its own
/// pipeline after the fork. The parent's pipeline is unaffected.
#[must_use = "the pipeline is shut down when its guard is dropped: bind it to a name such as `_guard`"]
pub struct ShutdownGuard {
    handle: PipelineHandle,
    timeout: Duration,
    /// When the first shutdown began.
    began: Mutex<Option<Instant>>,
    /// Moves the spans that tail sampling holds into the queue, before a shutdown.
    release: Option<Release>,
    /// `None`: the pipeline is disabled.
    open_spans: Option<GuardedSpans>,
    after_panic: AfterPanic,
}

/// What the last panic that ends the process left of the time to wait for the endpoint, and its thread.
type AfterPanic = Arc<Mutex<Option<(ThreadId, Duration)>>>;

/// Called at the begin of each shutdown.
pub(crate) type Release = Arc<dyn Fn() + Send + Sync>;

/// The layer's functions for open spans at the end of the process.
#[derive(Clone)]
pub(crate) struct GuardedSpans {
    /// Ends all open spans and returns their number.
    pub(crate) end_all: Arc<dyn Fn() -> usize + Send + Sync>,
    /// Records a panic of the calling thread.
    pub(crate) note_panic: Arc<NotePanic>,
    /// Whether nobody listens at the endpoint.
    pub(crate) is_unreachable: Arc<dyn Fn() -> bool + Send + Sync>,
}

type NotePanic = dyn Fn(&Exception<'_>) + Send + Sync;

/// Flushes a pipeline and reads its counters, from anywhere; cannot shut it down.
#[derive(Clone)]
pub struct PipelineHandle {
    /// `None`: the pipeline is disabled. All calls succeed at once.
    processor: Option<BatchProcessor>,
    complete: StatsSource,
}

impl ShutdownGuard {
    /// `timeout`: the bound of a drop. `complete` adds the layer's counters to each reading.
    pub(crate) fn new(processor: BatchProcessor, timeout: Duration, complete: StatsSource) -> Self {
        Self::of(Some(processor), timeout, complete)
    }

    /// The guard of a pipeline that records nothing, as with `OTEL_SDK_DISABLED=true`: all calls
    /// succeed at once.
    pub fn disabled() -> Self {
        Self::of(None, Duration::ZERO, Arc::new(|_| {}))
    }

    fn of(processor: Option<BatchProcessor>, timeout: Duration, complete: StatsSource) -> Self {
        Self {
            handle: PipelineHandle {
                processor,
                complete,
            },
            timeout,
            began: Mutex::new(None),
            release: None,
            open_spans: None,
            after_panic: Arc::default(),
        }
    }

    /// Calls `release` before each shutdown.
    pub(crate) fn releasing(mut self, release: Option<Release>) -> Self {
        self.release = release;
        self
    }

    /// Sets the layer's functions for spans that are open at the end of the process.
    pub(crate) fn with_open_spans(mut self, open_spans: GuardedSpans) -> Self {
        self.open_spans = Some(open_spans);
        self
    }

    /// Ends every open span now, with the attribute `tracing_otlp.unfinished` = `true`, and returns their
    /// number. For a process that is about to end, for example before `std::process::exit`, which runs no
    /// destructor: call [`shutdown`](Self::shutdown) next, which does not wait for open spans.
    ///
    /// Such a span can still get children; later attributes and events of it are counted
    /// ([`Stats::after_end`]) and ignored.
    pub fn end_open_spans(&self) -> usize {
        match &self.open_spans {
            Some(open_spans) if !self.is_forked() => (open_spans.end_all)(),
            _ => 0,
        }
    }

    /// Sends every span that closed before this call, and resolves when each of them is delivered, rejected
    /// or dropped. Begins at once, whether or not the future is polled. Does not wait for open spans.
    ///
    /// Errors: `timeout` passed first; or, since the last flush that was answered before this call (since the
    /// start, for the first one), spans were lost before or after the queue, or left out data for want of memory
    /// ([`max_memory`](crate::config::BatchConfig::max_memory)). Data that limits, samplers and tail decisions
    /// leave out is no loss.
    pub fn force_flush(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        self.handle.force_flush(timeout)
    }

    /// [`force_flush`](Self::force_flush) for code that is not async.
    pub fn force_flush_blocking(&self, timeout: Duration) -> Result<(), Error> {
        self.handle.force_flush_blocking(timeout)
    }

    /// Sends the queued spans and ends the pipeline; spans that close later are counted and dropped. Begins
    /// at once, whether or not the future is polled.
    ///
    /// After three failed attempts to connect, a shutdown gives the endpoint up: about 0.3 s if it refuses
    /// connections. At the deadline every span is settled: spans that were not sent are counted as lost, and
    /// the error reports them. The error also reports losses since the last flush, as that of
    /// [`force_flush`](Self::force_flush) does. The first call decides; later calls wait for it and return
    /// the same result.
    pub fn shutdown(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        self.begin();
        let resolution = self.handle.processor.as_ref().map(|p| p.shutdown(timeout));
        async move {
            match resolution {
                Some(resolution) => resolution.await,
                None => Ok(()),
            }
        }
    }

    /// [`shutdown`](Self::shutdown) for code that is not async.
    pub fn shutdown_blocking(&self, timeout: Duration) -> Result<(), Error> {
        self.begin();
        match &self.handle.processor {
            Some(processor) => processor.shutdown_blocking(timeout),
            None => Ok(()),
        }
    }

    /// The counters of the pipeline so far.
    pub fn stats(&self) -> Stats {
        self.handle.stats()
    }

    /// A handle to flush and to read counters elsewhere. It can be cloned, and does not keep the pipeline
    /// alive.
    pub fn handle(&self) -> PipelineHandle {
        self.handle.clone()
    }

    fn begin(&self) {
        // In a fork, threads that do not exist here may hold the locks of this call and of `release`.
        if self.is_forked() {
            return;
        }
        self.note_begin();
        if let Some(release) = &self.release {
            release();
        }
    }

    fn is_forked(&self) -> bool {
        let processor = self.handle.processor.as_ref();
        processor.is_some_and(BatchProcessor::is_forked)
    }

    /// The longest wait of a drop now.
    fn left(&self) -> Duration {
        let left = self.timeout.saturating_sub(self.note_begin().elapsed());
        match *lock(&self.after_panic) {
            // The hook has waited already, and the process ends within one deadline.
            Some((thread, after_panic))
                if thread::panicking() && thread == thread::current().id() =>
            {
                left.min(after_panic)
            }
            _ => left,
        }
    }

    fn note_begin(&self) -> Instant {
        *lock(&self.began).get_or_insert_with(Instant::now)
    }
}

impl Drop for ShutdownGuard {
    fn drop(&mut self) {
        // The drop may run while a panic unwinds, where a second panic aborts the process.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let left = match self.is_forked() {
                true => Duration::ZERO,
                false => self.left(),
            };
            self.shutdown_blocking(left)
        }));
    }
}

impl PipelineHandle {
    /// See [`ShutdownGuard::force_flush`].
    pub fn force_flush(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let resolution = self.processor.as_ref().map(|p| p.force_flush(timeout));
        async move {
            match resolution {
                Some(resolution) => resolution.await,
                None => Ok(()),
            }
        }
    }

    /// See [`ShutdownGuard::force_flush_blocking`].
    pub fn force_flush_blocking(&self, timeout: Duration) -> Result<(), Error> {
        match &self.processor {
            Some(processor) => processor.force_flush_blocking(timeout),
            None => Ok(()),
        }
    }

    /// `None`: the pipeline is disabled.
    #[cfg(feature = "metrics")]
    pub(crate) fn processor(&self) -> Option<&BatchProcessor> {
        self.processor.as_ref()
    }

    /// See [`ShutdownGuard::stats`].
    pub fn stats(&self) -> Stats {
        let mut stats = self
            .processor
            .as_ref()
            .map(BatchProcessor::stats)
            .unwrap_or_default();
        (self.complete)(&mut stats);
        (stats.counts_started, stats.logs.counts_emitted) = (true, true);
        stats
    }
}

impl fmt::Debug for ShutdownGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownGuard")
            .field("stats", &self.stats())
            .field("timeout", &self.timeout)
            .finish()
    }
}

impl fmt::Debug for PipelineHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineHandle")
            .field("stats", &self.stats())
            .finish()
    }
}

const _: fn() = || {
    fn sound<T: Send + Sync + 'static>() {}
    sound::<ShutdownGuard>();
    sound::<PipelineHandle>();
    sound::<BatchProcessor>();
};

#[cfg(test)]
mod tests;
