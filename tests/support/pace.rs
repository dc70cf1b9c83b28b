//! How fast this machine is just now, for tests that give a deadline to the code under test.
//!
//! A process at nice 19 beside busy ones has one or two per cent of a core: a request that takes 5 ms
//! elsewhere takes a second. A deadline of 300 ms that a request is meant to keep is then too short, and
//! one of a minute, which is long enough everywhere, makes each test wait that minute. So a test takes
//! [`fit`] for a deadline that something must pass (it is waited for), and [`PATIENCE`] for one that
//! nothing passes in a test that succeeds.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its part, and a test may panic"
)]

use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use tracing_otlp::Protocol;
use tracing_otlp::testing::Collector;
use tracing_subscriber::layer::SubscriberExt as _;

/// Long enough for every machine; a test that passes never waits for it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How late the end of a deadline may be noticed on a machine that has no time for it. Far below
/// [`PATIENCE`], so that a call that did not keep its deadline is seen.
pub const SLACK: Duration = Duration::from_secs(60);

/// The longest that [`exchange`] has seen.
static SLOWEST: Mutex<Duration> = Mutex::new(Duration::ZERO);

/// What the worker answers to a flush or a shutdown whose deadline passes, however late it comes to that.
/// A call that blocks gives up on a worker that is late, and cannot say what stood in the way.
pub fn answered<T>(end: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(end)
}

/// `least`, or ten times what requests take here just now.
pub fn fit(least: Duration) -> Duration {
    let tenfold = 10 * exchange();
    if tenfold <= least {
        return least;
    }
    // Round, as messages show it.
    Duration::from_millis(100 * (tenfold.as_millis() as u64).div_ceil(100))
}

/// As many times `least` as [`fit`] makes seconds of one.
pub fn scaled(least: Duration) -> Duration {
    least.mul_f64(fit(Duration::from_secs(1)).as_secs_f64())
}

/// The time that this thread has had a core, so that what others take of it does not count.
pub fn cpu_time() -> Duration {
    // What it has had since the last switch counts after the next one.
    std::thread::yield_now();
    // Nanoseconds on a core, then what is of no interest here.
    match std::fs::read_to_string("/proc/thread-self/schedstat") {
        Ok(stat) => Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap()),
        // Elsewhere than on Linux: what the clock says.
        Err(_) => BEGUN.elapsed(),
    }
}

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// How long a pipeline takes here just now from its start to the answer of its first request: the mean of
/// both protocols.
fn exchange() -> Duration {
    let began = Instant::now();
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let collector = Collector::start();
        let (layer, guard) = tracing_otlp::builder()
            .without_env()
            .with_protocol(protocol)
            .with_endpoint(collector.endpoint(protocol))
            .with_timeout(PATIENCE)
            .with_export_timeout(PATIENCE)
            .with_connect_timeout(PATIENCE)
            .build()
            .unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || drop(tracing::info_span!("pace")));
        guard.shutdown_blocking(PATIENCE).unwrap();
    }
    let mut slowest = SLOWEST.lock().unwrap();
    *slowest = (*slowest).max(began.elapsed() / 2);
    *slowest
}
