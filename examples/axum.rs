//! An axum service with nested routers, server-sent events and a WebSocket: what their spans say,
//! and how long they last.
//!
//! ```text
//! cargo run --all-features --example axum
//! ```
//!
//! Its own collector prints what arrived over OTLP.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::{Stream, StreamExt as _};
use tokio_tungstenite::client_async;
use tracing::{info, instrument};
use tracing_otlp::context::{self, FutureExt as _};
use tracing_otlp::middleware::{InFlight, ServerLayer};
use tracing_otlp::testing::{Collector, Trace};
use tracing_otlp::{Protocol, SpanExt as _};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

/// Its span is named `GET /api/users/{id}`: nested routers are part of the route.
#[instrument]
async fn user(Path(id): Path<u32>) -> Result<String, StatusCode> {
    match id {
        13 => Err(StatusCode::INTERNAL_SERVER_ERROR),
        _ => Ok(format!("user {id}")),
    }
}

/// The request's span lasts until the last event is sent: some 30 ms.
async fn ticks() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = tokio_stream::iter(1..=3).then(|n| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        info!(n, "tick");
        Ok(Event::default().data(n.to_string()))
    });
    Sse::new(ticks)
}

/// The request's span ends with the handshake: what is said afterwards has a span of its own, in the
/// same trace, and a shutdown waits for it.
async fn socket(State(in_flight): State<InFlight>, upgrade: WebSocketUpgrade) -> Response {
    let request = context::current();
    let session = in_flight.token();
    let talk = |socket| async move {
        talk(socket).await;
        drop(session);
    };
    upgrade.on_upgrade(|socket| talk(socket).with_trace_context(request))
}

#[instrument(skip_all)]
async fn talk(mut socket: WebSocket) {
    while let Some(Ok(Message::Text(text))) = socket.recv().await {
        info!(%text, "heard");
        if socket.send(Message::Text(text)).await.is_err() {
            break;
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let collector = Collector::start();
    let (otlp, guard) = tracing_otlp::builder()
        .without_env()
        .with_service_name("axum")
        .with_protocol(Protocol::Grpc)
        .with_endpoint(collector.grpc_endpoint())
        .build()?;
    tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(otlp)
        .init();

    let graceful = guard.graceful(Duration::from_secs(5));
    let requests = ServerLayer::new()
        .with_in_flight(graceful.in_flight())
        .with_filter(|request| request.uri().path() != "/health")
        .with_server_timing(true)
        .on_request(|request, span| {
            if let Some(Ok(tenant)) = request.headers().get("x-tenant").map(|v| v.to_str()) {
                span.set_attribute("shop.tenant", tenant.to_owned());
            }
        });
    let users = Router::new().route("/{id}", get(user));
    let app = Router::new()
        .nest("/api/users", users)
        .route("/ticks", get(ticks))
        .route("/socket", get(socket))
        .route("/health", get(|| async { "well" }))
        .fallback(|| async { StatusCode::NOT_FOUND.into_response() })
        .layer(requests)
        .with_state(graceful.in_flight());

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let stop = graceful.stop_handle();
    let client = tokio::spawn(async move {
        let asked = ask(address).await;
        stop.stop();
        asked
    });
    let ended = graceful
        .serve(|stop| axum::serve(listener, app).with_graceful_shutdown(stop))
        .await;
    client.await?.map_err(|error| error as Box<dyn Error>)?;
    ended.pipeline?;

    for trace in Trace::all(&collector.spans()) {
        println!("{trace}");
    }
    println!("{}", guard.stats());
    Ok(())
}

async fn ask(address: SocketAddr) -> Result<(), Box<dyn Error + Send + Sync>> {
    for path in [
        "/api/users/7",
        "/api/users/13",
        "/ticks",
        "/health",
        "/nowhere",
    ] {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nhost: shop\r\nx-tenant: acme\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_end(&mut Vec::new()).await?;
    }
    let stream = TcpStream::connect(address).await?;
    use futures_util::SinkExt as _;
    use tokio_tungstenite::tungstenite::Message;
    let (mut socket, _) = client_async("ws://shop/socket", stream).await?;
    for text in ["hello", "goodbye"] {
        socket.send(Message::text(text)).await?;
        socket.next().await.ok_or("no answer")??;
    }
    socket.close(None).await?;
    Ok(())
}
