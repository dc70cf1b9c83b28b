//! The `otlp-worker` thread: wait, take, send, settle.
//!
//! It has a runtime of its own, so it needs none of the application's and outlives them. Nothing it
//! calls may end it: a panic of an exporter costs one batch or a pause.

mod end;
mod open;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::{Handle, Runtime};
use tokio::time::{sleep_until, timeout};

use self::end::Obituary;
pub(crate) use self::open::OpenSpanSource;
use self::open::Showing;
use super::batch::{Cut, Staging};
use super::chunk::Chunk;
use super::flight::{Flights, Settled, message_of};
use super::handle::Shared;
use super::promise::Promises;
use super::ticket::Ticket;
use crate::diagnostics::Diagnostics;
use crate::export::{Batch, Exporter, Outcome};
use crate::stats::DropReason;
use crate::suppress;
use crate::sync::Arc;

/// The worker's numbers.
#[derive(Debug)]
pub(super) struct Settings {
    /// Spans of a batch.
    pub(super) max_spans: usize,
    /// Bytes of a batch, unless a single span is larger.
    pub(super) max_bytes: usize,
    /// How many waiting spans, or as much of a batch's bytes, are sent without delay.
    pub(super) due: usize,
    pub(super) delay: Duration,
    pub(super) export_timeout: Option<Duration>,
}

/// What the worker is asked to call about once a second.
pub(crate) type EverySecond = Box<dyn FnMut() + Send>;

pub(super) struct Worker<E: Exporter> {
    shared: Arc<Shared>,
    exporter: Arc<E>,
    resource: Bytes,
    settings: Settings,
    runtime: Handle,
    diagnostics: Diagnostics,
    every_second: Option<EverySecond>,
    open_spans: Option<Showing>,
    next_second: Instant,
    /// What has been drained; it keeps its credits until it is sent.
    staging: Staging,
    /// Between shards and staging; kept for its memory.
    drained: Vec<Chunk>,
    flights: Flights,
    /// Staged spans below this number go out, be the batch full or not.
    send_upto: u64,
    /// When the schedule delay is over.
    next_tick: Instant,
    promises: Promises,
    /// When to ask the exporter what troubles it; `None`: nothing is wanted of it.
    next_question: Option<Instant>,
    /// When a loss is to be spoken of, at the latest.
    speak_at: Option<Instant>,
    awaits_permit: bool,
    finishing: bool,
    /// The pause after a panic, and when it ends.
    backoff: Duration,
    resume_at: Instant,
}

enum Act {
    Send,
    Stop,
}

/// How long a permit or an answer may take before the exporter is asked why, and how often from
/// then on.
const QUESTION: Duration = Duration::from_millis(200);
const QUESTION_AGAIN: Duration = Duration::from_secs(1);
/// How soon a loss is spoken of: a little later than the diagnostics look again.
const WORD: Duration = Duration::from_millis(300);
/// The longest sleep: losses are noticed in time also with a long schedule delay.
const LOOK_UP: Duration = Duration::from_secs(5);

impl<E: Exporter> Worker<E> {
    pub(super) fn new(
        shared: Arc<Shared>,
        exporter: E,
        resource: Bytes,
        settings: Settings,
        runtime: Handle,
        diagnostics: Diagnostics,
        every_second: Option<EverySecond>,
        open_spans: Option<OpenSpanSource>,
    ) -> Self {
        let now = Instant::now();
        Self {
            staging: Staging::new(Arc::clone(shared.buffer.pool())),
            flights: Flights::new(Arc::clone(&shared.counters)),
            next_tick: later(now, settings.delay),
            exporter: Arc::new(exporter),
            shared,
            resource,
            settings,
            runtime,
            diagnostics,
            every_second,
            open_spans: open_spans.map(Showing::new),
            next_second: now,
            drained: Vec::new(),
            send_upto: 0,
            promises: Promises::default(),
            next_question: None,
            speak_at: None,
            awaits_permit: false,
            finishing: false,
            backoff: Duration::ZERO,
            resume_at: now,
        }
    }

    /// The life of the thread.
    pub(super) fn live(mut self, runtime: Runtime) {
        suppress::mark_thread();
        let _obituary = Obituary(Arc::clone(&self.shared));
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
        while let Act::Send = self.wait().await {
            let Some(permit) = self.permit().await else {
                continue;
            };
            if let Some(cut) = self.take() {
                self.send(permit, cut);
                // An exporter that is always ready must not keep its own sends from running.
                tokio::task::yield_now().await;
            }
        }
        self.finish().await;
    }

    /// Until something is to be sent, or all is done (BSP-4).
    async fn wait(&mut self) -> Act {
        loop {
            self.attend();
            if self.is_over() {
                return Act::Stop;
            }
            if self.is_due() {
                return Act::Send;
            }
            let staged = self.staged_load();
            let missing = self.settings.due.saturating_sub(staged).max(1);
            if self.shared.wake.arm(missing) {
                self.event().await;
                self.shared.wake.disarm();
            } else {
                self.drain(false);
                // What is due has come together, by spans or by bytes.
                self.send_upto = self.send_upto.max(self.staging.start() + 1);
                self.next_tick = later(Instant::now(), self.settings.delay);
            }
        }
    }

    /// The right to send a batch. Until it is given, spans stay in the bounded queue.
    async fn permit(&mut self) -> Option<E::Permit> {
        self.awaits_permit = true;
        self.expect_an_answer();
        let permit = self.next_permit().await;
        self.awaits_permit = false;
        if permit.is_some() && self.diagnostics.trouble().is_some() {
            // It may be there for a probe alone.
            self.ask_for_trouble();
        }
        permit
    }

    async fn next_permit(&mut self) -> Option<E::Permit> {
        let exporter = Arc::clone(&self.exporter);
        let resume_at = self.resume_at;
        let mut ready = pin!(async move {
            if Instant::now() < resume_at {
                sleep_until(resume_at.into()).await;
            }
            exporter.ready().await
        });
        loop {
            tokio::select! {
                biased;
                permit = &mut ready => return Some(permit),
                () = self.event() => self.attend(),
            }
            if self.is_over() {
                return None;
            }
        }
    }

    fn take(&mut self) -> Option<Cut> {
        if self.staging.spans() < self.settings.max_spans {
            self.drain(false);
        }
        let Settings {
            max_spans,
            max_bytes,
            ..
        } = self.settings;
        let cut = self.staging.cut(max_spans, max_bytes, &self.shared.scopes);
        if cut.is_none() {
            // Bytes that are no spans: a defect of ours, and no reason to go round in circles.
            self.abandon(DropReason::Internal, "the queue was damaged");
        }
        cut
    }

    fn send(&mut self, permit: E::Permit, cut: Cut) {
        let Cut {
            groups,
            start,
            spans,
        } = cut;
        let batch = Batch::new(self.resource.clone(), groups, spans);
        let exporter = Arc::clone(&self.exporter);
        let limit = self.settings.export_timeout;
        let send = async move {
            // Called in here, so that a panic is this task's alone.
            let limit = limit.filter(|_| !exporter.keeps_export_timeout());
            let send = exporter.send(permit, batch);
            match limit {
                None => send.await,
                Some(limit) => timeout(limit, send)
                    .await
                    .unwrap_or_else(|_| timed_out(spans as u64, limit)),
            }
        };
        self.flights
            .launch(start, spans as u64, send, &self.runtime);
        self.expect_an_answer();
        self.shared.buffer.release(spans);
    }

    fn settle(&mut self, settled: &Settled) {
        if settled.lost == 0 {
            self.backoff = Duration::ZERO;
        } else {
            let at = later(Instant::now(), WORD);
            self.speak_at.get_or_insert(at);
        }
        self.promises.note(settled);
    }

    /// All that must not wait for an exporter.
    fn attend(&mut self) {
        for ticket in self.shared.desk.collect() {
            self.accept(ticket);
        }
        while let Some(settled) = self.flights.try_landed() {
            self.settle(&settled);
        }
        let now = Instant::now();
        if now >= self.next_tick {
            self.tick(now);
        }
        if self.has_seconds() && now >= self.next_second {
            self.next_second = later(now, Duration::from_secs(1));
            if let Some(call) = &mut self.every_second {
                call();
            }
            self.show_open();
        }
        self.question(now);
        let why = match self.promises.is_any_overdue(now) {
            true => self.obstacle(),
            false => None,
        };
        self.promises.keep(self.settled_upto(), now, why.as_deref());
        let is_closing = self.promises.closing().is_some();
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
    fn question(&mut self, now: Instant) {
        let waits = self.awaits_permit || !self.flights.is_empty();
        let Some(at) = self.next_question.filter(|at| !waits || now >= *at) else {
            return;
        };
        self.next_question = waits.then(|| later(now, QUESTION_AGAIN));
        if waits || now >= at || self.diagnostics.trouble().is_some() {
            self.ask_for_trouble();
        }
    }

    /// Why nothing can be sent: no outcome tells of an endpoint that is not there.
    fn ask_for_trouble(&mut self) {
        let exporter = Arc::clone(&self.exporter);
        // A foreign method: it may panic.
        let trouble = catch_unwind(AssertUnwindSafe(|| exporter.trouble()));
        self.diagnostics.hear_of_trouble(trouble.ok().flatten());
    }

    /// What keeps spans from being sent or settled just now.
    fn obstacle(&mut self) -> Option<String> {
        self.ask_for_trouble();
        let trouble = self.diagnostics.trouble().map(str::to_owned);
        let unanswered = || {
            let requests = self.flights.len();
            (requests > 0)
                .then(|| format!("{requests} requests are under way and not answered yet"))
        };
        trouble.or_else(unanswered)
    }

    fn accept(&mut self, ticket: Arc<Ticket>) {
        let begins_shutdown = self.promises.begins_shutdown(&ticket);
        self.drain(begins_shutdown);
        if begins_shutdown {
            // A foreign method: it may panic.
            let exporter = Arc::clone(&self.exporter);
            let _ = catch_unwind(AssertUnwindSafe(|| exporter.begin_shutdown()));
        }
        self.send_upto = self.staging.end();
        let stats = self.shared.counters.snapshot();
        self.promises.make(ticket, self.staging.end(), &stats);
    }

    /// The schedule delay is over: what waits goes out.
    fn tick(&mut self, now: Instant) {
        self.next_tick = later(now, self.settings.delay);
        // With a batch at hand nothing is gained by taking chunks that are not full.
        if self.staging.spans() < self.settings.max_spans {
            self.drain(false);
        }
        if self.staging.spans() == 0 && self.flights.is_empty() {
            self.shared.memory.trim();
        }
        self.send_upto = self.staging.end();
    }

    /// The number below which every span is settled.
    fn settled_upto(&self) -> u64 {
        let earliest = self.flights.earliest().unwrap_or(u64::MAX);
        self.staging.start().min(earliest)
    }

    fn drain(&mut self, close: bool) {
        self.shared.buffer.drain(close, &mut self.drained);
        for chunk in self.drained.drain(..) {
            self.staging.stage(chunk);
        }
    }

    fn staged_load(&self) -> usize {
        let (spans, bytes) = (self.staging.spans(), self.staging.bytes());
        self.shared.buffer.load_of(spans, bytes)
    }

    fn is_due(&self) -> bool {
        self.staging.spans() > 0
            && (self.staging.start() < self.send_upto || self.staged_load() >= self.settings.due)
    }

    fn is_over(&self) -> bool {
        // A caller whose deadline passed while an exporter held this thread has closed the desk.
        self.shared.desk.is_closed()
            || self.promises.closing().is_some_and(|ticket| {
                (self.staging.spans() == 0 && self.flights.is_empty())
                    || ticket.is_overdue(Instant::now())
            })
    }

    /// Sleeps until there is something to attend to. Cancel safe.
    async fn event(&mut self) {
        let ticket = self.promises.deadline();
        let second = self.has_seconds().then_some(self.next_second);
        // A subscriber that is being installed rings before it listens.
        let look_up = match self.diagnostics.has_unsaid() {
            true => WORD,
            false => LOOK_UP,
        };
        let until = [ticket, second, self.next_question, self.speak_at]
            .into_iter()
            .flatten()
            .fold(self.next_tick, Instant::min)
            .min(later(Instant::now(), look_up));
        let Self {
            shared, flights, ..
        } = self;
        tokio::select! {
            () = shared.wake.heard() => {}
            settled = flights.landed() => self.settle(&settled),
            () = sleep_until(until.into()) => {}
        }
    }
}

fn timed_out(spans: u64, limit: Duration) -> Outcome {
    Outcome::dropped(
        DropReason::Unconfirmed,
        spans,
        format!("an export did not end within {limit:?} (OTEL_BSP_EXPORT_TIMEOUT)"),
    )
}

/// `now + delay`, or as late as a clock can say.
fn later(now: Instant, delay: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    now + delay.min(YEAR)
}
