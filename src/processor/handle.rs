//! [`BatchProcessor`]: the handle of layer and guard on queue and worker.

mod additional;
mod ending;
mod logs;
mod shedding;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Runtime;
use tracing::dispatcher::WeakDispatch;

use super::after_fork::ForkedCell;
use super::component::Components;
use super::flush::{Command, RequestQueue};
use super::in_flight::message_of;
use super::lane::Lane;
use super::plan::{PipelineParts, Plan};
use super::record::{ScopeId, TelemetryData};
use super::scopes::Scopes;
use super::shared::Shared;
use super::shedding::SheddingFacts;
use super::shedding::control::SheddingController;
use super::wake::Wake;
use super::watch::Watch;
use super::worker::Worker;
use crate::config::{BatchConfig, WorkerConfig};
use crate::diagnostics::Diagnostics;
use crate::error::Error;
use crate::export::{ErasedExporter, Exporter};
use crate::fork::Home;
use crate::pool::preferred_shard;
use crate::signal::Signal;
use crate::stats::{Counters, Stats};
use crate::suppress;
use crate::sync::{Arc, Mutex, lock};

/// Takes closed spans from any thread, without blocking it, and sends them in batches to an [`Exporter`]
/// from its own thread.
///
/// A pipeline has one for its layer; a program that encodes spans itself starts one without a layer:
///
/// ```
/// use std::time::Duration;
/// use tracing_otlp::config::{BatchConfig, WorkerConfig};
/// use tracing_otlp::export::{Batch, Exporter, Outcome};
/// use tracing_otlp::processor::{BatchProcessor, TelemetryData};
///
/// struct Count;
///
/// impl Exporter for Count {
///     type Permit = ();
///     async fn ready(&self) {}
///     fn send(&self, _: (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
///         async move { Outcome::delivered(batch.item_count() as u64) }
///     }
/// }
///
/// # fn main() -> Result<(), tracing_otlp::Error> {
/// let (batch, worker) = (BatchConfig::default(), WorkerConfig::default());
/// let processor = BatchProcessor::start(Count, &batch, &worker, Default::default())?;
/// let scope = processor.register_scope(Default::default());
/// processor.push(TelemetryData { scope, item: b"\x2a\x03run" }); // a name, and nothing else
/// processor.shutdown_blocking(Duration::from_secs(1))?;
/// assert_eq!(processor.stats().delivered, 1);
/// # Ok(()) }
/// ```
///
/// A clone is another handle of the same queue and worker. After the drop of the last handle the worker
/// sends the queued spans, within [`BatchConfig::shutdown_timeout`], and ends; the drop does not wait for it.
#[derive(Clone)]
pub struct BatchProcessor {
    pub(super) shared: Arc<Shared>,
    last: Arc<LastHandle>,
    /// Those of additional exporters, which get all that this one gets.
    additional: Arc<[Additional]>,
}

/// The processor of an exporter beside the pipeline's own.
#[derive(Debug)]
pub(crate) struct Additional {
    pub(crate) name: String,
    pub(crate) processor: BatchProcessor,
}

/// The bound of a request with several spans, in bytes. gRPC servers refuse messages above 4 MiB by
/// default: a request stays well below that (PAIN 28).
const BATCH_BYTES: usize = 1 << 20;

impl BatchProcessor {
    /// Starts the worker's thread and runtime. `resource` holds the encoded fields of
    /// `ResourceSpans` other than `scope_spans`.
    ///
    /// Does no I/O. Fails if the system refuses a thread or what a runtime needs.
    pub fn start<E: Exporter>(
        exporter: E,
        batch: &BatchConfig,
        worker: &WorkerConfig,
        resource: Bytes,
    ) -> Result<Self, Error> {
        Self::start_within(exporter, batch, worker, resource, PipelineParts::new(batch))
    }

    /// As [`start`](Self::start), as part of a pipeline.
    pub(crate) fn start_within(
        exporter: impl Exporter,
        batch: &BatchConfig,
        worker: &WorkerConfig,
        resource: Bytes,
        pipeline: PipelineParts,
    ) -> Result<Self, Error> {
        let components = Components::of(Signal::Traces, &exporter);
        let exporter = ErasedExporter::new(exporter);
        let exporter = (exporter, components);
        Self::start_erased(exporter, Vec::new(), batch, worker, resource, pipeline)
    }

    /// The same with an exporter that another signal may share, and with processors that get the same.
    pub(crate) fn start_erased(
        (exporter, components): (ErasedExporter, Components),
        additional: Vec<Additional>,
        batch: &BatchConfig,
        worker: &WorkerConfig,
        resource: Bytes,
        pipeline: PipelineParts,
    ) -> Result<Self, Error> {
        let PipelineParts {
            counters,
            memory,
            event_sink,
            scopes,
            warnings,
            hints,
            every_second,
            open_spans,
            shedding,
            logs,
            place,
        } = pipeline;
        let home = Home::here()?;
        let max_bytes = BATCH_BYTES.min(memory.limit() / 4).max(1);
        let wake = Wake::new();
        let logs = logs.map(|route| {
            let counters = Counters::new();
            let wake = wake.for_same_worker();
            let plan = Plan::new(&route.batch, max_bytes);
            let queue = plan.queue(Signal::Logs, &memory.logs, wake, counters);
            (queue, route, plan.settings)
        });
        let plan = Plan::new(batch, max_bytes);
        let spans = plan.queue(Signal::Traces, &memory.queue, wake, counters);
        let mut lanes = vec![Lane::new(Arc::clone(&spans), exporter, plan.settings)];
        let mut log_components = None;
        let logs = logs.map(|(queue, route, settings)| {
            log_components = Some(route.components);
            lanes.push(Lane::new(Arc::clone(&queue), route.exporter, settings));
            queue
        });
        let shared = Arc::new(Shared {
            spans,
            logs,
            requests: RequestQueue::default(),
            watch: Watch::default(),
            scopes: scopes.unwrap_or_else(|| Arc::new(Scopes::new(Arc::clone(&memory.queue)))),
            event_sink,
            components,
            log_components,
            memory,
            home,
            forked: ForkedCell::default(),
        });
        let runtime = build_runtime(worker)?;
        let diagnostics = Diagnostics::new(
            Arc::clone(&shared.event_sink),
            Arc::clone(&shared.spans.counters),
            warnings,
            hints,
        )
        .with_logs(shared.logs.as_ref().map(|q| Arc::clone(&q.counters)))
        .of(place);
        let worker_loop = Worker::new(
            Arc::clone(&shared),
            lanes,
            resource,
            runtime.handle().clone(),
            diagnostics,
            every_second,
        )
        .shedding_by(SheddingController::new(
            Arc::clone(&shared.spans),
            batch.shedding,
            shedding,
        ))
        .showing(open_spans);

        start_thread(worker, runtime, worker_loop)?;
        let last = Arc::new(LastHandle {
            shared: Arc::clone(&shared),
            timeout: batch.shutdown_timeout,
        });
        Ok(Self {
            shared,
            last,
            additional: additional.into(),
        })
    }

    /// Registers an instrumentation scope: the encoded fields of `ScopeSpans` other than `spans`.
    ///
    /// A processor distinguishes up to 1,000 scopes, in a 64th of its memory. Spans of further scopes are
    /// sent without a scope; one diagnostic reports that.
    pub fn register_scope(&self, encoded: Bytes) -> ScopeId {
        self.try_register_scope(encoded).unwrap_or(ScopeId::NONE)
    }

    /// The same; `None` if the bound of scopes is reached.
    pub(crate) fn try_register_scope(&self, encoded: Bytes) -> Option<ScopeId> {
        match self.shared.forked() {
            Some(_) => Some(ScopeId::NONE),
            None => self.shared.scopes.register(encoded),
        }
    }

    /// Whether the bound of scopes is reached.
    pub(crate) fn has_all_scopes(&self) -> bool {
        self.shared.scopes.is_full()
    }

    /// Copies a closed span into the queue; if the queue cannot take it, counts it under its
    /// [`DropReason`](crate::DropReason).
    ///
    /// Does no I/O, reads no clock, and allocates nothing in the steady state.
    pub fn push(&self, data: TelemetryData<'_>) {
        if self.shared.home.is_left() {
            return self.push_in_a_fork();
        }
        let facts = || SheddingFacts::of(data.item);
        self.push_at_home(preferred_shard(), data, facts);
    }

    /// The same, if the caller has checked that this process is no fork; `shard` is the preferred shard, and
    /// `facts` is called only where traces are shed.
    #[inline(always)]
    pub(crate) fn push_at_home(
        &self,
        shard: usize,
        data: TelemetryData<'_>,
        facts: impl Fn() -> SheddingFacts,
    ) {
        self.shared.spans.push_span(shard, data, &facts);
        if !self.additional.is_empty() {
            self.push_to_additional(shard, data, &facts);
        }
    }

    /// Counts a span of a fork.
    #[cold]
    pub(crate) fn push_in_a_fork(&self) {
        if let Some(forked) = self.shared.forked() {
            forked.push();
        }
    }

    /// The counters of all spans pushed so far. `started` and `open` are zero: the layer counts them.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let mut stats = match shared.forked() {
            Some(forked) => forked.stats(),
            None => {
                let mut stats = shared.spans.counters.snapshot();
                stats.queued = shared.spans.buffer.queued() as u64;
                if let Some(logs) = &shared.logs {
                    stats.logs = logs.counters.snapshot().into_logs();
                    stats.logs.queued = logs.buffer.queued() as u64;
                }
                stats.additional = self.additional_stats();
                stats.endpoints = shared.components.endpoint_stats();
                let of_logs = shared.log_components.as_ref();
                stats.logs.endpoints = of_logs.map(Components::endpoint_stats).unwrap_or_default();
                // A fork keeps the level of the moment it was made at, and sheds nothing.
                stats.shed_ratio = shared.spans.shedding.level().shed_ratio();
                stats
            }
        };
        stats.queue_limit = shared.spans.buffer.bounds().spans as u64;
        let log_bounds = shared.logs.as_ref().map(|logs| logs.buffer.bounds().spans);
        stats.logs.queue_limit = log_bounds.unwrap_or(0) as u64;
        stats.memory_used = shared.memory.used() as u64;
        stats.memory_limit = shared.memory.limit() as u64;
        stats
    }

    /// Sets the subscriber for the pipeline's own events; before, they go to the global default.
    pub(crate) fn set_dispatch(&self, dispatch: WeakDispatch) {
        if self.is_forked() {
            return;
        }
        self.shared.event_sink.set_dispatch(dispatch);
        // The worker emits the warnings of the start now, not at its next tick.
        self.shared.spans.wake.notify();
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn components(&self) -> &Components {
        &self.shared.components
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        // Callbacks call this: no system call.
        match self.shared.home.is_left() {
            true => self.shared.forked.of(&self.shared.home).counters(),
            false => &self.shared.spans.counters,
        }
    }

    /// Whether this process is a fork of the worker's process. Then no lock of the processor may be taken:
    /// a thread of the parent may have held it at the time of the fork.
    pub(crate) fn is_forked(&self) -> bool {
        self.shared.forked().is_some()
    }

    /// Whether a shutdown has ended.
    #[cfg(test)]
    pub(crate) fn is_shut_down(&self) -> bool {
        self.shared.requests.is_closed()
    }
}

impl fmt::Debug for BatchProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchProcessor")
            .field("stats", &self.stats())
            .field("shutdown_timeout", &self.last.timeout)
            .finish()
    }
}

/// Ends the worker when the last handle is dropped.
struct LastHandle {
    shared: Arc<Shared>,
    timeout: Duration,
}

impl Drop for LastHandle {
    fn drop(&mut self) {
        if self.shared.forked().is_some() {
            return;
        }
        let Shared {
            requests, spans, ..
        } = &*self.shared;
        requests.submit(Command::Shutdown, self.timeout, &spans.wake);
    }
}

/// The worker's own runtime. All its threads are marked, so that the layer does not capture the spans of
/// the export itself (EH-3).
pub(crate) fn build_runtime(config: &WorkerConfig) -> Result<Runtime, Error> {
    let mut builder = match config.threads {
        None => tokio::runtime::Builder::new_current_thread(),
        Some(threads) => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads.max(1));
            builder
        }
    };
    if let Some(size) = config.stack_size {
        builder.thread_stack_size(size);
    }
    builder
        .enable_all()
        .thread_name(&config.thread_name)
        .on_thread_start(suppress::mark_thread);
    let failed = "the worker's runtime could not start";
    // tokio panics if the system refuses a thread.
    match catch_unwind(AssertUnwindSafe(|| builder.build())) {
        Ok(Ok(runtime)) => Ok(runtime),
        Ok(Err(e)) => Err(Error::worker(format!("{failed}: {e}")).with_source(e)),
        Err(panic) => Err(Error::worker(format!("{failed}: {}", message_of(&*panic)))),
    }
}

fn start_thread(config: &WorkerConfig, runtime: Runtime, worker: Worker) -> Result<(), Error> {
    let mut builder = thread::Builder::new().name(config.thread_name.clone());
    if let Some(size) = config.stack_size {
        builder = builder.stack_size(size);
    }
    // If the thread cannot start, the runtime must not be dropped here: tokio panics where a thread of
    // another runtime drops one.
    let runtime = Arc::new(Mutex::new(Some(runtime)));
    let theirs = Arc::clone(&runtime);
    let started = builder.spawn(move || {
        let runtime = lock(&theirs).take();
        if let Some(runtime) = runtime {
            worker.run_thread(runtime);
        }
    });
    started.map(drop).map_err(|e| {
        if let Some(runtime) = lock(&runtime).take() {
            runtime.shutdown_background();
        }
        Error::worker(format!("the worker's thread could not start: {e}")).with_source(e)
    })
}
