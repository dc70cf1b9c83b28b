//! The settings that [`ServerLayer`](super::ServerLayer) and [`ClientLayer`](super::ClientLayer) have
//! alike, their methods, and the beginning of a call under them.

use std::sync::Arc;

use http::Method;
use tracing::{Level, Span};

use super::call::Call;
use super::call_status::CallProtocol;
use super::head::{RequestHead, content_length};
use super::late::CallSpan;
use super::meter::Labels;
use super::method::{KnownMethods, OTHER};
use super::options::Captured;
use super::redact::SecretKeys;
use super::text;
use crate::propagation::{self, Propagator};

pub(super) type RequestFilter = dyn Fn(&RequestHead<'_>) -> bool + Send + Sync;
pub(super) type OnRequest = dyn Fn(&RequestHead<'_>, &Span) + Send + Sync;

/// The settings for the beginning of a call, of either role. Those that a call needs until its end are
/// [`CallOptions`](super::options::CallOptions).
#[derive(Clone)]
pub(super) struct RequestSettings {
    pub(super) level: Level,
    pub(super) filter: Option<Arc<RequestFilter>>,
    pub(super) propagator: Option<Arc<dyn Propagator>>,
    pub(super) known_methods: KnownMethods,
    pub(super) secret_keys: SecretKeys,
    pub(super) request_headers: Captured,
    pub(super) request_size: bool,
    pub(super) on_request: Option<Arc<OnRequest>>,
}

/// The method of a request over HTTP, as its span names it.
pub(super) struct MethodNames<'a> {
    /// Part of the span's name.
    pub(super) in_name: &'a str,
    pub(super) method: &'a str,
    pub(super) original: Option<&'a str>,
}

impl RequestSettings {
    /// The defaults; reads `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS`.
    pub(super) fn new() -> Self {
        Self {
            level: Level::INFO,
            filter: None,
            propagator: None,
            known_methods: KnownMethods::from_env(),
            secret_keys: SecretKeys::default(),
            request_headers: Captured::default(),
            request_size: false,
            on_request: None,
        }
    }

    /// Whether the request gets a span and metrics.
    pub(super) fn is_wanted(&self, head: &RequestHead<'_>) -> bool {
        self.filter.as_ref().is_none_or(|wants| wants(head))
    }

    /// Gives the layer's own propagator to `f`, else that of the process.
    pub(super) fn with_propagator<R>(&self, f: impl FnOnce(&dyn Propagator) -> R) -> R {
        match &self.propagator {
            Some(own) => f(&**own),
            None => f(&propagation::global()),
        }
    }

    /// Gives the call its labels and its span, then runs the hook of the request.
    pub(super) fn begin(
        &self,
        call: &mut Call,
        head: &RequestHead<'_>,
        protocol: CallProtocol,
        labels: impl FnOnce() -> Labels,
        span: impl FnOnce() -> CallSpan,
    ) {
        call.measure(labels);
        call.put_in_span(span());
        let span = call.span();
        if span.is_disabled() {
            return;
        }
        self.request_headers
            .put_request(span, head.headers, protocol);
        if let Some(hook) = &self.on_request {
            hook(head, span);
        }
    }

    pub(super) fn method<'a>(&self, method: &'a Method) -> MethodNames<'a> {
        let known = self.known_methods.find(method);
        MethodNames {
            in_name: known.unwrap_or("HTTP"),
            method: known.unwrap_or(OTHER),
            original: known.is_none().then(|| text::cut(method.as_str())),
        }
    }

    /// The request's `content-length`, if a setting asks for it.
    pub(super) fn request_size(&self, head: &RequestHead<'_>) -> Option<u64> {
        let is_wanted = self.request_size;
        is_wanted.then(|| content_length(head.headers)).flatten()
    }
}

/// The methods for the settings of either role, for a layer whose [`LayerSettings`](super::options::LayerSettings)
/// have a role with `request`.
macro_rules! request_setters {
    ($layer:ident, target: $target:literal) => {
        impl $layer {
            pub(super) fn options(&self) -> &$crate::middleware::options::CallOptions {
                &self.settings.call
            }

            fn set_request(
                self,
                change: impl FnOnce(&mut $crate::middleware::layer::RequestSettings),
            ) -> Self {
                self.set(|s| change(&mut s.request))
            }

            pub(crate) fn set_option(
                mut self,
                change: impl FnOnce(&mut $crate::middleware::options::CallOptions),
            ) -> Self {
                change(&mut std::sync::Arc::make_mut(&mut self.settings).call);
                self
            }

            #[doc = concat!("The level of the spans, whose target is `", $target, "`. Default: INFO.")]
            ///
            /// If a filter turns the level off, there is no span: a server handles the request in the
            /// caller's context, a client sends the [current context](crate::context::current).
            pub fn with_level(self, level: tracing::Level) -> Self {
                self.set_request(|s| s.level = level)
            }

            /// The requests that get a span and metrics. Default: all.
            ///
            /// A server handles an excluded request in the caller's context: spans that the service makes
            /// for it are then children of the caller's span, or roots. To drop those too, give the
            /// [sampler](crate::sampler::Rules) a rule. A client sends the current context with it.
            ///
            /// ```
            #[doc = concat!("# use tracing_otlp::middleware::", stringify!($layer), ";")]
            #[doc = concat!("let layer = ", stringify!($layer), "::new().with_filter(|request| request.uri().path() != \"/health\");")]
            /// ```
            pub fn with_filter(
                self,
                wants: impl Fn(&$crate::middleware::RequestHead<'_>) -> bool + Send + Sync + 'static,
            ) -> Self {
                self.set_request(|s| s.filter = Some(std::sync::Arc::new(wants)))
            }

            /// The propagator: on a server it reads the caller's context from the headers, on a client it
            /// writes the span's context into them. Default:
            /// [`propagation::global()`](crate::propagation::global).
            pub fn with_propagator(self, propagator: impl $crate::propagation::Propagator) -> Self {
                self.set_request(|s| s.propagator = Some(std::sync::Arc::new(propagator)))
            }

            /// The methods that are recorded by name, in place of the conventions' ten; others are
            /// `_OTHER`. Case matters. Default: `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS`, separated by
            /// commas, else CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY and TRACE.
            pub fn with_known_methods<M: Into<String>>(
                self,
                methods: impl IntoIterator<Item = M>,
            ) -> Self {
                let methods = $crate::middleware::method::KnownMethods::only(methods);
                self.set_request(|s| s.known_methods = methods)
            }

            /// The keys whose values in a recorded URL or query are replaced by `REDACTED`, in place of
            /// the conventions' list: the signatures and credentials of signed links of AWS, Azure and
            /// Google. Case matters. A user and password in a URL are never recorded.
            pub fn with_redacted_query_keys<K: Into<String>>(
                self,
                keys: impl IntoIterator<Item = K>,
            ) -> Self {
                let keys = $crate::middleware::redact::SecretKeys::only(keys);
                self.set_request(|s| s.secret_keys = keys)
            }

            /// Request headers to record, as `http.request.header.<name>`, for gRPC as
            /// `rpc.request.metadata.<name>`. Default: none. A value that is marked as sensitive is not
            /// recorded. They are set after the span is made, so a sampler does not see them.
            pub fn with_request_headers(
                self,
                names: impl IntoIterator<Item = http::HeaderName>,
            ) -> Self {
                let names = $crate::middleware::options::Captured::of(names);
                self.set_request(|s| s.request_headers = names)
            }

            /// Response headers to record, as `http.response.header.<name>`, for gRPC as
            /// `rpc.response.metadata.<name>`. Default: none.
            pub fn with_response_headers(
                self,
                names: impl IntoIterator<Item = http::HeaderName>,
            ) -> Self {
                let names = $crate::middleware::options::Captured::of(names);
                self.set_option(|o| o.response_headers = names)
            }

            /// Whether the time until the response's headers is recorded, in seconds, as
            /// `tracing_otlp.time_to_first_byte`: the conventions have no name for it. Default: false.
            pub fn with_time_to_first_byte(self, is_recorded: bool) -> Self {
                self.set_option(|o| o.time_to_first_byte = is_recorded)
            }

            /// Called for each request that has a span, for additional attributes: on a server before the
            /// service, on a client before the context is written into the headers.
            ///
            /// ```
            #[doc = concat!("# use tracing_otlp::middleware::", stringify!($layer), ";")]
            /// use tracing_otlp::SpanExt as _;
            ///
            #[doc = concat!("let layer = ", stringify!($layer), "::new().on_request(|request, span| {")]
            ///     if let Some(Ok(tenant)) = request.headers().get("x-tenant").map(|v| v.to_str()) {
            ///         span.set_attribute("shop.tenant", tenant.to_owned());
            ///     }
            /// });
            /// ```
            pub fn on_request(
                self,
                hook: impl Fn(&$crate::middleware::RequestHead<'_>, &tracing::Span)
                + Send
                + Sync
                + 'static,
            ) -> Self {
                self.set_request(|s| s.on_request = Some(std::sync::Arc::new(hook)))
            }

            /// Called when the headers of the response are there.
            pub fn on_response(
                self,
                hook: impl Fn(&$crate::middleware::ResponseHead<'_>, &tracing::Span)
                + Send
                + Sync
                + 'static,
            ) -> Self {
                self.set_option(|o| o.on_response = Some(std::sync::Arc::new(hook)))
            }

            /// Called at the end of each call that has a span, also after a failure or a cancellation,
            /// before the span ends.
            pub fn on_end(
                self,
                hook: impl Fn(&$crate::middleware::CallEnd<'_>, &tracing::Span)
                + Send
                + Sync
                + 'static,
            ) -> Self {
                self.set_option(|o| o.on_end = Some(std::sync::Arc::new(hook)))
            }
        }

        impl Default for $layer {
            fn default() -> Self {
                Self::new()
            }
        }
    };
}

pub(super) use request_setters;
