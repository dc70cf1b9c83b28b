//! A pipeline against a collector, and the sums that must hold whatever happened.

use std::time::{Duration, Instant};

use tracing::Dispatch;
use tracing_otlp::testing::Collector;
use tracing_otlp::{DropReason, Error, OtlpBuilder, OtlpConfig, Protocol, ShutdownGuard, Stats};
use tracing_subscriber::prelude::*;

pub const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

/// A pipeline under test; spans are made in its subscriber.
pub struct Pipeline {
    pub guard: ShutdownGuard,
    dispatch: Dispatch,
}

/// Settings under which nothing takes long, no deadline passes, and nothing is sent before a batch is
/// full or a flush asks for it.
pub fn builder(protocol: Protocol, endpoint: &str) -> OtlpBuilder {
    tracing_otlp::builder()
        .without_env()
        .with_protocol(protocol)
        .with_endpoint(endpoint)
        .with_timeout(super::DEADLINE)
        .with_export_timeout(2 * super::DEADLINE)
        .with_connect_timeout(super::DEADLINE)
        .with_schedule_delay(Duration::from_secs(3600))
        .with_max_export_batch_size(512)
        .with_max_memory(64 << 20)
        .configure(quick)
}

fn quick(config: &mut OtlpConfig) {
    let retry = &mut config.connection.retry;
    retry.initial_backoff = Duration::from_millis(5);
    retry.max_backoff = Duration::from_millis(50);
}

impl Pipeline {
    pub fn start(builder: OtlpBuilder) -> Self {
        let (layer, guard) = builder.build().unwrap();
        // `.ci/run tests` runs these tests on both registries.
        let is_own = std::env::var("TESTS_ON_OWN_REGISTRY").is_ok_and(|value| value == "1");
        let dispatch = match is_own {
            true => Dispatch::new(tracing_otlp::registry().with(layer)),
            false => Dispatch::new(tracing_subscriber::registry().with(layer)),
        };
        Self { guard, dispatch }
    }

    pub fn of(protocol: Protocol, collector: &Collector) -> Self {
        Self::start(builder(protocol, &collector.endpoint(protocol)))
    }

    /// Records `n` spans of `bytes` each, or a little more.
    pub fn spans(&self, n: usize, bytes: usize) {
        let text = "x".repeat(bytes);
        self.within(|| {
            for i in 0..n {
                drop(tracing::info_span!("work", i, text = text.as_str()));
            }
        });
    }

    pub fn within<R>(&self, f: impl FnOnce() -> R) -> R {
        tracing::dispatcher::with_default(&self.dispatch, f)
    }

    pub fn flush(&self) -> Result<(), Error> {
        self.guard.force_flush_blocking(super::DEADLINE)
    }

    pub fn stats(&self) -> Stats {
        self.guard.stats()
    }

    /// Waits until `condition` holds for the figures.
    #[track_caller]
    pub fn until(&self, condition: impl Fn(&Stats) -> bool) -> Stats {
        let deadline = Instant::now() + super::DEADLINE;
        loop {
            let stats = self.stats();
            if condition(&stats) {
                return stats;
            }
            assert!(Instant::now() < deadline, "in vain: {}", told(&stats));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the pipeline and checks the sums (DESIGN §1, promise 2). `received`: spans that the
    /// collector took, doubles apart.
    #[track_caller]
    pub fn settle(self, received: usize) -> Stats {
        let _ = self.guard.shutdown_blocking(super::DEADLINE);
        // A worker that had no time when a deadline passed counts what is left when it has.
        let stats = self.until(|s| s.queued == 0 && s.in_flight == 0);
        balanced(&stats, received);
        stats
    }
}

#[track_caller]
pub fn balanced(stats: &Stats, received: usize) {
    let said = told(stats);
    assert_eq!(stats.unaccounted(), 0, "{said}");
    assert_eq!(
        (stats.open, stats.queued, stats.in_flight),
        (0, 0, 0),
        "{said}"
    );
    let missing = stats.started as i64 - received as i64;
    let most = stats.dropped_total() as i64;
    let least = most - stats.dropped(DropReason::Unconfirmed) as i64;
    assert!(
        (least..=most).contains(&missing),
        "{missing} are missing, and {least} to {most} should be: {said}"
    );
}

/// The figures and the last error, in one line.
pub fn told(stats: &Stats) -> String {
    format!("{stats}; last error: {}", last_error(stats))
}

pub fn last_error(stats: &Stats) -> String {
    let error = stats.last_error.as_ref();
    error.map_or_else(String::new, |(_, message)| message.clone())
}

/// Accepted spans, each once.
pub fn distinct(collector: &Collector) -> usize {
    let ids = collector
        .spans()
        .into_iter()
        .map(|s| (s.trace_id, s.span_id));
    ids.collect::<std::collections::HashSet<_>>().len()
}
