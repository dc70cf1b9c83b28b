//! What can be set of a [`ServerLayer`].

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
/// `Service<http::Request<B>>`, axum's and tonic's among them.
///
/// The span is named after the method and the route, has the attributes of the HTTP conventions (for
/// gRPC, told by its content type, those of RPC), belongs to the caller's trace, and lasts until the
/// response's body has ended. See the [module](crate::middleware) for what it says when.
///
/// ```
/// # fn routes() -> axum::Router { axum::Router::new() }
/// use tracing_otlp::middleware::ServerLayer;
///
/// let app = routes().layer(ServerLayer::new());
/// # let _: axum::Router = app;
/// ```
///
/// A clone shares what was set so far.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct ServerLayer {
    pub(super) settings: Arc<Settings>,
    /// What a call takes along.
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
    /// The defaults: spans of level INFO for all requests, named as the conventions have it.
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
    /// Where a filter turns it off there is no span, but what runs for the request still has the
    /// caller's [context](crate::context::current).
    pub fn with_level(self, level: Level) -> Self {
        self.set(|s| s.level = level)
    }

    /// Which requests get a span and are measured. Default: all.
    ///
    /// Of a request that is left out only the caller's context is passed on: spans that the service
    /// makes for it are then children of the caller's, or roots. To have none of those either, give
    /// the [sampler](crate::sampler::Rules) a rule.
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

    /// Tells the route of a request: `http.route`, and part of the span's name. It must be of low
    /// cardinality (HTTP-1, HTTP-7), never the path.
    ///
    /// Default: axum's `MatchedPath`, with feature `axum`. It is there if the layer was given to a
    /// router, by `Router::layer`; a request that went to a fallback has none.
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

    /// Tells who is at the other end of the connection: `network.peer.address`, `.port`, and
    /// `client.address`.
    ///
    /// Default: axum's `ConnectInfo<SocketAddr>` with feature `axum` (the server must be made with
    /// `into_make_service_with_connect_info`), tonic's `TcpConnectInfo` with feature `tonic`.
    pub fn with_peer(
        self,
        peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.set(|s| s.peer = Some(Arc::new(peer)))
    }

    /// Which peers are proxies of one's own, whose `Forwarded` and `X-Forwarded-*` headers are
    /// believed: `client.address`, `server.address` and `url.scheme` are then what they say (HTTP-8).
    /// Default: none, since anyone can send such headers.
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

    /// What reads the caller's context from the headers. Default:
    /// [`propagation::global()`](crate::propagation::global).
    pub fn with_propagator(self, propagator: impl Propagator) -> Self {
        self.set(|s| s.propagator = Some(Arc::new(propagator)))
    }

    /// Whether callers are strangers: each request then begins a trace of its own, with a link to
    /// what the caller claims, and takes no baggage (W3C-10). Default: false.
    pub fn with_public_endpoint(self, is_public: bool) -> Self {
        self.set(|s| s.is_public = is_public)
    }

    /// `url.scheme` where neither the request nor a trusted proxy tells. Default: `http`.
    pub fn with_scheme(self, scheme: impl Into<Cow<'static, str>>) -> Self {
        self.set(|s| s.scheme = scheme.into())
    }

    /// The methods that are told apart, in place of the conventions' ten; others are `_OTHER`
    /// (HTTP-4). Case matters. Default: `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS`, a list with
    /// commas, else CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY and TRACE.
    pub fn with_known_methods<M: Into<String>>(self, methods: impl IntoIterator<Item = M>) -> Self {
        let methods = KnownMethods::only(methods);
        self.set(|s| s.known_methods = methods)
    }

    /// gRPC methods that are told apart from the first call on, as `package.Service/Method`. Default:
    /// none.
    ///
    /// Anyone can call any path, and what lies before the service (an authentication, a limiter)
    /// answers for paths that nobody serves. So a method is a name only once it has answered itself, by
    /// `OK` or a message; until then it is `_OTHER`, and `rpc.method_original` has its path (RPC-2). All
    /// that a layer has seen to be there it knows from then on, 512 methods at most, whatever their
    /// calls come to. List the methods that may fail from the start, or are many:
    ///
    /// ```
    /// # use tracing_otlp::middleware::ServerLayer;
    /// let layer = ServerLayer::new().with_known_rpc_methods(["shop.Cart/Add", "shop.Cart/Clear"]);
    /// ```
    ///
    /// A route of axum's that is a whole method, as `/shop.Cart/Add`, needs no listing.
    pub fn with_known_rpc_methods<M: Into<String>>(
        self,
        methods: impl IntoIterator<Item = M>,
    ) -> Self {
        let methods = KnownNames::listing(methods);
        self.set_option(|o| o.methods = methods)
    }

    /// The keys whose values in a query are replaced by `REDACTED`, in place of the conventions'
    /// list (HTTP-5): the signatures and credentials of signed links at AWS, Azure and Google. Case
    /// matters.
    pub fn with_redacted_query_keys<K: Into<String>>(
        self,
        keys: impl IntoIterator<Item = K>,
    ) -> Self {
        let keys = SecretKeys::only(keys);
        self.set(|s| s.secret_keys = keys)
    }

    /// Request headers to record, as `http.request.header.<name>` (HTTP-6), for gRPC as
    /// `rpc.request.metadata.<name>`. Default: none. A value that is marked as sensitive is left out.
    /// They are set once the span is made, so a sampler does not see them.
    pub fn with_request_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = Captured::of(names);
        self.set(|s| s.request_headers = names)
    }

    /// Response headers to record, as `http.response.header.<name>` (HTTP-6), for gRPC as
    /// `rpc.response.metadata.<name>`. Default: none.
    pub fn with_response_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = Captured::of(names);
        self.set_option(|o| o.response_headers = names)
    }

    /// Whether the sizes of bodies are recorded, in bytes: `http.request.body.size`, where the
    /// request announces it, and `http.response.body.size`, what has passed of it. Default: only the
    /// latter is.
    pub fn with_body_sizes(self, request: bool, response: bool) -> Self {
        self.set(|s| s.request_size = request)
            .set_option(|o| o.body_size = response)
    }

    /// Whether the time until the response's headers is recorded, in seconds, as
    /// `tracing_otlp.time_to_first_byte`: the conventions have no name for it. Default: false.
    pub fn with_time_to_first_byte(self, is_recorded: bool) -> Self {
        self.set_option(|o| o.time_to_first_byte = is_recorded)
    }

    /// A header for the response that tells the client its trace, in the form of a `traceparent`:
    /// usually `traceresponse`. Default: none.
    pub fn with_trace_header(self, name: HeaderName) -> Self {
        self.set_option(|o| o.trace_header = Some(name))
    }

    /// Whether the response tells its trace by `Server-Timing: traceparent;desc="…"`, which scripts
    /// in a browser can read. Default: false.
    pub fn with_server_timing(self, is_told: bool) -> Self {
        self.set_option(|o| o.server_timing = is_told)
    }

    /// Called for each request that has a span, before the service; for attributes of one's own.
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

    /// Called when the response's headers are there.
    pub fn on_response(
        self,
        hook: impl Fn(&ResponseHead<'_>, &Span) + Send + Sync + 'static,
    ) -> Self {
        self.set_option(|o| o.on_response = Some(Arc::new(hook)))
    }

    /// Called when the call is over, whatever ended it, before its span ends.
    pub fn on_end(self, hook: impl Fn(&CallEnd<'_>, &Span) + Send + Sync + 'static) -> Self {
        self.set_option(|o| o.on_end = Some(Arc::new(hook)))
    }

    /// Counts the requests that are being served, so that a shutdown can wait for them.
    pub fn with_in_flight(self, in_flight: InFlight) -> Self {
        self.set_option(|o| o.in_flight = Some(in_flight))
    }

    /// Asks for a flush after each response, for environments that freeze the process between
    /// requests. The response does not wait for it; what it waits for at most is `timeout`.
    ///
    /// Where the process is frozen with the last byte of its response, spans may wait until it goes on:
    /// there, await [`force_flush`](crate::ShutdownGuard::force_flush) before you answer.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tracing_otlp::middleware::ServerLayer;
    /// # fn layer(guard: &tracing_otlp::ShutdownGuard) -> ServerLayer {
    /// ServerLayer::new().with_flush(guard.handle(), Duration::from_secs(1))
    /// # }
    /// ```
    pub fn with_flush(self, pipeline: PipelineHandle, timeout: Duration) -> Self {
        // A flush begins when it is asked for, whether or not anybody waits.
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
