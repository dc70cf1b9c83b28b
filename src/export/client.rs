//! [`OtlpClient`]: the exporter for an OTLP endpoint, over gRPC or HTTP.

use std::time::{Duration, Instant};

use super::batch::Batch;
use super::client_state::ClientState;
use super::deadline::Cap;
#[cfg(feature = "opentelemetry-otlp")]
use super::delivery::RequestEnd;
use super::delivery::{Delivery, Part, Rejected};
use super::dial::Dialer;
use super::endpoint::list::EndpointEntry;
use super::endpoint::{Endpoint, ExportSignal};
use super::limiter::{ConcurrencyLimiter, ConcurrencyPermit};
use super::members::{MemberList, MemberRoute};
use super::random::RandomNumbers;
use super::resolve::Resolver;
use super::transport::TransportTemplate;
use super::{Exporter, Outcome, affine_delivery, compress, json};
use crate::config::{ConnectionConfig, Protocol, read_headers};
use crate::error::Error;
use crate::stats::{DropReason, EndpointStats};
use crate::sync::{Arc, Condvar, Mutex, lock, wait_timeout};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

/// A client of one OTLP endpoint, over gRPC or HTTP. A clone is another handle of the same client.
///
/// A pipeline makes its own from the settings. A program can also use one without a pipeline:
///
/// ```no_run
/// # async fn check() -> Result<(), tracing_otlp::Error> {
/// use tracing_otlp::config::ConnectionConfig;
/// use tracing_otlp::export::OtlpClient;
///
/// let mut config = ConnectionConfig::default();
/// config.endpoint = Some("http://localhost:4317".into());
/// let client = OtlpClient::new(config)?; // checks the settings, does no I/O
/// client.initialize().await?;            // connects
/// # Ok(()) }
/// ```
///
/// The async methods need a tokio runtime with I/O and time. A connection lives on the runtime on which it
/// was made; after the end of that runtime the client connects again.
#[derive(Debug, Clone)]
pub struct OtlpClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The endpoints of the settings.
    entries: Vec<EndpointEntry>,
    state: ClientState,
    limiter: ConcurrencyLimiter,
    /// Sends in flight.
    in_flight: Mutex<usize>,
    /// Notified when `in_flight` becomes zero.
    idle: Condvar,
}

impl OtlpClient {
    /// Checks all settings and reads the PEM files; no network, no runtime.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`], with the setting, its value and the cure.
    pub fn new(config: ConnectionConfig) -> Result<Self, Error> {
        // Without a processor no other deadline exists.
        let cap = Cap::Always(config.timeout);
        Self::of(config, cap, ExportSignal::Traces, None, Resolver::system())
    }

    /// The client of a pipeline. `cap`: the longest time of a send, without the time in which the endpoint
    /// is down.
    pub(crate) fn with_cap(config: ConnectionConfig, cap: Option<Duration>) -> Result<Self, Error> {
        Self::of(
            config,
            Cap::WhileUp(cap),
            ExportSignal::Traces,
            None,
            Resolver::system(),
        )
    }

    /// The same for logs: shares the connections of `traces` if both have the same settings of the
    /// connection.
    pub(crate) fn for_logs(
        config: ConnectionConfig,
        cap: Option<Duration>,
        traces: Option<&Self>,
    ) -> Result<Self, Error> {
        Self::of(
            config,
            Cap::WhileUp(cap),
            ExportSignal::Logs,
            traces,
            Resolver::system(),
        )
    }

    /// A client for metrics, by [`post`](Self::post).
    #[cfg(feature = "metrics")]
    pub(crate) fn for_metrics(config: ConnectionConfig) -> Result<Self, Error> {
        let cap = Cap::Always(config.timeout);
        Self::of(config, cap, ExportSignal::Metrics, None, Resolver::system())
    }

    /// A client of requests that another encoder has written: [`deliver_encoded`](Self::deliver_encoded).
    #[cfg(feature = "opentelemetry-otlp")]
    pub(crate) fn for_encoded(
        config: ConnectionConfig,
        cap: Option<Duration>,
        signal: ExportSignal,
    ) -> Result<Self, Error> {
        Self::of_any_encoder(config, Cap::WhileUp(cap), signal, None, Resolver::system())
    }

    pub(super) fn of(
        config: ConnectionConfig,
        cap: Cap,
        signal: ExportSignal,
        other: Option<&Self>,
        resolver: Resolver,
    ) -> Result<Self, Error> {
        let client = Self::of_any_encoder(config, cap, signal, other, resolver)?;
        if client.protocol() == Some(Protocol::HttpJson) {
            json::check()?;
        }
        Ok(client)
    }

    fn of_any_encoder(
        config: ConnectionConfig,
        cap: Cap,
        signal: ExportSignal,
        other: Option<&Self>,
        resolver: Resolver,
    ) -> Result<Self, Error> {
        config.validate()?;
        let entries = Endpoint::entries(&config, signal)?;
        compress::check(config.compression)?;
        if let Some(path) = config.header_provider.as_ref().and_then(|p| p.path()) {
            read_headers(path)?;
        }
        let state = other.map(|other| &other.inner.state);
        let shared = state.filter(|state| config.connects_as(&state.config));
        let templates = entries.iter().map(|entry| {
            let template = Self::template(&config, entry, resolver.clone())?;
            Ok((entry.clone(), template))
        });
        let random = Arc::new(RandomNumbers::new());
        let members = MemberList::new(
            templates.collect::<Result<_, Error>>()?,
            config.retry.clone(),
            Arc::clone(&random),
            shared.map(|state| Arc::clone(&state.members)),
        )?;
        let limiter = ConcurrencyLimiter::new(config.max_concurrent_exports);
        Ok(Self {
            inner: Arc::new(Inner {
                state: ClientState::new(members, signal, config, cap, random),
                entries,
                limiter,
                in_flight: Mutex::new(0),
                idle: Condvar::new(),
            }),
        })
    }

    fn template(
        config: &ConnectionConfig,
        EndpointEntry { endpoint, is_name }: &EndpointEntry,
        resolver: Resolver,
    ) -> Result<TransportTemplate, Error> {
        let dialer = Dialer::new(Arc::new(config.clone()), endpoint.clone(), resolver)?;
        if *is_name && dialer.proxy.is_some() {
            return Err(Error::config(
                "endpoint",
                endpoint.address(),
                "the addresses of a name are not reached through a proxy: put the name into NO_PROXY, or \
                 leave out `dns`",
            ));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let mut value = value.clone();
            value.set_sensitive(true);
            if headers.try_append(name, value).is_err() {
                return Err(Error::config(
                    "connection.headers",
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
        Ok(TransportTemplate {
            dialer,
            headers,
            user_agent: user_agent(config.user_agent_prefix.as_deref())?,
            max_response: config.max_response_size,
        })
    }

    /// Connects, with the handshakes of TLS and HTTP/2, so that a wrong endpoint is an error at the start.
    /// Sends no request.
    ///
    /// # Errors
    ///
    /// [`Error::is_export`] if the endpoint cannot be reached within
    /// [`connect_timeout`](ConnectionConfig::connect_timeout).
    pub async fn initialize(&self) -> Result<(), Error> {
        self.inner
            .state
            .members
            .connect()
            .await
            .map_err(Error::export)
    }

    /// Sends a batch, with retries, and returns the outcome of its spans. Needs no permit, and keeps
    /// [`timeout`](ConnectionConfig::timeout) also while the endpoint is down; [`Exporter::send`], for a processor,
    /// waits with the spans of the queue then.
    pub async fn deliver(&self, batch: Batch) -> Outcome {
        self.deliver_within(batch, self.inner.state.cap, None).await
    }

    async fn deliver_within(&self, batch: Batch, cap: Cap, route: Option<MemberRoute>) -> Outcome {
        let _under_way = SendGuard::new(Arc::clone(&self.inner));
        let state = &self.inner.state;
        if state.signal != batch.signal().into() {
            let why = format!("this client does not send {}", batch.signal());
            return Outcome::dropped(DropReason::Internal, batch.item_count() as u64, why);
        }
        match state.is_affine() {
            true => affine_delivery::deliver(state, cap, batch, &self.inner.limiter).await,
            false => {
                let delivery = Delivery::new(state, cap, route);
                delivery.deliver(Part::whole(batch)).await
            }
        }
    }

    /// Sends an encoded request, with retries. `Ok(Some(_))`: the endpoint rejected a part of it.
    pub(crate) async fn post(&self, body: Bytes) -> Result<Option<Rejected>, String> {
        let _under_way = SendGuard::new(Arc::clone(&self.inner));
        Delivery::new(&self.inner.state, self.inner.state.cap, None)
            .post(body)
            .await
    }

    /// Delivers a request that another encoder has written.
    #[cfg(feature = "opentelemetry-otlp")]
    pub(crate) async fn deliver_encoded(&self, body: Bytes) -> RequestEnd {
        let _under_way = SendGuard::new(Arc::clone(&self.inner));
        Delivery::new(&self.inner.state, self.inner.state.cap, None)
            .deliver_encoded(body)
            .await
    }

    /// Waits until a request may be sent, or a shutdown has given the endpoint up.
    #[cfg(feature = "opentelemetry-otlp")]
    pub(crate) async fn until_up(&self) {
        let _ = self.inner.state.ready().await;
    }

    /// Waits for the sends in flight, for at most `timeout`, then cancels the rest. An endpoint to which no
    /// connection can be made is given up after a few attempts. Later sends fail at once. ([`Exporter::shutdown`]
    /// cancels at once: its processor has waited.) Needs no runtime
    /// and blocks the calling thread: in async code, call it inside of `spawn_blocking`, because a send may
    /// be waiting for the thread that this call blocks.
    ///
    /// # Errors
    ///
    /// [`Error::is_timeout`] if a send was cancelled.
    pub fn close(&self, timeout: Duration) -> Result<(), Error> {
        self.inner.state.members.begin_shutdown();
        let deadline = Instant::now().checked_add(timeout);
        let mut in_flight = lock(&self.inner.in_flight);
        while *in_flight > 0 {
            let left = deadline.map_or(timeout, |d| d.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            in_flight = wait_timeout(&self.inner.idle, in_flight, left);
        }
        let all_done = *in_flight == 0;
        drop(in_flight);
        self.inner.state.cancel.cancel();
        match all_done {
            true => Ok(()),
            false => {
                let why = self.inner.state.members.last_error();
                let step = "the end of the client";
                Err(Error::timeout(step, timeout, why))
            }
        }
    }

    /// The limiter of this client's concurrent requests.
    pub fn limiter(&self) -> &ConcurrencyLimiter {
        &self.inner.limiter
    }

    /// The endpoint of this client; of several, none.
    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        match &self.inner.entries[..] {
            [EndpointEntry { endpoint, is_name }] => Some(endpoint).filter(|_| !is_name),
            _ => None,
        }
    }

    /// Whether the last attempts to connect have failed, as often as a shutdown bears.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.inner.state.members.is_unreachable()
    }

    /// What each address got.
    pub(crate) fn endpoint_stats(&self) -> Vec<EndpointStats> {
        self.inner.state.members.stats()
    }

    #[cfg(test)]
    pub(super) fn members(&self) -> &Arc<MemberList> {
        &self.inner.state.members
    }

    pub(crate) fn protocol(&self) -> Option<Protocol> {
        let first = self.inner.entries.first();
        first.map(|entry| entry.endpoint.protocol)
    }
}

impl Exporter for OtlpClient {
    type Permit = OtlpClientPermit;

    async fn ready(&self) -> OtlpClientPermit {
        let permit = self.inner.limiter.acquire().await;
        OtlpClientPermit {
            route: self.inner.state.ready().await,
            _permit: permit,
        }
    }

    fn send(
        &self,
        mut permit: OtlpClientPermit,
        batch: Batch,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let client = self.clone();
        async move {
            // The processor keeps the deadlines of flush and shutdown: during an outage a batch waits as the
            // spans in the queue do.
            let (Cap::Always(cap) | Cap::WhileUp(cap)) = client.inner.state.cap;
            let cap = Cap::WhileUp(cap);
            let outcome = client.deliver_within(batch, cap, permit.route.take()).await;
            drop(permit);
            outcome
        }
    }

    fn begin_shutdown(&self) {
        self.inner.state.members.begin_shutdown();
    }

    fn shutdown(&self) {
        self.inner.state.cancel.cancel();
    }

    fn last_error(&self) -> Option<String> {
        // The error of a single request does not count while others succeed.
        self.inner.state.members.last_error()
    }

    fn supports(&self, signal: crate::signal::Signal) -> bool {
        self.inner.state.signal == signal.into()
    }

    fn show_open(&self, batch: Batch) -> impl Future<Output = ()> + Send + 'static {
        let client = self.clone();
        async move {
            // No probe of a failing endpoint: batches do that.
            if client.inner.state.members.last_error().is_none() {
                // An error loses no span: each is sent when it ends.
                let _ = client.post(batch.to_open_request()).await;
            }
        }
    }

    fn keeps_export_timeout(&self) -> bool {
        let (Cap::Always(cap) | Cap::WhileUp(cap)) = self.inner.state.cap;
        cap.is_some()
    }
}

/// The right of an [`OtlpClient`] to send one batch, with the connection that it is for.
#[derive(Debug)]
#[must_use = "the permit is returned when it is dropped"]
pub struct OtlpClientPermit {
    /// The member that its first attempt goes to. Passes its turn on before the next permit is given.
    route: Option<MemberRoute>,
    _permit: ConcurrencyPermit,
}

/// Counts a send in flight, until its future ends or is dropped.
struct SendGuard(Arc<Inner>);

impl SendGuard {
    fn new(inner: Arc<Inner>) -> Self {
        *lock(&inner.in_flight) += 1;
        Self(inner)
    }
}

impl Drop for SendGuard {
    fn drop(&mut self) {
        let mut in_flight = lock(&self.0.in_flight);
        *in_flight -= 1;
        if *in_flight == 0 {
            self.0.idle.notify_all();
        }
    }
}

/// The `User-Agent`: the name of this exporter, not of OpenTelemetry's (OTLP-3).
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
