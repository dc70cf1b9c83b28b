//! The server of mini-redis, an application that its authors instrumented, each time with another pipeline beside
//! an `EnvFilter` and the fmt layer: `redis MODE RECEIVER-URL ADDRESS-FILE RESULT-FILE`.
//!
//! - `fmt`: no pipeline
//! - `tracing-otlp`: this crate with its defaults, over gRPC
//! - `tracing-otlp-registry`: the same on this crate's own registry
//! - `otel`: tracing-opentelemetry, the SDK's batch processor, opentelemetry-otlp over gRPC, with their defaults
//! - `fastrace-tracing`: fastrace's layer for `tracing` and its reporter over the same exporter
//!
//! mini-redis makes a span for each connection and one for each command. After SIGTERM it writes what its process
//! has spent, how many spans were made, and what this crate's account says.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use std::{env, fs};

use fastrace_opentelemetry::OpenTelemetryReporter;
use fastrace_tracing::FastraceCompatLayer;
use opentelemetry::InstrumentationScope;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Subscriber;
use tracing::span::{Attributes, Id};
use tracing_otlp::{DropReason, Protocol, ShutdownGuard};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

static MADE: AtomicU64 = AtomicU64::new(0);

/// Counts the spans that pass the filter, beside every pipeline.
struct Counting;

impl<S: Subscriber> Layer<S> for Counting {
    fn on_new_span(&self, _: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        MADE.fetch_add(1, Relaxed);
    }
}

/// What has to end before the process does.
enum Pipeline {
    None,
    Ours(ShutdownGuard),
    Otel(SdkTracerProvider),
    Fastrace,
}

fn main() {
    let args: Vec<_> = env::args().collect();
    let [_, mode, receiver, address_file, result_file] = &args[..] else {
        panic!("redis MODE RECEIVER-URL ADDRESS-FILE RESULT-FILE");
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let pipeline = runtime.block_on(async {
        let pipeline = subscribe(mode, receiver);
        serve(address_file).await;
        pipeline
    });
    // Outside of the runtime, where each of them may wait. A flush that fails shows in the spans that arrive.
    let account = match pipeline {
        Pipeline::None => Value::Null,
        Pipeline::Ours(guard) => {
            let _ = guard.shutdown_blocking(Duration::from_secs(10));
            account(&guard)
        }
        Pipeline::Otel(provider) => {
            let _ = provider.shutdown();
            Value::Null
        }
        Pipeline::Fastrace => {
            fastrace::flush();
            Value::Null
        }
    };
    let result = json!({
        "cpu_ns": harness::process_cpu_nanos(),
        "made": MADE.load(Relaxed),
        "account": account,
    });
    fs::write(result_file, result.to_string()).expect("a writable result file");
}

async fn serve(address_file: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let mut stop = signal(SignalKind::terminate()).expect("a signal to listen to");
    fs::write(address_file, address.to_string()).expect("a writable address file");
    let served = mini_redis::server::run(listener, stop.recv()).await;
    served.expect("a server");
}

/// The same filter and the same fmt layer on `$registry`, and `$layer` beside them.
macro_rules! subscribe {
    ($registry:expr, $layer:expr) => {
        $registry
            .with(EnvFilter::new("info"))
            .with(fmt::layer())
            .with(Counting)
            .with($layer)
            .init()
    };
}

fn subscribe(mode: &str, receiver: &str) -> Pipeline {
    match mode {
        "fmt" => {
            subscribe!(
                tracing_subscriber::registry(),
                tracing_subscriber::layer::Identity::new()
            );
            Pipeline::None
        }
        "tracing-otlp" | "tracing-otlp-registry" => {
            let builder = tracing_otlp::builder()
                .with_endpoint(receiver)
                .with_protocol(Protocol::Grpc);
            let (layer, guard) = builder.build().expect("valid settings");
            match mode {
                "tracing-otlp" => subscribe!(tracing_subscriber::registry(), layer),
                _ => subscribe!(tracing_otlp::registry::registry(), layer),
            }
            Pipeline::Ours(guard)
        }
        "otel" => {
            let provider = SdkTracerProvider::builder()
                .with_batch_exporter(exporter(receiver))
                .build();
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("redis"));
            subscribe!(tracing_subscriber::registry(), layer);
            Pipeline::Otel(provider)
        }
        "fastrace-tracing" => {
            let runtime = Handle::current();
            let reporter = OpenTelemetryReporter::new(
                exporter(receiver),
                Cow::Owned(Resource::builder().build()),
                InstrumentationScope::builder("redis").build(),
            )
            .with_block_on(move |export| runtime.block_on(export));
            fastrace::set_reporter(reporter, fastrace::collector::Config::default());
            subscribe!(tracing_subscriber::registry(), FastraceCompatLayer::new());
            Pipeline::Fastrace
        }
        other => panic!("there is no mode `{other}`"),
    }
}

fn exporter(receiver: &str) -> SpanExporter {
    let exporter = SpanExporter::builder().with_tonic();
    exporter
        .with_endpoint(receiver)
        .build()
        .expect("a valid endpoint")
}

fn account(guard: &ShutdownGuard) -> Value {
    let stats = guard.stats();
    let dropped: u64 = DropReason::ALL
        .iter()
        .map(|&reason| stats.dropped(reason))
        .sum();
    json!({
        "seen": stats.started + stats.started_unsampled,
        "delivered": stats.delivered,
        "given_up": dropped + stats.rejected + stats.started_unsampled,
        "unconfirmed": stats.dropped(DropReason::Unconfirmed),
        "summary": stats.to_string(),
    })
}
