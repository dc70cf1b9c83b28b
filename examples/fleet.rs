//! A fleet in small: three collectors, twenty producing processes, and the changes that a tier of collectors sees.
//!
//! ```text
//! pip install rotel
//! cargo run --all-features --example fleet
//! ```
//!
//! The collectors are processes of [rotel](https://pypi.org/project/rotel/), found in `ROTEL` (a path), in `PATH`, or
//! in the packages of `python3`. Each passes its spans on to a store in this process, which counts them. One collector
//! is killed, one is added, one is restarted; after each change the shares of the collectors have to be within 15 %
//! of each other in less than 30 s. A second round does the same with trace affinity: there each trace, whose spans
//! come from four processes, has to be at one collector whole. No producer may lose a span.

#![allow(
    unreachable_pub,
    clippy::print_stdout,
    reason = "an example prints, and its modules are its own"
)]

#[path = "fleet/collectors.rs"]
mod collectors;
#[path = "fleet/producer.rs"]
mod producer;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing_otlp::SpanId;

use collectors::{Tier, rotel};
use producer::{Producer, Sums, TICK};

const PRODUCERS: u64 = 20;
/// Processes that have a span of each trace.
const SHARED_BY: u64 = 4;
/// Shares are counted over this time.
const WINDOW: Duration = Duration::from_secs(8);
/// The longest until the shares are even after a change.
const SETTLED: Duration = Duration::from_secs(30);
const TOLERANCE: f64 = 0.15;

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(end) = producer::run_if_asked() {
        return end;
    }
    let Some(rotel) = rotel() else {
        println!("fleet: left out, because there is no rotel here (pip install rotel)");
        return Ok(());
    };
    for has_affinity in [false, true] {
        round(&rotel, has_affinity)?;
    }
    println!("fleet: all of it held");
    Ok(())
}

fn round(rotel: &str, has_affinity: bool) -> Result<(), Box<dyn Error>> {
    println!(
        "\n{PRODUCERS} processes, trace affinity {}",
        if has_affinity { "on" } else { "off" }
    );
    // The fourth is added later. Its address is in the list from the start, as it would be in a list of settings.
    let mut tier = Tier::new(rotel, 4)?;
    for index in 0..3 {
        tier.start(index)?;
    }
    let producers = (0..PRODUCERS)
        .map(|number| Producer::start(number, &tier.endpoints(), has_affinity))
        .collect::<Result<Vec<_>, _>>()?;

    let mut stable = Vec::new();
    stable.push(settle("three collectors", &tier)?);
    tier.kill(0)?;
    stable.push(settle("one is killed", &tier)?);
    tier.start(3)?;
    stable.push(settle("one is added", &tier)?);
    tier.restart(1)?;
    stable.push(settle("one is restarted", &tier)?);

    let mut sums = Sums::default();
    for producer in producers {
        sums += producer.stop()?;
    }
    tier.stop()?;
    let arrived: usize = tier.stores().iter().map(|store| store.span_count()).sum();
    println!(
        "  {} spans started, {} delivered, {} dropped, {} perhaps sent twice; {arrived} arrived at the stores",
        sums.started, sums.delivered, sums.dropped, sums.twice,
    );
    if sums.delivered != sums.started || sums.dropped != 0 {
        return Err("producers lost spans".into());
    }
    if has_affinity {
        whole(&tier, &stable)?;
    }
    Ok(())
}

/// Waits until each running collector has its share of the spans of a window; returns the window, in ticks.
fn settle(change: &str, tier: &Tier) -> Result<Range<u64>, Box<dyn Error>> {
    let changed = Instant::now();
    loop {
        let (begin, before) = (tick(), tier.counts());
        thread::sleep(WINDOW);
        let after = tier.counts();
        let counts: Vec<_> = tier
            .running()
            .map(|index| after[index] - before[index])
            .collect();
        let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
        let worst = counts
            .iter()
            .map(|count| (*count as f64 / mean - 1.0).abs())
            .fold(0.0, f64::max);
        let took = changed.elapsed();
        if worst <= TOLERANCE && mean > 0.0 {
            println!(
                "  {change:18} {counts:?} spans in {WINDOW:?}, {:.0} % from even, after {took:.0?}",
                worst * 100.0
            );
            return Ok(begin..tick());
        }
        if took > SETTLED + WINDOW {
            return Err(format!("{change}: after {took:.0?} the shares are {counts:?}").into());
        }
    }
}

/// Checks that each trace of the windows is at one store, with all its spans.
fn whole(tier: &Tier, windows: &[Range<u64>]) -> Result<(), Box<dyn Error>> {
    // The first seconds are those in which processes notice a change, each by itself; a span of the last second may
    // still be on its way.
    let seconds = |n: u64| n * 1_000 / TICK.as_millis() as u64;
    let is_inside = |tick: u64| {
        let mut settled = windows
            .iter()
            .map(|w| w.start + seconds(4)..w.end.saturating_sub(seconds(1)));
        settled.any(|window| window.contains(&tick))
    };
    // The stores and the spans of each.
    let mut traces = BTreeMap::<_, (BTreeSet<usize>, BTreeSet<SpanId>)>::new();
    for (index, store) in tier.stores().iter().enumerate() {
        for span in store.spans() {
            if is_inside(producer::tick_of(span.trace_id)) {
                let (stores, ids) = traces.entry(span.trace_id).or_default();
                stores.insert(index);
                ids.insert(span.span_id);
            }
        }
    }
    let parted = traces
        .values()
        .filter(|(stores, _)| stores.len() > 1)
        .count();
    let whole = traces
        .values()
        .filter(|(_, ids)| ids.len() as u64 == SHARED_BY)
        .count();
    println!(
        "  {} traces of {SHARED_BY} processes each in the windows: {whole} whole, {parted} parted",
        traces.len()
    );
    match parted == 0 && whole == traces.len() && whole > 100 {
        true => Ok(()),
        false => Err("not every trace is whole at one collector".into()),
    }
}

/// The number of the current tick, the same in every process.
fn tick() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    (now.as_millis() / TICK.as_millis()) as u64
}
