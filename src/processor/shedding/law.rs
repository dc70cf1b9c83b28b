//! The law by which the level of shedding follows the queue: [`next_level`], a pure function.
//!
//! A queue adds up what comes and what goes. The law does not ask how full it is and react, which swings; it works
//! out how much may come so that the queue reaches its goal within a horizon, and takes the level that lets that much
//! come. The queue then nears its goal as `1 − e^(−t/horizon)`, at any rate and any size.

use crate::sampler::SheddingLevel;

/// Up to here the queue takes bursts and nothing is shed.
const START: f64 = 0.5;
/// Where the queue stands while more comes than the endpoint takes. The rest is for bursts, and for an outage.
const GOAL: f64 = 0.8;
/// The most steps at once: a quarter is left after them.
const MOST_AT_ONCE: f64 = 8.0;
/// The level falls if a step less is still enough, with something to spare.
const FALL: f64 = -1.25;
/// The most steps down at once while the queue takes bursts again.
const MOST_DOWN: f64 = 4.0;
const RISE: f64 = 0.5;
/// Seconds.
const SHORTEST_HORIZON: f64 = 1.0;
const LONGEST_HORIZON: f64 = 30.0;

/// A reading of a queue. Rates are spans a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct QueuePressure {
    /// 0 is empty, 1 is full, by spans or by bytes.
    pub(super) fill: f64,
    /// The spans that fill it.
    pub(super) capacity: f64,
    /// Spans that came and were not shed, also those for which there was no place.
    pub(super) came_in: f64,
    /// Spans that the exporter took.
    pub(super) went_out: f64,
}

/// The time in which the queue shall reach its goal: as long as the exporter needs for a full queue.
pub(super) fn horizon(capacity: f64, went_out: f64) -> f64 {
    (capacity / went_out).clamp(SHORTEST_HORIZON, LONGEST_HORIZON)
}

/// The level that follows `level`. It rises by up to [`MOST_AT_ONCE`] steps, and falls by one, by
/// up to [`MOST_DOWN`] once the queue has emptied.
pub(super) fn next_level(level: SheddingLevel, pressure: &QueuePressure) -> SheddingLevel {
    let QueuePressure {
        fill,
        capacity,
        came_in,
        went_out,
    } = *pressure;
    if level == SheddingLevel::NONE && fill < START {
        return level;
    }
    let allowed = went_out + capacity * (GOAL - fill) / horizon(capacity, went_out);
    // Above its goal a queue whose exporter takes nothing would ask for less than nothing.
    let allowed = allowed.max(went_out / 16.0).max(1e-3);
    let steps = 4.0 * (came_in.max(1e-6) / allowed).log2();
    let change = match steps {
        steps if steps >= RISE => steps.clamp(1.0, MOST_AT_ONCE).round() as i16,
        steps if steps <= FALL && fill < START => -(-steps - 0.25).clamp(1.0, MOST_DOWN) as i16,
        steps if steps <= FALL => -1,
        _ => 0,
    };
    let next = (i16::from(level.get()) + change).clamp(0, i16::from(SheddingLevel::MAX));
    SheddingLevel::new(next as u8)
}
