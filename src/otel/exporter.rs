//! [`SpanExporterAdapter`]: an exporter of `opentelemetry_sdk` at the end of this pipeline.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::span_data;
use crate::export::{Batch, ConcurrencyLimiter, ConcurrencyPermit, Exporter, Outcome};
use crate::stats::DropReason;
use crate::suppress;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, lock};
use crate::wire::decode;

/// Lets any `opentelemetry_sdk` span exporter take the spans of this pipeline: `opentelemetry-otlp`'s,
/// the in-memory one, Zipkin's.
///
/// It gets one batch at a time (BSP-3), and the pipeline's resource before the first. Spans are decoded
/// for it on the worker's thread, in whose tokio runtime it runs: one that blocks holds up the worker
/// and nobody else. A batch it does not finish within the timeout, or reports as failed, counts as
/// [`DropReason::Unconfirmed`](crate::DropReason::Unconfirmed), because it may have arrived. Bytes become
/// hexadecimal text and lists of mixed kinds lists of texts, which that API has no values for.
///
/// ```
/// use opentelemetry_sdk::trace::InMemorySpanExporter;
/// use tracing_otlp::otel::SpanExporterAdapter;
///
/// let memory = InMemorySpanExporter::default();
/// let builder = tracing_otlp::builder().with_exporter(SpanExporterAdapter::new(memory));
/// ```
pub struct SpanExporterAdapter<E> {
    shared: Arc<Shared<E>>,
    limiter: ConcurrencyLimiter,
    timeout: Duration,
}

struct Shared<E> {
    exporter: Mutex<Slot<E>>,
    is_closed: AtomicBool,
}

/// An exporter before and after it was told the resource.
enum Slot<E> {
    New(E),
    Told(Arc<E>),
    /// It panicked while it was told.
    Gone,
}

/// How long one batch may take: the specification's `exportTimeoutMillis` (BSP-5).
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long an exporter may take to shut down, on a thread of its own.
const SHUTDOWN: Duration = Duration::from_secs(5);

impl<E: SpanExporter + 'static> SpanExporterAdapter<E> {
    /// Around `exporter`, with 30 s for each batch.
    pub fn new(exporter: E) -> Self {
        Self {
            shared: Arc::new(Shared {
                exporter: Mutex::new(Slot::New(exporter)),
                is_closed: AtomicBool::new(false),
            }),
            limiter: ConcurrencyLimiter::new(1),
            timeout: TIMEOUT,
        }
    }

    /// How long one batch may take. Default 30 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl<E: SpanExporter + 'static> Shared<E> {
    /// The exporter, told the resource.
    fn exporter(&self, resource: &[u8]) -> Option<Arc<E>> {
        let mut slot = lock(&self.exporter);
        // Only the worker comes here, one batch at a time, so foreign code under the lock holds up
        // nobody; should it panic, the slot says so.
        match std::mem::replace(&mut *slot, Slot::Gone) {
            Slot::New(mut exporter) => {
                exporter.set_resource(&resource_of(resource));
                *slot = Slot::Told(Arc::new(exporter));
            }
            told => *slot = told,
        }
        match &*slot {
            Slot::Told(exporter) => Some(Arc::clone(exporter)),
            Slot::New(_) | Slot::Gone => None,
        }
    }
}

fn resource_of(bytes: &[u8]) -> Resource {
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
        let timeout = self.timeout;
        async move {
            let outcome = export(&shared, batch, timeout).await;
            drop(permit);
            outcome
        }
    }

    fn shutdown(&self) {
        if self.shared.is_closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let shut = move || {
            suppress::mark_thread();
            let exporter = match &*lock(&shared.exporter) {
                Slot::Told(exporter) => Arc::clone(exporter),
                // It has seen nothing.
                Slot::New(_) | Slot::Gone => return,
            };
            // What was delivered is counted; nobody waits for this verdict.
            let _ = exporter.shutdown_with_timeout(SHUTDOWN);
        };
        // It may block, and the worker must not. Without a thread it is dropped as it is.
        let _ = std::thread::Builder::new()
            .name("otlp-shutdown".to_owned())
            .spawn(shut);
    }
}

async fn export<E>(shared: &Shared<E>, batch: Batch, timeout: Duration) -> Outcome
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
    let done = tokio::time::timeout(timeout, exporter.export(spans)).await;
    let outcome = match done {
        Ok(Ok(())) => Outcome::delivered(readable),
        Ok(Err(OTelSdkError::AlreadyShutdown)) => Outcome::dropped(
            DropReason::AfterShutdown,
            readable,
            "exporter: it was shut down by somebody else",
        ),
        Ok(Err(error)) => Outcome::dropped(
            DropReason::Unconfirmed,
            readable,
            format!("exporter: {error}"),
        ),
        Err(_) => Outcome::dropped(
            DropReason::Unconfirmed,
            readable,
            format!("exporter: no result within {timeout:?}"),
        ),
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
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
