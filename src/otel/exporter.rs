//! [`SpanExporterAdapter`]: an exporter of `opentelemetry_sdk` at the end of this pipeline.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio_util::sync::CancellationToken;

use super::span_data;
use crate::export::{Batch, ConcurrencyLimiter, ConcurrencyPermit, Exporter, Outcome};
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
pub struct SpanExporterAdapter<E> {
    shared: Arc<SharedExporter<E>>,
    limiter: ConcurrencyLimiter,
}

struct SharedExporter<E> {
    exporter: Mutex<Slot<E>>,
    is_closed: AtomicBool,
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
        Self {
            shared: Arc::new(SharedExporter {
                exporter: Mutex::new(Slot::New(exporter)),
                is_closed: AtomicBool::new(false),
            }),
            limiter: ConcurrencyLimiter::new(1),
        }
    }
}

impl<E: SpanExporter + 'static> SharedExporter<E> {
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
    let decoded = decode::Resource::decode(bytes).unwrap_or_default();
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
        self.limiter.acquire().await
    }

    fn send(
        &self,
        permit: ConcurrencyPermit,
        batch: Batch,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            let count = batch.span_count() as u64;
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

    fn shutdown(&self) {
        if self.shared.is_closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let shut = move || {
            suppress::mark_thread();
            let _suppressed = Context::enter_telemetry_suppressed_scope();
            // Each batch was flushed, so the result of the shutdown changes no count.
            let _ = match std::mem::replace(&mut *lock(&shared.exporter), Slot::Gone) {
                Slot::Ready(exporter) => exporter.shutdown_with_timeout(SHUTDOWN),
                Slot::New(exporter) => exporter.shutdown_with_timeout(SHUTDOWN),
                Slot::Gone => Ok(()),
            };
        };
        // A shutdown may block, and the worker must not. Without a thread the exporter is dropped.
        let _ = std::thread::Builder::new()
            .name("otlp-shutdown".to_owned())
            .spawn(shut);
    }
}

async fn export<E>(
    shared: &SharedExporter<E>,
    batch: Batch,
    cancelled: &CancellationToken,
) -> Outcome
where
    E: SpanExporter + 'static,
{
    let count = batch.span_count() as u64;
    if shared.is_closed.load(Ordering::Acquire) {
        return Outcome::dropped(DropReason::AfterShutdown, count, "exporter: shut down");
    }
    let Some(exporter) = shared.exporter(batch.resource()) else {
        return Outcome::dropped(DropReason::Internal, count, "exporter: it panicked");
    };
    let spans: Vec<SpanData> = batch
        .spans()
        .filter_map(|(scope, span)| span_data::decode(scope, span))
        .collect();
    let readable = spans.len() as u64;
    drop(batch);
    let exported = cancelled.run_until_cancelled(exporter.export(spans)).await;
    let outcome = match exported.map(|done| done.and_then(|()| exporter.force_flush())) {
        Some(Ok(())) => Outcome::delivered(readable),
        Some(Err(OTelSdkError::AlreadyShutdown)) => Outcome::dropped(
            DropReason::AfterShutdown,
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
    };
    if readable == count {
        return outcome;
    }
    outcome.merge(Outcome::dropped(
        DropReason::Internal,
        count - readable,
        "exporter: a span's bytes are no span",
    ))
}

impl<E: fmt::Debug> fmt::Debug for SpanExporterAdapter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanExporterAdapter")
            .finish_non_exhaustive()
    }
}
