//! The telemetry around the service.

use std::time::Duration;

use tracing_otlp::sampler::AlwaysOff;
use tracing_otlp::{Protocol, ShutdownGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Room for the spans of a whole run, so that none is dropped while valgrind holds the exporter back.
const ROOM: usize = 1 << 15;
const MEMORY: usize = 1 << 30;

/// The middleware, and the pipeline beneath it.
pub(crate) enum Stack {
    None,
    Tower(Option<ShutdownGuard>),
    Ours(ShutdownGuard),
}

struct Nothing;

impl<S: tracing::Subscriber> Layer<S> for Nothing {}

impl Stack {
    pub(crate) fn start(name: &str, receiver: &str) -> Self {
        match name {
            "none" => Self::None,
            "tower-floor" => {
                let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
                registry.with(Nothing).init();
                Self::Tower(None)
            }
            "tower-unsampled" => Self::Tower(Some(pipeline(receiver, false, false))),
            "sampled" => Self::Ours(pipeline(receiver, true, false)),
            "unsampled" => Self::Ours(pipeline(receiver, false, false)),
            "registry" => Self::Ours(pipeline(receiver, true, true)),
            "registry-unsampled" => Self::Ours(pipeline(receiver, false, true)),
            other => panic!("there is no stack `{other}`"),
        }
    }

    /// Delivers what was recorded, and fails if a span was lost.
    pub(crate) fn end(self) {
        let (Self::Ours(guard) | Self::Tower(Some(guard))) = self else {
            return;
        };
        let _ = guard.shutdown_blocking(Duration::from_secs(60));
        let stats = guard.stats();
        assert_eq!(stats.started, stats.delivered, "{stats}");
        println!("{stats}, unsampled {}", stats.started_unsampled);
    }
}

fn pipeline(receiver: &str, is_sampled: bool, is_own_registry: bool) -> ShutdownGuard {
    let builder = tracing_otlp::builder()
        .with_endpoint(receiver)
        .with_protocol(Protocol::Grpc)
        .with_max_queue_size(ROOM)
        .with_max_memory(MEMORY);
    let builder = match is_sampled {
        true => builder,
        false => builder.with_sampler(AlwaysOff),
    };
    let (layer, guard) = builder.build().expect("valid settings");
    if is_own_registry {
        let registry = tracing_otlp::registry::registry().with(LevelFilter::INFO);
        registry.with(layer).init();
    } else {
        let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
        registry.with(layer).init();
    }
    guard
}
