//! [`PendingFlushes`]: the requests that the worker has accepted and not answered yet.
//!
//! Items of a lane are numbered in the order in which they were drained. A request covers the items below
//! its numbers, and is answered when all of them are settled. Each reports the losses since the last answer before
//! it was accepted: a loss is old for whoever asks after it was reported. Two flushes that overlap both report it,
//! because for each caller its items are lost, and neither sees the answer to the other.

use std::time::Instant;

use super::flush::{Command, FlushError, FlushRequest, FlushResult, Lost, RequestQueue};
use super::in_flight::Settled;
use crate::signal::Signal;
use crate::stats::{DropReason, Stats};
use crate::sync::Arc;

/// What a shutdown says of an exporter that has delivered everything, and has not ended.
const STILL_CLOSING: &str = "everything was sent, and the exporter had not ended";

#[derive(Debug, Default)]
pub(crate) struct PendingFlushes {
    pending: Vec<PendingFlush>,
    /// All losses so far, and the part that the answers to flushes have reported.
    lost: Loss,
    reported: Loss,
    /// The error of the last spans that were lost after an exporter had received them.
    why: Option<String>,
    /// The first shutdown; its deadline is the worker's.
    closing: Option<Arc<FlushRequest>>,
}

#[derive(Debug)]
struct PendingFlush {
    request: Arc<FlushRequest>,
    /// It covers the spans and records below these numbers.
    upto: Marks,
    /// The losses that its answer reports: earlier ones that no answer has reported, and those of the items
    /// that it covers.
    lost: Loss,
    /// The value of [`PendingFlushes::reported`] after its answer.
    reported: Loss,
    why: Option<String>,
}

/// The number of an item of each signal, in drain order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    pub(crate) spans: u64,
    pub(crate) logs: u64,
}

impl Marks {
    fn of(&self, signal: Signal) -> u64 {
        match signal {
            Signal::Traces => self.spans,
            Signal::Logs => self.logs,
        }
    }

    fn reaches(&self, other: &Self) -> bool {
        self.spans >= other.spans && self.logs >= other.logs
    }
}

/// Lost items. Items that settings drop (tail sampling) are no loss.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Loss {
    spans: LossOfSignal,
    logs: LossOfSignal,
    /// Data that spans left out for want of memory.
    left_out: u64,
}

/// The same of one signal.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct LossOfSignal {
    /// Lost before an exporter received them, by reason.
    early: [u64; EARLY.len()],
    /// Lost by an exporter, or abandoned by the worker.
    late: u64,
}

/// A reading of the early losses of each signal, by reason.
pub(crate) struct EarlyLoss {
    spans: [u64; EARLY.len()],
    logs: [u64; EARLY.len()],
    left_out: u64,
}

impl EarlyLoss {
    pub(crate) fn new(spans: &Stats, logs: Option<&Stats>) -> Self {
        Self {
            spans: EARLY.map(|reason| spans.dropped_early(reason)),
            logs: EARLY.map(|reason| logs.map_or(0, |logs| logs.dropped_early(reason))),
            left_out: spans.truncated_for_memory,
        }
    }
}

/// The reasons for which items are lost before an exporter receives them, other than the shutdown.
const EARLY: [DropReason; 5] = [
    DropReason::QueueFull,
    DropReason::Shed,
    DropReason::MemoryFull,
    DropReason::TooLarge,
    DropReason::LayerGone,
];

impl Loss {
    fn since(self, earlier: Self) -> Self {
        Self {
            spans: self.spans.since(earlier.spans),
            logs: self.logs.since(earlier.logs),
            left_out: self.left_out.saturating_sub(earlier.left_out),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            spans: self.spans.max(other.spans),
            logs: self.logs.max(other.logs),
            left_out: self.left_out.max(other.left_out),
        }
    }

    fn of(&mut self, signal: Signal) -> &mut LossOfSignal {
        match signal {
            Signal::Traces => &mut self.spans,
            Signal::Logs => &mut self.logs,
        }
    }

    fn late(&self) -> u64 {
        self.spans.late + self.logs.late
    }

    /// As `memory_full 3, queue_full 1`.
    fn reasons(&self) -> Option<String> {
        let early = |i: usize| self.spans.early[i] + self.logs.early[i];
        let counts = EARLY
            .iter()
            .enumerate()
            .map(|(i, reason)| (reason, early(i)));
        let counts = counts.filter(|(_, count)| *count > 0);
        let texts: Vec<_> = counts.map(|(reason, n)| format!("{reason} {n}")).collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    }
}

impl LossOfSignal {
    fn since(self, earlier: Self) -> Self {
        Self {
            early: std::array::from_fn(|i| self.early[i].saturating_sub(earlier.early[i])),
            late: self.late.saturating_sub(earlier.late),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            early: std::array::from_fn(|i| self.early[i].max(other.early[i])),
            late: self.late.max(other.late),
        }
    }

    fn items(&self) -> u64 {
        self.early.iter().sum::<u64>() + self.late
    }
}

impl PendingFlushes {
    /// Whether `request` is the first shutdown.
    pub(crate) fn begins_shutdown(&self, request: &FlushRequest) -> bool {
        request.command == Command::Shutdown && self.closing.is_none()
    }

    /// Accepts a request that covers the items numbered below `upto`, and the losses since the last answer.
    pub(crate) fn accept(&mut self, request: Arc<FlushRequest>, upto: Marks, early: &EarlyLoss) {
        self.lost.spans.early = early.spans;
        self.lost.logs.early = early.logs;
        self.lost.left_out = early.left_out;
        if self.begins_shutdown(&request) {
            self.closing = Some(Arc::clone(&request));
        }
        self.pending.push(PendingFlush {
            request,
            upto,
            lost: self.lost.since(self.reported),
            reported: self.lost,
            why: self.why.clone(),
        });
    }

    /// The shutdown that is under way.
    pub(crate) fn closing(&self) -> Option<&Arc<FlushRequest>> {
        self.closing.as_ref()
    }

    /// The earliest deadline.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.pending.iter().filter_map(|p| p.request.deadline).min()
    }

    /// Adds the loss of a batch to the requests that cover it.
    pub(crate) fn note(&mut self, settled: &Settled) {
        if settled.lost == 0 {
            return;
        }
        self.lost.of(settled.signal).late += settled.lost;
        self.why = settled.error.clone().or(self.why.take());
        for pending_flush in &mut self.pending {
            let upto = pending_flush.upto.of(settled.signal);
            let covered = upto.saturating_sub(settled.start);
            if covered > 0 {
                let lost = settled.lost.min(covered);
                pending_flush.lost.of(settled.signal).late += lost;
                pending_flush.reported.of(settled.signal).late += lost;
                pending_flush.why = settled.error.clone().or(pending_flush.why.take());
            }
        }
    }

    /// Whether the deadline of a request has passed.
    pub(crate) fn is_any_overdue(&self, now: Instant) -> bool {
        self.pending.iter().any(|p| p.request.is_overdue(now))
    }

    /// Answers the requests whose items are all below `settled`, and those whose deadline has passed, with
    /// the obstacle `why`.
    pub(crate) fn answer(&mut self, settled: &Marks, now: Instant, why: Option<&str>) {
        let closing = self.closing.as_ref();
        let reported = &mut self.reported;
        let before = *reported;
        self.pending.retain_mut(|pending_flush| {
            let request = &pending_flush.request;
            if closing.is_some_and(|closing| Arc::ptr_eq(closing, request)) {
                return true;
            }
            let outcome =
                if request.command == Command::Flush && settled.reaches(&pending_flush.upto) {
                    *reported = reported.max(pending_flush.reported);
                    pending_flush.outcome()
                } else if request.is_overdue(now) {
                    let why = why.map(str::to_owned);
                    request.timed_out(why.or(pending_flush.why.take()))
                } else {
                    return true;
                };
            request.resolve(outcome);
            false
        });
        if *reported != before && reported.late() >= self.lost.late() {
            self.why = None;
        }
    }

    /// At the worker's end: answers all requests and closes the queue of requests. `why`: the obstacle, if
    /// the items were not settled in time.
    pub(crate) fn conclude(&mut self, in_time: bool, why: Option<String>, requests: &RequestQueue) {
        let closing = self.closing.as_ref();
        let first = self
            .pending
            .iter()
            .find(|p| closing.is_some_and(|closing| Arc::ptr_eq(closing, &p.request)));
        let outcome = match first {
            Some(pending_flush) if in_time => pending_flush.outcome(),
            Some(pending_flush) => {
                let why = why.or_else(|| pending_flush.loss_in_words());
                let why = why.unwrap_or_else(|| STILL_CLOSING.to_owned());
                pending_flush.request.timed_out(Some(why))
            }
            None => Ok(()),
        };
        requests.close(outcome.clone());
        for pending_flush in self.pending.drain(..) {
            pending_flush
                .request
                .resolve(match pending_flush.request.command {
                    Command::Shutdown => outcome.clone(),
                    Command::Flush => pending_flush.outcome(),
                });
        }
    }
}

impl PendingFlush {
    fn loss_in_words(&self) -> Option<String> {
        match self.outcome() {
            Err(FlushError::Lost { lost, why }) => Some(lost.in_words(why.as_deref())),
            _ => None,
        }
    }

    fn outcome(&self) -> FlushResult {
        let lost = Lost {
            spans: self.lost.spans.items(),
            logs: self.lost.logs.items(),
            left_out: self.lost.left_out,
        };
        if lost == Lost::default() {
            return Ok(());
        }
        let late = self.why.clone().filter(|_| self.lost.late() > 0);
        let why: Vec<_> = self.lost.reasons().into_iter().chain(late).collect();
        Err(FlushError::Lost {
            lost,
            why: (!why.is_empty()).then(|| why.join("; ")),
        })
    }
}

#[cfg(all(test, not(tracing_otlp_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::processor::wake::Wake;

    #[test]
    fn flushes_that_overlap_both_report_a_loss_and_later_ones_do_not() {
        let (queue, mut flushes) = (RequestQueue::default(), PendingFlushes::default());
        let early = || EarlyLoss::new(&Stats::default(), None);
        let marks = |spans| Marks { spans, logs: 0 };
        let accept = |flushes: &mut PendingFlushes, upto| {
            let minute = Duration::from_secs(60);
            let request = queue.submit(Command::Flush, minute, &Wake::new());
            flushes.accept(Arc::clone(&request), marks(upto), &early());
            request
        };
        let before = accept(&mut flushes, 0);
        let both = [accept(&mut flushes, 3), accept(&mut flushes, 5)];
        flushes.note(&Settled {
            signal: Signal::Traces,
            start: 0,
            lost: 3,
            error: Some("not wanted".to_owned()),
            is_supported: None,
        });
        flushes.answer(&marks(3), Instant::now(), None);
        // The first of them was answered; the other one was accepted before.
        flushes.answer(&marks(5), Instant::now(), None);
        let after = accept(&mut flushes, 5);
        flushes.answer(&marks(5), Instant::now(), None);
        assert!(matches!(before.wait(), Some(Ok(()))));
        for request in both {
            let Some(Err(FlushError::Lost { lost, .. })) = request.wait() else {
                panic!("{request:?}");
            };
            assert_eq!(lost.spans, 3);
        }
        assert!(matches!(after.wait(), Some(Ok(()))));
    }

    #[test]
    fn a_shutdown_that_waits_for_the_exporter_names_a_loss_first() {
        for (lost, says) in [(3, "not wanted"), (0, "everything was sent")] {
            let (queue, mut flushes) = (RequestQueue::default(), PendingFlushes::default());
            let request = queue.submit(Command::Shutdown, Duration::ZERO, &Wake::new());
            let upto = Marks { spans: 3, logs: 0 };
            let early = EarlyLoss::new(&Stats::default(), None);
            flushes.accept(Arc::clone(&request), upto, &early);
            flushes.note(&Settled {
                signal: Signal::Traces,
                start: 0,
                lost,
                error: (lost > 0).then(|| "not wanted".to_owned()),
                is_supported: None,
            });
            flushes.conclude(false, None, &queue);
            let Some(Err(FlushError::Timeout { why: Some(why), .. })) = request.wait() else {
                panic!("{request:?}");
            };
            assert!(why.contains(says), "{why}");
        }
    }
}
