//! What does a request of five spans cost the application while its endpoint takes half of what it records, with
//! shedding and without?
//!
//! ```text
//! cargo bench --bench shedding                        latencies: three cases in turn, five rounds
//! cargo bench --bench shedding -- 20000 3             requests a second, rounds
//! ```
//!
//! Instructions a span of one case (benches/README.md has the command): `instructions CASE REQUESTS_A_SECOND`.
//!
//! The rate is kept: each millisecond has its requests, whatever those before took. Latencies are those of all
//! requests of 4 s, after 6 s in which the queue fills and the threshold settles.
#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]
#![allow(clippy::print_stdout, reason = "the figures are its purpose")]
#![allow(missing_docs, reason = "nobody imports it")]

use std::fmt;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use tracing::{Dispatch, dispatcher, info, info_span};
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, Protocol, ShutdownGuard, Stats};
use tracing_subscriber::layer::SubscriberExt as _;

const SPANS: u64 = 5;
const TICK: Duration = Duration::from_millis(1);

/// What the endpoint takes, and what the pipeline does about it.
#[derive(Clone, Copy, PartialEq)]
enum Case {
    /// Everything is taken.
    Taken,
    /// The same, and shedding is on.
    TakenShedding,
    /// Half is taken.
    Half,
    /// The same, and shedding is on.
    HalfShedding,
}

const CASES: [Case; 4] = [
    Case::Taken,
    Case::TakenShedding,
    Case::Half,
    Case::HalfShedding,
];

impl Case {
    fn sheds(self) -> bool {
        matches!(self, Self::TakenShedding | Self::HalfShedding)
    }

    fn is_half(self) -> bool {
        matches!(self, Self::Half | Self::HalfShedding)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Taken => "taken",
            Self::TakenShedding => "taken-shedding",
            Self::Half => "half",
            Self::HalfShedding => "half-shedding",
        })
    }
}

/// A root and four spans with an event each.
#[inline(always)]
fn request(number: u64) {
    let root = info_span!(
        "GET /orders",
        http.request.method = "GET",
        url.path = "/api/v1/users/4711/orders",
        server.address = "shop.example",
        number
    );
    let _entered = root.enter();
    for step in 0..SPANS - 1 {
        let inner = info_span!("query", db.system.name = "postgresql", step);
        let _entered = inner.enter();
        info!(rows = 12, "done");
    }
}

/// Requests before the figures count.
#[inline(never)]
fn warming(number: u64) {
    request(black_box(number));
}

/// Callgrind collects in this function alone.
#[inline(never)]
fn measured(number: u64) {
    request(black_box(number));
    // Else the compiler makes one function of both.
    black_box(number);
}

/// An endpoint and a pipeline that sends to it.
struct Setting {
    dispatch: Dispatch,
    guard: ShutdownGuard,
    /// It receives while this lives.
    _collector: Collector,
}

impl Setting {
    fn new(case: Case, requests_a_second: u64) -> Self {
        let spans = requests_a_second * SPANS;
        // A batch each 25 ms, one at a time.
        let batch = (spans / 80).max(10) as usize;
        let collector = Collector::builder().count_only().start().expect("a port");
        if case.is_half() {
            collector.always(Answer::ok().after(Duration::from_millis(25)));
        }
        let (layer, guard) = tracing_otlp::builder()
            .without_env()
            .with_protocol(Protocol::Grpc)
            .with_endpoint(collector.grpc_endpoint())
            .with_shedding(case.sheds())
            .with_max_queue_size(2 * spans as usize)
            .with_max_memory(256 << 20)
            .with_max_export_batch_size(batch)
            .with_max_concurrent_exports(1)
            .build()
            .expect("a pipeline");
        Self {
            dispatch: Dispatch::new(tracing_subscriber::registry().with(layer)),
            guard,
            _collector: collector,
        }
    }

    /// Runs requests at a steady rate for `time`.
    fn run(&self, requests_a_second: u64, time: Duration, mut run: impl FnMut(u64)) {
        let begun = Instant::now();
        let (mut made, mut now) = (0, Duration::ZERO);
        dispatcher::with_default(&self.dispatch, || {
            while now < time {
                let due = (now.as_secs_f64() * requests_a_second as f64) as u64;
                (made..due).for_each(&mut run);
                made = due;
                thread::sleep(TICK);
                now = begun.elapsed();
            }
        });
    }
}

/// What became of the spans of a time.
struct Counts {
    recorded: f64,
    shed: f64,
    lost: f64,
    ratio: f64,
}

impl Counts {
    fn between(before: &Stats, after: &Stats, requests: u64) -> Self {
        let part = |count: fn(&Stats) -> u64| {
            (count(after) - count(before)) as f64 / (requests * SPANS) as f64
        };
        Self {
            recorded: part(|s| s.started),
            shed: part(|s| s.dropped(DropReason::Shed)),
            lost: part(|s| s.dropped(DropReason::QueueFull)),
            ratio: after.shed_ratio,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            recorded,
            shed,
            lost,
            ratio,
        } = self;
        write!(
            f,
            "recorded {recorded:.2}, shed {shed:.2}, without a place {lost:.2} of the spans; shed_ratio {ratio:.2}"
        )
    }
}

/// Nanoseconds of a request.
struct Latency {
    mean: f64,
    quantiles: [u32; 4],
}

const QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 0.9999];

fn latency(case: Case, requests_a_second: u64) -> (Latency, Counts) {
    let setting = Setting::new(case, requests_a_second);
    setting.run(requests_a_second, Duration::from_secs(6), warming);
    let mut took = Vec::with_capacity(requests_a_second as usize * 5);
    let before = setting.guard.stats();
    setting.run(requests_a_second, Duration::from_secs(4), |number| {
        let begun = Instant::now();
        measured(number);
        took.push(u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX));
    });
    let counts = Counts::between(&before, &setting.guard.stats(), took.len() as u64);
    let _ = setting.guard.shutdown_blocking(Duration::from_secs(10));
    let mean = took.iter().map(|n| f64::from(*n)).sum::<f64>() / took.len() as f64;
    took.sort_unstable();
    let quantiles = QUANTILES.map(|q| took[((took.len() - 1) as f64 * q) as usize]);
    (Latency { mean, quantiles }, counts)
}

fn latencies(requests_a_second: u64, rounds: usize) {
    println!("{requests_a_second} requests a second of {SPANS} spans; nanoseconds a request");
    let heads = ["mean", "p50", "p99", "p99.9", "p99.99"].map(|head| format!("{head:>9}"));
    println!("{:>16}{}", "", heads.concat());
    let mut rows = CASES.map(|_| Vec::new());
    for _ in 0..rounds {
        for (case, rows) in CASES.iter().zip(&mut rows) {
            let (latency, counts) = latency(*case, requests_a_second);
            let quantiles = latency.quantiles.map(f64::from);
            let row: Vec<f64> = std::iter::once(latency.mean).chain(quantiles).collect();
            println!("{case:>16}{} {counts}", figures(&row));
            rows.push(row);
        }
    }
    println!("medians of {rounds} rounds");
    for (case, rows) in CASES.iter().zip(&rows) {
        let median = |column: usize| {
            let mut values: Vec<f64> = rows.iter().map(|row: &Vec<f64>| row[column]).collect();
            values.sort_unstable_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let medians: Vec<f64> = (0..=QUANTILES.len()).map(median).collect();
        println!("{case:>16}{}", figures(&medians));
    }
}

fn figures(row: &[f64]) -> String {
    row.iter().map(|n| format!("{n:9.0}")).collect()
}

/// Runs under callgrind: prints by how many spans the collected instructions are divided.
fn instructions(case: Case, requests_a_second: u64) {
    let setting = Setting::new(case, requests_a_second);
    setting.run(requests_a_second, Duration::from_secs(10), warming);
    let (mut requests, before) = (0, setting.guard.stats());
    setting.run(requests_a_second, Duration::from_secs(10), |number| {
        requests += 1;
        measured(number);
    });
    let counts = Counts::between(&before, &setting.guard.stats(), requests);
    println!("{case}: {} spans; {counts}", requests * SPANS);
}

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|w| w != "--bench")
        .collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
    match words.first().map(String::as_str) {
        // `cargo test --benches`.
        Some("--test") => latencies(1000, 1),
        Some("instructions") => {
            let case = CASES
                .iter()
                .find(|case| words.get(1) == Some(&case.to_string()));
            let case = *case.expect("taken, taken-shedding, half or half-shedding");
            instructions(case, number(2).unwrap_or(200));
        }
        _ => latencies(number(0).unwrap_or(10_000), number(1).unwrap_or(5) as usize),
    }
}
