//! The settings of [`ClientLayer`].

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Extensions;

use super::super::known::KnownNames;
use super::super::layer::{RequestSettings, request_setters};
use super::super::options::{CallOptions, LayerSettings};
use super::target::ServerTarget;

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
    pub(super) settings: Arc<LayerSettings<ClientSettings>>,
}

#[derive(Clone)]
pub(super) struct ClientSettings {
    pub(super) request: RequestSettings,
    pub(super) target: Option<ServerTarget>,
}

/// The template of a request's path, such as `/users/{id}`. In the extensions of a request, it becomes
/// `url.template` and part of the span's name.
///
/// ```
/// use tracing_otlp::middleware::UrlTemplate;
///
/// let request = http::Request::get("http://example.com/users/4711")
///     .extension(UrlTemplate::new("/users/{id}"))
///     .body(())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlTemplate(Cow<'static, str>);

impl UrlTemplate {
    /// This template.
    pub fn new(template: impl Into<Cow<'static, str>>) -> Self {
        Self(template.into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl ClientLayer {
    /// The defaults: a span of level INFO for each request, until the response's headers.
    pub fn new() -> Self {
        Self {
            settings: Arc::new(LayerSettings {
                call: CallOptions {
                    ends_with_headers: true,
                    ..CallOptions::default()
                },
                role: ClientSettings {
                    request: RequestSettings::new(),
                    target: None,
                },
            }),
        }
    }

    fn set(mut self, change: impl FnOnce(&mut ClientSettings)) -> Self {
        change(&mut Arc::make_mut(&mut self.settings).role);
        self
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
        let target = ServerTarget::parse(target.as_ref());
        self.set(|s| s.target = Some(target))
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

    /// Whether `http.request.body.size` is recorded, in bytes, if the request has a `content-length`.
    /// Default: false.
    pub fn with_request_body_size(self, is_recorded: bool) -> Self {
        self.set_request(|s| s.request_size = is_recorded)
    }
}

request_setters!(ClientLayer, target: "tracing_otlp::client");

impl fmt::Debug for ClientLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLayer")
            .field("level", &self.settings.role.request.level)
            .field("target", &self.settings.role.target)
            .field("known_methods", &self.settings.role.request.known_methods)
            .field("options", self.options())
            .finish_non_exhaustive()
    }
}

const _: fn() = || {
    fn promised<T: Send + Sync + 'static>() {}
    promised::<ClientLayer>();
};
