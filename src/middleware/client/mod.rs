//! [`ClientLayer`]: a span for each request that a client sends.

mod begin;
#[cfg(feature = "reqwest-middleware")]
mod reqwest;
mod resends;
mod settings;
mod target;

use std::fmt;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::body::ResponseBody;
use super::future::ResponseFuture;
use super::head::RequestHead;
pub use resends::{CountResends, Resends, ResendsLayer};
pub use settings::{ClientLayer, UrlTemplate};

impl<S> Layer<S> for ClientLayer {
    type Service = ClientService<S>;

    fn layer(&self, inner: S) -> ClientService<S> {
        ClientService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service that [`ClientLayer`] wraps around another.
#[derive(Debug, Clone)]
pub struct ClientService<S> {
    inner: S,
    layer: ClientLayer,
}

impl<S, B, R> Service<Request<B>> for ClientService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: fmt::Display + 'static,
    R: Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let call = self.layer.begin(&RequestHead::of(&request));
        self.layer.inject(call.as_ref(), request.headers_mut());
        match call {
            Some(call) => ResponseFuture::start(call, || self.inner.call(request)),
            None => ResponseFuture::untraced(self.inner.call(request)),
        }
    }
}
