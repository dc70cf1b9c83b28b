//! [`Lane`]: the part of the worker for one signal, from its queue to its exporter.
//!
//! A request holds one signal. Each signal has its own schedule, batches, requests in flight and permits,
//! and lanes that are due take turns ([`next_of`]). So a signal that waits for its endpoint, or has more to
//! send, delays the other by the time to form one request at most.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::{sleep_until, timeout};

use super::batch::{Cut, Staging};
use super::chunk::Chunk;
use super::in_flight::{InFlightBatches, Settled};
use super::queue::Queue;
use crate::export::{Batch, ErasedExporter, Outcome, Readiness, SendPermit};
use crate::signal::Signal;
use crate::stats::DropReason;
use crate::sync::Arc;

/// The bounds and delays of a lane.
#[derive(Debug)]
pub(super) struct LaneSettings {
    /// Spans or records of a batch.
    pub(super) max_items: usize,
    /// Bytes of a batch, unless a single span is larger.
    pub(super) max_bytes: usize,
    /// A load of this many items, or the equivalent in bytes, is sent without delay.
    pub(super) due: usize,
    pub(super) delay: Duration,
    pub(super) export_timeout: Option<Duration>,
}

pub(super) struct Lane {
    pub(super) queue: Arc<Queue>,
    pub(super) exporter: ErasedExporter,
    settings: LaneSettings,
    /// The drained items. They keep their credits until they are sent.
    pub(super) staging: Staging,
    pub(super) in_flight: InFlightBatches,
    /// Staged items below this number are due, even if they fill no batch.
    pub(super) send_upto: u64,
    /// When the schedule delay is over.
    pub(super) next_tick: Instant,
    /// The wait for a permit, if a batch is due.
    ready: Option<Readiness>,
    /// When the signal is tried again at an endpoint that does not take it.
    retry_support_at: Option<Instant>,
}

/// After an endpoint has answered that it does not take a signal, none of that signal is sent for this long.
const UNSUPPORTED_FOR: Duration = Duration::from_secs(300);

/// An event of a lane.
pub(super) enum LaneEvent {
    /// The lane may send a batch.
    Ready(usize, SendPermit),
    Settled(Settled),
}

impl Lane {
    pub(super) fn new(queue: Arc<Queue>, exporter: ErasedExporter, settings: LaneSettings) -> Self {
        Self {
            staging: Staging::new(Arc::clone(queue.buffer.pool())),
            in_flight: InFlightBatches::new(queue.signal, Arc::clone(&queue.counters)),
            send_upto: 0,
            next_tick: later(Instant::now(), settings.delay),
            ready: None,
            retry_support_at: None,
            queue,
            exporter,
            settings,
        }
    }

    pub(super) fn signal(&self) -> Signal {
        self.queue.signal
    }

    /// Whether no item is staged or in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.staging.items() == 0 && self.in_flight.is_empty()
    }

    /// Whether the lane waits for a permit or an answer of its exporter.
    pub(super) fn waits(&self) -> bool {
        self.ready.is_some() || !self.in_flight.is_empty()
    }

    /// Moves the waiting items of the queue into the staging; `drained` is a reused buffer.
    pub(super) fn drain(&mut self, close: bool, drained: &mut Vec<Chunk>) {
        self.queue.buffer.drain(close, drained);
        for chunk in drained.drain(..) {
            self.staging.stage(chunk);
        }
    }

    /// At the end of the schedule delay: all waiting items become due.
    pub(super) fn tick(&mut self, now: Instant, drained: &mut Vec<Chunk>) {
        self.next_tick = later(now, self.settings.delay);
        // With a full batch staged, chunks that are still filling can stay in the shards.
        if self.staging.items() < self.settings.max_items {
            self.drain(false, drained);
        }
        self.send_upto = self.staging.end();
        self.retry_support(now);
    }

    /// Lets the signal be sent again after [`UNSUPPORTED_FOR`].
    fn retry_support(&mut self, now: Instant) {
        if self.retry_support_at.is_some_and(|at| at <= now) {
            self.retry_support_at = None;
            self.queue.set_unsupported(false);
        }
    }

    /// Notes whether the endpoint takes the signal. If not, the queued items are drained; the worker drops
    /// them.
    pub(super) fn note_support(&mut self, is_supported: Option<bool>, drained: &mut Vec<Chunk>) {
        match is_supported {
            Some(true) if self.retry_support_at.take().is_some() => {
                self.queue.set_unsupported(false)
            }
            Some(false) => {
                self.retry_support_at = Some(later(Instant::now(), UNSUPPORTED_FOR));
                self.queue.set_unsupported(true);
                self.drain(false, drained);
            }
            _ => {}
        }
    }

    fn staged_load(&self) -> usize {
        let (items, bytes) = (self.staging.items(), self.staging.bytes());
        self.queue.buffer.load_of(items, bytes)
    }

    fn is_due(&self) -> bool {
        self.staging.items() > 0
            && (self.staging.start() < self.send_upto || self.staged_load() >= self.settings.due)
    }

    /// Before the worker sleeps: requests a permit if a batch is due, else arms the wake-up. False: a batch
    /// became due meanwhile.
    pub(super) fn prepare(&mut self, resume_at: Instant, drained: &mut Vec<Chunk>) -> bool {
        if self.ready.is_some() {
            return true;
        }
        if self.is_due() {
            let ready = self.exporter.ready();
            self.ready = Some(Box::pin(async move {
                if Instant::now() < resume_at {
                    sleep_until(resume_at.into()).await;
                }
                ready.await
            }));
            return true;
        }
        let missing = self.settings.due.saturating_sub(self.staged_load()).max(1);
        if self.queue.wake.arm(missing) {
            return true;
        }
        self.drain(false, drained);
        // The threshold was reached, by items or by bytes.
        self.send_upto = self.send_upto.max(self.staging.start() + 1);
        self.next_tick = later(Instant::now(), self.settings.delay);
        false
    }

    /// Drops the wait for a permit after a panic, which may come from that future.
    pub(super) fn forget_permit(&mut self) {
        self.ready = None;
    }

    /// The next batch; `None` if the staged bytes contain no items.
    pub(super) fn take(
        &mut self,
        scopes: &super::scopes::Scopes,
        drained: &mut Vec<Chunk>,
    ) -> Option<Cut> {
        if self.staging.items() < self.settings.max_items {
            self.drain(false, drained);
        }
        let LaneSettings {
            max_items,
            max_bytes,
            ..
        } = self.settings;
        self.staging.cut(max_items, max_bytes, scopes)
    }

    pub(super) fn send(&mut self, permit: SendPermit, cut: Cut, resource: Bytes, on: &Handle) {
        let Cut {
            groups,
            start,
            items,
        } = cut;
        let batch = Batch::new(self.signal(), resource, groups, items);
        let exporter = self.exporter.clone();
        let limit = self.settings.export_timeout;
        let signal = self.signal();
        let send = async move {
            // Called in the task, so that a panic of the exporter ends only this task.
            let limit = limit.filter(|_| !exporter.keeps_export_timeout());
            let send = permit(batch);
            match limit {
                None => send.await,
                Some(limit) => timeout(limit, send)
                    .await
                    .unwrap_or_else(|_| timed_out(signal, items as u64, limit)),
            }
        };
        self.in_flight.launch(start, items as u64, send, on);
        self.queue.buffer.release(items);
    }

    /// The number below which everything is settled.
    pub(super) fn settled_upto(&self) -> u64 {
        let earliest = self.in_flight.earliest().unwrap_or(u64::MAX);
        self.staging.start().min(earliest)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<SendPermit> {
        let Some(ready) = &mut self.ready else {
            return Poll::Pending;
        };
        let permit = ready.as_mut().poll(cx);
        if permit.is_ready() {
            self.ready = None;
        }
        permit
    }
}

/// The next event of any lane. Lanes are polled from `turn` on, so that none starves. Cancel safe.
pub(super) async fn next_of(lanes: &mut [Lane], turn: usize) -> LaneEvent {
    poll_fn(|cx| {
        let count = lanes.len().max(1);
        for offset in 0..count {
            let index = (turn + offset) % count;
            let Some(lane) = lanes.get_mut(index) else {
                continue;
            };
            if let Poll::Ready(permit) = lane.poll_ready(cx) {
                return Poll::Ready(LaneEvent::Ready(index, permit));
            }
        }
        for lane in lanes.iter_mut() {
            if let Poll::Ready(settled) = lane.in_flight.poll_join_next(cx) {
                return Poll::Ready(LaneEvent::Settled(settled));
            }
        }
        Poll::Pending
    })
    .await
}

fn timed_out(signal: Signal, items: u64, limit: Duration) -> Outcome {
    let variable = match signal {
        Signal::Traces => "OTEL_BSP_EXPORT_TIMEOUT",
        Signal::Logs => "OTEL_BLRP_EXPORT_TIMEOUT",
    };
    Outcome::dropped(
        DropReason::Unconfirmed,
        items,
        format!("an export did not end within {limit:?} ({variable})"),
    )
}

/// `now + delay`, at most a year, because an `Instant` may overflow.
pub(super) fn later(now: Instant, delay: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    now + delay.min(YEAR)
}
