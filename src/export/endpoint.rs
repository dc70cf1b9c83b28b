//! [`Endpoint`]: the parsed endpoint, from a URL, for gRPC also `host:port` (SPEC §1), or a Unix socket in
//! gRPC's notation.

use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use crate::config::{ConfigWarning, ExporterConfig, Protocol};
use crate::error::Error;
use crate::text;

const GRPC_PORT: u16 = 4317;
const HTTP_PORT: u16 = 4318;
const DEFAULT_GRPC: &str = "http://localhost:4317";
const DEFAULT_HTTP: &str = "http://localhost:4318";

/// The signal of an endpoint: each has its own path, method and settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    #[cfg_attr(
        not(feature = "metrics"),
        allow(dead_code, reason = "nothing else makes them")
    )]
    Metrics,
    Logs,
}

impl From<crate::signal::Signal> for Signal {
    fn from(signal: crate::signal::Signal) -> Self {
        match signal {
            crate::signal::Signal::Traces => Self::Traces,
            crate::signal::Signal::Logs => Self::Logs,
        }
    }
}

impl Signal {
    /// The setting for this signal's own URL, and its value.
    fn url(self, config: &ExporterConfig) -> (&'static str, Option<&str>) {
        match self {
            Self::Traces => ("traces_endpoint", config.traces_endpoint.as_deref()),
            Self::Metrics => ("metrics_endpoint", config.metrics_endpoint.as_deref()),
            Self::Logs => ("logs_endpoint", config.logs_endpoint.as_deref()),
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

/// The target of a request.
#[derive(Clone)]
pub(crate) struct Target(pub(crate) Uri);

impl fmt::Debug for Target {
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
    pub(crate) fn resolve(config: &ExporterConfig, signal: Signal) -> Result<Self, Error> {
        let (setting, given, is_signal) = match signal.url(config) {
            (setting, Some(url)) => (setting, Some(url), true),
            (_, None) => ("endpoint", config.endpoint.as_deref(), false),
        };
        let given = given.map(str::trim).filter(|url| !url.is_empty());
        let protocol = config.protocol.unwrap_or_else(|| match given.map(port_of) {
            Some(Some(GRPC_PORT)) => Protocol::Grpc,
            _ => Protocol::HttpProtobuf,
        });
        let url = given.unwrap_or(match protocol {
            Protocol::Grpc => DEFAULT_GRPC,
            Protocol::HttpProtobuf | Protocol::HttpJson => DEFAULT_HTTP,
        });
        let fail = |cure: &str| Error::config(setting, text::url(url), cure);
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
            None if protocol == Protocol::Grpc => !config.insecure,
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
            Protocol::HttpProtobuf | Protocol::HttpJson if is_signal => http_path(path, ""),
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
    fn at_socket(path: PathBuf, protocol: Protocol, signal: Signal) -> Result<Self, Error> {
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

    /// Whether both have the same origin, so that credentials for one may be sent to the other.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "HTTP redirects"))]
    pub(crate) fn has_origin_of(&self, other: &Self) -> bool {
        self.tls == other.tls
            && self.host.eq_ignore_ascii_case(&other.host)
            && self.port == other.port
            && self.socket == other.socket
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

/// The socket of `unix:path` or `unix:///path`; `None`: a URL of another kind.
fn socket_of(url: &str) -> Option<Result<PathBuf, String>> {
    let scheme = url.get(..5)?;
    if !scheme.eq_ignore_ascii_case("unix:") {
        return None;
    }
    let rest = url.get(5..).unwrap_or_default();
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return Some(Err("a socket has no host: write unix:///path".to_owned())),
        None => rest,
    };
    if path.is_empty() || path.ends_with('/') {
        let cure = "give a socket's path, such as unix:///run/otel.sock";
        return Some(Err(cure.to_owned()));
    }
    Some(usable_socket(path))
}

#[cfg(unix)]
fn usable_socket(path: &str) -> Result<PathBuf, String> {
    match std::os::unix::net::SocketAddr::from_pathname(path) {
        Ok(_) => Ok(path.into()),
        Err(e) => Err(format!("give a socket's path ({e})")),
    }
}

#[cfg(not(unix))]
fn usable_socket(_: &str) -> Result<PathBuf, String> {
    Err("this system has no Unix sockets here: give an http:// or https:// URL".to_owned())
}

/// User and password, percent-encoded, as basic authentication (RFC 7617).
fn basic(userinfo: &str) -> Result<Option<HeaderValue>, &'static str> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let mut plain: Vec<u8> = percent_decode_str(user).collect();
    if plain.contains(&b':') {
        return Err("a user's name can't hold a colon; give an authorization header instead");
    }
    plain.push(b':');
    plain.extend(percent_decode_str(password));
    if plain == b":" {
        return Ok(None);
    }
    let text = format!("Basic {}", BASE64_STANDARD.encode(plain));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| "user and password are too long; give an authorization header instead")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A warning if the port is the default of the other protocol: nearly always a mistake, but not an error.
pub(crate) fn port_doubt(config: &ExporterConfig) -> Option<ConfigWarning> {
    let url = config.traces_endpoint.as_ref().or(config.endpoint.as_ref());
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
    Some(ConfigWarning::new("exporter.protocol", protocol, message))
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

/// A base URL gets the signal's path appended; the URL of a signal is used as it is, an absent path
/// being `/`. A fragment is never sent.
fn http_path(path: &str, appended: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let mut out = if path.is_empty() {
        "/".to_owned()
    } else {
        path.to_owned()
    };
    if !appended.is_empty() {
        if !out.ends_with('/') {
            out.push('/');
        }
        out.push_str(appended);
    }
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn base(url: &str) -> ExporterConfig {
        ExporterConfig {
            endpoint: Some(url.to_owned()),
            ..ExporterConfig::default()
        }
    }

    fn signal(url: &str) -> ExporterConfig {
        ExporterConfig {
            traces_endpoint: Some(url.to_owned()),
            ..ExporterConfig::default()
        }
    }

    fn grpc(config: ExporterConfig) -> ExporterConfig {
        ExporterConfig {
            protocol: Some(Protocol::Grpc),
            ..config
        }
    }

    const GRPC_METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

    fn traces(config: &ExporterConfig) -> Result<Endpoint, Error> {
        Endpoint::resolve(config, Signal::Traces)
    }

    #[test]
    fn the_other_protocol_s_port_is_doubted() {
        let doubt = |url: &str, protocol| {
            let config = ExporterConfig {
                protocol,
                ..base(url)
            };
            port_doubt(&config).map(|warning| warning.to_string())
        };
        let http = Some(Protocol::HttpProtobuf);
        let grpc = Some(Protocol::Grpc);
        for (url, protocol, part) in [
            ("http://c:4317", http, "PROTOCOL=grpc"),
            ("https://c:4318/", grpc, "PROTOCOL=http/protobuf"),
            ("c:4318", grpc, "port 4317"),
        ] {
            let said = doubt(url, protocol).unwrap();
            assert!(said.contains(part), "{said}");
        }
        for (url, protocol) in [
            ("http://c:4317", None),
            ("http://c:4317", grpc),
            ("http://c:4318", http),
            ("http://c", grpc),
        ] {
            assert_eq!(doubt(url, protocol), None);
        }
    }

    #[track_caller]
    fn uri(config: ExporterConfig) -> String {
        traces(&config).unwrap().uri.to_string()
    }

    #[test]
    fn metrics_have_a_path_a_method_and_a_url_of_their_own() {
        let uri = |config: &ExporterConfig| {
            let endpoint = Endpoint::resolve(config, Signal::Metrics).unwrap();
            endpoint.uri.to_string()
        };
        let mut config = base("http://c:4318/my");
        config.traces_endpoint = Some("http://traces/only".to_owned());
        assert_eq!(uri(&config), "http://c:4318/my/v1/metrics");
        config.metrics_endpoint = Some("http://m:1/as/it/is".to_owned());
        assert_eq!(uri(&config), "http://m:1/as/it/is");
        let method = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
        assert_eq!(uri(&grpc(config)), format!("http://m:1{method}"));
        let error = ExporterConfig {
            metrics_endpoint: Some("ftp://m".to_owned()),
            ..ExporterConfig::default()
        };
        let error = Endpoint::resolve(&error, Signal::Metrics).unwrap_err();
        assert!(error.to_string().contains("metrics_endpoint"), "{error}");
    }

    #[test]
    fn a_base_url_gets_the_signal_s_path_and_nothing_else_changes() {
        assert_eq!(
            uri(ExporterConfig::default()),
            "http://localhost:4318/v1/traces"
        );
        assert_eq!(uri(base("http://c:4318")), "http://c:4318/v1/traces");
        assert_eq!(uri(base("http://c:4318/")), "http://c:4318/v1/traces");
        assert_eq!(uri(base("http://c:4318/my/")), "http://c:4318/my/v1/traces");
        assert_eq!(uri(base("http://c:4318/my")), "http://c:4318/my/v1/traces");
        assert_eq!(
            uri(base("https://c/a?key=1#x")),
            "https://c/a/v1/traces?key=1"
        );
    }

    #[test]
    fn a_signal_s_url_is_used_as_it_is() {
        assert_eq!(
            uri(signal("http://c:4318/v1/traces")),
            "http://c:4318/v1/traces"
        );
        assert_eq!(uri(signal("http://c:4318/")), "http://c:4318/");
        assert_eq!(uri(signal("http://c:4318")), "http://c:4318/");
        assert_eq!(uri(signal("http://c/otlp/spans/")), "http://c/otlp/spans/");
    }

    #[test]
    fn the_port_s_default_is_the_scheme_s() {
        let port = |url| traces(&signal(url)).unwrap().port;
        assert_eq!(port("http://c"), 80);
        assert_eq!(port("https://c"), 443);
        assert_eq!(port("https://[::1]"), 443);
        assert_eq!(port("http://c:8126/x"), 8126);
    }

    #[test]
    fn grpc_is_spoken_on_its_port_unless_said_otherwise() {
        let protocol = |config| traces(&config).unwrap().protocol;
        assert_eq!(protocol(base("http://c:4317")), Protocol::Grpc);
        assert_eq!(protocol(base("http://c:4318")), Protocol::HttpProtobuf);
        assert_eq!(protocol(base("http://c")), Protocol::HttpProtobuf);
        assert_eq!(protocol(signal("http://[::1]:4317")), Protocol::Grpc);
        let http = ExporterConfig {
            protocol: Some(Protocol::HttpProtobuf),
            ..base("http://c:4317")
        };
        assert_eq!(protocol(http), Protocol::HttpProtobuf);
    }

    #[test]
    fn grpc_takes_host_and_port_and_its_scheme_beats_insecure() {
        let endpoint = traces(&grpc(base("c:4317"))).unwrap();
        assert!(endpoint.tls);
        let insecure = ExporterConfig {
            insecure: true,
            ..grpc(base("c:4317"))
        };
        assert!(!traces(&insecure).unwrap().tls);
        let https = ExporterConfig {
            insecure: true,
            ..grpc(base("https://c:4317"))
        };
        assert!(traces(&https).unwrap().tls);
        assert!(!traces(&grpc(base("http://c:4317"))).unwrap().tls);
        assert_eq!(
            uri(grpc(base("http://c:4317/ignored"))),
            format!("http://c:4317{GRPC_METHOD}")
        );
        assert_eq!(
            uri(grpc(ExporterConfig::default())),
            format!("http://localhost:4317{GRPC_METHOD}")
        );
    }

    #[test]
    fn an_ipv6_host_loses_its_brackets_only_where_it_is_dialled() {
        let endpoint = traces(&base("http://[::1]:4318")).unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 4318));
        assert_eq!(endpoint.uri.to_string(), "http://[::1]:4318/v1/traces");
    }

    #[test]
    fn user_and_password_become_basic_authentication_and_show_nowhere() {
        let endpoint = traces(&base("http://us%40er:p%3Ass@c:4318/x")).unwrap();
        let header = endpoint.authorization.clone().unwrap();
        assert!(header.is_sensitive());
        let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(BASE64_STANDARD.decode(encoded).unwrap(), b"us@er:p:ss");
        assert_eq!(endpoint.uri.to_string(), "http://c:4318/x/v1/traces");
        let shown = format!("{endpoint:?} {}", endpoint.address());
        assert!(!shown.contains("ss"), "{shown}");
        let header = |url: &str| traces(&base(url)).unwrap().authorization;
        assert_eq!(header("http://@c:4318"), None);
        assert_eq!(header("http://token@c").unwrap(), "Basic dG9rZW46");
        // The gRPC port is seen behind them.
        let endpoint = traces(&base("http://u:p@c:4317")).unwrap();
        assert_eq!(endpoint.protocol, Protocol::Grpc);
        assert_eq!(
            endpoint.uri.to_string(),
            format!("http://c:4317{GRPC_METHOD}")
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_stands_for_host_and_port() {
        for url in ["unix:/run/o.sock", "unix:///run/o.sock", "UNIX:/run/o.sock"] {
            for config in [base(url), signal(url)] {
                let endpoint = traces(&config).unwrap();
                assert_eq!(endpoint.socket, Some("/run/o.sock".into()));
                assert_eq!(endpoint.uri.to_string(), "http://localhost/v1/traces");
                assert_eq!(endpoint.address(), "unix:/run/o.sock");
                let endpoint = traces(&grpc(config)).unwrap();
                let uri = format!("http://localhost{GRPC_METHOD}");
                assert_eq!((endpoint.uri.to_string(), endpoint.tls), (uri, false));
            }
        }
        let relative = traces(&base("unix:o.sock")).unwrap().socket;
        assert_eq!(relative, Some("o.sock".into()));
        let long = format!("unix:/{}", "x".repeat(200));
        traces(&base(&long)).unwrap_err();
    }

    #[test]
    fn what_can_t_be_used_is_named_with_the_cure() {
        for (url, cure) in [
            ("localhost:4318", "scheme"),
            ("ftp://c", "http, https or unix"),
            ("http://", "host"),
            ("http://:4318", "host"),
            ("http://c:99999", "65535"),
            ("http://c:port", "port"),
            ("http://c:0", "can't be 0"),
            ("http://a b", "host"),
            ("http://us%3Aer:secret@c:4318", "authorization header"),
            ("http://user:secret@", "host"),
            ("http://user:sec/ret@c:4318", "port"),
            ("unix:", "unix:///run/otel.sock"),
            ("unix:///", "unix:///run/otel.sock"),
            ("unix://run/otel.sock", "unix:///path"),
        ] {
            let error = traces(&base(url)).expect_err(url);
            let text = error.to_string();
            assert!(error.is_config() && text.contains(cure), "{url}: {text}");
            assert!(
                text.contains("endpoint") && !text.contains("secret"),
                "{text}"
            );
        }
    }
}
