//! A fleet of ten thousand processes that record more than their collectors take: which traces are whole, with
//! shedding and without.
//!
//! Each process has the controller that the worker has, and a queue of spans that is a number. The assertions hold
//! what `docs/fleet.md` claims. Where there is a directory `target/fleet`, the test writes the figures of the plots.

use std::fmt::Write as _;

use super::SheddingClass;
use super::control::{QueueReading, SheddingLoop};
use crate::sampler::keeps;

const PROCESSES: usize = 10_000;
const QUEUE: f64 = 65_536.0;
/// Spans a second that the collectors take from each process.
const TAKEN: f64 = 5_000.0;
/// Seconds.
const STEP: f64 = 1.0;
/// A trace has spans of so many processes, and so many in each.
const HOPS: usize = 4;
const SPANS: i32 = 5;
const TRACES: usize = 500;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `1 − spread` to `1 + spread`.
    fn about_one(&mut self, spread: f64) -> f64 {
        1.0 + spread * (2.0 * (self.next() >> 11) as f64 / (1_u64 << 53) as f64 - 1.0)
    }
}

/// A process that sheds, and its twin that does not.
struct SheddingProcess {
    /// How busy it is beside the others.
    share: f64,
    steps: SheddingLoop,
    queued: f64,
    went_out: f64,
    refused: f64,
    next: f64,
    queued_without: f64,
    /// The part of the spans that the twin keeps at present.
    kept_without: f64,
}

impl SheddingProcess {
    fn run(&mut self, now: f64, load: f64, dice: &mut Dice) {
        let comes = load * TAKEN * STEP * self.share * dice.about_one(0.1);
        let goes = TAKEN * STEP * dice.about_one(0.1);
        let kept = |class| self.steps.level.threshold(class).probability();
        let roots = 1.0 / f64::from(SPANS);
        let kept = roots * kept(SheddingClass::Last) + (1.0 - roots) * kept(SheddingClass::Common);
        let filled = self.queued + comes * kept - goes;
        self.refused += (filled - QUEUE).max(0.0);
        self.went_out += goes.min(self.queued + comes * kept);
        self.queued = filled.clamp(0.0, QUEUE);
        let filled = self.queued_without + comes - goes;
        self.kept_without = 1.0 - (filled - QUEUE).max(0.0) / comes;
        self.queued_without = filled.clamp(0.0, QUEUE);
        if now >= self.next {
            let reading = QueueReading {
                at: now,
                queued: self.queued as usize,
                fill: self.queued / QUEUE,
                went_out: self.went_out as u64,
                refused: self.refused as u64,
            };
            self.steps.step(reading, QUEUE as usize);
            self.next = now + self.steps.pause;
        }
    }
}

/// The parts of all traces that are whole, with shedding and without.
fn whole(processes: &[SheddingProcess], dice: &mut Dice) -> (f64, f64) {
    let (mut with, mut without) = (0, 0.0);
    for _ in 0..TRACES {
        let randomness = dice.next() >> 8;
        let (mut is_whole, mut chance) = (true, 1.0);
        for _ in 0..HOPS {
            let hop = &processes[dice.next() as usize % processes.len()];
            let threshold = hop.steps.level.threshold(SheddingClass::Common);
            is_whole &= keeps(threshold, randomness);
            // A span that finds the queue full is one like any other.
            chance *= hop.kept_without.powi(SPANS);
        }
        with += usize::from(is_whole);
        without += chance;
    }
    (with as f64 / TRACES as f64, without / TRACES as f64)
}

#[test]
fn what_is_left_of_ten_thousand_overloaded_processes_is_whole_traces() {
    let mut dice = Dice(1);
    let mut processes: Vec<_> = (0..PROCESSES)
        .map(|_| SheddingProcess {
            share: dice.about_one(0.1),
            steps: SheddingLoop::default(),
            queued: 0.0,
            went_out: 0.0,
            refused: 0.0,
            next: dice.about_one(1.0),
            queued_without: 0.0,
            kept_without: 1.0,
        })
        .collect();
    let mut csv = "seconds,could,with,without,least,median,most\n".to_owned();
    let mut now = 0.0;
    while now < 240.0 {
        let load = match now as u32 {
            30..90 => 2.0,
            90..150 => 4.0,
            _ => 0.5,
        };
        for process in &mut processes {
            process.run(now, load, &mut dice);
        }
        now += STEP;
        if now % 2.0 != 0.0 {
            continue;
        }
        let (with, without) = whole(&processes, &mut dice);
        let mut levels: Vec<_> = processes.iter().map(|p| p.steps.level.get()).collect();
        levels.sort_unstable();
        let (least, median, most) = (levels[0], levels[PROCESSES / 2], levels[PROCESSES - 1]);
        let could = (1.0 / load).min(1.0);
        let _ = writeln!(
            csv,
            "{now},{could:.3},{with:.4},{without:.4},{least},{median},{most}"
        );
        let state = format!("{now} s: {with} and {without}, levels {least} {median} {most}");
        let is_settled = matches!(now as u32, 60..=90 | 120..=150);
        if is_settled {
            assert!(without < 0.001, "{state}");
            assert!(with > 0.4 * could && with < could, "{state}");
            assert!(most - least <= 4, "{state}");
        }
        if !(30.0..=180.0).contains(&now) {
            assert!(with == 1.0 && without == 1.0, "{state}");
        }
    }
    // Only where somebody made it: for the plots.
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/target/fleet");
    let _ = std::fs::write(std::path::Path::new(directory).join("shedding.csv"), csv);
}
