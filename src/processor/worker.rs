//! The `otlp-worker` thread: wait, take, send, settle.
//!
//! The worker has its own runtime, so it needs none of the application's and outlives them. No call ends
//! the worker: a panic of an exporter costs one batch or a pause. Each signal has a [`Lane`]; the lanes
//! share the thread, the runtime, the flushes and the shutdown.

mod end;
mod open;
mod probe;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::{Handle, Runtime};
use tokio::time::sleep_until;

pub(crate) use self::open::OpenSpanSource;
use self::open::Showing;
use super::chunk::Chunk;
use super::flush::FlushRequest;
use super::in_flight::{Settled, message_of};
use super::lane::{self, Lane, LaneEvent, later};
use super::pending_flushes::{EarlyLoss, Marks, PendingFlushes};
use super::shared::{CloseOnExit, Shared};
use super::shedding::control::SheddingController;
use crate::diagnostics::Diagnostics;
use crate::export::SendPermit;
use crate::signal::Signal;
use crate::stats::DropReason;
use crate::suppress;
use crate::sync::Arc;

/// A callback of the worker, about once a second.
pub(crate) type EverySecond = Box<dyn FnMut() + Send>;

pub(super) struct Worker {
    shared: Arc<Shared>,
    /// The lane of spans, then the lane of logs if the pipeline has logs.
    lanes: Vec<Lane>,
    /// The lane that is polled first: the one after the lane that sent last.
    turn: usize,
    resource: Bytes,
    runtime: Handle,
    diagnostics: Diagnostics,
    every_second: Option<EverySecond>,
    open_spans: Option<Showing>,
    shedding: Option<SheddingController>,
    next_second: Instant,
    /// When the members of the endpoint are looked at next.
    next_members: Instant,
    /// A buffer between shards and staging, reused for its memory.
    drained: Vec<Chunk>,
    pending_flushes: PendingFlushes,
    /// When to probe the exporter for its last error; `None`: no permit and no answer is awaited.
    next_probe: Option<Instant>,
    /// The latest time for the report of a loss.
    report_at: Option<Instant>,
    finishing: bool,
    /// The pause after a panic, and when it ends.
    backoff: Duration,
    resume_at: Instant,
}

/// The wait for a permit or an answer before the first probe of the exporter, and between later probes.
const FIRST_PROBE: Duration = Duration::from_millis(200);
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The delay of the report of a loss: a little longer than `diagnostics::POLL`.
const REPORT_DELAY: Duration = Duration::from_millis(300);
/// The longest sleep, so that losses are reported in time also with a long schedule delay.
const MAX_SLEEP: Duration = Duration::from_secs(5);

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        lanes: Vec<Lane>,
        resource: Bytes,
        runtime: Handle,
        diagnostics: Diagnostics,
        every_second: Option<EverySecond>,
    ) -> Self {
        let now = Instant::now();
        Self {
            shared,
            lanes,
            turn: 0,
            resource,
            runtime,
            diagnostics,
            every_second,
            open_spans: None,
            shedding: None,
            next_second: now,
            next_members: now,
            drained: Vec::new(),
            pending_flushes: PendingFlushes::default(),
            next_probe: None,
            report_at: None,
            finishing: false,
            backoff: Duration::ZERO,
            resume_at: now,
        }
    }

    /// Passes the open spans of `source` to the exporter, about once a second.
    pub(super) fn showing(mut self, source: Option<OpenSpanSource>) -> Self {
        self.open_spans = source.map(Showing::new);
        self
    }

    /// Sheds traces when spans come faster than the exporter takes them.
    pub(super) fn shedding_by(mut self, controller: SheddingController) -> Self {
        self.shedding = Some(controller);
        self
    }

    /// The body of the worker's thread.
    pub(super) fn run_thread(mut self, runtime: Runtime) {
        suppress::mark_thread();
        let _close = CloseOnExit(Arc::clone(&self.shared));
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| runtime.block_on(self.run()))) {
            if self.finishing {
                break;
            }
            self.recover(message_of(&*panic));
        }
        // An ordinary shutdown of the runtime waits for blocking tasks, such as a DNS look-up.
        runtime.shutdown_background();
    }

    async fn run(&mut self) {
        while let Some((lane, permit)) = self.wait().await {
            self.send(lane, permit);
            self.turn = lane + 1;
            // With an exporter that is always ready, its sends run only if this task yields.
            tokio::task::yield_now().await;
        }
        self.finish().await;
    }

    /// Waits until a lane may send a batch; `None`: the worker has finished (BSP-4). While an exporter
    /// gives no permit, spans stay in the bounded queue.
    async fn wait(&mut self) -> Option<(usize, SendPermit)> {
        loop {
            self.poll_events();
            if self.is_over() {
                return None;
            }
            if self.prepare() {
                let ready = self.event().await;
                self.disarm();
                if ready.is_some() {
                    if self.diagnostics.last_error().is_some() {
                        // An exporter whose endpoint is down gives a permit for a single probe.
                        self.probe_exporter();
                    }
                    return ready;
                }
            } else {
                self.disarm();
            }
        }
    }

    /// Prepares every lane for the sleep. False: a lane has a batch and the worker must not sleep.
    fn prepare(&mut self) -> bool {
        let awaited = self.lanes.iter().any(Lane::waits);
        let mut all_wait = true;
        for lane in &mut self.lanes {
            all_wait &= lane.prepare(self.resume_at, &mut self.drained);
        }
        if !awaited && self.lanes.iter().any(Lane::waits) {
            self.expect_answer();
        }
        all_wait
    }

    fn disarm(&self) {
        for lane in &self.lanes {
            lane.queue.wake.disarm();
        }
    }

    fn send(&mut self, lane: usize, permit: SendPermit) {
        let Some(lane) = self.lanes.get_mut(lane) else {
            return;
        };
        match lane.take(&self.shared.scopes, &mut self.drained) {
            Some(cut) => {
                lane.send(permit, cut, self.resource.clone(), &self.runtime);
                self.expect_answer();
            }
            // The bytes are no spans, a defect of this crate: they are dropped, so that the loop ends.
            None => {
                let signal = lane.signal();
                self.abandon(signal, DropReason::Internal, "the queue was damaged");
            }
        }
    }

    fn settle(&mut self, settled: &Settled) {
        if settled.lost == 0 {
            self.backoff = Duration::ZERO;
        } else {
            let at = later(Instant::now(), REPORT_DELAY);
            self.report_at.get_or_insert(at);
        }
        self.pending_flushes.note(settled);
        // Only logs may be turned off by an endpoint: without spans there is no pipeline.
        if settled.signal == Signal::Logs && settled.is_supported.is_some() {
            self.note_support(settled);
        }
    }

    /// Notes whether the endpoint takes logs. If not, no logs are sent for a while.
    #[cold]
    fn note_support(&mut self, settled: &Settled) {
        let signal = settled.signal;
        if let Some(lane) = self.lanes.iter_mut().find(|l| l.signal() == signal) {
            lane.note_support(settled.is_supported, &mut self.drained);
        }
        if settled.is_supported == Some(false) {
            let why = settled.error.clone().unwrap_or_default();
            self.abandon(signal, DropReason::Unsupported, &why);
        }
    }

    /// Handles flush requests, settled batches, ticks and reports: none of them waits for an exporter.
    fn poll_events(&mut self) {
        for request in self.shared.requests.collect() {
            self.accept(request);
        }
        for index in 0..self.lanes.len() {
            while let Some(settled) = self.lanes[index].in_flight.try_join_next() {
                self.settle(&settled);
            }
        }
        let now = Instant::now();
        self.tick(now);
        if self.has_seconds() && now >= self.next_second {
            self.next_second = later(now, Duration::from_secs(1));
            if let Some(call) = &mut self.every_second {
                call();
            }
            let spans = self.lanes.iter().find(|l| l.signal() == Signal::Traces);
            if let (Some(showing), Some(lane)) = (&mut self.open_spans, spans) {
                showing.show(lane, &self.shared.scopes, &self.resource, &self.runtime);
            }
        }
        self.maybe_probe(now);
        if let Some(shedding) = &mut self.shedding {
            shedding.observe(now);
            self.diagnostics.note_shed_ratio(shedding.shed_ratio());
        }
        let why = match self.pending_flushes.is_any_overdue(now) {
            true => self.obstacle(),
            false => None,
        };
        let settled = self.marks(Lane::settled_upto);
        self.pending_flushes.answer(&settled, now, why.as_deref());
        let is_closing = self.pending_flushes.closing().is_some();
        if !is_closing {
            self.note_members(now);
        }
        self.diagnostics.observe(now, is_closing);
        self.report_at = self.report_at.filter(|at| now < *at);
    }

    fn has_seconds(&self) -> bool {
        self.every_second.is_some() || self.open_spans.is_some()
    }

    fn accept(&mut self, request: Arc<FlushRequest>) {
        let begins_shutdown = self.pending_flushes.begins_shutdown(&request);
        if begins_shutdown && let Some(shedding) = &mut self.shedding {
            shedding.end();
        }
        for lane in &mut self.lanes {
            lane.drain(begins_shutdown, &mut self.drained);
            if begins_shutdown {
                // A foreign method: it may panic.
                let _ = catch_unwind(AssertUnwindSafe(|| lane.exporter.begin_shutdown()));
            }
            lane.send_upto = lane.staging.end();
        }
        let spans = self.shared.spans.counters.snapshot();
        let logs = self.shared.logs.as_ref().map(|q| q.counters.snapshot());
        let early = EarlyLoss::new(&spans, logs.as_ref());
        let upto = self.marks(|lane| lane.staging.end());
        self.pending_flushes.accept(request, upto, &early);
    }

    /// At the end of a schedule delay: the waiting items of the lane become due.
    fn tick(&mut self, now: Instant) {
        let mut trims = false;
        for lane in self.lanes.iter_mut().filter(|lane| now >= lane.next_tick) {
            lane.tick(now, &mut self.drained);
            // Most idle memory belongs to spans: a trim at the shorter delay of logs would free chunks that
            // the next spans need.
            trims |= lane.signal() == Signal::Traces;
        }
        if trims && self.lanes.iter().all(Lane::is_empty) {
            self.shared.memory.trim();
        }
    }

    /// A number of each lane. Without logs, theirs is the maximum: all of them are settled.
    fn marks(&self, of: impl Fn(&Lane) -> u64) -> Marks {
        let find = |signal| self.lanes.iter().find(|lane| lane.signal() == signal);
        let mark = |signal| find(signal).map_or(u64::MAX, &of);
        Marks {
            spans: mark(Signal::Traces),
            logs: mark(Signal::Logs),
        }
    }

    fn is_over(&self) -> bool {
        // The queue is closed by a blocking caller whose deadline passed while an exporter blocked this
        // thread.
        self.shared.requests.is_closed()
            || self.pending_flushes.closing().is_some_and(|request| {
                self.lanes.iter().all(Lane::is_empty) || request.is_overdue(Instant::now())
            })
    }

    /// Sleeps until an event is due, or a lane may send. Cancel safe.
    async fn event(&mut self) -> Option<(usize, SendPermit)> {
        let request = self.pending_flushes.deadline();
        let second = self.has_seconds().then_some(self.next_second);
        // `set_dispatch` wakes the worker before the new subscriber takes events.
        let max_sleep = match self.diagnostics.has_pending_warnings() {
            true => REPORT_DELAY,
            false => MAX_SLEEP,
        };
        let waits = self.lanes.iter().any(Lane::waits);
        let shedding = self.shedding.as_ref().and_then(|s| s.due(waits));
        let ticks = self.lanes.iter().map(|lane| Some(lane.next_tick));
        let until = [request, second, self.next_probe, self.report_at, shedding]
            .into_iter()
            .chain(ticks)
            .flatten()
            .fold(later(Instant::now(), max_sleep), Instant::min);
        let Self {
            shared,
            lanes,
            turn,
            ..
        } = self;
        tokio::select! {
            biased;
            event = lane::next_of(lanes, *turn) => match event {
                LaneEvent::Ready(lane, permit) => return Some((lane, permit)),
                LaneEvent::Settled(settled) => self.settle(&settled),
            },
            () = shared.spans.wake.notified() => {}
            () = sleep_until(until.into()) => {}
        }
        None
    }
}
