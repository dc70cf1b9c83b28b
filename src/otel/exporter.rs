//! [`SpanExporterAdapter`] and [`LogExporterAdapter`]: an exporter of `opentelemetry_sdk` at the end of this
//! pipeline.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio_util::sync::CancellationToken;

use super::log_record::RecordSource;
use super::span_data;
use crate::export::{Batch, ConcurrencyLimiter, ConcurrencyPermit, Exporter, Outcome};
use crate::signal::Signal;
use crate::stats::DropReason;
use crate::suppress;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, lock};
use crate::wire::decode;

/// Lets any `opentelemetry_sdk` span exporter take the spans of this pipeline: `opentelemetry-otlp`'s,
/// the in-memory one, Zipkin's.
///
/// It gets one batch at a time, and the pipeline's resource before the first. It runs on a
/// blocking thread of the worker's runtime, so that it may block or be asynchronous, and is flushed after
/// each batch: delivered spans have left the exporter. A batch that fails, or is not done within
/// `OTEL_BSP_EXPORT_TIMEOUT`, counts as [`DropReason::Unconfirmed`](crate::DropReason::Unconfirmed), because
/// it may have arrived; while a call goes on after that, the next batches wait in the queue.
///
/// Bytes become Base64 text and lists of mixed kinds lists of texts, as that API has no values for them.
///
/// ```
/// use opentelemetry_sdk::trace::InMemorySpanExporter;
/// use tracing_otlp::otel::SpanExporterAdapter;
///
/// let memory = InMemorySpanExporter::default();
/// let builder = tracing_otlp::builder().with_exporter(SpanExporterAdapter::new(memory));
/// ```
pub struct SpanExporterAdapter<E>(SdkExporter<OfSpans<E>>);

/// Lets any `opentelemetry_sdk` log exporter take the log records of this pipeline, as
/// [`SpanExporterAdapter`] does for spans; give it to
/// [`OtlpBuilder::with_logs_exporter`](crate::OtlpBuilder::with_logs_exporter).
///
/// It gets one batch at a time, and the pipeline's resource before the first. That API has no flush: a batch
/// counts as delivered when its `export` has ended well. The shutdown of the pipeline waits for that of the
/// exporter. It takes names of events and texts of severities that live for ever only, so each text is kept
/// once, up to 4,096 of them, and none longer than 256 bytes. It knows no dropped attributes.
///
/// ```
/// use opentelemetry_sdk::logs::InMemoryLogExporter;
/// use tracing_otlp::Events;
/// use tracing_otlp::otel::LogExporterAdapter;
///
/// let memory = InMemoryLogExporter::default();
/// let builder = tracing_otlp::builder()
///     .with_logs(Events::AsLogs)
///     .with_logs_exporter(LogExporterAdapter::new(memory));
/// ```
pub struct LogExporterAdapter<E>(SdkExporter<OfLogs<E>>);

/// What the exporters of both signals have in common.
pub(super) trait SdkSignal: Send + Sync + 'static {
    const SIGNAL: Signal;

    fn set_resource(&mut self, resource: &Resource);

    /// Exports what can be read of a batch: how many that are, and what became of them.
    fn export(
        &self,
        batch: Batch,
        cancelled: &CancellationToken,
    ) -> impl Future<Output = (u64, Option<OTelSdkResult>)> + Send;

    fn end(&self) -> OTelSdkResult;

    /// What became of the batch that was exported last, if more is known of it than its result says.
    fn outcome(&self) -> Option<Outcome> {
        None
    }
}

pub(super) struct OfSpans<E>(pub(super) E);

impl<E: SpanExporter + 'static> SdkSignal for OfSpans<E> {
    const SIGNAL: Signal = Signal::Traces;

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }

    async fn export(
        &self,
        batch: Batch,
        cancelled: &CancellationToken,
    ) -> (u64, Option<OTelSdkResult>) {
        let spans: Vec<SpanData> = batch
            .items()
            .filter_map(|item| span_data::decode(item.scope, item.message))
            .collect();
        let readable = spans.len() as u64;
        drop(batch);
        let exported = cancelled.run_until_cancelled(self.0.export(spans)).await;
        let flushed = exported.map(|done| done.and_then(|()| self.0.force_flush()));
        (readable, flushed)
    }

    fn end(&self) -> OTelSdkResult {
        self.0.shutdown_with_timeout(SHUTDOWN)
    }
}

pub(super) struct OfLogs<E> {
    exporter: E,
    records: RecordSource,
}

impl<E> OfLogs<E> {
    pub(super) fn new(exporter: E) -> Self {
        Self {
            exporter,
            records: RecordSource::new(),
        }
    }
}

impl<E: LogExporter + 'static> SdkSignal for OfLogs<E> {
    const SIGNAL: Signal = Signal::Logs;

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }

    async fn export(
        &self,
        batch: Batch,
        cancelled: &CancellationToken,
    ) -> (u64, Option<OTelSdkResult>) {
        let records: Vec<_> = batch
            .items()
            .filter_map(|item| self.records.decode(item.scope, item.message))
            .collect();
        drop(batch);
        let borrowed: Vec<_> = records
            .iter()
            .map(|(record, scope)| (record, scope))
            .collect();
        let exporting = self.exporter.export(LogBatch::new(&borrowed));
        let exported = cancelled.run_until_cancelled(exporting).await;
        (records.len() as u64, exported)
    }

    fn end(&self) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(SHUTDOWN)
    }
}

pub(super) struct SdkExporter<E> {
    shared: Arc<SharedExporter<E>>,
    limiter: ConcurrencyLimiter,
}

struct SharedExporter<E> {
    exporter: Mutex<Slot<E>>,
    is_closed: AtomicBool,
    /// Cancelled when the exporter's own shutdown has ended.
    ended: CancellationToken,
}

/// An exporter before and after `set_resource`.
enum Slot<E> {
    New(E),
    Ready(Arc<E>),
    /// The exporter panicked in `set_resource`, or was shut down before.
    Gone,
}

/// The longest that an exporter's shutdown may take, on a thread of its own.
const SHUTDOWN: Duration = Duration::from_secs(5);

impl<E: SpanExporter + 'static> SpanExporterAdapter<E> {
    /// Adapts `exporter`.
    pub fn new(exporter: E) -> Self {
        Self(SdkExporter::new(OfSpans(exporter)))
    }
}

impl<E: LogExporter + 'static> LogExporterAdapter<E> {
    /// Adapts `exporter`.
    pub fn new(exporter: E) -> Self {
        Self(SdkExporter::new(OfLogs::new(exporter)))
    }
}

impl<E: SdkSignal> SdkExporter<E> {
    pub(super) fn new(exporter: E) -> Self {
        Self {
            shared: Arc::new(SharedExporter {
                exporter: Mutex::new(Slot::New(exporter)),
                is_closed: AtomicBool::new(false),
                ended: CancellationToken::new(),
            }),
            limiter: ConcurrencyLimiter::new(1),
        }
    }
}

impl<E: SdkSignal> SharedExporter<E> {
    /// The exporter, after `set_resource`.
    fn exporter(&self, resource: &[u8]) -> Option<Arc<E>> {
        let mut slot = lock(&self.exporter);
        // One batch at a time is exported, so foreign code under this lock delays only the thread of a
        // shutdown. If it panics, the slot stays `Gone`.
        match std::mem::replace(&mut *slot, Slot::Gone) {
            Slot::New(mut exporter) => {
                exporter.set_resource(&resource_of(resource));
                *slot = Slot::Ready(Arc::new(exporter));
            }
            told => *slot = told,
        }
        match &*slot {
            Slot::Ready(exporter) => Some(Arc::clone(exporter)),
            Slot::New(_) | Slot::Gone => None,
        }
    }
}

pub(super) fn resource_of(bytes: &[u8]) -> Resource {
    let decoded = decode::DecodedResource::decode(bytes).unwrap_or_default();
    let attributes = span_data::attributes(&decoded.attributes);
    let resource = Resource::builder_empty();
    if decoded.schema_url.is_empty() {
        resource.with_attributes(attributes).build()
    } else {
        let url = decoded.schema_url.to_owned();
        resource.with_schema_url(attributes, url).build()
    }
}

impl<E: SpanExporter + 'static> Exporter for SpanExporterAdapter<E> {
    type Permit = ConcurrencyPermit;

    async fn ready(&self) -> ConcurrencyPermit {
        self.0.ready().await
    }

    fn send(
        &self,
        permit: ConcurrencyPermit,
        batch: Batch,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        self.0.send(permit, batch)
    }

    fn shutdown(&self) {
        self.0.shutdown();
    }

    fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.closed()
    }
}

impl<E: LogExporter + 'static> Exporter for LogExporterAdapter<E> {
    type Permit = ConcurrencyPermit;

    async fn ready(&self) -> ConcurrencyPermit {
        self.0.ready().await
    }

    fn send(
        &self,
        permit: ConcurrencyPermit,
        batch: Batch,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        self.0.send(permit, batch)
    }

    fn supports(&self, signal: Signal) -> bool {
        signal == Signal::Logs
    }

    fn shutdown(&self) {
        self.0.shutdown();
    }

    fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.closed()
    }
}

impl<E: SdkSignal> SdkExporter<E> {
    pub(super) async fn ready(&self) -> ConcurrencyPermit {
        self.limiter.acquire().await
    }

    pub(super) fn send(
        &self,
        permit: ConcurrencyPermit,
        batch: Batch,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            let count = batch.item_count() as u64;
            let cancelled = CancellationToken::new();
            // The deadline of the batch drops this future, and the call with it.
            let _cancels = cancelled.clone().drop_guard();
            let export = move || {
                // The worker suppresses this crate's spans; this suppresses those of other providers.
                let _suppressed = Context::enter_telemetry_suppressed_scope();
                let outcome = pollster::block_on(export(&shared, batch, &cancelled));
                // The slot is free when the call has returned, however long that takes.
                drop(permit);
                outcome
            };
            // tokio panics if the system refuses a thread.
            let started = || tokio::task::spawn_blocking(export);
            let exports = match catch_unwind(AssertUnwindSafe(started)) {
                Ok(exports) => exports,
                Err(_) => {
                    let why = "exporter: no thread can be started for it";
                    return Outcome::dropped(DropReason::Unsent, count, why);
                }
            };
            exports.await.unwrap_or_else(|error| {
                Outcome::dropped(DropReason::Internal, count, format!("exporter: {error}"))
            })
        }
    }

    pub(super) fn shutdown(&self) {
        if self.shared.is_closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        // Also if the exporter panics, or no thread can be started.
        let ends = self.shared.ended.clone().drop_guard();
        let shut = move || {
            let _ends = ends;
            suppress::mark_thread();
            let _suppressed = Context::enter_telemetry_suppressed_scope();
            // Not under the lock, because it is foreign code.
            let last = std::mem::replace(&mut *lock(&shared.exporter), Slot::Gone);
            // The spans are counted already, so the result of the shutdown changes no count.
            let _ = match last {
                Slot::Ready(exporter) => exporter.end(),
                Slot::New(exporter) => exporter.end(),
                Slot::Gone => Ok(()),
            };
        };
        // A shutdown may block, and the worker must not. Without a thread the exporter is dropped.
        let _ = std::thread::Builder::new()
            .name("otlp-shutdown".to_owned())
            .spawn(shut);
    }

    pub(super) fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shared.ended.clone().cancelled_owned()
    }
}

async fn export<E: SdkSignal>(
    shared: &SharedExporter<E>,
    batch: Batch,
    cancelled: &CancellationToken,
) -> Outcome {
    let count = batch.item_count() as u64;
    if shared.is_closed.load(Ordering::Acquire) {
        return Outcome::dropped(DropReason::AlreadyShutdown, count, "exporter: shut down");
    }
    let Some(exporter) = shared.exporter(batch.resource()) else {
        return Outcome::dropped(DropReason::Internal, count, "exporter: it panicked");
    };
    let (readable, exported) = exporter.export(batch, cancelled).await;
    let known = exporter.outcome().filter(|_| exported.is_some());
    let outcome = known.unwrap_or_else(|| match exported {
        Some(Ok(())) => Outcome::delivered(readable),
        Some(Err(OTelSdkError::AlreadyShutdown)) => Outcome::dropped(
            DropReason::AlreadyShutdown,
            readable,
            "exporter: it was shut down by somebody else",
        ),
        Some(Err(error)) => Outcome::dropped(
            DropReason::Unconfirmed,
            readable,
            format!("exporter: {error}"),
        ),
        // The batch settled at its deadline, so this result changes no count.
        None => Outcome::dropped(DropReason::Unconfirmed, readable, "exporter: given up"),
    });
    if readable == count {
        return outcome;
    }
    outcome.merge(Outcome::dropped(
        DropReason::Internal,
        count - readable,
        format!("exporter: some {} cannot be read", E::SIGNAL.items()),
    ))
}

impl<E: fmt::Debug> fmt::Debug for LogExporterAdapter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogExporterAdapter").finish_non_exhaustive()
    }
}

impl<E: fmt::Debug> fmt::Debug for SpanExporterAdapter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanExporterAdapter")
            .finish_non_exhaustive()
    }
}
