//! The queue, its batches, and the worker that sends them.

use std::time::Duration;

/// The queue of closed spans and the batches made of it (`OTEL_BSP_*`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchConfig {
    /// The longest a span waits for its batch to fill. Default 5 s; `OTEL_BSP_SCHEDULE_DELAY`,
    /// in milliseconds.
    pub schedule_delay: Duration,
    /// The longest one export may take before it is cancelled, without the time in which the
    /// endpoint is down; `None`: no limit. Default 30 s; `OTEL_BSP_EXPORT_TIMEOUT`, in milliseconds.
    pub export_timeout: Option<Duration>,
    /// Spans that may wait to be sent. Default 65,536, where the specification has 2,048: a busy process fills
    /// that in a few milliseconds, and [`max_memory`](Self::max_memory) bounds the queue by what it costs.
    /// `OTEL_BSP_MAX_QUEUE_SIZE`. A batch size that code does not set follows a smaller queue.
    pub max_queue_size: usize,
    /// The most spans in one request, and the number of waiting spans that starts one. At most
    /// [`max_queue_size`](Self::max_queue_size). Default: the lesser of that and 2,048, which is four
    /// times the specification's, because a request has a fixed cost (a third of all CPU at 50,000
    /// spans a second). `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`.
    pub max_export_batch_size: usize,
    /// The most bytes that open spans, the queue, requests in flight and buffers for reuse may hold
    /// together. A bound, not a reservation. At least 256 KiB; default 64 MiB.
    ///
    /// A quarter is reserved for open spans, another for the queue, and an eighth for large spans; none
    /// can use the part of another. The rest serves the first request, and idle buffers are freed for it.
    /// No span holds more than a sixteenth, less 64 KiB of 64 MiB.
    pub max_memory: usize,
    /// Whether whole traces are shed when spans come faster than the endpoint takes them, before the queue is full
    /// and loses spans at random. Default false.
    ///
    /// Half of the queue takes bursts, as without it. Beyond, a threshold on the trace id rises until what comes is
    /// what the endpoint takes, and falls when the queue empties. It has the same steps in every process, so
    /// processes under the same pressure keep the same traces. Local roots and spans with an error go last. Spans
    /// that are shed count as [`DropReason::Shed`](crate::DropReason::Shed). A trace that would be shed to its last
    /// span is not recorded: its context is unsampled, and services called from here drop it too. Where the
    /// probability of a kept span is known, its trace state has it (`ot=th`). In
    /// [`fleet.md`](crate::guide::fleet) there is more.
    ///
    /// An exporter that blocks the worker's thread also stops the threshold. Log records are not shed.
    /// [`ConfigStore::set_shedding`](crate::ConfigStore::set_shedding) changes it while the pipeline runs.
    pub shedding: bool,
    /// The longest that the drop of a guard waits for queued spans. Default 5 s. If the endpoint refuses
    /// connections, the drop stops after three attempts, which take 0.3 s.
    pub shutdown_timeout: Duration,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            schedule_delay: Duration::from_millis(5000),
            export_timeout: Some(Duration::from_millis(30_000)),
            max_queue_size: 65_536,
            max_export_batch_size: 2048,
            max_memory: 64 << 20,
            shedding: false,
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}

/// The runtime on which the worker sends, always its own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerConfig {
    /// `None`: a current-thread runtime on the worker's thread. `Some(n)`: a multi-thread runtime
    /// with `n` threads. Default `None`.
    pub threads: Option<usize>,
    /// The name of the worker's thread. Default `otlp-worker`.
    pub thread_name: String,
    /// Bytes of stack of each thread, at least 128 KiB. Default `None`: the platform's.
    pub stack_size: Option<usize>,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            threads: None,
            thread_name: "otlp-worker".to_owned(),
            stack_size: None,
        }
    }
}
