//! The settings of [`ClientLayer`].

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Extensions, HeaderName};
use tracing::{Level, Span};

use super::super::end::CallEnd;
use super::super::head::{RequestHead, ResponseHead};
use super::super::known::KnownNames;
use super::super::method::KnownMethods;
use super::super::options::{CallOptions, Captured};
use super::super::redact::SecretKeys;
use super::target::Target;
use crate::propagation::Propagator;

/// Makes a span for each request that a client sends, and writes its context into the headers: a
/// [`tower_layer::Layer`] for any `Service<http::Request<B>>`, such as hyper-util's client and tonic's
/// channels.
///
/// The span is named after the method, has the attributes of the HTTP conventions (for a content type
/// of gRPC, those of RPC), and is a child of the current span. It ends with the headers of the
/// response, or with its body: see [`with_whole_body`](Self::with_whole_body). Inside of a retry layer,
/// each attempt has a span: see [`ResendsLayer`](super::ResendsLayer).
///
/// `error.type` is the status from 400 on, the gRPC code unless it is `OK`, `panic`, or the name of
/// the error's type if the service returned an error, `_OTHER` if that is boxed. A caller that cancels
/// an HTTP call is no error; a cancelled gRPC call is `CANCELLED`, or `DEADLINE_EXCEEDED` if the
/// caller's `grpc-timeout` had passed.
///
/// With feature `reqwest-middleware` it is a middleware of reqwest's clients as well.
///
/// ```
/// # type Client = tower::util::BoxService<http::Request<String>, http::Response<String>, std::io::Error>;
/// # fn client(client: Client) -> impl tower::Service<http::Request<String>> {
/// use tower::ServiceBuilder;
/// use tracing_otlp::middleware::ClientLayer;
///
/// ServiceBuilder::new().layer(ClientLayer::new()).service(client)
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct ClientLayer {
    pub(super) settings: Arc<Settings>,
    /// The settings that each call carries.
    pub(super) options: Arc<CallOptions>,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) level: Level,
    pub(super) filter: Option<Arc<Filter>>,
    pub(super) target: Option<Target>,
    pub(super) propagator: Option<Arc<dyn Propagator>>,
    pub(super) known_methods: KnownMethods,
    pub(super) secret_keys: SecretKeys,
    pub(super) request_headers: Captured,
    pub(super) request_size: bool,
    pub(super) on_request: Option<Arc<OnRequest>>,
}

pub(super) type Filter = dyn Fn(&RequestHead<'_>) -> bool + Send + Sync;
pub(super) type OnRequest = dyn Fn(&RequestHead<'_>, &Span) + Send + Sync;

/// The template of a request's path, such as `/users/{id}`. In the extensions of a request, it becomes
/// `url.template` and part of the span's name.
///
/// ```
/// use tracing_otlp::middleware::UrlTemplate;
///
/// let request = http::Request::get("http://example.com/users/4711")
///     .extension(UrlTemplate("/users/{id}"))
///     .body(())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlTemplate(pub &'static str);

impl ClientLayer {
    /// The defaults: a span of level INFO for each request, until the response's headers.
    pub fn new() -> Self {
        Self {
            settings: Arc::new(Settings {
                level: Level::INFO,
                filter: None,
                target: None,
                propagator: None,
                known_methods: KnownMethods::from_env(),
                secret_keys: SecretKeys::default(),
                request_headers: Captured::default(),
                request_size: false,
                on_request: None,
            }),
            options: Arc::new(CallOptions {
                ends_with_headers: true,
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

    /// The level of the spans, whose target is `tracing_otlp::client`. Default: INFO.
    ///
    /// If a filter turns the level off, there is no span, and the request carries the current context.
    pub fn with_level(self, level: Level) -> Self {
        self.set(|s| s.level = level)
    }

    /// The requests that get a span and metrics. Default: all. The others carry the current context.
    pub fn with_filter(
        self,
        wants: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.set(|s| s.filter = Some(Arc::new(wants)))
    }

    /// Whether an HTTP span lasts until the response's body has ended, or was dropped. Default:
    /// false, until its headers. A gRPC span always lasts until the status.
    ///
    /// `http.response.body.size` is recorded with it.
    pub fn with_whole_body(self, is_awaited: bool) -> Self {
        self.set_option(|o| {
            o.ends_with_headers = !is_awaited;
            o.body_size = is_awaited;
        })
    }

    /// The server, for `server.address` and `server.port`. Needed if the requests have no host, such as
    /// those to a tonic channel: set the channel's target.
    ///
    /// `host:port`, a URL, `unix:///path`; any other text becomes the address. Default: the host of the
    /// request.
    pub fn with_server(self, target: impl AsRef<str>) -> Self {
        let target = Target::parse(target.as_ref());
        self.set(|s| s.target = Some(target))
    }

    /// The propagator that writes the context into the headers. Default:
    /// [`propagation::global()`](crate::propagation::global).
    pub fn with_propagator(self, propagator: impl Propagator) -> Self {
        self.set(|s| s.propagator = Some(Arc::new(propagator)))
    }

    /// A function that finds the server's address in the extensions of the response, for
    /// `network.peer.address` and `.port`. Default: none. hyper-util's clients put an `HttpInfo` there:
    ///
    /// ```
    /// use hyper_util::client::legacy::connect::HttpInfo;
    /// # use tracing_otlp::middleware::ClientLayer;
    ///
    /// let layer = ClientLayer::new()
    ///     .with_peer(|extensions| extensions.get().map(HttpInfo::remote_addr));
    /// ```
    pub fn with_peer(
        self,
        peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.set_option(|o| o.peer = Some(Arc::new(peer)))
    }

    /// See [`ServerLayer::with_known_methods`](super::super::ServerLayer::with_known_methods).
    pub fn with_known_methods<M: Into<String>>(self, methods: impl IntoIterator<Item = M>) -> Self {
        let methods = KnownMethods::only(methods);
        self.set(|s| s.known_methods = methods)
    }

    /// gRPC methods that are always recorded by name, as `package.Service/Method`. Default: none.
    ///
    /// A client chooses its methods, so the first 512 are recorded by name; those of code that tonic has
    /// generated do not count (feature `tonic`). Beyond that, as in a proxy whose callers choose the method,
    /// a method has a name only if it is listed or has answered `OK` or a message; else it is `_OTHER`.
    pub fn with_known_rpc_methods<M: Into<String>>(
        self,
        methods: impl IntoIterator<Item = M>,
    ) -> Self {
        let methods = KnownNames::listing(methods);
        self.set_option(|o| o.methods = methods)
    }

    /// The keys whose values in `url.full` are replaced, see
    /// [`ServerLayer::with_redacted_query_keys`](super::super::ServerLayer::with_redacted_query_keys).
    /// Credentials never get there.
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

    /// Whether `http.request.body.size` is recorded, in bytes, if the request has a `content-length`.
    /// Default: false.
    pub fn with_request_body_size(self, is_recorded: bool) -> Self {
        self.set(|s| s.request_size = is_recorded)
    }

    /// Whether the time until the response's headers is recorded, in seconds, as
    /// `tracing_otlp.time_to_first_byte`. Default: false.
    pub fn with_time_to_first_byte(self, is_recorded: bool) -> Self {
        self.set_option(|o| o.time_to_first_byte = is_recorded)
    }

    /// Called for each request that has a span, before it is sent and before the context is written
    /// into its headers.
    pub fn on_request(
        self,
        hook: impl Fn(&RequestHead<'_>, &Span) + Send + Sync + 'static,
    ) -> Self {
        self.set(|s| s.on_request = Some(Arc::new(hook)))
    }

    /// Called when the response's headers have arrived.
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
}

impl Default for ClientLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ClientLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLayer")
            .field("level", &self.settings.level)
            .field("target", &self.settings.target)
            .field("known_methods", &self.settings.known_methods)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

const _: fn() = || {
    fn promised<T: Send + Sync + 'static>() {}
    promised::<ClientLayer>();
};
