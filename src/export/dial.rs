//! [`Dialer`]: connects to the endpoint by TCP or a Unix socket, through a proxy if one is set, with TLS if
//! the endpoint's scheme asks for it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

#[cfg(feature = "http")]
use http::Uri;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::cause::{Cause, tell_long};
use super::endpoint::Endpoint;
#[cfg(feature = "http")]
use super::endpoint::RequestTarget;
use super::happy_eyeballs::{self, Failures};
use super::proxy::Proxy;
use super::resolve::Resolver;
use super::socket::Socket;
use super::stream::{DialError, Io};
use super::tls::Tls;
use crate::config::ConnectionConfig;
use crate::error::Error;
use crate::sync::Arc;
use crate::text;

/// The interval of TCP keep-alive on an idle connection: load balancers and gateways drop a connection that
/// is silent for some minutes, without a notice.
const KEEP_ALIVE: Duration = Duration::from_secs(45);

#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    pub(crate) endpoint: Endpoint,
    pub(crate) tls: Option<Tls>,
    pub(crate) timeout: Duration,
    /// The longest time of a request without an answer.
    #[cfg_attr(not(feature = "grpc"), expect(dead_code, reason = "for pings"))]
    pub(crate) answer_within: Option<Duration>,
    pub(crate) resolver: Resolver,
    /// The address to connect to, in place of a look-up: a member of a name.
    at: Option<SocketAddr>,
    pub(crate) proxy: Option<Proxy>,
    config: Arc<ConnectionConfig>,
}

impl Dialer {
    /// Reads the PEM files; does no other I/O.
    pub(crate) fn new(
        config: Arc<ConnectionConfig>,
        endpoint: Endpoint,
        resolver: Resolver,
    ) -> Result<Self, Error> {
        let tls = match endpoint.tls {
            true => Some(Tls::new(&config, &endpoint)?),
            false => None,
        };
        Ok(Self {
            proxy: Proxy::of(&config, &endpoint)?,
            endpoint,
            tls,
            timeout: config.connect_timeout,
            answer_within: config.timeout,
            resolver,
            at: None,
            config,
        })
    }

    /// Whether the certificates of the endpoint or of its proxy have changed since the last call: connections
    /// must not outlive theirs.
    pub(crate) fn has_new_tls(&self) -> bool {
        let proxy = self.proxy.as_ref().and_then(Proxy::tls);
        // Each of them is told of its change once, so both are asked.
        let of_each = [self.tls.as_ref(), proxy].map(|tls| tls.is_some_and(Tls::has_changed));
        of_each.contains(&true)
    }

    /// A dialer for one address of the endpoint's name.
    pub(crate) fn to(&self, at: Option<SocketAddr>) -> Self {
        Self { at, ..self.clone() }
    }

    /// Host and port, or the socket, for messages; the address too, if it is one of several.
    pub(crate) fn address(&self) -> String {
        let address = self.endpoint.address();
        match self.at {
            Some(at) => format!("{address} ({at})"),
            None => address,
        }
    }

    /// The addresses of the endpoint's name.
    pub(crate) async fn look_up(&self) -> Result<Vec<SocketAddr>, String> {
        let Endpoint { host, port, .. } = &self.endpoint;
        let look_up = self.resolver.resolve(host, *port);
        let (cause, why) = match timeout(self.timeout, look_up).await {
            Ok(Ok(addresses)) => return Ok(addresses),
            Ok(Err(e)) => (Cause::UnknownHost, format!(": {e}")),
            Err(_) => {
                let why = format!(" within {:?}: it is still looked up", self.timeout);
                (Cause::SlowLookUp, why)
            }
        };
        let address = self.endpoint.address();
        Err(tell_long(&format!("no address of {address}{why}"), cause))
    }

    /// A dialer for another path of the same endpoint.
    #[cfg(feature = "http")]
    pub(crate) fn at(&self, endpoint: Endpoint) -> Self {
        Self {
            endpoint: Endpoint {
                socket: self.endpoint.socket.clone(),
                ..endpoint
            },
            ..self.clone()
        }
    }

    /// A dialer for another endpoint, without credentials and client certificate.
    #[cfg(feature = "http")]
    pub(crate) fn elsewhere(&self, endpoint: Endpoint) -> Result<Self, Error> {
        let config = Arc::new(self.config.without_identity());
        Self::new(config, endpoint, self.resolver.clone())
    }

    /// The proxy that forwards requests (no tunnel), which need whole URLs.
    #[cfg(feature = "http")]
    pub(crate) fn forward_proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|proxy| !proxy.is_tunnel())
    }

    /// The target of an HTTP/1 request to `endpoint`: a path, or for a forwarding proxy the whole URL.
    #[cfg(feature = "http")]
    pub(crate) fn target_of(&self, endpoint: &Endpoint) -> RequestTarget {
        RequestTarget(match self.forward_proxy() {
            Some(_) => endpoint.uri.clone(),
            None => {
                let path = endpoint.uri.path_and_query().cloned();
                path.map(Uri::from).unwrap_or_default()
            }
        })
    }

    /// A new connection. After an error here certainly nothing was sent.
    pub(crate) async fn dial(&self) -> Result<Io, String> {
        let deadline = Instant::now() + self.timeout;
        self.connect(deadline).await.map_err(|(cause, why)| {
            let address = self.address();
            let via = match &self.proxy {
                Some(proxy) => format!(" through the proxy {}", proxy.address()),
                None => String::new(),
            };
            tell_long(&format!("cannot connect to {address}{via}{why}"), cause)
        })
    }

    async fn connect(&self, deadline: Instant) -> Result<Io, DialError> {
        let endpoint = &self.endpoint;
        let io = match (&endpoint.socket, &self.proxy) {
            (Some(path), _) => self.unix(path, deadline).await?,
            (None, None) => self.tcp(&endpoint.host, endpoint.port, deadline).await?,
            (None, Some(proxy)) => self.through(proxy, deadline).await?,
        };
        match &self.tls {
            Some(tls) => self.encrypt(tls, io, deadline).await,
            None => Ok(io),
        }
    }

    async fn through(&self, proxy: &Proxy, deadline: Instant) -> Result<Io, DialError> {
        let of_proxy = |(cause, why)| match cause {
            Cause::UnknownHost | Cause::SlowLookUp => (cause, why),
            _ => (Cause::ProxyUnreached, why),
        };
        let tcp = self.tcp(proxy.host(), proxy.port(), deadline).await;
        let mut io = tcp.map_err(of_proxy)?;
        if let Some(tls) = proxy.tls() {
            io = self.encrypt(tls, io, deadline).await?;
        }
        if !proxy.is_tunnel() {
            return Ok(io);
        }
        match timeout_at(deadline, proxy.tunnel(io, &self.endpoint)).await {
            Ok(io) => io,
            Err(_) => {
                let why = format!(" within {:?}: no answer of the proxy", self.timeout);
                Err((Cause::ProxyUnreached, why))
            }
        }
    }

    async fn encrypt(&self, tls: &Tls, io: Io, deadline: Instant) -> Result<Io, DialError> {
        match timeout_at(deadline, tls.connect(io)).await {
            Ok(Ok(stream)) => Ok(Io::new(stream)),
            Ok(Err((cause, e))) => Err((cause, format!(": {e}"))),
            Err(_) => {
                let within = self.timeout;
                let why = format!(" within {within:?}: no answer to the TLS handshake");
                Err((Cause::ConnectTimeout, why))
            }
        }
    }

    #[cfg(unix)]
    async fn unix(&self, path: &Path, deadline: Instant) -> Result<Io, DialError> {
        match timeout_at(deadline, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => Ok(Io::new(Socket::new(stream))),
            Ok(Err(e)) => Err((Cause::Socket, format!(": {e}"))),
            Err(_) => Err((Cause::Socket, format!(" within {:?}", self.timeout))),
        }
    }

    /// The settings refuse a Unix socket on this system.
    #[cfg(not(unix))]
    async fn unix(&self, _: &Path, _: Instant) -> Result<Io, DialError> {
        let e = io::Error::from(io::ErrorKind::Unsupported);
        Err((Cause::Socket, format!(": {e}")))
    }

    /// Connects to one of the host's addresses.
    async fn tcp(&self, host: &str, port: u16, deadline: Instant) -> Result<Io, DialError> {
        if let Some(at) = self.at {
            return self.to_one_of(vec![at], true, deadline).await;
        }
        let addresses = match timeout_at(deadline, self.resolver.resolve(host, port)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(e)) => return Err((Cause::UnknownHost, format!(": {e}"))),
            Err(_) => {
                let why = format!(" within {:?}: its name is still looked up", self.timeout);
                return Err((Cause::SlowLookUp, why));
            }
        };
        let is_literal = host.parse::<IpAddr>().is_ok();
        self.to_one_of(addresses, is_literal, deadline).await
    }

    async fn to_one_of(
        &self,
        addresses: Vec<SocketAddr>,
        is_literal: bool,
        deadline: Instant,
    ) -> Result<Io, DialError> {
        let tcp = happy_eyeballs::connect(addresses, deadline, TcpStream::connect)
            .await
            .map_err(|failures| self.none_connected(&failures, is_literal))?;
        tune(&tcp).map_err(|e| (Cause::of_connecting(&e), format!(": {e}")))?;
        Ok(Io::new(Socket::new(tcp)))
    }

    /// The error if no address accepts a connection. `is_literal`: the message already has the address.
    fn none_connected(&self, Failures(failures): &Failures, is_literal: bool) -> DialError {
        let is_silent = |e: &io::Error| e.kind() == io::ErrorKind::TimedOut;
        let within = match failures.iter().any(|(_, e)| is_silent(e)) {
            true => format!(" within {:?}", self.timeout),
            false => String::new(),
        };
        let each = failures.iter().map(|(address, e)| match is_silent(e) {
            true => format!("{address}: no answer"),
            false => format!("{address}: {e}"),
        });
        let why = match failures.as_slice() {
            [] => ": nothing was tried".to_owned(),
            [(_, e)] if is_literal && is_silent(e) => within,
            [(_, e)] if is_literal => format!("{within}: {e}"),
            _ => format!("{within}: {}", text::join(each, ", ")),
        };
        let mut causes = failures.iter().map(|(_, e)| Cause::of_connecting(e));
        let first = causes.next().unwrap_or(Cause::Unconnected);
        let cause = match causes.all(|cause| cause == first) {
            true => first,
            false => Cause::Unconnected,
        };
        (cause, why)
    }
}

fn tune(tcp: &TcpStream) -> io::Result<()> {
    // Not every system has this option.
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE);
    let _ = SockRef::from(tcp).set_tcp_keepalive(&keep_alive);
    // A request is written whole: a delay of small writes gains nothing.
    tcp.set_nodelay(true)
}

#[cfg(all(test, feature = "tls-builtin"))]
mod tls_proxy_tests;

#[cfg(test)]
mod tests;
