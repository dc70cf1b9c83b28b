//! [`Resends`]: counts the attempts of one request (HTTP-9).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

/// The number of attempts of a request, in its extensions: a retry sends the request with them.
///
/// [`ClientLayer`](super::ClientLayer) records `http.request.resend_count` from it. A
/// [`ResendsLayer`] outside of the retry layer puts one into each request; reqwest-middleware needs
/// none.
///
/// ```
/// use tracing_otlp::middleware::Resends;
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(Resends::new());
/// ```
///
/// A redirect layer may send new requests without the extensions of the first: tower-http's
/// `FollowRedirect` does. Its policy sees each of them and can pass the count on:
///
/// ```
/// # use http::Request;
/// use tower_http::follow_redirect::policy::{Action, Attempt, Policy, Standard};
/// use tracing_otlp::middleware::Resends;
///
/// #[derive(Clone, Default)]
/// struct Counting(Option<Resends>, Standard);
///
/// impl<B, E> Policy<B, E> for Counting {
///     fn redirect(&mut self, attempt: &Attempt<'_>) -> Result<Action, E> {
///         Policy::<B, E>::redirect(&mut self.1, attempt)
///     }
///
///     // Each request begins with a clone of the policy, so the count is of its redirects only.
///     fn on_request(&mut self, request: &mut Request<B>) {
///         let count = self.0.get_or_insert_default().clone();
///         request.extensions_mut().insert(count);
///     }
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Resends(Arc<AtomicU32>);

impl Resends {
    /// A count of zero, for a request that was not sent yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the request was sent before.
    pub(super) fn is_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Counts one more attempt; returns the number before it.
    pub(super) fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Puts [`Resends`] into each request. It belongs outside of the retry layer, and
/// [`ClientLayer`](super::ClientLayer) inside. For redirects see [`Resends`].
///
/// ```
/// use tower::ServiceBuilder;
/// use tracing_otlp::middleware::{ClientLayer, ResendsLayer};
///
/// # #[derive(Clone)] struct Policy;
/// let client = ServiceBuilder::new()
///     .layer(ResendsLayer::new())
///     .retry(Policy)
///     .layer(ClientLayer::new());
/// # let _ = client;
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct ResendsLayer(());

impl ResendsLayer {
    /// Makes the layer.
    pub fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for ResendsLayer {
    type Service = CountResends<S>;

    fn layer(&self, inner: S) -> CountResends<S> {
        CountResends { inner }
    }
}

/// The service that [`ResendsLayer`] wraps around another.
#[derive(Debug, Clone)]
pub struct CountResends<S> {
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for CountResends<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let extensions = request.extensions_mut();
        if extensions.get::<Resends>().is_none() {
            extensions.insert(Resends::new());
        }
        self.inner.call(request)
    }
}
