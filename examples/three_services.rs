//! Three services that call each other over HTTP, one of them slow: one trace.
//!
//! ```text
//! cargo run --all-features --example three_services
//! ```
//!
//! The shop asks its stock, the stock asks the shop for prices and the depot, which is slow, for what
//! is there. Each service has a pipeline of its own, as three processes would; the collector that all
//! of them send to prints what arrived over OTLP.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode, Uri};
use axum::routing::get;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tower::{Layer as _, Service as _};
use tracing::{info, instrument};
use tracing_otlp::Protocol;
use tracing_otlp::graceful::{Ended, StopHandle};
use tracing_otlp::middleware::{ClientLayer, ServerLayer, UrlTemplate};
use tracing_otlp::testing::{Collector, Trace};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

type Failure = Box<dyn Error + Send + Sync>;

/// Where everybody listens.
#[derive(Clone, Copy)]
struct Addresses {
    shop: SocketAddr,
    stock: SocketAddr,
    depot: SocketAddr,
}

/// What a service asks of another one: the span and the headers are the layer's.
async fn ask(address: SocketAddr, template: &'static str, id: u32) -> Result<String, StatusCode> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let mut client = ClientLayer::new().layer(client);
    let path = template.replace("{id}", &id.to_string());
    let uri = Uri::builder()
        .scheme("http")
        .authority(address.to_string())
        .path_and_query(path)
        .build()
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let request = Request::get(uri)
        .extension(UrlTemplate::new(template))
        .body(Empty::new())
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let unreachable = |_| StatusCode::BAD_GATEWAY;
    let response = client.call(request).await.map_err(unreachable)?;
    match response.status() {
        StatusCode::OK => {}
        status => return Err(status),
    }
    let body = response.into_body().collect().await;
    let body = body.map_err(|_| StatusCode::BAD_GATEWAY)?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

async fn order(Path(id): Path<u32>, State(to): State<Addresses>) -> Result<String, StatusCode> {
    ask(to.stock, "/items/{id}", id).await
}

#[instrument]
async fn price(Path(id): Path<u32>) -> String {
    info!(cents = id * 100, "price found");
    (id * 100).to_string()
}

async fn item(Path(id): Path<u32>, State(to): State<Addresses>) -> Result<String, StatusCode> {
    // Both at once: one answers while the other is still being asked.
    let (price, shelf) = tokio::join!(
        ask(to.shop, "/prices/{id}", id),
        ask(to.depot, "/shelves/{id}", id)
    );
    Ok(format!("{} for {}", shelf?, price?))
}

/// It takes its time.
#[instrument]
async fn shelf(Path(id): Path<u32>) -> Result<String, Infallible> {
    tokio::time::sleep(Duration::from_millis(40)).await;
    Ok(format!("{id} pieces"))
}

/// Runs a service on a thread of its own, with a pipeline of its own, until it is stopped.
fn start(
    name: &'static str,
    collector: String,
    listener: std::net::TcpListener,
    app: Router,
    stops: &std::sync::mpsc::Sender<StopHandle>,
) -> thread::JoinHandle<Result<(), Failure>> {
    let stops = stops.clone();
    thread::spawn(move || {
        let (otlp, guard) = tracing_otlp::builder()
            .without_env()
            .with_service_name(name)
            .with_protocol(Protocol::Grpc)
            .with_endpoint(collector)
            .build()?;
        let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
        // A process would use `init`; here each thread is one.
        let _default = registry.with(otlp).set_default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let graceful = guard.graceful(Duration::from_secs(5));
            let _ = stops.send(graceful.stop_handle());
            let layer = ServerLayer::new().with_in_flight(graceful.in_flight());
            let app = app.layer(layer);
            let serve = |stop| async {
                let listener = TcpListener::from_std(listener)?;
                axum::serve(listener, app)
                    .with_graceful_shutdown(stop)
                    .await
            };
            let ended: Ended<std::io::Result<()>> = graceful.serve(serve).await;
            Ok(ended.pipeline?)
        })
    })
}

fn main() -> Result<(), Failure> {
    let collector = Collector::start();
    let listen = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, address))
    };
    let (shop, stock, depot) = (listen()?, listen()?, listen()?);
    let to = Addresses {
        shop: shop.1,
        stock: stock.1,
        depot: depot.1,
    };
    let shop_app = Router::new()
        .route("/orders/{id}", get(order))
        .route("/prices/{id}", get(price))
        .with_state(to);
    let stock_app = Router::new().route("/items/{id}", get(item)).with_state(to);
    let depot_app = Router::new().route("/shelves/{id}", get(shelf));

    let (stops, stopping) = std::sync::mpsc::channel();
    let run = |name, listener, app| start(name, collector.grpc_endpoint(), listener, app, &stops);
    let services = [
        run("shop", shop.0, shop_app),
        run("stock", stock.0, stock_app),
        run("depot", depot.0, depot_app),
    ];

    let answer = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
            let uri = format!("http://{}/orders/7", to.shop).parse()?;
            let body = client.get(uri).await?.into_body().collect().await?;
            Ok::<_, Failure>(body.to_bytes())
        })?;
    println!("GET /orders/7 -> {}\n", String::from_utf8_lossy(&answer));
    for stop in stopping.iter().take(services.len()) {
        stop.stop();
    }
    for service in services {
        service.join().map_err(|_| "a service panicked")??;
    }
    for trace in Trace::all(&collector.spans()) {
        println!("{trace}");
    }
    Ok(())
}
