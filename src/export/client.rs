//! [`OtlpClient`]: configured synchronously, connects and sends asynchronously, shut down from
//! either world.

use std::time::{Duration, Instant};

use super::batch::Batch;
use super::client_state::ClientState;
use super::deadline::Cap;
use super::delivery::Delivery;
use super::delivery::Rejected;
use super::dial::Dialer;
use super::endpoint::{Endpoint, Signal};
use super::health::Probe;
use super::limiter::{ConcurrencyLimiter, ConcurrencyPermit};
use super::resolve::Resolver;
use super::transport::Transport;
use super::{Exporter, Outcome, compress, json};
use crate::config::{ExporterConfig, Protocol, read_headers};
use crate::error::Error;
use crate::sync::{Arc, Condvar, Mutex, lock, wait_timeout};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

/// A client of one OTLP endpoint, over gRPC or HTTP. A clone is another handle of the same.
///
/// The worker of a pipeline uses one; it can be used by itself too:
///
/// ```no_run
/// # async fn check() -> Result<(), tracing_otlp::Error> {
/// use tracing_otlp::config::ExporterConfig;
/// use tracing_otlp::export::OtlpClient;
///
/// let mut config = ExporterConfig::default();
/// config.endpoint = Some("http://localhost:4317".into());
/// let client = OtlpClient::new(config)?; // checks the settings, does no I/O
/// client.initialize().await?;            // connects
/// # Ok(()) }
/// ```
///
/// Everything asynchronous here needs a tokio runtime with I/O and time; connections live on the
/// runtime on which they were made, and are made again where that one is gone.
#[derive(Debug, Clone)]
pub struct OtlpClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    link: ClientState,
    limiter: ConcurrencyLimiter,
    under_way: Mutex<usize>,
    /// Told when nothing is under way any more.
    idle: Condvar,
}

impl OtlpClient {
    /// Checks all settings and reads the PEM files; no network, no runtime.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`], with the setting, its value and the cure.
    pub fn new(config: ExporterConfig) -> Result<Self, Error> {
        // Nobody else keeps a deadline here.
        let cap = Cap::Always(config.timeout);
        Self::of(config, cap, Signal::Traces, None)
    }

    /// A client for the end of a pipeline. `cap`: the longest a send may take in all, without the
    /// time in which the endpoint is down.
    pub(crate) fn with_cap(config: ExporterConfig, cap: Option<Duration>) -> Result<Self, Error> {
        Self::of(config, Cap::WhileUp(cap), Signal::Traces, None)
    }

    /// The same for logs: on the connections of `traces`, where both are connected alike.
    pub(crate) fn for_logs(
        config: ExporterConfig,
        cap: Option<Duration>,
        traces: Option<&Self>,
    ) -> Result<Self, Error> {
        Self::of(config, Cap::WhileUp(cap), Signal::Logs, traces)
    }

    /// A client for metrics, by [`post`](Self::post).
    #[cfg(feature = "metrics")]
    pub(crate) fn for_metrics(config: ExporterConfig) -> Result<Self, Error> {
        let cap = Cap::Always(config.timeout);
        Self::of(config, cap, Signal::Metrics, None)
    }

    fn of(
        config: ExporterConfig,
        cap: Cap,
        signal: Signal,
        other: Option<&Self>,
    ) -> Result<Self, Error> {
        config.validate()?;
        let endpoint = Endpoint::resolve(&config, signal)?;
        compress::check(config.compression)?;
        if endpoint.protocol == Protocol::HttpJson {
            json::check()?;
        }
        if let Some(path) = config.header_provider.as_ref().and_then(|p| p.path()) {
            read_headers(path)?;
        }
        let shared = other.filter(|other| {
            let known = &other.inner;
            let is_same = endpoint.shares_connection(&known.endpoint);
            is_same && config.connects_as(&known.link.config)
        });
        let transport = match shared {
            Some(other) => Arc::clone(&other.inner.link.transport),
            None => Arc::new(Self::transport(&config, &endpoint)?),
        };
        let target = transport.target_of(&endpoint);
        let limiter = ConcurrencyLimiter::new(config.max_concurrent_exports);
        Ok(Self {
            inner: Arc::new(Inner {
                link: ClientState::new(transport, (signal, target), config, cap),
                endpoint,
                limiter,
                under_way: Mutex::new(0),
                idle: Condvar::new(),
            }),
        })
    }

    fn transport(config: &ExporterConfig, endpoint: &Endpoint) -> Result<Transport, Error> {
        let dialer = Dialer::new(
            Arc::new(config.clone()),
            endpoint.clone(),
            Resolver::system(),
        )?;
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let mut value = value.clone();
            value.set_sensitive(true);
            if headers.try_append(name, value).is_err() {
                return Err(Error::config(
                    "exporter.headers",
                    format!("{} of them", config.headers.len()),
                    "use fewer headers",
                ));
            }
        }
        if let Some(authorization) = &endpoint.authorization {
            headers
                .entry(AUTHORIZATION)
                .or_insert_with(|| authorization.clone());
        }
        let user_agent = user_agent(config.user_agent_prefix.as_deref())?;
        let limit = config.max_response_size;
        Transport::new(dialer, headers, user_agent, limit)
    }

    /// Connects, encrypts and shakes hands, so that a wrong endpoint shows at the start. Sends
    /// nothing (OTLP-4).
    ///
    /// # Errors
    ///
    /// [`Error::is_export`] if the endpoint cannot be reached within
    /// [`connect_timeout`](ExporterConfig::connect_timeout).
    pub async fn initialize(&self) -> Result<(), Error> {
        if self.inner.link.transport.is_connected() {
            return Ok(());
        }
        self.inner
            .link
            .transport
            .connect()
            .await
            .map_err(Error::export)
    }

    /// Sends a batch, retries included, and says what became of each of its spans.
    pub async fn send(&self, batch: Batch) -> Outcome {
        self.deliver(batch, self.inner.link.cap, None).await
    }

    async fn deliver(&self, batch: Batch, cap: Cap, probe: Option<Probe>) -> Outcome {
        let _under_way = UnderWay::new(Arc::clone(&self.inner));
        let delivery = Delivery::new(&self.inner.link, cap, probe);
        delivery.deliver(batch).await
    }

    /// Sends a request that is encoded already, retries included; what of it was rejected, if
    /// anything was, and why.
    pub(crate) async fn post(&self, body: Bytes) -> Result<Option<Rejected>, String> {
        let _under_way = UnderWay::new(Arc::clone(&self.inner));
        Delivery::new(&self.inner.link, self.inner.link.cap, None)
            .post(body)
            .await
    }

    /// Waits until nothing is being sent, for at most `timeout`; then cuts short what is left. An
    /// endpoint to which no connection can be made is given up after a few attempts.
    /// Later sends fail at once. Needs no runtime; blocks the calling thread.
    ///
    /// # Errors
    ///
    /// [`Error::is_timeout`] if something had to be cut short.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), Error> {
        self.inner.link.health.begin_shutdown();
        let deadline = Instant::now().checked_add(timeout);
        let mut under_way = lock(&self.inner.under_way);
        while *under_way > 0 {
            let left = deadline.map_or(timeout, |d| d.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            under_way = wait_timeout(&self.inner.idle, under_way, left);
        }
        let all_done = *under_way == 0;
        drop(under_way);
        self.inner.link.cancel.cancel();
        match all_done {
            true => Ok(()),
            false => {
                let why = self.inner.link.health.last_error();
                let step = "the client's shutdown";
                Err(Error::timeout(step, timeout, why))
            }
        }
    }

    /// How many requests may be under way, and are.
    pub fn limiter(&self) -> &ConcurrencyLimiter {
        &self.inner.limiter
    }

    /// Where it sends to.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }
}

impl Exporter for OtlpClient {
    type Permit = ConcurrencyPermit;

    async fn ready(&self) -> ConcurrencyPermit {
        let mut permit = self.inner.limiter.acquire().await;
        permit.probe = self.inner.link.ready().await;
        permit
    }

    fn send(
        &self,
        mut permit: ConcurrencyPermit,
        batch: Batch,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let client = self.clone();
        async move {
            // A processor stands before this, and keeps the deadlines of flush and shutdown: a batch
            // waits out an outage as those in the queue do.
            let (Cap::Always(cap) | Cap::WhileUp(cap)) = client.inner.link.cap;
            let cap = Cap::WhileUp(cap);
            let outcome = client.deliver(batch, cap, permit.probe.take()).await;
            drop(permit);
            outcome
        }
    }

    fn begin_shutdown(&self) {
        self.inner.link.health.begin_shutdown();
    }

    fn shutdown(&self) {
        self.inner.link.cancel.cancel();
    }

    fn last_error(&self) -> Option<String> {
        // What went wrong with a request is no trouble as long as others get through.
        self.inner.link.health.last_error()
    }

    fn supports(&self, signal: crate::signal::Signal) -> bool {
        self.inner.link.signal == signal.into()
    }

    fn show_open(&self, batch: Batch) -> impl Future<Output = ()> + Send + 'static {
        let client = self.clone();
        async move {
            // An outage is found by what matters.
            if client.inner.link.health.last_error().is_none() {
                // Who does not take it loses nothing: the spans come when they end.
                let _ = client.post(batch.to_open_request()).await;
            }
        }
    }

    fn keeps_export_timeout(&self) -> bool {
        let (Cap::Always(cap) | Cap::WhileUp(cap)) = self.inner.link.cap;
        cap.is_some()
    }
}

/// Counts a send that is under way, also where its future is dropped.
struct UnderWay(Arc<Inner>);

impl UnderWay {
    fn new(inner: Arc<Inner>) -> Self {
        *lock(&inner.under_way) += 1;
        Self(inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = lock(&self.0.under_way);
        *under_way -= 1;
        if *under_way == 0 {
            self.0.idle.notify_all();
        }
    }
}

/// Names this exporter, not OpenTelemetry's (OTLP-3).
fn user_agent(prefix: Option<&str>) -> Result<HeaderValue, Error> {
    let own = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
    let text = match prefix.map(str::trim).filter(|p| !p.is_empty()) {
        Some(prefix) => format!("{prefix} {own}"),
        None => own.to_owned(),
    };
    HeaderValue::from_str(&text).map_err(|e| {
        Error::config("user_agent_prefix", &text, "give visible ASCII characters").with_source(e)
    })
}
