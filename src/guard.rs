//! [`ShutdownGuard`]: brings home what is queued when the application ends.

mod panic_hook;

pub use panic_hook::PanicHook;

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::attribute::KeyValue;
use crate::error::Error;
use crate::processor::BatchProcessor;
use crate::stats::{Stats, StatsSource};
use crate::sync::{Arc, Mutex, lock};

/// Ends the pipeline in order: on [`shutdown`](Self::shutdown), or when it is dropped, at the end of
/// `main` or by a panic.
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
/// Dropping it blocks for at most [`shutdown_timeout`](crate::config::BatchConfig::shutdown_timeout) (5 s
/// unless set), less what an earlier call of `shutdown` has used of it. That is safe on every kind
/// of runtime, since the worker has its own; async code may rather await
/// [`shutdown`](Self::shutdown).
///
/// In a fork of the process all calls return at once, with an error: the worker's thread does not come
/// along, and what the fork records is counted as [`DropReason::Forked`](crate::DropReason::Forked). A
/// process that is forked builds its pipeline after the fork. The guard of the parent is not harmed.
#[must_use = "the pipeline is shut down when its guard is dropped: bind it to a name such as `_guard`"]
pub struct ShutdownGuard {
    handle: PipelineHandle,
    timeout: Duration,
    /// When the first shutdown began.
    began: Mutex<Option<Instant>>,
    /// What sends on what it still holds, so that a shutdown finds it in the queue.
    release: Option<Release>,
    /// `None`: a pipeline that is disabled.
    open_spans: Option<OpenSpans>,
}

/// Called when a shutdown begins, each time.
pub(crate) type Release = Arc<dyn Fn() + Send + Sync>;

/// What a layer does for its open spans when the process ends.
#[derive(Clone)]
pub(crate) struct OpenSpans {
    /// Ends all of them; how many.
    pub(crate) end_all: Arc<dyn Fn() -> usize + Send + Sync>,
    /// Records a panic of the calling thread, by its message and the attributes of an event, on the
    /// current span.
    pub(crate) note_panic: Arc<NotePanic>,
}

type NotePanic = dyn Fn(&str, &[KeyValue]) + Send + Sync;

/// Flushes a pipeline and reads its counters, from anywhere; cannot shut it down.
#[derive(Clone)]
pub struct PipelineHandle {
    /// `None`: a pipeline that is disabled. All calls succeed at once.
    processor: Option<BatchProcessor>,
    complete: StatsSource,
}

impl ShutdownGuard {
    /// `timeout`: what a drop may use. `complete` adds the layer's figures to each reading.
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
        }
    }

    /// Calls `release` before each shutdown.
    pub(crate) fn releasing(mut self, release: Option<Release>) -> Self {
        self.release = release;
        self
    }

    /// Ends these spans where the process ends before they do.
    pub(crate) fn with_open_spans(mut self, open_spans: OpenSpans) -> Self {
        self.open_spans = Some(open_spans);
        self
    }

    /// Ends every span that is open, now, with the attribute `tracing_otlp.unfinished` = `true`; how many
    /// that were. For a process that is about to end: follow it with [`shutdown`](Self::shutdown), which does
    /// not wait for open spans, as before `std::process::exit`, which runs no destructor.
    ///
    /// Such a span still makes children, and what is said of it later is counted
    /// ([`Stats::after_end`]) and ignored.
    pub fn end_open_spans(&self) -> usize {
        match &self.open_spans {
            Some(open_spans) if !self.is_forked() => (open_spans.end_all)(),
            _ => 0,
        }
    }

    /// Sends every span that closed before this call; resolves when it is known what became of them
    /// (BSP-6). Begins at once, whether or not the future is polled.
    ///
    /// An error if `timeout` passed first, or if anything was lost since the last flush that was
    /// answered, or since the start: spans, before or after they came to the queue, or data that they
    /// left out for want of memory ([`max_memory`](crate::config::BatchConfig::max_memory)). What limits,
    /// samplers and tail decisions leave out is no loss. Spans that are still open are not waited for.
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

    /// Sends what is queued and ends the pipeline; spans that close later are counted and dropped
    /// (BSP-7). Begins at once, whether or not the future is polled.
    ///
    /// An endpoint to which no connection can be made is given up after three attempts: some 0.3 s where
    /// it refuses connections. At the deadline everything is settled: what was not sent is counted as lost, and the error
    /// says so. It says too what was lost since the last flush, as
    /// [`force_flush`](Self::force_flush) does. The first call decides; later ones wait for it and return the same.
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

    /// What became of the spans so far.
    pub fn stats(&self) -> Stats {
        self.handle.stats()
    }

    /// A handle that can be cloned and given away; it does not keep the pipeline alive.
    pub fn handle(&self) -> PipelineHandle {
        self.handle.clone()
    }

    fn begin(&self) {
        // Its locks, and those of what is released, may be held by threads that are not here.
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

    fn note_begin(&self) -> Instant {
        *lock(&self.began).get_or_insert_with(Instant::now)
    }
}

impl Drop for ShutdownGuard {
    fn drop(&mut self) {
        // Also while a panic unwinds, where a second one would abort the process.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let left = match self.is_forked() {
                true => Duration::ZERO,
                false => self.timeout.saturating_sub(self.note_begin().elapsed()),
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

    /// None of a pipeline that is disabled.
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
