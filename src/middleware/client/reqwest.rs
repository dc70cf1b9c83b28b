//! [`ClientLayer`] as a middleware of reqwest.

use std::error::Error as _;
use std::fmt;

use async_trait::async_trait;
use http::{Extensions, Uri};
use reqwest_middleware::reqwest::{Body, Request, Response, ResponseBuilderExt as _};
use reqwest_middleware::{Error, Middleware, Next, Result};

use super::super::body::ResponseBody;
use super::super::call_status::{Ending, OTHER};
use super::super::future::InCall;
use super::super::head::{RequestHead, ResponseHead};
use super::super::text::Causes;
use super::{ClientLayer, Resends};

/// A span for each request that passes, as with the tower layer.
///
/// ```
/// use reqwest_middleware::ClientBuilder;
/// use tracing_otlp::middleware::ClientLayer;
///
/// let client = ClientBuilder::new(reqwest::Client::new())
///     // A retry middleware comes before it: then each attempt has a span and its number.
///     .with(ClientLayer::new())
///     .build();
/// # let _ = client;
/// # use reqwest_middleware::reqwest;
/// ```
///
/// - [`UrlTemplate`](super::UrlTemplate) goes into the extensions of a request
///   (`RequestBuilder::with_extension`); [`Resends`] are counted without a layer of their own.
/// - reqwest follows redirects itself: the span covers them and names only the first request.
///   `redirect::Policy::none()` turns them off.
/// - `error.type` is the kind of reqwest's error, `connect`, `timeout`, `redirect`, `body`, `decode`,
///   `builder`, `upgrade` or `request`; `_OTHER` for errors of other middleware.
/// - reqwest itself provides `network.peer.address` and `.port`.
///
/// Spans do not see what reqwest adds to a request below its middleware, such as default headers.
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest-middleware")))]
#[async_trait]
impl Middleware for ClientLayer {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        extensions.get_or_insert_default::<Resends>();
        let uri = uri(&request);
        let call = self.begin(&RequestHead {
            method: request.method(),
            uri: &uri,
            version: request.version(),
            headers: request.headers(),
            extensions: &*extensions,
            peer: None,
        });
        self.inject(call.as_ref(), request.headers_mut());
        let Some(call) = call else {
            return next.run(request, extensions).await;
        };
        let (result, call) = InCall::start(call, || next.run(request, extensions)).await;
        let Some(mut call) = call else {
            return result;
        };
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                call.end(Ending::Failed {
                    kind: kind(&error),
                    message: &Message(&error),
                });
                return Err(error);
            }
        };
        let head = ResponseHead {
            status: response.status(),
            version: response.version(),
            headers: response.headers(),
            extensions: response.extensions(),
        };
        if call.answered(&head, response.remote_addr()) {
            call.end(Ending::Complete);
            return Ok(response);
        }
        Ok(with_body(response, |body| {
            Body::wrap(ResponseBody::of(body, call))
        }))
    }
}

/// The request's URL as a [`Uri`], or its origin if the URL is no valid `Uri`.
fn uri(request: &Request) -> Uri {
    let url = request.url();
    let whole = url.as_str().parse();
    let part = |_| url.origin().ascii_serialization().parse();
    whole.or_else(part).unwrap_or_default()
}

/// The response with another body. The conversion loses the URL, so it is set again.
fn with_body(response: Response, change: impl FnOnce(Body) -> Body) -> Response {
    let url = http::Response::builder().url(response.url().clone());
    let mut response = http::Response::<Body>::from(response).map(change);
    if let Ok(url) = url.body(()) {
        response
            .extensions_mut()
            .extend(url.into_parts().0.extensions);
    }
    response.into()
}

/// The kind of an error (HTTP-3).
fn kind(error: &Error) -> &'static str {
    let Error::Reqwest(error) = error else {
        return OTHER;
    };
    match () {
        // First, because an error of any step can be a timeout.
        () if error.is_timeout() => "timeout",
        () if error.is_connect() => "connect",
        () if error.is_redirect() => "redirect",
        () if error.is_body() => "body",
        () if error.is_decode() => "decode",
        () if error.is_builder() => "builder",
        () if error.is_upgrade() => "upgrade",
        () if error.is_request() => "request",
        () => OTHER,
    }
}

/// An error without its URL, which may hold secrets (HTTP-5).
struct Message<'a>(&'a Error);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Error::Reqwest(error) => match error.source() {
                Some(cause) => Causes(cause).fmt(f),
                None => f.write_str(kind(self.0)),
            },
            Error::Middleware(error) => error.fmt(f),
        }
    }
}
