//! A minute of traffic while the endpoint fails in every way that it can, and the account of it.
//!
//! ```text
//! cargo run --release --all-features --example soak                    60 seconds over gRPC
//! cargo run --release --all-features --example soak -- 600 http        10 minutes over HTTP
//! ```
//!
//! Each second prints the fault of the moment, where every span is, and the memory that the process
//! has resident. At the end the endpoint is well again, the pipeline shuts down, and the account is
//! compared with what the endpoint received. The exit code is 1 if the account does not hold.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{Span, error, info, info_span};
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, Protocol, Stats};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut seconds = 60;
    let mut protocol = Protocol::Grpc;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "grpc" => protocol = Protocol::Grpc,
            "http" => protocol = Protocol::HttpProtobuf,
            number => seconds = number.parse()?,
        }
    }
    // The collector counts and keeps nothing: what is resident belongs to the pipeline.
    let collector = Collector::builder().count_only().start()?;
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_service_name("soak")
        .with_protocol(protocol)
        .with_endpoint(collector.endpoint(protocol))
        .build()?;
    tracing_subscriber::registry().with(layer).init();

    let before = resident_kib();
    let stop = Arc::new(AtomicBool::new(false));
    let work = start_work(&stop);
    let mut highest = before;
    for second in 0..seconds {
        let fault = fault_of(second, seconds);
        fault.begin(&collector)?;
        let next = Instant::now() + Duration::from_secs(1);
        // Another thread may hold this one up; the next second then is shorter.
        thread::sleep(next.saturating_duration_since(Instant::now()));
        highest = highest.max(resident_kib());
        println!("{}", line(second + 1, fault, &guard.stats()));
    }
    Fault::None.begin(&collector)?;
    stop.store(true, Ordering::Relaxed);
    for thread in work {
        thread.join().map_err(|_| "a thread of the work panicked")?;
    }
    let ended = guard.shutdown_blocking(Duration::from_secs(20));
    let stats = guard.stats();
    println!(
        "\nshutdown   {}",
        ended.map_or_else(|e| e.to_string(), |()| "ok".to_owned())
    );
    println!("account    {stats}");
    println!(
        "           {} left out for limits or memory",
        stats.truncated
    );
    println!("endpoint   received {}", collector.span_count());
    println!("resident   {before} KiB before, {highest} KiB at most");
    let faults = faults_of(&stats, collector.span_count() as u64);
    for fault in &faults {
        println!("WRONG      {fault}");
    }
    if faults.is_empty() {
        println!("the account holds");
    }
    Ok(ExitCode::from(u8::from(!faults.is_empty())))
}

/// How the endpoint fails.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    Slow,
    Unavailable,
    Throttled,
    Rejecting,
    Refusing,
    Closing,
    ClosingAfterBody,
    GoingAway,
    Silent,
    Offline,
}

/// Every fault once, with healthy seconds between.
const PLAN: [Fault; 20] = [
    Fault::None,
    Fault::Slow,
    Fault::None,
    Fault::Unavailable,
    Fault::Unavailable,
    Fault::None,
    Fault::Closing,
    Fault::None,
    Fault::ClosingAfterBody,
    Fault::None,
    Fault::Throttled,
    Fault::Rejecting,
    Fault::None,
    Fault::GoingAway,
    Fault::Refusing,
    Fault::Silent,
    Fault::None,
    Fault::Offline,
    Fault::Offline,
    Fault::None,
];

/// The fault of this second: the plan takes the whole time, at one step a second or slower.
fn fault_of(second: u64, seconds: u64) -> Fault {
    let steps = PLAN.len() as u64;
    let step = if seconds < steps {
        second
    } else {
        second * steps / seconds
    };
    PLAN.get(step as usize).copied().unwrap_or(Fault::None)
}

impl Fault {
    fn begin(self, collector: &Collector) -> std::io::Result<()> {
        if self == Self::Offline {
            collector.go_offline();
            return Ok(());
        }
        collector.go_online()?;
        collector.always(match self {
            Self::None | Self::Offline => Answer::ok(),
            Self::Slow => Answer::ok().after(Duration::from_millis(300)),
            Self::Unavailable => Answer::unavailable(),
            Self::Throttled => Answer::grpc(8, "too many requests")
                .retry_info(Duration::from_millis(200))
                .retry_after("1"),
            Self::Rejecting => Answer::partial(3, "three spans had no name"),
            Self::Refusing => Answer::grpc(3, "this is no span"),
            Self::Closing => Answer::close(),
            Self::ClosingAfterBody => Answer::close_after_body(),
            Self::GoingAway => Answer::go_away(),
            Self::Silent => Answer::never(),
        });
        Ok(())
    }
}

/// Traffic of every shape until `stop`.
fn start_work(stop: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
    let shapes: [(fn(u64), u64); 5] = [
        (request, 1),
        (request, 1),
        (long_job, 20),
        (large_value, 100),
        (many_threads, 500),
    ];
    let start = |(work, pause): (fn(u64), u64)| {
        let stop = Arc::clone(stop);
        thread::spawn(move || {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                work(n);
                n += 1;
                thread::sleep(Duration::from_millis(pause));
            }
        })
    };
    shapes.into_iter().map(start).collect()
}

/// A request as most services have them: a few spans, attributes, an event, an error now and then.
fn request(n: u64) {
    let root = info_span!("GET /orders/{id}", otel.kind = "server", order.id = n);
    let _root = root.enter();
    for _ in 0..3 {
        info_span!("query", db.system.name = "postgresql", rows = n % 7).in_scope(|| {
            info!(rows = n % 7, "rows read");
        });
    }
    if n.is_multiple_of(50) {
        error!("the bank does not answer");
    }
}

/// A job that stays open while it says a lot.
fn long_job(n: u64) {
    thread_local! {
        static OPEN: std::cell::RefCell<std::collections::VecDeque<Span>> = const { std::cell::RefCell::new(std::collections::VecDeque::new()) };
    }
    let job = info_span!(parent: None, "job", job.id = n);
    job.in_scope(|| {
        for step in 0..128 {
            info!(step, text = "x".repeat(200), "step done");
        }
    });
    OPEN.with_borrow_mut(|open| {
        open.push_back(job);
        if open.len() > 200 {
            open.pop_front();
        }
    });
}

/// A span with more in it than anybody wants to read.
fn large_value(n: u64) {
    let document = "y".repeat(100_000);
    info_span!("parse", document, n).in_scope(|| info!("parsed"));
}

/// A burst of threads that record little and live on for a while.
fn many_threads(n: u64) {
    let threads: Vec<_> = (0..64)
        .map(|i| {
            thread::spawn(move || {
                info_span!("blocking", n, i).in_scope(|| ());
                thread::sleep(Duration::from_millis(400));
            })
        })
        .collect();
    for thread in threads {
        let _ = thread.join();
    }
}

fn line(second: u64, fault: Fault, stats: &Stats) -> String {
    format!(
        "{second:>4} s  {:<16}  {stats}  memory {} of {} KiB, resident {} KiB",
        format!("{fault:?}"),
        stats.memory_used / 1024,
        stats.memory_limit / 1024,
        resident_kib(),
    )
}

/// What does not hold.
fn faults_of(stats: &Stats, received: u64) -> Vec<String> {
    let mut faults = Vec::new();
    if stats.unaccounted() != 0 {
        faults.push(format!(
            "{} spans are not accounted for",
            stats.unaccounted()
        ));
    }
    if stats.open + stats.held + stats.queued + stats.in_flight != 0 {
        faults.push("spans are left after the shutdown".to_owned());
    }
    // Spans without an answer may have arrived, and so may attempts that were repeated: more may
    // have been received than is known, never less.
    if received < stats.delivered {
        faults.push(format!(
            "{} delivered, {received} received",
            stats.delivered
        ));
    }
    let missing = stats.started.saturating_sub(received);
    if missing > stats.dropped_total() {
        let dropped = stats.dropped_total();
        faults.push(format!(
            "{missing} are missing, {dropped} counted as dropped"
        ));
    }
    if stats.dropped(DropReason::Internal) != 0 || stats.worker_restarts != 0 {
        faults.push("the worker failed".to_owned());
    }
    faults
}

/// The memory of the process that is resident, where the system tells it; else zero.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let number = line.and_then(|l| l.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}
