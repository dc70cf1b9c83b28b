//! [`ConnectionConfig`]: the connection to the endpoint.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::headers::HeaderProvider;
use super::protocol::{Compression, Protocol};
use super::proxy::ProxyConfig;
use crate::text;

/// A PEM document: a file's path, or the document itself.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pem {
    /// A file, read when the pipeline is built, for each new connection, and again each second with a
    /// request. A changed file leads to a new connection at once. A file that becomes unusable leaves a
    /// warning, and its last usable content stays in effect.
    File(PathBuf),
    /// The bytes of the document.
    Bytes(Vec<u8>),
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(_) => f.write_str("Bytes(..)"),
        }
    }
}

/// The connection to the endpoint: address, security, headers, limits and retries.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct ConnectionConfig {
    /// gRPC or HTTP. Default: gRPC if the endpoint's port is 4317, else HTTP with protobuf;
    /// `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub protocol: Option<Protocol>,
    /// The base URL: HTTP appends `v1/traces`, gRPC uses it as it is. Default
    /// `http://localhost:4318` (HTTP) or `http://localhost:4317` (gRPC);
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`.
    ///
    /// `user:password@` before the host, percent-encoded, is sent as basic authentication, unless
    /// [`headers`](Self::headers) hold an `authorization`. `unix:/run/otel.sock` is a Unix domain socket,
    /// over either protocol.
    ///
    /// A list with commas, `http://a:4317,http://b:4317`, sends to all of them, each batch to one. So does
    /// `dns:///name:4317`, to each address of the name (with TLS unless [`insecure`](Self::insecure);
    /// `dns+http://` and `dns+https://` also name the scheme). See
    /// [the guide](crate::guide::fleet).
    pub endpoint: Option<String>,
    /// The URL of traces, used as it is; wins over [`endpoint`](Self::endpoint).
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.
    pub traces_endpoint: Option<String>,
    /// The URL of metrics, used as it is. Default: [`endpoint`](Self::endpoint) with `v1/metrics`.
    /// `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`.
    pub metrics_endpoint: Option<String>,
    /// The URL of logs, used as it is. Default: [`endpoint`](Self::endpoint) with `v1/logs`.
    /// `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`.
    pub logs_endpoint: Option<String>,
    /// With several endpoints, all spans and log records of a trace go to the same one, from every process with
    /// the same endpoints: for collectors that decide by whole traces. Default false: each batch goes to the
    /// endpoint with the fewest requests under way.
    pub trace_affinity: bool,
    /// Plaintext for a gRPC endpoint given without a scheme. Default false;
    /// `OTEL_EXPORTER_OTLP_INSECURE`.
    pub insecure: bool,
    /// The proxies to the endpoint. Default none; `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`,
    /// and the same in lower case.
    pub proxy: ProxyConfig,
    /// Certificate authorities to trust instead of the system's; `OTEL_EXPORTER_OTLP_CERTIFICATE`.
    pub certificate: Option<Pem>,
    /// The client's private key; `OTEL_EXPORTER_OTLP_CLIENT_KEY`.
    pub client_key: Option<Pem>,
    /// The client's certificate chain; `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`.
    pub client_certificate: Option<Pem>,
    /// Headers (gRPC: metadata) of every request; `OTEL_EXPORTER_OTLP_HEADERS`. Their values never
    /// show in `Debug` or in an error.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The source of headers that change while the pipeline runs, beside [`headers`](Self::headers).
    /// Default none.
    pub header_provider: Option<HeaderProvider>,
    /// The compression of requests. Default none; `OTEL_EXPORTER_OTLP_COMPRESSION`.
    pub compression: Compression,
    /// The longest one export may take, its attempts and waits included; `None`: no limit. In a
    /// pipeline the time in which the endpoint is down does not count. Default 10 s;
    /// `OTEL_EXPORTER_OTLP_TIMEOUT`, in milliseconds.
    pub timeout: Option<Duration>,
    /// The longest that connecting may take. Default 5 s.
    pub connect_timeout: Duration,
    /// The most concurrent requests, 1 to 1,024. Default 4. With [`trace_affinity`](Self::trace_affinity) each part of
    /// a batch is a request: raise it with the number of endpoints.
    pub max_concurrent_exports: usize,
    /// The largest request, in bytes before compression. Default 64 MiB.
    pub max_request_size: usize,
    /// The largest response, in bytes, also after decompression. Default 4 MiB.
    pub max_response_size: usize,
    /// Waits and number of attempts.
    pub retry: RetryConfig,
    /// A product put before the exporter's own in `User-Agent`, such as `shop/1.2`.
    pub user_agent_prefix: Option<String>,
    /// The URLs that variables gave.
    pub(crate) variables: UrlVariables,
}

/// The URLs that variables gave to a connection, as far as code has not set them again. So a base URL
/// from code wins over a variable's URL of one signal, however code sets it (ENV-7).
#[derive(Clone, Default)]
pub(crate) struct UrlVariables {
    pub(crate) endpoint: Option<String>,
    pub(crate) traces: Option<String>,
    pub(crate) metrics: Option<String>,
    pub(crate) logs: Option<String>,
    /// Code has set the base URL, perhaps to what the variable says.
    pub(crate) is_overridden: bool,
}

impl PartialEq for UrlVariables {
    /// The origin of a setting does not make two connections differ.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            protocol: None,
            endpoint: None,
            traces_endpoint: None,
            metrics_endpoint: None,
            logs_endpoint: None,
            trace_affinity: false,
            insecure: false,
            proxy: ProxyConfig::none(),
            certificate: None,
            client_key: None,
            client_certificate: None,
            headers: Vec::new(),
            header_provider: None,
            compression: Compression::None,
            timeout: Some(Duration::from_secs(10)),
            connect_timeout: Duration::from_secs(5),
            max_concurrent_exports: 4,
            max_request_size: 64 << 20,
            max_response_size: 4 << 20,
            retry: RetryConfig::default(),
            user_agent_prefix: None,
            variables: UrlVariables::default(),
        }
    }
}

impl ConnectionConfig {
    /// The URL of traces alone, unless a base URL from code wins over it.
    pub(crate) fn traces_url(&self) -> Option<&str> {
        self.unless_overridden(&self.traces_endpoint, &self.variables.traces)
    }

    /// As [`traces_url`](Self::traces_url), of metrics.
    pub(crate) fn metrics_url(&self) -> Option<&str> {
        self.unless_overridden(&self.metrics_endpoint, &self.variables.metrics)
    }

    /// As [`traces_url`](Self::traces_url), of logs.
    pub(crate) fn logs_url(&self) -> Option<&str> {
        self.unless_overridden(&self.logs_endpoint, &self.variables.logs)
    }

    fn unless_overridden<'a>(
        &self,
        url: &'a Option<String>,
        variable: &Option<String>,
    ) -> Option<&'a str> {
        let known = &self.variables;
        let is_overridden = known.is_overridden || self.endpoint != known.endpoint;
        let is_variable = url == variable;
        url.as_deref().filter(|_| !(is_overridden && is_variable))
    }

    /// Sets the base URL, from code.
    pub(crate) fn set_endpoint(&mut self, url: String) {
        self.endpoint = Some(url);
        self.variables.is_overridden = true;
    }

    /// Removes the URLs of variables over which a base URL from code wins.
    pub(crate) fn settle_urls(&mut self) {
        self.traces_endpoint = self.traces_url().map(str::to_owned);
        self.metrics_endpoint = self.metrics_url().map(str::to_owned);
        self.logs_endpoint = self.logs_url().map(str::to_owned);
    }

    /// Without credentials: for a proxy, and for the target of a redirect.
    #[cfg_attr(
        not(any(feature = "grpc", feature = "http")),
        expect(dead_code, reason = "nothing is connected to")
    )]
    pub(crate) fn without_identity(&self) -> Self {
        Self {
            headers: Vec::new(),
            header_provider: None,
            client_key: None,
            client_certificate: None,
            ..self.clone()
        }
    }

    /// Whether one connection can serve both: all settings are equal except those of the requests' URL
    /// and content.
    pub(crate) fn connects_as(&self, other: &Self) -> bool {
        // Each setting has to be named here, so that a new one is not forgotten.
        let Self {
            variables: _,
            insecure,
            proxy,
            certificate,
            client_key,
            client_certificate,
            headers,
            timeout,
            connect_timeout,
            max_response_size,
            user_agent_prefix,
            // Of a member, which has its own connections.
            protocol: _,
            endpoint: _,
            traces_endpoint: _,
            metrics_endpoint: _,
            logs_endpoint: _,
            // Of a request, or of a client.
            trace_affinity: _,
            header_provider: _,
            compression: _,
            max_concurrent_exports: _,
            max_request_size: _,
            retry: _,
        } = self;
        *insecure == other.insecure
            && *certificate == other.certificate
            && *client_key == other.client_key
            && *client_certificate == other.client_certificate
            && *headers == other.headers
            && *proxy == other.proxy
            && *timeout == other.timeout
            && *connect_timeout == other.connect_timeout
            && *max_response_size == other.max_response_size
            && *user_agent_prefix == other.user_agent_prefix
    }

    /// Applies the difference from `before` to `after`: a change that code makes to the traces'
    /// connection counts for the other signals too (ENV-7).
    pub(crate) fn follow(&mut self, before: &Self, after: &Self) {
        // Names each setting, so that a new one does not compile until it is here.
        macro_rules! follow {
            ($($setting:ident),*) => {
                let Self {
                    // That of traces alone.
                    traces_endpoint: _,
                    // One by one, below.
                    headers: _,
                    variables: _,
                    $($setting),*
                } = before;
                $(
                    if *$setting != after.$setting {
                        self.$setting = after.$setting.clone();
                    }
                )*
            };
        }
        follow!(
            protocol,
            endpoint,
            metrics_endpoint,
            logs_endpoint,
            trace_affinity,
            insecure,
            proxy,
            certificate,
            client_key,
            client_certificate,
            header_provider,
            compression,
            timeout,
            connect_timeout,
            max_concurrent_exports,
            max_request_size,
            max_response_size,
            retry,
            user_agent_prefix
        );
        self.variables.is_overridden |= after.variables.is_overridden;
        // One by one: headers from a variable of traces must not go to the metrics' endpoint.
        let new = after.headers.iter().filter(|h| !before.headers.contains(h));
        for (name, value) in new {
            self.headers.retain(|(known, _)| known != name);
            self.headers.push((name.clone(), value.clone()));
        }
    }
}

impl std::fmt::Debug for ConnectionConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        let shown = |url: &Option<String>| url.as_deref().map(text::url);
        f.debug_struct("ConnectionConfig")
            .field("protocol", &self.protocol)
            .field("endpoint", &shown(&self.endpoint))
            .field("traces_endpoint", &shown(&self.traces_endpoint))
            .field("metrics_endpoint", &shown(&self.metrics_endpoint))
            .field("proxy", &self.proxy)
            .field("logs_endpoint", &shown(&self.logs_endpoint))
            .field("trace_affinity", &self.trace_affinity)
            .field("headers", &names)
            .field("compression", &self.compression)
            .field("timeout", &self.timeout)
            .field("max_concurrent_exports", &self.max_concurrent_exports)
            .finish_non_exhaustive()
    }
}

/// Exponential back-off with jitter. All attempts share the export's deadline.
///
/// After three consecutive responses that ask for a retry, over all requests, the endpoint counts as
/// down, as when it refuses connections: requests wait, and a single one probes it at least every 2 s.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RetryConfig {
    /// The first wait, before jitter. Default 500 ms.
    pub initial_backoff: Duration,
    /// The longest wait, before jitter. Default 5 s.
    pub max_backoff: Duration,
    /// The factor from one wait to the next. Default 1.5.
    pub multiplier: f64,
    /// The most attempts of one request, the first included. Attempts while the endpoint is down do not
    /// count, unless it may have received them. Default 5.
    pub max_attempts: u32,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            initial_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(5),
            multiplier: 1.5,
            max_attempts: 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &'static str) -> (HeaderName, HeaderValue) {
        let value = HeaderValue::from_static("v");
        (HeaderName::from_static(name), value)
    }

    #[test]
    fn what_code_changed_counts_and_the_traces_own_variables_do_not_env_7() {
        let before = ConnectionConfig {
            timeout: Some(Duration::from_secs(3)),
            headers: vec![header("traces-only")],
            ..ConnectionConfig::default()
        };
        let mut after = before.clone();
        after.endpoint = Some("http://code".to_owned());
        after.headers.push(header("from-code"));
        let mut metrics = ConnectionConfig {
            timeout: Some(Duration::from_secs(7)),
            metrics_endpoint: Some("http://variable".to_owned()),
            headers: vec![header("metrics-only"), header("from-code")],
            ..ConnectionConfig::default()
        };
        metrics.follow(&before, &after);
        assert_eq!(metrics.timeout, Some(Duration::from_secs(7)));
        assert_eq!(metrics.endpoint.as_deref(), Some("http://code"));
        assert_eq!(metrics.metrics_endpoint.as_deref(), Some("http://variable"));
        assert_eq!(
            metrics.headers,
            [header("metrics-only"), header("from-code")]
        );
    }
    /// A company's proxy stands in the environment, and code says that the endpoint is reached without.
    #[test]
    fn a_proxy_from_code_counts_for_all_signals_env_7() {
        let with = |proxy: &str| ConnectionConfig {
            proxy: ProxyConfig::all(proxy),
            ..ConnectionConfig::default()
        };
        let before = with("http://of-variables:3128");
        let mut logs = ConnectionConfig {
            headers: vec![header("logs-only")],
            ..before.clone()
        };
        logs.follow(&before, &with("http://of-code:3128"));
        assert_eq!(logs.proxy, ProxyConfig::all("http://of-code:3128"));
        logs.follow(&with("http://of-code:3128"), &ConnectionConfig::default());
        assert_eq!(logs.proxy, ProxyConfig::none());
    }
}
