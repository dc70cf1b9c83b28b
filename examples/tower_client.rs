//! An HTTP client that tries again: each attempt is a span with its number, and its server's is its
//! child.
//!
//! ```text
//! cargo run --all-features --example tower_client
//! ```
//!
//! Its own collector prints what arrived over OTLP.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpInfo;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::time::{Sleep, sleep};
use tower::retry::Policy;
use tower::{ServiceBuilder, ServiceExt as _};
use tracing::level_filters::LevelFilter;
use tracing::{Instrument as _, info, info_span};
use tracing_otlp::fmt::with_trace_ids;
use tracing_otlp::middleware::{ClientLayer, ResendsLayer, ServerLayer, UrlTemplate};
use tracing_otlp::testing::{Collector, Trace};
use tracing_subscriber::prelude::*;

/// Tries again what a server was too busy for, three times, and waits longer each time.
#[derive(Clone, Copy, Default)]
struct Patience {
    tries: u32,
}

impl<R, E> Policy<Request<Empty<Bytes>>, Response<R>, E> for Patience {
    type Future = Sleep;

    fn retry(
        &mut self,
        _: &mut Request<Empty<Bytes>>,
        result: &mut Result<Response<R>, E>,
    ) -> Option<Sleep> {
        let status = result.as_ref().ok()?.status();
        self.tries += 1;
        let is_worth_it = status == StatusCode::SERVICE_UNAVAILABLE && self.tries <= 3;
        is_worth_it.then(|| sleep(Duration::from_millis(5) * self.tries))
    }

    // With its extensions, which hold the count.
    fn clone_request(&mut self, request: &Request<Empty<Bytes>>) -> Option<Request<Empty<Bytes>>> {
        Some(request.clone())
    }
}

/// Ready at the third request.
fn app() -> Router {
    let asked = Arc::new(AtomicU32::new(0));
    let order = async move || match asked.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => (StatusCode::SERVICE_UNAVAILABLE, "not yet"),
        _ => (StatusCode::OK, "two cups of tea"),
    };
    Router::new()
        .route("/orders/{id}", get(order))
        .layer(ServerLayer::new())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let collector = Collector::start();
    let (otlp, guard) = tracing_otlp::builder()
        .without_env()
        .with_service_name("tea-house")
        .with_endpoint(collector.http_endpoint())
        .build()?;
    let log = tracing_subscriber::fmt::layer().map_event_format(with_trace_ids);
    tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(otlp)
        .with(log)
        .init();

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { axum::serve(listener, app()).await });

    // From outside to inside: what counts, what tries again, what makes a span of each attempt.
    let client = ServiceBuilder::new()
        .layer(ResendsLayer::new())
        .retry(Patience::default())
        .layer(
            ClientLayer::new()
                .with_whole_body(true)
                .with_peer(|extensions| extensions.get().map(HttpInfo::remote_addr)),
        )
        .service(Client::builder(TokioExecutor::new()).build_http());

    let request = Request::get(format!("http://{address}/orders/7"))
        .extension(UrlTemplate::new("/orders/{id}"))
        .body(Empty::new())?;
    async {
        let response = client.oneshot(request).await?;
        let order = response.into_body().collect().await?.to_bytes();
        info!(order = %String::from_utf8_lossy(&order), "served");
        Ok::<_, Box<dyn Error>>(())
    }
    .instrument(info_span!("order"))
    .await?;
    server.abort();
    let _ = server.await;

    guard.shutdown(Duration::from_secs(5)).await?;
    println!();
    for trace in Trace::all(&collector.spans()) {
        println!("{trace}");
    }
    println!("{}", guard.stats());
    Ok(())
}
