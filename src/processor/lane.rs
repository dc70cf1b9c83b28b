//! [`Lane`]: one signal's way through the worker, from its queue to its exporter.
//!
//! A request holds one signal. Each signal has a schedule, batches, requests under way and permits of
//! its own, and lanes that are due take turns ([`next_of`]): a signal that waits for its endpoint, or
//! has more to send, holds the other up by no more than one request's forming.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::{sleep_until, timeout};

use super::batch::{Cut, Staging};
use super::chunk::Chunk;
use super::in_flight::{InFlight, Settled};
use super::queue::Queue;
use super::worker::later;
use crate::export::{Batch, ErasedExporter, Outcome, Readiness, SendPermit};
use crate::signal::Signal;
use crate::stats::DropReason;
use crate::sync::Arc;

/// A lane's numbers.
#[derive(Debug)]
pub(super) struct Settings {
    /// Spans or records of a batch.
    pub(super) max_spans: usize,
    /// Bytes of a batch, unless a single span is larger.
    pub(super) max_bytes: usize,
    /// How many waiting spans, or as much of a batch's bytes, are sent without delay.
    pub(super) due: usize,
    pub(super) delay: Duration,
    pub(super) export_timeout: Option<Duration>,
}

pub(super) struct Lane {
    pub(super) queue: Arc<Queue>,
    pub(super) exporter: ErasedExporter,
    settings: Settings,
    /// What has been drained; it keeps its credits until it is sent.
    pub(super) staging: Staging,
    pub(super) in_flight: InFlight,
    /// Staged items below this number go out, be the batch full or not.
    pub(super) send_upto: u64,
    /// When the schedule delay is over.
    pub(super) next_tick: Instant,
    /// While a permit is waited for.
    ready: Option<Readiness>,
    /// When an endpoint that does not take the signal is tried again.
    asks_again: Option<Instant>,
}

/// How long an endpoint is left alone that has said that it does not take a signal.
const UNSUPPORTED_FOR: Duration = Duration::from_secs(300);

/// What happened in a lane.
pub(super) enum Happened {
    /// It may send a batch.
    Ready(usize, SendPermit),
    Landed(Settled),
}

impl Lane {
    pub(super) fn new(queue: Arc<Queue>, exporter: ErasedExporter, settings: Settings) -> Self {
        Self {
            staging: Staging::new(Arc::clone(queue.buffer.pool())),
            in_flight: InFlight::new(queue.signal, Arc::clone(&queue.counters)),
            send_upto: 0,
            next_tick: later(Instant::now(), settings.delay),
            ready: None,
            asks_again: None,
            queue,
            exporter,
            settings,
        }
    }

    pub(super) fn signal(&self) -> Signal {
        self.queue.signal
    }

    /// Whether nothing waits here, nor is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.staging.spans() == 0 && self.in_flight.is_empty()
    }

    /// Whether the exporter is waited for.
    pub(super) fn waits(&self) -> bool {
        self.ready.is_some() || !self.in_flight.is_empty()
    }

    /// Moves what waits into the staging; `drained` is lent for its memory.
    pub(super) fn drain(&mut self, close: bool, drained: &mut Vec<Chunk>) {
        self.queue.buffer.drain(close, drained);
        for chunk in drained.drain(..) {
            self.staging.stage(chunk);
        }
    }

    /// The schedule delay is over: what waits goes out.
    pub(super) fn tick(&mut self, now: Instant, drained: &mut Vec<Chunk>) {
        self.next_tick = later(now, self.settings.delay);
        // With a batch at hand nothing is gained by taking chunks that are not full.
        if self.staging.spans() < self.settings.max_spans {
            self.drain(false, drained);
        }
        self.send_upto = self.staging.end();
        self.look_up(now);
    }

    /// Tries an endpoint again that did not take the signal.
    fn look_up(&mut self, now: Instant) {
        if self.asks_again.is_some_and(|at| at <= now) {
            self.asks_again = None;
            self.queue.set_unsupported(false);
        }
    }

    /// Takes note of whether the endpoint takes the signal. What is queued by then is sent nowhere.
    pub(super) fn note_support(&mut self, is_supported: Option<bool>, drained: &mut Vec<Chunk>) {
        match is_supported {
            Some(true) if self.asks_again.take().is_some() => self.queue.set_unsupported(false),
            Some(false) => {
                self.asks_again = Some(later(Instant::now(), UNSUPPORTED_FOR));
                self.queue.set_unsupported(true);
                self.drain(false, drained);
            }
            _ => {}
        }
    }

    fn staged_load(&self) -> usize {
        let (spans, bytes) = (self.staging.spans(), self.staging.bytes());
        self.queue.buffer.load_of(spans, bytes)
    }

    fn is_due(&self) -> bool {
        self.staging.spans() > 0
            && (self.staging.start() < self.send_upto || self.staged_load() >= self.settings.due)
    }

    /// Before the worker sleeps: asks for a permit where a batch is due, and else to be woken when one
    /// is. False: one has come together meanwhile.
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
        // What is due has come together, by spans or by bytes.
        self.send_upto = self.send_upto.max(self.staging.start() + 1);
        self.next_tick = later(Instant::now(), self.settings.delay);
        false
    }

    /// After a panic, which may have come from here.
    pub(super) fn forget_permit(&mut self) {
        self.ready = None;
    }

    /// The next batch; `None` where bytes are no items.
    pub(super) fn take(
        &mut self,
        scopes: &super::scopes::Scopes,
        drained: &mut Vec<Chunk>,
    ) -> Option<Cut> {
        if self.staging.spans() < self.settings.max_spans {
            self.drain(false, drained);
        }
        let Settings {
            max_spans,
            max_bytes,
            ..
        } = self.settings;
        self.staging.cut(max_spans, max_bytes, scopes)
    }

    pub(super) fn send(&mut self, permit: SendPermit, cut: Cut, resource: Bytes, on: &Handle) {
        let Cut {
            groups,
            start,
            spans,
        } = cut;
        let batch = Batch::new(self.signal(), resource, groups, spans);
        let exporter = self.exporter.clone();
        let limit = self.settings.export_timeout;
        let signal = self.signal();
        let send = async move {
            // Called in here, so that a panic is this task's alone.
            let limit = limit.filter(|_| !exporter.keeps_export_timeout());
            let send = permit(batch);
            match limit {
                None => send.await,
                Some(limit) => timeout(limit, send)
                    .await
                    .unwrap_or_else(|_| timed_out(signal, spans as u64, limit)),
            }
        };
        self.in_flight.launch(start, spans as u64, send, on);
        self.queue.buffer.release(spans);
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

/// What happens next in any lane. Where several may send, the one at `turn` is first. Cancel safe.
pub(super) async fn next_of(lanes: &mut [Lane], turn: usize) -> Happened {
    poll_fn(|cx| {
        let count = lanes.len().max(1);
        for offset in 0..count {
            let index = (turn + offset) % count;
            let Some(lane) = lanes.get_mut(index) else {
                continue;
            };
            if let Poll::Ready(permit) = lane.poll_ready(cx) {
                return Poll::Ready(Happened::Ready(index, permit));
            }
        }
        for lane in lanes.iter_mut() {
            if let Poll::Ready(settled) = lane.in_flight.poll_landed(cx) {
                return Poll::Ready(Happened::Landed(settled));
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
