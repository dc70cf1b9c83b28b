//! A fleet of ten thousand processes, without sockets: how evenly the choices of [`choice`](super::choice) and the
//! owners of [`rendezvous`](super::rendezvous) spread batches and traces, while collectors come, go and slow down.
//!
//! The assertions hold what `docs/fleet.md` claims. Where there is a directory `target/fleet`, the tests write the
//! figures of its plots there: `docs/fleet/plot.py` draws them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;

use super::LINKS;
use super::choice::{draw, less_loaded};
use super::rendezvous::{mix, place_of, score};

const PROCESSES: usize = 10_000;

/// One step of a simulation, in seconds.
const STEP: f64 = 0.25;

/// A process sends a batch each so many seconds.
const BATCH_EVERY: f64 = 5.0;

/// The links of a process are drawn anew, one at a time, each so many seconds.
const REDRAW_EVERY: f64 = 30.0;

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A collector: where it is, and for how long a request is on its way.
#[derive(Clone, Copy)]
struct SimulatedCollector {
    place: u64,
    latency: f64,
    is_up: bool,
}

/// The collectors of a tier, numbered.
fn tier(collectors: u16) -> Vec<SimulatedCollector> {
    let peer = |number| SimulatedCollector {
        place: place_of(&format!("10.0.{}.{}", number / 250, number % 250), 4317),
        latency: 0.02,
        is_up: true,
    };
    (0..collectors).map(peer).collect()
}

struct Process {
    seeds: [u64; LINKS],
    next_redraw: (usize, f64),
    next_batch: f64,
    /// The collector of each request under way, and when its answer comes.
    under_way: Vec<(usize, f64)>,
}

/// A fleet of processes in front of a tier.
struct Fleet {
    peers: Vec<SimulatedCollector>,
    processes: Vec<Process>,
    random: Random,
    now: f64,
}

impl Fleet {
    fn new(peers: Vec<SimulatedCollector>) -> Self {
        let mut random = Random(1);
        let process = |_| Process {
            seeds: [(); LINKS].map(|()| random.next()),
            next_redraw: (0, random.unit() * REDRAW_EVERY),
            next_batch: random.unit() * BATCH_EVERY,
            under_way: Vec::new(),
        };
        Self {
            peers,
            processes: (0..PROCESSES).map(process).collect(),
            random,
            now: 0.0,
        }
    }

    /// Batches that each collector gets in the next `seconds`.
    fn run(&mut self, seconds: f64) -> Vec<usize> {
        let mut got = vec![0; self.peers.len()];
        let end = self.now + seconds;
        while self.now < end {
            let up = (0..self.peers.len())
                .filter(|n| self.peers[*n].is_up)
                .collect::<Vec<_>>();
            let places: Vec<_> = up.iter().map(|n| self.peers[*n].place).collect();
            for process in &mut self.processes {
                if self.now < process.next_batch {
                    continue;
                }
                process.next_batch += BATCH_EVERY;
                let (slot, at) = process.next_redraw;
                if self.now >= at {
                    process.seeds[slot] = mix(process.seeds[slot]);
                    process.next_redraw = ((slot + 1) % LINKS, self.now + REDRAW_EVERY);
                }
                process
                    .under_way
                    .retain(|(_, answered)| *answered > self.now);
                let links = draw(process.seeds, &places);
                let load = |link: usize| {
                    let of_link = process
                        .under_way
                        .iter()
                        .filter(|(n, _)| *n == up[links[link]]);
                    of_link.count() as u64
                };
                let chosen = less_loaded(links.len(), load, |n| self.random.below(n));
                let chosen = up[links[chosen]];
                got[chosen] += 1;
                let answered = self.now + self.peers[chosen].latency;
                process.under_way.push((chosen, answered));
            }
            self.now += STEP;
        }
        got
    }
}

/// The least and the greatest share of those that are up, and the mean as 1.
fn spread(got: &[usize], peers: &[SimulatedCollector]) -> (f64, f64) {
    let up: Vec<_> = got
        .iter()
        .zip(peers)
        .filter(|(_, peer)| peer.is_up)
        .map(|(n, _)| *n as f64)
        .collect();
    let mean = up.iter().sum::<f64>() / up.len() as f64;
    let shares = up.iter().map(|n| n / mean);
    shares.fold((f64::MAX, 0.0), |(least, most), share| {
        (share.min(least), share.max(most))
    })
}

fn write(name: &str, csv: &str) {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/target/fleet");
    // Only where somebody made it: for the plots.
    let _ = std::fs::write(std::path::Path::new(directory).join(name), csv);
}

#[test]
fn ten_thousand_processes_load_collectors_evenly_while_these_come_and_go() {
    let mut fleet = Fleet::new(tier(30));
    // The thirtieth comes later.
    fleet.peers[29].is_up = false;
    let mut csv = "seconds,least,most\n".to_owned();
    for window in 0..24 {
        match window {
            6 => fleet.peers[3].is_up = false,
            12 => fleet.peers[29].is_up = true,
            18 => fleet.peers[3].is_up = true,
            _ => {}
        }
        let got = fleet.run(10.0);
        let (least, most) = spread(&got, &fleet.peers);
        writeln!(csv, "{},{least:.4},{most:.4}", window * 10).unwrap();
        assert!(
            least > 0.85 && most < 1.15,
            "in window {window}: {least} to {most}"
        );
    }
    write("balance.csv", &csv);
}

#[test]
fn a_slow_collector_gets_less() {
    // Requests to it are still under way when the next batch is due.
    let mut csv = "latency,share\n".to_owned();
    let mut last = f64::MAX;
    for latency in [0.02, 5.0, 10.0, 20.0, 40.0] {
        let mut fleet = Fleet::new(tier(30));
        fleet.peers[7].latency = latency;
        fleet.run(60.0);
        let got = fleet.run(60.0);
        let share = got[7] as f64 / (got.iter().sum::<usize>() as f64 / got.len() as f64);
        writeln!(csv, "{latency},{share:.4}").unwrap();
        assert!(share < last + 0.05, "{latency} s: {share}");
        last = share;
    }
    assert!(last < 0.5, "{last}");
    write("slow.csv", &csv);
}

/// The collector that has a trace, among those that a process knows.
fn owner(known: &[SimulatedCollector], trace: u64) -> u64 {
    let up = known.iter().filter(|peer| peer.is_up);
    up.map(|peer| peer.place)
        .max_by_key(|place| score(*place, trace))
        .unwrap()
}

#[test]
fn traces_move_as_little_as_they_can() {
    let mut random = Random(2);
    let traces: Vec<_> = (0..20_000).map(|_| random.next()).collect();
    let mut csv = "collectors,leaves,joins,ideal_leaves,ideal_joins\n".to_owned();
    for collectors in [3_u16, 10, 30, 100] {
        let all = tier(collectors + 1);
        let (before, mut fewer) = (
            &all[..usize::from(collectors)],
            all[..usize::from(collectors)].to_vec(),
        );
        fewer[0].is_up = false;
        let moved = |after: &[SimulatedCollector]| {
            let moved = traces
                .iter()
                .filter(|trace| owner(before, **trace) != owner(after, **trace));
            moved.count() as f64 / traces.len() as f64
        };
        let (leaves, joins) = (moved(&fewer), moved(&all));
        let (ideal_leaves, ideal_joins) =
            (1.0 / f64::from(collectors), 1.0 / f64::from(collectors + 1));
        assert!(
            (leaves / ideal_leaves - 1.0).abs() < 0.2,
            "{collectors}: {leaves}"
        );
        assert!(
            (joins / ideal_joins - 1.0).abs() < 0.2,
            "{collectors}: {joins}"
        );
        writeln!(
            csv,
            "{collectors},{leaves:.4},{joins:.4},{ideal_leaves:.4},{ideal_joins:.4}"
        )
        .unwrap();
    }
    write("moves.csv", &csv);
}

#[test]
fn traces_are_parted_only_while_processes_disagree() {
    // A collector comes. Each process learns it at its next look-up, within 30 s. A trace has spans of four processes.
    let (all, before) = (tier(31), tier(30));
    let mut random = Random(3);
    let learns: Vec<f64> = (0..PROCESSES)
        .map(|_| random.unit() * REDRAW_EVERY)
        .collect();
    let mut csv = "seconds,parted\n".to_owned();
    for second in -5..=35 {
        const TRACES: usize = 4_000;
        let parted = (0..TRACES).filter(|_| {
            let trace = random.next();
            let mut owners = (0..4).map(|_| {
                let knows = learns[random.below(PROCESSES)] <= f64::from(second);
                owner(if knows { &all } else { &before }, trace)
            });
            let first = owners.next();
            owners.any(|owner| Some(owner) != first)
        });
        let parted = parted.count() as f64 / TRACES as f64;
        writeln!(csv, "{second},{parted:.4}").unwrap();
        // Nothing moves but what the new one takes: one trace in 31.
        assert!(parted < 0.05, "{second} s: {parted}");
        assert!(
            (0..30).contains(&second) || parted == 0.0,
            "{second} s: {parted}"
        );
    }
    write("parted.csv", &csv);
}
