//! The settings of [`ServerLayer`].

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderName};
use tracing::{Level, Span};

use super::super::end::CallEnd;
use super::super::head::{RequestHead, ResponseHead};
use super::super::in_flight::InFlight;
use super::super::known::KnownNames;
use super::super::method::KnownMethods;
use super::super::options::{CallOptions, Captured, PeerOf};
use super::super::redact::SecretKeys;
use crate::guard::PipelineHandle;
use crate::propagation::Propagator;

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
    pub(super) settings: Arc<Settings>,
    /// The settings that each call carries.
    pub(super) options: Arc<CallOptions>,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) level: Level,
    pub(super) filter: Option<Arc<Filter>>,
    pub(super) route: Option<Arc<RouteOf>>,
    pub(super) peer: Option<Arc<PeerOf>>,
    pub(super) is_trusted: Option<Arc<IsTrusted>>,
    pub(super) propagator: Option<Arc<dyn Propagator>>,
    pub(super) is_public: bool,
    pub(super) scheme: Cow<'static, str>,
    pub(super) known_methods: KnownMethods,
    pub(super) secret_keys: SecretKeys,
    pub(super) request_headers: Captured,
    pub(super) request_size: bool,
    pub(super) on_request: Option<Arc<OnRequest>>,
}

pub(super) type Filter = dyn Fn(&RequestHead<'_>) -> bool + Send + Sync;
pub(super) type RouteOf = dyn for<'a> Fn(&RequestHead<'a>) -> Option<Cow<'a, str>> + Send + Sync;
pub(super) type IsTrusted = dyn Fn(IpAddr) -> bool + Send + Sync;
pub(super) type OnRequest = dyn Fn(&RequestHead<'_>, &Span) + Send + Sync;

impl ServerLayer {
    /// The defaults: a span of level INFO for each request, named by the conventions.
    ///
    /// Reads `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS`, see
    /// [`with_known_methods`](Self::with_known_methods).
    pub fn new() -> Self {
        Self {
            settings: Arc::new(Settings {
                level: Level::INFO,
                filter: None,
                route: None,
                peer: None,
                is_trusted: None,
                propagator: None,
                is_public: false,
                scheme: Cow::Borrowed("http"),
                known_methods: KnownMethods::from_env(),
                secret_keys: SecretKeys::default(),
                request_headers: Captured::default(),
                request_size: false,
                on_request: None,
            }),
            options: Arc::new(CallOptions {
                body_size: true,
                ..CallOptions::default()
            }),
        }
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }

    pub(crate) fn set_option(mut self, change: impl FnOnce(&mut CallOptions)) -> Self {
        change(Arc::make_mut(&mut self.options));
        self
    }

    /// The level of the spans, whose target is `tracing_otlp::server`. Default: INFO.
    ///
    /// If a filter turns the level off, there is no span, but the request still runs in the caller's
    /// [context](crate::context::current).
    pub fn with_level(self, level: Level) -> Self {
        self.set(|s| s.level = level)
    }

    /// The requests that get a span and metrics. Default: all.
    ///
    /// An excluded request still runs in the caller's context: spans that the service makes for it are
    /// then children of the caller's span, or roots. To drop those too, give the
    /// [sampler](crate::sampler::Rules) a rule.
    ///
    /// ```
    /// # use tracing_otlp::middleware::ServerLayer;
    /// let layer = ServerLayer::new().with_filter(|request| request.uri().path() != "/health");
    /// ```
    pub fn with_filter(
        self,
        wants: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.set(|s| s.filter = Some(Arc::new(wants)))
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

    /// The propagator that reads the caller's context from the headers. Default:
    /// [`propagation::global()`](crate::propagation::global).
    pub fn with_propagator(self, propagator: impl Propagator) -> Self {
        self.set(|s| s.propagator = Some(Arc::new(propagator)))
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

    /// The methods that are recorded by name, in place of the conventions' ten; others are `_OTHER`.
    /// Case matters. Default: `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS`, separated by commas, else
    /// CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY and TRACE.
    pub fn with_known_methods<M: Into<String>>(self, methods: impl IntoIterator<Item = M>) -> Self {
        let methods = KnownMethods::only(methods);
        self.set(|s| s.known_methods = methods)
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

    /// The keys whose values in a query are replaced by `REDACTED`, in place of the conventions'
    /// list: the signatures and credentials of signed links of AWS, Azure and Google. Case matters.
    pub fn with_redacted_query_keys<K: Into<String>>(
        self,
        keys: impl IntoIterator<Item = K>,
    ) -> Self {
        let keys = SecretKeys::only(keys);
        self.set(|s| s.secret_keys = keys)
    }

    /// Request headers to record, as `http.request.header.<name>`, for gRPC as
    /// `rpc.request.metadata.<name>`. Default: none. A value that is marked as sensitive is not recorded.
    /// They are set after the span is made, so a sampler does not see them.
    pub fn with_request_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = Captured::of(names);
        self.set(|s| s.request_headers = names)
    }

    /// Response headers to record, as `http.response.header.<name>`, for gRPC as
    /// `rpc.response.metadata.<name>`. Default: none.
    pub fn with_response_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = Captured::of(names);
        self.set_option(|o| o.response_headers = names)
    }

    /// Whether the sizes of bodies are recorded, in bytes: `http.request.body.size`, from the request's
    /// `content-length`, and `http.response.body.size`, the bytes sent. Default: only the latter.
    pub fn with_body_sizes(self, request: bool, response: bool) -> Self {
        self.set(|s| s.request_size = request)
            .set_option(|o| o.body_size = response)
    }

    /// Whether the time until the response's headers is recorded, in seconds, as
    /// `tracing_otlp.time_to_first_byte`: the conventions have no name for it. Default: false.
    pub fn with_time_to_first_byte(self, is_recorded: bool) -> Self {
        self.set_option(|o| o.time_to_first_byte = is_recorded)
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

    /// Called for each request that has a span, before the service, for additional attributes.
    ///
    /// ```
    /// # use tracing_otlp::middleware::ServerLayer;
    /// use tracing_otlp::SpanExt as _;
    ///
    /// let layer = ServerLayer::new().on_request(|request, span| {
    ///     if let Some(Ok(tenant)) = request.headers().get("x-tenant").map(|v| v.to_str()) {
    ///         span.set_attribute("shop.tenant", tenant.to_owned());
    ///     }
    /// });
    /// ```
    pub fn on_request(
        self,
        hook: impl Fn(&RequestHead<'_>, &Span) + Send + Sync + 'static,
    ) -> Self {
        self.set(|s| s.on_request = Some(Arc::new(hook)))
    }

    /// Called when the service has returned the response's headers.
    pub fn on_response(
        self,
        hook: impl Fn(&ResponseHead<'_>, &Span) + Send + Sync + 'static,
    ) -> Self {
        self.set_option(|o| o.on_response = Some(Arc::new(hook)))
    }

    /// Called at the end of each call that has a span, also after a failure or a cancellation, before
    /// the span ends.
    pub fn on_end(self, hook: impl Fn(&CallEnd<'_>, &Span) + Send + Sync + 'static) -> Self {
        self.set_option(|o| o.on_end = Some(Arc::new(hook)))
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

impl Default for ServerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ServerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLayer")
            .field("level", &self.settings.level)
            .field("is_public", &self.settings.is_public)
            .field("known_methods", &self.settings.known_methods)
            .field("request_headers", &self.settings.request_headers)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

const _: fn() = || {
    fn promised<T: Send + Sync + 'static>() {}
    promised::<ServerLayer>();
};
