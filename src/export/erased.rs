//! [`ErasedExporter`]: an [`Exporter`] behind a trait object.
//!
//! The signals of a pipeline may have exporters of different types, and share one worker. The futures are
//! boxed once for each batch of up to thousands of spans.

use std::future::Future;
use std::pin::Pin;

use super::{Batch, Exporter, Outcome};
use crate::sync::Arc;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A permit with the exporter's `send`: takes one batch and returns the future of its outcome. Without a
/// permit no batch can be sent (BSP-3, EXP-1).
pub(crate) type SendPermit = Box<dyn FnOnce(Batch) -> BoxFuture<Outcome> + Send>;

/// Resolves when one more batch may be sent.
pub(crate) type Readiness = BoxFuture<SendPermit>;

/// A handle of an exporter. A clone is another handle of the same exporter.
#[derive(Clone)]
pub(crate) struct ErasedExporter(Arc<dyn Erased>);

trait Erased: Send + Sync {
    fn ready(self: Arc<Self>) -> Readiness;
    fn begin_shutdown(&self);
    fn shutdown(&self);
    fn closed(&self) -> BoxFuture<()>;
    fn show_open(&self, batch: Batch) -> BoxFuture<()>;
    fn last_error(&self) -> Option<String>;
    fn keeps_export_timeout(&self) -> bool;
}

struct Exporting<E>(E);

impl<E: Exporter> Erased for Exporting<E> {
    fn ready(self: Arc<Self>) -> Readiness {
        Box::pin(async move {
            let permit = self.0.ready().await;
            Box::new(move |batch| Box::pin(self.0.send(permit, batch)) as BoxFuture<Outcome>)
                as SendPermit
        })
    }

    fn begin_shutdown(&self) {
        self.0.begin_shutdown();
    }

    fn shutdown(&self) {
        self.0.shutdown();
    }

    fn closed(&self) -> BoxFuture<()> {
        Box::pin(self.0.closed())
    }

    fn show_open(&self, batch: Batch) -> BoxFuture<()> {
        Box::pin(self.0.show_open(batch))
    }

    fn last_error(&self) -> Option<String> {
        self.0.last_error()
    }

    fn keeps_export_timeout(&self) -> bool {
        self.0.keeps_export_timeout()
    }
}

impl ErasedExporter {
    pub(crate) fn new(exporter: impl Exporter) -> Self {
        Self(std::sync::Arc::new(Exporting(exporter)))
    }

    /// As [`Exporter::ready`].
    pub(crate) fn ready(&self) -> Readiness {
        Arc::clone(&self.0).ready()
    }

    /// As [`Exporter::begin_shutdown`].
    pub(crate) fn begin_shutdown(&self) {
        self.0.begin_shutdown();
    }

    /// As [`Exporter::show_open`].
    pub(crate) fn show_open(&self, batch: Batch) -> impl Future<Output = ()> + Send + 'static {
        self.0.show_open(batch)
    }

    /// As [`Exporter::shutdown`].
    pub(crate) fn shutdown(&self) {
        self.0.shutdown();
    }

    /// As [`Exporter::closed`].
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.closed()
    }

    /// As [`Exporter::last_error`].
    pub(crate) fn last_error(&self) -> Option<String> {
        self.0.last_error()
    }

    /// As [`Exporter::keeps_export_timeout`].
    pub(crate) fn keeps_export_timeout(&self) -> bool {
        self.0.keeps_export_timeout()
    }

    /// Whether both are handles of one exporter.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
