//! The law by its table and on queues of every size; what is shed of a trace, and how it is weighed.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use opentelemetry_proto::tonic::trace::v1 as proto;
use proptest::prelude::*;
use prost::Message as _;

use super::control::{QueueReading, SheddingLoop};
use super::law::{QueuePressure, next_level};
use super::*;
use crate::pool::Budget;
use crate::processor::ScopeId;
use crate::processor::buffer::QueueBounds;
use crate::processor::queue::Queue;
use crate::processor::wake::Wake;
use crate::signal::Signal;
use crate::sync::Arc;

#[test]
fn the_level_follows_what_may_come() {
    for (level, fill, came_in, went_out, next) in [
        // Bursts are for the first half of the queue.
        (0, 0.49, 900_000.0, 1_000.0, 0),
        (0, 0.50, 1_000.0, 1_000.0, 0),
        // Twice of what goes: four steps, more or less by how far the queue is from its goal.
        (0, 0.80, 2_000.0, 1_000.0, 4),
        (0, 0.95, 2_000.0, 1_000.0, 5),
        (9, 0.80, 2_000.0, 1_000.0, 13),
        (0, 0.80, 100_000.0, 1_000.0, 8),
        // At the goal with what goes: it stays, also with a little more or less.
        (5, 0.80, 1_000.0, 1_000.0, 5),
        (5, 0.80, 1_080.0, 1_000.0, 5),
        (5, 0.80, 820.0, 1_000.0, 5),
        (5, 0.80, 1_100.0, 1_000.0, 6),
        // One step down if a step more is not too much; more once the queue is empty.
        (5, 0.80, 800.0, 1_000.0, 4),
        (5, 0.60, 100.0, 1_000.0, 4),
        (5, 0.10, 1_000.0, 1_000.0, 3),
        (5, 0.00, 0.0, 1_000.0, 1),
        (1, 0.00, 0.0, 0.0, 0),
        (0, 0.90, 0.0, 0.0, 0),
        // Nothing goes: what may come gets less and less.
        (0, 0.50, 1_000.0, 0.0, 8),
        (56, 1.00, 1_000.0, 0.0, 56),
    ] {
        let pressure = QueuePressure {
            fill,
            capacity: 10_000.0,
            came_in,
            went_out,
        };
        let found = next_level(SheddingLevel::new(level), &pressure);
        assert_eq!(found.get(), next, "{level} under {pressure:?}");
    }
}

/// A queue to which spans come evenly and from which batches go, with its loop.
struct FluidQueue {
    steps: SheddingLoop,
    limit: f64,
    queued: f64,
    credit: f64,
    went_out: u64,
    refused: f64,
    now: f64,
    next: f64,
    levels: Vec<u8>,
}

impl FluidQueue {
    fn new(limit: f64) -> Self {
        Self {
            steps: SheddingLoop::default(),
            limit,
            queued: 0.0,
            credit: 0.0,
            went_out: 0,
            refused: 0.0,
            now: 0.0,
            next: 0.0,
            levels: Vec::new(),
        }
    }

    /// `produced` and `taken` in spans a second, a quarter of them local roots; leaves the levels of the time.
    fn run(&mut self, seconds: f64, produced: f64, taken: f64) {
        const STEP: f64 = 0.02;
        const BATCH: f64 = 2048.0;
        self.levels.clear();
        let end = self.now + seconds;
        while self.now < end {
            let kept = |class| self.steps.level.threshold(class).probability();
            let kept = 0.25 * kept(SheddingClass::Last) + 0.75 * kept(SheddingClass::Common);
            let room = self.limit - self.queued;
            let comes = produced * STEP * kept;
            self.refused += (comes - room).max(0.0);
            self.queued += comes.min(room);
            self.credit = (self.credit + taken * STEP).min(4.0 * BATCH);
            while self.queued >= BATCH && self.credit >= BATCH {
                self.queued -= BATCH;
                self.credit -= BATCH;
                self.went_out += BATCH as u64;
            }
            if self.now >= self.next {
                let reading = QueueReading {
                    at: self.now,
                    queued: self.queued as usize,
                    fill: self.queued / self.limit,
                    went_out: self.went_out,
                    refused: self.refused as u64,
                };
                let level = self.steps.step(reading, self.limit as usize);
                self.next = self.now + self.steps.pause;
                self.levels.push(level.get());
            }
            self.now += STEP;
        }
    }

    /// Least, greatest, and changes of the level.
    fn spread(&self) -> (u8, u8, usize) {
        let changes = self.levels.windows(2).filter(|pair| pair[0] != pair[1]);
        let (least, most) = (self.levels.iter().min(), self.levels.iter().max());
        (*least.unwrap(), *most.unwrap(), changes.count())
    }
}

#[test]
fn the_level_comes_to_rest_at_every_rate_and_goes_back_to_none() {
    for (taken, times) in [
        (200_000.0, 2.0),
        (50_000.0, 1.1),
        (50_000.0, 2.0),
        (50_000.0, 10.0),
        (5_000.0, 4.0),
        (1_000.0, 20.0),
    ] {
        let mut queue = FluidQueue::new(65_536.0);
        queue.run(20.0, taken / 2.0, taken);
        assert_eq!(queue.spread(), (0, 0, 0), "nothing is shed without need");
        queue.run(100.0, taken * times, taken);
        let (refused, went_out) = (queue.refused, queue.went_out);
        queue.run(40.0, taken * times, taken);
        // Two neighbours at most, one of which lets in too little and the other one too much.
        let (least, most, changes) = queue.spread();
        assert!(most - least <= 1, "{taken} × {times}: {least} to {most}");
        assert!(changes <= 44, "{taken} × {times}: {changes} changes");
        // Where a third of a second fills the queue, some spans find it full between two readings.
        let refused = (queue.refused - refused) / (40.0 * taken * times);
        assert!(refused < 0.001, "{taken} × {times}: {refused} of what came");
        let used = (queue.went_out - went_out) as f64 / (40.0 * taken);
        assert!(used > 0.95, "{taken} × {times}: {used} of what could go");
        queue.run(80.0, taken / 2.0, taken);
        assert_eq!(queue.steps.level, SheddingLevel::NONE, "{taken} × {times}");
    }
}

#[test]
fn an_outage_thins_what_comes_and_ends_with_it() {
    let mut queue = FluidQueue::new(65_536.0);
    queue.run(20.0, 1_000.0, 20_000.0);
    queue.run(120.0, 1_000.0, 0.0);
    assert_eq!(queue.refused, 0.0, "the queue never got full");
    assert!(queue.queued > 45_000.0, "{}", queue.queued);
    let levels = queue.levels.clone();
    assert!(levels.is_sorted(), "it rises alone: {levels:?}");
    queue.run(20.0, 1_000.0, 20_000.0);
    assert_eq!(queue.steps.level, SheddingLevel::NONE);
}

fn queue_at(level: u8) -> Arc<Queue> {
    let bounds = QueueBounds {
        spans: 10_000,
        batch: 10_000,
        batch_bytes: 1 << 20,
    };
    let budget = Budget::new(8 << 20);
    let queue = Queue::new(
        Signal::Traces,
        bounds,
        1,
        &budget,
        Wake::new(),
        Counters::new(),
    );
    queue.shedding.set(SheddingLevel::new(level));
    queue
}

fn push(queue: &Queue, span: &[u8]) -> bool {
    let before = queue.buffer.queued();
    let data = TelemetryData {
        scope: ScopeId::NONE,
        item: span,
    };
    queue.push_span(0, data, || SheddingFacts::of(span));
    queue.buffer.queued() > before
}

fn span(trace: u128, state: &str, is_root: bool, is_error: bool) -> Vec<u8> {
    let span = proto::Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: vec![1; 8],
        parent_span_id: if is_root { Vec::new() } else { vec![2; 8] },
        trace_state: state.to_owned(),
        name: "work".to_owned(),
        status: Some(proto::Status {
            code: if is_error { 2 } else { 0 },
            ..proto::Status::default()
        }),
        ..proto::Span::default()
    };
    span.encode_to_vec()
}

proptest! {
    /// For one level all common spans of a trace are kept or none, in every process and whatever their order;
    /// and who keeps those keeps its local roots and errors.
    #[test]
    fn a_trace_goes_whole(
        trace in any::<u128>(), level in 0..=SheddingLevel::MAX, rv in proptest::option::of(0_u64..1 << 56),
        spans in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 1..20),
    ) {
        let state = rv.map_or_else(String::new, |rv| format!("ot=rv:{rv:014x}"));
        let processes = [queue_at(level), queue_at(level)];
        let (mut common, mut last) = (Vec::new(), Vec::new());
        for (is_root, is_error, process) in spans {
            let span = span(trace, &state, is_root, is_error);
            let is_kept = push(&processes[usize::from(process)], &span);
            match is_root || is_error {
                true => last.push(is_kept),
                false => common.push(is_kept),
            }
        }
        let (all, none) = (|kept: &[bool]| kept.iter().all(|k| *k), |kept: &[bool]| !kept.contains(&true));
        prop_assert!(all(&common) || none(&common));
        prop_assert!(all(&last) || none(&last));
        prop_assert!(none(&common) || all(&last));
        let shed: u64 = processes.iter().map(|q| q.counters.snapshot().dropped(DropReason::Shed)).sum();
        let lost = common.iter().chain(&last).filter(|kept| !**kept).count();
        prop_assert_eq!(shed, lost as u64);
    }
}

#[test]
fn a_kept_span_is_weighed_by_the_threshold_of_its_class() {
    let th = |level: u8, is_root, is_error, state: &str| {
        let span = span(u128::MAX, state, is_root, is_error);
        let facts = SheddingFacts::of(&span);
        let shedding = Shedding::default();
        shedding.set(SheddingLevel::new(level));
        let threshold = shedding.judge(&facts).unwrap();
        let weighed = weighed(&span, threshold).into_owned();
        proto::Span::decode(&weighed[..]).unwrap().trace_state
    };
    assert_eq!(th(16, false, false, "ot=th:0"), "ot=th:f");
    assert_eq!(th(16, true, false, "ot=th:0"), "ot=th:c");
    assert_eq!(th(16, false, true, "ot=th:0,a=1"), "ot=th:c,a=1");
    assert_eq!(
        th(8, true, false, "ot=th:0"),
        "ot=th:0",
        "none of its class is shed"
    );
    assert_eq!(
        th(16, false, false, "ot=th:ff"),
        "ot=th:ff",
        "the sampler keeps less"
    );
    assert_eq!(
        th(16, false, false, "a=1"),
        "a=1",
        "the probability is not known"
    );
    assert_eq!(th(16, false, false, ""), "");
    let no_span = b"bytes that are no span";
    assert!(
        push(&queue_at(SheddingLevel::MAX), no_span),
        "they have no trace"
    );
}

/// Backends that add up `2^56 / (2^56 − th)` of what arrives come to the number of what was recorded.
#[test]
fn the_weights_of_what_is_left_add_up_to_all() {
    let shedding = Shedding::default();
    shedding.set(SheddingLevel::new(14));
    const TRACES: u64 = 40_000;
    for (is_root, is_error) in [(false, false), (false, true), (true, false)] {
        let mut sum = 0.0;
        for n in 0..TRACES {
            // Even, in another order.
            let randomness = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8;
            let facts = SheddingFacts {
                randomness,
                goes_last: is_root || is_error,
                has_trace_state: true,
            };
            sum += shedding
                .judge(&facts)
                .map_or(0.0, Threshold::adjusted_count);
        }
        let ratio = sum / TRACES as f64;
        assert!((ratio - 1.0).abs() < 0.01, "{ratio}");
    }
}
