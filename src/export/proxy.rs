//! [`Proxy`]: an HTTP proxy on the way to the endpoint.
//!
//! hyper-util chooses the proxy, as for reqwest. The tunnel is hyper's upgrade of a `CONNECT`: hyper-util's
//! own tunnel hides the reason of a refusal, and drops bytes of the endpoint that arrive with the proxy's
//! answer, as those of an HTTP/2 server may.

use std::fmt;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;

use crate::config::{ConnectionConfig, Protocol};
use crate::error::Error;
use crate::error::explain;
use crate::export::cause::Cause;
use crate::export::endpoint::Endpoint;
use crate::export::stream::{DialError, Io};
use crate::export::tls::Tls;

#[derive(Clone)]
pub(crate) struct Proxy {
    /// How it is spoken to.
    endpoint: Endpoint,
    tls: Option<Tls>,
    authorization: Option<HeaderValue>,
    is_tunnel: bool,
}

impl Proxy {
    /// The proxy on the way to `endpoint`, if any.
    pub(crate) fn of(
        config: &ConnectionConfig,
        endpoint: &Endpoint,
    ) -> Result<Option<Self>, Error> {
        if endpoint.socket.is_some() {
            return Ok(None);
        }
        let proxy = &config.proxy;
        let given = |text: &Option<String>| text.clone().unwrap_or_default();
        let matcher = Matcher::builder()
            .http(given(&proxy.http))
            .https(given(&proxy.https))
            .no(given(&proxy.no_proxy))
            .build();
        let Some(found) = matcher.intercept(&endpoint.uri) else {
            return Ok(None);
        };
        let setting = match endpoint.tls {
            true => "connection.proxy.https",
            false => "connection.proxy.http",
        };
        let at = Endpoint::of_url(found.uri().clone())
            .map_err(|why| Error::config(setting, found.uri().to_string(), why))?;
        let tls = match at.tls {
            // The client certificate is for the endpoint only.
            true => Some(Tls::new(&config.without_identity(), &at)?),
            false => None,
        };
        Ok(Some(Self {
            endpoint: at,
            tls,
            authorization: found.basic_auth().cloned(),
            is_tunnel: endpoint.tls || endpoint.protocol == Protocol::Grpc,
        }))
    }

    pub(crate) fn host(&self) -> &str {
        &self.endpoint.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.endpoint.port
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Host and port, for messages.
    pub(crate) fn address(&self) -> String {
        self.endpoint.address()
    }

    /// Whether the proxy forwards bytes (a tunnel), not requests.
    pub(crate) fn is_tunnel(&self) -> bool {
        self.is_tunnel
    }

    /// What requests give it, where it is no tunnel.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "gRPC has a tunnel"))]
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// A way to `endpoint` through the proxy at the other end of `io`.
    pub(crate) async fn tunnel(&self, io: Io, endpoint: &Endpoint) -> Result<Io, DialError> {
        let failed = |e: hyper::Error| {
            let why = format!(": the proxy breaks off: {}", explain(&e));
            (Cause::ProxyUnreached, why)
        };
        // An IPv6 address keeps its brackets.
        let host = endpoint.uri.host().unwrap_or_default();
        let to = format!("{host}:{}", endpoint.port);
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = Method::CONNECT;
        let malformed = |e: &dyn fmt::Display| (Cause::ProxyUnreached, format!(": {e}"));
        *request.uri_mut() = Uri::builder()
            .authority(to.as_str())
            .build()
            .map_err(|e| malformed(&e))?;
        let host = HeaderValue::from_str(&to).map_err(|e| malformed(&e))?;
        request.headers_mut().insert(HOST, host);
        if let Some(authorization) = &self.authorization {
            let headers = request.headers_mut();
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(failed)?;
        // Ends when the sender is dropped, or hands its stream over.
        tokio::spawn(async {
            let _ = connection.with_upgrades().await;
        });
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        if status != StatusCode::OK {
            let why = format!(": the proxy answered HTTP {status}");
            return Err((Cause::Proxy(status.as_u16()), why));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(failed)?;
        Ok(Io::new(TokioIo::new(upgraded)))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("endpoint", &self.endpoint)
            .field("is_tunnel", &self.is_tunnel)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::config::ProxyConfig;
    use crate::export::endpoint::ExportSignal;

    fn proxy(url: &str, protocol: Protocol, proxy: ProxyConfig) -> Option<Proxy> {
        let config = ConnectionConfig {
            endpoint: Some(url.to_owned()),
            protocol: Some(protocol),
            proxy,
            ..ConnectionConfig::default()
        };
        let endpoint = Endpoint::resolve(&config, ExportSignal::Traces).unwrap();
        Proxy::of(&config, &endpoint).unwrap()
    }

    #[test]
    fn a_proxy_is_chosen_as_reqwest_does_it() {
        let http = |url: &str, config: &ProxyConfig| {
            let found = proxy(url, Protocol::HttpProtobuf, config.clone());
            found.map(|proxy| (proxy.address(), proxy.is_tunnel))
        };
        let mut config = ProxyConfig::none();
        config.http = Some("plain:3128".to_owned());
        config.https = Some("http://secret:3129".to_owned());
        config.no_proxy = Some("near.test, 10.0.0.0/8, ::1".to_owned());
        let (plain, secret) = ("plain:3128".to_owned(), "secret:3129".to_owned());
        for (url, expected) in [
            ("http://far.test:4318", Some((plain.clone(), false))),
            ("https://far.test", Some((secret, true))),
            ("http://near.test:4318", None),
            ("https://a.NEAR.test", None),
            ("http://10.1.2.3:4318", None),
            ("http://11.1.2.3:4318", Some((plain.clone(), false))),
            ("http://[::1]:4318", None),
            // As reqwest and curl: nothing is near unless it is said.
            ("http://localhost:4318", Some((plain.clone(), false))),
            ("http://127.0.0.1:4318", Some((plain.clone(), false))),
        ] {
            assert_eq!(http(url, &config), expected, "{url}");
        }
        config.no_proxy = Some("*".to_owned());
        assert_eq!(http("http://far.test", &config), None);
        assert_eq!(http("http://far.test", &ProxyConfig::none()), None);
        let grpc = proxy("http://far.test:4317", Protocol::Grpc, "plain:3128".into());
        assert!(grpc.unwrap().is_tunnel, "HTTP/2 in plain text too");
        #[cfg(unix)]
        assert!(proxy("unix:/o.sock", Protocol::Grpc, "plain:3128".into()).is_none());
    }

    #[test]
    fn credentials_show_nowhere() {
        let config = ProxyConfig::all("http://us%40er:p%3Ass@plain:3128");
        let shown = format!("{config:?}");
        assert!(
            shown.contains("plain:3128") && !shown.contains("ss@"),
            "{shown}"
        );
        let proxy = proxy("http://far.test", Protocol::HttpProtobuf, config).unwrap();
        assert_eq!(proxy.authorization().unwrap(), "Basic dXNAZXI6cDpzcw==");
        let shown = format!("{proxy:?}");
        assert!(shown.contains("plain") && !shown.contains("dXN"), "{shown}");
    }
}
