//! [`Endpoint`]: the parsed endpoint, from a URL, for gRPC also `host:port`, or a Unix socket in
//! gRPC's notation.

pub(crate) mod list;
mod path;
mod socket;

use std::fmt;
use std::path::PathBuf;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};

use self::path::{basic, http_path};
use self::socket::socket_of;
use crate::config::{ConfigWarning, ConnectionConfig, Protocol};
use crate::error::Error;
use crate::text;

const GRPC_PORT: u16 = 4317;
const HTTP_PORT: u16 = 4318;
const DEFAULT_GRPC: &str = "http://localhost:4317";
const DEFAULT_HTTP: &str = "http://localhost:4318";

/// The signal of an endpoint: each has its own path, method and settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExportSignal {
    Traces,
    #[cfg_attr(
        not(feature = "metrics"),
        allow(dead_code, reason = "nothing else makes them")
    )]
    Metrics,
    Logs,
}

impl From<crate::signal::Signal> for ExportSignal {
    fn from(signal: crate::signal::Signal) -> Self {
        match signal {
            crate::signal::Signal::Traces => Self::Traces,
            crate::signal::Signal::Logs => Self::Logs,
        }
    }
}

impl ExportSignal {
    /// The setting for this signal's own URL, and its value.
    fn url(self, config: &ConnectionConfig) -> (&'static str, Option<&str>) {
        match self {
            Self::Traces => ("traces_endpoint", config.traces_url()),
            Self::Metrics => ("metrics_endpoint", config.metrics_url()),
            Self::Logs => ("logs_endpoint", config.logs_url()),
        }
    }

    fn grpc_method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }

    /// The path that is appended to a base URL.
    fn http_path(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
            Self::Logs => "v1/logs",
        }
    }
}

/// A parsed endpoint.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) protocol: Protocol,
    pub(crate) tls: bool,
    /// The host, without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The path of a Unix socket, in place of host and port.
    pub(crate) socket: Option<PathBuf>,
    /// The URI of a request.
    pub(crate) uri: Uri,
    /// User and password of the URL, as a header.
    pub(crate) authorization: Option<HeaderValue>,
}

/// What the settings say of an endpoint.
#[derive(Clone, Copy)]
struct Given<'a> {
    /// The setting, for errors.
    setting: &'static str,
    url: &'a str,
    /// The URL is that of the signal, and is used as it is.
    is_signal: bool,
    signal: ExportSignal,
    protocol: Option<Protocol>,
    insecure: bool,
}

impl Given<'_> {
    fn error(&self, url: &str, cure: impl Into<String>) -> Error {
        Error::config(self.setting, text::url(url), cure)
    }
}

/// The target of a request.
#[derive(Clone)]
pub(crate) struct RequestTarget(pub(crate) Uri);

impl fmt::Debug for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A query may hold a secret.
        f.write_str(self.0.path())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("protocol", &self.protocol)
            .field("url", &text::url(&self.uri.to_string()))
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    fn parse(given: &Given<'_>) -> Result<Self, Error> {
        let Given { url, signal, .. } = *given;
        let protocol = given.protocol.unwrap_or_else(|| match port_of(url) {
            Some(GRPC_PORT) => Protocol::Grpc,
            _ => Protocol::HttpProtobuf,
        });
        let fail = |cure: &str| given.error(url, cure);
        if let Some(path) = socket_of(url) {
            return Self::at_socket(path.map_err(|cure| fail(&cure))?, protocol, signal);
        }
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, url),
        };
        let tls = match scheme.map(str::to_ascii_lowercase).as_deref() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(fail("the scheme must be http, https or unix")),
            // The usual form for gRPC, where `insecure` decides about TLS.
            None if protocol == Protocol::Grpc => !given.insecure,
            None => {
                return Err(fail(
                    "give a URL with its scheme, such as http://localhost:4318",
                ));
            }
        };
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (authorization, authority) = match authority.rsplit_once('@') {
            Some((userinfo, rest)) => (basic(userinfo).map_err(fail)?, rest),
            None => (None, authority),
        };
        let authority: Authority = authority.parse().map_err(|e| {
            fail("give a host, and a port if it is not the scheme's").with_source(e)
        })?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = match authority.port() {
            Some(port) if port.as_u16() == 0 => return Err(fail("the port can't be 0")),
            Some(port) => port.as_u16(),
            // A colon, and no port after it.
            None if has_colon_after_host(authority.as_str()) => {
                return Err(fail("the port must be a number up to 65535"));
            }
            None if tls => 443,
            None => 80,
        };
        if host.is_empty() {
            return Err(fail("give a host, such as http://localhost:4317"));
        }
        let path = match protocol {
            Protocol::Grpc => signal.grpc_method().to_owned(),
            Protocol::HttpProtobuf | Protocol::HttpJson if given.is_signal => http_path(path, ""),
            Protocol::HttpProtobuf | Protocol::HttpJson => http_path(path, signal.http_path()),
        };
        let path: PathAndQuery = path
            .parse()
            .map_err(|e| fail("percent-encode what a path can't hold").with_source(e))?;
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(authority);
        parts.path_and_query = Some(path);
        let uri = Uri::from_parts(parts).map_err(|e| fail("give a URL").with_source(e))?;
        Ok(Self {
            protocol,
            tls,
            host,
            port,
            socket: None,
            uri,
            authorization,
        })
    }

    /// The URL's path is that of the socket. So the path of a request is the default one, and its host is
    /// `localhost`.
    fn at_socket(path: PathBuf, protocol: Protocol, signal: ExportSignal) -> Result<Self, Error> {
        let uri = match protocol {
            Protocol::Grpc => format!("http://localhost{}", signal.grpc_method()),
            Protocol::HttpProtobuf | Protocol::HttpJson => {
                format!("http://localhost/{}", signal.http_path())
            }
        };
        let uri = uri.parse().map_err(|e| {
            let cure = "give a socket's path";
            Error::config("endpoint", path.display().to_string(), cure).with_source(e)
        })?;
        Ok(Self {
            protocol,
            tls: false,
            host: "localhost".to_owned(),
            port: 80,
            socket: Some(path),
            uri,
            authorization: None,
        })
    }

    /// Whether both endpoints can share connections, given the same credentials.
    pub(crate) fn shares_connection(&self, other: &Self) -> bool {
        let address = |e: &Self| (e.protocol, e.tls, e.host.clone(), e.port, e.socket.clone());
        address(self) == address(other)
            && self.authority() == other.authority()
            && self.authorization == other.authorization
    }

    /// The endpoint of another HTTP/1.1 server: a proxy, or the target of a redirect.
    pub(crate) fn of_url(uri: Uri) -> Result<Self, String> {
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("it is no URL of http or https".to_owned()),
        };
        let mut parts = uri.into_parts();
        let authority = parts.authority.as_ref().map_or("", Authority::as_str);
        // Credentials come from the settings only.
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let authority: Authority = authority.parse().map_err(|_| "it has no host")?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        if host.is_empty() || port == 0 {
            return Err("it has no host".to_owned());
        }
        parts.authority = Some(authority);
        let uri = Uri::from_parts(parts).map_err(|e| e.to_string())?;
        Ok(Self {
            protocol: Protocol::HttpProtobuf,
            tls,
            host,
            port,
            socket: None,
            uri,
            authorization: None,
        })
    }

    /// Whether both URLs have the same origin, so that credentials for one may be sent to the other. A socket
    /// stands for the host of its requests, and no URL names it.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "HTTP redirects"))]
    pub(crate) fn has_origin_of(&self, other: &Self) -> bool {
        self.tls == other.tls
            && self.host.eq_ignore_ascii_case(&other.host)
            && self.port == other.port
    }

    /// Host and port, or the socket, for errors.
    pub(crate) fn address(&self) -> String {
        match &self.socket {
            Some(path) => format!("unix:{}", path.display()),
            None => self.authority().to_owned(),
        }
    }

    /// Host and port, as in a request.
    pub(crate) fn authority(&self) -> &str {
        self.uri.authority().map_or("", Authority::as_str)
    }
}

/// A warning if the port is the default of the other protocol: nearly always a mistake, but not an error.
pub(crate) fn port_doubt(config: &ConnectionConfig) -> Option<ConfigWarning> {
    let url = config.traces_url().or(config.endpoint.as_deref());
    let port = port_of(url?.trim())?;
    let (protocol, usual, other) = match (config.protocol?, port) {
        (Protocol::HttpProtobuf, GRPC_PORT) => ("http/protobuf", "grpc", HTTP_PORT),
        (Protocol::Grpc, HTTP_PORT) => ("grpc", "http/protobuf", GRPC_PORT),
        _ => return None,
    };
    let message = format!(
        "it is used, and port {port} is the one of {usual}: set OTEL_EXPORTER_OTLP_PROTOCOL={usual} \
         (with_protocol), or the port {other}, if no span arrives"
    );
    Some(ConfigWarning::new("connection.protocol", protocol, message))
}

fn has_colon_after_host(authority: &str) -> bool {
    let after_brackets = authority.rsplit(']').next().unwrap_or(authority);
    after_brackets.contains(':')
}

/// The explicit port of a URL.
fn port_of(url: &str) -> Option<u16> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
mod tests;
