//! The measurements. What each figure means stands in `benches/README.md`.

use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::Contender;
use crate::allocations::{self, Allocations};
use crate::clock::CpuClock;
use crate::options::Options;
use crate::runner::{Inline, Workers, surrounded};
use crate::workload::{Input, Work, Workload};

/// Spans, or log records, between two flushes where nothing may be lost: less than the smallest default queue.
const BURST: u64 = 2_000;
const HOT_BURSTS: usize = 60;
const WARM_UP_BURSTS: usize = 5;
const TICK: Duration = Duration::from_millis(5);

pub(crate) struct Measured {
    /// Spans made.
    pub(crate) produced: u64,
    /// Those of them that have not ended.
    pub(crate) left_open: u64,
    /// Log records made, if the contender makes its events ones.
    pub(crate) records: u64,
    pub(crate) figures: Map<String, Value>,
}

pub(crate) fn measure<C: Contender>(contender: &C, options: &Options) -> Measured {
    let input = Input::leaked();
    let is_surrounded = options.work.is_surrounded();
    if is_surrounded && !["alloc", "cg", "scaling"].contains(&options.mode.as_str()) {
        panic!("`{}` is for alloc, cg and scaling", options.work.name());
    }
    if is_surrounded && options.threads > 1 {
        panic!("`{}` is for one recording thread", options.work.name());
    }
    let (units, figures) = match (options.mode.as_str(), options.work) {
        ("hot", Work::Async) => hot_tasks(contender, options, input),
        ("hot", _) => hot_threads(contender, options, input),
        ("alloc", _) => alloc(contender, options, input),
        ("e2e", _) => paced::<C>(options, input),
        ("peak", _) => flat_out::<C>(options, input),
        ("cg" | "arrives" | "scaling", _) => fixed(contender, options, input),
        (mode, _) => panic!("`{mode}` is not a mode: hot, alloc, e2e, peak, cg, arrives, scaling"),
    };
    Measured {
        produced: units * options.work.spans() + if is_surrounded { options.size() } else { 0 },
        left_open: options.work.left_open(options.size()),
        records: units * options.work.records(),
        figures: figures.as_object().cloned().unwrap_or_default(),
    }
}

/// Time on the recording threads, a thread's own loop of requests each.
fn hot_threads<C: Contender>(
    contender: &C,
    options: &Options,
    input: &'static Input,
) -> (u64, Value) {
    let share = options.work.units_in(BURST) / options.threads;
    let spans = (share * options.work.spans()) as f64;
    let barrier = Barrier::new(options.threads as usize);
    let samples = Mutex::new(Vec::new());
    let record = |flushes: bool| {
        let runner = Inline::new(options.work, options.size());
        let clock = CpuClock::of_this_thread();
        let mut own = Vec::with_capacity(WARM_UP_BURSTS + HOT_BURSTS);
        for _ in 0..WARM_UP_BURSTS + HOT_BURSTS {
            barrier.wait();
            let (wall, cpu) = (Instant::now(), clock.nanos());
            runner.run::<C::Work>(input, share);
            let (cpu, wall) = (clock.nanos() - cpu, wall.elapsed());
            own.push((cpu as f64 / spans, wall.as_nanos() as f64 / spans));
            barrier.wait();
            if flushes {
                contender.flush();
            }
        }
        let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.extend(own.drain(WARM_UP_BURSTS..));
    };
    thread::scope(|scope| {
        for _ in 1..options.threads {
            scope.spawn(|| record(false));
        }
        record(true);
    });
    let samples = samples.into_inner().unwrap_or_else(PoisonError::into_inner);
    let bursts = (WARM_UP_BURSTS + HOT_BURSTS) as u64;
    (share * options.threads * bursts, medians(samples))
}

/// Time on the workers of the application's runtime, whose tasks share the requests.
fn hot_tasks<C: Contender>(
    contender: &C,
    options: &Options,
    input: &'static Input,
) -> (u64, Value) {
    let units = options.work.units_in(BURST);
    let spans = (units * options.work.spans()) as f64;
    let workers = Workers::new(options.threads);
    let mut samples = Vec::new();
    for _ in 0..WARM_UP_BURSTS + HOT_BURSTS {
        let (wall, cpu) = (Instant::now(), workers.cpu_nanos());
        workers.run::<C::Work>(input, units);
        let (cpu, wall) = (workers.cpu_nanos() - cpu, wall.elapsed());
        let wall = wall.as_nanos() as f64 * options.threads as f64;
        samples.push((cpu as f64 / spans, wall / spans));
        contender.flush();
    }
    samples.drain(..WARM_UP_BURSTS);
    let bursts = (WARM_UP_BURSTS + HOT_BURSTS) as u64;
    (units * bursts, medians(samples))
}

/// Calls to the allocator: those of the recording thread while it records, and all of them from
/// there to the receiver.
fn alloc<C: Contender>(contender: &C, options: &Options, input: &'static Input) -> (u64, Value) {
    const COUNTED_BURSTS: u64 = 10;
    let runner = Inline::new(options.work, options.size());
    let burst = options.work.units_in(BURST);
    let record = || {
        let before = Allocations::of_this_thread();
        runner.run::<C::Work>(input, burst);
        let recording = Allocations::of_this_thread() - before;
        contender.flush();
        recording
    };
    let (mut recording, mut all) = (Allocations::default(), Allocations::default());
    let around = (options.work, options.size());
    surrounded::<C::Work>(around, || contender.flush(), &mut || {
        for _ in 0..WARM_UP_BURSTS {
            record();
        }
        allocations::count(true);
        recording = (0..COUNTED_BURSTS).fold(Allocations::default(), |sum, _| sum + record());
        // The exporter's threads finish what the last flush left them to do.
        thread::sleep(Duration::from_millis(100));
        all = Allocations::of_all_threads();
        allocations::count(false);
    });

    let spans = (COUNTED_BURSTS * burst * options.work.spans()) as f64;
    let figures = json!({
        "recording_calls": recording.calls as f64 / spans,
        "recording_bytes": recording.bytes as f64 / spans,
        "all_calls": all.calls as f64 / spans,
        "all_bytes": all.bytes as f64 / spans,
    });
    (burst * (WARM_UP_BURSTS as u64 + COUNTED_BURSTS), figures)
}

/// A steady load: a small burst every tick, the thread asleep in between.
fn paced<C: Contender>(options: &Options, input: &'static Input) -> (u64, Value) {
    let units = options.units.unwrap_or(100_000);
    let ticks_a_second = (1_000 / TICK.as_millis()) as u64;
    let burst = (options.rate / ticks_a_second / options.work.spans()).max(1);
    let runner = Inline::new(options.work, options.size());
    let clock = CpuClock::of_this_thread();
    let (cpu, mut due) = (clock.nanos(), Instant::now());
    let mut left = units;
    while left > 0 {
        let now = burst.min(left);
        runner.run::<C::Work>(input, now);
        left -= now;
        due += TICK;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let cpu = clock.nanos() - cpu;
    (units, json!({ "recording_cpu_ns": cpu }))
}

/// As many spans as the threads can make.
fn flat_out<C: Contender>(options: &Options, input: &'static Input) -> (u64, Value) {
    const UNITS_BETWEEN_LOOKS: u64 = 20;
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let record = || {
        let runner = Inline::new(options.work, options.size());
        let mut units = 0;
        while Instant::now() < end {
            runner.run::<C::Work>(input, UNITS_BETWEEN_LOOKS);
            units += UNITS_BETWEEN_LOOKS;
        }
        units
    };
    let units = thread::scope(|scope| {
        let threads: Vec<_> = (0..options.threads).map(|_| scope.spawn(record)).collect();
        let made = threads.into_iter().map(|thread| thread.join());
        made.map(|units| units.expect("the workload does not panic"))
            .sum()
    });
    (units, json!({ "recording_seconds": options.seconds }))
}

/// A fixed amount of work for callgrind. In `cg` two sizes subtracted leave what a span costs; in `scaling` one
/// run is enough, for only [`record_bursts`] is counted, and a burst before it warms up. Another thread flushes,
/// so that the recording threads do nothing but record. run.sh names this function: in `cg`, what the first
/// recording thread did before entering it is forgotten.
#[inline(never)]
fn fixed<C: Contender>(contender: &C, options: &Options, input: &'static Input) -> (u64, Value) {
    let units_between_flushes = options.work.units_in(BURST).clamp(1, 250);
    let bursts = options.units.unwrap_or(1_000) / units_between_flushes;
    let warm_up = u64::from(options.mode == "scaling");
    let share = units_between_flushes / options.threads;
    let turn = Barrier::new(options.threads as usize + 1);
    let record = || {
        let runner = Inline::new(options.work, options.size());
        let around = (options.work, options.size());
        surrounded::<C::Work>(around, || contender.flush(), &mut || {
            for _ in 0..warm_up {
                runner.run::<C::Work>(input, share);
                turn.wait();
                turn.wait();
            }
            record_bursts::<C::Work>(&runner, input, (bursts, share), &turn);
        });
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..warm_up + bursts {
                turn.wait();
                contender.flush();
                turn.wait();
            }
        });
        for _ in 1..options.threads {
            scope.spawn(record);
        }
        record();
    });
    let recorded = bursts * share * options.threads;
    let figures = json!({ "counted": recorded * options.work.spans() });
    (recorded + warm_up * share * options.threads, figures)
}

/// Records, and waits while another thread flushes. run.sh names it: `scaling` counts what threads do in it.
#[inline(never)]
fn record_bursts<W: Workload>(
    runner: &Inline,
    input: &'static Input,
    (bursts, units): (u64, u64),
    turn: &Barrier,
) {
    for _ in 0..bursts {
        runner.run::<W>(input, units);
        turn.wait();
        turn.wait();
    }
}

fn medians(samples: Vec<(f64, f64)>) -> Value {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let (cpu, wall) = samples.into_iter().unzip();
    json!({ "cpu_ns": median(cpu), "wall_ns": median(wall) })
}
