//! [`SheddingController`]: reads a queue on the worker, and sets its level by the [`law`](super::law).

use std::time::{Duration, Instant};

use super::SheddingSwitch;
use super::law::{QueuePressure, horizon, next_level};
use crate::processor::queue::Queue;
use crate::sampler::SheddingLevel;
use crate::stats::DropReason;
use crate::sync::{Arc, Ordering};

/// Between two readings of the queue.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Rates are means over this part of the horizon: batches leave at once and spans come one by one.
const MEAN_OVER: f64 = 0.3;

/// Counts of a queue at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct QueueReading {
    /// Seconds since some moment.
    pub(super) at: f64,
    pub(super) queued: usize,
    pub(super) fill: f64,
    /// Since the start: spans that the exporter took, and that found no place.
    pub(super) went_out: u64,
    pub(super) refused: u64,
}

/// The rates of a queue and its level, from one reading to the next.
#[derive(Debug, Default)]
pub(super) struct SheddingLoop {
    pub(super) level: SheddingLevel,
    last: Option<QueueReading>,
    came_in: f64,
    went_out: f64,
    /// Seconds to the next reading.
    pub(super) pause: f64,
}

impl SheddingLoop {
    /// Takes a reading; the level that follows. `limit`: spans that the queue may hold.
    pub(super) fn step(&mut self, reading: QueueReading, limit: usize) -> SheddingLevel {
        let capacity = match reading.fill > 0.0 && reading.queued > 0 {
            // A queue that is full by bytes holds fewer.
            true => (reading.queued as f64 / reading.fill).min(limit as f64),
            false => limit as f64,
        };
        let last = self.last.replace(reading);
        if let Some(last) = last.filter(|last| reading.at > last.at) {
            let seconds = reading.at - last.at;
            let went_out = (reading.went_out - last.went_out) as f64 / seconds;
            let grew = reading.queued as f64 - last.queued as f64;
            let refused = (reading.refused - last.refused) as f64;
            let came_in = went_out + (grew + refused) / seconds;
            let weight = seconds / (seconds + MEAN_OVER * horizon(capacity, self.went_out));
            self.went_out += weight * (went_out - self.went_out);
            self.came_in += weight * (came_in.max(0.0) - self.came_in);
            let before = self.level;
            self.level = next_level(
                before,
                &QueuePressure {
                    fill: reading.fill,
                    capacity,
                    came_in: self.came_in,
                    went_out: self.went_out,
                },
            );
            // What will come under the new level: else the mean of the old one asks for the same step again.
            let steps = f64::from(before.get()) - f64::from(self.level.get());
            self.came_in *= (steps / 4.0).exp2();
        }
        let longest = LONGEST_PAUSE.as_secs_f64();
        let pause = horizon(capacity, self.went_out) / 10.0;
        self.pause = pause.clamp(SHORTEST_PAUSE.as_secs_f64(), longest);
        self.level
    }
}

/// The level of the worker's queue of spans. Its drop ends shedding.
pub(in crate::processor) struct SheddingController {
    queue: Arc<Queue>,
    is_configured: bool,
    switch: Option<Arc<dyn SheddingSwitch>>,
    steps: SheddingLoop,
    begun: Instant,
    next: Instant,
    is_on: bool,
    is_active: bool,
    has_ended: bool,
}

impl SheddingController {
    pub(in crate::processor) fn new(
        queue: Arc<Queue>,
        is_configured: bool,
        switch: Option<Arc<dyn SheddingSwitch>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            queue,
            is_configured,
            switch,
            steps: SheddingLoop::default(),
            begun: now,
            next: now,
            is_on: is_configured,
            is_active: false,
            has_ended: false,
        }
    }

    /// Reads the queue, if a reading is due, and sets the level.
    pub(in crate::processor) fn observe(&mut self, now: Instant) {
        if now < self.next || self.has_ended {
            return;
        }
        let by_code = self.switch.as_ref().and_then(|switch| switch.is_on());
        self.is_on = by_code.unwrap_or(self.is_configured);
        if !self.is_on {
            self.next = now + LONGEST_PAUSE;
            self.steps = SheddingLoop::default();
            return self.set(SheddingLevel::NONE);
        }
        let buffer = &self.queue.buffer;
        let counters = &self.queue.counters;
        let (queued, limit) = (buffer.queued(), buffer.bounds().spans);
        let reading = QueueReading {
            at: now.saturating_duration_since(self.begun).as_secs_f64(),
            queued,
            fill: buffer.pool().fill().max(queued as f64 / limit as f64),
            went_out: counters.handed_over.load(Ordering::Relaxed),
            refused: counters.dropped_early(DropReason::QueueFull),
        };
        let level = self.steps.step(reading, limit);
        self.next = now + Duration::from_secs_f64(self.steps.pause);
        self.set(level);
    }

    pub(in crate::processor) fn shed_ratio(&self) -> f64 {
        self.queue.shedding.level().shed_ratio()
    }

    /// When the next reading is due; `None`: the worker need not wake for it. `waits`: spans wait for the exporter.
    pub(in crate::processor) fn due(&self, waits: bool) -> Option<Instant> {
        (self.is_on && !self.has_ended && (waits || self.is_active)).then_some(self.next)
    }

    /// Ends shedding: a shutdown sends what is queued, and refuses the rest.
    pub(in crate::processor) fn end(&mut self) {
        self.has_ended = true;
        self.set(SheddingLevel::NONE);
    }

    fn set(&mut self, level: SheddingLevel) {
        self.queue.shedding.set(level);
        let is_active = level != SheddingLevel::NONE;
        if std::mem::replace(&mut self.is_active, is_active) != is_active
            && let Some(switch) = &self.switch
        {
            switch.set_active(is_active);
        }
    }
}

impl Drop for SheddingController {
    fn drop(&mut self) {
        self.end();
    }
}
