//! The measured services, and their requests.

use std::convert::Infallible;
use std::future::{Ready as ReadyFuture, poll_fn, ready};
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower_service::Service;
use tracing::{Instrument as _, info, info_span};

/// Answers at once, with one frame.
#[derive(Clone)]
pub(crate) struct Ready;

impl Service<Request<Full<Bytes>>> for Ready {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = ReadyFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        ready(Ok(Response::new(Full::from(
            "{\"user\":4711,\"orders\":42}",
        ))))
    }
}

/// The router of `web`.
pub(crate) fn router() -> Router {
    Router::new().route("/api/v1/users/{id}/orders", get(orders))
}

async fn orders(Path(id): Path<u64>) -> String {
    async {
        let rows = async {
            yield_once().await;
            info!(cache.key = "users", attempt = 1, "rows fetched");
            42
        }
        .instrument(info_span!("db_query", component = "web", item.count = 42))
        .await;
        format!("{{\"user\":{id},\"orders\":{rows}}}")
    }
    .instrument(info_span!("load_user", component = "web", user.id = id))
    .await
}

async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|_| match std::mem::replace(&mut has_yielded, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

const PATH: &str = "/api/v1/users/4711/orders";

/// The request of `wrk`.
pub(crate) fn plain() -> Request<()> {
    let request = Request::get(PATH).header("host", "127.0.0.1:8080");
    request.body(()).expect("a valid request")
}

/// A request of a traced caller, with a browser's headers.
pub(crate) fn called() -> Request<()> {
    let request = Request::get(format!("{PATH}?page=2&sort=date"))
        .header("host", "shop.example:8080")
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0",
        )
        .header(
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        )
        .header("accept-language", "en-US,en;q=0.5")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("connection", "keep-alive")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        .header("tracestate", "vendor=00f067aa0ba902b7");
    request.body(()).expect("a valid request")
}

/// A request to another service.
pub(crate) fn outgoing() -> Request<()> {
    let request = Request::get(format!("http://stock.example:8080{PATH}"));
    let request = request.header("accept", "application/json");
    request.body(()).expect("a valid request")
}
