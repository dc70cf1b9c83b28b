//! What is answered to a request for the page or its data.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION,
    REFERRER_POLICY, SERVER, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{Response, StatusCode};
use rand::TryRng as _;
use rand::rngs::SysRng;
use serde_json::json;
use tokio::sync::Semaphore;

use super::body::Body;
use super::events;
use super::filter::Filter;
use super::gate::{self, Gate, Pass, Refused};
use super::store::Store;
use super::{json, list, logs};
use crate::text;

/// The product by which another process knows a viewer of ours.
pub(super) const PRODUCT: &str = "tracing-otlp-viewer";

/// The page, with a place for its nonce.
const PAGE: &str = include_str!("page.html");

/// What the requests share.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) gate: Gate,
    pub(super) store: Arc<Store>,
    /// Where OTLP over HTTP is taken, for other processes of this machine.
    pub(super) otlp: Option<String>,
    /// How many may listen to events at once.
    pub(super) listeners: Arc<Semaphore>,
}

enum Route {
    Page,
    List,
    Logs,
    Trace([u8; 16]),
    Events,
    Health,
}

impl Site {
    pub(super) fn answer(&self, head: &Parts) -> Response<Body> {
        let mut response = match self.route(head) {
            Ok(response) => response,
            Err(refused) => refusal(refused),
        };
        let headers = response.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static(PRODUCT));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers
            .entry(CONTENT_SECURITY_POLICY)
            .or_insert(HeaderValue::from_static(
                "default-src 'none'; frame-ancestors 'none'",
            ));
        for name in ["cross-origin-resource-policy", "cross-origin-opener-policy"] {
            headers.insert(name, HeaderValue::from_static("same-origin"));
        }
        response
    }

    fn route(&self, head: &Parts) -> Result<Response<Body>, Refused> {
        self.gate.check_source(head)?;
        gate::check_method(head)?;
        let route = match head.uri.path() {
            "/" | "/logs" => Route::Page,
            "/api/traces" => Route::List,
            "/api/logs" => Route::Logs,
            "/api/events" => Route::Events,
            "/health" => Route::Health,
            path => {
                let page = path.strip_prefix("/traces/").map(|id| (id, true));
                let data = path.strip_prefix("/api/traces/").map(|id| (id, false));
                match page.or(data).and_then(|(id, p)| Some((trace_id(id)?, p))) {
                    Some((_, true)) => Route::Page,
                    Some((id, false)) => Route::Trace(id),
                    None => return Err((StatusCode::NOT_FOUND, "Nothing is here.\n")),
                }
            }
        };
        if matches!(route, Route::Health) {
            // Without a token, and without a secret.
            return Ok(self.health());
        }
        if let Pass::Redirect { to, cookie } =
            self.gate.check_token(head, matches!(route, Route::Page))?
        {
            return redirect(&to, &cookie);
        }
        let query = head.uri.query().unwrap_or_default();
        match route {
            Route::Page => page(),
            Route::List => Ok(match Filter::parse(query) {
                Ok(filter) => answer(StatusCode::OK, &list::list(&self.store, &filter)),
                Err(why) => answer(StatusCode::BAD_REQUEST, &json!({ "error": why })),
            }),
            Route::Logs => Ok(match Filter::parse(query) {
                Ok(filter) => answer(StatusCode::OK, &logs::list(&self.store, &filter)),
                Err(why) => answer(StatusCode::BAD_REQUEST, &json!({ "error": why })),
            }),
            Route::Trace(id) => Ok(match self.store.trace(id) {
                Some(trace) => answer(StatusCode::OK, &json::trace(&trace)),
                None => answer(
                    StatusCode::NOT_FOUND,
                    &json!({ "error": "no such trace: it was evicted, or never came" }),
                ),
            }),
            Route::Events => Ok(match Filter::parse(query) {
                Ok(filter) => {
                    let permit = Arc::clone(&self.listeners).try_acquire_owned();
                    let permit = permit.map_err(|_| {
                        (
                            StatusCode::SERVICE_UNAVAILABLE,
                            "Too many pages are open.\n",
                        )
                    })?;
                    let events = events::subscribe(Arc::clone(&self.store), filter, permit);
                    typed("text/event-stream", Body::Events(events, None))
                }
                Err(why) => answer(StatusCode::BAD_REQUEST, &json!({ "error": why })),
            }),
            Route::Health => Ok(self.health()),
        }
    }

    fn health(&self) -> Response<Body> {
        let version = env!("CARGO_PKG_VERSION");
        let health = json!({ "product": PRODUCT, "version": version, "otlp_http": self.otlp });
        answer(StatusCode::OK, &health)
    }
}

/// Lower-case hex, as everywhere; no other spelling, so that a trace has one address.
fn trace_id(text: &str) -> Option<[u8; 16]> {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != 32 || !text.bytes().all(is_hex) {
        return None;
    }
    Some(u128::from_str_radix(text, 16).ok()?.to_be_bytes())
}

fn typed(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn answer(status: StatusCode, json: &serde_json::Value) -> Response<Body> {
    let mut response = typed("application/json", json.to_string().into());
    *response.status_mut() = status;
    response
}

fn refusal((status, text): Refused) -> Response<Body> {
    let mut response = typed("text/plain; charset=utf-8", text.into());
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let headers = response.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

fn redirect(to: &str, cookie: &str) -> Result<Response<Body>, Refused> {
    const UNREADABLE: Refused = (StatusCode::BAD_REQUEST, "The address cannot be read.\n");
    let mut response = Response::new(Bytes::new().into());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_str(to).map_err(|_| UNREADABLE)?);
    headers.insert(
        SET_COOKIE,
        HeaderValue::from_str(cookie).map_err(|_| UNREADABLE)?,
    );
    Ok(response)
}

/// The page, with a nonce of its own for its script and its style: nothing else runs in it.
fn page() -> Result<Response<Body>, Refused> {
    const NO_NONCE: Refused = (
        StatusCode::INTERNAL_SERVER_ERROR,
        "The system gave no nonce.\n",
    );
    let mut bytes = [0; 16];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| NO_NONCE)?;
    let nonce = text::hex(&bytes);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::from_str(&policy).map_err(|_| NO_NONCE)?;
    let html = PAGE.replace("{{nonce}}", &nonce);
    let mut response = typed("text/html; charset=utf-8", html.into());
    response
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}
