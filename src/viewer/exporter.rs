//! [`ViewerExporter`]: batches into the viewer's store, or to a viewer that runs already.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::server::Server;
use super::store::Store;
use crate::export::{Batch, BatchItem, Exporter, OtlpClient, Outcome};
use crate::signal::Signal;
use crate::stats::DropReason;
use crate::sync::{AtomicBool, Ordering};

/// Somebody looks: spans come this soon, unless a shorter delay is set.
const DELAY: Duration = Duration::from_millis(100);

/// How long a batch that has arrived elsewhere still waits for the viewer of another process.
const VIEWER_WITHIN: Duration = Duration::from_millis(100);

/// Puts spans and log records into a [viewer](crate::viewer()), from [`Viewer::build`](super::Viewer::build).
///
/// The page is served until it is dropped; a pipeline drops it when its worker ends, at shutdown. It
/// makes the pipeline send after 100 ms at the latest.
pub struct ViewerExporter {
    target: ViewerTarget,
    closed: AtomicBool,
}

enum ViewerTarget {
    Local(Running),
    #[cfg_attr(
        not(feature = "http"),
        allow(dead_code, reason = "nothing can be joined")
    )]
    Joined(JoinedViewer),
}

/// The viewer of another process, by a client of each signal.
struct JoinedViewer {
    spans: OtlpClient,
    logs: OtlpClient,
}

/// A viewer of this process.
pub(super) struct Running {
    pub(super) store: Arc<Store>,
    pub(super) url: String,
    pub(super) token: String,
    pub(super) address: SocketAddr,
    pub(super) otlp: Vec<SocketAddr>,
    pub(super) _server: Server,
}

impl ViewerExporter {
    pub(super) fn local(running: Running) -> Self {
        Self {
            target: ViewerTarget::Local(running),
            closed: AtomicBool::new(false),
        }
    }

    /// Sends to the OTLP endpoint of a viewer that runs; `None` where this build cannot.
    #[cfg(feature = "http")]
    pub(super) fn joined(endpoint: String) -> Option<Self> {
        let mut config = crate::config::ConnectionConfig::default();
        config.endpoint = Some(endpoint);
        config.protocol = Some(crate::config::Protocol::HttpProtobuf);
        let spans = OtlpClient::new(config.clone()).ok()?;
        // Its own timeout bounds a send.
        let logs = OtlpClient::for_logs(config, None, Some(&spans)).ok()?;
        Some(Self {
            target: ViewerTarget::Joined(JoinedViewer { spans, logs }),
            closed: AtomicBool::new(false),
        })
    }

    #[cfg(not(feature = "http"))]
    pub(super) fn joined(_: String) -> Option<Self> {
        None
    }

    fn running(&self) -> Option<&Running> {
        match &self.target {
            ViewerTarget::Local(running) => Some(running),
            ViewerTarget::Joined(_) => None,
        }
    }

    #[cfg(test)]
    pub(super) fn store(&self) -> Option<&Store> {
        self.running().map(|r| &*r.store)
    }

    /// The page's address with its token; `None` where the spans go to a viewer of another process.
    pub fn url(&self) -> Option<&str> {
        self.running().map(|r| &*r.url)
    }

    /// The token, for scripts: `Authorization: Bearer TOKEN`. A secret.
    pub fn token(&self) -> Option<&str> {
        self.running().map(|r| &*r.token)
    }

    /// The socket that serves the page.
    pub fn address(&self) -> Option<SocketAddr> {
        self.running().map(|r| r.address)
    }

    /// The sockets that take spans of other processes.
    pub fn otlp_addresses(&self) -> &[SocketAddr] {
        self.running().map_or(&[], |r| &r.otlp)
    }

    /// Shows spans and hands them on: what becomes of them there is what is counted.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), tracing_otlp::Error> {
    /// use tracing_otlp::config::ConnectionConfig;
    /// use tracing_otlp::export::OtlpClient;
    ///
    /// let client = OtlpClient::new(ConnectionConfig::default())?;
    /// let exporter = tracing_otlp::viewer().build()?.forward_to(client);
    /// # let _ = exporter; Ok(()) }
    /// ```
    pub fn forward_to<E: Exporter>(self, next: E) -> ForwardingViewer<E> {
        ForwardingViewer { viewer: self, next }
    }
}

/// Without the token, which is a secret.
impl fmt::Debug for ViewerExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewerExporter")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

/// The right to send one batch to a viewer.
#[derive(Debug)]
pub struct ViewerPermit(Option<<OtlpClient as Exporter>::Permit>);

impl Exporter for ViewerExporter {
    type Permit = ViewerPermit;

    async fn ready(&self) -> ViewerPermit {
        match &self.target {
            ViewerTarget::Local(_) => ViewerPermit(None),
            ViewerTarget::Joined(joined) => ViewerPermit(Some(joined.spans.ready().await)),
        }
    }

    fn send(
        &self,
        permit: ViewerPermit,
        batch: Batch,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let spans = batch.item_count() as u64;
        let (mut sending, mut of_logs, mut outcome) = (None, None, None);
        match (&self.target, permit.0) {
            (ViewerTarget::Joined(joined), Some(permit)) => match batch.signal() {
                Signal::Traces => sending = Some(Exporter::send(&joined.spans, permit, batch)),
                // The permit's way is that of spans.
                Signal::Logs => of_logs = Some((joined.logs.clone(), permit, batch)),
            },
            (ViewerTarget::Local(running), _) if !self.closed.load(Ordering::Relaxed) => {
                outcome = Some(keep(&running.store, &batch));
            }
            _ => {}
        }
        async move {
            match (sending, of_logs, outcome) {
                (Some(sending), ..) => sending.await,
                (_, Some((client, _permit, batch)), _) => client.deliver(batch).await,
                (.., Some(outcome)) => outcome,
                (None, None, None) => {
                    Outcome::dropped(DropReason::AlreadyShutdown, spans, "viewer: shut down")
                }
            }
        }
    }

    fn supports(&self, _: Signal) -> bool {
        true
    }

    fn begin_shutdown(&self) {
        if let ViewerTarget::Joined(joined) = &self.target {
            joined.spans.begin_shutdown();
            joined.logs.begin_shutdown();
        }
    }

    fn shutdown(&self) {
        self.closed.store(true, Ordering::Relaxed);
        if let ViewerTarget::Joined(joined) = &self.target {
            Exporter::shutdown(&joined.spans);
            Exporter::shutdown(&joined.logs);
        }
    }

    fn last_error(&self) -> Option<String> {
        match &self.target {
            ViewerTarget::Local(_) => None,
            ViewerTarget::Joined(joined) => joined.spans.last_error().or(joined.logs.last_error()),
        }
    }

    fn show_open(&self, batch: Batch) -> impl Future<Output = ()> + Send + 'static {
        let showing = match &self.target {
            ViewerTarget::Local(running) => {
                let mut writer = running.store.writer();
                for BatchItem {
                    scope,
                    message: span,
                } in batch.items()
                {
                    writer.add_open(batch.resource(), scope, span);
                }
                None
            }
            ViewerTarget::Joined(joined) => Some(joined.spans.show_open(batch)),
        };
        async move {
            if let Some(showing) = showing {
                showing.await;
            }
        }
    }

    fn keeps_export_timeout(&self) -> bool {
        match &self.target {
            ViewerTarget::Local(_) => true,
            ViewerTarget::Joined(joined) => joined.spans.keeps_export_timeout(),
        }
    }

    fn max_schedule_delay(&self) -> Option<Duration> {
        Some(DELAY)
    }
}

/// Copies the spans or log records of a batch into the store.
fn keep(store: &Store, batch: &Batch) -> Outcome {
    let mut writer = store.writer();
    let mut kept = 0;
    for BatchItem {
        scope,
        message: span,
    } in batch.items()
    {
        let is_kept = match batch.signal() {
            Signal::Logs => writer.add_record(batch.resource(), scope, span),
            Signal::Traces => writer.add(batch.resource(), scope, span),
        };
        kept += u64::from(is_kept);
    }
    let lost = (batch.item_count() as u64).saturating_sub(kept);
    let outcome = Outcome::delivered(kept);
    match lost {
        0 => outcome,
        _ => outcome.merge(Outcome::dropped(
            DropReason::Internal,
            lost,
            "viewer: bytes that are no span or log record, or a resource that is too large",
        )),
    }
}

/// A [`ViewerExporter`] that hands the spans on, from [`ViewerExporter::forward_to`].
#[derive(Debug)]
pub struct ForwardingViewer<E> {
    viewer: ViewerExporter,
    next: E,
}

impl<E: Exporter> Exporter for ForwardingViewer<E> {
    type Permit = (ViewerPermit, E::Permit);

    async fn ready(&self) -> Self::Permit {
        // The viewer of another process may be gone, and then it may not hold up the rest: no permit
        // is waited for beside the next exporter's.
        let next = self.next.ready().await;
        let ready = tokio::time::timeout(Duration::from_millis(10), self.viewer.ready());
        (ready.await.unwrap_or(ViewerPermit(None)), next)
    }

    fn send(
        &self,
        (permit, next): Self::Permit,
        batch: Batch,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let shown = self.viewer.send(permit, batch.clone());
        let sent = self.next.send(next, batch);
        async move {
            let (mut sent, mut shown) = (pin!(sent), pin!(shown));
            tokio::select! {
                biased;
                outcome = &mut sent => {
                    // What becomes of the spans at the viewer keeps nobody waiting for long.
                    let _ = tokio::time::timeout(VIEWER_WITHIN, shown).await;
                    outcome
                }
                _ = &mut shown => sent.await,
            }
        }
    }

    fn supports(&self, signal: Signal) -> bool {
        self.next.supports(signal)
    }

    fn begin_shutdown(&self) {
        self.viewer.begin_shutdown();
        self.next.begin_shutdown();
    }

    fn shutdown(&self) {
        self.viewer.shutdown();
        self.next.shutdown();
    }

    fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.next.closed()
    }

    fn last_error(&self) -> Option<String> {
        self.next.last_error()
    }

    fn show_open(&self, batch: Batch) -> impl Future<Output = ()> + Send + 'static {
        let shown = self.viewer.show_open(batch.clone());
        let next = self.next.show_open(batch);
        async move {
            tokio::join!(shown, next);
        }
    }

    fn keeps_export_timeout(&self) -> bool {
        self.next.keeps_export_timeout()
    }

    fn max_schedule_delay(&self) -> Option<Duration> {
        let next = self.next.max_schedule_delay();
        Some(next.map_or(DELAY, |next| next.min(DELAY)))
    }
}
