//! One axum server, each time with other telemetry: `web MODE RECEIVER-URL ADDRESS-FILE`.
//!
//! - `none`: no middleware and no subscriber
//! - `tower-floor`: tower-http's `TraceLayer`, a registry and a layer that does nothing
//! - `tower-otel`: tower-http's `TraceLayer`, tracing-opentelemetry, batch processor, OTLP over gRPC
//! - `axum-otel`: axum-tracing-opentelemetry's layers, the same pipeline
//! - `tracing-otlp`: this crate's `ServerLayer` and pipeline, over gRPC
//! - `tracing-otlp-unsampled`: the same, and nothing is sampled
//!
//! The handler makes two more spans and one event. `GET /cpu` tells the nanoseconds that the process
//! has spent so far; it passes no middleware.

use std::time::Duration;
use std::{env, fs};

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use axum_tracing_opentelemetry::middleware::{OtelAxumLayer, OtelInResponseLayer};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower_http::trace::{DefaultMakeSpan, TraceLayer};
use tracing::{Instrument as _, Level, info, info_span};
use tracing_otlp::Protocol;
use tracing_otlp::ShutdownGuard;
use tracing_otlp::middleware::ServerLayer;
use tracing_otlp::sampler::AlwaysOff;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

struct Nothing;

impl<S: tracing::Subscriber> Layer<S> for Nothing {}

async fn orders(Path(id): Path<u64>) -> String {
    async {
        let rows = async {
            tokio::task::yield_now().await;
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

/// What has to end before the process does.
enum Pipeline {
    None,
    Otel(SdkTracerProvider),
    Ours(ShutdownGuard),
}

fn otel(receiver: &str) -> Pipeline {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(receiver)
        .build()
        .expect("a valid endpoint");
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .build();
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("web"));
    let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
    registry.with(layer).init();
    Pipeline::Otel(provider)
}

fn ours(receiver: &str, is_sampled: bool) -> Pipeline {
    let builder = tracing_otlp::builder()
        .with_endpoint(receiver)
        .with_protocol(Protocol::Grpc);
    let builder = match is_sampled {
        true => builder,
        false => builder.with_sampler(AlwaysOff),
    };
    let (layer, guard) = builder.build().expect("valid settings");
    let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
    registry.with(layer).init();
    Pipeline::Ours(guard)
}

fn main() {
    let args: Vec<_> = env::args().collect();
    let [_, mode, receiver, address_file] = &args[..] else {
        panic!("web MODE RECEIVER-URL ADDRESS-FILE");
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let pipeline = runtime.block_on(serve(mode, receiver, address_file));
    // A flush that fails shows in the spans that arrive.
    match pipeline {
        Pipeline::None => {}
        Pipeline::Otel(provider) => drop(provider.shutdown()),
        Pipeline::Ours(guard) => drop(guard.shutdown_blocking(Duration::from_secs(10))),
    }
}

async fn serve(mode: &str, receiver: &str, address_file: &str) -> Pipeline {
    let app = Router::new().route("/api/v1/users/{id}/orders", get(orders));
    let tower = || {
        let make = DefaultMakeSpan::new().level(Level::INFO);
        TraceLayer::new_for_http().make_span_with(make)
    };
    let (app, pipeline) = match mode {
        "none" => (app, Pipeline::None),
        "tower-floor" => {
            let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
            registry.with(Nothing).init();
            (app.layer(tower()), Pipeline::None)
        }
        "tower-otel" => (app.layer(tower()), otel(receiver)),
        "axum-otel" => {
            let app = app.layer(OtelInResponseLayer);
            (app.layer(OtelAxumLayer::default()), otel(receiver))
        }
        "tracing-otlp" => (app.layer(ServerLayer::new()), ours(receiver, true)),
        "tracing-otlp-unsampled" => (app.layer(ServerLayer::new()), ours(receiver, false)),
        other => panic!("there is no mode `{other}`"),
    };
    let app = app.route(
        "/cpu",
        get(async || harness::process_cpu_nanos().to_string()),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    fs::write(address_file, address.to_string()).expect("a writable address file");
    let mut stop = signal(SignalKind::terminate()).expect("a signal to listen to");
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            stop.recv().await;
        })
        .await
        .expect("a server");
    pipeline
}
