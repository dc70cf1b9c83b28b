//! The `otlp-worker` thread: wait, take, send, settle.
//!
//! It has a runtime of its own, so it needs none of the application's and outlives them. Nothing it
//! calls may end it: a panic of an exporter costs one batch or a pause. Each signal has a
//! [`Lane`]; the thread, the runtime, flushes and the shutdown are for all.

mod end;
mod open;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::{Handle, Runtime};
use tokio::time::sleep_until;

use self::end::CloseOnExit;
pub(crate) use self::open::OpenSpanSource;
use self::open::Showing;
use super::chunk::Chunk;
use super::flush::FlushRequest;
use super::handle::Shared;
use super::in_flight::{Settled, message_of};
use super::lane::{self, Happened, Lane};
use super::pending_flushes::{EarlyLoss, Marks, PendingFlushes};
use crate::diagnostics::Diagnostics;
use crate::export::SendPermit;
use crate::signal::Signal;
use crate::stats::DropReason;
use crate::suppress;
use crate::sync::Arc;

/// What the worker is asked to call about once a second.
pub(crate) type EverySecond = Box<dyn FnMut() + Send>;

pub(super) struct Worker {
    shared: Arc<Shared>,
    /// That of spans, and that of logs where there are some.
    lanes: Vec<Lane>,
    /// The lane that is asked first whether it may send: the one after that which sent last.
    turn: usize,
    resource: Bytes,
    runtime: Handle,
    diagnostics: Diagnostics,
    every_second: Option<EverySecond>,
    open_spans: Option<Showing>,
    next_second: Instant,
    /// Between shards and staging; kept for its memory.
    drained: Vec<Chunk>,
    pending_flushes: PendingFlushes,
    /// When to ask the exporter what troubles it; `None`: nothing is wanted of it.
    next_question: Option<Instant>,
    /// When a loss is to be spoken of, at the latest.
    speak_at: Option<Instant>,
    finishing: bool,
    /// The pause after a panic, and when it ends.
    backoff: Duration,
    resume_at: Instant,
}

/// How long a permit or an answer may take before the exporter is asked why, and how often from
/// then on.
const QUESTION: Duration = Duration::from_millis(200);
const QUESTION_AGAIN: Duration = Duration::from_secs(1);
/// How soon a loss is spoken of: a little later than the diagnostics look again.
const WORD: Duration = Duration::from_millis(300);
/// The longest sleep: losses are noticed in time also with a long schedule delay.
const LOOK_UP: Duration = Duration::from_secs(5);

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
            next_second: now,
            drained: Vec::new(),
            pending_flushes: PendingFlushes::default(),
            next_question: None,
            speak_at: None,
            finishing: false,
            backoff: Duration::ZERO,
            resume_at: now,
        }
    }

    /// Shows the exporter what `source` gives, about once a second.
    pub(super) fn showing(mut self, source: Option<OpenSpanSource>) -> Self {
        self.open_spans = source.map(Showing::new);
        self
    }

    /// The life of the thread.
    pub(super) fn live(mut self, runtime: Runtime) {
        suppress::mark_thread();
        let _obituary = CloseOnExit(Arc::clone(&self.shared));
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| runtime.block_on(self.run()))) {
            if self.finishing {
                break;
            }
            self.recover(message_of(&*panic));
        }
        // A look-up of a name, for one, would hold an ordinary shutdown for as long as it likes.
        runtime.shutdown_background();
    }

    async fn run(&mut self) {
        while let Some((lane, permit)) = self.wait().await {
            self.send(lane, permit);
            self.turn = lane + 1;
            // An exporter that is always ready must not keep its own sends from running.
            tokio::task::yield_now().await;
        }
        self.finish().await;
    }

    /// Until a lane may send a batch; `None`: all is done (BSP-4). While an exporter gives no permit,
    /// spans stay in the bounded queue.
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
                        // It may be there for a probe alone.
                        self.probe_exporter();
                    }
                    return ready;
                }
            } else {
                self.disarm();
            }
        }
    }

    /// Every lane asks for what it waits for. False: one need not wait.
    fn prepare(&mut self) -> bool {
        let awaited = self.lanes.iter().any(Lane::waits);
        let mut all_wait = true;
        for lane in &mut self.lanes {
            all_wait &= lane.prepare(self.resume_at, &mut self.drained);
        }
        if !awaited && self.lanes.iter().any(Lane::waits) {
            self.expect_an_answer();
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
                self.expect_an_answer();
            }
            // Bytes that are no spans: a defect of ours, and no reason to go round in circles.
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
            let at = later(Instant::now(), WORD);
            self.speak_at.get_or_insert(at);
        }
        self.pending_flushes.note(settled);
        // Only logs may be turned off by an endpoint: without spans there is no pipeline.
        if settled.signal == Signal::Logs && settled.is_supported.is_some() {
            self.note_support(settled);
        }
    }

    /// The endpoint takes logs, or says that it does not: then none are sent for a while.
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

    /// All that must not wait for an exporter.
    fn poll_events(&mut self) {
        for request in self.shared.requests.collect() {
            self.accept(request);
        }
        for index in 0..self.lanes.len() {
            while let Some(settled) = self.lanes[index].in_flight.try_landed() {
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
            self.show_open();
        }
        self.maybe_probe(now);
        let why = match self.pending_flushes.is_any_overdue(now) {
            true => self.obstacle(),
            false => None,
        };
        let settled = self.marks(Lane::settled_upto);
        self.pending_flushes.keep(&settled, now, why.as_deref());
        let is_closing = self.pending_flushes.closing().is_some();
        self.diagnostics.observe(now, is_closing);
        self.speak_at = self.speak_at.filter(|at| now < *at);
    }

    fn has_seconds(&self) -> bool {
        self.every_second.is_some() || self.open_spans.is_some()
    }

    fn expect_an_answer(&mut self) {
        let at = later(Instant::now(), QUESTION);
        self.next_question.get_or_insert(at);
    }

    /// Asks now and then while the exporter is waited for, and once when it is not any more.
    fn maybe_probe(&mut self, now: Instant) {
        let waits = self.lanes.iter().any(Lane::waits);
        let Some(at) = self.next_question.filter(|at| !waits || now >= *at) else {
            return;
        };
        self.next_question = waits.then(|| later(now, QUESTION_AGAIN));
        if waits || now >= at || self.diagnostics.last_error().is_some() {
            self.probe_exporter();
        }
    }

    /// Why nothing can be sent: no outcome tells of an endpoint that is not there.
    fn probe_exporter(&mut self) {
        for lane in &self.lanes {
            // A foreign method: it may panic.
            let trouble = catch_unwind(AssertUnwindSafe(|| lane.exporter.last_error()));
            let trouble = trouble.ok().flatten();
            self.diagnostics.note_health(lane.signal(), trouble);
        }
    }

    /// What keeps spans from being sent or settled just now.
    fn obstacle(&mut self) -> Option<String> {
        self.probe_exporter();
        let trouble = self.diagnostics.last_error().map(str::to_owned);
        let unanswered = || {
            let requests: usize = self.lanes.iter().map(|lane| lane.in_flight.len()).sum();
            (requests > 0)
                .then(|| format!("{requests} requests are under way and not answered yet"))
        };
        trouble.or_else(unanswered)
    }

    fn accept(&mut self, request: Arc<FlushRequest>) {
        let begins_shutdown = self.pending_flushes.begins_shutdown(&request);
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
        self.pending_flushes.make(request, upto, &early);
    }

    /// A schedule delay is over: what waits goes out.
    fn tick(&mut self, now: Instant) {
        let mut trims = false;
        for lane in self.lanes.iter_mut().filter(|lane| now >= lane.next_tick) {
            lane.tick(now, &mut self.drained);
            // What lies idle is the spans' for the most part: the shorter delay of logs would free what the
            // next ones need.
            trims |= lane.signal() == Signal::Traces;
        }
        if trims && self.lanes.iter().all(Lane::is_empty) {
            self.shared.memory.trim();
        }
    }

    /// A number of each lane; where there are no logs, all of them are done.
    fn marks(&self, of: impl Fn(&Lane) -> u64) -> Marks {
        let find = |signal| self.lanes.iter().find(|lane| lane.signal() == signal);
        let mark = |signal| find(signal).map_or(u64::MAX, &of);
        Marks {
            spans: mark(Signal::Traces),
            logs: mark(Signal::Logs),
        }
    }

    fn is_over(&self) -> bool {
        // A caller whose deadline passed while an exporter held this thread has closed the desk.
        self.shared.requests.is_closed()
            || self.pending_flushes.closing().is_some_and(|request| {
                self.lanes.iter().all(Lane::is_empty) || request.is_overdue(Instant::now())
            })
    }

    /// Sleeps until there is something to attend to, or a lane may send. Cancel safe.
    async fn event(&mut self) -> Option<(usize, SendPermit)> {
        let request = self.pending_flushes.deadline();
        let second = self.has_seconds().then_some(self.next_second);
        // A subscriber that is being installed rings before it listens.
        let look_up = match self.diagnostics.has_unsaid() {
            true => WORD,
            false => LOOK_UP,
        };
        let ticks = self.lanes.iter().map(|lane| Some(lane.next_tick));
        let until = [request, second, self.next_question, self.speak_at]
            .into_iter()
            .chain(ticks)
            .flatten()
            .fold(later(Instant::now(), look_up), Instant::min);
        let Self {
            shared,
            lanes,
            turn,
            ..
        } = self;
        tokio::select! {
            biased;
            happened = lane::next_of(lanes, *turn) => match happened {
                Happened::Ready(lane, permit) => return Some((lane, permit)),
                Happened::Landed(settled) => self.settle(&settled),
            },
            () = shared.spans.wake.notified() => {}
            () = sleep_until(until.into()) => {}
        }
        None
    }
}

/// `now + delay`, or as late as a clock can say.
pub(super) fn later(now: Instant, delay: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    now + delay.min(YEAR)
}
