//! The timeline on a simulated machine: ten simulated minutes take milliseconds.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::timeline::{CachedSegment, Clocks, Timeline};
use super::*;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// A simulated machine: its clocks, and the cost of reading them.
struct Machine {
    clocks: Cell<Hands>,
    random: RefCell<SmallRng>,
    /// Readings in a million that are preempted for up to 5 ms.
    preempted: u32,
}

/// The state of the clocks, in nanoseconds and ticks, and their rates.
#[derive(Clone, Copy)]
struct Hands {
    monotonic: f64,
    wall: f64,
    tick: f64,
    /// Nanoseconds of the two clocks, and ticks, per nanosecond of the machine.
    steered: f64,
    wall_alone: f64,
    ticks: f64,
}

impl Machine {
    fn new(seed: u64) -> Self {
        Self {
            clocks: Cell::new(Hands {
                monotonic: 3_600e9,
                wall: 1_700_000e9,
                tick: 7e12,
                steered: 1.0,
                wall_alone: 0.0,
                ticks: 2.9,
            }),
            random: RefCell::new(SmallRng::seed_from_u64(seed)),
            preempted: 1_000,
        }
    }

    fn change(&self, f: impl FnOnce(&mut Hands)) {
        let mut hands = self.clocks.get();
        f(&mut hands);
        self.clocks.set(hands);
    }

    /// Lets time pass.
    fn pass(&self, nanos: u64) {
        self.change(|h| {
            let nanos = nanos as f64;
            h.monotonic += nanos * h.steered;
            h.wall += nanos * (h.steered + h.wall_alone);
            h.tick += nanos * h.ticks;
        });
    }

    /// The duration of a reading.
    fn latency(&self) {
        let mut random = self.random.borrow_mut();
        let mut nanos = random.random_range(5..30);
        if random.random_range(0..1_000_000) < self.preempted {
            nanos = random.random_range(0..5 * MS);
        }
        self.pass(nanos);
    }

    fn read(&self, hand: impl Fn(&Hands) -> f64) -> u64 {
        self.latency();
        let shown = hand(&self.clocks.get()) as u64;
        self.latency();
        shown
    }
}

impl Clocks for Machine {
    fn tick(&self) -> u64 {
        self.read(|h| h.tick)
    }

    fn next_tick(&self) -> u64 {
        self.tick()
    }

    fn may_be_cached(&self) -> bool {
        true
    }

    fn monotonic(&self) -> u64 {
        self.read(|h| h.monotonic)
    }

    fn wall(&self) -> u64 {
        self.read(|h| h.wall)
    }
}

/// A program that reads the time, with the anchor of a root as old as the program.
struct Program {
    machine: Machine,
    timeline: Timeline,
    cached: CachedSegment,
    anchor: Option<Anchor>,
    last: u64,
    /// The most by which the time may go back.
    slack: u64,
}

/// The largest differences from the wall clock: of the old root's time, and of a new root's.
#[derive(Debug, Clone, Copy, Default)]
struct Errors {
    old_root: u64,
    new_root: u64,
}

impl Program {
    fn new(machine: Machine) -> Self {
        Self::slewed_alone(machine, 0)
    }

    /// On a machine that slews the wall clock alone, by at most so many ppm.
    fn slewed_alone(machine: Machine, ppm: u64) -> Self {
        Self {
            machine,
            timeline: Timeline::new(ppm),
            cached: CachedSegment::new(),
            anchor: None,
            last: 0,
            slack: 0,
        }
    }

    /// Reads the time and asserts that it has not gone back.
    fn now(&mut self) -> u64 {
        let now = self
            .timeline
            .now_cached(&self.cached, &self.machine)
            .unwrap_or_else(|| self.timeline.now_uncached(&self.cached, &self.machine));
        let back = self.last.saturating_sub(now);
        assert!(back <= self.slack, "{back} ns back");
        self.last = now;
        now
    }

    fn new_anchor(&self) -> Anchor {
        Anchor(self.timeline.offset().unwrap())
    }

    /// Reads the time `every` so often for `nanos`.
    fn run(&mut self, nanos: u64, every: u64) -> Errors {
        let mut errors = Errors::default();
        for _ in 0..nanos / every {
            self.machine.pass(every);
            let before = self.machine.clocks.get().wall as u64;
            let now = self.now();
            let after = self.machine.clocks.get().wall as u64;
            let new_root = self.new_anchor();
            let old_root = *self.anchor.get_or_insert(new_root);
            let error = |anchor: Anchor| {
                let unix = anchor.unix_nanos(now);
                before.saturating_sub(unix).max(unix.saturating_sub(after))
            };
            errors.old_root = errors.old_root.max(error(old_root));
            errors.new_root = errors.new_root.max(error(new_root));
        }
        errors
    }

    #[track_caller]
    fn is_within(&mut self, tolerance: u64, nanos: u64, every: u64) {
        let errors = self.run(nanos, every);
        let worst = errors.old_root.max(errors.new_root);
        assert!(worst <= tolerance, "{errors:?}");
    }
}

/// The bounds that the clock promises.
const TOLERANCE: u64 = 50 * US;

#[test]
fn ten_minutes_under_one_root_and_under_many() {
    for (seed, every) in [(1, MS), (2, 17 * MS), (3, 700 * MS), (4, 61 * SECOND)] {
        let mut program = Program::new(Machine::new(seed));
        program.is_within(TOLERANCE, 600 * SECOND, every);
    }
}

#[test]
fn times_are_right_from_the_first_microsecond_on() {
    let mut program = Program::new(Machine::new(5));
    program.is_within(TOLERANCE, 50 * MS, US);
}

#[test]
fn a_machine_that_is_never_left_alone_is_no_less_exact() {
    let mut machine = Machine::new(6);
    // One reading of twenty.
    machine.preempted = 50_000;
    Program::new(machine).is_within(TOLERANCE, 60 * SECOND, MS);
}

#[test]
fn a_counter_that_changes_its_rate_is_followed_within_one_long_root() {
    // A third less, a third more, and what only a slow drift would be.
    for factor in [0.67, 1.33, 0.87, 1.0005] {
        let mut program = Program::new(Machine::new(7));
        program.is_within(TOLERANCE, 10 * SECOND, MS);
        program.machine.change(|h| h.ticks *= factor);
        program.is_within(5 * MS, 100 * MS, 100 * US);
        program.is_within(MS, 900 * MS, MS);
        program.is_within(TOLERANCE, 60 * SECOND, MS);
    }
}

#[test]
fn a_counter_that_changes_its_rate_between_readings_is_followed() {
    for factor in [0.5, 0.67, 1.5] {
        let mut program = Program::new(Machine::new(8));
        program.is_within(TOLERANCE, 10 * SECOND, MS);
        program.machine.pass(5 * SECOND);
        program.machine.change(|h| h.ticks *= factor);
        program.machine.pass(60 * SECOND);
        program.is_within(5 * MS, 100 * MS, MS);
        program.is_within(TOLERANCE, 10 * SECOND, MS);
    }
}

/// A thread with a copy of an old segment reads the same time as one with the latest.
#[test]
fn a_thread_that_was_idle_takes_the_latest_segment() {
    let mut program = Program::new(Machine::new(18));
    for idle in [3 * MS, 30 * MS, 3 * SECOND, 300 * SECOND] {
        let mut other = CachedSegment::new();
        for _ in 0..20 {
            program.is_within(TOLERANCE, idle, idle.div_ceil(30));
            std::mem::swap(&mut program.cached, &mut other);
            program.is_within(TOLERANCE, MS, 100 * US);
        }
        let tick = program.machine.clocks.get().tick;
        std::mem::swap(&mut program.cached, &mut other);
        program.is_within(TOLERANCE, SECOND, MS);
        // The counter returns to the window of the copy, as after a sleep.
        program.machine.change(|h| h.tick = tick - 1e6);
        program.run(20 * MS, 100 * US);
        std::mem::swap(&mut program.cached, &mut other);
        program.slack = MS;
        program.run(10 * MS, 100 * US);
        program.slack = 0;
    }
}

/// As after a live migration: the counter has another value and another rate.
#[test]
fn a_counter_that_jumps_is_followed() {
    for jump in [1e12, 5e6, -1e6, -6e12] {
        let mut program = Program::new(Machine::new(9));
        program.is_within(TOLERANCE, 10 * SECOND, MS);
        if jump == -1e6 {
            // Not visible within a window.
            program.slack = MS / 2;
        }
        program.machine.change(|h| {
            h.tick += jump;
            h.ticks *= 0.8;
        });
        program.is_within(11 * MS, 100 * MS, 100 * US);
        program.is_within(TOLERANCE, 10 * SECOND, MS);
    }
}

#[test]
fn a_counter_that_cannot_be_relied_on_is_not_used() {
    let mut program = Program::new(Machine::new(10));
    program.is_within(TOLERANCE, SECOND, MS);
    let mut errors = Errors::default();
    for turn in 0..3_000 {
        let factor = if turn % 2 == 0 { 0.6 } else { 1.0 / 0.6 };
        program.machine.change(|h| h.ticks *= factor);
        errors = program.run(10 * MS, MS);
    }
    // The counter is in a pause of half a minute.
    assert!(errors.old_root <= TOLERANCE, "{errors:?}");
    program.is_within(TOLERANCE, 20 * SECOND, MS);
    // The counter is good again, and is used again.
    program.is_within(TOLERANCE, 120 * SECOND, MS);
    let (before, tick) = (program.now(), program.machine.clocks.get().tick);
    program.machine.change(|h| h.tick += 3_000.0);
    assert!(program.now() - before >= 1_000, "from {tick}");
}

#[test]
fn clocks_that_are_slewed_are_followed() {
    let mut program = Program::new(Machine::new(11));
    program.is_within(TOLERANCE, 10 * SECOND, MS);
    for ppm in [500.0, -500.0, 100.0] {
        program.machine.change(|h| h.steered = 1.0 + ppm / 1e6);
        program.is_within(TOLERANCE, 60 * SECOND, MS);
    }
    // chrony may do this.
    program.machine.change(|h| h.steered = 1.08);
    program.is_within(2 * MS, 60 * SECOND, MS);
}

#[test]
fn a_wall_clock_that_is_slewed_alone_is_followed_too() {
    let mut program = Program::slewed_alone(Machine::new(12), 1_000);
    program.is_within(TOLERANCE, 10 * SECOND, MS);
    for ppm in [400.0, -400.0, 20.0] {
        program.machine.change(|h| h.wall_alone = ppm / 1e6);
        program.is_within(TOLERANCE, 60 * SECOND, MS);
        program.is_within(TOLERANCE, 600 * SECOND, 60 * SECOND);
    }
}

#[test]
fn a_wall_clock_that_is_set_does_not_tear_a_trace_apart() {
    for step in [3_600e9, -3_600e9, 200e6, -1e6] {
        let mut program = Program::new(Machine::new(13));
        program.is_within(TOLERANCE, 10 * SECOND, MS);
        let before = program.new_anchor();
        let (at, monotonic) = (program.now(), program.machine.monotonic());
        program.machine.change(|h| h.wall += step);
        // A root within the next 10 ms may have the old offset.
        program.run(20 * MS, MS);
        assert_ne!(program.new_anchor(), before);
        for _ in 0..100 {
            let errors = program.run(100 * MS, MS);
            assert!(errors.new_root <= TOLERANCE, "{errors:?}");
        }
        // The old trace keeps its offset.
        assert_eq!(program.anchor, Some(before));
        let lasted = program.now() - at;
        let passed = program.machine.monotonic() - monotonic;
        assert!(lasted.abs_diff(passed) <= 2 * TOLERANCE + 6 * MS);
    }
}

/// The monotonic clock stops during a sleep. The counter continues, or restarts.
#[test]
fn a_machine_that_slept_has_the_right_time_again() {
    for does_count in [true, false] {
        let mut program = Program::new(Machine::new(14));
        program.is_within(TOLERANCE, 10 * SECOND, MS);
        for _ in 0..20 {
            let before = program.now();
            program.machine.change(|h| {
                let hour = 3_600e9;
                h.wall += hour;
                h.tick = if does_count {
                    h.tick + hour * h.ticks
                } else {
                    1e6
                };
            });
            // The sleep does not count as time.
            let after = program.now();
            assert!(after - before <= 11 * MS, "{}", after - before);
            // An open trace keeps its offset; a new one includes the sleep.
            program.run(100 * MS, MS);
            let errors = program.run(SECOND, MS);
            assert!(errors.new_root <= TOLERANCE, "{errors:?}");
        }
    }
}

/// A wall clock may be set to a time before 1970, or after 2262.
#[test]
fn impossible_wall_clocks_do_no_harm() {
    for wall in [0.0, 1e19] {
        let mut program = Program::new(Machine::new(15));
        program.run(SECOND, MS);
        program.machine.change(|h| h.wall = wall);
        for _ in 0..100 {
            program.machine.pass(MS);
            let now = program.now();
            program.new_anchor().unix_nanos(now);
            program.new_anchor().unix_nanos(0);
        }
    }
}

#[test]
fn a_process_that_was_forked_while_another_thread_renewed_goes_on() {
    let mut program = Program::new(Machine::new(16));
    program.is_within(TOLERANCE, SECOND, MS);
    program.timeline.hold_as(std::process::id().wrapping_add(1));
    program.is_within(TOLERANCE, 10 * SECOND, MS);
    assert!(program.timeline.is_free());
}

#[test]
fn no_thread_waits_for_the_one_that_renews() {
    let mut program = Program::new(Machine::new(17));
    program.is_within(TOLERANCE, SECOND, MS);
    program.timeline.hold_as(std::process::id());
    // Preempted for a second: the time is the monotonic clock's.
    program.is_within(TOLERANCE, SECOND, MS);
}

fn wall() -> u64 {
    System.wall()
}

#[test]
fn unix_time_is_the_wall_clock_of_this_machine() {
    prepare();
    let mut errors: Vec<u64> = (0..100)
        .map(|_| {
            let before = wall();
            let now = now();
            let after = wall();
            let unix = Anchor::current().unix_nanos(now);
            std::thread::sleep(Duration::from_millis(1));
            before.saturating_sub(unix).max(unix.saturating_sub(after))
        })
        .collect();
    errors.sort_unstable();
    assert!(errors[90] <= TOLERANCE, "{errors:?}");
    assert!(SystemTime::now() > UNIX_EPOCH);
}

#[test]
fn threads_that_hand_the_time_on_agree_within_the_tolerance() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let latest = AtomicU64::new(0);
    let end = Instant::now() + Duration::from_millis(200);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while Instant::now() < end {
                    let seen = latest.load(Ordering::SeqCst);
                    let now = now();
                    // During another thread's renewal, a thread reads the monotonic clock less its
                    // largest lead.
                    assert!(now + 50 * US >= seen, "{} ns back", seen - now);
                    latest.fetch_max(now, Ordering::SeqCst);
                }
            });
        }
    });
}
