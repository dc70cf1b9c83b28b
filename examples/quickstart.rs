//! A small shop as an axum service whose spans go to an OTLP endpoint.
//!
//! ```text
//! cargo run --example quickstart             its own collector, a few requests, then serves
//! cargo run --example quickstart -- --exit   the same, and ends
//! OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 cargo run --example quickstart
//! ```
//!
//! Without an endpoint it starts the collector that tests use, inside this process, and prints what
//! arrives there: real HTTP requests, real OTLP over gRPC, nothing made up.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::{TcpListener, TcpStream};
use tracing::{Instrument as _, Span, error, info, instrument};
use tracing_otlp::PipelineHandle;
use tracing_otlp::middleware::ServerLayer;
use tracing_otlp::testing::{Collector, Trace};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const DEADLINE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let exit = std::env::args().any(|a| a == "--exit");

    // Somebody else's collector if one is named, else our own.
    let given = [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    ]
    .iter()
    .any(|name| std::env::var(name).is_ok_and(|v| !v.is_empty()));
    let collector = if given {
        None
    } else {
        Some(Collector::try_start()?)
    };

    // These lines are all that an application needs.
    let mut builder = tracing_otlp::builder().with_service_name("quickstart");
    if let Some(collector) = &collector {
        builder = builder.with_endpoint(collector.grpc_endpoint());
        builder = builder.with_protocol(tracing_otlp::Protocol::Grpc);
    }
    let (layer, guard) = builder.build()?;
    tracing_subscriber::registry()
        .with(tracing_subscriber::filter::LevelFilter::INFO)
        .with(layer)
        .init();

    // On Ctrl-C requests in flight are answered, and then the pipeline ends.
    let graceful = guard.graceful(DEADLINE);
    let requests = ServerLayer::new().with_in_flight(graceful.in_flight());
    let app = Router::new()
        .route("/orders/{id}", get(order))
        .route("/stock", get(stock))
        .route("/pay/{id}", get(pay))
        .layer(requests);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;

    let stop = graceful.stop_handle();
    let pipeline = guard.handle();
    let demo = tokio::spawn(async move {
        let shown = show(address, &pipeline, collector.as_ref()).await;
        match exit || shown.is_err() {
            true => stop.stop(),
            false => {
                println!("Serving on http://{address}/orders/1 and /stock, /pay/13 until Ctrl-C.")
            }
        }
        shown
    });
    let ended = graceful
        .serve(|stop| axum::serve(listener, app).with_graceful_shutdown(stop))
        .await;
    demo.await?.map_err(|error| error as Box<dyn Error>)?;
    ended.pipeline?;
    println!("{}", guard.stats());
    Ok(())
}

/// A few requests, and what arrived of them.
async fn show(
    address: SocketAddr,
    pipeline: &PipelineHandle,
    collector: Option<&Collector>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    for path in ["/orders/4711", "/stock", "/pay/13", "/nowhere"] {
        let status = fetch(address, path).await?;
        println!("GET {path} -> {status}");
    }
    pipeline.force_flush(DEADLINE).await?;
    if let Some(collector) = collector {
        println!("\nWhat arrived at {}:\n", collector.grpc_endpoint());
        for trace in Trace::all(&collector.spans()) {
            println!("{trace}");
        }
    }
    Ok(())
}

/// A nested call and an event.
#[instrument(skip_all, fields(order.id = id))]
async fn order(Path(id): Path<u64>) -> Json<serde_json::Value> {
    let lines = load(id).await;
    info!(lines, "order found");
    Json(serde_json::json!({ "id": id, "lines": lines }))
}

#[instrument(fields(otel.kind = "client", db.system.name = "postgresql"))]
async fn load(id: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(3)).await;
    Span::current().record("id", id);
    id % 7
}

/// Tasks that run at the same time, each with a span of its own.
#[instrument]
async fn stock() -> Json<serde_json::Value> {
    let tasks: Vec<_> = ["north", "south", "harbour"]
        .into_iter()
        .map(|depot| tokio::spawn(count(depot).in_current_span()))
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await.unwrap_or(0);
    }
    Json(serde_json::json!({ "total": total }))
}

#[instrument]
async fn count(depot: &'static str) -> usize {
    tokio::time::sleep(Duration::from_millis(depot.len() as u64)).await;
    info!(items = depot.len(), "counted");
    depot.len()
}

/// An error that the span tells of.
#[instrument(skip_all, fields(order.id = id))]
async fn pay(Path(id): Path<u64>) -> Result<&'static str, StatusCode> {
    charge(id).await.map_err(|e| {
        error!(order.id = id, reason = %e, "payment failed");
        StatusCode::BAD_GATEWAY
    })?;
    Ok("paid")
}

#[instrument(err, fields(otel.kind = "client"))]
async fn charge(id: u64) -> Result<(), String> {
    tokio::time::sleep(Duration::from_millis(2)).await;
    match id % 13 {
        0 => Err(format!("the bank refused order {id}")),
        _ => Ok(()),
    }
}

/// A plain HTTP/1.1 request, and the status that came back.
async fn fetch(address: SocketAddr, path: &str) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    let status = response.lines().next().unwrap_or_default();
    Ok(status.trim_start_matches("HTTP/1.1 ").to_owned())
}
