//! The settings of [`ServerLayer`].

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderName};

use super::super::head::RequestHead;
use super::super::in_flight::InFlight;
use super::super::known::KnownNames;
use super::super::layer::{RequestSettings, request_setters};
use super::super::options::{CallOptions, LayerSettings, PeerOf};
use crate::guard::PipelineHandle;

/// Makes a span for each request that a service serves: a [`tower_layer::Layer`] for any
/// `Service<http::Request<B>>`, such as axum's and tonic's.
///
/// The span is named after the method and the route, has the attributes of the HTTP conventions (for a
/// content type of gRPC, those of RPC), belongs to the caller's trace, and lasts until the response's
/// body has ended. The [module](crate::middleware) has a table of its status and `error.type`.
///
/// ```
/// # fn routes() -> axum::Router { axum::Router::new() }
/// use tracing_otlp::middleware::ServerLayer;
///
/// let app = routes().layer(ServerLayer::new());
/// # let _: axum::Router = app;
/// ```
///
/// A clone shares the settings and the learnt gRPC methods.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct ServerLayer {
    pub(super) settings: Arc<LayerSettings<ServerSettings>>,
}

#[derive(Clone)]
pub(super) struct ServerSettings {
    pub(super) request: RequestSettings,
    pub(super) route: Option<Arc<RouteOf>>,
    pub(super) peer: Option<Arc<PeerOf>>,
    pub(super) is_trusted: Option<Arc<IsTrusted>>,
    pub(super) is_public: bool,
    pub(super) scheme: Cow<'static, str>,
}

pub(super) type RouteOf = dyn for<'a> Fn(&RequestHead<'a>) -> Option<Cow<'a, str>> + Send + Sync;
pub(super) type IsTrusted = dyn Fn(IpAddr) -> bool + Send + Sync;

impl ServerLayer {
    /// The defaults: a span of level INFO for each request, named by the conventions.
    ///
    /// Reads `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS`, see
    /// [`with_known_methods`](Self::with_known_methods).
    pub fn new() -> Self {
        Self {
            settings: Arc::new(LayerSettings {
                call: CallOptions {
                    body_size: true,
                    ..CallOptions::default()
                },
                role: ServerSettings {
                    request: RequestSettings::new(),
                    route: None,
                    peer: None,
                    is_trusted: None,
                    is_public: false,
                    scheme: Cow::Borrowed("http"),
                },
            }),
        }
    }

    fn set(mut self, change: impl FnOnce(&mut ServerSettings)) -> Self {
        change(&mut Arc::make_mut(&mut self.settings).role);
        self
    }

    /// A function that returns the route of a request: `http.route`, and part of the span's name. A route
    /// must be of low cardinality, never the path.
    ///
    /// Default: axum's `MatchedPath`, with feature `axum`. It exists if the layer was added to a router,
    /// by `Router::layer`; a request to a fallback has none.
    ///
    /// ```
    /// # use tracing_otlp::middleware::ServerLayer;
    /// let layer = ServerLayer::new().with_route(|request| {
    ///     let path = request.uri().path();
    ///     path.starts_with("/files/").then_some("/files/{*path}".into())
    /// });
    /// ```
    pub fn with_route(
        self,
        route: impl for<'a> Fn(&RequestHead<'a>) -> Option<Cow<'a, str>> + Send + Sync + 'static,
    ) -> Self {
        self.set(|s| s.route = Some(Arc::new(route)))
    }

    /// A function that finds the peer's address in the request's extensions, for `network.peer.address`,
    /// `.port`, and `client.address`.
    ///
    /// Default: axum's `ConnectInfo<SocketAddr>` with feature `axum` (the server must be made with
    /// `into_make_service_with_connect_info`), tonic's `TcpConnectInfo` with feature `tonic`.
    pub fn with_peer(
        self,
        peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.set(|s| s.peer = Some(Arc::new(peer)))
    }

    /// The peers that are trusted proxies: `client.address`, `server.address` and `url.scheme` come from
    /// their `Forwarded` or `X-Forwarded-*` headers. Default: none, because any client can send such
    /// headers.
    ///
    /// The client is the last address that is not such a proxy.
    ///
    /// ```
    /// # use tracing_otlp::middleware::ServerLayer;
    /// let layer = ServerLayer::new().with_trusted_proxies(|ip| ip.is_loopback());
    /// ```
    pub fn with_trusted_proxies(
        self,
        is_trusted: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.set(|s| s.is_trusted = Some(Arc::new(is_trusted)))
    }

    /// Whether callers are not trusted: each request then begins a trace of its own, with a link to the
    /// caller's span, and without its baggage. Default: false.
    pub fn with_public_endpoint(self, is_public: bool) -> Self {
        self.set(|s| s.is_public = is_public)
    }

    /// `url.scheme` if neither the request nor a trusted proxy provides it. Default: `http`.
    pub fn with_scheme(self, scheme: impl Into<Cow<'static, str>>) -> Self {
        self.set(|s| s.scheme = scheme.into())
    }

    /// gRPC methods that are recorded by name from the first call on, as `package.Service/Method`.
    /// Default: none.
    ///
    /// A client can call any path, and a layer before the service (an authentication, a limiter) also
    /// answers for paths that do not exist. So a method has a name only after it has answered `OK` or a
    /// message; until then it is `_OTHER`, and `rpc.method_original` has its path. A layer remembers up to
    /// 512 such methods, and then records their failed calls by name too. List methods that may fail from
    /// the start, and those of a service with more than 512:
    ///
    /// ```
    /// # use tracing_otlp::middleware::ServerLayer;
    /// let layer = ServerLayer::new().with_known_rpc_methods(["shop.Cart/Add", "shop.Cart/Clear"]);
    /// ```
    ///
    /// A route of axum that is a whole method, such as `/shop.Cart/Add`, needs no listing.
    pub fn with_known_rpc_methods<M: Into<String>>(
        self,
        methods: impl IntoIterator<Item = M>,
    ) -> Self {
        let methods = KnownNames::listing(methods);
        self.set_option(|o| o.methods = methods)
    }

    /// Whether `http.request.body.size` is recorded, in bytes, from the request's `content-length`.
    /// Default: false.
    pub fn with_request_body_size(self, is_recorded: bool) -> Self {
        self.set_request(|s| s.request_size = is_recorded)
    }

    /// Whether `http.response.body.size` is recorded: the bytes sent. Default: true.
    pub fn with_response_body_size(self, is_recorded: bool) -> Self {
        self.set_option(|o| o.body_size = is_recorded)
    }

    /// The response header that carries the span's context to the client, in the form of a
    /// `traceparent`: usually `traceresponse`. Default: none.
    pub fn with_trace_header(self, name: HeaderName) -> Self {
        self.set_option(|o| o.trace_header = Some(name))
    }

    /// Whether the response carries the span's context in `Server-Timing: traceparent;desc="…"`, which
    /// scripts in a browser can read. Default: false.
    pub fn with_server_timing(self, is_sent: bool) -> Self {
        self.set_option(|o| o.server_timing = is_sent)
    }

    /// The counter of requests in flight, so that a shutdown can wait for them. Default: none.
    pub fn with_in_flight(self, in_flight: InFlight) -> Self {
        self.set_option(|o| o.in_flight = Some(in_flight))
    }

    /// Requests a flush after each response, for environments that freeze the process between
    /// requests. The response does not wait for the flush, which lasts at most `timeout`.
    ///
    /// If the process freezes with the last byte of its response, spans may wait until it continues:
    /// there, await [`force_flush`](crate::ShutdownGuard::force_flush) before the response.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tracing_otlp::middleware::ServerLayer;
    /// # fn layer(guard: &tracing_otlp::ShutdownGuard) -> ServerLayer {
    /// ServerLayer::new().with_flush(guard.handle(), Duration::from_secs(1))
    /// # }
    /// ```
    pub fn with_flush(self, pipeline: PipelineHandle, timeout: Duration) -> Self {
        // `force_flush` begins the flush at once, also if its future is dropped.
        let flush = move || drop(pipeline.force_flush(timeout));
        self.set_option(|o| o.after = Some(Arc::new(flush)))
    }
}

request_setters!(ServerLayer, target: "tracing_otlp::server");

impl fmt::Debug for ServerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLayer")
            .field("level", &self.settings.role.request.level)
            .field("is_public", &self.settings.role.is_public)
            .field("known_methods", &self.settings.role.request.known_methods)
            .field(
                "request_headers",
                &self.settings.role.request.request_headers,
            )
            .field("options", self.options())
            .finish_non_exhaustive()
    }
}

const _: fn() = || {
    fn promised<T: Send + Sync + 'static>() {}
    promised::<ServerLayer>();
};
