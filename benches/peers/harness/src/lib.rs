//! The measuring part, the same for every contender: a contender says how its pipeline starts,
//! flushes and stops, and which [`Workload`] it runs; [`run`] does one measurement and prints one
//! line of JSON.

mod allocations;
mod clock;
mod ledger;
mod modes;
mod options;
mod receiver;
mod runner;
mod traced;
pub mod workload;

use std::process::exit;
use std::time::Instant;

use serde_json::json;

use crate::clock::CpuClock;
use crate::options::Options;
use crate::receiver::Receiver;
use crate::workload::Workload;

pub use crate::ledger::{Account, Ledger};
pub use crate::traced::{LateAttributes, Traced};

/// What the process has spent on processors so far, in nanoseconds: for benches that are no
/// contender, such as `web`.
pub fn process_cpu_nanos() -> u64 {
    CpuClock::PROCESS.nanos()
}

/// What a contender is told when it starts.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The receiver's URL, for gRPC and for HTTP alike.
    pub url: String,
    /// The bound of the queue in spans; `None` is the contender's own default.
    pub queue: Option<usize>,
    /// Which of its variants to run; empty is its defaults.
    pub variant: String,
}

/// A way to record spans and get them out of the process.
pub trait Contender: Sized + Sync {
    /// The workloads in this contender's own words.
    type Work: Workload;
    /// Whether spans are meant to arrive at the receiver.
    const EXPORTS: bool = true;

    /// Sets the pipeline up, for the whole process.
    fn start(setup: &Setup) -> Self;

    /// Returns when everything recorded so far has been sent or given up.
    fn flush(&self) {}

    /// Flushes and stops; what the contender says became of its spans, if it counts them.
    fn shutdown(self) -> Option<Ledger> {
        None
    }
}

/// Runs the measurement named on the command line and prints its figures.
/// Ends the process with 1 if a contender's ledger does not agree with what happened.
pub fn run<C: Contender>() {
    let options = Options::from_args().unwrap_or_else(|problem| {
        eprintln!("{problem}");
        exit(2)
    });
    let receiver = C::EXPORTS.then(|| Receiver::at(&options.sink));
    if let Some(receiver) = &receiver {
        receiver.reset();
    }

    let (cpu, began) = (CpuClock::PROCESS.nanos(), Instant::now());
    let contender = C::start(&options.setup());
    let measured = modes::measure(&contender, &options);
    let ledger = contender.shutdown();
    let seconds = began.elapsed().as_secs_f64();
    let cpu = CpuClock::PROCESS.nanos() - cpu;

    let mut line = json!({
        "contender": options.label,
        "mode": options.mode,
        "work": options.work.name(),
        "threads": options.threads,
        "round": options.round,
        "produced": measured.produced,
        "records": measured.records,
        "left_open": measured.left_open,
        "seconds": seconds,
        "process_cpu_ns": cpu,
        "peak_rss_kib": clock::peak_rss_kib(),
        "figures": measured.figures,
    });
    let received = receiver.map(|receiver| receiver.settled());
    if let Some(received) = &received {
        line["received"] = received.clone();
    }
    let mut faults = Vec::new();
    if let Some(ledger) = ledger {
        let received = received.unwrap_or_default();
        let received = |of: &str| received[of].as_u64().unwrap_or(0);
        let spans = (measured.produced, received("spans"));
        faults = ledger.faults(spans, (measured.records, received("records")));
        line["ledger"] = ledger.to_json(&faults);
    }
    println!("{line}");
    if !faults.is_empty() {
        eprintln!(
            "{}: the ledger is wrong: {}",
            options.label,
            faults.join("; ")
        );
        exit(1);
    }
}
