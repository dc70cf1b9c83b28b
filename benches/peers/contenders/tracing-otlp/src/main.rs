//! This crate, over gRPC.
//!
//! Variants: `lean` leaves out the attributes that the layer adds by itself (target, place in the
//! source); `registry` is `lean` on this crate's own registry, all others stand on tracing-subscriber's;
//! `gzip` and `zstd` are `lean` with compressed requests; `unsampled` keeps the layer and turns all sampling
//! off, `registry-unsampled` on the own registry; `logs-only` is `lean` with its
//! events as log records instead of span events, and `logs` with both.

use std::sync::LazyLock;
use std::time::Duration;

use harness::workload::KEYS;
use harness::{Account, Contender, LateAttributes, Ledger, Setup, Traced};
use tracing::Span;
use tracing_otlp::config::Compression;
use tracing_otlp::sampler::AlwaysOff;
use tracing_otlp::stats::LogStats;
use tracing_otlp::{DropReason, Events, KeyValue, Protocol, ShutdownGuard, SpanExt, Stats};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// No measurement here comes near it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Room for a million open spans of `wide`.
const MEMORY: usize = 1 << 32;

fn main() {
    harness::run::<TracingOtlp>();
}

struct Late;

impl LateAttributes for Late {
    fn set(span: &Span, key: &'static str, value: i64) {
        span.set_attribute(key, value);
    }

    fn set_all(span: &Span) {
        static ALL: LazyLock<Vec<KeyValue>> = LazyLock::new(|| {
            let numbered = (0i64..).zip(KEYS.iter());
            numbered
                .map(|(value, key)| KeyValue::new(key.as_str(), value))
                .collect()
        });
        span.set_attributes(&ALL);
    }
}

struct TracingOtlp {
    guard: ShutdownGuard,
    has_logs: bool,
}

impl Contender for TracingOtlp {
    type Work = Traced<Late>;

    fn start(setup: &Setup) -> Self {
        let mut builder = tracing_otlp::builder()
            .with_endpoint(&setup.url)
            .with_protocol(Protocol::Grpc);
        if let Some(spans) = setup.queue {
            builder = builder.with_max_queue_size(spans).with_max_memory(MEMORY);
        }
        builder = match setup.variant.as_str() {
            "" => builder,
            "lean" | "registry" => builder.with_target(false).with_location(false),
            "gzip" => builder
                .with_target(false)
                .with_location(false)
                .with_compression(Compression::Gzip),
            "zstd" => builder
                .with_target(false)
                .with_location(false)
                .with_compression(Compression::Zstd),
            "logs" | "logs-only" => builder.with_target(false).with_location(false).with_logs(
                match setup.variant.as_str() {
                    "logs" => Events::AsBoth,
                    _ => Events::AsLogs,
                },
            ),
            "unsampled" | "registry-unsampled" => builder.with_sampler(AlwaysOff),
            other => panic!("tracing-otlp has no variant `{other}`"),
        };
        let (layer, guard) = builder.build().expect("valid settings");
        if setup.variant.starts_with("registry") {
            tracing_otlp::registry::registry()
                .with(LevelFilter::INFO)
                .with(layer)
                .init();
        } else {
            tracing_subscriber::registry()
                .with(LevelFilter::INFO)
                .with(layer)
                .init();
        }
        Self {
            guard,
            has_logs: setup.variant.starts_with("logs"),
        }
    }

    fn flush(&self) {
        // A flush that fails shows in the ledger.
        let _ = self.guard.force_flush_blocking(PATIENCE);
    }

    fn shutdown(self) -> Option<Ledger> {
        let _ = self.guard.shutdown_blocking(PATIENCE);
        let stats = self.guard.stats();
        Some(Ledger {
            spans: spans(&stats),
            records: self.has_logs.then(|| records(&stats.logs)),
        })
    }
}

fn spans(stats: &Stats) -> Account {
    Account {
        seen: stats.started + stats.started_unsampled,
        unsampled: stats.started_unsampled,
        open: stats.open,
        delivered: stats.delivered,
        dropped: dropped(|reason| stats.dropped(reason), stats.rejected),
        unconfirmed: stats.dropped(DropReason::Unconfirmed),
        summary: format!("{stats}, unsampled {}", stats.started_unsampled),
    }
}

fn records(stats: &LogStats) -> Account {
    Account {
        seen: stats.emitted,
        unsampled: 0,
        open: 0,
        delivered: stats.delivered,
        dropped: dropped(|reason| stats.dropped(reason), stats.rejected),
        unconfirmed: stats.dropped(DropReason::Unconfirmed),
        summary: stats.to_string(),
    }
}

fn dropped(of: impl Fn(DropReason) -> u64, rejected: u64) -> Vec<(&'static str, u64)> {
    let counted = DropReason::ALL
        .iter()
        .map(|&reason| (reason.as_str(), of(reason)));
    let mut dropped: Vec<_> = counted.collect();
    dropped.push(("rejected", rejected));
    dropped
}
