//! What `ServerLayer` does for tower, in a middleware of actix-web.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderMap;
use actix_web::middleware::Next;
use tracing::{Instrument as _, field, info_span};
use tracing_otlp::propagation::{self, Extractor, Propagator as _};
use tracing_otlp::{SpanExt as _, TraceContext};

/// The headers of a request: the type is actix-web's own, not that of the crate `http`.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn get_all(&self, key: &str) -> propagation::Values<'_> {
        let values = self.0.get_all(key).filter_map(|value| value.to_str().ok());
        values.collect::<Vec<_>>().into()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}

/// Runs each request in a span: `App::new().wrap(from_fn(trace))`.
pub async fn trace(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> actix_web::Result<ServiceResponse<impl MessageBody>> {
    let method = request.method().as_str();
    // The pattern, never the path: span names are few.
    let route = request.match_pattern();
    let name = match &route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    };
    let span = info_span!(
        "request",
        otel.name = name,
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        url.path = request.path(),
        http.response.status_code = field::Empty,
        otel.status_code = field::Empty,
    );
    let caller =
        propagation::global().extract(TraceContext::default(), &Headers(request.headers()));
    if caller.is_valid() {
        // An error only for a span that has children already.
        let _ = span.set_parent(caller);
    }
    let result = next.call(request).instrument(span.clone()).await;
    let status = match &result {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    result
}
