//! [`ProxyConfig`]: the HTTP proxies between the exporter and the endpoint.

use std::fmt;

use crate::text;

/// HTTP proxies on the way to the endpoint, by its scheme. Default: none.
///
/// The exporter connects to an endpoint of `https`, or of gRPC, through a tunnel (`CONNECT`), so that
/// the proxy cannot read the requests; the proxy forwards requests of `http` over HTTP/1.1. A proxy's
/// URL has the scheme of the connection to the proxy itself, `http://` or `https://`, and may hold
/// credentials, `user:password@`.
///
/// ```
/// # use tracing_otlp::config::ProxyConfig;
/// let mut proxy = ProxyConfig::all("http://user:password@proxy.corp:3128");
/// proxy.no_proxy = Some("localhost,127.0.0.1,.corp".into());
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProxyConfig {
    /// For endpoints of `http`. `HTTP_PROXY`, else `ALL_PROXY`.
    pub http: Option<String>,
    /// For endpoints of `https`. `HTTPS_PROXY`, else `ALL_PROXY`.
    pub https: Option<String>,
    /// Hosts without a proxy, separated by commas: names (with their subdomains), addresses, networks
    /// (`10.0.0.0/8`), or `*`. Loopback is no exception: list it for a collector on this machine.
    /// `NO_PROXY`.
    pub no_proxy: Option<String>,
}

impl ProxyConfig {
    /// No proxy, also if variables name one.
    pub fn none() -> Self {
        Self::default()
    }

    /// The same proxy for all endpoints.
    pub fn all(url: impl Into<String>) -> Self {
        let url = url.into();
        Self {
            http: Some(url.clone()),
            https: Some(url),
            no_proxy: None,
        }
    }
}

impl From<&str> for ProxyConfig {
    fn from(url: &str) -> Self {
        Self::all(url)
    }
}

impl From<String> for ProxyConfig {
    fn from(url: String) -> Self {
        Self::all(url)
    }
}

impl fmt::Debug for ProxyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |url: &Option<String>| url.as_deref().map(text::url);
        f.debug_struct("ProxyConfig")
            .field("http", &shown(&self.http))
            .field("https", &shown(&self.https))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}
