//! A producing process: a span in each tick, of a trace that three other processes have a span of too.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _};
use std::ops::AddAssign;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tracing::info_span;
use tracing_otlp::context::{SpanId, TraceFlags, TraceId};
use tracing_otlp::{Protocol, SpanExt as _, TraceContext};
use tracing_subscriber::prelude::*;

use crate::{PRODUCERS, SHARED_BY, tick};

pub const TICK: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(60);
const ROLE: &str = "FLEET_PRODUCER";

/// What became of the spans of producers.
#[derive(Debug, Default)]
pub struct Sums {
    pub started: u64,
    pub delivered: u64,
    pub dropped: u64,
    pub twice: u64,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.started += other.started;
        self.delivered += other.delivered;
        self.dropped += other.dropped;
        self.twice += other.twice;
    }
}

/// A process that produces until its standard input is closed.
pub struct Producer(Child);

impl Producer {
    pub fn start(number: u64, endpoints: &str, has_affinity: bool) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(ROLE, format!("{number} {endpoints} {has_affinity}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self(command.spawn()?))
    }

    pub fn stop(mut self) -> Result<Sums, Box<dyn Error>> {
        drop(self.0.stdin.take());
        let mut line = String::new();
        if let Some(stdout) = self.0.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        self.0.wait()?;
        let numbers = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<Vec<u64>, _>>()?;
        let [started, delivered, dropped, twice] = numbers[..] else {
            return Err(format!("a producer said {line:?}").into());
        };
        Ok(Sums {
            started,
            delivered,
            dropped,
            twice,
        })
    }
}

impl Drop for Producer {
    /// After an error; `stop` has waited for it otherwise.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Produces, if this process was started for that.
pub fn run_if_asked() -> Option<Result<(), Box<dyn Error>>> {
    let role = std::env::var(ROLE).ok()?;
    let words: Vec<_> = role.split(' ').collect();
    let [number, endpoints, has_affinity] = words[..] else {
        return Some(Err(format!("{ROLE}={role} is not understood").into()));
    };
    Some(run(number, endpoints, has_affinity == "true"))
}

fn run(number: &str, endpoints: &str, has_affinity: bool) -> Result<(), Box<dyn Error>> {
    let number: u64 = number.parse()?;
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_service_name(format!("producer {number}"))
        .with_protocol(Protocol::Grpc)
        .with_endpoint(endpoints)
        .with_trace_affinity(has_affinity)
        .with_schedule_delay(Duration::from_millis(100))
        .build()?;
    tracing_subscriber::registry().with(layer).init();

    let is_over = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&is_over);
    thread::spawn(move || {
        // Returns when the parent closes it, or ends.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        end.store(true, Ordering::Relaxed);
    });
    let groups = PRODUCERS / SHARED_BY;
    let mut next = tick() + 1;
    while !is_over.load(Ordering::Relaxed) {
        while tick() < next {
            thread::sleep(TICK / 10);
        }
        let span = info_span!(parent: None, "work", number);
        let parent_id = SpanId::from_bytes((number + 1).to_be_bytes());
        let parent = TraceContext::new(
            trace_id(next, number % groups),
            parent_id,
            TraceFlags::SAMPLED,
        );
        // An error only for a span that has children already.
        let _ = span.set_parent(parent.with_remote(true));
        drop(span);
        next += 1;
    }
    let ended = guard.shutdown_blocking(LONG);
    let stats = guard.stats();
    println!(
        "{} {} {} {}",
        stats.started,
        stats.delivered,
        stats.dropped_total(),
        stats.possible_duplicates
    );
    ended.map_err(Into::into)
}

/// The trace of a group of producers in a tick: the tick is in front, and the rest is spread.
fn trace_id(tick: u64, group: u64) -> TraceId {
    let spread = (tick ^ group << 56).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    TraceId::from_bytes(
        ((u128::from(tick) << 64) | u128::from(spread ^ spread >> 29 | 1)).to_be_bytes(),
    )
}

/// The tick of a trace.
pub fn tick_of(trace_id: TraceId) -> u64 {
    (u128::from_be_bytes(trace_id.to_bytes()) >> 64) as u64
}
