//! Where the endpoint is: a URL, or for gRPC also `host:port`, by the rules of SPEC §1.

use std::fmt;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use crate::config::{ExporterConfig, Protocol};
use crate::error::Error;
use crate::human;

const GRPC_PORT: u16 = 4317;
const DEFAULT_GRPC: &str = "http://localhost:4317";
const DEFAULT_HTTP: &str = "http://localhost:4318";

/// What is sent to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    #[cfg_attr(
        not(feature = "metrics"),
        expect(dead_code, reason = "nothing else makes them")
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
    /// The setting of a URL of its own, and its value.
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

    /// What is appended to a base URL.
    fn http_path(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
            Self::Logs => "v1/logs",
        }
    }
}

/// An endpoint, understood.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) protocol: Protocol,
    pub(crate) tls: bool,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What a request is sent to.
    pub(crate) uri: Uri,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("protocol", &self.protocol)
            .field("url", &human::url(&self.uri.to_string()))
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
            Protocol::HttpProtobuf => DEFAULT_HTTP,
        });
        let fail = |cure: &str| Error::config(setting, human::url(url), cure);
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, url),
        };
        let tls = match scheme.map(str::to_ascii_lowercase).as_deref() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(fail("the scheme must be http or https")),
            // gRPC's usual form, where `insecure` decides.
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
        if authority.contains('@') {
            return Err(fail(
                "leave out user and password; give an authorization header instead",
            ));
        }
        let authority: Authority = authority.parse().map_err(|e| {
            fail("give a host, and a port if it is not the scheme's").with_source(e)
        })?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = match authority.port() {
            Some(port) if port.as_u16() == 0 => return Err(fail("the port can't be 0")),
            Some(port) => port.as_u16(),
            // A colon and something that is no port.
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
            Protocol::HttpProtobuf if is_signal => http_path(path, ""),
            Protocol::HttpProtobuf => http_path(path, signal.http_path()),
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
            uri,
        })
    }

    /// What a request is addressed to: on a connection of HTTP/1 the path alone.
    pub(crate) fn target(&self) -> Uri {
        let path = self.uri.path_and_query().cloned();
        match self.protocol {
            Protocol::Grpc => self.uri.clone(),
            Protocol::HttpProtobuf => path.map(Uri::from).unwrap_or_default(),
        }
    }

    /// Whether a connection to the one is a connection to the other.
    pub(crate) fn shares_connection(&self, other: &Self) -> bool {
        let address = |e: &Self| (e.protocol, e.tls, e.host.clone(), e.port, e.address());
        address(self) == address(other)
    }

    /// Host and port, as errors name them.
    pub(crate) fn address(&self) -> String {
        let authority = self.uri.authority().map_or("", Authority::as_str);
        authority.to_owned()
    }
}

fn has_colon_after_host(authority: &str) -> bool {
    let after_brackets = authority.rsplit(']').next().unwrap_or(authority);
    after_brackets.contains(':')
}

/// The port that a URL names itself.
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
    fn what_can_t_be_used_is_named_with_the_cure() {
        for (url, cure) in [
            ("localhost:4318", "scheme"),
            ("ftp://c", "http or https"),
            ("http://", "host"),
            ("http://:4318", "host"),
            ("http://c:99999", "65535"),
            ("http://c:port", "port"),
            ("http://c:0", "can't be 0"),
            ("http://a b", "host"),
            ("http://user:secret@c:4318", "authorization header"),
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
